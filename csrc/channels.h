/* Features, each element by the codebook of its channel; of a codec that is in order. */
#ifndef SPC_CHANNELS_H
#define SPC_CHANNELS_H

#include "splitcodec.h"

/* Elements first .. first + n - 1, of which `values` are; packed from a multiple of 8 on. */
void spc_channels_quantize(const spc_codec *codec, size_t first, const void *values, size_t n,
                           uint8_t *indices);
void spc_channels_quantize_pack(const spc_codec *codec, size_t first, const void *values, size_t n,
                                uint8_t *packed);

/* A whole feature.  SPC_ERROR_ARGUMENT if an index is not below 2^bits. */
spc_status spc_channels_dequantize(const spc_codec *codec, const uint8_t *indices, void *feature);

/* SPC_ERROR_CORRUPT if an unused bit of the last byte is set. */
spc_status spc_channels_unpack_dequantize(const spc_codec *codec, const uint8_t *packed,
                                          void *feature);

#endif
