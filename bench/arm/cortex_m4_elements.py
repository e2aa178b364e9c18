"""Instructions per element that it takes to quantise and pack on a Cortex-M4F, without one.

spc_quantize_pack of 4,096 elements, counted by a QEMU plugin as the difference of two runs, so
exact and the same every time.  What the program packs must be what the Python package does.
`python bench/arm/cortex_m4_elements.py [--optimise -O2] [--json]`.

Needs arm-none-eabi-gcc with newlib, qemu-system-arm and cc.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import cortex_m4
import numpy as np

import pysplitcodec as sc
from pysplitcodec.native import DTYPES, core

COUNT = 4096
CASES = [(dtype, bits) for dtype in ("int8", "float32") for bits in (1, 2, 3, 4, 8)]
FPU = ["-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
SOURCES = ("codebook", "dequantize", "pack", "quantize", "small")

PROGRAM = """
#include "splitcodec.h"
enum { COUNT = %(count)d, BITS = %(bits)d, DTYPE = %(dtype)d };
static const uint32_t centroids[1 << BITS] = {%(centroids)s};
static const %(element)s values[COUNT] = {%(values)s};
static int32_t thresholds[1 << BITS];
static uint8_t packed[COUNT];
static char text[2 * COUNT + 2];
static void call(int number, const void *of) {
    register int r0 __asm__("r0") = number;
    register const void *r1 __asm__("r1") = of;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}
__attribute__((noinline)) void start_up(void) {
    spc_codebook codebook;
    const size_t len = spc_packed_size(COUNT, BITS);
    *(volatile uint32_t *)0xe000ed88 |= 0xf << 20; /* the FPU */
    spc_codebook_init(&codebook, (const float *)(const void *)centroids, BITS, thresholds);
    for (int i = 0; i < TIMES; i++) {
        spc_quantize_pack(&codebook, DTYPE, values, COUNT, packed);
    }
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = "0123456789abcdef"[packed[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[packed[i] & 15];
    }
    text[2 * len] = '\\n';
    call(4, text);
    call(0x18, (const void *)0x20026);
}
void reset(void) {
    start_up();
}
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    (const void *)0x20200000, (const void *)reset};
"""


def per_element(bench: cortex_m4.Bench, dtype: str, bits: int) -> float:
    """Instructions; exits if the program packs anything else than this package."""
    rng = np.random.default_rng(bits)
    levels = np.sort(rng.normal(size=1 << bits).astype(np.float32) * 30)
    values = np.clip(rng.normal(size=COUNT) * 30, -128, 127).astype(dtype)
    raw = values.view(np.uint32) if dtype == "float32" else values
    source = bench.folder / "elements.c"
    source.write_text(
        PROGRAM
        % {
            "count": COUNT,
            "bits": bits,
            "dtype": DTYPES[dtype],
            "element": "uint32_t" if dtype == "float32" else "int8_t",
            "centroids": ", ".join(map(str, levels.view(np.uint32))),
            "values": ", ".join(map(str, raw)),
        }
    )
    files = [cortex_m4.ROOT / "csrc" / f"{name}.c" for name in SOURCES]
    counts = []
    for times in (1, 2):
        made = bench.folder / f"elements{times}.elf"
        options = [bench.optimise, *cortex_m4.OPTIONS, *FPU, f"-DTIMES={times}"]
        layout = ["-Wl,-T", bench.layout]
        cortex_m4.run(
            [cortex_m4.CC, *options, source, *files, *cortex_m4.LINK, *layout, "-o", made]
        )
        said, count = bench.emulated(made)
        counts.append(count)
    expected = np.empty(core.packed_size(COUNT, bits), np.uint8)
    core.pack(sc.Codebook(levels).quantize(values), bits, expected)
    if bytes.fromhex(said[0]) != expected.tobytes():
        sys.exit(f"{dtype}, {bits} bits: not what the Python package packs")
    return (counts[1] - counts[0]) / COUNT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--optimise", default="-Os", help="gcc's option (default: -Os)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    absent = [name for name in cortex_m4.NEED if shutil.which(name) is None]
    if absent:
        sys.exit(f"{', '.join(absent)} not found: see the head of this file")
    with tempfile.TemporaryDirectory() as name:
        bench = cortex_m4.Bench(Path(name), arguments.optimise)
        rows = [
            {"dtype": dtype, "bits": bits, "instructions": per_element(bench, dtype, bits)}
            for dtype, bits in CASES
        ]
    if arguments.json:
        print(json.dumps({"optimise": arguments.optimise, "rows": rows}, indent=1))
        return
    print("| dtype | bits | instructions per element |\n|---|---|---|")
    for row in rows:
        print(f"| {row['dtype']} | {row['bits']} | {row['instructions']:.2f} |")


if __name__ == "__main__":
    main()
