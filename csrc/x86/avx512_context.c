/* AVX-512: sums of 32 columns and eight units at once, two taps with each multiply-add. */
#include "avx512.h"

#if defined(SPC_X86)

#define COLUMNS 32
#define UNITS 8

_Static_assert(COLUMNS == SPC_CONTEXT_BLOCK, "one pass for a block");

/* The levels of a tap, 0 where its symbol is outside. */
AVX512_INLINE __m256i levels(const spc_context_job *job, uint32_t tap) {
    const uint8_t *inside = job->inside + job->steps[tap] * SPC_CONTEXT_BLOCK;
    const __m128i shift = _mm_cvtsi32_si128((int)job->lowest);
    __m256i x = _mm256_loadu_si256((const __m256i *)(job->at + job->offsets[tap]));
    if (job->lowest) {
        x = _mm256_and_si256(_mm256_srl_epi16(x, shift),
                             _mm256_set1_epi8((char)(0xff >> job->lowest)));
    }
    x = _mm256_min_epu8(x, _mm256_set1_epi8((char)job->most[tap]));
    return _mm256_and_si256(x, _mm256_loadu_si256((const __m256i *)inside));
}

/* Rows of eight units from columns of them, in each quarter. */
AVX512_INLINE void turn(__m512i a[UNITS]) {
    __m512i b[UNITS];
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm512_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int k = 0; k < 2; k++) {
            a[i + 2 * k] = _mm512_unpacklo_epi32(b[i + k], b[i + k + 2]);
            a[i + 2 * k + 1] = _mm512_unpackhi_epi32(b[i + k], b[i + k + 2]);
        }
    }
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm512_unpacklo_epi64(a[i], a[i + 4]);
        b[2 * i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 4]);
    }
    memcpy(a, b, sizeof b);
}

/* x: pairs of taps, side by side; columns 0-7, 16-23, 8-15, 24-31 in the quarters */
AVX512_INLINE void sum_units(const spc_context_job *job, const __m512i *x, uint32_t unit,
                             int16_t *sums) {
    const uint32_t pairs = (job->taps + 1) / 2;
    const int8_t *weights = job->pairs + 2 * (size_t)unit;
    __m512i total[UNITS];
    for (int j = 0; j < UNITS; j++) {
        total[j] = _mm512_set1_epi16(job->biases[unit + (uint32_t)j]);
    }
    for (uint32_t p = 0; p < pairs; p++, weights += 2 * SPC_CONTEXT_UNITS) {
        for (int j = 0; j < UNITS; j++) {
            int16_t pair;
            memcpy(&pair, weights + 2 * j, sizeof pair);
            total[j] = _mm512_add_epi16(total[j],
                                        _mm512_maddubs_epi16(x[p], _mm512_set1_epi16(pair)));
        }
    }
    turn(total);
    for (int j = 0; j < UNITS; j++) {
        int16_t *to = sums + unit + j * SPC_CONTEXT_UNITS;
        _mm_storeu_si128((__m128i *)(void *)to, _mm512_castsi512_si128(total[j]));
        _mm_storeu_si128((__m128i *)(void *)(to + 16 * SPC_CONTEXT_UNITS),
                         _mm512_extracti32x4_epi32(total[j], 1));
        _mm_storeu_si128((__m128i *)(void *)(to + 8 * SPC_CONTEXT_UNITS),
                         _mm512_extracti32x4_epi32(total[j], 2));
        _mm_storeu_si128((__m128i *)(void *)(to + 24 * SPC_CONTEXT_UNITS),
                         _mm512_extracti32x4_epi32(total[j], 3));
    }
}

AVX512 void spc_context_sums_avx512(const spc_context_job *job, int16_t *sums) {
    __m512i x[128];
    for (uint32_t i = 0; i < job->taps; i += 2) {
        const __m256i even = levels(job, i), odd = levels(job, i + 1);
        x[i / 2] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_unpacklo_epi8(even, odd)),
                                      _mm256_unpackhi_epi8(even, odd), 1);
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

#endif
