"""`encode` and `decode`: features and frames in files."""

from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

import pysplitcodec as sc
from pysplitcodec.cli.arrays import load_array
from pysplitcodec.cli.output import Json, messages, print_json, reports_errors
from pysplitcodec.codebook import as_plain
from pysplitcodec.errors import ArgumentError, FeatureError, FrameError

__all__ = ["decode", "encode"]

InputFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False)]


@reports_errors
def encode(
    feature: InputFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the frames go.")],
    bits: Annotated[int, typer.Option(min=1, max=8, help="Index width.")] = 2,
    coder: Annotated[str, typer.Option(help="One of: pack, lzma.")] = "lzma",
    codebook: Annotated[
        Optional[Path],
        typer.Option(exists=True, help="A saved codebook; without it one is fitted to the input."),
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="One frame for each entry along the first axis.")
    ] = False,
    channel_axis: Annotated[
        Optional[int],
        typer.Option(help="Fit one codebook to each channel along this axis (of one entry)."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that share a batch.")] = 1,
    as_json: Json = False,
) -> None:
    """Encode a .npy or .npz feature (float32, float16, int8 or uint8) into self-describing frames.

    One codebook per channel follows a feature more closely, and makes each frame longer.
    """
    array = as_plain(load_array(feature), name=str(feature))
    if batch and array.ndim == 0:
        raise FeatureError(f"{feature} holds a single number: it has no first axis for --batch")
    if codebook and channel_axis is not None:
        raise ArgumentError("--channel-axis fits codebooks: it does not go with --codebook")
    entries = array if batch else array[None]
    codec = _codec_for(entries, bits, coder, codebook, channel_axis)
    frames = codec.encode_batch(entries, self_describing=True, threads=threads)
    output.write_bytes(b"".join(frames))
    written = sum(map(len, frames))
    report = {
        "frames": len(frames),
        "coder": coder,
        "bits": codec.bits,
        "bytes_in": array.nbytes,
        "bytes_out": written,
        "ratio": array.nbytes / written if written else 0.0,
    }
    if as_json:
        print_json(report)
    else:
        messages.print(
            f"{output}: {len(frames)} frame(s), {array.nbytes} -> {written} bytes "
            f"({report['ratio']:.1f}x), {codec.bits} bits, {coder}"
        )


def _codec_for(
    entries: Any, bits: int, coder: str, codebook: Optional[Path], channel_axis: Optional[int]
) -> sc.Codec:
    books: Any
    if codebook:
        books = sc.Codebook.load(codebook)
    elif channel_axis is None:
        books = sc.Codebook.fit(entries, bits)
    else:
        axis = channel_axis if channel_axis < 0 else channel_axis + 1
        books = sc.Codebook.fit_channels(entries, bits, axis)
    return sc.Codec(
        books,
        coder,
        shape=entries.shape[1:],
        dtype=entries.dtype.name,
        channel_axis=channel_axis,
    )


@reports_errors
def decode(
    frames: InputFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npy file to write.")],
    max_elements: Annotated[
        int, typer.Option(min=1, help="Refuse frames of more elements than this.")
    ] = 1 << 26,
    as_json: Json = False,
) -> None:
    """Decode the self-describing frames of a file; several of one shape become a batch."""
    features = []
    with frames.open("rb") as stream:
        for number, frame in enumerate(sc.read_frames(stream)):
            try:
                features.append(sc.decode(frame, max_elements=max_elements))
            except FrameError as error:
                raise type(error)(f"frame {number} of {frames}: {error}") from None
    if not features:
        raise FrameError(f"{frames} is empty: expected at least one frame")
    first = features[0]
    if any(f.shape != first.shape or f.dtype != first.dtype for f in features):
        raise FrameError(f"{frames} holds features of different shapes or dtypes")
    result = first if len(features) == 1 else np.stack(features)
    if result.dtype.name == "bfloat16":  # which a .npy file cannot name; float32 holds it exactly
        result = result.astype(np.float32)
    with output.open("wb") as target:
        np.save(target, result)
    report = {"frames": len(features), "shape": list(result.shape), "dtype": result.dtype.name}
    if as_json:
        print_json(report)
    else:
        messages.print(f"{output}: {result.dtype} {result.shape} from {len(features)} frame(s)")
