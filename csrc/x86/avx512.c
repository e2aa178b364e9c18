/* AVX-512, as of Ice Lake and Zen 4: quantise by a binary search in registers alone, pack by
 * multiply-add, unpack by multishift.  Everything goes by 64 indices. */
#include "../kernels.h"

#if defined(SPC_X86)
#include <immintrin.h>
#include <string.h>

#include "x86.h"

#define TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi"
#define AVX512 __attribute__((target(TARGET)))
#define AVX512_INLINE __attribute__((target(TARGET), always_inline)) static inline

/* Mask of the first `count` of 64; count > 0. */
AVX512_INLINE __mmask64 first(size_t count) {
    return ~0ull >> (64 - count);
}

/* ------------------------------------------------------------------ quantise */

/* Level l of the search has 2^l thresholds: one register of them up to level 4, then 2, 4, 8. */
#define ROWS 19
#define FIRST_ROW(level) ((level) < 5 ? (level) : (1u << ((level) - 4)) + 3)

AVX512_INLINE __m512i load_keys(const float *values) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i raw = _mm512_loadu_si512(values);
    /* raw ^ (sign & magnitude) */
    return _mm512_ternarylogic_epi32(raw, _mm512_srai_epi32(raw, 31), magnitude, 0x78);
}

/* The threshold that each value meets at `level`.  Bit l of `path`, and above[l], is set where the
 * value was above its threshold at level l; permutations look at the lowest 4 or 5 bits. */
AVX512_INLINE __m512i pick(const __m512i rows[ROWS], uint32_t level, __m512i path,
                           const __mmask16 above[8]) {
    __m512i a, b, c, d;
    rows += FIRST_ROW(level);
    if (level == 0) {
        return rows[0];
    }
    if (level < 5) {
        return _mm512_permutexvar_epi32(path, rows[0]);
    }
    a = _mm512_permutex2var_epi32(rows[0], path, rows[1]);
    if (level == 5) {
        return a;
    }
    b = _mm512_permutex2var_epi32(rows[2], path, rows[3]);
    a = _mm512_mask_blend_epi32(above[5], a, b);
    if (level == 6) {
        return a;
    }
    c = _mm512_permutex2var_epi32(rows[4], path, rows[5]);
    d = _mm512_permutex2var_epi32(rows[6], path, rows[7]);
    c = _mm512_mask_blend_epi32(above[5], c, d);
    return _mm512_mask_blend_epi32(above[6], a, c);
}

/* Indices of 16 values, in byte 1 of their lanes: byte 0 collects the path, which is the index from
 * the other end, so that no step has to shift either. */
AVX512_INLINE __m512i search(const __m512i rows[ROWS], uint32_t bits, const float *values) {
    const __m512i keys = load_keys(values);
    __m512i path = _mm512_setzero_si512();
    __mmask16 above[8];
    for (uint32_t level = 0; level < bits; level++) {
        const __m512i bit = _mm512_set1_epi32(1 << level | 1 << (8 + bits - 1 - level));
        above[level] = _mm512_cmpgt_epi32_mask(keys, pick(rows, level, path, above));
        path = _mm512_mask_or_epi32(path, above[level], path, bit);
    }
    return path;
}

/* The thresholds of each level, by path: start[path] is the lowest index that it leads to. */
AVX512_INLINE void load_rows(const int32_t *thresholds, uint32_t bits, __m512i rows[ROWS]) {
    uint8_t start[SPC_MAX_CENTROIDS] = {0};
    for (uint32_t level = 0; level < bits; level++) {
        const uint32_t half = 1u << (bits - 1 - level), paths = 1u << level;
        int32_t keys[SPC_MAX_CENTROIDS / 2];
        for (uint32_t path = 0; path < paths; path++) {
            keys[path] = thresholds[start[path] + half - 1];
            start[path + paths] = (uint8_t)(start[path] + half);
        }
        for (uint32_t path = paths; path < 16; path++) {
            keys[path] = 0; /* looked up by none */
        }
        for (uint32_t i = 0; 16 * i < paths; i++) {
            rows[FIRST_ROW(level) + i] = _mm512_loadu_si512(keys + 16 * i);
        }
    }
    rows[0] = _mm512_set1_epi32(thresholds[(1u << (bits - 1)) - 1]);
}

/* Indices of 64 values. */
AVX512_INLINE __m512i quantize64(const __m512i rows[ROWS], uint32_t bits, const float *values) {
#define BYTE1(i) (4 * (i) + 1)
#define BYTES1(i) BYTE1((i) + 3) << 24 | BYTE1((i) + 2) << 16 | BYTE1((i) + 1) << 8 | BYTE1(i)
    const __m512i byte1 =
        _mm512_broadcast_i64x4(_mm256_setr_epi32(BYTES1(0), BYTES1(4), BYTES1(8), BYTES1(12),
                                                 BYTES1(16), BYTES1(20), BYTES1(24), BYTES1(28)));
#undef BYTES1
#undef BYTE1
    __m512i a = search(rows, bits, values), b = search(rows, bits, values + 16);
    __m512i c = search(rows, bits, values + 32), d = search(rows, bits, values + 48);
    a = _mm512_permutex2var_epi8(a, byte1, b);
    c = _mm512_permutex2var_epi8(c, byte1, d);
    return _mm512_mask_blend_epi64(0xf0, a, c);
}

AVX512_INLINE void quantize(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                            uint8_t *indices) {
    __m512i rows[ROWS];
    size_t done = 0;
    load_rows(thresholds, bits, rows);
    for (; done + 64 <= n; done += 64) {
        _mm512_storeu_si512(indices + done, quantize64(rows, bits, values + done));
    }
    if (done < n) {
        float last[64] = {0};
        memcpy(last, values + done, (n - done) * sizeof last[0]);
        _mm512_mask_storeu_epi8(indices + done, first(n - done), quantize64(rows, bits, last));
    }
}

AVX512 static void quantize_f32_avx512(const int32_t *thresholds, uint32_t bits,
                                       const float *values, size_t n, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, values, n, indices))}

/* ------------------------------------------------------------------ pack */

/* The 8 * bits bytes of 64 indices that have no bits beyond: neighbours are joined into 2, then 4
 * indices by a multiply-add with 1 and 2^(bits of the lower neighbour), into 8 by shifting the
 * lower four up against the upper four; then the used bytes of the lanes are moved together. */
AVX512_INLINE __m512i pack64(__m512i x, uint32_t bits) {
    if (bits == 8) {
        return x;
    }
    const __m512i join2 = _mm512_set1_epi16((short)(1 | 1 << (bits + 8)));
    const __m512i join4 = _mm512_set1_epi32(1 | 1 << (2 * bits + 16));
    const __m512i gap = _mm512_set1_epi64(32 - 4 * (long long)bits);
#define PLACE(i) (char)((i) / (int)bits * 8 + (i) % (int)bits)
#define PLACES(i)                                                                                  \
    PLACE((i) + 7), PLACE((i) + 6), PLACE((i) + 5), PLACE((i) + 4), PLACE((i) + 3),                \
        PLACE((i) + 2), PLACE((i) + 1), PLACE(i)
    const __m512i places = _mm512_set_epi8(PLACES(56), PLACES(48), PLACES(40), PLACES(32),
                                           PLACES(24), PLACES(16), PLACES(8), PLACES(0));
#undef PLACES
#undef PLACE
    /* unsigned times signed: 2^7 fits the former only */
    x = _mm512_maddubs_epi16(join2, x);
    x = _mm512_madd_epi16(x, join4);
    x = _mm512_srli_epi64(_mm512_sllv_epi32(x, gap), 32 - 4 * bits);
    return _mm512_permutexvar_epi8(places, x);
}

AVX512_INLINE void pack(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));
    size_t done = 0;
    for (; done + 64 <= n; done += 64) {
        __m512i x = _mm512_and_si512(_mm512_loadu_si512(indices + done), mask);
        _mm512_mask_storeu_epi8(packed, first(8 * bits), pack64(x, bits));
        packed += 8 * bits;
    }
    if (done < n) {
        __m512i x = _mm512_maskz_loadu_epi8(first(n - done), indices + done);
        x = pack64(_mm512_and_si512(x, mask), bits);
        _mm512_mask_storeu_epi8(packed, first(spc_packed_size(n - done, bits)), x);
    }
}

AVX512 static void pack_avx512(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed){
    SPC_WITH_CONSTANT_BITS(bits, pack(indices, n, BITS, packed))}

/* Both at once: the block-wise way would load the rows anew for every block. */
AVX512_INLINE void quantize_pack(const int32_t *thresholds, uint32_t bits, const float *values,
                                 size_t n, uint8_t *packed) {
    __m512i rows[ROWS];
    size_t done = 0;
    load_rows(thresholds, bits, rows);
    for (; done + 64 <= n; done += 64) {
        __m512i x = pack64(quantize64(rows, bits, values + done), bits);
        _mm512_mask_storeu_epi8(packed, first(8 * bits), x);
        packed += 8 * bits;
    }
    if (done < n) {
        float last[64] = {0};
        memcpy(last, values + done, (n - done) * sizeof last[0]);
        __m512i x = _mm512_maskz_mov_epi8(first(n - done), quantize64(rows, bits, last));
        x = pack64(x, bits);
        _mm512_mask_storeu_epi8(packed, first(spc_packed_size(n - done, bits)), x);
    }
}

AVX512 static void quantize_pack_f32_avx512(const int32_t *thresholds, uint32_t bits,
                                            const float *values, size_t n, uint8_t *packed){
    SPC_WITH_CONSTANT_BITS(bits, quantize_pack(thresholds, BITS, values, n, packed))}

/* ------------------------------------------------------------------ unpack */

/* 64 indices: the `bits` bytes of each eight into their lane, then index i to byte i of it. */
AVX512_INLINE __m512i unpack64(__m512i x, uint32_t bits) {
#define EACH_BYTE 0x0101010101010101
#define FROM(lane) (0x0706050403020100 + (lane) * (long long)bits * EACH_BYTE)
    const __m512i places =
        _mm512_setr_epi64(FROM(0), FROM(1), FROM(2), FROM(3), FROM(4), FROM(5), FROM(6), FROM(7));
#undef FROM
    const __m512i shifts = _mm512_set1_epi64((long long)bits * 0x0706050403020100);
    const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));
    if (bits == 8) {
        return x;
    }
    x = _mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(places, x));
    return _mm512_and_si512(x, mask);
}

AVX512_INLINE void unpack(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    size_t done = 0;
    for (; done + 64 <= n; done += 64) {
        __m512i x = _mm512_maskz_loadu_epi8(first(8 * bits), packed);
        _mm512_storeu_si512(indices + done, unpack64(x, bits));
        packed += 8 * bits;
    }
    if (done < n) {
        __m512i x = _mm512_maskz_loadu_epi8(first(spc_packed_size(n - done, bits)), packed);
        _mm512_mask_storeu_epi8(indices + done, first(n - done), unpack64(x, bits));
    }
}

AVX512 static void unpack_avx512(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(bits, unpack(packed, n, BITS, indices))
}

const spc_kernels spc_kernels_avx512 = {
    .name = "avx512",
    .features = SPC_CPU_AVX512 | SPC_CPU_AVX2 | SPC_CPU_SSE42,
    .quantize_f32 = quantize_f32_avx512,
    .quantize_f16 = spc_quantize_f16_reference,
    .quantize_channels_f32 = spc_quantize_channels_f32_reference,
    .pack = pack_avx512,
    .unpack = unpack_avx512,
    .look_up_f32 = spc_look_up_f32_avx2,
    .look_up_u16 = spc_look_up_u16_reference,
    .look_up_u8 = spc_look_up_u8_avx2,
    .quantize_pack_f32 = quantize_pack_f32_avx512,
    .crc32c = spc_crc32c_sse42,
};

#endif
