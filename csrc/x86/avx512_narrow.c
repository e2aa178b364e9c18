/* AVX-512: quantise 16-bit floats, and channels that lie side by side. */
#include "avx512.h"

#if defined(SPC_X86)

/* The same search in 32 lanes of 16 bits: one register of thresholds up to level 5, then 2, 4. */
#define ROWS16 12
#define FIRST_ROW16(level) ((level) < 6 ? (level) : (1u << ((level) - 5)) + 4)

AVX512 static void load_rows16(const int16_t *thresholds, uint32_t bits, __m512i rows[ROWS16]) {
    uint8_t start[SPC_MAX_CENTROIDS] = {0}; /* the lowest index that each path leads to */
    for (uint32_t level = 0; level < bits; level++) {
        const uint32_t half = 1u << (bits - 1 - level), paths = 1u << level;
        int16_t keys[SPC_MAX_CENTROIDS / 2] = {0};
        for (uint32_t path = 0; path < paths; path++) {
            keys[path] = thresholds[start[path] + half - 1];
            start[path + paths] = (uint8_t)(start[path] + half);
        }
        for (uint32_t i = 0; 32 * i < paths; i++) {
            rows[FIRST_ROW16(level) + i] = _mm512_loadu_si512(keys + 32 * i);
        }
    }
    rows[0] = _mm512_set1_epi16(thresholds[(1u << (bits - 1)) - 1]);
}

AVX512_INLINE __m512i load_keys16(const uint16_t *values) {
    const __m512i magnitude = _mm512_set1_epi16(0x7fff);
    __m512i raw = _mm512_loadu_si512(values);
    return _mm512_ternarylogic_epi32(raw, _mm512_srai_epi16(raw, 15), magnitude, 0x78);
}

AVX512_INLINE __m512i search16_deep(const __m512i rows[ROWS16], uint32_t bits, __m512i keys,
                                    __m512i path) {
    const __m512i *row = rows + FIRST_ROW16(6);
    __m512i met = _mm512_permutex2var_epi16(row[0], path, row[1]), other;
    __mmask32 above = _mm512_cmpgt_epi16_mask(keys, met);
    path = _mm512_mask_add_epi16(path, above, path, _mm512_set1_epi16((short)PATH_BITS(bits, 6)));
    if (bits == 8) {
        row = rows + FIRST_ROW16(7);
        met = _mm512_permutex2var_epi16(row[0], path, row[1]);
        other = _mm512_permutex2var_epi16(row[2], path, row[3]);
        met = _mm512_mask_blend_epi16(above, met, other);
        above = _mm512_cmpgt_epi16_mask(keys, met);
        path =
            _mm512_mask_add_epi16(path, above, path, _mm512_set1_epi16((short)PATH_BITS(bits, 7)));
    }
    return path;
}

/* Indices of 32 * groups values, in byte 1 of their lanes. */
AVX512_INLINE void search16(const __m512i rows[ROWS16], uint32_t bits, const uint16_t *values,
                            size_t groups, __m512i paths[BLOCK]) {
    __m512i keys[BLOCK];
    for (size_t i = 0; i < groups; i++) {
        keys[i] = load_keys16(values + 32 * i);
        paths[i] = _mm512_maskz_set1_epi16(_mm512_cmpgt_epi16_mask(keys[i], rows[0]),
                                           (short)PATH_BITS(bits, 0));
    }
    for (uint32_t level = 1; level < bits && level < 6; level++) {
        const __m512i path_bits = _mm512_set1_epi16((short)PATH_BITS(bits, level));
        for (size_t i = 0; i < groups; i++) {
            __m512i met = _mm512_permutexvar_epi16(paths[i], rows[level]);
            __mmask32 above = _mm512_cmpgt_epi16_mask(keys[i], met);
            paths[i] = _mm512_mask_add_epi16(paths[i], above, paths[i], path_bits);
        }
    }
    for (size_t i = 0; bits > 6 && i < groups; i++) {
        paths[i] = search16_deep(rows, bits, keys[i], paths[i]);
    }
}

/* Byte 1 of each lane of two. */
AVX512_INLINE __m512i bytes1_of_16(const __m512i x[2]) {
    const __m512i step = _mm512_set1_epi64(0x1010101010101010);
    const __m512i eight = _mm512_set1_epi64(0x0f0d0b0907050301);
    const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i odd = _mm512_add_epi64(eight, _mm512_mullo_epi64(lane, step));
    return _mm512_permutex2var_epi8(x[0], odd, x[1]);
}

AVX512_INLINE void quantize16(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
                              size_t n, uint8_t *indices) {
    __m512i rows[ROWS16], paths[BLOCK];
    load_rows16(thresholds, bits, rows);
    for (; n >= 32 * BLOCK; n -= 32 * BLOCK) {
        search16(rows, bits, values, BLOCK, paths);
        for (size_t i = 0; i < BLOCK; i += 2) {
            indices = put(bytes1_of_16(paths + i), bits, 64, 0, indices);
        }
        values += 32 * BLOCK;
    }
    while (n > 0) {
        const size_t count = n < 64 ? n : 64;
        uint16_t last[64] = {0};
        memcpy(last, values, count * sizeof last[0]);
        search16(rows, bits, last, 2, paths);
        indices = put(bytes1_of_16(paths), bits, count, 0, indices);
        values += count;
        n -= count;
    }
}

AVX512 void spc_quantize_f16_avx512(const int16_t *thresholds, uint32_t bits,
                                    const uint16_t *values, size_t n, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, quantize16(thresholds, BITS, values, n, indices))}

/* `count` values, at most sixteen, of as many channels.  The thresholds of the upper four levels
 * are compared all, since they lie side by side in memory; below, a binary search gathers them. */
AVX512_INLINE void quantize_some_channels(const int32_t *thresholds, uint32_t bits, size_t channels,
                                          const float *values, size_t count, uint8_t *indices) {
    const __mmask16 lanes = (__mmask16)(0xffffu >> (16 - count));
    const uint32_t upper = bits < 4 ? bits : 4, lower = bits - upper;
    const __m512i keys = keys_of_bits(_mm512_maskz_loadu_epi32(lanes, values));
    __m512i index = _mm512_setzero_si512();
    for (uint32_t k = 1; k < 1u << upper; k++) {
        const __m512i row =
            _mm512_maskz_loadu_epi32(lanes, thresholds + ((k << lower) - 1) * channels);
        index = _mm512_mask_add_epi32(index, _mm512_cmpgt_epi32_mask(keys, row), index,
                                      _mm512_set1_epi32(1));
    }
    if (lower > 0) {
        __m512i at;
        index = _mm512_slli_epi32(index, lower);
        at = _mm512_mullo_epi32(index, _mm512_set1_epi32((int)channels));
        at = _mm512_add_epi32(
            at, _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
        for (uint32_t step = 1u << (lower - 1); step != 0; step >>= 1) {
            const int stride = (int)(step * channels), back = (int)channels;
            __m512i probe = _mm512_add_epi32(at, _mm512_set1_epi32(stride - back));
            __mmask16 above = _mm512_cmpgt_epi32_mask(
                keys,
                _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), lanes, probe, thresholds, 4));
            at = _mm512_mask_add_epi32(at, above, at, _mm512_set1_epi32(stride));
            index = _mm512_mask_add_epi32(index, above, index, _mm512_set1_epi32((int)step));
        }
    }
    if (count == 16) { /* stores by a mask take longer */
        _mm_storeu_si128((__m128i *)(void *)indices, _mm512_cvtepi32_epi8(index));
    } else {
        _mm_mask_storeu_epi8(indices, lanes, _mm512_cvtepi32_epi8(index));
    }
}

AVX512_INLINE void quantize_channels(const int32_t *thresholds, uint32_t bits, size_t channels,
                                     size_t first, const float *values, size_t n,
                                     uint8_t *indices) {
    while (n > 0) {
        size_t left = channels - first, count = n < left ? n : left;
        count = count < 16 ? count : 16;
        quantize_some_channels(thresholds + first, bits, channels, values, count, indices);
        values += count;
        indices += count;
        n -= count;
        first = first + count == channels ? 0 : first + count;
    }
}

AVX512 void spc_quantize_channels_f32_avx512(const int32_t *thresholds, uint32_t bits,
                                             size_t channels, size_t first, const float *values,
                                             size_t n, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(bits,
                           quantize_channels(thresholds, BITS, channels, first, values, n, indices))
}

#endif
