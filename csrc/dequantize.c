#include "internal.h"
#include "kernels.h"

/* These define the look-up; every kernel must match them. */
uint32_t spc_look_up_f32_reference(const float *restrict table, uint32_t bits,
                                   const uint8_t *restrict indices, size_t n,
                                   float *restrict values) {
    uint32_t mask = (1u << bits) - 1, seen = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t index = indices[i];
        seen |= index;
        values[i] = table[index & mask];
    }
    return seen;
}

uint32_t spc_look_up_u8_reference(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                  size_t n, uint8_t *values) {
    uint32_t mask = (1u << bits) - 1, seen = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t index = indices[i];
        seen |= index;
        values[i] = table[index & mask];
    }
    return seen;
}

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

/* Float32 needs no table but the centroids. */
static void fill_lut(const spc_codebook *codebook, spc_dtype dtype,
                     uint8_t lut[SPC_MAX_CENTROIDS]) {
    for (uint32_t i = 0; dtype != SPC_FLOAT32 && i < 1u << codebook->bits; i++) {
        lut[i] = dtype == SPC_INT8 ? round_to_integer(codebook->centroids[i], -128, 127)
                                   : round_to_integer(codebook->centroids[i], 0, 255);
    }
}

static uint32_t look_up(const spc_kernels *kernels, const spc_codebook *codebook, spc_dtype dtype,
                        const uint8_t *lut, const uint8_t *indices, size_t n, void *values) {
    return dtype == SPC_FLOAT32
               ? kernels->look_up_f32(codebook->centroids, codebook->bits, indices, n, values)
               : kernels->look_up_u8(lut, codebook->bits, indices, n, values);
}

spc_status spc_dequantize(const spc_codebook *codebook, spc_dtype dtype, const uint8_t *indices,
                          size_t n, void *values) {
    uint8_t lut[SPC_MAX_CENTROIDS];
    uint32_t seen;
    if (!spc_codebook_usable(codebook) || !spc_dtype_size(dtype) ||
        (n > 0 && (!values || !indices))) {
        return SPC_ERROR_ARGUMENT;
    }
    if (n == 0) {
        return SPC_OK;
    }
    fill_lut(codebook, dtype, lut);
    seen = look_up(spc_kernels_get(), codebook, dtype, lut, indices, n, values);
    return seen >> codebook->bits == 0 ? SPC_OK : SPC_ERROR_ARGUMENT;
}

#define BLOCK 256

spc_status spc_unpack_dequantize(const spc_codebook *codebook, spc_dtype dtype,
                                 const uint8_t *packed, size_t n, void *values) {
    const spc_kernels *kernels = spc_kernels_get();
    uint8_t lut[SPC_MAX_CENTROIDS], indices[BLOCK];
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
    fill_lut(codebook, dtype, lut);
    while (n > 0) {
        size_t count = n < BLOCK ? n : BLOCK;
        kernels->unpack(packed, count, codebook->bits, indices);
        (void)look_up(kernels, codebook, dtype, lut, indices, count, out);
        packed += spc_packed_size(count, codebook->bits);
        out += count * size;
        n -= count;
    }
    return SPC_OK;
}
