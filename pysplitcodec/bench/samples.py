"""What `splitcodec bench coders` codes: the indices of a file, or generated ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import pysplitcodec as sc
from pysplitcodec.bench.operations import Array
from pysplitcodec.errors import ArgumentError, FeatureError
from pysplitcodec.native import core

__all__ = ["Samples", "generate", "samples_of"]


@dataclass(frozen=True)
class Samples:
    """Indices to code: uint8 [samples, ...], each below 2**bits, and where they come from.

    calibration: indices of the same kind, which a trained coder may learn from, if there are any.
    """

    file: str
    indices: Array
    bits: int
    calibration: Array | None = None

    @cached_property
    def packed(self) -> list[bytes]:
        """The packed indices of each sample."""
        one = np.empty(core.packed_size(self.indices[0].size, self.bits), np.uint8)
        packed = []
        for sample in self.indices:
            core.pack(sample, self.bits, one)
            packed.append(one.tobytes())
        return packed

    def describe(self) -> dict[str, Any]:
        """The file, how many samples, and the shape and bits of each."""
        count, *shape = self.indices.shape
        return {"file": self.file, "samples": count, "shape": shape, "bits": self.bits}


def generate() -> Array:
    """Return features to code where there are none: float32 [32, 12, 32, 32], always the same.

    Random walks down and across each channel, and half of them cut to zero: neighbours resemble
    one another as in a real feature, and how much that saves says nothing about any network.
    """
    steps = np.random.default_rng(2).normal(size=(32, 12, 32, 32))
    walk = np.cumsum(np.cumsum(steps, axis=-1), axis=-2)
    middle = np.median(walk, axis=(-2, -1), keepdims=True)
    return np.maximum(walk - middle, 0).astype(np.float32)


def samples_of(file: str, arrays: dict[str, Array], bits: int | None) -> Samples:
    """Return what to code of a file's arrays.

    arrays: "test" and perhaps "centroids" and "calibration"; the first axis of "test" and
    "calibration" counts the samples.  With "centroids" they hold indices (uint8) of theirs;
    otherwise features (float32, float16, int8 or uint8), which are quantised to `bits` (default 2)
    by k-means of "calibration" or of "test" itself.  Raises FeatureError, ArgumentError or
    CodebookError if they do not.
    """
    test, calibration = arrays["test"], arrays.get("calibration")
    if test.ndim < 2 or test.size == 0:
        raise FeatureError(f"{file} has shape {test.shape}: expected samples along the first axis")
    if calibration is not None and calibration.shape[1:] != test.shape[1:]:
        raise FeatureError(
            f"{file} has calibration samples of shape {calibration.shape[1:]}: expected "
            f"{test.shape[1:]} as in test"
        )
    if "centroids" not in arrays:
        book = sc.Codebook.fit(test if calibration is None else calibration, bits or 2)
        learnt = None if calibration is None else book.quantize(calibration)
        return Samples(file, book.quantize(test), book.bits, learnt)
    book = sc.Codebook(arrays["centroids"])
    if bits not in (None, book.bits):
        raise ArgumentError(f"bits is {bits}: expected {book.bits}, of which {file} has indices")
    for found in (test,) if calibration is None else (test, calibration):
        most = found.max(initial=0)
        if found.dtype != np.uint8 or int(most) >> book.bits:
            raise FeatureError(
                f"{file} has {found.dtype} up to {most} beside {book.centroids.size} centroids: "
                "expected uint8 indices of them"
            )
    return Samples(file, np.ascontiguousarray(test), book.bits, calibration)
