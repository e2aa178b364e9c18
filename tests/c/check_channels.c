/* One codebook per channel, channels innermost: the kernel against a count of thresholds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels.h"
#include "timing.h"

#define LONGEST 2100
#define MOST_CHANNELS 130

/* Ascending, possibly coinciding, keys for each channel, threshold by threshold. */
static int32_t *make_thresholds(uint32_t bits, size_t channels) {
    size_t count = ((size_t)1 << bits) - 1;
    int32_t *thresholds = malloc(count * channels * sizeof *thresholds);
    for (size_t c = 0; c < channels; c++) {
        for (size_t k = 0; k < count; k++) {
            int32_t key = check_key_of_bits(check_finite_bits());
            size_t at = k;
            key = check_below(4) == 0 && k > 0 ? thresholds[(k - 1) * channels + c] : key;
            for (; at > 0 && thresholds[(at - 1) * channels + c] > key; at--) {
                thresholds[at * channels + c] = thresholds[(at - 1) * channels + c];
            }
            thresholds[at * channels + c] = key;
        }
    }
    return thresholds;
}

static void quantize_at(check_guard in, check_guard out, check_guard tables,
                        const int32_t *thresholds, size_t channels, size_t first, int rear) {
    size_t n = check_at.n, shift = check_at.shift, count = ((size_t)1 << check_at.bits) - 1;
    size_t table_len = 4 * count * channels;
    uint8_t *from =
        rear ? check_rear(in, 4 * n, 4 * (shift % 16)) : check_front(in, 4 * n, 4 * (shift % 16));
    uint8_t *to = rear ? check_rear(out, n, shift) : check_front(out, n, shift);
    uint8_t *table = rear ? check_rear(tables, table_len, 0) : check_front(tables, table_len, 0);
    uint8_t want[LONGEST];
    memcpy(table, thresholds, table_len);
    for (size_t i = 0; i < n; i++) {
        size_t c = (first + i) % channels;
        uint32_t bits =
            check_below(3)
                ? check_bits_of_key(thresholds[check_below((uint32_t)count) * channels + c])
                : check_awkward_bits();
        uint8_t below = 0;
        bits += check_below(3) - 1;
        memcpy(from + 4 * i, &bits, 4);
        for (size_t k = 0; k < count; k++) {
            below =
                (uint8_t)(below + (thresholds[k * channels + c] < check_key_of_bits(bits) ? 1 : 0));
        }
        want[i] = below;
    }
    memset(to, 0xee, n);
    spc_kernels_get()->quantize_channels_f32((const int32_t *)(const void *)table, check_at.bits,
                                             channels, first, (const float *)(const void *)from, n,
                                             to);
    CHECK_BYTES(to, want, n);
    CHECK_MARKS(out, to, n);
}

static void quantize_over(size_t from, size_t to, size_t step) {
    static const size_t some[] = {1,  2,  3,  7,  8,  15,  16,           17,
                                  24, 32, 33, 64, 65, 128, MOST_CHANNELS};
    check_guard in = check_guard_new(4 * LONGEST + 256), out = check_guard_new(LONGEST + 256);
    check_guard tables = check_guard_new(4 * 255 * MOST_CHANNELS);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t n = from; n <= to; n += step) {
            size_t channels = some[n % (sizeof some / sizeof some[0])];
            int32_t *thresholds;
            check_cpus cpus = {0};
            check_at.bits = bits;
            check_at.n = n;
            check_seed(n);
            thresholds = make_thresholds(bits, channels);
            while (check_next_cpu(&cpus)) {
                for (size_t k = 0; k < 2; k++) {
                    check_at.shift = k == 0 ? 0 : (7 * n + 5 * bits) % 65;
                    quantize_at(in, out, tables, thresholds, channels,
                                k * check_below((uint32_t)channels), 1);
                    quantize_at(in, out, tables, thresholds, channels,
                                check_below((uint32_t)channels), 0);
                }
            }
            free(thresholds);
        }
    }
    check_guard_free(in);
    check_guard_free(out);
    check_guard_free(tables);
}

static void lengths(void) {
    quantize_over(1, 129, 1);
}

static void longer(void) {
    quantize_over(130, 2099, 131);
}

/* ------------------------------------------------------------------ --bench */

typedef struct job {
    const int32_t *thresholds;
    uint32_t bits;
    const float *values;
    size_t n;
    uint8_t *indices;
} job;

static void run(void *opaque) {
    const job *j = opaque;
    spc_kernels_get()->quantize_channels_f32(j->thresholds, j->bits, 64, 0, j->values, j->n,
                                             j->indices);
}

static void bench(void) {
    enum { n = 64 * 56 * 56 };
    float *values = malloc(n * sizeof *values);
    uint8_t *indices = malloc(n);
    check_cpus cpus = {0};
    for (size_t i = 0; i < n; i++) {
        values[i] = (float)(int32_t)(check_random() >> 40) / 65536.0f - 100.0f;
    }
    printf("read %.3f ns/element; 64 channels\n",
           timing_read_ns(values, n * sizeof *values, 2e8) / (double)n);
    while (check_next_cpu(&cpus)) {
        for (uint32_t bits = 1; bits <= 8; bits++) {
            int32_t *thresholds = make_thresholds(bits, 64);
            job j = {thresholds, bits, values, n, indices};
            printf("%-10s %u bits %.3f ns/element\n", check_at.kernels, bits,
                   timing_median_ns(run, &j, 1e8) / (double)n);
            free(thresholds);
        }
    }
    free(values);
    free(indices);
}

static const check_case cases[] = {
    {"lengths", lengths},
    {"longer", longer},
};
CHECK_MAIN(cases, bench)
