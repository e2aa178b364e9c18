/*
 * An LZMA encoder in three layers, bottom up: the range encoder, the symbols of the format, and
 * the choice between them.
 *
 * The choice decides the size.  Packed low-bit indices are mostly literals of four to six bits, so
 * that two or three matching bytes often cost more as a match than as literals, and an encoder
 * that takes every match loses several percent.  Here the adaptive probabilities price each
 * alternative, its gain is the price of the same bytes as literals less its own, and the greatest
 * gain wins, at this position or the next.
 *
 * One candidate per position is enough, the latest with the same three bytes: farther ones cost
 * more bits than they save.  So a small hash table is all that a search needs.
 */
#include "lzma_encoder.h"

#include <string.h>

#include "lzma_format.h"
#include "range_coder.h"

/* 2^this entries of two bytes.  A small table forgets sooner, which costs nothing: on 1-3 bit
 * features of 0.7-12 kB, 8 to 12 gave payloads within 0.2 % of each other, 8 the smallest. */
#ifndef SPC_LZMA_HASH_BITS
#define SPC_LZMA_HASH_BITS 9
#endif

#define STATES 12
#define LITERAL_STATES 7 /* the states below follow a literal */
#define REPEATS 4
#define LENGTH_MIN 2
#define LENGTH_MAX 273
#define HASHED 3 /* the shortest match that is looked for, beside repeats */

/* A match of this length is taken without looking further, so only shorter ones need prices. */
#define LENGTH_ENOUGH 18

/* Positions are 16-bit numbers: matches reach back this far at most, and slots stay below 32. */
#define DISTANCE_MAX 65535u
#define SLOTS 32
#define SLOT_SPECIAL 4
#define SLOT_DIRECT 14

_Static_assert(SPC_LZMA_LC == 0 && SPC_LZMA_LP == 0 && SPC_LZMA_PB == 0, "no contexts here");
_Static_assert(DISTANCE_MAX < SPC_LZMA_DICT_MAX, "the window must be within the dictionary");
_Static_assert(SPC_LZMA_HASH_BITS >= 1 && SPC_LZMA_HASH_BITS <= 16, "hash table size");

/* ------------------------------------------------------------------ range encoder */

/* Of a 0 bit, in 1/2048. */
typedef uint16_t probability;

static inline void put_bit(spc_range_encoder *rc, probability *p, uint32_t bit) {
    uint32_t zero = *p;
#if SPC_HOSTED
    spc_range_put(rc, (rc->range >> 11) * zero, bit);
    /* 1: zero - zero / 32.  0: zero + (2048 - zero) / 32.  Without a branch on the bit. */
    *p = (probability)(zero + 64 - ((zero + 31 + (2017 & (0u - bit))) >> 5));
#else
    *p = (probability)(bit ? zero - (zero >> 5) : zero + ((2048 - zero) >> 5));
    spc_range_put(rc, (rc->range >> 11) * zero, bit);
#endif
}

static inline void put_direct(spc_range_encoder *rc, uint32_t value, uint32_t bits) {
    while (bits-- > 0) {
        rc->range >>= 1;
        spc_range_add(rc, rc->range & (0u - ((value >> bits) & 1)));
        spc_range_normalise(rc);
    }
}

static inline void put_tree(spc_range_encoder *rc, probability *tree, uint32_t value,
                            uint32_t bits) {
    value |= 1u << bits;
    while (bits-- > 0) {
        put_bit(rc, &tree[value >> (bits + 1)], (value >> bits) & 1);
    }
}

static inline void put_reverse(spc_range_encoder *rc, probability *tree, uint32_t value,
                               uint32_t bits) {
    for (uint32_t node = 1; bits > 0; bits--, value >>= 1) {
        put_bit(rc, &tree[node], value & 1);
        node = 2 * node + (value & 1);
    }
}

/* ------------------------------------------------------------------ model and symbols */

typedef struct length_model {
    probability choice[2];
    probability low[8];
    probability mid[8];
    probability high[256];
} length_model;

/* Nothing but probabilities. */
typedef struct model {
    probability is_match[STATES], is_rep[STATES];
    probability is_rep0[STATES], is_rep0_long[STATES], is_rep1[STATES], is_rep2[STATES];
    probability literal[3 * 256];
    length_model match_length;
    length_model repeat_length;
    probability slot[4][64];
    probability special[SLOT_DIRECT - SLOT_SPECIAL][32];
    probability align[16];
} model;

/* In units of price, see price_of_bit. */
typedef struct price_tables {
    uint16_t match_length[LENGTH_ENOUGH];
    uint16_t repeat_length[LENGTH_ENOUGH]; /* 0 for the one of length 1, which has no length */
    uint16_t distance[4][SLOTS];
    uint32_t uses_left; /* length or slot symbols until they are computed again */
} price_tables;

/* Literal prices summed up to each position, kept for as many as a priced match can span. */
#define LITERAL_SUMS 32
_Static_assert(LITERAL_SUMS > LENGTH_ENOUGH + 1, "a match at the next position must fit");

typedef struct encoder {
    spc_range_encoder rc;
    model model;
    price_tables prices;
    const uint8_t *input;
    uint32_t len;
    uint32_t pos;
    uint32_t state;
    uint32_t back[REPEATS]; /* the last distances, at first 1 */
    uint32_t summed;        /* positions before this one have their sum */
    uint32_t literal_sum[LITERAL_SUMS];
    uint16_t latest[1u << SPC_LZMA_HASH_BITS];
} encoder;

static uint32_t state_after_literal(uint32_t state) {
    return state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
}

static uint32_t log2_floor(uint32_t value) {
#if defined(__GNUC__)
    return 31u - (uint32_t)__builtin_clz(value);
#else
    uint32_t log = 0;
    while (value >>= 1) {
        log++;
    }
    return log;
#endif
}

/* The top two bits of distance - 1, and how many follow. */
static uint32_t slot_of(uint32_t distance) {
    uint32_t value = distance - 1, log;
    if (value < 4) {
        return value;
    }
    log = log2_floor(value);
    return 2 * log + ((value >> (log - 1)) & 1);
}

static uint32_t extra_bits(uint32_t slot) {
    return slot < SLOT_SPECIAL ? 0 : slot / 2 - 1;
}

static uint32_t slot_tree(uint32_t length) {
    return length < 6 ? length - LENGTH_MIN : 3;
}

static void put_literal(encoder *e) {
    spc_range_encoder rc = e->rc;
    probability *tree = e->model.literal;
    uint32_t byte = e->input[e->pos];
    put_bit(&rc, &e->model.is_match[e->state], 0);
    if (e->state < LITERAL_STATES) {
        put_tree(&rc, tree, byte, 8);
    } else {
        /* Behind a match the byte at the last distance guides, until one of its bits differs. */
        uint32_t guide = e->input[e->pos - e->back[0]], guided = 256, node = 1;
        for (uint32_t i = 8; i-- > 0;) {
            uint32_t bit = (byte >> i) & 1;
            guide <<= 1;
            put_bit(&rc, &tree[guided + (guide & guided) + node], bit);
            guided &= ~(guide ^ (0u - bit));
            node = 2 * node + bit;
        }
    }
    e->rc = rc;
    e->state = state_after_literal(e->state);
    e->pos++;
}

static inline void put_length(spc_range_encoder *rc, length_model *m, uint32_t length) {
    uint32_t value = length - LENGTH_MIN;
    put_bit(rc, &m->choice[0], value >= 8);
    if (value < 8) {
        put_tree(rc, m->low, value, 3);
        return;
    }
    put_bit(rc, &m->choice[1], value >= 16);
    if (value < 16) {
        put_tree(rc, m->mid, value - 8, 3);
    } else {
        put_tree(rc, m->high, value - 16, 8);
    }
}

static void put_match(encoder *e, uint32_t length, uint32_t distance) {
    spc_range_encoder rc = e->rc;
    model *m = &e->model;
    uint32_t slot = slot_of(distance), bits = extra_bits(slot);
    uint32_t extra = (distance - 1) & ((1u << bits) - 1);
    put_bit(&rc, &m->is_match[e->state], 1);
    put_bit(&rc, &m->is_rep[e->state], 0);
    put_length(&rc, &m->match_length, length);
    put_tree(&rc, m->slot[slot_tree(length)], slot, 6);
    if (slot >= SLOT_DIRECT) {
        put_direct(&rc, extra >> 4, bits - 4);
        put_reverse(&rc, m->align, extra, 4);
    } else if (bits > 0) {
        put_reverse(&rc, m->special[slot - SLOT_SPECIAL], extra, bits);
    }
    e->rc = rc;
    memmove(e->back + 1, e->back, (REPEATS - 1) * sizeof e->back[0]);
    e->back[0] = distance;
    e->state = e->state < LITERAL_STATES ? 7 : 10;
    e->pos += length;
    e->prices.uses_left--;
}

/* A length of 1 exists for the latest distance only. */
static void put_repeat(encoder *e, uint32_t length, uint32_t which) {
    spc_range_encoder rc = e->rc;
    model *m = &e->model;
    uint32_t state = e->state, distance = e->back[which];
    put_bit(&rc, &m->is_match[state], 1);
    put_bit(&rc, &m->is_rep[state], 1);
    put_bit(&rc, &m->is_rep0[state], which > 0);
    if (which == 0) {
        put_bit(&rc, &m->is_rep0_long[state], length > 1);
    } else {
        put_bit(&rc, &m->is_rep1[state], which > 1);
        if (which > 1) {
            put_bit(&rc, &m->is_rep2[state], which > 2);
        }
        memmove(e->back + 1, e->back, which * sizeof e->back[0]);
        e->back[0] = distance;
    }
    e->state = state < LITERAL_STATES ? 9 : 11;
    if (length > 1) {
        put_length(&rc, &m->repeat_length, length);
        e->state = state < LITERAL_STATES ? 8 : 11;
        e->prices.uses_left--;
    }
    e->rc = rc;
    e->pos += length;
}

/* ------------------------------------------------------------------ prices */

#define PRICE_OF_DIRECT_BIT 16u

/* round(-16 log2((i + 1/2) / 128)): sixteenths of a bit, by probability / 16. */
static const uint8_t price_table[128] = {
    128, 103, 91, 83, 77, 73, 69, 65, 63, 60, 58, 56, 54, 52, 50, 49, 47, 46, 45, 43, 42, 41,
    40,  39,  38, 37, 36, 35, 35, 34, 33, 32, 32, 31, 30, 30, 29, 28, 28, 27, 27, 26, 25, 25,
    24,  24,  23, 23, 22, 22, 21, 21, 21, 20, 20, 19, 19, 18, 18, 18, 17, 17, 17, 16, 16, 15,
    15,  15,  14, 14, 14, 13, 13, 13, 12, 12, 12, 12, 11, 11, 11, 10, 10, 10, 10, 9,  9,  9,
    9,   8,   8,  8,  7,  7,  7,  7,  7,  6,  6,  6,  6,  5,  5,  5,  5,  4,  4,  4,  4,  4,
    3,   3,   3,  3,  3,  2,  2,  2,  2,  2,  1,  1,  1,  1,  1,  0,  0,  0,
};

static inline uint32_t price_of_bit(probability p, uint32_t bit) {
    return price_table[((p ^ (0u - bit)) & 2047) >> 4];
}

static uint32_t price_of_tree(const probability *tree, uint32_t value, uint32_t bits) {
    uint32_t price = 0;
    value |= 1u << bits;
    while (bits-- > 0) {
        price += price_of_bit(tree[value >> (bits + 1)], (value >> bits) & 1);
    }
    return price;
}

static void price_lengths(const length_model *m, uint16_t *prices) {
    uint32_t low = price_of_bit(m->choice[0], 0);
    uint32_t mid = price_of_bit(m->choice[0], 1) + price_of_bit(m->choice[1], 0);
    for (uint32_t i = 0; i < 8; i++) {
        prices[LENGTH_MIN + i] = (uint16_t)(low + price_of_tree(m->low, i, 3));
        prices[LENGTH_MIN + 8 + i] = (uint16_t)(mid + price_of_tree(m->mid, i, 3));
    }
}

/* Bits below the slot are taken for evenly distributed; here they nearly are. */
static void price_distances(const model *m, uint16_t prices[4][SLOTS]) {
    for (uint32_t tree = slot_tree(HASHED); tree < 4; tree++) {
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            prices[tree][slot] = (uint16_t)(price_of_tree(m->slot[tree], slot, 6) +
                                            PRICE_OF_DIRECT_BIT * extra_bits(slot));
        }
    }
}

/* Lengths and distances are few and their prices move slowly. */
#define USES_OF_PRICES 64

static void refresh_prices(encoder *e) {
    price_lengths(&e->model.match_length, e->prices.match_length);
    price_lengths(&e->model.repeat_length, e->prices.repeat_length);
    price_distances(&e->model, e->prices.distance);
    e->prices.uses_left = USES_OF_PRICES;
}

/* Each byte is priced once, when a match over it is first considered, and as if no match came
 * before it: neither fresher nor finer prices made payloads smaller. */
static uint32_t price_of_literals(encoder *e, uint32_t from, uint32_t to) {
    uint32_t *sum = e->literal_sum, flag = price_of_bit(e->model.is_match[0], 0);
    if (e->summed < from) {
        e->summed = from;
    }
    for (; e->summed < to; e->summed++) {
        sum[(e->summed + 1) % LITERAL_SUMS] =
            sum[e->summed % LITERAL_SUMS] + flag +
            price_of_tree(e->model.literal, e->input[e->summed], 8);
    }
    return sum[to % LITERAL_SUMS] - sum[from % LITERAL_SUMS];
}

/* ------------------------------------------------------------------ choice */

/* Bytes that match those `distance` before; the first `known` of them do. */
static inline uint32_t match_length(const uint8_t *at, uint32_t distance, uint32_t known,
                                    uint32_t most) {
    while (known < most && at[known] == at[(ptrdiff_t)known - (ptrdiff_t)distance]) {
        known++;
    }
    return known;
}

/* Byte by byte, so that the order of bytes in memory has no say in the hash. */
static inline uint32_t load_two(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static inline uint32_t load_three(const uint8_t *at) {
    return load_two(at) | (uint32_t)at[2] << 16;
}

/* Enters a position; gives the distance to the one it replaces, which need not match. */
static inline uint32_t enter(encoder *e, uint32_t pos, uint32_t bytes) {
    uint32_t hash = ((bytes << 8) * 0x9e3779b1u) >> (32 - SPC_LZMA_HASH_BITS);
    uint32_t distance = (pos - e->latest[hash]) & DISTANCE_MAX;
    e->latest[hash] = (uint16_t)pos;
    return distance;
}

#define AS_LITERAL 0u
#define AS_REPEAT 1u                   /* + 0 to 3 */
#define AS_MATCH (AS_REPEAT + REPEATS) /* + distance */

typedef struct choice {
    uint32_t symbol;
    uint32_t length;
    int32_t gain; /* against the same bytes as literals */
} choice;

static void put(encoder *e, const choice *c) {
    if (c->symbol == AS_LITERAL) {
        put_literal(e);
    } else if (c->symbol < AS_MATCH) {
        put_repeat(e, c->length, c->symbol - AS_REPEAT);
    } else {
        put_match(e, c->length, c->symbol - AS_MATCH);
    }
}

#define GAIN_ENOUGH 0x10000000

/* By how much less, in units of price, a match at the next position may gain and still win over
 * one here: it leaves later ones open. */
#define PATIENCE 16

/* `price` is without the length, `symbol` wins if it gains more than `best`. */
static inline void consider(encoder *e, choice *best, uint32_t pos, uint32_t symbol,
                            uint32_t length, uint32_t price, const uint16_t *length_prices) {
    int32_t gain = GAIN_ENOUGH + (int32_t)length;
    if (length < LENGTH_ENOUGH) {
        gain = (int32_t)price_of_literals(e, pos, pos + length) -
               (int32_t)(price + length_prices[length]);
    }
    if (gain > best->gain) {
        best->symbol = symbol;
        best->length = length;
        best->gain = gain;
    }
}

/* Without the length, but with the bit that says whether there is one. */
static uint32_t price_of_repeat(const model *m, uint32_t state, uint32_t which, uint32_t length) {
    uint32_t price = price_of_bit(m->is_match[state], 1) + price_of_bit(m->is_rep[state], 1) +
                     price_of_bit(m->is_rep0[state], which > 0);
    if (which == 0) {
        return price + price_of_bit(m->is_rep0_long[state], length > 1);
    }
    price += price_of_bit(m->is_rep1[state], which > 1);
    return which == 1 ? price : price + price_of_bit(m->is_rep2[state], which > 2);
}

/* The best symbol for `pos`, where the encoder would be in `state` with the same last distances. */
static choice choose(encoder *e, uint32_t pos, uint32_t state) {
    const model *m = &e->model;
    const uint8_t *at = e->input + pos;
    uint32_t left = e->len - pos, most = left < LENGTH_MAX ? left : LENGTH_MAX;
    uint32_t short_repeat = at[0] == *(at - e->back[0]);
    uint32_t repeats = 0, distance = 0;
    choice best = {AS_LITERAL, 1, 0};
    if (left >= HASHED) {
        uint32_t bytes = load_three(at);
        distance = enter(e, pos, bytes);
        if (load_three(at - distance) != bytes) {
            distance = 0;
        }
        for (uint32_t i = 0; i < REPEATS; i++) {
            repeats |= (uint32_t)(load_two(at - e->back[i]) == (bytes & 0xffff)) << i;
        }
    }
    /* One branch for all that is rare, and nothing is priced where there is nothing to choose. */
    if ((short_repeat | repeats | distance) == 0) {
        return best;
    }
    if (short_repeat) {
        consider(e, &best, pos, AS_REPEAT, 1, price_of_repeat(m, state, 0, 1),
                 e->prices.repeat_length);
    }
    for (uint32_t i = 0; repeats >> i; i++) {
        if ((repeats >> i) & 1) {
            uint32_t length = match_length(at, e->back[i], LENGTH_MIN, most);
            consider(e, &best, pos, AS_REPEAT + i, length, price_of_repeat(m, state, i, length),
                     e->prices.repeat_length);
        }
    }
    if (distance) {
        uint32_t length = match_length(at, distance, HASHED, most);
        uint32_t price = price_of_bit(m->is_match[state], 1) + price_of_bit(m->is_rep[state], 0) +
                         e->prices.distance[slot_tree(length)][slot_of(distance)];
        consider(e, &best, pos, AS_MATCH + distance, length, price, e->prices.match_length);
    }
    return best;
}

static void encode_all(encoder *e) {
    put_literal(e); /* the first byte, which the hash table knows already: as position 0 */
    while (e->pos < e->len && !e->rc.full) {
        choice now;
        uint32_t start;
        if (e->prices.uses_left == 0) {
            refresh_prices(e);
        }
        now = choose(e, e->pos, e->state);
        while (now.length > 1 && now.length < LENGTH_ENOUGH && e->pos + 1 < e->len) {
            choice next = choose(e, e->pos + 1, state_after_literal(e->state));
            if (next.gain + PATIENCE <= now.gain) {
                break;
            }
            put_literal(e);
            now = next;
        }
        start = e->pos;
        put(e, &now);
        for (uint32_t pos = start + 1; pos < e->pos && pos + HASHED <= e->len; pos++) {
            (void)enter(e, pos, load_three(e->input + pos));
        }
    }
}

size_t spc_lzma_encoder_work_size(size_t input_len) {
    (void)input_len;
    return sizeof(encoder) + _Alignof(encoder) - 1;
}

size_t spc_lzma_encode(const uint8_t *input, size_t input_len, uint8_t *output, size_t output_cap,
                       void *work, size_t work_len) {
    uintptr_t misaligned = (uintptr_t)work % _Alignof(encoder);
    const uint8_t *end;
    encoder *e;
    if (output_cap < 1 || input_len > INT32_MAX ||
        work_len < spc_lzma_encoder_work_size(input_len)) {
        return 0;
    }
    e = (encoder *)(void *)((uint8_t *)work + (misaligned ? _Alignof(encoder) - misaligned : 0));
    memset(e, 0, sizeof *e);
    for (size_t i = 0; i < sizeof(model) / sizeof(probability); i++) {
        ((probability *)&e->model)[i] = 1024;
    }
    for (uint32_t i = 0; i < REPEATS; i++) {
        e->back[i] = 1;
    }
    output[0] = SPC_LZMA_FIRST_BYTE;
    if (!spc_range_encoder_start(&e->rc, output + 1, output_cap - 1)) {
        return 0;
    }
    e->input = input;
    e->len = (uint32_t)input_len;
    if (input_len > 0) {
        encode_all(e);
    }
    end = spc_range_finish(&e->rc);
    return end ? (size_t)(end - output) : 0;
}
