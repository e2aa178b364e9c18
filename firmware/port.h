/*
 * What a board supplies.  Its port starts the chip, calls app_main, and ends with what that
 * returns: where a debugger or an emulator listens, as the exit code there, else by starting again.
 *
 * Eight functions; boards without a cluster do without the last four.
 */
#ifndef SPLITCODEC_PORT_H
#define SPLITCODEC_PORT_H

#include <stddef.h>
#include <stdint.h>

/* The application. */
int app_main(void);

/* Ticks of a clock that runs all the time, modulo 2^32: the core's cycles where it can. */
uint32_t port_cycles(void);

/* The link to the host.  Receiving waits until there is a byte, and gives 1 to `cap` of them. */
size_t port_receive(uint8_t *bytes, size_t cap);
void port_send(const uint8_t *bytes, size_t len);

/* One line for people, apart from the link; boards that have no place for it drop it. */
void port_log(const char *text);

/*
 * A cluster of PORT_CORES cores has a memory of its own, which variables are in by this; they begin
 * with any value.
 */
#ifndef PORT_CLUSTER_DATA
#define PORT_CLUSTER_DATA __attribute__((section(".l1")))
#endif

/* Call work(core, cores, argument) on each core of the cluster, core 0 .. cores - 1, with its own
 * stack; returns when all of them have. */
typedef void port_work(uint32_t core, uint32_t cores, void *argument);
void port_fork(port_work *work, uint32_t cores, void *argument);

/* In `work`: wait until all cores are here. */
void port_barrier(void);

/* In `work`: move `len` bytes into the cluster's memory, and out of it, by DMA where there is one.
 * They wait for its end: it takes little of the time that is then spent on the bytes. */
void port_copy_in(void *to, const void *from, size_t len);
void port_copy_out(void *to, const void *from, size_t len);

#endif
