"""TCL: activations are drawn to frozen centroids, ever more sharply (Berg et al.)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.levels import gap, look_up, nearest
from pysplitcodec.train.method import Loss, Method, checked_weight
from pysplitcodec.train.qat import Centroids

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


class Clustering(Loss):
    """`clustering_loss`; tau: the exponent at the start and at the end of the stage."""

    name = "clustering"

    def __init__(self, *, weight: float = 0.1, tau: Sequence[float] = (3.0, 0.1)) -> None:
        super().__init__(weight)
        if not isinstance(tau, Sequence) or len(tau) != 2 or not all(t > 0 for t in tau):
            raise ArgumentError(f"tau is {tau!r}: expected two numbers above 0, start and end")
        self.tau = [float(t) for t in tau]

    def depends(self) -> dict[str, Any]:
        """As `Loss.depends`."""
        return {"weight": self.weight, "tau": self.tau}

    def forward(self, feature: Tensor, sent: Tensor, centroids: Tensor, progress: float) -> Tensor:
        """As `Loss.forward`."""
        return clustering_loss(feature, centroids, temperature(self.tau, progress))


def tcl(bits: int, *, task_weight: float = 0.9, tau: Sequence[float] = (3.0, 0.1)) -> Method:
    """Minimises task_weight * task + (1 - task_weight) * clustering loss (equation 10).

    The centroids are fitted before and stay (section III-C, figure 1).  task_weight: the paper's
    lambda, 0 to 1.  tau: as for `Clustering`.
    """
    share = checked_weight("task_weight", task_weight, 1)
    return Method(Centroids(bits), [Clustering(weight=1 - share, tau=tau)], task_weight=share)
