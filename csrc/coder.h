/*
 * A coder turns the indices of one feature into a payload and back, losslessly.
 *
 * One coder is one file with one constant spc_coder_ops, listed in coder.c.  Everything here may
 * assume what coder.c has checked: bits 1..8, n = elements of the shape > 0.
 */
#ifndef SPC_CODER_H
#define SPC_CODER_H

#include "splitcodec.h"

typedef struct spc_symbols {
    const spc_shape *shape;
    size_t n;
    uint32_t bits;
} spc_symbols;

typedef struct spc_coder_ops {
    const char *name;

    size_t (*encode_work_size)(const spc_symbols *symbols);
    size_t (*decode_work_size)(const spc_symbols *symbols);

    /*
     * Write at most `cap` bytes and return how many; 0 if they do not suffice.  The frame layer
     * passes the packed size less one, and stores the packed indices when it gets 0.
     */
    size_t (*encode)(const spc_symbols *symbols, const uint8_t *indices, uint8_t *payload,
                     size_t cap, void *work, size_t work_len);

    spc_status (*decode)(const spc_symbols *symbols, const uint8_t *payload, size_t payload_len,
                         uint8_t *indices, void *work, size_t work_len);
} spc_coder_ops;

extern const spc_coder_ops spc_coder_pack_ops;
#if SPC_WITH_LZMA
extern const spc_coder_ops spc_coder_lzma_ops;
#endif

#endif
