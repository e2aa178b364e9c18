/* RV32: hart 0 goes on, others sleep; whatever traps ends the program. */
    .section .text.start, "ax"
    .global start
start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la t0, trap
    csrw mtvec, t0
    csrr t0, mhartid
    bnez t0, asleep
    la sp, stack_top
    tail start_c
asleep:
    wfi
    j asleep

    .balign 4
trap:
    la sp, stack_top
    tail trapped
