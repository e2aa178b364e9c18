"""A way of training: a quantiser and the losses that are minimised beside the task's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.quantizer import Quantizer
from pysplitcodec.train.wire import Wire


class Loss(nn.Module, ABC):
    """A term of what is minimised, times `weight`.

    Its parameters are trained beside the model's.  name: of the term, in logs and recipes.
    """

    name: str

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = checked_weight("weight", weight)

    @abstractmethod
    def depends(self) -> dict[str, Any]:
        """Settings, as JSON, that the trained device's part depends on."""

    def begin(self, features: NDArray[np.float32], centroids: Tensor) -> None:
        """Prepare for training, by features [n, c, h, w] and the centroids that it starts with."""

    @abstractmethod
    def forward(self, feature: Tensor, sent: Tensor, centroids: Tensor, progress: float) -> Tensor:
        """A scalar for a feature [n, c, h, w] and what the server gets for it.

        centroids: ascending, [k] or [c, k].  progress: of the stage, from 0 to 1.
        """


class Method(nn.Module):
    """Minimises task_weight * task + the weighted losses, with the quantiser between the halves.

    Raises ArgumentError for losses where the quantiser has no centroids while training, or two of
    one name.
    """

    def __init__(
        self, quantizer: Quantizer, losses: Sequence[Loss] = (), *, task_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.task_weight = checked_weight("task_weight", task_weight, 1)
        self.quantizer = quantizer
        self.losses = nn.ModuleDict({loss.name: loss for loss in losses})
        if len(self.losses) < len(losses):
            raise ArgumentError(
                f"losses are {', '.join(loss.name for loss in losses)}: expected each name once"
            )
        if losses and quantizer.centroids() is None:
            raise ArgumentError(
                f"losses are {', '.join(self.losses)}: expected none, for this quantizer has no "
                f"centroids before training has ended"
            )

    def depends(self) -> dict[str, Any]:
        """Settings, as JSON, that the trained device's part depends on; {} for plain training."""
        quantizer = self.quantizer.depends()
        losses = {name: loss.depends() for name, loss in self.losses.items()}
        if not quantizer and not losses:
            return {}
        return {"quantizer": quantizer, "losses": losses, "task_weight": self.task_weight}

    def begin(self, features: NDArray[np.float32]) -> None:
        """Prepare for training, by features [n, c, h, w] of calibration samples."""
        self.quantizer.begin(features)
        if (centroids := self.quantizer.centroids()) is not None:
            for loss in self.losses.values():
                loss.begin(features, centroids.detach())

    def forward(self, feature: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """What the server's part gets for a feature [n, c, h, w], and the losses' scalars.

        progress: of the stage, from 0 to 1.
        """
        sent = self.quantizer(feature)
        centroids = self.quantizer.centroids()
        terms = {n: loss(feature, sent, centroids, progress) for n, loss in self.losses.items()}
        return sent, terms

    def total(self, task: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """What is minimised."""
        found = self.task_weight * task
        for name, loss in self.losses.items():
            found = found + loss.weight * terms[name]
        return found

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """As `Quantizer.wire`."""
        return self.quantizer.wire(features)


def checked_weight(name: str, value: object, most: float = np.inf) -> float:
    """A setting from 0 to `most`; raises ArgumentError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        upto = "on" if most == np.inf else f"to {most:g}"
        raise ArgumentError(f"{name} is {value!r}: expected a number from 0 {upto}")
    return float(value)
