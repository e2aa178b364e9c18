/* Features of this CPU, the mask that tests put over them, and the choice of the kernel set. */
#include "cpu.h"

#include "kernels.h"

#if SPC_HOSTED
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#endif

#if defined(SPC_ARM64) && defined(__linux__)
#include <sys/auxv.h>
#define HWCAP_CRC32_BIT (1ul << 7)
#endif

#if SPC_ONE_SET

static uint32_t detect(void) {
    return 0;
}

#else

const spc_kernels spc_kernels_reference = {.name = "reference", SPC_REFERENCE_STEPS};

/* Fastest first; the last one needs nothing.  A new instruction set is one line here. */
static const spc_kernels *const rungs[] = {
#if defined(SPC_X86)
    &spc_kernels_avx512,
    &spc_kernels_avx2,
    &spc_kernels_sse42,
#elif defined(SPC_ARM64)
    &spc_kernels_neon_crc,
    &spc_kernels_neon,
#endif
    &spc_kernels_reference,
};

#if defined(SPC_X86)
/* All that the set uses or its compiler may; like avx2, only where the OS saves the registers. */
static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi");
}
#endif

static uint32_t detect(void) {
    uint32_t features = 0;
#if defined(SPC_X86)
    __builtin_cpu_init();
    features |= __builtin_cpu_supports("sse4.2") ? SPC_CPU_SSE42 : 0;
    features |= __builtin_cpu_supports("avx2") ? SPC_CPU_AVX2 : 0;
    features |= has_avx512() ? SPC_CPU_AVX512 : 0;
#elif defined(SPC_ARM64)
    features |= SPC_CPU_NEON; /* part of every ARMv8-A profile */
#if defined(__linux__)
    features |= (getauxval(AT_HWCAP) & HWCAP_CRC32_BIT) ? SPC_CPU_ARM_CRC : 0;
#elif defined(__APPLE__)
    features |= SPC_CPU_ARM_CRC;
#endif
#endif
    return features;
}

static const spc_kernels *choose_kernels(uint32_t features) {
    size_t i = 0;
    while ((rungs[i]->features & features) != rungs[i]->features) {
        i++;
    }
    return rungs[i];
}

#if !SPC_HOSTED

const spc_kernels *spc_kernels_get(void) {
    return choose_kernels(detect());
}

#endif

#endif

#if SPC_HOSTED && !SPC_ONE_SET

static const struct {
    const char *name;
    uint32_t feature;
} names[] = {
    {"sse42", SPC_CPU_SSE42}, {"avx2", SPC_CPU_AVX2},   {"avx512", SPC_CPU_AVX512},
    {"neon", SPC_CPU_NEON},   {"crc", SPC_CPU_ARM_CRC},
};

static uint32_t mask_from_environment(void) {
    const char *text = getenv("SPLITCODEC_CPU");
    uint32_t mask = 0;
    if (!text) {
        return 0xffffffffu;
    }
    while (*text) {
        size_t len = strcspn(text, ",");
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (strlen(names[i].name) == len && memcmp(names[i].name, text, len) == 0) {
                mask |= names[i].feature;
            }
        }
        text += len;
        text += *text == ',';
    }
    return mask;
}

/* Threads that race here store the same values; whoever sees `chosen` must see `usable` too. */
static _Atomic(const spc_kernels *) chosen;
static _Atomic uint32_t usable;

void spc_set_cpu_mask(uint32_t mask) {
    uint32_t features = detect() & mask;
    atomic_store_explicit(&usable, features, memory_order_relaxed);
    atomic_store_explicit(&chosen, choose_kernels(features), memory_order_release);
}

const spc_kernels *spc_kernels_get(void) {
    const spc_kernels *kernels = atomic_load_explicit(&chosen, memory_order_acquire);
    if (!kernels) {
        spc_set_cpu_mask(mask_from_environment());
        kernels = atomic_load_explicit(&chosen, memory_order_relaxed);
    }
    return kernels;
}

uint32_t spc_cpu_features(void) {
    (void)spc_kernels_get();
    return atomic_load_explicit(&usable, memory_order_relaxed);
}

#else

uint32_t spc_cpu_features(void) {
    return detect();
}

void spc_set_cpu_mask(uint32_t mask) {
    (void)mask;
}

#endif

const char *spc_kernels_name(void) {
    return spc_kernels_get()->name;
}
