"""BottleNet (Eshratifar et al., arXiv 1902.01000): fewer channels, fewer pixels, then JPEG.

The paper puts convolutions that reduce channels and sides before a lossy compressor, and others
that restore both behind it; training sees the real compressor going forward and the identity
going back.  Kernel sizes, BatchNorm and activations are this module's choice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pysplitcodec.codecs.jpeg import JpegCodec
from pysplitcodec.errors import ArgumentError

__all__ = ["JpegQuantizer", "reduction_units"]


def reduction_units(
    shape: tuple[int, int, int], channels: int, stride: int
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


class JpegQuantizer(nn.Module):
    """What the server decodes of features sent as JPEG; to gradients, the identity.

    shape: of one feature, (c, h, w); quality: 1 to 100.  Raises ArgumentError and
    MissingDependencyError as `JpegCodec` does.
    """

    def __init__(self, shape: tuple[int, int, int], quality: int) -> None:
        super().__init__()
        self.codec = JpegCodec(shape, quality)

    def forward(self, feature: Tensor) -> Tensor:
        """[n, c, h, w] as the codec restores it, in the same dtype and on the same device.

        Raises FeatureError for NaN or infinity.
        """
        restored = [torch.from_numpy(self.codec.decode(frame)) for frame in self._frames(feature)]
        # x - x is exactly 0, and leaves its gradient
        return torch.stack(restored).to(feature) + (feature - feature.detach())

    def payload_bytes(self, feature: Tensor) -> list[int]:
        """Bytes that cross the link for each of [n, c, h, w]: `JpegCodec.encode`."""
        return [len(frame) for frame in self._frames(feature)]

    def _frames(self, feature: Tensor) -> list[bytes]:
        return [self.codec.encode(one) for one in feature.detach().float().cpu().numpy()]


def _layer(convolution: nn.Module) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels)]
