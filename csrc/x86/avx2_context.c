/* AVX2: sums of sixteen columns and eight units at once, two taps with each multiply-add. */
#include "avx2.h"

#if defined(SPC_X86) && SPC_HOSTED

#define COLUMNS 16
#define UNITS 8

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
AVX2_INLINE void sum_units(const spc_context_network *net, const __m256i *x, uint32_t unit,
                           int16_t *sums) {
    const uint32_t pairs = (net->channel.taps + 1) / 2;
    const int8_t *weights = net->pairs[0][unit];
    __m256i total[UNITS];
    for (int j = 0; j < UNITS; j++) {
        total[j] = _mm256_set1_epi16(net->biases[unit + (uint32_t)j]);
    }
    for (uint32_t p = 0; p < pairs; p++, weights += 2 * SPC_CONTEXT_UNITS) {
        for (int j = 0; j < UNITS; j++) {
            int16_t pair;
            memcpy(&pair, weights + 2 * j, sizeof pair);
            total[j] =
                _mm256_add_epi16(total[j], _mm256_maddubs_epi16(x[p], _mm256_set1_epi16(pair)));
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

AVX2_INLINE void context_sums(spc_context_state *state) {
    const spc_context_network *net = &state->net;
    const uint8_t *at = spc_context_input(state);
    int16_t *sums = state->sums;
    __m256i x[SPC_CONTEXT_TAPS / 2 + 1];
    for (size_t done = 0; done < state->block.count; done += COLUMNS, at += COLUMNS) {
        for (uint32_t i = 0; i < net->channel.taps; i += 2) {
            const __m128i even = _mm_loadu_si128((const __m128i *)(at + net->offsets[i]));
            const __m128i odd = _mm_loadu_si128((const __m128i *)(at + net->offsets[i + 1]));
            x[i / 2] = _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
        }
        sum_units(net, x, 0, sums);
        if (net->channel.units > UNITS) {
            sum_units(net, x, UNITS, sums);
        } else {
            for (int i = 0; i < COLUMNS; i++) {
                memset(sums + i * SPC_CONTEXT_UNITS + UNITS, 0, UNITS * sizeof *sums);
            }
        }
        sums += COLUMNS * SPC_CONTEXT_UNITS;
    }
}

/* Rectified sums of a symbol, times what they weigh for a node. */
AVX2_INLINE __m256i weighed(const spc_context_network *net, const int16_t *sums, uint32_t node) {
    const __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)sums);
    const __m256i floors = _mm256_loadu_si256((const __m256i *)(const void *)net->floors);
    const __m256i outputs = _mm256_loadu_si256((const __m256i *)(const void *)net->outputs[node]);
    return _mm256_madd_epi16(_mm256_max_epi16(raw, floors), outputs);
}

/* Four logits at once: those of a symbol's nodes, or of the one node of four symbols. */
AVX2_INLINE void context_logits(spc_context_state *state, uint32_t bits) {
    const spc_context_network *net = &state->net;
    const __m128i shift = _mm_cvtsi32_si128((int)net->channel.shift);
    const __m128i half = _mm_set1_epi32(1 << (net->channel.shift - 1));
    const uint32_t nodes = bits == 1 ? 1 : bits == 2 ? 4 : bits == 3 ? 8 : 16;
    int32_t *logits = state->logits;
    context_sums(state);
    for (size_t i = 0; i < state->block.count; i += bits == 1 ? 4 : 1) {
        const int16_t *sums = state->sums + i * SPC_CONTEXT_UNITS;
        for (uint32_t n = 0; n < nodes; n += 4, logits += 4) {
            __m256i x[4];
            __m128i total;
            for (uint32_t k = 0; k < 4; k++) {
                x[k] = bits == 1 ? weighed(net, sums + k * SPC_CONTEXT_UNITS, 0)
                                 : weighed(net, sums, n + k);
            }
            x[0] = _mm256_hadd_epi32(_mm256_hadd_epi32(x[0], x[1]), _mm256_hadd_epi32(x[2], x[3]));
            total = _mm_add_epi32(_mm256_castsi256_si128(x[0]), _mm256_extracti128_si256(x[0], 1));
            total = _mm_sra_epi32(_mm_add_epi32(total, half), shift);
            total = _mm_max_epi32(_mm_min_epi32(total, _mm_set1_epi32(SPC_CONTEXT_LOGIT)),
                                  _mm_set1_epi32(-SPC_CONTEXT_LOGIT));
            _mm_storeu_si128((__m128i *)(void *)logits, total);
        }
    }
}

#define CONTEXT_TARGET __attribute__((target("avx2")))
#include "../context_template.h"

AVX2 size_t spc_context_encode_avx2(spc_context_state *state, const uint8_t *symbols,
                                    uint8_t *payload, size_t cap) {
    return encode_with(state, symbols, payload, cap);
}

AVX2 int spc_context_decode_avx2(spc_context_state *state, const uint8_t *payload, size_t len,
                                 uint8_t *symbols) {
    return decode_with(state, payload, len, symbols);
}

#endif
