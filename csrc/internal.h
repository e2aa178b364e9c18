/* Small checks and sizes that several files of the core share. */
#ifndef SPC_INTERNAL_H
#define SPC_INTERNAL_H

#include "splitcodec.h"

/* Bytes of one element; 0 for a value that is no dtype. */
static inline size_t spc_dtype_size(spc_dtype dtype) {
    switch (dtype) {
    case SPC_FLOAT32:
        return 4;
    case SPC_FLOAT16:
    case SPC_BFLOAT16:
        return 2;
    case SPC_INT8:
    case SPC_UINT8:
        return 1;
    }
    return 0;
}

/* One that its arrays may be looked up in: of a single group, for all but codecs. */
static inline int spc_codebook_usable(const spc_codebook *codebook, uint32_t most_groups) {
    return codebook && codebook->bits >= 1 && codebook->bits <= 8 && codebook->groups >= 1 &&
           codebook->groups <= most_groups && codebook->centroids && codebook->thresholds;
}

/* SPC_ERROR_CORRUPT if a bit of the last byte beyond the n indices is set. */
spc_status spc_packed_check(const uint8_t *packed, size_t n, uint32_t bits);

#endif
