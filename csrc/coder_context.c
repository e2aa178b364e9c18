/*
 * Coder 4: each index as up to eight decisions, the upper four predicted by the model from
 * neighbours that are coded already, in the same channel and in earlier ones.
 *
 * A model is trained once and its features drift, so that predictions are corrected as they come:
 * each node learns a gain and biases from the errors that it makes.  It starts anew with each
 * payload.
 */
#include <string.h>

#include "bytes.h"
#include "coder.h"
#include "context.h"
#include "kernels.h"

#define CONTEXT_TARGET
static void context_logits(spc_context_state *state, uint32_t bits);
#include "context_template.h"

#define CHANNEL_HEADER 4 /* taps, units, linear units, shift */
#define SHIFT_MOST 16
#define OUTPUTS_MOST 65535 /* of one node, so that sums of units fit 32 bits */

/* ------------------------------------------------------------------ the model's bytes */

static int32_t load_i16(const uint8_t *at) {
    return (int16_t)(at[0] | at[1] << 8);
}

static uint32_t magnitude(int32_t value) {
    return (uint32_t)(value < 0 ? -value : value);
}

static uint32_t nodes_of(uint32_t bits) {
    return (1u << (bits < 4 ? bits : 4)) - 1;
}

/* Symbols to the left count by as many of their upper bits. */
static uint32_t near_of(uint32_t bits) {
    return bits < 2 ? bits : 2;
}

/* Where the next channel begins. */
static const uint8_t *read_channel(const uint8_t *at, uint32_t bits, spc_context_channel *channel) {
    channel->taps = at[0];
    channel->units = at[1];
    channel->linear = at[2];
    channel->shift = at[3];
    channel->places = at + CHANNEL_HEADER;
    channel->weights = channel->places + 2 * (size_t)channel->taps;
    channel->biases = channel->weights + (size_t)channel->taps * channel->units;
    channel->outputs = channel->biases + 2 * (size_t)channel->units;
    channel->lefts = channel->outputs + (size_t)nodes_of(bits) * 2 * channel->units;
    return channel->lefts + ((size_t)nodes_of(bits) << 2 * near_of(bits));
}

/* Whether the tap's symbol is in a row above or in an earlier channel. */
static int tap_valid(const uint8_t *place, uint32_t number) {
    const spc_context_tap tap = spc_context_tap_at(place);
    return tap.back <= number && tap.row <= SPC_CONTEXT_REACH && (tap.back > 0 || tap.row < 0);
}

/* The sums of units fit 16 bits, those of decisions 32, whatever the neighbours are. */
static int sums_valid(const spc_context_channel *channel, uint32_t bits) {
    const uint32_t level_most = nodes_of(bits);
    for (uint32_t j = 0; j < channel->units; j++) {
        uint32_t sum = magnitude(load_i16(channel->biases + 2 * (size_t)j));
        for (uint32_t i = 0; i < channel->taps; i++) {
            const uint32_t most = spc_context_tap_at(channel->places + 2 * (size_t)i).most;
            const size_t at = (size_t)i * channel->units + j;
            sum += (most == 1 ? 1 : level_most) * magnitude((int8_t)channel->weights[at]);
        }
        if (sum > INT16_MAX) {
            return 0;
        }
    }
    for (uint32_t n = 0; n < nodes_of(bits); n++) {
        uint32_t sum = 0;
        for (uint32_t j = 0; j < channel->units; j++) {
            sum += magnitude(load_i16(channel->outputs + 2 * ((size_t)n * channel->units + j)));
        }
        if (sum > OUTPUTS_MOST) {
            return 0;
        }
    }
    return 1;
}

static int model_valid(const uint8_t *body, size_t len, uint32_t bits, uint32_t channels) {
    for (uint32_t c = 0; c < channels; c++) {
        spc_context_channel channel;
        size_t size;
        if (len < CHANNEL_HEADER) {
            return 0;
        }
        size = (size_t)(read_channel(body, bits, &channel) - body);
        if (size > len || channel.units < 1 || channel.units > SPC_CONTEXT_UNITS ||
            channel.linear > channel.units || channel.shift < 1 || channel.shift > SHIFT_MOST) {
            return 0;
        }
        for (uint32_t i = 0; i < channel.taps; i++) {
            if (!tap_valid(channel.places + 2 * (size_t)i, c)) {
                return 0;
            }
        }
        if (!sums_valid(&channel, bits)) {
            return 0;
        }
        body += size;
        len -= size;
    }
    return len == 0;
}

/* ------------------------------------------------------------------ the coder's state */

static size_t contexts_of(uint32_t bits) {
    return (size_t)1 << 3 * near_of(bits);
}

static size_t bias_count(uint32_t bits) {
    return contexts_of(bits) * (nodes_of(bits) + 1) + (bits > 4 ? (size_t)1 << bits : 0);
}

#if SPC_HOSTED
/* Bytes of all levels with their margins, and of those behind; as many as nobody has instead of
 * more than can be counted. */
static size_t inputs_size(const spc_planes *planes) {
    const uint64_t rows = (uint64_t)planes->rows + 2 * SPC_CONTEXT_REACH;
    const uint64_t size = planes->channels * rows * (planes->columns + SPC_CONTEXT_REACH) +
                          SPC_CONTEXT_REACH + SPC_CONTEXT_BLOCK;
    return size < SIZE_MAX / 4 ? (size_t)size : SIZE_MAX / 4;
}
#endif

static size_t most_taps(const spc_planes *planes) {
    const uint8_t *next = planes->model->bytes + SPC_MODEL_HEADER;
    size_t most = 0;
    for (uint32_t c = 0; c < planes->channels; c++) {
        spc_context_channel channel;
        next = read_channel(next, planes->bits, &channel);
        most = channel.taps > most ? channel.taps : most;
    }
    return most;
}

static size_t work_size(const spc_planes *planes) {
    size_t size = sizeof(spc_context_state) + _Alignof(spc_context_state) - 1 +
                  most_taps(planes) * sizeof(spc_context_place) +
                  bias_count(planes->bits) * sizeof(int16_t);
#if SPC_HOSTED
    size += 2 * inputs_size(planes);
#endif
    return size;
}

/* The state at the start of `work`. */
static spc_context_state *start(const spc_planes *planes, void *work) {
    const uint32_t bits = planes->bits;
    const uintptr_t misaligned = (uintptr_t)work % _Alignof(spc_context_state);
    uint8_t *at = (uint8_t *)work + (misaligned ? _Alignof(spc_context_state) - misaligned : 0);
    spc_context_state *state = (spc_context_state *)(void *)at;
    const size_t count = bias_count(bits);
    state->planes = planes;
    state->lowest = bits < 4 ? 0 : bits - 4;
    state->places = (spc_context_place *)(void *)(at + sizeof *state);
    state->bias = (int16_t *)(void *)(state->places + most_taps(planes));
    state->low_bias = state->bias + contexts_of(bits) * (nodes_of(bits) + 1);
    memset(state->bias, 0, count * sizeof(int16_t));
#if SPC_HOSTED
    {
        spc_context_inputs *inputs = &state->inputs;
        uint8_t *first = (uint8_t *)(state->bias + count);
        inputs->row = planes->columns + SPC_CONTEXT_REACH;
        inputs->plane = (planes->rows + 2 * SPC_CONTEXT_REACH) * inputs->row;
        inputs->is_set = inputs_size(planes);
        inputs->levels = first + SPC_CONTEXT_REACH + SPC_CONTEXT_REACH * inputs->row;
        memset(first, 0, 2 * inputs->is_set);
    }
#endif
    return state;
}

void spc_context_put_row(spc_context_state *state, const uint8_t *symbols) {
#if SPC_HOSTED
    const spc_context_inputs *inputs = &state->inputs;
    const size_t columns = state->planes->columns;
    uint8_t *levels =
        inputs->levels + state->block.channel * inputs->plane + state->block.row * inputs->row;
    uint8_t *is_set = levels + inputs->is_set;
    for (size_t i = 0; i < columns; i++) {
        const uint8_t level = (uint8_t)(symbols[i] >> state->lowest);
        levels[i] = level;
        is_set[i] = level > 0;
    }
#else
    (void)state;
    (void)symbols;
#endif
}

/* ------------------------------------------------------------------ one channel */

#if SPC_HOSTED

static void put_pair(const uint8_t *restrict first, const uint8_t *restrict second, uint32_t units,
                     int8_t pair[restrict][2]) {
    for (uint32_t j = 0; j < units; j++) {
        pair[j][0] = (int8_t)first[j];
        pair[j][1] = (int8_t)second[j];
    }
}

static void lay_out(spc_context_network *net, const spc_context_inputs *inputs, uint32_t bits) {
    const spc_context_channel *channel = &net->channel;
    const uint32_t units = channel->units;
    const uint8_t none[SPC_CONTEXT_UNITS] = {0};
    memset(net->floors, 0, sizeof net->floors);
    memset(net->biases, 0, sizeof net->biases);
    memset(net->outputs, 0, sizeof net->outputs);
    memset(net->pairs, 0, (channel->taps + 1) / 2 * sizeof net->pairs[0]);
    net->offsets[channel->taps] = 0; /* the other one of the last pair, if the taps are odd */
    for (uint32_t j = 0; j < units; j++) {
        net->floors[j] = j < channel->linear ? INT16_MIN : 0;
        net->biases[j] = (int16_t)load_i16(channel->biases + 2 * (size_t)j);
    }
    for (uint32_t i = 0; i < channel->taps; i++) {
        const spc_context_tap tap = spc_context_tap_at(channel->places + 2 * (size_t)i);
        net->offsets[i] = tap.row * (ptrdiff_t)inputs->row + tap.column -
                          (ptrdiff_t)(tap.back * inputs->plane) +
                          (tap.most == 1 ? (ptrdiff_t)inputs->is_set : 0);
    }
    for (uint32_t i = 0; i < channel->taps; i += 2) {
        const uint8_t *first = channel->weights + (size_t)i * units;
        put_pair(first, i + 1 < channel->taps ? first + units : none, units, net->pairs[i / 2]);
    }
    for (uint32_t n = 0; n < nodes_of(bits); n++) {
        for (uint32_t j = 0; j < units; j++) {
            const uint8_t *output = channel->outputs + 2 * ((size_t)n * units + j);
            net->outputs[n][j] = (int16_t)load_i16(output);
        }
    }
}

#endif

const uint8_t *spc_context_start_channel(spc_context_state *state, const uint8_t *model) {
    const uint8_t *next = read_channel(model, state->planes->bits, &state->net.channel);
#if SPC_HOSTED
    lay_out(&state->net, &state->inputs, state->planes->bits);
#endif
    return next;
}

/* The columns from here on, as many as there are in a block. */
void spc_context_start_block(spc_context_state *state, const uint8_t *at, size_t column) {
    const size_t left = state->planes->columns - column;
    state->block.at = at;
    state->block.column = column;
    state->block.count = left < SPC_CONTEXT_BLOCK ? left : SPC_CONTEXT_BLOCK;
}

/* ------------------------------------------------------------------ sums of taps
 *
 * Two columns share a word: their levels are 16 bits apart, and one multiplication adds to the sums
 * of both.  What the lower one borrows from the upper is given back at the end, since each fits its
 * 16 bits then.
 */
#define COLUMNS 8
#define PAIRS (COLUMNS / 2) /* of columns 0 and 2, 1 and 3, 4 and 6, 5 and 7 */
#define BOTH 0x00010001u
#define TAPS_AT_ONCE 16

/* Eight bytes of a row from column `from` on, `at` being where that would be; 0 outside of it. */
static __attribute__((noinline)) void load_edge(const uint8_t *at, ptrdiff_t from, size_t columns,
                                                uint32_t words[2]) {
    uint8_t inside[COLUMNS];
    for (int i = 0; i < COLUMNS; i++, from++) {
        inside[i] = (size_t)from < columns ? at[i] : 0; /* huge if it is negative */
    }
    words[0] = spc_load_le32(inside);
    words[1] = spc_load_le32(inside + 4);
}

static void find_places(const spc_context_state *state) {
    const spc_context_channel *channel = &state->net.channel;
    const spc_planes *planes = state->planes;
    for (uint32_t i = 0; i < channel->taps; i++) {
        const spc_context_tap tap = spc_context_tap_at(channel->places + 2 * (size_t)i);
        state->places[i] = (spc_context_place){
            (tap.row - (ptrdiff_t)(tap.back * planes->rows)) * (ptrdiff_t)planes->columns +
                tap.column,
            (int8_t)tap.row, (int8_t)tap.column, (uint8_t)tap.most};
    }
}

/* A tap's inputs for eight columns from the block's column `first` on. */
static inline __attribute__((always_inline)) void look(const spc_context_state *state,
                                                       const spc_context_place *place, size_t first,
                                                       uint32_t bits, uint32_t pairs[PAIRS]) {
    const spc_context_block *block = &state->block;
    const spc_planes *planes = state->planes;
    const ptrdiff_t down = place->row;
    const size_t row = block->row + (size_t)down; /* huge if it is negative */
    const uint32_t levels = bits == 1 ? BOTH : 15 * BOTH;
    const uint32_t lowest = bits == 1 ? 0 : state->lowest;
    uint32_t words[2] = {0, 0};
    if (row < planes->rows) {
        const uint8_t *at = block->at + (ptrdiff_t)first + place->offset;
        const ptrdiff_t from = (ptrdiff_t)(block->column + first) + place->column;
        if (from >= 0 && (size_t)from + COLUMNS <= planes->columns) {
            words[0] = spc_load_le32(at);
            words[1] = spc_load_le32(at + 4);
        } else {
            load_edge(at, from, planes->columns, words);
        }
    }
    pairs[0] = words[0] >> lowest & levels;
    pairs[1] = words[0] >> (lowest + 8) & levels;
    pairs[2] = words[1] >> lowest & levels;
    pairs[3] = words[1] >> (lowest + 8) & levels;
    for (int i = 0; bits > 1 && place->most == 1 && i < PAIRS; i++) {
        pairs[i] = (pairs[i] + 15 * BOTH) >> 4 & BOTH;
    }
}

static inline __attribute__((always_inline)) void
sum_taps(const spc_context_state *state, size_t first, uint32_t bits,
         uint32_t sums[SPC_CONTEXT_UNITS][PAIRS]) {
    const spc_context_channel *channel = &state->net.channel;
    const uint32_t units = channel->units;
    uint32_t taps[TAPS_AT_ONCE][PAIRS];
    if (units == 1) {
        uint32_t a = BOTH * (uint32_t)load_i16(channel->biases), b = a, c = a, d = a;
        for (uint32_t i = 0; i < channel->taps; i++) {
            const uint32_t weight = (uint32_t)(int8_t)channel->weights[i];
            uint32_t tap[PAIRS];
            look(state, &state->places[i], first, bits, tap);
            a += weight * tap[0];
            b += weight * tap[1];
            c += weight * tap[2];
            d += weight * tap[3];
        }
        sums[0][0] = a, sums[0][1] = b, sums[0][2] = c, sums[0][3] = d;
        return;
    }
    for (uint32_t j = 0; j < units; j++) {
        const uint32_t bias = BOTH * (uint32_t)load_i16(channel->biases + 2 * (size_t)j);
        sums[j][0] = sums[j][1] = sums[j][2] = sums[j][3] = bias;
    }
    for (uint32_t from = 0; from < channel->taps; from += TAPS_AT_ONCE) {
        const uint32_t left = channel->taps - from, n = left < TAPS_AT_ONCE ? left : TAPS_AT_ONCE;
        for (uint32_t i = 0; i < n; i++) {
            look(state, &state->places[from + i], first, bits, taps[i]);
        }
        for (uint32_t j = 0; j < units; j++) {
            const uint8_t *weights = channel->weights + (size_t)from * units + j;
            uint32_t a = sums[j][0], b = sums[j][1], c = sums[j][2], d = sums[j][3];
            for (uint32_t i = 0; i < n; i++, weights += units) {
                const uint32_t weight = (uint32_t)(int8_t)*weights;
                a += weight * taps[i][0];
                b += weight * taps[i][1];
                c += weight * taps[i][2];
                d += weight * taps[i][3];
            }
            sums[j][0] = a, sums[j][1] = b, sums[j][2] = c, sums[j][3] = d;
        }
    }
}

/* ------------------------------------------------------------------ the definition of a logit */

/* Of two columns, which are 2 apart. */
static inline __attribute__((always_inline)) void put_logits(const spc_context_channel *channel,
                                                             const uint32_t *sums,
                                                             const uint8_t *outputs,
                                                             int32_t *logits, size_t stride) {
    const uint32_t shift = channel->shift, linear = channel->linear, units = channel->units;
    int32_t low_total = 1 << (shift - 1), high_total = low_total;
    for (uint32_t j = 0; j < units; j++, sums += PAIRS, outputs += 2) {
        const int32_t output = load_i16(outputs);
        int32_t low = (int16_t)*sums, high = (int16_t)((*sums - (uint32_t)low) >> 16);
        if (j >= linear) {
            low = low > 0 ? low : 0;
            high = high > 0 ? high : 0;
        }
        low_total += low * output;
        high_total += high * output;
    }
    logits[0] = clamp(low_total >> shift, -SPC_CONTEXT_LOGIT, SPC_CONTEXT_LOGIT);
    logits[2 * stride] = clamp(high_total >> shift, -SPC_CONTEXT_LOGIT, SPC_CONTEXT_LOGIT);
}

/* `bits` decides on how words are taken apart, and is best a constant. */
static inline __attribute__((always_inline)) void
logits_of(const spc_context_state *state, uint32_t bits, int32_t *logits, size_t stride) {
    const spc_context_channel *channel = &state->net.channel;
    uint32_t sums[SPC_CONTEXT_UNITS][PAIRS];
    for (size_t first = 0; first < state->block.count; first += COLUMNS) {
        const uint8_t *outputs = channel->outputs;
        sum_taps(state, first, bits, sums);
        for (uint32_t n = 0; n < nodes_of(bits); n++, outputs += 2 * (size_t)channel->units) {
            int32_t *at = logits + n;
            for (uint32_t p = 0; p < PAIRS; p++) {
                put_logits(channel, sums[0] + p, outputs, at, stride);
                at += (p == 1 ? 3 : 1) * stride;
            }
        }
        logits += COLUMNS * stride;
    }
}

static __attribute__((noinline)) void logits_of_1(spc_context_state *state) {
    logits_of(state, 1, state->logits, 1);
}

static __attribute__((noinline)) void logits_of_more(spc_context_state *state) {
    const uint32_t bits = state->planes->bits;
    logits_of(state, bits, state->logits, (size_t)nodes_of(bits) + 1);
}

static void context_logits(spc_context_state *state, uint32_t bits) {
    if (state->block.row == 0 && state->block.column == 0) {
        find_places(state);
    }
    if (bits == 1) {
        logits_of_1(state);
    } else {
        logits_of_more(state);
    }
}

/* ------------------------------------------------------------------ the coder */

size_t spc_context_encode_reference(spc_context_state *state, const uint8_t *symbols,
                                    uint8_t *payload, size_t cap) {
    return encode_with(state, symbols, payload, cap);
}

int spc_context_decode_reference(spc_context_state *state, const uint8_t *payload, size_t len,
                                 uint8_t *symbols) {
    return decode_with(state, payload, len, symbols);
}

static size_t encode(const spc_planes *planes, const uint8_t *indices, uint8_t *payload, size_t cap,
                     void *work, size_t work_len) {
    (void)work_len;
    return spc_kernels_get()->context_encode(start(planes, work), indices, payload, cap);
}

static spc_status decode(const spc_planes *planes, const uint8_t *payload, size_t payload_len,
                         uint8_t *indices, void *work, size_t work_len) {
    spc_context_state *state = start(planes, work);
    const int done = spc_kernels_get()->context_decode(state, payload, payload_len, indices);
    (void)work_len;
    return done ? SPC_OK : SPC_ERROR_CORRUPT;
}

const spc_coder_ops spc_coder_context_ops = {
    .planar = 1,
    .encode_work_size = work_size,
    .decode_work_size = work_size,
    .encode = encode,
    .decode = decode,
    .model_valid = model_valid,
    .needs_model = 1,
#if SPC_HOSTED
    .rival = &spc_coder_range_ops,
    .rival_number = SPC_CODER_RANGE,
#endif
};
