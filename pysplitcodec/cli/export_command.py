"""`export`: a codec as a C header."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import pysplitcodec as sc
from pysplitcodec.c_header import c_definitions, c_header
from pysplitcodec.cli.output import Json, messages, print_json, reports_errors
from pysplitcodec.codebook import read_json
from pysplitcodec.errors import ArgumentError
from pysplitcodec.native import CODERS, DTYPES

__all__ = ["export"]

_OF_A_CODEBOOK = "Of a codebook's codec:"


class Target(str, Enum):
    """What can be exported for."""

    c = "c"


@reports_errors
def export(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A saved codec, or codebook.")
    ],
    target: Annotated[  # noqa: ARG001 (there is one so far)
        Target, typer.Option(help="c: a header, splitcodec_plan.h.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the header, or its name: *.h.")
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
    as_json: Json = False,
) -> None:
    """Write a codec as constants for firmware, and print what to compile the core with."""
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
