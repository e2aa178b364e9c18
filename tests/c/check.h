/*
 * A small harness for the C checks: cases, seeded random numbers, buffers between guard pages,
 * and a loop over every subset of the CPU's features.
 *
 * A failure names the place it happened at (kernel set, bits, length, alignment, seed); the same
 * seed gives the same data again:  check_pack --seed 17 --only lengths
 */
#ifndef SPC_CHECK_H
#define SPC_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "splitcodec.h"

/* ------------------------------------------------------------------ cases and results */

typedef struct check_case {
    const char *name;
    void (*run)(void);
} check_case;

/* Where the running case is; set what applies, it is printed with each failure. */
typedef struct check_place {
    const char *kernels;
    const char *what;
    unsigned bits;
    size_t n;
    size_t shift;
    uint64_t seed;
} check_place;
extern check_place check_at;

/*
 * main() of a check.  Options: --seed N, --only CASE, --bench (runs `bench`, which may be NULL, in
 * place of the cases), --expect-kernels NAME (fails unless that set is in use at the start).
 */
int check_main(int argc, char **argv, const check_case *cases, size_t count, void (*bench)(void));

#define CHECK_MAIN(cases, bench)                                                                   \
    int main(int argc, char **argv) {                                                              \
        return check_main(argc, argv, cases, sizeof(cases) / sizeof((cases)[0]), bench);           \
    }

/* Returns `ok`; counts, and prints a failure.  Gives up after twenty failures. */
int check_that(int ok, const char *text, const char *file, int line);
#define CHECK(condition) check_that((condition) != 0, #condition, __FILE__, __LINE__)

/* Prints the first byte that differs. */
int check_bytes(const void *got, const void *want, size_t len, const char *file, int line);
#define CHECK_BYTES(got, want, len) check_bytes(got, want, len, __FILE__, __LINE__)

int check_status(spc_status got, spc_status want, const char *text, const char *file, int line);
#define CHECK_STATUS(call, want) check_status(call, want, #call, __FILE__, __LINE__)

/* ------------------------------------------------------------------ random numbers */

/* Start the sequence that belongs to the run's seed and this number; also noted in check_at. */
void check_seed(uint64_t number);
uint64_t check_random(void);
uint32_t check_below(uint32_t limit);
void check_fill(void *bytes, size_t len);

static inline float check_float_of_bits(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } pun;
    pun.bits = bits;
    return pun.value;
}

static inline uint32_t check_bits_of_float(float value) {
    union {
        uint32_t bits;
        float value;
    } pun;
    pun.value = value;
    return pun.bits;
}

/* spc_float_key and its inverse, written in another way than the core does. */
int32_t check_key_of_bits(uint32_t bits);
uint32_t check_bits_of_key(int32_t key);

/* Bits of a float, finite or not, often one of the awkward ones. */
uint32_t check_awkward_bits(void);
/* Bits of a finite float other than -0.0. */
uint32_t check_finite_bits(void);
/* 2^bits strictly ascending finite centroids of one of check_centroid_styles styles. */
enum { check_centroid_styles = 4 };
void check_centroids(float *centroids, uint32_t bits, unsigned style);

/* ------------------------------------------------------------------ buffers */

/* Pages between two inaccessible ones. */
typedef struct check_guard {
    uint8_t *first;
    size_t room;
} check_guard;

/* At least `room` bytes; freed by check_guard_free. */
check_guard check_guard_new(size_t room);
void check_guard_free(check_guard guard);

/* `len` bytes that end `shift` bytes before the inaccessible page; all around them is marked. */
uint8_t *check_rear(check_guard guard, size_t len, size_t shift);
/* `len` bytes that start `shift` bytes after the inaccessible page; all around them is marked. */
uint8_t *check_front(check_guard guard, size_t len, size_t shift);

/* The marks around the buffer that check_rear or check_front gave are still there. */
int check_marks(check_guard guard, const uint8_t *buffer, size_t len, const char *file, int line);
#define CHECK_MARKS(guard, buffer, len) check_marks(guard, buffer, len, __FILE__, __LINE__)

/* ------------------------------------------------------------------ CPU features */

/*
 * Every subset of the features in use at the start of the program, none first:
 *
 *     check_cpus cpus = {0};
 *     while (check_next_cpu(&cpus)) { ... }
 *
 * Ends with the whole set in use again.
 */
typedef struct check_cpus {
    uint32_t subset;
    int started;
} check_cpus;
int check_next_cpu(check_cpus *cpus);

#endif
