/*
 * Coder 4: every kernel set writes the reference kernel's bytes and reads them back, whatever the
 * model, the symbols and the payload are, and touches nothing outside of its buffers.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "coder.h"
#include "kernels.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum {
    most_columns = 70,
    most_rows = 5,
    most_channels = 6,
    most_symbols = most_columns * most_rows * most_channels,
    most_payload = 12 * most_symbols + 16, /* 11.6 bits for each of 8 decisions */
    header = SPC_MODEL_HEADER,
    checksum = SPC_MODEL_CHECKSUM,
    most_model = most_channels * 5400 + header + checksum
};

/* ------------------------------------------------------------------ models */

static uint32_t nodes_of(uint32_t bits) {
    return (1u << (bits < 4 ? bits : 4)) - 1;
}

static uint32_t lefts_of(uint32_t bits) {
    return bits < 2 ? 4 : 16;
}

static int32_t within(uint32_t limit) {
    return (int32_t)check_below(2 * limit + 1) - (int32_t)limit;
}

static uint32_t size_of(int32_t value) {
    return (uint32_t)(value < 0 ? -value : value);
}

static uint8_t *put_i16(uint8_t *at, int32_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)((uint32_t)value >> 8);
    return at + 2;
}

static uint32_t least_of(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static uint8_t *put_places(uint8_t *at, uint32_t taps, uint32_t channel) {
    for (uint32_t i = 0; i < taps; i++) {
        const uint32_t back = check_below(channel + 1);
        *at++ = (uint8_t)back;
        *at++ = (uint8_t)(check_below(back > 0 ? 25 : 10) | (check_below(2) ? 0x80 : 0));
    }
    return at;
}

/* One channel's part of a valid model; returns its end.  The largest sums that there may be, or
 * anything below them. */
static uint8_t *put_channel(uint8_t *at, uint32_t bits, uint32_t channel) {
    const int wide = check_below(4) == 0;
    const uint32_t taps = check_below(8) ? check_below(24) : check_below(256);
    const uint32_t units = 1 + check_below(16), nodes = nodes_of(bits);
    const uint32_t outputs = 65535 / units >> (wide ? 0 : check_below(14));
    uint32_t sums[16] = {0};
    const uint8_t *places = at + 4;
    *at++ = (uint8_t)taps;
    *at++ = (uint8_t)units;
    *at++ = (uint8_t)check_below(units + 1);
    *at++ = (uint8_t)(1 + check_below(16));
    at = put_places(at, taps, channel);
    for (uint32_t i = 0; i < taps; i++) {
        const uint32_t most = places[2 * i + 1] & 0x80 ? 1 : nodes;
        for (uint32_t j = 0; j < units; j++) {
            int32_t weight = within(127);
            if (wide && check_below(3) == 0) {
                weight = -128;
            }
            if (sums[j] + size_of(weight) * most > INT16_MAX) {
                weight = 0;
            }
            sums[j] += size_of(weight) * most;
            *at++ = (uint8_t)weight;
        }
    }
    for (uint32_t j = 0; j < units; j++) {
        const int32_t most = (int32_t)(INT16_MAX - sums[j]);
        at = put_i16(at, !wide            ? within(least_of((uint32_t)most, 400))
                         : check_below(2) ? most
                                          : -most);
    }
    for (uint32_t k = 0; k < nodes * units; k++) {
        const int32_t limit = (int32_t)least_of(outputs, 32767);
        at = put_i16(at, !wide ? within((uint32_t)limit) : check_below(2) ? limit : -limit);
    }
    for (uint32_t k = 0; k < nodes * lefts_of(bits); k++) {
        *at++ = (uint8_t)(wide ? check_below(256) : (uint32_t)within(30));
    }
    return at;
}

static size_t finish_model(uint8_t *model, const uint8_t *end, uint32_t bits, uint32_t channels) {
    const size_t len = (size_t)(end - model);
    uint32_t crc;
    memcpy(model, "SPM\1", 4);
    model[4] = SPC_CODER_CONTEXT;
    model[5] = (uint8_t)bits;
    model[6] = (uint8_t)channels;
    model[7] = 0;
    crc = spc_crc32c(0, model, len);
    for (size_t i = 0; i < checksum; i++) {
        model[len + i] = (uint8_t)(crc >> 8 * i);
    }
    return len + checksum;
}

/* ------------------------------------------------------------------ features and their models */

typedef struct sample {
    spc_planes planes;
    spc_model model;
    uint8_t bytes[most_model];
    uint8_t symbols[most_symbols];
} sample;

static void make_symbols(sample *s) {
    const uint32_t all = 1u << s->planes.bits, style = check_below(4);
    uint32_t level = check_below(all);
    for (size_t i = 0; i < s->planes.n; i++) {
        const size_t above = i >= s->planes.columns ? i - s->planes.columns : 0;
        switch (style) {
        case 0: /* noise */
            level = check_below(all);
            break;
        case 1: /* mostly what is above */
            level = i > 0 && check_below(8) ? s->symbols[above] : check_below(all);
            break;
        case 2: /* few that are not 0 */
            level = check_below(10) ? 0 : check_below(all);
            break;
        default: /* runs */
            level = check_below(16) ? level : check_below(all);
        }
        s->symbols[i] = (uint8_t)level;
    }
}

static void make(sample *s, uint32_t bits, uint32_t channels, size_t rows, size_t columns) {
    uint8_t *at = s->bytes + header;
    for (uint32_t c = 0; c < channels; c++) {
        at = put_channel(at, bits, c);
    }
    CHECK_STATUS(spc_model_init(&s->model, s->bytes, finish_model(s->bytes, at, bits, channels)),
                 SPC_OK);
    s->planes = (spc_planes){
        channels * rows * columns, bits, channels, rows, columns, &s->model, 1, rows * columns};
    check_at.bits = bits;
    check_at.n = s->planes.n;
    make_symbols(s);
}

/* The same of a seed; edges of blocks and shapes more often than others. */
static void make_any(sample *s, uint64_t seed) {
    static const size_t edges[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 34, 63, 64, 65, 66, 70};
    size_t columns;
    check_seed(seed);
    columns = check_below(2) ? edges[check_below(COUNT(edges))] : 1 + check_below(most_columns);
    make(s, 1 + (uint32_t)(seed % 8), 1 + check_below(most_channels), 1 + check_below(most_rows),
         columns);
}

typedef struct room {
    check_guard symbols, payload, work;
} room;

static room room_new(void) {
    return (room){check_guard_new(most_symbols), check_guard_new(most_payload),
                  check_guard_new((size_t)256 << 10)};
}

static void room_free(room r) {
    check_guard_free(r.symbols);
    check_guard_free(r.payload);
    check_guard_free(r.work);
}

/* At either end of the guarded pages. */
static uint8_t *place(check_guard guard, size_t len, size_t shift) {
    return check_below(2) ? check_front(guard, len, shift) : check_rear(guard, len, shift);
}

/* Encodes into exactly `cap` bytes, copied to `payload`. */
static size_t encode(const room *r, const sample *s, uint8_t *payload, size_t cap) {
    const spc_coder_ops *ops = spc_coder_find(SPC_CODER_CONTEXT);
    const size_t need = ops->work_size(&s->planes), n = s->planes.n;
    uint8_t *symbols = place(r->symbols, n, 0), *out = place(r->payload, cap, 0);
    uint8_t *work = place(r->work, need, check_below(20));
    size_t len;
    memcpy(symbols, s->symbols, n);
    check_fill(work, need);
    len = ops->encode(&s->planes, symbols, out, cap, work, need);
    CHECK_BYTES(symbols, s->symbols, n);
    CHECK_MARKS(r->symbols, symbols, n);
    CHECK_MARKS(r->payload, out, cap);
    CHECK_MARKS(r->work, work, need);
    if (CHECK(len <= cap)) {
        memcpy(payload, out, len);
    }
    return len;
}

static spc_status decode(const room *r, const sample *s, const uint8_t *payload, size_t len,
                         uint8_t *symbols) {
    const spc_decoder_ops *ops = spc_decoder_find(SPC_CODER_CONTEXT);
    const size_t need = ops->work_size(&s->planes), n = s->planes.n;
    uint8_t *in = place(r->payload, len, 0), *out = place(r->symbols, n, 0);
    uint8_t *work = place(r->work, need, check_below(20));
    uint32_t seen = 0;
    spc_status status;
    memcpy(in, payload, len);
    check_fill(out, n);
    check_fill(work, need);
    status = ops->decode(&s->planes, in, len, out, work, need);
    CHECK_MARKS(r->payload, in, len);
    CHECK_MARKS(r->symbols, out, n);
    CHECK_MARKS(r->work, work, need);
    for (size_t i = 0; i < n; i++) {
        seen |= out[i];
    }
    CHECK(seen >> s->planes.bits == 0);
    memcpy(symbols, out, n);
    return status;
}

/* ------------------------------------------------------------------ kernels */

static sample one;
static uint8_t first[most_payload], again[most_payload], back[most_symbols];

static void round_trip(const room *r) {
    size_t len = 0;
    check_cpus cpus = {0};
    while (check_next_cpu(&cpus)) {
        const size_t own = encode(r, &one, again, most_payload);
        if (len == 0) {
            len = own;
            memcpy(first, again, len);
        }
        CHECK(own > 0 && own == len);
        CHECK_BYTES(again, first, len);
        CHECK_STATUS(decode(r, &one, first, len, back), SPC_OK);
        CHECK_BYTES(back, one.symbols, one.planes.n);
    }
}

static void kernels(void) {
    room r = room_new();
    for (uint64_t seed = 0; seed < 600; seed++) {
        make_any(&one, seed);
        round_trip(&r);
    }
    room_free(r);
}

static void all_columns(void) {
    room r = room_new();
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t columns = 1; columns <= most_columns; columns++) {
            check_seed(bits + 10 * columns);
            make(&one, bits, 2, 1 + columns % 3, columns);
            round_trip(&r);
        }
    }
    room_free(r);
}

/* Always the same logits: all decisions but those at the end as foreseen, or none. */
static void improbable(void) {
    room r = room_new();
    for (uint32_t bits = 1; bits <= 8; bits++) {
        const uint32_t nodes = nodes_of(bits);
        for (size_t last = 0; last <= 300; last += last < 12 ? 1 : 72) {
            uint8_t *at = one.bytes + header;
            check_seed(bits + 10 * last);
            make(&one, bits, 1, most_rows, most_columns - 10);
            memset(at, 0, most_model - header);
            at[1] = at[3] = 1; /* units, shift */
            at = put_i16(at + 4, INT16_MAX);
            for (uint32_t n = 0; n < nodes; n++) {
                at = put_i16(at, -32767);
            }
            at += nodes * lefts_of(bits);
            CHECK_STATUS(
                spc_model_init(&one.model, one.bytes, finish_model(one.bytes, at, bits, 1)),
                SPC_OK);
            memset(one.symbols, 0, one.planes.n);
            memset(one.symbols + one.planes.n - last, (1 << bits) - 1, last);
            round_trip(&r);
            one.symbols[one.planes.n - 1] = (uint8_t)check_below(1u << bits);
            round_trip(&r);
        }
    }
    room_free(r);
}

/* ------------------------------------------------------------------ capacities */

static void capacities(void) {
    room r = room_new();
    for (uint64_t seed = 0; seed < 48; seed++) {
        check_cpus cpus = {0};
        size_t len;
        check_seed(1000 + seed);
        make(&one, 1 + (uint32_t)(seed % 8), 1 + check_below(2), 1 + check_below(2),
             1 + check_below(20));
        len = encode(&r, &one, first, most_payload);
        while (check_next_cpu(&cpus)) {
            size_t found = 0;
            for (size_t cap = 0; cap <= len + 8; cap++) {
                const size_t own = encode(&r, &one, again, cap);
                check_at.shift = cap;
                CHECK(own == 0 ? found == 0 : own == len); /* what fits, fits with more room */
                CHECK(own == 0 || own <= cap);
                CHECK_BYTES(again, first, own);
                found = own;
            }
        }
    }
    room_free(r);
}

/* What the frame layer does with it: never as long as the packed indices, work to the byte. */
static void work_sizes(void) {
    static const spc_shape shapes[] = {{3, {3, 4, 35}}, {3, {6, 33, 3}}, {2, {5, 40}}, {1, {50}}};
    static const uint32_t axes[] = {SPC_NO_AXIS, 2, SPC_NO_AXIS, SPC_NO_AXIS};
    static const uint32_t channels[] = {3, 3, 1, 1};
    room r = room_new();
    for (uint64_t seed = 0; seed < 64; seed++) {
        const size_t k = seed / 8 % COUNT(shapes);
        const uint32_t bits = 1 + (uint32_t)(seed % 8);
        spc_symbols symbols = {shapes[k], axes[k], bits, &one.model};
        check_cpus cpus = {0};
        check_seed(2000 + seed);
        make(&one, bits, channels[k], 1, most_columns);
        one.planes.n = 1;
        for (uint32_t i = 0; i < shapes[k].rank; i++) {
            one.planes.n *= shapes[k].dims[i];
        }
        make_symbols(&one);
        while (check_next_cpu(&cpus)) {
            const size_t bound = spc_coder_bound(SPC_CODER_CONTEXT, &symbols);
            size_t need = spc_coder_encode_work_size(SPC_CODER_CONTEXT, &symbols), len = 0;
            uint8_t *work = check_rear(r.work, need, 0);
            uint8_t *payload = check_rear(r.payload, bound, 0);
            spc_coder used;
            CHECK_STATUS(spc_coder_encode(SPC_CODER_CONTEXT, &symbols, one.symbols, payload, bound,
                                          &len, &used, work, need - 1),
                         SPC_ERROR_WORK);
            CHECK_STATUS(spc_coder_encode(SPC_CODER_CONTEXT, &symbols, one.symbols, payload, bound,
                                          &len, &used, work, need),
                         SPC_OK);
            CHECK_MARKS(r.work, work, need);
            CHECK_MARKS(r.payload, payload, bound);
            CHECK(used == SPC_CODER_PACK ? len == bound : len < bound);
            CHECK(used == SPC_CODER_PACK || used == SPC_CODER_CONTEXT || used == SPC_CODER_RANGE);
            CHECK_STATUS(
                spc_coder_decode(SPC_CODER_CONTEXT, &symbols, payload, bound, back, work, need),
                SPC_ERROR_CORRUPT);
            if (used == SPC_CODER_PACK) {
                continue;
            }
            need = spc_coder_decode_work_size(used, &symbols);
            work = check_rear(r.work, need, 0);
            CHECK_STATUS(spc_coder_decode(used, &symbols, payload, len, back, work, need - 1),
                         SPC_ERROR_WORK);
            CHECK_STATUS(spc_coder_decode(used, &symbols, payload, len, back, work, need), SPC_OK);
            CHECK_MARKS(r.work, work, need);
            CHECK_BYTES(back, one.symbols, one.planes.n);
        }
    }
    room_free(r);
}

/* ------------------------------------------------------------------ payloads of any bytes */

/* Refused, or the one payload of the symbols that it gives. */
static void try_payload(const room *r, size_t len) {
    static sample other;
    check_cpus cpus = {0};
    spc_status expected = SPC_OK;
    int known = 0;
    while (check_next_cpu(&cpus)) {
        const spc_status status = decode(r, &one, first, len, back);
        CHECK(status == SPC_OK || status == SPC_ERROR_CORRUPT);
        CHECK(!known || status == expected);
        expected = status;
        known = 1;
        if (status == SPC_OK) {
            other.planes = one.planes;
            memcpy(other.symbols, back, one.planes.n);
            CHECK(encode(r, &other, again, most_payload) == len);
            CHECK_BYTES(again, first, len);
        }
    }
}

static void payloads(void) {
    room r = room_new();
    for (uint64_t seed = 0; seed < 160; seed++) {
        size_t len;
        check_seed(3000 + seed);
        make(&one, 1 + (uint32_t)(seed % 8), 1 + check_below(3), 1 + check_below(3),
             1 + check_below(40));
        for (uint32_t k = 0; k < 4; k++) { /* noise */
            len = check_below(60);
            check_fill(first, len);
            if (k == 0) {
                memset(first, 0xff, len);
            }
            try_payload(&r, len);
        }
        len = encode(&r, &one, first, most_payload);
        for (uint32_t k = 0; k < 8; k++) { /* damage */
            const size_t at = check_below((uint32_t)len);
            const uint8_t was = first[at];
            first[at] ^= (uint8_t)(1 + check_below(255));
            try_payload(&r, len);
            first[at] = was;
        }
        try_payload(&r, len - 1);
        try_payload(&r, check_below((uint32_t)len));
        first[len] = 0;
        CHECK_STATUS(decode(&r, &one, first, len + 1, back), SPC_ERROR_CORRUPT);
        first[len] = 1;
        try_payload(&r, len + 1);
    }
    room_free(r);
}

/* ------------------------------------------------------------------ models of any bytes */

static int valid(const uint8_t *body, size_t len, uint32_t bits, uint32_t channels) {
    const check_guard guard = check_guard_new(len + 1);
    uint8_t *at = check_rear(guard, len, 0);
    int found;
    memcpy(at, body, len);
    found = spc_context_model_valid(at, len, bits, channels);
    check_guard_free(guard);
    return found;
}

static void truncated_models(void) {
    for (uint32_t bits = 1; bits <= 8; bits++) {
        size_t len, ends = 0;
        check_seed(4000 + bits);
        make(&one, bits, 2, 1, 1);
        len = one.model.len - header - checksum;
        CHECK(valid(one.bytes + header, len, bits, 2));
        CHECK(!valid(one.bytes + header, len + 1, bits, 2));
        for (size_t cut = 0; cut < len; cut++) {
            check_at.shift = cut;
            CHECK(!valid(one.bytes + header, cut, bits, 2));
            ends += (size_t)valid(one.bytes + header, cut, bits, 1);
        }
        CHECK(ends == 1);
        CHECK(!valid(one.bytes + header, len, bits, 3));
    }
}

/* Two channels of two bits with two taps, two units and one linear, and what is done to them. */
static void rules(void) {
    enum { size = 4 + 2 * 2 + 2 * 2 + 2 * 2 + 3 * 2 * 2 + 3 * 16, bias = 12, output = 16 };
    static const struct {
        const char *what;
        size_t at;
        uint8_t bytes[4];
        size_t len;
        int valid;
    } changes[] = {
        {"units", 1, {0}, 1, 0},
        {"units", 1, {17}, 1, 0},
        {"linear", 2, {2}, 1, 1},
        {"linear", 2, {3}, 1, 0},
        {"shift", 3, {0}, 1, 0},
        {"shift", 3, {16}, 1, 1},
        {"shift", 3, {17}, 1, 0},
        {"back", 4, {1, 12}, 2, 0},
        {"back", size + 4, {1, 12}, 2, 1},
        {"back", size + 4, {2, 12}, 2, 0},
        {"row", 4, {0, 9}, 2, 1},
        {"row", 4, {0, 0x89}, 2, 1},
        {"row", 4, {0, 10}, 2, 0},
        {"row", 4, {0, 0x8a}, 2, 0},
        {"row", size + 4, {0, 12}, 2, 0},
        {"row", size + 4, {0, 24}, 2, 0},
        {"row", size + 4, {1, 24}, 2, 1},
        {"row", size + 4, {1, 25}, 2, 0},
        {"row", size + 4, {1, 0xff}, 2, 0},
        /* weights of the first unit are 1 and, of a tap that is set or not, -1 */
        {"sum", bias, {0xfb, 0x7f}, 2, 1},
        {"sum", bias, {0xfc, 0x7f}, 2, 0},
        {"sum", bias, {0x05, 0x80}, 2, 1},
        {"sum", bias, {0x04, 0x80}, 2, 0},
        {"sum", bias + 2, {0xff, 0x7f}, 2, 1},
        {"sum", bias + 2, {0x01, 0x80}, 2, 1},
        {"sum", bias + 2, {0x00, 0x80}, 2, 0},
        {"outputs", output, {0xff, 0x7f, 0x00, 0x80}, 4, 1},
        {"outputs", output, {0x00, 0x80, 0x00, 0x80}, 4, 0},
        {"outputs", output + 8, {0x00, 0x80, 0x01, 0x80}, 4, 1},
        {"outputs", output + 8, {0x00, 0x80, 0x00, 0x80}, 4, 0},
    };
    uint8_t body[2 * size] = {2, 2, 1, 8, 0, 7, 0, 0x80 | 3, 1, 0, 0xff, 0};
    memcpy(body + size, body, size);
    CHECK(valid(body, sizeof body, 2, 2));
    for (size_t i = 0; i < COUNT(changes); i++) {
        uint8_t changed[sizeof body];
        memcpy(changed, body, sizeof body);
        memcpy(changed + changes[i].at, changes[i].bytes, changes[i].len);
        check_at.what = changes[i].what;
        check_at.shift = i;
        CHECK(valid(changed, sizeof body, 2, 2) == changes[i].valid);
    }
    check_at.what = NULL;
}

/* Whatever passes is coded with. */
static void damaged_models(void) {
    room r = room_new();
    size_t passed = 0;
    for (uint64_t seed = 0; seed < 1500; seed++) {
        const uint32_t bits = 1 + (uint32_t)(seed % 8), channels = 1 + (uint32_t)(seed / 8 % 3);
        size_t len;
        check_seed(5000 + seed);
        make(&one, bits, channels, 2, 1 + check_below(40));
        len = one.model.len - header - checksum;
        for (uint32_t k = 1 + check_below(3); k > 0; k--) {
            one.bytes[header + check_below((uint32_t)len)] = (uint8_t)check_below(256);
        }
        finish_model(one.bytes, one.bytes + header + len, bits, channels);
        if (valid(one.bytes + header, len, bits, channels)) {
            passed++;
            round_trip(&r);
        }
    }
    CHECK(passed > 100);
    room_free(r);
}

static const check_case cases[] = {
    {"kernels", kernels},
    {"all_columns", all_columns},
    {"improbable", improbable},
    {"capacities", capacities},
    {"work_sizes", work_sizes},
    {"payloads", payloads},
    {"rules", rules},
    {"truncated_models", truncated_models},
    {"damaged_models", damaged_models},
};
CHECK_MAIN(cases, NULL)
