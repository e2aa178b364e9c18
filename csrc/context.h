/*
 * The predictions of coder 4: what it takes from a model, and the kernel that sums up neighbours.
 *
 * A channel's model is a small network.  Its inputs are taps: coded neighbours of a symbol, in rows
 * above and in earlier channels, each a level of 0 to 15 or whether there is one at all.  Units are
 * weighted sums of the taps, and logits of decisions weighted sums of units.  All of that is known
 * for a whole row at once, in a decoder as well; what the two symbols to the left say is added to
 * a logit from a table.  docs/format.md has the arithmetic, which is exact in 16 and 32 bits and
 * leaves nothing to a kernel's choice.
 */
#ifndef SPC_CONTEXT_H
#define SPC_CONTEXT_H

#include "coder.h"
#include "cpu.h"

#define SPC_CONTEXT_UNITS 16 /* of a channel, at most */
#define SPC_CONTEXT_NODES 15 /* decisions on the upper four bits of an index */
#define SPC_CONTEXT_REACH 2  /* rows and columns that a tap is away, at most */
#define SPC_CONTEXT_TAPS 255 /* of a channel, at most */

/* Logits are in 1/256, and within this. */
#define SPC_CONTEXT_LOGIT 2047

#if SPC_HOSTED
typedef int32_t spc_context_logit;
#else
typedef int16_t spc_context_logit;
#endif

/* Columns whose logits are computed at once. */
#define SPC_CONTEXT_BLOCK 32

/* One channel's part of the model: pointers into its bytes. */
typedef struct spc_context_channel {
    uint32_t taps, units, linear, shift;
    const uint8_t *places;  /* 2 bytes for each tap */
    const uint8_t *weights; /* int8_t [taps][units] */
    const uint8_t *biases;  /* int16_t [units] */
    const uint8_t *outputs; /* int16_t [nodes][units] */
    const uint8_t *lefts;   /* int8_t [nodes][left][left of that], by the top bits of both */
} spc_context_channel;

/* A tap: the channels that it is back, its row and column from the symbol, and what it asks. */
typedef struct spc_context_tap {
    uint32_t back;
    int32_t row, column;
    uint32_t most; /* the tap's input is at most this: 1, or the highest level */
} spc_context_tap;

static inline spc_context_tap spc_context_tap_at(const uint8_t *place) {
    const uint32_t side = 2 * SPC_CONTEXT_REACH + 1, at = place[1] & 0x7fu;
    return (spc_context_tap){place[0], (int32_t)(at / side) - SPC_CONTEXT_REACH,
                             (int32_t)(at % side) - SPC_CONTEXT_REACH, place[1] & 0x80 ? 1 : 15};
}

/* One channel's part of the model, and the same laid out for vectors where there is room. */
typedef struct spc_context_network {
    spc_context_channel channel;
#if SPC_HOSTED
    int16_t floors[SPC_CONTEXT_UNITS]; /* 0 where a unit is rectified */
    int16_t biases[SPC_CONTEXT_UNITS];
    int16_t outputs[SPC_CONTEXT_NODES + 1][SPC_CONTEXT_UNITS];
    int8_t pairs[(SPC_CONTEXT_TAPS + 1) / 2][SPC_CONTEXT_UNITS][2]; /* of taps */
    ptrdiff_t offsets[SPC_CONTEXT_TAPS + 1]; /* of a tap's input from the symbol's level */
#endif
} spc_context_network;

#if SPC_HOSTED
/*
 * Levels of the symbols, and whether there is one at all, each plane with margins of zeros: so that
 * a tap is always there, at an offset of its own.  One margin of columns serves two rows.  Kernels
 * may read SPC_CONTEXT_BLOCK bytes more than a row's end.
 */
typedef struct spc_context_inputs {
    uint8_t *levels;           /* of the first channel's first row */
    size_t row, plane, is_set; /* bytes from one to the next, and from levels to the others */
} spc_context_inputs;
#endif

/* Columns of a row that are next. */
typedef struct spc_context_block {
    const uint8_t *at; /* the first symbol */
    uint32_t channel;
    size_t row, column, count;
} spc_context_block;

/* Where a tap looks, in elements on from the symbol, and in rows and columns, for a kernel that has
 * no margins. */
typedef struct spc_context_place {
    ptrdiff_t offset;
    int8_t row, column;
    uint8_t is_set;
} spc_context_place;

/* A decision that has been coded: where the biases of its context are, what was predicted, and by
 * how much that was mistaken. */
typedef struct spc_context_lesson {
    int16_t *bias;
    uint32_t node;
    int32_t logit, mistake;
} spc_context_lesson;

/* What is learned of each node beside the biases of contexts; the first entries are not used. */
typedef struct spc_context_learned {
    uint32_t gain[SPC_CONTEXT_NODES + 1];
    int16_t bias[SPC_CONTEXT_NODES + 1]; /* in this channel */
} spc_context_learned;

/* Of a coder while it goes through a feature. */
typedef struct spc_context_state {
    const spc_planes *planes;
    uint32_t lowest; /* bits of an index below its level */
    spc_context_block block;
    spc_context_network net;
#if SPC_HOSTED
    spc_context_inputs inputs;
    int16_t sums[SPC_CONTEXT_BLOCK * SPC_CONTEXT_UNITS];
#endif
    spc_context_learned learned;
    spc_context_lesson before[4];
    /* of a kernel that has no vectors: inputs that are in the row, by columns from -REACH on;
     * places of the channel's taps, their inputs, and the sums of each unit */
    uint32_t inside[2 * SPC_CONTEXT_REACH + 1];
    spc_context_place *places;
    uint32_t *words, *unit_sums;
    spc_context_logit *logits; /* [SPC_CONTEXT_BLOCK][nodes + 1], of 1 bit without the 1 */
    int16_t *bias;             /* [contexts][nodes], for the whole feature */
    int16_t *low_bias;         /* [2^bits], of the nodes that the model does not predict */
} spc_context_state;

#if SPC_HOSTED
/* The level of the block's first symbol. */
static inline const uint8_t *spc_context_input(const spc_context_state *state) {
    const spc_context_inputs *inputs = &state->inputs;
    const spc_context_block *block = &state->block;
    return inputs->levels + block->channel * inputs->plane + block->row * inputs->row +
           block->column;
}
#endif

/* Steps of the template that do not depend on the instruction set. */
const uint8_t *spc_context_start_channel(spc_context_state *state, const uint8_t *model);
void spc_context_start_block(spc_context_state *state, const uint8_t *at, size_t column);
#if SPC_HOSTED
/* The block's row is known. */
void spc_context_put_row(spc_context_state *state, const uint8_t *symbols);
#endif

/* Payload of `symbols`, or 0 if it does not fit; and the reverse. */
size_t spc_context_encode_reference(spc_context_state *state, const uint8_t *symbols,
                                    uint8_t *payload, size_t cap);
int spc_context_decode_reference(spc_context_state *state, const uint8_t *payload, size_t len,
                                 uint8_t *symbols);

#endif
