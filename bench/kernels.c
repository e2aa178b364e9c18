/*
 * What the core costs per element, for every kernel set this CPU has:  bench_kernels [--json]
 *
 * Two features: 64 x 56 x 56, the first stage of a ResNet on 224 x 224 images, whose buffers stay
 * in the second-level cache, and one of 64 MB, which comes from memory.  Each is measured against
 * passes over the buffer of its values: "read" loads every vector of it, "sum" adds up its words
 * in a plain loop, memset and memcpy fill another buffer of that size.  The last column is the
 * ratio to "read".  Medians of many runs; one thread.  Trust the ratios, not the times.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "splitcodec.h"
#include "timing.h"

#define BUDGET_NS 5e7
#define LARGE ((size_t)64 << 20)

typedef struct job {
    spc_codebook codebook;
    spc_codec codec;
    spc_dtype dtype;
    size_t n, value_len; /* bytes of all values */
    void *values, *restored;
    uint8_t *indices, *packed, *frame;
    size_t packed_len, frame_cap, frame_len;
} job;

static volatile uint32_t sink;

static void run_quantize(void *opaque) {
    job *j = opaque;
    (void)spc_quantize(&j->codebook, j->dtype, j->values, j->n, j->indices);
}

static void run_pack(void *opaque) {
    job *j = opaque;
    (void)spc_pack(j->indices, j->n, j->codebook.bits, j->packed);
}

static void run_quantize_pack(void *opaque) {
    job *j = opaque;
    (void)spc_quantize_pack(&j->codebook, j->dtype, j->values, j->n, j->packed);
}

static void run_unpack(void *opaque) {
    job *j = opaque;
    (void)spc_unpack(j->packed, j->n, j->codebook.bits, j->indices);
}

static void run_unpack_dequantize(void *opaque) {
    job *j = opaque;
    (void)spc_unpack_dequantize(&j->codebook, j->dtype, j->packed, j->n, j->restored);
}

static void run_crc32c(void *opaque) {
    job *j = opaque;
    sink = spc_crc32c(0, j->packed, j->packed_len);
}

static void run_encode(void *opaque) {
    job *j = opaque;
    (void)spc_encode(&j->codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, j->values, j->frame,
                     j->frame_cap, &j->frame_len, NULL, 0);
}

static void run_decode(void *opaque) {
    job *j = opaque;
    (void)spc_decode(&j->codec, j->frame, j->frame_len, j->restored, j->value_len, NULL, 0);
}

static void run_memset(void *opaque) {
    job *j = opaque;
    memset(j->restored, 1, j->value_len);
}

static void run_memcpy(void *opaque) {
    job *j = opaque;
    memcpy(j->restored, j->values, j->value_len);
}

/* In an order in which each finds what the one before has left. */
static const struct {
    const char *name;
    void (*run)(void *);
    int any_dtype; /* knows nothing of the values: measured once */
} steps[] = {
    {"quantize", run_quantize, 0},
    {"pack", run_pack, 1},
    {"quantize_pack", run_quantize_pack, 0},
    {"unpack", run_unpack, 1},
    {"unpack_dequantize", run_unpack_dequantize, 0},
    {"crc32c", run_crc32c, 1},
    {"encode", run_encode, 0},
    {"decode", run_decode, 0},
};

/* float16 of a number in [0, 8) in units of 2^-7, all of which it has */
static uint16_t float16_of(uint32_t units) {
    uint32_t exponent = 0;
    if (units == 0) {
        return 0;
    }
    while (units >> exponent > 1) {
        exponent++;
    }
    return (uint16_t)((exponent + 8) << 10 | ((units << (10 - exponent)) & 0x3ff));
}

/* Half zeros, half spread evenly in [0, 8), or in [0, 128) for integers, in no order that a branch
 * predictor could learn. */
static void make_values(job *j) {
    uint64_t state = 1;
    for (size_t i = 0; i < j->n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t value = state >> 63 ? (uint32_t)(state >> 40 & 0x7fffff) : 0;
        if (j->dtype == SPC_FLOAT32) {
            ((float *)j->values)[i] = (float)value / 1048576.0f;
        } else if (j->dtype == SPC_FLOAT16) {
            ((uint16_t *)j->values)[i] = float16_of(value >> 13);
        } else {
            ((uint8_t *)j->values)[i] = (uint8_t)(value >> 16);
        }
    }
}

/* Aligned as a codec's own buffers would be; touched, so that its pages are there. */
static void *room(size_t len) {
    void *block = aligned_alloc(64, (len + 63) / 64 * 64);
    if (!block) {
        perror("aligned_alloc");
        exit(1);
    }
    memset(block, 0, len);
    return block;
}

/* ------------------------------------------------------------------ output */

static int json, rows;

static void start_object(void) {
    printf("%s\n  {", rows++ == 0 ? "" : ",");
}

static double print_limits(job *j, const char *dtype) {
    const double n = (double)j->n;
    double read = timing_read_ns(j->values, j->value_len, BUDGET_NS) / n;
    double sum = timing_sum_ns(j->values, j->value_len, BUDGET_NS) / n;
    double set = timing_median_ns(run_memset, j, BUDGET_NS) / n;
    double copy = timing_median_ns(run_memcpy, j, BUDGET_NS) / n;
    if (json) {
        start_object();
        printf("\"dtype\": \"%s\", \"elements\": %zu, \"read\": %.4f, \"sum\": %.4f, "
               "\"memset\": %.4f, \"memcpy\": %.4f, \"results\": [",
               dtype, j->n, read, sum, set, copy);
        rows = 0;
    } else {
        printf("%zu %s: read %.4f, sum %.4f, memset %.4f, memcpy %.4f ns/element\n\n", j->n, dtype,
               read, sum, set, copy);
        printf("%-10s %-18s %4s %12s %8s\n", "kernels", "step", "bits", "ns/element", "/ read");
    }
    return read;
}

static void print_step(const char *name, uint32_t bits, double ns, double read) {
    if (json) {
        start_object();
        printf("\"kernels\": \"%s\", \"step\": \"%s\", \"bits\": %u, \"ns_per_element\": %.4f}",
               spc_kernels_name(), name, bits, ns);
    } else {
        printf("%-10s %-18s %4u %12.4f %8.2f\n", spc_kernels_name(), name, bits, ns, ns / read);
    }
}

static void measure_width(job *j, const spc_shape *shape, uint32_t bits, double read) {
    float centroids[SPC_MAX_CENTROIDS];
    int32_t thresholds[SPC_MAX_CENTROIDS - 1];
    const float range = j->dtype == SPC_INT8 ? 128.0f : 8.0f;
    for (uint32_t i = 0; i < 1u << bits; i++) {
        centroids[i] = range * (float)i / (float)(1u << bits);
    }
    if (spc_codebook_init(&j->codebook, centroids, bits, thresholds) != SPC_OK ||
        spc_codec_init(&j->codec, &j->codebook, j->dtype, shape) != SPC_OK) {
        exit(1);
    }
    j->packed_len = spc_packed_size(j->n, bits);
    j->frame_cap = spc_frame_bound(&j->codec, SPC_FRAME_COMPACT);
    for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
        if (j->dtype == SPC_FLOAT32 || !steps[k].any_dtype) {
            double ns = timing_median_ns(steps[k].run, j, BUDGET_NS) / (double)j->n;
            print_step(steps[k].name, bits, ns, read);
        }
    }
}

/* Every kernel set that some subset of the CPU's features selects. */
static void measure(job *j, const spc_shape *shape, double read) {
    static const uint32_t widths[] = {1, 2, 3, 4, 8};
    const uint32_t all = spc_cpu_features();
    const char *seen[8] = {NULL};
    size_t seen_count = 0;
    uint32_t subset = 0;
    do {
        int repeated = 0;
        spc_set_cpu_mask(subset);
        for (size_t i = 0; i < seen_count; i++) {
            repeated |= strcmp(seen[i], spc_kernels_name()) == 0;
        }
        for (size_t w = 0; !repeated && w < sizeof widths / sizeof widths[0]; w++) {
            measure_width(j, shape, widths[w], read);
        }
        if (!repeated && seen_count < sizeof seen / sizeof seen[0]) {
            seen[seen_count++] = spc_kernels_name();
        }
        subset = (subset - all) & all;
    } while (subset != 0);
    spc_set_cpu_mask(all);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        spc_dtype dtype;
        uint32_t size;
    } dtypes[] = {{"float32", SPC_FLOAT32, 4}, {"float16", SPC_FLOAT16, 2}, {"int8", SPC_INT8, 1}};
    job j;
    json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 1 && !json) {
        fprintf(stderr, "usage: %s [--json]\n", argv[0]);
        return 2;
    }
    j.values = room(LARGE);
    j.restored = room(LARGE);
    j.indices = room(LARGE);
    j.packed = room(LARGE);
    j.frame = room(LARGE + 64);
    if (json) {
        printf("{\"unit\": \"ns/element\", \"features\": [");
    }
    for (int large = 0; large < 2; large++) {
        for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
            spc_shape shape = {3, {64, 56, 56}};
            int outer = rows;
            double read;
            if (large) {
                shape.dims[1] = 1024;
                shape.dims[2] = 1024 / dtypes[d].size;
            }
            j.dtype = dtypes[d].dtype;
            j.n = (size_t)64 * shape.dims[1] * shape.dims[2];
            j.value_len = j.n * dtypes[d].size;
            make_values(&j);
            read = print_limits(&j, dtypes[d].name);
            measure(&j, &shape, read);
            printf(json ? "]}" : "\n");
            rows = outer + 1;
        }
    }
    if (json) {
        printf("\n]}\n");
    }
    return 0;
}
