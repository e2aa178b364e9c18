/*
 * GAP8 and its kin through PMSIS, the API of their SDKs: the whole port, with the UART as the link.
 *
 * Written after the API's documentation and compiled against declarations of our own: it has never
 * run, nor been built with an SDK.  There, add this file, the application's and the core's to the
 * sources, with PORT_CORES=8 and PORT_CLUSTER_DATA=PI_L1 defined and pmsis.h included first:
 * -include pmsis.h.
 */
#include "pmsis.h"

#include "port.h"

#define BAUD 115200

static struct pi_device uart, cluster;

/* UARTs reach nothing but L2: not this core's stack, which may lie elsewhere. */
PI_L2 static uint8_t received, outgoing[256];

uint32_t port_cycles(void) {
    return pi_perf_read(PI_PERF_CYCLES);
}

size_t port_receive(uint8_t *bytes, size_t cap) {
    (void)cap; /* more than one would wait for all of them */
    while (pi_uart_read(&uart, &received, 1) != 0) {
    }
    bytes[0] = received;
    return 1;
}

void port_send(const uint8_t *bytes, size_t len) {
    while (len > 0) {
        const size_t count = len < sizeof outgoing ? len : sizeof outgoing;
        for (size_t i = 0; i < count; i++) {
            outgoing[i] = bytes[i];
        }
        (void)pi_uart_write(&uart, outgoing, (uint32_t)count);
        bytes += count;
        len -= count;
    }
}

void port_log(const char *text) {
    printf("%s\n", text);
}

/* ------------------------------------------------------------------ the cluster */

/* Where its cores see it. */
PI_L2 static struct {
    port_work *work;
    uint32_t cores;
    void *argument;
} job;

static void on_core(void *unused) {
    (void)unused;
    job.work((uint32_t)pi_core_id(), job.cores, job.argument);
}

static void on_cluster(void *unused) {
    pi_cl_team_fork((int)job.cores, on_core, unused);
}

void port_fork(port_work *work, uint32_t cores, void *argument) {
    PI_L2 static struct pi_cluster_task task;
    job.work = work;
    job.cores = cores;
    job.argument = argument;
    (void)pi_cluster_send_task_to_cl(&cluster, pi_cluster_task(&task, on_cluster, NULL));
}

void port_barrier(void) {
    pi_cl_team_barrier();
}

static void copy(const void *outside, const void *inside, size_t len, pi_cl_dma_dir_e direction) {
    pi_cl_dma_cmd_t command;
    pi_cl_dma_cmd((uint32_t)(uintptr_t)outside, (uint32_t)(uintptr_t)inside, (uint32_t)len,
                  direction, &command);
    pi_cl_dma_cmd_wait(&command);
}

void port_copy_in(void *to, const void *from, size_t len) {
    copy(from, to, len, PI_CL_DMA_DIR_EXT2LOC);
}

void port_copy_out(void *to, const void *from, size_t len) {
    copy(to, from, len, PI_CL_DMA_DIR_LOC2EXT);
}

/* ------------------------------------------------------------------ start */

static int open_uart(void) {
    static struct pi_uart_conf conf;
    pi_uart_conf_init(&conf);
    conf.baudrate_bps = BAUD;
    conf.enable_rx = 1;
    conf.enable_tx = 1;
    pi_open_from_conf(&uart, &conf);
    return pi_uart_open(&uart);
}

static int open_cluster(void) {
    static struct pi_cluster_conf conf;
    pi_cluster_conf_init(&conf);
    pi_open_from_conf(&cluster, &conf);
    return pi_cluster_open(&cluster);
}

static void run(void) {
    if (open_uart() != 0 || open_cluster() != 0) {
        port_log("neither link nor cluster can be done without");
        pmsis_exit(1);
    }
    pi_perf_conf(1 << PI_PERF_CYCLES);
    pi_perf_reset();
    pi_perf_start();
    pmsis_exit(app_main());
}

int main(void) {
    return pmsis_kickoff((void *)run);
}
