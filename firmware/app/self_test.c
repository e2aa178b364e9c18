/*
 * Runs on this core what the host sends, and tells whether the right bytes came of it: golden
 * vectors, frames to refuse; and what quantising costs.  Everything lies in one room of
 * SELF_TEST_BYTES: what does not fit is refused, and the host counts it apart.  docs/firmware.md
 * has the packets.
 */
#include <string.h>

#include "bytes.h"
#include "link.h"
#include "port.h"
#include "splitcodec.h"

enum { ENCODE = 'e', DECODE = 'd', MEASURE = 'm', QUIT = 'q' };
enum { PASSED = '+', FAILED = '-', NO_ROOM = '0', MEASURED = '=' };
enum { PAINT = 0xa5, PAINTED = 2048 };

static uint64_t room_words[SELF_TEST_BYTES / 8];
static uint8_t *const room = (uint8_t *)room_words;
static size_t room_used;
static uint32_t stack_used; /* by the last encoder that was called */

/* NULL if there is no room. */
static void *take(size_t len) {
    uint8_t *taken = room + room_used;
    len = (len + 7) / 8 * 8;
    if (len > sizeof room_words - room_used) {
        return NULL;
    }
    room_used += len;
    return taken;
}

/* ------------------------------------------------------------------ requests */

/* Three numbers in four bytes, the most elements, three lengths, and what they are of, each begun
 * at a multiple of four: a frame that describes the codec, what to encode or decode, what is to
 * come of it. */
#define HEADER 20

typedef struct piece {
    const uint8_t *bytes;
    size_t len;
} piece;

typedef struct request {
    uint8_t coder, kind, status;
    size_t most;
    piece description, given, wanted;
} request;

static piece next_piece(const uint8_t *body, size_t len, size_t number, size_t *at) {
    piece found = {body + *at, spc_load_le32(body + 8 + 4 * number)};
    const size_t padded = (found.len + 3) & ~(size_t)3;
    if (padded < found.len || padded > len - *at) {
        *at = len + 1;
    } else {
        *at += padded;
    }
    return found;
}

static int read_request(const uint8_t *body, size_t len, request *found) {
    piece *const pieces[] = {&found->description, &found->given, &found->wanted};
    size_t at = HEADER;
    if (len < HEADER) {
        return 0;
    }
    found->coder = body[0];
    found->kind = body[1];
    found->status = body[2];
    found->most = spc_load_le32(body + 4);
    for (size_t i = 0; i < 3 && at <= len; i++) {
        *pieces[i] = next_piece(body, len, i, &at);
    }
    return at == len;
}

/* Whether there is room for the codec that a frame describes; the status of reading it. */
static int codec_of(piece frame, size_t most, spc_codec *codec, spc_status *status) {
    spc_frame_info info;
    size_t count;
    float *centroids;
    int32_t *thresholds;
    *status = spc_frame_parse(frame.bytes, frame.len, &info);
    if (*status != SPC_OK) {
        return 1;
    }
    count = (size_t)info.groups << info.bits;
    centroids = take(count * sizeof *centroids);
    thresholds = take(count * sizeof *thresholds);
    if (!centroids || !thresholds) {
        return 0;
    }
    *status =
        spc_codec_from_frame(codec, frame.bytes, frame.len, most, centroids, thresholds, count);
    return 1;
}

/* ------------------------------------------------------------------ encode */

typedef struct encode_call {
    const spc_codec *codec;
    spc_coder coder;
    spc_frame_kind kind;
    const uint8_t *feature;
    uint8_t *frame, *work;
    size_t cap, len, work_len;
} encode_call;

static __attribute__((noinline)) spc_status encode(encode_call *c) {
    return spc_encode(c->codec, c->coder, c->kind, c->feature, c->frame, c->cap, &c->len, c->work,
                      c->work_len);
}

/* Bytes of stack that spc_encode takes, those of passing its arguments included. */
static __attribute__((noinline)) spc_status encode_on_paint(encode_call *c) {
    volatile uint8_t *const top = (uint8_t *)__builtin_frame_address(0) - 16;
    volatile uint8_t *at = top - PAINTED;
    spc_status status;
    for (; at < top; at++) {
        *at = PAINT;
    }
    status = encode(c);
    for (at = top - PAINTED; at < top && *at == PAINT; at++) {
    }
    stack_used = (uint32_t)(top - at);
    return status;
}

static char run_encode(const request *r) {
    spc_codec codec;
    spc_status status;
    encode_call call = {.codec = &codec,
                        .coder = (spc_coder)r->coder,
                        .kind = (spc_frame_kind)r->kind,
                        .feature = r->given.bytes};
    if (!codec_of(r->description, r->most, &codec, &status)) {
        return NO_ROOM;
    }
    if (status != SPC_OK || r->given.len != spc_feature_size(&codec)) {
        return FAILED;
    }
    call.cap = spc_frame_bound(&codec, call.kind);
    call.work_len = spc_encode_work_size(&codec, call.coder);
    call.frame = take(call.cap);
    call.work = take(call.work_len);
    if (!call.frame || !call.work) {
        return NO_ROOM;
    }
    status = encode_on_paint(&call);
    return status == r->status && call.len == r->wanted.len &&
                   memcmp(call.frame, r->wanted.bytes, call.len) == 0
               ? PASSED
               : FAILED;
}

/* ------------------------------------------------------------------ decode */

/* With the codec described, or without one by what the frame itself says. */
static char run_decode(const request *r) {
    const piece description = r->description.len > 0 ? r->description : r->given;
    spc_frame_info info = {0};
    spc_codec codec;
    spc_status status;
    size_t cap, need;
    uint8_t *feature, *work;
    if (!codec_of(description, r->most, &codec, &status)) {
        return NO_ROOM;
    }
    if (status == SPC_OK) {
        (void)spc_frame_parse(r->given.bytes, r->given.len, &info);
        cap = spc_feature_size(&codec);
        need = spc_decode_work_size(&codec, info.coder);
        feature = take(cap);
        work = take(need);
        if (!feature || !work) {
            return NO_ROOM;
        }
        status = spc_decode(&codec, r->given.bytes, r->given.len, feature, cap, work, need);
        if (status == SPC_OK && (cap != r->wanted.len || memcmp(feature, r->wanted.bytes, cap))) {
            return FAILED;
        }
    }
    /* nobody decodes `lzma` without liblzma, so that no more is known of such frames */
    return status == r->status || (status == SPC_ERROR_CODER && info.coder == SPC_CODER_LZMA)
               ? PASSED
               : FAILED;
}

/* ------------------------------------------------------------------ measure */

enum { MEASURED_MOST = 4096 };

/* As floats they are -2 to 2, of every sign and size that differ. */
static void fill(uint32_t *words, size_t count, spc_dtype dtype) {
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        words[i] = dtype == SPC_FLOAT32 ? (state & 0x80ffffffu) | 0x3f000000u : state;
    }
}

/* Ticks of quantising and packing, and of how many elements. */
static int run_measure(const request *r, uint32_t found[2]) {
    size_t count = MEASURED_MOST, size;
    spc_codec codec;
    spc_status status;
    uint32_t *values;
    uint8_t *packed;
    if (!codec_of(r->description, r->most, &codec, &status) || status != SPC_OK) {
        return 0;
    }
    size = codec.dtype == SPC_FLOAT32 ? 4 : 1;
    while (count * (size + 1) > sizeof room_words - room_used) {
        count /= 2;
    }
    values = take(count * size);
    packed = take(count);
    if (!values || !packed) {
        return 0;
    }
    fill(values, count * size / 4, codec.dtype);
    found[0] = port_cycles();
    (void)spc_quantize_pack(&codec.codebook, codec.dtype, values, count, packed);
    found[0] = port_cycles() - found[0];
    found[1] = (uint32_t)count;
    return 1;
}

/* ------------------------------------------------------------------ the runner */

static void answer(const link_packet *packet, char type, uint32_t first, uint32_t second) {
    uint8_t body[8];
    spc_store_le32(body, first);
    spc_store_le32(body + 4, second);
    link_send((uint8_t)type, packet->sequence, body, sizeof body);
}

static uint32_t passed, failed;

static void judge(const link_packet *packet, char verdict) {
    passed += verdict == PASSED;
    failed += verdict == FAILED;
    answer(packet, verdict, stack_used, 0);
}

static void run(const link_packet *packet) {
    uint32_t found[2];
    request r;
    room_used = 0;
    (void)take(packet->len);
    stack_used = 0;
    if (!read_request(room, packet->len, &r)) {
        link_send_error(packet->sequence, LINK_LENGTH);
    } else if (packet->type == ENCODE) {
        judge(packet, run_encode(&r));
    } else if (packet->type == DECODE) {
        judge(packet, run_decode(&r));
    } else if (packet->type == MEASURE && run_measure(&r, found)) {
        answer(packet, MEASURED, found[0], found[1]);
    } else {
        link_send_error(packet->sequence, LINK_UNKNOWN);
    }
}

int app_main(void) {
    link_packet packet;
    for (;;) {
        const int wrong = link_receive(&packet, room, sizeof room_words - LINK_CHECKSUM);
        if (wrong) {
            link_send_error(0, wrong);
        } else if (packet.type == QUIT) {
            break;
        } else {
            run(&packet);
        }
    }
    answer(&packet, MEASURED, passed, failed);
    port_log(failed == 0 && passed > 0 ? "self-test passed" : "self-test FAILED");
    return failed == 0 && passed > 0 ? 0 : 1;
}
