"""The core in parts, as a firmware builds it: the same frames, refusals, and what it takes."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import cortex_m4
import cortex_m4_stack
import numpy as np
import pytest
from builds import need, output_of

from pysplitcodec.firmware.boards import boards

ROOT = Path(__file__).resolve().parent.parent
CSRC, AMALGAMATE = ROOT / "csrc", ROOT / "scripts" / "amalgamate"
SOURCES = [*cortex_m4_stack.SOURCES, CSRC / "arm" / "helium.c"]

pytestmark = pytest.mark.slow


def _run(command: list[str | Path], **environment: str) -> str:
    return output_of(command, env={**os.environ, **environment}).decode()


# ------------------------------------------------------------------ what it does

USE = """
import json, sys
import numpy as np
import pysplitcodec as sc
from pysplitcodec import errors

def made(dtype, coder, groups, bits):
    steps = (10 * np.sin(np.arange(960) / 30)).reshape(6, 8, 20)
    books = [sc.Codebook(np.linspace(-8, 8, 1 << bits, dtype=np.float32))] * groups
    codec = sc.Codec(books, coder, shape=steps.shape, dtype=dtype, channel_axis=0)
    frame = codec.encode(steps.astype(dtype))
    try:
        codec.decode(frame)
    except errors.CoderUnavailableError:
        return frame.hex(), "encodes"
    return frame.hex(), "decodes"

def tried(case):
    try:
        return made(*case)
    except errors.SplitCodecError as error:
        return type(error).__name__, str(error)

print(json.dumps([tried(case) for case in json.loads(sys.argv[1])]))
"""


def _frames(cases: list[list[object]], **environment: str) -> list[list[str]]:
    found: list[list[str]] = json.loads(
        _run([sys.executable, "-c", USE, json.dumps(cases)], **environment)
    )
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="builds a library as on Linux")
@pytest.mark.parametrize("files", ["csrc", "two files"])
def test_parts_make_the_same_frames(files: str, tmp_path: Path) -> None:
    need("cc")
    library = tmp_path / "libparts.so"
    parts = ["HOSTED=0", "CODERS=0x7", "DTYPES=0x9", "BITS=0xc", "GROUPS=0", "SELF_DESCRIBING=0"]
    flags = ["-O1", "-shared", "-fPIC", "-std=c11", "-Werror", "-Wall", "-Wextra"]
    defined = [f"-DSPC_{part}" for part in parts]
    if files == "csrc":
        # with fit.c, which the binding asks for
        include: list[str | Path] = ["-I", CSRC / "include", "-DSPC_ONE_SET=1"]
        _run(["cc", *flags, *defined, *include, *SOURCES, CSRC / "fit.c", "-o", library])
    else:
        _run([sys.executable, AMALGAMATE, tmp_path])
        _run(["cc", *flags, *defined, tmp_path / "splitcodec.c", "-o", library])
    chosen = {"SPLITCODEC_BINDING": "cffi", "SPLITCODEC_LIBRARY": str(library)}
    built: list[list[object]] = [
        [dtype, coder, 1, bits]
        for dtype in ("float32", "int8")
        for coder in ("pack", "lzma", "range")
        for bits in (2, 3)
    ]
    for case, whole, part in zip(built, _frames(built), _frames(built, **chosen)):
        assert part[0] == whole[0], case
        assert whole[1] == "decodes"
        assert part[1] == ("encodes" if case[1] == "lzma" else "decodes"), case
    left_out: list[list[object]] = [
        ["float16", "pack", 1, 2],
        ["uint8", "lzma", 1, 2],
        ["int8", "pack", 3, 2],
        ["int8", "pack", 1, 1],
        ["float32", "range", 1, 4],
    ]
    for case, whole, part in zip(left_out, _frames(left_out), _frames(left_out, **chosen)):
        assert whole[1] == "decodes"
        assert part[0] == "ArgumentError", case


PAYLOADS = """
import json, sys
import numpy as np
import pysplitcodec as sc
from pysplitcodec.native import CODERS, core

bits = int(sys.argv[1])
rng = np.random.default_rng(bits)
waves = np.sin(np.arange(9)[:, None] / 3 + np.arange(43) / 5 + np.arange(5 * 4).reshape(5, 4, 1, 1))
levels = (waves + 1.5 + rng.normal(size=waves.shape) / 8) / 3 * (1 << bits)
symbols = np.clip(levels, 0, (1 << bits) - 1).astype(np.uint8)
models = [sc.RangeModel.fit(symbols, bits, budget_bytes=1000), sc.RansModel.fit(symbols, bits)]
models += [sc.ContextModel.fit(symbols, bits, budget_bytes=3000)]
shape, found = symbols.shape[1:], []
for name, model in [("range", None), *zip(CODERS, [None, None, *models])]:
    native = model.native if model else None
    payload, used = core.coder_encode(CODERS[name], shape, bits, symbols[0], -1, native)
    found.append((name, used, payload.hex()))
    if used != CODERS["lzma"]:
        back = np.empty(shape, np.uint8)
        own = native if used == CODERS[name] else None
        core.coder_decode(used, shape, bits, payload, back, -1, own)
        assert (back == symbols[0]).all(), name
feature = rng.normal(size=(3, 700))
book = sc.Codebook(np.linspace(-2, 2, 1 << bits, dtype=np.float32))
for dtype in ("float32", "int8"):
    codec = sc.Codec(book, "pack", shape=feature.shape, dtype=dtype)
    found.append((dtype, 0, codec.encode(feature.astype(dtype)).hex()))
print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="builds a library as on Linux")
@pytest.mark.parametrize("bits", [1, 2, 3, 5])
def test_cores_of_one_width_make_the_same_payloads(bits: int, tmp_path: Path) -> None:
    need("cc")
    library = tmp_path / "libwidth.so"
    flags = ["-Os", "-shared", "-fPIC", "-std=c11", "-Werror", "-Wall", "-Wextra"]
    defined = ["-DSPC_HOSTED=0", "-DSPC_ONE_SET=1", f"-DSPC_BITS={1 << bits}"]
    include: list[str | Path] = ["-I", CSRC / "include"]
    _run(["cc", *flags, *defined, *include, *SOURCES, CSRC / "fit.c", "-o", library])
    chosen = {"SPLITCODEC_BINDING": "cffi", "SPLITCODEC_LIBRARY": str(library)}
    command: list[str | Path] = [sys.executable, "-c", PAYLOADS, str(bits)]
    whole = json.loads(_run(command))
    assert json.loads(_run(command, **chosen)) == whole
    assert {used for _, used, _ in whole} == set(range(5))


def test_names_are_of_one_file() -> None:
    """Of functions and types that files have for themselves, so that they can be one file."""
    where: dict[str, str] = {}
    for path in [*SOURCES, CSRC / "fit.c"]:
        text = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
        own = set(re.findall(r"^(?:static|INLINE)\b[^;={]*?\b(\w+)\(", text, re.MULTILINE))
        own |= set(re.findall(r"^\} (\w+);", text, re.MULTILINE))
        for name in own - {"__attribute__"}:
            assert where.setdefault(name, path.name) == path.name, name


@pytest.mark.parametrize(
    "compiler",
    [
        "clang-19",
        "arm-linux-gnueabihf-gcc",
        "s390x-linux-gnu-gcc",
        "arm-none-eabi-gcc -mcpu=cortex-m0 -mthumb -ffreestanding",
        "arm-none-eabi-gcc -mcpu=cortex-m55 -mfloat-abi=hard -ffreestanding",
    ],
)
def test_two_files_compile(compiler: str, tmp_path: Path) -> None:
    need(compiler.split()[0])
    _run([sys.executable, AMALGAMATE, tmp_path])
    flags = ["-Os", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c"]
    _run([*compiler.split(), *flags, tmp_path / "splitcodec.c", "-o", tmp_path / "splitcodec.o"])


# ------------------------------------------------------------------ what it takes

APP = """
#include "splitcodec.h"
static const float centroids[4] = {-1.5f, -0.5f, 0.5f, 1.5f};
static const int32_t thresholds[3] = {-1065353217, 0, 1065353216};
static const uint8_t model_bytes[1];
static const spc_codec codec = {{2, 1, centroids, thresholds}, DTYPE, {3, {12, 32, 32}}, 0,
    {model_bytes, 0, CODER, 2, 12}, 0, 0, 12288, 1};
size_t encoded(const void *feature, uint8_t *frame, size_t cap, void *work, size_t work_len) {
    size_t len = 0;
    spc_encode(&codec, CODER, SPC_FRAME_COMPACT, feature, frame, cap, &len, work, work_len);
    return len;
}
"""
CC = cortex_m4.CC
CORTEX_M4F = boards()["mps2-an386"].flags


def _flash(folder: Path, dtype: int, coder: int) -> int:
    """Code and constants of an encoder of this dtype and coder, with a codebook."""
    app, made = folder / "app.c", folder / "app.elf"
    app.write_text(APP)
    parts = [f"-DSPC_CODERS={1 | 1 << coder}", f"-DSPC_DTYPES={1 << dtype}", "-DSPC_BITS=4"]
    parts += ["-DSPC_GROUPS=0", "-DSPC_SELF_DESCRIBING=0"]
    given = [f"-DDTYPE={dtype}", f"-DCODER={coder}", f"-I{CSRC / 'include'}"]
    flags = ["-Os", "-std=c11", "-ffreestanding", "-ffunction-sections", "-fdata-sections"]
    around = [*CORTEX_M4F, *flags, *parts, *given]
    _run([CC, *around, app, *SOURCES, *cortex_m4.LINK, "-Wl,-e,encoded", "-o", made])
    return cortex_m4.flash(made)


FLOAT32, INT8 = 0, 3
PACK, LZMA, RANGE, RANS, CONTEXT = range(5)


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("dtype", "coder", "most"),
    [
        (FLOAT32, PACK, 1500),
        (INT8, PACK, 1600),
        (FLOAT32, LZMA, 6250),
        (FLOAT32, RANGE, 4700),
        (FLOAT32, RANS, 3600),
        (FLOAT32, CONTEXT, 5950),
    ],
)
def test_parts_are_small(dtype: int, coder: int, most: int, tmp_path: Path) -> None:
    """With what they take of libc, -Os on a Cortex-M4F; figures in docs/firmware.md."""
    need(CC)
    assert _flash(tmp_path, dtype, coder) <= most


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("coder", "widths", "most"),
    [
        ("pack", 0x1FE, 400),
        ("range", 0x1FE, 2000),
        ("rans", 0x1FE, 1400),
        ("context", 0x1FE, 4500),
        *(("context", 1 << bits, 3072) for bits in range(1, 9)),
    ],
)
def test_coders_are_small(coder: str, widths: int, most: int, tmp_path: Path) -> None:
    """Encoders alone, and what they take of libc."""
    need(*cortex_m4.NEED)
    case = cortex_m4.Case(coder, 1, None, None, np.zeros(8, np.uint8))
    bench = cortex_m4.Bench(tmp_path, "-Os")
    assert bench.code(case, False, f"-DSPC_BITS={widths}") <= most


@pytest.mark.emulator
@pytest.mark.parametrize("name", ["mps2-an386", "mps3-an547", "riscv-virt"])
def test_stacks_are_small(name: str, tmp_path: Path) -> None:
    """No function takes more than 400 bytes of it, whatever is built; none grows with its input."""
    board = boards()[name]
    compiler = f"{board.toolchain}-gcc"
    need(compiler)
    include = ["-I", CSRC.parent / "firmware" / "ports" / "include"]
    for source in SOURCES:
        made = tmp_path / f"{source.stem}.o"
        flags = ["-Os", "-std=c11", "-ffreestanding", "-fstack-usage", f"-I{CSRC / 'include'}"]
        _run([compiler, *board.flags, *flags, *include, "-c", source, "-o", made])
        for line in made.with_suffix(".su").read_text().splitlines():
            _, size, kind = line.split("\t")
            assert kind == "static", line
            assert int(size) <= 400, line


@pytest.mark.emulator
def test_stacks_of_calls_are_small(tmp_path: Path) -> None:
    """Chains of functions with all their frames; what calls are seen to use is never more."""
    need(*cortex_m4.NEED)
    found = cortex_m4_stack.chains(tmp_path, ["-Os"])
    worst = {call: sum(size for _, size in chain) for call, chain in found.items()}
    assert {call: worst[call] for call in cortex_m4_stack.ENCODING if worst[call] > 512} == {}
    assert max(worst.values()) <= 540
    painted = cortex_m4_stack.painted(cortex_m4.Bench(tmp_path, "-Os"))
    assert painted.keys() == worst.keys()
    for call, used in painted.items():
        assert worst[call] * 3 // 5 <= used <= worst[call], call
