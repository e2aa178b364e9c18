"""Ways into a firmware's build: CMake, ESP-IDF, Zephyr, PlatformIO, Arduino, without their SDKs."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import need, output_of, run

import pysplitcodec as sc
from pysplitcodec.c_header import c_definitions, c_header
from pysplitcodec.native import CODERS, DTYPES

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "scripts" / "packages"
LIBRARY: dict[str, Any] = json.loads((ROOT / "library.json").read_text("utf-8"))
OTHER_KINDS = {"fit.c", "decoder_lzma.c"}  # doubles; liblzma


# ------------------------------------------------------------------ manifests


def test_versions_agree() -> None:
    for name, pattern in [
        ("pyproject.toml", r'^version = "([^"]+)"'),
        ("CMakeLists.txt", r"^project\(splitcodec VERSION (\S+)"),
        ("csrc/include/splitcodec.h", r'^#define SPC_VERSION "([^"]+)"'),
        ("library.json", r'^  "version": "([^"]+)"'),
        ("idf_component.yml", r'^version: "([^"]+)"'),
    ]:
        (found,) = re.findall(pattern, (ROOT / name).read_text("utf-8"), re.MULTILINE)
        assert found == sc.__version__, name


def test_made_manifests_are_current() -> None:
    made = runpy.run_path(str(PACKAGES))
    for path, make in [
        ("idf_component.yml", "idf_component"),
        ("zephyr/module.yml", "zephyr_module"),
    ]:
        text = (ROOT / path).read_text("utf-8")
        assert text == made[make](LIBRARY), f"{path} differs: run scripts/packages"


def test_manifests_say_what_their_readers_ask_for() -> None:
    yaml = pytest.importorskip("yaml", reason="needs the extra 'dev'")
    component = yaml.safe_load((ROOT / "idf_component.yml").read_text("utf-8"))
    assert component["license"] == LIBRARY["license"] == "Apache-2.0"
    kept = {path for pattern in component["files"]["include"] for path in ROOT.glob(pattern)}
    needed = [*ROOT.glob("csrc/**/*.[ch]"), *ROOT.glob("cmake/*.cmake"), ROOT / "cmake" / "Kconfig"]
    assert kept >= {ROOT / "CMakeLists.txt", ROOT / "LICENSE", *needed}
    module = yaml.safe_load((ROOT / "zephyr" / "module.yml").read_text("utf-8"))
    assert module["name"] == "splitcodec"
    assert (ROOT / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (ROOT / module["build"]["kconfig"]).is_file()
    # limits of PlatformIO's registry
    assert re.fullmatch(r"[a-z\d][a-z\d-]{1,48}[a-z\d]", LIBRARY["name"])
    assert len(LIBRARY["description"]) <= 255 and len(",".join(LIBRARY["keywords"])) <= 255
    for folder in (LIBRARY["build"]["srcDir"], LIBRARY["build"]["includeDir"]):
        assert (ROOT / folder).is_dir()
    assert all((ROOT / path).exists() for path in LIBRARY["export"]["include"])


def _platformio_sources() -> set[Path]:
    folder, chosen = ROOT / LIBRARY["build"]["srcDir"], set()
    for rule in LIBRARY["build"]["srcFilter"]:
        sign, pattern = re.fullmatch(r"([+-])<(.+)>", rule).groups()  # type: ignore[union-attr]
        found = set(folder.glob(pattern))
        assert found, rule
        chosen = chosen | found if sign == "+" else chosen - found
    return chosen


def test_all_have_the_same_files() -> None:
    sources = {path for path in ROOT.glob("csrc/**/*.c") if path.name not in OTHER_KINDS}
    text = (ROOT / "cmake" / "sources.cmake").read_text("utf-8")
    listed = {
        ROOT / "csrc" / name for name in re.findall(r"[\w/]+\.c\b", text.partition("set(")[2])
    }
    assert listed - {ROOT / "csrc" / name for name in OTHER_KINDS} == sources
    assert _platformio_sources() == sources


@pytest.mark.parametrize("file", ["cmake/Kconfig", "zephyr/Kconfig"])
def test_kconfig(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kconfiglib = pytest.importorskip("kconfiglib", reason="needs the extra 'dev'")
    monkeypatch.chdir(ROOT)
    options = kconfiglib.Kconfig(str(ROOT / file), warn_to_stderr=False)
    assert not options.warnings

    def value(name: str) -> str:
        return str(options.syms[f"SPLITCODEC_{name}"].str_value)

    if "zephyr" in file:
        assert value("INT8") == value("CODER_PACK") == "n"
        options.syms["SPLITCODEC"].set_value("y")
    parts = [f"CODER_{name.upper()}" for name in CODERS]
    parts += [*(name.upper() for name in DTYPES), *(f"BITS_{bits}" for bits in range(1, 9))]
    parts += ["GROUPS", "SELF_DESCRIBING"]
    held = {name[len("SPLITCODEC_") :] for name in options.syms if name.startswith("SPLITCODEC_")}
    assert held == set(parts)
    assert {value(part) for part in parts} == {"y"}
    mapped = (ROOT / "cmake" / "kconfig.cmake").read_text("utf-8")
    assert " ".join(parts[: len(CODERS)]) in mapped
    assert " ".join(parts[len(CODERS) : len(CODERS) + len(DTYPES)]) in mapped
    assert f"BITS_0 {' '.join(parts[-10:-2])})" in mapped
    for part in parts:
        options.syms[f"SPLITCODEC_{part}"].set_value("n")
    assert {part for part in parts if value(part) == "y"} == {"CODER_PACK"}
    options.syms["SPLITCODEC_CODER_CONTEXT"].set_value("y")
    assert value("CODER_RANGE") == "y"


# ------------------------------------------------------------------ builds

APP = """
#include "splitcodec_plan.h"

static uint8_t frame[SPLITCODEC_PLAN_FRAME_BOUND], work[SPLITCODEC_PLAN_WORK_BYTES];

static size_t encoded(const void *feature) {
    size_t len = 0;
    spc_encode(&splitcodec_plan, SPLITCODEC_PLAN_CODER, SPC_FRAME_COMPACT, feature, frame,
               sizeof frame, &len, work, sizeof work);
    return len;
}

#if __STDC_HOSTED__
#include <stdio.h>
static uint8_t feature[SPLITCODEC_PLAN_FEATURE_BYTES];
int main(void) {
    return fread(feature, 1, sizeof feature, stdin) != sizeof feature ||
           fwrite(frame, 1, encoded(feature), stdout) == 0;
}
#else
size_t start(const void *feature);
size_t start(const void *feature) {
    return encoded(feature);
}
#endif
"""
FLAGS = {
    "host": [],
    "cortex-m0": ["-mcpu=cortex-m0", "-mthumb", "--specs=nano.specs"],
    "cortex-m4": [
        *("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        "--specs=nano.specs",
    ],
    "rv32imc": ["-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs"],
}
MACHINES = [name if name == "host" else pytest.param(name, marks=pytest.mark.emulator)
            for name in FLAGS]  # fmt: skip


def _compiler(machine: str) -> str:
    if machine == "host":
        return "cc"
    return "riscv64-unknown-elf-gcc" if machine == "rv32imc" else "arm-none-eabi-gcc"


def _linking(machine: str) -> list[str]:
    """An application of its own, with memcpy and the like of a libc."""
    if machine == "host":
        return ["-Wl,--gc-sections"]
    return ["-nostartfiles", "-Wl,-e,start", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]


def _codec() -> sc.Codec:
    return sc.Codec(
        sc.Codebook([-60, -20, 20, 60]), "range", shape=(6, 16, 16), dtype="int8", channel_axis=0
    )


def _check_frames(app: Path) -> None:
    codec = _codec()
    feature = (np.arange(6 * 16 * 16) // 5 % 100 - 50).astype(np.int8).reshape(codec.shape)
    assert output_of([app], feature.tobytes()) == codec.encode(feature)


def _check(app: Path, machine: str) -> None:
    """It encodes as Python does, and has what it needs of the core alone."""
    if machine == "host":
        _check_frames(app)
    tool = _compiler(machine).replace("gcc", "nm") if machine != "host" else "nm"
    need(tool)
    names = output_of([tool, app]).decode()
    assert "spc_coder_range_ops" in names
    for left_out in ("spc_coder_rans_ops", "spc_lzma_encode", "spc_decode", "spc_fit_kmeans"):
        assert left_out not in names


def _project(folder: Path, machine: str, text: str, *options: str) -> Path:
    """Build a project of CMake around the application."""
    need("cmake", _compiler(machine))
    (folder / "splitcodec_plan.h").write_text(c_header(_codec()))
    (folder / "app.c").write_text(APP)
    link = "\n".join(f'target_link_options(app PRIVATE "{word}")' for word in _linking(machine))
    (folder / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.18)\nproject(firmware LANGUAGES C)\n{text}\n"
        f"add_executable(app app.c)\ntarget_link_libraries(app PRIVATE {LINKED[text]})\n{link}\n"
    )
    toolchain = []
    if machine != "host":
        file = folder / "toolchain.cmake"
        file.write_text(
            "set(CMAKE_SYSTEM_NAME Generic)\nset(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\n"
            f"set(CMAKE_SYSTEM_PROCESSOR {machine})\nset(CMAKE_C_COMPILER {_compiler(machine)})\n"
        )
        flags = " ".join([*FLAGS[machine], "-ffreestanding"])
        toolchain = [f"-DCMAKE_TOOLCHAIN_FILE={file}", f"-DCMAKE_C_FLAGS={flags}"]
    build = folder / "build"
    output_of(["cmake", "-S", folder, "-B", build, "-DCMAKE_BUILD_TYPE=MinSizeRel", *toolchain,
          f"-DSPLITCODEC_ROOT={ROOT}", *options])  # fmt: skip
    output_of(["cmake", "--build", build, "--parallel", "2"])
    return build


FETCHED = """
include(FetchContent)
FetchContent_Declare(splitcodec SOURCE_DIR ${SPLITCODEC_ROOT})
FetchContent_MakeAvailable(splitcodec)
"""
FETCHED_WITH_PARTS = "set(SPC_CODERS 0x5)\nset(SPC_SELF_DESCRIBING 0)" + FETCHED

# What the SDKs declare, as far as the files here ask for it.
IDF = """
set(ESP_PLATFORM 1)
function(idf_component_register)
  cmake_parse_arguments(GIVEN "" "KCONFIG" "SRCS;INCLUDE_DIRS" ${ARGN})
  if(GIVEN_UNPARSED_ARGUMENTS OR NOT EXISTS ${GIVEN_KCONFIG})
    message(FATAL_ERROR "${ARGN}")
  endif()
  add_library(__idf_splitcodec STATIC ${GIVEN_SRCS})
  target_include_directories(__idf_splitcodec PUBLIC ${GIVEN_INCLUDE_DIRS})
  target_compile_options(__idf_splitcodec PRIVATE -ffunction-sections -fdata-sections -Wall -Werror)
  set(COMPONENT_LIB __idf_splitcodec PARENT_SCOPE)
endfunction()
foreach(option IN ITEMS CODER_PACK CODER_RANGE INT8 BITS_2)
  set(CONFIG_SPLITCODEC_${option} y)
endforeach()
add_subdirectory(${SPLITCODEC_ROOT} splitcodec)
"""
ZEPHYR = """
function(zephyr_include_directories)
  include_directories(${ARGN})
  set(ZEPHYR_INCLUDE ${ARGN} CACHE INTERNAL "")
endfunction()
function(zephyr_library_named name)
  add_library(${name} STATIC "")
  target_compile_options(${name} PRIVATE -ffunction-sections -fdata-sections -Wall -Werror)
  set(ZEPHYR_CURRENT_LIBRARY ${name} PARENT_SCOPE)
endfunction()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
function(zephyr_library_compile_definitions)
  target_compile_definitions(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endfunction()
add_subdirectory(${SPLITCODEC_ROOT}/zephyr off)
if(TARGET splitcodec)
  message(FATAL_ERROR "CONFIG_SPLITCODEC is not set")
endif()
foreach(option IN ITEMS "" _CODER_PACK _CODER_RANGE _INT8 _BITS_2)
  set(CONFIG_SPLITCODEC${option} y)
endforeach()
add_subdirectory(${SPLITCODEC_ROOT}/zephyr modules/splitcodec)
include_directories(${ZEPHYR_INCLUDE})
"""
LINKED = {
    FETCHED: "splitcodec::splitcodec_static",
    FETCHED_WITH_PARTS: "splitcodec::splitcodec_static",
    IDF: "__idf_splitcodec",
    ZEPHYR: "splitcodec",
}


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_fetch_content(machine: str, tmp_path: Path) -> None:
    """With parts from the command line, as `splitcodec export` prints them."""
    definitions = [f"-D{one}" for one in c_definitions(_codec())]
    build = _project(tmp_path, machine, FETCHED, *definitions)
    _check(build / "app", machine)
    assert not list(build.glob("_deps/**/*.so*"))


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES[:2])
def test_fetch_content_with_parts(machine: str, tmp_path: Path) -> None:
    """With parts from the project, and SPC_HOSTED from the system that it is for."""
    _project(tmp_path, machine, FETCHED_WITH_PARTS)
    build = _project(tmp_path, machine, FETCHED_WITH_PARTS)  # a second time: nothing is forgotten
    if machine == "host":  # not for firmware, unless it is asked for
        assert list(build.glob("_deps/**/*.so"))
        _check_frames(build / "app")
        assert b"spc_coder_rans_ops" not in output_of(["nm", build / "app"])
    else:
        assert not list(build.glob("_deps/**/*.so"))
        _check(build / "app", machine)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("sdk", [IDF, ZEPHYR], ids=["ESP-IDF", "Zephyr"])
def test_sdks(sdk: str, machine: str, tmp_path: Path) -> None:
    _check(_project(tmp_path, machine, sdk) / "app", machine)


def test_esp_idf_reads_it_as_a_script(tmp_path: Path) -> None:
    """For the Kconfig, before there are targets; registering ends it."""
    need("cmake")
    script = tmp_path / "requirements.cmake"
    script.write_text(
        "macro(idf_component_register)\n"
        '  cmake_parse_arguments(GIVEN "" "KCONFIG" "SRCS;INCLUDE_DIRS" ${ARGN})\n'
        "  return()\nendmacro()\n"
        f"function(read)\n  include({ROOT}/CMakeLists.txt)\n"
        '  message("${GIVEN_KCONFIG}")\nendfunction()\nread()\n'
    )
    said = run(["cmake", "-DESP_PLATFORM=1", "-P", script])  # CMake's messages are errors
    assert said.strip() == str(ROOT / "cmake" / "Kconfig")


def _built(folder: Path, machine: str, sources: list[Path], *options: Any) -> Path:
    """An application, by the compiler alone."""
    need(_compiler(machine))
    (folder / "splitcodec_plan.h").write_text(c_header(_codec()))
    (folder / "app.c").write_text(APP)
    free = [] if machine == "host" else ["-ffreestanding"]
    common = [*FLAGS[machine], *free, "-Os", "-std=gnu11", "-ffunction-sections", "-fdata-sections"]
    warn = ["-Wall", "-Wextra", "-Werror"]
    given = [*warn, "-I", folder, *options, folder / "app.c", *sources, *_linking(machine)]
    output_of([_compiler(machine), *common, *given, "-o", folder / "app"])
    return folder / "app"


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_platformio(machine: str, tmp_path: Path) -> None:
    """The files and flags of library.json, and a project's build_flags."""
    project = [f"-D{one}" for one in c_definitions(_codec())]
    include = ["-I", ROOT / LIBRARY["build"]["includeDir"]]
    options = [*LIBRARY["build"]["flags"], *project, *include]
    app = _built(tmp_path, machine, sorted(_platformio_sources()), *options)
    _check(app, machine)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_arduino(machine: str, tmp_path: Path) -> None:
    library = tmp_path / "splitcodec"
    definitions = [f"-D{one}" for one in c_definitions(_codec())]
    output_of([sys.executable, PACKAGES, "arduino", library, *definitions])
    made = {path.relative_to(library).as_posix() for path in library.rglob("*") if path.is_file()}
    assert made == {"LICENSE", "library.properties", "src/splitcodec.c", "src/splitcodec.h"}
    # options are in the file: Arduino gives it none
    _check(_built(tmp_path, machine, [library / "src" / "splitcodec.c"], "-I", library / "src"),
           machine)  # fmt: skip


def test_arduino_properties(tmp_path: Path) -> None:
    output_of([sys.executable, PACKAGES, "arduino", tmp_path])
    text = (tmp_path / "library.properties").read_text("utf-8")
    fields = dict(line.split("=", 1) for line in text.splitlines())
    assert fields["name"] == "splitcodec" and fields["version"] == sc.__version__
    assert all(fields[name] for name in ("author", "maintainer", "sentence", "paragraph"))
    assert fields["category"] == "Data Processing"  # one of a fixed list
    assert (tmp_path / "src" / fields["includes"]).is_file()
    assert (
        (tmp_path / "src" / "splitcodec.c").read_text("utf-8").startswith("#define SPC_HOSTED 0\n")
    )


def test_packages_refuses(tmp_path: Path) -> None:
    for words, says in [
        (["arduino"], "arduino FOLDER"),
        (["debian"], "arduino FOLDER"),
        (["arduino", tmp_path / "new", "-DSPC_CODERS"], "'-DSPC_CODERS': expected"),
        (["arduino", tmp_path / "new", "SPC_CODERS=1"], "'SPC_CODERS=1': expected"),
    ]:
        command = [sys.executable, str(PACKAGES), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode != 0 and says in done.stderr, done.stderr
    assert not (tmp_path / "new").exists()
