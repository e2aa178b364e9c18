"""Building the C checks, and the golden vectors as they take them: for test_c_core and
test_c_elsewhere."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pysplitcodec.firmware.vectors import DIGITS, STATUSES, unpacked

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"

MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="guard pages and nm of Linux"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed"),
    pytest.mark.skipif(
        shutil.which(os.environ.get("CC", "cc")) is None, reason="no C compiler is installed"
    ),
]


# ------------------------------------------------------------------ building and running


def run(command: Sequence[str | Path], **options: Any) -> str:
    """Run a command; its output is the failure message."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    if done.returncode != 0:
        words = " ".join(map(str, command))
        pytest.fail(f"{words}\nexit status {done.returncode}\n{done.stdout}", pytrace=False)
    return str(done.stdout)


def output_of(command: Sequence[Any], given: bytes | None = None, **options: Any) -> bytes:
    """What a command writes to stdout when it reads `given`; all it says is the failure message."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=given, capture_output=True, **options)
    said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{said}"
    return done.stdout


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def configure(build: Path, *arguments: str | Path, flags: str = "") -> None:
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    all_flags = f"-DCMAKE_C_FLAGS=-Werror {flags}"
    run(["cmake", *generator, "-S", ROOT, "-B", build, all_flags, *arguments])


def compile_all(build: Path, *targets: str) -> None:
    chosen = ["--target", *targets] if targets else []
    run(["cmake", "--build", build, "--parallel", "2", *chosen])


def check(build: Path, *arguments: str | Path, fixture: Path, flags: str = "") -> None:
    """Configure, build and run every C check."""
    vectors = f"-DSPLITCODEC_VECTORS={fixture}"
    configure(build, "-DSPLITCODEC_CHECKS=ON", vectors, *arguments, flags=flags)
    compile_all(build)
    said = run(["ctest", "--output-on-failure", "-j2"], cwd=build)
    assert "100% tests passed" in said


def cross(tmp: Path, compiler: str, emulator: Sequence[str]) -> list[str | Path]:
    """CMake's arguments for a cross build by a toolchain file made for it."""
    target = compiler[: -len("-gcc")]
    toolchain = tmp / "toolchain.cmake"
    toolchain.write_text(
        f"set(CMAKE_SYSTEM_NAME Linux)\n"
        f"set(CMAKE_SYSTEM_PROCESSOR {target.partition('-')[0]})\n"
        f"set(CMAKE_C_COMPILER {compiler})\n"
        f"set(CMAKE_FIND_ROOT_PATH /usr/{target})\n"
        f"set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)\n"
        f"set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)\n"
        f"set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)\n"
        f'set(CMAKE_CROSSCOMPILING_EMULATOR "{";".join(emulator)}")\n'
    )
    return [f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DSPLITCODEC_LZMA=OFF"]


# ------------------------------------------------------------------ golden vectors as plain text


STATUS = {name: -1 if status is None else status for name, status in STATUSES.items()}
DEFAULT_MAX_ELEMENTS = 1 << 26


def load(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())
    return entries


def codebooks_of(entry: dict[str, Any]) -> str:
    if "codebook" in entry:
        return str(entry["codebook"])
    place = "@{}/{}".format(*entry["slice_of"]) if "slice_of" in entry else ""
    return f"{entry['axis']}{place}:{','.join(entry['codebooks'])}"


def restored(entry: dict[str, Any], centroids: dict[str, str]) -> str:
    """What the indices stand for, of a codec of float32."""
    names = entry["codebooks"] if "codebooks" in entry else [entry["codebook"]]
    inner = math.prod(entry["shape"][entry.get("axis", 0) + 1 :])
    each = entry["shape"][entry["axis"]] // len(names) if "axis" in entry else 1
    values = []
    for at, index in enumerate(bytes.fromhex(entry["indices"])):
        book = names[at // inner // each % len(names)] if len(names) > 1 else names[0]
        values.append(centroids[book][8 * index : 8 * index + 8])
    return "".join(values)


def write_fixture(path: Path) -> None:
    """tests/vectors as the lines that tests/c/check_vectors.c describes."""
    lines: list[list[object]] = []
    bits_of, centroids = {}, {}
    narrow = {(entry["codebook"], entry["dtype"]): entry["restored"] for entry in load("narrow")}
    for book in load("codebooks"):
        name = book["name"]
        bits_of[name] = bits = (len(book["centroids"]) // 8).bit_length() - 1
        centroids[name] = book["centroids"]
        halves = (narrow[name, "float16"], narrow[name, "bfloat16"])
        outputs = (*halves, book["int8"], book["uint8"])
        lines.append(["codebook", name, bits, book["centroids"], book["thresholds"], *outputs])
    for entry in [*load("quantize"), *load("narrow")]:
        words = (entry[key] for key in ("codebook", "dtype", "values", "indices"))
        lines.append(["quantize", *words])
    named: dict[str, dict[str, Any]] = {}
    files = ("pack", "narrow-frames", "shapes", "channels", "slices", "lzma", "context")
    for entry in [entry for name in files for entry in load(name)]:
        named[entry["name"]] = entry
        like = named[entry["like"]] if "like" in entry else entry
        shape = ",".join(map(str, like["shape"]))
        coder = entry.get("coder", "lzma" if entry["name"].startswith("lzma") else "pack")
        feature = like["feature"] if "feature" in like else restored(like, centroids)
        count = len(feature) // DIGITS[like["dtype"]]
        indices = like.get("indices")
        if indices is None:  # pack vectors leave out what the payload says
            payload = bytes.fromhex(entry["compact"])[6:-4]
            one = like["codebook"] if "codebook" in like else like["codebooks"][0]
            indices = unpacked(payload, count, bits_of[one]).hex()
        for kind in ("compact", "self_describing"):
            if kind in entry:
                head = ["frame", entry["name"], codebooks_of(like), like["dtype"], shape]
                head += [like.get("model", ""), coder]
                lines.append([*head, feature, indices, entry[kind]])
    for entry in load("bad"):
        lines.append(
            [
                *("bad", entry["name"], codebooks_of(entry), entry["dtype"]),
                *(",".join(map(str, entry["shape"])), entry.get("model", ""), entry["frame"]),
                *(STATUS[entry["error"]], STATUS[entry["error_with_codec"]]),
                entry.get("max_elements", DEFAULT_MAX_ELEMENTS),
            ]
        )
    text = "".join(
        " ".join(str(word) if str(word) else "-" for word in line) + "\n" for line in lines
    )
    path.write_text(text)
