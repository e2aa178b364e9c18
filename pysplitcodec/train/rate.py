"""Training for few bytes: the loss holds the bits that an entropy coder would need."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.levels import assignment, gap, look_up, nearest, per_element
from pysplitcodec.train.method import Loss, Method, checked_weight
from pysplitcodec.train.qat import Centroids

Prior = Literal["channel", "context"]

# The bits are then within 1 % of what seven times the steps come to.
_FIT_STEPS, _FIT_BATCH, _FIT_RATE = 300, 64, 0.03


class Rate(Loss):
    """Bits per element.

    prior: what the bits are estimated by, and so what coder they suit: "channel", the entropy of a
    channel's indices in the batch; "context", a prediction of each index from those that the coder
    "context" sees too: rows above and columns to the left in its channel, and the 3x3 around it in
    the channels before (`ContextModel`), by one masked convolution that is trained beside.
    """

    name = "rate"

    def __init__(self, *, weight: float = 0.3, prior: Prior = "channel") -> None:
        super().__init__(weight)
        if prior not in ("channel", "context"):
            raise ArgumentError(f"prior is {prior!r}: expected 'channel' or 'context'")
        self.prior = prior
        self.context: _Context | None = None

    def depends(self) -> dict[str, Any]:
        """As `Loss.depends`."""
        return {"weight": self.weight, "prior": self.prior}

    def begin(self, features: NDArray[np.float32], centroids: Tensor) -> None:
        """As `Loss.begin`: the prior starts with what these features teach it."""
        if self.prior == "context":
            self.context = _Context(features.shape[1], centroids.shape[-1])
            self.context.fit(torch.from_numpy(features), centroids)

    def forward(self, feature: Tensor, sent: Tensor, centroids: Tensor, progress: float) -> Tensor:
        """As `Loss.forward`."""
        shares = assignment(feature, centroids)
        if self.context is not None:
            bits: Tensor = self.context(sent, centroids, shares)
            return bits
        mean = shares.mean((0, 2, 3))  # [c, k]
        return -(mean * (mean + 1e-9).log2()).sum(1).mean()


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

    def fit(self, features: Tensor, centroids: Tensor) -> None:
        """Learn from features [n, c, h, w] before training starts."""
        generator = torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(self.parameters(), _FIT_RATE)
        for _ in range(_FIT_STEPS):
            batch = features[torch.randint(len(features), (_FIT_BATCH,), generator=generator)]
            sent = look_up(nearest(batch, centroids), centroids)
            bits = self(sent, centroids, assignment(sent, centroids))
            optimizer.zero_grad()
            bits.backward()
            optimizer.step()

    def forward(self, sent: Tensor, centroids: Tensor, shares: Tensor) -> Tensor:
        """Bits per element of shares [n, c, h, w, k] of the indices of `sent` [n, c, h, w]."""
        with torch.no_grad():
            middle, width = per_element(centroids).mean(-1), gap(centroids)
        inputs = (sent - middle) / width
        logits = F.conv2d(inputs, self.weights * self.mask, self.biases, padding=2)
        n, _, height, columns = logits.shape
        chances = logits.view(n, self.channels, self.levels, height, columns)
        costs = -F.log_softmax(chances, 2).permute(0, 1, 3, 4, 2)
        return (shares * costs).sum(-1).mean() / np.log(2)


def rate(
    bits: int, *, rate_weight: float = 0.3, prior: Prior = "channel", per_channel: bool = False
) -> Method:
    """Minimises task + rate_weight * bits per element, straight through learned centroids."""
    weight = checked_weight("rate_weight", rate_weight)
    quantizer = Centroids(bits, straight_through=True, learned=True, per_channel=per_channel)
    return Method(quantizer, [Rate(weight=weight, prior=prior)])
