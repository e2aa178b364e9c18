"""Instructions per element that it takes to quantise and pack on a Cortex-M4F, without one.

spc_quantize_pack of 4,096 elements, counted by a QEMU plugin as the difference of two runs, so
exact and the same every time.  What the program packs must be what the Python package does.
`python bench/arm/cortex_m4_elements.py [--optimise -O2] [--json]`.

Needs arm-none-eabi-gcc with newlib, qemu-system-arm and cc.
"""

from __future__ import annotations

import argparse
import json
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
%(hosting)s
__attribute__((noinline)) void start_up(void) {
    spc_codebook codebook;
    *(volatile uint32_t *)0xe000ed88 |= 0xf << 20; /* the FPU */
    spc_codebook_init(&codebook, (const float *)(const void *)centroids, BITS, thresholds);
    for (int i = 0; i < TIMES; i++) {
        spc_quantize_pack(&codebook, DTYPE, values, COUNT, packed);
    }
    say(packed, spc_packed_size(COUNT, BITS));
    call(0x18, (const void *)0x20026);
}
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
            "hosting": cortex_m4.HOSTING,
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
    arguments = cortex_m4.arguments_of(parser)
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
