/* From reset to the application and out of it, on bare metal. */
#include "start.h"

#include "port.h"

/* of the linker script */
extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[];

/* Words, so that nothing is called before it is there. */
static void copy_and_clear(void) {
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end; to++) {
        *to = 0;
    }
}

void start_c(void) {
    copy_and_clear();
    port_link_start();
    host_exit(app_main());
}

#if !SEMIHOSTING

void port_log(const char *text) {
    (void)text;
}

void host_exit(int code) {
    (void)code;
    restart();
}

#endif
