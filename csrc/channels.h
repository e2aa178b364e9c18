/* One whole feature, each element by the codebook of its channel; of a codec that is in order. */
#ifndef SPC_CHANNELS_H
#define SPC_CHANNELS_H

#include "splitcodec.h"

void spc_channels_quantize(const spc_codec *codec, const void *feature, uint8_t *indices);
void spc_channels_quantize_pack(const spc_codec *codec, const void *feature, uint8_t *packed);

/* SPC_ERROR_ARGUMENT if an index is not below 2^bits. */
spc_status spc_channels_dequantize(const spc_codec *codec, const uint8_t *indices, void *feature);

/* SPC_ERROR_CORRUPT if an unused bit of the last byte is set. */
spc_status spc_channels_unpack_dequantize(const spc_codec *codec, const uint8_t *packed,
                                          void *feature);

#endif
