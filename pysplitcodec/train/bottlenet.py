"""BottleNet (Eshratifar et al., arXiv 1902.01000): fewer channels, fewer pixels, then JPEG.

The paper puts convolutions that reduce channels and sides before a lossy compressor, and others
that restore both behind it; training sees the real compressor going forward and the identity
going back.  Kernel sizes, BatchNorm and activations are this module's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.codecs.jpeg import JpegCodec
from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.method import Method
from pysplitcodec.train.quantizer import Quantizer, checked_bits
from pysplitcodec.train.wire import Floats, Wire

__all__ = ["Jpeg", "JpegWire", "bottlenet", "reduction_units"]


def reduction_units(
    shape: tuple[int, ...], *, channels: int, stride: int
) -> tuple[nn.Module, nn.Module]:
    """The reduction unit, for the device, and the restoration unit, for the server.

    shape: of the feature, (c, h, w); channels: how many the reduced feature has; stride: its sides
    are h and w over this, rounded up.  The first module takes [n, c, h, w] and gives
    [n, channels, ceil(h / stride), ceil(w / stride)], not below 0; the second takes that and gives
    [n, c, h, w], not below 0 until it learns to.  A stride of 1 leaves out the layer that reduces
    the sides.

    Raises ArgumentError for channels or a stride that are no whole numbers from 1, or a stride
    above h or w.
    """
    if len(shape) != 3:
        raise ArgumentError(f"the feature has shape {shape}: reduction units need [c, h, w]")
    planes, height, width = shape
    for name, value in (("channels", channels), ("stride", stride)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{name} is {value!r}: expected a whole number from 1")
    if stride > min(height, width):
        raise ArgumentError(f"stride is {stride}: expected at most {min(height, width)}, a side")
    reduce = [*_layer(nn.Conv2d(planes, channels, 3, padding=1, bias=False)), nn.ReLU()]
    restore: list[nn.Module] = []
    if stride > 1:
        reach = stride - 1  # so that every pixel is under a kernel, whatever the sides
        size = 2 * reach + 1
        smaller = nn.Conv2d(channels, channels, size, stride, reach, bias=False)
        rest = ((height - 1) % stride, (width - 1) % stride)  # what rounding up had added
        larger = nn.ConvTranspose2d(channels, channels, size, stride, reach, rest, bias=False)
        reduce += [*_layer(smaller), nn.ReLU()]
        restore += [*_layer(larger), nn.ReLU()]
    restore += _layer(nn.Conv2d(channels, planes, 3, padding=1, bias=False))
    restore.append(nn.PReLU(planes, init=0.0))  # the tail knows features after ReLU, most often
    return nn.Sequential(*reduce), nn.Sequential(*restore)


class Jpeg(Quantizer):
    """The server gets, in training too, what JPEG leaves of a feature in 8 bits.

    Gradients pass as if it left all.  quality: of JPEG, 1 to 100.  Raises ArgumentError and
    MissingDependencyError as `JpegCodec` does.
    """

    def __init__(self, bits: int = 8, *, quality: int = 50) -> None:
        super().__init__()
        if checked_bits(bits) != 8:
            raise ArgumentError(f"bits is {bits}: JPEG is of 8")
        self.quality = quality
        self._wire: JpegWire | None = None

    def depends(self) -> dict[str, Any]:
        """As `Quantizer.depends`."""
        return {"quality": self.quality}

    def begin(self, features: NDArray[np.float32]) -> None:
        """Take the shape of the features."""
        self._wire = JpegWire(features.shape[1:], self.quality)

    def forward(self, feature: Tensor) -> Tensor:
        """As `Quantizer.forward`: what JPEG restores.  Raises FeatureError for NaN or infinity."""
        assert self._wire is not None
        # x - x is exactly 0, and leaves its gradient
        return self._wire.restore(feature) + (feature - feature.detach())

    def wire(self, features: NDArray[np.float32]) -> Wire:
        """As `Quantizer.wire`."""
        return JpegWire(features.shape[1:], self.quality)


def bottlenet(bits: int = 8, *, quality: int = 50) -> Method:
    """JPEG between the halves, as `Jpeg`; suits the bottleneck "bottlenet"."""
    return Method(Jpeg(bits, quality=quality))


class JpegWire(Wire):
    """Features as JPEG."""

    def __init__(self, shape: Sequence[int], quality: int) -> None:
        self.codec = JpegCodec(shape, quality)

    def restore(self, features: Tensor) -> Tensor:
        """As `Wire.restore`."""
        arrays = features.detach().float().cpu().numpy()
        restored = np.stack([self.codec.decode(self.codec.encode(one)) for one in arrays])
        return torch.from_numpy(restored).to(features.device)

    def payload_bytes(self, calibration: Floats, features: Floats) -> dict[str, float]:
        """As `Wire.payload_bytes`: `JpegCodec.encode`, which learns nothing."""
        return {"jpeg": float(np.mean([len(self.codec.encode(one)) for one in features]))}

    def save(self, folder: Path, calibration: Floats) -> None:
        """Write nothing: `JpegCodec` needs no more than `describe` says."""

    def describe(self) -> dict[str, Any]:
        """Shape and quality."""
        return {"jpeg": list(self.codec.shape), "quality": self.codec.quality}


def _layer(convolution: nn.Module) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels)]
