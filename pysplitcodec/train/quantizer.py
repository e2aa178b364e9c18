"""What a quantiser is: what of it training sees, and what crosses the link afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.wire import Wire


class Quantizer(nn.Module):
    """Between the halves.  This one leaves features as they are, and cannot send them.

    The parameters of a quantiser are trained beside the model's.
    """

    def depends(self) -> dict[str, Any]:
        """Settings, as JSON, that the trained device's part depends on."""
        return {}

    def begin(self, features: NDArray[np.float32]) -> None:
        """Prepare for training, by features [n, c, h, w] of calibration samples."""

    def forward(self, feature: Tensor) -> Tensor:
        """What the server's part gets in training for a feature [n, c, h, w]."""
        return feature

    def centroids(self) -> Tensor | None:
        """Ascending, [k] or [c, k]; None where training knows none."""
        return None

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """What crosses the link, by features [n, c, h, w] of calibration samples after training."""
        raise NotImplementedError


def checked_bits(bits: object) -> int:
    """The width of an index, 1 to 8; raises ArgumentError otherwise."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
        raise ArgumentError(f"bits is {bits!r}: expected 1 to 8")
    return bits
