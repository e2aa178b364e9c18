/*
 * Features whose channels have codebooks of their own.
 *
 * In row-major order a group's elements come in runs: all of one group, then of the next, and after
 * the last of the first again.  Channels first (CHW) gives long runs, which the kernels for one
 * codebook take one by one; channels last (HWC) with a codebook for each gives runs of one element,
 * which have a kernel of their own.
 */
#include "channels.h"

#include <string.h>

#include "half.h"
#include "internal.h"
#include "key.h"
#include "levels.h"

/* Below this a run is too short to set a kernel up for. */
#define LONG_RUN 16

typedef struct layout {
    uint32_t groups;
    size_t run; /* elements */
} layout;

static layout layout_of(const spc_codec *codec) {
    layout found = {codec->codebook.groups,
                    codec->shape.dims[codec->axis] / codec->codebook.groups};
    for (uint32_t i = codec->axis + 1; i < codec->shape.rank; i++) {
        found.run *= codec->shape.dims[i];
    }
    return found;
}

static const uint8_t *element(const void *feature, const spc_codec *codec, size_t at) {
    return (const uint8_t *)feature + at * spc_dtype_size(codec->dtype);
}

/* ------------------------------------------------------------------ quantise */

/* The thresholds of one group, side by side. */
static const int32_t *thresholds_of(const spc_codebook *codebook, uint32_t group,
                                    int32_t room[SPC_MAX_CENTROIDS]) {
    for (uint32_t i = 0; i + 1 < 1u << codebook->bits; i++) {
        room[i] = codebook->thresholds[(size_t)i * codebook->groups + group];
    }
    return room;
}

/* The float32 that stands for an element of any dtype: exact. */
static uint32_t widened(spc_dtype dtype, const uint8_t *at) {
    uint16_t half;
    uint32_t bits;
    switch (dtype) {
    case SPC_FLOAT32:
        memcpy(&bits, at, sizeof bits);
        return bits;
    case SPC_FLOAT16:
        memcpy(&half, at, sizeof half);
        return spc_widen_float16(half);
    case SPC_BFLOAT16:
        memcpy(&half, at, sizeof half);
        return spc_widen_bfloat16(half);
    case SPC_INT8:
        return spc_bits_of_key(spc_key_of_int((int8_t)*at));
    case SPC_UINT8:
        break;
    }
    return spc_bits_of_key(spc_key_of_int(*at));
}

/* Runs of one element. */
static void quantize_interleaved(const spc_codec *codec, const void *feature, size_t first,
                                 size_t n, uint8_t *indices) {
    const spc_codebook *codebook = &codec->codebook;
    const spc_kernels *kernels = spc_kernels_get();
    const uint8_t *at = element(feature, codec, first);
    size_t channel = first % codebook->groups;
    if (codec->dtype == SPC_FLOAT32) {
        kernels->quantize_channels_f32(codebook->thresholds, codebook->bits, codebook->groups,
                                       channel, (const float *)(const void *)at, n, indices);
        return;
    }
    while (n > 0) {
        uint32_t raw[64];
        float values[64];
        size_t count = n < 64 ? n : 64, size = spc_dtype_size(codec->dtype);
        for (size_t i = 0; i < count; i++) {
            raw[i] = widened(codec->dtype, at + i * size);
        }
        memcpy(values, raw, sizeof values);
        kernels->quantize_channels_f32(codebook->thresholds, codebook->bits, codebook->groups,
                                       channel, values, count, indices);
        at += count * size;
        indices += count;
        channel = (channel + count) % codebook->groups;
        n -= count;
    }
}

static void quantize_short_runs(const spc_codec *codec, layout runs, const void *feature,
                                size_t first, size_t n, uint8_t *indices) {
    const spc_codebook *codebook = &codec->codebook;
    for (size_t i = 0; i < n; i++) {
        size_t group = (first + i) / runs.run % runs.groups;
        uint32_t bits = widened(codec->dtype, element(feature, codec, first + i)), index = 0;
        int32_t key = spc_key_of_bits(bits);
        for (uint32_t step = 1u << (codebook->bits - 1); step != 0; step >>= 1) {
            size_t at = (size_t)(index + step - 1) * runs.groups + group;
            index += codebook->thresholds[at] < key ? step : 0;
        }
        indices[i] = (uint8_t)index;
    }
}

/* Elements first .. first + n - 1. */
static void quantize_part(const spc_codec *codec, layout runs, const void *feature, size_t first,
                          size_t n, uint8_t *indices) {
    if (runs.run == 1) {
        quantize_interleaved(codec, feature, first, n, indices);
        return;
    }
    if (runs.run < LONG_RUN) {
        quantize_short_runs(codec, runs, feature, first, n, indices);
        return;
    }
    while (n > 0) {
        int32_t room[SPC_MAX_CENTROIDS];
        size_t left = runs.run - first % runs.run, count = n < left ? n : left;
        uint32_t group = (uint32_t)(first / runs.run % runs.groups);
        spc_quantizer quantizer;
        spc_quantizer_init(&quantizer, thresholds_of(&codec->codebook, group, room),
                           codec->codebook.bits, codec->dtype);
        spc_quantizer_run(&quantizer, element(feature, codec, first), count, indices);
        first += count;
        indices += count;
        n -= count;
    }
}

void spc_channels_quantize(const spc_codec *codec, const void *feature, uint8_t *indices) {
    if (codec->codebook.groups == 1) {
        (void)spc_quantize(&codec->codebook, codec->dtype, feature, codec->n, indices);
    } else if (codec->n > 0) {
        quantize_part(codec, layout_of(codec), feature, 0, codec->n, indices);
    }
}

/* Where each run is whole bytes of packed indices. */
static void quantize_pack_runs(const spc_codec *codec, layout runs, const float *values,
                               uint8_t *packed) {
    const uint32_t bits = codec->codebook.bits;
    const size_t packed_len = spc_packed_size(runs.run, bits);
    for (size_t first = 0, group = 0; first < codec->n; first += runs.run) {
        int32_t room[SPC_MAX_CENTROIDS];
        spc_kernels_get()->quantize_pack_f32(thresholds_of(&codec->codebook, (uint32_t)group, room),
                                             bits, values, runs.run, packed);
        values += runs.run;
        packed += packed_len;
        group = group + 1 == runs.groups ? 0 : group + 1;
    }
}

void spc_channels_quantize_pack(const spc_codec *codec, const void *feature, uint8_t *packed) {
    const spc_kernels *kernels = spc_kernels_get();
    const uint32_t bits = codec->codebook.bits;
    uint8_t indices[SPC_BLOCK];
    layout runs;
    if (codec->codebook.groups == 1) {
        (void)spc_quantize_pack(&codec->codebook, codec->dtype, feature, codec->n, packed);
        return;
    }
    if (codec->n == 0) {
        return;
    }
    runs = layout_of(codec);
    if (codec->dtype == SPC_FLOAT32 && kernels->quantize_pack_f32 && runs.run >= LONG_RUN &&
        runs.run % 8 == 0) {
        quantize_pack_runs(codec, runs, feature, packed);
        return;
    }
    for (size_t first = 0; first < codec->n; first += SPC_BLOCK) {
        size_t left = codec->n - first, count = left < SPC_BLOCK ? left : SPC_BLOCK;
        quantize_part(codec, runs, feature, first, count, indices);
        kernels->pack(indices, count, bits, packed);
        packed += spc_packed_size(count, bits);
    }
}

/* ------------------------------------------------------------------ and back */

static uint32_t dequantize_short_runs(const spc_codec *codec, layout runs, size_t first,
                                      const uint8_t *indices, size_t n, uint8_t *out) {
    const uint32_t bits = codec->codebook.bits, mask = (1u << bits) - 1;
    const size_t size = spc_dtype_size(codec->dtype);
    size_t group = first / runs.run % runs.groups, left = runs.run - first % runs.run;
    uint32_t seen = 0;
    for (size_t i = 0; i < n; i++) {
        float centroid = codec->codebook.centroids[group << bits | (indices[i] & mask)];
        seen |= indices[i];
        if (codec->dtype == SPC_FLOAT32) {
            memcpy(out + 4 * i, &centroid, 4);
        } else {
            spc_narrow_to(codec->dtype, centroid, out + size * i);
        }
        if (--left == 0) {
            left = runs.run;
            group = group + 1 == runs.groups ? 0 : group + 1;
        }
    }
    return seen;
}

/* Elements first .. first + n - 1; the OR of their indices. */
static uint32_t dequantize_part(const spc_codec *codec, layout runs, size_t first,
                                const uint8_t *indices, size_t n, uint8_t *out) {
    const uint32_t bits = codec->codebook.bits;
    uint32_t seen = 0;
    if (runs.run < LONG_RUN) {
        return dequantize_short_runs(codec, runs, first, indices, n, out);
    }
    while (n > 0) {
        size_t left = runs.run - first % runs.run, count = n < left ? n : left;
        size_t group = first / runs.run % runs.groups;
        spc_dequantizer dequantizer;
        spc_dequantizer_init(&dequantizer, codec->codebook.centroids + (group << bits), bits,
                             codec->dtype);
        seen |= spc_dequantizer_run(&dequantizer, indices, count, out);
        first += count;
        indices += count;
        out += count * spc_dtype_size(codec->dtype);
        n -= count;
    }
    return seen;
}

spc_status spc_channels_dequantize(const spc_codec *codec, const uint8_t *indices, void *feature) {
    uint32_t seen;
    if (codec->codebook.groups == 1) {
        return spc_dequantize(&codec->codebook, codec->dtype, indices, codec->n, feature);
    }
    if (codec->n == 0) {
        return SPC_OK;
    }
    seen = dequantize_part(codec, layout_of(codec), 0, indices, codec->n, feature);
    return seen >> codec->codebook.bits == 0 ? SPC_OK : SPC_ERROR_ARGUMENT;
}

spc_status spc_channels_unpack_dequantize(const spc_codec *codec, const uint8_t *packed,
                                          void *feature) {
    const uint32_t bits = codec->codebook.bits;
    uint8_t indices[SPC_BLOCK], *out = feature;
    spc_status status;
    layout runs;
    if (codec->codebook.groups == 1) {
        return spc_unpack_dequantize(&codec->codebook, codec->dtype, packed, codec->n, feature);
    }
    status = spc_packed_check(packed, codec->n, bits);
    if (status != SPC_OK || codec->n == 0) {
        return status;
    }
    runs = layout_of(codec);
    for (size_t first = 0; first < codec->n; first += SPC_BLOCK) {
        size_t left = codec->n - first, count = left < SPC_BLOCK ? left : SPC_BLOCK;
        spc_kernels_get()->unpack(packed, count, bits, indices);
        (void)dequantize_part(codec, runs, first, indices, count, out);
        packed += spc_packed_size(count, bits);
        out += count * spc_dtype_size(codec->dtype);
    }
    return SPC_OK;
}
