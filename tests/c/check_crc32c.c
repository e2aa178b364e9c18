/* CRC-32C against published values and the polynomial itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels.h"
#include "timing.h"

static uint32_t crc_by_bits(uint32_t crc, const uint8_t *bytes, size_t len) {
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

/* The catalogue's check value, and the examples of RFC 3720, appendix B.4. */
static void published(void) {
    check_cpus cpus = {0};
    while (check_next_cpu(&cpus)) {
        uint8_t bytes[32];
        CHECK(spc_crc32c(0, "123456789", 9) == 0xe3069283u);
        memset(bytes, 0, sizeof bytes);
        CHECK(spc_crc32c(0, bytes, sizeof bytes) == 0x8a9136aau);
        memset(bytes, 0xff, sizeof bytes);
        CHECK(spc_crc32c(0, bytes, sizeof bytes) == 0x62a8ab43u);
        for (uint8_t i = 0; i < 32; i++) {
            bytes[i] = i;
        }
        CHECK(spc_crc32c(0, bytes, sizeof bytes) == 0x46dd794eu);
        for (uint8_t i = 0; i < 32; i++) {
            bytes[i] = (uint8_t)(31 - i);
        }
        CHECK(spc_crc32c(0, bytes, sizeof bytes) == 0x113fdb5cu);
        CHECK(spc_crc32c(0, NULL, 0) == 0);
        CHECK(spc_crc32c(0x12345678u, bytes, 0) == 0x12345678u);
    }
}

static void lengths(void) {
    check_guard in = check_guard_new(4096);
    for (size_t n = 0; n <= 129; n++) {
        uint8_t bytes[129];
        uint32_t start, expected;
        check_cpus cpus = {0};
        check_at.n = n;
        check_seed(n);
        check_fill(bytes, n);
        start = (uint32_t)check_random();
        expected = crc_by_bits(start, bytes, n);
        while (check_next_cpu(&cpus)) {
            for (check_at.shift = 0; check_at.shift < 17; check_at.shift++) {
                uint8_t *at = check_rear(in, n, check_at.shift);
                memcpy(at, bytes, n);
                CHECK(spc_crc32c(start, at, n) == expected);
                CHECK(~spc_kernels_get()->crc32c(~start, at, n) == expected);
                at = check_front(in, n, check_at.shift);
                memcpy(at, bytes, n);
                CHECK(spc_crc32c(start, at, n) == expected);
            }
        }
    }
    check_guard_free(in);
}

static void split_anywhere(void) {
    uint8_t bytes[521];
    check_cpus cpus = {0};
    check_seed(1);
    check_fill(bytes, sizeof bytes);
    while (check_next_cpu(&cpus)) {
        uint32_t whole = crc_by_bits(0, bytes, sizeof bytes);
        for (size_t at = 0; at <= sizeof bytes; at++) {
            check_at.n = at;
            CHECK(spc_crc32c(spc_crc32c(0, bytes, at), bytes + at, sizeof bytes - at) == whole);
        }
    }
}

static void longer(void) {
    enum { most = 70000 };
    uint8_t *bytes = malloc(most);
    check_seed(2);
    check_fill(bytes, most);
    for (size_t n = 1000; n <= most; n += 4603) {
        uint32_t expected = crc_by_bits(0, bytes, n);
        check_cpus cpus = {0};
        check_at.n = n;
        while (check_next_cpu(&cpus)) {
            CHECK(spc_crc32c(0, bytes, n) == expected);
        }
    }
    free(bytes);
}

/* ------------------------------------------------------------------ --bench */

typedef struct job {
    const uint8_t *bytes;
    size_t len;
} job;

static volatile uint32_t sink;

static void run_crc(void *opaque) {
    const job *j = opaque;
    sink = spc_crc32c(0, j->bytes, j->len);
}

static void bench(void) {
    static const size_t sizes[] = {64, 1024, 50176, 802816};
    uint8_t *bytes = malloc(802816);
    check_cpus cpus = {0};
    check_fill(bytes, 802816);
    printf("read %.3f ns/byte\n", timing_read_ns(bytes, 802816, 2e8) / 802816);
    while (check_next_cpu(&cpus)) {
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            job j = {bytes, sizes[k]};
            printf("%-10s %7zu bytes %.3f ns/byte\n", check_at.kernels, sizes[k],
                   timing_median_ns(run_crc, &j, 1e8) / (double)sizes[k]);
        }
    }
    free(bytes);
}

static const check_case cases[] = {
    {"published", published},
    {"lengths", lengths},
    {"split_anywhere", split_anywhere},
    {"longer", longer},
};
CHECK_MAIN(cases, bench)
