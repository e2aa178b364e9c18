/* AVX2: quantise floats by a binary search in registers, and rows of three thresholds. */
#include "avx2.h"

#if defined(SPC_X86)

/*
 * The indices so far are kept negative, because that is how comparisons count.  The first two
 * levels of the search are three comparisons that do not wait for each other; level l after that
 * has 2^l thresholds: one register of them at levels 2 and 3, two at level 4.  The last two or four
 * levels of 6 to 8 bits go two at a time: each value loads the three thresholds that it may meet.
 * A block goes through each level before the next, because each waits long for the one before.
 */
#define BLOCK 8
#define ROWS 7

typedef struct tables {
    __m256i rows[ROWS];
    int32_t threes[2][64][4];
} tables;

/* rows[...][index] of one level; a permutation looks at the lowest 3 bits of the index. */
AVX2_INLINE __m256i pick(const __m256i rows[ROWS], uint32_t level, __m256i index) {
    if (level < 4) {
        return _mm256_permutevar8x32_epi32(rows[level + 1], index);
    }
    return select_by_sign(_mm256_permutevar8x32_epi32(rows[5], index),
                          _mm256_permutevar8x32_epi32(rows[6], index),
                          _mm256_slli_epi32(index, 28));
}

/* Two levels further, from the index `at`. */
AVX2_INLINE __m256i add_threes(const int32_t threes[64][4], const uint32_t at[8], __m256i keys,
                               __m256i index) {
    __m256i row[4], low[2], high[2];
    for (int i = 0; i < 4; i++) {
        row[i] = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(const void *)threes[at[i + 4]]),
                                  _mm_loadu_si128((const __m128i *)(const void *)threes[at[i]]));
    }
    for (int i = 0; i < 2; i++) {
        low[i] = _mm256_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
        high[i] = _mm256_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
    }
    row[0] = _mm256_cmpgt_epi32(keys, _mm256_unpacklo_epi64(low[0], low[1]));
    row[1] = _mm256_cmpgt_epi32(keys, _mm256_unpackhi_epi64(low[0], low[1]));
    row[2] = _mm256_cmpgt_epi32(keys, _mm256_unpacklo_epi64(high[0], high[1]));
    index = _mm256_add_epi32(_mm256_slli_epi32(index, 2), row[0]);
    return _mm256_add_epi32(index, _mm256_add_epi32(row[1], row[2]));
}

/* Level from which on the search goes two at a time. */
#define FIRST_TWO(bits) ((bits) < 6 ? (bits) : (bits) == 7 ? 5u : 4u)

/* Minus the indices of a block. */
AVX2_INLINE void search(const tables *t, uint32_t bits, const __m256i keys[BLOCK],
                        __m256i index[BLOCK]) {
    for (int i = 0; i < BLOCK; i++) {
        index[i] = _mm256_cmpgt_epi32(keys[i], t->rows[0]);
        if (bits > 1) {
            index[i] = _mm256_add_epi32(index[i], _mm256_cmpgt_epi32(keys[i], t->rows[1]));
            index[i] = _mm256_add_epi32(index[i], _mm256_cmpgt_epi32(keys[i], t->rows[2]));
        }
    }
    for (uint32_t level = 2; level < FIRST_TWO(bits); level++) {
        for (int i = 0; i < BLOCK; i++) {
            __m256i above = _mm256_cmpgt_epi32(keys[i], pick(t->rows, level, index[i]));
            index[i] = _mm256_add_epi32(_mm256_add_epi32(index[i], index[i]), above);
        }
    }
    for (uint32_t level = FIRST_TWO(bits); level < bits; level += 2) {
        uint32_t at[BLOCK][8];
        for (int i = 0; i < BLOCK; i++) {
            _mm256_storeu_si256((__m256i *)(void *)at[i], _mm256_abs_epi32(index[i]));
        }
        for (int i = 0; i < BLOCK; i++) {
            index[i] = add_threes(t->threes[(level - 4) / 2], at[i], keys[i], index[i]);
        }
    }
}

/* Rows in the order of the lowest bits of negative indices. */
AVX2 static void load_tables(const int32_t *thresholds, uint32_t bits, tables *t) {
    __m256i *row = t->rows;
    for (uint32_t i = 1; i <= (bits == 1 ? 1u : 3u); i++) {
        *row++ = _mm256_set1_epi32(thresholds[bits == 1 ? 0 : (i << (bits - 2)) - 1]);
    }
    for (uint32_t level = 2; level < FIRST_TWO(bits); level++) {
        for (uint32_t first = 0; first < 1u << level; first += 8) {
            int32_t keys[8];
            for (uint32_t i = 0; i < 8; i++) {
                uint32_t at = (0 - (first + i)) % (1u << level);
                keys[i] = thresholds[((2 * at + 1) << (bits - 1 - level)) - 1];
            }
            *row++ = load(keys);
        }
    }
    for (uint32_t level = FIRST_TWO(bits); level < bits; level += 2) {
        for (uint32_t i = 0; i < 1u << level; i++) {
            int32_t *three = t->threes[(level - 4) / 2][i];
            for (uint32_t k = 0; k < 4; k++) {
                three[k] = k < 3 ? thresholds[((4 * i + k + 1) << (bits - 2 - level)) - 1] : 0;
            }
        }
    }
}

/* The bytes that are minus the 32 numbers. */
AVX2_INLINE __m256i negative_bytes(const __m256i x[4]) {
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i low = _mm256_abs_epi16(_mm256_packs_epi32(x[0], x[1]));
    __m256i high = _mm256_abs_epi16(_mm256_packs_epi32(x[2], x[3]));
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), in_order);
}

/* `as_they_are`: no threshold is negative, as after a ReLU; then the bits of floats compare with
 * them like their keys, since those of negative floats are negative either way. */
AVX2_INLINE void quantize64(const tables *t, uint32_t bits, int as_they_are, const float *values,
                            __m256i bytes[2]) {
    __m256i keys[BLOCK], index[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        keys[i] = as_they_are ? load(values + 8 * i) : load_keys(values + 8 * i);
    }
    search(t, bits, keys, index);
    bytes[0] = negative_bytes(index);
    bytes[1] = negative_bytes(index + 4);
}

/* Inlined once per bit width, so that the loop over levels unrolls. */
AVX2_INLINE void quantize(const int32_t *thresholds, uint32_t bits, int as_they_are,
                          const float *values, size_t n, uint8_t *indices) {
    tables t;
    __m256i bytes[2];
    size_t done = 0;
    load_tables(thresholds, bits, &t);
    for (; done + 64 <= n; done += 64) {
        quantize64(&t, bits, as_they_are, values + done, bytes);
        _mm256_storeu_si256((__m256i *)(void *)(indices + done), bytes[0]);
        _mm256_storeu_si256((__m256i *)(void *)(indices + done + 32), bytes[1]);
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
            __m256i raw = load(values + done + i);
            __m256i above = as_they_are ? _mm256_cmpgt_epi32(raw, limit)
                                        : _mm256_cmpgt_epi32(limit, _mm256_xor_si256(raw, flip));
            *packed++ = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(above));
        }
    }
    return done;
}

AVX2_INLINE void quantize_pack(const int32_t *thresholds, uint32_t bits, int as_they_are,
                               const float *values, size_t n, uint8_t *packed) {
    uint8_t last[64];
    size_t done = 0;
    if (bits == 1) {
        done = quantize_pack1(thresholds[0], as_they_are, values, n, packed);
        packed += done / 8;
    } else {
        tables t;
        __m256i bytes[2];
        load_tables(thresholds, bits, &t);
        for (; done + 64 <= n; done += 64) {
            quantize64(&t, bits, as_they_are, values + done, bytes);
            pack32(bytes[0], bits, packed);
            pack32(bytes[1], bits, packed + 4 * bits);
            packed += 8 * bits;
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
