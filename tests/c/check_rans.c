/* Coder rans: any shape and model, any room, any payload. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "check.h"
#include "coder.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ROUNDS 3000
#define ELEMENTS_MOST 60000
#define CHANNELS_MOST 600
/* A model that fits badly may need 16 bits for an index. */
#define ROOM(n) (2 * (n) + 64)
#define MODEL_MOST ((size_t)CHANNELS_MOST * 128 + SPC_MODEL_HEADER + SPC_MODEL_CHECKSUM)

static const spc_coder_ops *const ops = &spc_coder_rans_ops;
static const spc_decoder_ops *const back = &spc_decoder_rans_ops;

static uint8_t model_bytes[MODEL_MOST];
static spc_model model;
static check_guard indices_pages, payload_pages, restored_pages, work_pages;

static void get_pages(void) {
    if (!indices_pages.first) {
        indices_pages = check_guard_new(ELEMENTS_MOST);
        restored_pages = check_guard_new(ELEMENTS_MOST);
        payload_pages = check_guard_new(ROOM(ELEMENTS_MOST));
        work_pages = check_guard_new(1u << 16);
    }
}

/* ------------------------------------------------------------------ models and indices */

static uint32_t group_of(uint32_t bits) {
    return bits == 1 ? 4 : bits <= 3 ? 2 : 1;
}

static uint32_t classes_of(uint32_t bits) {
    return bits >= 5 ? 32 : 1u << bits * group_of(bits);
}

static void put_class(uint8_t *at, uint32_t frequency, uint32_t width) {
    at[0] = (uint8_t)frequency;
    at[1] = (uint8_t)(frequency >> 8 | width << 4);
}

/* Everything but the body; returns the length. */
static size_t seal(uint32_t bits, uint32_t channels) {
    const size_t len = SPC_MODEL_HEADER + (size_t)channels * classes_of(bits) * 2;
    memcpy(model_bytes, "SPM\1\3", 5);
    model_bytes[5] = (uint8_t)bits;
    model_bytes[6] = (uint8_t)channels;
    model_bytes[7] = (uint8_t)(channels >> 8);
    spc_store_le32(model_bytes + len, spc_crc32c(0, model_bytes, len));
    return len + SPC_MODEL_CHECKSUM;
}

/* `widest`, a frequency or 0, goes to one class of each channel. */
static void make_model(uint32_t bits, uint32_t channels, uint32_t widest) {
    const uint32_t count = classes_of(bits), values = 1u << bits * group_of(bits);
    uint8_t *at = model_bytes + SPC_MODEL_HEADER;
    for (uint32_t c = 0; c < channels; c++) {
        uint32_t frequency[64], width[64] = {0}, left = 4096 - count, covered = count;
        const uint32_t first = check_below(count);
        for (uint32_t i = 0; i < count; i++) {
            frequency[i] = 1;
        }
        if (widest > 0) {
            frequency[first] = widest;
            left -= widest - 1;
        }
        while (left > 0) {
            const uint32_t more = 1 + check_below(left < 300 ? left : 300);
            frequency[(first + 1 + check_below(count - (widest > 0))) % count] += more;
            left -= more;
        }
        while (covered < values) {
            const uint32_t i = check_below(count);
            if (width[i] < 4 && covered + (1u << width[i]) <= values) {
                covered += 1u << width[i]++;
            }
        }
        for (uint32_t i = 0; i < count; i++, at += 2) {
            put_class(at, frequency[i], width[i]);
        }
    }
    CHECK_STATUS(spc_model_init(&model, model_bytes, seal(bits, channels)), SPC_OK);
}

static spc_planes planes_of(uint32_t bits, uint32_t channels, size_t each) {
    spc_planes planes = {each * channels, bits, channels, 1, each, &model, 1, each};
    check_at.bits = bits;
    check_at.n = planes.n;
    return planes;
}

/* Mostly one index, or all of them. */
static void fill_indices(uint8_t *indices, const spc_planes *planes) {
    const uint32_t common = check_below(1u << planes->bits), rarity = check_below(3) * 3;
    for (size_t i = 0; i < planes->n; i++) {
        indices[i] =
            (uint8_t)(rarity > 0 && check_below(rarity) > 0 ? common
                                                            : check_below(1u << planes->bits));
    }
}

/* ------------------------------------------------------------------ encoding and decoding */

/* In work of exactly the size that was asked for, with this content. */
static size_t encode(const spc_planes *planes, const uint8_t *indices, uint8_t *payload, size_t cap,
                     int content) {
    const size_t size = ops->work_size(planes);
    uint8_t *work = check_rear(work_pages, size, check_at.shift);
    size_t len;
    memset(work, content, size);
    len = ops->encode(planes, indices, payload, cap, work, size);
    CHECK_MARKS(work_pages, work, size);
    return len;
}

static spc_status decode(const spc_planes *planes, const uint8_t *payload, size_t len,
                         uint8_t *indices, int content) {
    const size_t size = back->work_size(planes);
    uint8_t *work = check_rear(work_pages, size, check_at.shift);
    spc_status status;
    memset(work, content, size);
    status = back->decode(planes, payload, len, indices, work, size);
    CHECK_MARKS(work_pages, work, size);
    return status;
}

static void round_trip(uint32_t bits, uint32_t channels, size_t each) {
    const spc_planes planes = planes_of(bits, channels, each);
    const size_t packed_len = spc_packed_size(planes.n, bits);
    uint8_t *indices, *payload, *restored;
    size_t len;
    get_pages();
    check_at.shift = check_below(9);
    indices = check_rear(indices_pages, planes.n, check_at.shift);
    fill_indices(indices, &planes);
    payload = check_rear(payload_pages, ROOM(planes.n), 0);
    len = encode(&planes, indices, payload, ROOM(planes.n), 0);
    if (!CHECK(len > 0 && len <= ROOM(planes.n))) {
        return;
    }
    /* Where all of it is, from the front and from the rear, in exactly the room that it needs. */
    uint8_t *copy = malloc(len);
    memcpy(copy, payload, len);
    payload = check_rear(payload_pages, len, 0);
    CHECK(encode(&planes, indices, payload, len, 0xff) == len);
    CHECK_BYTES(payload, copy, len);
    restored = check_rear(restored_pages, planes.n, 0);
    if (len >= packed_len) {
        CHECK_STATUS(decode(&planes, payload, len, restored, 0xff), SPC_ERROR_CORRUPT);
    } else {
        CHECK_STATUS(decode(&planes, payload, len, restored, 0xff), SPC_OK);
        CHECK_BYTES(restored, indices, planes.n);
        CHECK_MARKS(restored_pages, restored, planes.n);
        payload = check_front(payload_pages, len, 0);
        memcpy(payload, copy, len);
        restored = check_front(restored_pages, planes.n, check_at.shift);
        CHECK_STATUS(decode(&planes, payload, len, restored, 0), SPC_OK);
        CHECK_BYTES(restored, indices, planes.n);
        CHECK_MARKS(restored_pages, restored, planes.n);
    }
    payload = check_rear(payload_pages, len - 1, 0);
    CHECK(encode(&planes, indices, payload, len - 1, 0x5a) == 0);
    CHECK_MARKS(payload_pages, payload, len - 1);
    free(copy);
}

static uint32_t some_widest(uint32_t bits) {
    return check_below(3) == 0 ? 4096 - classes_of(bits) - check_below(40) : 0;
}

static void random_shapes(void) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint32_t bits, channels;
        check_seed(round);
        bits = 1 + check_below(8);
        channels = 1 + check_below(check_below(8) ? 5 : CHANNELS_MOST);
        make_model(bits, channels, some_widest(bits));
        round_trip(bits, channels, 1 + check_below(check_below(4) ? 90 : ELEMENTS_MOST / channels));
    }
}

/* Around every number of groups that the coder takes together or that adds lanes. */
static void each_length(void) {
    for (uint32_t bits = 1; bits <= 8; bits++) {
        const size_t group = group_of(bits);
        check_seed(bits);
        make_model(bits, 2, 0);
        for (size_t each = 1; each <= 140 * group; each++) {
            round_trip(bits, 2, each);
        }
        for (size_t each = 508 * group; each <= 516 * group; each++) {
            round_trip(bits, 2, each);
        }
    }
}

/* Whatever is divided, and by whatever: the inverse gives it back. */
static void each_frequency(void) {
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (uint32_t widest = 1; widest <= 4096 - classes_of(bits); widest += bits == 4 ? 1 : 97) {
            check_seed(widest);
            make_model(bits, 1, widest);
            round_trip(bits, 1, 400 * group_of(bits));
        }
    }
}

static void each_room(void) {
    static const struct {
        uint32_t bits, channels;
        size_t each;
    } shapes[] = {{1, 2, 61}, {2, 3, 1000}, {3, 1, 7}, {7, 4, 300}, {8, 1, 1}};
    get_pages();
    for (size_t k = 0; k < COUNT(shapes); k++) {
        const spc_planes planes = planes_of(shapes[k].bits, shapes[k].channels, shapes[k].each);
        static uint8_t indices[4096], whole[ROOM(4096)];
        size_t len;
        check_seed(k);
        check_at.shift = 0;
        make_model(planes.bits, planes.channels, 0);
        fill_indices(indices, &planes);
        len = encode(&planes, indices, whole, ROOM(planes.n), 0);
        for (size_t cap = 0; cap <= len + 9; cap++) {
            uint8_t *payload = check_rear(payload_pages, cap, 0);
            CHECK(encode(&planes, indices, payload, cap, 0) == (cap < len ? 0 : len));
            CHECK_MARKS(payload_pages, payload, cap);
            if (cap >= len) {
                CHECK_BYTES(payload, whole, len);
            }
        }
    }
}

/* ------------------------------------------------------------------ hostile bytes */

/* Refused, or the payload of what it gives: there is no other. */
static void hostile(const spc_planes *planes, const uint8_t *payload, size_t len) {
    uint8_t *restored = check_rear(restored_pages, planes->n, 0);
    const spc_status status = decode(planes, payload, len, restored, 0x33);
    CHECK(status == SPC_OK || status == SPC_ERROR_CORRUPT);
    CHECK_MARKS(restored_pages, restored, planes->n);
    if (status == SPC_OK) {
        uint8_t *again = malloc(len);
        CHECK(encode(planes, restored, again, len, 0) == len);
        CHECK_BYTES(again, payload, len);
        free(again);
    }
}

static void damaged(void) {
    get_pages();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint8_t *indices, *payload, *whole;
        uint32_t bits, channels;
        spc_planes planes;
        size_t len;
        check_seed(round);
        bits = 1 + check_below(8);
        channels = 1 + check_below(4);
        make_model(bits, channels, some_widest(bits));
        planes = planes_of(bits, channels, 1 + check_below(check_below(2) ? 100 : 3000));
        check_at.shift = check_below(9);
        indices = check_rear(indices_pages, planes.n, 0);
        fill_indices(indices, &planes);
        whole = malloc(ROOM(planes.n));
        len = encode(&planes, indices, whole, ROOM(planes.n), 0);
        for (int change = 0; change < 6; change++) {
            size_t now = len;
            if (change % 2 == 0) {
                now = check_below((uint32_t)len + 1);
            }
            payload = check_rear(payload_pages, now, 0);
            memcpy(payload, whole, now);
            if (change >= 2 && now > 0) {
                payload[check_below((uint32_t)now)] ^= (uint8_t)(1u << check_below(8));
            }
            hostile(&planes, payload, now);
            /* Without its front the states are others, and the end is the same. */
            memcpy(payload, whole + len - now, now);
            hostile(&planes, payload, now);
        }
        free(whole);
    }
}

static void random_payloads(void) {
    get_pages();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint32_t bits, channels;
        spc_planes planes;
        uint8_t *payload;
        size_t len;
        check_seed(round);
        bits = 1 + check_below(8);
        channels = 1 + check_below(check_below(8) ? 4 : 50);
        make_model(bits, channels, some_widest(bits));
        planes = planes_of(bits, channels, 1 + check_below(check_below(2) ? 30 : 700));
        check_at.shift = check_below(9);
        len = check_below((uint32_t)spc_packed_size(planes.n, bits) + 20);
        payload = check_rear(payload_pages, len, 0);
        check_fill(payload, len);
        hostile(&planes, payload, len);
        /* States that a decoder begins with. */
        for (size_t i = 0; i < 16 && i < len; i++) {
            payload[i] |= 1;
        }
        hostile(&planes, payload, len);
    }
}

/* Every 7th state of so few indices that one suffices. */
static void lone_states(void) {
    const spc_planes planes = planes_of(4, 1, 10);
    get_pages();
    check_seed(0);
    make_model(4, 1, 4000);
    check_at.shift = 0;
    for (uint32_t state = 0; state < 1u << 20; state += 7) {
        uint8_t *payload = check_rear(payload_pages, 4, 0);
        spc_store_le32(payload, state);
        hostile(&planes, payload, 4);
    }
}

/* ------------------------------------------------------------------ models */

static int valid_by_definition(const uint8_t *body, uint32_t bits, uint32_t channels) {
    for (uint32_t c = 0; c < channels; c++) {
        uint32_t total = 0, values = 0;
        for (uint32_t i = 0; i < classes_of(bits); i++, body += 2) {
            const uint32_t packed = body[0] + 256u * body[1];
            if (packed % 4096 == 0 || packed / 4096 > 4) {
                return 0;
            }
            total += packed % 4096;
            values += 1u << packed / 4096;
        }
        if (total != 4096 || values != 1u << bits * group_of(bits)) {
            return 0;
        }
    }
    return 1;
}

static void models(void) {
    size_t accepted = 0;
    for (uint64_t round = 0; round < 30000; round++) {
        uint8_t *body = model_bytes + SPC_MODEL_HEADER;
        uint32_t bits, channels;
        size_t len;
        int valid;
        check_seed(round);
        bits = 1 + check_below(8);
        channels = 1 + check_below(3);
        make_model(bits, channels, some_widest(bits));
        len = (size_t)channels * classes_of(bits) * 2;
        /* Changes that leave the sums right are among these. */
        for (uint32_t change = check_below(3) + 1; change > 0; change--) {
            const size_t at = check_below((uint32_t)len), to = check_below((uint32_t)len);
            const uint8_t step = (uint8_t)(1u << check_below(8));
            body[at] = (uint8_t)(body[at] + step);
            body[to] = (uint8_t)(body[to] - step);
        }
        len = seal(bits, channels);
        valid = valid_by_definition(body, bits, channels);
        accepted += (size_t)valid;
        CHECK_STATUS(spc_model_init(&model, model_bytes, len), valid ? SPC_OK : SPC_ERROR_MODEL);
    }
    CHECK(accepted > 300);
    CHECK(accepted < 29000);
}

static void model_lengths(void) {
    for (uint32_t bits = 1; bits <= 8; bits++) {
        const size_t len = classes_of(bits) * 2 * 2;
        check_seed(bits);
        make_model(bits, 2, 0);
        for (size_t given = 0; given <= len + 4; given++) {
            uint8_t *body = malloc(given + 1);
            memcpy(body, model_bytes + SPC_MODEL_HEADER, given);
            CHECK(spc_rans_model_valid(body, given, bits, 2) == (given == len));
            free(body);
        }
    }
}

/* ------------------------------------------------------------------ the same bytes everywhere */

static uint32_t plain_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* One number for payloads of all widths; independent of the run's seed, compiler and machine. */
static void frozen(void) {
    static uint8_t indices[6000], payload[ROOM(6000)], work[8192];
    uint32_t state = 1, crc = 0;
    for (uint32_t bits = 1; bits <= 8; bits++) {
        const uint32_t count = classes_of(bits);
        spc_planes planes;
        size_t len;
        for (uint32_t i = 0; i < 3 * count; i++) {
            /* 1, 2, 3 ... and the rest */
            const uint32_t at = i % count, rest = 4096 - count * (count - 1) / 2;
            put_class(model_bytes + SPC_MODEL_HEADER + 2 * i, at + 1 < count ? at + 1 : rest,
                      bits > 5 ? bits - 5 : 0);
        }
        CHECK_STATUS(spc_model_init(&model, model_bytes, seal(bits, 3)), SPC_OK);
        planes = planes_of(bits, 3, 1999);
        for (size_t i = 0; i < planes.n; i++) {
            indices[i] = (uint8_t)(plain_random(&state) & ((1u << bits) - 1));
        }
        CHECK(sizeof work >= ops->work_size(&planes));
        len = ops->encode(&planes, indices, payload, sizeof payload, work, sizeof work);
        crc = spc_crc32c(crc, payload, len);
    }
    CHECK(crc == 0xb86e19ae);
}

static const check_case cases[] = {
    {"random_shapes", random_shapes},
    {"each_length", each_length},
    {"each_frequency", each_frequency},
    {"each_room", each_room},
    {"damaged", damaged},
    {"random_payloads", random_payloads},
    {"lone_states", lone_states},
    {"models", models},
    {"model_lengths", model_lengths},
    {"frozen", frozen},
};

CHECK_MAIN(cases, NULL)
