/* The UART of Arm's Cortex-M System Design Kit, in its FPGA images. */
#include "start.h"

#define DATA REGISTER(UART_BASE)
#define STATE REGISTER(UART_BASE + 4)
#define CONTROL REGISTER(UART_BASE + 8)
#define DIVIDER REGISTER(UART_BASE + 16)

enum { TRANSMIT_FULL = 1, RECEIVED = 2, BOTH_WAYS = 3 };

void uart_start(void) {
    DIVIDER = UART_DIVIDER;
    CONTROL = BOTH_WAYS;
}

int uart_take(void) {
    return STATE & RECEIVED ? (int)(DATA & 0xff) : -1;
}

void uart_put(uint8_t byte) {
    while (STATE & TRANSMIT_FULL) {
    }
    DATA = byte;
}
