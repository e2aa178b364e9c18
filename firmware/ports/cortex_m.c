/* Cortex-M: vectors, reset, the tick counter. */
#include "port.h"
#include "start.h"

#define VECTORS 0xe000ed08u
#define CPACR 0xe000ed88u
#define RESET_CONTROL 0xe000ed0cu
#define SYSTICK_CONTROL 0xe000e010u
#define SYSTICK_RELOAD 0xe000e014u
#define SYSTICK_VALUE 0xe000e018u
#define TICKS_MOST 0xffffffu

enum { FAULT_EXIT = 3 };

extern uint32_t stack_top[];

static const void *const vectors[16];

static volatile uint32_t wraps; /* of the tick counter's 24 bits */

static void tick(void) {
    wraps++;
}

static void fault(void) {
    port_log("fault: the processor took an exception");
    host_exit(FAULT_EXIT);
}

void reset(void);
void reset(void) {
    REGISTER(VECTORS) = (uint32_t)(uintptr_t)vectors; /* loaders leave their own */
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* coprocessors 10 and 11: floats and Helium, which compilers also use to copy */
    REGISTER(CPACR) |= 0xfu << 20;
    __asm__ volatile("dsb\nisb" ::: "memory");
#endif
    REGISTER(SYSTICK_RELOAD) = TICKS_MOST;
    REGISTER(SYSTICK_VALUE) = 0;
    REGISTER(SYSTICK_CONTROL) = 7; /* of the core's clock, with its interrupt */
    start_c();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top,
    (const void *)reset,
    (const void *)fault, /* NMI */
    (const void *)fault,
    (const void *)fault,
    (const void *)fault,
    (const void *)fault,
    [11] = (const void *)fault, /* SVC */
    [15] = (const void *)tick,
};

void restart(void) {
    for (;;) {
        REGISTER(RESET_CONTROL) = 0x05fa0004u; /* the key, and the request */
    }
}

uint32_t port_cycles(void) {
    uint32_t before, ticks;
    do {
        before = wraps;
        ticks = TICKS_MOST - REGISTER(SYSTICK_VALUE);
    } while (before != wraps);
    return (before << 24) + ticks;
}
