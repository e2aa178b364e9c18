/* AVX2: sums of sixteen columns and eight units at once, two taps with each multiply-add. */
#include "avx2.h"

#if defined(SPC_X86)

#define COLUMNS 16
#define UNITS 8

/* Sixteen levels of a tap, 0 where its symbol is outside. */
AVX2_INLINE __m128i levels(const spc_context_job *job, uint32_t tap, size_t column) {
    const uint8_t *inside = job->inside + job->steps[tap] * SPC_CONTEXT_BLOCK + column;
    const __m128i shift = _mm_cvtsi32_si128((int)job->lowest);
    __m128i x = _mm_loadu_si128((const __m128i *)(job->at + job->offsets[tap] + (ptrdiff_t)column));
    if (job->lowest) {
        x = _mm_and_si128(_mm_srl_epi16(x, shift), _mm_set1_epi8((char)(0xff >> job->lowest)));
    }
    x = _mm_min_epu8(x, _mm_set1_epi8((char)job->most[tap]));
    return _mm_and_si128(x, _mm_loadu_si128((const __m128i *)inside));
}

/* Rows of eight units from columns of them, in either half. */
AVX2_INLINE void turn(__m256i a[UNITS]) {
    __m256i b[UNITS];
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm256_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm256_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int k = 0; k < 2; k++) {
            a[i + 2 * k] = _mm256_unpacklo_epi32(b[i + k], b[i + k + 2]);
            a[i + 2 * k + 1] = _mm256_unpackhi_epi32(b[i + k], b[i + k + 2]);
        }
    }
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm256_unpacklo_epi64(a[i], a[i + 4]);
        b[2 * i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 4]);
    }
    memcpy(a, b, sizeof b);
}

/* x: pairs of taps, side by side, for each column */
AVX2_INLINE void sum_units(const spc_context_job *job, const __m256i *x, uint32_t unit,
                           int16_t *sums) {
    const uint32_t pairs = (job->taps + 1) / 2;
    const int8_t *weights = job->pairs + 2 * (size_t)unit;
    __m256i total[UNITS];
    for (int j = 0; j < UNITS; j++) {
        total[j] = _mm256_set1_epi16(job->biases[unit + (uint32_t)j]);
    }
    for (uint32_t p = 0; p < pairs; p++, weights += 2 * SPC_CONTEXT_UNITS) {
        for (int j = 0; j < UNITS; j++) {
            int16_t pair;
            memcpy(&pair, weights + 2 * j, sizeof pair);
            total[j] = _mm256_add_epi16(total[j],
                                        _mm256_maddubs_epi16(x[p], _mm256_set1_epi16(pair)));
        }
    }
    turn(total);
    for (int j = 0; j < UNITS; j++) {
        int16_t *to = sums + unit + j * SPC_CONTEXT_UNITS;
        _mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(total[j]));
        _mm_storeu_si128((__m128i *)(void *)(to + 8 * SPC_CONTEXT_UNITS),
                         _mm256_extracti128_si256(total[j], 1));
    }
}

AVX2 void spc_context_sums_avx2(const spc_context_job *job, int16_t *sums) {
    __m256i x[128];
    for (size_t column = 0; column < job->count; column += COLUMNS, sums += 16 * COLUMNS) {
        for (uint32_t i = 0; i < job->taps; i += 2) {
            const __m128i even = levels(job, i, column), odd = levels(job, i + 1, column);
            x[i / 2] = _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
        }
        sum_units(job, x, 0, sums);
        if (job->channel->units > UNITS) {
            sum_units(job, x, UNITS, sums);
        } else {
            for (int i = 0; i < COLUMNS; i++) {
                memset(sums + i * SPC_CONTEXT_UNITS + UNITS, 0, UNITS * sizeof *sums);
            }
        }
    }
}

#endif
