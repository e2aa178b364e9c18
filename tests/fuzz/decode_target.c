/*
 * One coder's decoder, FUZZ_CODER: any payload gives an error or indices, the same with all
 * kernels, and those are encoded and decoded again.
 *
 *     byte 0    bits - 1 in bits 0 to 2; the kind of input in bit 3; kernels to decode with in bits
 *               4 and 5, to compare with and to encode with in bits 6 and 7
 *     symbols   pack and lzma: the shape as fuzz_shape reads it.  Other coders: read_planes
 *     model     other coders: read_model
 *     rest      kind 0: the payload.  Kind 1: two bytes, and indices to make one from
 *
 * Random payloads of entropy coders hardly ever decode to the end.  Kind 1 reaches there: it
 * damages what the encoder has written, one byte of it or its length.
 */
#include <string.h>

#include "fuzz.h"

enum { TAKES_MODEL = FUZZ_CODER >= SPC_CODER_RANGE };

#define MOST_PAYLOAD 2048
#define MOST_BODY 2047
#define MEND 0x8000u

/* Elements: small features are fast, but coder 3 does otherwise with many.  And what coder 4 may
 * have to add up for a feature, since models that see more are slow and show nothing new. */
#define MOST_SMALL 64
#define MOST_LARGE 2048
#define MOST_SUMS 2048

static fuzz_room given, written, first, second, work_room, model_room;

typedef struct target {
    spc_symbols symbols;
    size_t n;
    uint32_t kernels, other_kernels;
} target;

/* ------------------------------------------------------------------ symbols and model */

/*
 * Three bytes.  The first: where the channels are in bits 0 and 1, their number - 1 in bits 2 to 4,
 * bit 5 leaves the model out, bit 6 allows for more of all, not with coder 4.  Then rows and
 * columns, more of these: blocks of kernels end among them.
 */
static int read_planes(fuzz_input *in, target *t) {
    const uint32_t layout = fuzz_byte(in);
    uint32_t channels = (layout & 3) == 3 ? 1 : 1 + (layout >> 2 & 7);
    uint32_t rows = 1 + fuzz_byte(in) % 64, columns = 1 + fuzz_byte(in) % 80;
    uint32_t large = (layout & 64) && FUZZ_CODER != SPC_CODER_CONTEXT;
    uint32_t most = (large ? MOST_LARGE : MOST_SMALL) / channels;
    columns = columns < most ? columns : most;
    rows = rows < most / columns ? rows : most / columns;
    t->n = (size_t)channels * rows * columns;
    t->symbols.axis = layout & 3 ? 3 - (layout & 3) : SPC_NO_AXIS;
    switch (layout & 3) {
    case 0:
        t->symbols.shape = (spc_shape){3, {channels, rows, columns}};
        break;
    case 1:
        t->symbols.shape = (spc_shape){3, {rows, columns, channels}};
        break;
    case 2:
        t->symbols.shape = (spc_shape){3, {rows, channels, columns}};
        break;
    default:
        t->symbols.shape = (spc_shape){2, {rows, columns}};
        t->symbols.axis = SPC_NO_AXIS;
    }
    return !(layout & 32);
}

/* How long a model of coder 4 says that it is, and how many products it sums up for a column of all
 * channels. */
static size_t context_len(const fuzz_input *in, uint32_t bits, uint32_t channels, size_t *sums) {
    const size_t nodes = ((size_t)1 << (bits < 4 ? bits : 4)) - 1, lefts = bits < 2 ? 4 : 16;
    size_t len = 0;
    for (uint32_t c = 0; c < channels && len + 4 <= in->left; c++) {
        const size_t taps = in->at[len], units = in->at[len + 1];
        len += 4 + taps * (2 + units) + 2 * units + nodes * (2 * units + lefts);
        *sums += units * (taps + nodes);
    }
    return len;
}

/* How long a model of coder 2 says that it is. */
static size_t range_len(const fuzz_input *in, uint32_t bits, uint32_t channels) {
    size_t len = 1;
    for (uint32_t c = 0; c < channels && len < in->left; c++) {
        const size_t questions = in->at[len] % 9;
        len += 1 + 4 * questions + ((((size_t)1 << bits) - 1) << questions);
    }
    return len;
}

/* Frequencies of a channel that add up, and classes that have all values, if those at the end can
 * be made so. */
static void mend_rans_channel(uint8_t *at, uint32_t classes, uint32_t values) {
    uint32_t slots = 4096;
    for (uint32_t left = classes; left-- > 0; at += 2) {
        uint32_t packed = at[0] | (uint32_t)at[1] << 8, f = packed & 4095, w = (packed >> 12) % 5;
        const uint32_t most = slots - left;
        f = left == 0 || f > most ? most : f == 0 ? 1 : f;
        while (w > 0 && values < left + (1u << w)) {
            w--;
        }
        while (w < 4 && values > 16 * left + (1u << w)) {
            w++;
        }
        slots -= f;
        values -= 1u << w;
        packed = f | w << 12;
        at[0] = (uint8_t)packed;
        at[1] = (uint8_t)(packed >> 8);
    }
}

static size_t mend_rans(const fuzz_input *in, uint32_t bits, uint32_t channels, uint8_t *body) {
    const uint32_t group = bits == 1 ? 4 : bits < 4 ? 2 : 1;
    const uint32_t values = 1u << bits * group, classes = bits > 4 ? 32 : values;
    const size_t len = (size_t)2 * classes * channels;
    memset(body, 0, len);
    memcpy(body, in->at, len < in->left ? len : in->left);
    for (uint32_t c = 0; c < channels; c++) {
        mend_rans_channel(body + (size_t)2 * classes * c, classes, values);
    }
    return len;
}

/*
 * The length of the body, two bytes, then the body.  With the highest bit of the length a body is
 * mended: it gets its right length, and with coder 3 the right sums, since nearly all changes would
 * otherwise be refused at once.  Returns whether it is a model, and not too slow a one.
 */
static int read_model(fuzz_input *in, const target *t, spc_model *model) {
    const uint32_t channels = fuzz_channels(&t->symbols.shape, t->symbols.axis);
    const uint32_t low = fuzz_byte(in), said = low | (uint32_t)fuzz_byte(in) << 8;
    const uint8_t *body = in->at;
    uint8_t mended[8 * 64 * 2];
    size_t len = said & MOST_BODY, sums = 0, taken;
    if (FUZZ_CODER == SPC_CODER_CONTEXT) {
        const size_t right = context_len(in, t->symbols.bits, channels, &sums);
        len = said & MEND ? right : len;
    }
    if (FUZZ_CODER == SPC_CODER_RANGE && (said & MEND)) {
        len = range_len(in, t->symbols.bits, channels);
    }
    if (FUZZ_CODER == SPC_CODER_RANS && (said & MEND)) {
        len = mend_rans(in, t->symbols.bits, channels, mended);
        body = mended;
    }
    taken = len < in->left ? len : in->left;
    taken = taken < MOST_BODY ? taken : MOST_BODY;
    len = body == mended ? len : taken;
    in->at += taken;
    in->left -= taken;
    return fuzz_wrap_model(&model_room, FUZZ_CODER, t->symbols.bits, channels, body, len, model) ==
               SPC_OK &&
           sums * (t->n / channels) <= MOST_SUMS;
}

/* ------------------------------------------------------------------ decoding */

static spc_status decode(const target *t, spc_coder coder, const uint8_t *payload, size_t len,
                         uint8_t *indices) {
    size_t work_len = spc_coder_decode_work_size(coder, &t->symbols);
    void *work = fuzz_decode_work(&work_room, work_len, coder);
    spc_status status = spc_coder_decode(coder, &t->symbols, payload, len, indices, work, work_len);
    fuzz_check_front(&work_room);
    REQUIRE(status == SPC_OK || status == SPC_ERROR_CORRUPT);
    for (size_t i = 0; status == SPC_OK && i < t->n; i++) {
        REQUIRE(indices[i] >> t->symbols.bits == 0);
    }
    return status;
}

/* What the encoder makes of these indices decodes to them.  Leaves the payload in `written`. */
static size_t again(const target *t, const uint8_t *indices, spc_coder *used) {
    size_t bound = spc_coder_bound(FUZZ_CODER, &t->symbols), len = 0;
    size_t work_len = spc_coder_encode_work_size(FUZZ_CODER, &t->symbols);
    void *work = fuzz_rear(&work_room, work_len);
    uint8_t *payload = fuzz_rear(&written, bound), *back;
    fuzz_use_kernels(t->other_kernels);
    REQUIRE(spc_coder_encode(FUZZ_CODER, &t->symbols, indices, payload, bound, &len, used, work,
                             work_len) == SPC_OK);
    fuzz_check_front(&work_room);
    fuzz_check_front(&written);
    REQUIRE(fuzz_may_use(FUZZ_CODER, *used));
    REQUIRE(*used == SPC_CODER_PACK ? len == bound : len < bound);
    payload = fuzz_copy(&given, payload, len);
    back = fuzz_rear(&second, t->n);
    fuzz_use_kernels(t->kernels);
    REQUIRE(decode(t, *used, payload, len, back) == SPC_OK);
    fuzz_check_front(&second);
    REQUIRE(t->n == 0 || memcmp(back, indices, t->n) == 0);
    return len;
}

static void check_payload(const target *t, const uint8_t *bytes, size_t len) {
    uint8_t *payload = fuzz_copy(&given, bytes, len), *indices = fuzz_rear(&first, t->n);
    size_t bound = spc_coder_bound(FUZZ_CODER, &t->symbols);
    spc_coder used;
    spc_status status;
    fuzz_use_kernels(t->kernels);
    status = decode(t, FUZZ_CODER, payload, len, indices);
    fuzz_check_front(&first);
    if (t->kernels != t->other_kernels) {
        uint8_t *others = fuzz_rear(&second, t->n);
        fuzz_use_kernels(t->other_kernels);
        REQUIRE(decode(t, FUZZ_CODER, payload, len, others) == status);
        REQUIRE(status != SPC_OK || t->n == 0 || memcmp(others, indices, t->n) == 0);
    }
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
    uint8_t bytes[MOST_LARGE], *indices = fuzz_rear(&first, t->n);
    spc_coder used;
    size_t len;
    for (size_t i = 0; i < t->n; i++) {
        indices[i] = (uint8_t)(fuzz_byte(in) & ((1u << t->symbols.bits) - 1));
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

/* Such a coder neither makes a payload nor reads one. */
static void check_no_model(const target *t) {
    uint8_t *payload = fuzz_rear(&given, 1), *indices = fuzz_rear(&first, t->n);
    spc_coder used;
    size_t len;
    memset(payload, 0, 1);
    memset(indices, 0, t->n);
    REQUIRE(spc_coder_bound(FUZZ_CODER, &t->symbols) == 0);
    REQUIRE(spc_coder_encode_work_size(FUZZ_CODER, &t->symbols) == 0);
    REQUIRE(spc_coder_decode_work_size(FUZZ_CODER, &t->symbols) == 0);
    REQUIRE(spc_coder_encode(FUZZ_CODER, &t->symbols, indices, payload, 1, &len, &used, NULL, 0) ==
            SPC_ERROR_MODEL);
    REQUIRE(spc_coder_decode(FUZZ_CODER, &t->symbols, payload, 1, indices, NULL, 0) ==
            SPC_ERROR_MODEL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    uint32_t head = fuzz_byte(&in);
    target t = {.symbols = {.axis = SPC_NO_AXIS, .bits = 1 + (head & 7)},
                .kernels = head >> 4 & 3,
                .other_kernels = head >> 6};
    spc_model model;
    if (!TAKES_MODEL) {
        t.n = fuzz_shape(&in, &t.symbols.shape);
    } else if (read_planes(&in, &t)) {
        if (!read_model(&in, &t, &model)) {
            return 0;
        }
        t.symbols.model = &model;
    } else if (fuzz_needs_model(FUZZ_CODER)) {
        check_no_model(&t);
        return 0;
    }
    if (head & 8) {
        check_damaged(&t, &in);
    } else {
        check_payload(&t, in.at, in.left < MOST_PAYLOAD ? in.left : MOST_PAYLOAD);
    }
    return 0;
}
