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

/* Below this a run is too short to set a kernel up for, as all are where there are no vectors. */
#define LONG_RUN 16

static int is_long(size_t run) {
    return !SPC_ONE_SET && run >= LONG_RUN;
}

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

/* ------------------------------------------------------------------ quantise */

/* The thresholds of one group, side by side. */
static const int32_t *thresholds_of(const spc_codebook *codebook, uint32_t group,
                                    int32_t room[SPC_MAX_CENTROIDS]) {
    for (uint32_t i = 0; i + 1 < 1u << codebook->bits; i++) {
        room[i] = codebook->thresholds[(size_t)i * codebook->groups + group];
    }
    return room;
}

/* Elements that are widened at a time: enough for vectors, and little of the stack. */
#define WIDE_BLOCK (SPC_ONE_SET ? 32 : 256)

/* Two ways to the same bits: one for where there is an FPU, and one for where there is none.  The
 * former is exact in every rounding and flushing mode: no operand or result is a denormal. */
static float float_of_float16(uint16_t half) {
#if SPC_HOSTED
    /* masks, since compilers do not turn branches into vectors */
    uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
    uint32_t is_special = 0u - (uint32_t)(magnitude >= 0x7c00u << 13);
    uint32_t is_small = 0u - (uint32_t)(magnitude < 0x400u << 13);
    uint32_t normal = magnitude + (112u << 23) + (is_special & 112u << 23);
    uint32_t small = spc_bits_of_float(spc_float_of_bits(magnitude + (113u << 23)) - 0x1p-14f);
    uint32_t bits = (small & is_small) | (normal & ~is_small);
    return spc_float_of_bits(bits | (uint32_t)(half & 0x8000u) << 16);
#else
    return spc_float_of_bits(spc_widen_float16(half));
#endif
}

static float float_of_int(int value) {
#if SPC_HOSTED
    return (float)value;
#else
    return spc_float_of_bits(spc_bits_of_key(spc_key_of_int(value)));
#endif
}

/* The float32 values that elements of any dtype stand for: exact. */
static void widen(spc_dtype dtype, const void *from, size_t n, float *restrict values) {
    const uint16_t *halves = from;
    const uint8_t *bytes = from;
    switch (dtype) {
    case SPC_FLOAT32:
        memcpy(values, from, n * sizeof *values);
        break;
    case SPC_FLOAT16:
        for (size_t i = 0; i < n; i++) {
            values[i] = float_of_float16(halves[i]);
        }
        break;
    case SPC_BFLOAT16:
        for (size_t i = 0; i < n; i++) {
            values[i] = spc_float_of_bits(spc_widen_bfloat16(halves[i]));
        }
        break;
    case SPC_INT8:
        for (size_t i = 0; i < n; i++) {
            values[i] = float_of_int((int8_t)bytes[i]);
        }
        break;
    case SPC_UINT8:
        for (size_t i = 0; i < n; i++) {
            values[i] = float_of_int(bytes[i]);
        }
        break;
    }
}

/* Runs of one element. */
static void quantize_interleaved(const spc_codec *codec, const float *values, size_t first,
                                 size_t n, uint8_t *indices) {
    const spc_codebook *codebook = &codec->codebook;
    spc_kernels_get()->quantize_channels_f32(codebook->thresholds, codebook->bits, codebook->groups,
                                             first % codebook->groups, values, n, indices);
}

/* Runs of any length, each element by itself. */
static void quantize_one_by_one(const spc_codec *codec, layout runs, const float *values,
                                size_t first, size_t n, uint8_t *indices) {
    const spc_codebook *codebook = &codec->codebook;
    size_t group = first / runs.run % runs.groups, left = runs.run - first % runs.run;
    for (size_t i = 0; i < n; i++) {
        indices[i] = (uint8_t)spc_index_of_key_strided(codebook->thresholds + group, runs.groups,
                                                       codebook->bits, spc_key(values[i]));
        if (--left == 0) {
            left = runs.run;
            group = group + 1 == runs.groups ? 0 : group + 1;
        }
    }
}

static void quantize_short_runs(const spc_codec *codec, layout runs, size_t first,
                                const uint8_t *at, size_t n, uint8_t *indices) {
    while (n > 0) {
        float wide[WIDE_BLOCK];
        const float *values = (const float *)(const void *)at;
        size_t count = n;
        if (codec->dtype != SPC_FLOAT32) {
            count = n < WIDE_BLOCK ? n : WIDE_BLOCK;
            widen(codec->dtype, at, count, wide);
            values = wide;
        }
        if (runs.run == 1) {
            quantize_interleaved(codec, values, first, count, indices);
        } else {
            quantize_one_by_one(codec, runs, values, first, count, indices);
        }
        first += count;
        at += count * spc_dtype_size(codec->dtype);
        indices += count;
        n -= count;
    }
}

static void quantize_long_runs(const spc_codec *codec, layout runs, size_t first, const uint8_t *at,
                               size_t n, uint8_t *indices) {
    while (n > 0) {
        int32_t room[SPC_MAX_CENTROIDS];
        size_t left = runs.run - first % runs.run, count = n < left ? n : left;
        uint32_t group = (uint32_t)(first / runs.run % runs.groups);
        spc_quantizer quantizer;
        spc_quantizer_init(&quantizer, thresholds_of(&codec->codebook, group, room),
                           codec->codebook.bits, codec->dtype);
        spc_quantizer_run(&quantizer, at, count, indices);
        first += count;
        at += count * spc_dtype_size(codec->dtype);
        indices += count;
        n -= count;
    }
}

static void quantize_runs(const spc_codec *codec, layout runs, size_t first, const uint8_t *at,
                          size_t n, uint8_t *indices) {
    if (!is_long(runs.run)) {
        quantize_short_runs(codec, runs, first, at, n, indices);
    } else {
        quantize_long_runs(codec, runs, first, at, n, indices);
    }
}

void spc_channels_quantize(const spc_codec *codec, size_t first, const void *values, size_t n,
                           uint8_t *indices) {
    if (!SPC_GROUPS || codec->codebook.groups == 1) {
        (void)spc_quantize(&codec->codebook, codec->dtype, values, n, indices);
    } else if (n > 0) {
        quantize_runs(codec, layout_of(codec), first, values, n, indices);
    }
}

/* Where each run is whole bytes of packed indices. */
static void quantize_pack_runs(const spc_codec *codec, layout runs, size_t first,
                               const float *values, size_t n, uint8_t *packed) {
    const uint32_t bits = codec->codebook.bits;
    while (n > 0) {
        int32_t room[SPC_MAX_CENTROIDS];
        size_t left = runs.run - first % runs.run, count = n < left ? n : left;
        uint32_t group = (uint32_t)(first / runs.run % runs.groups);
        spc_kernels_get()->quantize_pack_f32(thresholds_of(&codec->codebook, group, room), bits,
                                             values, count, packed);
        first += count;
        values += count;
        packed += spc_packed_size(count, bits);
        n -= count;
    }
}

/* Apart, so that what one codebook needs of the stack does not come on top. */
static __attribute__((noinline)) void quantize_pack_groups(const spc_codec *codec, size_t first,
                                                           const void *values, size_t n,
                                                           uint8_t *packed) {
    const spc_kernels *kernels = spc_kernels_get();
    const uint32_t bits = codec->codebook.bits;
    const layout runs = layout_of(codec);
    const uint8_t *at = values;
    uint8_t indices[SPC_BLOCK];
    if (codec->dtype == SPC_FLOAT32 && kernels->quantize_pack_f32 && is_long(runs.run) &&
        runs.run % 8 == 0) {
        quantize_pack_runs(codec, runs, first, values, n, packed);
        return;
    }
    while (n > 0) {
        size_t count = n < SPC_BLOCK ? n : SPC_BLOCK;
        quantize_runs(codec, runs, first, at, count, indices);
        kernels->pack(indices, count, bits, packed);
        first += count;
        at += count * spc_dtype_size(codec->dtype);
        packed += spc_packed_size(count, bits);
        n -= count;
    }
}

void spc_channels_quantize_pack(const spc_codec *codec, size_t first, const void *values, size_t n,
                                uint8_t *packed) {
    if (!SPC_GROUPS || codec->codebook.groups == 1) {
        (void)spc_quantize_pack(&codec->codebook, codec->dtype, values, n, packed);
    } else if (n > 0) {
        quantize_pack_groups(codec, first, values, n, packed);
    }
}

/* ------------------------------------------------------------------ and back */

/* Values of all codebooks side by side, in the dtype; without room for them, from the centroids one
 * by one. */
#define TABLE_ENTRIES (SPC_BLOCK / 2)

typedef struct tables {
    uint16_t halves[TABLE_ENTRIES];
    uint8_t bytes[TABLE_ENTRIES];
    int filled;
} tables;

/* Once for all blocks of a feature; only runs below LONG_RUN are looked up in them, and they are to
 * have no more entries than there are elements. */
static void fill_tables(const spc_codec *codec, layout runs, tables *t) {
    const float *centroids = codec->codebook.centroids;
    size_t entries = (size_t)codec->codebook.groups << codec->codebook.bits;
    t->filled = !is_long(runs.run) && codec->dtype != SPC_FLOAT32 && entries <= TABLE_ENTRIES &&
                entries <= codec->n;
    for (size_t i = 0; t->filled && i < entries; i++) {
        if (spc_dtype_size(codec->dtype) == 2) {
            spc_narrow_to(codec->dtype, centroids[i], (uint8_t *)&t->halves[i]);
        } else {
            spc_narrow_to(codec->dtype, centroids[i], &t->bytes[i]);
        }
    }
}

/* `count` neighbours; each one's table begins `step` entries after the one before's. */
static uint32_t look_up_along(const spc_codec *codec, const tables *t, size_t start, size_t step,
                              const uint8_t *restrict indices, size_t count, uint8_t *out) {
    const uint32_t mask = (1u << codec->codebook.bits) - 1;
    const float *floats = codec->codebook.centroids + start;
    uint32_t seen = 0;
    if (codec->dtype == SPC_FLOAT32) {
        float *restrict values = (float *)(void *)out;
        for (size_t i = 0; i < count; i++) {
            seen |= indices[i];
            values[i] = floats[i * step + (indices[i] & mask)];
        }
    } else if (!t->filled) {
        size_t size = spc_dtype_size(codec->dtype);
        for (size_t i = 0; i < count; i++) {
            seen |= indices[i];
            spc_narrow_to(codec->dtype, floats[i * step + (indices[i] & mask)], out + i * size);
        }
    } else if (spc_dtype_size(codec->dtype) == 2) {
        uint16_t *restrict values = (uint16_t *)(void *)out;
        for (size_t i = 0; i < count; i++) {
            seen |= indices[i];
            values[i] = t->halves[start + i * step + (indices[i] & mask)];
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            seen |= indices[i];
            out[i] = t->bytes[start + i * step + (indices[i] & mask)];
        }
    }
    return seen;
}

/* Runs of one go on to the end of the last group, others to their own end. */
static uint32_t dequantize_short_runs(const spc_codec *codec, layout runs, const tables *t,
                                      size_t first, const uint8_t *indices, size_t n,
                                      uint8_t *out) {
    const uint32_t bits = codec->codebook.bits;
    uint32_t seen = 0;
    while (n > 0) {
        size_t group = first / runs.run % runs.groups;
        size_t left = runs.run == 1 ? runs.groups - group : runs.run - first % runs.run;
        size_t count = n < left ? n : left, step = runs.run == 1 ? (size_t)1 << bits : 0;
        seen |= look_up_along(codec, t, group << bits, step, indices, count, out);
        first += count;
        indices += count;
        out += count * spc_dtype_size(codec->dtype);
        n -= count;
    }
    return seen;
}

/* Elements first .. first + n - 1; the OR of their indices. */
static uint32_t dequantize_part(const spc_codec *codec, layout runs, const tables *t, size_t first,
                                const uint8_t *indices, size_t n, uint8_t *out) {
    const uint32_t bits = codec->codebook.bits;
    uint32_t seen = 0;
    if (!is_long(runs.run)) {
        return dequantize_short_runs(codec, runs, t, first, indices, n, out);
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
    layout runs;
    tables t;
    if (!SPC_GROUPS || codec->codebook.groups == 1) {
        return spc_dequantize(&codec->codebook, codec->dtype, indices, codec->n, feature);
    }
    if (codec->n == 0) {
        return SPC_OK;
    }
    runs = layout_of(codec);
    fill_tables(codec, runs, &t);
    seen = dequantize_part(codec, runs, &t, 0, indices, codec->n, feature);
    return seen >> codec->codebook.bits == 0 ? SPC_OK : SPC_ERROR_ARGUMENT;
}

/* Apart for the same reason as quantize_pack_groups. */
static __attribute__((noinline)) void
unpack_dequantize_groups(const spc_codec *codec, const uint8_t *packed, uint8_t *out) {
    const uint32_t bits = codec->codebook.bits;
    const layout runs = layout_of(codec);
    uint8_t indices[SPC_BLOCK];
    tables t;
    fill_tables(codec, runs, &t);
    for (size_t first = 0; first < codec->n; first += SPC_BLOCK) {
        size_t left = codec->n - first, count = left < SPC_BLOCK ? left : SPC_BLOCK;
        spc_kernels_get()->unpack(packed, count, bits, indices);
        (void)dequantize_part(codec, runs, &t, first, indices, count, out);
        packed += spc_packed_size(count, bits);
        out += count * spc_dtype_size(codec->dtype);
    }
}

spc_status spc_channels_unpack_dequantize(const spc_codec *codec, const uint8_t *packed,
                                          void *feature) {
    spc_status status;
    if (!SPC_GROUPS || codec->codebook.groups == 1) {
        return spc_unpack_dequantize(&codec->codebook, codec->dtype, packed, codec->n, feature);
    }
    status = spc_packed_check(packed, codec->n, codec->codebook.bits);
    if (status == SPC_OK && codec->n > 0) {
        unpack_dequantize_groups(codec, packed, feature);
    }
    return status;
}
