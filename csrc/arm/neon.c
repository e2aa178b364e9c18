/* ARMv8-A NEON: quantise by counting thresholds, pack by shift and pairwise add, look up bytes of
 * tables in registers. */
#include "../kernels.h"

#if defined(SPC_ARM64)
#include <arm_neon.h>
#include <string.h>

#define INLINE __attribute__((always_inline)) static inline

INLINE int32x4_t load_keys(const float *values) {
    int32x4_t raw = vreinterpretq_s32_f32(vld1q_f32(values));
    uint32x4_t flip = vshrq_n_u32(vreinterpretq_u32_s32(vshrq_n_s32(raw, 31)), 1);
    return veorq_s32(raw, vreinterpretq_s32_u32(flip));
}

/* A comparison is all ones, -1, where it holds: subtracting counts. */
INLINE uint32x4_t count_below(const int32x4_t *splat, uint32_t count, int32x4_t keys) {
    uint32x4_t sum = vdupq_n_u32(0);
    for (uint32_t i = 0; i < count; i++) {
        sum = vsubq_u32(sum, vcgtq_s32(keys, splat[i]));
    }
    return sum;
}

INLINE void quantize(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                     uint8_t *indices) {
    const uint32_t count = (1u << bits) - 1;
    int32x4_t splat[15];
    size_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        splat[i] = vdupq_n_s32(thresholds[i]);
    }
    for (; done + 16 <= n; done += 16) {
        const float *at = values + done;
        uint16x8_t a = vreinterpretq_u16_u32(count_below(splat, count, load_keys(at)));
        uint16x8_t b = vreinterpretq_u16_u32(count_below(splat, count, load_keys(at + 4)));
        uint16x8_t c = vreinterpretq_u16_u32(count_below(splat, count, load_keys(at + 8)));
        uint16x8_t d = vreinterpretq_u16_u32(count_below(splat, count, load_keys(at + 12)));
        uint8x16_t low = vreinterpretq_u8_u16(vuzp1q_u16(a, b));
        uint8x16_t high = vreinterpretq_u8_u16(vuzp1q_u16(c, d));
        vst1q_u8(indices + done, vuzp1q_u8(low, high));
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, indices + done);
}

/*
 * 5 and 6 bits: a binary search, whose thresholds at each level are bytes of a table in registers.
 * Deeper levels do not fit them.
 */
typedef struct tables {
    uint8x16_t two, four;
    uint8x16x2_t eight;
    uint8x16x4_t sixteen, thirty_two[2];
} tables;

INLINE uint8x16_t row(const int32_t *thresholds, uint32_t bits, uint32_t level, uint32_t first) {
    int32_t keys[4];
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t at = (first + i) % (1u << level);
        keys[i] = thresholds[((2 * at + 1) << (bits - 1 - level)) - 1];
    }
    return vreinterpretq_u8_s32(vld1q_s32(keys));
}

INLINE uint8x16x4_t four_rows(const int32_t *thresholds, uint32_t bits, uint32_t level,
                              uint32_t first) {
    uint8x16x4_t out = {
        {row(thresholds, bits, level, first), row(thresholds, bits, level, first + 4),
         row(thresholds, bits, level, first + 8), row(thresholds, bits, level, first + 12)}};
    return out;
}

INLINE uint32x4_t search(const tables *t, int32x4_t root, uint32_t bits, int32x4_t keys) {
    uint32x4_t index = vshrq_n_u32(vcgtq_s32(keys, root), 31);
    for (uint32_t level = 1; level < bits; level++) {
        uint8x16_t bytes = vreinterpretq_u8_u32(
            vmlaq_u32(vdupq_n_u32(0x03020100), index, vdupq_n_u32(0x04040404)));
        uint8x16_t found;
        if (level == 1) {
            found = vqtbl1q_u8(t->two, bytes);
        } else if (level == 2) {
            found = vqtbl1q_u8(t->four, bytes);
        } else if (level == 3) {
            found = vqtbl2q_u8(t->eight, bytes);
        } else if (level == 4) {
            found = vqtbl4q_u8(t->sixteen, bytes);
        } else {
            found = vqtbl4q_u8(t->thirty_two[0], bytes);
            found = vqtbx4q_u8(found, t->thirty_two[1], vsubq_u8(bytes, vdupq_n_u8(64)));
        }
        index = vsubq_u32(vaddq_u32(index, index), vcgtq_s32(keys, vreinterpretq_s32_u8(found)));
    }
    return index;
}

INLINE void quantize_search(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                            uint8_t *indices) {
    const int32x4_t root = vdupq_n_s32(thresholds[(1u << (bits - 1)) - 1]);
    tables t;
    size_t done = 0;
    t.two = row(thresholds, bits, 1, 0);
    t.four = row(thresholds, bits, 2, 0);
    t.eight.val[0] = row(thresholds, bits, 3, 0);
    t.eight.val[1] = row(thresholds, bits, 3, 4);
    t.sixteen = four_rows(thresholds, bits, 4, 0);
    if (bits > 5) {
        t.thirty_two[0] = four_rows(thresholds, bits, 5, 0);
        t.thirty_two[1] = four_rows(thresholds, bits, 5, 16);
    }
    for (; done + 16 <= n; done += 16) {
        const float *at = values + done;
        uint16x8_t a = vreinterpretq_u16_u32(search(&t, root, bits, load_keys(at)));
        uint16x8_t b = vreinterpretq_u16_u32(search(&t, root, bits, load_keys(at + 4)));
        uint16x8_t c = vreinterpretq_u16_u32(search(&t, root, bits, load_keys(at + 8)));
        uint16x8_t d = vreinterpretq_u16_u32(search(&t, root, bits, load_keys(at + 12)));
        uint8x16_t low = vreinterpretq_u8_u16(vuzp1q_u16(a, b));
        uint8x16_t high = vreinterpretq_u8_u16(vuzp1q_u16(c, d));
        vst1q_u8(indices + done, vuzp1q_u8(low, high));
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, indices + done);
}

INLINE void quantize_any(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                         uint8_t *indices) {
    if (bits <= 4) {
        quantize(thresholds, bits, values, n, indices);
    } else if (bits <= 6) {
        quantize_search(thresholds, bits, values, n, indices);
    } else {
        spc_quantize_f32_reference(thresholds, bits, values, n, indices);
    }
}

static void quantize_f32_neon(const int32_t *thresholds, uint32_t bits, const float *values,
                              size_t n, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, quantize_any(thresholds, BITS, values, n, indices))}

/* Sixteen indices, each moved to its place in the byte that it will share with its neighbours. */
INLINE uint8x16_t placed(const uint8_t *indices, uint8x16_t mask, int8x16_t places) {
    return vshlq_u8(vandq_u8(vld1q_u8(indices), mask), places);
}

/* bits 1, 2 or 4: 8 / bits neighbours share a byte; pairwise adds bring them together. */
INLINE void pack_whole(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    static const int8_t all_places[3][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7},
        {0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6},
        {0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4},
    };
    const int8x16_t places = vld1q_s8(all_places[bits / 2]);
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    const size_t vectors = 8 / bits; /* of 16 indices, for 16 packed bytes */
    size_t done = 0;
    for (; done + 16 * vectors <= n; done += 16 * vectors) {
        uint8x16_t x[8];
        for (size_t i = 0; i < vectors; i++) {
            x[i] = placed(indices + done + 16 * i, mask, places);
        }
        for (size_t left = vectors; left > 1; left /= 2) {
            for (size_t i = 0; i < left / 2; i++) {
                x[i] = vpaddq_u8(x[2 * i], x[2 * i + 1]);
            }
        }
        vst1q_u8(packed, x[0]);
        packed += 16;
    }
    spc_pack_reference(indices + done, n - done, bits, packed);
}

/*
 * Other widths join neighbours into 2, 4, then 8 indices in ever wider lanes: the lower neighbour
 * is shifted up against the other, and both down to the bottom of the lane.  `bits` bytes of each
 * 64-bit lane remain.
 */
INLINE uint64x2_t join(uint8x16_t x, int bits) {
    const int16_t gap2 = (int16_t)(8 - bits), gap4 = (int16_t)(16 - 2 * bits);
    const int32_t gap8 = 32 - 4 * bits;
    const int8x16_t up2 = vreinterpretq_s8_s16(vdupq_n_s16(gap2));
    const int16x8_t up4 = vreinterpretq_s16_s32(vdupq_n_s32(gap4));
    const int32x4_t up8 = vreinterpretq_s32_s64(vdupq_n_s64(gap8));
    uint16x8_t two = vreinterpretq_u16_u8(vshlq_u8(x, up2));
    uint32x4_t four = vreinterpretq_u32_u16(vshlq_u16(vshlq_u16(two, vdupq_n_s16(-gap2)), up4));
    uint64x2_t eight = vreinterpretq_u64_u32(vshlq_u32(vshlq_u32(four, vdupq_n_s32(-gap4)), up8));
    return vshlq_u64(eight, vdupq_n_s64(-gap8));
}

/* bits 3, 5, 6 or 7.  Writes no byte beyond those of the indices. */
INLINE void pack_joined(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    static const uint8_t take3[16] = {0,  1,  2,  8,  9,   10,  16,  17,
                                      18, 24, 25, 26, 255, 255, 255, 255};
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    const uint8x16_t order = vld1q_u8(take3);
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        uint64x2_t a = join(vandq_u8(vld1q_u8(indices + done), mask), (int)bits);
        uint64x2_t b = join(vandq_u8(vld1q_u8(indices + done + 16), mask), (int)bits);
        if (bits == 3) {
            uint8x16x2_t pair = {{vreinterpretq_u8_u64(a), vreinterpretq_u8_u64(b)}};
            uint8x16_t out = vqtbl2q_u8(pair, order);
            uint32_t last = vgetq_lane_u32(vreinterpretq_u32_u8(out), 2);
            vst1_u8(packed, vget_low_u8(out));
            memcpy(packed + 8, &last, sizeof last);
        } else {
            uint64_t last = vgetq_lane_u64(b, 1);
            /* eight bytes at once where the next lane overwrites those that are too many */
            vst1_u8(packed, vreinterpret_u8_u64(vget_low_u64(a)));
            vst1_u8(packed + bits, vreinterpret_u8_u64(vget_high_u64(a)));
            vst1_u8(packed + 2 * bits, vreinterpret_u8_u64(vget_low_u64(b)));
            memcpy(packed + 3 * bits, &last, bits);
        }
        packed += 4 * bits;
    }
    spc_pack_reference(indices + done, n - done, bits, packed);
}

/* The two bytes that hold index i of a group of 8 at byte `at`, into 16-bit lane i. */
INLINE uint8x16_t byte_pairs(uint32_t bits, uint32_t at) {
    uint8_t order[16];
    for (uint32_t i = 0; i < 8; i++) {
        order[2 * i] = (uint8_t)(at + i * bits / 8);
        order[2 * i + 1] = (uint8_t)(at + i * bits / 8 + 1);
    }
    return vld1q_u8(order);
}

/* 16 indices at a time, from the 8 or 16 bytes that begin with theirs. */
INLINE void unpack(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    const uint8x16_t first = byte_pairs(bits, 0), second = byte_pairs(bits, bits);
    const uint16x8_t mask = vdupq_n_u16((uint16_t)((1u << bits) - 1));
    const uint8_t *end = packed + spc_packed_size(n, bits);
    int16_t down[8];
    int16x8_t shifts;
    size_t done = 0;
    for (uint32_t i = 0; i < 8; i++) {
        down[i] = (int16_t)(-(int)(i * bits % 8));
    }
    shifts = vld1q_s16(down);
    for (; done + 16 <= n && end - packed >= (bits <= 4 ? 8 : 16); done += 16) {
        uint8x16_t bytes =
            bits <= 4 ? vcombine_u8(vld1_u8(packed), vdup_n_u8(0)) : vld1q_u8(packed);
        uint16x8_t a = vreinterpretq_u16_u8(vqtbl1q_u8(bytes, first));
        uint16x8_t b = vreinterpretq_u16_u8(vqtbl1q_u8(bytes, second));
        a = vandq_u16(vshlq_u16(a, shifts), mask);
        b = vandq_u16(vshlq_u16(b, shifts), mask);
        vst1q_u8(indices + done, vuzp1q_u8(vreinterpretq_u8_u16(a), vreinterpretq_u8_u16(b)));
        packed += 2 * bits;
    }
    spc_unpack_reference(packed, n - done, bits, indices + done);
}

INLINE void pack_any(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    if (bits == 8) {
        memcpy(packed, indices, n);
    } else if (8 % bits == 0) {
        pack_whole(indices, n, bits, packed);
    } else {
        pack_joined(indices, n, bits, packed);
    }
}

static void pack_neon(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed){
    SPC_WITH_CONSTANT_BITS(bits, pack_any(indices, n, BITS, packed))}

INLINE void unpack_any(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    if (bits == 8) {
        memcpy(indices, packed, n);
    } else {
        unpack(packed, n, bits, indices);
    }
}

static void unpack_neon(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, unpack_any(packed, n, BITS, indices))}

/* Bytes of a table, 16 to a row; a table of less than 16 is repeated. */
#define BYTE_ROWS(bits) ((bits) <= 4 ? 1u : 1u << ((bits) - 4))

INLINE uint8x16x4_t four_from(const uint8x16_t *rows) {
    uint8x16x4_t out = {{rows[0], rows[1], rows[2], rows[3]}};
    return out;
}

/* Indices below 16 or 2^bits, whichever is more. */
INLINE uint8x16_t find_bytes(const uint8x16_t *rows, uint32_t bits, uint8x16_t indices) {
    uint8x16_t found;
    if (bits <= 4) {
        return vqtbl1q_u8(rows[0], indices);
    }
    if (bits == 5) {
        uint8x16x2_t two = {{rows[0], rows[1]}};
        return vqtbl2q_u8(two, indices);
    }
    found = vqtbl4q_u8(four_from(rows), indices);
    for (uint32_t r = 4; r < BYTE_ROWS(bits); r += 4) {
        uint8x16_t from_here = vsubq_u8(indices, vdupq_n_u8((uint8_t)(16 * r)));
        found = vqtbx4q_u8(found, four_from(rows + r), from_here);
    }
    return found;
}

/* The OR of all bytes. */
INLINE uint32_t or_of_bytes(uint8x16_t x) {
    uint64x2_t lanes = vreinterpretq_u64_u8(x);
    uint64_t word = vgetq_lane_u64(lanes, 0) | vgetq_lane_u64(lanes, 1);
    word |= word >> 32;
    word |= word >> 16;
    return (uint32_t)(word | word >> 8) & 0xff;
}

INLINE uint32_t look_up_u8(const uint8_t *table, uint32_t bits, const uint8_t *indices, size_t n,
                           uint8_t *values) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    uint8x16_t rows[BYTE_ROWS(8)], seen = vdupq_n_u8(0);
    size_t done = 0;
    if (bits < 4) {
        uint8_t repeated[16];
        for (uint32_t i = 0; i < 16; i++) {
            repeated[i] = table[i % (1u << bits)];
        }
        rows[0] = vld1q_u8(repeated);
    } else {
        for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
            rows[r] = vld1q_u8(table + 16 * r);
        }
    }
    for (; done + 16 <= n; done += 16) {
        uint8x16_t x = vld1q_u8(indices + done);
        seen = vorrq_u8(seen, x);
        vst1q_u8(values + done, find_bytes(rows, bits, vandq_u8(x, mask)));
    }
    return or_of_bytes(seen) |
           spc_look_up_u8_reference(table, bits, indices + done, n - done, values + done);
}

static uint32_t look_up_u8_neon(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                size_t n, uint8_t *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up_u8(table, BITS, indices, n, values))
    return seen;
}

/* Up to 6 bits: a table for each of the four bytes of a float; loads take them apart, stores put
 * them together again. */
INLINE uint32_t look_up_planes(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                               float *values) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    uint8x16_t planes[4][4], seen = vdupq_n_u8(0);
    float repeated[16];
    size_t done = 0;
    for (uint32_t i = 0; bits < 4 && i < 16; i++) {
        repeated[i] = table[i % (1u << bits)];
    }
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        uint8x16x4_t x = vld4q_u8((const uint8_t *)(bits < 4 ? repeated : table + 16 * r));
        for (uint32_t p = 0; p < 4; p++) {
            planes[p][r] = x.val[p];
        }
    }
    for (; done + 16 <= n; done += 16) {
        uint8x16_t x = vld1q_u8(indices + done);
        uint8x16x4_t found;
        seen = vorrq_u8(seen, x);
        x = vandq_u8(x, mask);
        for (uint32_t p = 0; p < 4; p++) {
            found.val[p] = find_bytes(planes[p], bits, x);
        }
        vst4q_u8((uint8_t *)(values + done), found);
    }
    return or_of_bytes(seen) |
           spc_look_up_f32_reference(table, bits, indices + done, n - done, values + done);
}

INLINE uint32_t look_up_f32(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                            float *values) {
    if (bits <= 6) {
        return look_up_planes(table, bits, indices, n, values);
    }
    return spc_look_up_f32_reference(table, bits, indices, n, values);
}

static uint32_t look_up_f32_neon(const float *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, float *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up_f32(table, BITS, indices, n, values))
    return seen;
}

#if defined(__clang__)
#define CRC __attribute__((target("crc")))
#define CRC32C_WORD __builtin_arm_crc32cd
#define CRC32C_BYTE __builtin_arm_crc32cb
#else
#define CRC __attribute__((target("+crc")))
#define CRC32C_WORD __builtin_aarch64_crc32cx
#define CRC32C_BYTE __builtin_aarch64_crc32cb
#endif

CRC static uint32_t crc32c_arm(uint32_t state, const uint8_t *bytes, size_t len) {
    for (; len >= 8; bytes += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        state = CRC32C_WORD(state, word);
    }
    for (; len > 0; bytes++, len--) {
        state = CRC32C_BYTE(state, *bytes);
    }
    return state;
}

const spc_kernels spc_kernels_neon = {
    .name = "neon",
    .features = SPC_CPU_NEON,
    .quantize_f32 = quantize_f32_neon,
    .quantize_f16 = spc_quantize_f16_reference,
    .quantize_channels_f32 = spc_quantize_channels_f32_reference,
    .pack = pack_neon,
    .unpack = unpack_neon,
    .look_up_f32 = look_up_f32_neon,
    .look_up_u16 = spc_look_up_u16_reference,
    .look_up_u8 = look_up_u8_neon,
    .crc32c = spc_crc32c_reference,
};

const spc_kernels spc_kernels_neon_crc = {
    .name = "neon+crc",
    .features = SPC_CPU_NEON | SPC_CPU_ARM_CRC,
    .quantize_f32 = quantize_f32_neon,
    .quantize_f16 = spc_quantize_f16_reference,
    .quantize_channels_f32 = spc_quantize_channels_f32_reference,
    .pack = pack_neon,
    .unpack = unpack_neon,
    .look_up_f32 = look_up_f32_neon,
    .look_up_u16 = spc_look_up_u16_reference,
    .look_up_u8 = look_up_u8_neon,
    .crc32c = crc32c_arm,
};

#endif
