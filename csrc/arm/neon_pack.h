/* Narrowing, packing and unpacking of vectors in registers, for the kernels of neon.c. */
#ifndef SPC_ARM_NEON_PACK_H
#define SPC_ARM_NEON_PACK_H

#include <arm_neon.h>
#include <string.h>

#define INLINE __attribute__((always_inline)) static inline

/* Keeps gcc from doing all the loads of a turn first, for which there are too few registers. */
#define IN_TURN __asm__ volatile("")

#define U8_OF_U16 vreinterpretq_u8_u16
#define U8_OF_U32 vreinterpretq_u8_u32
#define U8_OF_U64 vreinterpretq_u8_u64
#define U16_OF_U8 vreinterpretq_u16_u8
#define U32_OF_U8 vreinterpretq_u32_u8
#define U64_OF_U8 vreinterpretq_u64_u8

/* ------------------------------------------------------------------ bytes out of lanes
 *
 * Four vectors of 32-bit lanes with the same byte all over each lane become one vector of bytes.
 * Transposing costs one operation where unzipping costs three, on the cores that we look at, but
 * byte k of lane j is then of element 4 * k + j.
 */
INLINE uint8x16_t merge4(const uint8x16_t *x) {
    uint8x16_t even = U8_OF_U16(vtrn1q_u16(U16_OF_U8(x[0]), U16_OF_U8(x[2])));
    uint8x16_t odd = U8_OF_U16(vtrn1q_u16(U16_OF_U8(x[1]), U16_OF_U8(x[3])));
    return vtrn1q_u8(even, odd);
}

INLINE uint8x16_t in_order(uint8x16_t merged) {
    static const uint8_t order[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    return vqtbl1q_u8(merged, vld1q_u8(order));
}

/* The lowest bytes of two vectors of 16-bit lanes. */
INLINE uint8x16_t narrow2(uint16x8_t low, uint16x8_t high) {
    return vmovn_high_u16(vmovn_u16(low), high);
}

/* ------------------------------------------------------------------ indices to bits
 *
 * Shift-and-insert puts the bits of a neighbour above one's own and drops what is there.  Joining
 * neighbours three times makes eight indices the lowest `bits` bytes of a 64-bit lane.
 */
#define DEFINE_JOIN(bits)                                                                          \
    INLINE uint8x16_t join##bits(uint8x16_t x) {                                                   \
        uint16x8_t two = U16_OF_U8(x);                                                             \
        uint32x4_t four;                                                                           \
        uint64x2_t eight;                                                                          \
        two = vsliq_n_u16(two, vshrq_n_u16(two, 8), bits);                                         \
        four = vreinterpretq_u32_u16(two);                                                         \
        four = vsliq_n_u32(four, vshrq_n_u32(four, 16), 2 * bits);                                 \
        eight = vreinterpretq_u64_u32(four);                                                       \
        return U8_OF_U64(vsliq_n_u64(eight, vshrq_n_u64(eight, 32), 4 * bits));                    \
    }                                                                                              \
    INLINE uint8x16_t part##bits(uint8x16_t x) {                                                   \
        uint64x2_t eight = U64_OF_U8(x);                                                           \
        uint32x4_t four;                                                                           \
        uint16x8_t two;                                                                            \
        eight = vsliq_n_u64(eight, vshrq_n_u64(eight, 4 * bits), 32);                              \
        four = vreinterpretq_u32_u64(eight);                                                       \
        four = vsliq_n_u32(four, vshrq_n_u32(four, 2 * bits), 16);                                 \
        two = vreinterpretq_u16_u32(four);                                                         \
        return U8_OF_U16(vsliq_n_u16(two, vshrq_n_u16(two, bits), 8));                             \
    }
DEFINE_JOIN(3)
DEFINE_JOIN(5)
DEFINE_JOIN(6)
DEFINE_JOIN(7)
#undef DEFINE_JOIN

/* bits 3, 5, 6 or 7; stray bits above them do not matter. */
INLINE uint8x16_t join(uint8x16_t indices, uint32_t bits) {
    return bits == 3   ? join3(indices)
           : bits == 5 ? join5(indices)
           : bits == 6 ? join6(indices)
                       : join7(indices);
}

/* The other way round; bits of neighbours are left above the indices. */
INLINE uint8x16_t part(uint8x16_t joined, uint32_t bits) {
    return bits == 3   ? part3(joined)
           : bits == 5 ? part5(joined)
           : bits == 6 ? part6(joined)
                       : part7(joined);
}

/* The first twelve bytes. */
INLINE void store_twelve(uint8_t *packed, uint8x16_t x) {
    uint32_t last = vgetq_lane_u32(U32_OF_U8(x), 2);
    vst1_u8(packed, vget_low_u8(x));
    memcpy(packed + 8, &last, sizeof last);
}

/* 32 joined indices of 3 bits. */
INLINE void store_threes(uint8_t *packed, uint8x16_t low, uint8x16_t high) {
    static const uint8_t order[16] = {0,  1,  2,  8,  9,   10,  16,  17,
                                      18, 24, 25, 26, 255, 255, 255, 255};
    uint8x16x2_t pair = {{low, high}};
    store_twelve(packed, vqtbl2q_u8(pair, vld1q_u8(order)));
}

/* 32 indices of 5, 6 or 7 bits.  Writes no byte beyond theirs. */
INLINE void store_joined(uint8_t *packed, uint8x16_t low, uint8x16_t high, uint32_t bits) {
    uint64_t last = vgetq_lane_u64(U64_OF_U8(high), 1);
    /* eight bytes at once where the next lane overwrites those that are too many */
    vst1_u8(packed, vget_low_u8(low));
    vst1_u8(packed + bits, vget_high_u8(low));
    vst1_u8(packed + 2 * bits, vget_low_u8(high));
    memcpy(packed + 3 * bits, &last, bits);
}

/* ------------------------------------------------------------------ bits to indices */

/* Bytes that 16 indices are loaded from, more than theirs from 5 bits on. */
#define UNPACK_READS(bits) ((bits) <= 4 ? 2 * (bits) : (bits) + 8)

/* 16 indices of 1 to 7 bits, with bits of their neighbours above them. */
INLINE uint8x16_t unpack16(const uint8_t *packed, uint32_t bits) {
    if (bits <= 2) {
        static const uint8_t orders[2][16] = {{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1},
                                              {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}};
        static const int8_t shifts[2][16] = {
            {0, -1, -2, -3, -4, -5, -6, -7, 0, -1, -2, -3, -4, -5, -6, -7},
            {0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6}};
        uint32_t word = 0;
        memcpy(&word, packed, 2 * bits);
        uint8x16_t x = vqtbl1q_u8(U8_OF_U32(vdupq_n_u32(word)), vld1q_u8(orders[bits - 1]));
        return vshlq_u8(x, vld1q_s8(shifts[bits - 1]));
    }
    if (bits == 4) {
        uint16x8_t two = vmovl_u8(vld1_u8(packed));
        return U8_OF_U16(vsliq_n_u16(two, two, 4));
    }
    if (bits == 3) {
        uint32_t low, high;
        memcpy(&low, packed, sizeof low);
        memcpy(&high, packed + 2, sizeof high);
        return part(U8_OF_U64(vcombine_u64(vcreate_u64(low), vcreate_u64(high >> 8))), bits);
    }
    return part(vcombine_u8(vld1_u8(packed), vld1_u8(packed + bits)), bits);
}

#endif
