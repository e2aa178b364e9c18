/* 16-bit floats as integers: float16 (binary16) and bfloat16 share one order of bits, so one kernel
 * serves both.  Nothing here needs an FPU or depends on its rounding mode. */
#ifndef SPC_HALF_H
#define SPC_HALF_H

#include <stdint.h>

#include "key.h"

/* What spc_key_of_bits is to binary32. */
static inline int16_t spc_key16_of_bits(uint16_t bits) {
    return (int16_t)(bits ^ ((0u - (uint32_t)(bits >> 15)) & 0x7fffu));
}

/* The same number as binary32: exact; a NaN stays one of the same sign. */
static inline uint32_t spc_widen_float16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    uint32_t exponent = 112;
    if (magnitude >= 0x7c00u) {
        return sign | 0x7f800000u | (magnitude & 0x3ffu) << 13;
    }
    if (magnitude >= 0x400u) {
        return sign | ((magnitude << 13) + (112u << 23));
    }
    if (magnitude == 0) {
        return sign;
    }
    while (!(magnitude & 0x400u)) { /* subnormal: 2^-24 is the unit */
        magnitude <<= 1;
        exponent--;
    }
    return sign | ((exponent << 23) + (magnitude << 13));
}

static inline uint32_t spc_widen_bfloat16(uint16_t half) {
    return (uint32_t)half << 16;
}

/* Magnitude of a finite binary32 in units of the float16 format: the quotient, rounded down, and
 * where the rest lies: 0 nothing, 1 below, 2 at, 3 above one half.  From 2^16 on 0x7c00, infinity.
 */
static inline uint32_t spc_float16_below(uint32_t magnitude, uint32_t *rest) {
    uint32_t exponent = magnitude >> 23, shift = 13, cut, half;
    if (magnitude >= 0x47800000u) {
        *rest = 0;
        return 0x7c00u;
    }
    if (exponent >= 113) {
        magnitude -= 112u << 23;
    } else {
        magnitude &= 0x7fffffu;
        magnitude |= exponent ? 0x800000u : 0;
        shift = 126 - (exponent ? exponent : 1);
        if (shift > 24) {
            *rest = magnitude != 0;
            return 0;
        }
    }
    cut = magnitude & ((1u << shift) - 1);
    half = 1u << (shift - 1);
    *rest = cut == 0 ? 0 : cut < half ? 1 : cut == half ? 2 : 3;
    return magnitude >> shift;
}

static inline uint32_t spc_bfloat16_below(uint32_t magnitude, uint32_t *rest) {
    uint32_t cut = magnitude & 0xffffu;
    *rest = cut == 0 ? 0 : cut < 0x8000u ? 1 : cut == 0x8000u ? 2 : 3;
    return magnitude >> 16;
}

/* key16 of the largest 16-bit float not above the finite binary32 with this key, so that
 * key16(x) > key16 says the same as key(x) > key.  Minus infinity where there is no other. */
static inline int16_t spc_key16_below(int32_t key, int bfloat) {
    uint32_t magnitude = key < 0 ? ~(uint32_t)key : (uint32_t)key, rest, largest;
    uint32_t half =
        bfloat ? spc_bfloat16_below(magnitude, &rest) : spc_float16_below(magnitude, &rest);
    largest = bfloat ? 0x7f7fu : 0x7bffu;
    if (key < 0) {
        return (int16_t)(-(int32_t)(half + (rest != 0)) - 1);
    }
    return (int16_t)(half > largest ? largest : half);
}

/* Nearest finite 16-bit float, on a tie the one whose last bit is 0; the sign stays. */
static inline uint16_t spc_narrow(float value, int bfloat) {
    uint32_t bits = spc_bits_of_float(value), rest, largest = bfloat ? 0x7f7fu : 0x7bffu;
    uint32_t half = bfloat ? spc_bfloat16_below(bits & 0x7fffffffu, &rest)
                           : spc_float16_below(bits & 0x7fffffffu, &rest);
    half += rest == 3 || (rest == 2 && (half & 1));
    return (uint16_t)((half > largest ? largest : half) | (bits >> 16 & 0x8000u));
}

#endif
