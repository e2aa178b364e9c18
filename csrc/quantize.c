#include "half.h"
#include "internal.h"
#include "key.h"
#include "levels.h"

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

void spc_quantize_f16_reference(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
                                size_t n, uint8_t *indices) {
    for (size_t i = 0; i < n; i++) {
        int16_t key = spc_key16_of_bits(values[i]);
        uint32_t index = 0;
        for (uint32_t step = 1u << (bits - 1); step != 0; step >>= 1) {
            index += thresholds[index + step - 1] < key ? step : 0;
        }
        indices[i] = (uint8_t)index;
    }
}

void spc_quantize_channels_f32_reference(const int32_t *thresholds, uint32_t bits, size_t channels,
                                         size_t first, const float *values, size_t n,
                                         uint8_t *indices) {
    size_t channel = first;
    for (size_t i = 0; i < n; i++) {
        indices[i] = (uint8_t)spc_index_of_key_strided(thresholds + channel, channels, bits,
                                                       spc_key(values[i]));
        channel = channel + 1 == channels ? 0 : channel + 1;
    }
}

/* ------------------------------------------------------------------ ready for a dtype */

/* The largest integer not above the float of this key, clamped to -512..512. */
static int floor_of_key(int32_t key) {
    uint32_t rest, whole = spc_whole_part(key < 0 ? ~(uint32_t)key : (uint32_t)key, &rest);
    return key < 0 ? -(int)(whole + (rest != 0)) : (int)whole;
}

/* An integer is above a threshold if it is above the integer not above that. */
static void init_integer(spc_quantizer *quantizer) {
    const int low = quantizer->dtype == SPC_INT8 ? -128 : 0, high = low + 255;
    const uint32_t count = (1u << quantizer->bits) - 1;
    int value = low;
    for (uint32_t index = 0; index <= count; index++) {
        const int below = index < count ? floor_of_key(quantizer->thresholds[index]) : high;
        for (const int last = below < high ? below : high; value <= last; value++) {
            quantizer->lut[(uint8_t)value] = (uint8_t)index;
        }
    }
}

/* Keys as the kernel takes them: from the least integer on.  Nothing is above the last ones. */
static void init_keys8(spc_quantizer *quantizer) {
    const int low = quantizer->dtype == SPC_INT8 ? -128 : 0;
    quantizer->keys8_fit = 1;
    for (uint32_t i = 0; i + 1 < 1u << quantizer->bits; i++) {
        const int below = floor_of_key(quantizer->thresholds[i]) - low;
        quantizer->keys8_fit &= below >= 0;
        quantizer->keys8[i] = (int8_t)((below < 255 ? below : 255) - 128);
    }
}

/* Halves without a table of thresholds in their format. */
static __attribute__((noinline)) void quantize_halves(const spc_quantizer *quantizer,
                                                      const uint16_t *values, size_t n,
                                                      uint8_t *indices) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t wide = quantizer->dtype == SPC_BFLOAT16 ? spc_widen_bfloat16(values[i])
                                                               : spc_widen_float16(values[i]);
        indices[i] = (uint8_t)spc_index_of_key(quantizer->thresholds, quantizer->bits,
                                               spc_key_of_bits(wide));
    }
}

void spc_quantizer_init(spc_quantizer *quantizer, const int32_t *thresholds, uint32_t bits,
                        spc_dtype dtype) {
    quantizer->dtype = dtype;
    quantizer->bits = bits;
    quantizer->thresholds = thresholds;
    if (spc_is_half(dtype)) {
        for (uint32_t i = 0; !SPC_ONE_SET && i + 1 < 1u << bits; i++) {
            quantizer->keys16[i] = spc_key16_below(thresholds[i], dtype == SPC_BFLOAT16);
        }
    } else if (!spc_is_float32(dtype)) {
        quantizer->keys8_fit = 0;
        if (spc_kernels_get()->quantize_i8 && bits <= SPC_QUANTIZE_I8_BITS) {
            init_keys8(quantizer);
        }
        if (!quantizer->keys8_fit) {
            init_integer(quantizer);
        }
    }
}

/* What makes integers signed. */
static uint8_t flip_of(spc_dtype dtype) {
    return dtype == SPC_UINT8 ? 0x80 : 0;
}

void spc_quantizer_run(const spc_quantizer *quantizer, const void *values, size_t n,
                       uint8_t *indices) {
    const spc_kernels *kernels = spc_kernels_get();
    const uint32_t bits = quantizer->bits;
    if (spc_is_float32(quantizer->dtype)) {
        kernels->quantize_f32(quantizer->thresholds, bits, values, n, indices);
    } else if (spc_is_half(quantizer->dtype)) {
        if (SPC_ONE_SET) {
            quantize_halves(quantizer, values, n, indices);
        } else {
            kernels->quantize_f16(quantizer->keys16, bits, values, n, indices);
        }
    } else if (kernels->quantize_i8 && quantizer->keys8_fit) {
        kernels->quantize_i8(quantizer->keys8, bits, flip_of(quantizer->dtype), values, n, indices);
    } else {
        (void)kernels->look_up_u8(quantizer->lut, 8, values, n, indices);
    }
}

/* ------------------------------------------------------------------ public */

spc_status spc_quantize(const spc_codebook *codebook, spc_dtype dtype, const void *values, size_t n,
                        uint8_t *indices) {
    spc_quantizer quantizer;
    if (!spc_codebook_usable(codebook, 1) || !spc_dtype_size(dtype) ||
        (n > 0 && (!values || !indices))) {
        return SPC_ERROR_ARGUMENT;
    }
    if (n > 0) {
        spc_quantizer_init(&quantizer, codebook->thresholds, codebook->bits, dtype);
        spc_quantizer_run(&quantizer, values, n, indices);
    }
    return SPC_OK;
}

spc_status spc_quantize_pack(const spc_codebook *codebook, spc_dtype dtype, const void *values,
                             size_t n, uint8_t *packed) {
    const uint8_t *at = values;
    size_t size = spc_dtype_size(dtype), done = 0;
    const spc_kernels *kernels = spc_kernels_get();
    uint8_t indices[SPC_BLOCK];
    spc_quantizer quantizer;
    if (!spc_codebook_usable(codebook, 1) || size == 0 || (n > 0 && (!values || !packed))) {
        return SPC_ERROR_ARGUMENT;
    }
    if (n == 0) {
        return SPC_OK;
    }
    spc_quantizer_init(&quantizer, codebook->thresholds, codebook->bits, dtype);
    if (spc_is_float32(dtype) && kernels->quantize_pack_f32) {
        kernels->quantize_pack_f32(codebook->thresholds, codebook->bits, values, n, packed);
        return SPC_OK;
    }
    if (spc_is_integer(dtype) && kernels->look_up_pack_u8) {
        kernels->look_up_pack_u8(quantizer.lut, codebook->bits, values, n, packed);
        return SPC_OK;
    }
    if (spc_is_float32(dtype) && kernels->quantize_bytes_f32) {
        done = kernels->quantize_bytes_f32(codebook->thresholds, codebook->bits, values, n, packed);
    } else if (spc_is_integer(dtype) && kernels->quantize_bytes_i8 && quantizer.keys8_fit) {
        done = kernels->quantize_bytes_i8(quantizer.keys8, codebook->bits, flip_of(dtype), values,
                                          n, packed);
    }
    at += done * size;
    packed += spc_packed_size(done, codebook->bits);
    n -= done;
    while (n > 0) {
        size_t count = n < SPC_BLOCK ? n : SPC_BLOCK;
        spc_quantizer_run(&quantizer, at, count, indices);
        kernels->pack(indices, count, codebook->bits, packed);
        at += count * size;
        packed += spc_packed_size(count, codebook->bits);
        n -= count;
    }
    return SPC_OK;
}
