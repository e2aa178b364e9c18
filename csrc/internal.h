/* Small checks and sizes that several files of the core share. */
#ifndef SPC_INTERNAL_H
#define SPC_INTERNAL_H

#include "config.h"
#include "splitcodec.h"

/* Bytes of one element; 0 for a value that is no dtype, or one that this build lacks. */
static inline size_t spc_dtype_size(spc_dtype dtype) {
    switch (dtype) {
    case SPC_FLOAT32:
        return SPC_HAS_DTYPE(SPC_FLOAT32) ? 4 : 0;
    case SPC_FLOAT16:
        return SPC_HAS_DTYPE(SPC_FLOAT16) ? 2 : 0;
    case SPC_BFLOAT16:
        return SPC_HAS_DTYPE(SPC_BFLOAT16) ? 2 : 0;
    case SPC_INT8:
        return SPC_HAS_DTYPE(SPC_INT8) ? 1 : 0;
    case SPC_UINT8:
        return SPC_HAS_DTYPE(SPC_UINT8) ? 1 : 0;
    }
    return 0;
}

/* Of what this build has, which makes the rest of a function dead code. */
static inline int spc_is_float32(spc_dtype dtype) {
    return SPC_HAS_DTYPE(SPC_FLOAT32) && ((SPC_DTYPES) == 1 << SPC_FLOAT32 || dtype == SPC_FLOAT32);
}

static inline int spc_is_half(spc_dtype dtype) {
    return (SPC_HAS_DTYPE(SPC_FLOAT16) && dtype == SPC_FLOAT16) ||
           (SPC_HAS_DTYPE(SPC_BFLOAT16) && dtype == SPC_BFLOAT16);
}

static inline int spc_is_integer(spc_dtype dtype) {
    return !spc_is_float32(dtype) && !spc_is_half(dtype);
}

/* Whether this build has indices so wide. */
static inline int spc_bits_usable(uint32_t bits) {
    return bits >= 1 && bits <= 8 && ((SPC_BITS) == 0x1fe || SPC_HAS_BITS(bits));
}

/* Groups of channels that a codec may have. */
#define SPC_MOST_GROUPS (SPC_GROUPS ? SPC_MAX_GROUPS : 1)

/* One that its arrays may be looked up in: of a single group, for all but codecs. */
static inline int spc_codebook_usable(const spc_codebook *codebook, uint32_t most_groups) {
    return codebook && spc_bits_usable(codebook->bits) && codebook->groups >= 1 &&
           codebook->groups <= most_groups && codebook->centroids && codebook->thresholds;
}

/* SPC_ERROR_CORRUPT if a bit of the last byte beyond the n indices is set. */
spc_status spc_packed_check(const uint8_t *packed, size_t n, uint32_t bits);

#endif
