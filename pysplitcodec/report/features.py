"""What is measured of the features at one split point, without keeping them all.

Codebooks, and what coders learn, come from the first samples; everything is measured on others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pysplitcodec.auto import fit_codec
from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec, coders
from pysplitcodec.errors import ArgumentError, CodebookError, FeatureError
from pysplitcodec.native import DTYPES
from pysplitcodec.report.pictures import draw_mosaic

Array = NDArray[Any]

CODERS = ("pack", "lzma", "context")
# How many elements, of all samples together, codebooks are fitted to and entropies come from.
FITTED, COUNTED = 1 << 16, 1 << 18
# How many elements the model of the coder "context" learns from, in whole samples.
LEARNED = 1 << 20
# Of a histogram; elements are those of one channel.
BINS, CHANNELS, BINNED = 64, 16, 1 << 12


class Feature:
    """The tensor at one split point, as its samples come by.

    `learn` takes the first samples, `fit` makes codebooks and codecs of them, and `measure` takes
    the other samples.

    zero: the value that stands for 0.  channels_last: in features of three dimensions and more.
    bits: widths to code at.  learned, measured: how many samples there will be.
    """

    def __init__(
        self, zero: int, channels_last: bool, bits: Sequence[int], learned: int, measured: int
    ) -> None:
        self._zero, self._channels_last, self._bits = zero, channels_last, tuple(bits)
        self._to_fit, self._to_count = _Drawn(FITTED, learned), _Drawn(COUNTED, measured)
        self._to_bin = _Drawn(BINNED, measured)
        self._kept: list[Array] = []
        self._codecs: dict[tuple[int, str], Codec] = {}
        self._frames: dict[tuple[int, str], list[int]] = {}
        self._shown: NDArray[np.intp] = np.zeros(0, np.intp)
        self._elements = self._zeros = 0
        self._books: dict[int, Codebook] = {}
        self.picture: dict[str, Any] | None = None

    def learn(self, feature: Array) -> None:
        """Take one of the first samples, as the model gives it."""
        sample = _without_batch(feature)
        if not self._kept:
            self.picture = draw_mosaic(self._by_channel(sample))
        if len(self._kept) < 2 or (len(self._kept) + 1) * sample.size <= LEARNED:
            self._kept.append(sample)
        self._to_fit.add(sample.reshape(1, -1))

    def fit(self, context_channels: int) -> None:
        """Fit codebooks of all widths, and codecs; "context" for so many channels at most."""
        values = self._to_fit.values().reshape(-1)
        try:
            self._books = {bits: _codebook(values, bits) for bits in range(1, 9)}
        except (CodebookError, FeatureError):  # no elements, or some that are no finite numbers
            return
        samples = np.stack(self._kept)
        self._kept = []
        if samples.dtype.name not in DTYPES:
            return
        names = [name for name in CODERS if coders()[name]]
        if len(samples) < 2 or len(self._by_channel(samples[0])) > context_channels:
            names.remove("context")
        for bits in self._bits:
            for name in names:
                try:
                    self._codecs[bits, name] = self._codec(self._books[bits], name, samples)
                except ArgumentError:  # no model of so many channels is small enough
                    continue

    def measure(self, feature: Array) -> None:
        """Take one of the other samples, as the model gives it."""
        sample = _without_batch(feature)
        self._elements += sample.size
        self._zeros += int(np.count_nonzero(sample == self._zero))
        self._to_count.add(sample.reshape(1, -1))
        channels = self._by_channel(sample)
        shown = min(CHANNELS, len(channels))
        self._shown = np.arange(shown) * len(channels) // max(shown, 1)
        self._to_bin.add(channels[self._shown].reshape(shown, -1))
        for key, codec in self._codecs.items():
            self._frames.setdefault(key, []).append(len(codec.encode(sample)))

    def sparsity(self) -> float | None:
        """Share of the elements that stand for 0."""
        return self._zeros / self._elements if self._elements else None

    def entropy_bits(self) -> list[float] | None:
        """Bits per element of indices of 1 to 8 bits, if each were coded by how often it occurs."""
        if not self._books:
            return None
        values = self._to_count.values()
        return [_entropy(book, values) for book in self._books.values()]

    def coded(self) -> list[dict[str, Any]] | None:
        """Mean bytes of a frame by width and coder."""
        if not self._codecs:
            return None
        return [
            {
                "bits": bits,
                **{
                    name: float(np.mean(self._frames[bits, name]))
                    if (bits, name) in self._frames
                    else None
                    for name in CODERS
                },
            }
            for bits in self._bits
        ]

    def codebooks(self) -> list[dict[str, Any]] | None:
        """Centroids of the widths coded at."""
        if not self._books:
            return None
        return [
            {"bits": bits, "centroids": self._books[bits].centroids.tolist()} for bits in self._bits
        ]

    def histograms(self) -> list[dict[str, Any]] | None:
        """How often values occur in some of the channels, evenly chosen."""
        if not self._books:
            return None
        return [
            {"channel": int(channel), **_histogram(values)}
            for channel, values in zip(self._shown, self._to_bin.values())
        ]

    def _codec(self, book: Codebook, name: str, samples: Array) -> Codec:
        axis = self._axis(samples[0])
        if name == "context":
            return fit_codec(book, samples, name, channel_axis=axis)
        dtype: Any = samples.dtype.name
        return Codec(book, name, shape=samples.shape[1:], dtype=dtype, channel_axis=axis)

    def _axis(self, sample: Array) -> int | None:
        """The axis that counts the channels, where there are rows and columns beside it."""
        if sample.ndim < 3:
            return None
        return sample.ndim - 1 if self._channels_last else 0

    def _by_channel(self, sample: Array) -> Array:
        """A sample as [channels, ...]; without channels it is one."""
        axis = self._axis(sample)
        return sample[None] if axis is None else np.moveaxis(sample, axis, 0)


class _Drawn:
    """Elements of samples, from a fixed seed: as many of each, in all `limit` or all there are.

    samples: how many there will be.
    """

    def __init__(self, limit: int, samples: int) -> None:
        self._each = math.ceil(limit / max(samples, 1))
        self._random = np.random.default_rng(0)
        self._parts: list[Array] = []

    def add(self, rows: Array) -> None:
        """Draw from a sample's rows, each time from the same columns of all of them."""
        count = rows.shape[1]
        if count > self._each:
            rows = rows[:, self._random.integers(0, count, self._each)]
        self._parts.append(rows.copy())

    def values(self) -> Array:
        """All of them, [rows, elements]."""
        return np.concatenate(self._parts, axis=1)


def _without_batch(feature: Array) -> Array:
    return feature[0] if feature.ndim > 1 and len(feature) == 1 else feature


def _codebook(values: Array, bits: int) -> Codebook:
    """By exact k-means; of fewer distinct values than centroids, these, and others above them."""
    try:
        return Codebook.fit(values, bits)
    except CodebookError:
        distinct = np.unique(values).astype(np.float64)
        step = max(abs(distinct[-1]), 1.0)
        others = distinct[-1] + step * np.arange(1, (1 << bits) - len(distinct) + 1)
        return Codebook(np.concatenate([distinct, others]))


def _entropy(book: Codebook, values: Array) -> float:
    if values.dtype.name not in DTYPES:
        values = values.astype(np.float32)
    counts = np.bincount(book.quantize(values).reshape(-1))
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0  # no -0.0


def _histogram(values: Array) -> dict[str, Any]:
    """Bins of one channel's values; integers have as many of them in each bin."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    limits: tuple[float, float] | None = None
    if finite.dtype.kind in "iu" and finite.size:
        least, most = int(finite.min()), int(finite.max())
        limits = (least - 0.5, least - 0.5 + BINS * math.ceil((most - least + 1) / BINS))
    counts, edges = np.histogram(finite, BINS, limits)
    return {"counts": counts.tolist(), "low": float(edges[0]), "high": float(edges[-1])}
