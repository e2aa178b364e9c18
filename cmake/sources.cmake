# The files of the core but for fit.c, which wants doubles, and decoder_lzma.c, which wants liblzma.
# Those of instruction sets are empty elsewhere.
get_filename_component(SPLITCODEC_ROOT ${CMAKE_CURRENT_LIST_DIR}/.. ABSOLUTE)
set(SPLITCODEC_SOURCES
    channels.c codebook.c codec.c coder.c coder_context.c coder_lzma.c coder_pack.c coder_range.c
    coder_rans.c cpu.c crc32c.c dequantize.c lzma_encoder.c pack.c quantize.c small.c
    x86/avx2.c x86/avx2_context.c x86/avx2_look_up.c x86/avx2_narrow.c x86/avx2_pack.c
    x86/avx2_quantize.c x86/avx512.c x86/avx512_context.c x86/avx512_look_up.c
    x86/avx512_narrow.c x86/avx512_pack.c x86/avx512_quantize.c x86/sse42.c
    arm/helium.c arm/neon.c arm/neon_context.c)
list(TRANSFORM SPLITCODEC_SOURCES PREPEND ${SPLITCODEC_ROOT}/csrc/)
