/* What the parts of a port call of one another. */
#ifndef SPLITCODEC_START_H
#define SPLITCODEC_START_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* The link to the host, ready for port_receive and port_send: uart.c, or semihosting.c. */
void port_link_start(void);

/* A chip's UART.  A byte that has come, or -1; and one to go, when there is room for it. */
void uart_start(void);
int uart_take(void);
void uart_put(uint8_t byte);

/* With SEMIHOSTING a debugger or emulator gets the code, as it gets what port_log is given.  Else
 * nobody does, and the program starts anew. */
_Noreturn void host_exit(int code);

/* A chip's, as from its reset. */
_Noreturn void restart(void);

#ifdef PORT_CORES
/* Of a cluster: what each hart begins with, and where its cores then stay. */
void confine(void);
_Noreturn void core_start(uint32_t hart);
#endif

/* Copy and clear what the linker script has for C, then run the application.  Does not return. */
_Noreturn void start_c(void);

#endif
