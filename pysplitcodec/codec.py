"""Codecs: tensor <-> frame."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from pysplitcodec import frame as _frame
from pysplitcodec.codebook import Codebook, as_plain, checked_name, read_json
from pysplitcodec.errors import (
    ArgumentError,
    CodecMismatchError,
    CoderModelError,
    CoderUnavailableError,
    FeatureError,
    FrameError,
    FrameLimitError,
)
from pysplitcodec.model import NEED_MODEL, CoderModel, load_model
from pysplitcodec.native import CODERS, DTYPES, core, numpy_dtype

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["Codec", "coders", "decode", "encode"]

Dtype = Literal["float32", "float16", "bfloat16", "int8", "uint8"]

_COMPACT, _SELF_DESCRIBING = 0, 1
_MAX_ELEMENTS = 0x1FFFFFFF
_MAX_RANK = 8
_MAX_GROUPS = 65536

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def coders() -> dict[str, bool]:
    """Names of all coders, and whether this build has them."""
    return {name: core.coder_available(number) for name, number in CODERS.items()}


class Codec:
    """Encodes features of one shape, dtype and codebook into frames, and decodes them.

    codebook: the levels; coder: one of `coders()` (frames that it would not shrink are stored
    packed); shape: of one feature, at most 8 dimensions, without the batch; dtype: "float32",
    "float16", "bfloat16" (as ml_dtypes has it), "int8" or "uint8", of features on both sides.
    Immutable, and safe to use from many threads at once; the GIL is released while coding.

    channel_axis: the axis of the shape that counts the channels (0 for CHW, -1 for HWC), for
    coders that look at neighbours; without it they take axis 0 of three and more.  Channels may
    have codebooks of their own: give as many, all of one width.  Fewer codebooks than channels are
    for groups of neighbouring channels, equally many each.

    model: what the coder learned, such as a `ContextModel`; "rans" and "context" need theirs.

    slice_of: if features are some channels of larger ones, the first of these channels and how many
    the larger ones have; `slices` makes such codecs.

    Two codecs with equal codebooks, shape, dtype, channel_axis, slice_of and model have the same
    `id` and read each other's frames, whatever their coder.  Raises ArgumentError on a wrong
    argument, CoderUnavailableError if this build lacks the coder.

    >>> codec = Codec(Codebook([-1, 0, 1, 2]), coder="pack", shape=(2, 3))
    >>> frame = codec.encode(np.float32([[-2, 0.1, 3], [0.6, 1.4, -0.7]]))
    >>> len(frame)
    12
    >>> codec.decode(frame)
    array([[-1.,  0.,  2.],
           [ 1.,  1., -1.]], dtype=float32)
    >>> by_row = Codec([Codebook([0, 1]), Codebook([0, 10])], shape=(2, 3), channel_axis=0)
    >>> by_row.decode(by_row.encode(np.float32([[0, 1, 7], [0, 1, 7]])))
    array([[ 0.,  1.,  1.],
           [ 0.,  0., 10.]], dtype=float32)
    """

    __slots__ = (
        *("_coder", "_dtype", "_native"),
        *("channel_axis", "codebook", "coder", "dtype", "id", "model", "shape", "slice_of"),
    )

    def __init__(
        self,
        codebook: Codebook | Sequence[Codebook],
        coder: str = "lzma",
        *,
        shape: Sequence[int],
        dtype: Dtype = "float32",
        channel_axis: int | None = None,
        model: CoderModel | None = None,
        slice_of: tuple[int, int] | None = None,
    ) -> None:
        self._coder = checked_name(coder, CODERS, "coder")
        if not core.coder_available(self._coder):
            have = ", ".join(name for name, present in coders().items() if present)
            raise CoderUnavailableError(f"coder {coder!r} is not in this build, which has {have}")
        dtype_number = checked_name(dtype, DTYPES, "dtype")
        self._dtype = numpy_dtype(dtype)
        self.coder = coder
        self.shape = _checked_shape(shape)
        self.dtype: Dtype = dtype
        self.codebook, self.channel_axis = _checked_codebooks(codebook, self.shape, channel_axis)
        self.slice_of = _checked_slice(slice_of, self.shape, self.channel_axis)
        self.model = _checked_model(model, coder, self)
        self._native = core.Codec(
            _native_codebook(self.codebook),
            -1 if self.channel_axis is None else self.channel_axis,
            dtype_number,
            self.shape,
            None if model is None else model.native,
            self.slice_of or (0, 0),
        )
        self.id: int = self._native.id()

    @property
    def bits(self) -> int:
        """Width of an index, 1 to 8."""
        one = self.codebook if isinstance(self.codebook, Codebook) else self.codebook[0]
        return one.bits

    def quantize(self, feature: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the index of every element, by the codebook of its channel: uint8, same shape.

        feature: as `encode` takes it.  Raises FeatureError.
        """
        indices = np.empty(self.shape, dtype=np.uint8)
        self._native.quantize(self._fitting(feature, "feature"), indices)
        return indices

    def dequantize(self, indices: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what `decode` makes of these indices: the codec's shape and dtype.

        indices: uint8, of the codec's shape, below 2**bits.  Raises FeatureError otherwise.
        """
        plain = as_plain(indices, ("uint8",), name="indices")
        if plain.shape != self.shape:
            raise FeatureError(f"indices have shape {plain.shape}: expected {self.shape}")
        feature = np.empty(self.shape, dtype=self._dtype)
        try:
            self._native.dequantize(plain, feature)
        except ArgumentError:
            raise FeatureError(
                f"indices reach {int(plain.max())}: expected less than {1 << self.bits}"
            ) from None
        return feature

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
            out = np.empty(self.shape, dtype=self._dtype)
        try:
            if not self._native.decode(frame, out):
                self._fitting(out, "out")
                raise FeatureError("out is not contiguous and writeable: expected both")
        except CodecMismatchError:
            theirs = _frame.inspect(frame).codec_id
            raise CodecMismatchError(
                f"frame was made by codec {theirs:08x}, this codec is {self.id:08x}: "
                "codebook, shape, dtype, channel axis, slice or model differ"
            ) from None
        return out

    def encode_batch(
        self,
        features: NDArray[Any] | Iterable[NDArray[Any]],
        *,
        self_describing: bool = False,
        threads: int = 1,
    ) -> list[bytes]:
        """Return one frame per feature; features: array [batch, *shape], or features one by one.

        threads: more than 1 share the features out; worth it for batches that take milliseconds.
        """
        if isinstance(features, np.ndarray) and (
            features.ndim == 0 or features.shape[1:] != self.shape
        ):
            raise FeatureError(
                f"features have shape {features.shape}: expected (batch, "
                f"{', '.join(map(str, self.shape))})"
            )
        kind = _SELF_DESCRIBING if self_describing else _COMPACT

        def encode_piece(piece: Any) -> list[bytes]:
            frames = self._native.encode_batch(self._coder, kind, piece)
            if frames is None:
                frames = [self.encode(one, self_describing=self_describing) for one in piece]
            return frames

        items = features if isinstance(features, (np.ndarray, list)) else list(features)
        pieces = [items[piece] for piece in _pieces(len(items), threads)]
        return [frame for frames in _each(encode_piece, pieces, threads) for frame in frames]

    def decode_batch(
        self, frames: Sequence[Any], out: NDArray[Any] | None = None, *, threads: int = 1
    ) -> NDArray[Any]:
        """Return the features of several frames as one array [batch, *shape].

        threads: as for `encode_batch`.
        """
        if out is None:
            out = np.empty((len(frames), *self.shape), dtype=self._dtype)
        elif not isinstance(out, np.ndarray):
            raise FeatureError(f"out is a {type(out).__name__}: expected a numpy array")
        elif out.shape != (len(frames), *self.shape):
            raise FeatureError(f"out has shape {out.shape}: expected {(len(frames), *self.shape)}")
        features, whole = out, list(frames)

        def decode_piece(piece: slice) -> None:
            part, frames = features[piece], whole[piece]
            done = self._native.decode_batch(frames, part)
            for i in range(max(done, 0), len(frames)):  # the reason, or features not contiguous
                try:
                    self.decode(frames[i], part[i, ...])
                except FrameError as error:
                    at = piece.start + i
                    raise type(error)(f"frame {at} of {len(whole)}: {error}") from None

        _each(decode_piece, _pieces(len(whole), threads), threads)
        return out

    def bound(self, *, self_describing: bool = False) -> int:
        """Return the length in bytes of the largest frame that `encode` can make."""
        return self._native.bound(_SELF_DESCRIBING if self_describing else _COMPACT)

    def slices(
        self,
        counts: int | Sequence[int],
        models: Sequence[CoderModel | None] | None = None,
        *,
        coder: str | None = None,
    ) -> tuple[Codec, ...]:
        """Return one codec for each of some groups of neighbouring channels.

        counts: how many slices, as equal as can be, the larger ones first; or the channels of each.
        Several codebooks are shared out, and none may be split.  models: one for each slice,
        learned from its indices; this codec's own model is for all channels and not used.  coder:
        of the slices, by default this codec's.  `SlicedCodec` puts features together again.  Raises
        ArgumentError, also for a feature whose channels no axis counts.

        >>> codec = Codec(Codebook([0, 1]), shape=(5, 8, 8))
        >>> [part.shape for part in codec.slices(2)]
        [(3, 8, 8), (2, 8, 8)]
        >>> [part.slice_of for part in codec.slices([1, 4])]
        [(0, 5), (1, 5)]
        """
        axis = _coders_axis(self)
        if axis is None or self.shape[axis] == 0:
            raise ArgumentError(f"no channels in shape {self.shape}: expected a channel_axis")
        channels = self.shape[axis]
        sizes = _checked_counts(counts, channels)
        if models is not None and len(models) != len(sizes):
            raise ArgumentError(f"{len(models)} models for {len(sizes)} slices: expected one each")
        coder = self.coder if coder is None else coder
        books = (self.codebook,) if isinstance(self.codebook, Codebook) else self.codebook
        start, whole = self.slice_of or (0, channels)
        parts, first = [], 0
        for at, count in enumerate(sizes):
            model = None if models is None else models[at]
            shape = (*self.shape[:axis], count, *self.shape[axis + 1 :])
            part = Codec(
                _books_of(books, first, count, channels),
                coder,
                shape=shape,
                dtype=self.dtype,
                channel_axis=axis,
                model=model,
                slice_of=(start + first, whole) if count < whole else None,
            )
            parts.append(part)
            first += count
        return tuple(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        description: dict[str, Any] = {
            "coder": self.coder,
            "shape": list(self.shape),
            "dtype": self.dtype,
        }
        book = self.codebook
        if isinstance(book, Codebook):
            description["codebook"] = book.to_dict()
        else:
            description["codebook"] = [one.to_dict() for one in book]
        if self.channel_axis is not None:
            description["channel_axis"] = self.channel_axis
        if self.slice_of is not None:
            description["slice_of"] = list(self.slice_of)
        if self.model is not None:
            description["model"] = base64.b64encode(self.model.to_bytes()).decode("ascii")
        return description

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Codec:
        """Undo `to_dict`.  Raises ArgumentError on anything else."""
        if not isinstance(description, Mapping):
            raise ArgumentError(f"codec description is {description!r}: expected a JSON object")
        missing = {"coder", "shape", "dtype", "codebook"} - set(description)
        if missing:
            raise ArgumentError(f"codec description lacks {', '.join(sorted(missing))}")
        book = description["codebook"]
        several = isinstance(book, list)
        return cls(
            [Codebook.from_dict(one) for one in book] if several else Codebook.from_dict(book),
            description["coder"],
            shape=description["shape"],
            dtype=description["dtype"],
            channel_axis=description.get("channel_axis"),
            model=_model_of(description["model"]) if "model" in description else None,
            slice_of=description.get("slice_of"),
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
        book = repr(self.codebook)
        if not isinstance(self.codebook, Codebook):
            book = f"<{len(self.codebook)} codebooks of {self.bits} bits>"
        axis = "" if self.channel_axis is None else f", channel_axis={self.channel_axis}"
        part = "" if self.slice_of is None else f", slice_of={self.slice_of}"
        model = "" if self.model is None else f", model={self.model!r}"
        return (
            f"Codec({book}, coder={self.coder!r}, shape={self.shape}, dtype={self.dtype!r}"
            f"{axis}{part}{model})"
        )


def encode(
    feature: NDArray[Any],
    codebook: Codebook | Sequence[Codebook],
    coder: str = "lzma",
    *,
    channel_axis: int | None = None,
    model: CoderModel | None = None,
) -> bytes:
    """Return a self-describing frame, which `decode` reads without anything else.

    feature: array of any shape of at most 8 dimensions and any dtype that a Codec takes; codebook
    and channel_axis, model: as for Codec; a model is written into the frame.
    """
    plain = as_plain(feature, name="feature")
    dtype: Any = plain.dtype.name
    codec = Codec(
        codebook, coder, shape=plain.shape, dtype=dtype, channel_axis=channel_axis, model=model
    )
    return codec.encode(plain, self_describing=True)


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
    centroids, axis, dtype, shape, model = core.codec_from_frame(frame, claimed)
    name: Any = next(name for name, number in DTYPES.items() if number == dtype)
    books = [Codebook(one) for one in centroids]
    return Codec(
        books,
        "pack",
        shape=shape,
        dtype=name,
        channel_axis=None if axis < 0 else axis,
        model=load_model(model) if model else None,
        slice_of=info.slice_of,
    ).decode(frame)


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


def _checked_codebooks(
    codebook: Codebook | Sequence[Codebook], shape: tuple[int, ...], channel_axis: int | None
) -> tuple[Codebook | tuple[Codebook, ...], int | None]:
    """The codebook, or several and the axis of theirs counted from the front."""
    if isinstance(codebook, Codebook):
        codebook = (codebook,)
    if not isinstance(codebook, Sequence) or not all(isinstance(one, Codebook) for one in codebook):
        raise ArgumentError(
            f"codebook is a {type(codebook).__name__}: expected a Codebook, or a sequence of them"
        )
    books = tuple(codebook)
    if not 1 <= len(books) <= _MAX_GROUPS:
        raise ArgumentError(f"{len(books)} codebooks: expected 1 to {_MAX_GROUPS}")
    widths = sorted({one.bits for one in books})
    if len(widths) > 1:
        raise ArgumentError(f"codebooks of {widths} bits: expected one width for all")
    if len(books) == 1 and channel_axis is None:
        return books[0], None
    if not isinstance(channel_axis, (int, np.integer)) or not (
        -len(shape) <= channel_axis < len(shape)
    ):
        raise ArgumentError(
            f"channel_axis is {channel_axis!r}: expected the axis of shape {shape} that "
            + (f"the {len(books)} codebooks belong to" if len(books) > 1 else "counts the channels")
        )
    axis = int(channel_axis) % len(shape)
    if shape[axis] == 0 or shape[axis] % len(books):
        raise ArgumentError(
            f"{len(books)} codebooks for {shape[axis]} channels: expected one for each, or for "
            "groups of equally many"
        )
    return books if len(books) > 1 else books[0], axis


def _checked_slice(
    slice_of: tuple[int, int] | None, shape: tuple[int, ...], axis: int | None
) -> tuple[int, int] | None:
    if slice_of is None:
        return None
    if axis is None:
        raise ArgumentError(f"slice_of is {slice_of!r}: expected a channel_axis beside it")
    numbers = tuple(slice_of) if isinstance(slice_of, Sequence) else ()
    if len(numbers) != 2 or not all(_is_count(number) for number in numbers):
        raise ArgumentError(
            f"slice_of is {slice_of!r}: expected the first channel, and those of the whole feature"
        )
    first, whole = map(int, numbers)
    if shape[axis] >= whole or first + shape[axis] > whole:
        raise ArgumentError(
            f"slice_of is {slice_of!r}: expected {shape[axis]} channels from {first} on to be a "
            f"part of {whole}"
        )
    _checked_shape((*shape[:axis], whole, *shape[axis + 1 :]))
    return first, whole


def _is_count(number: object) -> bool:
    return (
        isinstance(number, (int, np.integer)) and not isinstance(number, bool) and int(number) >= 0
    )


def _checked_counts(counts: int | Sequence[int], channels: int) -> tuple[int, ...]:
    if isinstance(counts, (int, np.integer)) and _is_count(counts) and 1 <= counts <= channels:
        each, more = divmod(channels, int(counts))
        return (each + 1,) * more + (each,) * (int(counts) - more)
    sizes = tuple(counts) if isinstance(counts, Sequence) else ()
    if not all(_is_count(size) and size > 0 for size in sizes) or sum(sizes) != channels:
        raise ArgumentError(
            f"counts is {counts!r}: expected at most {channels} slices, or counts that sum to that"
        )
    return tuple(map(int, sizes))


def _books_of(
    books: tuple[Codebook, ...], first: int, count: int, channels: int
) -> tuple[Codebook, ...]:
    """The codebooks of some channels."""
    each = channels // len(books)
    if len(books) == 1:
        return books
    if first % each or count % each:
        raise ArgumentError(
            f"channels {first} to {first + count - 1} are no slice: expected codebooks in whole, "
            f"each of {each} channels"
        )
    return books[first // each : (first + count) // each]


def _coders_axis(codec: Codec) -> int | None:
    """The axis of the channels as coders see it."""
    axis = codec.channel_axis
    return 0 if axis is None and len(codec.shape) >= 3 else axis


def _checked_model(model: CoderModel | None, coder: str, codec: Codec) -> CoderModel | None:
    if model is None:
        if coder in NEED_MODEL:
            raise CoderModelError(f"coder {coder!r} has no model: expected a {NEED_MODEL[coder]}")
        return None
    if not isinstance(model, CoderModel):
        raise ArgumentError(f"model is a {type(model).__name__}: expected a coder's model")
    if 0 in codec.shape:
        raise CoderModelError(f"model is for features of shape {codec.shape}: expected elements")
    axis = _coders_axis(codec)
    channels = 1 if axis is None else codec.shape[axis]
    if (model.bits, model.channels) != (codec.bits, channels):
        raise CoderModelError(
            f"model is of {model.bits} bits and {model.channels} channels, the codec has "
            f"{codec.bits} and {channels}: fit it on such indices"
        )
    return model


def _model_of(text: Any) -> CoderModel:
    try:
        return load_model(base64.b64decode(text, validate=True))
    except (TypeError, ValueError) as error:
        raise CoderModelError(f"model of the codec description: {error}") from None


def _native_codebook(codebook: Codebook | tuple[Codebook, ...]) -> Any:
    if isinstance(codebook, Codebook):
        return codebook._native
    return core.Codebook(np.stack([one.centroids for one in codebook]))


def _pieces(count: int, threads: int) -> list[slice]:
    """A batch in pieces for the threads to take, some for each; one if there is one thread."""
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ArgumentError(f"threads is {threads!r}: expected an integer from 1 on")
    size = count if threads == 1 else max(1, count // (4 * threads))
    return [slice(at, min(at + size, count)) for at in range(0, count, max(size, 1))]


def _each(call: Callable[[_Piece], _Result], pieces: list[_Piece], threads: int) -> list[_Result]:
    if threads == 1 or len(pieces) < 2:
        return [call(piece) for piece in pieces]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(call, pieces))
