/* Coder 0: the packed indices themselves.  Every other coder falls back to it. */
#include "coder.h"

static size_t pack_work_size(const spc_planes *planes) {
    (void)planes;
    return 0;
}

static size_t encode_pack(const spc_planes *planes, const uint8_t *indices, uint8_t *payload,
                          size_t cap, void *work, size_t work_len) {
    size_t size = spc_packed_size(planes->n, planes->bits);
    (void)work;
    (void)work_len;
    if (size > cap) {
        return 0;
    }
    (void)spc_pack(indices, planes->n, planes->bits, payload);
    return size;
}

static spc_status decode_pack(const spc_planes *planes, const uint8_t *payload, size_t payload_len,
                              uint8_t *indices, void *work, size_t work_len) {
    (void)work;
    (void)work_len;
    if (payload_len != spc_packed_size(planes->n, planes->bits)) {
        return SPC_ERROR_CORRUPT;
    }
    return spc_unpack(payload, planes->n, planes->bits, indices);
}

const spc_coder_ops spc_coder_pack_ops = {
    .work_size = pack_work_size,
    .encode = encode_pack,
};

const spc_decoder_ops spc_decoder_pack_ops = {
    .work_size = pack_work_size,
    .decode = decode_pack,
};
