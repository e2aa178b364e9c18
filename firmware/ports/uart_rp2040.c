/* The first UART of the RP2040, on pins 0 and 1, clocked by the Pico's crystal of 12 MHz. */
#include "start.h"

#define RESETS_CLEAR REGISTER(0x4000c000u + 0x3000u) /* what is written there is cleared */
#define RESETS_DONE REGISTER(0x4000c008u)
#define CRYSTAL_CONTROL REGISTER(0x40024000u)
#define CRYSTAL_STATUS REGISTER(0x40024004u)
#define CRYSTAL_STARTUP REGISTER(0x4002400cu)
#define CLOCK_REFERENCE REGISTER(0x40008030u)
#define CLOCK_REFERENCE_IS REGISTER(0x40008038u)
#define CLOCK_SYSTEM REGISTER(0x4000803cu)
#define CLOCK_PERIPHERALS REGISTER(0x40008048u)
#define PIN0_FUNCTION REGISTER(0x40014004u)
#define PIN1_FUNCTION REGISTER(0x4001400cu)
#define UART(offset) REGISTER(0x40034000u + (offset))
#define DATA UART(0x00)
#define FLAGS UART(0x18)
#define DIVIDER UART(0x24)
#define DIVIDER_64THS UART(0x28)
#define LINE_CONTROL UART(0x2c)
#define CONTROL UART(0x30)

enum { NEEDED = 1 << 5 | 1 << 8 | 1 << 22 }; /* pins, their pads, the UART */
enum { RECEIVE_EMPTY = 1 << 4, TRANSMIT_FULL = 1 << 5 };

static void start_crystal(void) {
    CRYSTAL_STARTUP = 47;        /* units of 256 cycles: a millisecond */
    CRYSTAL_CONTROL = 0xfabaa0u; /* enabled, 1 to 15 MHz */
    while (!(CRYSTAL_STATUS >> 31)) {
    }
    CLOCK_SYSTEM = 0;    /* the reference */
    CLOCK_REFERENCE = 2; /* the crystal */
    while (!(CLOCK_REFERENCE_IS & 1u << 2)) {
    }
    CLOCK_PERIPHERALS = 1u << 11 | 4u << 5; /* enabled, the crystal */
}

void uart_start(void) {
    start_crystal();
    RESETS_CLEAR = NEEDED;
    while ((RESETS_DONE & NEEDED) != NEEDED) {
    }
    PIN0_FUNCTION = 2;
    PIN1_FUNCTION = 2;
    /* 12 MHz / 16 / 115200 = 6 + 33 / 64 */
    DIVIDER = 6;
    DIVIDER_64THS = 33;
    LINE_CONTROL = 0x70; /* eight bits, FIFOs */
    CONTROL = 0x301;     /* on, both ways */
}

int uart_take(void) {
    return FLAGS & RECEIVE_EMPTY ? -1 : (int)(DATA & 0xff);
}

void uart_put(uint8_t byte) {
    while (FLAGS & TRANSMIT_FULL) {
    }
    DATA = byte;
}
