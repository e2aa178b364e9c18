/* NEON: sums of sixteen columns and eight units in registers, and logits of eight columns and four
 * nodes.  Lanes are columns all the way, so that sums need not be turned. */
#include "neon.h"

#if defined(SPC_ARM64) && SPC_HOSTED
#include <arm_neon.h>

#define INLINE __attribute__((always_inline)) static inline

#define COLUMNS 16
#define UNITS 8

/* Lanes of a vector must be literals. */
#define FOR_EACH_UNIT(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7)

/* ------------------------------------------------------------------ sums of taps */

INLINE int8x16_t load_levels(const uint8_t *at) {
    return vreinterpretq_s8_u8(vld1q_u8(at));
}

/* Rectified sums, SPC_CONTEXT_BLOCK from one unit to the next. */
INLINE void sum_units(const spc_context_network *net, const uint8_t *at, uint32_t unit,
                      int16_t *sums) {
    const int8_t *pair = net->pairs[0][unit];
    int16x8_t low[UNITS], high[UNITS];
    for (uint32_t j = 0; j < UNITS; j++) {
        low[j] = high[j] = vdupq_n_s16(net->biases[unit + j]);
    }
    for (uint32_t i = 0; i < net->channel.taps; i += 2, pair += 2 * SPC_CONTEXT_UNITS) {
        const int8x16_t weights = vld1q_s8(pair);
        const int8x16_t even = load_levels(at + net->offsets[i]);
        const int8x16_t odd = load_levels(at + net->offsets[i + 1]);
#define ADD(j, of_pair, levels)                                                                    \
    {                                                                                              \
        const int8x16_t weight = vdupq_laneq_s8(weights, 2 * (j) + (of_pair));                     \
        low[j] = vmlal_s8(low[j], vget_low_s8(weight), vget_low_s8(levels));                       \
        high[j] = vmlal_high_s8(high[j], weight, levels);                                          \
    }
#define ADD_EVEN(j) ADD(j, 0, even)
#define ADD_ODD(j) ADD(j, 1, odd)
        FOR_EACH_UNIT(ADD_EVEN)
        FOR_EACH_UNIT(ADD_ODD)
    }
    for (uint32_t j = 0; j < UNITS; j++) {
        const int16x8_t floors = vdupq_n_s16(net->floors[unit + j]);
        int16_t *to = sums + (size_t)(unit + j) * SPC_CONTEXT_BLOCK;
        vst1q_s16(to, vmaxq_s16(low[j], floors));
        vst1q_s16(to + 8, vmaxq_s16(high[j], floors));
    }
}

/* ------------------------------------------------------------------ logits */

/* Of eight columns and four nodes, or one. */
typedef struct totals {
    int32x4_t low[4], high[4];
} totals;

INLINE void add_units(totals *sum, uint32_t nodes, const spc_context_network *net, uint32_t node,
                      uint32_t unit, const int16_t *sums) {
    int16x8_t outputs[4];
    for (uint32_t k = 0; k < nodes; k++) {
        outputs[k] = vld1q_s16(net->outputs[node + k] + unit);
    }
    sums += (size_t)unit * SPC_CONTEXT_BLOCK;
#define ADD_UNIT(j)                                                                                \
    {                                                                                              \
        const int16x8_t x = vld1q_s16(sums + (size_t)(j) * SPC_CONTEXT_BLOCK);                     \
        for (uint32_t k = 0; k < nodes; k++) {                                                     \
            sum->low[k] = vmlal_laneq_s16(sum->low[k], vget_low_s16(x), outputs[k], j);            \
            sum->high[k] = vmlal_high_laneq_s16(sum->high[k], x, outputs[k], j);                   \
        }                                                                                          \
    }
    FOR_EACH_UNIT(ADD_UNIT)
}

INLINE int32x4_t rounded(int32x4_t total, int32x4_t shift) {
    total = vminq_s32(vshlq_s32(total, shift), vdupq_n_s32(SPC_CONTEXT_LOGIT));
    return vmaxq_s32(total, vdupq_n_s32(-SPC_CONTEXT_LOGIT));
}

/* sums: of eight columns.  stride: of the logits, from column to column */
INLINE void put_logits(const spc_context_network *net, const int16_t *sums, uint32_t nodes,
                       uint32_t node, size_t stride, int32_t *logits) {
    const int32x4_t half = vdupq_n_s32(1 << (net->channel.shift - 1));
    const int32x4_t shift = vdupq_n_s32(-(int32_t)net->channel.shift);
    totals sum;
    for (uint32_t k = 0; k < nodes; k++) {
        sum.low[k] = sum.high[k] = half;
    }
    add_units(&sum, nodes, net, node, 0, sums);
    if (net->channel.units > UNITS) {
        add_units(&sum, nodes, net, node, UNITS, sums);
    }
    for (uint32_t k = 0; k < nodes; k++) {
        sum.low[k] = rounded(sum.low[k], shift);
        sum.high[k] = rounded(sum.high[k], shift);
    }
    if (nodes == 1) {
        vst1q_s32(logits, sum.low[0]);
        vst1q_s32(logits + 4, sum.high[0]);
        return;
    }
    for (int upper = 0; upper < 2; upper++, logits += 4 * stride) {
        const int32x4_t *x = upper ? sum.high : sum.low;
        const int64x2_t a = vreinterpretq_s64_s32(vtrn1q_s32(x[0], x[1]));
        const int64x2_t b = vreinterpretq_s64_s32(vtrn2q_s32(x[0], x[1]));
        const int64x2_t c = vreinterpretq_s64_s32(vtrn1q_s32(x[2], x[3]));
        const int64x2_t d = vreinterpretq_s64_s32(vtrn2q_s32(x[2], x[3]));
        vst1q_s32(logits, vreinterpretq_s32_s64(vtrn1q_s64(a, c)));
        vst1q_s32(logits + stride, vreinterpretq_s32_s64(vtrn1q_s64(b, d)));
        vst1q_s32(logits + 2 * stride, vreinterpretq_s32_s64(vtrn2q_s64(a, c)));
        vst1q_s32(logits + 3 * stride, vreinterpretq_s32_s64(vtrn2q_s64(b, d)));
    }
}

/* By themselves, as the rest is compiled for each width and both ways. */
#define NOT_INLINE __attribute__((noinline)) static

NOT_INLINE void context_sums(spc_context_state *state) {
    const spc_context_network *net = &state->net;
    const uint8_t *at = spc_context_input(state);
    for (size_t i = 0; i < state->block.count; i += COLUMNS) {
        for (uint32_t unit = 0; unit < net->channel.units; unit += UNITS) {
            sum_units(net, at + i, unit, state->sums + i);
        }
    }
}

NOT_INLINE void logits_of_one(spc_context_state *state) {
    for (size_t i = 0; i < state->block.count; i += 8) {
        put_logits(&state->net, state->sums + i, 1, 0, 1, state->logits + i);
    }
}

NOT_INLINE void logits_of_more(spc_context_state *state, size_t stride) {
    for (size_t i = 0; i < state->block.count; i += 8) {
        int32_t *logits = state->logits + i * stride;
        for (uint32_t node = 0; node < stride; node += 4) {
            put_logits(&state->net, state->sums + i, 4, node, stride, logits + node);
        }
    }
}

INLINE void context_logits(spc_context_state *state, uint32_t bits) {
    context_sums(state);
    if (bits == 1) {
        logits_of_one(state);
    } else {
        logits_of_more(state, (size_t)1 << (bits < 4 ? bits : 4));
    }
}

#define CONTEXT_TARGET
#include "../context_template.h"

size_t spc_context_encode_neon(spc_context_state *state, const uint8_t *symbols, uint8_t *payload,
                               size_t cap) {
    return encode_with(state, symbols, payload, cap);
}

int spc_context_decode_neon(spc_context_state *state, const uint8_t *payload, size_t len,
                            uint8_t *symbols) {
    return decode_with(state, payload, len, symbols);
}

#endif
