/* Coder 2: exact buffers between inaccessible pages, any payload, any model. */
#include <string.h>

#include "check.h"
#include "coder.h"

#define ROUNDS 3000
#define MOST_INDICES 10000
#define MOST_MODEL 20000
#define MOST_WORK 4096
#define QUESTION 4
#define COUNT(array) (uint32_t)(sizeof(array) / sizeof((array)[0]))

static check_guard index_pages, decoded_pages, payload_pages, work_pages, model_pages;

static void get_pages(void) {
    if (!index_pages.first) {
        index_pages = check_guard_new(MOST_INDICES);
        decoded_pages = check_guard_new(MOST_INDICES);
        payload_pages = check_guard_new(MOST_INDICES);
        work_pages = check_guard_new(MOST_WORK);
        model_pages = check_guard_new(MOST_MODEL);
    }
}

/* ------------------------------------------------------------------ data */

static size_t counters(uint32_t questions, uint32_t bits) {
    return (((size_t)1 << bits) - 1) << questions;
}

/* A model's body: any questions that are allowed, near or far, and any tables. */
static size_t make_body(uint8_t *body, uint32_t bits, uint32_t channels) {
    uint8_t *at = body;
    *at++ = (uint8_t)(1 + check_below(15));
    for (uint32_t channel = 0; channel < channels; channel++) {
        uint32_t most = bits < 3 ? 8 : 10 - bits;
        uint32_t questions = check_below(most + 1);
        *at++ = (uint8_t)questions;
        for (uint32_t i = 0; i < questions; i++, at += QUESTION) {
            uint32_t far = check_below(4) == 0;
            int32_t down, right;
            uint32_t back;
            do {
                back = check_below(channel + 1);
                down = far ? (int32_t)check_below(256) - 128 : (int32_t)check_below(5) - 2;
                right = far ? (int32_t)check_below(256) - 128 : (int32_t)check_below(5) - 2;
            } while (back == 0 && (down > 0 || (down == 0 && right >= 0)));
            at[0] = (uint8_t)back;
            at[1] = (uint8_t)down;
            at[2] = (uint8_t)right;
            at[3] = (uint8_t)(1 + check_below((1u << bits) - 1));
        }
        check_fill(at, counters(questions, bits));
        at += counters(questions, bits);
    }
    return (size_t)(at - body);
}

/* A model's bytes at the end of their pages. */
static spc_status make_model(spc_model *model, const uint8_t *body, size_t len, uint32_t bits,
                             uint32_t channels) {
    const size_t whole = SPC_MODEL_HEADER + len + SPC_MODEL_CHECKSUM;
    uint8_t *bytes = check_rear(model_pages, whole, check_at.shift);
    uint32_t checksum;
    memcpy(bytes, "SPM\1", 4);
    bytes[4] = SPC_CODER_RANGE;
    bytes[5] = (uint8_t)bits;
    bytes[6] = (uint8_t)channels;
    bytes[7] = (uint8_t)(channels >> 8);
    memcpy(bytes + SPC_MODEL_HEADER, body, len);
    checksum = spc_crc32c(0, bytes, SPC_MODEL_HEADER + len);
    for (uint32_t i = 0; i < 4; i++) {
        bytes[SPC_MODEL_HEADER + len + i] = (uint8_t)(checksum >> (8 * i));
    }
    return spc_model_init(model, bytes, whole);
}

/* Mostly like the one before or a row above. */
static void make_indices(uint8_t *indices, size_t n, uint32_t bits, size_t columns) {
    const uint32_t noise = 1 + check_below(check_below(2) ? 4 : 400);
    for (size_t i = 0; i < n; i++) {
        const size_t before = check_below(2) || i < columns ? 1 : columns;
        indices[i] = i < before || check_below(noise) == 0 ? (uint8_t)check_below(1u << bits)
                                                           : indices[i - before];
    }
}

typedef struct layout {
    spc_symbols symbols;
    spc_model model;
    size_t n, columns;
} layout;

static void make_layout(layout *made, int with_model) {
    static uint8_t body[MOST_MODEL];
    static const uint32_t widths[] = {1, 2, 3, 15, 16, 17, 95, 96, 97, 130, 255, 256, 257};
    spc_symbols *symbols = &made->symbols;
    memset(made, 0, sizeof *made);
    symbols->bits = 1 + check_below(8);
    symbols->shape.rank = 3;
    symbols->shape.dims[0] = 1 + check_below(4);
    symbols->shape.dims[1] = 1 + check_below(9);
    symbols->shape.dims[2] =
        check_below(2) ? widths[check_below(COUNT(widths))] : 1 + check_below(40);
    if (check_below(6) == 0) { /* the last dimension counts the channels */
        symbols->shape.dims[2] = symbols->shape.dims[0];
        symbols->axis = 2;
    }
    check_at.bits = symbols->bits;
    check_at.shift = check_below(4);
    made->columns = symbols->shape.dims[symbols->axis == 2 ? 1 : 2];
    (void)spc_shape_elements(&symbols->shape, &made->n);
    check_at.n = made->n;
    if (with_model) {
        const uint32_t channels = symbols->shape.dims[symbols->axis];
        const size_t len = make_body(body, symbols->bits, channels);
        CHECK_STATUS(make_model(&made->model, body, len, symbols->bits, channels), SPC_OK);
        symbols->model = &made->model;
    }
}

/* ------------------------------------------------------------------ cases */

static void round_trip(const layout *of) {
    const spc_symbols *symbols = &of->symbols;
    const size_t cap = spc_coder_bound(SPC_CODER_RANGE, symbols);
    const size_t encode_size = spc_coder_encode_work_size(SPC_CODER_RANGE, symbols);
    uint8_t *indices = check_rear(index_pages, of->n, 0), *work, *payload, *decoded;
    size_t len, decode_size;
    spc_coder used;
    make_indices(indices, of->n, symbols->bits, of->columns);
    CHECK(encode_size <= 2048 + 96 + of->n);
    work = check_rear(work_pages, encode_size, check_at.shift);
    memset(work, (int)check_below(256), encode_size);
    payload = check_rear(payload_pages, cap, 0);
    CHECK_STATUS(spc_coder_encode(SPC_CODER_RANGE, symbols, indices, payload, cap, &len, &used,
                                  work, encode_size),
                 SPC_OK);
    CHECK_MARKS(work_pages, work, encode_size);
    CHECK_MARKS(payload_pages, payload, cap);
    CHECK(used == SPC_CODER_RANGE ? len < cap : used == SPC_CODER_PACK && len == cap);
    memmove(payload + cap - len, payload, len); /* so that a byte more cannot be read */
    payload += cap - len;
    decode_size = spc_coder_decode_work_size(used, symbols);
    work = check_rear(work_pages, decode_size, check_at.shift);
    memset(work, (int)check_below(256), decode_size);
    for (int front = 0; front < 2; front++) {
        decoded =
            front ? check_front(decoded_pages, of->n, 0) : check_rear(decoded_pages, of->n, 0);
        memset(decoded, 0xff, of->n);
        CHECK_STATUS(spc_coder_decode(used, symbols, payload, len, decoded, work, decode_size),
                     SPC_OK);
        CHECK_BYTES(decoded, indices, of->n);
        CHECK_MARKS(decoded_pages, decoded, of->n);
        CHECK_MARKS(work_pages, work, decode_size);
    }
}

static void round_trips(void) {
    layout of;
    get_pages();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        check_seed(round);
        make_layout(&of, round % 2);
        round_trip(&of);
    }
}

/* The order of the coder itself, so that payloads of every length can be asked for. */
static spc_planes planes_of(const layout *of) {
    spc_planes planes = {0};
    planes.n = of->n;
    planes.bits = of->symbols.bits;
    planes.channels = of->symbols.shape.dims[of->symbols.axis];
    planes.columns = of->columns;
    planes.rows = of->n / planes.channels / planes.columns;
    planes.model = of->symbols.model;
    return planes;
}

static void every_cap(void) {
    const spc_coder_ops *ops = spc_coder_find(SPC_CODER_RANGE);
    static uint8_t whole[2 * MOST_INDICES];
    layout of;
    get_pages();
    for (uint64_t round = 0; round < 200; round++) {
        spc_planes planes;
        uint8_t *indices, *work;
        size_t len, size;
        int before = 0;
        check_seed(round);
        make_layout(&of, round % 2);
        planes = planes_of(&of);
        indices = check_rear(index_pages, of.n, 0);
        make_indices(indices, of.n, planes.bits, of.columns);
        size = ops->work_size(&planes);
        work = check_rear(work_pages, size, check_at.shift);
        len = ops->encode(&planes, indices, whole, sizeof whole, work, size);
        CHECK(len > 0);
        for (size_t cap = 0; cap <= len + 8; cap++) {
            uint8_t *payload = check_rear(payload_pages, cap, 0);
            const size_t got = ops->encode(&planes, indices, payload, cap, work, size);
            CHECK(got == 0 ? !before : got == len && cap >= len);
            CHECK_BYTES(payload, whole, got);
            CHECK_MARKS(payload_pages, payload, cap);
            before = got > 0;
        }
    }
}

static void any_payload(void) {
    layout of;
    get_pages();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint8_t *payload, *decoded, *work;
        size_t len, size, most;
        uint32_t seen = 0;
        spc_status status;
        check_seed(round);
        make_layout(&of, round % 2);
        most = spc_coder_bound(SPC_CODER_RANGE, &of.symbols);
        len = check_below((uint32_t)most + 3);
        payload = check_rear(payload_pages, len, 0);
        check_fill(payload, len);
        if (check_below(3) == 0) {
            memset(payload, (int)(0u - check_below(2)), len);
        }
        decoded = check_rear(decoded_pages, of.n, 0);
        size = spc_coder_decode_work_size(SPC_CODER_RANGE, &of.symbols);
        work = check_rear(work_pages, size, check_at.shift);
        status = spc_coder_decode(SPC_CODER_RANGE, &of.symbols, payload, len, decoded, work, size);
        CHECK(status == SPC_ERROR_CORRUPT || (status == SPC_OK && len > 0 && len < most));
        CHECK_MARKS(decoded_pages, decoded, of.n);
        CHECK_MARKS(work_pages, work, size);
        for (size_t i = 0; i < of.n && status == SPC_OK; i++) {
            seen |= decoded[i];
        }
        CHECK(seen >> of.symbols.bits == 0);
    }
}

/* No payload at all, or one that goes on: never what the shorter one says. */
static void wrong_ends(void) {
    layout of;
    get_pages();
    for (uint64_t round = 0; round < 500; round++) {
        static uint8_t payload[MOST_INDICES], decoded[MOST_INDICES], work[MOST_WORK];
        uint8_t *indices;
        spc_coder used;
        size_t len, most;
        check_seed(round);
        make_layout(&of, round % 2);
        most = spc_coder_bound(SPC_CODER_RANGE, &of.symbols);
        indices = check_rear(index_pages, of.n, 0);
        make_indices(indices, of.n, of.symbols.bits, of.columns);
        CHECK_STATUS(spc_coder_encode(SPC_CODER_RANGE, &of.symbols, indices, payload, most, &len,
                                      &used, work, sizeof work),
                     SPC_OK);
        CHECK_STATUS(
            spc_coder_decode(SPC_CODER_RANGE, &of.symbols, payload, 0, decoded, work, sizeof work),
            SPC_ERROR_CORRUPT);
        if (used != SPC_CODER_RANGE) {
            continue;
        }
        for (uint32_t last = 0; last < 256; last += 51) {
            payload[len] = (uint8_t)last;
            const spc_status status = spc_coder_decode(SPC_CODER_RANGE, &of.symbols, payload,
                                                       len + 1, decoded, work, sizeof work);
            CHECK(status == SPC_ERROR_CORRUPT ||
                  (status == SPC_OK && last > 0 && memcmp(decoded, indices, of.n) != 0));
        }
    }
}

/* ------------------------------------------------------------------ models */

static void models(void) {
    static uint8_t body[MOST_MODEL], other[MOST_MODEL];
    spc_model model;
    get_pages();
    for (uint64_t round = 0; round < 300; round++) {
        const uint32_t channels = 1 + (uint32_t)(round % 3), bits = 1 + (uint32_t)(round / 3 % 8);
        size_t len;
        check_seed(round);
        check_at.bits = bits;
        check_at.shift = check_below(4);
        len = make_body(body, bits, channels);
        check_at.n = len;
        CHECK_STATUS(make_model(&model, body, len, bits, channels), SPC_OK);
        CHECK_STATUS(make_model(&model, body, len, bits, channels + 1), SPC_ERROR_MODEL);
        CHECK(make_model(&model, body, len + 1, bits, channels) == SPC_ERROR_MODEL);
        for (size_t cut = 0; cut < len; cut += 1 + len / 50) {
            CHECK_STATUS(make_model(&model, body, cut, bits, channels), SPC_ERROR_MODEL);
        }
        for (uint32_t shift = 0; shift < 256; shift += 16) {
            body[0] = (uint8_t)shift;
            CHECK_STATUS(make_model(&model, body, len, bits, channels), SPC_ERROR_MODEL);
        }
        /* the first question of a channel 0 that has one */
        if (body[1] > 0) {
            static const struct {
                uint8_t back, down, right;
                int valid;
            } questions[] = {
                {0, 0, 0xff, 1}, {0, 0, 0x80, 1}, {0, 0xff, 0, 1},    {0, 0xff, 0x7f, 1},
                {0, 0, 0, 0},    {0, 0, 1, 0},    {0, 1, 0, 0},       {0, 1, 0xff, 0},
                {1, 0, 0xff, 0}, {1, 0xff, 0, 0}, {0xff, 0xff, 0, 0},
            };
            body[0] = 5;
            for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
                memcpy(other, body, len);
                memcpy(other + 2, &questions[i], 3);
                CHECK_STATUS(make_model(&model, other, len, bits, channels),
                             questions[i].valid ? SPC_OK : SPC_ERROR_MODEL);
            }
            memcpy(other, body, len);
            other[5] = 0;
            CHECK_STATUS(make_model(&model, other, len, bits, channels), SPC_ERROR_MODEL);
            if (bits < 8) {
                other[5] = (uint8_t)(1u << bits);
                CHECK_STATUS(make_model(&model, other, len, bits, channels), SPC_ERROR_MODEL);
            }
        }
    }
}

/* More questions than the context may have, with all bytes that they would need. */
static void too_many_questions(void) {
    static uint8_t body[MOST_MODEL];
    spc_model model;
    get_pages();
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (uint32_t questions = 0; questions <= 10; questions++) {
            const size_t len = 2 + questions * QUESTION + counters(questions, bits);
            const uint32_t most = bits < 3 ? 8 : 10 - bits;
            if (len > MOST_MODEL - 16) {
                continue;
            }
            check_at.bits = bits;
            check_at.n = questions;
            memset(body, 128, len);
            body[0] = 5;
            body[1] = (uint8_t)questions;
            for (uint32_t i = 0; i < questions; i++) {
                memcpy(body + 2 + i * QUESTION, "\0\xff\0\1", QUESTION);
            }
            CHECK_STATUS(make_model(&model, body, len, bits, 1),
                         questions <= most ? SPC_OK : SPC_ERROR_MODEL);
        }
    }
}

/* Damaged models that pass as models must do no harm. */
static void damaged_models(void) {
    static uint8_t body[MOST_MODEL];
    layout of;
    uint32_t passed = 0;
    get_pages();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint32_t channels;
        size_t len;
        check_seed(round);
        make_layout(&of, 0);
        channels = of.symbols.shape.dims[of.symbols.axis];
        len = make_body(body, of.symbols.bits, channels);
        for (uint32_t i = 0; i < 2; i++) {
            body[check_below(check_below(2) ? 12 : (uint32_t)len)] ^= (uint8_t)check_random();
        }
        if (make_model(&of.model, body, len, of.symbols.bits, channels) == SPC_OK) {
            of.symbols.model = &of.model;
            round_trip(&of);
            passed++;
        }
    }
    CHECK(passed > 100);
}

static const check_case cases[] = {
    {"round_trips", round_trips},
    {"every_cap", every_cap},
    {"any_payload", any_payload},
    {"wrong_ends", wrong_ends},
    {"models", models},
    {"too_many_questions", too_many_questions},
    {"damaged_models", damaged_models},
};

CHECK_MAIN(cases, NULL)
