/*
 * Coder 4's way through a feature, compiled for each instruction set.
 *
 * Whoever includes this has defined CONTEXT_TARGET, an attribute; CONTEXT_SUMS, the name of a
 * function like spc_context_sums_reference that takes the state; and `context_logits`, which makes
 * sums into the logits of all nodes: spc_context_logits_reference defines them.
 */
#ifndef SPC_CONTEXT_TEMPLATE_H
#define SPC_CONTEXT_TEMPLATE_H

#include "context.h"
#include "context_logistic.h"
#include "range_coder.h"

#define CONTEXT_INLINE CONTEXT_TARGET __attribute__((always_inline)) static inline

/* Logits are in 1/256, biases in 1/1024, gains in 1/65536. */
#define LOGIT_MOST 2047

CONTEXT_INLINE int32_t clamp(int32_t value, int32_t least, int32_t most) {
    value = value < least ? least : value;
    return value > most ? most : value;
}

typedef struct direction {
    spc_range_encoder *encoder; /* NULL to decode */
    spc_range_decoder *decoder;
} direction;

/* Codes a bit of this logit, and says by how much that was mistaken, in 1/32768. */
CONTEXT_INLINE uint32_t code_bit(const direction *way, int32_t logit, uint32_t bit,
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

/* >> of a negative number rounds down, with every compiler that we know.  Nothing here is clamped:
 * it would take longer, and what goes out of range by some strange feature may as well wrap. */
CONTEXT_INLINE void learn(int16_t *bias, int32_t mistake, uint32_t shift) {
    *bias = (int16_t)(*bias + ((mistake + (1 << (shift - 1))) >> shift));
}

CONTEXT_INLINE int32_t scaled(int32_t logit, uint32_t gain) {
    return (int32_t)((uint32_t)logit * gain) >> 16;
}

/* `index` is of use to an encoder alone.  logits: of each node less 1 */
CONTEXT_INLINE uint32_t code_index(spc_context_state *state, const direction *way, size_t context,
                                   const int32_t *logits, uint32_t index, uint32_t bits) {
    const uint32_t node_bits = bits < 4 ? bits : 4;
    int16_t *bias = state->bias + (context << node_bits);
    uint32_t node = 1;
    int32_t mistake;
    for (uint32_t i = 1; i <= node_bits; i++) {
        const int32_t logit = logits[node - 1];
        const int32_t learned = (bias[node] + state->channel_bias[node] + 2) >> 2;
        const int32_t better = scaled(logit, state->gain[node]) + learned;
        const uint32_t bit = code_bit(way, better, index >> (bits - i) & 1, &mistake);
        state->gain[node] += (uint32_t)((mistake * logit) >> 15);
        learn(&bias[node], mistake, 9);
        learn(&state->channel_bias[node], mistake, 10);
        node = 2 * node + bit;
    }
    for (uint32_t i = node_bits + 1; i <= bits; i++) {
        const int32_t learned = (state->low_bias[node] + 2) >> 2;
        const uint32_t bit = code_bit(way, learned, index >> (bits - i) & 1, &mistake);
        learn(&state->low_bias[node], mistake, 8);
        node = 2 * node + bit;
    }
    return node - (1u << bits);
}

/* What the taps in the symbol's own row add, where they were not known before. */
CONTEXT_INLINE void add_own_row(const spc_context_state *state, const uint8_t *at, size_t column,
                                int16_t *sums) {
    for (uint32_t i = 0; i < state->own_taps; i++) {
        const spc_context_tap *tap = &state->own[i];
        uint32_t level;
        if (column < (size_t)-tap->column) {
            continue;
        }
        level = (uint32_t)at[tap->column] >> state->job.lowest;
        level = level < tap->most ? level : tap->most;
#if SPC_HOSTED
        for (uint32_t j = 0; j < SPC_CONTEXT_UNITS; j++) {
            sums[j] = (int16_t)(sums[j] + state->net.own[i][j] * (int)level);
        }
#else
        const uint8_t *weights = state->net.channel.weights;
        weights += (size_t)(state->job.taps + i) * state->net.channel.units;
        for (uint32_t j = 0; j < state->net.channel.units; j++) {
            sums[j] = (int16_t)(sums[j] + (int8_t)weights[j] * (int)level);
        }
#endif
    }
}

/* Goes through the symbols; a decoder leaves them there. */
CONTEXT_INLINE void code_all(spc_context_state *state, const direction *way, uint8_t *symbols,
                             uint32_t bits) {
    const spc_planes *planes = state->planes;
    const uint32_t near = bits < 2 ? bits : 2, far = bits - near;
    const uint8_t *model = planes->model->bytes + SPC_MODEL_HEADER;
    const size_t columns = planes->columns;
    uint8_t *at = symbols;
    int32_t logits[SPC_CONTEXT_BLOCK][SPC_CONTEXT_NODES + 1];
    for (uint32_t c = 0; c < planes->channels; c++) {
        model = spc_context_start_channel(state, model, way->encoder != NULL);
        for (size_t row = 0; row < planes->rows; row++) {
            uint32_t left = 0, up_left = 0;
            spc_context_start_row(state, row);
            for (size_t first = 0; first < columns; first += SPC_CONTEXT_BLOCK) {
                const size_t stride = SPC_CONTEXT_STRIDE(state->net.channel.units);
                spc_context_start_block(state, at, first);
                CONTEXT_SUMS(&state->job, &state->net, state->sums);
                if (way->encoder) {
                    for (size_t i = 0; i < state->job.count; i++) {
                        context_logits(&state->net, bits, state->sums + i * stride, logits[i]);
                    }
                }
                for (size_t i = 0; i < state->job.count; i++, at++) {
                    const uint32_t up = row > 0 ? (uint32_t)*(at - columns) >> far : 0;
                    const size_t context = (left << near | up) << near | up_left;
                    uint32_t index;
                    if (!way->encoder) {
                        add_own_row(state, at, first + i, state->sums + i * stride);
                        context_logits(&state->net, bits, state->sums + i * stride, logits[i]);
                    }
                    index = code_index(state, way, context, logits[i], *at, bits);
                    if (!way->encoder) {
                        *at = (uint8_t)index;
                    }
                    left = index >> far;
                    up_left = up;
                }
            }
        }
    }
}

CONTEXT_INLINE size_t encode_with(spc_context_state *state, const uint8_t *symbols,
                                  uint8_t *payload, size_t cap) {
    spc_range_encoder rc;
    const direction way = {&rc, NULL};
    uint8_t *from = (uint8_t *)(uintptr_t)symbols; /* an encoder does not write there */
    if (!spc_range_encoder_start(&rc, payload, cap)) {
        return 0;
    }
    CONTEXT_WITH_BITS(state->planes->bits, code_all(state, &way, from, BITS));
    return spc_range_finish_short(&rc, payload);
}

CONTEXT_INLINE int decode_with(spc_context_state *state, const uint8_t *payload, size_t len,
                               uint8_t *symbols) {
    spc_range_decoder rc;
    const direction way = {NULL, &rc};
    spc_range_decoder_start(&rc, payload, len);
    CONTEXT_WITH_BITS(state->planes->bits, code_all(state, &way, symbols, BITS));
    return spc_range_decoder_ended(&rc);
}

#endif
