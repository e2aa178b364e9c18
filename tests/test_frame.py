"""Looking at frames, and reading them one after another."""

from __future__ import annotations

import dataclasses
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pysplitcodec as sc
from pysplitcodec import errors

BOOK = sc.Codebook([0, 1, 2, 3])


def frames_of(count: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [
        sc.encode(rng.normal(size=rng.integers(0, 300)).astype(np.float32), BOOK)
        for _ in range(count)
    ]


# ------------------------------------------------------------------ inspect


def test_inspect_self_describing() -> None:
    frame = sc.encode(np.zeros((8, 16), dtype=np.int8), BOOK)
    info = sc.inspect(frame)
    codec = sc.Codec(BOOK, shape=(8, 16), dtype="int8")
    assert info == sc.FrameInfo(
        self_describing=True,
        coder="lzma",
        codec_id=codec.id,
        frame_len=len(frame),
        payload_len=len(frame) - 17 - 8 - 16,
        bits=2,
        dtype="int8",
        shape=(8, 16),
        codebooks=1,
        channel_axis=None,
        slice_of=None,
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.bits = 3  # type: ignore[misc]
    assert len({info, sc.inspect(frame)}) == 1


def test_inspect_compact() -> None:
    codec = sc.Codec(BOOK, "pack", shape=(5,))
    frame = codec.encode(np.zeros(5, dtype=np.float32))
    assert sc.inspect(frame) == sc.FrameInfo(
        self_describing=False,
        coder="pack",
        codec_id=codec.id,
        frame_len=12,
        payload_len=2,
        bits=None,
        dtype=None,
        shape=None,
        codebooks=None,
        channel_axis=None,
        slice_of=None,
    )


def test_inspect_does_not_look_into_the_payload() -> None:
    # unknown coders and impossible payloads are seen by decoding alone
    from pysplitcodec.native import core

    codec = sc.Codec(BOOK, "pack", shape=(5,))
    body = bytes([0xC1, 9]) + codec.id.to_bytes(4, "little") + b"anything"
    frame = body + core.crc32c(body).to_bytes(4, "little")
    info = sc.inspect(frame)
    assert (info.coder, info.payload_len) == ("unknown (9)", 8)
    with pytest.raises(errors.CoderUnavailableError):
        codec.decode(frame)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda frame: frame[:0], errors.TruncatedFrameError),
        (lambda frame: b"no frame" + frame, errors.NotAFrameError),
        (lambda frame: frame[:3] + b"\2" + frame[4:], errors.FrameVersionError),
        (lambda frame: b"\xc2" + frame[1:], errors.FrameVersionError),
        (lambda frame: frame[:-1], errors.TruncatedFrameError),
        (lambda frame: frame + frame, errors.TruncatedFrameError),
        (lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]), errors.ChecksumError),
        (lambda frame: frame[:20] + bytes([frame[20] ^ 128]) + frame[21:], errors.ChecksumError),
    ],
)
def test_inspect_of_damaged_frames(damage: Any, error: type[Exception]) -> None:
    frame = sc.encode(np.zeros(40, dtype=np.float32), BOOK)
    with pytest.raises(error):
        sc.inspect(damage(frame))
    with pytest.raises(error):
        sc.decode(damage(frame))


def test_inspect_of_other_objects() -> None:
    for wrong in (None, 5, "SPC", [1]):
        with pytest.raises(TypeError):
            sc.inspect(wrong)
    frame = frames_of(1)[0]
    with pytest.raises(BufferError):
        sc.inspect(memoryview(frame + frame)[::2])
    words = np.frombuffer(frame + bytes(-len(frame) % 4), dtype=np.uint32)
    with pytest.raises(errors.FrameError):
        sc.inspect(words[:2])
    if len(frame) % 4 == 0:
        assert sc.inspect(words).frame_len == len(frame)  # bytes, not items


def test_lengths_are_in_bytes() -> None:
    frame = next(frame for frame in frames_of(50) if len(frame) % 4 == 0)
    words = np.frombuffer(frame, dtype=np.uint32)
    assert sc.inspect(words).frame_len == len(frame)
    assert sc.inspect(memoryview(frame).cast("I")) == sc.inspect(frame)


# ------------------------------------------------------------------ read_frames


@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_read_frames(count: int) -> None:
    frames = frames_of(count)
    assert list(sc.read_frames(io.BytesIO(b"".join(frames)))) == frames


def test_read_frames_of_a_file(tmp_path: Path) -> None:
    frames = frames_of(5)
    path = tmp_path / "features.spc"
    path.write_bytes(b"".join(frames))
    with path.open("rb") as stream:
        assert list(sc.read_frames(stream)) == frames
        assert list(sc.read_frames(stream)) == []


def test_frames_are_read_one_by_one() -> None:
    frames = frames_of(3)
    stream = io.BytesIO(b"".join(frames))
    reader = sc.read_frames(stream)
    assert next(reader) == frames[0]
    assert stream.tell() == len(frames[0])
    assert next(reader) == frames[1]


class Dribble(io.RawIOBase):
    """An unbuffered stream that gives what has come in so far, like a pipe or a socket."""

    def __init__(self, data: bytes, seed: int = 0) -> None:
        self._data, self._at, self._random = data, 0, random.Random(seed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._random.randrange(1, 6), len(self._data) - self._at)
        buffer[:count] = self._data[self._at : self._at + count]
        self._at += count
        return count


def test_read_frames_of_a_stream_that_gives_a_little_at_a_time() -> None:
    frames = frames_of(4)
    assert list(sc.read_frames(io.BufferedReader(Dribble(b"".join(frames))))) == frames
    assert list(sc.read_frames(Dribble(b"".join(frames)))) == frames  # type: ignore[arg-type]


@given(st.integers(1, 3), st.data())
def test_streams_that_end_inside_a_frame(count: int, data: st.DataObject) -> None:
    frames = frames_of(count)
    whole = b"".join(frames)
    length = data.draw(st.integers(0, len(whole)))
    read: list[bytes] = []
    reader = sc.read_frames(io.BytesIO(whole[:length]))
    ends = {sum(map(len, frames[:i])) for i in range(count + 1)}
    if length in ends:
        read.extend(reader)
    else:
        with pytest.raises(errors.TruncatedFrameError):
            for frame in reader:
                read.append(frame)
    assert read == frames[: len(read)]
    assert sum(map(len, read)) == max(end for end in ends if end <= length)


def test_length_is_checked_before_reading() -> None:
    class Watched(io.BytesIO):
        largest = 0

        def read(self, size: Any = -1) -> bytes:
            self.largest = max(self.largest, size)
            return super().read(size)

    frame = sc.encode(np.zeros(1000, dtype=np.float32), BOOK, "pack")
    stream = Watched(frame)
    with pytest.raises(errors.FrameLimitError, match=f"{len(frame)} bytes: the limit is 100"):
        list(sc.read_frames(stream, max_frame_len=100))
    assert stream.largest == 8
    assert list(sc.read_frames(io.BytesIO(frame), max_frame_len=len(frame))) == [frame]
    huge = Watched(b"SPC\1\xff\xff\xff\xff" + bytes(100))
    with pytest.raises(errors.FrameLimitError):
        list(sc.read_frames(huge))
    assert huge.largest == 8


@pytest.mark.parametrize("length", [0, 1, 7, 8, 15])
def test_impossible_lengths_end(length: int) -> None:
    # never an endless loop over frames of no length, never a frame without a header
    data = b"SPC\1" + length.to_bytes(4, "little") + bytes(40)
    with pytest.raises(errors.FrameError):
        for frame in sc.read_frames(io.BytesIO(data)):
            sc.decode(frame)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"no frames here", errors.NotAFrameError),
        (b"\n", errors.NotAFrameError),
        (b"SPC\2\0\0\0\0", errors.FrameVersionError),
        (b"S", errors.TruncatedFrameError),
        (b"SPC\1\x20", errors.TruncatedFrameError),
    ],
)
def test_streams_of_something_else(data: bytes, error: type[Exception]) -> None:
    frame = frames_of(1)[0]
    for before in ([], [frame]):
        reader = sc.read_frames(io.BytesIO(b"".join(before) + data))
        read = []
        with pytest.raises(error):
            for found in reader:
                read.append(found)
        assert read == before


def test_streams_of_compact_frames() -> None:
    # their length is not in them
    codec = sc.Codec(BOOK, shape=(50,))
    frame = codec.encode(np.zeros(50, dtype=np.float32))
    with pytest.raises(errors.FrameError):
        list(sc.read_frames(io.BytesIO(frame + frame)))


def test_damage_is_found_by_decoding() -> None:
    # read_frames finds the borders; the checksum is the decoder's business
    frames = frames_of(3, seed=5)
    damaged = bytearray(b"".join(frames))
    damaged[len(frames[0]) + 30] ^= 1
    read = list(sc.read_frames(io.BytesIO(bytes(damaged))))
    assert [len(frame) for frame in read] == [len(frame) for frame in frames]
    sc.decode(read[0])
    with pytest.raises(errors.ChecksumError):
        sc.decode(read[1])
    sc.decode(read[2])
