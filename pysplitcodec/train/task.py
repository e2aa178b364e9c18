"""What a model is trained for: its loss, its metrics, and how its training samples are varied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


class Task(ABC):
    """Turns a model's outputs, in train() or eval() mode, into a loss and into metrics.

    metrics: names of what `measure` gives, as fractions from 0 to 1, more being better; runs are
        compared by the first.
    """

    metrics: ClassVar[tuple[str, ...]]

    @abstractmethod
    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """The mean over a batch of what training reduces: a scalar in float32."""

    @abstractmethod
    def measure(self, answers: Iterable[tuple[Any, Tensor]]) -> dict[str, float]:
        """The metrics over all batches: their outputs in eval() mode, and their targets."""

    def vary(
        self, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """A variation of a batch of uint8 images [n, 3, h, w], drawn from `generator` alone."""
        return images, targets


class Classification(Task):
    """Targets are int64 [n], the classes; outputs are logits [n, classes].

    mirror: whether a mirrored image is still of its class.
    """

    metrics = ("top1",)

    def __init__(self, mirror: bool = True) -> None:
        self.mirror = mirror

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs.float(), targets)

    def measure(self, answers: Iterable[tuple[Any, Tensor]]) -> dict[str, float]:
        """Share of images whose class has the greatest logit."""
        right = count = 0
        for outputs, targets in answers:
            right += int((outputs.argmax(1) == targets).sum())
            count += len(targets)
        return {"top1": right / count}

    def vary(
        self, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Move each image by up to an eighth of its side; mirror half of them."""
        count, _, height, width = images.shape
        reach = height // 8
        if self.mirror:
            mirrored = torch.rand(count, generator=generator) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        padded = F.pad(images, (reach, reach, reach, reach))
        offsets = torch.randint(0, 2 * reach + 1, (2, count), generator=generator)
        rows = offsets[0][:, None] + torch.arange(height)
        columns = offsets[1][:, None] + torch.arange(width)
        sample = torch.arange(count)[:, None, None]
        moved = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
        return moved.permute(0, 3, 1, 2), targets
