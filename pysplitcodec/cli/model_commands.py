"""`split`: a model into head, tail and, given calibration inputs, a codec."""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from pysplitcodec.cli.arrays import load_inputs
from pysplitcodec.cli.codec_commands import cut_row
from pysplitcodec.cli.output import Json, messages, print_json, print_table, reports_errors

__all__ = ["split"]


@reports_errors
def split(
    model: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .tflite or .onnx model.")
    ],
    at: Annotated[
        Optional[str],
        typer.Option(help="Where to cut: a tensor's name or a number; without it, list the cuts."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the files head and tail.")
    ] = Path("out"),
    calibrate: Annotated[
        Optional[Path],
        typer.Option(exists=True, help="Inputs (.npy, .npz) to fit a codebook on: codec.json."),
    ] = None,
    bits: Annotated[int, typer.Option(min=1, max=8, help="Index width of the codec.")] = 2,
    coder: Annotated[str, typer.Option(help="One of: pack, lzma.")] = "lzma",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Compare tail(head(x)) with the whole; without --at, of all."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Split a model at a tensor: a head for the device, a tail for the server."""
    from pysplitcodec import splitting
    from pysplitcodec.runtime import model_format

    if at is None:
        rows = [cut_row(cut) for cut in splitting.list_cuts(model)]
        if verify:
            rows = [{**row, **_verified(model, splitting.split(model, row["at"]))} for row in rows]
        if as_json:
            print_json({"model": str(model), "rows": rows})
        else:
            columns = list(rows[0]) if rows else ["no cut"]
            print_table(
                f"{model}: give one with --at", columns, (tuple(row.values()) for row in rows)
            )
        return
    halves = splitting.split(model, int(at) if at.isdecimal() else at)
    output.mkdir(parents=True, exist_ok=True)
    suffix = model_format(model)
    files = {name: output / f"{name}.{suffix}" for name in ("head", "tail")}
    files["head"].write_bytes(halves.head)
    files["tail"].write_bytes(halves.tail)
    if calibrate:
        files["codec"] = output / "codec.json"
        _fit_codec(halves.head, calibrate, bits, coder).save(files["codec"])
    verified = _verified(model, halves) if verify else {}
    if as_json:
        named = {name: str(path) for name, path in files.items()}
        print_json({"model": str(model), "cut": cut_row(halves.cut), **named, **verified})
    else:
        for path in files.values():
            messages.print(f"{path}: {path.stat().st_size} bytes")
        for name, value in verified.items():
            messages.print(f"{name}: {value}")


def _verified(model: Path, halves: Any) -> dict[str, Any]:
    from pysplitcodec.splitting import verify

    difference = verify(model, halves)
    return {"identical": difference.identical, "max_abs_difference": difference.largest}


def _fit_codec(head: bytes, calibration: Path, bits: int, coder: str) -> Any:
    import numpy as np

    from pysplitcodec import Codebook, Codec
    from pysplitcodec.runtime import open_model

    runner = open_model(head)
    inputs = load_inputs(calibration, runner.inputs[0], None)
    features = np.concatenate([runner(sample)[0] for sample in inputs])
    dtype: Any = features.dtype.name
    return Codec(Codebook.fit(features, bits), coder, shape=features.shape[1:], dtype=dtype)
