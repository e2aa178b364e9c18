/* RV32 on bare metal, one hart. */
#include "port.h"
#include "start.h"

enum { TRAP_EXIT = 3 };

_Noreturn void start(void); /* riscv_start.S */

_Noreturn void trapped(void);
_Noreturn void trapped(void) {
    port_log("trap: the processor took an exception");
    host_exit(TRAP_EXIT);
}

void restart(void) {
    start();
}

uint32_t port_cycles(void) {
    uint32_t cycles;
    __asm__ volatile("csrr %0, mcycle" : "=r"(cycles));
    return cycles;
}
