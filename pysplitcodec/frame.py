"""Looking at frames without decoding them.  docs/format.md says what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from pysplitcodec.errors import ArgumentError, FrameError, FrameLimitError, TruncatedFrameError
from pysplitcodec.native import CODERS, DTYPES, core

__all__ = ["FrameInfo", "inspect", "read_frames"]

_CODER_NAMES = {number: name for name, number in CODERS.items()}
_DTYPE_NAMES = {number: name for name, number in DTYPES.items()}
_HEADER = 8


@dataclass(frozen=True)
class FrameInfo:
    """What a frame says of itself.

    A compact frame names its codec by `codec_id` alone: `bits` and what follows are None.
    `codebooks` is how many there are, and `channel_axis` the dimension that counts the channels,
    None if the frame names none.  `slice_of` is the first channel of a slice and how many the whole
    feature has, None if the frame is no slice.  Lengths are in bytes.
    """

    self_describing: bool
    coder: str
    codec_id: int
    frame_len: int
    payload_len: int
    bits: int | None
    dtype: str | None
    shape: tuple[int, ...] | None
    codebooks: int | None
    channel_axis: int | None
    slice_of: tuple[int, int] | None


def inspect(frame: Any) -> FrameInfo:
    """Check one frame's length, version, checksum and header, and return what it says.

    frame: any bytes-like object holding exactly one frame.  Raises the FrameError that fits.
    """
    found = core.frame_parse(frame)
    full = found["kind"] == 1
    coder = found["coder"]
    return FrameInfo(
        self_describing=full,
        coder=_CODER_NAMES.get(coder, f"unknown ({coder})"),
        codec_id=found["codec_id"],
        frame_len=memoryview(frame).nbytes,
        payload_len=found["payload_len"],
        bits=found["bits"] if full else None,
        dtype=_DTYPE_NAMES[found["dtype"]] if full else None,
        shape=found["shape"] if full else None,
        codebooks=found["groups"] if full else None,
        channel_axis=None if found["axis"] < 0 else found["axis"],
        slice_of=found["slice"] if found["slice"][1] else None,
    )


def read_frames(stream: BinaryIO, max_frame_len: int = 1 << 28) -> Iterator[bytes]:
    """Yield the self-describing frames that follow one another in a binary stream.

    Raises TruncatedFrameError if the stream ends inside a frame, FrameLimitError for a frame longer
    than `max_frame_len` bytes (before reading it), and other FrameErrors for what is no frame.
    """
    while header := _read(stream, _HEADER):
        try:
            length = core.frame_length(header)
        except ArgumentError:
            raise FrameError("compact frame: only its transport knows where it ends") from None
        if length > max_frame_len:
            raise FrameLimitError(f"frame of {length} bytes: the limit is {max_frame_len}")
        rest = _read(stream, length - _HEADER)
        if len(header) + len(rest) != length:
            raise TruncatedFrameError(
                f"the stream ends inside a frame: {len(header) + len(rest)} of {length} bytes"
            )
        yield header + rest


def _read(stream: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes; fewer only at the end, though pipes and sockets give less at a time."""
    pieces = []
    while count > 0 and (piece := stream.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
