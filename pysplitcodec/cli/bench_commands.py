"""`info` and `bench`: what is installed here, and how fast and how small it is."""

import contextlib
import csv
import functools
import io
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Callable, Optional

import numpy as np
import typer
from rich.live import Live

import pysplitcodec as sc
from pysplitcodec.cli.arrays import Array
from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors
from pysplitcodec.codebook import as_plain
from pysplitcodec.errors import FeatureError
from pysplitcodec.native import DTYPES, numpy_dtype

if TYPE_CHECKING:
    from pysplitcodec.bench.coders import CoderReport
    from pysplitcodec.bench.kernels import Input, KernelReport

__all__ = ["bench", "info"]

bench = typer.Typer(no_args_is_help=True, help="Measure the codec on this machine.")

InputFile = Annotated[Optional[Path], typer.Argument(exists=True, dir_okay=False)]
InputFiles = Annotated[Optional[list[Path]], typer.Argument(exists=True, dir_okay=False)]
Csv = Annotated[bool, typer.Option("--csv", help="Print the rows as CSV on stdout.")]

_INTERRUPTED = 130
_MOST_SECONDS = 3600
_LEAST_ELEMENTS = 8
_MOST_ELEMENTS = 0x1FFFFFFF
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@reports_errors
def info(as_json: Json = False) -> None:
    """Say what is installed and in use: core, kernels, coders, optional parts."""
    from pysplitcodec.bench import machine

    found = machine.info()
    if as_json:
        print_json(found)
        return
    shown = {key: _shown(value) for key, value in found.items() if key != "optional"}
    for extra, packages in found["optional"].items():
        shown[f"extra {extra}"] = _shown(packages)
    print_table("", ("what", "here"), shown.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        absent = {None: "(not installed)", False: "(not in this build)", True: ""}
        said = (f"{key} {absent.get(found, found)}".strip() for key, found in value.items())
        return ", ".join(said)
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)


@bench.command("kernels")
@reports_errors
def bench_kernels(
    file: InputFile = None,
    bits: Annotated[str, typer.Option(help="Index widths, 1 to 8.")] = "1,2,3,4,8",
    dtype: Annotated[Optional[str], typer.Option(help=f"Of {', '.join(DTYPES)}. [float32]")] = None,
    shape: Annotated[
        Optional[str], typer.Option(help="Shapes to generate, as 64x56x56,128x28x28.")
    ] = None,
    sizes: Annotated[
        Optional[str], typer.Option(help="Sizes of the values to generate, as 800kB,64MB.")
    ] = None,
    cpu: Annotated[
        Optional[str], typer.Option(help="Kernel set, as avx2; none: no CPU feature. [the fastest]")
    ] = None,
    peers: Annotated[bool, typer.Option(help="Time numpy and others beside.")] = True,
    seconds: Annotated[float, typer.Option(help="Time for each row.")] = 0.1,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Time quantising, packing and back in one thread, on FILE (.npy, .npz) or generated features.

    The generated ones are 64x56x56 and 64MB unless --shape or --sizes say otherwise.
    """
    from pysplitcodec.bench import kernels, machine

    _check(as_json, as_csv, seconds)
    widths = [_parsed("--bits", word, "1 to 8", _width) for word in bits.split(",")]
    if file is None:
        inputs = _generated(dtype or "float32", shape, sizes)
    else:
        for option, value in (("--dtype", dtype), ("--shape", shape), ("--sizes", sizes)):
            if value is not None:
                raise _wrong(option, value, "nothing beside FILE, which has its own")
        inputs = [_from_file(file)]
    sets = machine.kernel_sets()
    if cpu is not None and cpu != "none" and cpu not in sets:
        raise _wrong("--cpu", cpu, f"one of {', '.join(sets)}, none")
    with machine.use_kernels("reference" if cpu == "none" else cpu):
        report = kernels.KernelReport()
        with _until_interrupted("measuring") as (progress, ended):
            kernels.measure(report, inputs, widths, peers=peers, seconds=seconds, progress=progress)
    if as_json:
        print_json(asdict(report))
    elif as_csv:
        _print_csv(report.rows)
    else:
        _print_kernels(report)
    _tell_skipped(report.skipped)
    _leave(ended)


@bench.command("coders")
@reports_errors
def bench_coders(
    files: InputFiles = None,
    bits: Annotated[
        Optional[int], typer.Option(min=1, max=8, help="Index width to quantise to. [2]")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time for each coder and way.")] = 1.0,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Compare coders and general compressors on indices, one payload per sample.

    FILES (.npz or .npy) hold samples along the first axis of "test", or of their only array: uint8
    indices if "centroids" are there too, else features. Without FILES some are generated.
    """
    from pysplitcodec.bench import coders
    from pysplitcodec.bench.samples import generate, samples_of

    _check(as_json, as_csv, seconds)
    if files:
        found = [samples_of(str(file), _load_arrays(file), bits) for file in files]
    else:
        found = [samples_of("generated", {"test": generate()}, bits)]
    report = coders.CoderReport()
    with _until_interrupted("coding") as (progress, ended):
        coders.measure(report, found, seconds=seconds, progress=progress)
    if as_json:
        print_json({**asdict(report), "summary": report.summary()})
    elif as_csv:
        _print_csv(report.rows)
    else:
        _print_coders(report)
    _tell_skipped(report.skipped)
    _leave(ended)


# ------------------------------------------------------------------ arguments


def _wrong(option: str, value: object, expected: str) -> typer.BadParameter:
    return typer.BadParameter(f"{value!r}: expected {expected}", param_hint=option)


def _parsed(option: str, word: str, expected: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(word.strip())
    except ValueError:
        raise _wrong(option, word, expected) from None


def _check(as_json: bool, as_csv: bool, seconds: float) -> None:
    if as_json and as_csv:
        raise _wrong("--csv", "--json", "one of --json and --csv")
    if not 0 <= seconds <= _MOST_SECONDS:  # a NaN is not
        raise _wrong("--seconds", seconds, f"0 to {_MOST_SECONDS}")


def _width(word: str) -> int:
    width = int(word)
    if not 1 <= width <= 8:
        raise ValueError
    return width


def _shape(word: str) -> tuple[int, ...]:
    return _fitting(tuple(int(dim) for dim in word.split("x")))


def _flat_shape(word: str, dtype: str) -> tuple[int, ...]:
    found = re.fullmatch(r"([\d.]+) ?([kMG]?B)", word)
    if not found:
        raise ValueError
    return _fitting((int(float(found[1]) * _UNITS[found[2]]) // numpy_dtype(dtype).itemsize,))


def _fitting(shape: tuple[int, ...]) -> tuple[int, ...]:
    positive = min(shape) > 0 and len(shape) <= 8
    if not positive or not _LEAST_ELEMENTS <= math.prod(shape) <= _MOST_ELEMENTS:
        raise ValueError
    return shape


# ------------------------------------------------------------------ what to measure on


def _generated(dtypes: str, shapes: Optional[str], sizes: Optional[str]) -> "list[Input]":
    from pysplitcodec.bench import operations
    from pysplitcodec.bench.kernels import Input

    if shapes is None and sizes is None:
        shapes, sizes = "64x56x56", "64MB"
    limits = f"{_LEAST_ELEMENTS} to {_MOST_ELEMENTS} elements"
    inputs = []
    for word in dtypes.split(","):
        dtype = _parsed("--dtype", word, f"one of {', '.join(DTYPES)}", _dtype)
        flat = functools.partial(_flat_shape, dtype=dtype)
        for option, given, example, parse in (
            ("--shape", shapes, "64x56x56", _shape),
            ("--sizes", sizes, "800kB or 64MB", flat),
        ):
            for one in [] if given is None else given.split(","):
                shape = _parsed(option, one, f"as {example}, of {limits}", parse)
                job = functools.partial(operations.generate, shape, dtype)
                inputs.append(Input(f"{one.strip()} {dtype}", job))
    return inputs


def _dtype(word: str) -> str:
    if word not in DTYPES:
        raise ValueError
    return word


def _from_file(file: Path) -> "Input":
    from pysplitcodec.bench.kernels import Input
    from pysplitcodec.bench.operations import Job

    values = as_plain(_load_arrays(file)["test"], name=str(file))
    if not _LEAST_ELEMENTS <= values.size <= _MOST_ELEMENTS:
        raise FeatureError(
            f"{file} has {values.size} elements: expected {_LEAST_ELEMENTS} to {_MOST_ELEMENTS}"
        )

    def job(bits: int) -> Job:
        return Job(values, sc.Codebook.fit(values, bits, method="minmax"))

    return Input(f"{file.name} {values.dtype}", job)


def _load_arrays(file: Path) -> dict[str, Array]:
    """The arrays of a file by name; the only one beside "centroids" and "calibration" is "test"."""
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"test": loaded}
        with loaded:
            arrays = dict(loaded)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FeatureError(f"{file} is no .npy or .npz file of numbers: {error}") from None
    others = [name for name in arrays if name not in ("centroids", "calibration")]
    if "test" not in arrays:
        if len(others) != 1:
            raise FeatureError(
                f"{file} holds {', '.join(arrays) or 'nothing'}: expected an array 'test', or one"
            )
        arrays["test"] = arrays[others[0]]
    return arrays


# ------------------------------------------------------------------ what comes out


@contextlib.contextmanager
def _until_interrupted(doing: str) -> Iterator[tuple[Callable[[str], None], list[bool]]]:
    """A way to show progress on stderr, and a list that Ctrl-C, which ends this alone, fills."""
    ended: list[bool] = []
    # drawn anew by hand: a thread that does would be measured, too
    with Live(doing, console=messages, auto_refresh=False, transient=True) as line:
        try:
            yield (lambda what: line.update(f"{doing} {what}", refresh=True)), ended
        except KeyboardInterrupt:
            ended.append(True)


def _leave(ended: list[bool]) -> None:
    if ended:
        messages.print("interrupted: that is what had been measured")
        raise typer.Exit(_INTERRUPTED)


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    typer.echo(text.getvalue(), nl=False)


def _print_kernels(report: "KernelReport") -> None:
    typer.echo(_machine_line(report.machine))
    for name in report.read_gb_s:
        typer.echo(
            f"{name}: read {report.read_gb_s[name]:.0f} GB/s ({report.read_by[name]}), memcpy "
            f"{report.memcpy_gb_s[name]:.0f}, memset {report.memset_gb_s[name]:.0f}"
        )
    rows = [row for row in report.rows if row["overhead_ns"] is None]
    for name in dict.fromkeys(row["input"] for row in rows):
        print_table(
            name,
            ("op", "bits", "kernel", "ns / element", "of read speed", "times numpy"),
            (_kernel_cells(row) for row in rows if row["input"] == name),
        )
    for row in report.rows:
        if row["overhead_ns"] is not None:
            typer.echo(
                f"{row['op']}: {row['ns_per_element'] * row['elements']:.0f} ns for "
                f"{row['elements']} {row['dtype']} at {row['bits']} bit(s), of which "
                f"{row['overhead_ns']:.0f} ns for any number"
            )


def _kernel_cells(row: dict[str, Any]) -> tuple[str, ...]:
    times = row["times_numpy"]
    return (
        row["op"],
        str(row["bits"]),
        row["kernel"],
        f"{row['ns_per_element']:.3f}",
        f"{row['of_read_speed']:.3f}",
        "" if times is None else f"{times:.1f}",
    )


def _print_coders(report: "CoderReport") -> None:
    typer.echo(_machine_line(report.machine))
    for file in report.files:
        name = file["file"]
        _print_rows(
            f"{name}: {file['samples']} samples of {_times(file['shape'])}, {file['bits']} bit(s)",
            [row for row in report.rows if row["file"] == name],
            without=("file", "bits"),
        )
    if summary := report.summary():
        _print_rows("means over the files", summary)


def _print_rows(title: str, rows: Sequence[dict[str, Any]], without: Sequence[str] = ()) -> None:
    typer.echo(title)
    if rows:
        names = [name for name in rows[0] if name not in without]
        print_table(
            "",
            [name.replace("_", " ") for name in names],
            ([_cell(row[name]) for name in names] for row in rows),
        )


def _machine_line(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cpu']}, {machine['logical_cores']} logical cores, {machine['os']}, "
        f"Python {machine['python']}, numpy {machine['numpy']}, kernels: {machine['kernels']}"
    )


def _tell_skipped(skipped: Iterable[dict[str, Any]]) -> None:
    """What was left out and why, once each, on stderr; --json says where."""
    for one in {(one["name"], one["reason"]): one for one in skipped}.values():
        messages.print(f"left out {one['name']}: {one['reason']}", markup=False)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) and value < 1000 else str(value)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
