"""The cluster of cores in emulation: same bytes, shared work, bounds of memory; PMSIS compiles."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster
import numpy as np
import pytest
from builds import need

import pysplitcodec as sc
from pysplitcodec.c_header import c_header
from pysplitcodec.errors import ArgumentError, FirmwareError
from pysplitcodec.firmware.boards import Board, board_named, boards, source_folder
from pysplitcodec.firmware.build import LinkKind, build
from pysplitcodec.firmware.emulator import Emulator
from pysplitcodec.firmware.link import Link
from pysplitcodec.firmware.node import Node

ROOT = Path(__file__).resolve().parent.parent
CC = "riscv64-unknown-elf-gcc"

pytestmark = [pytest.mark.emulator, pytest.mark.slow]


@pytest.fixture
def board() -> Board:
    need(*cluster.NEED)
    return board_named(cluster.BOARD)


def _feature(dtype: str, shape: tuple[int, ...]) -> Any:
    values = np.cumsum(np.random.default_rng(7).normal(size=shape), axis=-1)
    return np.clip(values * 16, -128, 127).astype(dtype)


def _codec(dtype: str, shape: tuple[int, ...], bits: int = 2, coder: str = "pack") -> sc.Codec:
    levels = np.linspace(-90, 90, 1 << bits).astype(np.float32)
    return sc.Codec(sc.Codebook(levels), coder, shape=shape, dtype=dtype)


# ------------------------------------------------------------------ frames


@pytest.mark.parametrize(
    ("dtype", "shape", "bits", "coder", "link"),
    [
        ("int8", (16, 40, 50), 2, "pack", "semihosting"),
        ("float32", (5, 20, 21), 3, "pack", "uart"),
        ("float16", (5, 7, 9), 1, "pack", "semihosting"),
        ("uint8", (3, 500), 8, "pack", "semihosting"),
        ("int8", (2,), 4, "pack", "semihosting"),  # less than there are cores
        ("int8", (12, 32, 32), 2, "range", "semihosting"),
        ("float32", (12, 32, 32), 4, "lzma", "semihosting"),
    ],
)
def test_any_number_of_cores_makes_the_same_frame(
    board: Board,
    dtype: str,
    shape: tuple[int, ...],
    bits: int,
    coder: str,
    link: LinkKind,
    tmp_path: Path,
) -> None:
    feature, codec = _feature(dtype, shape), _codec(dtype, shape, bits, coder)
    program = build(board, "node_cluster", tmp_path, link, codec)
    with Emulator(board, program, link) as emulator:
        node = Node(Link(emulator), codec)
        for cores in (8, 1, 3, 7):
            assert node.encode(feature, cores=cores) == codec.encode(feature), cores
        node.quit()
        assert emulator.wait() == 0


def test_groups_of_channels_have_their_codebooks(board: Board, tmp_path: Path) -> None:
    feature = _feature("float32", (6, 30, 31))
    books = [sc.Codebook(np.float32([-50, -20, 20, 50]) + at) for at in range(3)]
    codec = sc.Codec(books, "pack", shape=feature.shape, dtype="float32", channel_axis=0)
    program = build(board, "node_cluster", tmp_path, codec=codec)
    with Emulator(board, program) as emulator:
        node = Node(Link(emulator), codec)
        for cores in (1, 8):
            assert node.encode(feature, cores=cores) == codec.encode(feature), cores


def test_bad_requests_are_answered_and_the_next_is_served(board: Board, tmp_path: Path) -> None:
    feature, codec = _feature("int8", (8, 20, 20)), _codec("int8", (8, 20, 20))
    program = build(board, "node_cluster", tmp_path, codec=codec)
    with Emulator(board, program) as emulator:
        link = Link(emulator)
        node = Node(link, codec)

        def code_of(kind: str, body: bytes) -> int | None:
            with pytest.raises(FirmwareError) as caught:
                link.request(kind, body)
            return caught.value.code

        data = feature.tobytes()
        for cores in (0, 9, 1 << 31):
            assert code_of("c", cores.to_bytes(4, "little") + data) == 1
        assert code_of("c", bytes(4) + data[:-1]) == 67
        assert code_of("c", b"") == 67
        assert code_of("c", bytes(5) + data) == 65
        assert code_of("f", data) == 66
        assert node.encode(feature, cores=8) == codec.encode(feature)


@pytest.mark.parametrize("coder", ["pack", "range"])
def test_frames_without_room_are_refused(board: Board, coder: str, tmp_path: Path) -> None:
    feature, codec = _feature("int8", (8, 20, 20)), _codec("int8", (8, 20, 20), coder=coder)
    less = len(codec.encode(feature)) - 1
    more = [f"NODE_FRAME_BYTES={less}"]
    program = build(board, "node_cluster", tmp_path, codec=codec, more=more)
    with Emulator(board, program) as emulator:
        node = Node(Link(emulator), codec)
        for _ in range(2):
            with pytest.raises(FirmwareError) as caught:
                node.encode(feature, cores=8)
            assert caught.value.code == 3
        assert node.info.frame_bytes == less


# ------------------------------------------------------------------ instructions


@pytest.fixture(params=sorted(cluster.SHAPES))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[cluster.Bench]:
    need(*cluster.NEED)
    yield cluster.Bench(tmp_path, request.param)


def test_cores_share_the_work(bench: cluster.Bench) -> None:
    """What figures in docs/firmware.md say, exactly as long as the compiler is the same."""
    one, eight = bench.measure(1), bench.measure(8)
    assert one["longest"] >= 7.5 * eight["longest"]
    most = {"int8": 8, "float32": 20}[bench.codec.dtype]
    # copies included, which DMA makes elsewhere
    assert (one["longest"] - one["checksum"]) / one["elements"] <= most
    # cores without work sleep on, and the fabric controller while others work
    assert one["harts"][2:] == [0] * 7
    assert abs(one["harts"][0] - eight["harts"][0]) < 1000


# ------------------------------------------------------------------ memory


def test_what_does_not_fit_is_not_linked(board: Board, tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="region `L2' overflowed"):
        build(board, "node_cluster", tmp_path, codec=_codec("float32", (64, 56, 56)))
    codec = _codec("int8", (8, 8, 8))
    more = ["NODE_CORE_BYTES=8192"]
    with pytest.raises(FirmwareError, match="no room left in L1 for the stacks of the cores"):
        build(board, "node_cluster", tmp_path, codec=codec, more=more)
    more = ["NODE_CORE_BYTES=8224"]
    with pytest.raises(FirmwareError, match="region `L1' overflowed by 256 bytes"):
        build(board, "node_cluster", tmp_path, codec=codec, more=more)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the objects of the board's port, and with its layout."""
    need(*cluster.NEED)
    folder = tmp_path_factory.mktemp("port")
    build(board_named(cluster.BOARD), "self_test", folder)
    return folder


def _linked(board: Board, port: Path, folder: Path, text: str) -> Path:
    """A program of this application and the board's port."""
    source, program = folder / "app.c", folder / "app.elf"
    source.write_text(text)
    objects = sorted((port / "CMakeFiles" / "port.dir").rglob("*.obj"))
    flags = ["-march=rv32imc", *board.flags[1:], "-Os", "-ffreestanding", "-nostdlib"]
    include = ["-I", source_folder() / "firmware", f"-DPORT_CORES={board.cores}"]
    layout = [f"-T{port / 'layout.ld'}", "-Wl,--no-warn-rwx-segments"]
    command = [CC, *flags, *include, source, *objects, *layout, "-lgcc", "-o", program]
    subprocess.run(command, check=True)
    return program


STRAY = """
#include "port.h"
static void work(uint32_t core, uint32_t cores, void *place) {
    if (core + 1 == cores) {
        *(volatile uint32_t *)place = *(volatile uint32_t *)place;
    }
}
int app_main(void) {
    if (CORES) {
        port_fork(work, CORES, (void *)PLACE);
    } else {
        work(0, 1, (void *)PLACE);
    }
    return 0;
}
"""


@pytest.mark.parametrize("cores", [0, 1, 8])
@pytest.mark.parametrize(
    ("place", "code"),
    [
        (0x80000000, 0),
        (0x8007FFFC, 0),
        (0x80080000, 0),
        (0x8008FFFC, 0),
        (0x80090000, 3),  # there is more memory, and these devices too
        (0x80800000, 3),
        (0x100000, 3),
        (0x10001000, 3),
    ],
)
def test_harts_do_not_stray(
    board: Board, port: Path, cores: int, place: int, code: int, tmp_path: Path
) -> None:
    text = STRAY.replace("CORES", str(cores)).replace("PLACE", f"{place:#x}u")
    with Emulator(board, _linked(board, port, tmp_path, text)) as emulator:
        assert emulator.wait() == code
        assert ("trap" in emulator.log()) == (code == 3)


BARRIERS = """
#include "port.h"
static volatile uint32_t steps[PORT_CORES], wrong[PORT_CORES], runs[PORT_CORES];
static void work(uint32_t core, uint32_t cores, void *argument) {
    runs[core]++;
    for (uint32_t step = 1; step <= 20; step++) {
        for (volatile uint32_t late = 0; late < 50 * core * (step % 3); late++) {
        }
        steps[core] = step;
        port_barrier();
        for (uint32_t other = 0; other < PORT_CORES; other++) {
            wrong[core] += steps[other] != (other < cores ? step : 0);
        }
        port_barrier();
    }
    steps[core] = 0;
    wrong[core] += argument != (void *)&steps;
}
int app_main(void) {
    uint32_t bad = 0;
    for (uint32_t cores = 1; cores <= PORT_CORES; cores++) {
        port_fork(work, cores, (void *)&steps);
    }
    for (uint32_t core = 0; core < PORT_CORES; core++) {
        bad += wrong[core] != 0 || runs[core] != PORT_CORES - core;
    }
    return (int)bad;
}
"""


def test_cores_wait_for_each_other(board: Board, port: Path, tmp_path: Path) -> None:
    with Emulator(board, _linked(board, port, tmp_path, BARRIERS)) as emulator:
        assert emulator.wait() == 0


# ------------------------------------------------------------------ other boards


def test_boards_without_a_cluster_say_so(tmp_path: Path) -> None:
    codec = _codec("int8", (8,))
    for other in boards().values():
        if not other.cores:
            with pytest.raises(ArgumentError, match=f"board {other.name} has no cluster"):
                build(other, "node_cluster", tmp_path, codec=codec)


@pytest.mark.parametrize("source", ["ports/pmsis.c", "app/node_cluster.c"])
def test_pmsis_compiles(source: str, tmp_path: Path) -> None:
    """Against declarations after its documentation: no SDK was there, and it has never run."""
    need(CC)
    (tmp_path / "splitcodec_plan.h").write_text(c_header(_codec("int8", (8, 20, 20))))
    around = ["-march=rv32imc", "-mabi=ilp32", "-std=gnu11", "-ffreestanding", "-Os"]
    around += ["-Wall", "-Wextra", "-Werror", "-DPORT_CORES=8", "-DPORT_CLUSTER_DATA=PI_L1"]
    around += ["-include", str(ROOT / "tests" / "c" / "pmsis" / "pmsis.h")]
    folders = ["firmware", "firmware/app", "firmware/ports/include", "csrc", "csrc/include"]
    around += [f"-I{ROOT / folder}" for folder in [*folders, "tests/c/pmsis"]]
    command = [CC, *around, f"-I{tmp_path}", "-c", str(ROOT / "firmware" / source)]
    subprocess.run([*command, "-o", str(tmp_path / "made.o")], check=True)
