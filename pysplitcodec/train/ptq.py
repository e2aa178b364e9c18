"""Post-training quantisation: the device's part is trained without a thought of centroids (T12)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pysplitcodec.codebook import Codebook
from pysplitcodec.train.method import Method
from pysplitcodec.train.quantizer import Quantizer, checked_bits
from pysplitcodec.train.wire import CentroidWire, Wire


class KMeans(Quantizer):
    """Centroids by k-means, after training."""

    levels: Literal["kmeans", "minmax"] = "kmeans"

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = checked_bits(bits)

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """As `Quantizer.wire`."""
        return CentroidWire(Codebook.fit(features, self.bits, self.levels), features.shape[1:])


class MinMax(KMeans):
    """Centroids evenly spaced from the least to the greatest value of calibration features."""

    levels = "minmax"


def kmeans(bits: int) -> Method:
    """Centroids by k-means, after training."""
    return Method(KMeans(bits))


def minmax(bits: int) -> Method:
    """Centroids evenly spaced from the least to the greatest value of calibration features."""
    return Method(MinMax(bits))
