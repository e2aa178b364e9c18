/* The UART of Nordic's nRF51, on the pins of the micro:bit's USB. */
#include "start.h"

#define UART(offset) REGISTER(0x40002000u + (offset))
#define START_RECEIVE UART(0x000)
#define START_TRANSMIT UART(0x008)
#define RECEIVED UART(0x108)
#define TRANSMITTED UART(0x11c)
#define ENABLE UART(0x500)
#define TRANSMIT_PIN UART(0x50c)
#define RECEIVE_PIN UART(0x514)
#define RECEIVE_DATA UART(0x518)
#define TRANSMIT_DATA UART(0x51c)
#define BAUD_RATE UART(0x524)

enum { ENABLED = 4, BAUD_115200 = 0x01d7e000 };

void uart_start(void) {
    TRANSMIT_PIN = 24;
    RECEIVE_PIN = 25;
    BAUD_RATE = BAUD_115200;
    ENABLE = ENABLED;
    START_RECEIVE = 1;
    START_TRANSMIT = 1;
}

int uart_take(void) {
    if (!RECEIVED) {
        return -1;
    }
    RECEIVED = 0;
    return (int)(RECEIVE_DATA & 0xff);
}

void uart_put(uint8_t byte) {
    TRANSMITTED = 0;
    TRANSMIT_DATA = byte;
    while (!TRANSMITTED) {
    }
}
