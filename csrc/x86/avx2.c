/* AVX2: the set of kernels. */
#include "avx2.h"

#if defined(SPC_X86)

const spc_kernels spc_kernels_avx2 = {
    .name = "avx2",
    .features = SPC_CPU_AVX2 | SPC_CPU_SSE42,
    .quantize_f32 = spc_quantize_f32_avx2,
    .quantize_f16 = spc_quantize_f16_avx2,
    .quantize_i8 = spc_quantize_i8_avx2,
    .quantize_channels_f32 = spc_quantize_channels_f32_avx2,
    .pack = spc_pack_avx2,
    .unpack = spc_unpack_avx2,
    .look_up_f32 = spc_look_up_f32_avx2,
    .look_up_u16 = spc_look_up_u16_avx2,
    .look_up_u8 = spc_look_up_u8_avx2,
    .quantize_pack_f32 = spc_quantize_pack_f32_avx2,
    .unpack_look_up_f32 = spc_unpack_look_up_f32_avx2,
    SPC_CONTEXT_KERNELS(avx2),
    .crc32c = spc_crc32c_sse42,
};

#endif
