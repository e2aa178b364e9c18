/*
 * A coder turns the indices of one feature into a payload and back, losslessly.
 *
 * One coder is one file with an spc_coder_ops and an spc_decoder_ops, listed in coder.c (that of
 * lzma has a file of its own, for liblzma).  Everything there may assume what coder.c has checked:
 * bits 1..8, n > 0, a model for the coder, its bits and channels.
 */
#ifndef SPC_CODER_H
#define SPC_CODER_H

#include "config.h"
#include "splitcodec.h"

/* The symbols as coders see them: channels one after another, row by row. */
typedef struct spc_planes {
    size_t n;
    uint32_t bits;
    uint32_t channels;
    size_t rows, columns;   /* of each channel */
    const spc_model *model; /* for this coder, or NULL; a rival sees it too */
    size_t outer, inner;    /* in the order of the shape, indices are [outer][channels][inner] */
} spc_planes;

/* Known to compilers where there is but one width. */
static inline uint32_t spc_planes_bits(const spc_planes *planes) {
    return SPC_BITS_OF(planes->bits);
}

typedef struct spc_coder_ops {
    /* Whether indices must be put in the order of spc_planes. */
    int planar;

    /* Whether it does nothing without a model. */
    int needs_model;

    size_t (*work_size)(const spc_planes *planes);

    /*
     * Write at most `cap` bytes and return how many; 0 if they do not suffice.  The frame layer
     * passes the packed size less one, and stores the packed indices when it gets 0.
     */
    size_t (*encode)(const spc_planes *planes, const uint8_t *indices, uint8_t *payload, size_t cap,
                     void *work, size_t work_len);

    /* NULL, or one without a model that is used instead where its payload is smaller: a model can
     * be wrong for a feature. */
    const struct spc_coder_ops *rival;
    spc_coder rival_number;
} spc_coder_ops;

/* The way back, apart from it: linkers leave out what is never called. */
typedef struct spc_decoder_ops {
    size_t (*work_size)(const spc_planes *planes);
    spc_status (*decode)(const spc_planes *planes, const uint8_t *payload, size_t payload_len,
                         uint8_t *indices, void *work, size_t work_len);
} spc_decoder_ops;

/* Between the header and the checksum of a model. */
#define SPC_MODEL_HEADER 8
#define SPC_MODEL_CHECKSUM 4

/* NULL if the build lacks it. */
const spc_coder_ops *spc_coder_find(spc_coder coder);
const spc_decoder_ops *spc_decoder_find(spc_coder coder);

/*
 * How `coder` sees symbols, which are as spc_symbols have them.  Checks all of it; without elements
 * nothing but planes->n is told.
 */
spc_status spc_coder_describe(spc_coder coder, const spc_shape *shape, uint32_t axis, uint32_t bits,
                              const spc_model *model, spc_planes *planes);

/* The public calls, of what was described for the coder.  `payload` has room for the packed
 * indices; *coder becomes the one that wrote it. */
size_t spc_planes_encode_work_size(const spc_planes *planes, spc_coder coder);
size_t spc_planes_decode_work_size(const spc_planes *planes, spc_coder coder);
spc_status spc_planes_encode(const spc_planes *planes, spc_coder *coder, const uint8_t *indices,
                             uint8_t *payload, size_t *payload_len, void *work, size_t work_len);
spc_status spc_planes_decode(const spc_planes *planes, spc_coder coder, const uint8_t *payload,
                             size_t payload_len, uint8_t *indices, void *work, size_t work_len);

/* Whether `body` can be that of the coder's model for these bits and channels. */
typedef int spc_model_check(const uint8_t *body, size_t len, uint32_t bits, uint32_t channels);
extern spc_model_check spc_range_model_valid, spc_rans_model_valid, spc_context_model_valid;

extern const spc_coder_ops spc_coder_pack_ops, spc_coder_lzma_ops, spc_coder_range_ops,
    spc_coder_rans_ops, spc_coder_context_ops;
extern const spc_decoder_ops spc_decoder_pack_ops, spc_decoder_lzma_ops, spc_decoder_range_ops,
    spc_decoder_rans_ops, spc_decoder_context_ops;

#endif
