#include "internal.h"
#include "kernels.h"
#include "key.h"

/*
 * index = number of thresholds below x, compared as ordered integer keys.
 *
 * This defines the quantiser; every kernel must match it bit for bit.  Do not turn it into
 * argmin |x - c|: its rounding differs between machines.  Ties take the lower index.
 */
void spc_quantize_f32_reference(const int32_t *thresholds, uint32_t bits, const float *values,
                                size_t n, uint8_t *indices) {
    for (size_t i = 0; i < n; i++) {
        indices[i] = (uint8_t)spc_index_of_key(thresholds, bits, spc_key(values[i]));
    }
}

/* An 8-bit integer has 256 values: quantise each once, then look up. */
static void integer_lut(const spc_codebook *codebook, spc_dtype dtype, uint8_t lut[256]) {
    for (int byte = 0; byte < 256; byte++) {
        int value = dtype == SPC_INT8 && byte >= 128 ? byte - 256 : byte;
        int32_t key = spc_key_of_int(value);
        lut[byte] = (uint8_t)spc_index_of_key(codebook->thresholds, codebook->bits, key);
    }
}

spc_status spc_quantize(const spc_codebook *codebook, spc_dtype dtype, const void *values, size_t n,
                        uint8_t *indices) {
    if (!spc_codebook_usable(codebook) || !spc_dtype_size(dtype) ||
        (n > 0 && (!values || !indices))) {
        return SPC_ERROR_ARGUMENT;
    }
    if (n == 0) {
        return SPC_OK;
    }
    if (dtype == SPC_FLOAT32) {
        spc_kernels_get()->quantize_f32(codebook->thresholds, codebook->bits, values, n, indices);
    } else {
        uint8_t lut[256];
        integer_lut(codebook, dtype, lut);
        (void)spc_kernels_get()->look_up_u8(lut, 8, values, n, indices);
    }
    return SPC_OK;
}

/* Indices of one block stay in L1 between the two kernels.  A multiple of 8, so that each block is
 * whole bytes of the packed output. */
#define BLOCK 256

spc_status spc_quantize_pack(const spc_codebook *codebook, spc_dtype dtype, const void *values,
                             size_t n, uint8_t *packed) {
    const spc_kernels *kernels = spc_kernels_get();
    const uint8_t *at = values;
    size_t size = spc_dtype_size(dtype);
    uint8_t lut[256], indices[BLOCK];
    if (!spc_codebook_usable(codebook) || size == 0 || (n > 0 && (!values || !packed))) {
        return SPC_ERROR_ARGUMENT;
    }
    if (dtype != SPC_FLOAT32) {
        integer_lut(codebook, dtype, lut);
    }
    while (n > 0) {
        size_t count = n < BLOCK ? n : BLOCK;
        if (dtype == SPC_FLOAT32) {
            kernels->quantize_f32(codebook->thresholds, codebook->bits,
                                  (const float *)(const void *)at, count, indices);
        } else {
            (void)kernels->look_up_u8(lut, 8, at, count, indices);
        }
        kernels->pack(indices, count, codebook->bits, packed);
        at += count * size;
        packed += spc_packed_size(count, codebook->bits);
        n -= count;
    }
    return SPC_OK;
}
