/* AVX-512, as of Ice Lake and Zen 4: the set of kernels. */
#include "avx512.h"

#if defined(SPC_X86)

const spc_kernels spc_kernels_avx512 = {
    .name = "avx512",
    .features = SPC_CPU_AVX512 | SPC_CPU_AVX2 | SPC_CPU_SSE42,
    .quantize_f32 = spc_quantize_f32_avx512,
    .quantize_f16 = spc_quantize_f16_avx512,
    .quantize_channels_f32 = spc_quantize_channels_f32_avx512,
    .pack = spc_pack_avx512,
    .unpack = spc_unpack_avx512,
    .look_up_f32 = spc_look_up_f32_avx512,
    .look_up_u16 = spc_look_up_u16_avx512,
    .look_up_u8 = spc_look_up_u8_avx512,
    .quantize_pack_f32 = spc_quantize_pack_f32_avx512,
    .unpack_look_up_f32 = spc_unpack_look_up_f32_avx512,
    SPC_CONTEXT_KERNELS(avx512),
    .crc32c = spc_crc32c_sse42,
};

#endif
