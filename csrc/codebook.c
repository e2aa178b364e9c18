#include "key.h"
#include "splitcodec.h"

int32_t spc_float_key(float x) {
    return spc_key(x);
}

/* The same value whatever the thread's floating-point mode does with denormals. */
static double double_of_float(float x) {
    uint32_t bits = spc_bits_of_float(x), exponent = bits >> 23 & 0xffu;
    uint64_t wide = (uint64_t)(bits >> 31) << 63;
    double out;
    if (exponent == 0) {
        out = (double)(int32_t)(bits & 0x7fffffu) * 0x1p-149;
        return bits >> 31 ? -out : out;
    }
    wide |= (uint64_t)(exponent + 1023 - 127) << 52 | (uint64_t)(bits & 0x7fffffu) << 29;
    memcpy(&out, &wide, sizeof out);
    return out;
}

/*
 * Key of the largest float not above the exact value (low + high) / 2.
 *
 * The sum of two floats need not fit a double, so its rounding error is
 * recovered (Knuth's two-sum) and decides the one case in which the rounded sum
 * would hide it: when the sum lands on a float exactly.  Rounding down, not to
 * nearest, is what makes "threshold < x" the exact test for "x is beyond the
 * midpoint".  The result is cut out of the double's bits, since a conversion to
 * float flushes denormals in a thread that has switched that on; no double here
 * is denormal.
 */
static int32_t threshold_between(float low, float high) {
    double a = double_of_float(low), b = double_of_float(high);
    double sum = a + b;
    double b_rounded = sum - a;
    double a_rounded = sum - b_rounded;
    double error = (a - a_rounded) + (b - b_rounded);
    double middle = sum * 0.5;
    uint64_t bits, mantissa;
    int32_t exponent, magnitude, shift;
    int cut;
    memcpy(&bits, &middle, sizeof bits);
    exponent = (int32_t)(bits >> 52 & 0x7ffu) - 1023 + 127;
    mantissa = (bits & 0xfffffffffffffu) | (uint64_t)1 << 52;
    if (sum == 0.0) {
        mantissa = 0;
        exponent = 1;
    }
    shift = exponent < 1 ? 30 - exponent : 29;
    magnitude = (int32_t)(mantissa >> shift); /* with the implicit bit, unless denormal */
    magnitude += exponent < 1 ? 0 : (exponent - 1) << 23;
    cut = (mantissa & (((uint64_t)1 << shift) - 1)) != 0;
    if (sum < 0.0) {
        return -magnitude - 1 - (cut || error < 0.0);
    }
    return magnitude - (!cut && error < 0.0);
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
    if (!codebook || !centroids || !thresholds || bits < 1 || bits > 8 || groups < 1 ||
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
