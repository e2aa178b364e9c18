/*
 * Coder 4's way through a feature, compiled for each instruction set.
 *
 * Whoever includes this has defined CONTEXT_TARGET, an attribute, and context_logits(state, bits),
 * which makes the state's logits of its block: [count][stride], stride being 1 at one bit, else
 * 2^min(bits, 4), and a node's place being its number less 1.
 */
#ifndef SPC_CONTEXT_TEMPLATE_H
#define SPC_CONTEXT_TEMPLATE_H

#include <string.h>

#include "context.h"
#include "context_logistic.h"
#include "range_coder.h"

#define CONTEXT_INLINE CONTEXT_TARGET __attribute__((always_inline)) static inline

/* Where code must be small, or is made long by a sanitizer. */
#if !SPC_HOSTED || defined(__SANITIZE_ADDRESS__)
#define CONTEXT_SMALL 1
#elif defined(__has_feature)
#define CONTEXT_SMALL (__has_feature(address_sanitizer) || __has_feature(memory_sanitizer))
#else
#define CONTEXT_SMALL 0
#endif

/* The loops over a symbol's decisions have few turns, which gcc knows but does not always use. */
#if CONTEXT_SMALL || defined(__clang__)
#define UNROLLED
#else
#define UNROLLED _Pragma("GCC unroll 4")
#endif

/* Biases are in 1/1024, gains in 1/65536. */

typedef struct direction {
    spc_range_encoder *encoder; /* NULL to decode */
    spc_range_decoder *decoder;
} direction;

/* How likely a 0 is, in 1/32768. */
CONTEXT_INLINE uint32_t zero_of(int32_t logit) {
#if SPC_HOSTED
    uint32_t place = (uint32_t)(logit + SPC_CONTEXT_LOGIT + 1);
    if (place > 2 * SPC_CONTEXT_LOGIT + 1) { /* seldom; place 0 is one below the least logit's */
        place = logit < 0 ? 0 : 2 * SPC_CONTEXT_LOGIT + 1;
    }
    return 32768 - spc_context_logistic[place >> 3];
#else
    int32_t size = logit ^ (logit >> 31); /* of a negative one, less 1 */
    uint32_t likely;
    size = size > SPC_CONTEXT_LOGIT ? SPC_CONTEXT_LOGIT : size;
    likely = spc_context_logistic[size >> 3];
    return logit < 0 ? likely : 32768 - likely;
#endif
}

/* Codes a bit of this logit, and says by how much that was mistaken, in 1/32768. */
CONTEXT_INLINE uint32_t code_bit(const direction *way, int32_t logit, uint32_t bit,
                                 int32_t *mistake) {
    const uint32_t zero = zero_of(logit);
    if (way->encoder) {
        spc_range_put_bit(way->encoder, zero, bit);
    } else {
        bit = spc_range_get_bit(way->decoder, zero);
    }
    *mistake = (int32_t)(bit << 15) - (int32_t)(32768 - zero);
    return bit;
}

/* >> of a negative number rounds down, with every compiler that we know.  Nothing here is clamped:
 * it would take longer, and what goes out of range by some strange feature may as well wrap. */
CONTEXT_INLINE void correct(int16_t *bias, int32_t mistake, uint32_t shift) {
    *bias = (int16_t)(*bias + ((mistake + (1 << (shift - 1))) >> shift));
}

CONTEXT_INLINE void learn(spc_context_learned *all, const spc_context_lesson *from) {
    all->gain[from->node] += (uint32_t)((from->mistake * from->logit) >> 15);
    correct(&from->bias[from->node], from->mistake, 9);
    correct(&all->bias[from->node], from->mistake, 9);
}

CONTEXT_INLINE int32_t scaled(int32_t logit, uint32_t gain) {
    return (int32_t)((uint32_t)logit * gain) >> 16;
}

/* `index` is of use to an encoder alone.  lefts: of each node, `left_step` apart */
CONTEXT_INLINE uint32_t code_index(spc_context_learned *all, int16_t *low_bias,
                                   const direction *way, int16_t *bias,
                                   const spc_context_logit *logits, const int8_t *lefts,
                                   uint32_t left_step, uint32_t index, uint32_t bits,
                                   spc_context_lesson *before) {
    const uint32_t node_bits = bits < 4 ? bits : 4;
    uint32_t node = 1;
    UNROLLED
    for (uint32_t i = 0; i < node_bits; i++) {
        const int32_t logit = logits[node - 1];
        const int32_t corrected = (bias[node] + all->bias[node] + 2) >> 2;
        const int32_t left = lefts[(node - 1) * left_step] * 16;
        const int32_t better = scaled(logit, all->gain[node]) + left + corrected;
        learn(all, &before[i]);
        before[i] = (spc_context_lesson){bias, node, logit, 0};
        node = 2 * node + code_bit(way, better, index >> (bits - 1 - i) & 1, &before[i].mistake);
    }
    UNROLLED
    for (uint32_t i = node_bits; i < bits; i++) {
        int16_t *own = &low_bias[node];
        int32_t mistake;
        node = 2 * node + code_bit(way, (*own + 2) >> 2, index >> (bits - 1 - i) & 1, &mistake);
        correct(own, mistake, 8);
    }
    return node - (1u << bits);
}

/* The block's symbols, which a decoder leaves there.  Takes and returns what is to the left: the
 * top bits of symbols above, above to the left, to the left, and left of that. */
CONTEXT_INLINE uint32_t code_block(const spc_context_state *state, const direction *way,
                                   spc_context_learned *all, spc_context_lesson *before,
                                   uint8_t *at, uint32_t seen, uint32_t bits) {
    static const uint8_t nothing[SPC_CONTEXT_BLOCK]; /* above the first row */
    const uint32_t node_bits = bits < 4 ? bits : 4, near = bits < 2 ? bits : 2, far = bits - near;
    const size_t stride = bits == 1 ? 1 : (size_t)1 << node_bits, count = state->block.count;
    const uint8_t *above = state->block.row > 0 ? at - state->planes->columns : nothing;
    const spc_context_logit *logits = state->logits;
    const int8_t *lefts = (const int8_t *)state->net.channel.lefts;
    int16_t *bias = state->bias, *low_bias = state->low_bias;
    for (size_t i = 0; i < count; i++) {
        uint32_t index;
        seen |= (uint32_t)(above[i] >> far) << 3 * near;
        index = code_index(all, low_bias, way, bias + (seen >> near << node_bits),
                           logits + i * stride, lefts + (seen & ((1u << 2 * near) - 1)),
                           1u << 2 * near, at[i], bits, before);
        if (!way->encoder) {
            at[i] = (uint8_t)index;
        }
        seen = (seen >> near & ~(((1u << near) - 1) << near)) | index >> far << near;
    }
    return seen;
}

#if CONTEXT_SMALL

/* For one bit what is learned is a few registers, else it stays in the work: so is the stack small.
 */
CONTEXT_INLINE uint32_t code_block_of_1(spc_context_state *state, const direction *way, uint8_t *at,
                                        uint32_t seen) {
    spc_context_lesson before = state->before[0];
    spc_context_learned own;
    before.node = 1; /* as it is, which compilers should know */
    own.gain[1] = state->learned.gain[1];
    own.bias[1] = state->learned.bias[1];
    seen = code_block(state, way, &own, &before, at, seen, 1);
    state->learned.gain[1] = own.gain[1];
    state->learned.bias[1] = own.bias[1];
    state->before[0] = before;
    return seen;
}

/* Functions by themselves, whose stack is given back before the next logits are computed. */
CONTEXT_TARGET static __attribute__((noinline, unused)) uint32_t
put_block_of_1(spc_context_state *state, spc_range_encoder *rc, uint8_t *at, uint32_t seen) {
    spc_range_encoder local = *rc;
    seen = code_block_of_1(state, &(direction){&local, NULL}, at, seen);
    *rc = local;
    return seen;
}

CONTEXT_TARGET static __attribute__((noinline, unused)) uint32_t put_block(spc_context_state *state,
                                                                           spc_range_encoder *rc,
                                                                           uint8_t *at,
                                                                           uint32_t seen) {
    return code_block(state, &(direction){rc, NULL}, &state->learned, state->before, at, seen,
                      spc_planes_bits(state->planes));
}

CONTEXT_TARGET static __attribute__((noinline, unused)) uint32_t
get_block_of_1(spc_context_state *state, spc_range_decoder *rc, uint8_t *at, uint32_t seen) {
    return code_block_of_1(state, &(direction){NULL, rc}, at, seen);
}

CONTEXT_TARGET static __attribute__((noinline, unused)) uint32_t get_block(spc_context_state *state,
                                                                           spc_range_decoder *rc,
                                                                           uint8_t *at,
                                                                           uint32_t seen) {
    return code_block(state, &(direction){NULL, rc}, &state->learned, state->before, at, seen,
                      spc_planes_bits(state->planes));
}

#endif

/* Goes through the symbols, and learns from them. */
CONTEXT_INLINE void code_all(spc_context_state *state, const direction *way, uint8_t *symbols,
                             uint32_t bits, spc_context_learned *all, spc_context_lesson *before) {
    const spc_planes *planes = state->planes;
    const uint32_t node_bits = bits < 4 ? bits : 4;
    const size_t columns = planes->columns;
    const uint8_t *model = planes->model->bytes + SPC_MODEL_HEADER;
    spc_context_block *block = &state->block;
    uint8_t *at = symbols;
    for (uint32_t node = 1; node < 1u << node_bits; node++) {
        all->gain[node] = 65536;
    }
    for (block->channel = 0; block->channel < planes->channels; block->channel++) {
        model = spc_context_start_channel(state, model);
        for (uint32_t node = 1; node < 1u << node_bits; node++) {
            all->bias[node] = 0;
        }
        /* Lessons are learned one symbol late, so that a prediction need not wait for the one
         * before */
        for (uint32_t k = 0; k < node_bits; k++) {
            before[k] = (spc_context_lesson){state->bias, 1, 0, 0}; /* nothing */
        }
        for (block->row = 0; block->row < planes->rows; block->row++) {
            uint32_t seen = 0;
            for (size_t first = 0; first < columns; first += SPC_CONTEXT_BLOCK) {
                spc_context_start_block(state, at, first);
                context_logits(state, bits);
#if CONTEXT_SMALL
                if (way->encoder) {
                    seen = bits == 1 ? put_block_of_1(state, way->encoder, at, seen)
                                     : put_block(state, way->encoder, at, seen);
                } else {
                    seen = bits == 1 ? get_block_of_1(state, way->decoder, at, seen)
                                     : get_block(state, way->decoder, at, seen);
                }
#else
                seen = code_block(state, way, all, before, at, seen, bits);
#endif
                at += block->count;
            }
#if SPC_HOSTED
            if (!way->encoder) {
                spc_context_put_row(state, at - columns);
            }
#endif
        }
    }
}

#if CONTEXT_SMALL

CONTEXT_INLINE void code_with(spc_context_state *state, const direction *way, uint8_t *symbols) {
    code_all(state, way, symbols, spc_planes_bits(state->planes), &state->learned, state->before);
}

#else

/* What is learned is apart for each number of bits: of a few it is registers. */
CONTEXT_INLINE void code_by_itself(spc_context_state *state, const direction *way, uint8_t *symbols,
                                   uint32_t bits) {
    spc_context_learned all;
    spc_context_lesson before[4];
    code_all(state, way, symbols, bits, &all, before);
}

/* Few bits as constants, which makes the loops over them straight. */
CONTEXT_INLINE void code_with(spc_context_state *state, const direction *way, uint8_t *symbols) {
    const uint32_t bits = spc_planes_bits(state->planes);
    switch (bits) {
    case 1:
        code_by_itself(state, way, symbols, 1);
        return;
    case 2:
        code_by_itself(state, way, symbols, 2);
        return;
    case 3:
        code_by_itself(state, way, symbols, 3);
        return;
    default:
        code_by_itself(state, way, symbols, bits);
    }
}

#endif

CONTEXT_INLINE size_t encode_with(spc_context_state *state, const uint8_t *symbols,
                                  uint8_t *payload, size_t cap) {
    spc_range_encoder rc;
    const direction way = {&rc, NULL};
    uint8_t *from = (uint8_t *)(uintptr_t)symbols; /* an encoder does not write there */
    if (!spc_range_encoder_start_short(&rc, payload, cap)) {
        return 0;
    }
#if SPC_HOSTED
    for (uint32_t c = 0; c < state->planes->channels; c++) {
        for (size_t row = 0; row < state->planes->rows; row++, symbols += state->planes->columns) {
            state->block.channel = c;
            state->block.row = row;
            spc_context_put_row(state, symbols);
        }
    }
#endif
    code_with(state, &way, from);
    return spc_range_finish_short(&rc, payload);
}

CONTEXT_INLINE int decode_with(spc_context_state *state, const uint8_t *payload, size_t len,
                               uint8_t *symbols) {
    spc_range_decoder rc;
    const direction way = {NULL, &rc};
    spc_range_decoder_start(&rc, payload, len);
    code_with(state, &way, symbols);
    return spc_range_decoder_ended(&rc);
}

#endif
