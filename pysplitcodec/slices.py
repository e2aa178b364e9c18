"""Features sent as independent groups of channels, each a frame of its own.

docs/slices.md says what that is good for, and what it costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pysplitcodec.codebook import as_plain
from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError, CodecMismatchError, FeatureError
from pysplitcodec.frame import inspect
from pysplitcodec.native import numpy_dtype

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from pysplitcodec.codec import Dtype

__all__ = ["SlicedCodec"]


class SlicedCodec:
    """Encodes a feature into one frame for each slice, and puts together what has arrived.

    codecs: what `Codec.slices` gave: slices that follow one another and make the whole feature.
    Immutable, like the codecs.  Raises ArgumentError for other codecs.

    >>> from pysplitcodec import Codebook
    >>> codec = Codec(Codebook([0, 1, 2, 3]), "pack", shape=(3, 2), channel_axis=0)
    >>> sliced = SlicedCodec(codec.slices(3))
    >>> frames = sliced.encode(np.float32([[0, 1], [2, 3], [1, 1]]))
    >>> feature, received = sliced.decode([frames[2], frames[0]], missing=-1)
    >>> feature
    array([[ 0.,  1.],
           [-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> received
    (True, False, True)
    """

    __slots__ = ("_by_id", "_places", "channel_axis", "codecs", "dtype", "shape")

    def __init__(self, codecs: Sequence[Codec]) -> None:
        self.codecs = tuple(codecs)
        self.shape = _whole_shape(self.codecs)
        self.dtype: Dtype = self.codecs[0].dtype
        axis = self.channel_axis = self.codecs[0].channel_axis
        self._places: list[tuple[Any, ...]] = []
        for codec in self.codecs:
            if codec.slice_of is None or axis is None:
                self._places.append((...,))
                continue
            first, count = codec.slice_of[0], codec.shape[axis]
            behind = len(self.shape) - axis - 1
            self._places.append((..., slice(first, first + count), *[slice(None)] * behind))
        self._by_id = {codec.id: at for at, codec in enumerate(self.codecs)}
        if len(self._by_id) < len(self.codecs):  # by chance, once in 2**32 pairs
            raise ArgumentError("two slices have the same id: expected other counts")

    def split(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the part of an array that belongs to each slice, without copying.

        array: of the whole feature's shape, or several of them: [batch, *shape].  Indices of
        calibration features give what each slice's model is fitted on.  Raises FeatureError.
        """
        rank = len(self.shape)
        if array.ndim < rank or array.shape[array.ndim - rank :] != self.shape:
            raise FeatureError(f"array has shape {array.shape}: expected it to end in {self.shape}")
        return [array[place] for place in self._places]

    def encode(self, feature: NDArray[Any], *, self_describing: bool = False) -> list[bytes]:
        """Return the frames of one feature, a frame for each slice in order.

        feature: array of the whole shape, as `Codec.encode` takes it; self_describing: likewise.
        Raises FeatureError.
        """
        plain = as_plain(feature, (self.dtype,), "feature")
        if plain.shape != self.shape:
            raise FeatureError(f"feature has shape {plain.shape}: expected {self.shape}")
        return [
            codec.encode(part, self_describing=self_describing)
            for codec, part in zip(self.codecs, self.split(plain))
        ]

    def decode(
        self,
        frames: Iterable[Any],
        out: NDArray[Any] | None = None,
        missing: ArrayLike = 0.0,
    ) -> tuple[NDArray[Any], tuple[bool, ...]]:
        """Return the feature as far as it has arrived, and which slices have.

        frames: any of those of one feature, in any order; of a slice that came twice the later
        one counts.  out: where to put the feature, of the whole shape and dtype.  missing: what
        stands where no frame came; a number, or an array that broadcasts to the whole shape, such
        as the mean of many features.  Raises CodecMismatchError for a frame of no slice, the
        FrameError that fits for one that cannot be decoded, and FeatureError for a wrong `out` or
        `missing`.
        """
        if out is None:
            out = np.empty(self.shape, dtype=numpy_dtype(self.dtype))
        elif not isinstance(out, np.ndarray):
            raise FeatureError(f"out is a {type(out).__name__}: expected a numpy array")
        elif out.shape != self.shape or out.dtype.name != self.dtype or not out.flags.writeable:
            raise FeatureError(
                f"out has dtype {out.dtype} and shape {out.shape}: expected {self.dtype} and "
                f"{self.shape}, writeable"
            )
        received = [False] * len(self.codecs)
        for frame in frames:
            codec_id = inspect(frame).codec_id
            if codec_id not in self._by_id:
                raise CodecMismatchError(
                    f"frame was made by codec {codec_id:08x}: that is no slice"
                )
            at = self._by_id[codec_id]
            out[self._places[at]] = self.codecs[at].decode(frame)
            received[at] = True
        if not all(received):
            try:
                filler = np.broadcast_to(np.asarray(missing), self.shape)
            except ValueError:
                raise FeatureError(
                    f"missing has shape {np.shape(missing)}: expected a number, or what "
                    f"broadcasts to {self.shape}"
                ) from None
            for place, came in zip(self._places, received):
                if not came:
                    out[place] = filler[place]
        return out, tuple(received)

    def __repr__(self) -> str:
        return f"<SlicedCodec of {len(self.codecs)} slices, shape={self.shape}>"


def _whole_shape(codecs: tuple[Codec, ...]) -> tuple[int, ...]:
    """The shape of the feature that the slices make.  Raises ArgumentError if they make none."""
    if not codecs or not all(isinstance(codec, Codec) for codec in codecs):
        raise ArgumentError("codecs are no slices: expected what Codec.slices() gives")
    if len(codecs) == 1 and codecs[0].slice_of is None:
        return codecs[0].shape
    wholes: set[tuple[tuple[int, ...], int, str]] = set()
    following = channels = 0
    for codec in codecs:
        axis = codec.channel_axis
        if codec.slice_of is None or axis is None:
            raise ArgumentError(f"{codec!r} is no slice: expected what Codec.slices() gives")
        first, channels = codec.slice_of
        shape = (*codec.shape[:axis], channels, *codec.shape[axis + 1 :])
        wholes.add((shape, axis, codec.dtype))
        if len(wholes) > 1:
            raise ArgumentError("slices of different features: expected one shape, axis and dtype")
        if first != following:
            raise ArgumentError(f"a slice begins with channel {first}: expected {following}")
        following += codec.shape[axis]
    if following != channels:
        raise ArgumentError(f"slices of {following} channels in all: expected {channels}")
    return shape
