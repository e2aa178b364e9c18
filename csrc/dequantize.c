#include <string.h>

#include "internal.h"
#include "kernels.h"

/* The 2^bits values as bytes of the output type. */
typedef union lut {
    float f32[SPC_MAX_CENTROIDS];
    uint8_t u8[SPC_MAX_CENTROIDS];
} lut;

/* floor(centroid + 1/2) clamped to [low, high]: exact in double wherever it is not clamped. */
static uint8_t round_to_integer(float centroid, int low, int high) {
    double shifted = (double)centroid + 0.5;
    int value;
    if (shifted < (double)low) {
        value = low;
    } else if (shifted >= (double)high) {
        value = high;
    } else {
        value = (int)shifted;
        value -= (double)value > shifted; /* the cast rounds towards zero */
    }
    return (uint8_t)value;
}

static void fill_lut(const spc_codebook *codebook, spc_dtype dtype, lut *table) {
    uint32_t count = 1u << codebook->bits;
    if (dtype == SPC_FLOAT32) {
        memcpy(table->f32, codebook->centroids, count * sizeof(float));
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        table->u8[i] = dtype == SPC_INT8 ? round_to_integer(codebook->centroids[i], -128, 127)
                                         : round_to_integer(codebook->centroids[i], 0, 255);
    }
}

/* Returns the OR of all indices, for the caller's range check; reads inside the table whatever
 * they are. */
static uint32_t look_up(const lut *table, uint32_t bits, spc_dtype dtype, const uint8_t *indices,
                        size_t n, void *values) {
    uint32_t mask = (1u << bits) - 1, seen = 0;
    if (dtype == SPC_FLOAT32) {
        float *out = values;
        for (size_t i = 0; i < n; i++) {
            seen |= indices[i];
            out[i] = table->f32[indices[i] & mask];
        }
    } else {
        uint8_t *out = values;
        for (size_t i = 0; i < n; i++) {
            seen |= indices[i];
            out[i] = table->u8[indices[i] & mask];
        }
    }
    return seen;
}

spc_status spc_dequantize(const spc_codebook *codebook, spc_dtype dtype, const uint8_t *indices,
                          size_t n, void *values) {
    lut table;
    if (!spc_codebook_usable(codebook) || !spc_dtype_size(dtype) ||
        (n > 0 && (!values || !indices))) {
        return SPC_ERROR_ARGUMENT;
    }
    fill_lut(codebook, dtype, &table);
    if (look_up(&table, codebook->bits, dtype, indices, n, values) >> codebook->bits != 0) {
        return SPC_ERROR_ARGUMENT;
    }
    return SPC_OK;
}

#define BLOCK 256

spc_status spc_unpack_dequantize(const spc_codebook *codebook, spc_dtype dtype,
                                 const uint8_t *packed, size_t n, void *values) {
    const spc_kernels *kernels = spc_kernels_get();
    lut table;
    uint8_t indices[BLOCK];
    uint8_t *out = values;
    size_t size;
    spc_status status;
    if (!spc_codebook_usable(codebook) || !spc_dtype_size(dtype) ||
        (n > 0 && (!values || !packed))) {
        return SPC_ERROR_ARGUMENT;
    }
    status = spc_packed_check(packed, n, codebook->bits);
    if (status != SPC_OK) {
        return status;
    }
    size = spc_dtype_size(dtype);
    fill_lut(codebook, dtype, &table);
    while (n > 0) {
        size_t count = n < BLOCK ? n : BLOCK;
        kernels->unpack(packed, count, codebook->bits, indices);
        look_up(&table, codebook->bits, dtype, indices, count, out);
        packed += spc_packed_size(count, codebook->bits);
        out += count * size;
        n -= count;
    }
    return SPC_OK;
}
