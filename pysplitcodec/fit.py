"""Fitting: from values to the centroids of a codebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pysplitcodec.errors import ArgumentError, CodebookError, FeatureError
from pysplitcodec.native import core

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["FitMethod", "channel_centroids", "fitted_centroids"]

FitMethod = Literal["kmeans", "minmax", "quantile"]

# SPC_MAX_ELEMENTS of csrc/include/splitcodec.h: with more, the core's products are not exact.
_MAX_ELEMENTS = 0x1FFFFFFF


def fitted_centroids(feature: ArrayLike, bits: int, method: FitMethod) -> NDArray[Any]:
    """Return 2**bits centroids, ascending.  What, how and which errors: see Codebook.fit."""
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 1 <= bits <= 8:
        raise ArgumentError(f"bits is {bits!r}: expected an integer from 1 to 8")
    if method not in ("kmeans", "minmax", "quantile"):
        raise ArgumentError(f"method is {method!r}: expected 'kmeans', 'minmax' or 'quantile'")
    values = _finite_values(feature)
    count = 1 << int(bits)
    if method == "minmax":
        return np.linspace(float(values.min()), float(values.max()), count)
    if method == "kmeans" and values.size > _MAX_ELEMENTS:
        raise FeatureError(f"feature has {values.size} values: expected at most {_MAX_ELEMENTS}")
    distinct, weights = np.unique(values, return_counts=True)
    if distinct.size < count:
        raise CodebookError(
            f"feature has {distinct.size} distinct values: {bits} bits need at least {count}"
        )
    if method == "quantile":
        quantiles: NDArray[np.float32] = distinct[_quantile_positions(weights, count)]
        return quantiles
    centroids = np.empty(count, dtype=np.float32)
    core.fit_kmeans(distinct, weights.astype(np.uint32), centroids)
    return centroids


def channel_centroids(
    feature: ArrayLike, bits: int, channel_axis: int, groups: int | None, method: FitMethod
) -> list[NDArray[Any]]:
    """Return the centroids of each group of channels.  More: see Codebook.fit_channels."""
    values = np.asarray(feature)
    if not isinstance(channel_axis, (int, np.integer)) or not (
        -values.ndim <= channel_axis < values.ndim
    ):
        raise ArgumentError(
            f"channel_axis is {channel_axis!r}: expected an axis of shape {values.shape}"
        )
    values = np.moveaxis(values, channel_axis, 0)
    channels = values.shape[0]
    count = channels if groups is None else groups
    if not isinstance(count, (int, np.integer)) or count < 1 or channels % count:
        raise ArgumentError(
            f"groups is {groups!r}: expected a number that divides the {channels} channels"
        )
    found, whole = [], None
    for part in values.reshape(count, channels // count, *values.shape[1:]):
        try:
            found.append(fitted_centroids(part, bits, method))
        except CodebookError:
            if whole is None:
                whole = fitted_centroids(values, bits, method).astype(np.float32)
            found.append(_completed(np.unique(_finite_values(part)), whole))
    return found


def _completed(values: NDArray[np.float32], whole: NDArray[np.float32]) -> NDArray[np.float32]:
    """`values` and, of the centroids `whole`, those furthest from them: as many as `whole`."""
    others = np.setdiff1d(whole, values)
    distance = np.abs(others[:, None] - values).min(axis=1)
    furthest = np.argsort(-distance, kind="stable")[: whole.size - values.size]
    return np.sort(np.concatenate([values, others[furthest]]))


def _finite_values(feature: ArrayLike) -> NDArray[np.float32]:
    try:
        values = np.asarray(feature)
    except ValueError as error:
        raise FeatureError(f"feature is not an array: {error}") from None
    if values.dtype.kind not in "fiu" and values.dtype.name != "bfloat16":  # of ml_dtypes
        raise FeatureError(f"feature has dtype {values.dtype}: expected real numbers")
    if values.size == 0:
        raise FeatureError(f"feature has shape {values.shape}: expected at least one element")
    with np.errstate(over="ignore"):
        flat: NDArray[np.float32] = values.astype(np.float32).reshape(-1) + np.float32(0.0)
    bad = flat.size - int(np.count_nonzero(np.isfinite(flat)))
    if bad:
        raise FeatureError(f"feature has {bad} values that are not finite as float32")
    return flat


def _quantile_positions(weights: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Positions of the centroids among the distinct values, all different.

    Where one value (a ReLU's zero, say) holds several quantiles, the next distinct values take
    the places that are left.
    """
    ends = np.cumsum(weights)
    targets = (np.arange(count) + 0.5) / count * ends[-1]
    positions = np.searchsorted(ends, targets)
    order = np.arange(count)
    positions = np.maximum.accumulate(positions - order) + order
    result: NDArray[np.intp] = np.minimum(positions, weights.size - count + order)
    return result
