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
#include "context_logistic.h"
#include "kernels.h"
#include "range_coder.h"

/* Logits are in 1/256, biases in 1/4096, gains in 1/65536. */
#define LOGIT_MOST 2047
#define GAIN_ONE 65536
#define GAIN_LEAST (GAIN_ONE / 4)
#define GAIN_MOST (GAIN_ONE * 4)

#define CHANNEL_HEADER 5 /* taps, taps in the symbol's own row, units, linear units, shift */
#define TAPS_MOST 255
#define OWN_ROW_MOST 4 /* taps in the symbol's own row */
#define SHIFT_MOST 16
#define OUTPUT_WEIGHTS_MOST 65535 /* of one node, so that sums of units fit 32 bits */

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

/* Where the next channel begins. */
static const uint8_t *read_channel(const uint8_t *at, uint32_t bits, spc_context_channel *channel) {
    channel->taps = at[0];
    channel->left = at[1];
    channel->units = at[2];
    channel->linear = at[3];
    channel->shift = at[4];
    channel->places = at + CHANNEL_HEADER;
    channel->weights = channel->places + 2 * (size_t)channel->taps;
    channel->biases = channel->weights + (size_t)channel->taps * channel->units;
    channel->nodes = channel->biases + 2 * (size_t)channel->units;
    return channel->nodes + (size_t)nodes_of(bits) * 2 * (1 + channel->units);
}

static int tap_valid(const spc_context_channel *channel, uint32_t i, uint32_t number) {
    const spc_context_tap tap = spc_context_tap_at(channel->places + 2 * (size_t)i);
    const int own_row = tap.back == 0 && tap.row == 0;
    if (tap.back > number || tap.row > SPC_CONTEXT_REACH) {
        return 0;
    }
    if (tap.back == 0 && (tap.row > 0 || (tap.row == 0 && tap.column >= 0))) {
        return 0; /* not coded yet */
    }
    return own_row == (i >= channel->taps - channel->left);
}

/* The sums of units fit 16 bits, those of decisions 32, whatever the neighbours are. */
static int sums_valid(const spc_context_channel *channel, uint32_t bits) {
    const uint32_t level_most = (1u << (bits < 4 ? bits : 4)) - 1;
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
        const uint8_t *weights = channel->nodes + (size_t)n * 2 * (1 + channel->units) + 2;
        uint32_t sum = 0;
        for (uint32_t j = 0; j < channel->units; j++) {
            sum += magnitude(load_i16(weights + 2 * (size_t)j));
        }
        if (sum > OUTPUT_WEIGHTS_MOST) {
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
        if (size > len || channel.left > channel.taps || channel.left > OWN_ROW_MOST ||
            channel.units < 1 || channel.units > SPC_CONTEXT_UNITS ||
            channel.linear > channel.units || channel.shift < 1 || channel.shift > SHIFT_MOST) {
            return 0;
        }
        for (uint32_t i = 0; i < channel.taps; i++) {
            if (!tap_valid(&channel, i, c)) {
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

/* One channel's part of the model, and the same laid out for vectors where there is room. */
typedef struct network {
    spc_context_channel channel;
#if SPC_HOSTED
    int16_t floors[SPC_CONTEXT_UNITS]; /* 0 where a unit is rectified */
    int16_t biases[SPC_CONTEXT_UNITS];
    int16_t constants[SPC_CONTEXT_NODES];
    int16_t outputs[SPC_CONTEXT_NODES][SPC_CONTEXT_UNITS];
    int16_t own[OWN_ROW_MOST][SPC_CONTEXT_UNITS];
    int8_t pairs[(TAPS_MOST + 1) / 2][SPC_CONTEXT_UNITS][2];
    int32_t offsets[TAPS_MOST + 1];
    uint8_t most[TAPS_MOST + 1], steps[TAPS_MOST + 1];
    uint8_t inside[2 * SPC_CONTEXT_REACH + 1][SPC_CONTEXT_BLOCK];
#endif
} network;

/* What is learned on the way; the first entry of each row of nodes is not used. */
typedef struct coder {
    const spc_planes *planes;
    uint32_t node_bits;    /* of an index that the model predicts, from the top */
    uint32_t neighbour_at; /* of an index, the bits above this choose the biases */
    spc_context_job job;
    network net;
    int16_t sums[SPC_CONTEXT_BLOCK * SPC_CONTEXT_UNITS];
    int32_t gain[SPC_CONTEXT_NODES + 1];
    int16_t channel_bias[SPC_CONTEXT_NODES + 1];
    int16_t *bias;     /* [contexts][nodes], for the whole feature */
    int16_t *low_bias; /* [2^bits], of the nodes that the model does not predict */
} coder;

static size_t contexts_of(uint32_t bits) {
    return (size_t)1 << (3 * (bits < 2 ? bits : 2));
}

static size_t bias_count(uint32_t bits) {
    return contexts_of(bits) * (nodes_of(bits) + 1) + (bits > 4 ? (size_t)1 << bits : 0);
}

static size_t work_size(const spc_planes *planes) {
    size_t size = sizeof(coder) + _Alignof(coder) - 1 + bias_count(planes->bits) * sizeof(int16_t);
#if SPC_HOSTED
    size += planes->n + 2 * SPC_CONTEXT_SLACK;
#endif
    return size;
}

/* The state at the start of `work`; `*symbols` is where neighbours will be looked for, if that is
 * not where the caller has them. */
static coder *start(const spc_planes *planes, void *work, uint8_t **symbols) {
    const uint32_t bits = planes->bits;
    const uintptr_t misaligned = (uintptr_t)work % _Alignof(coder);
    uint8_t *at = (uint8_t *)work + (misaligned ? _Alignof(coder) - misaligned : 0);
    coder *state = (coder *)(void *)at;
    const size_t count = bias_count(bits);
    state->planes = planes;
    state->node_bits = bits < 4 ? bits : 4;
    state->neighbour_at = bits < 2 ? 0 : bits - 2;
    state->bias = (int16_t *)(void *)(at + sizeof *state);
    state->low_bias = state->bias + contexts_of(bits) * (nodes_of(bits) + 1);
    memset(state->bias, 0, count * sizeof(int16_t));
    for (uint32_t i = 0; i <= SPC_CONTEXT_NODES; i++) {
        state->gain[i] = GAIN_ONE;
    }
    state->job.channel = &state->net.channel;
    state->job.lowest = bits < 4 ? 0 : bits - 4;
    state->job.rows = planes->rows;
    state->job.columns = planes->columns;
#if SPC_HOSTED
    *symbols = (uint8_t *)(state->bias + count) + SPC_CONTEXT_SLACK;
#else
    (void)symbols;
#endif
    return state;
}

/* ------------------------------------------------------------------ one channel */

#if SPC_HOSTED

/* `taps`: how many of them the kernel sums up. */
static void lay_out(network *net, uint32_t bits, uint32_t taps) {
    const spc_context_channel *channel = &net->channel;
    const uint32_t units = channel->units;
    memset(net->floors, 0, sizeof net->floors);
    memset(net->biases, 0, sizeof net->biases);
    memset(net->outputs, 0, sizeof net->outputs);
    memset(net->own, 0, sizeof net->own);
    memset(net->pairs, 0, (taps + 1) / 2 * sizeof net->pairs[0]);
    for (uint32_t j = 0; j < units; j++) {
        net->floors[j] = j < channel->linear ? INT16_MIN : 0;
        net->biases[j] = (int16_t)load_i16(channel->biases + 2 * (size_t)j);
    }
    for (uint32_t i = 0; i < channel->taps; i++) {
        const int8_t *weights = (const int8_t *)channel->weights + (size_t)i * units;
        for (uint32_t j = 0; j < units; j++) {
            if (i < taps) {
                net->pairs[i / 2][j][i % 2] = weights[j];
            } else {
                net->own[i - taps][j] = weights[j];
            }
        }
    }
    for (uint32_t n = 0; n < nodes_of(bits); n++) {
        const uint8_t *node = channel->nodes + (size_t)n * 2 * (1 + units);
        net->constants[n] = (int16_t)load_i16(node);
        for (uint32_t j = 0; j < units; j++) {
            net->outputs[n][j] = (int16_t)load_i16(node + 2 + 2 * (size_t)j);
        }
    }
}

/* Where the taps are from a symbol in the job's row. */
static void aim(network *net, const spc_context_job *job) {
    const size_t plane = job->rows * job->columns;
    for (uint32_t i = 0; i < job->taps; i++) {
        const spc_context_tap tap = spc_context_tap_at(net->channel.places + 2 * (size_t)i);
        const int64_t row = (int64_t)job->row + tap.row;
        const int is_inside = row >= 0 && row < (int64_t)job->rows;
        const int64_t offset =
            (int64_t)tap.row * (int64_t)job->columns + tap.column - (int64_t)(tap.back * plane);
        net->offsets[i] = is_inside ? (int32_t)offset : 0;
        net->most[i] = is_inside ? (uint8_t)tap.most : 0;
        net->steps[i] = (uint8_t)(tap.column + SPC_CONTEXT_REACH);
    }
    if (job->taps % 2) {
        net->offsets[job->taps] = 0;
        net->most[job->taps] = 0;
        net->steps[job->taps] = SPC_CONTEXT_REACH;
    }
}

/* Which of a block's columns have a neighbour in the row, for each step to the side. */
static void find_inside(network *net, const spc_context_job *job) {
    for (int step = -SPC_CONTEXT_REACH; step <= SPC_CONTEXT_REACH; step++) {
        uint8_t *inside = net->inside[step + SPC_CONTEXT_REACH];
        const int64_t first = -step - (int64_t)job->column;
        const int64_t end = (int64_t)(job->columns - job->column) - step;
        for (int i = 0; i < SPC_CONTEXT_BLOCK; i++) {
            inside[i] = i >= first && i < end ? 0xff : 0;
        }
    }
}

#endif

static const uint8_t *start_channel(coder *state, const uint8_t *model, int own_row_is_known) {
    const uint32_t bits = state->planes->bits;
    network *net = &state->net;
    const uint8_t *next = read_channel(model, bits, &net->channel);
    state->job.taps = net->channel.taps - (own_row_is_known ? 0 : net->channel.left);
    memset(state->channel_bias, 0, sizeof state->channel_bias);
#if SPC_HOSTED
    lay_out(net, bits, state->job.taps);
    state->job.offsets = net->offsets;
    state->job.most = net->most;
    state->job.steps = net->steps;
    state->job.inside = net->inside[0];
    state->job.pairs = net->pairs[0][0];
    state->job.biases = net->biases;
#endif
    return next;
}

static void start_row(coder *state, size_t row) {
    state->job.row = row;
#if SPC_HOSTED
    /* the rows in between see the same */
    if (row <= SPC_CONTEXT_REACH || row + SPC_CONTEXT_REACH >= state->job.rows) {
        aim(&state->net, &state->job);
    }
#endif
}

/* The sums of the columns from here on, as many as there are in a block. */
static void sum_block(coder *state, const uint8_t *at, size_t column) {
    spc_context_job *job = &state->job;
    const size_t left = job->columns - column;
    job->at = at;
    job->column = column;
    job->count = left < SPC_CONTEXT_BLOCK ? left : SPC_CONTEXT_BLOCK;
#if SPC_HOSTED
    find_inside(&state->net, job);
#endif
    spc_kernels_get()->context_sums(job, state->sums);
}

/* What the taps in the symbol's own row add, where they were not known before. */
static void add_own_row(const coder *state, const uint8_t *at, size_t column, int16_t *sums) {
    const spc_context_channel *channel = &state->net.channel;
    for (uint32_t i = state->job.taps; i < channel->taps; i++) {
        const spc_context_tap tap = spc_context_tap_at(channel->places + 2 * (size_t)i);
        uint32_t level;
        if (column < (size_t)-tap.column) {
            continue;
        }
        level = (uint32_t)at[tap.column] >> state->job.lowest;
        level = level < tap.most ? level : tap.most;
#if SPC_HOSTED
        for (uint32_t j = 0; j < SPC_CONTEXT_UNITS; j++) {
            sums[j] = (int16_t)(sums[j] + state->net.own[i - state->job.taps][j] * (int)level);
        }
#else
        for (uint32_t j = 0; j < channel->units; j++) {
            const int weight = (int8_t)channel->weights[(size_t)i * channel->units + j];
            sums[j] = (int16_t)(sums[j] + weight * (int)level);
        }
#endif
    }
}

static void rectify(const network *net, int16_t *sums) {
#if SPC_HOSTED
    for (uint32_t j = 0; j < SPC_CONTEXT_UNITS; j++) {
        sums[j] = sums[j] > net->floors[j] ? sums[j] : net->floors[j];
    }
#else
    for (uint32_t j = net->channel.linear; j < net->channel.units; j++) {
        sums[j] = sums[j] > 0 ? sums[j] : 0;
    }
#endif
}

static int32_t clamp(int32_t value, int32_t least, int32_t most) {
    return value < least ? least : value > most ? most : value;
}

/* The logit of a node's bit being 1, of rectified sums. */
static int32_t predict(const network *net, uint32_t node, const int16_t *sums) {
    const uint32_t shift = net->channel.shift;
    int32_t total = 0, constant;
#if SPC_HOSTED
    for (uint32_t j = 0; j < SPC_CONTEXT_UNITS; j++) {
        total += sums[j] * net->outputs[node - 1][j];
    }
    constant = net->constants[node - 1];
#else
    const uint32_t units = net->channel.units;
    const uint8_t *at = net->channel.nodes + (size_t)(node - 1) * 2 * (1 + units);
    for (uint32_t j = 0; j < units; j++) {
        total += sums[j] * load_i16(at + 2 + 2 * (size_t)j);
    }
    constant = load_i16(at);
#endif
    /* >> of a negative number rounds down, with every compiler that we know */
    return clamp(((total + (1 << (shift - 1))) >> shift) + constant, -LOGIT_MOST, LOGIT_MOST);
}

/* ------------------------------------------------------------------ one index */

typedef struct direction {
    spc_range_encoder *encoder; /* NULL to decode */
    spc_range_decoder *decoder;
} direction;

/* Codes a bit whose logit is `logit`; what it was by how much it was mistaken, in 1/32768. */
static inline uint32_t code_bit(const direction *way, int32_t logit, uint32_t bit,
                                int32_t *mistake) {
    const int32_t used = clamp(logit, -LOGIT_MOST, LOGIT_MOST);
    const uint32_t one = spc_context_logistic[(uint32_t)(used + LOGIT_MOST + 1) >> 3];
    if (way->encoder) {
        spc_range_put_bit(way->encoder, 32768 - one, bit);
    } else {
        bit = spc_range_get_bit(way->decoder, 32768 - one);
    }
    *mistake = (int32_t)(bit << 15) - (int32_t)one;
    return bit;
}

static inline void learn(int16_t *bias, int32_t mistake, uint32_t shift) {
    *bias =
        (int16_t)clamp(*bias + ((mistake + (1 << (shift - 1))) >> shift), -INT16_MAX, INT16_MAX);
}

/* `index` is of use to an encoder alone. */
static inline uint32_t code_index(coder *state, const direction *way, size_t context,
                                  const int16_t *sums, uint32_t index) {
    const uint32_t bits = state->planes->bits;
    int16_t *bias = state->bias + (context << state->node_bits);
    uint32_t node = 1;
    int32_t mistake;
    for (uint32_t i = 1; i <= state->node_bits; i++) {
        const int32_t logit = predict(&state->net, node, sums);
        const int32_t biased = ((logit * state->gain[node]) >> 16) +
                               ((bias[node] + state->channel_bias[node] + 8) >> 4);
        const uint32_t bit = code_bit(way, biased, index >> (bits - i) & 1, &mistake);
        state->gain[node] =
            clamp(state->gain[node] + ((mistake * logit) >> 15), GAIN_LEAST, GAIN_MOST);
        learn(&bias[node], mistake, 7);
        learn(&state->channel_bias[node], mistake, 8);
        node = 2 * node + bit;
    }
    for (uint32_t i = state->node_bits + 1; i <= bits; i++) {
        const int32_t biased = (state->low_bias[node] + 8) >> 4;
        const uint32_t bit = code_bit(way, biased, index >> (bits - i) & 1, &mistake);
        learn(&state->low_bias[node], mistake, 6);
        node = 2 * node + bit;
    }
    return node - (1u << bits);
}

/* ------------------------------------------------------------------ one feature */

/* Goes through the symbols; a decoder leaves them there. */
static inline void code(coder *state, const direction *way, uint8_t *symbols) {
    const spc_planes *planes = state->planes;
    const uint32_t bits = planes->bits, near = bits < 2 ? bits : 2, far = state->neighbour_at;
    const uint8_t *model = planes->model->bytes + SPC_MODEL_HEADER;
    uint8_t *at = symbols;
    for (uint32_t c = 0; c < planes->channels; c++) {
        model = start_channel(state, model, way->encoder != NULL);
        for (size_t row = 0; row < planes->rows; row++) {
            uint32_t left = 0, up_left = 0;
            start_row(state, row);
            for (size_t column = 0; column < planes->columns; column++, at++) {
                const uint32_t up = row > 0 ? (uint32_t)*(at - planes->columns) >> far : 0;
                const size_t context = (left << near | up) << near | up_left;
                int16_t *sums;
                uint32_t index;
                if (column % SPC_CONTEXT_BLOCK == 0) {
                    sum_block(state, at, column);
                }
                sums = state->sums +
                       column % SPC_CONTEXT_BLOCK * SPC_CONTEXT_STRIDE(state->net.channel.units);
                if (!way->encoder) {
                    add_own_row(state, at, column, sums);
                }
                rectify(&state->net, sums);
                index = code_index(state, way, context, sums, way->encoder ? *at : 0);
                if (!way->encoder) {
                    *at = (uint8_t)index;
                }
                left = index >> far;
                up_left = up;
            }
        }
    }
}

static size_t encode(const spc_planes *planes, const uint8_t *indices, uint8_t *payload, size_t cap,
                     void *work, size_t work_len) {
    spc_range_encoder rc;
    const direction way = {&rc, NULL};
    uint8_t *symbols = (uint8_t *)(uintptr_t)indices; /* not written to */
    coder *state = start(planes, work, &symbols);
    (void)work_len;
    if (symbols != indices) {
        memcpy(symbols, indices, planes->n);
    }
    if (!spc_range_encoder_start(&rc, payload, cap)) {
        return 0;
    }
    code(state, &way, symbols);
    return spc_range_finish_short(&rc, payload);
}

static spc_status decode(const spc_planes *planes, const uint8_t *payload, size_t payload_len,
                         uint8_t *indices, void *work, size_t work_len) {
    spc_range_decoder rc;
    const direction way = {NULL, &rc};
    uint8_t *symbols = indices;
    coder *state = start(planes, work, &symbols);
    (void)work_len;
    spc_range_decoder_start(&rc, payload, payload_len);
    code(state, &way, symbols);
    if (!spc_range_decoder_ended(&rc)) {
        return SPC_ERROR_CORRUPT;
    }
    if (symbols != indices) {
        memcpy(indices, symbols, planes->n);
    }
    return SPC_OK;
}

const spc_coder_ops spc_coder_context_ops = {
    .planar = 1,
    .encode_work_size = work_size,
    .decode_work_size = work_size,
    .encode = encode,
    .decode = decode,
    .model_valid = model_valid,
    .needs_model = 1,
};
