"""What coders learn from calibration indices: the base of every coder's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from pysplitcodec.codebook import as_plain
from pysplitcodec.errors import ArgumentError, CoderModelError, FeatureError
from pysplitcodec.native import CODERS, core

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["NEED_MODEL", "CoderModel", "checked_planes", "load_model"]

# Coders that do nothing without a model, and its class.
NEED_MODEL = {"rans": "RansModel", "context": "ContextModel"}

BYTES_AROUND = 12  # header and checksum, around a model's body
_MOST_CHANNELS = 65535

_Model = TypeVar("_Model", bound="CoderModel")


class CoderModel:
    """A coder's model: bytes that both ends hold, specified in docs/format.md.

    Immutable; equal models have equal bytes.  Give it to a `Codec`, whose id then covers it.
    """

    coder: ClassVar[str]
    __slots__ = ("_bytes", "_native")

    def __init__(self, data: bytes) -> None:
        """Check and take what `to_bytes` gave.  Raises CoderModelError on anything else."""
        self._bytes = bytes(data)
        self._native = core.Model(self._bytes)
        if self._native.coder() != CODERS[self.coder]:
            raise CoderModelError(
                f"model is one of coder {core.coder_name(self._native.coder())!r}: "
                f"expected one of {self.coder!r}"
            )

    @property
    def native(self) -> Any:
        """The core's view of it."""
        return self._native

    @property
    def bits(self) -> int:
        """Width of the indices that it is for."""
        return self._native.bits()

    @property
    def channels(self) -> int:
        """Number of channels that it is for."""
        return self._native.channels()

    def to_bytes(self) -> bytes:
        """Return the bytes that both ends hold."""
        return self._bytes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bytes to a file."""
        Path(path).write_bytes(self._bytes)

    @classmethod
    def load(cls: type[_Model], path: str | os.PathLike[str]) -> _Model:
        """Read what `save` wrote.  Raises CoderModelError if the file holds no such model."""
        return cls(Path(path).read_bytes())

    def __len__(self) -> int:
        """Return the number of bytes."""
        return len(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CoderModel) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return type(self), (self._bytes,)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.bits} bits and {self.channels} channels: "
            f"{len(self)} bytes>"
        )


def framed(coder: str, bits: int, channels: int, body: bytes) -> bytes:
    """Return a model's bytes: header, body and checksum."""
    head = b"SPM\1" + bytes([CODERS[coder], bits]) + channels.to_bytes(2, "little")
    return head + body + core.crc32c(head + body).to_bytes(4, "little")


def load_model(data: bytes) -> CoderModel:
    """Return the model in `data`, of whatever coder.  Raises CoderModelError."""
    name = core.coder_name(core.Model(data).coder())
    return next(kind for kind in CoderModel.__subclasses__() if kind.coder == name)(data)


def checked_planes(indices: NDArray[np.uint8], bits: int, channel_axis: int) -> NDArray[np.uint8]:
    """Return calibration indices as [samples, channels, rows, columns], contiguous.

    indices: uint8 [samples, ...]; channel_axis: of one sample, counted as Codec does.  The last
    of the other dimensions are the columns.  Raises FeatureError or ArgumentError.
    """
    plain = as_plain(indices, ("uint8",), name="indices")
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ArgumentError(f"bits is {bits!r}: expected an integer from 1 to 8")
    if plain.ndim < 2 or plain.size == 0:
        raise FeatureError(f"indices have shape {plain.shape}: expected (samples, ...), not empty")
    if int(plain.max()) >> bits:
        raise FeatureError(f"indices reach {int(plain.max())}: expected less than {1 << bits}")
    rank = plain.ndim - 1
    if not isinstance(channel_axis, int) or not -rank <= channel_axis < rank:
        raise ArgumentError(
            f"channel_axis is {channel_axis!r}: expected an axis of one sample, {plain.shape[1:]}"
        )
    planes = np.moveaxis(plain, channel_axis % rank + 1, 1)
    samples, channels, *rest = planes.shape
    if channels > _MOST_CHANNELS:
        raise FeatureError(f"indices have {channels} channels: expected {_MOST_CHANNELS:,} at most")
    columns = rest[-1] if rest else 1
    return np.ascontiguousarray(planes.reshape(samples, channels, -1, columns))
