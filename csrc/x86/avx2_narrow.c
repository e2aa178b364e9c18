/* AVX2: quantise 16-bit floats and 8-bit integers by shuffles, and channels side by side. */
#include "avx2.h"

#if defined(SPC_X86)

/* Sixteen 16-bit floats at a time.  Level l of the search has 2^l keys, eight to a row; a shorter
 * level fills its row.  The state holds twice the index in both bytes of each lane, so that it
 * picks the two bytes of a key by a shuffle once 1 is added to the upper. */
#define ROWS16 34
#define FIRST_ROW16(level) ((level) < 4 ? (level) : (1u << ((level) - 3)) + 2)

AVX2_INLINE void load_rows16(const int16_t *thresholds, uint32_t bits, __m256i rows[ROWS16]) {
    for (uint32_t level = 0; level < bits; level++) {
        for (uint32_t first = 0; first < 1u << level; first += 8) {
            int16_t keys[8];
            for (uint32_t i = 0; i < 8; i++) {
                uint32_t at = (first + i) % (1u << level);
                keys[i] = thresholds[((2 * at + 1) << (bits - 1 - level)) - 1];
            }
            rows[FIRST_ROW16(level) + first / 8] =
                _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)keys));
        }
    }
}

/* Rows of eight by the lowest three bits of the index, then half as many by each higher one. */
AVX2_INLINE __m256i pick16(const __m256i rows[ROWS16], uint32_t level, __m256i state) {
    const __m256i within = _mm256_and_si256(state, _mm256_set1_epi8(14));
    const __m256i bytes = _mm256_or_si256(within, _mm256_set1_epi16(0x100));
    const uint32_t count = level < 4 ? 1 : 1u << (level - 3);
    __m256i found[16];
    for (uint32_t r = 0; r < count; r++) {
        found[r] = _mm256_shuffle_epi8(rows[FIRST_ROW16(level) + r], bytes);
    }
    for (uint32_t bit = 3; bit < level; bit++) {
        __m256i upper = _mm256_slli_epi16(state, (int)(6 - bit));
        for (uint32_t r = 0; r < count >> (bit - 2); r++) {
            found[r] = _mm256_blendv_epi8(found[2 * r], found[2 * r + 1], upper);
        }
    }
    return found[0];
}

/* Indices of 16 values, in 16-bit lanes. */
AVX2_INLINE __m256i search16(const __m256i rows[ROWS16], uint32_t bits, const uint16_t *values) {
    const __m256i one = _mm256_set1_epi16(0x202);
    __m256i raw = load(values);
    __m256i keys = _mm256_xor_si256(raw, _mm256_srli_epi16(_mm256_srai_epi16(raw, 15), 1));
    __m256i state = _mm256_and_si256(_mm256_cmpgt_epi16(keys, rows[0]), one);
    for (uint32_t level = 1; level < bits; level++) {
        __m256i above = _mm256_cmpgt_epi16(keys, pick16(rows, level, state));
        state = _mm256_add_epi8(state, state);
        state = _mm256_add_epi8(state, _mm256_and_si256(above, one));
    }
    /* of 8 bits the doubled index has lost the upper one: the first comparison tells it again */
    if (bits == 8) {
        const __m256i upper = _mm256_set1_epi16(0x80);
        state = _mm256_srli_epi16(_mm256_and_si256(state, _mm256_set1_epi16(0xff)), 1);
        return _mm256_or_si256(state, _mm256_and_si256(_mm256_cmpgt_epi16(keys, rows[0]), upper));
    }
    return _mm256_srli_epi16(_mm256_and_si256(state, _mm256_set1_epi16(0xff)), 1);
}

AVX2_INLINE void quantize16(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
                            size_t n, uint8_t *indices) {
    __m256i rows[ROWS16];
    size_t done = 0;
    load_rows16(thresholds, bits, rows);
    for (; done + 32 <= n; done += 32) {
        __m256i a = search16(rows, bits, values + done);
        __m256i b = search16(rows, bits, values + done + 16);
        __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(indices + done), bytes);
    }
    spc_quantize_f16_reference(thresholds, bits, values + done, n - done, indices + done);
}

AVX2 void spc_quantize_f16_avx2(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
                                size_t n, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, quantize16(thresholds, BITS, values, n, indices))}

/* 32 bytes at a time; a level of up to 16 keys is one shuffle. */
AVX2_INLINE void quantize8(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                           const uint8_t *values, size_t n, uint8_t *indices) {
    const __m256i flips = _mm256_set1_epi8((char)flip);
    __m256i rows[SPC_QUANTIZE_I8_BITS];
    size_t done = 0;
    for (uint32_t level = 0; level < bits; level++) {
        int8_t keys[16];
        for (uint32_t i = 0; i < 16; i++) {
            uint32_t at = i % (1u << level);
            keys[i] = thresholds[((2 * at + 1) << (bits - 1 - level)) - 1];
        }
        rows[level] =
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)keys));
    }
    for (; done + 32 <= n; done += 32) {
        __m256i keys = load(values + done);
        __m256i index = _mm256_setzero_si256();
        keys = _mm256_xor_si256(keys, flips);
        for (uint32_t level = 0; level < bits; level++) {
            __m256i threshold = level == 0 ? rows[0] : _mm256_shuffle_epi8(rows[level], index);
            index =
                _mm256_sub_epi8(_mm256_add_epi8(index, index), _mm256_cmpgt_epi8(keys, threshold));
        }
        _mm256_storeu_si256((__m256i *)(void *)(indices + done), index);
    }
    for (; done < n; done++) {
        int8_t key = (int8_t)(values[done] ^ flip);
        uint32_t index = 0;
        for (uint32_t step = 1u << (bits - 1); step != 0; step >>= 1) {
            index += thresholds[index + step - 1] < key ? step : 0;
        }
        indices[done] = (uint8_t)index;
    }
}

AVX2 void spc_quantize_i8_avx2(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                               const uint8_t *values, size_t n, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(
        bits, if (BITS <= SPC_QUANTIZE_I8_BITS) {
            quantize8(thresholds, BITS, flip, values, n, indices);
        })
}

/* Eight values, eight channels.  The thresholds of the upper four levels are compared all, since
 * they lie side by side in memory; below, a binary search gathers them. */
AVX2_INLINE void quantize_eight_channels(const int32_t *thresholds, uint32_t bits, size_t channels,
                                         const float *values, uint8_t *indices) {
    const __m256i bytes =
        _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12,
                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const uint32_t upper = bits < 4 ? bits : 4, lower = bits - upper;
    const __m256i keys = load_keys(values);
    __m256i index = _mm256_setzero_si256();
    int32_t low, high;
    for (uint32_t k = 1; k < 1u << upper; k++) {
        const int32_t *row = thresholds + ((k << lower) - 1) * channels;
        index = _mm256_sub_epi32(index, _mm256_cmpgt_epi32(keys, load(row)));
    }
    if (lower > 0) {
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        __m256i at;
        index = _mm256_slli_epi32(index, (int)lower);
        at = _mm256_mullo_epi32(index, _mm256_set1_epi32((int)channels));
        at = _mm256_add_epi32(at, lanes);
        for (uint32_t step = 1u << (lower - 1); step != 0; step >>= 1) {
            const int stride = (int)(step * channels), back = (int)channels;
            __m256i probe = _mm256_add_epi32(at, _mm256_set1_epi32(stride - back));
            __m256i above =
                _mm256_cmpgt_epi32(keys, _mm256_i32gather_epi32((const int *)thresholds, probe, 4));
            at = _mm256_add_epi32(at, _mm256_and_si256(above, _mm256_set1_epi32(stride)));
            index = _mm256_add_epi32(index, _mm256_and_si256(above, _mm256_set1_epi32((int)step)));
        }
    }
    index = _mm256_shuffle_epi8(index, bytes);
    low = _mm256_extract_epi32(index, 0);
    high = _mm256_extract_epi32(index, 4);
    memcpy(indices, &low, sizeof low);
    memcpy(indices + 4, &high, sizeof high);
}

/* From channel to channel.  Where fewer than eight are left, the last eight: those of them that are
 * done come out the same. */
AVX2_INLINE void quantize_channels(const int32_t *thresholds, uint32_t bits, size_t channels,
                                   size_t first, const float *values, size_t n, uint8_t *indices) {
    while (n > 0) {
        size_t left = channels - first, count = n < left ? n : left, at = 0;
        if (count < 8) {
            spc_quantize_channels_f32_reference(thresholds, bits, channels, first, values, count,
                                                indices);
        } else {
            for (; at + 8 <= count; at += 8) {
                quantize_eight_channels(thresholds + first + at, bits, channels, values + at,
                                        indices + at);
            }
            if (at < count) {
                at = count - 8;
                quantize_eight_channels(thresholds + first + at, bits, channels, values + at,
                                        indices + at);
            }
        }
        values += count;
        indices += count;
        n -= count;
        first = 0;
    }
}

AVX2 void spc_quantize_channels_f32_avx2(const int32_t *thresholds, uint32_t bits, size_t channels,
                                         size_t first, const float *values, size_t n,
                                         uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(bits,
                           quantize_channels(thresholds, BITS, channels, first, values, n, indices))
}

#endif
