/* AVX-512: quantise floats by a binary search in registers alone. */
#include "avx512.h"

#if defined(SPC_X86)

/* Level l of the search has 2^l thresholds: one register of them up to level 4, then 2, 4, 8. */
#define ROWS 19
#define FIRST_ROW(level) ((level) < 5 ? (level) : (1u << ((level) - 4)) + 3)

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
AVX512_INLINE __m512i search(const __m512i rows[ROWS], uint32_t bits, __m512i keys) {
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

/* `as_they_are`: no threshold is negative, as after a ReLU; then the bits of floats compare with
 * them like their keys, since those of negative floats are negative either way. */
AVX512_INLINE __m512i load_keys(const float *values, int as_they_are) {
    __m512i raw = _mm512_loadu_si512(values);
    return as_they_are ? raw : keys_of_bits(raw);
}

/* Indices of 64 values. */
AVX512_INLINE __m512i quantize64(const __m512i rows[ROWS], uint32_t bits, int as_they_are,
                                 const float *values) {
#define BYTE1(i) (4 * (i) + 1)
#define BYTES1(i) BYTE1((i) + 3) << 24 | BYTE1((i) + 2) << 16 | BYTE1((i) + 1) << 8 | BYTE1(i)
    const __m512i byte1 =
        _mm512_broadcast_i64x4(_mm256_setr_epi32(BYTES1(0), BYTES1(4), BYTES1(8), BYTES1(12),
                                                 BYTES1(16), BYTES1(20), BYTES1(24), BYTES1(28)));
#undef BYTES1
#undef BYTE1
    __m512i a = search(rows, bits, load_keys(values, as_they_are));
    __m512i b = search(rows, bits, load_keys(values + 16, as_they_are));
    __m512i c = search(rows, bits, load_keys(values + 32, as_they_are));
    __m512i d = search(rows, bits, load_keys(values + 48, as_they_are));
    a = _mm512_permutex2var_epi8(a, byte1, b);
    c = _mm512_permutex2var_epi8(c, byte1, d);
    return _mm512_mask_blend_epi64(0xf0, a, c);
}

AVX512_INLINE void quantize(const int32_t *thresholds, uint32_t bits, int as_they_are,
                            const float *values, size_t n, uint8_t *indices) {
    __m512i rows[ROWS];
    size_t done = 0;
    load_rows(thresholds, bits, rows);
    for (; done + 64 <= n; done += 64) {
        _mm512_storeu_si512(indices + done, quantize64(rows, bits, as_they_are, values + done));
    }
    if (done < n) {
        float last[64] = {0};
        memcpy(last, values + done, (n - done) * sizeof last[0]);
        _mm512_mask_storeu_epi8(indices + done, first(n - done),
                                quantize64(rows, bits, as_they_are, last));
    }
}

AVX512 void spc_quantize_f32_avx512(const int32_t *thresholds, uint32_t bits, const float *values,
                                    size_t n, uint8_t *indices) {
    if (thresholds[0] < 0) {
        SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, 0, values, n, indices))
    } else {
        SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, 1, values, n, indices))
    }
}

/* 1 bit: the masks of the comparisons are the packed bits.  Above a negative threshold are all
 * floats but the negative ones of no less magnitude: a comparison of unsigned bits. */
AVX512_INLINE __mmask16 above_one(int32_t threshold, int as_they_are, const float *values) {
    const __m512i raw = _mm512_loadu_si512(values);
    return as_they_are ? _mm512_cmpgt_epi32_mask(raw, _mm512_set1_epi32(threshold))
                       : _mm512_cmplt_epu32_mask(raw, _mm512_set1_epi32(threshold ^ 0x7fffffff));
}

/* The 8 * bits bytes of 64 values. */
AVX512_INLINE void quantize_pack64(const __m512i rows[ROWS], const int32_t *thresholds,
                                   uint32_t bits, int as_they_are, const float *values,
                                   uint8_t *packed) {
    if (bits == 1) {
        for (size_t i = 0; i < 4; i++) {
            uint16_t mask = (uint16_t)above_one(thresholds[0], as_they_are, values + 16 * i);
            memcpy(packed + 2 * i, &mask, sizeof mask);
        }
    } else {
        __m512i x = pack64(quantize64(rows, bits, as_they_are, values), bits);
        _mm512_mask_storeu_epi8(packed, first(8 * bits), x);
    }
}

/* Both at once: the block-wise way would load the rows anew for every block. */
AVX512_INLINE void quantize_pack(const int32_t *thresholds, uint32_t bits, int as_they_are,
                                 const float *values, size_t n, uint8_t *packed) {
    __m512i rows[ROWS];
    size_t done = 0;
    if (bits == 8) { /* packed as they are */
        quantize(thresholds, bits, as_they_are, values, n, packed);
        return;
    }
    load_rows(thresholds, bits, rows);
    for (; done + 64 <= n; done += 64) {
        quantize_pack64(rows, thresholds, bits, as_they_are, values + done, packed);
        packed += 8 * bits;
    }
    if (done < n) {
        float last[64] = {0};
        __m512i x;
        memcpy(last, values + done, (n - done) * sizeof last[0]);
        x = _mm512_maskz_mov_epi8(first(n - done), quantize64(rows, bits, as_they_are, last));
        _mm512_mask_storeu_epi8(packed, first(spc_packed_size(n - done, bits)), pack64(x, bits));
    }
}

AVX512 void spc_quantize_pack_f32_avx512(const int32_t *thresholds, uint32_t bits,
                                         const float *values, size_t n, uint8_t *packed) {
    if (thresholds[0] < 0) {
        SPC_WITH_CONSTANT_BITS(bits, quantize_pack(thresholds, BITS, 0, values, n, packed))
    } else {
        SPC_WITH_CONSTANT_BITS(bits, quantize_pack(thresholds, BITS, 1, values, n, packed))
    }
}

#endif
