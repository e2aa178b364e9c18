/* The LZMA encoder's bytes are the same on every machine, also where there is no liblzma. */
#include <stdlib.h>

#include "check.h"
#include "lzma_encoder.h"

#define LENGTH_MOST 6000

/* A generator of its own: --seed must not change what is compared with a constant. */
static uint32_t next(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* Packed 1 to 4 bit indices that are often 0, with runs and repeated rows. */
static void make(uint8_t *bytes, size_t len, uint32_t bits, uint32_t *state) {
    size_t row = 8 + next(state) % 120;
    uint32_t rare = 2 + next(state) % 6;
    for (size_t i = 0; i < len; i++) {
        uint32_t byte = 0;
        for (uint32_t at = 0; at < 8; at += bits) {
            byte |= (next(state) % rare == 0 ? next(state) & ((1u << bits) - 1) : 0) << at;
        }
        bytes[i] = i >= row && next(state) % 3 == 0 ? bytes[i - row] : (uint8_t)byte;
    }
}

static void frozen(void) {
    uint32_t state = 1, crc = 0;
    uint8_t *input = malloc(LENGTH_MOST), *output = malloc(2 * LENGTH_MOST);
    size_t work_len = spc_lzma_encoder_work_size(LENGTH_MOST), total = 0;
    uint8_t *work = malloc(work_len);
    if (CHECK(input && output && work)) {
        for (uint32_t round = 0; round < 400; round++) {
            size_t len = 1 + next(&state) % LENGTH_MOST, used;
            make(input, len, 1u << round % 3, &state);
            used = spc_lzma_encode(input, len, output, 2 * LENGTH_MOST, work, work_len);
            crc = spc_crc32c(crc, output, used);
            total += used;
        }
    }
    /* Change these only together with a line in CHANGELOG.md. */
    CHECK(total == 576317);
    CHECK(crc == 0xe0fba06du);
    free(input);
    free(output);
    free(work);
}

static const check_case cases[] = {{"frozen", frozen}};

CHECK_MAIN(cases, NULL)
