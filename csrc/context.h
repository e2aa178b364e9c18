/*
 * The predictions of coder 4: what it takes from a model, and the kernel that sums up neighbours.
 *
 * A channel's model is a small network.  Its inputs are taps: coded neighbours of a symbol, in the
 * same channel or an earlier one, each a level of 0 to 15 or whether there is one at all.  Units
 * are weighted sums of the taps, and decisions weighted sums of units.  docs/format.md has the
 * arithmetic, which is exact in 16 and 32 bits and leaves nothing to a kernel's choice.
 */
#ifndef SPC_CONTEXT_H
#define SPC_CONTEXT_H

#include "coder.h"
#include "cpu.h"

#define SPC_CONTEXT_UNITS 16  /* of a channel, at most */
#define SPC_CONTEXT_NODES 15  /* decisions on the upper four bits of an index */
#define SPC_CONTEXT_REACH 2   /* rows and columns that a tap is away, at most */
#define SPC_CONTEXT_TAPS 255  /* of a channel, at most */
#define SPC_CONTEXT_OWN_ROW 4 /* of them in the symbol's own row */

/* Columns whose sums are computed at once. */
#if SPC_HOSTED
#define SPC_CONTEXT_BLOCK 32
#else
#define SPC_CONTEXT_BLOCK 8
#endif

/* From one column's sums to the next's.  Kernels like it constant, small RAM small. */
#if SPC_HOSTED
#define SPC_CONTEXT_STRIDE(units) SPC_CONTEXT_UNITS
#else
#define SPC_CONTEXT_STRIDE(units) (units)
#endif

/* One channel's part of the model: pointers into its bytes. */
typedef struct spc_context_channel {
    uint32_t taps, left; /* `left`: how many, the last, are in the symbol's own row */
    uint32_t units, linear, shift;
    const uint8_t *places;  /* 2 bytes for each tap */
    const uint8_t *weights; /* int8_t [taps][units] */
    const uint8_t *biases;  /* int16_t [units] */
    const uint8_t *nodes;   /* for each: int16_t constant, int16_t [units] */
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

/* The sums of `count` columns of one row.  Symbols that lie outside of their plane count as 0. */
typedef struct spc_context_job {
    const spc_context_channel *channel;
    uint32_t taps;     /* the first ones: all, or all but those in the symbol's own row */
    uint32_t lowest;   /* bits of an index below its level */
    const uint8_t *at; /* the first symbol */
    size_t rows, columns, row, column, count;
} spc_context_job;

/* One channel's part of the model, and the same laid out for vectors where there is room. */
typedef struct spc_context_network {
    spc_context_channel channel;
#if SPC_HOSTED
    int16_t floors[SPC_CONTEXT_UNITS]; /* 0 where a unit is rectified */
    int16_t biases[SPC_CONTEXT_UNITS];
    int16_t outputs[SPC_CONTEXT_NODES + 1][SPC_CONTEXT_UNITS];
    int32_t constants[SPC_CONTEXT_NODES + 1];
    int16_t own[SPC_CONTEXT_OWN_ROW][SPC_CONTEXT_UNITS];
    int8_t pairs[(SPC_CONTEXT_TAPS + 1) / 2][SPC_CONTEXT_UNITS][2]; /* of taps */
    int32_t offsets[SPC_CONTEXT_TAPS + 1]; /* of a tap's symbol; 0 where its row is outside */
    uint8_t most[SPC_CONTEXT_TAPS + 1];    /* of a tap's level; 0 where its row is outside */
    uint8_t steps[SPC_CONTEXT_TAPS + 1];   /* which row of `inside` a tap needs */
    uint8_t inside[2 * SPC_CONTEXT_REACH + 1][SPC_CONTEXT_BLOCK]; /* 0xff or 0 */
    int32_t before, behind; /* columns of the row, from the block's first one, that it is for */
#endif
} spc_context_network;

/* Of a coder while it goes through a feature.  What it learns has an entry for each node, of which
 * the first is not used. */
typedef struct spc_context_state {
    const spc_planes *planes;
    uint32_t node_bits;    /* of an index that the model predicts, from the top */
    uint32_t neighbour_at; /* of an index, the bits above this choose the biases */
    spc_context_job job;
    spc_context_network net;
    spc_context_tap own[SPC_CONTEXT_OWN_ROW]; /* a decoder's, in the symbol's own row */
    uint32_t own_taps;
    int16_t sums[SPC_CONTEXT_BLOCK * SPC_CONTEXT_UNITS];
    uint32_t gain[SPC_CONTEXT_NODES + 1];
    int16_t channel_bias[SPC_CONTEXT_NODES + 1];
    int16_t *bias;     /* [contexts][nodes], for the whole feature */
    int16_t *low_bias; /* [2^bits], of the nodes that the model does not predict */
} spc_context_state;

/* Steps of the template below that do not depend on the instruction set. */
const uint8_t *spc_context_start_channel(spc_context_state *state, const uint8_t *model,
                                         int own_row_is_known);
void spc_context_start_row(spc_context_state *state, size_t row);
void spc_context_start_block(spc_context_state *state, const uint8_t *at, size_t column);

/* sums: [count][SPC_CONTEXT_STRIDE], 0 beyond `units`. */
void spc_context_sums_reference(const spc_context_job *job, int16_t *sums);

/* Payload of `symbols`, or 0 if it does not fit; and the reverse.  Where there is room, the
 * symbols have SPC_CONTEXT_SLACK bytes before and behind them that may be read. */
size_t spc_context_encode_reference(spc_context_state *state, const uint8_t *symbols,
                                    uint8_t *payload, size_t cap);
int spc_context_decode_reference(spc_context_state *state, const uint8_t *payload, size_t len,
                                 uint8_t *symbols);

#define SPC_CONTEXT_SLACK 64

#endif
