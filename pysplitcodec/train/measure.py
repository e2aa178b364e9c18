"""Measuring models and features on samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.train.data import Data, Samples

_BATCH = 250


def metrics(
    data: Data, samples: Samples, answer: Callable[[Tensor], Any], inputs: Tensor, device: str
) -> dict[str, float]:
    """The task's metrics of `answer` over samples; inputs: what it takes for each of them."""

    def answers() -> Iterator[tuple[Any, Tensor]]:
        for at in range(0, len(inputs), _BATCH):
            yield (
                answer(inputs[at : at + _BATCH].to(device)),
                samples.targets[at : at + _BATCH].to(device),
            )

    with torch.no_grad():
        return data.task.measure(answers())


def features_of(data: Data, device_part: nn.Module, samples: Samples, device: str) -> Tensor:
    """What the device's part gives for samples: float32 [n, c, h, w], on the CPU."""
    device_part.eval()
    found = []
    with torch.no_grad():
        for at in range(0, len(samples), _BATCH):
            images = data.normalized(samples.images[at : at + _BATCH].to(device))
            found.append(device_part(images).float().cpu())
    return torch.cat(found)


def as_array(features: Tensor) -> NDArray[np.float32]:
    """Features as the codec takes them."""
    array: NDArray[np.float32] = features.contiguous().numpy()
    return array
