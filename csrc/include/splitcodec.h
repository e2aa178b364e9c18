/*
 * splitcodec: quantise, code and frame the feature at a split point.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The whole public C API, readable top to bottom:
 *
 *     tensor --quantize--> indices --coder--> payload --frame--> bytes
 *     tensor <-----LUT---- indices <--coder-- payload <--frame-- bytes
 *
 * Rules that hold for every function here:
 *
 *  - Nothing is allocated and no state is kept between calls.  Whatever room a call needs beside
 *    its output is passed in as `work`; `*_bound` and `*_work_size` say how much.
 *  - Every function may be called from any number of threads at once on different outputs.
 *  - Same input, same bytes, on every machine.  docs/format.md specifies the bytes.
 *  - Decoders treat every byte as hostile: they never read past `_len`, never write past `_cap`,
 *    and do work bounded by the element count that the caller agreed to.
 *  - Suffixes: `_len` bytes used, `_cap` bytes available, `n` elements.
 *  - Pointers to features, float or int32_t must be naturally aligned; byte pointers need no
 * alignment. Input and output buffers must not overlap.
 *
 * Not promised: the contents of an output buffer after an error; ABI stability before 1.0.
 */
#ifndef SPLITCODEC_H
#define SPLITCODEC_H

#include <stddef.h>
#include <stdint.h>

#if defined(SPC_SHARED) && defined(__GNUC__)
#define SPC_API __attribute__((visibility("default")))
#else
#define SPC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ constants and status */

#define SPC_VERSION "0.1.0"

/* Most elements in one feature: 4-byte elements then still fit a signed 32-bit byte count. */
#define SPC_MAX_ELEMENTS 0x1fffffffu
#define SPC_MAX_RANK 8
#define SPC_MAX_CENTROIDS 256
/* Most codebooks of one codec. */
#define SPC_MAX_GROUPS 65536
/* Where no dimension counts the channels. */
#define SPC_NO_AXIS 0xffffffffu

typedef enum spc_status {
    SPC_OK = 0,
    SPC_ERROR_ARGUMENT = 1,  /* a NULL, unknown or out-of-range argument */
    SPC_ERROR_CODEBOOK = 2,  /* centroids not finite, or not strictly ascending */
    SPC_ERROR_CAPACITY = 3,  /* output buffer too small */
    SPC_ERROR_WORK = 4,      /* work buffer too small */
    SPC_ERROR_CODER = 5,     /* this build does not have that coder */
    SPC_ERROR_LIMIT = 6,     /* more elements than the caller's limit */
    SPC_ERROR_NOT_FRAME = 7, /* does not start like a frame */
    SPC_ERROR_VERSION = 8,   /* a frame of a version this library does not read */
    SPC_ERROR_TRUNCATED = 9, /* shorter, or longer, than its header says */
    SPC_ERROR_CHECKSUM = 10, /* CRC-32C differs: damaged on the way */
    SPC_ERROR_MISMATCH = 11, /* made by a codec with another codebook, shape, dtype ... */
    SPC_ERROR_CORRUPT = 12,  /* checksum right, content impossible */
    SPC_ERROR_MODEL = 13     /* a coder's model is missing, damaged, or of other symbols */
} spc_status;

/* Element type of a feature.  16-bit floats (IEEE binary16, and bfloat16: the upper half of a
 * float) are given and taken as their bits, uint16_t.  Integer features are the integers
 * themselves: -128..127, 0..255. */
typedef enum spc_dtype {
    SPC_FLOAT32 = 0,
    SPC_FLOAT16 = 1,
    SPC_BFLOAT16 = 2,
    SPC_INT8 = 3,
    SPC_UINT8 = 4
} spc_dtype;

/* Lossless coders from indices to payload. */
typedef enum spc_coder {
    SPC_CODER_PACK = 0,   /* the packed indices */
    SPC_CODER_LZMA = 1,   /* LZMA of those */
    SPC_CODER_RANGE = 2,  /* adaptive contexts; may start from a model */
    SPC_CODER_RANS = 3,   /* static frequencies of a model: the fastest */
    SPC_CODER_CONTEXT = 4 /* predictions of a model: the smallest */
} spc_coder;

/* A compact frame names its codec by id; a self-describing frame carries it. */
typedef enum spc_frame_kind { SPC_FRAME_COMPACT = 0, SPC_FRAME_SELF_DESCRIBING = 1 } spc_frame_kind;

/* SPC_VERSION of the library that is linked, which may differ from the header's. */
SPC_API const char *spc_version(void);

/* One English sentence without a full stop; never NULL, also for values not in the enum. */
SPC_API const char *spc_status_text(spc_status status);

/* ------------------------------------------------------------------ codebook */

/*
 * 2^bits centroids, strictly ascending, and the 2^bits - 1 thresholds between them as ordered
 * integer keys.  The arrays belong to the caller and must outlive the codebook, so that firmware
 * can keep both in flash and initialise the struct as a constant.
 *
 * With groups > 1 these are several codebooks, one for each group of a feature's channels:
 * centroid i of group g is centroids[g << bits | i], threshold i of it thresholds[i * groups + g].
 * Only codecs take those.
 */
typedef struct spc_codebook {
    uint32_t bits;
    uint32_t groups;
    const float *centroids;
    const int32_t *thresholds;
} spc_codebook;

/*
 * Check `centroids` (2^bits of them, bits 1..8) and compute `thresholds` (2^bits - 1).
 *
 * Threshold i is the largest float not above the exact midpoint of centroids i and i+1, so that
 * "number of thresholds below x" is the nearest centroid in exact arithmetic, ties to the lower.
 * SPC_ERROR_CODEBOOK unless the centroids are finite, strictly ascending and free of -0.0.
 */
SPC_API spc_status spc_codebook_init(spc_codebook *codebook, const float *centroids, uint32_t bits,
                                     int32_t *thresholds);

/* The same for `groups` codebooks, 1..SPC_MAX_GROUPS, and as many times the room. */
SPC_API spc_status spc_codebook_init_groups(spc_codebook *codebook, const float *centroids,
                                            uint32_t bits, uint32_t groups, int32_t *thresholds);

/*
 * Order-preserving integer key of a float: a < b as numbers implies key(a) < key(b), and
 * key(-0.0) = key(+0.0) - 1.  NaNs lie outside the infinities, on the side of their sign bit.
 */
SPC_API int32_t spc_float_key(float x);

/* ------------------------------------------------------------------ fitting */

/*
 * The `count` centroids of least squared error, 1 .. SPC_MAX_CENTROIDS, by exact k-means in one
 * dimension: ascending and all different, so that a power of two of them makes a codebook.
 *
 * `values` are finite, strictly ascending and at least `count`; `weights`, at least 1 each, say how
 * often they occur: SPC_ERROR_ARGUMENT if not, and SPC_ERROR_LIMIT above SPC_MAX_ELEMENTS in all.
 *
 * The clusters that the centroids are the means of, rounded to float, have the least squared
 * error there is, up to a relative 1e-12, for all magnitudes that a float can have.  Takes a few
 * passes of O(n log n) at most, hardly more for more centroids.  Denormals need a thread that does
 * not flush them.
 */
SPC_API spc_status spc_fit_kmeans(const float *values, const uint32_t *weights, size_t n,
                                  uint32_t count, float *centroids, void *work, size_t work_len);

/* Bytes of `work`: some 64 for each value and 3584 for each centroid.  0 on bad arguments. */
SPC_API size_t spc_fit_kmeans_work_size(size_t n, uint32_t count);

/* ------------------------------------------------------------------ quantise, pack and back */

/* ceil(n * bits / 8). */
SPC_API size_t spc_packed_size(size_t n, uint32_t bits);

/*
 * indices[i] = number of thresholds below values[i] (compared as keys), 0 .. 2^bits - 1.
 *
 * -0.0 and +0.0 give the same index; infinities and NaNs give the first or last index by their
 * sign bit.  Never fails on any value.
 */
SPC_API spc_status spc_quantize(const spc_codebook *codebook, spc_dtype dtype, const void *values,
                                size_t n, uint8_t *indices);

/*
 * values[i] = centroids[indices[i]]; for 16-bit floats the nearest finite one, ties to an even last
 * bit; for integer dtypes floor(centroid + 1/2) clamped to the type.
 * SPC_ERROR_ARGUMENT if an index is not below 2^bits.
 */
SPC_API spc_status spc_dequantize(const spc_codebook *codebook, spc_dtype dtype,
                                  const uint8_t *indices, size_t n, void *values);

/*
 * Bit i * bits + j of `packed`, counted from the least significant bit of byte 0, is bit j of
 * indices[i].  Unused bits of the last byte are 0.  `packed` has spc_packed_size(n, bits) bytes.
 * Bits of an index above its lowest `bits` are ignored.
 */
SPC_API spc_status spc_pack(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed);

/* The reverse.  SPC_ERROR_CORRUPT if an unused bit of the last byte is set. */
SPC_API spc_status spc_unpack(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices);

/* spc_quantize then spc_pack, and spc_unpack then spc_dequantize, in one pass. */
SPC_API spc_status spc_quantize_pack(const spc_codebook *codebook, spc_dtype dtype,
                                     const void *values, size_t n, uint8_t *packed);
SPC_API spc_status spc_unpack_dequantize(const spc_codebook *codebook, spc_dtype dtype,
                                         const uint8_t *packed, size_t n, void *values);

/* ------------------------------------------------------------------ coders */

typedef struct spc_shape {
    uint32_t rank;    /* 0..SPC_MAX_RANK; a scalar has rank 0 and one element */
    uint32_t dims[8]; /* outermost first; the rest must be 0 */
} spc_shape;

/* Product of the dims; SPC_ERROR_LIMIT above SPC_MAX_ELEMENTS, SPC_ERROR_ARGUMENT on rank. */
SPC_API spc_status spc_shape_elements(const spc_shape *shape, size_t *n);

/* "pack", "lzma" ..., or NULL for a value that is no coder.  Includes coders not in this build. */
SPC_API const char *spc_coder_name(spc_coder coder);

/* 1 if this build has the coder, else 0.  Firmware without liblzma has `lzma` to encode only:
 * decoding then says SPC_ERROR_CODER. */
SPC_API int spc_coder_available(spc_coder coder);

/*
 * What a coder learned from calibration features, as bytes that both ends hold: docs/format.md
 * specifies them, the Python package fits them.  They belong to the caller, may lie in flash, need
 * no alignment and must outlive the model.
 */
typedef struct spc_model {
    const uint8_t *bytes;
    size_t len;
    spc_coder coder; /* that it is for */
    uint32_t bits, channels;
} spc_model;

/*
 * Check `bytes` from end to end; coders trust what has passed.  SPC_ERROR_MODEL if they are
 * damaged or never were a model, SPC_ERROR_CODER if this build lacks the coder.
 */
SPC_API spc_status spc_model_init(spc_model *model, const uint8_t *bytes, size_t len);

/*
 * What a coder may know of the indices beside their values.  Dimension `axis` counts the channels,
 * each of them rows and columns of the other dimensions, the last of those being the columns.
 * Without an axis (SPC_NO_AXIS) it is dimension 0 of three and more; fewer are one channel.
 *
 * `model` may be NULL.  The coder that it is for wants its bits and its channels, or says
 * SPC_ERROR_MODEL; other coders do without.
 */
typedef struct spc_symbols {
    spc_shape shape;
    uint32_t axis;
    uint32_t bits;
    const spc_model *model;
} spc_symbols;

/*
 * Largest payload of symbols whose shape spc_shape_elements accepts; 0 on bad arguments.  No
 * coder's payload is larger than the packed size: what does not shrink is stored packed.
 */
SPC_API size_t spc_coder_bound(spc_coder coder, const spc_symbols *symbols);

/* Bytes of `work` for one call.  0 where none is needed, and on bad arguments. */
SPC_API size_t spc_coder_encode_work_size(spc_coder coder, const spc_symbols *symbols);
SPC_API size_t spc_coder_decode_work_size(spc_coder coder, const spc_symbols *symbols);

/*
 * Code the indices of a feature.  `*used` tells which coder wrote the payload: `coder`, or another
 * one without a model where `coder` would not have made it smaller.  Indices must be below 2^bits.
 */
SPC_API spc_status spc_coder_encode(spc_coder coder, const spc_symbols *symbols,
                                    const uint8_t *indices, uint8_t *payload, size_t payload_cap,
                                    size_t *payload_len, spc_coder *used, void *work,
                                    size_t work_len);

/*
 * The reverse; `coder` is what `*used` told.  SPC_ERROR_CORRUPT on payloads that no encoder makes,
 * as far as that can be told: another model's payload may give any indices.
 */
SPC_API spc_status spc_coder_decode(spc_coder coder, const spc_symbols *symbols,
                                    const uint8_t *payload, size_t payload_len, uint8_t *indices,
                                    void *work, size_t work_len);

/* ------------------------------------------------------------------ codec: tensor <-> frame */

/* What both ends agree on.  `id` is the CRC-32C of all of it: see docs/format.md. */
typedef struct spc_codec {
    spc_codebook codebook;
    spc_dtype dtype;
    spc_shape shape;
    uint32_t axis;   /* of the channels, or SPC_NO_AXIS */
    spc_model model; /* without bytes if there is none */
    /* Of a slice: its first channel, and how many the whole feature has.  Both 0 otherwise. */
    uint32_t slice_first, slice_whole;
    size_t n;
    uint32_t id;
} spc_codec;

/* Copies the struct `codebook`, not the arrays it points to.  For one codebook, without axis. */
SPC_API spc_status spc_codec_init(spc_codec *codec, const spc_codebook *codebook, spc_dtype dtype,
                                  const spc_shape *shape);

/*
 * The same for one codebook per group of channels.  Dimension `axis` of the shape counts the
 * channels; neighbours form the groups, dims[axis] / groups channels each, and what is left over
 * is SPC_ERROR_ARGUMENT.  One codebook may do without an axis, but its coders then guess it.
 */
SPC_API spc_status spc_codec_init_channels(spc_codec *codec, const spc_codebook *codebook,
                                           uint32_t axis, spc_dtype dtype, const spc_shape *shape);

/*
 * Give the codec the model of a coder, which changes its id: call it before anything is encoded.
 * Copies the struct, not the bytes.  SPC_ERROR_MODEL if it is for other bits or channels.
 */
SPC_API spc_status spc_codec_set_model(spc_codec *codec, const spc_model *model);

/*
 * Say that the codec's features are a slice of a larger one: of its `whole` channels those from
 * `first` on, as many as the codec has.  This changes the id and nothing else.
 *
 * A feature can so be sent in parts, each a frame that decodes alone and says where it belongs.
 * SPC_ERROR_ARGUMENT without an axis, unless the slice lies in the whole and is less than it;
 * SPC_ERROR_LIMIT if the whole feature has more than SPC_MAX_ELEMENTS.
 */
SPC_API spc_status spc_codec_set_slice(spc_codec *codec, uint32_t first, uint32_t whole);

/* Bytes of one feature. */
SPC_API size_t spc_feature_size(const spc_codec *codec);

/*
 * spc_quantize and spc_dequantize of one whole feature, each element by the codebook of its
 * channel: codec->n elements, codec->n indices.
 */
SPC_API spc_status spc_codec_quantize(const spc_codec *codec, const void *feature,
                                      uint8_t *indices);
SPC_API spc_status spc_codec_dequantize(const spc_codec *codec, const uint8_t *indices,
                                        void *feature);

/*
 * The same where a feature comes in parts: its elements first .. first + n - 1, which `values`
 * points to.  SPC_ERROR_ARGUMENT if the codec has no such elements.
 *
 * Packed, parts begin at multiples of 8 elements, which are whole bytes, and `packed` is where that
 * byte is; they end at such a multiple or with the feature, or are SPC_ERROR_ARGUMENT.
 */
SPC_API spc_status spc_codec_quantize_part(const spc_codec *codec, size_t first, const void *values,
                                           size_t n, uint8_t *indices);
SPC_API spc_status spc_codec_quantize_pack_part(const spc_codec *codec, size_t first,
                                                const void *values, size_t n, uint8_t *packed);

/* Largest frame that spc_encode makes. */
SPC_API size_t spc_frame_bound(const spc_codec *codec, spc_frame_kind kind);

SPC_API size_t spc_encode_work_size(const spc_codec *codec, spc_coder coder);
SPC_API size_t spc_decode_work_size(const spc_codec *codec, spc_coder coder);

/* One feature of codec->n elements -> one frame. */
SPC_API spc_status spc_encode(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                              const void *feature, uint8_t *frame, size_t frame_cap,
                              size_t *frame_len, void *work, size_t work_len);

/*
 * The same of codec->n indices that are made already.  `work` is without room for them: for pack
 * none, for others what spc_coder_encode wants.
 */
SPC_API size_t spc_encode_indices_work_size(const spc_codec *codec, spc_coder coder);
SPC_API spc_status spc_encode_indices(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                                      const uint8_t *indices, uint8_t *frame, size_t frame_cap,
                                      size_t *frame_len, void *work, size_t work_len);

/*
 * The header of a frame, for who sends a frame that is never whole in memory: behind it come
 * payload_len bytes of payload by the coder `used`, then spc_crc32c of header and payload, least
 * significant byte first.  Of packed parts this is the frame that spc_encode makes.
 *
 * Headers have spc_frame_bound(codec, kind) - spc_packed_size(codec->n, bits) - 4 bytes.
 * SPC_ERROR_ARGUMENT if the payload is larger than the packed size.
 */
SPC_API spc_status spc_frame_start(const spc_codec *codec, spc_frame_kind kind, spc_coder used,
                                   size_t payload_len, uint8_t *header, size_t cap,
                                   size_t *header_len);

/*
 * One frame, whole and alone in the buffer, of either kind -> one feature.
 * SPC_ERROR_MISMATCH if another codec made it.  Size `work` by the coder that spc_frame_parse
 * reports, or by the largest of those that you accept.
 */
SPC_API spc_status spc_decode(const spc_codec *codec, const uint8_t *frame, size_t frame_len,
                              void *feature, size_t feature_cap, void *work, size_t work_len);

/* What can be read from a frame without a codec. */
typedef struct spc_frame_info {
    spc_frame_kind kind;
    spc_coder coder;
    uint32_t codec_id;
    size_t payload_offset;
    size_t payload_len;
    /* The rest is 0 in a compact frame. */
    uint32_t bits;
    spc_dtype dtype;
    spc_shape shape;
    uint32_t groups;
    uint32_t axis;
    uint32_t slice_first, slice_whole; /* as in spc_codec */
    size_t model_len;                  /* 0: none */
    size_t n;
} spc_frame_info;

/* Check length, version, checksum and header of one frame; never looks into the payload. */
SPC_API spc_status spc_frame_parse(const uint8_t *frame, size_t frame_len, spc_frame_info *info);

/*
 * Length of the self-describing frame at the start of `bytes`, from its first 8 bytes, so that
 * frames can follow one another in a file.  Nothing but magic, version and length is checked, and
 * the length may be more than `bytes_len`.
 */
SPC_API spc_status spc_frame_length(const uint8_t *bytes, size_t bytes_len, size_t *frame_len);

/*
 * The codec of a self-describing frame.  `centroids` and `thresholds`, each of `cap` elements, get
 * its codebooks and must outlive `codec`, as must the frame if it holds a model; info.groups <<
 * info.bits of spc_frame_parse suffice, and those are no more than a quarter of the frame's bytes.
 * SPC_ERROR_LIMIT above `max_elements`: check it against what you are ready to allocate.
 * SPC_ERROR_ARGUMENT for a compact frame.
 */
SPC_API spc_status spc_codec_from_frame(spc_codec *codec, const uint8_t *frame, size_t frame_len,
                                        size_t max_elements, float *centroids, int32_t *thresholds,
                                        size_t cap);

/* ------------------------------------------------------------------ check and machine */

/* CRC-32C (Castagnoli) of `bytes`, continuing from `crc`; start with 0. */
SPC_API uint32_t spc_crc32c(uint32_t crc, const void *bytes, size_t len);

/* CPU features that kernels use, as found on this machine and not masked off. */
typedef enum spc_cpu {
    SPC_CPU_SSE42 = 1,
    SPC_CPU_AVX2 = 2,
    SPC_CPU_AVX512 = 4, /* F, BW, DQ, VL and VBMI together */
    SPC_CPU_NEON = 256,
    SPC_CPU_ARM_CRC = 512
} spc_cpu;
SPC_API uint32_t spc_cpu_features(void);

/*
 * Tests only: use no feature outside `mask` from now on, in all threads.  Hosted builds also read
 * SPLITCODEC_CPU once, at the first use: a comma-separated list of the features to keep, in
 * lower case without the prefix ("sse42,avx2"), or "none".
 */
SPC_API void spc_set_cpu_mask(uint32_t mask);

/* Name of the kernel set in use: "reference", "avx2", "neon" ... */
SPC_API const char *spc_kernels_name(void);

#ifdef __cplusplus
}
#endif

#endif
