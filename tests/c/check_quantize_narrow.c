/* Quantisers of 16-bit floats and 8-bit integers: every value there is, against float32. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "half.h"
#include "kernels.h"
#include "timing.h"

#define ALL (1 << 16)

/* The value of a 16-bit float, from its parts; NaN for a NaN. */
static double value_of(uint16_t half, int bfloat) {
    int mantissa_bits = bfloat ? 7 : 10, bias = bfloat ? 127 : 15;
    int exponent = (half & 0x7fff) >> mantissa_bits, special = bfloat ? 255 : 31;
    int mantissa = half & ((1 << mantissa_bits) - 1);
    double magnitude;
    if (exponent == special) {
        magnitude = mantissa ? (double)NAN : (double)INFINITY;
    } else if (exponent == 0) {
        magnitude = ldexp(mantissa, 1 - bias - mantissa_bits);
    } else {
        magnitude = ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
    }
    return half & 0x8000 ? -magnitude : magnitude;
}

static void widening(void) {
    for (int bfloat = 0; bfloat < 2; bfloat++) {
        for (uint32_t half = 0; half < ALL; half++) {
            uint32_t wide =
                bfloat ? spc_widen_bfloat16((uint16_t)half) : spc_widen_float16((uint16_t)half);
            double want = value_of((uint16_t)half, bfloat);
            float got = check_float_of_bits(wide);
            CHECK(wide >> 31 == half >> 15);
            CHECK(isnan(want) ? isnan(got) : (double)got == want);
        }
    }
}

/* Every 16-bit float goes there and back; what lies between two goes to the nearer one. */
static void narrowing(void) {
    for (int bfloat = 0; bfloat < 2; bfloat++) {
        uint16_t largest = bfloat ? 0x7f7f : 0x7bff;
        for (uint32_t half = 0; half <= largest; half++) {
            double here = value_of((uint16_t)half, bfloat);
            CHECK(spc_narrow((float)here, bfloat) == half);
            CHECK(spc_narrow(-(float)here, bfloat) == (half | 0x8000));
            if (half < largest) {
                double next = value_of((uint16_t)(half + 1), bfloat);
                float middle = (float)((here + next) / 2); /* exact but for the smallest bfloat16 */
                int exact = (double)middle == (here + next) / 2;
                uint32_t even = half + (half & 1);
                CHECK(!exact || spc_narrow(middle, bfloat) == even);
                CHECK(!exact || spc_narrow(nextafterf(middle, 0.0f), bfloat) == half);
                CHECK(!exact ||
                      spc_narrow(-nextafterf(middle, INFINITY), bfloat) == ((half + 1) | 0x8000));
            }
        }
        CHECK(spc_narrow(3.4028235e38f, bfloat) == largest);
        CHECK(spc_narrow(-3.4028235e38f, bfloat) == (0x8000 | largest));
        CHECK(spc_narrow(1e-45f, 0) == 0 && spc_narrow(-1e-45f, 0) == 0x8000);
    }
}

/* Thresholds of a codebook, some of them close to 16-bit floats. */
static void make_thresholds(int32_t *thresholds, uint32_t bits, unsigned style, spc_dtype dtype) {
    float centroids[SPC_MAX_CENTROIDS];
    spc_codebook codebook;
    uint32_t count = 1u << bits;
    if (style < check_centroid_styles) {
        check_centroids(centroids, bits, style);
    } else {
        /* the first is far below, the last far above what the dtype has; or none is */
        double range = dtype == SPC_FLOAT16 ? 1e5 : dtype == SPC_BFLOAT16 ? 1e30 : 300.0;
        if (style == check_centroid_styles) {
            range = dtype == SPC_FLOAT16 ? 3.0 : dtype == SPC_BFLOAT16 ? 3.0 : 120.0;
        }
        for (uint32_t i = 0; i < count; i++) {
            double at = ((double)i + (double)check_below(1000) / 1000.0) / (double)count;
            centroids[i] = (float)(range * (2.0 * at - 1.0)) + 0.0f;
        }
    }
    CHECK_STATUS(spc_codebook_init(&codebook, centroids, bits, thresholds), SPC_OK);
}
enum { threshold_styles = check_centroid_styles + 2 };

static void every_float(void) {
    uint16_t *values = malloc(ALL * sizeof *values);
    uint8_t *got = malloc(ALL), *want = malloc(ALL);
    for (uint32_t i = 0; i < ALL; i++) {
        values[i] = (uint16_t)i;
    }
    for (unsigned k = 0; k < 8 * 2 * threshold_styles; k++) {
        int bfloat = (int)(k / 8 % 2);
        int32_t thresholds[SPC_MAX_CENTROIDS - 1];
        int16_t keys[SPC_MAX_CENTROIDS - 1];
        check_cpus cpus = {0};
        check_at.bits = 1 + k % 8;
        check_seed(k);
        make_thresholds(thresholds, check_at.bits, k / 16, bfloat ? SPC_BFLOAT16 : SPC_FLOAT16);
        for (uint32_t i = 0; i + 1 < 1u << check_at.bits; i++) {
            keys[i] = spc_key16_below(thresholds[i], bfloat);
        }
        for (uint32_t i = 0; i < ALL; i++) {
            uint32_t wide =
                bfloat ? spc_widen_bfloat16((uint16_t)i) : spc_widen_float16((uint16_t)i);
            int32_t key = check_key_of_bits(wide);
            uint32_t below = 0;
            for (uint32_t t = 0; t + 1 < 1u << check_at.bits; t++) {
                below += thresholds[t] < key;
            }
            want[i] = (uint8_t)below;
        }
        while (check_next_cpu(&cpus)) {
            memset(got, 0xee, ALL);
            spc_kernels_get()->quantize_f16(keys, check_at.bits, values, ALL, got);
            CHECK_BYTES(got, want, ALL);
        }
    }
    free(values);
    free(got);
    free(want);
}

static void every_integer(void) {
    uint8_t values[256], got[256], want[256];
    for (uint32_t i = 0; i < 256; i++) {
        values[i] = (uint8_t)i;
    }
    for (unsigned k = 0; k < 8 * 2 * 4 * threshold_styles; k++) {
        spc_dtype dtype = k / 8 % 2 ? SPC_UINT8 : SPC_INT8;
        int32_t thresholds[SPC_MAX_CENTROIDS - 1];
        float none[SPC_MAX_CENTROIDS] = {0};
        spc_codebook codebook = {1 + k % 8, 1, none, thresholds};
        check_cpus cpus = {0};
        check_at.bits = codebook.bits;
        check_seed(k);
        make_thresholds(thresholds, check_at.bits, k / 64, dtype);
        for (uint32_t i = 0; i < 256; i++) {
            float value = (float)(dtype == SPC_INT8 && i > 127 ? (int)i - 256 : (int)i);
            uint32_t below = 0;
            for (uint32_t t = 0; t + 1 < 1u << check_at.bits; t++) {
                below += thresholds[t] < check_key_of_bits(check_bits_of_float(value));
            }
            want[i] = (uint8_t)below;
        }
        while (check_next_cpu(&cpus)) {
            CHECK_STATUS(spc_quantize(&codebook, dtype, values, 256, got), SPC_OK);
            CHECK_BYTES(got, want, 256);
        }
    }
}

/* Sorted keys of any kind, coinciding ones too; the kernels alone. */
static int compare(const void *a, const void *b) {
    const int16_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void kernels_at(check_guard in, check_guard out, int rear) {
    const spc_kernels *kernels = spc_kernels_get();
    size_t n = check_at.n, shift = check_at.shift, count = (1u << check_at.bits) - 1;
    uint8_t *halves =
        rear ? check_rear(in, 2 * n, shift / 2 * 2) : check_front(in, 2 * n, shift / 2 * 2);
    uint8_t *to = rear ? check_rear(out, n, shift) : check_front(out, n, shift);
    int16_t keys[SPC_MAX_CENTROIDS - 1];
    int8_t keys8[SPC_MAX_CENTROIDS - 1];
    uint8_t want[2100], flip = check_below(2) ? 0x80 : 0;
    check_fill(keys, sizeof keys);
    for (size_t i = 0; i < count; i++) {
        keys[i] = check_below(8) == 0 ? keys[0] : keys[i];
    }
    qsort(keys, count, sizeof keys[0], compare);
    check_fill(halves, 2 * n);
    for (size_t i = 0; i < n; i++) {
        uint16_t value;
        uint32_t below = 0;
        memcpy(&value, halves + 2 * i, 2);
        if (check_below(2)) {
            value = (uint16_t)spc_key16_of_bits((uint16_t)keys[check_below((uint32_t)count)]);
            value = (uint16_t)(value + check_below(3) - 1);
            memcpy(halves + 2 * i, &value, 2);
        }
        for (size_t t = 0; t < count; t++) {
            below += keys[t] < spc_key16_of_bits(value);
        }
        want[i] = (uint8_t)below;
    }
    memset(to, 0xee, n);
    check_at.what = "quantize_f16";
    kernels->quantize_f16(keys, check_at.bits, (const uint16_t *)(const void *)halves, n, to);
    CHECK_BYTES(to, want, n);
    CHECK_MARKS(out, to, n);
    if (kernels->quantize_i8 && check_at.bits <= SPC_QUANTIZE_I8_BITS) {
        uint8_t *bytes = rear ? check_rear(in, n, shift) : check_front(in, n, shift);
        check_at.what = "quantize_i8";
        for (size_t i = 0; i < count; i++) {
            keys8[i] = (int8_t)(keys[i] >> 8);
        }
        check_fill(bytes, n);
        for (size_t i = 0; i < n; i++) {
            uint32_t below = 0;
            for (size_t t = 0; t < count; t++) {
                below += keys8[t] < (int8_t)(bytes[i] ^ flip);
            }
            want[i] = (uint8_t)below;
        }
        memset(to, 0xee, n);
        kernels->quantize_i8(keys8, check_at.bits, flip, bytes, n, to);
        CHECK_BYTES(to, want, n);
        CHECK_MARKS(out, to, n);
    }
    check_at.what = NULL;
}

static void kernels_over(size_t from, size_t to, size_t step, size_t shifts) {
    check_guard in = check_guard_new(2 * 2100 + 256), out = check_guard_new(2100 + 256);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t n = from; n <= to; n += step) {
            check_cpus cpus = {0};
            check_at.bits = bits;
            check_at.n = n;
            check_seed(n);
            while (check_next_cpu(&cpus)) {
                for (size_t k = 0; k < shifts; k++) {
                    check_at.shift = k == 0 ? 0 : (7 * n + 5 * k) % 65;
                    kernels_at(in, out, 1);
                    kernels_at(in, out, 0);
                }
            }
        }
    }
    check_guard_free(in);
    check_guard_free(out);
}

static void lengths(void) {
    kernels_over(1, 129, 1, 3);
}

static void longer(void) {
    kernels_over(130, 2099, 179, 3);
}

static void alignments(void) {
    kernels_over(129, 129, 1, 65);
}

/* ------------------------------------------------------------------ --bench */

typedef struct job {
    int16_t keys[SPC_MAX_CENTROIDS];
    int8_t keys8[SPC_MAX_CENTROIDS];
    uint8_t lut[256];
    uint32_t bits;
    const uint16_t *values;
    size_t n;
    uint8_t *indices;
} job;

static void run_f16(void *opaque) {
    const job *j = opaque;
    spc_kernels_get()->quantize_f16(j->keys, j->bits, j->values, j->n, j->indices);
}

static void run_i8(void *opaque) {
    const job *j = opaque;
    const uint8_t *values = (const uint8_t *)(const void *)j->values;
    if (spc_kernels_get()->quantize_i8 && j->bits <= SPC_QUANTIZE_I8_BITS) {
        spc_kernels_get()->quantize_i8(j->keys8, j->bits, 0, values, j->n, j->indices);
    } else {
        (void)spc_kernels_get()->look_up_u8(j->lut, 8, values, j->n, j->indices);
    }
}

static void bench(void) {
    enum { n = 64 * 56 * 56 };
    uint16_t *values = malloc(n * sizeof *values);
    static job j;
    check_cpus cpus = {0};
    j.values = values;
    j.n = n;
    j.indices = malloc(n);
    check_fill(values, n * sizeof *values);
    printf("read %.3f ns/16 bits, %.3f ns/8 bits\n", timing_read_ns(values, 2 * n, 2e8) / (double)n,
           timing_read_ns(values, n, 2e8) / (double)n);
    while (check_next_cpu(&cpus)) {
        for (j.bits = 1; j.bits <= 8; j.bits++) {
            int count = (1 << j.bits) - 1;
            for (int i = 0; i < count; i++) {
                j.keys[i] = (int16_t)((i + 1) * 65536 / (count + 1) - 32768);
                j.keys8[i] = (int8_t)(j.keys[i] >> 8);
            }
            printf("%-10s %u bits: float16 %.3f, int8 %.3f ns/element\n", check_at.kernels, j.bits,
                   timing_median_ns(run_f16, &j, 1e8) / (double)n,
                   timing_median_ns(run_i8, &j, 1e8) / (double)n);
        }
    }
    free(values);
    free(j.indices);
}

static const check_case cases[] = {
    {"widening", widening},           {"narrowing", narrowing}, {"every_float", every_float},
    {"every_integer", every_integer}, {"lengths", lengths},     {"longer", longer},
    {"alignments", alignments},
};
CHECK_MAIN(cases, bench)
