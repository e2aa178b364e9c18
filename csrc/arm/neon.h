/* Kernels of the NEON sets that have a file of their own. */
#ifndef SPC_ARM_NEON_H
#define SPC_ARM_NEON_H

#include "../kernels.h"

size_t spc_context_encode_neon(spc_context_state *state, const uint8_t *symbols, uint8_t *payload,
                               size_t cap);
int spc_context_decode_neon(spc_context_state *state, const uint8_t *payload, size_t len,
                            uint8_t *symbols);

#endif
