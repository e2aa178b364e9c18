/* The link over a UART, polled. */
#include "port.h"
#include "start.h"

#if !LINK_SEMIHOSTING

void port_link_start(void) {
    uart_start();
}

size_t port_receive(uint8_t *bytes, size_t cap) {
    size_t len = 0;
    int byte = -1;
    while (byte < 0) {
        byte = uart_take();
    }
    while (byte >= 0) {
        bytes[len++] = (uint8_t)byte;
        byte = len < cap ? uart_take() : -1;
    }
    return len;
}

void port_send(const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        uart_put(bytes[i]);
    }
}

#endif
