"""`splitcodec_plan.h`: constants that make the same frames as the codec they were made of."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import generate as vectors
import numpy as np
import pytest
from builds import need, output_of

from pysplitcodec import Codebook, Codec, ContextModel, RangeModel, RansModel, errors
from pysplitcodec.c_header import _float, c_definitions, c_header
from pysplitcodec.native import numpy_dtype

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
HOST_ONLY = {"fit.c", "decoder_lzma.c"}  # doubles; liblzma
SOURCES = [path for path in sorted(CSRC.glob("*.c")) if path.name not in HOST_ONLY]

# Reads a feature, writes its frame; and compares the constants with what the core makes of them.
PROGRAM = r"""
#include "splitcodec_plan.h"

#include <stdio.h>
#include <string.h>

static union {
    uint8_t bytes[SPLITCODEC_PLAN_FEATURE_BYTES + 1];
    double aligned;
} feature;
static uint8_t frame[SPLITCODEC_PLAN_FRAME_BOUND], work[SPLITCODEC_PLAN_WORK_BYTES];
static int32_t thresholds[sizeof splitcodec_plan_thresholds / sizeof(int32_t)];

static int same_as_made(void) {
    const spc_codec *plan = &splitcodec_plan;
    const spc_codebook *book = &plan->codebook;
    spc_codebook made_book;
    spc_codec made;
    spc_model model;
    if (spc_codebook_init_groups(&made_book, book->centroids, book->bits, book->groups,
                                 thresholds) != SPC_OK ||
        spc_codec_init_channels(&made, &made_book, plan->axis, plan->dtype, &plan->shape) !=
            SPC_OK) {
        return 0;
    }
    if (plan->model.len > 0 &&
        (spc_model_init(&model, plan->model.bytes, plan->model.len) != SPC_OK ||
         model.coder != plan->model.coder || model.bits != plan->model.bits ||
         model.channels != plan->model.channels || spc_codec_set_model(&made, &model) != SPC_OK)) {
        return 0;
    }
    if (plan->slice_whole > 0 &&
        spc_codec_set_slice(&made, plan->slice_first, plan->slice_whole) != SPC_OK) {
        return 0;
    }
    return memcmp(thresholds, book->thresholds, sizeof thresholds) == 0 && made.id == plan->id &&
           made.n == plan->n && made.n == SPLITCODEC_PLAN_ELEMENTS &&
           spc_feature_size(plan) == SPLITCODEC_PLAN_FEATURE_BYTES &&
           spc_frame_bound(plan, SPC_FRAME_COMPACT) == SPLITCODEC_PLAN_FRAME_BOUND;
}

int main(void) {
    const size_t needed = spc_encode_work_size(&splitcodec_plan, SPLITCODEC_PLAN_CODER);
    size_t len = 0;
    spc_status status;
    if (fread(feature.bytes, 1, sizeof feature.bytes, stdin) != SPLITCODEC_PLAN_FEATURE_BYTES) {
        return 2;
    }
    if (!same_as_made()) {
        return 3;
    }
    if (sizeof work != (needed > 0 ? needed : 1)) {
        fprintf(stderr, "work is %u: the core wants %u\n", (unsigned)sizeof work, (unsigned)needed);
        return 4;
    }
    status = spc_encode(&splitcodec_plan, SPLITCODEC_PLAN_CODER, SPC_FRAME_COMPACT, feature.bytes,
                        frame, sizeof frame, &len, work, sizeof work);
    return status != SPC_OK ? 5 : fwrite(frame, 1, len, stdout) != len ? 6 : 0;
}
"""


# ------------------------------------------------------------------ codecs


def _books(bits: int, count: int = 1) -> list[Codebook]:
    rng = np.random.default_rng(bits)
    levels = [np.unique(rng.normal(0, 40, 4096).astype(np.float32)) for _ in range(count)]
    return [Codebook(every[: len(every) >> bits << bits : len(every) >> bits]) for every in levels]


def _codec(coder: str, bits: int, dtype: Any, shape: tuple[int, ...], **options: Any) -> Codec:
    """With a model if the coder needs one, or `trained` says so."""
    axis = options.get("channel_axis", 0)
    if coder == "context":
        rng = random.Random(f"{bits} {shape}")
        networks = [
            vectors.random_network(rng, bits, c, 3 + c % 7, 1 + c % 4, 1, 9)
            for c in range(shape[axis])
        ]
        options["model"] = ContextModel(vectors.model_of(bits, networks).whole)
    elif coder == "rans" or options.pop("trained", False):
        plain = Codec(_books(bits), "pack", shape=shape, dtype=dtype)
        seen = np.stack([plain.quantize(_feature(plain, seed)) for seed in range(3)])
        kind = RangeModel if coder == "range" else RansModel
        options["model"] = kind.fit(seen, bits, channel_axis=axis)
    books = _books(bits, options.pop("groups", 1))
    return Codec(books, coder, shape=shape, dtype=dtype, **options)


def _feature(codec: Codec, seed: int = 0) -> np.ndarray:
    """A walk, of which coders can make something."""
    steps = np.random.default_rng(seed).normal(0, 9, int(np.prod(codec.shape)))
    values = 90 * np.sin(np.cumsum(steps) / 90).reshape(codec.shape)
    return np.abs(values).astype(numpy_dtype(codec.dtype))


CODERS = ["pack", "lzma", "range", "rans", "context"]
CASES: dict[str, tuple[Any, ...]] = {
    **{f"{coder}-{bits}": (coder, bits, "float32", (3, 9, 40)) for coder in CODERS
       for bits in (1, 2, 4, 8)},
    **{f"{coder}-{bits}": (coder, bits, "int8", (5, 7, 33)) for coder in ("range", "context")
       for bits in (3, 5, 6, 7)},
    **{f"pack-{dtype}": ("pack", 3, dtype, (3, 9, 40)) for dtype in ("float16", "int8", "uint8")},
    "lzma-bfloat16": ("lzma", 2, "bfloat16", (3, 9, 40)),
    "range-channels last": ("range", 2, "int8", (9, 40, 3), {"channel_axis": 2}),
    "range-trained": ("range", 2, "float32", (3, 9, 40), {"trained": True}),
    "rans-channels last": ("rans", 3, "uint8", (9, 40, 3), {"channel_axis": 2}),
    "rans-one channel, last": ("rans", 3, "uint8", (9, 40, 1), {"channel_axis": 2}),
    "context-channels last": ("context", 2, "float32", (9, 40, 3), {"channel_axis": 2}),
    "context-large": ("context", 2, "int8", (24, 32, 32)),
    "groups": ("range", 2, "float32", (6, 8, 20), {"channel_axis": 0, "groups": 3}),
    "groups of one": ("pack", 4, "float16", (9, 40, 4), {"channel_axis": 2, "groups": 4}),
    "slice": ("lzma", 2, "float32", (2, 9, 40), {"channel_axis": 0, "slice_of": (3, 8)}),
    "scalar": ("lzma", 2, "float32", ()),
    "empty": ("range", 2, "float32", (3, 0, 4)),
    "one": ("context", 1, "float32", (1, 1, 1)),
    "eight dimensions": ("rans", 2, "int8", (1, 2, 1, 3, 2, 2, 5, 7), {"channel_axis": 3}),
}  # fmt: skip


def _of(name: str) -> Codec:
    coder, bits, dtype, shape, *options = CASES[name]
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 arrays need ml_dtypes")
    return _codec(coder, bits, dtype, shape, **(options[0] if options else {}))


# ------------------------------------------------------------------ what the core makes of them


def _core(folder: Path, compiler: str, *options: str) -> list[Path]:
    """Object files of the core as firmware builds it."""
    flags = ["-O1", "-std=c11", "-DSPC_ONE_SET=1", "-I", CSRC / "include", *options]
    output_of([compiler, *flags, "-c", *SOURCES], cwd=folder)
    return sorted(folder.glob("*.o"))


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    need("cc")
    return _core(tmp_path_factory.mktemp("core"), "cc", "-DSPC_HOSTED=0")


def _frame(
    codec: Codec, folder: Path, core: list[Path], compiler: str, *emulator: str, swap: bool = False
) -> bytes:
    """The frame that a program makes which includes the header."""
    (folder / "splitcodec_plan.h").write_text(c_header(codec))
    source, app = folder / ("app.cpp" if "++" in compiler else "app.c"), folder / "app"
    source.write_text(PROGRAM)
    warn = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
    output_of([*compiler.split(), *warn, "-I", CSRC / "include", source, *core, "-o", app])
    feature = _feature(codec)
    return output_of([*emulator, app], (feature.byteswap() if swap else feature).tobytes())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_same_frames(name: str, tmp_path: Path, core: list[Path]) -> None:
    """And the same id, thresholds and sizes, and the work that the core asks for."""
    codec = _of(name)
    assert _frame(codec, tmp_path, core, "cc -std=c99") == codec.encode(_feature(codec))


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiler", ["gcc -std=c11", "g++ -std=c++11", "g++ -std=c++20", "clang-19", "clang++-19"]
)
def test_compilers(compiler: str, tmp_path: Path, core: list[Path]) -> None:
    need(compiler.split()[0])
    for name in ("pack-8", "context-2", "groups", "slice", "scalar", "empty"):
        codec = _of(name)
        assert _frame(codec, tmp_path, core, compiler) == codec.encode(_feature(codec)), name


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"{coder}-2" for coder in CODERS), "pack-int8", "groups"])
def test_definitions_suffice(name: str, tmp_path: Path) -> None:
    """The core compiled with nothing more makes the same frames."""
    need("cc")
    codec = _of(name)
    core = _core(tmp_path, "cc", *(f"-D{one}" for one in c_definitions(codec)))
    assert _frame(codec, tmp_path, core, "cc") == codec.encode(_feature(codec))


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize(
    ("compiler", "emulator", "swap"),
    [
        ("arm-linux-gnueabihf-gcc", "qemu-arm-static", False),  # pointers of 4 bytes
        ("s390x-linux-gnu-gcc", "qemu-s390x-static", True),  # big-endian
    ],
)
def test_same_frames_elsewhere(compiler: str, emulator: str, swap: bool, tmp_path: Path) -> None:
    need(compiler, emulator)
    core = _core(tmp_path, compiler, "-DSPC_HOSTED=0")
    for name in CASES:
        codec = _of(name)
        made = _frame(codec, tmp_path, core, f"{compiler} -static", emulator, swap=swap)
        assert made == codec.encode(_feature(codec)), name


# ------------------------------------------------------------------ the text


def test_floats_are_exact() -> None:
    rng = np.random.default_rng(0)
    any_bits = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    ends = np.float32([0, 1, 0.1, 1e10, -16777216, 1e-45, 1.1754944e-38, 3.4028235e38])
    for value in [*ends, *any_bits[np.isfinite(any_bits)]]:
        text = _float(value)
        assert re.fullmatch(r"-?(\d+\.\d+|\d+(\.\d+)?e[+-]\d+)f", text), text
        assert np.float32(text[:-1]).tobytes() == value.tobytes()


TEXT = """\
#define SPLITCODEC_PLAN_CODER SPC_CODER_LZMA
#define SPLITCODEC_PLAN_ELEMENTS 48
#define SPLITCODEC_PLAN_FEATURE_BYTES 96
#define SPLITCODEC_PLAN_FRAME_BOUND 16 /* of compact frames */
#define SPLITCODEC_PLAN_WORK_BYTES (sizeof(void *) > 4 ? 5581 : 5557) /* of spc_encode; 1 if none */

static const float splitcodec_plan_centroids[4] = {
    0.0f, 1.5f, -0.100000001f, 1e+10f,
};
static const int32_t splitcodec_plan_thresholds[2] = {
    1061158912, 1335165688,
};

static const spc_codec splitcodec_plan = {
    {1, 2, splitcodec_plan_centroids, splitcodec_plan_thresholds},
    SPC_FLOAT16,
    {2, {12, 4, 0, 0, 0, 0, 0, 0}},
    1,
    {NULL, 0, SPC_CODER_PACK, 0, 0},
    0,
    0,
    48,
    0x73b77a16u,
};
"""


@pytest.mark.parametrize("binding", ["pybind11", "cffi"])
def test_text(binding: str) -> None:
    """The same everywhere: with no path, date or size of this machine."""
    if binding == "cffi":
        pytest.importorskip("cffi", reason="needs the extra 'cffi'")
    code = (
        "from pysplitcodec import Codebook, Codec; from pysplitcodec.c_header import c_header;"
        "books = [Codebook([0, 1.5]), Codebook([-0.1, 1e10])];"
        "print(c_header(Codec(books, 'lzma', shape=(12, 4), dtype='float16', channel_axis=-1)))"
    )
    env = {**os.environ, "SPLITCODEC_BINDING": binding}
    text = output_of([sys.executable, "-c", code], env=env).decode()
    assert TEXT in text
    assert "-DSPC_HOSTED=0 -DSPC_CODERS=0x3 -DSPC_DTYPES=0x2 -DSPC_BITS=0x2 -DSPC_GROUPS=1" in text
    assert text.isascii() and max(map(len, text.splitlines())) <= 100


def test_no_codec() -> None:
    with pytest.raises(errors.ArgumentError, match="codec is a Codebook: expected a Codec"):
        c_header(Codebook([0, 1]))  # type: ignore[arg-type]


# ------------------------------------------------------------------ the command


def _splitcodec(*words: Any, expect: int = 0) -> Any:
    pytest.importorskip("typer", reason="the command line needs the extra 'cli'")
    done = subprocess.run(
        [sys.executable, "-m", "pysplitcodec", "export", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
    )
    assert done.returncode == expect, done.stderr
    return done


def test_export_of_a_codec(tmp_path: Path) -> None:
    codec = _of("context-2")
    codec.save(tmp_path / "codec.json")
    given = (tmp_path / "codec.json", "--target", "c", "-o")
    said = _splitcodec(*given, tmp_path / "new" / "folder")
    made = tmp_path / "new" / "folder" / "splitcodec_plan.h"
    assert made.read_bytes() == c_header(codec).encode()
    assert said.stdout.split() == [f"-D{one}" for one in c_definitions(codec)]
    report = json.loads(_splitcodec(*given, tmp_path / "other.h", "--json").stdout)
    assert report == {
        "file": str(tmp_path / "other.h"),
        "codec_id": f"{codec.id:08x}",
        "definitions": c_definitions(codec),
    }
    assert (tmp_path / "other.h").read_bytes() == made.read_bytes()


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_export_of_a_codebook(suffix: str, tmp_path: Path) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors", reason="needs the extra 'safetensors'")
    book, file = Codebook([-1, 0, 1, 2]), tmp_path / f"book{suffix}"
    book.save(file)
    given = (file, "--target", "c", "-o", tmp_path)
    made = tmp_path / "splitcodec_plan.h"
    _splitcodec(*given, "--shape", "12x32x32")
    assert made.read_text() == c_header(Codec(book, shape=(12, 32, 32)))
    _splitcodec(*given, "--shape", "8x4", "--dtype", "int8", "--coder=range", "--channel-axis=-1")
    expected = Codec(book, "range", shape=(8, 4), dtype="int8", channel_axis=1)
    assert made.read_text() == c_header(expected)


def test_export_refuses(tmp_path: Path) -> None:
    Codec(Codebook([0, 1]), shape=(4,)).save(tmp_path / "codec.json")
    Codebook([0, 1]).save(tmp_path / "book.json")
    (tmp_path / "else.json").write_text("[1]")
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "book.txt").write_text("{}")
    (tmp_path / "bad.json").write_text('{"codebook": {"centroids": [1, 0]}}')
    for name, options, says in [
        ("codec.json", ["--shape", "4"], ["--shape is '4'", "codec.json", "whole codec"]),
        ("codec.json", ["--channel-axis", "0"], ["--channel-axis is 0"]),
        ("book.json", [], ["--shape is missing", "64x56x56"]),
        ("book.json", ["--shape", "4,4"], ["--shape is '4,4'", "64x56x56"]),
        ("book.json", ["--shape", "-4"], ["shape is (-4,)"]),
        ("book.json", ["--shape", "4", "--dtype", "int4"], ["'int4'", "uint8"]),
        ("book.json", ["--shape", "4", "--coder", "zip"], ["'zip'", "context"]),
        ("book.json", ["--shape", "4", "--coder", "rans"], ["'rans'", "RansModel"]),
        ("book.json", ["--shape", "4", "--channel-axis", "1"], ["channel_axis is 1"]),
        ("else.json", [], ["else.json", "neither a codec nor a codebook"]),
        ("text.json", [], ["text.json", "JSON"]),
        ("book.txt", [], ["book.txt", ".safetensors"]),
        ("bad.json", [], ["lacks coder"]),
    ]:
        given = (tmp_path / name, "--target", "c", "-o", tmp_path / "out", *options)
        error = _splitcodec(*given, expect=3).stderr
        assert all(word in error for word in says), error
    assert not (tmp_path / "out").exists()
    codec = tmp_path / "codec.json"
    _splitcodec(codec, "--target", "c", "-o", tmp_path / "book.json" / "plan.h", expect=3)
    assert "'c'" in _splitcodec(codec, "--target", "rust", "-o", tmp_path, expect=2).stderr
    _splitcodec(tmp_path / "absent.json", "--target", "c", "-o", tmp_path, expect=2)
