"""What each coder costs on a Cortex-M4, without one: code, RAM and executed instructions.

A program for each coder calls its encoder alone, or with its decoder, and is linked with
--gc-sections, so that code is what the call needs: its constants and what it takes from libc and
libgcc too, but not the frame layer, nor the model; of one width it is built for the case's bits
alone.  RAM is the work buffer and the stack, of which
the program finds out how much was used; not the symbols, nor the payload.  Instructions are of
encoding 12 x 32 x 32 symbols, the test sample whose LZMA payload is nearest to their mean, counted
by a QEMU plugin as the difference of two runs, so exact and the same every time.  What the program
encodes must be what the Python package does.  LZMA is decoded by liblzma, which is not for such
machines.

Models are fitted to the calibration samples; give --models a folder to keep them in.
`python bench/arm/cortex_m4.py [--optimise -O2] [--json]`.

Needs arm-none-eabi-gcc with newlib, qemu-system-arm, cc; pysplitcodec and the features in
SPLITCODEC_DATA, or shared/data beside the checkout.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pysplitcodec as sc
from pysplitcodec.model import load_model
from pysplitcodec.native import CODERS, core

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("SPLITCODEC_DATA", ROOT.parent / "shared" / "data"))
CC = "arm-none-eabi-gcc"
NEED = (CC, "arm-none-eabi-size", "qemu-system-arm", "cc")
RANGE_BUDGETS = {1: (400, 1000, 4096), 2: (1000, 4096)}  # of models, in bytes, by bits
CONTEXT_BUDGETS = {1: (400, 1000, 2000, 4096), 2: (1000, 2000, 4096)}
SAMPLES = 50  # whose mean payload is given

OPTIONS = [
    *("-mcpu=cortex-m4", "-mthumb", "-ffreestanding", "-ffunction-sections", "-fdata-sections"),
    *("-std=gnu11", "-I", ROOT / "csrc", "-I", ROOT / "csrc" / "include"),
]
LINK = [*("-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs"), "-Wl,--gc-sections"]

# name: core files beside the one that is included; encode_work, encode and decode in C
SOURCES = {
    "pack": (
        '#include "coder_pack.c"',
        ("pack",),
        ("0", "encode_pack(planes, in, out, cap, 0, 0)", "decode_pack(planes, in, len, out, 0, 0)"),
    ),
    "lzma": (
        '#include "lzma_encoder.h"\n#include "coder.h"',
        ("lzma_encoder", "pack"),
        (
            "packed + spc_lzma_encoder_work_size(packed)",
            "(spc_pack(in, planes->n, planes->bits, work), spc_lzma_encode(work, packed, out, "
            "cap, (uint8_t *)work + packed, work_len - packed))",
            "",
        ),
    ),
    "range": (
        '#include "coder_range.c"',
        ("pack",),
        (
            "range_work_size(planes)",
            "encode_range(planes, in, out, cap, work, work_len)",
            "decode_range(planes, in, len, out, work, work_len)",
        ),
    ),
    "rans": (
        '#include "coder_rans.c"',
        ("pack",),
        (
            "rans_encode_work_size(planes)",
            "encode_rans(planes, in, out, cap, work, work_len)",
            "decode_rans(planes, in, len, out, work, work_len)",
        ),
    ),
    "context": (
        '#include "coder_context.c"',
        ("pack",),
        (
            "context_work_size(planes)",
            "encode_context(planes, in, out, cap, work, work_len)",
            "decode_context(planes, in, len, out, work, work_len)",
        ),
    ),
}

# Vectors, the one region of each kind, semihosting; no libc but its memory functions.
LAYOUT = """
ENTRY(reset)
SECTIONS {
    .text 0 : { KEEP(*(.vectors)) *(.text*) *(.rodata*) }
    .ARM.exidx : { *(.ARM.exidx*) }
    .data 0x20000000 : { *(.data*) *(.bss*) *(COMMON) }
}
"""
# Start, and words to the host: say() writes bytes in hexadecimal, one line.
HOSTING = """
static void call(int number, const void *of) {
    register int r0 __asm__("r0") = number;
    register const void *r1 __asm__("r1") = of;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}
static void say(const uint8_t *bytes, size_t len) {
    static char text[1 << 16];
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    text[2 * len] = '\\n';
    text[2 * len + 1] = 0;
    call(4, text);
}
void start_up(void);
void reset(void) {
    start_up();
}
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    (const void *)0x20200000, (const void *)reset};
"""
PROGRAM = """
%(include)s
#include <string.h>
#define SIZE %(size)d
size_t work_size_of(const spc_planes *planes) {
    const size_t packed = (planes->n * planes->bits + 7) / 8;
    (void)packed;
    return %(work)s;
}
size_t coded(const spc_planes *planes, const uint8_t *in, uint8_t *out, size_t cap, void *work,
             size_t work_len) {
    const size_t packed = (planes->n * planes->bits + 7) / 8;
    (void)packed, (void)work, (void)work_len;
    return %(encode)s;
}
#if DECODING
int restored(const spc_planes *planes, const uint8_t *in, size_t len, uint8_t *out, void *work,
             size_t work_len) {
    (void)work, (void)work_len;
    return (int)%(decode)s;
}
#endif
#if %(running)d
static const uint8_t model_bytes[] = {%(model)s}, symbols[SIZE] = {%(symbols)s};
static uint8_t payload[SIZE], work[1 << 16], back[SIZE];
%(hosting)s
#define PAINT 0xa5
#define PAINTED 16384
static size_t stack_of_call(const spc_planes *planes, size_t *len) {
    uint8_t *top = __builtin_frame_address(0), *low;
    for (low = top - PAINTED; low < top - 64; low++) {
        *(volatile uint8_t *)low = PAINT;
    }
    *len = coded(planes, symbols, payload, SIZE * %(bits)d / 8, work, sizeof work);
    for (low = top - PAINTED; *(volatile uint8_t *)low == PAINT; low++) {
    }
    return (size_t)(top - low);
}
__attribute__((noinline)) void start_up(void) {
    const spc_model model = {model_bytes, sizeof model_bytes, (spc_coder)%(number)d, %(bits)d, 12};
    const spc_planes planes = {SIZE, %(bits)d, 12, 32, 32, sizeof model_bytes > 1 ? &model : NULL};
    size_t len = 0, found[2] = {0, 0};
#if TIMES == 0
    found[1] = work_size_of(&planes);
    found[0] = stack_of_call(&planes, &len);
    say((const uint8_t *)found, sizeof found);
    say(payload, len);
#if DECODING
    if (restored(&planes, payload, len, back, work, sizeof work) || memcmp(back, symbols, SIZE)) {
        call(4, "wrong\\n");
    }
#endif
#endif
    for (int i = 0; i < TIMES; i++) {
        len = coded(&planes, symbols, payload, SIZE * %(bits)d / 8, work, sizeof work);
    }
    (void)len, (void)back;
    call(0x18, (const void *)0x20026);
}
#endif
"""


@dataclass
class Case:
    coder: str
    bits: int
    model: sc.CoderModel | None
    symbols: Any  # samples
    measured: Any  # one of them


def run(command: Sequence[str | Path]) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def flash(program: Path) -> int:
    """Bytes of code and constants."""
    listed = run(["arm-none-eabi-size", "-A", program])
    parts = re.findall(r"^\.(?:text|rodata|data|ARM\.exidx)\S*\s+(\d+)", listed, re.MULTILINE)
    return sum(map(int, parts))


def arguments_of(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What both benchmarks take; exits where a tool is missing."""
    parser.add_argument("--optimise", default="-Os", help="gcc's option (default: -Os)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    absent = [name for name in NEED if shutil.which(name) is None]
    if absent:
        sys.exit(f"{', '.join(absent)} not found: see the head of this file")
    return arguments


class Bench:
    """A folder to build in, and how to."""

    def __init__(self, folder: Path, optimise: str) -> None:
        self.folder, self.optimise = folder, optimise
        self.plugin = folder / "count.so"
        run(["cc", "-shared", "-fPIC", "-O2", HERE / "count.c", "-o", self.plugin])
        self.layout = folder / "layout.ld"
        self.layout.write_text(LAYOUT)

    def build(self, case: Case, name: str, running: bool, decoding: bool, *more: str) -> Path:
        include, files, (work, encode, decode) = SOURCES[case.coder]
        model = case.model.to_bytes() if case.model else bytes(1)
        decoding = decoding and bool(decode)
        source, made = self.folder / f"{name}.c", self.folder / f"{name}.elf"
        source.write_text(
            PROGRAM
            % {
                "include": include,
                "size": case.measured.size,
                "work": work,
                "encode": encode,
                "decode": decode or "0",
                "hosting": HOSTING,
                "running": running,
                "number": CODERS[case.coder],
                "bits": case.bits,
                "model": ", ".join(map(str, model)),
                "symbols": ", ".join(map(str, case.measured.ravel())),
            }
        )
        core_files = [ROOT / "csrc" / f"{file}.c" for file in files]
        wanted = ["-Wl,-T", self.layout]
        if not running:
            wanted = ["-Wl,-e,coded", "-Wl,-u,work_size_of"]
            wanted += ["-Wl,-u,restored"] if decoding else []
        options = [self.optimise, *OPTIONS, f"-DDECODING={decoding:d}", *more]
        run([CC, *options, source, *core_files, *LINK, *wanted, "-o", made])
        return made

    def emulated(self, program: Path) -> tuple[list[str], int]:
        """What the program says, line by line, and the instructions that it executes."""
        machine = ["-M", "mps2-an386", "-display", "none", "-serial", "null", "-monitor", "none"]
        hosting = ["-semihosting-config", "enable=on,target=native", "-icount", "shift=0"]
        command = ["timeout", "60", "qemu-system-arm", *machine, *hosting]
        said = run([*command, "-plugin", self.plugin, "-kernel", program])
        lines = [line for line in said.splitlines() if line and "instructions" not in line]
        count = re.search(r"instructions (\d+)", said)
        assert count is not None
        return lines, int(count[1])

    def code(self, case: Case, decoding: bool, *more: str) -> int:
        return flash(self.build(case, "size", False, decoding, *more))

    def measure(self, case: Case) -> dict[str, Any]:
        lines, _ = self.emulated(self.build(case, "run", True, True, "-DTIMES=0"))
        stack, work = (
            int.from_bytes(bytes.fromhex(lines[0])[at : at + 4], "little") for at in (0, 4)
        )
        payload = bytes.fromhex(lines[1])
        payloads = [encoded(case, sample) for sample in case.symbols]
        if payload != encoded(case, case.measured) or "wrong" in lines:
            sys.exit(f"{case.coder}: not the payload of the Python package, or not decoded")
        counts = [
            self.emulated(self.build(case, f"run{times}", True, False, f"-DTIMES={times}"))[1]
            for times in (1, 2)
        ]
        return {
            "coder": case.coder,
            "bits": case.bits,
            "model_bytes": len(case.model.to_bytes()) if case.model else 0,
            "code_encode": self.code(case, False),
            "code_one_width": self.code(case, False, f"-DSPC_BITS={1 << case.bits}"),
            "code_both": self.code(case, True) if SOURCES[case.coder][2][2] else None,
            "work": work,
            "stack": stack,
            "ram": work + stack,
            "instructions": counts[1] - counts[0],
            "payload": len(payload),
            "payload_mean": sum(map(len, payloads)) / len(payloads),
        }


def encoded(case: Case, sample: Any) -> bytes:
    native = case.model.native if case.model else None
    number = CODERS[case.coder]
    payload, _ = core.coder_encode(number, sample.shape, case.bits, sample, -1, native)
    return bytes(payload)


def typical(samples: Any, bits: int) -> Any:
    """The one whose LZMA payload is nearest to the mean of all."""
    sizes = np.array([len(encoded(Case("lzma", bits, None, None, None), one)) for one in samples])
    return samples[np.abs(sizes - sizes.mean()).argmin()]


def kept(path: Path, kind: Any, calibration: Any, bits: int, **options: int) -> Any:
    """The model in this file, fitted where there is none."""
    if not path.exists():
        kind.fit(calibration, bits, **options).save(path)
    return load_model(path.read_bytes())


def cases(models: Path) -> list[Case]:
    found = []
    for bits, budgets in CONTEXT_BUDGETS.items():
        with np.load(DATA / "features" / f"tiny_split1_ptq_b{bits}.npz") as arrays:
            calibration, test = arrays["calibration"], arrays["test"][:SAMPLES]
        wanted: list[tuple[str, Any, dict[str, int]]] = [
            *(("range", sc.RangeModel, {"budget_bytes": most}) for most in RANGE_BUDGETS[bits]),
            ("rans", sc.RansModel, {}),
            *(("context", sc.ContextModel, {"budget_bytes": most}) for most in budgets),
        ]
        fitted: list[tuple[str, Any]] = [(name, None) for name in ("pack", "lzma", "range")]
        for name, kind, options in wanted:
            path = models / "-".join(map(str, (name, *options.values(), f"{bits}.spm")))
            fitted.append((name, kept(path, kind, calibration, bits, **options)))
        measured = typical(test, bits)
        found += [Case(name, bits, model, test, measured) for name, model in fitted]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="folder to keep models in")
    arguments = arguments_of(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = arguments.models or folder / "models"
        models.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, arguments.optimise)
        rows = [bench.measure(case) for case in cases(models)]
    if arguments.json:
        print(json.dumps({"optimise": arguments.optimise, "rows": rows}, indent=1))
        return
    print(
        "| coder | bits | model | code, encode | of one width | both ways | work | stack | RAM ",
        end="",
    )
    print("| instructions | payload | mean |")
    print("|---" * 12 + "|")
    for row in rows:
        print(
            f"| {row['coder']} | {row['bits']} | {row['model_bytes'] or ''} | {row['code_encode']} "
            f"| {row['code_one_width']} | {row['code_both'] or ''} | {row['work']} "
            f"| {row['stack']} | {row['ram']} "
            f"| {row['instructions']:,} | {row['payload']} | {row['payload_mean']:.0f} |"
        )


if __name__ == "__main__":
    main()
