"""`firmware`: programs for microcontrollers, built, run, measured and flashed."""

import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors

__all__ = ["firmware"]

firmware = typer.Typer(
    no_args_is_help=True, help="Programs for microcontrollers: build, run, size, flash."
)


class Node(str, Enum):
    """Programs that encode."""

    feature = "feature"
    tiles = "tiles"
    cluster = "cluster"


BoardName = Annotated[str, typer.Option("--board", help="One of `splitcodec firmware boards`.")]
BuildFolder = Annotated[
    Optional[Path],
    typer.Option("--build-dir", help="Where to build; kept, and brought up to date next time."),
]
CodecFile = Annotated[Path, typer.Option("--codec", exists=True, dir_okay=False)]
NodeKind = Annotated[
    Node, typer.Option("--node", help="Takes features whole, in tiles, or encodes on a cluster.")
]
Serial = Annotated[
    Optional[str],
    typer.Option(help="The flashed board's port, such as /dev/ttyACM0; else QEMU runs it."),
]


_MEASURED: Any = [(dtype, bits) for dtype in ("int8", "float32") for bits in range(1, 9)]


@contextmanager
def _folder(given: Optional[Path], board: str) -> Iterator[Path]:
    """A folder for this board's build: in the one given, or one that goes away again."""
    if given is not None:
        yield given / board
        return
    with tempfile.TemporaryDirectory(prefix="splitcodec-") as name:
        yield Path(name)


@contextmanager
def _stream(board: Any, serial: Optional[str], program: Optional[Path]) -> Iterator[Any]:
    """The board at a port, or the program in the emulator."""
    from pysplitcodec.firmware.emulator import Emulator
    from pysplitcodec.firmware.link import SerialStream

    if serial is not None:
        with SerialStream(serial) as port:
            yield port
        return
    assert program is not None
    with Emulator(board, program) as emulator:
        yield emulator


@firmware.command("boards")
@reports_errors
def list_boards(as_json: Json = False) -> None:
    """List the boards, the tools that each needs, and whether they are here."""
    from pysplitcodec.firmware.boards import boards

    rows = []
    for board in boards().values():
        tools = ["cmake", f"{board.toolchain}-gcc", *board.emulator[:1], *board.flash[:1]]
        rows.append(
            {
                "board": board.name,
                "title": board.title,
                "tools": tools,
                "absent": [tool for tool in tools if shutil.which(tool) is None],
            }
        )
    if as_json:
        print_json({"boards": rows})
    else:
        print_table("boards", list(rows[0]), (_cells(row) for row in rows))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        ", ".join(value) if isinstance(value, list) else str(value) for value in row.values()
    )


@firmware.command("build")
@reports_errors
def build_app(
    board: BoardName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for .elf, .bin, .map.")],
    codec: Annotated[
        Optional[Path],
        typer.Option(
            exists=True, dir_okay=False, help="A saved codec: a node; without, the self-test."
        ),
    ] = None,
    node: NodeKind = Node.feature,
    build_folder: BuildFolder = None,
    as_json: Json = False,
) -> None:
    """Build the self-test, or a node that encodes with a codec, for a board."""
    from pysplitcodec.firmware.boards import board_named
    from pysplitcodec.firmware.build import binary_of, build

    target = board_named(board)
    app: Any = f"node_{node.value}" if codec else "self_test"
    with _folder(build_folder, board) as folder:
        elf = build(target, app, folder, target.link, _codec(codec))
        output.mkdir(parents=True, exist_ok=True)
        made = [elf, elf.with_suffix(".map"), binary_of(target, elf)]
        files = [Path(shutil.copy(path, output)) for path in made]
        sizes = _parts(elf)
    if as_json:
        print_json({"board": board, "files": [str(path) for path in files], "parts": sizes})
        return
    for path in files:
        messages.print(f"{path}: {path.stat().st_size} bytes")


def _codec(path: Optional[Path]) -> Any:
    from pysplitcodec import Codec

    return Codec.load(path) if path else None


@firmware.command("run")
@reports_errors
def run_self_test(
    board: BoardName,
    serial: Serial = None,
    build_folder: BuildFolder = None,
    as_json: Json = False,
) -> None:
    """Run the self-test on a board: all golden vectors, and what quantising costs."""
    from pysplitcodec.errors import FirmwareError
    from pysplitcodec.firmware.boards import board_named
    from pysplitcodec.firmware.build import build

    target = board_named(board)
    with _folder(build_folder, board) as folder:
        program = None if serial else build(target, "self_test", folder)
        result = {"board": board, **_tested(target, program, serial)}
        if program is not None:
            result["parts"] = {"self_test": _parts(program)}
    if as_json:
        print_json(result)
    else:
        messages.print(
            f"{target.title}: {result['vectors_passed']} vectors passed, "
            f"{result['vectors_failed']} failed, {result['vectors_left_out']} too large for its "
            f"RAM; {result['stack_bytes']} bytes of stack"
        )
        unit = "cycles" if serial else "instructions"
        kernels = result[f"{unit}_per_element"]
        print_table(f"{unit} per element", ["dtype_bits", unit], kernels.items())
    if result["failed"] or not result["vectors_passed"]:
        names = ", ".join(result["failed"][:10])
        raise FirmwareError(f"vectors failed: {names or 'none was run'}")


def _tested(target: Any, program: Optional[Path], serial: Optional[str] = None) -> dict[str, Any]:
    """What the self-test says, in the emulator or flashed at a port."""
    from rich.progress import track

    from pysplitcodec.firmware.boards import source_folder
    from pysplitcodec.firmware.link import Link
    from pysplitcodec.firmware.self_test import measure, quit_self_test, run_cases
    from pysplitcodec.firmware.vectors import cases_of

    with _stream(target, serial, program) as stream:
        link = Link(stream)
        cases = list(cases_of(source_folder() / "vectors"))
        shown = track(cases, f"{target.name}: vectors", console=messages, transient=True)
        report = run_cases(link, shown)
        ticks = {f"{dtype}_{bits}": measure(link, dtype, bits) for dtype, bits in _MEASURED}
        quit_self_test(link)
        code = None if serial else stream.wait()
    # an emulated instruction takes a nanosecond, a real board counts its cycles
    unit, scale = ("cycles", 1.0) if serial else ("instructions", 1e9 / target.clock_hz)
    return {
        "vectors_passed": report.passed,
        "vectors_failed": len(report.failed),
        "vectors_left_out": report.left_out,
        "failed": report.failed,
        "stack_bytes": report.stack_bytes,
        f"{unit}_per_element": {name: round(count * scale, 2) for name, count in ticks.items()},
        "exit_code": code,
    }


def _parts(program: Path) -> dict[str, dict[str, int]]:
    from pysplitcodec.firmware.build import parts_of

    return {name: vars(part) for name, part in parts_of(program).items()}


@firmware.command("encode")
@reports_errors
def encode_features(
    features: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=".npy or .npz")],
    board: BoardName,
    codec: CodecFile,
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Folder for the frames: 0.spc ...")
    ] = None,
    node: NodeKind = Node.feature,
    cores: Annotated[
        Optional[int], typer.Option(help="Of the cluster, for its node. [all of them]")
    ] = None,
    serial: Serial = None,
    build_folder: BuildFolder = None,
    as_json: Json = False,
) -> None:
    """Have a node encode features, one or a batch, and compare its frames with those made here."""
    from pysplitcodec.cli.arrays import load_array
    from pysplitcodec.errors import FirmwareError
    from pysplitcodec.firmware import node as nodes
    from pysplitcodec.firmware.boards import board_named
    from pysplitcodec.firmware.build import build
    from pysplitcodec.firmware.link import Link

    own = _codec(codec)
    target = board_named(board)
    array = load_array(features)
    batch = array[None] if array.shape == own.shape else array
    app: Any = f"node_{node.value}"
    options = _cluster_options(target, node, cores)
    with _folder(build_folder, board) as folder:
        program = None if serial else build(target, app, folder, codec=own)
        with _stream(target, serial, program) as stream:
            running = nodes.Node(Link(stream), own)
            frames, ticks = [], []
            for feature in batch:
                frames.append(running.encode(feature, **options))
                ticks.append(running.ticks)
    differ = [at for at, frame in enumerate(frames) if frame != own.encode(batch[at])]
    if output:
        output.mkdir(parents=True, exist_ok=True)
        for at, frame in enumerate(frames):
            (output / f"{at}.spc").write_bytes(frame)
    sizes = [len(frame) for frame in frames]
    result = {
        "board": board,
        "app": app,
        "coder": own.coder,
        "frames": len(frames),
        "frame_bytes_mean": sum(sizes) / len(sizes) if sizes else None,
        "frames_that_differ": differ,
        "ticks": ticks,
    }
    if as_json:
        print_json(result)
    else:
        messages.print(f"{target.title}, {app}: {len(frames)} frame(s), {sum(sizes)} bytes")
    if differ:
        raise FirmwareError(f"frames {differ[:10]} are not those that this machine makes")


def _cluster_options(board: Any, node: Node, cores: Optional[int]) -> dict[str, Any]:
    """How many cores are to encode, for a cluster's node alone."""
    from pysplitcodec.errors import ArgumentError

    if node is not Node.cluster or not board.cores:  # the latter is for `build` to refuse
        return {}
    if cores is not None and not 1 <= cores <= board.cores:
        raise ArgumentError(f"--cores is {cores}: expected 1 to {board.cores}")
    return {"cores": board.cores if cores is None else cores}


@firmware.command("size")
@reports_errors
def sizes(
    board: Annotated[
        Optional[str], typer.Option("--board", help="One board; without, all that can be built.")
    ] = None,
    codec: Annotated[
        Optional[Path],
        typer.Option(exists=True, dir_okay=False, help="A saved codec: of its nodes too."),
    ] = None,
    build_folder: BuildFolder = None,
    as_json: Json = False,
) -> None:
    """Print flash and RAM of each part of each program, and what emulators say of the self-test."""
    from pysplitcodec.firmware.boards import board_named, boards
    from pysplitcodec.firmware.build import build

    named = [board_named(board)] if board else list(boards().values())
    given = _codec(codec)
    rows = []
    for target in named:
        if board is None and shutil.which(f"{target.toolchain}-gcc") is None:
            messages.print(f"{target.name}: left out, {target.toolchain}-gcc is not installed")
            continue
        row: dict[str, Any] = {"board": target.name}
        with _folder(build_folder, target.name) as folder:
            if target.emulator and shutil.which(target.emulator[0]):
                row.update(_tested(target, build(target, "self_test", folder)))
            row["parts"] = {
                app: _parts(build(target, app, folder, target.link, held))
                for app, held in _apps(target, given)
            }
        rows.append(row)
    if as_json:
        print_json({"rows": rows})
        return
    columns = ["board", "app", "part", "flash", "RAM"]
    cells = (
        (row["board"], app, name, part["flash_bytes"], part["ram_bytes"])
        for row in rows
        for app, parts in row["parts"].items()
        for name, part in parts.items()
    )
    print_table("bytes, RAM without the stack", columns, cells)


def _apps(board: Any, codec: Any) -> list[tuple[Any, Any]]:
    """Programs, and the codec of those that have one."""
    kinds = [kind.value for kind in Node if board.cores or kind is not Node.cluster]
    nodes = [(f"node_{kind}", codec) for kind in kinds] if codec else []
    return [("self_test", None), *nodes]


@firmware.command("flash")
@reports_errors
def flash_board(
    board: BoardName,
    program: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An .elf file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command and do not run it.")
    ] = False,
) -> None:
    """Write a program to a board through the tool that people use for it."""
    from pysplitcodec.firmware.boards import board_named
    from pysplitcodec.firmware.flash import flash, flash_command

    target = board_named(board)
    typer.echo(shlex.join(flash_command(target, program)))
    if not dry_run:
        flash(target, program)
