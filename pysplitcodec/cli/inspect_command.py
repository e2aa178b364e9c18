"""`inspect`: what a file of frames holds, and what a model costs at each of its split points."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Callable, Optional

import typer
from rich.progress import Progress

import pysplitcodec as sc
from pysplitcodec.cli.arrays import Array, load_model_inputs
from pysplitcodec.cli.output import (
    Json,
    ValueRange,
    messages,
    print_json,
    print_table,
    reports_errors,
)
from pysplitcodec.errors import ArgumentError

if TYPE_CHECKING:
    from pysplitcodec.report import LayerReport

__all__ = ["inspect", "progress_bars", "tried_inputs"]

_CODERS = ("pack", "lzma", "context")
_NAME_LENGTH = 32


@reports_errors
def inspect(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="Frames, or a model."),
    ],
    inputs: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--input",
            exists=True,
            help="Real inputs: .npy, .npz, an image or a folder of them; repeatable.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Most inputs to take.")] = 100,
    tensors: Annotated[
        int, typer.Option(min=1, help="How many tensors a split point may send.")
    ] = 1,
    bits: Annotated[
        Optional[list[int]],
        typer.Option(min=1, max=8, help="Index width to code features at; repeatable. [2]"),
    ] = None,
    value_range: ValueRange = None,
    context_channels: Annotated[
        int,
        typer.Option(
            min=0, help="Train the coder context for features of at most so many channels."
        ),
    ] = 64,
    time: Annotated[bool, typer.Option(help="Time head and tail of each split point.")] = True,
    html: Annotated[
        Optional[Path], typer.Option(help="Write the report of a model as a page, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a file of frames holds, or what a model computes and sends at each split point."""
    if not _is_model(file):
        for option, value in (("--input", inputs), ("--bits", bits), ("--html", html)):
            if value:
                raise ArgumentError(f"{option} is for models: {file} is none by name and content")
        _inspect_frames(file, as_json)
        return
    taken = tried_inputs(file, inputs, samples, value_range, time)
    from pysplitcodec.report import layer_report

    with progress_bars() as progress:
        report = layer_report(
            file,
            taken,
            bits=bits or [2],
            tensors=tensors,
            context_channels=context_channels,
            time=time,
            progress=progress,
        )
    if html:
        from pysplitcodec.report.page import write_page

        write_page(report.to_dict(), html)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
    if html:
        messages.print(f"wrote {html}", markup=False)


def _is_model(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(8)
    named = file.suffix.lower() in (".tflite", ".onnx", ".pt2")
    return named or start[4:8] == b"TFL3"


def _inspect_frames(file: Path, as_json: bool) -> None:
    data = file.read_bytes()
    if data[:3] == b"SPC":
        with file.open("rb") as stream:
            infos = [sc.inspect(frame) for frame in sc.read_frames(stream)]
    else:
        infos = [sc.inspect(data)]
    rows = [{**asdict(info), "codec_id": f"{info.codec_id:08x}"} for info in infos]
    if as_json:
        print_json({"file": str(file), "kind": "frames", "bytes": len(data), "rows": rows})
    else:
        columns = list(rows[0]) if rows else ["nothing"]
        title = f"file {file}, kind frames, bytes {len(data)}"
        print_table(title, columns, (tuple(row.values()) for row in rows))


def tried_inputs(
    file: Path,
    inputs: Optional[list[Path]],
    samples: int,
    value_range: Optional[tuple[float, float]],
    time: bool,
) -> Optional[list[list[Array]]]:
    """The inputs for a model, which is tried first if it is to run."""
    from pysplitcodec.runtime import model_format, probe

    if model_format(file) == "tflite" and (inputs or time):
        # A bad one can end the process that runs it.
        probe(file)
    return load_model_inputs(file, inputs, value_range, samples) if inputs else None


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Bars on stderr, one for each thing that is done, where a person looks on."""
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done)

        yield tell


# ------------------------------------------------------------------ the table


def _print_report(report: "LayerReport") -> None:
    rows = [_row(report, point) for point in report.split_points]
    kept = [
        name for name in (rows[0] if rows else {}) if any(row[name] is not None for row in rows)
    ]
    cells = ([_cell(row[name]) for name in kept] for row in rows)
    total = "unknown" if report.macs is None else f"{report.macs / 1e6:,.2f} M"
    data = f"{report.samples} inputs" if report.samples else "no inputs: give some with --input"
    print_table(
        f"{report.model}: {len(report.operators)} operators, {total} MACs, "
        f"{report.params:,} parameters in {report.weight_bytes:,} bytes; {data}\n"
        f"{report.machine}",
        kept or ["no split point"],
        cells,
    )
    unknown = sorted({row["kind"] for row in report.operators if row["macs"] is None})
    if unknown:
        messages.print(f"MACs are not known of: {', '.join(unknown)}", markup=False)


def _row(report: "LayerReport", point: Any) -> dict[str, Any]:
    """One split point as the table shows it; columns of which nothing is known are left out."""
    long = len(point.name) > _NAME_LENGTH
    row = {
        "at": point.index,
        "name": f"...{point.name[3 - _NAME_LENGTH :]}" if long else point.name,
        "after": point.after,
        "shape": "x".join(map(str, point.shape)),
        "dtype": point.dtype,
        "bytes": point.bytes,
        "MACs\n%": _percent(point.macs_head, report.macs),
        "params\n%": _percent(point.params_head, report.params),
        "RAM": point.head_ram_bytes,
        "zeros\n%": _percent(point.sparsity, 1),
    }
    for number, bits in enumerate(report.bits):
        entropy = point.entropy_bits and f"{point.entropy_bits[bits - 1]:.2f}"
        row[f"entropy\n{bits} bits"] = entropy
        for coder in _CODERS:
            mean = point.coded and point.coded[number][coder]
            row[f"{coder}\n{bits} bits"] = None if mean is None else f"{mean:.0f}"
    row["head\nms"] = None if point.head_ms is None else f"{point.head_ms:.2f}"
    row["tail\nms"] = None if point.tail_ms is None else f"{point.tail_ms:.2f}"
    return row


def _percent(part: Optional[float], whole: Optional[float]) -> Optional[str]:
    return f"{100 * part / whole:.1f}" if part is not None and whole else None


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
