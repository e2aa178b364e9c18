/*
 * One coder's decoder, FUZZ_CODER: any payload gives an error or indices, and those are encoded
 * and decoded again.
 *
 *     byte 0    bits - 1 in bits 0 to 2; the kind of input in bit 3; kernels in bits 4 and 5
 *     shape     as fuzz_shape reads it
 *     rest      kind 0: the payload.  Kind 1: two bytes, and indices to make one from
 *
 * Random payloads of entropy coders hardly ever decode to the end.  Kind 1 reaches there: it
 * damages what the encoder has written, one byte of it or its length.
 */
#include <string.h>

#include "fuzz.h"

#define MOST_PAYLOAD 1024

static fuzz_room given, written, first, second, work_room;

typedef struct target {
    spc_shape shape;
    uint32_t bits;
    size_t n;
} target;

static spc_status decode(const target *t, spc_coder coder, const uint8_t *payload, size_t len,
                         uint8_t *indices) {
    size_t work_len = spc_coder_decode_work_size(coder, &t->shape, t->bits);
    void *work = fuzz_decode_work(&work_room, work_len, coder);
    spc_status status =
        spc_coder_decode(coder, &t->shape, t->bits, payload, len, indices, work, work_len);
    fuzz_check_front(&work_room);
    REQUIRE(status == SPC_OK || status == SPC_ERROR_CORRUPT);
    for (size_t i = 0; status == SPC_OK && i < t->n; i++) {
        REQUIRE(indices[i] >> t->bits == 0);
    }
    return status;
}

/* What the encoder makes of these indices decodes to them.  Leaves the payload in `written`. */
static size_t again(const target *t, const uint8_t *indices, spc_coder *used) {
    size_t bound = spc_coder_bound(FUZZ_CODER, &t->shape, t->bits), len = 0;
    size_t work_len = spc_coder_encode_work_size(FUZZ_CODER, &t->shape, t->bits);
    void *work = fuzz_rear(&work_room, work_len);
    uint8_t *payload = fuzz_rear(&written, bound), *back;
    REQUIRE(spc_coder_encode(FUZZ_CODER, &t->shape, t->bits, indices, payload, bound, &len, used,
                             work, work_len) == SPC_OK);
    fuzz_check_front(&work_room);
    fuzz_check_front(&written);
    REQUIRE(*used == SPC_CODER_PACK ? len == bound : *used == FUZZ_CODER && len < bound);
    payload = fuzz_copy(&given, payload, len);
    back = fuzz_rear(&second, t->n);
    REQUIRE(decode(t, *used, payload, len, back) == SPC_OK);
    fuzz_check_front(&second);
    REQUIRE(t->n == 0 || memcmp(back, indices, t->n) == 0);
    return len;
}

static void check_payload(const target *t, const uint8_t *bytes, size_t len) {
    uint8_t *payload = fuzz_copy(&given, bytes, len), *indices = fuzz_rear(&first, t->n);
    size_t bound = spc_coder_bound(FUZZ_CODER, &t->shape, t->bits);
    spc_coder used;
    spc_status status = decode(t, FUZZ_CODER, payload, len, indices);
    fuzz_check_front(&first);
    if (status == SPC_OK) {
        REQUIRE(FUZZ_CODER == SPC_CODER_PACK ? len == bound : len < bound);
        (void)again(t, indices, &used);
        /* Packed bytes are what they are; other coders may have several payloads. */
        REQUIRE(FUZZ_CODER != SPC_CODER_PACK || len == 0 ||
                memcmp(bytes, written.end - written.used, len) == 0);
    }
}

static void check_damaged(const target *t, fuzz_input *in) {
    uint32_t place = fuzz_byte(in), change = fuzz_byte(in);
    uint8_t bytes[FUZZ_MOST_ELEMENTS], *indices = fuzz_rear(&first, t->n);
    spc_coder used;
    size_t len;
    for (size_t i = 0; i < t->n; i++) {
        indices[i] = (uint8_t)(fuzz_byte(in) & ((1u << t->bits) - 1));
    }
    len = again(t, indices, &used);
    if (len == 0 || used != FUZZ_CODER) {
        return;
    }
    REQUIRE(len <= sizeof bytes);
    memcpy(bytes, written.end - written.used, len);
    if (change == 0) {
        check_payload(t, bytes, len - place % len);
    } else {
        bytes[place % len] ^= (uint8_t)change;
        check_payload(t, bytes, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    uint32_t head = fuzz_byte(&in);
    target t = {.bits = 1 + (head & 7)};
    t.n = fuzz_shape(&in, &t.shape);
    fuzz_use_kernels(head >> 4);
    if (head & 8) {
        check_damaged(&t, &in);
    } else {
        check_payload(&t, in.at, in.left < MOST_PAYLOAD ? in.left : MOST_PAYLOAD);
    }
    return 0;
}
