/*
 * RV32 as in GAP8: hart 0 is the fabric controller, the others are the cluster's cores and sleep
 * until there is work.  All of it without atomics: a core's state is written by the core while it
 * works and by the fabric controller while it does not, and who waits sleeps until the other one
 * raises its software interrupt.
 */
#include <string.h>

#include "port.h"
#include "start.h"

#define SIGNAL(hart) REGISTER(CLINT_BASE + 4 * (hart))
enum { FABRIC_CONTROLLER = 0, SOFTWARE_INTERRUPT = 8 };

/* of the linker script: values in the place of addresses */
extern const uint8_t l2_origin[], l2_length[], l1_origin[], l1_length[];

enum { ASLEEP, AT_BARRIER, WORKING };
static volatile uint32_t states[PORT_CORES];

static struct {
    port_work *work;
    uint32_t cores;
    void *argument;
} job;

/* ------------------------------------------------------------------ where harts may go */

enum { READ = 1, WRITE = 2, EXECUTE = 4, POWER_OF_TWO = 0x18, LOCKED = 0x80 };

static uint32_t place(uintptr_t origin, uintptr_t length) {
    return (uint32_t)(origin >> 2 | ((length >> 3) - 1));
}

/* Whatever lies outside the memory that such a chip has, and what is used of its devices, traps.
 * Then a software interrupt ends sleep. */
void confine(void) {
    const uint32_t data = READ | WRITE | POWER_OF_TWO | LOCKED, all = data | EXECUTE;
    const uint32_t first = all | data << 8 | data << 16 | data << 24;
    __asm__ volatile("csrw pmpaddr0, %0" ::"r"(place((uintptr_t)l2_origin, (uintptr_t)l2_length)));
    __asm__ volatile("csrw pmpaddr1, %0" ::"r"(place((uintptr_t)l1_origin, (uintptr_t)l1_length)));
    __asm__ volatile("csrw pmpaddr2, %0" ::"r"(place(CLINT_BASE, 0x10000)));
    __asm__ volatile("csrw pmpaddr3, %0" ::"r"(place(UART_BASE, 0x100)));
    __asm__ volatile("csrw pmpaddr4, %0" ::"r"(0xffffffffu)); /* everything: nothing allowed */
    __asm__ volatile("csrw pmpcfg0, %0" ::"r"(first));
    __asm__ volatile("csrw pmpcfg1, %0" ::"r"(POWER_OF_TWO | LOCKED));
    __asm__ volatile("csrs mie, %0" ::"r"(SOFTWARE_INTERRUPT));
}

/* ------------------------------------------------------------------ sleep and signals */

static uint32_t this_hart(void) {
    uint32_t hart;
    __asm__ volatile("csrr %0, mhartid" : "=r"(hart));
    return hart;
}

static void raise_signal(uint32_t hart) {
    __asm__ volatile("fence" ::: "memory");
    SIGNAL(hart) = 1;
}

static void wait_for_signal(uint32_t hart) {
    uint32_t pending = 0;
    while (!(pending & SOFTWARE_INTERRUPT)) {
        __asm__ volatile("wfi\ncsrr %0, mip" : "=r"(pending));
    }
    SIGNAL(hart) = 0;
    __asm__ volatile("fence" ::: "memory");
}

/* ------------------------------------------------------------------ cores */

static void wait_for_work(uint32_t hart) {
    do {
        wait_for_signal(hart);
    } while (states[hart - 1] != WORKING);
}

static void report(uint32_t hart, uint32_t state) {
    states[hart - 1] = state;
    raise_signal(FABRIC_CONTROLLER);
}

/* A core that comes late finds the signal and the work waiting. */
void core_start(uint32_t hart) {
    confine();
    for (;;) {
        wait_for_work(hart);
        job.work(hart - 1, job.cores, job.argument);
        report(hart, ASLEEP);
    }
}

void port_barrier(void) {
    const uint32_t hart = this_hart();
    report(hart, AT_BARRIER);
    wait_for_work(hart);
}

/* Words, eight at a time. */
static void copy(void *to, const void *from, size_t len) {
    uint32_t *out = to;
    const uint32_t *in = from;
    if ((((uintptr_t)to | (uintptr_t)from) & 3) == 0) {
        for (; len >= 32; len -= 32, in += 8, out += 8) {
            const uint32_t a = in[0], b = in[1], c = in[2], d = in[3];
            const uint32_t e = in[4], f = in[5], g = in[6], h = in[7];
            out[0] = a, out[1] = b, out[2] = c, out[3] = d;
            out[4] = e, out[5] = f, out[6] = g, out[7] = h;
        }
    }
    memcpy(out, in, len);
}

void port_copy_in(void *to, const void *from, size_t len) {
    copy(to, from, len);
}

void port_copy_out(void *to, const void *from, size_t len) {
    copy(to, from, len);
}

/* ------------------------------------------------------------------ the fabric controller */

static void start_cores(void) {
    for (uint32_t core = 0; core < job.cores; core++) {
        states[core] = WORKING;
        raise_signal(core + 1);
    }
}

static int all_rest(void) {
    for (uint32_t core = 0; core < job.cores; core++) {
        if (states[core] == WORKING) {
            return 0;
        }
    }
    return 1;
}

void port_fork(port_work *work, uint32_t cores, void *argument) {
    job.work = work;
    job.cores = cores;
    job.argument = argument;
    start_cores();
    for (;;) {
        wait_for_signal(FABRIC_CONTROLLER);
        if (all_rest()) {
            if (states[0] == ASLEEP) {
                return;
            }
            start_cores();
        }
    }
}
