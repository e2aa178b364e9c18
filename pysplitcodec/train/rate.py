"""Training for few bytes: the loss holds the bits that an entropy coder would need."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.levels import gap, nearest
from pysplitcodec.train.method import weight
from pysplitcodec.train.qat import QAT, straight_through

Prior = Literal["channel", "context"]

# Of an assignment to centroids, in squared gaps: halfway to the next one, it is 1/2.
_SOFTNESS = 0.1


class Rate(QAT):
    """Minimises task + rate_weight * bits per element, straight through the quantiser.

    prior: what the bits are estimated by, and so what coder they suit: "channel", the entropy of a
    channel's indices in the batch; "context", a prediction of each index from those that the coder
    "context" sees too: rows above and columns to the left in its channel, and the 3x3 around it in
    the channels before (`ContextModel`), by one masked convolution that is trained beside.
    """

    def __init__(
        self,
        bits: int,
        *,
        rate_weight: float = 0.3,
        prior: Prior = "channel",
        per_channel: bool = False,
    ) -> None:
        super().__init__(bits, per_channel=per_channel)
        self.rate_weight = weight("rate_weight", rate_weight)
        if prior not in ("channel", "context"):
            raise ArgumentError(f"prior is {prior!r}: expected 'channel' or 'context'")
        self.prior = prior
        self.context: _Context | None = None

    def depends(self) -> dict[str, Any]:
        """As `Method.depends`."""
        return {**super().depends(), "rate_weight": self.rate_weight, "prior": self.prior}

    def begin(self, features: NDArray[np.float32]) -> None:
        """As `QAT.begin`; the prior starts at the shares of the indices."""
        super().begin(features)
        if self.prior == "context":
            self.context = _Context(features.shape[1], 1 << self.bits)

    def forward(self, feature: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """As `Method.forward`: the nearest centroids, and the bits per element."""
        centroids = self.centroids()
        indices = nearest(feature, centroids)
        sent = straight_through(feature, indices, centroids)
        shares = assignment(feature, centroids)
        if self.context is None:
            mean = shares.mean((0, 2, 3))  # [c, k]
            bits = -(mean * (mean + 1e-9).log2()).sum(1).mean()
        else:
            bits = self.context(sent, centroids, shares)
        return sent, {"rate": bits}

    def total(self, task: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """As `Method.total`."""
        return task + self.rate_weight * terms["rate"]


def assignment(feature: Tensor, centroids: Tensor) -> Tensor:
    """How far each element [n, c, h, w] belongs to each centroid: [n, c, h, w, k], sums of 1."""
    table = centroids if centroids.dim() == 1 else centroids[:, None, None]
    width = gap(centroids).detach()[..., None] if centroids.dim() > 1 else gap(centroids).detach()
    distance = (feature[..., None] - table) / width
    return torch.softmax(-(distance**2) / _SOFTNESS, -1)


class _Context(nn.Module):
    """Predicts indices from what a decoder knows before: one convolution of 5x5, masked."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.channels, self.levels = channels, levels
        self.weights = nn.Parameter(torch.zeros(channels * levels, channels, 5, 5))
        self.biases = nn.Parameter(torch.zeros(channels * levels))
        mask = torch.zeros(channels, channels, 5, 5)
        for own in range(channels):
            mask[own, :own, 1:4, 1:4] = 1
            mask[own, own, :2] = 1
            mask[own, own, 2, :2] = 1
        self.register_buffer("mask", mask.repeat_interleave(levels, 0), persistent=False)

    def forward(self, sent: Tensor, centroids: Tensor, shares: Tensor) -> Tensor:
        """Bits per element of shares [n, c, h, w, k] of the indices of `sent` [n, c, h, w]."""
        with torch.no_grad():
            middle = (
                centroids.mean(-1) if centroids.dim() == 1 else centroids.mean(-1)[:, None, None]
            )
            width = gap(centroids)
        inputs = (sent - middle) / width
        logits = F.conv2d(inputs, self.weights * self.mask, self.biases, padding=2)
        n, _, height, columns = logits.shape
        chances = logits.view(n, self.channels, self.levels, height, columns)
        costs = -F.log_softmax(chances, 2).permute(0, 1, 3, 4, 2)
        return (shares * costs).sum(-1).mean() / np.log(2)
