"""Detecting objects without anchors: boxes and classes at the places of a dense map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.average_precision import DETECTIONS, average_precision
from pysplitcodec.train.task import Task

# TTFNet's: the share of an object's sides that its Gaussian spans; the weight of the boxes' loss.
_SPAN = 0.54
_BOX_WEIGHT = 5.0
_LEAST = 0.01  # what scores less is not taken as found


@dataclass(frozen=True)
class Detection(Task):
    """Finds objects in images of size (height, width); `detector_on` makes models for it.

    Targets are float32 [n, most, 5]: class, x0, y0, x1, y1 in pixels; rows of class -1 are
    padding.  Outputs are [n, classes + 4, h, w], in train() mode as in eval() mode: logits of the
    classes, then values whose softplus are the distances from the middle of a place to the left,
    upper, right and lower side of the box, in units of the stride height / h = width / w.
    """

    size: tuple[int, int]

    metrics: ClassVar[tuple[str, ...]] = ("mAP50", "mAP50-95")

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """TTFNet's, which learns in few steps: Liu et al., "Training-Time-Friendly Network for
        Real-Time Object Detection", AAAI 2020, arXiv 1909.00700.

        For the classes CenterNet's focal loss (Zhou et al. 2019, arXiv 1904.07850, eq. 1) against
        Gaussians about the objects' middles; for the boxes 1 - GIoU (Rezatofighi et al. 2019, arXiv
        1902.09630) at all places near a middle, weighted by the Gaussian and by the logarithm of
        the object's area in pixels.  Where objects meet, a place belongs to the smaller one.

        Raises ArgumentError for outputs or classes that do not fit.
        """
        stride = self._stride(outputs)
        logits, sides = outputs.float().split([outputs.shape[1] - 4, 4], 1)
        kinds, boxes = targets[..., 0].long(), targets[..., 1:] / stride
        if int(kinds.max()) >= logits.shape[1]:
            raise ArgumentError(
                f"targets have class {int(kinds.max())}: the model knows {logits.shape[1]} classes"
            )
        near = _gaussians(boxes, *logits.shape[2:]) * (kinds >= 0)[..., None, None]

        # what padding would add is zero, to any class
        index = kinds.clamp(min=0)[..., None, None].expand_as(near)
        wanted = torch.zeros_like(logits).scatter_reduce(1, index, near, "amax")
        found = logits.sigmoid()
        focal = torch.where(
            wanted == 1,
            (1 - found) ** 2 * F.logsigmoid(logits),
            (1 - wanted) ** 4 * found**2 * F.logsigmoid(-logits),
        )
        classes_loss = -focal.sum() / (wanted == 1).sum().clamp(min=1)

        areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)[..., None, None]
        owner = torch.where(near > 0, areas, torch.inf).argmin(1, keepdim=True)
        weights = torch.zeros_like(near).scatter(1, owner, near.gather(1, owner))
        # the places of an object share its weight
        weights = weights / weights.sum((2, 3), keepdim=True).clamp(min=1e-6)
        weights = (weights * (areas * stride**2).clamp(min=1).log()).sum(1)
        truth = boxes.gather(1, owner.flatten(1)[..., None].expand(-1, -1, 4))
        overlap = generalized_iou(_boxes(sides), truth).view_as(weights)
        boxes_loss = ((1 - overlap) * weights).sum() / weights.sum().clamp(min=1e-6)
        return classes_loss + _BOX_WEIGHT * boxes_loss

    def measure(self, answers: Iterable[tuple[Any, Tensor]]) -> dict[str, float]:
        """COCO's average precision: see `average_precision`."""
        found: list[Any] = []
        targets: list[Any] = []
        for outputs, wanted in answers:
            found.extend(rows[rows[:, 5] > _LEAST] for rows in self.decode(outputs).cpu().numpy())
            targets.extend(wanted.cpu().numpy())
        return average_precision(found, targets)

    def decode(self, outputs: Any) -> Tensor:
        """The best detections, float32 [n, at most 100, 6]: class, x0, y0, x1, y1, score.

        A place finds a class that none of its eight neighbours scores higher, as in CenterNet:
        nothing is left to suppress.  Boxes may lie partly outside the image.
        """
        stride = self._stride(outputs)
        logits, sides = outputs.float().split([outputs.shape[1] - 4, 4], 1)
        scores = logits.sigmoid()
        peaks = torch.where(F.max_pool2d(scores, 3, 1, 1) == scores, scores, 0).flatten(1)
        best, index = peaks.topk(min(DETECTIONS, peaks.shape[1]), 1)
        places = logits.shape[2] * logits.shape[3]
        at = (index % places)[..., None].expand(-1, -1, 4)
        boxes = _boxes(sides).gather(1, at) * stride
        kinds = index.div(places, rounding_mode="floor").float()
        return torch.cat([kinds[..., None], boxes, best[..., None]], 2)

    def vary(
        self, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mirror half of the images, and their boxes."""
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        kinds, x0, y0, x1, y1 = targets.unbind(-1)
        width = images.shape[3]
        flipped = torch.stack([kinds, width - x1, y0, width - x0, y1], -1)
        flipped = torch.where(mirrored[:, None, None] & (kinds >= 0)[..., None], flipped, targets)
        return torch.where(mirrored[:, None, None, None], images.flip(3), images), flipped

    def _stride(self, outputs: Any) -> int:
        shape = tuple(getattr(outputs, "shape", ()))
        height, width = self.size
        if len(shape) != 4 or shape[1] < 5 or height % shape[2] or width % shape[3]:
            raise ArgumentError(
                f"the model gives {shape} for images of {height}x{width}: expected"
                " [n, classes + 4, height / stride, width / stride]"
            )
        stride: int = height // shape[2]
        if width // shape[3] != stride:
            raise ArgumentError(
                f"the model gives {shape} for images of {height}x{width}: two different strides"
            )
        return stride


def _gaussians(boxes: Tensor, height: int, width: int) -> Tensor:
    """About the places of the boxes' middles, 1 there and 0 outside of the part they span.

    boxes: [n, most, 4] in units of the stride.  Gives [n, most, height, width].
    """
    parts = []
    for axis, count in ((0, width), (1, height)):
        low, high = boxes[..., axis, None], boxes[..., axis + 2, None]
        radius = ((high - low) * _SPAN / 2).floor().clamp(min=0)
        offset = torch.arange(count, device=boxes.device) - ((low + high) / 2).floor()
        values = (-(offset**2) / (2 * ((2 * radius + 1) / 6) ** 2)).exp()
        parts.append(torch.where(offset.abs() <= radius, values, 0))
    return parts[1][..., None] * parts[0][..., None, :]


def _boxes(sides: Tensor) -> Tensor:
    """Outputs [n, 4, h, w] for boxes as boxes [n, h * w, 4], in units of the stride."""
    rows, columns = (torch.arange(n, device=sides.device) + 0.5 for n in sides.shape[2:])
    down, right = torch.meshgrid(rows, columns, indexing="ij")
    left, up = right - F.softplus(sides[:, 0]), down - F.softplus(sides[:, 1])
    end, below = right + F.softplus(sides[:, 2]), down + F.softplus(sides[:, 3])
    return torch.stack([left, up, end, below], -1).flatten(1, 2)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of boxes [..., 4] with sides above zero: 1 if equal, towards -1 if far apart."""
    common = (torch.minimum(a, b)[..., 2:] - torch.maximum(a, b)[..., :2]).clamp(min=0).prod(-1)
    hull = (torch.maximum(a, b)[..., 2:] - torch.minimum(a, b)[..., :2]).prod(-1)
    union = sum((box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)) - common
    return common / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)
