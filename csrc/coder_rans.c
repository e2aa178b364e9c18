/*
 * Coder 3: groups of neighbouring indices by the static frequencies of a model, with interleaved
 * range asymmetric numeral systems (rANS).  docs/format.md, section 4.4.
 *
 * The encoder goes through the feature from its end and writes from the front; the decoder goes
 * the other way on both.  So nothing has to be moved, and each knows where its bytes end.
 */
#include <string.h>

#include "bytes.h"
#include "coder.h"

#define TOTAL_BITS 12 /* frequencies of a channel add up to 2^12 */
#define TOTAL (1u << TOTAL_BITS)
#define LEAST (1u << 16) /* state */
#define WIDTH_MOST 4     /* LEAST >> TOTAL_BITS must leave room for as many plain bits */
#define CLASSES_MOST 64
#define CLASSES_WIDE 32 /* of indices of more than four bits */
#define LANES_MOST 4
#define LANES_FROM 1024 /* groups of a feature; with fewer the states weigh too much */
/* Groups that are joined or split at a time; a multiple of LANES_MOST. */
#define CHUNK 128

/* Twice as fast for some kilobytes of code.  The bytes are the same. */
#if defined(__OPTIMIZE_SIZE__)
#define SPEED 0
#else
#define SPEED 1
#endif

#if defined(__GNUC__) && SPEED
#define INLINE __attribute__((always_inline)) static inline
#else
#define INLINE static inline
#endif

/* ------------------------------------------------------------------ groups, classes, lanes */

typedef struct rans_layout {
    uint32_t bits;
    uint32_t group;      /* indices that are coded as one value */
    uint32_t classes;    /* of values, in the model */
    size_t plane;        /* indices of a channel */
    size_t groups;       /* of a channel, the last one perhaps short */
    unsigned lanes;      /* states */
    int wide;            /* a class may have more than one value */
    const uint8_t *body; /* of the model */
} rans_layout;

static uint32_t group_of(uint32_t bits) {
    return bits == 1 ? 4 : bits < 4 ? 2 : 1;
}

static uint32_t classes_of(uint32_t bits) {
    return bits > 4 ? CLASSES_WIDE : 1u << bits * group_of(bits);
}

static rans_layout rans_layout_of(const spc_planes *planes) {
    rans_layout of;
    of.bits = spc_planes_bits(planes);
    of.group = group_of(spc_planes_bits(planes));
    of.classes = classes_of(spc_planes_bits(planes));
    of.plane = planes->n / planes->channels;
    of.groups = (of.plane + of.group - 1) / of.group;
    of.wide = spc_planes_bits(planes) > 5;
    of.body = planes->model->bytes + SPC_MODEL_HEADER;
    of.lanes = of.groups < LANES_MOST || of.groups * planes->channels < LANES_FROM ? 1 : LANES_MOST;
    return of;
}

static uint32_t load_le16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static void store_le16(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

/* A class in the model: its frequency, and how many bits tell which of its values it is. */
static uint32_t frequency_of(uint32_t packed) {
    return packed & (TOTAL - 1);
}

static uint32_t class_width(uint32_t packed) {
    return packed >> TOTAL_BITS;
}

int spc_rans_model_valid(const uint8_t *body, size_t len, uint32_t bits, uint32_t channels) {
    const uint32_t classes = classes_of(bits), values = 1u << bits * group_of(bits);
    if (len != (size_t)channels * classes * 2) {
        return 0;
    }
    for (uint32_t c = 0; c < channels; c++) {
        uint32_t total = 0, covered = 0;
        for (uint32_t i = 0; i < classes; i++, body += 2) {
            const uint32_t packed = load_le16(body);
            if (frequency_of(packed) == 0 || class_width(packed) > WIDTH_MOST) {
                return 0;
            }
            total += frequency_of(packed);
            covered += 1u << class_width(packed);
        }
        if (total != TOTAL || covered != values) {
            return 0;
        }
    }
    return 1;
}

/* The values of whole groups, the first index lowest. */
static void join(const uint8_t *indices, size_t count, uint32_t bits, uint8_t *values) {
    if (bits == 1) {
        for (size_t i = 0; i < count; i++) {
            const uint32_t four = spc_load_le32(indices + 4 * i);
            values[i] = (four | four >> 7 | four >> 14 | four >> 21) & 15;
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            values[i] = (uint8_t)(indices[2 * i] | indices[2 * i + 1] << bits);
        }
    }
}

static void split_groups(const uint8_t *values, size_t count, uint32_t bits, uint8_t *indices) {
    if (bits == 1) {
        for (size_t i = 0; i < count; i++) {
            const uint32_t four = values[i];
            spc_store_le32(indices + 4 * i,
                           (four | four << 7 | four << 14 | four << 21) & 0x01010101);
        }
    } else {
        const uint32_t mask = bits == 2 ? 0x0303 : 0x0707;
        for (size_t i = 0; i < count; i++) {
            store_le16(indices + 2 * i, (values[i] | (uint32_t)values[i] << (8 - bits)) & mask);
        }
    }
}

/* Groups `from` .. `from + count - 1` of a channel, in `room` or where they are. */
static const uint8_t *grouped(const rans_layout *of, const uint8_t *plane, size_t from,
                              size_t count, uint8_t *room) {
    const size_t most = of->plane / of->group - from, whole = most < count ? most : count;
    if (of->group == 1) {
        return plane + from;
    }
    join(plane + from * of->group, whole, of->bits, room);
    if (whole < count) {
        uint8_t last[4] = {0};
        memcpy(last, plane + (from + whole) * of->group, of->plane % of->group);
        join(last, 1, of->bits, room + whole);
    }
    return room;
}

/* The reverse.  Returns whether a short group has other values than 0 behind its end. */
static int ungrouped(const rans_layout *of, uint8_t *plane, size_t from, size_t count,
                     const uint8_t *values) {
    const size_t most = of->plane / of->group - from, whole = most < count ? most : count;
    const size_t tail = of->plane % of->group;
    uint8_t last[4];
    if (of->group == 1) {
        return 0;
    }
    split_groups(values, whole, of->bits, plane + from * of->group);
    if (whole == count) {
        return 0;
    }
    split_groups(values + whole, 1, of->bits, last);
    memcpy(plane + (from + whole) * of->group, last, tail);
    return values[whole] >> tail * of->bits != 0;
}

/* `work` may begin anywhere. */
static void *aligned(void *work) {
    return (uint8_t *)work + (-(uintptr_t)work & 7);
}

/* ------------------------------------------------------------------ encoding */

typedef struct encoded_class {
    uint64_t reciprocal;
    uint16_t frequency, others; /* that one, and TOTAL less it */
    uint16_t start;
    uint8_t width, first;
} encoded_class;

typedef struct rans_encoder {
    encoded_class classes[CLASSES_MOST];
    uint8_t class_of[256]; /* by value; unused where a class is one value */
    uint8_t chunk[CHUNK];
    uint32_t states[LANES_MOST];
    uint8_t *at, *end; /* of the payload so far, and of the room */
} rans_encoder;

static size_t rans_encode_work_size(const spc_planes *planes) {
    (void)planes;
    return sizeof(rans_encoder) + 7;
}

/* floor(2^44 / frequency) + 1. */
static uint64_t reciprocal(uint32_t frequency) {
#if SPEED
    /* Never so near an integer below that rounding would reach it, and faster than what follows. */
    return (uint64_t)(int64_t)(0x1p44 / (double)frequency) + 1;
#else
    const uint32_t upper = (1u << 24) / frequency, rest = (1u << 24) % frequency;
    return ((uint64_t)upper << 20) + (rest << 20) / frequency + 1;
#endif
}

static void prepare_encoder(rans_encoder *e, const uint8_t *body, uint32_t classes) {
    uint32_t start = 0, first = 0;
    for (uint32_t i = 0; i < classes; i++) {
        const uint32_t packed = load_le16(body + 2 * i), frequency = frequency_of(packed);
        encoded_class *to = e->classes + i;
        to->reciprocal = reciprocal(frequency);
        to->frequency = (uint16_t)frequency;
        to->others = (uint16_t)(TOTAL - frequency);
        to->start = (uint16_t)start;
        to->width = (uint8_t)class_width(packed);
        to->first = (uint8_t)first;
        start += frequency;
        if (classes == CLASSES_WIDE) {
            memset(e->class_of + first, (int)i, (size_t)1 << to->width);
        }
        first += 1u << to->width;
    }
}

/*
 * One value into one state.  Two bytes at `to` may be written in any case, because it cannot be
 * predicted whether they are kept; returns how many are.
 *
 * The quotient is exact: what is divided is below frequency * 2^20, so the error of the reciprocal
 * adds less than 1 / frequency.
 */
INLINE uint32_t push(const rans_encoder *e, uint32_t *state, uint32_t value, int wide,
                     uint8_t *to) {
    const encoded_class *of = e->classes + (wide ? e->class_of[value] : value);
    const uint32_t width = wide ? of->width : 0;
    const uint32_t upper = *state >> 16, full = *state >> (20 - width) >= of->frequency;
    uint32_t x = *state;
    store_le16(to, x);
    x = full ? upper : x;
    if (wide) {
        x = (x << width) + value - of->first;
    }
    *state = x + of->start + (uint32_t)(x * of->reciprocal >> 44) * of->others;
    return 2 * full;
}

#if SPEED
/* As many values, from the end, as the room suffices for in any case; returns how many are left. */
INLINE size_t push_lanes(rans_encoder *e, const uint8_t *values, size_t count, int wide) {
    uint32_t a = e->states[0], b = e->states[1], c = e->states[2], d = e->states[3];
    uint8_t *to = e->at;
    for (; count > 0 && e->end - to >= 2 * LANES_MOST; count -= LANES_MOST) {
        to += push(e, &d, values[count - 1], wide, to);
        to += push(e, &c, values[count - 2], wide, to);
        to += push(e, &b, values[count - 3], wide, to);
        to += push(e, &a, values[count - 4], wide, to);
    }
    e->states[0] = a, e->states[1] = b, e->states[2] = c, e->states[3] = d;
    e->at = to;
    return count;
}

/* By name, or compilers make one function of the two again. */
static size_t push_plain(rans_encoder *e, const uint8_t *values, size_t count) {
    return push_lanes(e, values, count, 0);
}

static size_t push_wide(rans_encoder *e, const uint8_t *values, size_t count) {
    return push_lanes(e, values, count, 1);
}
#endif

/* The values from the last to the first.  Returns 0 if the room does not suffice. */
static int push_all(rans_encoder *e, const uint8_t *values, size_t count, unsigned lanes,
                    int wide) {
    while (count > 0) {
        uint8_t two[2];
        uint32_t kept;
#if SPEED
        if (lanes == LANES_MOST && count % LANES_MOST == 0) {
            count = wide ? push_wide(e, values, count) : push_plain(e, values, count);
            if (count == 0) {
                break;
            }
        }
#endif
        count--;
        kept = push(e, e->states + (count & (lanes - 1)), values[count], wide, two);
        if (kept > (size_t)(e->end - e->at)) {
            return 0;
        }
        memcpy(e->at, two, kept);
        e->at += kept;
    }
    return 1;
}

static size_t encode_rans(const spc_planes *planes, const uint8_t *indices, uint8_t *payload,
                          size_t cap, void *work, size_t work_len) {
    const rans_layout of = rans_layout_of(planes);
    rans_encoder *e = aligned(work);
    (void)work_len;
    if (cap < 4 * of.lanes) {
        return 0;
    }
    e->at = payload + 4 * of.lanes;
    e->end = payload + cap;
    for (unsigned lane = 0; lane < of.lanes; lane++) {
        e->states[lane] = LEAST;
    }
    for (uint32_t c = planes->channels; c-- > 0;) {
        const uint8_t *plane = indices + c * of.plane;
        size_t count = (of.groups - 1) % CHUNK + 1;
        prepare_encoder(e, of.body + (size_t)c * of.classes * 2, of.classes);
        for (size_t left = of.groups; left > 0; left -= count, count = CHUNK) {
            const uint8_t *values = grouped(&of, plane, left - count, count, e->chunk);
            if (!push_all(e, values, count, of.lanes, of.wide)) {
                return 0;
            }
        }
    }
    for (unsigned lane = 0; lane < of.lanes; lane++) {
        spc_store_le32(payload + 4 * lane, e->states[lane]);
    }
    return (size_t)(e->at - payload);
}

/* ------------------------------------------------------------------ decoding */

/*
 * The slots 0 .. TOTAL-1 are shared out among the classes.  `guess` has the class of every 16th
 * slot, which is seldom not that of the following 15.
 */
#if SPEED
#define GUESS_SHIFT 4
#else
#define GUESS_SHIFT 6
#endif

typedef struct rans_decoder {
    uint32_t classes[CLASSES_MOST];       /* frequency, first slot from bit 12, number from 24 */
    uint32_t guess[TOTAL >> GUESS_SHIFT]; /* the same */
    uint8_t first[CLASSES_MOST], width[CLASSES_MOST]; /* of the values */
    uint8_t chunk[CHUNK];
    uint32_t states[LANES_MOST];
    const uint8_t *at, *begin; /* what is left of the payload, used up from its end */
} rans_decoder;

static size_t rans_decode_work_size(const spc_planes *planes) {
    (void)planes;
    return sizeof(rans_decoder) + 7;
}

static void prepare_decoder(rans_decoder *d, const uint8_t *body, uint32_t classes) {
    uint32_t start = 0, first = 0, slot = 0;
    for (uint32_t i = 0; i < classes; i++) {
        const uint32_t packed = load_le16(body + 2 * i), frequency = frequency_of(packed);
        const uint32_t class = frequency | start << 12 | i << 24;
        d->classes[i] = class;
        d->first[i] = (uint8_t)first;
        d->width[i] = (uint8_t)class_width(packed);
        first += 1u << d->width[i];
        start += frequency;
        for (; slot << GUESS_SHIFT < start; slot++) {
            d->guess[slot] = class;
        }
    }
}

/* One value out of one state, which may be below LEAST then. */
INLINE uint32_t pop(const rans_decoder *d, uint32_t *state, int wide) {
    const uint32_t slot = *state & (TOTAL - 1);
    uint32_t class = d->guess[slot >> GUESS_SHIFT], x, value;
    while (slot - (class >> 12 & (TOTAL - 1)) >= (class & (TOTAL - 1))) {
        class = d->classes[(class >> 24) + 1];
    }
    value = class >> 24;
    x = (class & (TOTAL - 1)) * (*state >> TOTAL_BITS) + slot - (class >> 12 & (TOTAL - 1));
    if (wide) {
        const uint32_t width = d->width[value];
        value = d->first[value] + (x & ((1u << width) - 1));
        x >>= width;
    }
    *state = x;
    return value;
}

#if SPEED
/* Two more bytes if they are due: without a branch, as that cannot be predicted. */
INLINE uint32_t refill(uint32_t *state, const uint8_t *at) {
    const uint32_t low = *state < LEAST, more = *state << 16 | load_le16(at - 2);
    *state ^= (*state ^ more) & (0 - low);
    return 2 * low;
}

/* As many values as the payload suffices for in any case; returns how many. */
INLINE size_t pop_lanes(rans_decoder *from, uint8_t *values, size_t count, int wide) {
    uint32_t a = from->states[0], b = from->states[1], c = from->states[2], d = from->states[3];
    const uint8_t *at = from->at;
    size_t done = 0;
    for (; count - done >= LANES_MOST && at - from->begin >= 2 * LANES_MOST; done += LANES_MOST) {
        values[done] = (uint8_t)pop(from, &a, wide);
        at -= refill(&a, at);
        values[done + 1] = (uint8_t)pop(from, &b, wide);
        at -= refill(&b, at);
        values[done + 2] = (uint8_t)pop(from, &c, wide);
        at -= refill(&c, at);
        values[done + 3] = (uint8_t)pop(from, &d, wide);
        at -= refill(&d, at);
    }
    from->states[0] = a, from->states[1] = b, from->states[2] = c, from->states[3] = d;
    from->at = at;
    return done;
}

static size_t pop_plain(rans_decoder *d, uint8_t *values, size_t count) {
    return pop_lanes(d, values, count, 0);
}

static size_t pop_wide(rans_decoder *d, uint8_t *values, size_t count) {
    return pop_lanes(d, values, count, 1);
}
#endif

/* Returns 0 if the payload does not suffice. */
static int pop_all(rans_decoder *d, uint8_t *values, size_t count, unsigned lanes, int wide) {
    size_t done = 0;
#if SPEED
    if (lanes == LANES_MOST) {
        done = wide ? pop_wide(d, values, count) : pop_plain(d, values, count);
    }
#endif
    for (; done < count; done++) {
        uint32_t *state = d->states + (done & (lanes - 1));
        values[done] = (uint8_t)pop(d, state, wide);
        if (*state < LEAST) {
            if (d->at == d->begin) {
                return 0;
            }
            d->at -= 2;
            *state = *state << 16 | load_le16(d->at);
        }
    }
    return 1;
}

static spc_status decode_rans(const spc_planes *planes, const uint8_t *payload, size_t payload_len,
                              uint8_t *indices, void *work, size_t work_len) {
    const rans_layout of = rans_layout_of(planes);
    rans_decoder *d = aligned(work);
    uint32_t wrong = 0;
    (void)work_len;
    if (payload_len < 4 * of.lanes || payload_len % 2 != 0 ||
        payload_len >= spc_packed_size(planes->n, spc_planes_bits(planes))) {
        return SPC_ERROR_CORRUPT;
    }
    d->begin = payload + 4 * of.lanes;
    d->at = payload + payload_len;
    for (unsigned lane = 0; lane < of.lanes; lane++) {
        d->states[lane] = spc_load_le32(payload + 4 * lane);
        wrong |= d->states[lane] < LEAST;
    }
    for (uint32_t c = 0; c < planes->channels && !wrong; c++) {
        uint8_t *plane = indices + c * of.plane;
        prepare_decoder(d, of.body + (size_t)c * of.classes * 2, of.classes);
        for (size_t from = 0, count; from < of.groups; from += count) {
            uint8_t *values = of.group > 1 ? d->chunk : plane + from;
            count = of.groups - from < CHUNK ? of.groups - from : CHUNK;
            if (!pop_all(d, values, count, of.lanes, of.wide)) {
                return SPC_ERROR_CORRUPT;
            }
            wrong |= (uint32_t)ungrouped(&of, plane, from, count, values);
        }
    }
    for (unsigned lane = 0; lane < of.lanes; lane++) {
        wrong |= d->states[lane] != LEAST;
    }
    return wrong || d->at != d->begin ? SPC_ERROR_CORRUPT : SPC_OK;
}

const spc_coder_ops spc_coder_rans_ops = {
    .planar = 1,
    .needs_model = 1,
    .work_size = rans_encode_work_size,
    .encode = encode_rans,
};

const spc_decoder_ops spc_decoder_rans_ops = {
    .work_size = rans_decode_work_size,
    .decode = decode_rans,
};
