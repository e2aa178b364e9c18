/* Look-up kernels against the definition: every index masked, every index seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels.h"
#include "timing.h"

#define LONGEST 2100

/* What one call is given and must give. */
typedef struct expectation {
    float table[256];
    uint16_t halves[256];
    uint8_t bytes[256];
    uint8_t indices[LONGEST];
    float values[LONGEST];
    uint16_t value_halves[LONGEST];
    uint8_t value_bytes[LONGEST];
    uint32_t seen;
} expectation;

/* Where the kernels' copies go: the table is bounded on both sides, like every other buffer. */
typedef struct guards {
    check_guard table, in, out;
} guards;

static guards guards_new(size_t longest) {
    guards g = {check_guard_new(sizeof(float[256]) + 256), check_guard_new(longest + 256),
                check_guard_new(longest * sizeof(float) + 512)};
    return g;
}

static void guards_free(guards g) {
    check_guard_free(g.table);
    check_guard_free(g.in);
    check_guard_free(g.out);
}

/* All of them inside the table, all of them outside where there is an outside, one of them
 * outside, and any. */
enum { styles = 4 };

static void expect(expectation *e, unsigned style) {
    size_t n = check_at.n;
    uint32_t count = 1u << check_at.bits;
    uint8_t mask = (uint8_t)(count - 1);
    for (uint32_t i = 0; i < count; i++) {
        e->table[i] = check_float_of_bits(check_finite_bits());
    }
    check_fill(e->halves, 2 * count);
    check_fill(e->bytes, count);
    check_fill(e->indices, n);
    for (size_t i = 0; i < n && style < 3; i++) {
        e->indices[i] = (uint8_t)(style == 1 ? e->indices[i] | ~mask : e->indices[i] & mask);
    }
    if (style == 2 && n > 0 && count < 256) {
        e->indices[check_below((uint32_t)n)] |= (uint8_t)count;
    }
    e->seen = 0;
    for (size_t i = 0; i < n; i++) {
        e->seen |= e->indices[i];
        e->values[i] = e->table[e->indices[i] % count];
        e->value_halves[i] = e->halves[e->indices[i] % count];
        e->value_bytes[i] = e->bytes[e->indices[i] % count];
    }
}

static uint8_t *place(check_guard guard, size_t len, size_t shift, int rear) {
    return rear ? check_rear(guard, len, shift) : check_front(guard, len, shift);
}

static void look_up_at(const guards *g, const expectation *e, int rear) {
    const spc_kernels *kernels = spc_kernels_get();
    size_t n = check_at.n, shift = check_at.shift, count = (size_t)1 << check_at.bits;
    size_t aligned = shift / sizeof(float) * sizeof(float); /* floats never lie elsewhere */
    uint8_t *in = place(g->in, n, shift, rear);
    uint8_t *table = place(g->table, count * sizeof(float), 0, rear);
    uint8_t *out = place(g->out, n * sizeof(float), aligned, rear);
    memcpy(in, e->indices, n);
    memcpy(table, e->table, count * sizeof(float));
    memset(out, 0xee, n * sizeof(float));
    check_at.what = "look_up_f32";
    CHECK(kernels->look_up_f32((const float *)(void *)table, check_at.bits, in, n,
                               (float *)(void *)out) == e->seen);
    CHECK_BYTES(out, e->values, n * sizeof(float));
    CHECK_MARKS(g->out, out, n * sizeof(float));

    if (kernels->unpack_look_up_f32 && check_at.bits <= SPC_UNPACK_LOOK_UP_BITS) {
        size_t len = spc_packed_size(n, check_at.bits);
        uint8_t *packed = place(g->in, len, shift, rear);
        spc_pack_reference(e->indices, n, check_at.bits, packed);
        memset(out, 0xee, n * sizeof(float));
        check_at.what = "unpack_look_up_f32";
        kernels->unpack_look_up_f32((const float *)(void *)table, check_at.bits, packed, n,
                                    (float *)(void *)out);
        CHECK_BYTES(out, e->values, n * sizeof(float));
        CHECK_MARKS(g->out, out, n * sizeof(float));
        in = place(g->in, n, shift, rear);
        memcpy(in, e->indices, n);
    }

    check_at.what = "look_up_u16";
    table = place(g->table, 2 * count, 0, rear);
    memcpy(table, e->halves, 2 * count);
    out = place(g->out, 2 * n, shift / 2 * 2, rear);
    memset(out, 0xee, 2 * n);
    CHECK(kernels->look_up_u16((const uint16_t *)(void *)table, check_at.bits, in, n,
                               (uint16_t *)(void *)out) == e->seen);
    CHECK_BYTES(out, e->value_halves, 2 * n);
    CHECK_MARKS(g->out, out, 2 * n);

    check_at.what = "look_up_u8";
    table = place(g->table, count, 0, rear);
    memcpy(table, e->bytes, count);
    out = place(g->out, n, shift, rear);
    memset(out, 0xee, n);
    CHECK(kernels->look_up_u8(table, check_at.bits, in, n, out) == e->seen);
    CHECK_BYTES(out, e->value_bytes, n);
    CHECK_MARKS(g->out, out, n);

    /* in place */
    CHECK(kernels->look_up_u8(table, check_at.bits, in, n, in) == e->seen);
    CHECK_BYTES(in, e->value_bytes, n);
    CHECK_MARKS(g->in, in, n);
    check_at.what = NULL;
}

static void look_up_lengths(size_t from, size_t to, size_t step) {
    static expectation e;
    guards g = guards_new(LONGEST);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (unsigned style = 0; style < styles; style++) {
            for (size_t n = from; n <= to; n += step) {
                check_cpus cpus = {0};
                check_at.bits = bits;
                check_at.n = n;
                check_seed(style + styles * n);
                expect(&e, style);
                while (check_next_cpu(&cpus)) {
                    for (size_t k = 0; k < 4; k++) {
                        check_at.shift = k == 0 ? 0 : (11 * n + 9 * style + 7 * k) % 65;
                        look_up_at(&g, &e, 1);
                        look_up_at(&g, &e, 0);
                    }
                }
            }
        }
    }
    guards_free(g);
}

static void lengths(void) {
    look_up_lengths(1, 129, 1);
}

static void longer(void) {
    look_up_lengths(130, 2099, 61);
}

static void alignments(void) {
    static const size_t some[] = {1, 8, 15, 16, 31, 32, 33, 64, 127, 128, 129, 300};
    static expectation e;
    guards g = guards_new(300);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < sizeof some / sizeof some[0]; k++) {
            check_cpus cpus = {0};
            check_at.bits = bits;
            check_at.n = some[k];
            check_seed(k);
            expect(&e, 3);
            while (check_next_cpu(&cpus)) {
                for (check_at.shift = 0; check_at.shift < 65; check_at.shift++) {
                    look_up_at(&g, &e, 1);
                    look_up_at(&g, &e, 0);
                }
            }
        }
    }
    guards_free(g);
}

/* Each index, inside or outside the table, at each place in a vector and in what is left over. */
static void every_index(void) {
    static expectation e;
    for (uint32_t bits = 1; bits <= 8; bits++) {
        check_cpus cpus = {0};
        check_at.bits = bits;
        check_at.n = 67;
        check_seed(bits);
        expect(&e, 0);
        while (check_next_cpu(&cpus)) {
            const spc_kernels *kernels = spc_kernels_get();
            for (size_t at = 0; at < check_at.n; at++) {
                uint8_t indices[67] = {0};
                check_at.shift = at;
                for (uint32_t index = 0; index < 256; index++) {
                    float values[67];
                    uint16_t halves[67];
                    uint8_t bytes[67];
                    uint32_t masked = index & ((1u << bits) - 1);
                    indices[at] = (uint8_t)index;
                    CHECK(kernels->look_up_f32(e.table, bits, indices, 67, values) == index);
                    CHECK_BYTES(&values[at], &e.table[masked], sizeof(float));
                    CHECK(kernels->look_up_u16(e.halves, bits, indices, 67, halves) == index);
                    CHECK_BYTES(&halves[at], &e.halves[masked], 2);
                    CHECK(kernels->look_up_u8(e.bytes, bits, indices, 67, bytes) == index);
                    CHECK_BYTES(&bytes[at], &e.bytes[masked], 1);
                }
            }
        }
    }
}

/* The public functions: one index outside the codebook, wherever it is, is an error; so is a
 * missing buffer, unless there is nothing to do. */
static void public_functions(void) {
    static const spc_dtype dtypes[] = {SPC_FLOAT32, SPC_FLOAT16, SPC_BFLOAT16, SPC_INT8, SPC_UINT8};
    check_cpus cpus = {0};
    while (check_next_cpu(&cpus)) {
        for (uint32_t bits = 1; bits <= 8; bits++) {
            float centroids[SPC_MAX_CENTROIDS], values[70];
            int32_t thresholds[SPC_MAX_CENTROIDS - 1];
            uint8_t indices[70] = {0};
            spc_codebook codebook;
            check_at.bits = bits;
            for (uint32_t i = 0; i < 1u << bits; i++) {
                centroids[i] = (float)i;
            }
            CHECK_STATUS(spc_codebook_init(&codebook, centroids, bits, thresholds), SPC_OK);
            for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
                CHECK_STATUS(spc_dequantize(&codebook, dtypes[d], NULL, 0, NULL), SPC_OK);
                CHECK_STATUS(spc_unpack_dequantize(&codebook, dtypes[d], NULL, 0, NULL), SPC_OK);
                CHECK_STATUS(spc_dequantize(&codebook, dtypes[d], NULL, 1, values),
                             SPC_ERROR_ARGUMENT);
                CHECK_STATUS(spc_dequantize(&codebook, dtypes[d], indices, 1, NULL),
                             SPC_ERROR_ARGUMENT);
                for (size_t at = 0; at < 70; at++) {
                    for (uint32_t bit = 0; bit < 8; bit++) {
                        indices[at] = (uint8_t)(1u << bit);
                        CHECK_STATUS(spc_dequantize(&codebook, dtypes[d], indices, 70, values),
                                     bit < bits ? SPC_OK : SPC_ERROR_ARGUMENT);
                        CHECK(dtypes[d] != SPC_FLOAT32 || bit >= bits ||
                              values[at] == (float)(1u << bit));
                    }
                    indices[at] = 0;
                }
            }
        }
    }
}

/* ------------------------------------------------------------------ --bench */

typedef struct job {
    expectation e;
    uint8_t *indices, *bytes;
    uint16_t *halves;
    float *values;
    size_t n;
    uint32_t bits;
} job;

static void run_f32(void *opaque) {
    const job *j = opaque;
    (void)spc_kernels_get()->look_up_f32(j->e.table, j->bits, j->indices, j->n, j->values);
}

static void run_u16(void *opaque) {
    const job *j = opaque;
    (void)spc_kernels_get()->look_up_u16(j->e.halves, j->bits, j->indices, j->n, j->halves);
}

static void run_u8(void *opaque) {
    const job *j = opaque;
    (void)spc_kernels_get()->look_up_u8(j->e.bytes, j->bits, j->indices, j->n, j->bytes);
}

static void bench(void) {
    enum { n = 64 * 56 * 56 };
    static job j;
    check_cpus cpus = {0};
    j.n = n;
    j.indices = malloc(n);
    j.bytes = malloc(n);
    j.halves = malloc(n * sizeof *j.halves);
    j.values = malloc(n * sizeof(float));
    check_fill(j.indices, n);
    printf("read %.3f ns/element\n", timing_read_ns(j.indices, n, 2e8) / (double)n);
    while (check_next_cpu(&cpus)) {
        for (j.bits = 1; j.bits <= 8; j.bits++) {
            printf("%-10s %u bits: look up f32 %.3f, u16 %.3f, u8 %.3f ns/element\n",
                   check_at.kernels, j.bits, timing_median_ns(run_f32, &j, 1e8) / (double)n,
                   timing_median_ns(run_u16, &j, 1e8) / (double)n,
                   timing_median_ns(run_u8, &j, 1e8) / (double)n);
        }
    }
    free(j.indices);
    free(j.bytes);
    free(j.halves);
    free(j.values);
}

static const check_case cases[] = {
    {"lengths", lengths},
    {"longer", longer},
    {"alignments", alignments},
    {"every_index", every_index},
    {"public_functions", public_functions},
};
CHECK_MAIN(cases, bench)
