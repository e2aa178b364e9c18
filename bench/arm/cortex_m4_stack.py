"""The most stack that calls of the core take on a Cortex-M4F, without one.

Twice: the worst chain of functions that gcc's call graph has, each with its frame, and what calls
use in QEMU, where the stack is painted before them and looked at afterwards: all dtypes, widths and
coders, with models, with one codebook and with several.  The former is never less.
`python bench/arm/cortex_m4_stack.py [--optimise -O2] [--json]`.

Needs arm-none-eabi-gcc with newlib, qemu-system-arm and cc.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import cortex_m4
import numpy as np

import pysplitcodec as sc
from pysplitcodec.native import CODERS

FPU = ["-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
HOST_ONLY = {"fit.c", "decoder_lzma.c"}  # doubles; liblzma
SOURCES = [
    path for path in sorted((cortex_m4.ROOT / "csrc").glob("*.c")) if path.name not in HOST_ONLY
]
ENCODING = (
    "spc_codec_quantize",
    "spc_codec_quantize_part",
    "spc_codec_quantize_pack_part",
    "spc_encode_work_size",
    "spc_encode_indices_work_size",
    "spc_encode",
    "spc_encode_indices",
    "spc_frame_start",
)
OTHERS = ("spc_codec_init_channels", "spc_codec_set_model", "spc_model_init", "spc_decode")

# ------------------------------------------------------------------ by the call graph

# What gcc cannot see: targets of calls through the tables of coder.c.
WORK_SIZES = ("pack", "lzma", "range", "context")
INDIRECT = {
    "spc_planes_encode_work_size": [
        *(f"{name}_work_size" for name in WORK_SIZES),
        "rans_encode_work_size",
    ],
    "spc_planes_decode_work_size": [
        *(f"{name}_work_size" for name in WORK_SIZES),
        "rans_decode_work_size",
    ],
    "spc_planes_encode": [f"encode_{name}" for name in CODERS],
    "spc_planes_decode": [f"decode_{name}" for name in CODERS if name != "lzma"],
    "spc_model_init": [f"spc_{name}_model_valid" for name in ("range", "rans", "context")],
}
LIBC = dict.fromkeys(("memcpy", "memmove", "memset", "memcmp"), 16)  # of newlib's nano


@dataclass
class CallGraph:
    """Of all files: bytes of each function's frame, whom it calls, and where functions are."""

    frames: dict[str, int] = field(default_factory=lambda: dict(LIBC))
    calls: dict[str, set[str]] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)

    def read(self, text: str) -> None:
        node = r'^node: \{ title: "([^"]+)" label: "([^"\\]+)\\n[^"\\]+\\n(\d+) bytes \((\w+)\)'
        for title, name, size, kind in re.findall(node, text, re.MULTILINE):
            assert kind == "static", f"{title}: its frame depends on its input"
            self.frames[title] = int(size)
            self.named[_plain(name)] = title
        edge = r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"'
        for source, target in re.findall(edge, text, re.MULTILINE):
            self.calls.setdefault(source, set()).add(target)

    def worst(self, title: str, above: tuple[str, ...] = ()) -> list[tuple[str, int]]:
        """The chain of functions, and their frames, that takes most from this one on."""
        assert title not in above, f"{title} is recursive"
        deepest: list[tuple[str, int]] = []
        for target in self.calls.get(title, ()):
            found = [target]
            if target == "__indirect_call":
                found = [self.named[name] for name in INDIRECT[_plain(title)]]
            for one in found:
                chain = self.worst(one, (*above, title))
                deepest = max(deepest, chain, key=_total)
        return [(_plain(title), self.frames[title]), *deepest]


def _plain(title: str) -> str:
    """Without its file, nor what gcc adds to the name of a copy."""
    return title.rpartition(":")[2].partition(".")[0]


def _total(chain: list[tuple[str, int]]) -> int:
    return sum(size for _, size in chain)


def chains(folder: Path, options: list[str]) -> dict[str, list[tuple[str, int]]]:
    """Of each call, in the core that is compiled with these options."""
    graph = CallGraph()
    for source in SOURCES:
        made = folder / f"{source.stem}.o"
        given = [*cortex_m4.OPTIONS, *FPU, *options, "-fcallgraph-info=su,da"]
        cortex_m4.run([cortex_m4.CC, *given, "-c", source, "-o", made])
        graph.read(made.with_suffix(".ci").read_text())
    return {name: graph.worst(name) for name in (*ENCODING, *OTHERS)}


# ------------------------------------------------------------------ by painting

SHAPE = (3, 12, 20)

PROGRAM = """
#include <string.h>
#include "splitcodec.h"
%(hosting)s
enum { PAINT = 0xa5, PAINTED = 4096, COUNT = 720 };
%(models)s
static const uint8_t *const models[][9] = {%(table)s};
static const size_t lengths[][9] = {%(lengths)s};
static float centroids[20 << 8];
static int32_t thresholds[20 << 8];
static uint32_t feature[COUNT];
static uint8_t indices[COUNT], frame[1 << 17], work[1 << 16];
static uint32_t most[%(count)d];

/* From the stack pointer down, so that it is all the callee's.  Inlined where the call is. */
static inline __attribute__((always_inline)) uint8_t *stack_pointer(void) {
    uint8_t *at;
    __asm__ volatile("mov %%0, sp" : "=r"(at));
    return at;
}
#define MEASURE(number, made) \\
    { \\
        uint8_t *const top = stack_pointer(), *at = top - PAINTED; \\
        while (at < top) { \\
            *(volatile uint8_t *)at++ = PAINT; \\
        } \\
        __asm__ volatile("" : : : "memory"); \\
        made; \\
        __asm__ volatile("" : : : "memory"); \\
        for (at = top - PAINTED; at < top && *(volatile uint8_t *)at == PAINT; at++) { \\
        } \\
        if ((uint32_t)(top - at) > most[number]) { \\
            most[number] = (uint32_t)(top - at); \\
        } \\
    }
/* Status 0 of all calls. */
#define CHECK(call_made) \\
    if (call_made) { \\
        call(4, #call_made "\\n"); \\
    }

static void measure(spc_codec *codec, spc_coder coder, spc_frame_kind kind) {
    size_t len = 0, header;
    int bad = 0, status;
    MEASURE(0, bad |= spc_codec_quantize(codec, feature, indices))
    MEASURE(1, bad |= spc_codec_quantize_part(codec, 8, feature, COUNT - 16, indices + 8))
    MEASURE(2, bad |= spc_codec_quantize_pack_part(codec, 8, feature, COUNT - 8, frame))
    MEASURE(3, (void)spc_encode_work_size(codec, coder))
    MEASURE(4, (void)spc_encode_indices_work_size(codec, coder))
    MEASURE(5, bad |= spc_encode(codec, coder, kind, feature, frame, sizeof frame, &len, work,
                                 sizeof work))
    MEASURE(6, bad |= spc_encode_indices(codec, coder, kind, indices, frame, sizeof frame, &len,
                                         work, sizeof work))
    MEASURE(7, bad |= spc_frame_start(codec, kind, coder, 0, frame, sizeof frame, &header))
    bad |= spc_encode(codec, coder, kind, feature, frame, sizeof frame, &len, work, sizeof work);
    MEASURE(11, status = spc_decode(codec, frame, len, feature, sizeof feature, work, sizeof work))
    bad |= status != SPC_ERROR_CODER ? status : 0; /* LZMA is decoded by liblzma */
    CHECK(bad)
}

static void measure_codec(spc_dtype dtype, uint32_t bits, uint32_t axis, uint32_t groups) {
    const spc_shape shape = {3, {3, 12, 20}};
    spc_codebook codebook;
    spc_codec codec, modelled;
    for (uint32_t i = 0; i < groups << bits; i++) {
        const uint32_t place = i & ((1u << bits) - 1);
        centroids[i] = (float)(int)(place * (400 >> bits)) - 100.0f + (float)(int)(i >> bits);
    }
    CHECK(spc_codebook_init_groups(&codebook, centroids, bits, groups, thresholds))
    MEASURE(8, spc_codec_init_channels(&codec, &codebook, axis, dtype, &shape))
    for (int coder = 0; coder < 5; coder++) {
        if (coder < SPC_CODER_RANS) {
            measure(&codec, coder, coder & 1 ? SPC_FRAME_SELF_DESCRIBING : SPC_FRAME_COMPACT);
        }
        if (axis == 0 && coder >= SPC_CODER_RANGE) {
            const size_t len = lengths[coder - SPC_CODER_RANGE][bits];
            spc_model model;
            modelled = codec;
            MEASURE(10, spc_model_init(&model, models[coder - SPC_CODER_RANGE][bits], len))
            MEASURE(9, spc_codec_set_model(&modelled, &model))
            measure(&modelled, coder, SPC_FRAME_COMPACT);
            measure(&modelled, coder, SPC_FRAME_SELF_DESCRIBING);
        }
    }
}

__attribute__((noinline)) void start_up(void) {
    uint32_t random = 1;
    *(volatile uint32_t *)0xe000ed88 |= 0xf << 20; /* the FPU */
    for (int dtype = SPC_FLOAT32; dtype <= SPC_UINT8; dtype++) {
        for (uint32_t bits = 1; bits <= 8; bits++) {
            for (int i = 0; i < COUNT; i++) { /* runs, so that all coders have something to do */
                random = random * 1664525 + 1013904223;
                feature[i] = i > 0 && random >> 29 ? feature[i - 1] : random;
            }
            measure_codec(dtype, bits, 0, 1);
            measure_codec(dtype, bits, 0, 3);
            measure_codec(dtype, bits, 2, 20);
            measure_codec(dtype, bits, 2, 10);
        }
    }
    say((const uint8_t *)most, sizeof most);
    call(0x18, (const void *)0x20026);
}
"""


def painted(bench: cortex_m4.Bench) -> dict[str, int]:
    """Of each call, the most of all that are tried."""
    rng = np.random.default_rng(1)
    models, table, lengths = "", "", ""
    fitted: list[tuple[str, type[sc.CoderModel], dict[str, int]]] = [
        ("range", sc.RangeModel, {"budget_bytes": 1000}),
        ("rans", sc.RansModel, {}),
        ("context", sc.ContextModel, {"budget_bytes": 2000}),
    ]
    for name, kind, options in fitted:
        table += "{0"
        lengths += "{0"
        for bits in range(1, 9):
            symbols = rng.integers(0, 1 << bits, (4, *SHAPE), np.uint8)
            made = kind.fit(symbols, bits, **options).to_bytes()
            words = ", ".join(map(str, made))
            models += f"static const uint8_t {name}_{bits}[] = {{{words}}};\n"
            table += f", {name}_{bits}"
            lengths += f", {len(made)}"
        table += "},"
        lengths += "},"
    names = (*ENCODING, *OTHERS)
    source, program = bench.folder / "stack.c", bench.folder / "stack.elf"
    values = {"hosting": cortex_m4.HOSTING, "count": len(names)}
    source.write_text(PROGRAM % {**values, "models": models, "table": table, "lengths": lengths})
    options_of_c = [bench.optimise, *cortex_m4.OPTIONS, *FPU]
    layout = [*cortex_m4.LINK, "-Wl,-T", bench.layout]
    cortex_m4.run([cortex_m4.CC, *options_of_c, source, *SOURCES, *layout, "-o", program])
    said, _ = bench.emulated(program)
    if len(said) != 1:
        sys.exit(f"calls that fail: {said[:-1]}")
    found = np.frombuffer(bytes.fromhex(said[0]), "<u4")
    return dict(zip(names, map(int, found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    arguments = cortex_m4.arguments_of(parser)
    with tempfile.TemporaryDirectory() as name:
        bench = cortex_m4.Bench(Path(name), arguments.optimise)
        used = painted(bench)
        worst = chains(bench.folder, [arguments.optimise])
    rows = [
        {"call": call, "painted": used[call], "worst": _total(chain), "chain": chain}
        for call, chain in worst.items()
    ]
    if arguments.json:
        print(json.dumps({"optimise": arguments.optimise, "rows": rows}, indent=1))
        return
    print("| call | painted | worst chain | which |\n|---|---|---|---|")
    for row in rows:
        names = " ".join(f"{one} {size}" for one, size in worst[str(row["call"])])
        print(f"| {row['call']} | {row['painted']} | {row['worst']} | {names} |")


if __name__ == "__main__":
    main()
