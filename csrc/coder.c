#include "coder.h"

#include "internal.h"

/* Names are known for every coder, the implementation may be missing from a build. */
static const struct {
    const char *name;
    const spc_coder_ops *ops;
} coders[] = {
    [SPC_CODER_PACK] = {"pack", &spc_coder_pack_ops},
#if SPC_WITH_LZMA
    [SPC_CODER_LZMA] = {"lzma", &spc_coder_lzma_ops},
#else
    [SPC_CODER_LZMA] = {"lzma", NULL},
#endif
};

#define CODER_COUNT (sizeof coders / sizeof coders[0])

static const spc_coder_ops *find(spc_coder coder) {
    return (size_t)coder < CODER_COUNT ? coders[coder].ops : NULL;
}

const char *spc_coder_name(spc_coder coder) {
    return (size_t)coder < CODER_COUNT ? coders[coder].name : NULL;
}

int spc_coder_available(spc_coder coder) {
    return find(coder) != NULL;
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

static spc_status describe(spc_coder coder, const spc_shape *shape, uint32_t bits,
                           const spc_coder_ops **ops, spc_symbols *symbols) {
    if (bits < 1 || bits > 8 || (size_t)coder >= CODER_COUNT) {
        return SPC_ERROR_ARGUMENT;
    }
    *ops = find(coder);
    if (!*ops) {
        return SPC_ERROR_CODER;
    }
    symbols->shape = shape;
    symbols->bits = bits;
    return spc_shape_elements(shape, &symbols->n);
}

size_t spc_coder_bound(spc_coder coder, const spc_shape *shape, uint32_t bits) {
    const spc_coder_ops *ops;
    spc_symbols symbols;
    if (describe(coder, shape, bits, &ops, &symbols) != SPC_OK) {
        return 0;
    }
    return spc_packed_size(symbols.n, bits);
}

size_t spc_coder_encode_work_size(spc_coder coder, const spc_shape *shape, uint32_t bits) {
    const spc_coder_ops *ops;
    spc_symbols symbols;
    if (describe(coder, shape, bits, &ops, &symbols) != SPC_OK || symbols.n == 0) {
        return 0;
    }
    return ops->encode_work_size(&symbols);
}

size_t spc_coder_decode_work_size(spc_coder coder, const spc_shape *shape, uint32_t bits) {
    const spc_coder_ops *ops;
    spc_symbols symbols;
    if (describe(coder, shape, bits, &ops, &symbols) != SPC_OK || symbols.n == 0) {
        return 0;
    }
    return ops->decode_work_size(&symbols);
}

static int indices_in_range(const uint8_t *indices, size_t n, uint32_t bits) {
    uint32_t seen = 0;
    for (size_t i = 0; i < n; i++) {
        seen |= indices[i];
    }
    return seen >> bits == 0;
}

spc_status spc_coder_encode(spc_coder coder, const spc_shape *shape, uint32_t bits,
                            const uint8_t *indices, uint8_t *payload, size_t payload_cap,
                            size_t *payload_len, spc_coder *used, void *work, size_t work_len) {
    const spc_coder_ops *ops;
    spc_symbols symbols;
    size_t packed_len, len;
    spc_status status = describe(coder, shape, bits, &ops, &symbols);
    if (status != SPC_OK) {
        return status;
    }
    if (!payload_len || !used || (symbols.n > 0 && (!indices || !payload))) {
        return SPC_ERROR_ARGUMENT;
    }
    *payload_len = 0;
    *used = SPC_CODER_PACK;
    if (symbols.n == 0) {
        return SPC_OK;
    }
    packed_len = spc_packed_size(symbols.n, bits);
    if (packed_len > payload_cap) {
        return SPC_ERROR_CAPACITY;
    }
    if (ops->encode_work_size(&symbols) > (work ? work_len : 0)) {
        return SPC_ERROR_WORK;
    }
    if (!indices_in_range(indices, symbols.n, bits)) {
        return SPC_ERROR_ARGUMENT;
    }
    if (coder != SPC_CODER_PACK) {
        len = ops->encode(&symbols, indices, payload, packed_len - 1, work, work_len);
        if (len > 0) {
            *payload_len = len;
            *used = coder;
            return SPC_OK;
        }
    }
    *payload_len = spc_coder_pack_ops.encode(&symbols, indices, payload, packed_len, NULL, 0);
    return SPC_OK;
}

spc_status spc_coder_decode(spc_coder coder, const spc_shape *shape, uint32_t bits,
                            const uint8_t *payload, size_t payload_len, uint8_t *indices,
                            void *work, size_t work_len) {
    const spc_coder_ops *ops;
    spc_symbols symbols;
    spc_status status = describe(coder, shape, bits, &ops, &symbols);
    if (status != SPC_OK) {
        return status;
    }
    if ((payload_len > 0 && !payload) || (symbols.n > 0 && !indices)) {
        return SPC_ERROR_ARGUMENT;
    }
    if (symbols.n == 0) {
        /* Nothing to code is always stored. */
        return coder == SPC_CODER_PACK && payload_len == 0 ? SPC_OK : SPC_ERROR_CORRUPT;
    }
    if (ops->decode_work_size(&symbols) > (work ? work_len : 0)) {
        return SPC_ERROR_WORK;
    }
    return ops->decode(&symbols, payload, payload_len, indices, work, work_len);
}
