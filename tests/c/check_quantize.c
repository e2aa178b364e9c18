/* Quantise kernels against a count of thresholds, and the public functions built on them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels.h"
#include "timing.h"

#define LONGEST 2100
#define STEP 16 /* float buffers are shifted by 0, 4, ..., 4 * (STEP - 1) bytes */

static int compare_keys(const void *a, const void *b) {
    const int32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

enum { threshold_styles = check_centroid_styles + 5 };

/* Ascending, possibly coinciding, keys; the first styles come from a codebook. */
static void make_thresholds(int32_t *thresholds, uint32_t bits, unsigned style) {
    uint32_t count = (1u << bits) - 1;
    if (style < check_centroid_styles) {
        float centroids[SPC_MAX_CENTROIDS];
        spc_codebook codebook;
        check_centroids(centroids, bits, style);
        CHECK_STATUS(spc_codebook_init(&codebook, centroids, bits, thresholds), SPC_OK);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        switch (style - check_centroid_styles) {
        case 0: /* few different ones */
            thresholds[i] = (int32_t)check_below(5) * 0x10000000 - 0x20000000;
            break;
        case 1: /* the ends of the range */
            thresholds[i] = check_below(2) ? INT32_MAX - (int32_t)check_below(3)
                                           : INT32_MIN + (int32_t)check_below(3);
            break;
        case 2: /* all one */
            thresholds[i] = i == 0 ? check_key_of_bits(check_awkward_bits()) : thresholds[0];
            break;
        case 3: /* none negative: kernels may take a shorter way */
            thresholds[i] = check_below(4) ? (int32_t)(check_random() >> 33) : 0;
            break;
        default:
            thresholds[i] = (int32_t)(check_random() >> 32);
        }
    }
    qsort(thresholds, count, sizeof thresholds[0], compare_keys);
}

/* Floats as bits: at, just above and just below thresholds, and awkward ones. */
static void make_values(uint32_t *values, size_t n, const int32_t *thresholds, uint32_t bits) {
    for (size_t i = 0; i < n; i++) {
        int32_t key = thresholds[check_below((1u << bits) - 1)];
        int32_t beside = (int32_t)check_below(3) - 1;
        if ((key == INT32_MIN && beside < 0) || (key == INT32_MAX && beside > 0)) {
            beside = 0;
        }
        values[i] = check_below(2) ? check_bits_of_key(key + beside) : check_awkward_bits();
    }
}

static uint8_t index_by_counting(const int32_t *thresholds, uint32_t bits, uint32_t value) {
    int32_t key = check_key_of_bits(value);
    uint32_t below = 0;
    for (uint32_t i = 0; i + 1 < 1u << bits; i++) {
        below += thresholds[i] < key;
    }
    return (uint8_t)below;
}

static void quantize_at(check_guard in, check_guard out, const int32_t *thresholds,
                        const uint32_t *values, const uint8_t *expected, int rear) {
    size_t n = check_at.n, shift = check_at.shift;
    uint8_t *from = rear ? check_rear(in, 4 * n, 4 * (shift % STEP))
                         : check_front(in, 4 * n, 4 * (shift % STEP));
    uint8_t *to = rear ? check_rear(out, n, shift) : check_front(out, n, shift);
    memcpy(from, values, 4 * n);
    memset(to, 0xee, n);
    spc_kernels_get()->quantize_f32(thresholds, check_at.bits, (const float *)(const void *)from, n,
                                    to);
    CHECK_BYTES(to, expected, n);
    CHECK_MARKS(out, to, n);
    if (spc_kernels_get()->quantize_pack_f32) {
        uint8_t packed[LONGEST];
        size_t len = spc_packed_size(n, check_at.bits);
        check_at.what = "fused";
        spc_pack_reference(expected, n, check_at.bits, packed);
        to = rear ? check_rear(out, len, shift) : check_front(out, len, shift);
        memset(to, 0xee, len);
        spc_kernels_get()->quantize_pack_f32(thresholds, check_at.bits,
                                             (const float *)(const void *)from, n, to);
        CHECK_BYTES(to, packed, len);
        CHECK_MARKS(out, to, len);
        check_at.what = NULL;
    }
}

static void quantize_lengths(size_t from, size_t to, size_t step, unsigned styles) {
    static uint32_t values[LONGEST];
    static uint8_t expected[LONGEST];
    check_guard in = check_guard_new(4 * LONGEST + 256), out = check_guard_new(LONGEST + 256);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (unsigned style = 0; style < styles; style++) {
            for (size_t n = from; n <= to; n += step) {
                int32_t thresholds[SPC_MAX_CENTROIDS - 1];
                check_cpus cpus = {0};
                check_at.bits = bits;
                check_at.n = n;
                check_seed(style + 16 * n);
                make_thresholds(thresholds, bits, style);
                make_values(values, n, thresholds, bits);
                for (size_t i = 0; i < n; i++) {
                    expected[i] = index_by_counting(thresholds, bits, values[i]);
                }
                while (check_next_cpu(&cpus)) {
                    /* the kernel's other alignments come up with the other lengths and styles */
                    for (size_t k = 0; k < 3; k++) {
                        check_at.shift = k == 0 ? 0 : (7 * n + 13 * style + 5 * k) % 33;
                        quantize_at(in, out, thresholds, values, expected, 1);
                    }
                    quantize_at(in, out, thresholds, values, expected, 0);
                }
            }
        }
    }
    check_guard_free(in);
    check_guard_free(out);
}

static void lengths(void) {
    quantize_lengths(1, 129, 1, threshold_styles);
}

static void longer(void) {
    quantize_lengths(130, 2099, 179, threshold_styles);
}

/* Both buffers at every distance from the guard page. */
static void alignments(void) {
    static const size_t some[] = {1, 31, 32, 33, 64, 129};
    check_guard in = check_guard_new(1024), out = check_guard_new(512);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < sizeof some / sizeof some[0]; k++) {
            uint32_t values[129];
            uint8_t expected[129];
            int32_t thresholds[SPC_MAX_CENTROIDS - 1];
            check_cpus cpus = {0};
            check_at.bits = bits;
            check_at.n = some[k];
            check_seed(k);
            make_thresholds(thresholds, bits, 0);
            make_values(values, some[k], thresholds, bits);
            for (size_t i = 0; i < some[k]; i++) {
                expected[i] = index_by_counting(thresholds, bits, values[i]);
            }
            while (check_next_cpu(&cpus)) {
                for (check_at.shift = 0; check_at.shift < 65; check_at.shift++) {
                    quantize_at(in, out, thresholds, values, expected, 1);
                    quantize_at(in, out, thresholds, values, expected, 0);
                }
            }
        }
    }
    check_guard_free(in);
    check_guard_free(out);
}

/* Every float that has one bit pattern in each of the upper 16 bits, against every kernel set. */
static void all_upper_halves(void) {
    enum { count = 1 << 16 };
    uint32_t *values = malloc(count * sizeof *values);
    uint8_t *got = malloc(count);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        int32_t thresholds[SPC_MAX_CENTROIDS - 1];
        check_cpus cpus = {0};
        check_at.bits = bits;
        check_at.n = count;
        check_seed(bits);
        make_thresholds(thresholds, bits, bits % 2);
        for (uint32_t i = 0; i < count; i++) {
            values[i] = i << 16 | (uint32_t)(check_random() >> 48);
        }
        while (check_next_cpu(&cpus)) {
            size_t wrong = 0;
            spc_kernels_get()->quantize_f32(thresholds, bits, (const float *)(const void *)values,
                                            count, got);
            for (uint32_t i = 0; i < count; i++) {
                wrong += got[i] != index_by_counting(thresholds, bits, values[i]);
            }
            CHECK(wrong == 0);
        }
    }
    free(values);
    free(got);
}

/* spc_quantize, spc_quantize_pack, spc_unpack_dequantize and spc_dequantize say the same. */
static void public_functions(void) {
    static const size_t sizes[] = {0, 1, 7, 8, 31, 32, 33, 255, 256, 257, 263, 511, 512, 513, 2085};
    static const spc_dtype dtypes[] = {SPC_FLOAT32, SPC_INT8, SPC_UINT8};
    check_guard in = check_guard_new(4 * LONGEST), packs = check_guard_new(LONGEST);
    check_guard back = check_guard_new(4 * LONGEST);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < 3 * sizeof sizes / sizeof sizes[0]; k++) {
            spc_dtype dtype = dtypes[k % 3];
            size_t n = sizes[k / 3], size = dtype == SPC_FLOAT32 ? 4 : 1, at;
            size_t packed_len = (n * bits + 7) / 8;
            int32_t thresholds[SPC_MAX_CENTROIDS - 1];
            float centroids[SPC_MAX_CENTROIDS];
            static uint8_t indices[LONGEST], expected[LONGEST], unpacked[LONGEST];
            static uint8_t other[4 * LONGEST];
            spc_codebook codebook;
            check_cpus cpus = {0};
            check_at.bits = bits;
            check_at.n = n;
            check_at.shift = 0;
            check_seed(k);
            check_centroids(centroids, bits, 1);
            spc_codebook_init(&codebook, centroids, bits, thresholds);
            uint8_t *values = check_rear(in, n * size, 0);
            check_fill(values, n * size);
            for (at = 0; at < n; at++) {
                uint32_t raw;
                if (dtype == SPC_FLOAT32) {
                    memcpy(&raw, values + 4 * at, 4);
                } else {
                    int value =
                        dtype == SPC_INT8 && values[at] > 127 ? values[at] - 256 : values[at];
                    raw = check_bits_of_float((float)value);
                }
                expected[at] = index_by_counting(thresholds, bits, raw);
            }
            CHECK(spc_packed_size(n, bits) == packed_len);
            while (check_next_cpu(&cpus)) {
                uint8_t *packed = check_rear(packs, packed_len, 0);
                uint8_t *restored = check_rear(back, n * size, 0);
                memset(indices, 0xee, sizeof indices);
                CHECK_STATUS(spc_quantize(&codebook, dtype, values, n, indices), SPC_OK);
                CHECK_BYTES(indices, expected, n);
                CHECK(indices[n] == 0xee);
                CHECK_STATUS(spc_quantize_pack(&codebook, dtype, values, n, packed), SPC_OK);
                CHECK_MARKS(packs, packed, packed_len);
                CHECK_STATUS(spc_unpack(packed, n, bits, unpacked), SPC_OK);
                CHECK_BYTES(unpacked, expected, n);
                CHECK_STATUS(spc_unpack_dequantize(&codebook, dtype, packed, n, restored), SPC_OK);
                CHECK_MARKS(back, restored, n * size);
                CHECK_STATUS(spc_dequantize(&codebook, dtype, indices, n, other), SPC_OK);
                CHECK_BYTES(restored, other, n * size);
                for (at = 0; dtype == SPC_FLOAT32 && at < n; at++) {
                    CHECK_BYTES(restored + 4 * at, &centroids[expected[at]], 4);
                }
            }
        }
    }
    check_guard_free(in);
    check_guard_free(packs);
    check_guard_free(back);
}

/* ------------------------------------------------------------------ --bench */

typedef struct job {
    const int32_t *thresholds;
    uint32_t bits;
    const float *values;
    size_t n;
    uint8_t *indices;
} job;

static void run_quantize(void *opaque) {
    const job *j = opaque;
    spc_kernels_get()->quantize_f32(j->thresholds, j->bits, j->values, j->n, j->indices);
}

static void bench(void) {
    enum { n = 64 * 56 * 56 };
    float *values = malloc(n * sizeof *values);
    uint8_t *indices = malloc(n);
    check_cpus cpus = {0};
    for (size_t i = 0; i < n; i++) {
        values[i] = (float)(int32_t)(check_random() >> 40) / 65536.0f - 100.0f;
    }
    printf("read %.3f ns/element\n", timing_read_ns(values, n * sizeof *values, 2e8) / (double)n);
    while (check_next_cpu(&cpus)) {
        for (uint32_t bits = 1; bits <= 8; bits++) {
            int32_t thresholds[SPC_MAX_CENTROIDS - 1];
            job j = {thresholds, bits, values, n, indices};
            make_thresholds(thresholds, bits, 1);
            printf("%-10s %u bits %.3f ns/element\n", check_at.kernels, bits,
                   timing_median_ns(run_quantize, &j, 2e8) / (double)n);
        }
    }
    free(values);
    free(indices);
}

static const check_case cases[] = {
    {"lengths", lengths},
    {"longer", longer},
    {"alignments", alignments},
    {"all_upper_halves", all_upper_halves},
    {"public_functions", public_functions},
};
CHECK_MAIN(cases, bench)
