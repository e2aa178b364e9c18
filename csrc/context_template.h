/*
 * Coder 4's way through a feature, compiled for each instruction set.
 *
 * Whoever includes this has defined CONTEXT_TARGET, an attribute; CONTEXT_WITH_BITS, like
 * SPC_WITH_CONSTANT_BITS; and context_logits(state, bits), which makes the state's logits of its
 * block: [count][stride], stride being 1 at one bit, else 2^min(bits, 4), and a node's place being
 * its number less 1.
 */
#ifndef SPC_CONTEXT_TEMPLATE_H
#define SPC_CONTEXT_TEMPLATE_H

#include "context.h"
#include "context_logistic.h"
#include "range_coder.h"

#define CONTEXT_INLINE CONTEXT_TARGET __attribute__((always_inline)) static inline

/* Biases are in 1/1024, gains in 1/65536. */

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
    const int32_t used = clamp(logit, -SPC_CONTEXT_LOGIT, SPC_CONTEXT_LOGIT);
    const uint32_t one = spc_context_logistic[(uint32_t)(used + SPC_CONTEXT_LOGIT + 1) >> 3];
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

/* `index` is of use to an encoder alone.  lefts: of each node, `left_step` apart */
CONTEXT_INLINE uint32_t code_index(spc_context_state *state, const direction *way, int16_t *bias,
                                   const int32_t *logits, const int8_t *lefts, uint32_t left_step,
                                   uint32_t index, uint32_t bits) {
    const uint32_t node_bits = bits < 4 ? bits : 4;
    uint32_t node = 1;
    int32_t mistake;
    for (uint32_t i = 1; i <= node_bits; i++) {
        const int32_t logit = logits[node - 1];
        const int32_t learned = (bias[node] + state->channel_bias[node] + 2) >> 2;
        const int32_t left = lefts[(node - 1) * left_step] * 16;
        const int32_t better = scaled(logit, state->gain[node]) + left + learned;
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

/* Goes through the symbols; a decoder leaves them there. */
CONTEXT_INLINE void code_all(spc_context_state *state, const direction *way, uint8_t *symbols,
                             uint32_t bits) {
    const spc_planes *planes = state->planes;
    const uint32_t node_bits = bits < 4 ? bits : 4, near = bits < 2 ? bits : 2, far = bits - near;
    const size_t columns = planes->columns, stride = bits == 1 ? 1 : (size_t)1 << node_bits;
    const uint8_t *model = planes->model->bytes + SPC_MODEL_HEADER;
    uint8_t *at = symbols;
    for (uint32_t c = 0; c < planes->channels; c++) {
        model = spc_context_start_channel(state, model);
        for (size_t row = 0; row < planes->rows; row++) {
            uint32_t left = 0, left_of_left = 0, up_left = 0;
            spc_context_start_row(state, row);
            for (size_t first = 0; first < columns; first += SPC_CONTEXT_BLOCK) {
                spc_context_start_block(state, at, first);
                context_logits(state, bits);
                for (size_t i = 0; i < state->block.count; i++, at++) {
                    const uint32_t up = row > 0 ? (uint32_t)*(at - columns) >> far : 0;
                    const uint32_t context = (left << near | up) << near | up_left;
                    const uint8_t *lefts = state->net.channel.lefts + (left << near | left_of_left);
                    const uint32_t index =
                        code_index(state, way, state->bias + ((size_t)context << node_bits),
                                   state->logits + i * stride, (const int8_t *)lefts,
                                   1u << 2 * near, *at, bits);
                    if (!way->encoder) {
                        *at = (uint8_t)index;
                    }
                    left_of_left = left;
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
