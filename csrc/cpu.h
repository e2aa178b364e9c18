/* Which machine this is being compiled for. */
#ifndef SPC_CPU_H
#define SPC_CPU_H

#if defined(__x86_64__) || defined(__i386__)
#define SPC_X86 1
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)
#define SPC_ARM64 1
#endif

/* Hosted: there are threads, an environment and a libc beside the core. */
#ifndef SPC_HOSTED
#define SPC_HOSTED __STDC_HOSTED__
#endif

#endif
