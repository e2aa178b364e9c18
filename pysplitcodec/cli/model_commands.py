"""`split`: a model into head, tail and, given calibration inputs, a codec."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from pysplitcodec.cli.arrays import load_inputs, load_model_inputs
from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors
from pysplitcodec.errors import ArgumentError

__all__ = ["split"]


@reports_errors
def split(
    model: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .tflite, .onnx or .pt2 model.")
    ],
    at: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Where to cut: a name or a number; repeated, names of tensors to be sent "
            "together. Without it, list the cuts."
        ),
    ] = None,
    tensors: Annotated[int, typer.Option(min=1, help="How many tensors a cut may send.")] = 1,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for head, tail and bundle.json.")
    ] = Path("out"),
    calibrate: Annotated[
        Optional[Path],
        typer.Option(exists=True, help="Inputs (.npy, .npz) to fit a codebook on: codec.json."),
    ] = None,
    bits: Annotated[int, typer.Option(min=1, max=8, help="Index width of the codec.")] = 2,
    coder: Annotated[str, typer.Option(help="One of: pack, lzma.")] = "lzma",
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare tail(head(x)) with the whole.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="With --verify: at every cut; writes nothing.")
    ] = False,
    inputs: Annotated[
        Optional[list[Path]],
        typer.Option(
            "--input", exists=True, help="What to verify on (.npy, .npz, image); else random."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Split a model at a tensor: a head for the device, a tail for the server."""
    from pysplitcodec.bundle import write_bundle
    from pysplitcodec.runtime import model_format
    from pysplitcodec.splitting import read_graph

    if every and (at or not verify):
        raise ArgumentError("--all is for --verify, without --at: it compares at every cut")
    if verify and not (at or every):
        raise ArgumentError("--verify needs --at or --all, to say where")
    graph = read_graph(model)
    if not at:
        cuts = graph.list_cuts(tensors)
        splits = map(graph.split, cuts)
        found = _verified(model, splits, len(cuts), inputs) if verify else [{} for _ in cuts]
        if as_json:
            rows = [{**_cut_row(cut), **more} for cut, more in zip(cuts, found)]
            print_json({"model": str(model), "rows": rows})
        else:
            cells = [{**_cut_cells(cut), **more} for cut, more in zip(cuts, found)]
            columns = list(cells[0]) if cells else ["no cut"]
            title = f"{model}: give one with --at"
            print_table(title, columns, (tuple(row.values()) for row in cells))
        return
    wanted = at if len(at) > 1 else int(at[0]) if at[0].isdecimal() else at[0]
    halves = graph.split(wanted, tensors)
    output.mkdir(parents=True, exist_ok=True)
    files = {name: output / f"{name}.{model_format(model)}" for name in ("head", "tail")}
    files["head"].write_bytes(halves.head)
    files["tail"].write_bytes(halves.tail)
    if calibrate:
        files["codec"] = output / "codec.json"
        _fit_codec(halves.head, calibrate, bits, coder).save(files["codec"])
    write_bundle(output, model.stem, halves.cut.name, files)
    verified = _verified(model, [halves], 1, inputs)[0] if verify else {}
    if as_json:
        named = {name: str(path) for name, path in files.items()}
        print_json({"model": str(model), "cut": _cut_row(halves.cut), **named, **verified})
    else:
        for path in files.values():
            messages.print(f"{path}: {path.stat().st_size} bytes")
        for name, value in verified.items():
            messages.print(f"{name}: {value}")


def _verified(
    model: Path, splits: Iterable[Any], count: int, inputs: Optional[Sequence[Path]]
) -> list[dict[str, Any]]:
    """What `verify` finds of each of `splits`, which are so many."""
    from rich.progress import track

    from pysplitcodec.runtime import model_format, probe
    from pysplitcodec.splitting import verify_all

    if model_format(model) == "tflite":
        # A bad one can end the process that runs it.
        probe(model)
    given = load_model_inputs(model, inputs) if inputs else None
    differences = verify_all(model, splits, given)
    return [
        {
            "identical": difference.identical,
            "max_abs_difference": difference.largest,
            "max_relative_difference": difference.relative,
        }
        for difference in track(
            differences,
            "Comparing",
            total=count,
            console=messages,
            transient=True,
            disable=not messages.is_terminal,
        )
    ]


def _fit_codec(head: bytes, calibration: Path, bits: int, coder: str) -> Any:
    import numpy as np

    from pysplitcodec import Codebook, Codec
    from pysplitcodec.runtime import open_model

    runner = open_model(head)
    inputs = load_inputs(calibration, runner.inputs[0], None)
    features = np.concatenate([runner(sample)[0] for sample in inputs])
    dtype: Any = features.dtype.name
    return Codec(Codebook.fit(features, bits), coder, shape=features.shape[1:], dtype=dtype)


def _cut_row(cut: Any) -> dict[str, Any]:
    """One cut, in JSON."""
    return {
        "at": cut.index,
        "name": cut.name,
        "after": cut.after,
        "shape": list(cut.tensors[0].shape),
        "dtype": cut.tensors[0].dtype,
        "bytes": cut.nbytes,
        "repeats": cut.repeats,
        "modules": list(cut.modules),
        "tensors": [asdict(tensor) for tensor in cut.tensors],
    }


def _cut_cells(cut: Any) -> dict[str, Any]:
    """One cut, in a table."""
    shapes = ["x".join(map(str, tensor.shape)) or "scalar" for tensor in cut.tensors]
    return {
        "at": cut.index,
        "name": cut.name,
        "after": cut.after,
        "shape": " + ".join(shapes),
        "dtype": " + ".join(tensor.dtype for tensor in cut.tensors),
        "bytes": cut.nbytes,
        "as": "" if cut.repeats is None else cut.repeats,
    }
