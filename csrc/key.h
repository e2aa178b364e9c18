/* Ordered integer keys of floats, shared by everything that quantises. */
#ifndef SPC_KEY_H
#define SPC_KEY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Negative floats are sign and magnitude: flipping the magnitude bits makes them two's-complement
 * ordered.  Needs no FPU and no comparison of floats, whose NaN and denormal rules differ. */
static inline int32_t spc_key_of_bits(uint32_t bits) {
    return (int32_t)(bits ^ ((0u - (bits >> 31)) >> 1));
}

/* Its own inverse, but for the types. */
static inline uint32_t spc_bits_of_key(int32_t key) {
    return (uint32_t)spc_key_of_bits((uint32_t)key);
}

/* Not by memcpy: freestanding builds would call it. */
typedef union spc_float_or_bits {
    float x;
    uint32_t bits;
} spc_float_or_bits;

static inline uint32_t spc_bits_of_float(float x) {
    const spc_float_or_bits either = {.x = x};
    return either.bits;
}

static inline float spc_float_of_bits(uint32_t bits) {
    const spc_float_or_bits either = {.bits = bits};
    return either.x;
}

static inline int32_t spc_key(float x) {
    return spc_key_of_bits(spc_bits_of_float(x));
}

/* Key of a small integer as a float, without the int-to-float call of an FPU-less target.
 * |value| <= 255. */
static inline int32_t spc_key_of_int(int value) {
    uint32_t magnitude = (uint32_t)(value < 0 ? -value : value);
    uint32_t exponent = 7, bits;
    if (magnitude == 0) {
        return 0;
    }
    while ((magnitude >> exponent) == 0) {
        exponent--;
    }
    bits = ((127u + exponent) << 23) | ((magnitude << (23 - exponent)) & 0x7fffffu);
    return spc_key_of_bits(value < 0 ? bits | 0x80000000u : bits);
}

/* Whole part of a finite binary32's magnitude, 512 where it is more, and where the rest lies: 0
 * nothing, 1 below, 2 at, 3 above one half. */
static inline uint32_t spc_whole_part(uint32_t magnitude, uint32_t *rest) {
    uint32_t exponent = magnitude >> 23, mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    uint32_t shift = 150 - exponent, half, cut;
    if (exponent >= 127 + 9) {
        *rest = 0;
        return 512;
    }
    if (exponent < 126) { /* less than one half */
        *rest = magnitude != 0;
        return 0;
    }
    half = 1u << (shift - 1);
    cut = mantissa & ((1u << shift) - 1);
    *rest = cut == 0 ? 0 : cut < half ? 1 : cut == half ? 2 : 3;
    return mantissa >> shift;
}

/* Number of thresholds below `key`, in `bits` steps and without branches.  Also right where
 * thresholds coincide.  This is the definition every kernel must match. */
static inline uint32_t spc_index_of_key(const int32_t *thresholds, uint32_t bits, int32_t key) {
    uint32_t index = 0;
    for (uint32_t step = 1u << (bits - 1); step != 0; step >>= 1) {
        index += thresholds[index + step - 1] < key ? step : 0;
    }
    return index;
}

/* The same where neighbouring thresholds lie `stride` apart. */
static inline uint32_t spc_index_of_key_strided(const int32_t *thresholds, size_t stride,
                                                uint32_t bits, int32_t key) {
    uint32_t index = 0;
    for (uint32_t step = 1u << (bits - 1); step != 0; step >>= 1) {
        index += thresholds[(index + step - 1) * stride] < key ? step : 0;
    }
    return index;
}

#endif
