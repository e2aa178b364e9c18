"""A small detector without anchors, and its head for any backbone."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn

from pysplitcodec.errors import ArgumentError

_STRIDE = 4  # of what a detector gives, in pixels
_WIDTH = 64  # channels of the head


def detector_on(backbone: nn.Module, channels: int, stride: int, classes: int) -> nn.Module:
    """A detector for `Detection`: modules "backbone" and "head", the latter new.

    backbone: gives one tensor [n, channels, h / stride, w / stride] for images [n, 3, h, w]; the
    head of a split model will do.  stride: 4, 8, 16 or 32.

    Raises ArgumentError.
    """
    if stride not in (4, 8, 16, 32):
        raise ArgumentError(f"stride is {stride}: expected 4, 8, 16 or 32")
    for name, count in (("channels", channels), ("classes", classes)):
        if count < 1:
            raise ArgumentError(f"{name} is {count}: expected at least 1")
    layers: list[nn.Module] = [_convolution(channels, _WIDTH)]
    for _ in range(int(math.log2(stride // _STRIDE))):
        layers += [nn.Upsample(scale_factor=2), _convolution(_WIDTH, _WIDTH)]
    last = nn.Conv2d(_WIDTH, classes + 4, 1)
    assert last.bias is not None
    # Objects are rare: at first every place says so (Lin et al. 2017, arXiv 1708.02002), and all
    # boxes have sides of two to three places.
    nn.init.constant_(last.bias[:classes], -math.log(99))
    nn.init.constant_(last.bias[classes:], 1.0)
    head = nn.Sequential(*layers, last)
    return nn.Sequential(OrderedDict(backbone=backbone, head=head))


def shape_detector(classes: int) -> nn.Module:
    """A detector for `Detection` with a residual backbone of four stages, for images of any sides
    that 8 divides; 64x64 is what it is meant for.

    backbone.stage1 to backbone.stage4 give 16, 32, 64 and 64 channels at 1/2, 1/4, 1/8 and 1/8 of
    the sides.

    Raises ArgumentError.
    """
    stages = {
        "stage1": nn.Sequential(_convolution(3, 16, 2)),
        "stage2": nn.Sequential(_convolution(16, 32, 2), _Residual(32)),
        "stage3": nn.Sequential(_convolution(32, 64, 2), _Residual(64)),
        "stage4": nn.Sequential(_Residual(64), _Residual(64)),
    }
    return detector_on(nn.Sequential(OrderedDict(stages)), 64, 8, classes)


class _Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.norm2(self.conv2(self.conv1(x))))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
