/* A codebook made ready for one dtype: what the kernels of that dtype take. */
#ifndef SPC_LEVELS_H
#define SPC_LEVELS_H

#include "internal.h"
#include "kernels.h"

/* Indices of one block stay in L1 between two kernels.  A multiple of 8, so that each block is
 * whole bytes of packed indices; small where the stack is. */
#if SPC_HOSTED
#define SPC_BLOCK 2048
#else
#define SPC_BLOCK (SPC_HELIUM ? 64 : 32)
#endif

/* Tables of one byte for each integer, or for each index of a codebook. */
#define SPC_INTEGER_TABLE (SPC_HAS_DTYPE(SPC_INT8) || SPC_HAS_DTYPE(SPC_UINT8) ? 256 : 1)

/* Tables that only pay where there are vectors, and are more than there is of stack elsewhere. */
#define SPC_VECTOR_TABLE (SPC_ONE_SET ? 1 : SPC_MAX_CENTROIDS)
#define SPC_KEYS8 (SPC_ONE_SET && !SPC_HELIUM ? 1 : 1 << SPC_QUANTIZE_I8_BITS)

typedef struct spc_quantizer {
    spc_dtype dtype;
    uint32_t bits;
    const int32_t *thresholds; /* float32 needs no more */
    int16_t keys16[SPC_VECTOR_TABLE];
    /* Integers: those not above each threshold, where a kernel takes them and all of them fit; else
     * the index of each of the 256 */
    int keys8_fit;
    int8_t keys8[SPC_KEYS8];
    uint8_t lut[SPC_INTEGER_TABLE];
} spc_quantizer;

void spc_quantizer_init(spc_quantizer *quantizer, const int32_t *thresholds, uint32_t bits,
                        spc_dtype dtype);

/* n > 0 */
void spc_quantizer_run(const spc_quantizer *quantizer, const void *values, size_t n,
                       uint8_t *indices);

/* The element of `dtype`, which is not float32, that a centroid becomes. */
void spc_narrow_to(spc_dtype dtype, float centroid, uint8_t *element);

/* Widest indices whose integers are in a table; small where the stack is. */
#define SPC_TABLED_BITS (SPC_ONE_SET ? 5 : 8)

typedef struct spc_dequantizer {
    spc_dtype dtype;
    uint32_t bits;
    const float *centroids; /* float32 needs no more */
    uint16_t halves[SPC_VECTOR_TABLE];
    uint8_t bytes[1 << SPC_TABLED_BITS];
} spc_dequantizer;

void spc_dequantizer_init(spc_dequantizer *dequantizer, const float *centroids, uint32_t bits,
                          spc_dtype dtype);

/* n > 0; the OR of the indices, stray bits included */
uint32_t spc_dequantizer_run(const spc_dequantizer *dequantizer, const uint8_t *indices, size_t n,
                             void *values);

#endif
