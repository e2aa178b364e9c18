"""Codecs: tensor <-> frame."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pysplitcodec import frame as _frame
from pysplitcodec.codebook import Codebook, as_plain, checked_name, read_json
from pysplitcodec.errors import (
    ArgumentError,
    CodecMismatchError,
    CoderUnavailableError,
    FeatureError,
    FrameError,
    FrameLimitError,
)
from pysplitcodec.native import CODERS, DTYPES, core

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["Codec", "coders", "decode", "encode"]

Dtype = Literal["float32", "int8", "uint8"]

_COMPACT, _SELF_DESCRIBING = 0, 1
_MAX_ELEMENTS = 0x1FFFFFFF
_MAX_RANK = 8


def coders() -> dict[str, bool]:
    """Names of all coders, and whether this build has them."""
    return {name: core.coder_available(number) for name, number in CODERS.items()}


class Codec:
    """Encodes features of one shape, dtype and codebook into frames, and decodes them.

    codebook: the levels; coder: "pack" or "lzma" (frames that the coder would not shrink are stored
    packed); shape: of one feature, at most 8 dimensions, without the batch; dtype: "float32",
    "int8" or "uint8", of features on both sides.  Immutable, and safe to use from many threads at
    once; the GIL is released while coding.

    Two codecs with equal codebook, shape and dtype have the same `id` and read each other's
    frames, whatever their coder.  Raises ArgumentError on a wrong argument, CoderUnavailableError
    if this build lacks the coder.

    >>> codec = Codec(Codebook([-1, 0, 1, 2]), coder="pack", shape=(2, 3))
    >>> frame = codec.encode(np.float32([[-2, 0.1, 3], [0.6, 1.4, -0.7]]))
    >>> len(frame)
    12
    >>> codec.decode(frame)
    array([[-1.,  0.,  2.],
           [ 1.,  1., -1.]], dtype=float32)
    """

    __slots__ = ("_coder", "_native", "codebook", "coder", "dtype", "id", "shape")

    def __init__(
        self,
        codebook: Codebook,
        coder: str = "lzma",
        *,
        shape: Sequence[int],
        dtype: Dtype = "float32",
    ) -> None:
        if not isinstance(codebook, Codebook):
            raise ArgumentError(f"codebook is a {type(codebook).__name__}: expected a Codebook")
        self._coder = checked_name(coder, CODERS, "coder")
        if not core.coder_available(self._coder):
            have = ", ".join(name for name, present in coders().items() if present)
            raise CoderUnavailableError(f"coder {coder!r} is not in this build, which has {have}")
        dtype_number = checked_name(dtype, DTYPES, "dtype")
        self.codebook = codebook
        self.coder = coder
        self.shape = _checked_shape(shape)
        self.dtype: Dtype = dtype
        self._native = core.Codec(codebook._native, dtype_number, self.shape)
        self.id: int = self._native.id()

    def encode(self, feature: NDArray[Any], *, self_describing: bool = False) -> bytes:
        """Return one frame for one feature.

        feature: array of exactly the codec's shape and dtype, in native byte order; a view that is
        not contiguous is copied.  A compact frame costs 10 bytes beside its payload;
        `self_describing` puts shape, dtype and codebook into the frame, for files and for readers
        that have no codec.  Raises FeatureError.
        """
        kind = _SELF_DESCRIBING if self_describing else _COMPACT
        frame = self._native.encode(self._coder, kind, feature)
        if frame is None:
            frame = self._native.encode(self._coder, kind, self._fitting(feature, "feature"))
            assert frame is not None
        return frame

    def decode(self, frame: Any, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the feature of one frame: centroids in the codec's shape and dtype.

        frame: bytes-like, compact or self-describing.  out: where to put it, of exactly the codec's
        shape and dtype, contiguous and writeable.  Raises the FrameError that fits, and
        FeatureError for a wrong `out`.
        """
        if out is None:
            out = np.empty(self.shape, dtype=self.dtype)
        try:
            if not self._native.decode(frame, out):
                self._fitting(out, "out")
                raise FeatureError("out is not contiguous and writeable: expected both")
        except CodecMismatchError:
            theirs = _frame.inspect(frame).codec_id
            raise CodecMismatchError(
                f"frame was made by codec {theirs:08x}, this codec is {self.id:08x}: "
                "codebook, shape or dtype differ"
            ) from None
        return out

    def encode_batch(
        self, features: NDArray[Any] | Iterable[NDArray[Any]], *, self_describing: bool = False
    ) -> list[bytes]:
        """Return one frame per feature; features: array [batch, *shape], or features one by one."""
        if isinstance(features, np.ndarray) and (
            features.ndim == 0 or features.shape[1:] != self.shape
        ):
            raise FeatureError(
                f"features have shape {features.shape}: expected (batch, "
                f"{', '.join(map(str, self.shape))})"
            )
        return [self.encode(feature, self_describing=self_describing) for feature in features]

    def decode_batch(self, frames: Sequence[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the features of several frames as one array [batch, *shape]."""
        if out is None:
            out = np.empty((len(frames), *self.shape), dtype=self.dtype)
        elif not isinstance(out, np.ndarray):
            raise FeatureError(f"out is a {type(out).__name__}: expected a numpy array")
        elif out.shape != (len(frames), *self.shape):
            raise FeatureError(f"out has shape {out.shape}: expected {(len(frames), *self.shape)}")
        for i, frame in enumerate(frames):
            try:
                self.decode(frame, out[i, ...])
            except FrameError as error:
                raise type(error)(f"frame {i} of {len(frames)}: {error}") from None
        return out

    def bound(self, *, self_describing: bool = False) -> int:
        """Return the length in bytes of the largest frame that `encode` can make."""
        return self._native.bound(_SELF_DESCRIBING if self_describing else _COMPACT)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {
            "coder": self.coder,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "codebook": self.codebook.to_dict(),
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Codec:
        """Undo `to_dict`.  Raises ArgumentError on anything else."""
        if not isinstance(description, Mapping):
            raise ArgumentError(f"codec description is {description!r}: expected a JSON object")
        missing = {"coder", "shape", "dtype", "codebook"} - set(description)
        if missing:
            raise ArgumentError(f"codec description lacks {', '.join(sorted(missing))}")
        return cls(
            Codebook.from_dict(description["codebook"]),
            description["coder"],
            shape=description["shape"],
            dtype=description["dtype"],
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the codec to a JSON file."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Codec:
        """Read what `save` wrote.  Raises ArgumentError if the file holds no codec."""
        return cls.from_dict(read_json(Path(path), ArgumentError))

    def _fitting(self, feature: object, name: str) -> NDArray[Any]:
        plain = as_plain(feature, (self.dtype,), name)
        if plain.shape != self.shape:
            raise FeatureError(f"{name} has shape {plain.shape}: expected {self.shape}")
        return plain

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        return Codec.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        return (
            f"Codec({self.codebook!r}, coder={self.coder!r}, shape={self.shape}, "
            f"dtype={self.dtype!r})"
        )


def encode(feature: NDArray[Any], codebook: Codebook, coder: str = "lzma") -> bytes:
    """Return a self-describing frame, which `decode` reads without anything else.

    feature: float32, int8 or uint8 array of any shape of at most 8 dimensions.
    """
    plain = as_plain(feature, name="feature")
    dtype: Any = plain.dtype.name
    return Codec(codebook, coder, shape=plain.shape, dtype=dtype).encode(
        plain, self_describing=True
    )


def decode(frame: Any, *, max_elements: int = 1 << 26) -> NDArray[Any]:
    """Return the feature in a self-describing frame, in the frame's shape and dtype.

    Raises FrameLimitError, before anything is allocated, if the frame claims more elements than
    `max_elements`, and the FrameError that fits if it cannot be decoded.
    """
    info = _frame.inspect(frame)
    if not info.self_describing:
        raise FrameError(
            f"compact frame of codec {info.codec_id:08x}: only that codec's decode() can read it"
        )
    assert info.shape is not None
    if (claimed := math.prod(info.shape)) > max_elements:
        raise FrameLimitError(f"frame has {claimed} elements: the limit is {max_elements}")
    centroids, dtype, shape = core.codec_from_frame(frame, claimed)
    name: Any = next(name for name, number in DTYPES.items() if number == dtype)
    return Codec(Codebook(centroids), "pack", shape=shape, dtype=name).decode(frame)


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    dims = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    whole = all(isinstance(dim, (int, np.integer)) and dim >= 0 for dim in dims)
    if not whole or len(dims) > _MAX_RANK:
        raise ArgumentError(
            f"shape is {shape!r}: expected at most {_MAX_RANK} dimensions, each 0 or more"
        )
    if math.prod(max(dim, 1) for dim in dims) > _MAX_ELEMENTS:
        raise ArgumentError(f"shape is {shape!r}: expected at most {_MAX_ELEMENTS} elements")
    return tuple(int(dim) for dim in dims)
