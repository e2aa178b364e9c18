/* What the AVX-512 kernels share; included by them alone.  Everything goes by 64 elements, what is
 * left at the end by masks. */
#ifndef SPC_AVX512_H
#define SPC_AVX512_H

#include "../kernels.h"

#if defined(SPC_X86)
#include <immintrin.h>
#include <string.h>

#include "x86.h"

#define AVX512_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi"
#define AVX512 __attribute__((target(AVX512_TARGET)))
#define AVX512_INLINE __attribute__((target(AVX512_TARGET), always_inline)) static inline

/* Mask of the first `count` of 64; count > 0. */
AVX512_INLINE __mmask64 first(size_t count) {
    return ~0ull >> (64 - count);
}

/* Keys of sixteen floats, from their bits: see key.h.  raw ^ (sign & magnitude) */
AVX512_INLINE __m512i keys_of_bits(__m512i raw) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    return _mm512_ternarylogic_epi32(raw, _mm512_srai_epi32(raw, 31), magnitude, 0x78);
}

/* The 8 * bits bytes of 64 indices that have no bits beyond: neighbours are joined into 2, then 4
 * indices by a multiply-add with 1 and 2^(bits of the lower neighbour), into 8 by shifting the
 * lower four up against the upper four; then the used bytes of the lanes are moved together.  2 and
 * 4 bits have whole bytes before the end. */
AVX512_INLINE __m512i pack64(__m512i x, uint32_t bits) {
    if (bits == 8) {
        return x;
    }
    const __m512i join2 = _mm512_set1_epi16((short)(1 | 1 << (bits + 8)));
    const __m512i join4 = _mm512_set1_epi32(1 | 1 << (2 * bits + 16));
    const __m512i gap = _mm512_set1_epi64(32 - 4 * (long long)bits);
#define PLACE(i)                                                                                   \
    (char)(bits == 4 ? 2 * (i) : bits == 2 ? 4 * (i) : (i) / (int)bits * 8 + (i) % (int)bits)
#define PLACES(i)                                                                                  \
    PLACE((i) + 7), PLACE((i) + 6), PLACE((i) + 5), PLACE((i) + 4), PLACE((i) + 3),                \
        PLACE((i) + 2), PLACE((i) + 1), PLACE(i)
    const __m512i places = _mm512_set_epi8(PLACES(56), PLACES(48), PLACES(40), PLACES(32),
                                           PLACES(24), PLACES(16), PLACES(8), PLACES(0));
#undef PLACES
#undef PLACE
    /* unsigned times signed: 2^7 fits the former only */
    x = _mm512_maddubs_epi16(join2, x);
    if (bits != 4) {
        x = _mm512_madd_epi16(x, join4);
    }
    if (bits != 4 && bits != 2) {
        x = _mm512_srli_epi64(_mm512_sllv_epi32(x, gap), 32 - 4 * bits);
    }
    return _mm512_permutexvar_epi8(places, x);
}

/* Stores up to 64 indices, each a byte of x, as they are or packed; returns where the next go. */
AVX512_INLINE uint8_t *put(__m512i x, uint32_t bits, size_t count, int packing, uint8_t *out) {
    if (packing) {
        x = count < 64 ? _mm512_maskz_mov_epi8(first(count), x) : x;
        _mm512_mask_storeu_epi8(out, first((count * bits + 7) / 8), pack64(x, bits));
        return out + 8 * bits;
    }
    _mm512_mask_storeu_epi8(out, first(count), x);
    return out + 64;
}

/*
 * The search for an index: level l has 2^l thresholds, in one register or several.  A block goes
 * through each level before the next, because permutations and comparisons take long.
 *
 * Bit l of a path is set where the value was above its threshold at level l, so that the path is
 * the index from the other end; the index itself grows in byte 1, and no step has to shift either.
 */
#define PATH_BITS(bits, level) (1 << (level) | 1 << (8 + (bits) - 1 - (level)))
#define BLOCK 8

void spc_quantize_f32_avx512(const int32_t *thresholds, uint32_t bits, const float *values,
                             size_t n, uint8_t *indices);
void spc_quantize_pack_f32_avx512(const int32_t *thresholds, uint32_t bits, const float *values,
                                  size_t n, uint8_t *packed);
void spc_quantize_f16_avx512(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
                             size_t n, uint8_t *indices);
void spc_quantize_channels_f32_avx512(const int32_t *thresholds, uint32_t bits, size_t channels,
                                      size_t first, const float *values, size_t n,
                                      uint8_t *indices);
void spc_pack_avx512(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed);
void spc_unpack_avx512(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices);
uint32_t spc_look_up_f32_avx512(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                                float *values);
uint32_t spc_look_up_u16_avx512(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                size_t n, uint16_t *values);
uint32_t spc_look_up_u8_avx512(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                               size_t n, uint8_t *values);
void spc_unpack_look_up_f32_avx512(const float *table, uint32_t bits, const uint8_t *packed,
                                   size_t n, float *values);

size_t spc_context_encode_avx512(spc_context_state *state, const uint8_t *symbols, uint8_t *payload,
                                 size_t cap);
int spc_context_decode_avx512(spc_context_state *state, const uint8_t *payload, size_t len,
                              uint8_t *symbols);

#endif
#endif
