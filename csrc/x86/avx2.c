/* AVX2: quantise by a binary search whose upper levels sit in registers, pack by
 * multiply-add, unpack by shuffle and multiply, look up by shuffles of a table in registers. */
#include "../kernels.h"

#if defined(SPC_X86)
#include <immintrin.h>
#include <string.h>

#include "../key.h"
#include "x86.h"

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

/* Level l of the search has 2^l thresholds: one register of them up to level 3, two at level 4,
 * four at level 5. */
#define REGISTER_LEVELS 6
#define ROWS 10

AVX2_INLINE __m256i load_keys(const float *values) {
    __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)values);
    return _mm256_xor_si256(raw, _mm256_srli_epi32(_mm256_srai_epi32(raw, 31), 1));
}

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

/* Inlined once per bit width, so that the loop over levels unrolls. */
AVX2_INLINE void quantize(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                          uint8_t *indices) {
    __m256i rows[ROWS];
    size_t done = 0;
    load_rows(thresholds, bits, bits, rows);
    for (; done + 32 <= n; done += 32) {
        __m256i a = search(rows, bits, load_keys(values + done));
        __m256i b = search(rows, bits, load_keys(values + done + 8));
        __m256i c = search(rows, bits, load_keys(values + done + 16));
        __m256i d = search(rows, bits, load_keys(values + done + 24));
        _mm256_storeu_si256((__m256i *)(void *)(indices + done), join_bytes(a, b, c, d));
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, indices + done);
}

/* 7 and 8 bits: the upper levels leave seven thresholds side by side, and an eighth that is not
 * below the key.  Comparing them at once takes less than gathers do, which a last level or two
 * would need. */
AVX2_INLINE void quantize_wide(const int32_t *thresholds, uint32_t bits, const float *values,
                               size_t n, uint8_t *indices) {
    const uint32_t upper = bits - 3;
    __m256i rows[ROWS];
    int32_t eights[SPC_MAX_CENTROIDS];
    size_t done = 0;
    memcpy(eights, thresholds, ((1u << bits) - 1) * sizeof eights[0]);
    eights[(1u << bits) - 1] = INT32_MAX;
    load_rows(thresholds, bits, upper, rows);
    for (; done + 32 <= n; done += 32) {
        int32_t keys[32];
        uint32_t eight[32];
        for (uint32_t i = 0; i < 32; i += 8) {
            __m256i key = load_keys(values + done + i);
            __m256i index = _mm256_slli_epi32(search(rows, upper, key), 3);
            _mm256_storeu_si256((__m256i *)(void *)(keys + i), key);
            _mm256_storeu_si256((__m256i *)(void *)(eight + i), index);
        }
        for (uint32_t i = 0; i < 32; i++) {
            const void *at = eights + eight[i];
            __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(keys[i]),
                                               _mm256_loadu_si256((const __m256i *)at));
            uint32_t mask = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(below));
            indices[done + i] = (uint8_t)(eight[i] + (uint32_t)__builtin_ctz(~mask));
        }
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, indices + done);
}

AVX2_INLINE void quantize_any(const int32_t *thresholds, uint32_t bits, const float *values,
                              size_t n, uint8_t *indices) {
    if (bits <= REGISTER_LEVELS) {
        quantize(thresholds, bits, values, n, indices);
    } else {
        quantize_wide(thresholds, bits, values, n, indices);
    }
}

AVX2 static void quantize_f32_avx2(const int32_t *thresholds, uint32_t bits, const float *values,
                                   size_t n, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, quantize_any(thresholds, BITS, values, n, indices))}

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
    __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)values);
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

AVX2 static void quantize_f16_avx2(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
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
        __m256i keys = _mm256_loadu_si256((const __m256i *)(const void *)(values + done));
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

AVX2 static void quantize_i8_avx2(const int8_t *thresholds, uint32_t bits, uint8_t flip,
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
        const void *row = thresholds + ((k << lower) - 1) * channels;
        index = _mm256_sub_epi32(
            index, _mm256_cmpgt_epi32(keys, _mm256_loadu_si256((const __m256i *)row)));
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

/* From channel to channel, the last eight perhaps once more: they come out the same. */
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
            at = count - 8;
            quantize_eight_channels(thresholds + first + at, bits, channels, values + at,
                                    indices + at);
        }
        values += count;
        indices += count;
        n -= count;
        first = 0;
    }
}

AVX2 static void quantize_channels_f32_avx2(const int32_t *thresholds, uint32_t bits,
                                            size_t channels, size_t first, const float *values,
                                            size_t n, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, quantize_channels(thresholds, BITS, channels, first, values, n,
                                                   indices))}

/* 1 bit: one instruction collects the upper bits of 32 bytes. */
AVX2_INLINE void pack1(const uint8_t *indices, size_t n, uint8_t *packed) {
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(indices + done));
        int32_t word = _mm256_movemask_epi8(_mm256_slli_epi16(x, 7));
        memcpy(packed, &word, sizeof word);
        packed += sizeof word;
    }
    spc_pack_reference(indices + done, n - done, 1, packed);
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
 * 32 indices at a time: neighbours are joined into 2, then 4 indices by a multiply-add with 1 and
 * 2^(bits of the lower neighbour), into 8 by shifting the lower four up against the upper four.
 * That leaves `bits` bytes in each 64-bit lane, and writes them without touching what follows.
 */
AVX2_INLINE void pack(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    const __m256i join2 = _mm256_set1_epi16((short)(1 | 1 << (bits + 8)));
    const __m256i join4 = _mm256_set1_epi32(1 | 1 << (2 * bits + 16));
    const __m256i gap = _mm256_set1_epi64x(32 - 4 * (long long)bits);
    const __m256i places =
        _mm256_set_m128i(side_by_side((int)bits, 2 * (int)bits), side_by_side((int)bits, 0));
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(indices + done));
        /* unsigned times signed: 2^7 fits the former only */
        x = _mm256_maddubs_epi16(join2, _mm256_and_si256(x, mask));
        x = _mm256_madd_epi16(x, join4);
        x = _mm256_srli_epi64(_mm256_sllv_epi32(x, gap), (int)(32 - 4 * bits));
        if (bits <= 4) {
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
        packed += 4 * bits;
    }
    spc_pack_reference(indices + done, n - done, bits, packed);
}

/* Shuffle: the two bytes that hold index i of the group of 8 at byte `at` into 16-bit lane i. */
AVX2_INLINE __m128i byte_pairs(int bits, int at) {
#define PAIR(i) (short)((at + (i) * bits / 8) | (at + (i) * bits / 8 + 1) << 8)
    return _mm_setr_epi16(PAIR(0), PAIR(1), PAIR(2), PAIR(3), PAIR(4), PAIR(5), PAIR(6), PAIR(7));
#undef PAIR
}

/* Factors that shift index i up to the top of its 16-bit lane: AVX2 cannot shift 16-bit lanes by
 * different counts. */
AVX2_INLINE __m256i to_the_top(int bits) {
#define FACTOR(i) (short)(1 << (16 - bits - (i) * bits % 8))
    return _mm256_broadcastsi128_si256(_mm_setr_epi16(FACTOR(0), FACTOR(1), FACTOR(2), FACTOR(3),
                                                      FACTOR(4), FACTOR(5), FACTOR(6), FACTOR(7)));
#undef FACTOR
}

/* The 4 * bits bytes of 32 indices: groups 0 and 1 in the lower half, 2 and 3 in the upper, there
 * from byte 2 * bits on, or from 16 - 2 * bits where the groups exceed one half.  Reads no byte
 * beyond. */
AVX2_INLINE __m256i load_groups(const uint8_t *packed, uint32_t bits) {
    __m128i half;
    int32_t word;
    if (bits > 4) {
        return _mm256_set_m128i(
            _mm_loadu_si128((const __m128i *)(const void *)(packed + 4 * bits - 16)),
            _mm_loadu_si128((const __m128i *)(const void *)packed));
    }
    if (bits == 4) {
        half = _mm_loadu_si128((const __m128i *)(const void *)packed);
    } else if (bits == 1) {
        memcpy(&word, packed, sizeof word);
        half = _mm_cvtsi32_si128(word);
    } else {
        half = _mm_loadl_epi64((const __m128i *)(const void *)packed);
    }
    if (bits == 3) {
        memcpy(&word, packed + 8, sizeof word);
        half = _mm_insert_epi32(half, word, 2);
    }
    return _mm256_broadcastsi128_si256(half);
}

AVX2_INLINE void unpack(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    const int b = (int)bits, upper = b <= 4 ? 2 * b : 16 - 2 * b;
    const __m256i even = _mm256_set_m128i(byte_pairs(b, upper), byte_pairs(b, 0));
    const __m256i odd = _mm256_set_m128i(byte_pairs(b, upper + b), byte_pairs(b, b));
    const __m256i factors = to_the_top(b);
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        __m256i x = load_groups(packed, bits);
        __m256i y = _mm256_mullo_epi16(_mm256_shuffle_epi8(x, even), factors);
        __m256i z = _mm256_mullo_epi16(_mm256_shuffle_epi8(x, odd), factors);
        x = _mm256_packus_epi16(_mm256_srli_epi16(y, 16 - b), _mm256_srli_epi16(z, 16 - b));
        _mm256_storeu_si256((__m256i *)(void *)(indices + done), x);
        packed += 4 * bits;
    }
    spc_unpack_reference(packed, n - done, bits, indices + done);
}

AVX2_INLINE void pack_any(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    if (bits == 1) {
        pack1(indices, n, packed);
    } else if (bits == 8) {
        memcpy(packed, indices, n);
    } else {
        pack(indices, n, bits, packed);
    }
}

AVX2 static void pack_avx2(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed){
    SPC_WITH_CONSTANT_BITS(bits, pack_any(indices, n, BITS, packed))}

AVX2_INLINE void unpack_any(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    if (bits == 8) {
        memcpy(indices, packed, n);
    } else {
        unpack(packed, n, bits, indices);
    }
}

AVX2 static void unpack_avx2(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(bits, unpack_any(packed, n, BITS, indices))
}

/* The OR of all bytes. */
static inline uint32_t or_of_word(uint64_t word) {
    word |= word >> 32;
    word |= word >> 16;
    return (uint32_t)(word | word >> 8) & 0xff;
}

AVX2_INLINE uint32_t or_of_bytes(__m256i x) {
    uint64_t lanes[4];
    _mm256_storeu_si256((__m256i *)(void *)lanes, x);
    return or_of_word(lanes[0] | lanes[1] | lanes[2] | lanes[3]);
}

/* A table of bytes, 16 to a row, in both halves of it; a shorter one is repeated. */
#define BYTE_ROWS(bits) ((bits) <= 4 ? 1u : 1u << ((bits) - 4))

AVX2_INLINE void load_byte_rows(const uint8_t *table, uint32_t bits, __m256i *rows) {
    uint8_t repeated[16];
    if (bits < 4) {
        for (uint32_t i = 0; i < 16; i++) {
            repeated[i] = table[i % (1u << bits)];
        }
        table = repeated;
    }
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        rows[r] = _mm256_broadcastsi128_si256(
            _mm_loadu_si128((const __m128i *)(const void *)(table + 16 * r)));
    }
}

/* Bits 0 to 3 find a byte in every row, each higher bit halves the rows.  Other bits do not matter.
 */
AVX2_INLINE __m256i find_bytes(const __m256i *rows, uint32_t bits, __m256i indices) {
    const __m256i low = _mm256_and_si256(indices, _mm256_set1_epi8(15));
    __m256i found[16];
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        found[r] = _mm256_shuffle_epi8(rows[r], low);
    }
    for (uint32_t bit = 4; bit < bits; bit++) {
        __m256i upper = _mm256_slli_epi16(indices, (int)(7 - bit));
        for (uint32_t r = 0; r < BYTE_ROWS(bits) >> (bit - 3); r++) {
            found[r] = _mm256_blendv_epi8(found[2 * r], found[2 * r + 1], upper);
        }
    }
    return found[0];
}

AVX2_INLINE uint32_t look_up_u8(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                size_t n, uint8_t *values) {
    __m256i rows[BYTE_ROWS(8)], seen = _mm256_setzero_si256();
    size_t done = 0;
    load_byte_rows(table, bits, rows);
    for (; done + 32 <= n; done += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(indices + done));
        seen = _mm256_or_si256(seen, x);
        _mm256_storeu_si256((__m256i *)(void *)(values + done), find_bytes(rows, bits, x));
    }
    return or_of_bytes(seen) |
           spc_look_up_u8_reference(table, bits, indices + done, n - done, values + done);
}

AVX2 uint32_t spc_look_up_u8_avx2(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                  size_t n, uint8_t *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up_u8(table, BITS, indices, n, values))
    return seen;
}

/* 1 to 3 bits: the table is one register. */
AVX2_INLINE uint32_t look_up_one_row(const float *table, uint32_t bits, const uint8_t *indices,
                                     size_t n, float *values) {
    __m256i seen = _mm256_setzero_si256();
    float repeated[8];
    __m256 row;
    size_t done = 0;
    for (uint32_t i = 0; i < 8; i++) {
        repeated[i] = table[i % (1u << bits)];
    }
    row = _mm256_loadu_ps(repeated);
    for (; done + 32 <= n; done += 32) {
        const uint8_t *at = indices + done;
        seen = _mm256_or_si256(seen, _mm256_loadu_si256((const __m256i *)(const void *)at));
        for (size_t i = 0; i < 32; i += 8) {
            __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)(at + i));
            __m256 found = _mm256_permutevar8x32_ps(row, _mm256_cvtepu8_epi32(x));
            _mm256_storeu_ps(values + done + i, found);
        }
    }
    return or_of_bytes(seen) |
           spc_look_up_f32_reference(table, bits, indices + done, n - done, values + done);
}

/* Four planes: byte p of every float in the table. */
AVX2_INLINE void load_planes(const float *table, uint32_t bits, __m256i planes[4][4]) {
    const __m128i by_plane = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        __m128i x[4], low[2], high[2];
        for (uint32_t i = 0; i < 4; i++) {
            x[i] = _mm_loadu_si128((const __m128i *)(const void *)(table + 16 * r + 4 * i));
            x[i] = _mm_shuffle_epi8(x[i], by_plane);
        }
        for (uint32_t i = 0; i < 2; i++) {
            low[i] = _mm_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
            high[i] = _mm_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
        }
        planes[0][r] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(low[0], low[1]));
        planes[1][r] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(low[0], low[1]));
        planes[2][r] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(high[0], high[1]));
        planes[3][r] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(high[0], high[1]));
    }
}

/* 4 to 6 bits: the four bytes of each float are looked up one by one, then interleaved. */
AVX2_INLINE uint32_t look_up_planes(const float *table, uint32_t bits, const uint8_t *indices,
                                    size_t n, float *values) {
    /* interleaving works in each half: fours of indices go there alternately */
    const __m256i alternate = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    __m256i planes[4][4], seen = _mm256_setzero_si256();
    size_t done = 0;
    load_planes(table, bits, planes);
    for (; done + 32 <= n; done += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(indices + done));
        __m256i *out = (__m256i *)(void *)(values + done);
        __m256i a, b, c, d, ab, cd;
        seen = _mm256_or_si256(seen, x);
        x = _mm256_permutevar8x32_epi32(x, alternate);
        a = find_bytes(planes[0], bits, x);
        b = find_bytes(planes[1], bits, x);
        c = find_bytes(planes[2], bits, x);
        d = find_bytes(planes[3], bits, x);
        ab = _mm256_unpacklo_epi8(a, b);
        cd = _mm256_unpacklo_epi8(c, d);
        _mm256_storeu_si256(out, _mm256_unpacklo_epi16(ab, cd));
        _mm256_storeu_si256(out + 1, _mm256_unpackhi_epi16(ab, cd));
        ab = _mm256_unpackhi_epi8(a, b);
        cd = _mm256_unpackhi_epi8(c, d);
        _mm256_storeu_si256(out + 2, _mm256_unpacklo_epi16(ab, cd));
        _mm256_storeu_si256(out + 3, _mm256_unpackhi_epi16(ab, cd));
    }
    return or_of_bytes(seen) |
           spc_look_up_f32_reference(table, bits, indices + done, n - done, values + done);
}

AVX2_INLINE __m128 load_four(const float *table, uint32_t bits, uint32_t indices) {
    const uint32_t mask = (1u << bits) - 1;
    return _mm_setr_ps(table[indices & mask], table[indices >> 8 & mask],
                       table[indices >> 16 & mask], table[indices >> 24 & mask]);
}

/* 7 and 8 bits: the table does not fit the registers.  A gather takes longer than these loads. */
AVX2_INLINE uint32_t look_up_loads(const float *table, uint32_t bits, const uint8_t *indices,
                                   size_t n, float *values) {
    uint64_t seen = 0;
    size_t done = 0;
    for (; done + 8 <= n; done += 8) {
        uint64_t word;
        memcpy(&word, indices + done, sizeof word);
        seen |= word;
        _mm_storeu_ps(values + done, load_four(table, bits, (uint32_t)word));
        _mm_storeu_ps(values + done + 4, load_four(table, bits, (uint32_t)(word >> 32)));
    }
    return or_of_word(seen) |
           spc_look_up_f32_reference(table, bits, indices + done, n - done, values + done);
}

AVX2_INLINE uint32_t look_up_f32(const float *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, float *values) {
    if (bits <= 3) {
        return look_up_one_row(table, bits, indices, n, values);
    }
    if (bits <= 6) {
        return look_up_planes(table, bits, indices, n, values);
    }
    return look_up_loads(table, bits, indices, n, values);
}

AVX2 uint32_t spc_look_up_f32_avx2(const float *table, uint32_t bits, const uint8_t *indices,
                                   size_t n, float *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up_f32(table, BITS, indices, n, values))
    return seen;
}

/* Both bytes of each value are looked up one by one, then interleaved.  Beyond, loads take less. */
#define LOOK_UP_U16_BITS 6
AVX2_INLINE uint32_t look_up_u16(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, uint16_t *values) {
    __m256i low[BYTE_ROWS(LOOK_UP_U16_BITS)], high[BYTE_ROWS(LOOK_UP_U16_BITS)],
        seen = _mm256_setzero_si256();
    uint8_t bytes[2][1 << LOOK_UP_U16_BITS];
    size_t done = 0;
    for (uint32_t i = 0; i < 1u << bits; i++) {
        bytes[0][i] = (uint8_t)table[i];
        bytes[1][i] = (uint8_t)(table[i] >> 8);
    }
    load_byte_rows(bytes[0], bits, low);
    load_byte_rows(bytes[1], bits, high);
    for (; done + 32 <= n; done += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(indices + done)), a, b;
        seen = _mm256_or_si256(seen, x);
        x = _mm256_permute4x64_epi64(x, 0xd8); /* interleaving works in each half */
        a = find_bytes(low, bits, x);
        b = find_bytes(high, bits, x);
        _mm256_storeu_si256((__m256i *)(void *)(values + done), _mm256_unpacklo_epi8(a, b));
        _mm256_storeu_si256((__m256i *)(void *)(values + done + 16), _mm256_unpackhi_epi8(a, b));
    }
    return or_of_bytes(seen) |
           spc_look_up_u16_reference(table, bits, indices + done, n - done, values + done);
}

AVX2 static uint32_t look_up_u16_avx2(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                      size_t n, uint16_t *values) {
    uint32_t seen = 0;
    if (bits > LOOK_UP_U16_BITS) {
        return spc_look_up_u16_reference(table, bits, indices, n, values);
    }
    SPC_WITH_CONSTANT_BITS(
        bits,
        if (BITS <= LOOK_UP_U16_BITS) { seen = look_up_u16(table, BITS, indices, n, values); })
    return seen;
}

/* Eight indices are within 32 bits: each lane shifts its own down, and permutations look at no bit
 * above the third. */
AVX2_INLINE void unpack_look_up(const float *table, uint32_t bits, const uint8_t *packed, size_t n,
                                float *values) {
    const int b = (int)bits;
    const __m256i down = _mm256_setr_epi32(0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b);
    const __m256i up = _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0); /* bit 3 to the top */
    const uint8_t *end = packed + spc_packed_size(n, bits);
    float repeated[16];
    __m256 rows[2];
    size_t done = 0;
    for (uint32_t i = 0; i < 16; i++) {
        repeated[i] = table[i % (1u << bits)];
    }
    rows[0] = _mm256_loadu_ps(repeated);
    rows[1] = _mm256_loadu_ps(repeated + 8);
    for (; done + 8 <= n && end - packed >= 4; done += 8) {
        int32_t word;
        __m256i all, index;
        __m256 found;
        memcpy(&word, packed, sizeof word);
        all = _mm256_set1_epi32(word);
        index = _mm256_srlv_epi32(all, down);
        found = _mm256_permutevar8x32_ps(rows[0], index);
        if (bits == 4) {
            found = _mm256_blendv_ps(found, _mm256_permutevar8x32_ps(rows[1], index),
                                     _mm256_castsi256_ps(_mm256_sllv_epi32(all, up)));
        }
        _mm256_storeu_ps(values + done, found);
        packed += bits;
    }
    while (done < n) {
        uint8_t indices[8];
        size_t count = n - done < 8 ? n - done : 8;
        spc_unpack_reference(packed, count, bits, indices);
        (void)spc_look_up_f32_reference(table, bits, indices, count, values + done);
        packed += bits;
        done += count;
    }
}

AVX2 static void unpack_look_up_f32_avx2(const float *table, uint32_t bits, const uint8_t *packed,
                                         size_t n, float *values) {
    SPC_WITH_CONSTANT_BITS(
        bits,
        if (BITS <= SPC_UNPACK_LOOK_UP_BITS) { unpack_look_up(table, BITS, packed, n, values); })
}

const spc_kernels spc_kernels_avx2 = {
    .name = "avx2",
    .features = SPC_CPU_AVX2 | SPC_CPU_SSE42,
    .quantize_f32 = quantize_f32_avx2,
    .quantize_f16 = quantize_f16_avx2,
    .quantize_i8 = quantize_i8_avx2,
    .quantize_channels_f32 = quantize_channels_f32_avx2,
    .pack = pack_avx2,
    .unpack = unpack_avx2,
    .look_up_f32 = spc_look_up_f32_avx2,
    .look_up_u16 = look_up_u16_avx2,
    .look_up_u8 = spc_look_up_u8_avx2,
    .unpack_look_up_f32 = unpack_look_up_f32_avx2,
    .crc32c = spc_crc32c_sse42,
};

#endif
