"""A model that stands for a tail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pysplitcodec.runtime import TensorInfo


class FakeModel:
    """Stands for a tail that does what a test needs."""

    platform = "tflite"

    def __init__(
        self,
        run: Callable[[np.ndarray], list[np.ndarray]],
        shape: tuple[int, ...] = (1, 2),
        dtype: str = "float32",
        inputs: int = 1,
        outputs: tuple[str, ...] = ("out",),
    ) -> None:
        self.run = run
        self.inputs = [TensorInfo(f"in{i}", shape, dtype, None, None) for i in range(inputs)]
        self.outputs = [TensorInfo(name, (1,), "float32", None, None) for name in outputs]

    def __call__(self, array: np.ndarray) -> list[np.ndarray]:
        return self.run(array)
