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

int spc_context_model_valid(const uint8_t *body, size_t len, uint32_t bits, uint32_t channels) {
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

/* Bits of a tap's input in its word. */
static uint32_t width_of(uint32_t bits) {
    return bits < 3 ? bits : 4;
}

/* Of columns, in a word. */
static uint32_t pairs_of(uint32_t width) {
    return 16 >> (width >> 1);
}

/* From one symbol's logits to the next one's. */
static size_t stride_of(uint32_t bits) {
    return bits == 1 ? 1 : (size_t)nodes_of(bits) + 1;
}

static size_t logit_count(uint32_t bits) {
    return SPC_CONTEXT_BLOCK * stride_of(bits);
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

/* Elements of what follows the state and depends on the model. */
typedef struct sizes {
    size_t taps, pairs;
} sizes;

static sizes sizes_of(const spc_planes *planes) {
    const uint32_t bits = spc_planes_bits(planes);
    const uint8_t *next = planes->model->bytes + SPC_MODEL_HEADER;
    sizes most = {0, 0};
    for (uint32_t c = 0; c < planes->channels; c++) {
        spc_context_channel channel;
        size_t pairs;
        next = read_channel(next, bits, &channel);
        pairs = channel.units * pairs_of(width_of(bits));
        most.taps = channel.taps > most.taps ? channel.taps : most.taps;
        most.pairs = pairs > most.pairs ? pairs : most.pairs;
    }
    return most;
}

static size_t context_work_size(const spc_planes *planes) {
    const uint32_t bits = spc_planes_bits(planes);
    const sizes most = sizes_of(planes);
    size_t size = sizeof(spc_context_state) + _Alignof(spc_context_state) - 1 +
                  most.taps * (sizeof(spc_context_place) + sizeof(uint32_t)) +
                  most.pairs * sizeof(uint32_t) + logit_count(bits) * sizeof(spc_context_logit) +
                  bias_count(bits) * sizeof(int16_t);
#if SPC_HOSTED
    size += 2 * inputs_size(planes);
#endif
    return size;
}

/* The state at the start of `work`. */
static spc_context_state *start_context(const spc_planes *planes, void *work) {
    const uint32_t bits = spc_planes_bits(planes);
    const uintptr_t misaligned = (uintptr_t)work % _Alignof(spc_context_state);
    uint8_t *at = (uint8_t *)work + (misaligned ? _Alignof(spc_context_state) - misaligned : 0);
    spc_context_state *state = (spc_context_state *)(void *)at;
    const sizes most = sizes_of(planes);
    state->planes = planes;
    state->lowest = bits < 4 ? 0 : bits - 4;
    state->places = (spc_context_place *)(void *)(at + sizeof *state);
    state->words = (uint32_t *)(void *)(state->places + most.taps);
    state->unit_sums = state->words + most.taps;
    state->logits = (spc_context_logit *)(void *)(state->unit_sums + most.pairs);
    state->bias = (int16_t *)(void *)(state->logits + logit_count(bits));
    state->low_bias = state->bias + contexts_of(bits) * (nodes_of(bits) + 1);
    memset(state->bias, 0, bias_count(bits) * sizeof(int16_t));
#if SPC_HOSTED
    {
        spc_context_inputs *inputs = &state->inputs;
        uint8_t *first = (uint8_t *)(state->bias + bias_count(bits));
        inputs->row = planes->columns + SPC_CONTEXT_REACH;
        inputs->plane = (planes->rows + 2 * SPC_CONTEXT_REACH) * inputs->row;
        inputs->is_set = inputs_size(planes);
        inputs->levels = first + SPC_CONTEXT_REACH + SPC_CONTEXT_REACH * inputs->row;
        memset(first, 0, 2 * inputs->is_set);
    }
#endif
    return state;
}

#if SPC_HOSTED
void spc_context_put_row(spc_context_state *state, const uint8_t *symbols) {
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
}
#endif

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
    const uint8_t *next = read_channel(model, spc_planes_bits(state->planes), &state->net.channel);
#if SPC_HOSTED
    lay_out(&state->net, &state->inputs, spc_planes_bits(state->planes));
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
 * A tap's inputs are put into one word, of as many columns as fit: 32 of one bit, 16 of two,
 * else 8. Each four bits hold a column of every eight, in the order that two loads of four bytes
 * give. Then word >> s, of which the bits of two inputs are kept, has columns k and k + 2 in 16
 * bits each, and one multiplication adds to the sums of both.  What the lower one borrows from the
 * upper is given back at the end, since each fits its 16 bits then.
 */
#define FOUR 0x01010101u
#define BOTH 0x00010001u

/* Where a column's input is. */
static inline uint32_t input_at(uint32_t column, uint32_t width) {
    return 8 * (column & 3) + (column & 4) + width * (column >> 3);
}

static void find_places(const spc_context_state *state) {
    const spc_context_channel *channel = &state->net.channel;
    const spc_planes *planes = state->planes;
    for (uint32_t i = 0; i < channel->taps; i++) {
        const spc_context_tap tap = spc_context_tap_at(channel->places + 2 * (size_t)i);
        state->places[i] = (spc_context_place){
            (tap.row - (ptrdiff_t)(tap.back * planes->rows)) * (ptrdiff_t)planes->columns +
                tap.column,
            (int8_t)tap.row, (int8_t)tap.column,
            (uint8_t)(tap.most == 1 && spc_planes_bits(planes) > 1)};
    }
}

/* Which inputs of a word are in the row, for each number of columns that a tap is away. */
static __attribute__((noinline)) void find_inside(spc_context_state *state, size_t first,
                                                  uint32_t width) {
    const ptrdiff_t columns = (ptrdiff_t)state->planes->columns;
    const ptrdiff_t count = (ptrdiff_t)(2 * pairs_of(width));
    const uint32_t ones = (1u << width) - 1;
    for (int32_t away = -SPC_CONTEXT_REACH; away <= SPC_CONTEXT_REACH; away++) {
        const ptrdiff_t from = (ptrdiff_t)(state->block.column + first) + away;
        uint32_t inside = ~(uint32_t)0;
        for (ptrdiff_t i = 0; i < -from; i++) {
            inside &= ~(ones << input_at((uint32_t)i, width));
        }
        for (ptrdiff_t i = columns > from ? columns - from : 0; i < count; i++) {
            inside &= ~(ones << input_at((uint32_t)i, width));
        }
        state->inside[away + SPC_CONTEXT_REACH] = inside;
    }
}

/* Inputs of four symbols. */
static inline __attribute__((always_inline)) uint32_t inputs_of(uint32_t symbols, uint32_t width,
                                                                uint32_t lowest, int is_set) {
    const uint32_t levels = symbols >> lowest & ((1u << width) - 1) * FOUR;
    return is_set ? (levels + 15 * FOUR) >> 4 & FOUR : levels;
}

/* Of columns that may be outside of the feature; `at` is this far from its first symbol. */
static __attribute__((noinline)) uint32_t look_closely(const spc_context_state *state,
                                                       const spc_context_place *place,
                                                       const uint8_t *at, size_t from) {
    const spc_planes *planes = state->planes;
    const uint32_t width = width_of(spc_planes_bits(planes));
    uint32_t word = 0;
    for (uint32_t i = 0; i < 2 * pairs_of(width); i++) {
        if (from + i < planes->n) { /* huge if it is negative */
            word |= inputs_of(at[i], width, state->lowest, place->is_set) << input_at(i, width);
        }
    }
    return word;
}

/* The inputs of all taps, from the block's column `first` on. */
static inline __attribute__((always_inline)) void look(const spc_context_state *state, size_t first,
                                                       uint32_t width) {
    const spc_planes *planes = state->planes;
    const size_t rows = planes->rows, row = state->block.row;
    const size_t begin =
        (state->block.channel * rows + row) * planes->columns + state->block.column + first;
    const size_t end = planes->n < 32 / width ? 0 : planes->n - 32 / width + 1;
    const uint32_t taps = state->net.channel.taps, lowest = width < 4 ? 0 : state->lowest;
    const spc_context_place *place = state->places;
    const uint8_t *here = state->block.at + first;
    uint32_t *words = state->words;
    for (uint32_t *last = words + taps; words < last; words++, place++) {
        const uint8_t *at = here + place->offset;
        const size_t from = begin + (size_t)place->offset;
        const ptrdiff_t down = place->row;
        const int is_set = width > 1 && place->is_set;
        uint32_t word = 0;
        if (row + (size_t)down < rows) { /* huge if it is negative */
            if (from < end) {
                _Pragma("GCC unroll 4") /* few bytes of code for what is done most often */
                    for (uint32_t i = 32 / width; i > 0; i -= 8) {
                    const uint32_t low = spc_load_le32(at + i - 8),
                                   high = spc_load_le32(at + i - 4);
                    word = word << (width & 3) | inputs_of(low, width, lowest, is_set) |
                           inputs_of(high, width, lowest, is_set) << 4;
                }
            } else {
                word = look_closely(state, place, at, from);
            }
            word &= state->inside[place->column + SPC_CONTEXT_REACH];
        }
        *words = word;
    }
}

/* A function for each width: done for every tap, this is worth its bytes. */
static __attribute__((noinline)) void look_for_1(const spc_context_state *state, size_t first) {
    look(state, first, 1);
}

static __attribute__((noinline)) void look_for_2(const spc_context_state *state, size_t first) {
    look(state, first, 2);
}

static __attribute__((noinline)) void look_for_4(const spc_context_state *state, size_t first) {
    look(state, first, 4);
}

/* A unit's sums of eight columns, whose inputs are `up` bits up in their words.  With `ones` as an
 * argument compilers do not know that it is a constant, and shift and mask at once. */
static __attribute__((noinline)) void sum_eight(const spc_context_state *state,
                                                const uint8_t *weights, uint32_t *sums, uint32_t up,
                                                uint32_t ones) {
    const uint32_t units = state->net.channel.units;
    const uint32_t *words = state->words, *end = words + state->net.channel.taps;
    uint32_t a = sums[0], b = a, c = a, d = a;
    if (words < end) {
        do {
            const uint32_t weight = (uint32_t)(int8_t)*weights, word = *words++ >> up;
            a += weight * (word & ones);
            b += weight * (word >> 8 & ones);
            c += weight * (word >> 4 & ones);
            d += weight * (word >> 12 & ones);
            weights += units;
        } while (words < end);
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

/* Of the block's columns from `first` on, as many as fit a word. */
static void sum_taps(const spc_context_state *state, size_t first, uint32_t width) {
    const spc_context_channel *channel = &state->net.channel;
    const uint32_t ones = ((1u << width) - 1) * BOTH;
    const size_t left = state->block.count - first;
    const uint8_t *bias = channel->biases;
    uint32_t *of_unit = state->unit_sums;
    for (uint32_t j = 0; j < channel->units; j++, bias += 2, of_unit += pairs_of(width)) {
        uint32_t *sums = of_unit;
        for (uint32_t up = 0; up < 4 && 8 * up < left * width; up += width, sums += 4) {
            sums[0] = BOTH * (uint32_t)load_i16(bias);
            sum_eight(state, channel->weights + j, sums, up, ones);
        }
    }
}

/* ------------------------------------------------------------------ the definition of a logit */

/* Nearly always as it is. */
static inline __attribute__((always_inline)) spc_context_logit bounded(int32_t logit) {
    if ((uint32_t)(logit + SPC_CONTEXT_LOGIT) > 2 * SPC_CONTEXT_LOGIT) {
        logit = logit < 0 ? -SPC_CONTEXT_LOGIT : SPC_CONTEXT_LOGIT;
    }
    return (spc_context_logit)logit;
}

/* One node's, of eight columns; `step` from one unit's sums to the next one's. */
static __attribute__((noinline)) void put_logits(const spc_context_channel *channel,
                                                 const uint32_t *sums, size_t step,
                                                 const uint8_t *outputs, spc_context_logit *logits,
                                                 size_t stride) {
    const uint32_t shift = channel->shift, units = channel->units;
    const uint32_t rectified = units - channel->linear;
    const uint32_t *next = sums;
    int i = 3;
    do {
        const uint32_t *sum = next++;
        const uint8_t *at = outputs;
        uint32_t left = units;
        int32_t low_total = 1 << (shift - 1), high_total = low_total;
        do {
            const int32_t output = load_i16(at);
            int32_t low = (int16_t)*sum, high = (int16_t)((*sum - (uint32_t)low) >> 16);
            if (left <= rectified) {
                low = low > 0 ? low : 0;
                high = high > 0 ? high : 0;
            }
            low_total += low * output;
            high_total += high * output;
            sum += step;
            at += 2;
        } while (--left > 0);
        logits[0] = bounded(low_total >> shift);
        logits[2 * stride] = bounded(high_total >> shift);
        logits += i == 2 ? 3 * stride : stride; /* columns 0, 1, 4, 5, and those 2 further */
    } while (i-- > 0);
}

static void context_logits(spc_context_state *state, uint32_t bits) {
    const spc_planes *planes = state->planes;
    const spc_context_channel *channel = &state->net.channel;
    const spc_context_block *block = &state->block;
    const uint32_t width = width_of(bits), at_once = 2 * pairs_of(width);
    const size_t stride = stride_of(bits);
    if (block->row == 0 && block->column == 0) {
        find_places(state);
    }
    for (size_t first = 0; first < block->count; first += at_once) {
        const size_t left = block->count - first;
        if (block->row == 0 || planes->columns > at_once) {
            find_inside(state, first, width);
        }
        if (width == 1) {
            look_for_1(state, first);
        } else if (width == 2) {
            look_for_2(state, first);
        } else {
            look_for_4(state, first);
        }
        sum_taps(state, first, width);
        for (size_t column = 0; column < at_once && column < left; column += 8) {
            const uint8_t *outputs = channel->outputs;
            spc_context_logit *logits = state->logits + (first + column) * stride;
            for (uint32_t n = nodes_of(bits); n > 0; n--, outputs += 2 * (size_t)channel->units) {
                put_logits(channel, state->unit_sums + column / 2, pairs_of(width), outputs,
                           logits++, stride);
            }
        }
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

static size_t encode_context(const spc_planes *planes, const uint8_t *indices, uint8_t *payload,
                             size_t cap, void *work, size_t work_len) {
    (void)work_len;
    return spc_kernels_get()->context_encode(start_context(planes, work), indices, payload, cap);
}

static spc_status decode_context(const spc_planes *planes, const uint8_t *payload,
                                 size_t payload_len, uint8_t *indices, void *work,
                                 size_t work_len) {
    spc_context_state *state = start_context(planes, work);
    const int done = spc_kernels_get()->context_decode(state, payload, payload_len, indices);
    (void)work_len;
    return done ? SPC_OK : SPC_ERROR_CORRUPT;
}

const spc_coder_ops spc_coder_context_ops = {
    .planar = 1,
    .needs_model = 1,
    .work_size = context_work_size,
    .encode = encode_context,
    .rival = SPC_HAS_CODER(SPC_CODER_RANGE) ? &spc_coder_range_ops : NULL,
    .rival_number = SPC_CODER_RANGE,
};

const spc_decoder_ops spc_decoder_context_ops = {
    .work_size = context_work_size,
    .decode = decode_context,
};
