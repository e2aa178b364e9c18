"""Codebooks: the levels a feature is quantised to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pysplitcodec.errors import (
    ArgumentError,
    CodebookError,
    FeatureError,
    MissingDependencyError,
)
from pysplitcodec.fit import FitMethod, channel_centroids, fitted_centroids
from pysplitcodec.native import DTYPES, core, numpy_dtype

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Codebook"]


class Codebook:
    """A sorted table of 2**bits centroids, and the thresholds between them.

    centroids: 2, 4, ... or 256 finite float values, strictly ascending as float32; -0.0 counts as
    0.0.  Raises CodebookError otherwise.

    An element's index is the number of thresholds below it: the nearest centroid in exact
    arithmetic, the lower one on a tie.  Infinities and NaNs take the first or last index by their
    sign bit.  Codebooks are immutable, compare by value and can be shared between threads.

    >>> Codebook([0.0, 1.0]).quantize(np.float32([-3, 0.5, 0.75]))
    array([0, 0, 1], dtype=uint8)
    """

    __slots__ = ("_centroids", "_native")

    def __init__(self, centroids: ArrayLike) -> None:
        values = _as_float32(centroids)
        if values.ndim != 1 or values.size not in (2, 4, 8, 16, 32, 64, 128, 256):
            raise CodebookError(
                f"centroids have shape {values.shape}: expected one dimension of 2, 4, 8, ... or "
                "256 values"
            )
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise CodebookError(f"centroids[{at}] is {values[at]}: expected a finite value")
        values += np.float32(0.0)  # -0.0 becomes 0.0
        steps = np.flatnonzero(values[1:] <= values[:-1])
        if steps.size:
            at = int(steps[0])
            wrong = "repeated" if values[at] == values[at + 1] else "out of order"
            raise CodebookError(
                f"centroids[{at}] and [{at + 1}] are {wrong} ({values[at]}, {values[at + 1]}): "
                "expected strictly ascending values"
            )
        values.setflags(write=False)
        self._centroids: NDArray[np.float32] = values
        self._native = core.Codebook(values)

    @classmethod
    def fit(cls, feature: ArrayLike, bits: int, method: FitMethod = "kmeans") -> Codebook:
        """Fit 2**bits centroids to the values of `feature`.

        feature: numbers of any shape and real dtype, bfloat16 included, all finite, with at least
        2**bits distinct values as float32.  Deterministic.  `method` is

        - "kmeans": least squared error, by exact one-dimensional k-means (TCL, section III-C) of
          up to 536,870,911 values; takes 64 bytes and under a microsecond per distinct value.
        - "minmax": evenly spaced from the least to the greatest value.
        - "quantile": equally many values near each centroid, as far as values repeat.

        Raises CodebookError if there are fewer distinct values than centroids, FeatureError if
        `feature` is not numeric, finite and filled.

        >>> Codebook.fit(np.float32([0, 0, 1, 1]), bits=1).centroids
        array([0., 1.], dtype=float32)
        """
        return cls(fitted_centroids(feature, bits, method))

    @classmethod
    def fit_channels(
        cls,
        feature: ArrayLike,
        bits: int,
        channel_axis: int,
        *,
        groups: int | None = None,
        method: FitMethod = "kmeans",
    ) -> list[Codebook]:
        """Fit a codebook to the values of each channel, for `Codec(..., channel_axis=...)`.

        feature, bits, method: as for `fit`; channel_axis: the axis of `feature` that counts the
        channels, after the one for the batch if there is one.  groups: fit this many codebooks,
        each to equally many neighbouring channels, instead of one per channel.

        A channel may have fewer distinct values than there are centroids, as one that a ReLU keeps
        at 0: its values are centroids then, and the rest are those of the whole feature's codebook
        that are furthest from them.  Raises as `fit` does, and ArgumentError.

        >>> Codebook.fit_channels(np.float32([[0, 1, 1], [5, 7, 5]]), bits=1, channel_axis=0)
        [Codebook([0, 1]), Codebook([5, 7])]
        """
        return [
            cls(centroids)
            for centroids in channel_centroids(feature, bits, channel_axis, groups, method)
        ]

    @property
    def bits(self) -> int:
        """Width of an index, 1 to 8."""
        return self._centroids.size.bit_length() - 1

    @property
    def centroids(self) -> NDArray[np.float32]:
        """The 2**bits levels, ascending; read-only."""
        return self._centroids

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """The 2**bits - 1 values that indices count: the largest floats not above each midpoint."""
        keys = self._native.thresholds()
        raw: NDArray[np.int32] = np.where(keys < 0, keys ^ 0x7FFFFFFF, keys).astype(np.int32)
        return raw.view(np.float32)

    def quantize(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the index of every element: uint8, same shape.

        values: float32, float16, bfloat16 (as ml_dtypes has it), int8 or uint8 in native byte
        order, of any shape.  Integers stand for
        themselves: a model's scale and zero point are the model's own business.  Raises
        FeatureError on another dtype.
        """
        plain = as_plain(values)
        indices = np.empty(plain.shape, dtype=np.uint8)
        self._native.quantize(DTYPES[plain.dtype.name], plain, indices)
        return indices

    def dequantize(
        self,
        indices: NDArray[np.uint8],
        dtype: Literal["float32", "float16", "bfloat16", "int8", "uint8"] = "float32",
    ) -> NDArray[Any]:
        """Return the centroid of every index, as the nearest value of the dtype.

        16-bit floats are rounded to the nearest finite one (ties to even), integers halves up.

        indices: uint8, below 2**bits, of any shape.  Raises FeatureError otherwise.
        """
        checked_name(dtype, DTYPES, "dtype")
        plain = as_plain(indices, ("uint8",), name="indices")
        values = np.empty(plain.shape, dtype=numpy_dtype(dtype))
        try:
            self._native.dequantize(DTYPES[dtype], plain, values)
        except ArgumentError:
            raise FeatureError(
                f"indices reach {int(plain.max())}: expected less than {self._centroids.size}"
            ) from None
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; floats survive JSON exactly."""
        return {"centroids": [float(value) for value in self._centroids]}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Codebook:
        """Undo `to_dict`.  Raises CodebookError on anything else."""
        if not isinstance(description, Mapping) or "centroids" not in description:
            raise CodebookError("codebook description has no 'centroids'")
        return cls(description["centroids"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the codebook to a `.json` or `.safetensors` file (the latter needs the extra)."""
        path = Path(path)
        if path.suffix == ".json":
            path.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        elif path.suffix == ".safetensors":
            safetensors_numpy().save_file({"centroids": self._centroids}, path)
        else:
            raise ArgumentError(f"path is {str(path)!r}: expected a .json or .safetensors file")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Codebook:
        """Read what `save` wrote.  Raises CodebookError if the file holds no codebook."""
        path = Path(path)
        if path.suffix == ".json":
            return cls.from_dict(read_json(path, CodebookError))
        if path.suffix == ".safetensors":
            library = safetensors_numpy()
            data = path.read_bytes()
            try:
                return cls.from_dict(library.load(data))
            except CodebookError:
                raise
            except Exception as error:  # safetensors' own errors share no public base class
                raise CodebookError(f"{path} is not a safetensors file: {error}") from None
        raise ArgumentError(f"path is {str(path)!r}: expected a .json or .safetensors file")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Codebook):
            return NotImplemented
        return np.array_equal(self._centroids, other._centroids)

    def __hash__(self) -> int:
        return hash(self._centroids.tobytes())

    def __reduce__(self) -> tuple[type[Codebook], tuple[NDArray[np.float32]]]:
        return Codebook, (self._centroids,)

    def __repr__(self) -> str:
        shown = ", ".join(f"{value:.6g}" for value in self._centroids[:8])
        rest = ", ..." if self._centroids.size > 8 else ""
        return f"Codebook([{shown}{rest}])"


def checked_name(value: object, known: Mapping[str, int], argument: str) -> int:
    """Return the number of a dtype's or coder's name.  Raises ArgumentError for any other."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(f"{argument} is {value!r}: expected one of {', '.join(known)}")
    return known[value]


def read_json(path: Path, error: type[ArgumentError]) -> Any:
    """Return what a JSON file holds; raises `error` if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as cause:  # not UTF-8, not JSON, or absurd JSON
        raise error(f"{path} is not JSON: {cause}") from None


def as_plain(
    values: object, dtypes: tuple[str, ...] = tuple(DTYPES), name: str = "values"
) -> NDArray[Any]:
    """Return `values` as a contiguous, aligned array, copied only if it is not one already.

    Raises FeatureError unless it is an array of one of `dtypes` in native byte order.
    """
    if not isinstance(values, np.ndarray):
        if not hasattr(values, "__array__"):
            raise FeatureError(f"{name} is a {type(values).__name__}: expected a numpy array")
        values = np.asarray(values)
    if values.dtype.name not in dtypes:
        raise FeatureError(f"{name} has dtype {values.dtype}: expected {' or '.join(dtypes)}")
    if not values.dtype.isnative:
        raise FeatureError(
            f"{name} has byte order {values.dtype.byteorder!r}: expected the machine's own "
            f"(use .astype({values.dtype.name!r}))"
        )
    # ascontiguousarray would turn a scalar array into one of rank 1
    return np.require(values, requirements=["C", "A"]) if values.ndim else values.copy()


def _as_float32(centroids: ArrayLike) -> NDArray[np.float32]:
    try:
        values = np.asarray(centroids)
        if values.dtype.kind == "c":
            raise TypeError("complex")
        with np.errstate(over="ignore"):  # to infinity, which is then refused by its position
            return values.astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodebookError(f"centroids are not numbers: {error}") from None


def safetensors_numpy() -> Any:
    """The module; raises MissingDependencyError without it."""
    try:
        import safetensors.numpy
    except ImportError:
        raise MissingDependencyError(
            "safetensors files need safetensors: pip install 'pysplitcodec[safetensors]'"
        ) from None
    return safetensors.numpy
