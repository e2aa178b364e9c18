"""Post-training quantisation: the device's part is trained without a thought of centroids (T12)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pysplitcodec.codebook import Codebook
from pysplitcodec.train.method import Method
from pysplitcodec.train.wire import CentroidWire, Wire


class KMeans(Method):
    """Centroids by k-means."""

    levels: Literal["kmeans", "minmax"] = "kmeans"

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """As `Method.wire`."""
        return CentroidWire(Codebook.fit(features, self.bits, self.levels), features.shape[1:])


class MinMax(KMeans):
    """Centroids evenly spaced from the least to the greatest value of calibration features."""

    levels = "minmax"
