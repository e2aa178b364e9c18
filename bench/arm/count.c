/* A TCG plugin for QEMU (API version 1): prints the instructions that a program executed and, with
 * the argument `blocks`, which of them where: the CPU, the address that a block of code begins at,
 * and how many.  Debian ships no header for it, so what is used is declared here. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id,
                                                  void (*)(plugin_id, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *,
                                                 void (*)(unsigned cpu, void *), int flags, void *);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

enum { MOST_CPUS = 16 };

typedef struct block {
    struct block *next;
    uint64_t address, instructions, runs[MOST_CPUS];
} block;

static block *blocks;
static int says_blocks;

static void executed(unsigned cpu, void *which) {
    ((block *)which)->runs[cpu % MOST_CPUS]++;
}

static void translated(plugin_id id, struct qemu_plugin_tb *code) {
    block *found = calloc(1, sizeof *found);
    (void)id;
    if (!found) {
        abort();
    }
    found->address = qemu_plugin_tb_vaddr(code);
    found->instructions = qemu_plugin_tb_n_insns(code);
    found->next = blocks;
    blocks = found;
    qemu_plugin_register_vcpu_tb_exec_cb(code, executed, 0, found);
}

static void at_exit(plugin_id id, void *unused) {
    uint64_t count = 0;
    (void)id;
    (void)unused;
    for (const block *one = blocks; one; one = one->next) {
        for (unsigned cpu = 0; cpu < MOST_CPUS; cpu++) {
            const uint64_t here = one->runs[cpu] * one->instructions;
            count += here;
            if (says_blocks && here > 0) {
                fprintf(stderr, "block %u %" PRIx64 " %" PRIu64 "\n", cpu, one->address, here);
            }
        }
    }
    fprintf(stderr, "instructions %" PRIu64 "\n", count);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    says_blocks = argc > 0 && strncmp(argv[0], "blocks", 6) == 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
