/*
 * Coder 2: adaptive binary decisions in contexts of neighbours that are coded already.
 *
 * A context is the answers to up to eight questions "is that neighbour at least t?"; each has a
 * binary tree of counters, one for each bit of an index and the bits above it.  Without a model the
 * questions are fixed and the counters start even and go from channel to channel; with one every
 * channel has its own questions and starts from its own tables.
 *
 * Indices are taken in pieces, which bounds the work.  An encoder's pieces run over several rows, a
 * decoder's stay within one: it asks about what is in the row itself index by index.
 */
#include <string.h>

#include "bytes.h"
#include "coder.h"
#include "range_coder.h"

#define PIECE 96
#define LONG_PIECE 256 /* takes fewer steps, where counters leave room for it in 2 kB */
#define MOST_QUESTIONS 8
#define MOST_CONTEXT_BITS 10 /* of questions and an index: counters then need 2 kB at most */
#define EVEN (1u << (SPC_PROBABILITY_BITS - 1))

/* ------------------------------------------------------------------ questions */

/* As in a model's bytes: channels back, rows and columns on (signed), the least that means yes. */
enum { BACK, DOWN, RIGHT, LEAST, QUESTION_SIZE };

/* Without a model: how many questions about the symbol above and as many about the one to the left,
 * and the least of each; chosen by measuring, docs/format.md has them in words. */
#define PLAIN_PAIRS 3
static const uint8_t plain[8][1 + PLAIN_PAIRS] = {
    {1, 1}, {2, 1, 2}, {3, 1, 2, 4}, {3, 1, 3, 8}, {2, 6, 14}, {1, 12}, {1, 24}, {1, 48},
};

/* In the row itself: what a decoder has to ask index by index. */
static inline int in_row(const uint8_t *question) {
    return question[BACK] == 0 && question[DOWN] == 0;
}

/* A piece of a channel.  Everything fits: a feature has less than 2^29 elements. */
typedef struct piece {
    const uint8_t *plane; /* of the channel */
    int32_t rows, columns, n;
    int32_t start, count, column;
    int32_t known; /* indices of the channel that may be read */
} piece;

/* The columns whose neighbour would be outside: it was taken from the row beside. */
static void answer_no(const piece *at, int32_t right, uint32_t weight, uint8_t *contexts) {
    const int32_t width = right < 0 ? -right : right;
    for (int32_t edge = (right < 0 ? 0 : at->columns - right) - at->column; edge < at->count;
         edge += at->columns) {
        for (int32_t i = edge < 0 ? 0 : edge; i < edge + width && i < at->count; i++) {
            contexts[i] &= (uint8_t)~weight;
        }
    }
}

#if SPC_HOSTED

static inline void ask(const uint8_t *restrict neighbours, int32_t count, uint32_t bits,
                       uint32_t least, uint32_t weight, uint8_t *restrict contexts) {
    const uint8_t from = (uint8_t)least, yes = (uint8_t)weight;
    (void)bits;
    for (int32_t i = 0; i < count; i++) {
        contexts[i] |= neighbours[i] >= from ? yes : 0;
    }
}

#else

/* Four at once, in the bytes of a word: the upper bit of each says whether it reaches `least`. */
static inline void ask_four(const uint8_t *neighbours, uint32_t missing, uint32_t shift,
                            uint8_t *contexts) {
    const uint32_t yes = (spc_load_word(neighbours) + missing) & 0x80808080u;
    spc_store_word(contexts, spc_load_word(contexts) | yes >> shift);
}

static void ask(const uint8_t *neighbours, int32_t count, uint32_t bits, uint32_t least,
                uint32_t weight, uint8_t *contexts) {
    const uint32_t missing = (0x80 - least) * 0x01010101u;
    uint32_t shift = 8;
    for (uint32_t left = weight; left > 0; left >>= 1) {
        shift--;
    }
    for (; bits < 8 && count >= 8; count -= 8, neighbours += 8, contexts += 8) {
        ask_four(neighbours, missing, shift, contexts);
        ask_four(neighbours + 4, missing, shift, contexts + 4);
    }
    for (; count > 0; count--, neighbours++, contexts++) {
        *contexts |= *neighbours >= least ? (uint8_t)weight : 0;
    }
}

#endif

/* Add `weight` to the contexts where the answer is yes. */
static void answer(const piece *at, uint32_t bits, const uint8_t *question, uint32_t weight,
                   uint8_t *contexts) {
    const int32_t down = (int8_t)question[DOWN], right = (int8_t)question[RIGHT];
    int32_t from = at->start, to = at->start + at->count, offset, readable;
    if (down >= at->rows || -down >= at->rows || right >= at->columns || -right >= at->columns) {
        return;
    }
    offset = down * at->columns + right;
    readable = question[BACK] == 0 ? at->known : at->n;
    if (from < -down * at->columns) {
        from = -down * at->columns;
    }
    if (from < -offset) {
        from = -offset;
    }
    if (to > at->n - down * at->columns) {
        to = at->n - down * at->columns;
    }
    if (to > readable - offset) {
        to = readable - offset;
    }
    if (from < to) {
        const uint8_t *neighbours =
            at->plane - (size_t)question[BACK] * (size_t)at->n + (from + offset);
        uint8_t *asked = contexts + (from - at->start);
        ask(neighbours, to - from, bits, question[LEAST], weight, asked);
        if (right != 0) {
            answer_no(at, right, weight, contexts);
        }
    }
}

/* ------------------------------------------------------------------ counters */

/* What is coded, and how far. */
typedef struct state {
    const spc_planes *planes;
    const uint8_t *next; /* of the model's body, or NULL */
    const uint8_t *questions;
    uint32_t question_count;
    uint32_t least, shift; /* counters go to least and 32768 - least, by 1 / 2^shift each time */
    uint16_t *counters;
    uint8_t *contexts;
    int32_t piece; /* contexts that there is room for */
    piece at;
    size_t done; /* in all channels */
    uint8_t plain[2 * PLAIN_PAIRS][QUESTION_SIZE];
} state;

/* 32768 / (1 + e^(-(i + 1/2) / 16)) */
static const uint16_t logistic[128] = {
    16640, 17151, 17661, 18169, 18673, 19173, 19667, 20155, 20636, 21110, 21575, 22031, 22477,
    22913, 23338, 23753, 24155, 24546, 24925, 25292, 25646, 25988, 26318, 26636, 26941, 27235,
    27516, 27786, 28045, 28292, 28528, 28753, 28968, 29173, 29368, 29554, 29731, 29899, 30058,
    30210, 30353, 30489, 30618, 30740, 30856, 30966, 31069, 31167, 31260, 31347, 31430, 31508,
    31581, 31651, 31716, 31778, 31836, 31891, 31943, 31992, 32038, 32081, 32122, 32160, 32196,
    32231, 32263, 32293, 32321, 32348, 32373, 32397, 32419, 32440, 32460, 32478, 32496, 32512,
    32527, 32542, 32555, 32568, 32580, 32592, 32602, 32612, 32622, 32630, 32639, 32647, 32654,
    32661, 32667, 32673, 32679, 32684, 32689, 32694, 32699, 32703, 32707, 32711, 32714, 32717,
    32720, 32723, 32726, 32728, 32731, 32733, 32735, 32737, 32739, 32741, 32742, 32744, 32745,
    32747, 32748, 32749, 32750, 32752, 32753, 32753, 32754, 32755, 32756, 32757,
};

static uint32_t probability_of(uint32_t byte) {
    return byte >= 128 ? logistic[byte - 128] : 2 * EVEN - logistic[127 - byte];
}

static size_t counter_count(uint32_t questions, uint32_t bits) {
    return (((size_t)1 << bits) - 1) << questions;
}

/* Of this coder's model, or NULL: as a rival it is shown another's. */
static const uint8_t *body_of(const spc_planes *planes) {
    const spc_model *model = planes->model;
    return model && model->coder == SPC_CODER_RANGE ? model->bytes + SPC_MODEL_HEADER : NULL;
}

static size_t most_counters(const spc_planes *planes) {
    const uint8_t *next = body_of(planes);
    uint32_t most = 2u * plain[spc_planes_bits(planes) - 1][0];
    if (next) {
        next++;
        most = 0;
        for (uint32_t i = 0; i < planes->channels; i++) {
            const uint32_t questions = *next;
            most = questions > most ? questions : most;
            next +=
                1 + questions * QUESTION_SIZE + counter_count(questions, spc_planes_bits(planes));
        }
    }
    return counter_count(most, spc_planes_bits(planes));
}

static size_t piece_size(size_t counters) {
    return counters * sizeof(uint16_t) + LONG_PIECE <= 2048 ? LONG_PIECE : PIECE;
}

static size_t range_work_size(const spc_planes *planes) {
    const size_t counters = most_counters(planes);
    /* one byte to align counters */
    return 1 + counters * sizeof(uint16_t) + piece_size(counters);
}

static void start_range(state *coding, const spc_planes *planes, void *work) {
    const uintptr_t odd = (uintptr_t)work & 1;
    const size_t counters = most_counters(planes);
    memset(coding, 0, sizeof *coding);
    coding->piece = (int32_t)piece_size(counters);
    coding->planes = planes;
    coding->counters = (uint16_t *)(void *)((uint8_t *)work + odd);
    coding->contexts = (uint8_t *)(coding->counters + counters);
    coding->at.rows = (int32_t)planes->rows;
    coding->at.columns = (int32_t)planes->columns;
    coding->at.n = (int32_t)(planes->rows * planes->columns);
    coding->next = body_of(planes);
    if (coding->next) {
        coding->shift = *coding->next++;
        coding->least = 64;
    } else {
        const uint8_t *leasts = plain[spc_planes_bits(planes) - 1];
        uint8_t(*next)[QUESTION_SIZE] = coding->plain;
        for (uint32_t i = *leasts; i > 0; i--, next += 2) {
            next[0][LEAST] = next[1][LEAST] = *++leasts;
            next[0][DOWN] = next[1][RIGHT] = 0xff; /* -1 */
        }
        coding->question_count = (uint32_t)(next - coding->plain);
        coding->questions = coding->plain[0];
        coding->least = 192;
        for (size_t i = 0; i < counters; i++) {
            coding->counters[i] = EVEN;
        }
    }
}

static void start_channel(state *coding, const uint8_t *plane) {
    coding->at.plane = plane;
    coding->at.start = coding->at.column = 0;
    if (coding->next) {
        size_t count;
        coding->question_count = *coding->next++;
        coding->questions = coding->next;
        coding->next += coding->question_count * QUESTION_SIZE;
        count = counter_count(coding->question_count, spc_planes_bits(coding->planes));
        for (size_t i = 0; i < count; i++) {
            coding->counters[i] = (uint16_t)probability_of(*coding->next++);
        }
    }
}

/* Without a model: learn fast at first.  A piece ends where that changes. */
static void start_piece(state *coding, int32_t most) {
    if (!coding->next) {
        const size_t until = coding->done < 256 ? 256 : 2048;
        coding->shift = coding->done < 256 ? 3 : coding->done < 2048 ? 4 : 5;
        if (coding->done < until && (size_t)most > until - coding->done) {
            most = (int32_t)(until - coding->done);
        }
    }
    coding->at.count = most < coding->piece ? most : coding->piece;
    memset(coding->contexts, 0, (size_t)coding->at.count);
}

static void end_piece(state *coding) {
    coding->at.start += coding->at.count;
    coding->at.column += coding->at.count;
    while (coding->at.column >= coding->at.columns) { /* some machines cannot divide */
        coding->at.column -= coding->at.columns;
    }
    coding->done += (size_t)coding->at.count;
}

/* A step towards a 0 (bit is 0) or a 1; a negative one rounds down, as if shifted with its sign. */
static inline uint16_t adapted(uint32_t counter, uint32_t bit, uint32_t least, uint32_t shift) {
    const uint32_t target = least + ((2 * EVEN - 2 * least) & (bit - 1));
    return (uint16_t)(counter + ((target + 0x10000 - counter) >> shift) - (0x10000u >> shift));
}

/* ------------------------------------------------------------------ encoder */

#if SPC_HOSTED

static inline void put_piece(const state *coding, spc_range_encoder *rc, uint32_t bits) {
    const uint8_t *indices = coding->at.plane + coding->at.start;
    const uint8_t *contexts = coding->contexts;
    const uint32_t least = coding->least, shift = coding->shift;
    const int32_t count = coding->at.count;
    uint16_t *const counters = coding->counters;
    spc_range_encoder local =
        *rc; /* bytes written cannot be part of it, so it stays in registers */
    for (int32_t i = 0; i < count; i++) {
        const uint32_t index = indices[i], context = contexts[i];
        uint16_t *const tree = counters + ((context << bits) - context) - 1;
        uint32_t node = 1;
        for (uint32_t k = bits; k-- > 0;) {
            const uint32_t bit = index >> k & 1, zero = tree[node];
            tree[node] = adapted(zero, bit, least, shift);
            spc_range_put_bit(&local, zero, bit);
            node = 2 * node + bit;
        }
    }
    *rc = local;
}

#else

/* By branches on the bits, which costs less here, and with few variables. */
static inline __attribute__((always_inline)) void
put_by_branches(const state *coding, spc_range_encoder *rc, uint32_t bits) {
    const uint8_t *context_at = coding->contexts, *const end = context_at + coding->at.count;
    const uint8_t *index_at = coding->at.plane + coding->at.start;
    const int32_t least = (int32_t)coding->least, most = (int32_t)(2 * EVEN) - least;
    const uint32_t shift = coding->shift, nodes = (1u << bits) - 1;
    uint16_t *const counters = coding->counters;
    uint32_t low = rc->low, range = rc->range;
    while (context_at < end) {
        uint16_t *const tree = counters + nodes * *context_at++;
        uint32_t index = (uint32_t)*index_at++ << (32 - bits), node = 0;
        do {
            uint16_t *const counter = &tree[node];
            int32_t zero = *counter;
            const uint32_t bound = (range >> SPC_PROBABILITY_BITS) * (uint32_t)zero;
            node = 2 * node + 1;
            if (index >> 31) {
                range -= bound;
                low += bound;
                if (low < bound) {
                    spc_range_carry(rc);
                }
                zero += (least - zero) >> shift;
                node++;
            } else {
                range = bound;
                zero += (most - zero) >> shift;
            }
            *counter = (uint16_t)zero;
            index <<= 1;
            while (range < 1u << 24) {
                rc->low = low;
                spc_range_shift(rc);
                low = rc->low;
                range <<= 8;
            }
        } while (node < nodes);
    }
    rc->low = low;
    rc->range = range;
}

static __attribute__((noinline)) void put_piece_of_1(const state *coding, spc_range_encoder *rc) {
    put_by_branches(coding, rc, 1);
}

static __attribute__((noinline)) void put_piece(const state *coding, spc_range_encoder *rc,
                                                uint32_t bits) {
    if (bits == 1) {
        put_piece_of_1(coding, rc);
    } else {
        put_by_branches(coding, rc, bits);
    }
}

#endif

static size_t encode_range(const spc_planes *planes, const uint8_t *indices, uint8_t *payload,
                           size_t cap, void *work, size_t work_len) {
    spc_range_encoder rc;
    state coding;
    (void)work_len;
    if (!spc_range_encoder_start_short(&rc, payload, cap)) {
        return 0;
    }
    start_range(&coding, planes, work);
    coding.at.known = coding.at.n;
    for (uint32_t channel = 0; channel < planes->channels; channel++) {
        start_channel(&coding, indices + channel * (size_t)coding.at.n);
        while (coding.at.start < coding.at.n) {
            if (rc.full) {
                return 0;
            }
            start_piece(&coding, coding.at.n - coding.at.start);
            for (uint32_t i = 0; i < coding.question_count; i++) {
                answer(&coding.at, spc_planes_bits(planes), coding.questions + i * QUESTION_SIZE,
                       1u << i, coding.contexts);
            }
            switch (spc_planes_bits(planes)) {
#if SPC_HOSTED && !defined(__OPTIMIZE_SIZE__)
            case 1:
                put_piece(&coding, &rc, 1);
                break;
            case 2:
                put_piece(&coding, &rc, 2);
                break;
            case 3:
                put_piece(&coding, &rc, 3);
                break;
#endif
            default:
                put_piece(&coding, &rc, spc_planes_bits(planes));
            }
            end_piece(&coding);
        }
    }
    return spc_range_finish_short(&rc, payload);
}

/* ------------------------------------------------------------------ decoder */

/* The questions about the row itself. */
typedef struct row_questions {
    uint32_t count;
    struct {
        int32_t left;
        uint8_t least, weight;
    } each[MOST_QUESTIONS];
} row_questions;

static void find_row_questions(const state *coding, row_questions *found) {
    found->count = 0;
    for (uint32_t i = 0; i < coding->question_count; i++) {
        const uint8_t *question = coding->questions + i * QUESTION_SIZE;
        if (in_row(question)) {
            found->each[found->count].left = -(int8_t)question[RIGHT];
            found->each[found->count].least = question[LEAST];
            found->each[found->count].weight = (uint8_t)(1u << i);
            found->count++;
        }
    }
}

static inline void get_piece(const state *coding, const row_questions *row, uint8_t *indices,
                             spc_range_decoder *rc, uint32_t bits) {
    const uint32_t least = coding->least, shift = coding->shift;
    const int32_t count = coding->at.count, column = coding->at.column;
    spc_range_decoder local = *rc;
    for (int32_t i = 0; i < count; i++) {
        uint32_t context = coding->contexts[i], node = 1;
        uint16_t *tree;
        for (uint32_t j = 0; j < row->count; j++) {
            const int32_t left = row->each[j].left;
            if (column + i >= left && indices[i - left] >= row->each[j].least) {
                context |= row->each[j].weight;
            }
        }
        tree = coding->counters + ((context << bits) - context) - 1;
        for (uint32_t k = 0; k < bits; k++) {
            const uint32_t zero = tree[node], bit = spc_range_get_bit(&local, zero);
            tree[node] = adapted(zero, bit, least, shift);
            node = 2 * node + bit;
        }
        indices[i] = (uint8_t)(node - (1u << bits));
    }
    *rc = local;
}

static spc_status decode_range(const spc_planes *planes, const uint8_t *payload, size_t payload_len,
                               uint8_t *indices, void *work, size_t work_len) {
    spc_range_decoder rc;
    row_questions row;
    state coding;
    (void)work_len;
    if (payload_len >= spc_packed_size(planes->n, spc_planes_bits(planes))) {
        return SPC_ERROR_CORRUPT;
    }
    spc_range_decoder_start(&rc, payload, payload_len);
    start_range(&coding, planes, work);
    for (uint32_t channel = 0; channel < planes->channels; channel++) {
        uint8_t *plane = indices + channel * (size_t)coding.at.n;
        start_channel(&coding, plane);
        find_row_questions(&coding, &row);
        while (coding.at.start < coding.at.n) {
            start_piece(&coding, coding.at.columns - coding.at.column);
            coding.at.known = coding.at.start;
            for (uint32_t i = 0; i < coding.question_count; i++) {
                const uint8_t *question = coding.questions + i * QUESTION_SIZE;
                if (!in_row(question)) {
                    answer(&coding.at, spc_planes_bits(planes), question, 1u << i, coding.contexts);
                }
            }
            switch (spc_planes_bits(planes)) {
#ifndef __OPTIMIZE_SIZE__
            case 1:
                get_piece(&coding, &row, plane + coding.at.start, &rc, 1);
                break;
            case 2:
                get_piece(&coding, &row, plane + coding.at.start, &rc, 2);
                break;
            case 3:
                get_piece(&coding, &row, plane + coding.at.start, &rc, 3);
                break;
#endif
            default:
                get_piece(&coding, &row, plane + coding.at.start, &rc, spc_planes_bits(planes));
            }
            end_piece(&coding);
        }
    }
    return spc_range_decoder_ended(&rc) ? SPC_OK : SPC_ERROR_CORRUPT;
}

/* ------------------------------------------------------------------ models */

/* A neighbour that is coded before. */
static int question_valid(const uint8_t *question, uint32_t bits, uint32_t channel) {
    const int32_t down = (int8_t)question[DOWN], right = (int8_t)question[RIGHT];
    return question[BACK] <= channel &&
           (question[BACK] > 0 || down < 0 || (down == 0 && right < 0)) && question[LEAST] >= 1 &&
           question[LEAST] >> bits == 0;
}

int spc_range_model_valid(const uint8_t *body, size_t len, uint32_t bits, uint32_t channels) {
    const uint8_t *const end = body + len;
    if (len < 1 || body[0] < 1 || body[0] > 15) {
        return 0;
    }
    body++;
    for (uint32_t channel = 0; channel < channels; channel++) {
        uint32_t questions;
        if (body == end) {
            return 0;
        }
        questions = *body++;
        if (questions > MOST_QUESTIONS || questions + bits > MOST_CONTEXT_BITS ||
            (size_t)(end - body) < questions * QUESTION_SIZE + counter_count(questions, bits)) {
            return 0;
        }
        for (uint32_t i = 0; i < questions; i++, body += QUESTION_SIZE) {
            if (!question_valid(body, bits, channel)) {
                return 0;
            }
        }
        body += counter_count(questions, bits);
    }
    return body == end;
}

const spc_coder_ops spc_coder_range_ops = {
    .planar = 1,
    .work_size = range_work_size,
    .encode = encode_range,
};

const spc_decoder_ops spc_decoder_range_ops = {
    .work_size = range_work_size,
    .decode = decode_range,
};
