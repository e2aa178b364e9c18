#include "key.h"
#include "splitcodec.h"

int32_t spc_float_key(float x) {
    return spc_key(x);
}

/*
 * Key of the largest float not above the exact value (low + high) / 2.
 *
 * The sum of two floats need not fit a double, so its rounding error is recovered (Knuth's
 * two-sum) and decides the one case in which the rounded sum would hide it: when the sum lands on
 * a float exactly.  Rounding down, not to nearest, is what makes "threshold < x" the exact test
 * for "x is beyond the midpoint".
 */
static int32_t threshold_between(float low, float high) {
    double a = (double)low, b = (double)high;
    double sum = a + b;
    double b_rounded = sum - a;
    double a_rounded = sum - b_rounded;
    double error = (a - a_rounded) + (b - b_rounded);
    double middle = sum * 0.5;
    float nearest = (float)middle;
    int32_t key = spc_key(nearest);
    if ((double)nearest > middle || ((double)nearest == middle && error < 0.0)) {
        key--;
    }
    return key == -1 ? 0 : key; /* -0.0 and +0.0 are one number: keep the upper key */
}

spc_status spc_codebook_init(spc_codebook *codebook, const float *centroids, uint32_t bits,
                             int32_t *thresholds) {
    uint32_t count;
    if (!codebook || !centroids || !thresholds || bits < 1 || bits > 8) {
        return SPC_ERROR_ARGUMENT;
    }
    count = 1u << bits;
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
        thresholds[i] = threshold_between(centroids[i], centroids[i + 1]);
    }
    codebook->bits = bits;
    codebook->centroids = centroids;
    codebook->thresholds = thresholds;
    return SPC_OK;
}
