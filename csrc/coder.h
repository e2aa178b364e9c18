/*
 * A coder turns the indices of one feature into a payload and back, losslessly.
 *
 * One coder is one file with one constant spc_coder_ops, listed in coder.c.  Everything there may
 * assume what coder.c has checked: bits 1..8, n > 0, a model for the coder, its bits and channels.
 */
#ifndef SPC_CODER_H
#define SPC_CODER_H

#include "splitcodec.h"

/* The symbols as coders see them: channels one after another, row by row. */
typedef struct spc_planes {
    size_t n;
    uint32_t bits;
    uint32_t channels;
    size_t rows, columns;   /* of each channel */
    const spc_model *model; /* for this coder, or NULL */
} spc_planes;

typedef struct spc_coder_ops {
    /* Whether indices must be put in the order of spc_planes. */
    int planar;

    size_t (*encode_work_size)(const spc_planes *planes);
    size_t (*decode_work_size)(const spc_planes *planes);

    /*
     * Write at most `cap` bytes and return how many; 0 if they do not suffice.  The frame layer
     * passes the packed size less one, and stores the packed indices when it gets 0.
     */
    size_t (*encode)(const spc_planes *planes, const uint8_t *indices, uint8_t *payload, size_t cap,
                     void *work, size_t work_len);

    spc_status (*decode)(const spc_planes *planes, const uint8_t *payload, size_t payload_len,
                         uint8_t *indices, void *work, size_t work_len);

    /* NULL: the coder takes no model.  Otherwise whether `body` can be one's for these bits and
     * channels, and whether the coder can do without. */
    int (*model_valid)(const uint8_t *body, size_t len, uint32_t bits, uint32_t channels);
    int needs_model;

    /* NULL, or one without a model that is used instead where its payload is smaller: a model can
     * be wrong for a feature. */
    const struct spc_coder_ops *rival;
    spc_coder rival_number;
} spc_coder_ops;

/* Between the header and the checksum of a model. */
#define SPC_MODEL_HEADER 8
#define SPC_MODEL_CHECKSUM 4

/* NULL if the build lacks it. */
const spc_coder_ops *spc_coder_find(spc_coder coder);

/* Whether the symbols can be coded with the model. */
int spc_model_fits(const spc_model *model, const spc_symbols *symbols);

extern const spc_coder_ops spc_coder_pack_ops;
#if SPC_WITH_LZMA
extern const spc_coder_ops spc_coder_lzma_ops;
#endif
extern const spc_coder_ops spc_coder_range_ops;
extern const spc_coder_ops spc_coder_rans_ops;
extern const spc_coder_ops spc_coder_context_ops;

#endif
