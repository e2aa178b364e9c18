/* Of PMSIS what firmware/ports/pmsis.c uses, so that it can be compiled without an SDK: names,
 * types and members as documented, sizes and values not. */
#ifndef SPLITCODEC_TEST_PMSIS_H
#define SPLITCODEC_TEST_PMSIS_H

#include <stddef.h>
#include <stdint.h>

#define PI_L1 __attribute__((section(".data_l1")))
#define PI_L2 __attribute__((section(".l2_data")))

int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ------------------------------------------------------------------ system and devices */

struct pi_device {
    void *config;
};

void pi_open_from_conf(struct pi_device *device, void *conf);
int pmsis_kickoff(void *arg);
void pmsis_exit(int err);
uint32_t pi_core_id(void);

enum { PI_PERF_CYCLES };
void pi_perf_conf(unsigned events);
void pi_perf_reset(void);
void pi_perf_start(void);
unsigned int pi_perf_read(int id);

struct pi_uart_conf {
    uint32_t baudrate_bps;
    uint8_t enable_rx, enable_tx;
};

void pi_uart_conf_init(struct pi_uart_conf *conf);
int pi_uart_open(struct pi_device *device);
int pi_uart_read(struct pi_device *device, void *buffer, uint32_t size);
int pi_uart_write(struct pi_device *device, void *buffer, uint32_t size);

/* ------------------------------------------------------------------ cluster */

struct pi_cluster_conf {
    int id;
};

struct pi_cluster_task {
    void (*entry)(void *);
    void *arg;
};

void pi_cluster_conf_init(struct pi_cluster_conf *conf);
int pi_cluster_open(struct pi_device *device);
struct pi_cluster_task *pi_cluster_task(struct pi_cluster_task *task, void (*entry)(void *),
                                        void *arg);
int pi_cluster_send_task_to_cl(struct pi_device *device, struct pi_cluster_task *task);
void pi_cl_team_fork(int nb_cores, void (*entry)(void *), void *arg);
void pi_cl_team_barrier(void);

typedef enum { PI_CL_DMA_DIR_LOC2EXT, PI_CL_DMA_DIR_EXT2LOC } pi_cl_dma_dir_e;

typedef struct pi_cl_dma_cmd_s {
    int id;
} pi_cl_dma_cmd_t;

void pi_cl_dma_cmd(uint32_t ext, uint32_t loc, uint32_t size, pi_cl_dma_dir_e dir,
                   pi_cl_dma_cmd_t *cmd);
void pi_cl_dma_cmd_wait(pi_cl_dma_cmd_t *cmd);

#endif
