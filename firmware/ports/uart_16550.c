/* The UART that nearly everything has, registers one byte apart. */
#include "start.h"

#define BYTE(offset) (*(volatile uint8_t *)(uintptr_t)(UART_BASE + (offset)))
#define DATA BYTE(0)
#define FIFO_CONTROL BYTE(2)
#define LINE_CONTROL BYTE(3)
#define LINE_STATUS BYTE(5)

enum { FIFO_ON = 1, EIGHT_BITS = 3, RECEIVED = 1, TRANSMIT_EMPTY = 0x20 };

void uart_start(void) {
    LINE_CONTROL = EIGHT_BITS;
    FIFO_CONTROL = FIFO_ON;
}

int uart_take(void) {
    return LINE_STATUS & RECEIVED ? DATA : -1;
}

void uart_put(uint8_t byte) {
    while (!(LINE_STATUS & TRANSMIT_EMPTY)) {
    }
    DATA = byte;
}
