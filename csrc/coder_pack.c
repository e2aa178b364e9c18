/* Coder 0: the packed indices themselves.  Every other coder falls back to it. */
#include "coder.h"

static size_t work_size(const spc_symbols *symbols) {
    (void)symbols;
    return 0;
}

static size_t encode(const spc_symbols *symbols, const uint8_t *indices, uint8_t *payload,
                     size_t cap, void *work, size_t work_len) {
    size_t size = spc_packed_size(symbols->n, symbols->bits);
    (void)work;
    (void)work_len;
    if (size > cap) {
        return 0;
    }
    (void)spc_pack(indices, symbols->n, symbols->bits, payload);
    return size;
}

static spc_status decode(const spc_symbols *symbols, const uint8_t *payload, size_t payload_len,
                         uint8_t *indices, void *work, size_t work_len) {
    (void)work;
    (void)work_len;
    if (payload_len != spc_packed_size(symbols->n, symbols->bits)) {
        return SPC_ERROR_CORRUPT;
    }
    return spc_unpack(payload, symbols->n, symbols->bits, indices);
}

const spc_coder_ops spc_coder_pack_ops = {
    .name = "pack",
    .encode_work_size = work_size,
    .decode_work_size = work_size,
    .encode = encode,
    .decode = decode,
};
