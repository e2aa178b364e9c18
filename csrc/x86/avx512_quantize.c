/* AVX-512: quantise floats by a binary search in registers alone. */
#include "avx512.h"

#if defined(SPC_X86)

/* 1 bit: the masks of the comparisons are the packed indices.  Above a negative threshold are all
 * floats but the negative ones of no less magnitude: a comparison of unsigned bits. */
AVX512_INLINE uint64_t compare64(int32_t threshold, int as_they_are, const float *values) {
    const __m512i limit = _mm512_set1_epi32(as_they_are ? threshold : threshold ^ INT32_MAX);
    uint64_t above = 0;
    for (int i = 0; i < 4; i++) {
        __m512i raw = _mm512_loadu_si512(values + 16 * i);
        above |= (uint64_t)(as_they_are ? _mm512_cmpgt_epi32_mask(raw, limit)
                                        : _mm512_cmplt_epu32_mask(raw, limit))
                 << (16 * i);
    }
    return above;
}

AVX512_INLINE void quantize1(int32_t threshold, int as_they_are, const float *values, size_t n,
                             int packing, uint8_t *out) {
    const __m512i one = _mm512_set1_epi8(1);
    float last[64] = {0};
    for (; n >= 64; n -= 64) {
        const uint64_t above = compare64(threshold, as_they_are, values);
        if (packing) {
            memcpy(out, &above, sizeof above);
        } else {
            _mm512_storeu_si512(out, _mm512_maskz_mov_epi8(above, one));
        }
        out += packing ? 8 : 64;
        values += 64;
    }
    if (n > 0) {
        memcpy(last, values, n * sizeof last[0]);
        (void)put(_mm512_maskz_mov_epi8(compare64(threshold, as_they_are, last), one), 1, n,
                  packing, out);
    }
}

/* `as_they_are`: no threshold is negative, as after a ReLU; then the bits of floats compare with
 * them like their keys, since those of negative floats are negative either way. */
AVX512_INLINE __m512i load_keys(const float *values, int as_they_are) {
    __m512i raw = _mm512_loadu_si512(values);
    return as_they_are ? raw : keys_of_bits(raw);
}

/* Rows of sixteen thresholds: one up to level 4, then 2, 4, 8. */
#define ROWS 19
#define FIRST_ROW(level) ((level) < 5 ? (level) : (1u << ((level) - 4)) + 3)
AVX512 static void load_rows(const int32_t *thresholds, uint32_t bits, __m512i rows[ROWS]) {
    uint8_t start[SPC_MAX_CENTROIDS] = {0}; /* the lowest index that each path leads to */
    for (uint32_t level = 0; level < bits; level++) {
        const uint32_t half = 1u << (bits - 1 - level), paths = 1u << level;
        int32_t keys[SPC_MAX_CENTROIDS / 2] = {0};
        for (uint32_t path = 0; path < paths; path++) {
            keys[path] = thresholds[start[path] + half - 1];
            start[path + paths] = (uint8_t)(start[path] + half);
        }
        for (uint32_t i = 0; 16 * i < paths; i++) {
            rows[FIRST_ROW(level) + i] = _mm512_loadu_si512(keys + 16 * i);
        }
    }
    rows[0] = _mm512_set1_epi32(thresholds[(1u << (bits - 1)) - 1]);
}

/* Levels 5 to 7, whose thresholds no single permutation finds. */
AVX512_INLINE __m512i search_deep(const __m512i rows[ROWS], uint32_t bits, __m512i keys,
                                  __m512i path) {
    __mmask16 above[8] = {0};
    for (uint32_t level = 5; level < bits; level++) {
        const __m512i *row = rows + FIRST_ROW(level);
        __m512i met[4];
        for (uint32_t i = 0; i < 1u << (level - 5); i++) {
            met[i] = _mm512_permutex2var_epi32(row[2 * i], path, row[2 * i + 1]);
        }
        for (uint32_t l = 5; l < level; l++) {
            for (uint32_t i = 0; i < 1u << (level - 1 - l); i++) {
                met[i] = _mm512_mask_blend_epi32(above[l], met[2 * i], met[2 * i + 1]);
            }
        }
        above[level] = _mm512_cmpgt_epi32_mask(keys, met[0]);
        path = _mm512_mask_or_epi32(path, above[level], path,
                                    _mm512_set1_epi32(PATH_BITS(bits, level)));
    }
    return path;
}

/* Indices of 16 * groups values, in byte 1 of their lanes. */
AVX512_INLINE void search(const __m512i rows[ROWS], uint32_t bits, int as_they_are,
                          const float *values, size_t groups, __m512i paths[BLOCK]) {
    __m512i keys[BLOCK];
    for (size_t i = 0; i < groups; i++) {
        keys[i] = load_keys(values + 16 * i, as_they_are);
        paths[i] =
            _mm512_maskz_set1_epi32(_mm512_cmpgt_epi32_mask(keys[i], rows[0]), PATH_BITS(bits, 0));
    }
    for (uint32_t level = 1; level < bits && level < 5; level++) {
        const __m512i path_bits = _mm512_set1_epi32(PATH_BITS(bits, level));
        for (size_t i = 0; i < groups; i++) {
            __m512i met = _mm512_permutexvar_epi32(paths[i], rows[level]);
            __mmask16 above = _mm512_cmpgt_epi32_mask(keys[i], met);
            paths[i] = _mm512_mask_or_epi32(paths[i], above, paths[i], path_bits);
        }
    }
    for (size_t i = 0; bits > 5 && i < groups; i++) {
        paths[i] = search_deep(rows, bits, keys[i], paths[i]);
    }
}

/* Byte 1 of each lane of four. */
AVX512_INLINE __m512i bytes1(const __m512i x[4]) {
#define BYTE1(i) (4 * (i) + 1)
#define BYTES1(i) BYTE1((i) + 3) << 24 | BYTE1((i) + 2) << 16 | BYTE1((i) + 1) << 8 | BYTE1(i)
    const __m512i byte1 =
        _mm512_broadcast_i64x4(_mm256_setr_epi32(BYTES1(0), BYTES1(4), BYTES1(8), BYTES1(12),
                                                 BYTES1(16), BYTES1(20), BYTES1(24), BYTES1(28)));
#undef BYTES1
#undef BYTE1
    return _mm512_mask_blend_epi64(0xf0, _mm512_permutex2var_epi8(x[0], byte1, x[1]),
                                   _mm512_permutex2var_epi8(x[2], byte1, x[3]));
}

AVX512_INLINE void quantize_by_search(const int32_t *thresholds, uint32_t bits, int as_they_are,
                                      const float *values, size_t n, int packing, uint8_t *out) {
    __m512i rows[ROWS], paths[BLOCK];
    load_rows(thresholds, bits, rows);
    for (; n >= 16 * BLOCK; n -= 16 * BLOCK) {
        search(rows, bits, as_they_are, values, BLOCK, paths);
        for (size_t i = 0; i < BLOCK; i += 4) {
            out = put(bytes1(paths + i), bits, 64, packing, out);
        }
        values += 16 * BLOCK;
    }
    while (n > 0) {
        const size_t count = n < 64 ? n : 64;
        float last[64] = {0};
        memcpy(last, values, count * sizeof last[0]);
        search(rows, bits, as_they_are, last, 4, paths);
        out = put(bytes1(paths), bits, count, packing, out);
        values += count;
        n -= count;
    }
}

AVX512_INLINE void quantize(const int32_t *thresholds, uint32_t bits, int as_they_are,
                            const float *values, size_t n, int packing, uint8_t *out) {
    if (bits == 1) {
        quantize1(thresholds[0], as_they_are, values, n, packing, out);
    } else {
        quantize_by_search(thresholds, bits, as_they_are, values, n, packing, out);
    }
}

AVX512 void spc_quantize_f32_avx512(const int32_t *thresholds, uint32_t bits, const float *values,
                                    size_t n, uint8_t *indices) {
    if (thresholds[0] < 0) {
        SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, 0, values, n, 0, indices))
    } else {
        SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, 1, values, n, 0, indices))
    }
}

/* Both at once: the block-wise way would load the thresholds anew for every block. */
AVX512 void spc_quantize_pack_f32_avx512(const int32_t *thresholds, uint32_t bits,
                                         const float *values, size_t n, uint8_t *packed) {
    if (thresholds[0] < 0) {
        SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, 0, values, n, 1, packed))
    } else {
        SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, 1, values, n, 1, packed))
    }
}

#endif
