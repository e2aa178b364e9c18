#include <string.h>

#include "half.h"
#include "internal.h"
#include "levels.h"

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

uint32_t spc_look_up_u16_reference(const uint16_t *restrict table, uint32_t bits,
                                   const uint8_t *restrict indices, size_t n,
                                   uint16_t *restrict values) {
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

/* floor(centroid + 1/2) clamped to [low, high]: halves go up, so that those below 0 are cut. */
static uint8_t round_to_integer(float centroid, int low, int high) {
    uint32_t bits = spc_bits_of_float(centroid), rest;
    int value = (int)spc_whole_part(bits & 0x7fffffffu, &rest);
    value = bits >> 31 ? -(value + (rest > 2)) : value + (rest > 1);
    return (uint8_t)(value < low ? low : value > high ? high : value);
}

void spc_narrow_to(spc_dtype dtype, float centroid, uint8_t *element) {
    if (dtype == SPC_FLOAT16 || dtype == SPC_BFLOAT16) {
        uint16_t half = spc_narrow(centroid, dtype == SPC_BFLOAT16);
        memcpy(element, &half, sizeof half);
    } else {
        *element = dtype == SPC_INT8 ? round_to_integer(centroid, -128, 127)
                                     : round_to_integer(centroid, 0, 255);
    }
}

/* ------------------------------------------------------------------ ready for a dtype */

/* Whether there is a table of what indices become; float32 has the centroids. */
static int is_tabled(spc_dtype dtype, uint32_t bits) {
    return spc_is_half(dtype) ? !SPC_ONE_SET : bits <= SPC_TABLED_BITS;
}

void spc_dequantizer_init(spc_dequantizer *dequantizer, const float *centroids, uint32_t bits,
                          spc_dtype dtype) {
    dequantizer->dtype = dtype;
    dequantizer->bits = bits;
    dequantizer->centroids = centroids;
    if (spc_is_float32(dtype) || !is_tabled(dtype, bits)) {
        return;
    }
    for (uint32_t i = 0; i < 1u << bits; i++) {
        uint8_t *entry =
            spc_is_half(dtype) ? (uint8_t *)&dequantizer->halves[i] : &dequantizer->bytes[i];
        spc_narrow_to(dtype, centroids[i], entry);
    }
}

/* Without a table. */
static uint32_t narrow_each(const spc_dequantizer *dequantizer, const uint8_t *indices, size_t n,
                            uint8_t *values) {
    const uint32_t mask = (1u << dequantizer->bits) - 1;
    const size_t size = spc_dtype_size(dequantizer->dtype);
    uint32_t seen = 0;
    for (size_t i = 0; i < n; i++, values += size) {
        seen |= indices[i];
        spc_narrow_to(dequantizer->dtype, dequantizer->centroids[indices[i] & mask], values);
    }
    return seen;
}

uint32_t spc_dequantizer_run(const spc_dequantizer *dequantizer, const uint8_t *indices, size_t n,
                             void *values) {
    const spc_kernels *kernels = spc_kernels_get();
    const uint32_t bits = dequantizer->bits;
    if (spc_is_float32(dequantizer->dtype)) {
        return kernels->look_up_f32(dequantizer->centroids, bits, indices, n, values);
    }
    if (!is_tabled(dequantizer->dtype, bits)) {
        return narrow_each(dequantizer, indices, n, values);
    }
    return spc_is_half(dequantizer->dtype)
               ? kernels->look_up_u16(dequantizer->halves, bits, indices, n, values)
               : kernels->look_up_u8(dequantizer->bytes, bits, indices, n, values);
}

/* ------------------------------------------------------------------ public */

spc_status spc_dequantize(const spc_codebook *codebook, spc_dtype dtype, const uint8_t *indices,
                          size_t n, void *values) {
    spc_dequantizer dequantizer;
    if (!spc_codebook_usable(codebook, 1) || !spc_dtype_size(dtype) ||
        (n > 0 && (!values || !indices))) {
        return SPC_ERROR_ARGUMENT;
    }
    if (n == 0) {
        return SPC_OK;
    }
    spc_dequantizer_init(&dequantizer, codebook->centroids, codebook->bits, dtype);
    return spc_dequantizer_run(&dequantizer, indices, n, values) >> codebook->bits == 0
               ? SPC_OK
               : SPC_ERROR_ARGUMENT;
}

spc_status spc_unpack_dequantize(const spc_codebook *codebook, spc_dtype dtype,
                                 const uint8_t *packed, size_t n, void *values) {
    const spc_kernels *kernels = spc_kernels_get();
    spc_dequantizer dequantizer;
    uint8_t indices[SPC_BLOCK], *out = values;
    size_t size = spc_dtype_size(dtype);
    spc_status status;
    if (!spc_codebook_usable(codebook, 1) || size == 0 || (n > 0 && (!values || !packed))) {
        return SPC_ERROR_ARGUMENT;
    }
    status = spc_packed_check(packed, n, codebook->bits);
    if (status != SPC_OK || n == 0) {
        return status;
    }
    spc_dequantizer_init(&dequantizer, codebook->centroids, codebook->bits, dtype);
    if (spc_is_float32(dtype) && kernels->unpack_look_up_f32 &&
        codebook->bits <= SPC_UNPACK_LOOK_UP_BITS) {
        kernels->unpack_look_up_f32(codebook->centroids, codebook->bits, packed, n, values);
        return SPC_OK;
    }
    while (n > 0) {
        size_t count = n < SPC_BLOCK ? n : SPC_BLOCK;
        kernels->unpack(packed, count, codebook->bits, indices);
        (void)spc_dequantizer_run(&dequantizer, indices, count, out);
        packed += spc_packed_size(count, codebook->bits);
        out += count * size;
        n -= count;
    }
    return SPC_OK;
}
