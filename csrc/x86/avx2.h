/* What the AVX2 kernels share; included by them alone. */
#ifndef SPC_AVX2_H
#define SPC_AVX2_H

#include "../kernels.h"

#if defined(SPC_X86)
#include <immintrin.h>
#include <string.h>

#include "x86.h"

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

AVX2_INLINE __m256i load(const void *at) {
    return _mm256_loadu_si256((const __m256i *)at);
}

AVX2_INLINE __m256i select_by_sign(__m256i where_positive, __m256i where_negative, __m256i sign) {
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(where_positive),
                                                _mm256_castsi256_ps(where_negative),
                                                _mm256_castsi256_ps(sign)));
}

/* Keys of eight floats: see key.h. */
AVX2_INLINE __m256i load_keys(const float *values) {
    __m256i raw = load(values);
    return select_by_sign(raw, _mm256_xor_si256(raw, _mm256_set1_epi32(0x7fffffff)), raw);
}

/* Shuffle that brings the low `bits` bytes of both 64-bit lanes side by side, at byte `to`. */
AVX2_INLINE __m128i side_by_side(int bits, int to) {
#define FROM(i)                                                                                    \
    (char)((i) - to < 0          ? -1                                                              \
           : (i) - to < bits     ? (i) - to                                                        \
           : (i) - to < 2 * bits ? (i) - to + 8 - bits                                             \
                                 : -1)
    return _mm_setr_epi8(FROM(0), FROM(1), FROM(2), FROM(3), FROM(4), FROM(5), FROM(6), FROM(7),
                         FROM(8), FROM(9), FROM(10), FROM(11), FROM(12), FROM(13), FROM(14),
                         FROM(15));
#undef FROM
}

/*
 * Packs 32 indices of no bits beyond: neighbours are joined into 2, then 4 indices by a
 * multiply-add with 1 and 2^(bits of the lower neighbour), into 8 by shifting the lower four up
 * against the upper four.  That leaves `bits` bytes in each 64-bit lane.  Writes nothing beyond the
 * 4 * bits bytes.
 */
AVX2_INLINE void pack32(__m256i x, uint32_t bits, uint8_t *packed) {
    __m256i join2, join4, gap;
    if (bits == 1) {
        int32_t word = _mm256_movemask_epi8(_mm256_slli_epi16(x, 7));
        memcpy(packed, &word, sizeof word);
        return;
    }
    if (bits == 8) {
        _mm256_storeu_si256((__m256i *)(void *)packed, x);
        return;
    }
    join2 = _mm256_set1_epi16((short)(1 | 1 << (bits + 8)));
    join4 = _mm256_set1_epi32(1 | 1 << (2 * bits + 16));
    gap = _mm256_set1_epi64x(32 - 4 * (long long)bits);
    /* unsigned times signed: 2^7 fits the former only */
    x = _mm256_maddubs_epi16(join2, x);
    x = _mm256_madd_epi16(x, join4);
    x = _mm256_srli_epi64(_mm256_sllv_epi32(x, gap), (int)(32 - 4 * bits));
    if (bits <= 4) {
        const __m256i places =
            _mm256_set_m128i(side_by_side((int)bits, 2 * (int)bits), side_by_side((int)bits, 0));
        __m128i y;
        x = _mm256_shuffle_epi8(x, places);
        y = _mm_or_si128(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
        if (bits == 4) {
            _mm_storeu_si128((__m128i *)(void *)packed, y);
        } else {
            _mm_storel_epi64((__m128i *)(void *)packed, y);
        }
        if (bits == 3) {
            int32_t word = _mm_extract_epi32(y, 2);
            memcpy(packed + 8, &word, sizeof word);
        }
    } else {
        uint64_t lanes[4];
        _mm256_storeu_si256((__m256i *)(void *)lanes, x);
        /* eight bytes at once where the next lane overwrites those that are too many */
        memcpy(packed, &lanes[0], 8);
        memcpy(packed + bits, &lanes[1], 8);
        memcpy(packed + 2 * bits, &lanes[2], 8);
        memcpy(packed + 3 * bits, &lanes[3], bits);
    }
}

void spc_quantize_f32_avx2(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                           uint8_t *indices);
void spc_quantize_pack_f32_avx2(const int32_t *thresholds, uint32_t bits, const float *values,
                                size_t n, uint8_t *packed);
void spc_quantize_f16_avx2(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
                           size_t n, uint8_t *indices);
void spc_quantize_i8_avx2(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                          const uint8_t *values, size_t n, uint8_t *indices);
void spc_quantize_channels_f32_avx2(const int32_t *thresholds, uint32_t bits, size_t channels,
                                    size_t first, const float *values, size_t n, uint8_t *indices);
void spc_pack_avx2(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed);
void spc_unpack_avx2(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices);
uint32_t spc_look_up_f32_avx2(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                              float *values);
uint32_t spc_look_up_u8_avx2(const uint8_t *table, uint32_t bits, const uint8_t *indices, size_t n,
                             uint8_t *values);
uint32_t spc_look_up_u16_avx2(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                              size_t n, uint16_t *values);
void spc_unpack_look_up_f32_avx2(const float *table, uint32_t bits, const uint8_t *packed, size_t n,
                                 float *values);

size_t spc_context_encode_avx2(spc_context_state *state, const uint8_t *symbols, uint8_t *payload,
                               size_t cap);
int spc_context_decode_avx2(spc_context_state *state, const uint8_t *payload, size_t len,
                            uint8_t *symbols);

#endif
#endif
