/* Codec: tensor <-> frame.  The frame's bytes are specified in docs/format.md. */
#include <string.h>

#include "bytes.h"
#include "channels.h"
#include "coder.h"
#include "internal.h"

#define VERSION 1
#define COMPACT_FIRST 0xc0u /* high nibble; the low one is the version */
#define COMPACT_HEADER 6    /* first byte, coder, codec id */
#define FULL_HEADER 8       /* magic, version, length; the description follows, then the coder */
#define DESCRIPTION_FIXED 4 /* bits, dtype, rank, axis with the two flags */
#define HAS_MODEL 0x80u     /* beside axis + 1, or 0 without an axis */
#define IS_SLICE 0x40u      /* likewise */
#define CHECKSUM 4

const char *spc_version(void) {
    return SPC_VERSION;
}

const char *spc_status_text(spc_status status) {
    switch (status) {
    case SPC_OK:
        return "success";
    case SPC_ERROR_ARGUMENT:
        return "an argument is NULL, unknown or out of range";
    case SPC_ERROR_CODEBOOK:
        return "centroids are not finite or not strictly ascending";
    case SPC_ERROR_CAPACITY:
        return "the output buffer is too small";
    case SPC_ERROR_WORK:
        return "the work buffer is too small";
    case SPC_ERROR_CODER:
        return "this build does not have the coder";
    case SPC_ERROR_LIMIT:
        return "more elements than the limit allows";
    case SPC_ERROR_NOT_FRAME:
        return "the bytes do not start like a frame";
    case SPC_ERROR_VERSION:
        return "the frame has a version that this library does not read";
    case SPC_ERROR_TRUNCATED:
        return "the frame is shorter or longer than it says";
    case SPC_ERROR_CHECKSUM:
        return "the checksum differs: the frame was damaged";
    case SPC_ERROR_MISMATCH:
        return "the frame was made by a codec with another codebook, shape, dtype, axis, slice "
               "or model";
    case SPC_ERROR_CORRUPT:
        return "the frame's content is impossible although its checksum is right";
    case SPC_ERROR_MODEL:
        return "the coder's model is missing, damaged, or for other bits or channels";
    }
    return "unknown status";
}

/* ------------------------------------------------------------------ description and id */

/* Everything before the centroids: the fixed bytes; dims; groups with an axis; place of a slice. */

static size_t head_size(uint32_t rank, uint32_t axis, int is_slice) {
    return DESCRIPTION_FIXED + 4 * (size_t)rank + (axis != SPC_NO_AXIS ? 4 : 0) +
           (is_slice ? 8 : 0);
}

/* Behind the centroids: length and bytes. */
static size_t model_size(size_t model_len) {
    return model_len > 0 ? 4 + model_len : 0;
}

static size_t centroids_size(uint32_t bits, uint32_t groups) {
    return (size_t)4 * groups << bits;
}

static size_t codec_description_size(const spc_codec *codec) {
    return head_size(codec->shape.rank, codec->axis, codec->slice_whole > 0) +
           centroids_size(codec->codebook.bits, codec->codebook.groups) +
           model_size(codec->model.len);
}

static size_t write_head(const spc_codec *codec, uint8_t *out) {
    uint8_t *at = out + DESCRIPTION_FIXED;
    out[0] = (uint8_t)codec->codebook.bits;
    out[1] = (uint8_t)codec->dtype;
    out[2] = (uint8_t)codec->shape.rank;
    out[3] =
        (uint8_t)((codec->axis == SPC_NO_AXIS ? 0 : codec->axis + 1) |
                  (codec->model.len > 0 ? HAS_MODEL : 0) | (codec->slice_whole > 0 ? IS_SLICE : 0));
    for (uint32_t i = 0; i < codec->shape.rank; i++, at += 4) {
        spc_store_le32(at, codec->shape.dims[i]);
    }
    if (codec->axis != SPC_NO_AXIS) {
        spc_store_le32(at, codec->codebook.groups);
        at += 4;
    }
    if (codec->slice_whole > 0) {
        spc_store_le32(at, codec->slice_first);
        spc_store_le32(at + 4, codec->slice_whole);
        at += 8;
    }
    return (size_t)(at - out);
}

static void write_floats(const float *values, size_t n, uint8_t *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t raw;
        memcpy(&raw, &values[i], sizeof raw);
        spc_store_le32(out + 4 * i, raw);
    }
}

/* The id is the checksum of a description that may be too long to be written down, but for the
 * checksum at the end of a model: bytes and their checksum together give one and the same CRC,
 * whatever they are, and models of one length would have one id. */
static uint32_t id_of(const spc_codec *codec) {
    const spc_codebook *codebook = &codec->codebook;
    enum { FLOATS = SPC_HOSTED ? 64 : 16 };
    uint8_t piece[4 * FLOATS]; /* of the stack, which may be small; a head fits */
    uint32_t crc = spc_crc32c(0, piece, write_head(codec, piece));
    size_t left = (size_t)codebook->groups << codebook->bits;
    const float *at = codebook->centroids;
    while (left > 0) {
        size_t count = left < FLOATS ? left : FLOATS;
        write_floats(at, count, piece);
        crc = spc_crc32c(crc, piece, 4 * count);
        at += count;
        left -= count;
    }
    if (codec->model.len > 0) {
        spc_store_le32(piece, (uint32_t)codec->model.len);
        crc = spc_crc32c(crc, piece, 4);
        crc = spc_crc32c(crc, codec->model.bytes, codec->model.len - SPC_MODEL_CHECKSUM);
    }
    return crc;
}

spc_status spc_codec_init_channels(spc_codec *codec, const spc_codebook *codebook, uint32_t axis,
                                   spc_dtype dtype, const spc_shape *shape) {
    size_t n;
    spc_status status;
    if (!codec || !spc_codebook_usable(codebook, SPC_MOST_GROUPS) || !spc_dtype_size(dtype)) {
        return SPC_ERROR_ARGUMENT;
    }
    status = spc_shape_elements(shape, &n);
    if (status != SPC_OK) {
        return status;
    }
    if (axis == SPC_NO_AXIS ? codebook->groups > 1
                            : axis >= shape->rank || shape->dims[axis] == 0 ||
                                  shape->dims[axis] % codebook->groups != 0) {
        return SPC_ERROR_ARGUMENT;
    }
    codec->codebook = *codebook;
    codec->dtype = dtype;
    codec->shape = *shape;
    codec->axis = axis;
    memset(&codec->model, 0, sizeof codec->model);
    codec->slice_first = codec->slice_whole = 0;
    codec->n = n;
    codec->id = id_of(codec);
    return SPC_OK;
}

spc_status spc_codec_init(spc_codec *codec, const spc_codebook *codebook, spc_dtype dtype,
                          const spc_shape *shape) {
    if (!spc_codebook_usable(codebook, 1)) {
        return SPC_ERROR_ARGUMENT;
    }
    return spc_codec_init_channels(codec, codebook, SPC_NO_AXIS, dtype, shape);
}

static int codec_usable(const spc_codec *codec) {
    return codec && spc_codebook_usable(&codec->codebook, SPC_MOST_GROUPS) &&
           spc_dtype_size(codec->dtype);
}

static spc_status describe(const spc_codec *codec, spc_coder coder, spc_planes *planes) {
    return spc_coder_describe(coder, &codec->shape, codec->axis, codec->codebook.bits,
                              codec->model.len > 0 ? &codec->model : NULL, planes);
}

spc_status spc_codec_set_model(spc_codec *codec, const spc_model *model) {
    spc_planes planes;
    spc_status status;
    if (!codec_usable(codec) || !model || !model->bytes) {
        return SPC_ERROR_ARGUMENT;
    }
    status = spc_coder_describe(model->coder, &codec->shape, codec->axis, codec->codebook.bits,
                                model, &planes);
    if (status != SPC_OK || planes.n == 0) {
        return status != SPC_OK ? status : SPC_ERROR_MODEL;
    }
    codec->model = *model;
    codec->id = id_of(codec);
    return SPC_OK;
}

/* Whether channels from `first` on, as many as the shape has, are a part of `whole` ones. */
static spc_status slice_status(const spc_shape *shape, uint32_t axis, uint32_t first,
                               uint32_t whole) {
    const uint32_t channels = shape->dims[axis];
    spc_shape all = *shape;
    size_t n;
    if (channels >= whole || first > whole - channels) {
        return SPC_ERROR_ARGUMENT;
    }
    all.dims[axis] = whole;
    return spc_shape_elements(&all, &n);
}

spc_status spc_codec_set_slice(spc_codec *codec, uint32_t first, uint32_t whole) {
    spc_status status;
    if (!codec_usable(codec) || codec->axis == SPC_NO_AXIS) {
        return SPC_ERROR_ARGUMENT;
    }
    status = slice_status(&codec->shape, codec->axis, first, whole);
    if (status != SPC_OK) {
        return status;
    }
    codec->slice_first = first;
    codec->slice_whole = whole;
    codec->id = id_of(codec);
    return SPC_OK;
}

size_t spc_feature_size(const spc_codec *codec) {
    return codec ? codec->n * spc_dtype_size(codec->dtype) : 0;
}

/* Whether there are such elements, and room for what they become. */
static int part_usable(const spc_codec *codec, size_t first, const void *values, size_t n,
                       const uint8_t *out) {
    return codec_usable(codec) && first <= codec->n && n <= codec->n - first &&
           (n == 0 || (values && out));
}

spc_status spc_codec_quantize_part(const spc_codec *codec, size_t first, const void *values,
                                   size_t n, uint8_t *indices) {
    if (!part_usable(codec, first, values, n, indices)) {
        return SPC_ERROR_ARGUMENT;
    }
    spc_channels_quantize(codec, first, values, n, indices);
    return SPC_OK;
}

spc_status spc_codec_quantize_pack_part(const spc_codec *codec, size_t first, const void *values,
                                        size_t n, uint8_t *packed) {
    if (!part_usable(codec, first, values, n, packed) || first % 8 != 0 ||
        (n % 8 != 0 && first + n != codec->n)) {
        return SPC_ERROR_ARGUMENT;
    }
    spc_channels_quantize_pack(codec, first, values, n, packed);
    return SPC_OK;
}

spc_status spc_codec_quantize(const spc_codec *codec, const void *feature, uint8_t *indices) {
    return spc_codec_quantize_part(codec, 0, feature, codec ? codec->n : 0, indices);
}

spc_status spc_codec_dequantize(const spc_codec *codec, const uint8_t *indices, void *feature) {
    if (!codec_usable(codec) || (codec->n > 0 && (!feature || !indices))) {
        return SPC_ERROR_ARGUMENT;
    }
    return spc_channels_dequantize(codec, indices, feature);
}

/* ------------------------------------------------------------------ encode */

static int is_compact(spc_frame_kind kind) {
    return !SPC_SELF_DESCRIBING || kind == SPC_FRAME_COMPACT;
}

static int kind_usable(spc_frame_kind kind) {
    return kind == SPC_FRAME_COMPACT || (SPC_SELF_DESCRIBING && kind == SPC_FRAME_SELF_DESCRIBING);
}

static size_t header_size(const spc_codec *codec, spc_frame_kind kind) {
    return is_compact(kind) ? COMPACT_HEADER : FULL_HEADER + codec_description_size(codec) + 1;
}

size_t spc_frame_bound(const spc_codec *codec, spc_frame_kind kind) {
    if (!codec_usable(codec)) {
        return 0;
    }
    return header_size(codec, kind) + spc_packed_size(codec->n, codec->codebook.bits) + CHECKSUM;
}

size_t spc_encode_indices_work_size(const spc_codec *codec, spc_coder coder) {
    spc_planes planes;
    if (!codec || codec->n == 0 || describe(codec, coder, &planes) != SPC_OK) {
        return 0;
    }
    return spc_planes_encode_work_size(&planes, coder);
}

static size_t decode_indices_work_size(const spc_codec *codec, spc_coder coder) {
    spc_planes planes;
    if (codec->n == 0 || describe(codec, coder, &planes) != SPC_OK) {
        return 0;
    }
    return spc_planes_decode_work_size(&planes, coder);
}

/* Indices first, then whatever the coder wants; the fused pack path needs neither. */
size_t spc_encode_work_size(const spc_codec *codec, spc_coder coder) {
    return codec && coder != SPC_CODER_PACK ? codec->n + spc_encode_indices_work_size(codec, coder)
                                            : 0;
}

size_t spc_decode_work_size(const spc_codec *codec, spc_coder coder) {
    return codec && coder != SPC_CODER_PACK ? codec->n + decode_indices_work_size(codec, coder) : 0;
}

/* Everything before the payload; how long that is. */
static size_t write_header(const spc_codec *codec, spc_frame_kind kind, spc_coder used,
                           size_t payload_len, uint8_t *out) {
    const size_t len = header_size(codec, kind);
    if (is_compact(kind)) {
        out[0] = (uint8_t)(COMPACT_FIRST | VERSION);
        out[1] = (uint8_t)used;
        spc_store_le32(out + 2, codec->id);
    } else {
        const size_t count = (size_t)codec->codebook.groups << codec->codebook.bits;
        uint8_t *at = out + FULL_HEADER + write_head(codec, out + FULL_HEADER);
        memcpy(out, "SPC", 3);
        out[3] = VERSION;
        spc_store_le32(out + 4, (uint32_t)(len + payload_len + CHECKSUM));
        write_floats(codec->codebook.centroids, count, at);
        at += 4 * count;
        if (codec->model.len > 0) {
            spc_store_le32(at, (uint32_t)codec->model.len);
            memcpy(at + 4, codec->model.bytes, codec->model.len);
        }
        out[len - 1] = (uint8_t)used;
    }
    return len;
}

spc_status spc_frame_start(const spc_codec *codec, spc_frame_kind kind, spc_coder used,
                           size_t payload_len, uint8_t *header, size_t cap, size_t *header_len) {
    if (!codec_usable(codec) || !kind_usable(kind) || !spc_coder_name(used) || !header ||
        !header_len || payload_len > spc_packed_size(codec->n, codec->codebook.bits)) {
        return SPC_ERROR_ARGUMENT;
    }
    if (cap < header_size(codec, kind)) {
        return SPC_ERROR_CAPACITY;
    }
    *header_len = write_header(codec, kind, used, payload_len, header);
    return SPC_OK;
}

/* What all ways to a frame ask for; `from` are its elements or indices. */
static spc_status check_encode(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                               const void *from, const uint8_t *frame, size_t frame_cap,
                               const size_t *frame_len) {
    if (!codec_usable(codec) || !frame || !frame_len || (codec->n > 0 && !from) ||
        !spc_coder_name(coder) || !kind_usable(kind)) {
        return SPC_ERROR_ARGUMENT;
    }
    if (!spc_coder_available(coder)) {
        return SPC_ERROR_CODER;
    }
    return frame_cap < spc_frame_bound(codec, kind) ? SPC_ERROR_CAPACITY : SPC_OK;
}

/* Around the payload, which is there; the frame's length. */
static size_t complete(const spc_codec *codec, spc_frame_kind kind, spc_coder used,
                       size_t payload_len, uint8_t *frame) {
    const size_t end = write_header(codec, kind, used, payload_len, frame) + payload_len;
    spc_store_le32(frame + end, spc_crc32c(0, frame, end));
    return end + CHECKSUM;
}

static spc_status code(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                       const uint8_t *indices, uint8_t *frame, size_t *frame_len, void *work,
                       size_t work_len) {
    size_t payload_len;
    spc_planes planes;
    spc_status status = describe(codec, coder, &planes);
    if (status == SPC_OK) {
        status = spc_planes_encode(&planes, &coder, indices, frame + header_size(codec, kind),
                                   &payload_len, work, work_len);
    }
    if (status == SPC_OK) {
        *frame_len = complete(codec, kind, coder, payload_len, frame);
    }
    return status;
}

spc_status spc_encode_indices(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                              const uint8_t *indices, uint8_t *frame, size_t frame_cap,
                              size_t *frame_len, void *work, size_t work_len) {
    spc_status status = check_encode(codec, coder, kind, indices, frame, frame_cap, frame_len);
    if (status != SPC_OK) {
        return status;
    }
    return code(codec, coder, kind, indices, frame, frame_len, work, work_len);
}

spc_status spc_encode(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                      const void *feature, uint8_t *frame, size_t frame_cap, size_t *frame_len,
                      void *work, size_t work_len) {
    spc_status status = check_encode(codec, coder, kind, feature, frame, frame_cap, frame_len);
    if (status != SPC_OK) {
        return status;
    }
    if (!SPC_CODES || coder == SPC_CODER_PACK || codec->n == 0) {
        spc_channels_quantize_pack(codec, 0, feature, codec->n, frame + header_size(codec, kind));
        *frame_len = complete(codec, kind, SPC_CODER_PACK,
                              spc_packed_size(codec->n, codec->codebook.bits), frame);
        return SPC_OK;
    }
    if (!work || work_len < codec->n) {
        return SPC_ERROR_WORK;
    }
    spc_channels_quantize(codec, 0, feature, codec->n, work);
    return code(codec, coder, kind, work, frame, frame_len, (uint8_t *)work + codec->n,
                work_len - codec->n);
}

/* ------------------------------------------------------------------ parse */

static spc_status check_magic(const uint8_t *bytes, size_t len, spc_frame_kind *kind) {
    if (len == 0) {
        return SPC_ERROR_TRUNCATED;
    }
    if ((bytes[0] & 0xf0u) == COMPACT_FIRST) {
        *kind = SPC_FRAME_COMPACT;
        return (bytes[0] & 0x0fu) == VERSION ? SPC_OK : SPC_ERROR_VERSION;
    }
    *kind = SPC_FRAME_SELF_DESCRIBING;
    if (memcmp(bytes, "SPC", len < 3 ? len : 3) != 0) {
        return SPC_ERROR_NOT_FRAME;
    }
    if (len < 4) {
        return SPC_ERROR_TRUNCATED;
    }
    return bytes[3] == VERSION ? SPC_OK : SPC_ERROR_VERSION;
}

spc_status spc_frame_length(const uint8_t *bytes, size_t bytes_len, size_t *frame_len) {
    spc_frame_kind kind;
    spc_status status;
    if (!bytes || !frame_len) {
        return SPC_ERROR_ARGUMENT;
    }
    status = check_magic(bytes, bytes_len, &kind);
    if (status != SPC_OK) {
        return status;
    }
    if (kind == SPC_FRAME_COMPACT) {
        return SPC_ERROR_ARGUMENT; /* its length is known to the transport alone */
    }
    if (bytes_len < FULL_HEADER) {
        return SPC_ERROR_TRUNCATED;
    }
    *frame_len = spc_load_le32(bytes + 4);
    return SPC_OK;
}

/* Checksum is right: whatever is impossible from here on was written so. */
static spc_status parse_description(const uint8_t *frame, size_t end, spc_frame_info *info) {
    const uint8_t *description = frame + FULL_HEADER, *dims = description + DESCRIPTION_FIXED;
    const uint32_t bits = description[0], rank = description[2];
    const uint32_t axis_byte = description[3] & ~(HAS_MODEL | IS_SLICE);
    const int is_slice = (description[3] & IS_SLICE) != 0;
    const size_t model_least = SPC_MODEL_HEADER + SPC_MODEL_CHECKSUM;
    size_t size;
    if (bits < 1 || bits > 8 || rank > SPC_MAX_RANK || axis_byte > rank ||
        (is_slice && axis_byte == 0) || !spc_dtype_size((spc_dtype)description[1])) {
        return SPC_ERROR_CORRUPT;
    }
    info->groups = 1;
    info->axis = axis_byte ? axis_byte - 1 : SPC_NO_AXIS;
    size = head_size(rank, info->axis, is_slice);
    if (axis_byte) {
        if (FULL_HEADER + size > end) {
            return SPC_ERROR_CORRUPT;
        }
        info->groups = spc_load_le32(dims + 4 * rank);
        if (info->groups < 1 || info->groups > SPC_MAX_GROUPS) {
            return SPC_ERROR_CORRUPT;
        }
    }
    if (is_slice) { /* that these lie in the frame was checked with the groups */
        info->slice_first = spc_load_le32(dims + 4 * rank + 4);
        info->slice_whole = spc_load_le32(dims + 4 * rank + 8);
    }
    size += centroids_size(bits, info->groups);
    if (description[3] & HAS_MODEL) {
        if (FULL_HEADER + size + 4 > end) {
            return SPC_ERROR_CORRUPT;
        }
        info->model_len = spc_load_le32(description + size);
        if (info->model_len < model_least || info->model_len > end - FULL_HEADER - size - 4) {
            return SPC_ERROR_CORRUPT;
        }
        size += model_size(info->model_len);
    }
    if (FULL_HEADER + size + 1 > end) {
        return SPC_ERROR_CORRUPT;
    }
    info->bits = bits;
    info->dtype = (spc_dtype)description[1];
    info->shape.rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        info->shape.dims[i] = spc_load_le32(dims + 4 * i);
    }
    if (spc_shape_elements(&info->shape, &info->n) != SPC_OK) {
        return SPC_ERROR_CORRUPT;
    }
    if (axis_byte &&
        (info->shape.dims[info->axis] == 0 || info->shape.dims[info->axis] % info->groups != 0)) {
        return SPC_ERROR_CORRUPT;
    }
    if (is_slice &&
        slice_status(&info->shape, info->axis, info->slice_first, info->slice_whole) != SPC_OK) {
        return SPC_ERROR_CORRUPT;
    }
    info->codec_id = spc_crc32c(0, description, size - (info->model_len ? SPC_MODEL_CHECKSUM : 0));
    info->coder = (spc_coder)description[size];
    info->payload_offset = FULL_HEADER + size + 1;
    return SPC_OK;
}

spc_status spc_frame_parse(const uint8_t *frame, size_t frame_len, spc_frame_info *info) {
    spc_frame_kind kind;
    spc_status status;
    size_t least, end;
    if (!frame || !info) {
        return SPC_ERROR_ARGUMENT;
    }
    memset(info, 0, sizeof *info);
    status = check_magic(frame, frame_len, &kind);
    if (status != SPC_OK) {
        return status;
    }
    info->kind = kind;
    least = kind == SPC_FRAME_COMPACT ? COMPACT_HEADER : FULL_HEADER + DESCRIPTION_FIXED;
    if (frame_len < least + CHECKSUM) {
        return SPC_ERROR_TRUNCATED;
    }
    if (kind == SPC_FRAME_SELF_DESCRIBING && spc_load_le32(frame + 4) != frame_len) {
        return SPC_ERROR_TRUNCATED;
    }
    end = frame_len - CHECKSUM;
    if (spc_crc32c(0, frame, end) != spc_load_le32(frame + end)) {
        return SPC_ERROR_CHECKSUM;
    }
    if (kind == SPC_FRAME_COMPACT) {
        info->coder = (spc_coder)frame[1];
        info->codec_id = spc_load_le32(frame + 2);
        info->payload_offset = COMPACT_HEADER;
    } else {
        status = parse_description(frame, end, info);
        if (status != SPC_OK) {
            return status;
        }
    }
    info->payload_len = end - info->payload_offset;
    return SPC_OK;
}

spc_status spc_codec_from_frame(spc_codec *codec, const uint8_t *frame, size_t frame_len,
                                size_t max_elements, float *centroids, int32_t *thresholds,
                                size_t cap) {
    spc_frame_info info;
    spc_codebook codebook;
    spc_model model;
    const uint8_t *at;
    size_t count;
    spc_status status = spc_frame_parse(frame, frame_len, &info);
    if (status != SPC_OK) {
        return status;
    }
    if (!codec || !centroids || !thresholds || info.kind == SPC_FRAME_COMPACT) {
        return SPC_ERROR_ARGUMENT;
    }
    if (info.n > max_elements) {
        return SPC_ERROR_LIMIT;
    }
    count = (size_t)info.groups << info.bits;
    if (cap < count) {
        return SPC_ERROR_CAPACITY;
    }
    at = frame + FULL_HEADER + head_size(info.shape.rank, info.axis, info.slice_whole > 0);
    for (size_t i = 0; i < count; i++) {
        uint32_t raw = spc_load_le32(at + 4 * i);
        memcpy(&centroids[i], &raw, sizeof raw);
    }
    if (spc_codebook_init_groups(&codebook, centroids, info.bits, info.groups, thresholds) !=
        SPC_OK) {
        return SPC_ERROR_CORRUPT;
    }
    status = spc_codec_init_channels(codec, &codebook, info.axis, info.dtype, &info.shape);
    if (status == SPC_OK && info.slice_whole > 0) {
        status = spc_codec_set_slice(codec, info.slice_first, info.slice_whole);
    }
    if (status != SPC_OK || info.model_len == 0) {
        return status;
    }
    status = spc_model_init(&model, at + 4 * count + 4, info.model_len);
    if (status == SPC_OK) {
        status = spc_codec_set_model(codec, &model);
    }
    return status == SPC_ERROR_MODEL ? SPC_ERROR_CORRUPT : status;
}

/* ------------------------------------------------------------------ decode */

/* Where the payload of a frame of this codec is, and whose.  Not inlined: what a frame says of
 * itself is more than there is of stack while its payload is decoded. */
static __attribute__((noinline)) spc_status find_payload(const spc_codec *codec,
                                                         const uint8_t *frame, size_t frame_len,
                                                         spc_coder *coder, const uint8_t **payload,
                                                         size_t *payload_len) {
    spc_frame_info info;
    spc_status status = spc_frame_parse(frame, frame_len, &info);
    if (status != SPC_OK) {
        return status;
    }
    *coder = info.coder;
    *payload = frame + info.payload_offset;
    *payload_len = info.payload_len;
    if (info.codec_id != codec->id) {
        return SPC_ERROR_MISMATCH;
    }
    return spc_coder_available(info.coder) ? SPC_OK : SPC_ERROR_CODER;
}

spc_status spc_decode(const spc_codec *codec, const uint8_t *frame, size_t frame_len, void *feature,
                      size_t feature_cap, void *work, size_t work_len) {
    spc_coder coder;
    const uint8_t *payload;
    size_t payload_len;
    spc_planes planes;
    spc_status status;
    if (!codec_usable(codec) || (codec->n > 0 && !feature)) {
        return SPC_ERROR_ARGUMENT;
    }
    status = find_payload(codec, frame, frame_len, &coder, &payload, &payload_len);
    if (status != SPC_OK) {
        return status;
    }
    if (feature_cap < spc_feature_size(codec)) {
        return SPC_ERROR_CAPACITY;
    }
    if (!SPC_CODES || coder == SPC_CODER_PACK) {
        if (payload_len != spc_packed_size(codec->n, codec->codebook.bits)) {
            return SPC_ERROR_CORRUPT;
        }
        return spc_channels_unpack_dequantize(codec, payload, feature);
    }
    if (codec->n > 0 && (!work || work_len < codec->n)) {
        return SPC_ERROR_WORK;
    }
    status = describe(codec, coder, &planes);
    if (status == SPC_OK) {
        status = spc_planes_decode(&planes, coder, payload, payload_len, work,
                                   work ? (uint8_t *)work + codec->n : NULL,
                                   work ? work_len - codec->n : 0);
    }
    if (status == SPC_ERROR_MODEL) {
        return SPC_ERROR_CORRUPT; /* a codec without it has made no such frame */
    }
    if (status != SPC_OK) {
        return status;
    }
    return spc_channels_dequantize(codec, work, feature);
}
