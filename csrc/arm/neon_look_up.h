/* Look centroids up: bytes of tables in registers where these hold them, loads where not. */
#ifndef SPC_ARM_NEON_LOOK_UP_H
#define SPC_ARM_NEON_LOOK_UP_H

#include <arm_neon.h>
#include <string.h>

#include "../kernels.h"
#include "../key.h"
#include "neon_pack.h"

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

INLINE uint32_t or_of_bytes(uint8x16_t x) {
    return spc_or_of_word(vgetq_lane_u64(U64_OF_U8(x), 0) | vgetq_lane_u64(U64_OF_U8(x), 1));
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

/* Tables of up to 2^bits values as planes: all first bytes, all second bytes and so on.  A table of
 * less than 16 is repeated. */
INLINE void load_planes4(const float *table, uint32_t bits, uint8x16_t planes[4][4]) {
    float repeated[16];
    for (uint32_t i = 0; bits < 4 && i < 16; i++) {
        repeated[i] = table[i % (1u << bits)];
    }
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        uint8x16x4_t x = vld4q_u8((const uint8_t *)(bits < 4 ? repeated : table + 16 * r));
        for (uint32_t p = 0; p < 4; p++) {
            planes[p][r] = x.val[p];
        }
    }
}

INLINE void load_planes2(const uint16_t *table, uint32_t bits, uint8x16_t planes[2][4]) {
    uint16_t repeated[16];
    for (uint32_t i = 0; bits < 4 && i < 16; i++) {
        repeated[i] = table[i % (1u << bits)];
    }
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        uint8x16x2_t x = vld2q_u8((const uint8_t *)(bits < 4 ? repeated : table + 16 * r));
        planes[0][r] = x.val[0];
        planes[1][r] = x.val[1];
    }
}

/* 16 values, by indices without stray bits. */
INLINE void find_floats(uint8x16_t planes[4][4], uint32_t bits, uint8x16_t indices, float *values) {
    uint8x16x4_t found;
    for (uint32_t p = 0; p < 4; p++) {
        found.val[p] = find_bytes(planes[p], bits, indices);
    }
    vst4q_u8((uint8_t *)values, found);
}

/* Planes pay as long as their look-ups take less than a load for each value. */
#define FLOAT_PLANES(bits) ((bits) <= 5)
#define HALF_PLANES(bits) ((bits) <= 6)

INLINE uint32_t look_up_f32(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                            float *values) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    uint8x16_t planes[4][4], seen = vdupq_n_u8(0);
    uint64_t words = 0;
    size_t done = 0;
    if (FLOAT_PLANES(bits)) {
        load_planes4(table, bits, planes);
        for (; done + 16 <= n; done += 16) {
            uint8x16_t x = vld1q_u8(indices + done);
            seen = vorrq_u8(seen, x);
            find_floats(planes, bits, vandq_u8(x, mask), values + done);
        }
    } else {
        for (; done + 8 <= n; done += 8) {
            uint64_t word;
            memcpy(&word, indices + done, sizeof word);
            words |= word;
            for (uint32_t i = 0; i < 8; i++) {
                values[done + i] = table[word >> 8 * i & ((1u << bits) - 1)];
            }
        }
    }
    return or_of_bytes(seen) | spc_or_of_word(words) |
           spc_look_up_f32_reference(table, bits, indices + done, n - done, values + done);
}

static uint32_t look_up_f32_neon(const float *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, float *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up_f32(table, BITS, indices, n, values))
    return seen;
}

INLINE uint32_t look_up_u16(const uint16_t *table, uint32_t bits, const uint8_t *indices, size_t n,
                            uint16_t *values) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    uint8x16_t planes[2][4], seen = vdupq_n_u8(0);
    uint64_t words = 0;
    size_t done = 0;
    if (HALF_PLANES(bits)) {
        load_planes2(table, bits, planes);
        for (; done + 16 <= n; done += 16) {
            uint8x16_t x = vld1q_u8(indices + done);
            uint8x16x2_t found;
            seen = vorrq_u8(seen, x);
            x = vandq_u8(x, mask);
            found.val[0] = find_bytes(planes[0], bits, x);
            found.val[1] = find_bytes(planes[1], bits, x);
            vst2q_u8((uint8_t *)(values + done), found);
        }
    } else {
        for (; done + 8 <= n; done += 8) {
            uint64_t word;
            memcpy(&word, indices + done, sizeof word);
            words |= word;
            for (uint32_t i = 0; i < 8; i++) {
                values[done + i] = table[word >> 8 * i & ((1u << bits) - 1)];
            }
        }
    }
    return or_of_bytes(seen) | spc_or_of_word(words) |
           spc_look_up_u16_reference(table, bits, indices + done, n - done, values + done);
}

static uint32_t look_up_u16_neon(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, uint16_t *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up_u16(table, BITS, indices, n, values))
    return seen;
}

/* ------------------------------------------------------------------ packed to float32 */

/* 32 values of 1 bit: a comparison for each, then one of two. */
INLINE void look_up32_of_1(const float *table, const uint8_t *packed, float *values) {
    const uint32x4_t first = vdupq_n_u32(spc_bits_of_float(table[0]));
    const uint32x4_t differ = veorq_u32(first, vdupq_n_u32(spc_bits_of_float(table[1])));
    const uint32x4_t lane =
        vcombine_u32(vcreate_u32(0x0000000200000001), vcreate_u32(0x0000000800000004));
    uint32_t word;
    memcpy(&word, packed, sizeof word);
    for (uint32_t i = 0; i < 8; i++) {
        uint32x4_t on = vtstq_u32(vdupq_n_u32(word), vshlq_u32(lane, vdupq_n_s32((int)(4 * i))));
        uint32x4_t x = veorq_u32(first, vandq_u32(on, differ));
        vst1q_f32(values + 4 * i, vreinterpretq_f32_u32(x));
    }
}

INLINE void unpack_look_up(const float *table, uint32_t bits, const uint8_t *packed, size_t n,
                           float *values) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    uint8x16_t planes[4][4];
    uint8_t rest[32];
    if (bits == 1) {
        for (; n >= 32; n -= 32) {
            look_up32_of_1(table, packed, values);
            packed += 4;
            values += 32;
        }
    } else {
        load_planes4(table, bits, planes);
        for (; n >= 16; n -= 16) {
            find_floats(planes, bits, vandq_u8(unpack16(packed, bits), mask), values);
            packed += 2 * bits;
            values += 16;
        }
    }
    if (n > 0) {
        spc_unpack_reference(packed, n, bits, rest);
        (void)spc_look_up_f32_reference(table, bits, rest, n, values);
    }
}

static void unpack_look_up_f32_neon(const float *table, uint32_t bits, const uint8_t *packed,
                                    size_t n, float *values) {
    SPC_WITH_CONSTANT_BITS(
        bits,
        if (BITS <= SPC_UNPACK_LOOK_UP_BITS) { unpack_look_up(table, BITS, packed, n, values); })
}

#endif
