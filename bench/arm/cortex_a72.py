"""What the NEON kernels cost on a Cortex-A72, without one: executed instructions and cycles.

Instructions per element are counted by a QEMU plugin: the difference of two runs, so exact and the
same every time.  Cycles per element are llvm-mca's for the hot loop, the innermost one with most
vector instructions, which it assumes to run for ever on data in L1; it uses LLVM's model of the A57
for the A72.  Beside them: what the load port takes (16 bytes per cycle), and what the busiest part
of that model (a port, or dispatch) needs at least.  Beyond 4 bits the loops are nested: left out.

Coders: instructions per symbol alone, of a 12x32x32 feature that is made up, by models that are
made up too, of 24 or 64 taps and 8 units; and the same with the reference kernels.
`python bench/arm/cortex_a72.py [--json]`.

Needs aarch64-linux-gnu-gcc, qemu-aarch64 (Debian: qemu-user, not the static one), llvm-mca-19, cc.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CC = "aarch64-linux-gnu-gcc"
NEED = (CC, "qemu-aarch64", "llvm-mca-19", "cc")
FEW, MANY = 64 * 512, 64 * 1024  # elements
LOADED = 16  # bytes per cycle

# name: the C call, with BITS for the width; bytes loaded per element
CALLS = {
    "quantize+pack float32": ("quantize_pack_f32_neon(keys, BITS, floats, n, out)", 4),
    "quantize float16": ("quantize_f16_neon(keys16, BITS, halves, n, out)", 2),
    "quantize int8": ("quantize_i8_neon(keys8, BITS, 0, bytes, n, out)", 1),
    "unpack+LUT float32": ("unpack_look_up_f32_neon(table, BITS, bytes, n, values)", 0.5),
}
ROWS = [
    *(("quantize+pack float32", bits) for bits in (1, 2, 3, 4)),
    *(("quantize float16", bits) for bits in (2, 4)),
    *(("quantize int8", bits) for bits in (1, 2, 4)),
    *(("unpack+LUT float32", bits) for bits in (1, 2, 3, 4)),
]

BRANCH = re.compile(r"(?:b|b\.?[a-z]{2}|cbn?z|tbn?z)\s.*?(\.L\w+)$")

PROGRAM = """
#include "arm/neon.c"
#include <stdlib.h>
static int32_t keys[255]; static int16_t keys16[255]; static int8_t keys8[255];
static float table[256], floats[%(most)d], values[%(most)d];
static uint16_t halves[%(most)d]; static uint8_t bytes[%(most)d], out[%(most)d];
__attribute__((noinline, flatten)) void hot(size_t n) { (void)n; %(call)s; }
int main(int argc, char **argv) {
    for (int i = 0; i < 255; i++) {
        keys[i] = 0x3f000000 + (i << 16); keys16[i] = (int16_t)(0x3000 + 16 * i);
        keys8[i] = (int8_t)(i - 128);
    }
    hot(argc > 1 ? (size_t)atol(argv[1]) : 0);
    return 0;
}
"""
# the core's reference kernels take care of what is left over
CORE = (
    *("quantize", "dequantize", "pack", "crc32c", "cpu", "codebook", "coder_context"),
    "coder_range",
    "arm/neon_context",
)
OPTIONS = ["-O3", "-std=c11", "-I", str(ROOT / "csrc"), "-I", str(ROOT / "csrc" / "include")]

CHANNELS, ROWS_OF, COLUMNS_OF = 12, 32, 32
CODERS = [
    *(("context", taps, bits) for bits in (1, 2) for taps in (24, 64)),
    *(("range", 0, bits) for bits in (1, 2)),
    *(("rans", 0, bits) for bits in (1, 2)),
    ("lzma", 0, 1),
    ("lzma", 0, 2),
]
NUMBERS = {"range": 2, "rans": 3, "context": 4}
UNITS = 8

CODER = """
#include "coder.h"
#include "lzma_encoder.h"
#include <stdlib.h>
enum { BITS = %(bits)d, CHANNELS = %(channels)d, ROWS = %(rows)d, COLUMNS = %(columns)d };
static const uint8_t bytes[] = {%(model)s};
static uint8_t symbols[CHANNELS * ROWS * COLUMNS], payload[2 * sizeof symbols], work[1 << 20];
int main(int argc, char **argv) {
    const spc_model model = {bytes, sizeof bytes, (spc_coder)%(number)d, BITS, CHANNELS};
    const spc_planes planes = {.n = sizeof symbols, .bits = BITS, .channels = CHANNELS,
                               .rows = ROWS, .columns = COLUMNS,
                               .model = sizeof bytes > 1 ? &model : NULL};
    uint32_t random = 1;
    size_t len = 0;
    for (size_t i = 0; i < sizeof symbols; i++) {
        random = random * 1664525 + 1013904223;
        symbols[i] = i > COLUMNS && random >> 30 ? symbols[i - (random >> 29 & 1 ? 1 : COLUMNS)]
                                                 : (uint8_t)(random >> 20 & ((1 << BITS) - 1));
    }
    (void)planes;
    for (int times = argc > 1 ? atoi(argv[1]) : 1; times-- > 0;) {
        %(call)s;
        if (%(wrong)s) {
            return 1;
        }
    }
    return 0;
}
"""
ENCODE = (
    "len = spc_coder_{}_ops.encode(&planes, symbols, payload, sizeof payload, work, sizeof work)"
)
DECODE = "spc_decoder_{}_ops.decode(&planes, payload, len, symbols, work, sizeof work) != SPC_OK"
PACKED = "spc_pack(symbols, sizeof symbols, BITS, payload)"
LZMA = (
    "len = spc_lzma_encode(payload, sizeof symbols * BITS / 8, payload + sizeof symbols, "
    "sizeof symbols, work, sizeof work)"
)
CODER_CORE = ("coder_rans", "lzma_encoder", "arm/neon")


def run(command: Sequence[str | Path], **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return done.stdout + done.stderr


def instructions(program: Path, plugin: Path, n: int, **environment: str) -> int:
    command: list[str | Path] = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
    command += ["-plugin", plugin, program, str(n)]
    said = run(command, **environment)
    return int(re.search(r"instructions (\d+)", said)[1])  # type: ignore[index]


def hot_loop(assembly: str) -> list[str]:
    """The instructions of the innermost loop of hot() with most vector instructions."""
    body = re.search(r"^hot:\n(.*?)^\s*\.size\s+hot,", assembly, re.DOTALL | re.MULTILINE)
    assert body is not None
    lines = [line.split("//")[0].strip() for line in body[1].splitlines()]
    lines = [line for line in lines if line.endswith(":") or not line.startswith(".")]
    labels = {line[:-1]: at for at, line in enumerate(lines) if line.endswith(":")}
    loops = []
    for at, line in enumerate(lines):
        branch = BRANCH.match(line)
        start = labels.get(branch[1], at) if branch else at
        whole = not re.match(r"b\s", line) and "ret" not in lines[start:at]
        if start < at and whole:
            loops.append((start, at))
    inner = [
        (start, end)
        for start, end in loops
        if not any(start <= a and b <= end and (a, b) != (start, end) for a, b in loops)
    ]

    def vectors(loop: tuple[int, int]) -> int:
        return sum(bool(re.search(r"\b[vq]\d+\b", line)) for line in lines[loop[0] : loop[1]])

    start, end = max(inner, key=vectors)
    return [line for line in lines[start : end + 1] if line and not line.endswith(":")]


def cycles(loop: list[str], folder: Path) -> tuple[float, float]:
    """llvm-mca's cycles of one pass, and those that its busiest part needs at least."""
    source = folder / "loop.s"
    straight = [line for line in loop if not BRANCH.match(line)]  # llvm-mca has no labels
    source.write_text("\n".join(straight) + "\n")
    said = run(["llvm-mca-19", "-mtriple=aarch64", "-mcpu=cortex-a72", "-iterations=200", source])
    total = int(re.search(r"Total Cycles:\s+(\d+)", said)[1])  # type: ignore[index]
    least = float(re.search(r"Block RThroughput:\s+([\d.]+)", said)[1])  # type: ignore[index]
    return total / 200, least


def compiled(files: Sequence[str], folder: Path) -> list[Path]:
    made = [folder / f"{file.replace('/', '-')}.o" for file in files]
    for file, to in zip(files, made):
        run([CC, *OPTIONS, "-c", ROOT / "csrc" / f"{file}.c", "-o", to])
    return made


def context_model(taps: int, bits: int) -> bytes:
    """Weights that are small enough to be valid; see docs/format.md."""
    nodes = (1 << bits) - 1
    body = b""
    for channel in range(CHANNELS):
        places = []
        for i in range(taps):
            back = i % (min(channel, 2) + 1)
            places += [back, (7 * i) % (25 if back else 10)]
        weights = [(5 * i) % 13 - 6 & 255 for i in range(taps * UNITS)]
        outputs = b"".join((20 - 6 * j).to_bytes(2, "little", signed=True) for j in range(UNITS))
        lefts = bytes(nodes << 2 * min(bits, 2))
        body += bytes([taps, UNITS, 2, 6, *places, *weights]) + bytes(2 * UNITS)
        body += outputs * nodes + lefts
    return bytes(8) + body


def rans_model(bits: int) -> bytes:
    """Sixteen groups, those of equal symbols frequent."""
    equal, frequent = ((0, 15), 1152) if bits == 1 else ((0, 5, 10, 15), 640)
    frequencies = [frequent if i in equal else 128 for i in range(16)]
    return bytes(8) + b"".join(f.to_bytes(2, "little") for f in frequencies) * CHANNELS


def coder_program(coder: str, taps: int, bits: int, decoding: bool) -> str:
    model = {"context": context_model(taps, bits), "rans": rans_model(bits)}.get(coder, bytes(1))
    call, wrong = (PACKED + ", " + LZMA, "len == 0") if coder == "lzma" else (ENCODE, "len == 0")
    if decoding:
        call, wrong = f"if (len == 0) {ENCODE}", DECODE
    return CODER % {
        "bits": bits,
        "channels": CHANNELS,
        "rows": ROWS_OF,
        "columns": COLUMNS_OF,
        "model": ", ".join(map(str, model)),
        "number": NUMBERS.get(coder, 1),
        "call": call.format(coder),
        "wrong": wrong.format(coder),
    }


def measure_coders(folder: Path, plugin: Path, core: Sequence[Path]) -> list[dict[str, Any]]:
    found = []
    core = [*core, *compiled(CODER_CORE, folder)]
    source, program = folder / "coder.c", folder / "coder"
    for coder, taps, bits in CODERS:
        for decoding in (False, True):
            if decoding and coder == "lzma":
                continue  # liblzma's
            source.write_text(coder_program(coder, taps, bits, decoding))
            run([CC, *OPTIONS, "-static", source, *core, "-o", program])

            def per_symbol(**environment: str) -> float:
                counts = [instructions(program, plugin, n, **environment) for n in (1, 2)]
                return (counts[1] - counts[0]) / (CHANNELS * ROWS_OF * COLUMNS_OF)

            found.append(
                {
                    "coder": coder,
                    "taps": taps,
                    "bits": bits,
                    "way": "decode" if decoding else "encode",
                    "instructions_per_symbol": per_symbol(),
                    "reference": per_symbol(SPLITCODEC_CPU=""),
                }
            )
    return found


def measure() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = folder / "count.so"
        run(["cc", "-shared", "-fPIC", "-O2", HERE / "count.c", "-o", plugin])
        core = compiled(CORE, folder)
        for kernel, bits in ROWS:
            call, loaded = CALLS[kernel]
            source, made = folder / "hot.c", folder / "hot.s"
            text = PROGRAM % {"most": MANY, "call": call.replace("BITS", str(bits))}
            source.write_text(text)
            run([CC, *OPTIONS, "-S", source, "-o", made])
            # only the table of kernels clashes, which cpu.o wants from neon.o: it is in hot.s
            run([CC, "-static", made, *core, "-o", folder / "hot"])
            few, many = (instructions(folder / "hot", plugin, n) for n in (FEW, MANY))
            each = (many - few) / (MANY - FEW)
            loop = hot_loop(made.read_text())
            passed, least = cycles(loop, folder)
            elements = 8 * max(1, round(len(loop) / each / 8))
            found.append(
                {
                    "kernel": kernel,
                    "bits": bits,
                    "instructions_per_element": each,
                    "elements_per_pass": elements,
                    "cycles_per_element": passed / elements,
                    "load_bound": loaded / LOADED,
                    "busiest_part": least / elements,
                    "of_busiest": passed / least,
                }
            )
        return found, measure_coders(folder, plugin, core)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    absent = [name for name in NEED if shutil.which(name) is None]
    if absent:
        sys.exit(f"{', '.join(absent)} not found: see the head of this file for Debian's packages")
    rows, coders = measure()
    if arguments.json:
        print(json.dumps({"rows": rows, "coders": coders}, indent=1))
        return
    print("| kernel | bits | instructions | cycles | loads | busiest part | cycles / that |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['kernel']} | {row['bits']} | {row['instructions_per_element']:.2f} "
            f"| {row['cycles_per_element']:.2f} | {row['load_bound']:.2f} "
            f"| {row['busiest_part']:.2f} | {row['of_busiest']:.2f} |"
        )
    print("\n| coder | taps | bits | way | instructions | reference |")
    print("|---|---|---|---|---|---|")
    for row in coders:
        print(
            f"| {row['coder']} | {row['taps'] or ''} | {row['bits']} | {row['way']} "
            f"| {row['instructions_per_symbol']:.1f} | {row['reference']:.1f} |"
        )


if __name__ == "__main__":
    main()
