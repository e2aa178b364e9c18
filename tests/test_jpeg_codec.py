"""Features and images as JPEG."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysplitcodec import errors

Image = pytest.importorskip("PIL.Image", reason="JPEG needs the extra 'cli'")

from pysplitcodec.codecs.jpeg import JpegCodec, JpegScans  # noqa: E402

SHAPES = [(1, 1, 1), (8, 4, 4), (8, 8, 8), (13, 8, 8), (5, 7, 9), (61, 7, 7), (3, 33, 17)]


def smooth(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Channels of few low frequencies, as features have."""
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(shape[1])[:, None], np.arange(shape[2])
    waves = [
        rng.normal() * np.cos(0.3 * rng.random() * rows + 0.3 * rng.random() * columns)
        for _ in range(shape[0])
    ]
    return np.asarray(waves, dtype=np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_features_come_back(shape: tuple[int, int, int]) -> None:
    feature = smooth(shape)
    codec = JpegCodec(shape, 100)
    restored = codec.decode(codec.encode(feature))
    assert restored.dtype == np.float32 and restored.shape == shape
    # a level of 8 bits, and what the transform's integers round
    assert np.abs(restored - feature).max() <= 3 * np.ptp(feature) / 255


def test_channels_keep_their_places() -> None:
    feature = np.repeat(np.arange(13, dtype=np.float32), 64).reshape(13, 8, 8)
    codec = JpegCodec((13, 8, 8), 100)
    restored = codec.decode(codec.encode(feature))
    assert np.abs(restored.mean(axis=(1, 2)) - np.arange(13)).max() < 0.1


def test_lower_quality_takes_fewer_bytes_and_errs_more() -> None:
    feature = smooth((12, 15, 15)) + np.random.default_rng(0).normal(0, 0.1, (12, 15, 15)).astype(
        "f"
    )
    sizes, faults = [], []
    for quality in (1, 10, 30, 60, 90, 100):
        codec = JpegCodec(feature.shape, quality)
        frame = codec.encode(feature)
        sizes.append(len(frame))
        faults.append(float(np.square(codec.decode(frame) - feature).mean()))
    assert sizes == sorted(sizes) and faults == sorted(faults, reverse=True)
    assert sizes[0] * 4 < sizes[-1] and faults[0] > 20 * faults[-1]


@pytest.mark.parametrize("value", [0.0, -3.5, 1e-45, 3e38])
def test_constant_features_come_back_exactly(value: float) -> None:
    feature = np.full((4, 8, 8), value, np.float32)
    codec = JpegCodec(feature.shape, 100)
    restored = codec.decode(codec.encode(feature))
    assert (restored == feature).all()


def test_a_wide_range_does_not_overflow() -> None:
    feature = np.float32([[[-3e38, 3e38], [0, 0]]])
    codec = JpegCodec(feature.shape, 100)
    restored = codec.decode(codec.encode(feature))
    assert np.isfinite(restored).all() and np.abs(restored / 3e38 - feature / 3e38).max() < 0.05


def test_frame_is_the_range_and_the_scan_of_a_jpeg_file() -> None:
    feature = smooth((8, 8, 8))
    codec = JpegCodec(feature.shape, 75)
    frame = codec.encode(feature)
    assert struct.unpack("<ff", frame[:8]) == (feature.min(), feature.max())
    levels = (feature - feature.min()) / (feature.max() - feature.min()) * 255
    mosaic = np.rint(levels).astype(np.uint8).reshape(4, 2, 8, 8).swapaxes(1, 2).reshape(32, 16)
    file = io.BytesIO()
    Image.fromarray(mosaic).save(file, "JPEG", quality=75)
    assert len(file.getvalue()) == len(frame) - 8 + codec.header_len
    assert file.getvalue()[-len(frame) + 8 - 2 : -2] == frame[8:]


def test_mosaic_takes_as_few_blocks_as_it_can() -> None:
    # two blocks, where a square grid of 3 x 3 tiles would take four
    noise = np.random.default_rng(0).random((8, 4, 4), dtype=np.float32)
    blocks = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
    tiles, whole = JpegCodec((8, 4, 4), 90), JpegCodec((2, 8, 8), 90)
    assert len(tiles.encode(noise)) < 1.3 * len(whole.encode(blocks))


@pytest.mark.parametrize("quality", [1, 50, 97, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (17, 33, 3), (32, 32, 3), (40, 24)], ids=str)
def test_scans_decode_as_the_file_does(
    shape: tuple[int, ...], subsampling: str, quality: int
) -> None:
    scans = JpegScans(shape, quality, subsampling)
    rng = np.random.default_rng(0)
    for pixels in (rng.integers(0, 256, shape), np.zeros(shape), 255 * rng.integers(0, 2, shape)):
        scan = scans.encode(pixels.astype(np.uint8))
        file = scans.file(pixels.astype(np.uint8))
        assert file == scans.header + scan + b"\xff\xd9"
        assert (scans.decode(scan) == np.asarray(Image.open(io.BytesIO(file)))).all()


def test_tables_of_their_own_are_smaller_and_decode_alike() -> None:
    # noise at quality 100 takes more room than Pillow thinks
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3)).astype(np.uint8)
    scans = JpegScans(pixels.shape, 100)
    file = scans.file(pixels, optimize=True)
    assert len(file) < len(scans.file(pixels))
    decoded = np.asarray(Image.open(io.BytesIO(file)))
    assert (decoded == scans.decode(scans.encode(pixels))).all()


@pytest.mark.parametrize(
    ("shape", "quality", "message"),
    [
        ((8, 8), 50, "expected .channels, height, width"),
        ((8, 0, 8), 50, "whole numbers from 1"),
        ((8, 8, 8.0), 50, "whole numbers from 1"),
        ((4000, 224, 224), 50, "at most 67108864 pixels"),
        ((1, 1, 70000), 50, "sides up to 65500"),
        ((8, 8, 8), 0, "quality is 0: expected a whole number from 1 to 100"),
        ((8, 8, 8), 101, "quality is 101"),
        ((8, 8, 8), 50.0, r"quality is 50\.0"),
        ((8, 8, 8), True, "quality is True"),
    ],
)
def test_wrong_arguments(shape: tuple[int, ...], quality: int, message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        JpegCodec(shape, quality)


def test_wrong_scans() -> None:
    with pytest.raises(errors.ArgumentError, match="subsampling is '4:1:1'"):
        JpegScans((8, 8, 3), 50, "4:1:1")
    with pytest.raises(errors.ArgumentError, match="height, width"):
        JpegScans((8, 8, 4), 50)
    with pytest.raises(errors.FeatureError, match="pixels have shape"):
        JpegScans((8, 8), 50).encode(np.zeros((8, 9), np.uint8))


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (np.zeros((2, 4, 4)), "dtype float64"),
        (np.zeros((4, 4, 2), "f"), r"shape \(4, 4, 2\): expected \(2, 4, 4\)"),
        (np.full((2, 4, 4), np.nan, "f"), "finite"),
        (np.float32([np.inf, *[0] * 31]).reshape(2, 4, 4), "finite"),
    ],
)
def test_wrong_features(feature: np.ndarray, message: str) -> None:
    with pytest.raises(errors.FeatureError, match=message):
        JpegCodec((2, 4, 4), 50).encode(feature)


CODEC = JpegCodec((8, 8, 8), 50)
FRAME = CODEC.encode(smooth((8, 8, 8)))


def of_range(low: float, high: float) -> bytes:
    return struct.pack("<ff", low, high) + FRAME[8:]


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"", errors.TruncatedFrameError),
        (FRAME[:7], errors.TruncatedFrameError),
        (FRAME[:9], errors.TruncatedFrameError),
        (FRAME + bytes(1 << 16), errors.TruncatedFrameError),
        (of_range(1, 0), errors.CorruptFrameError),
        (of_range(np.nan, 1), errors.CorruptFrameError),
        (of_range(0, np.inf), errors.CorruptFrameError),
        # an image that would claim to be another, larger one
        (FRAME[:20] + bytes.fromhex("ffc0000b08fffffffff0011100"), errors.CorruptFrameError),
        (FRAME + b"\xff\xd9", errors.CorruptFrameError),
        (FRAME + b"\xff", errors.CorruptFrameError),
        (FRAME[:8] + CODEC._scans.file(np.zeros((32, 16), np.uint8)), errors.CorruptFrameError),
    ],
)
def test_corrupt_frames(frame: bytes, error: type[errors.FrameError]) -> None:
    with pytest.raises(error):
        CODEC.decode(frame)


@given(st.binary(max_size=400), st.integers(0, len(FRAME)))
def test_any_bytes_decode_or_are_refused(noise: bytes, kept: int) -> None:
    frame = FRAME[:kept] + noise
    try:
        feature = CODEC.decode(frame)
    except errors.FrameError:
        return
    low, high = struct.unpack("<ff", frame[:8])
    assert feature.shape == (8, 8, 8) and feature.dtype == np.float32
    assert low <= feature.min() and feature.max() <= high


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(errors.MissingDependencyError, match=r"pysplitcodec\[cli\]"):
        JpegCodec((8, 8, 8), 50)


def test_real_features_without_padding(data_dir: Path) -> None:
    """Tiles of 10x10: padded to whole blocks they would take a third more bytes."""
    features = np.load(data_dir / "features" / "tiny_split2_float32.npz")["test"][:20, :, :10, :10]
    padded = np.pad(features, ((0, 0), (0, 0), (0, 6), (0, 6)), mode="edge")
    sizes, faults = [], []
    for maps, quality in ((features, 70), (padded, 50)):
        codec = JpegCodec(maps.shape[1:], quality)
        frames = [codec.encode(one) for one in np.ascontiguousarray(maps)]
        restored = np.stack([codec.decode(frame) for frame in frames])[:, :, :10, :10]
        sizes.append(np.mean([len(frame) for frame in frames]))
        faults.append(np.square(restored - features).mean())
    assert sizes[0] < sizes[1] and faults[0] < faults[1]
