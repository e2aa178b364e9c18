"""Firmware as a user builds and runs it, in QEMU."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import need
from typer.testing import CliRunner

import pysplitcodec as sc
from pysplitcodec.cli.app import app
from pysplitcodec.errors import (
    ArgumentError,
    CodecMismatchError,
    FeatureError,
    FirmwareError,
    MissingDependencyError,
)
from pysplitcodec.firmware.boards import board_named, boards, source_folder
from pysplitcodec.firmware.build import build, parts_of
from pysplitcodec.firmware.emulator import Emulator
from pysplitcodec.firmware.flash import flash, flash_command
from pysplitcodec.firmware.link import Link, packet
from pysplitcodec.firmware.node import Node
from pysplitcodec.firmware.self_test import measure, quit_self_test, run_cases
from pysplitcodec.firmware.vectors import Case, cases_of

pytestmark = pytest.mark.emulator

EMULATED = [name for name, board in boards().items() if board.emulator]
M4F, M55, M0, RISCV = "mps2-an386", "mps3-an547", "microbit", "riscv-virt"
# Golden vectors that do not fit into 16 kB of RAM.
LEFT_OUT = {M0: 33, "hifive1-revb": 33}
# Of any call of spc_encode, painted; what it takes to pass its arguments included.
STACK_BYTES = {M0: 560, M55: 620}
STACK_BYTES_ARM, STACK_BYTES_RISCV = 512, 580


def need_board(name: str) -> Any:
    board = board_named(name)
    need("cmake", f"{board.toolchain}-gcc", board.emulator[0])
    return board


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("firmware")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return list(cases_of(source_folder() / "vectors"))


def run_cmake(*arguments: object) -> None:
    done = subprocess.run(["cmake", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------ golden vectors


@pytest.mark.parametrize("name", EMULATED)
def test_self_test(name: str, folder: Path, cases: list[Case]) -> None:
    board = need_board(name)
    program = build(board, "self_test", folder / name)
    with Emulator(board, program) as emulator:
        link = Link(emulator)
        report = run_cases(link, cases)
        assert report.failed == []
        assert report.left_out == LEFT_OUT.get(name, 0)
        assert report.passed == len(cases) - report.left_out > 1900
        limit = STACK_BYTES_ARM if board.toolchain == "arm-none-eabi" else STACK_BYTES_RISCV
        assert 300 < report.stack_bytes <= STACK_BYTES.get(name, limit)
        quit_self_test(link)
        assert emulator.wait() == 0
        assert emulator.log() == "self-test passed"


def test_self_test_tells_what_is_wrong(folder: Path, cases: list[Case]) -> None:
    """A byte too many, another byte, another status: it would not pass by itself."""
    board = need_board(M4F)
    program = build(board, "self_test", folder / M4F)
    encoded = next(case for case in cases if case.encode and len(case.wanted) > 20)
    decoded = next(case for case in cases if not case.encode and any(case.wanted))
    wrong = [
        Case("longer", True, encoded.description, encoded.given, encoded.wanted + b"\0"),
        Case("byte", True, encoded.description, encoded.given, b"\0" + encoded.wanted[1:]),
        Case("value", False, decoded.description, decoded.given, bytes(len(decoded.wanted))),
        Case("status", False, decoded.description, decoded.given, b"", status=10),
    ]
    with Emulator(board, program) as emulator:
        link = Link(emulator)
        report = run_cases(link, [encoded, *wrong, decoded])
        assert report.failed == ["longer", "byte", "value", "status"]
        assert report.passed == 2
        quit_self_test(link)
        assert emulator.wait() == 1
        assert emulator.log() == "self-test FAILED"


# ------------------------------------------------------------------ nodes


def feature_of(dtype: str, shape: tuple[int, ...] = (4, 12, 16), seed: int = 0) -> Any:
    smooth = np.cumsum(np.random.default_rng(seed).normal(size=shape), axis=-1)
    if dtype == "float32":
        return smooth.astype(np.float32)
    return np.clip(np.round(8 * smooth), -128, 127).astype(dtype)


def codec_for(coder: str, dtype: Any = "float32", bits: int = 2, **options: Any) -> sc.Codec:
    feature = feature_of(dtype, **options)
    codec = sc.Codec(
        sc.Codebook.fit(feature, bits), "pack", shape=feature.shape, dtype=dtype, channel_axis=0
    )
    indices = codec.quantize(feature)[None]
    model: Any = None
    if coder == "rans":
        model = sc.RansModel.fit(indices, bits)
    elif coder == "context":
        model = sc.ContextModel.fit(indices, bits, budget_bytes=400)
    return sc.Codec(
        codec.codebook, coder, shape=feature.shape, dtype=dtype, channel_axis=0, model=model
    )


class Running:
    """A node in the emulator."""

    def __init__(self, name: str, app: Any, codec: sc.Codec, folder: Path, **how: Any) -> None:
        board = need_board(name)
        # one folder for each choice, so that nothing is left of another one
        choice = (name, f"{codec.id:08x}", codec.coder, how.get("link", ""), *how.get("more", ()))
        place = folder / "-".join(choice)
        self.codec = codec
        self.program = build(board, app, place, codec=codec, **how)
        self.emulator = Emulator(board, self.program, how.get("link", "semihosting"))
        self.link = Link(self.emulator)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.emulator.__exit__()


@pytest.mark.parametrize("app", ["node_feature", "node_tiles"])
@pytest.mark.parametrize(
    ("name", "coder"),
    [(M4F, coder) for coder in ("pack", "lzma", "range", "rans", "context")] + [(RISCV, "context")],
)
def test_node_makes_the_host_frames(name: str, coder: str, app: str, folder: Path) -> None:
    codec = codec_for(coder)
    with Running(name, app, codec, folder) as running:
        node = Node(running.link, codec)
        assert node.info.coder == coder
        assert node.info.elements == 768
        for seed in range(3):
            feature = feature_of("float32", seed=seed)
            assert node.encode(feature) == codec.encode(feature)
        noise = np.random.default_rng(0).normal(size=feature.shape).astype(np.float32)
        assert node.encode(noise) == codec.encode(noise)  # also where nothing can be saved
        node.quit()
        assert running.emulator.wait() == 0


@pytest.mark.parametrize(
    ("name", "coder", "dtype", "bits"),
    [(M0, "pack", "int8", 2), (M0, "range", "int8", 3), (M4F, "lzma", "uint8", 5)],
)
@pytest.mark.parametrize("app", ["node_feature", "node_tiles"])
def test_node_over_a_uart(
    name: str, coder: str, dtype: str, bits: int, app: str, folder: Path
) -> None:
    codec = codec_for(coder, dtype, bits)
    with Running(name, app, codec, folder, link="uart") as running:
        node = Node(running.link, codec)
        feature = feature_of(dtype, seed=1)
        assert node.encode(feature) == codec.encode(feature)


def test_tiles_of_any_size(folder: Path) -> None:
    """Several codebooks, a last tile that is no whole byte, tiles of 8 elements."""
    feature = feature_of("int8", (5, 3, 7))
    books = [sc.Codebook([-40, -10, 10, at]) for at in range(20, 70, 10)]
    codec = sc.Codec(books, "pack", shape=(5, 3, 7), dtype="int8", channel_axis=0)
    with Running(M4F, "node_tiles", codec, folder, more=["NODE_TILE_ELEMENTS=8"]) as running:
        node = Node(running.link, codec)
        assert node.info.tile_elements == 8
        assert node.encode(feature) == codec.encode(feature)


def test_long_runs_without_zeros(folder: Path) -> None:
    """Which COBS parts into blocks of 254 bytes, both ways."""
    book = sc.Codebook(np.arange(256))
    codec = sc.Codec(book, "pack", shape=(1000,), dtype="uint8")
    with Running(M4F, "node_feature", codec, folder) as running:
        node = Node(running.link, codec)
        for start in range(1, 255, 23):
            feature = (np.arange(start, start + 1000) % 255 + 1).astype(np.uint8)
            feature[start:250] = 0
            assert node.encode(feature) == codec.encode(feature)


def test_tiles_bound_the_ram(folder: Path) -> None:
    """What a node with `pack` takes does not grow with the feature."""
    need_board(M4F)
    taken = []
    for shape in ((4, 12, 16), (64, 56, 56)):
        codec = codec_for("pack", shape=shape)
        place = folder / f"ram-{shape[0]}"
        taken.append(parts_of(build(board_named(M4F), "node_tiles", place, codec=codec))["total"])
    assert taken[0].ram_bytes == taken[1].ram_bytes < 1400
    assert taken[0].flash_bytes < 4096


# ------------------------------------------------------------------ bad input


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    with Running(M4F, "node_feature", codec_for("range"), folder) as found:
        yield found


def works(running: Running) -> bool:
    feature = feature_of("float32", seed=5)
    return Node(running.link, running.codec).encode(feature) == running.codec.encode(feature)


@pytest.mark.parametrize(
    ("kind", "len_of", "code"),
    [
        ("f", 3071, 67),
        ("f", 3073, 65),
        ("f", 100_000, 65),
        ("f", 0, 67),
        ("?", 3, 66),
        ("t", 8, 66),
    ],
)
def test_wrong_requests(kind: str, len_of: int, code: int, running: Running) -> None:
    """A feature shorter and longer than the plan's, unknown types."""
    with pytest.raises(FirmwareError, match=f"error {code}") as error:
        running.link.request(kind, bytes(range(256)) * (len_of // 256) + bytes(len_of % 256))
    assert error.value.code == code
    assert works(running)


@pytest.mark.parametrize("fault", ["dropped", "flipped", "doubled", "zero", "cut", "delimiter"])
def test_damaged_bytes(fault: str, running: Running) -> None:
    """A byte lost or damaged by the UART: an error or no answer, and the next feature is fine."""
    codec, rng = running.codec, np.random.default_rng(0)
    feature = feature_of("float32", seed=2)
    for at in rng.integers(2, 3000, 5).tolist():
        whole = bytearray(packet("f", 200, feature.tobytes()))
        if fault == "dropped":
            del whole[at]
        elif fault == "flipped":
            whole[at] ^= 1 << int(rng.integers(8))
        elif fault == "doubled":
            whole.insert(at, whole[at])
        elif fault == "zero":
            whole[at] = 0
        elif fault == "cut":
            del whole[at:]
        else:
            del whole[-1]
        running.emulator.write(bytes(whole))
        node = Node(_Patient(running.link), codec)
        assert node.encode(feature) == codec.encode(feature)


class _Patient(Link):
    """A link that passes over the errors that earlier requests have caused."""

    def __init__(self, link: Link) -> None:
        self.__dict__ = link.__dict__

    def receive(self, timeout_s: float = 10.0) -> tuple[str, bytes]:
        while True:
            try:
                return super().receive(timeout_s)
            except FirmwareError as error:
                if error.code not in (64, 65, 66, 67):
                    raise


def test_noise(running: Running) -> None:
    noise = np.random.default_rng(1).integers(0, 256, 20_000).astype(np.uint8).tobytes()
    running.emulator.write(noise)
    node = Node(_Patient(running.link), running.codec)
    feature = feature_of("float32", seed=3)
    assert node.encode(feature) == running.codec.encode(feature)


def test_tiles_out_of_turn(folder: Path) -> None:
    codec = codec_for("pack", "int8")
    feature = feature_of("int8")
    with Running(M4F, "node_tiles", codec, folder) as running:
        node = Node(running.link, codec)
        for requests, code in (
            ([("t", 8)], 68),  # without a begin
            ([("e", 0)], 68),
            ([("b", 0), ("t", 12), ("t", 8)], 1),  # not whole bytes
            ([("b", 0), ("t", 256), ("e", 0)], 68),  # too early
            ([("b", 0), ("t", 256), ("t", 256), ("t", 256), ("t", 8)], 68),  # too many
            ([("b", 0), ("t", 264)], 65),
            ([("f", 8)], 66),
        ):
            with pytest.raises(FirmwareError) as error:
                for kind, count in requests:
                    running.link.request(kind, bytes(count))
            assert error.value.code == code, requests
            assert node.encode(feature) == codec.encode(feature)


def test_frame_buffer_too_small(folder: Path) -> None:
    codec = codec_for("range")
    with Running(M4F, "node_feature", codec, folder, more=["NODE_FRAME_BYTES=100"]) as running:
        node = Node(running.link, codec)
        assert node.info.frame_bytes == 100
        for _ in range(2):
            with pytest.raises(FirmwareError, match="error 3") as error:
                node.encode(feature_of("float32"))
            assert error.value.code == 3  # SPC_ERROR_CAPACITY


def test_host_refuses(running: Running) -> None:
    node = Node(running.link, running.codec)
    with pytest.raises(FeatureError, match=r"int8 of shape \(4, 12, 16\): expected float32"):
        node.encode(feature_of("int8"))
    with pytest.raises(CodecMismatchError, match="the node has codec"):
        Node(running.link, codec_for("range", bits=3))


class _Deaf:
    def read(self, timeout_s: float) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        pass


def test_nobody_answers() -> None:
    with pytest.raises(FirmwareError, match=r"no answer within 0\.01 s"):
        Link(_Deaf()).request("i", timeout_s=0.01)


def test_program_that_ends(folder: Path) -> None:
    """A fault of the processor is told, not waited for."""
    board = need_board(M4F)
    program = build(board, "self_test", folder / M4F)
    with Emulator(board, program) as emulator:
        link = Link(emulator)
        quit_self_test(link)
        assert emulator.wait() == 1  # no vector has passed
        with pytest.raises(FirmwareError, match="exit code 1"):
            link.request("e")


# ------------------------------------------------------------------ what is built


@pytest.mark.parametrize("name", [M0, M4F, RISCV])
def test_core_needs_nobody(name: str, folder: Path) -> None:
    """Undefined symbols are memory functions and the compiler's own, none of them for floats."""
    board = need_board(name)
    build(board, "self_test", folder / name)
    listed = subprocess.run(
        [f"{board.toolchain}-nm", folder / name / "libself_test_core.a"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    defined = set(re.findall(r" [TtRrDdBb] (\w+)", listed))
    wanted = set(re.findall(r" U (\w+)", listed)) - defined
    own = (
        r"mem(cpy|move|set|cmp)|__(ashl|ashr|lshr)di3|__clzsi2|__(u?div|u?mod)[sd]i3"
        r"|__aeabi_(u?idiv(mod)?|u?ldivmod|lmul|llsl|llsr|lasr|u?lcmp)|__gnu_thumb1_case_\w+"
    )
    strange = {symbol for symbol in wanted if not re.fullmatch(own, symbol)}
    assert strange == set()
    assert not re.search(r" [Dd] ", listed)  # no state


def test_too_large_for_the_board(folder: Path) -> None:
    need_board(M0)
    codec = codec_for("range", shape=(64, 56, 56))
    with pytest.raises(FirmwareError, match=r"RAM' overflowed|no room left for the stack"):
        build(board_named(M0), "node_feature", folder / "large", codec=codec)


def test_presets() -> None:
    """One for each board; `cmake --preset` is what they are for."""
    presets = json.loads((source_folder() / "firmware" / "CMakePresets.json").read_text())
    named = [preset["name"] for preset in presets["configurePresets"] if "hidden" not in preset]
    assert named == list(boards())


def test_preset_builds(tmp_path: Path) -> None:
    need_board(M0)
    run_cmake("--preset", M0, "-S", source_folder() / "firmware", "-B", tmp_path)
    run_cmake("--build", tmp_path)
    assert (tmp_path / "self_test.elf").is_file()


def test_wrong_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="board 'arduino' is unknown: expected mps2-an385"):
        board_named("arduino")
    board = board_named(M4F)
    with pytest.raises(ArgumentError, match="'node_tiles' without a codec"):
        build(board, "node_tiles", tmp_path)
    with pytest.raises(ArgumentError, match="'self_test' with a codec"):
        build(board, "self_test", tmp_path, codec=codec_for("pack"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MissingDependencyError, match="cmake is not installed: apt-get install cmake"
    ):
        build(board, "self_test", tmp_path)
    with pytest.raises(MissingDependencyError, match="qemu-system-arm is not installed"):
        Emulator(board, tmp_path / "self_test.elf")


# ------------------------------------------------------------------ boards of which there is one


@pytest.mark.parametrize("name", [name for name, board in boards().items() if board.flash])
def test_boards_build_and_flash(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that is printed is the one that is run; without its tool there is a message."""
    board = board_named(name)
    need("cmake", f"{board.toolchain}-gcc")
    program = build(board, "self_test", tmp_path / "build", board.link)
    command = flash_command(board, program)
    assert command[0] in ("openocd", "picotool", "pyocd")
    assert str(program) in " ".join(command)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=f"{command[0]} is not installed: "):
        flash(board, program)
    tool = tmp_path / command[0]
    tool.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/given\nexit $STATUS\n')
    tool.chmod(0o755)
    monkeypatch.setenv("STATUS", "0")
    flash(board, program)
    assert (tmp_path / "given").read_text().splitlines() == command[1:]
    monkeypatch.setenv("STATUS", "1")
    with pytest.raises(FirmwareError, match=f"{command[0]} .* failed"):
        flash(board, program)


def test_emulated_boards_are_not_flashed(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="mps2-an386 cannot be flashed: it is an emulator's"):
        flash_command(board_named(M4F), tmp_path / "self_test.elf")


# ------------------------------------------------------------------ the command line


def splitcodec(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["firmware", *map(str, arguments)])


def test_cli_lists_boards() -> None:
    done = splitcodec("boards", "--json")
    rows = json.loads(done.stdout)["boards"]
    assert [row["board"] for row in rows] == list(boards())
    assert all(row["tools"][0] == "cmake" for row in rows)


def test_cli_runs(folder: Path) -> None:
    need_board(M4F)
    done = splitcodec("run", "--board", M4F, "--build-dir", folder, "--json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["vectors_passed"] > 2000
    assert report["vectors_failed"] == report["vectors_left_out"] == report["exit_code"] == 0
    assert len(report["instructions_per_element"]) == 16
    assert report["stack_bytes"] <= 512
    parts = report["parts"]["self_test"]
    for what in ("flash_bytes", "ram_bytes"):
        assert parts["total"][what] == sum(
            part[what] for name, part in parts.items() if name != "total"
        )


@pytest.fixture
def port(folder: Path) -> Iterator[str]:
    """A serial port, at whose other end the self-test runs."""
    board = need_board(M4F)
    program = build(board, "self_test", folder / "uart", "uart")
    master, slave = os.openpty()
    tty.setraw(slave)
    with Emulator(board, program, "uart") as emulator:

        def carry() -> None:
            with contextlib.suppress(OSError, FirmwareError, ValueError):
                while True:
                    if select.select([master], [], [], 0)[0]:
                        emulator.write(os.read(master, 4096))
                    os.write(master, emulator.read(0.002))

        carrier = threading.Thread(target=carry, daemon=True)
        carrier.start()
        yield os.ttyname(slave)
    carrier.join(5)
    os.close(master)
    os.close(slave)


def test_cli_runs_on_a_serial_port(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of the vectors: bytes take their time."""
    monkeypatch.setattr(
        "pysplitcodec.firmware.vectors.cases_of", lambda folder: list(cases_of(folder))[::40]
    )
    done = splitcodec("run", "--board", M4F, "--serial", port, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["vectors_passed"] > 40
    assert report["vectors_failed"] == report["vectors_left_out"] == 0
    assert report["exit_code"] is None and "parts" not in report
    assert len(report["cycles_per_element"]) == 16


def test_cli_builds_sizes_and_encodes(folder: Path, tmp_path: Path) -> None:
    need_board(M4F)
    codec, feature = codec_for("range"), feature_of("float32")
    codec.save(tmp_path / "codec.json")
    np.save(tmp_path / "features.npy", np.stack([feature, feature[:, ::-1]]))
    given = ("--board", M4F, "--codec", tmp_path / "codec.json", "--build-dir", folder / "cli")
    built = splitcodec("build", *given, "-o", tmp_path, "--json")
    assert built.exit_code == 0
    files = [Path(name) for name in json.loads(built.stdout)["files"]]
    assert [path.name for path in files] == [
        *("node_feature.elf", "node_feature.map", "node_feature.bin"),
    ]
    flash_bytes = json.loads(built.stdout)["parts"]["total"]["flash_bytes"]
    assert abs(files[2].stat().st_size - flash_bytes) < 16  # alignment
    (row,) = json.loads(splitcodec("size", *given, "--json").stdout)["rows"]
    assert list(row["parts"]) == ["self_test", "node_feature", "node_tiles"]
    assert row["parts"]["node_feature"]["total"]["flash_bytes"] == flash_bytes
    assert row["vectors_failed"] == 0 < row["vectors_passed"]
    assert row["stack_bytes"] > 0 and row["instructions_per_element"]["int8_2"] < 6
    encoded = splitcodec(
        *("encode", tmp_path / "features.npy", *given, "-o", tmp_path / "frames", "--json")
    )
    assert encoded.exit_code == 0
    assert json.loads(encoded.stdout)["frames_that_differ"] == []
    assert (tmp_path / "frames" / "0.spc").read_bytes() == codec.encode(feature)


@pytest.mark.parametrize("cores", [0, 9])
def test_cli_refuses_cores_that_there_are_not(cores: int, tmp_path: Path) -> None:
    codec_for("pack").save(tmp_path / "codec.json")
    np.save(tmp_path / "feature.npy", feature_of("float32"))
    given = ("--board", "riscv-cluster", "--codec", tmp_path / "codec.json", "--node", "cluster")
    done = splitcodec("encode", tmp_path / "feature.npy", *given, "--cores", cores)
    assert done.exit_code == 3
    assert f"--cores is {cores}: expected 1 to 8" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("run", "--board", "arduino"), 3, "board 'arduino' is unknown"),
        (("run", "--board", "pico"), 6, "board pico has no emulator"),
        (("flash", "--board", M4F, __file__), 6, "cannot be flashed"),
    ],
)
def test_cli_errors(arguments: tuple[str, ...], code: int, text: str) -> None:
    done = splitcodec(*arguments)
    assert done.exit_code == code
    assert text in done.stderr


# ------------------------------------------------------------------ kernels


@pytest.mark.parametrize(
    ("name", "dtype", "most"),
    [
        (M4F, "int8", {1: 4.2, 2: 4.8, 3: 13.6, 4: 5.7, 8: 16.2}),
        (M4F, "float32", {1: 8.4, 2: 11.8, 3: 33, 4: 25, 8: 49.2}),
        (M55, "int8", {1: 0.6, 2: 0.7, 3: 4.4, 4: 3.3, 8: 6.8}),
        (M55, "float32", {1: 2.1, 2: 3, 3: 8.8, 4: 9, 8: 15}),
        (RISCV, "int8", {1: 5.9, 2: 6.3, 3: 11.5, 4: 7.2, 8: 17}),
        (RISCV, "float32", {1: 7.5, 2: 10.5, 3: 30, 4: 20.2, 8: 43.1}),
    ],
)
def test_elements_take_few_instructions(
    name: str, dtype: Any, most: dict[int, float], folder: Path
) -> None:
    """By the emulated clock; figures in docs/firmware.md."""
    board = need_board(name)
    with Emulator(board, build(board, "self_test", folder / name)) as emulator:
        link = Link(emulator)
        for bits, limit in most.items():
            taken = measure(link, dtype, bits) * 1e9 / board.clock_hz
            assert limit / 2 < taken <= limit, bits


# Where memory ends that the program has no part in: reading on is a fault, but on the first one.
MEMORY_ENDS = {M4F: 0x22000000, M55: 0x01200000, RISCV: 0x81000000}


@pytest.mark.parametrize("optimise", ["-Os", "-O2"])
@pytest.mark.parametrize("name", list(MEMORY_ENDS))
def test_kernels_agree(name: str, optimise: str, tmp_path: Path) -> None:
    """With their definitions: awkward floats and thresholds, all widths, lengths, alignments."""
    board = need_board(name)
    source = Path(__file__).parent / "c" / "kernels_firmware.c"
    flags = f"-DCMAKE_C_FLAGS=-DMEMORY_END={MEMORY_ENDS[name]:#x}u"
    given = [f"-DSPLITCODEC_BOARD={name}", f"-DSPLITCODEC_APP={source}", flags]
    run_cmake(
        "-S",
        source_folder() / "firmware",
        "-B",
        tmp_path,
        *given,
        f"-DCMAKE_C_FLAGS_MINSIZEREL={optimise}",
    )
    run_cmake("--build", tmp_path, "--target", "own")
    with Emulator(board, tmp_path / "own.elf") as emulator:
        assert (emulator.wait(60), emulator.log()) == (0, "helium" if name == M55 else "small")
