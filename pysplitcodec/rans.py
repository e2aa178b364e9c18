"""The model of coder "rans": how often each group of neighbouring indices occurs, by channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pysplitcodec.model import CoderModel, checked_planes, framed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RansModel"]

# As csrc/coder_rans.c and docs/format.md have them.
_TOTAL = 4096
_CLASSES_WIDE = 32
_WIDTH_MOST = 4

# Groups of all channels together that each channel is taken to have seen beside its own.
_PRIOR = 8.0


class RansModel(CoderModel):
    """Frequencies for coder "rans", the fastest one that makes features smaller.

    A channel's indices are coded 4 at a time if they have 1 bit, in pairs if they have 2 or 3, and
    one by one if they have more.  Each channel has one table of fixed frequencies, 32 to 128 bytes.

    >>> indices = np.array([[[[0, 0, 1, 1]], [[3, 3, 3, 2]]]], np.uint8)  # 1 sample, 2 channels
    >>> RansModel.fit(indices, bits=2)
    <RansModel of 2 bits and 2 channels: 76 bytes>
    """

    coder: ClassVar[str] = "rans"
    __slots__ = ()

    @classmethod
    def fit(cls, indices: NDArray[np.uint8], bits: int, *, channel_axis: int = 0) -> RansModel:
        """Count calibration indices, such as a codec gives for typical features.

        indices: uint8 [samples, ...], all below 2**bits; a few dozen samples suffice.  bits: 1 to
        8.  channel_axis: of one sample, not counting the samples; where a codec knows of no
        channels, give the indices an axis of length 1.  Deterministic; takes a few ns per index.

        Raises FeatureError if the indices are not such, or have more than 65,535 channels, and
        ArgumentError for the rest.
        """
        planes = checked_planes(indices, bits, channel_axis)
        samples, channels = planes.shape[:2]
        flat = planes.reshape(samples, channels, -1)
        counts = np.stack([_group_counts(flat[:, channel], bits) for channel in range(channels)])
        pooled = counts.sum(axis=0) + 0.5
        counts = counts + _PRIOR * pooled / pooled.sum()
        body = b"".join(_table(of_channel, bits) for of_channel in counts)
        return cls(framed(cls.coder, bits, channels, body))


def _group_counts(plane: NDArray[np.uint8], bits: int) -> NDArray[np.float64]:
    """How often each value of a group occurs in [samples, indices], what is missing being 0."""
    group = {1: 4, 2: 2, 3: 2}.get(bits, 1)
    rest = -plane.shape[1] % group
    groups = np.pad(plane, ((0, 0), (0, rest))).reshape(-1, group)
    values = np.zeros(len(groups), np.uint8)
    for place in range(group):
        values |= groups[:, place] << np.uint8(bits * place)
    return np.bincount(values, minlength=1 << bits * group).astype(np.float64)


def _table(counts: NDArray[np.float64], bits: int) -> bytes:
    """One channel of the model's body: frequency and width of each class."""
    widths = _widths(counts) if bits > 5 else np.zeros(len(counts), np.int64)
    sizes = 1 << widths
    frequencies = _scaled(np.add.reduceat(counts, np.cumsum(sizes) - sizes))
    return (frequencies + _TOTAL * widths).astype("<u2").tobytes()


def _widths(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of the 32 classes of 1 to 16 neighbouring values each that code `counts` in fewest bits."""
    below = np.concatenate([[0.0], np.cumsum(counts)])
    costs = []  # of the class of 2**width values that ends there
    for width in range(_WIDTH_MOST + 1):
        inside = below[1 << width :] - below[: -(1 << width)]
        cost = np.full(len(below), np.inf)
        cost[1 << width :] = inside * (width - np.log2(inside))
        costs.append(cost)
    least = np.full(len(below), np.inf)  # of so many classes that end there
    least[0] = 0.0
    chosen = []
    for _ in range(_CLASSES_WIDE):
        options = np.full((len(costs), len(below)), np.inf)
        for width, cost in enumerate(costs):
            options[width, 1 << width :] = least[: -(1 << width)] + cost[1 << width :]
        chosen.append(options.argmin(axis=0))
        least = options.min(axis=0)
    widths, end = [], len(counts)
    for taken in reversed(chosen):
        widths.append(int(taken[end]))
        end -= 1 << widths[-1]
    return np.array(widths[::-1], np.int64)


def _scaled(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Frequencies from 1 that add up to 4096 and code `counts` in fewest bits."""
    ideal = counts * (_TOTAL / counts.sum())
    frequencies: NDArray[np.int64] = np.maximum(ideal, 1.0).astype(np.int64)
    while (missing := _TOTAL - int(frequencies.sum())) != 0:
        step = 1 if missing > 0 else -1
        saved = counts * np.log2(np.maximum(frequencies + step, 0.5) / frequencies)
        saved[frequencies + step < 1] = -np.inf
        frequencies[saved.argmax()] += step
    return frequencies
