"""Builds the C core with other compilers and for other machines, and runs its C checks there."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from builds import MARKS, ROOT, check, cross, need, run

pytestmark = MARKS


# ------------------------------------------------------------------ other compilers


def test_checks_clang(tmp_path: Path, fixture: Path) -> None:
    found = [name for name in ("clang", "clang-19", "clang-18") if shutil.which(name)]
    if not found:
        pytest.skip("clang is not installed")
    clang = [
        f"-DCMAKE_C_COMPILER={found[0]}",
        f"-DCMAKE_CXX_COMPILER={found[0].replace('clang', 'clang++')}",
        "-DSPLITCODEC_SANITIZE=ON",
    ]
    check(tmp_path, *clang, fixture=fixture)


def test_checks_of_small_code(tmp_path: Path, fixture: Path) -> None:
    """What microcontrollers run instead of vectors and long loops, with sanitizers."""
    flags = "-DSPC_HOSTED=0 -DSPC_ONE_SET=1 -fsanitize=address,undefined"
    check(
        tmp_path,
        "-DSPLITCODEC_LZMA=OFF",
        fixture=fixture,
        flags=f"{flags} -fno-sanitize-recover=all",
    )


# ------------------------------------------------------------------ other machines


@pytest.mark.emulator
def test_checks_aarch64(tmp_path: Path, fixture: Path) -> None:
    need("aarch64-linux-gnu-gcc", "qemu-aarch64-static")
    toolchain = ROOT / "cmake" / "aarch64-linux-gnu.cmake"
    arguments = (f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DSPLITCODEC_LZMA=OFF")
    check(tmp_path, *arguments, fixture=fixture)
    command = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", "-cpu", "cortex-a72"]
    program = tmp_path / "tests" / "c" / "check_crc32c"
    run([*command, program, "--expect-kernels", "neon+crc"])
    neon = {**os.environ, "SPLITCODEC_CPU": "neon"}
    run([*command, program, "--expect-kernels", "neon"], env=neon)


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("compiler", "emulator"),
    [
        ("s390x-linux-gnu-gcc", "qemu-s390x-static"),  # big-endian
        ("arm-linux-gnueabihf-gcc", "qemu-arm-static"),  # 32 bits, no kernels
    ],
)
def test_checks_elsewhere(tmp_path: Path, fixture: Path, compiler: str, emulator: str) -> None:
    need(compiler, emulator)
    run_by = [emulator, "-L", f"/usr/{compiler[: -len('-gcc')]}"]
    arguments = cross(tmp_path, compiler, run_by)
    check(tmp_path / "build", *arguments, fixture=fixture)


@pytest.mark.emulator
@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs 32-bit x86 programs")
def test_checks_i686(tmp_path: Path, fixture: Path) -> None:
    """Excess precision of the x87, 32-bit sizes, AVX2 without 64-bit registers."""
    need("i686-linux-gnu-gcc")
    loader = "/usr/i686-linux-gnu/lib/ld-linux.so.2"
    run_by = [loader, "--library-path", str(Path(loader).parent)]
    try:
        works = subprocess.run([*run_by, "--help"], capture_output=True, check=False).returncode
    except OSError:
        works = 1
    if works != 0:
        pytest.skip("this system does not run 32-bit x86 programs")
    arguments = cross(tmp_path, "i686-linux-gnu-gcc", run_by)
    check(tmp_path / "build", *arguments, fixture=fixture, flags="-march=pentium3")
