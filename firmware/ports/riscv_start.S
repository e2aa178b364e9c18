/* RV32: hart 0 goes on, others sleep or are a cluster's cores; whatever traps ends the program. */
    .section .text.start, "ax"
    .global start
start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la t0, trap
    csrw mtvec, t0
    csrr a0, mhartid
    bnez a0, others
    la sp, stack_top
#ifdef PORT_CORES
    call confine
#endif
    tail start_c
others:
#ifdef PORT_CORES
    /* stacks downwards from the end, in the order of the harts */
    la sp, core_stacks_top
    la t0, core_stack_length
    addi t1, a0, -1
    mul t0, t0, t1
    sub sp, sp, t0
    tail core_start
#else
    wfi
    j others
#endif

    .balign 4
trap:
    la sp, stack_top
    tail trapped
