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

#include "cpu.h"
#include "splitcodec.h"

#define SPC_CONTEXT_UNITS 16 /* of a channel, at most */
#define SPC_CONTEXT_NODES 15 /* decisions on the upper four bits of an index */
#define SPC_CONTEXT_REACH 2  /* rows and columns that a tap is away, at most */

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
#if SPC_HOSTED
    /* Laid out for vectors.  Kernels may read, and ignore, SPC_CONTEXT_SLACK bytes more before and
     * behind the feature. */
    const int32_t *offsets; /* of each tap's symbol from this one, 0 where its row is outside */
    const uint8_t *most;    /* of each tap, 0 where its row is outside; and 0 to make them even */
    const uint8_t *inside;  /* [2 * REACH + 1][BLOCK]: 0xff where column + that is inside */
    const uint8_t *steps;   /* of each tap: which row of `inside` */
    const int8_t *pairs;    /* [pairs of taps][units][2] */
    const int16_t *biases;  /* [units] */
#endif
} spc_context_job;

#define SPC_CONTEXT_SLACK 64

/* sums: [count][SPC_CONTEXT_STRIDE], 0 beyond `units`. */
void spc_context_sums_reference(const spc_context_job *job, int16_t *sums);

#endif
