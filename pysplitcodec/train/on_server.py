"""The two ends of splitting: the whole model on the device, or on the server, which gets JPEGs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from pysplitcodec.bisection import least_that_keeps
from pysplitcodec.codecs.jpeg import JpegScans
from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.data import Data
from pysplitcodec.train.measure import model_metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JpegInput", "jpeg_quality", "on_device", "on_server"]


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


def on_device(model: nn.Module, data: Data, device: str) -> dict[str, Any]:
    """What run.json says of a model that is all on the device: nothing is sent."""
    return {"quantized": model_metrics(model, data, device), "bytes": {}}


def on_server(
    model: nn.Module, data: Data, device: str, *, max_drop: float = 0.01
) -> dict[str, Any]:
    """What run.json says of a model that is all on the server, and of the images that it gets."""
    found = jpeg_quality(model, data, max_drop, device)
    return {
        "quantized": found.metrics,
        "bytes": {"jpeg": round(found.mean_bytes, 3)},
        "input_bytes": round(found.mean_file_bytes, 3),
        "quality": found.quality,
        "subsampling": found.subsampling,
    }


def jpeg_quality(model: nn.Module, data: Data, max_drop: float, device: str = "cpu") -> JpegInput:
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
    wanted = model_metrics(model, data, device)[first] - max_drop - 1e-9  # what subtracting rounds
    pixels = data.test.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    found = [
        result
        for subsampling in ("4:4:4", "4:2:0")
        if (result := _lowest_quality(model, data, device, pixels, subsampling, wanted)) is not None
    ]
    if not found:
        raise ArgumentError(f"max_drop is {max_drop}: JPEG of quality 100 lowers {first} by more")
    return min(found, key=lambda result: result.mean_bytes)


def _lowest_quality(
    model: nn.Module,
    data: Data,
    device: str,
    pixels: NDArray[np.uint8],
    subsampling: str,
    wanted: float,
) -> JpegInput | None:
    """The lowest quality with which the first metric is at least `wanted`; None if none is."""
    results: dict[int, dict[str, float]] = {}

    def keeps(quality: int) -> bool:
        scans = JpegScans(pixels.shape[1:], quality, subsampling)
        decoded = np.stack([scans.decode(scans.encode(image)) for image in pixels])
        images = torch.from_numpy(decoded).permute(0, 3, 1, 2)
        results[quality] = model_metrics(model, data, device, images)
        return results[quality][data.task.metrics[0]] >= wanted

    lowest = least_that_keeps(1, 100, keeps)
    if lowest is None:
        return None
    scans = JpegScans(pixels.shape[1:], lowest, subsampling)
    sizes = [len(scans.encode(image)) for image in pixels]
    files = [len(scans.file(image, optimize=True)) for image in pixels]
    return JpegInput(
        lowest, subsampling, results[lowest], float(np.mean(sizes)), float(np.mean(files))
    )
