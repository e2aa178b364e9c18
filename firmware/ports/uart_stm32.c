/* The USART that an STM32 Nucleo has on its debugger's USB, at the 16 MHz that the chip wakes with.
 */
#include "start.h"

#define RCC_AHB1 REGISTER(0x40023830u)
#define RCC_APB1 REGISTER(0x40023840u)
#define GPIO(offset) REGISTER(0x40020000u + 0x400u * UART_GPIO + (offset))
#define GPIO_MODE GPIO(0)
#define GPIO_FUNCTION GPIO(UART_PIN < 8 ? 0x20 : 0x24)
#define USART(offset) REGISTER(UART_BASE + (offset))

#if UART_VERSION == 1 /* F1, F2, F4 */
#define STATUS USART(0x00)
#define RECEIVE_DATA USART(0x04)
#define TRANSMIT_DATA USART(0x04)
#define DIVIDER USART(0x08)
#define CONTROL USART(0x0c)
enum { ENABLED = 1 << 13 };
#else /* F0, F3, F7 and later */
#define CONTROL USART(0x00)
#define DIVIDER USART(0x0c)
#define STATUS USART(0x1c)
#define RECEIVE_DATA USART(0x24)
#define TRANSMIT_DATA USART(0x28)
enum { ENABLED = 1 };
#endif

enum { RECEIVED = 1 << 5, TRANSMIT_EMPTY = 1 << 7, BOTH_WAYS = 3 << 2, BAUD_115200 = 139 };

/* Two pins from UART_PIN on, of port A + UART_GPIO, as the chip's alternate function 7. */
void uart_start(void) {
    RCC_AHB1 |= 1u << UART_GPIO;
    RCC_APB1 |= 1u << UART_CLOCK;
    (void)RCC_APB1; /* the clock takes two cycles */
    GPIO_MODE = (GPIO_MODE & ~(0xfu << 2 * UART_PIN)) | 0xau << 2 * UART_PIN;
    GPIO_FUNCTION = (GPIO_FUNCTION & ~(0xffu << 4 * (UART_PIN % 8))) | 0x77u << 4 * (UART_PIN % 8);
    DIVIDER = BAUD_115200;
    CONTROL = ENABLED | BOTH_WAYS;
}

int uart_take(void) {
    return STATUS & RECEIVED ? (int)(RECEIVE_DATA & 0xff) : -1;
}

void uart_put(uint8_t byte) {
    while (!(STATUS & TRANSMIT_EMPTY)) {
    }
    TRANSMIT_DATA = byte;
}
