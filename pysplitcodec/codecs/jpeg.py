"""Features and images as JPEG, for baselines of published work.  Needs Pillow (extra "cli").

>>> codec = JpegCodec((8, 4, 4), quality=90)
>>> feature = np.linspace(-1, 1, 128, dtype=np.float32).reshape(8, 4, 4)
>>> bool(np.abs(codec.decode(codec.encode(feature)) - feature).max() < 0.1)
True
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pysplitcodec.codebook import as_plain
from pysplitcodec.errors import (
    ArgumentError,
    CorruptFrameError,
    FeatureError,
    MissingDependencyError,
    TruncatedFrameError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JpegCodec", "JpegScans"]

_MAX_SIDE = 65500  # of libjpeg
_MAX_PIXELS = 1 << 26
_SCAN = 0xDA  # the last segment of the header
_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff(?!\x00)")
_RANGE = struct.Struct("<ff")

# Of an 8x8 block with the standard tables: a difference of 0 and "end of block" take 2 + 2 bits
# in colour, 2 + 4 in grey; a difference at most 9 + 11 bits, 63 values 16 + 10 bits each, and every
# byte may be followed by a stuffed one.
_MIN_BLOCK_BITS = 4
_MAX_BLOCK_BYTES = 2 * (20 + 63 * 26) // 8 + 1


class JpegScans:
    """Images of one size as JPEG, without the header that is the same for all of them.

    shape: (height, width), grey, or (height, width, 3), RGB; quality: 1 to 100, as libjpeg has it;
    subsampling: of the colours, "4:4:4" or "4:2:0".  Tables are the standard's: with the header
    (`header`, of JFIF) and its end, two bytes, a scan is the file that any program reads.
    Both ends need a libjpeg that makes the same tables of a quality, as all in use do.

    Raises ArgumentError for a wrong argument, MissingDependencyError without Pillow.
    """

    def __init__(self, shape: Sequence[int], quality: int, subsampling: str = "4:4:4") -> None:
        self.shape = tuple(shape)
        sides = _checked_sides(self.shape)
        if len(sides) not in (2, 3) or sides[2:] not in ((), (3,)):
            raise ArgumentError(f"shape is {shape!r}: expected (height, width) or (.., .., 3)")
        height, width = sides[:2]
        if max(height, width) > _MAX_SIDE or height * width > _MAX_PIXELS:
            raise ArgumentError(
                f"an image of {height} x {width}: expected sides up to {_MAX_SIDE}, and at most "
                f"{_MAX_PIXELS} pixels"
            )
        if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
            raise ArgumentError(f"quality is {quality!r}: expected a whole number from 1 to 100")
        if subsampling not in ("4:4:4", "4:2:0"):
            raise ArgumentError(f"subsampling is {subsampling!r}: expected 4:4:4 or 4:2:0")
        self.quality, self.subsampling = quality, subsampling
        self._pillow = _pillow()
        blank = self.file(np.zeros(self.shape, np.uint8))
        start = 2
        while blank[start + 1] != _SCAN:
            start += _segment_len(blank, start)
        self.header = blank[: start + _segment_len(blank, start)]
        blocks = -(-height // 8) * -(-width // 8)
        self._min_len = -(-blocks * _MIN_BLOCK_BITS // 8)
        # up to 15 more rows and columns of blocks, in three components, where 4:2:0 fills up
        self._max_len = 3 * -(-height // 16) * -(-width // 16) * 4 * _MAX_BLOCK_BYTES

    def file(self, pixels: NDArray[np.uint8], *, optimize: bool = False) -> bytes:
        """One image as a whole JPEG file; optimize: with Huffman tables of its own."""
        how = {"quality": self.quality, "subsampling": self.subsampling, "optimize": optimize}
        buffer = io.BytesIO()
        image = self._pillow.Image.fromarray(pixels)
        if not optimize:
            image.save(buffer, format="JPEG", **how)
            return buffer.getvalue()
        # Pillow guesses how much room such a file takes, and fails on noise at high quality.
        block = self._pillow.ImageFile.MAXBLOCK
        self._pillow.ImageFile.MAXBLOCK = max(block, self._max_len + 2 * len(self.header))
        try:
            image.save(buffer, format="JPEG", **how)
        finally:
            self._pillow.ImageFile.MAXBLOCK = block
        return buffer.getvalue()

    def encode(self, pixels: NDArray[np.uint8]) -> bytes:
        """The scan of one image: uint8 of `shape`.  Raises FeatureError for any other array."""
        plain = as_plain(pixels, ("uint8",), name="pixels")
        if plain.shape != self.shape:
            raise FeatureError(f"pixels have shape {plain.shape}: expected {self.shape}")
        file = self.file(plain)
        assert file.startswith(self.header)
        return file[len(self.header) : -len(_END)]

    def decode(self, scan: bytes) -> NDArray[np.uint8]:
        """The image of one scan: uint8 of `shape`.

        The size of what is decoded is in the header, never in the scan.  Damage that leaves a
        possible scan goes unnoticed, as everywhere in JPEG: there is no checksum.

        Raises TruncatedFrameError for a length that no scan of this size has, CorruptFrameError
        where there is something else than a scan.
        """
        if not self._min_len <= len(scan) <= self._max_len:
            raise TruncatedFrameError(
                f"a scan of {len(scan)} bytes: expected {self._min_len} to {self._max_len}"
            )
        marker = _MARKER.search(scan)
        if marker:
            raise CorruptFrameError(f"a marker at byte {marker.start()} of a scan, which has none")
        try:
            file = io.BytesIO(self.header + scan + _END)
            return np.asarray(self._pillow.Image.open(file, formats=("JPEG",)))
        except (OSError, SyntaxError) as error:
            raise CorruptFrameError(f"libjpeg cannot read the scan: {error}") from None


class JpegCodec:
    """Encodes features of one shape as JPEG: 8 bits between minimum and maximum, in one grey image.

    shape: (channels, height, width); quality: 1 to 100.  The image shows the channels in rows, as
    tiles side by side, in a grid of as few blocks of 8x8 as possible and then as near to a square
    as possible.  Tiles are not padded to whole blocks: on features of ResNet-20 and of TinyImageNet
    padding takes 1.0 to 2.9 times the bytes at the same squared error (tiles of 4x4 the most); only
    at low quality, with sides one or two below a multiple of 8, it saves up to 9%.  After
    Choi and Bajic, arXiv 1802.03931, whose grid is of powers of two.

    Raises ArgumentError for a wrong argument, MissingDependencyError without Pillow.
    """

    def __init__(self, shape: Sequence[int], quality: int) -> None:
        self.shape = tuple(shape)
        if len(_checked_sides(self.shape)) != 3:
            raise ArgumentError(f"shape is {shape!r}: expected (channels, height, width)")
        self.quality = quality
        channels, height, width = self.shape
        self._grid = min(
            ((-(-channels // columns), columns) for columns in range(1, channels + 1)),
            key=lambda grid: _cost(grid[0] * height, grid[1] * width),
        )
        self._scans = JpegScans((self._grid[0] * height, self._grid[1] * width), quality)

    @property
    def header_len(self) -> int:
        """Bytes that a frame would have more, were its image a whole JPEG file."""
        return len(self._scans.header) + len(_END)

    def encode(self, feature: NDArray[np.float32]) -> bytes:
        """Minimum and maximum, two little-endian float32, and the image's scan.

        feature: float32 of `shape`.  Raises FeatureError for any other array and for NaN or
        infinity.
        """
        plain = as_plain(feature, ("float32",), name="feature")
        if plain.shape != self.shape:
            raise FeatureError(f"feature has shape {plain.shape}: expected {self.shape}")
        low, high = float(plain.min()), float(plain.max())
        if not np.isfinite(high - low):
            raise FeatureError(f"feature reaches from {low} to {high}: expected finite values")
        step = (high - low) / 255 or 1.0
        rows, columns = self._grid
        channels, height, width = self.shape
        tiles = np.zeros((rows * columns, height, width), np.uint8)
        tiles[:channels] = np.rint((plain.astype(np.float64) - low) / step)
        mosaic = tiles.reshape(rows, columns, height, width).swapaxes(1, 2)
        return _RANGE.pack(low, high) + self._scans.encode(mosaic.reshape(self._scans.shape))

    def decode(self, frame: bytes) -> NDArray[np.float32]:
        """The feature of one frame: float32 of `shape`.

        Raises TruncatedFrameError for a length that no frame has, CorruptFrameError for a minimum
        above the maximum, NaN, infinity, or something else than a scan.
        """
        if len(frame) < _RANGE.size:
            raise TruncatedFrameError(f"{len(frame)} bytes: expected more than {_RANGE.size}")
        low, high = _RANGE.unpack_from(frame)
        if not (low <= high and np.isfinite(high - low)):
            raise CorruptFrameError(f"values from {low} to {high}: expected an ascending range")
        rows, columns = self._grid
        channels, height, width = self.shape
        mosaic = self._scans.decode(frame[_RANGE.size :]).reshape(rows, height, columns, width)
        tiles = mosaic.swapaxes(1, 2).reshape(rows * columns, height, width)[:channels]
        levels = np.linspace(low, high, 256).astype(np.float32)  # that ends exactly at `high`
        feature: NDArray[np.float32] = levels[tiles]
        return feature


def _checked_sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not all(isinstance(side, (int, np.integer)) and side > 0 for side in shape):
        raise ArgumentError(f"shape is {shape!r}: expected whole numbers from 1")
    return shape


def _segment_len(file: bytes, start: int) -> int:
    """Bytes of the segment whose marker is at `start`."""
    return 2 + int.from_bytes(file[start + 2 : start + 4], "big")


def _cost(height: int, width: int) -> tuple[bool, int, int]:
    too_long = max(height, width) > _MAX_SIDE
    return too_long, -(-height // 8) * -(-width // 8), abs(height - width)


def _pillow() -> Any:
    try:
        import PIL.ImageFile
    except ImportError:
        raise MissingDependencyError("JPEG needs Pillow: pip install 'pysplitcodec[cli]'") from None
    return PIL
