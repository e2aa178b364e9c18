/* SSE4.2: its CRC instruction, no vector kernels. */
#include "../kernels.h"

#if defined(SPC_X86)
#include <nmmintrin.h>

#include "x86.h"

__attribute__((target("sse4.2"))) uint32_t spc_crc32c_sse42(uint32_t state, const uint8_t *bytes,
                                                            size_t len) {
#if defined(__x86_64__)
    uint64_t wide = state;
    for (; len >= 8; bytes += 8, len -= 8) {
        uint64_t word;
        __builtin_memcpy(&word, bytes, sizeof word);
        wide = _mm_crc32_u64(wide, word);
    }
    state = (uint32_t)wide;
#endif
    for (; len > 0; bytes++, len--) {
        state = _mm_crc32_u8(state, *bytes);
    }
    return state;
}

const spc_kernels spc_kernels_sse42 = {
    .name = "sse42",
    .features = SPC_CPU_SSE42,
    .quantize_f32 = spc_quantize_f32_reference,
    .quantize_f16 = spc_quantize_f16_reference,
    .quantize_channels_f32 = spc_quantize_channels_f32_reference,
    .pack = spc_pack_reference,
    .unpack = spc_unpack_reference,
    .look_up_f32 = spc_look_up_f32_reference,
    .look_up_u16 = spc_look_up_u16_reference,
    .look_up_u8 = spc_look_up_u8_reference,
    SPC_CONTEXT_KERNELS(reference),
    .crc32c = spc_crc32c_sse42,
};

#endif
