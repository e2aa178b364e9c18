/* AVX2: quantise by a binary search whose upper levels sit in registers. */
#include "avx2.h"

#if defined(SPC_X86)

/* Level l of the search has 2^l thresholds: one register of them up to level 3, two at level 4,
 * four at level 5. */
#define REGISTER_LEVELS 6
#define ROWS 10

AVX2_INLINE __m256i select_by_sign(__m256i where_positive, __m256i where_negative, __m256i sign) {
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(where_positive),
                                                _mm256_castsi256_ps(where_negative),
                                                _mm256_castsi256_ps(sign)));
}

/* rows[...][index] of one level; a permutation looks at the lowest 3 bits of the index. */
AVX2_INLINE __m256i pick(const __m256i rows[ROWS], uint32_t level, __m256i index) {
    const __m256i bit3 = _mm256_slli_epi32(index, 28), bit4 = _mm256_slli_epi32(index, 27);
    __m256i a, b;
    if (level < 4) {
        return _mm256_permutevar8x32_epi32(rows[level], index);
    }
    rows += level == 4 ? 4 : 6;
    a = select_by_sign(_mm256_permutevar8x32_epi32(rows[0], index),
                       _mm256_permutevar8x32_epi32(rows[1], index), bit3);
    if (level == 4) {
        return a;
    }
    b = select_by_sign(_mm256_permutevar8x32_epi32(rows[2], index),
                       _mm256_permutevar8x32_epi32(rows[3], index), bit3);
    return select_by_sign(a, b, bit4);
}

/* The upper `levels` bits of the indices of 8 values: at each level the threshold to compare with
 * is picked by the index so far. */
AVX2_INLINE __m256i search(const __m256i rows[ROWS], uint32_t levels, __m256i keys) {
    __m256i index = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_cmpgt_epi32(keys, rows[0]));
    for (uint32_t level = 1; level < levels; level++) {
        __m256i threshold = pick(rows, level, index);
        index =
            _mm256_sub_epi32(_mm256_add_epi32(index, index), _mm256_cmpgt_epi32(keys, threshold));
    }
    return index;
}

/* The thresholds of a level, eight by eight; one that is alone fills its row. */
AVX2_INLINE void load_rows(const int32_t *thresholds, uint32_t bits, uint32_t levels,
                           __m256i rows[ROWS]) {
    __m256i *row = rows;
    for (uint32_t level = 0; level < levels; level++) {
        for (uint32_t first = 0; first < 1u << level; first += 8) {
            int32_t keys[8];
            for (uint32_t i = 0; i < 8; i++) {
                uint32_t at = (first + i) % (1u << level);
                keys[i] = thresholds[((2 * at + 1) << (bits - 1 - level)) - 1];
            }
            *row++ = _mm256_loadu_si256((const __m256i *)(const void *)keys);
        }
    }
}

/* 32 indices in 32 bytes. */
AVX2_INLINE __m256i join_bytes(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_permutevar8x32_epi32(bytes, in_order);
}

/*
 * What a call prepares.  `as_they_are` is a constant wherever this is used: if no threshold is
 * negative, as after a ReLU, the bits of floats compare with them like their keys, since those of
 * negative floats are negative either way.
 */
typedef struct search_tables {
    uint32_t bits;
    int as_they_are;
    __m256i rows[ROWS];
    int32_t eights[SPC_MAX_CENTROIDS];
} search_tables;

AVX2_INLINE void prepare(const int32_t *thresholds, uint32_t bits, int as_they_are,
                         search_tables *t) {
    t->bits = bits;
    t->as_they_are = as_they_are;
    memset(t->rows, 0, sizeof t->rows); /* compilers do not see that those used are filled */
    load_rows(thresholds, bits, bits > REGISTER_LEVELS ? bits - 3 : bits, t->rows);
    if (bits > REGISTER_LEVELS) {
        memcpy(t->eights, thresholds, ((1u << bits) - 1) * sizeof t->eights[0]);
        t->eights[(1u << bits) - 1] = INT32_MAX;
    }
}

AVX2_INLINE __m256i keys_of(const search_tables *t, const float *values) {
    return t->as_they_are ? _mm256_loadu_si256((const __m256i *)(const void *)values)
                          : load_keys(values);
}

/* 7 and 8 bits: the upper levels leave seven thresholds side by side, and an eighth that is not
 * below the key.  Comparing them at once takes less than gathers do, which a last level or two
 * would need. */
AVX2_INLINE __m256i quantize32_wide(const search_tables *t, const float *values) {
    uint8_t indices[32];
    uint32_t eight[32];
    int32_t keys[32];
    for (uint32_t i = 0; i < 32; i += 8) {
        __m256i key = keys_of(t, values + i);
        __m256i index = _mm256_slli_epi32(search(t->rows, t->bits - 3, key), 3);
        _mm256_storeu_si256((__m256i *)(void *)(keys + i), key);
        _mm256_storeu_si256((__m256i *)(void *)(eight + i), index);
    }
    for (uint32_t i = 0; i < 32; i++) {
        const void *at = t->eights + eight[i];
        __m256i below =
            _mm256_cmpgt_epi32(_mm256_set1_epi32(keys[i]), _mm256_loadu_si256((const __m256i *)at));
        uint32_t mask = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(below));
        indices[i] = (uint8_t)(eight[i] + (uint32_t)__builtin_ctz(~mask));
    }
    return _mm256_loadu_si256((const __m256i *)(const void *)indices);
}

/* Indices of 32 values. */
AVX2_INLINE __m256i quantize32(const search_tables *t, const float *values) {
    if (t->bits > REGISTER_LEVELS) {
        return quantize32_wide(t, values);
    }
    return join_bytes(search(t->rows, t->bits, keys_of(t, values)),
                      search(t->rows, t->bits, keys_of(t, values + 8)),
                      search(t->rows, t->bits, keys_of(t, values + 16)),
                      search(t->rows, t->bits, keys_of(t, values + 24)));
}

/* Inlined once per bit width, so that the loop over levels unrolls. */
AVX2_INLINE void quantize(const int32_t *thresholds, uint32_t bits, int as_they_are,
                          const float *values, size_t n, uint8_t *indices) {
    search_tables t;
    size_t done = 0;
    prepare(thresholds, bits, as_they_are, &t);
    for (; done + 32 <= n; done += 32) {
        _mm256_storeu_si256((__m256i *)(void *)(indices + done), quantize32(&t, values + done));
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, indices + done);
}

AVX2 void spc_quantize_f32_avx2(const int32_t *thresholds, uint32_t bits, const float *values,
                                size_t n, uint8_t *indices) {
    if (thresholds[0] < 0) {
        SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, 0, values, n, indices))
    } else {
        SPC_WITH_CONSTANT_BITS(bits, quantize(thresholds, BITS, 1, values, n, indices))
    }
}

/* 1 bit: the sign bits of four comparisons are the packed bits.  Above a negative threshold are all
 * floats but the negative ones of no less magnitude: a comparison of unsigned bits. */
AVX2_INLINE size_t quantize_pack1(int32_t threshold, int as_they_are, const float *values, size_t n,
                                  uint8_t *packed) {
    const __m256i flip = _mm256_set1_epi32(INT32_MIN);
    const __m256i limit = _mm256_set1_epi32(as_they_are ? threshold : ~threshold);
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        for (size_t i = 0; i < 32; i += 8) {
            __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)(values + done + i));
            __m256i above = as_they_are ? _mm256_cmpgt_epi32(raw, limit)
                                        : _mm256_cmpgt_epi32(limit, _mm256_xor_si256(raw, flip));
            *packed++ = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(above));
        }
    }
    return done;
}

AVX2_INLINE void quantize_pack(const int32_t *thresholds, uint32_t bits, int as_they_are,
                               const float *values, size_t n, uint8_t *packed) {
    search_tables t;
    uint8_t last[32];
    size_t done = 0;
    if (bits == 1) {
        done = quantize_pack1(thresholds[0], as_they_are, values, n, packed);
        packed += done / 8;
    } else {
        prepare(thresholds, bits, as_they_are, &t);
        for (; done + 32 <= n; done += 32) {
            pack32(quantize32(&t, values + done), bits, packed);
            packed += 4 * bits;
        }
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, last);
    spc_pack_reference(last, n - done, bits, packed);
}

AVX2 void spc_quantize_pack_f32_avx2(const int32_t *thresholds, uint32_t bits, const float *values,
                                     size_t n, uint8_t *packed) {
    if (thresholds[0] < 0) {
        SPC_WITH_CONSTANT_BITS(bits, quantize_pack(thresholds, BITS, 0, values, n, packed))
    } else {
        SPC_WITH_CONSTANT_BITS(bits, quantize_pack(thresholds, BITS, 1, values, n, packed))
    }
}

#endif
