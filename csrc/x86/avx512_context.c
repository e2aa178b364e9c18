/* AVX-512: sums of 32 columns and eight units at once, two taps with each multiply-add. */
#include "avx512.h"

#if defined(SPC_X86)

#define COLUMNS 32
#define UNITS 8

_Static_assert(COLUMNS == SPC_CONTEXT_BLOCK, "one pass for a block");

/* The levels of a tap, 0 where its symbol is outside. */
AVX512_INLINE __m256i levels(const spc_context_job *job, const spc_context_network *net,
                             uint32_t tap) {
    const uint8_t *inside = net->inside[net->steps[tap]];
    const __m128i shift = _mm_cvtsi32_si128((int)job->lowest);
    __m256i x = _mm256_loadu_si256((const __m256i *)(job->at + net->offsets[tap]));
    if (job->lowest) {
        x = _mm256_and_si256(_mm256_srl_epi16(x, shift),
                             _mm256_set1_epi8((char)(0xff >> job->lowest)));
    }
    x = _mm256_min_epu8(x, _mm256_set1_epi8((char)net->most[tap]));
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
AVX512_INLINE void sum_units(const spc_context_job *job, const spc_context_network *net,
                             const __m512i *x, uint32_t unit, int16_t *sums) {
    const uint32_t pairs = (job->taps + 1) / 2;
    const int8_t *weights = net->pairs[0][unit];
    __m512i total[UNITS];
    for (int j = 0; j < UNITS; j++) {
        total[j] = _mm512_set1_epi16(net->biases[unit + (uint32_t)j]);
    }
    for (uint32_t p = 0; p < pairs; p++, weights += 2 * SPC_CONTEXT_UNITS) {
        for (int j = 0; j < UNITS; j++) {
            int16_t pair;
            memcpy(&pair, weights + 2 * j, sizeof pair);
            total[j] =
                _mm512_add_epi16(total[j], _mm512_maddubs_epi16(x[p], _mm512_set1_epi16(pair)));
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

AVX512_INLINE void context_sums(const spc_context_job *job, const spc_context_network *net,
                                int16_t *sums) {
    __m512i x[128];
    for (uint32_t i = 0; i < job->taps; i += 2) {
        const __m256i even = levels(job, net, i), odd = levels(job, net, i + 1);
        x[i / 2] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_unpacklo_epi8(even, odd)),
                                      _mm256_unpackhi_epi8(even, odd), 1);
    }
    sum_units(job, net, x, 0, sums);
    if (net->channel.units > UNITS) {
        sum_units(job, net, x, UNITS, sums);
    } else {
        for (int i = 0; i < COLUMNS; i++) {
            memset(sums + i * SPC_CONTEXT_UNITS + UNITS, 0, UNITS * sizeof *sums);
        }
    }
}

/* Four nodes at once: pairwise sums of products, then of neighbours. */
AVX512_INLINE void context_logits(const spc_context_network *net, uint32_t bits,
                                  const int16_t *sums, int32_t *logits) {
    const __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)sums);
    const __m256i floors = _mm256_loadu_si256((const __m256i *)(const void *)net->floors);
    const __m256i x = _mm256_max_epi16(raw, floors);
    const __m128i shift = _mm_cvtsi32_si128((int)net->channel.shift);
    const __m128i half = _mm_set1_epi32(1 << (net->channel.shift - 1));
    for (uint32_t n = 0; n < (bits < 3 ? 4 : bits < 4 ? 8 : 16); n += 4) {
        __m256i products[4];
        __m128i total;
        for (uint32_t i = 0; i < 4; i++) {
            const void *outputs = net->outputs[n + i];
            products[i] = _mm256_madd_epi16(x, _mm256_loadu_si256((const __m256i *)outputs));
        }
        products[0] = _mm256_hadd_epi32(_mm256_hadd_epi32(products[0], products[1]),
                                        _mm256_hadd_epi32(products[2], products[3]));
        total = _mm_add_epi32(_mm256_castsi256_si128(products[0]),
                              _mm256_extracti128_si256(products[0], 1));
        total = _mm_sra_epi32(_mm_add_epi32(total, half), shift);
        total = _mm_add_epi32(total,
                              _mm_loadu_si128((const __m128i *)(const void *)(net->constants + n)));
        total = _mm_max_epi32(_mm_min_epi32(total, _mm_set1_epi32(2047)), _mm_set1_epi32(-2047));
        _mm_storeu_si128((__m128i *)(void *)(logits + n), total);
    }
}

#define CONTEXT_TARGET __attribute__((target(AVX512_TARGET)))
#define CONTEXT_SUMS context_sums
#define CONTEXT_WITH_BITS SPC_WITH_CONSTANT_BITS
#include "../context_template.h"

AVX512 size_t spc_context_encode_avx512(spc_context_state *state, const uint8_t *symbols,
                                        uint8_t *payload, size_t cap) {
    return encode_with(state, symbols, payload, cap);
}

AVX512 int spc_context_decode_avx512(spc_context_state *state, const uint8_t *payload, size_t len,
                                     uint8_t *symbols) {
    return decode_with(state, payload, len, symbols);
}

#endif
