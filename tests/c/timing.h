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

/* Median time of one call of `run(job)`, in nanoseconds: at least 15 calls and `budget_ns` in all.
 */
static inline double timing_median_ns(void (*run)(void *), void *job, double budget_ns) {
    enum { most = 4001, least = 15 };
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

/* What any pass over the buffer costs at least: its words, added up. */
typedef struct timing_read_job {
    const void *bytes;
    size_t len;
} timing_read_job;

static volatile uint32_t timing_sink;

static void timing_read(void *opaque) {
    const timing_read_job *job = opaque;
    const uint32_t *words = job->bytes;
    uint32_t sum = 0;
    for (size_t i = 0; i < job->len / 4; i++) {
        sum += words[i];
    }
    timing_sink = sum;
}

static inline double timing_read_ns(const void *bytes, size_t len, double budget_ns) {
    timing_read_job job = {bytes, len};
    return timing_median_ns(timing_read, &job, budget_ns);
}

#endif
