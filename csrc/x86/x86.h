/* What x86 kernel sets share. */
#ifndef SPC_X86_H
#define SPC_X86_H

#include "../kernels.h"

uint32_t spc_crc32c_sse42(uint32_t state, const uint8_t *bytes, size_t len);
#endif
