/* The UART of SiFive's FE310, with the crystal's 16 MHz as the clock of it all. */
#include "start.h"

#define CRYSTAL REGISTER(0x10008004u)
#define PLL REGISTER(0x10008008u)
#define PINS_ALTERNATIVE REGISTER(0x10012038u)
#define PINS_WHICH REGISTER(0x1001203cu)
#define UART(offset) REGISTER(0x10013000u + (offset))
#define TRANSMIT_DATA UART(0x00)
#define RECEIVE_DATA UART(0x04)
#define TRANSMIT_CONTROL UART(0x08)
#define RECEIVE_CONTROL UART(0x0c)
#define DIVIDER UART(0x18)

#define FLAG 0x80000000u /* crystal ready; transmitter full; nothing received */
enum { CRYSTAL_ON = 1 << 30, PLL_BYPASSED = 1 << 18 | 1 << 17 | 1 << 16, PINS = 3 << 16 };
enum { ENABLED = 1, BAUD_115200 = 138 }; /* 16 MHz / 139 */

void uart_start(void) {
    CRYSTAL = CRYSTAL_ON;
    while (!(CRYSTAL & FLAG)) {
    }
    PLL = PLL_BYPASSED;
    PINS_WHICH &= ~(uint32_t)PINS;
    PINS_ALTERNATIVE |= PINS;
    DIVIDER = BAUD_115200;
    TRANSMIT_CONTROL = ENABLED;
    RECEIVE_CONTROL = ENABLED;
}

int uart_take(void) {
    const uint32_t data = RECEIVE_DATA;
    return data & FLAG ? -1 : (int)(data & 0xff);
}

void uart_put(uint8_t byte) {
    while (TRANSMIT_DATA & FLAG) {
    }
    TRANSMIT_DATA = byte;
}
