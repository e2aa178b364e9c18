/* What x86 kernel sets share. */
#ifndef SPC_X86_H
#define SPC_X86_H

#include "../kernels.h"

uint32_t spc_crc32c_sse42(uint32_t state, const uint8_t *bytes, size_t len);
uint32_t spc_look_up_f32_avx2(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                              float *values);
uint32_t spc_look_up_u8_avx2(const uint8_t *table, uint32_t bits, const uint8_t *indices, size_t n,
                             uint8_t *values);

#endif
