"""Builds the C core the ways it is meant to be built and runs the C checks of each build."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "tests" / "vectors"

pytestmark = [
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


STATUS = {
    None: -1,
    "FrameError": -1,  # a compact frame without its codec: Python's own refusal
    "CoderUnavailableError": 5,
    "FrameLimitError": 6,
    "NotAFrameError": 7,
    "FrameVersionError": 8,
    "TruncatedFrameError": 9,
    "ChecksumError": 10,
    "CodecMismatchError": 11,
    "CorruptFrameError": 12,
}
DEFAULT_MAX_ELEMENTS = 1 << 26
DIGITS = {"float32": 8, "float16": 4, "bfloat16": 4, "int8": 2, "uint8": 2}


def load(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())
    return entries


def unpacked(packed: bytes, count: int, bits: int) -> str:
    number = int.from_bytes(packed, "little")
    return bytes(number >> (i * bits) & ((1 << bits) - 1) for i in range(count)).hex()


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
            indices = unpacked(payload, count, bits_of[one])
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


@pytest.fixture(scope="module")
def fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    write_fixture(path)
    return path


# ------------------------------------------------------------------ (a), (b): this machine


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


# ------------------------------------------------------------------ (c): other machines


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


# ------------------------------------------------------------------ (d): installed


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
