"""Builds the C core the ways it is meant to be built and runs the C checks of each build."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest
from builds import MARKS, ROOT, check, compile_all, configure, need, run

pytestmark = MARKS


# ------------------------------------------------------------------ this machine


@pytest.fixture(scope="module")
def normal_build(tmp_path_factory: pytest.TempPathFactory, fixture: Path) -> Path:
    build = tmp_path_factory.mktemp("normal")
    check(build, fixture=fixture)
    return build


def test_checks(normal_build: Path) -> None:
    assert (normal_build / "tests" / "c" / "check_codec").is_file()


def test_checks_without_lzma(tmp_path: Path, fixture: Path) -> None:
    check(tmp_path, "-DSPLITCODEC_LZMA=OFF", fixture=fixture)


def test_checks_sanitized(tmp_path: Path, fixture: Path) -> None:
    check(tmp_path, "-DSPLITCODEC_SANITIZE=ON", fixture=fixture)


def test_checks_threads_sanitized(tmp_path: Path) -> None:
    configure(tmp_path, "-DSPLITCODEC_CHECKS=ON", flags="-fsanitize=thread -g")
    compile_all(tmp_path, "check_codec")
    run([tmp_path / "tests" / "c" / "check_codec", "--only", "threads"])


def test_bench_reports(normal_build: Path) -> None:
    """Times are not asserted anywhere; that there are some is."""
    for name in ("quantize", "pack", "lookup", "crc32c"):
        said = run([normal_build / "tests" / "c" / f"check_{name}", "--bench"])
        assert re.search(r"read \d+\.\d+ ns/", said)
        assert "reference" in said


def test_one_seed_more(normal_build: Path) -> None:
    for name in ("quantize", "pack", "lookup", "crc32c", "threshold", "codec", "context"):
        said = run([normal_build / "tests" / "c" / f"check_{name}", "--seed", "2"])
        assert " 0 failed" in said


# ------------------------------------------------------------------ installed


PROGRAM = """
#include <splitcodec.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    static const float centroids[4] = {-1.0f, 0.0f, 1.0f, 2.0f};
    static const float feature[4] = {0.2f, 1.9f, -7.0f, 0.5f};
    static const float nearest[4] = {0.0f, 2.0f, -1.0f, 0.0f};
    spc_shape shape = {1, {4}};
    spc_codebook codebook;
    spc_codec codec;
    int32_t thresholds[3];
    float restored[4];
    uint8_t frame[64];
    size_t len = 0;
    int bad = spc_codebook_init(&codebook, centroids, 2, thresholds) ||
              spc_codec_init(&codec, &codebook, SPC_FLOAT32, &shape) ||
              spc_encode(&codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame, sizeof frame,
                         &len, NULL, 0) ||
              spc_decode(&codec, frame, len, restored, sizeof restored, NULL, 0);
    printf("%s %zu %d\\n", spc_version(), len, spc_coder_available(SPC_CODER_LZMA));
    return bad || memcmp(restored, nearest, sizeof nearest) != 0;
}
"""

CONSUMER = """
cmake_minimum_required(VERSION 3.18)
project(consumer LANGUAGES C)
find_package(splitcodec 0.1 REQUIRED)
foreach(kind IN ITEMS static shared)
  add_executable(user_${kind} user.c)
  target_link_libraries(user_${kind} PRIVATE splitcodec::splitcodec_${kind})
endforeach()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    configure(build, f"-DCMAKE_INSTALL_PREFIX={prefix}")
    compile_all(build)
    run(["cmake", "--install", build])
    return prefix


def user_program(tmp_path: Path) -> Path:
    source = tmp_path / "user.c"
    source.write_text(PROGRAM)
    return source


@pytest.mark.parametrize("kind", ["static", "shared"])
def test_installed_pkg_config(installed: Path, tmp_path: Path, kind: str) -> None:
    need("pkg-config")
    packages = [str(path.parent) for path in installed.rglob("splitcodec.pc")]
    assert len(packages) == 1
    env = {**os.environ, "PKG_CONFIG_PATH": packages[0]}
    flags = run(["pkg-config", "--cflags", "--libs", "splitcodec"], env=env).split()
    library = next(installed.rglob("libsplitcodec.a")).parent
    if kind == "static":
        flags = run(["pkg-config", "--static", "--cflags", "--libs", "splitcodec"], env=env).split()
        flags = [word for word in flags if word != "-lsplitcodec"]
        at = next(i for i, word in enumerate(flags) if word == f"-L{library}")
        flags[at : at + 1] = [f"{library}/libsplitcodec.a"]
    program = tmp_path / "user"
    compiler = os.environ.get("CC", "cc")
    run([compiler, "-std=c11", "-Wall", "-Werror", user_program(tmp_path), "-o", program, *flags])
    said = run([program], env={**os.environ, "LD_LIBRARY_PATH": str(library)})
    assert said.split()[:2] == [version_of_header(), "11"]
    linked = run(["ldd", program])
    assert ("libsplitcodec" in linked) == (kind == "shared")


def test_installed_find_package(installed: Path, tmp_path: Path) -> None:
    user_program(tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER)
    build = tmp_path / "build"
    run(["cmake", "-S", tmp_path, "-B", build, f"-DCMAKE_PREFIX_PATH={installed}"])
    compile_all(build)
    for kind in ("static", "shared"):
        assert run([build / f"user_{kind}"]).split()[0] == version_of_header()


def version_of_header() -> str:
    header = (ROOT / "csrc" / "include" / "splitcodec.h").read_text()
    found = re.search(r'#define SPC_VERSION "([^"]+)"', header)
    assert found
    return found[1]


# ------------------------------------------------------------------ (e): symbols


def public_names() -> set[str]:
    header = (ROOT / "csrc" / "include" / "splitcodec.h").read_text()
    return set(re.findall(r"^SPC_API [^;(]*?\b(spc_\w+)\(", header, re.MULTILINE))


def symbols(*arguments: str | Path) -> set[str]:
    names = (line.split()[-1] for line in run(["nm", *arguments]).splitlines() if line.split()[1:])
    return {name.split("@")[0] for name in names}


def test_shared_library_exports_the_header(normal_build: Path) -> None:
    need("nm")
    library = next(normal_build.glob("libsplitcodec.so"))
    exported = symbols("-D", "--defined-only", library)
    assert exported == public_names()


def test_static_library_defines_one_prefix(normal_build: Path) -> None:
    need("nm")
    defined = symbols("--defined-only", "--extern-only", normal_build / "libsplitcodec.a")
    assert {name for name in defined if not name.startswith("spc_")} == set()


# What the core may ask of the machine that it runs on, and why.
COMPILER_MAY_CALL = {"memcpy", "memset", "memmove", "memcmp"}  # gcc asks for them of everybody
X86_DETECTION = {"__cpu_model", "__cpu_indicator_init"}  # libgcc: __builtin_cpu_supports
ARM_DETECTION = {"getauxval"}  # which CRC instructions there are
ENVIRONMENT = {"getenv", "strlen", "strcspn"}  # SPLITCODEC_CPU, in hosted builds
POSITION_INDEPENDENT = {"_GLOBAL_OFFSET_TABLE_"}  # of the linker
HARDENING = {"__stack_chk_fail"}  # of distributions whose compilers switch it on


def core_wants(build: Path) -> set[str]:
    objects = [
        path
        for path in (build / "CMakeFiles" / "splitcodec_objects.dir").rglob("*.o")
        if path.stem.split(".")[0] != "decoder_lzma"
    ]
    assert len(objects) >= 10
    wanted, defined = set(), set()
    for path in objects:
        wanted |= symbols("--undefined-only", path)
        defined |= symbols("--defined-only", "--extern-only", path)
    return wanted - defined - {"spc_decoder_lzma_ops"}


def test_core_needs_little(normal_build: Path) -> None:
    need("nm")
    allowed = COMPILER_MAY_CALL | X86_DETECTION | ARM_DETECTION | ENVIRONMENT
    assert core_wants(normal_build) <= allowed | POSITION_INDEPENDENT | HARDENING


def test_freestanding_core_needs_less(tmp_path: Path) -> None:
    """As a microcontroller builds it: no environment, no operating system, no liblzma."""
    need("nm")
    configure(tmp_path, "-DSPLITCODEC_LZMA=OFF", flags="-ffreestanding -Os")
    compile_all(tmp_path, "splitcodec_objects")
    allowed = COMPILER_MAY_CALL | POSITION_INDEPENDENT | HARDENING
    if platform.machine() in ("x86_64", "i686", "AMD64"):
        allowed |= X86_DETECTION
    if platform.machine() == "aarch64":
        allowed |= ARM_DETECTION
    assert core_wants(tmp_path) <= allowed


HOST_ONLY = {"decoder_lzma.c", "fit.c"}  # liblzma; doubles
# what a microcontroller's C library has, and nothing else is asked of it
STRING_H = """
#include <stddef.h>
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
"""
# divisions and shifts of whole numbers that Cortex-M0 has no instructions for
CORTEX_M0 = {f"__aeabi_{name}" for name in ("uidiv", "uidivmod", "lmul", "llsl", "llsr", "lasr")}
CORTEX_M0 |= {"__clzsi2"}


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("target", "also"),
    [
        ("--target=thumbv6m-none-eabi", CORTEX_M0),
        ("--target=thumbv7em-none-eabi -mfloat-abi=soft", set()),
        ("--target=thumbv8.1m.main-none-eabi -march=armv8.1-m.main+mve", set()),
        ("--target=riscv32-unknown-elf -march=rv32imc -mabi=ilp32", {"__ashldi3", "__lshrdi3"}),
    ],
)
def test_microcontrollers_need_no_floating_point(
    target: str, also: set[str], tmp_path: Path
) -> None:
    """None of the soft-float calls that a core without FPU would spend its time in."""
    need("clang-19", "nm")
    (tmp_path / "string.h").write_text(STRING_H)
    for source in sorted((ROOT / "csrc").glob("*.c")):
        if source.name not in HOST_ONLY:
            options = ("-ffreestanding", "-Os", "-std=c11", "-c", "-isystem", tmp_path)
            made = tmp_path / f"{source.stem}.o"
            include = ROOT / "csrc" / "include"
            run(["clang-19", *target.split(), *options, "-I", include, source, "-o", made])
            wanted = symbols("--undefined-only", made)
            outside = {name for name in wanted if not name.startswith("spc_")}
            assert outside <= COMPILER_MAY_CALL | also, source.name


def test_reads_no_memory_it_was_not_given(normal_build: Path) -> None:
    """Uninitialised memory, which ASan and UBSan do not see."""
    need("valgrind")
    programs = normal_build / "tests" / "c"
    valgrind = ["valgrind", "--quiet", "--error-exitcode=9", "--exit-on-first-error=yes"]
    for name, case in (("codec", "coder_functions"), ("codec", "damaged")):
        run([*valgrind, programs / f"check_{name}", "--only", case])
