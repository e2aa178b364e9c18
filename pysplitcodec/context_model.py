"""The model of coder "context": small networks that predict each index from its neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pysplitcodec.errors import ArgumentError
from pysplitcodec.model import BYTES_AROUND, CoderModel, checked_planes, framed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ContextModel"]


class ContextModel(CoderModel):
    """What the coder "context" predicts from: see docs/format.md.

    >>> rows = np.add.outer(np.arange(8), np.arange(16)) // 8 % 2
    >>> indices = np.tile(rows.astype(np.uint8), (4, 3, 1, 1))
    >>> ContextModel.fit(indices, bits=1, budget_bytes=400)
    <ContextModel of 1 bits and 3 channels: 390 bytes>
    """

    coder: ClassVar[str] = "context"
    __slots__ = ()

    @classmethod
    def fit(
        cls,
        indices: NDArray[np.uint8],
        bits: int,
        *,
        channel_axis: int = 0,
        budget_bytes: int = 16384,
        epochs: float = 5,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> ContextModel:
        """Train a model of at most `budget_bytes` on calibration indices.

        indices: uint8 [samples, ...], below 2**bits, as `Codec.quantize` gives them; a hundred
        samples and more.  channel_axis: of one sample.  budget_bytes: some 2,000 to 4,000 suit a
        microcontroller, 10,000 to 40,000 a larger machine.  epochs: passes over the samples.
        progress: called with the number of channels done, and of all.

        Neighbours are chosen, and weights started, by logistic regression; then the network is
        trained, rounded to integers, and its outputs are fitted again to what rounding has left.
        The same arguments give the same model on one machine; another's arithmetic may round
        otherwise.  Raises FeatureError or ArgumentError, also if the budget suffices for nothing.
        """
        from pysplitcodec import context_fit

        planes = checked_planes(indices, bits, channel_axis)
        channels = planes.shape[1]
        if not isinstance(epochs, (int, float)) or not 0 <= epochs < math.inf:
            raise ArgumentError(f"epochs is {epochs!r}: expected a number from 0 on")
        for name, value in (("budget_bytes", budget_bytes), ("seed", seed)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ArgumentError(f"{name} is {value!r}: expected an integer from 0 on")
        body = context_fit.fit(planes, bits, budget_bytes - BYTES_AROUND, epochs, seed, progress)
        return cls(framed("context", bits, channels, body))
