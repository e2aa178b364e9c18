/* Which machine this is being compiled for. */
#ifndef SPC_CPU_H
#define SPC_CPU_H

#if defined(__x86_64__) || defined(__i386__)
#define SPC_X86 1
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)
#define SPC_ARM64 1
#endif

#include "config.h"

/* No choice of kernels: compilers call those that there are, and linkers see which are needed. */
#ifndef SPC_ONE_SET
#if !SPC_HOSTED && !defined(SPC_X86) && !defined(SPC_ARM64)
#define SPC_ONE_SET 1
#else
#define SPC_ONE_SET 0
#endif
#endif

/* Which ones: those of Armv8.1-M's vectors of integers, if the compiler may use them. */
#if SPC_ONE_SET && defined(__ARM_FEATURE_MVE) && !defined(__ARM_BIG_ENDIAN)
#define SPC_HELIUM 1
#else
#define SPC_HELIUM 0
#endif

#endif
