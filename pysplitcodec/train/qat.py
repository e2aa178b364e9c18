"""Quantisation-aware training at the cut: straight-through gradients and learned centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.codebook import Codebook
from pysplitcodec.train.levels import gap, look_up, nearest
from pysplitcodec.train.method import Method
from pysplitcodec.train.wire import CentroidWire, Wire


class QAT(Method):
    """What the server gets while training is what it will get: centroids.

    Gradients pass the quantiser as if it were not there, and move the centroids; they do not pass
    for elements further than half a gap outside the centroids, which would drift away for ever: the
    server cannot tell.  per_channel: whether channels have codebooks of their own.
    """

    def __init__(self, bits: int, *, per_channel: bool = False) -> None:
        super().__init__(bits)
        self.per_channel = per_channel
        self.levels = nn.Parameter(torch.empty(0))

    def depends(self) -> dict[str, Any]:
        """As `Method.depends`."""
        return {"bits": self.bits, "per_channel": self.per_channel}

    def begin(self, features: NDArray[np.float32]) -> None:
        """Start at the centroids of k-means."""
        if self.per_channel:
            books = Codebook.fit_channels(features, self.bits, 1)
            found = np.stack([book.centroids for book in books])
        else:
            found = Codebook.fit(features, self.bits).centroids.copy()
        self.levels = nn.Parameter(torch.from_numpy(found))

    def centroids(self) -> Tensor:
        """In ascending order, [k] or [c, k]; with gradient."""
        return self.levels.sort(-1).values

    def forward(self, feature: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """As `Method.forward`: the nearest centroids."""
        centroids = self.centroids()
        return straight_through(feature, nearest(feature, centroids), centroids), {}

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """As `Method.wire`: the learned centroids."""
        found = self.centroids().detach().cpu().numpy()
        books = [Codebook(_apart(row)) for row in np.atleast_2d(found)]
        return CentroidWire(books if self.per_channel else books[0], features.shape[1:])


def straight_through(feature: Tensor, indices: Tensor, centroids: Tensor) -> Tensor:
    """The centroids of indices, with gradients to them and, as far as it may move, the feature."""
    with torch.no_grad():
        table = centroids if centroids.dim() == 1 else centroids[:, None, None]
        reach = gap(centroids) / 2
        inside = (feature > table[..., 0] - reach) & (feature < table[..., -1] + reach)
    # x - x is exactly 0, and leaves its gradient
    return look_up(indices, centroids) + inside * (feature - feature.detach())


def _apart(centroids: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ascending centroids, strictly: those that training has put on one another are moved up."""
    found: NDArray[np.float32] = centroids.copy()
    for k in range(1, len(found)):
        found[k] = max(found[k], np.nextafter(found[k - 1], np.float32(np.inf)))
    return found
