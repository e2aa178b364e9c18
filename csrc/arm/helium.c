/* Armv8.1-M vectors (MVE of integers, "Helium"): quantise by comparing with few thresholds, by
 * binary search in many; loads that part neighbours bring those that share a byte into one lane. */
#include "../bytes.h"
#include "../kernels.h"

#if SPC_HELIUM
#include <arm_mve.h>

#define INLINE static inline __attribute__((always_inline))
#define ALL_OF_VECTOR _Pragma("GCC unroll 16")

/* Conditions: GCC 12 moves the one of an intrinsic through a general register, which takes three
 * more instructions each time; clang names no register to say that these change the conditions. */
#if defined(__clang__)
#define UNDER_CONDITION(result, intrinsics, lines, ...) result = intrinsics
#else
#define UNDER_CONDITION(result, intrinsics, lines, ...)                                            \
    __asm__(lines : "+w"(result) : __VA_ARGS__ : "p0")
#endif

/* sum + (x > threshold ? weight : 0) */
INLINE uint32x4_t add_above(uint32x4_t sum, int32x4_t x, int32_t threshold, uint32_t weight) {
    UNDER_CONDITION(sum, vaddq_m_n_u32(sum, sum, weight, vcmpgtq_n_s32(x, threshold)),
                    "vpt.s32 gt, %q1, %2\n\tvaddt.i32 %q0, %q0, %3", "w"(x), "r"(threshold),
                    "r"(weight));
    return sum;
}

INLINE uint32x4_t add_above_each(uint32x4_t sum, int32x4_t x, int32x4_t thresholds,
                                 uint32_t weight) {
    UNDER_CONDITION(sum, vaddq_m_n_u32(sum, sum, weight, vcmpgtq_s32(x, thresholds)),
                    "vpt.s32 gt, %q1, %q2\n\tvaddt.i32 %q0, %q0, %3", "w"(x), "w"(thresholds),
                    "r"(weight));
    return sum;
}

INLINE uint8x16_t add_above8(uint8x16_t sum, int8x16_t x, int8_t threshold, uint8_t weight) {
    UNDER_CONDITION(sum, vaddq_m_n_u8(sum, sum, weight, vcmpgtq_n_s8(x, threshold)),
                    "vpt.s8 gt, %q1, %2\n\tvaddt.i8 %q0, %q0, %3", "w"(x), "r"(threshold),
                    "r"(weight));
    return sum;
}

/* spc_key_of_bits of four floats; magnitude is all bits but the sign. */
INLINE int32x4_t keys_of(int32x4_t raw, int32x4_t magnitude) {
    UNDER_CONDITION(raw, veorq_m_s32(raw, raw, magnitude, vcmpltq_n_s32(raw, 0)),
                    "vpt.s32 lt, %q0, zr\n\tveort %q0, %q0, %q1", "w"(magnitude));
    return raw;
}

INLINE const int32_t *words_of(const float *values) {
    return (const int32_t *)(const void *)values;
}

/* ------------------------------------------------------------------ quantise */

/* Eight at once, which is what registers hold. */
void spc_quantize_f32_helium(const int32_t *thresholds, uint32_t bits, const float *values,
                             size_t n, uint8_t *indices) {
    bits = SPC_BITS_OF(bits);
    const int32x4_t magnitude = vdupq_n_s32(INT32_MAX);
    const uint32_t top = 1u << (bits - 1);
    for (; n >= 8; n -= 8, values += 8, indices += 8) {
        int32x4_t low = keys_of(vld1q_s32(words_of(values)), magnitude);
        int32x4_t high = keys_of(vld1q_s32(words_of(values + 4)), magnitude);
        uint32x4_t in_low = add_above(vdupq_n_u32(0), low, thresholds[top - 1], top);
        uint32x4_t in_high = add_above(vdupq_n_u32(0), high, thresholds[top - 1], top);
        for (uint32_t step = top / 2; step != 0; step /= 2) {
            const int32_t *from = thresholds + step - 1;
            int32x4_t of_low = vldrwq_gather_shifted_offset_s32(from, in_low);
            int32x4_t of_high = vldrwq_gather_shifted_offset_s32(from, in_high);
            in_low = add_above_each(in_low, low, of_low, step);
            in_high = add_above_each(in_high, high, of_high, step);
        }
        vstrbq_u32(indices, in_low);
        vstrbq_u32(indices + 4, in_high);
    }
    if (n > 0) {
        spc_quantize_f32_reference(thresholds, bits, values, n, indices);
    }
}

void spc_quantize_i8_helium(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                            const uint8_t *values, size_t n, uint8_t *indices) {
    const uint8x16_t sign = vdupq_n_u8(flip);
    const uint32_t count = (1u << bits) - 1;
    for (; n >= 16; n -= 16, values += 16, indices += 16) {
        int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(values), sign));
        uint8x16_t found = vdupq_n_u8(0);
        for (uint32_t i = 0; i < count; i++) {
            found = add_above8(found, x, thresholds[i], 1);
        }
        vst1q_u8(indices, found);
    }
    for (; n > 0; n--, values++) {
        uint8_t found = 0;
        for (uint32_t i = 0; i < count; i++) {
            found = (uint8_t)(found + (thresholds[i] < (int8_t)(*values ^ flip)));
        }
        *indices++ = found;
    }
}

/* ------------------------------------------------------------------ quantise to packed */

/* 16 indices of 1 or 2 bits, those of four neighbours in each lane. */
INLINE uint32x4_t fours_of_floats(const int32_t *thresholds, uint32_t bits, const float *values,
                                  int32x4_t magnitude) {
    int32x4x4_t x = vld4q_s32(words_of(values));
    uint32x4_t sum = vdupq_n_u32(0);
    ALL_OF_VECTOR for (uint32_t k = 0; k < 4; k++) {
        int32x4_t keys = keys_of(x.val[k], magnitude);
        ALL_OF_VECTOR for (uint32_t i = 0; i + 1 < 1u << bits; i++) {
            sum = add_above(sum, keys, thresholds[i], 1u << k * bits);
        }
    }
    return sum;
}

size_t spc_quantize_bytes_f32_helium(const int32_t *thresholds, uint32_t bits, const float *values,
                                     size_t n, uint8_t *packed) {
    bits = SPC_BITS_OF(bits);
    const int32x4_t magnitude = vdupq_n_s32(INT32_MAX);
    const uint8_t *from = packed;
    if (bits == 1) {
        const uint32x4_t places = {1, 1 << 4, 1 << 8, 1 << 12};
        const int32_t key = thresholds[0];
        for (size_t left = n / 32; left > 0; left--, packed += 4, values += 32) {
            uint32_t low = vmladavq_u32(fours_of_floats(&key, 1, values, magnitude), places);
            uint32x4_t high = fours_of_floats(&key, 1, values + 16, magnitude);
            spc_store_word(packed, low | vmladavq_u32(high, places) << 16);
        }
    } else if (bits == 2) {
        const int32_t keys[3] = {thresholds[0], thresholds[1], thresholds[2]};
        for (size_t left = n / 16; left > 0; left--, packed += 4, values += 16) {
            vstrbq_u32(packed, fours_of_floats(keys, 2, values, magnitude));
        }
    }
    return (size_t)(packed - from) * 8 / bits;
}

INLINE uint32_t bits_of_integers(const uint8_t *values, uint8x16_t sign, int8_t key) {
    return vcmpgtq_n_s8(vreinterpretq_s8_u8(veorq_u8(vld1q_u8(values), sign)), key);
}

size_t spc_quantize_bytes_i8_helium(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                                    const uint8_t *values, size_t n, uint8_t *packed) {
    bits = SPC_BITS_OF(bits);
    const uint8x16_t sign = vdupq_n_u8(flip);
    const uint8_t *from = packed;
    if (bits == 1) {
        const int8_t key = thresholds[0];
        for (size_t left = n / 32; left > 0; left--, packed += 4, values += 32) {
            uint32_t low = bits_of_integers(values, sign, key);
            spc_store_word(packed, low | bits_of_integers(values + 16, sign, key) << 16);
        }
    } else {
        const int8_t keys[3] = {thresholds[0], thresholds[1], thresholds[2]};
        for (size_t left = n / 64; left > 0; left--, packed += 16, values += 64) {
            uint8x16x4_t x = vld4q_u8(values);
            uint8x16_t sum = vdupq_n_u8(0);
            ALL_OF_VECTOR for (uint32_t k = 0; k < 4; k++) {
                int8x16_t y = vreinterpretq_s8_u8(veorq_u8(x.val[k], sign));
                ALL_OF_VECTOR for (uint32_t i = 0; i < 3; i++) {
                    sum = add_above8(sum, y, keys[i], (uint8_t)(1u << 2 * k));
                }
            }
            vst1q_u8(packed, sum);
        }
    }
    return (size_t)(packed - from) * 8 / bits;
}

/* ------------------------------------------------------------------ pack */

/* Eight indices in two lanes are as many bytes as one has bits. */
INLINE void store_eight(uint8_t *packed, uint32_t bits, uint32_t low, uint32_t high) {
    const uint32_t rest = high >> (32 - 4 * bits);
    spc_store_word(packed, low | high << 4 * bits);
    ALL_OF_VECTOR for (uint32_t i = 4; i < bits; i++) {
        packed[i] = (uint8_t)(rest >> 8 * (i - 4));
    }
}

/* 3, 5, 6 or 7 bits: in lanes of low + high * 2^8, and then of low + high * 2^16, the high index
 * moves down to where the low one ends. */
INLINE void pack_across(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    for (; n > 0; n -= 16, indices += 16, packed += 2 * bits) {
        uint8x16_t one = vandq_u8(vld1q_u8(indices), mask);
        uint16x8_t two = vreinterpretq_u16_u8(one);
        two = vmlaq_n_u16(two, vshrq_n_u16(two, 8), (uint16_t)((1u << bits) - (1u << 8)));
        uint32x4_t four = vreinterpretq_u32_u16(two);
        four = vmlaq_n_u32(four, vshrq_n_u32(four, 16), (1u << 2 * bits) - (1u << 16));
        const uint32_t a = vgetq_lane_u32(four, 0), b = vgetq_lane_u32(four, 1);
        const uint32_t c = vgetq_lane_u32(four, 2), d = vgetq_lane_u32(four, 3);
        if (bits == 3) { /* 24 bits and 24 bits */
            store_eight(packed, 6, a | b << 12, c | d << 12);
        } else {
            store_eight(packed, bits, a, b);
            store_eight(packed + bits, bits, c, d);
        }
    }
}

INLINE void pack_bits(const uint8_t *indices, size_t n, uint8_t *packed) {
    const uint8x16_t one = vdupq_n_u8(1);
    for (; n > 0; n -= 32, indices += 32, packed += 4) {
        uint32_t low = vcmpeqq_u8(vandq_u8(vld1q_u8(indices), one), one);
        uint32_t high = vcmpeqq_u8(vandq_u8(vld1q_u8(indices + 16), one), one);
        spc_store_word(packed, low | high << 16);
    }
}

/* Stray bits are overwritten by the next index, and the last ones fall off. */
INLINE void pack_twos(const uint8_t *indices, size_t n, uint8_t *packed) {
    for (; n > 0; n -= 64, indices += 64, packed += 16) {
        uint8x16x4_t x = vld4q_u8(indices);
        uint8x16_t low = vsliq_n_u8(x.val[0], x.val[1], 2);
        vst1q_u8(packed, vsliq_n_u8(low, vsliq_n_u8(x.val[2], x.val[3], 2), 4));
    }
}

INLINE void pack_fours(const uint8_t *indices, size_t n, uint8_t *packed) {
    for (; n > 0; n -= 32, indices += 32, packed += 16) {
        uint8x16x2_t x = vld2q_u8(indices);
        vst1q_u8(packed, vsliq_n_u8(x.val[0], x.val[1], 4));
    }
}

INLINE void pack_whole(const uint8_t *indices, size_t n, uint8_t *packed) {
    for (; n > 0; n -= 16, indices += 16, packed += 16) {
        vst1q_u8(packed, vld1q_u8(indices));
    }
}

void spc_pack_helium(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    bits = SPC_BITS_OF(bits);
    const size_t left = n % 64, done = n - left;
    switch (bits) {
    case 1:
        pack_bits(indices, done, packed);
        break;
    case 2:
        pack_twos(indices, done, packed);
        break;
    case 4:
        pack_fours(indices, done, packed);
        break;
        SPC_BITS_CASE(3, pack_across(indices, done, BITS, packed))
        SPC_BITS_CASE(5, pack_across(indices, done, BITS, packed))
        SPC_BITS_CASE(6, pack_across(indices, done, BITS, packed))
        SPC_BITS_CASE(7, pack_across(indices, done, BITS, packed))
    default:
        pack_whole(indices, done, packed);
    }
    if (left > 0) {
        spc_pack_reference(indices + done, left, bits, packed + done / 8 * bits);
    }
}

/* ------------------------------------------------------------------ look up */

/* The OR of all bytes of a vector, as kernels return it. */
INLINE uint32_t or_of_vector(uint32x4_t x) {
    uint32_t word = vgetq_lane_u32(x, 0) | vgetq_lane_u32(x, 1);
    word |= vgetq_lane_u32(x, 2) | vgetq_lane_u32(x, 3);
    word |= word >> 16;
    return (word | word >> 8) & 0xff;
}

uint32_t spc_look_up_u8_helium(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                               size_t n, uint8_t *values) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    uint8x16_t seen = vdupq_n_u8(0);
    for (; n >= 16; n -= 16, indices += 16, values += 16) {
        uint8x16_t x = vld1q_u8(indices);
        seen = vorrq_u8(seen, x);
        vst1q_u8(values, vldrbq_gather_offset_u8(table, vandq_u8(x, mask)));
    }
    return or_of_vector(vreinterpretq_u32_u8(seen)) |
           (n > 0 ? spc_look_up_u8_reference(table, bits, indices, n, values) : 0);
}

uint32_t spc_look_up_f32_helium(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                                float *values) {
    const uint32x4_t mask = vdupq_n_u32((1u << bits) - 1);
    uint32x4_t seen = vdupq_n_u32(0);
    for (; n >= 4; n -= 4, indices += 4, values += 4) {
        uint32x4_t x = vldrbq_u32(indices);
        seen = vorrq_u32(seen, x);
        vst1q_s32((int32_t *)(void *)values,
                  vldrwq_gather_shifted_offset_s32(words_of(table), vandq_u32(x, mask)));
    }
    return or_of_vector(seen) |
           (n > 0 ? spc_look_up_f32_reference(table, bits, indices, n, values) : 0);
}

#endif
