"""Instructions per element that it takes to quantise and pack on microcontrollers, without one.

spc_quantize_pack of 4,096 elements on a Cortex-M4F, on a Cortex-M55 with Helium and on RV32IMC,
counted by a QEMU plugin as the difference of two runs, so exact and the same every time.  What the
program packs must be what the Python package does.
`python bench/arm/elements.py [--optimise -O2] [--json]`.

Needs cc, arm-none-eabi-gcc with newlib, riscv64-unknown-elf-gcc, qemu-system-arm and
qemu-system-riscv32.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cortex_m4
import numpy as np
from cortex_m4 import ROOT

import pysplitcodec as sc
from pysplitcodec.native import DTYPES, core

COUNT = 4096
WIDTHS = range(1, 9)
SOURCES = [
    *(ROOT / "csrc" / f"{name}.c" for name in ("codebook", "dequantize", "pack", "quantize")),
    *(ROOT / "csrc" / "small.c", ROOT / "csrc" / "arm" / "helium.c"),
]

RISCV_LAYOUT = """
ENTRY(reset)
SECTIONS {
    .text 0x80000000 : { KEEP(*(.start)) *(.text*) *(.rodata*) *(.srodata*) }
    .data : { *(.data*) *(.sdata*) *(.sbss*) *(.bss*) *(COMMON) }
}
"""
RISCV_CALL = """
static void call(int number, const void *of) {
    register int a0 __asm__("a0") = number;
    register const void *a1 __asm__("a1") = of;
    __asm__ volatile(".option push\\n .option norvc\\n slli zero, zero, 31\\n"
                     "ebreak\\n srai zero, zero, 7\\n .option pop"
                     : "+r"(a0) : "r"(a1) : "memory");
}
"""
RISCV_START = """
__attribute__((section(".start"), naked)) void reset(void) {
    __asm__("li sp, 0x80400000\\n tail start_up");
}
"""
# With coprocessors 10 and 11, the FPU and vectors.
ARM_START = cortex_m4.START.replace(
    "    start_up", "    *(volatile uint32_t *)0xe000ed88 |= 0xf << 20;\n    start_up"
)

PROGRAM = """
%(hosting)s
#include "splitcodec.h"
enum { COUNT = %(count)d, BITS = %(bits)d, DTYPE = %(dtype)d };
static const uint32_t centroids[1 << BITS] = {%(centroids)s};
static const %(element)s values[COUNT] = {%(values)s};
static int32_t thresholds[1 << BITS];
static uint8_t packed[COUNT];
__attribute__((noinline)) void start_up(void) {
    spc_codebook codebook;
    spc_codebook_init(&codebook, (const float *)(const void *)centroids, BITS, thresholds);
    for (int i = 0; i < TIMES; i++) {
        spc_quantize_pack(&codebook, DTYPE, values, COUNT, packed);
    }
    say(packed, spc_packed_size(COUNT, BITS));
    call(0x18, (const void *)0x20026);
}
"""


@dataclass(frozen=True)
class Target:
    """A processor: how to build for it, what programs start with, and an emulator."""

    compile: Sequence[str]
    link: Sequence[str]
    layout: str
    hosting: str
    machine: Sequence[str]


def _arm(options: Sequence[str], machine: Sequence[str]) -> Target:
    hosting = cortex_m4.CALL + cortex_m4.SAY + ARM_START
    compiler = [cortex_m4.CC, "-mthumb", "-mfloat-abi=hard", *options]
    return Target(
        compiler, cortex_m4.LINK, cortex_m4.LAYOUT, hosting, ["qemu-system-arm", *machine]
    )


_RV32IMC = "rv32,i=true,m=true,c=true," + ",".join(f"{x}=false" for x in "afdghsu") + ",mmu=false"
TARGETS = {
    "Cortex-M4F": _arm(["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"], ["-M", "mps2-an386"]),
    "Cortex-M55": _arm(["-mcpu=cortex-m55"], ["-M", "mps3-an547"]),
    "RV32IMC": Target(
        ["riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs"],
        ["-nostartfiles", "-Wl,--gc-sections"],
        RISCV_LAYOUT,
        RISCV_CALL + cortex_m4.SAY + RISCV_START,
        ["qemu-system-riscv32", "-M", "virt", "-bios", "none", "-cpu", _RV32IMC],
    ),
}
NEED = ["cc", *{t.compile[0] for t in TARGETS.values()}, *{t.machine[0] for t in TARGETS.values()}]


def lines_and_count(
    bench: cortex_m4.Bench, target: Target, program: str, *options: str
) -> tuple[list[str], int]:
    """What the program with the core says, and the instructions that it executes.  The core is
    built once in the bench's folder, so each target has one of its own."""
    source, layout, made = (bench.folder / f"elements.{kind}" for kind in ("c", "ld", "elf"))
    compiled = [*target.compile, bench.optimise, *cortex_m4.FIRMWARE]
    core_files = {file: bench.folder / f"{file.stem}.o" for file in SOURCES}
    for file, built in core_files.items():
        if not built.exists():
            cortex_m4.run([*compiled, "-c", file, "-o", built])
    source.write_text(program)
    layout.write_text(target.layout)
    parts: list[str | Path] = [source, *core_files.values(), *target.link, "-T", layout, "-o", made]
    cortex_m4.run([*compiled, *options, *parts])
    return bench.emulated(made, target.machine)


def per_element(bench: cortex_m4.Bench, target: Target, dtype: str, bits: int) -> float:
    """Instructions; exits if the program packs anything else than this package."""
    rng = np.random.default_rng(bits)
    levels = np.sort(rng.normal(size=1 << bits).astype(np.float32) * 30)
    values = np.clip(rng.normal(size=COUNT) * 30, -128, 127).astype(dtype)
    raw = values.view(np.uint32) if dtype == "float32" else values
    program = PROGRAM % {
        "hosting": target.hosting,
        "count": COUNT,
        "bits": bits,
        "dtype": DTYPES[dtype],
        "element": "uint32_t" if dtype == "float32" else "int8_t",
        "centroids": ", ".join(map(str, levels.view(np.uint32))),
        "values": ", ".join(map(str, raw)),
    }
    said, once = lines_and_count(bench, target, program, "-DTIMES=1")
    _, twice = lines_and_count(bench, target, program, "-DTIMES=2")
    expected = np.empty(core.packed_size(COUNT, bits), np.uint8)
    core.pack(sc.Codebook(levels).quantize(values), bits, expected)
    if bytes.fromhex(said[0]) != expected.tobytes():
        sys.exit(f"{dtype}, {bits} bits: not what the Python package packs")
    return (twice - once) / COUNT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    arguments = cortex_m4.arguments_of(parser, NEED)
    rows = []
    for name, target in TARGETS.items():
        with tempfile.TemporaryDirectory() as folder:
            bench = cortex_m4.Bench(Path(folder), arguments.optimise)
            for dtype in ("int8", "float32"):
                counts = [per_element(bench, target, dtype, bits) for bits in WIDTHS]
                rows.append({"target": name, "dtype": dtype, "instructions": counts})
    if arguments.json:
        print(json.dumps({"optimise": arguments.optimise, "rows": rows}, indent=1))
        return
    print("| target | dtype |" + "".join(f" {bits} |" for bits in WIDTHS))
    print("|---|---|" + "---|" * len(WIDTHS))
    for row in rows:
        figures = "".join(f" {count:.2f} |" for count in row["instructions"])
        print(f"| {row['target']} | {row['dtype']} |{figures}")


if __name__ == "__main__":
    main()
