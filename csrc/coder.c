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

/* Indices in the order of the shape are [outer][channels][inner]. */
typedef struct view {
    spc_planes planes;
    size_t outer, inner;
} view;

static size_t product(const spc_shape *shape, uint32_t from, uint32_t to) {
    size_t n = 1;
    for (uint32_t i = from; i < to; i++) {
        n *= shape->dims[i];
    }
    return n;
}

static view view_of(const spc_symbols *symbols, size_t n) {
    const spc_shape *shape = &symbols->shape;
    const uint32_t rank = shape->rank;
    uint32_t axis = symbols->axis, last;
    view found = {{.n = n, .bits = symbols->bits, .channels = 1, .columns = 1}, 1, 1};
    if (axis == SPC_NO_AXIS && rank >= 3) {
        axis = 0;
    }
    if (axis == SPC_NO_AXIS) {
        found.inner = product(shape, 0, rank);
        last = rank;
    } else {
        found.outer = product(shape, 0, axis);
        found.inner = product(shape, axis + 1, rank);
        last = axis + 1 == rank ? axis : rank;
    }
    if (last > 0) {
        found.planes.columns = shape->dims[last - 1];
    }
    found.planes.channels = axis == SPC_NO_AXIS ? 1 : shape->dims[axis];
    found.planes.rows = n / found.planes.channels / found.planes.columns;
    return found;
}

static int must_move(const view *of, const spc_coder_ops *ops) {
    return ops->planar && of->planes.channels > 1 && of->outer > 1;
}

/* Runs of `inner`, in the one order and in the other. */
static void to_planes(const view *of, const uint8_t *indices, uint8_t *planar) {
    for (size_t o = 0; o < of->outer; o++) {
        for (size_t c = 0; c < of->planes.channels; c++) {
            memcpy(planar + (c * of->outer + o) * of->inner, indices, of->inner);
            indices += of->inner;
        }
    }
}

static void from_planes(const view *of, const uint8_t *planar, uint8_t *indices) {
    for (size_t o = 0; o < of->outer; o++) {
        for (size_t c = 0; c < of->planes.channels; c++) {
            memcpy(indices, planar + (c * of->outer + o) * of->inner, of->inner);
            indices += of->inner;
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

int spc_model_fits(const spc_model *model, const spc_symbols *symbols) {
    size_t n;
    if (spc_shape_elements(&symbols->shape, &n) != SPC_OK || n == 0) {
        return 0;
    }
    return model->bits == symbols->bits && model->channels == view_of(symbols, n).planes.channels;
}

/* ------------------------------------------------------------------ the coders */

static spc_status describe(spc_coder coder, const spc_symbols *symbols, const spc_coder_ops **ops,
                           view *of) {
    spc_status status;
    size_t n;
    if (!symbols || symbols->bits < 1 || symbols->bits > 8 || (size_t)coder >= CODER_COUNT) {
        return SPC_ERROR_ARGUMENT;
    }
    *ops = spc_coder_find(coder);
    if (!*ops) {
        return SPC_ERROR_CODER;
    }
    status = spc_shape_elements(&symbols->shape, &n);
    if (status != SPC_OK) {
        return status;
    }
    if (symbols->axis != SPC_NO_AXIS && symbols->axis >= symbols->shape.rank) {
        return SPC_ERROR_ARGUMENT;
    }
    if (n == 0) {
        of->planes.n = 0;
        return SPC_OK;
    }
    *of = view_of(symbols, n);
    if (symbols->model && symbols->model->coder == coder) {
        if (!spc_model_fits(symbols->model, symbols)) {
            return SPC_ERROR_MODEL;
        }
        of->planes.model = symbols->model;
    }
    return (*ops)->needs_model && !of->planes.model ? SPC_ERROR_MODEL : SPC_OK;
}

size_t spc_coder_bound(spc_coder coder, const spc_symbols *symbols) {
    const spc_coder_ops *ops;
    view of;
    if (describe(coder, symbols, &ops, &of) != SPC_OK) {
        return 0;
    }
    return spc_packed_size(of.planes.n, symbols->bits);
}

static size_t moved_size(const view *of, const spc_coder_ops *ops) {
    return must_move(of, ops) ? of->planes.n : 0;
}

/* What a rival sees: it does without the model. */
static spc_planes without_model(const view *of) {
    spc_planes planes = of->planes;
    planes.model = NULL;
    return planes;
}

/* Of the coder, or its rival, which comes after it; and then of the rival's payload. */
static size_t encode_work_size(const view *of, const spc_coder_ops *ops) {
    size_t size = ops->work_size(&of->planes);
    if (ops->rival) {
        const spc_planes planes = without_model(of);
        const size_t rival = ops->rival->work_size(&planes);
        size = (rival > size ? rival : size) + spc_packed_size(planes.n, planes.bits);
    }
    return moved_size(of, ops) + size;
}

size_t spc_coder_encode_work_size(spc_coder coder, const spc_symbols *symbols) {
    const spc_coder_ops *ops;
    view of;
    if (describe(coder, symbols, &ops, &of) != SPC_OK || of.planes.n == 0) {
        return 0;
    }
    return encode_work_size(&of, ops);
}

/* Puts the rival's payload in the place of one of `len` bytes if it is smaller.  Its length, or 0.
 */
static size_t try_rival(const view *of, const spc_coder_ops *ops, const uint8_t *indices,
                        uint8_t *payload, size_t len, uint8_t *work, size_t work_len) {
    const size_t room = spc_packed_size(of->planes.n, of->planes.bits);
    const spc_planes planes = without_model(of);
    uint8_t *scratch = work + work_len - room;
    len = ops->rival->encode(&planes, indices, scratch, len - 1, work, work_len - room);
    memcpy(payload, scratch, len);
    return len;
}

size_t spc_coder_decode_work_size(spc_coder coder, const spc_symbols *symbols) {
    const spc_decoder_ops *decoder = spc_decoder_find(coder);
    const spc_coder_ops *ops;
    view of;
    if (describe(coder, symbols, &ops, &of) != SPC_OK || !decoder || of.planes.n == 0) {
        return 0;
    }
    return moved_size(&of, ops) + decoder->work_size(&of.planes);
}

static int indices_in_range(const uint8_t *indices, size_t n, uint32_t bits) {
    uint32_t seen = 0;
    for (size_t i = 0; i < n; i++) {
        seen |= indices[i];
    }
    return seen >> bits == 0;
}

spc_status spc_coder_encode(spc_coder coder, const spc_symbols *symbols, const uint8_t *indices,
                            uint8_t *payload, size_t payload_cap, size_t *payload_len,
                            spc_coder *used, void *work, size_t work_len) {
    const spc_coder_ops *ops;
    view of;
    size_t packed_len, moved, len;
    spc_status status = describe(coder, symbols, &ops, &of);
    if (status != SPC_OK) {
        return status;
    }
    if (!payload_len || !used || (of.planes.n > 0 && (!indices || !payload))) {
        return SPC_ERROR_ARGUMENT;
    }
    *payload_len = 0;
    *used = SPC_CODER_PACK;
    if (of.planes.n == 0) {
        return SPC_OK;
    }
    packed_len = spc_packed_size(of.planes.n, symbols->bits);
    if (packed_len > payload_cap) {
        return SPC_ERROR_CAPACITY;
    }
    moved = moved_size(&of, ops);
    if (encode_work_size(&of, ops) > (work ? work_len : 0)) {
        return SPC_ERROR_WORK;
    }
    if (!indices_in_range(indices, of.planes.n, symbols->bits)) {
        return SPC_ERROR_ARGUMENT;
    }
    if (coder != SPC_CODER_PACK) {
        const uint8_t *planar = moved ? work : indices;
        uint8_t *rest = work ? (uint8_t *)work + moved : NULL;
        if (moved) {
            to_planes(&of, indices, work);
        }
        len = ops->encode(&of.planes, planar, payload, packed_len - 1, rest, work_len - moved);
        *used = coder;
        if (ops->rival) {
            const size_t limit = len > 0 ? len : packed_len;
            const size_t less = try_rival(&of, ops, planar, payload, limit, rest, work_len - moved);
            if (less > 0) {
                len = less;
                *used = ops->rival_number;
            }
        }
        if (len > 0) {
            *payload_len = len;
            return SPC_OK;
        }
    }
    *used = SPC_CODER_PACK;
    *payload_len = spc_coder_pack_ops.encode(&of.planes, indices, payload, packed_len, NULL, 0);
    return SPC_OK;
}

spc_status spc_coder_decode(spc_coder coder, const spc_symbols *symbols, const uint8_t *payload,
                            size_t payload_len, uint8_t *indices, void *work, size_t work_len) {
    const spc_decoder_ops *decoder = spc_decoder_find(coder);
    const spc_coder_ops *ops;
    view of;
    size_t moved;
    spc_status status = describe(coder, symbols, &ops, &of);
    if (status != SPC_OK) {
        return status;
    }
    if (!decoder) {
        return SPC_ERROR_CODER;
    }
    if ((payload_len > 0 && !payload) || (of.planes.n > 0 && !indices)) {
        return SPC_ERROR_ARGUMENT;
    }
    if (of.planes.n == 0) {
        /* Nothing to code is always stored. */
        return coder == SPC_CODER_PACK && payload_len == 0 ? SPC_OK : SPC_ERROR_CORRUPT;
    }
    moved = moved_size(&of, ops);
    if (moved + decoder->work_size(&of.planes) > (work ? work_len : 0)) {
        return SPC_ERROR_WORK;
    }
    if (coder != SPC_CODER_PACK && payload_len >= spc_packed_size(of.planes.n, symbols->bits)) {
        return SPC_ERROR_CORRUPT; /* an encoder would have stored the packed indices */
    }
    if (!moved) {
        return decoder->decode(&of.planes, payload, payload_len, indices, work, work_len);
    }
    status = decoder->decode(&of.planes, payload, payload_len, work, (uint8_t *)work + moved,
                             work_len - moved);
    if (status == SPC_OK) {
        from_planes(&of, work, indices);
    }
    return status;
}
