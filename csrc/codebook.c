#include "internal.h"
#include "key.h"

int32_t spc_float_key(float x) {
    return spc_key(x);
}

/* A finite float is mantissa * 2^(exponent - 150). */
static int64_t split_float(float x, int32_t *exponent) {
    uint32_t bits = spc_bits_of_float(x), field = bits >> 23 & 0xffu, mantissa = bits & 0x7fffffu;
    *exponent = field ? (int32_t)field : 1;
    mantissa |= field ? 0x800000u : 0;
    return bits >> 31 ? -(int64_t)mantissa : (int64_t)mantissa;
}

/* floor(x / 2^shift), shift < 0 being a multiplication. */
static int64_t floor_shift(int64_t x, int32_t shift) {
    if (shift < 0) {
        return x * ((int64_t)1 << -shift);
    }
    if (shift > 62) {
        return x < 0 ? -1 : 0;
    }
    return x < 0 ? ~(~x >> shift) : x >> shift;
}

/*
 * Key of the largest float not above the exact value (low + high) / 2.
 *
 * Rounding down, not to nearest, is what makes "threshold < x" the exact test for "x is beyond the
 * midpoint"; and what is rounded down twice, to finer and then to coarser units, is rounded down.
 * So the lesser exponent's mantissa may lose what lies below 2^-38 of the greater one's unit: there
 * the sum keeps all its 24 bits above that.  Integers only: no FPU, nor its modes, matter.
 */
static int32_t threshold_between(float low, float high) {
    enum { most = 38 };
    int32_t exponent_a, exponent_b, unit, length = 0, shift;
    int64_t a = split_float(low, &exponent_a), b = split_float(high, &exponent_b), sum, mantissa;
    int32_t greater = exponent_a > exponent_b ? exponent_a : exponent_b;
    unit = exponent_a < exponent_b ? exponent_a : exponent_b;
    unit = unit < greater - most ? greater - most : unit;
    sum = floor_shift(a, unit - exponent_a) + floor_shift(b, unit - exponent_b);
    if (sum == 0) {
        return 0;
    }
    while ((sum < 0 ? -sum : sum) >> length != 0) {
        length++;
    }
    unit--; /* half of the sum */
    shift = length - 24 > 1 - unit ? length - 24 : 1 - unit;
    mantissa = floor_shift(sum, shift);
    if (sum < 0) {
        return (int32_t)(mantissa - (int64_t)(unit + shift - 1) * 0x800000) - 1;
    }
    return (int32_t)(mantissa + (int64_t)(unit + shift - 1) * 0x800000);
}

/* Threshold i goes to thresholds[i * stride]. */
static spc_status init_one(const float *centroids, uint32_t count, int32_t *thresholds,
                           size_t stride) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t raw = spc_bits_of_float(centroids[i]);
        if ((raw & 0x7f800000u) == 0x7f800000u || raw == 0x80000000u) {
            return SPC_ERROR_CODEBOOK;
        }
        if (i > 0 && spc_key(centroids[i - 1]) >= spc_key(centroids[i])) {
            return SPC_ERROR_CODEBOOK;
        }
    }
    for (uint32_t i = 0; i + 1 < count; i++) {
        thresholds[i * stride] = threshold_between(centroids[i], centroids[i + 1]);
    }
    return SPC_OK;
}

spc_status spc_codebook_init_groups(spc_codebook *codebook, const float *centroids, uint32_t bits,
                                    uint32_t groups, int32_t *thresholds) {
    if (!codebook || !centroids || !thresholds || !spc_bits_usable(bits) || groups < 1 ||
        groups > SPC_MAX_GROUPS) {
        return SPC_ERROR_ARGUMENT;
    }
    for (uint32_t g = 0; g < groups; g++) {
        spc_status status =
            init_one(centroids + ((size_t)g << bits), 1u << bits, thresholds + g, groups);
        if (status != SPC_OK) {
            return status;
        }
    }
    codebook->bits = bits;
    codebook->groups = groups;
    codebook->centroids = centroids;
    codebook->thresholds = thresholds;
    return SPC_OK;
}

spc_status spc_codebook_init(spc_codebook *codebook, const float *centroids, uint32_t bits,
                             int32_t *thresholds) {
    return spc_codebook_init_groups(codebook, centroids, bits, 1, thresholds);
}
