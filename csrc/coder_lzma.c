/*
 * Coder 1: the packed indices as one MicroLZMA stream.  Our own encoder writes it: liblzma's needs
 * 1.2 MB of work and, on these payloads, three times as long for as many bytes
 * (docs/performance.md).
 */
#include "coder.h"
#include "lzma_encoder.h"
#include "lzma_format.h"

static size_t lzma_work_size(const spc_planes *planes) {
    size_t packed_len = spc_packed_size(planes->n, planes->bits);
    return packed_len + spc_lzma_encoder_work_size(packed_len);
}

static size_t encode_lzma(const spc_planes *planes, const uint8_t *indices, uint8_t *payload,
                          size_t cap, void *work, size_t work_len) {
    size_t packed_len = spc_packed_size(planes->n, planes->bits);
    uint8_t *packed = work;
    if (packed_len < SPC_LZMA_MIN_INPUT) {
        return 0;
    }
    (void)spc_pack(indices, planes->n, planes->bits, packed);
    return spc_lzma_encode(packed, packed_len, payload, cap, packed + packed_len,
                           work_len - packed_len);
}

const spc_coder_ops spc_coder_lzma_ops = {
    .work_size = lzma_work_size,
    .encode = encode_lzma,
};
