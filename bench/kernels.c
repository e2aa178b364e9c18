/*
 * What the core costs per element, for every kernel set this CPU has:  bench_kernels [--json]
 *
 * The feature is 64 x 56 x 56 float32, the first stage of a ResNet on 224 x 224 images.  "read" is
 * the time to add up the words of the same buffer, which no pass over it can beat; the last column
 * is the ratio to it.  Medians of many runs; one thread.  Trust the ratios, not the times.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "splitcodec.h"
#include "timing.h"

enum { elements = 64 * 56 * 56 };

#define BUDGET_NS 1.5e8

typedef struct job {
    spc_codebook codebook;
    spc_codec codec;
    float *values, *restored;
    uint8_t *indices, *packed, *frame;
    size_t packed_len, frame_cap, frame_len;
} job;

static volatile uint32_t sink;

static void run_quantize(void *opaque) {
    job *j = opaque;
    (void)spc_quantize(&j->codebook, SPC_FLOAT32, j->values, elements, j->indices);
}

static void run_pack(void *opaque) {
    job *j = opaque;
    (void)spc_pack(j->indices, elements, j->codebook.bits, j->packed);
}

static void run_quantize_pack(void *opaque) {
    job *j = opaque;
    (void)spc_quantize_pack(&j->codebook, SPC_FLOAT32, j->values, elements, j->packed);
}

static void run_unpack(void *opaque) {
    job *j = opaque;
    (void)spc_unpack(j->packed, elements, j->codebook.bits, j->indices);
}

static void run_unpack_dequantize(void *opaque) {
    job *j = opaque;
    (void)spc_unpack_dequantize(&j->codebook, SPC_FLOAT32, j->packed, elements, j->restored);
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
    (void)spc_decode(&j->codec, j->frame, j->frame_len, j->restored, elements * sizeof(float), NULL,
                     0);
}

/* In an order in which each finds what the one before has left. */
static const struct {
    const char *name;
    void (*run)(void *);
} steps[] = {
    {"quantize", run_quantize},
    {"pack", run_pack},
    {"quantize_pack", run_quantize_pack},
    {"unpack", run_unpack},
    {"unpack_dequantize", run_unpack_dequantize},
    {"crc32c", run_crc32c},
    {"encode", run_encode},
    {"decode", run_decode},
};

/* Half zeros, half spread evenly, in no order that a branch predictor could learn. */
static void make_values(float *values) {
    uint64_t state = 1;
    for (size_t i = 0; i < elements; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        values[i] = state >> 63 ? (float)(uint32_t)(state >> 40 & 0x7fffff) / 1048576.0f : 0.0f;
    }
}

static void *room(size_t len) {
    void *block = malloc(len);
    if (!block) {
        perror("malloc");
        exit(1);
    }
    memset(block, 0, len);
    return block;
}

int main(int argc, char **argv) {
    static const uint32_t widths[] = {1, 2, 3, 4, 8};
    static const spc_shape shape = {3, {64, 56, 56}};
    int json = argc == 2 && strcmp(argv[1], "--json") == 0, first = 1;
    uint32_t all = spc_cpu_features(), subset = 0;
    const char *seen[8] = {NULL};
    size_t seen_count = 0;
    float centroids[SPC_MAX_CENTROIDS];
    int32_t thresholds[SPC_MAX_CENTROIDS - 1];
    double read_ns;
    job j;
    if (argc > 1 && !json) {
        fprintf(stderr, "usage: %s [--json]\n", argv[0]);
        return 2;
    }
    j.values = room(elements * sizeof(float));
    j.restored = room(elements * sizeof(float));
    j.indices = room(elements);
    j.packed = room(elements);
    j.frame = room(elements + 64);
    make_values(j.values);
    read_ns = timing_read_ns(j.values, elements * sizeof(float), BUDGET_NS) / (double)elements;
    if (json) {
        printf("{\"elements\": %d, \"read_ns_per_element\": %.4f, \"results\": [", (int)elements,
               read_ns);
    } else {
        printf("%d float32 elements, read %.3f ns/element\n\n", (int)elements, read_ns);
        printf("%-10s %-18s %4s %12s %8s\n", "kernels", "step", "bits", "ns/element", "/ read");
    }
    do {
        int repeated = 0;
        spc_set_cpu_mask(subset);
        for (size_t i = 0; i < seen_count; i++) {
            repeated |= strcmp(seen[i], spc_kernels_name()) == 0;
        }
        for (size_t w = 0; !repeated && w < sizeof widths / sizeof widths[0]; w++) {
            uint32_t count = 1u << widths[w];
            for (uint32_t i = 0; i < count; i++) {
                centroids[i] = 8.0f * (float)i / (float)count;
            }
            if (spc_codebook_init(&j.codebook, centroids, widths[w], thresholds) != SPC_OK ||
                spc_codec_init(&j.codec, &j.codebook, SPC_FLOAT32, &shape) != SPC_OK) {
                return 1;
            }
            j.packed_len = spc_packed_size(elements, widths[w]);
            j.frame_cap = spc_frame_bound(&j.codec, SPC_FRAME_COMPACT);
            for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
                double ns = timing_median_ns(steps[k].run, &j, BUDGET_NS) / (double)elements;
                if (json) {
                    printf("%s\n  {\"kernels\": \"%s\", \"step\": \"%s\", \"bits\": %u, "
                           "\"ns_per_element\": %.4f}",
                           first ? "" : ",", spc_kernels_name(), steps[k].name, widths[w], ns);
                    first = 0;
                } else {
                    printf("%-10s %-18s %4u %12.3f %8.1f\n", spc_kernels_name(), steps[k].name,
                           widths[w], ns, ns / read_ns);
                }
            }
        }
        if (!repeated && seen_count < sizeof seen / sizeof seen[0]) {
            seen[seen_count++] = spc_kernels_name();
        }
        subset = (subset - all) & all;
    } while (subset != 0);
    if (json) {
        printf("\n]}\n");
    }
    return 0;
}
