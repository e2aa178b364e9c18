# What of the core the options of cmake/Kconfig ask for, as SPLITCODEC_DEFINITIONS.
set(SPLITCODEC_DEFINITIONS SPC_HOSTED=0)

# The macro's bits, from the lowest one on, each by the option of its name.
function(splitcodec_part macro)
  set(mask 0)
  set(bit 1)
  foreach(name IN LISTS ARGN)
    if(CONFIG_SPLITCODEC_${name})
      math(EXPR mask "${mask} | ${bit}")
    endif()
    math(EXPR bit "${bit} * 2")
  endforeach()
  set(SPLITCODEC_DEFINITIONS ${SPLITCODEC_DEFINITIONS} ${macro}=${mask} PARENT_SCOPE)
endfunction()

splitcodec_part(SPC_CODERS CODER_PACK CODER_LZMA CODER_RANGE CODER_RANS CODER_CONTEXT)
splitcodec_part(SPC_DTYPES FLOAT32 FLOAT16 BFLOAT16 INT8 UINT8)
splitcodec_part(SPC_BITS BITS_0 BITS_1 BITS_2 BITS_3 BITS_4 BITS_5 BITS_6 BITS_7 BITS_8) # of 0 there are none
splitcodec_part(SPC_GROUPS GROUPS)
splitcodec_part(SPC_SELF_DESCRIBING SELF_DESCRIBING)
