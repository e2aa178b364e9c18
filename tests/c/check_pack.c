/* Pack and unpack kernels against the definition, one bit at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels.h"
#include "timing.h"

#define LONGEST 2100

static void pack_by_bits(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    memset(packed, 0, (n * bits + 7) / 8);
    for (size_t i = 0; i < n * bits; i++) {
        uint32_t bit = (uint32_t)indices[i / bits] >> (i % bits) & 1u;
        packed[i / 8] = (uint8_t)(packed[i / 8] | bit << (i % 8));
    }
}

static void pack_at(check_guard in, check_guard out, const uint8_t *indices,
                    const uint8_t *expected, int rear) {
    size_t n = check_at.n, size = (n * check_at.bits + 7) / 8;
    uint8_t mask = (uint8_t)((1u << check_at.bits) - 1);
    const spc_kernels *kernels = spc_kernels_get();
    uint8_t *from = rear ? check_rear(in, n, check_at.shift) : check_front(in, n, check_at.shift);
    uint8_t *to =
        rear ? check_rear(out, size, check_at.shift) : check_front(out, size, check_at.shift);
    memcpy(from, indices, n);
    memset(to, 0xee, size);
    check_at.what = "pack";
    kernels->pack(from, n, check_at.bits, to);
    CHECK_BYTES(to, expected, size);
    CHECK_MARKS(out, to, size);

    check_at.what = "unpack";
    memset(from, 0xee, n);
    kernels->unpack(to, n, check_at.bits, from);
    for (size_t i = 0; i < n; i++) {
        if (from[i] != (indices[i] & mask)) {
            uint8_t want = (uint8_t)(indices[i] & mask);
            CHECK_BYTES(from + i, &want, 1);
            break;
        }
    }
    CHECK_MARKS(in, from, n);
    check_at.what = NULL;
}

/* Junk above the lowest `bits` must not reach the output: three kinds of indices. */
static void make_indices(uint8_t *indices, size_t n, uint32_t bits, unsigned style) {
    uint8_t mask = (uint8_t)((1u << bits) - 1);
    check_fill(indices, n);
    for (size_t i = 0; i < n; i++) {
        if (style == 0) {
            indices[i] &= mask;
        } else if (style == 1) {
            indices[i] = (uint8_t)(indices[i] | ~mask);
        }
    }
}

static void pack_lengths(size_t from, size_t to, size_t step) {
    check_guard in = check_guard_new(LONGEST + 256), out = check_guard_new(LONGEST + 256);
    static uint8_t indices[LONGEST], expected[LONGEST];
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (unsigned style = 0; style < 3; style++) {
            for (size_t n = from; n <= to; n += step) {
                check_cpus cpus = {0};
                check_at.bits = bits;
                check_at.n = n;
                check_seed(style + 4 * n);
                make_indices(indices, n, bits, style);
                pack_by_bits(indices, n, bits, expected);
                while (check_next_cpu(&cpus)) {
                    for (size_t k = 0; k < 4; k++) {
                        check_at.shift = k == 0 ? 0 : (11 * n + 9 * style + 7 * k) % 65;
                        pack_at(in, out, indices, expected, 1);
                        pack_at(in, out, indices, expected, 0);
                    }
                }
            }
        }
    }
    check_guard_free(in);
    check_guard_free(out);
}

static void lengths(void) {
    pack_lengths(0, 129, 1);
}

static void longer(void) {
    pack_lengths(130, 2099, 61);
}

static void alignments(void) {
    static const size_t some[] = {1, 8, 31, 32, 33, 64, 127, 128, 129, 300};
    check_guard in = check_guard_new(1024), out = check_guard_new(1024);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < sizeof some / sizeof some[0]; k++) {
            uint8_t indices[300], expected[300];
            check_cpus cpus = {0};
            check_at.bits = bits;
            check_at.n = some[k];
            check_seed(k);
            make_indices(indices, some[k], bits, 2);
            pack_by_bits(indices, some[k], bits, expected);
            while (check_next_cpu(&cpus)) {
                for (check_at.shift = 0; check_at.shift < 65; check_at.shift++) {
                    pack_at(in, out, indices, expected, 1);
                    pack_at(in, out, indices, expected, 0);
                }
            }
        }
    }
    check_guard_free(in);
    check_guard_free(out);
}

/* The public functions: bad arguments, nothing to do, and stray bits in the last byte. */
static void public_functions(void) {
    check_cpus cpus = {0};
    CHECK(spc_packed_size(0, 3) == 0);
    CHECK(spc_packed_size(SPC_MAX_ELEMENTS, 8) == SPC_MAX_ELEMENTS);
    CHECK(spc_packed_size(SPC_MAX_ELEMENTS, 7) == ((uint64_t)SPC_MAX_ELEMENTS * 7 + 7) / 8);
    CHECK(spc_packed_size(SIZE_MAX, 8) == SIZE_MAX);
    while (check_next_cpu(&cpus)) {
        uint8_t bytes[64], back[64];
        for (uint32_t bits = 1; bits <= 8; bits++) {
            check_at.bits = bits;
            CHECK_STATUS(spc_pack(NULL, 0, bits, NULL), SPC_OK);
            CHECK_STATUS(spc_unpack(NULL, 0, bits, NULL), SPC_OK);
            CHECK_STATUS(spc_pack(NULL, 1, bits, bytes), SPC_ERROR_ARGUMENT);
            CHECK_STATUS(spc_pack(bytes, 1, bits, NULL), SPC_ERROR_ARGUMENT);
            CHECK_STATUS(spc_unpack(NULL, 1, bits, bytes), SPC_ERROR_ARGUMENT);
            CHECK_STATUS(spc_unpack(bytes, 1, bits, NULL), SPC_ERROR_ARGUMENT);
            for (size_t n = 1; n <= 33; n++) {
                size_t size = spc_packed_size(n, bits);
                check_at.n = n;
                for (uint32_t bit = 0; bit < 8; bit++) {
                    int spare = (size - 1) * 8 + bit >= n * bits;
                    memset(bytes, 0, sizeof bytes);
                    bytes[size - 1] = (uint8_t)(1u << bit);
                    CHECK_STATUS(spc_unpack(bytes, n, bits, back),
                                 spare ? SPC_ERROR_CORRUPT : SPC_OK);
                }
            }
        }
        CHECK_STATUS(spc_pack(bytes, 1, 0, back), SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_pack(bytes, 1, 9, back), SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_unpack(bytes, 1, 0, back), SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_unpack(bytes, 1, 9, back), SPC_ERROR_ARGUMENT);
    }
}

/* ------------------------------------------------------------------ --bench */

typedef struct job {
    uint8_t *indices;
    size_t n;
    uint32_t bits;
    uint8_t *packed;
} job;

static void run_pack(void *opaque) {
    const job *j = opaque;
    spc_kernels_get()->pack(j->indices, j->n, j->bits, j->packed);
}

static void run_unpack(void *opaque) {
    const job *j = opaque;
    spc_kernels_get()->unpack(j->packed, j->n, j->bits, j->indices);
}

static void bench(void) {
    enum { n = 64 * 56 * 56 };
    job j = {malloc(n), n, 0, malloc(n)};
    check_cpus cpus = {0};
    check_fill(j.indices, n);
    check_fill(j.packed, n);
    printf("read %.3f ns/element\n", timing_read_ns(j.indices, n, 2e8) / (double)n);
    while (check_next_cpu(&cpus)) {
        for (j.bits = 1; j.bits <= 8; j.bits++) {
            printf("%-10s %u bits: pack %.3f, unpack %.3f ns/element\n", check_at.kernels, j.bits,
                   timing_median_ns(run_pack, &j, 1e8) / (double)n,
                   timing_median_ns(run_unpack, &j, 1e8) / (double)n);
        }
    }
    free(j.indices);
    free(j.packed);
}

static const check_case cases[] = {
    {"lengths", lengths},
    {"longer", longer},
    {"alignments", alignments},
    {"public_functions", public_functions},
};
CHECK_MAIN(cases, bench)
