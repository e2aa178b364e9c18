"""What a way of training is: how it changes the stage in which the device's part is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.wire import Wire


class Method(nn.Module):
    """Between the halves while the device's part is trained; then it tells what crosses the link.

    bits: width of the indices, 1 to 8.  The parameters of a method are trained beside the
    model's.  This one leaves features as they are: what the others are compared with.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
            raise ArgumentError(f"bits is {bits!r}: expected 1 to 8")
        self.bits = bits

    def depends(self) -> dict[str, Any]:
        """Settings, as JSON, that the trained device's part depends on."""
        return {}

    def begin(self, features: NDArray[np.float32]) -> None:
        """Prepare for training, by features [n, c, h, w] of calibration samples."""

    def forward(self, feature: Tensor, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """What the server's part gets for a feature [n, c, h, w], and scalar terms of the loss.

        progress: of the stage, from 0 to 1.
        """
        return feature, {}

    def total(self, task: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """What is minimised: the task's loss and the terms, weighted."""
        return task

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """What crosses the link, by features [n, c, h, w] of calibration samples after training."""
        raise NotImplementedError


def weight(name: str, value: object, most: float = np.inf) -> float:
    """A setting from 0 to `most`; raises ArgumentError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        upto = "on" if most == np.inf else f"to {most:g}"
        raise ArgumentError(f"{name} is {value!r}: expected a number from 0 {upto}")
    return float(value)
