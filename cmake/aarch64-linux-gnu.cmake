# Cross build for 64-bit ARM Linux; runs the checks under qemu's user emulation where it is found.
#   cmake --toolchain cmake/aarch64-linux-gnu.cmake -DSPLITCODEC_CHECKS=ON -DSPLITCODEC_LZMA=OFF ...
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
find_program(SPLITCODEC_CROSS_CXX aarch64-linux-gnu-g++)
if(SPLITCODEC_CROSS_CXX)
  set(CMAKE_CXX_COMPILER ${SPLITCODEC_CROSS_CXX})
endif()
mark_as_advanced(SPLITCODEC_CROSS_CXX)

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# -L: the loader and libc of the target; the default CPU model is not a real one.
find_program(SPLITCODEC_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(SPLITCODEC_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${SPLITCODEC_QEMU} -L /usr/aarch64-linux-gnu -cpu cortex-a72)
endif()
mark_as_advanced(SPLITCODEC_QEMU)
