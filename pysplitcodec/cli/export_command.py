"""`export`: a codec as a C header, a half of a PyTorch model as a file for a device."""

import math
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer

import pysplitcodec as sc
from pysplitcodec.c_header import c_definitions, c_header
from pysplitcodec.cli.arrays import load_model_inputs
from pysplitcodec.cli.output import Json, messages, print_json, reports_errors
from pysplitcodec.codebook import read_json
from pysplitcodec.errors import ArgumentError
from pysplitcodec.native import CODERS, DTYPES

__all__ = ["export"]

_OF_A_CODEBOOK = "Of a codebook's codec:"


class Target(str, Enum):
    """What can be exported for."""

    c = "c"
    tflite = "tflite"
    onnx = "onnx"


@reports_errors
def export(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="A saved codec or codebook; or a .pt2 model."
        ),
    ],
    target: Annotated[
        Target,
        typer.Option(help="c: a codec as a header, splitcodec_plan.h; others: a model's format."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the file, or its name with the suffix."),
    ],
    shape: Annotated[
        Optional[str], typer.Option(help=f"{_OF_A_CODEBOOK} shape of a feature, as 64x56x56.")
    ] = None,
    dtype: Annotated[
        Optional[str], typer.Option(help=f"{_OF_A_CODEBOOK} one of {', '.join(DTYPES)}. [float32]")
    ] = None,
    coder: Annotated[
        Optional[str], typer.Option(help=f"{_OF_A_CODEBOOK} one of {', '.join(CODERS)}. [lzma]")
    ] = None,
    channel_axis: Annotated[
        Optional[int], typer.Option(help=f"{_OF_A_CODEBOOK} the axis that counts the channels.")
    ] = None,
    calibrate: Annotated[
        Optional[list[Path]],
        typer.Option(
            exists=True,
            help="Of a model to TFLite: real inputs (.npy, .npz, images), to compute in int8.",
        ),
    ] = None,
    channels_last: Annotated[
        bool,
        typer.Option("--channels-last", help="Of a model to TFLite: inputs, outputs are NHWC."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a codec as constants for firmware, or a PyTorch model's half for a device."""
    if target is not Target.c:
        _export_model(file, target.value, output, calibrate, channels_last, as_json)
        return
    codec = _codec_in(file, shape, dtype, coder, channel_axis)
    path = output if output.suffix == ".h" else output / "splitcodec_plan.h"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(c_header(codec).encode("ascii"))  # the same line ends everywhere
    definitions = c_definitions(codec)
    if as_json:
        report = {"file": str(path), "codec_id": f"{codec.id:08x}", "definitions": definitions}
        print_json(report)
    else:
        messages.print(f"{path}: codec {codec.id:08x}, {codec.coder}, {codec.bits} bits")
        typer.echo(" ".join(f"-D{definition}" for definition in definitions))


def _export_model(
    file: Path,
    target: Literal["tflite", "onnx"],
    output: Path,
    calibrate: Optional[list[Path]],
    channels_last: bool,
    as_json: bool,
) -> None:
    from pysplitcodec.runtime import model_format, open_model

    if model_format(file) != "pt2":
        raise ArgumentError(f"--target {target} is for .pt2 models: {file} is none")
    import torch

    from pysplitcodec.splitting.torch_export import export
    from pysplitcodec.splitting.torch_file import read_module

    module, (args, kwargs) = read_module(file)
    if kwargs:
        raise ArgumentError(f"{file} takes named arguments, which cannot be exported from a file")
    # TFLite takes what the example has and nothing else: one sample, where the batch is free
    ends = open_model(file).inputs
    if len(args) != len(ends) or not all(end.shape for end in ends):
        raise ArgumentError(f"{file} takes more than tensors with a batch: export it from Python")
    example = tuple(arg[: end.shape[0]] for arg, end in zip(args, ends))
    given = load_model_inputs(file, calibrate) if calibrate else None
    samples = None if given is None else [tuple(map(torch.from_numpy, arrays)) for arrays in given]
    exported = export(module, example, target, calibration=samples, channels_last=channels_last)
    path = output if output.suffix == f".{target}" else output / f"{file.stem}.{target}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(exported.data)
    found = {
        "max_abs_difference": exported.largest,
        "max_relative_difference": exported.relative,
        "snr_db": exported.snr_db if math.isfinite(exported.snr_db) else None,
        "max_steps": exported.steps,
    }
    if as_json:
        print_json({"file": str(path), "bytes": len(exported.data), **found})
    else:
        messages.print(f"{path}: {len(exported.data)} bytes")
        for name, value in found.items():
            if value is not None:
                messages.print(f"{name}: {value:.4g}")


def _codec_in(
    file: Path,
    shape: Optional[str],
    dtype: Optional[str],
    coder: Optional[str],
    channel_axis: Optional[int],
) -> sc.Codec:
    given = {"shape": shape, "dtype": dtype, "coder": coder, "channel_axis": channel_axis}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    held = read_json(file, ArgumentError) if file.suffix == ".json" else None
    if isinstance(held, dict) and "codebook" in held:
        if options:
            option = next(iter(options))
            raise ArgumentError(
                f"--{option.replace('_', '-')} is {options[option]!r}: expected nothing beside "
                f"{file}, which holds a whole codec"
            )
        return sc.Codec.from_dict(held)
    if file.suffix == ".json" and not (isinstance(held, dict) and "centroids" in held):
        raise ArgumentError(f"{file} holds neither a codec nor a codebook")
    book = sc.Codebook.load(file)
    if shape is None:
        raise ArgumentError(f"--shape is missing: expected one as 64x56x56, {file} is a codebook")
    options["shape"] = _parsed(shape)
    return sc.Codec(book, **options)


def _parsed(shape: str) -> tuple[int, ...]:
    try:
        return tuple(int(dim) for dim in shape.split("x"))
    except ValueError:
        raise ArgumentError(f"--shape is {shape!r}: expected one as 64x56x56") from None
