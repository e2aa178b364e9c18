"""The two ends of splitting: the whole model on the device, or on the server, which gets JPEGs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pysplitcodec.codecs.jpeg import JpegScans
from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.data import Data

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JpegInput", "jpeg_quality", "measure_model"]

_BATCH = 250
# Accuracy goes up and down by single images: so many worse qualities that fail end the search.
_NEIGHBOURS = 3


@dataclass(frozen=True)
class JpegInput:
    """Images as they are sent to a model that is all on the server.

    quality: 1 to 100; subsampling: "4:4:4" or "4:2:0"; metrics: of the model on what the server
    decodes; mean_bytes: per image, without the header, with tables, that all images share;
    mean_file_bytes: of whole files, with Huffman tables of their own.
    """

    quality: int
    subsampling: str
    metrics: dict[str, float]
    mean_bytes: float
    mean_file_bytes: float


def measure_model(model: nn.Module, data: Data, images: Tensor | None = None) -> dict[str, float]:
    """Metrics of a whole model over the test samples: what all on the device reaches.

    images: uint8 [n, 3, h, w] in the place of the test images.
    """
    images = data.test.images if images is None else images
    device = next((weights.device for weights in model.parameters()), images.device)

    def answers() -> Iterator[tuple[Any, Tensor]]:
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH].to(device)
            targets = data.test.targets[start : start + _BATCH].to(device)
            yield model(data.normalized(batch)), targets

    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return data.task.measure(answers())
    finally:
        model.train(training)


def jpeg_quality(model: nn.Module, data: Data, max_drop: float) -> JpegInput:
    """The fewest bytes of JPEG with which the task's first metric drops by at most `max_drop`.

    The drop is from the metric on the test images as they are.  For each of 4:4:4 and 4:2:0 the
    lowest quality is found by bisection, as if the metric rose with the quality, and then by going
    down until three qualities in a row drop it by more.  The one that takes fewer bytes is
    returned; that images were JPEG before is not known here, and must be said with the result.

    Raises ArgumentError for a `max_drop` outside [0, 1], and where even quality 100 drops more;
    MissingDependencyError without Pillow.
    """
    if not 0 <= max_drop <= 1:
        raise ArgumentError(f"max_drop is {max_drop}: expected a fraction from 0 to 1")
    first = data.task.metrics[0]
    wanted = measure_model(model, data)[first] - max_drop - 1e-9  # what subtracting rounds
    pixels = data.test.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    found = [
        result
        for subsampling in ("4:4:4", "4:2:0")
        if (result := _lowest_quality(model, data, pixels, subsampling, wanted)) is not None
    ]
    if not found:
        raise ArgumentError(f"max_drop is {max_drop}: JPEG of quality 100 lowers {first} by more")
    return min(found, key=lambda result: result.mean_bytes)


def _lowest_quality(
    model: nn.Module, data: Data, pixels: NDArray[np.uint8], subsampling: str, wanted: float
) -> JpegInput | None:
    """The lowest quality with which the first metric is at least `wanted`; None if none is."""
    results: dict[int, dict[str, float]] = {}

    def keeps(quality: int) -> bool:
        if quality not in results:
            scans = JpegScans(pixels.shape[1:], quality, subsampling)
            decoded = np.stack([scans.decode(scans.encode(image)) for image in pixels])
            images = torch.from_numpy(decoded).permute(0, 3, 1, 2)
            results[quality] = measure_model(model, data, images)
        return results[quality][data.task.metrics[0]] >= wanted

    if not keeps(100):
        return None
    fails, lowest = 0, 100
    while lowest - fails > 1:
        middle = (lowest + fails) // 2
        if keeps(middle):
            lowest = middle
        else:
            fails = middle
    quality = lowest - 1
    while quality >= max(1, lowest - _NEIGHBOURS):
        if keeps(quality):
            lowest = quality
        quality -= 1
    scans = JpegScans(pixels.shape[1:], lowest, subsampling)
    sizes = [len(scans.encode(image)) for image in pixels]
    files = [len(scans.file(image, optimize=True)) for image in pixels]
    return JpegInput(
        lowest, subsampling, results[lowest], float(np.mean(sizes)), float(np.mean(files))
    )
