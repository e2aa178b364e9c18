"""Quantisation-aware training at the cut: straight-through gradients and learned centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.codebook import Codebook
from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.levels import nearest, straight_through
from pysplitcodec.train.method import Method
from pysplitcodec.train.quantizer import Quantizer, checked_bits
from pysplitcodec.train.wire import CentroidWire, Wire


class Centroids(Quantizer):
    """Centroids that are there while the device's part is trained; they start as those of k-means.

    straight_through: whether the server's part gets centroids in training, with gradients as if it
    got the features (`levels.straight_through`); otherwise it gets the features.  learned: whether
    centroids move with what is minimised.  per_channel: whether channels have their own.
    """

    def __init__(
        self,
        bits: int,
        *,
        straight_through: bool = False,
        learned: bool = False,
        per_channel: bool = False,
    ) -> None:
        super().__init__()
        self.bits = checked_bits(bits)
        chosen = {
            "straight_through": straight_through,
            "learned": learned,
            "per_channel": per_channel,
        }
        for name, value in chosen.items():
            if not isinstance(value, bool):
                raise ArgumentError(f"{name} is {value!r}: expected true or false")
        self.straight_through, self.learned, self.per_channel = chosen.values()
        self.levels = nn.Parameter(torch.empty(0), requires_grad=learned)

    def depends(self) -> dict[str, Any]:
        """As `Quantizer.depends`."""
        return {
            "bits": self.bits,
            "straight_through": self.straight_through,
            "learned": self.learned,
            "per_channel": self.per_channel,
        }

    def begin(self, features: NDArray[np.float32]) -> None:
        """Start at the centroids of k-means."""
        if self.per_channel:
            books = Codebook.fit_channels(features, self.bits, 1)
            found = np.stack([book.centroids for book in books])
        else:
            found = Codebook.fit(features, self.bits).centroids.copy()
        self.levels = nn.Parameter(torch.from_numpy(found), requires_grad=self.learned)

    def centroids(self) -> Tensor:
        """In ascending order, [k] or [c, k]; with gradient if they are learned."""
        return self.levels.sort(-1).values

    def forward(self, feature: Tensor) -> Tensor:
        """As `Quantizer.forward`."""
        if not self.straight_through:
            return feature
        centroids = self.centroids()
        return straight_through(feature, nearest(feature, centroids), centroids)

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """As `Quantizer.wire`: the centroids as training left them."""
        found = self.centroids().detach().cpu().numpy()
        books = [Codebook(_apart(row)) for row in np.atleast_2d(found)]
        return CentroidWire(books if self.per_channel else books[0], features.shape[1:])


def qat(bits: int, *, per_channel: bool = False) -> Method:
    """What the server gets while training is what it will get; the task moves centroids too."""
    return Method(Centroids(bits, straight_through=True, learned=True, per_channel=per_channel))


def _apart(centroids: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ascending centroids, strictly: those that training has put on one another are moved up."""
    found: NDArray[np.float32] = centroids.copy()
    for k in range(1, len(found)):
        found[k] = max(found[k], np.nextafter(found[k - 1], np.float32(np.inf)))
    return found
