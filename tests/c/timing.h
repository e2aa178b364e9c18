/* Medians of repeated runs, for the checks' --bench mode and for bench/. */
#ifndef SPC_TIMING_H
#define SPC_TIMING_H

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static inline double timing_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int timing_compare(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Median time of one call of `run(job)`, in nanoseconds: at least 5 calls and `budget_ns` in all.
 */
static inline double timing_median_ns(void (*run)(void *), void *job, double budget_ns) {
    enum { most = 4001, least = 5 };
    static double sample[most];
    size_t count = 0;
    double start = timing_now_ns(), before = start;
    while (count < most && (count < least || before - start < budget_ns)) {
        double after;
        run(job);
        after = timing_now_ns();
        sample[count++] = after - before;
        before = after;
    }
    qsort(sample, count, sizeof sample[0], timing_compare);
    return sample[count / 2];
}

/*
 * What a pass over a buffer costs at least.  timing_read_ns: every vector of it is loaded, in as
 * many independent sums as hide the latency of the additions; nothing reads it faster.
 * timing_sum_ns: the words added up by the plain loop that a compiler makes vectors of, with one
 * sum.
 */
typedef struct timing_read_job {
    const uint8_t *bytes;
    size_t len;
} timing_read_job;

static volatile uint32_t timing_sink;

/* Aligned vectors only: the few bytes around them are left out. */
#define TIMING_READ(name, attributes, width)                                                       \
    attributes static void name(void *opaque) {                                                    \
        typedef uint32_t vector __attribute__((vector_size(width)));                               \
        const timing_read_job *job = opaque;                                                       \
        const uint8_t *at = job->bytes + (0 - (uintptr_t)job->bytes) % (width);                    \
        const uint8_t *end = job->bytes + job->len;                                                \
        vector a = {0}, b = {0}, c = {0}, d = {0};                                                 \
        for (; end - at >= 8 * (width); at += 8 * (width)) {                                       \
            const vector *x = (const vector *)(const void *)at;                                    \
            a += x[0] + x[4];                                                                      \
            b += x[1] + x[5];                                                                      \
            c += x[2] + x[6];                                                                      \
            d += x[3] + x[7];                                                                      \
        }                                                                                          \
        a += b + c + d;                                                                            \
        for (size_t i = 0; i < (width) / 4; i++) {                                                 \
            timing_sink += a[i];                                                                   \
        }                                                                                          \
    }

TIMING_READ(timing_read_any, , 16)
#if defined(__x86_64__) || defined(__i386__)
TIMING_READ(timing_read_avx2, __attribute__((target("avx2"))), 32)
TIMING_READ(timing_read_avx512, __attribute__((target("avx512f"))), 64)
#endif

static inline double timing_read_ns(const void *bytes, size_t len, double budget_ns) {
    timing_read_job job = {bytes, len};
    void (*read)(void *) = timing_read_any;
#if defined(__x86_64__) || defined(__i386__)
    if (__builtin_cpu_supports("avx512f")) {
        read = timing_read_avx512;
    } else if (__builtin_cpu_supports("avx2")) {
        read = timing_read_avx2;
    }
#endif
    return timing_median_ns(read, &job, budget_ns);
}

static void timing_sum(void *opaque) {
    const timing_read_job *job = opaque;
    const uint32_t *words = (const uint32_t *)(const void *)job->bytes;
    uint32_t sum = 0;
    for (size_t i = 0; i < job->len / 4; i++) {
        sum += words[i];
    }
    timing_sink = sum;
}

static inline double timing_sum_ns(const void *bytes, size_t len, double budget_ns) {
    timing_read_job job = {bytes, len};
    return timing_median_ns(timing_sum, &job, budget_ns);
}

#endif
