#include "coder.h"

#include <string.h>

#include "bytes.h"
#include "internal.h"

/* Names are known for every coder, the implementation may be missing from a build. */
static const char *const coder_names[] = {
    [SPC_CODER_PACK] = "pack", [SPC_CODER_LZMA] = "lzma",       [SPC_CODER_RANGE] = "range",
    [SPC_CODER_RANS] = "rans", [SPC_CODER_CONTEXT] = "context",
};

#define CODER_COUNT (sizeof coder_names / sizeof coder_names[0])
#define IF_BUILT(coder, ops) (SPC_HAS_CODER(coder) ? &(ops) : NULL)

static const spc_coder_ops *const coders[CODER_COUNT] = {
    [SPC_CODER_PACK] = &spc_coder_pack_ops,
    [SPC_CODER_LZMA] = IF_BUILT(SPC_CODER_LZMA, spc_coder_lzma_ops),
    [SPC_CODER_RANGE] = IF_BUILT(SPC_CODER_RANGE, spc_coder_range_ops),
    [SPC_CODER_RANS] = IF_BUILT(SPC_CODER_RANS, spc_coder_rans_ops),
    [SPC_CODER_CONTEXT] = IF_BUILT(SPC_CODER_CONTEXT, spc_coder_context_ops),
};

static const spc_decoder_ops *const decoders[CODER_COUNT] = {
    [SPC_CODER_PACK] = &spc_decoder_pack_ops,
#if SPC_WITH_LIBLZMA
    [SPC_CODER_LZMA] = IF_BUILT(SPC_CODER_LZMA, spc_decoder_lzma_ops),
#endif
    [SPC_CODER_RANGE] = IF_BUILT(SPC_CODER_RANGE, spc_decoder_range_ops),
    [SPC_CODER_RANS] = IF_BUILT(SPC_CODER_RANS, spc_decoder_rans_ops),
    [SPC_CODER_CONTEXT] = IF_BUILT(SPC_CODER_CONTEXT, spc_decoder_context_ops),
};

const spc_coder_ops *spc_coder_find(spc_coder coder) {
    return (size_t)coder < CODER_COUNT ? coders[coder] : NULL;
}

const spc_decoder_ops *spc_decoder_find(spc_coder coder) {
    return (size_t)coder < CODER_COUNT ? decoders[coder] : NULL;
}

const char *spc_coder_name(spc_coder coder) {
    return (size_t)coder < CODER_COUNT ? coder_names[coder] : NULL;
}

int spc_coder_available(spc_coder coder) {
    return spc_coder_find(coder) != NULL;
}

spc_status spc_shape_elements(const spc_shape *shape, size_t *n) {
    uint64_t product = 1;
    int empty = 0;
    if (!shape || !n || shape->rank > SPC_MAX_RANK) {
        return SPC_ERROR_ARGUMENT;
    }
    for (uint32_t i = 0; i < shape->rank; i++) {
        uint32_t dim = shape->dims[i];
        empty |= dim == 0;
        /* Checked per dimension, also beside a 0: no dim of a valid shape is beyond the limit. */
        product *= dim == 0 ? 1 : dim;
        if (product > SPC_MAX_ELEMENTS) {
            return SPC_ERROR_LIMIT;
        }
    }
    for (uint32_t i = shape->rank; i < SPC_MAX_RANK; i++) {
        if (shape->dims[i] != 0) {
            return SPC_ERROR_ARGUMENT;
        }
    }
    *n = empty ? 0 : (size_t)product;
    return SPC_OK;
}

/* ------------------------------------------------------------------ channels, rows, columns */

/* Of symbols that there are. */
static void find_planes(const spc_shape *shape, uint32_t axis, spc_planes *planes) {
    uint32_t last = shape->rank;
    planes->channels = 1;
    planes->columns = planes->outer = 1;
    if (axis == SPC_NO_AXIS && shape->rank >= 3) {
        axis = 0;
    }
    if (axis != SPC_NO_AXIS) {
        planes->channels = shape->dims[axis];
        for (uint32_t i = 0; i < axis; i++) {
            planes->outer *= shape->dims[i];
        }
        last = axis + 1 == last ? axis : last;
    }
    if (last > 0) {
        planes->columns = shape->dims[last - 1];
    }
    planes->inner = planes->n / planes->channels / planes->outer;
    planes->rows = planes->n / planes->channels / planes->columns;
}

/* Room for the indices in the order of planes, if it is another one. */
static size_t moved_size(const spc_planes *planes, const spc_coder_ops *ops) {
    return ops->planar && planes->channels > 1 && planes->outer > 1 ? planes->n : 0;
}

/* Runs of `inner`, in the one order and in the other. */
static void to_planes(const spc_planes *planes, const uint8_t *indices, uint8_t *planar) {
    for (size_t o = 0; o < planes->outer; o++) {
        for (size_t c = 0; c < planes->channels; c++) {
            memcpy(planar + (c * planes->outer + o) * planes->inner, indices, planes->inner);
            indices += planes->inner;
        }
    }
}

static void from_planes(const spc_planes *planes, const uint8_t *planar, uint8_t *indices) {
    for (size_t o = 0; o < planes->outer; o++) {
        for (size_t c = 0; c < planes->channels; c++) {
            memcpy(indices, planar + (c * planes->outer + o) * planes->inner, planes->inner);
            indices += planes->inner;
        }
    }
}

/* ------------------------------------------------------------------ models */

static spc_model_check *model_check_of(spc_coder coder) {
    switch (coder) {
    case SPC_CODER_RANGE:
        return spc_range_model_valid;
    case SPC_CODER_RANS:
        return spc_rans_model_valid;
    case SPC_CODER_CONTEXT:
        return spc_context_model_valid;
    default:
        return NULL;
    }
}

spc_status spc_model_init(spc_model *model, const uint8_t *bytes, size_t len) {
    spc_model_check *check;
    size_t body;
    if (!model || !bytes) {
        return SPC_ERROR_ARGUMENT;
    }
    if (len < SPC_MODEL_HEADER + SPC_MODEL_CHECKSUM || memcmp(bytes, "SPM\1", 4) != 0 ||
        spc_crc32c(0, bytes, len - SPC_MODEL_CHECKSUM) !=
            spc_load_le32(bytes + len - SPC_MODEL_CHECKSUM)) {
        return SPC_ERROR_MODEL;
    }
    model->bytes = bytes;
    model->len = len;
    model->coder = (spc_coder)bytes[4];
    model->bits = bytes[5];
    model->channels = bytes[6] | (uint32_t)bytes[7] << 8;
    if (!spc_coder_name(model->coder) || model->bits < 1 || model->bits > 8 ||
        model->channels == 0) {
        return SPC_ERROR_MODEL;
    }
    if (!spc_coder_available(model->coder)) {
        return SPC_ERROR_CODER;
    }
    check = model_check_of(model->coder);
    body = len - SPC_MODEL_HEADER - SPC_MODEL_CHECKSUM;
    return check && check(bytes + SPC_MODEL_HEADER, body, model->bits, model->channels)
               ? SPC_OK
               : SPC_ERROR_MODEL;
}

/* ------------------------------------------------------------------ the coders */

spc_status spc_coder_describe(spc_coder coder, const spc_shape *shape, uint32_t axis, uint32_t bits,
                              const spc_model *model, spc_planes *planes) {
    const spc_coder_ops *ops = spc_coder_find(coder);
    spc_status status;
    if (!spc_bits_usable(bits) || !spc_coder_name(coder)) {
        return SPC_ERROR_ARGUMENT;
    }
    if (!ops) {
        return SPC_ERROR_CODER;
    }
    status = spc_shape_elements(shape, &planes->n);
    if (status != SPC_OK) {
        return status;
    }
    if (axis != SPC_NO_AXIS && axis >= shape->rank) {
        return SPC_ERROR_ARGUMENT;
    }
    if (planes->n == 0) {
        return SPC_OK;
    }
    find_planes(shape, axis, planes);
    planes->bits = bits;
    planes->model = model && model->coder == coder ? model : NULL;
    if (planes->model ? model->bits != bits || model->channels != planes->channels
                      : ops->needs_model) {
        return SPC_ERROR_MODEL;
    }
    return SPC_OK;
}

/* Of the coder, or its rival, which comes after it; and then of the rival's payload. */
size_t spc_planes_encode_work_size(const spc_planes *planes, spc_coder coder) {
    const spc_coder_ops *ops = spc_coder_find(coder);
    size_t size = ops->work_size(planes);
    if (ops->rival) {
        const size_t rival = ops->rival->work_size(planes);
        size = (rival > size ? rival : size) + spc_packed_size(planes->n, planes->bits);
    }
    return moved_size(planes, ops) + size;
}

size_t spc_planes_decode_work_size(const spc_planes *planes, spc_coder coder) {
    const spc_decoder_ops *decoder = spc_decoder_find(coder);
    return decoder ? moved_size(planes, spc_coder_find(coder)) + decoder->work_size(planes) : 0;
}

static int indices_in_range(const uint8_t *indices, size_t n, uint32_t bits) {
    uint32_t seen = 0;
    for (size_t i = 0; i < n; i++) {
        seen |= indices[i];
    }
    return seen >> bits == 0;
}

spc_status spc_planes_encode(const spc_planes *planes, spc_coder *coder, const uint8_t *indices,
                             uint8_t *payload, size_t *payload_len, void *work, size_t work_len) {
    const spc_coder_ops *ops = spc_coder_find(*coder);
    const uint8_t *planar = indices;
    uint8_t *rest = work;
    size_t packed_len, moved, len;
    if (planes->n == 0) {
        *payload_len = 0;
        *coder = SPC_CODER_PACK;
        return SPC_OK;
    }
    if (spc_planes_encode_work_size(planes, *coder) > (work ? work_len : 0)) {
        return SPC_ERROR_WORK;
    }
    if (!indices_in_range(indices, planes->n, planes->bits)) {
        return SPC_ERROR_ARGUMENT;
    }
    moved = moved_size(planes, ops);
    if (moved > 0) {
        to_planes(planes, indices, work);
        planar = work;
        rest += moved;
        work_len -= moved;
    }
    packed_len = spc_packed_size(planes->n, planes->bits);
    len = ops->encode(planes, planar, payload, packed_len - 1, rest, work_len);
    if (ops->rival) {
        uint8_t *scratch = rest + work_len - packed_len;
        const size_t most = (len > 0 ? len : packed_len) - 1;
        const size_t less =
            ops->rival->encode(planes, planar, scratch, most, rest, work_len - packed_len);
        if (less > 0) {
            memcpy(payload, scratch, less);
            len = less;
            *coder = ops->rival_number;
        }
    }
    if (len == 0) {
        len = spc_coder_pack_ops.encode(planes, indices, payload, packed_len, NULL, 0);
        *coder = SPC_CODER_PACK;
    }
    *payload_len = len;
    return SPC_OK;
}

spc_status spc_planes_decode(const spc_planes *planes, spc_coder coder, const uint8_t *payload,
                             size_t payload_len, uint8_t *indices, void *work, size_t work_len) {
    const spc_decoder_ops *decoder = spc_decoder_find(coder);
    spc_status status;
    size_t moved;
    if (!decoder) {
        return SPC_ERROR_CODER;
    }
    if (planes->n == 0) {
        /* Nothing to code is always stored. */
        return coder == SPC_CODER_PACK && payload_len == 0 ? SPC_OK : SPC_ERROR_CORRUPT;
    }
    if (spc_planes_decode_work_size(planes, coder) > (work ? work_len : 0)) {
        return SPC_ERROR_WORK;
    }
    if (coder != SPC_CODER_PACK && payload_len >= spc_packed_size(planes->n, planes->bits)) {
        return SPC_ERROR_CORRUPT; /* an encoder would have stored the packed indices */
    }
    moved = moved_size(planes, spc_coder_find(coder));
    if (moved == 0) {
        return decoder->decode(planes, payload, payload_len, indices, work, work_len);
    }
    status = decoder->decode(planes, payload, payload_len, work, (uint8_t *)work + moved,
                             work_len - moved);
    if (status == SPC_OK) {
        from_planes(planes, work, indices);
    }
    return status;
}

/* ------------------------------------------------------------------ public */

static spc_status describe_symbols(spc_coder coder, const spc_symbols *symbols,
                                   spc_planes *planes) {
    if (!symbols) {
        return SPC_ERROR_ARGUMENT;
    }
    return spc_coder_describe(coder, &symbols->shape, symbols->axis, symbols->bits, symbols->model,
                              planes);
}

size_t spc_coder_bound(spc_coder coder, const spc_symbols *symbols) {
    spc_planes planes;
    return describe_symbols(coder, symbols, &planes) == SPC_OK
               ? spc_packed_size(planes.n, symbols->bits)
               : 0;
}

size_t spc_coder_encode_work_size(spc_coder coder, const spc_symbols *symbols) {
    spc_planes planes;
    return describe_symbols(coder, symbols, &planes) == SPC_OK && planes.n > 0
               ? spc_planes_encode_work_size(&planes, coder)
               : 0;
}

size_t spc_coder_decode_work_size(spc_coder coder, const spc_symbols *symbols) {
    spc_planes planes;
    return describe_symbols(coder, symbols, &planes) == SPC_OK && planes.n > 0
               ? spc_planes_decode_work_size(&planes, coder)
               : 0;
}

spc_status spc_coder_encode(spc_coder coder, const spc_symbols *symbols, const uint8_t *indices,
                            uint8_t *payload, size_t payload_cap, size_t *payload_len,
                            spc_coder *used, void *work, size_t work_len) {
    spc_planes planes;
    spc_status status = describe_symbols(coder, symbols, &planes);
    if (status != SPC_OK) {
        return status;
    }
    if (!payload_len || !used || (planes.n > 0 && (!indices || !payload))) {
        return SPC_ERROR_ARGUMENT;
    }
    if (spc_packed_size(planes.n, symbols->bits) > payload_cap) {
        return SPC_ERROR_CAPACITY;
    }
    *used = coder;
    return spc_planes_encode(&planes, used, indices, payload, payload_len, work, work_len);
}

spc_status spc_coder_decode(spc_coder coder, const spc_symbols *symbols, const uint8_t *payload,
                            size_t payload_len, uint8_t *indices, void *work, size_t work_len) {
    spc_planes planes;
    spc_status status = describe_symbols(coder, symbols, &planes);
    if (status != SPC_OK) {
        return status;
    }
    if (spc_decoder_find(coder) && ((payload_len > 0 && !payload) || (planes.n > 0 && !indices))) {
        return SPC_ERROR_ARGUMENT;
    }
    return spc_planes_decode(&planes, coder, payload, payload_len, indices, work, work_len);
}
