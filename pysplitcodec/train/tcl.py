"""TCL: activations are drawn to frozen centroids, ever more sharply (Berg et al.)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pysplitcodec.codebook import Codebook
from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.levels import gap, look_up, nearest
from pysplitcodec.train.method import Method, weight
from pysplitcodec.train.wire import CentroidWire, Wire

# Below this share of the gap an activation counts as arrived: for tau < 1 the gradient of
# distance ** tau has no bound at a centroid.
_ARRIVED = 1e-3


def clustering_loss(feature: Tensor, centroids: Tensor, tau: float) -> Tensor:
    """The mean of min_k |x - mu_k| ** tau, distances in units of the mean gap of the centroids.

    TCL's equations 2 to 9 for 1 and 2 bits, and their generalisation to 1 to 8: what equation 9
    leaves of its terms is the distance to the nearer pair.  feature: [n, c, h, w]; centroids: [k]
    or [c, k], ascending, of which no gradient is taken.  A scalar.
    """
    centroids = centroids.detach()
    distance = (feature - look_up(nearest(feature, centroids), centroids)).abs()
    return (distance / gap(centroids)).clamp(min=_ARRIVED).pow(tau).mean()


def temperature(ends: Sequence[float], progress: float) -> float:
    """Equation 11: linear from the first to the last of `ends`."""
    start, end = ends
    return (end - start) * progress + start


class TCL(Method):
    """Minimises task_weight * task + (1 - task_weight) * clustering loss (equation 10).

    task_weight: the paper's lambda, 0 to 1.  tau: the exponent at the start and at the end.
    """

    def __init__(
        self, bits: int, *, task_weight: float = 0.9, tau: Sequence[float] = (3.0, 0.1)
    ) -> None:
        super().__init__(bits)
        self.task_weight = weight("task_weight", task_weight, 1)
        if not isinstance(tau, Sequence) or len(tau) != 2 or not all(t > 0 for t in tau):
            raise ArgumentError(f"tau is {tau!r}: expected two numbers above 0, start and end")
        self.tau = [float(t) for t in tau]
        self.register_buffer("centroids", torch.zeros(1 << bits))

    def depends(self) -> dict[str, Any]:
        """As `Method.depends`."""
        return {"bits": self.bits, "task_weight": self.task_weight, "tau": self.tau}

    def begin(self, features: NDArray[np.float32]) -> None:
        """Fit the centroids, which stay (section III-C, figure 1)."""
        self.centroids = torch.from_numpy(Codebook.fit(features, self.bits).centroids.copy())

    def forward(self, feature: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """As `Method.forward`: the feature as it is, and the clustering loss."""
        tau = temperature(self.tau, progress)
        return feature, {"clustering": clustering_loss(feature, self.centroids, tau)}

    def total(self, task: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """Equation 10."""
        return self.task_weight * task + (1 - self.task_weight) * terms["clustering"]

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """As `Method.wire`: the frozen centroids."""
        return CentroidWire(Codebook(self.centroids.cpu().numpy()), features.shape[1:])
