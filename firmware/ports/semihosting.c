/* What a debugger or an emulator does for the program: its log, its end and, with LINK_SEMIHOSTING,
 * the link to the host: two files, or better FIFOs, where the debugger or emulator runs. */
#include "start.h"

#if SEMIHOSTING

#include "port.h"

enum {
    SYS_OPEN = 1,
    SYS_WRITE0 = 4,
    SYS_WRITE = 5,
    SYS_READ = 6,
    SYS_EXIT_EXTENDED = 0x20,
    APPLICATION_EXIT = 0x20026,
    LINK_EXIT = 4
};

static int call_host(int operation, const void *argument) {
#if defined(__riscv)
    register int a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    /* the three instructions that make it no breakpoint, none of them compressed */
    __asm__ volatile(".option push\n.option norvc\n.balign 16\n"
                     "slli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
#else
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#endif
}

void port_log(const char *text) {
    call_host(SYS_WRITE0, text);
    call_host(SYS_WRITE0, "\n");
}

void host_exit(int code) {
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
    for (;;) {
        call_host(SYS_EXIT_EXTENDED, block);
    }
}

#if LINK_SEMIHOSTING

enum { FOR_READING = 1, FOR_WRITING = 5 }; /* "rb" and "wb" */
static int input, output;

static int open_file(const char *name, uint32_t len, uint32_t mode) {
    const uintptr_t block[3] = {(uintptr_t)name, mode, len};
    return call_host(SYS_OPEN, block);
}

void port_link_start(void) {
    input = open_file("splitcodec.in", 13, FOR_READING);
    output = open_file("splitcodec.out", 14, FOR_WRITING);
    if (input < 0 || output < 0) {
        port_log("splitcodec.in and splitcodec.out cannot be opened");
        host_exit(LINK_EXIT);
    }
}

/* Both calls return how many bytes are left over. */
size_t port_receive(uint8_t *bytes, size_t cap) {
    const uintptr_t block[3] = {(uintptr_t)input, (uintptr_t)bytes, cap};
    size_t left = cap;
    while (left >= cap) {
        left = (size_t)call_host(SYS_READ, block);
    }
    return cap - left;
}

void port_send(const uint8_t *bytes, size_t len) {
    const uintptr_t block[3] = {(uintptr_t)output, (uintptr_t)bytes, len};
    (void)call_host(SYS_WRITE, block);
}

#endif
#endif
