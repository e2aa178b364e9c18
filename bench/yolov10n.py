"""YOLOv10n (Wang et al. 2024, arXiv 2405.14458), with the one-to-one head, for tests of splitting.

Written from the paper and its published configuration: width 0.25, depth 0.33, 80 classes.
The blocks have the paper's names; sizes in comments are those for an image of 640x640.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

CLASSES = 80
BINS = 16  # of the distribution over each side's distance
STRIDES = (8, 16, 32)
DETECTIONS = 300


class Conv(nn.Sequential):
    """A convolution, BatchNorm and, unless `act` is False, SiLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3),
            nn.SiLU(inplace=True) if act else nn.Identity(),
        )


def depthwise(channels: int, size: int = 3, stride: int = 1, act: bool = True) -> Conv:
    """A convolution of each channel alone."""
    return Conv(channels, channels, size, stride, channels, act)


class Shortcut(nn.Sequential):
    """x + what the layers give for x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class LargeKernel(nn.Module):
    """A 7x7 depthwise convolution and a 3x3 one beside it, which makes it easier to train."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.large = depthwise(channels, 7, act=False)
        self.small = depthwise(channels, 3, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(self.large(x) + self.small(x))


def compact_inverted_block(channels: int) -> Shortcut:
    """CIB: channels are mixed by 1x1 convolutions, places by depthwise ones."""
    return Shortcut(
        depthwise(channels),
        Conv(channels, 2 * channels),
        LargeKernel(2 * channels),
        Conv(2 * channels, channels),
        depthwise(channels),
    )


class C2f(nn.Module):
    """One half of the channels goes through `blocks` in turn; all that they give is joined."""

    def __init__(self, inputs: int, outputs: int, *blocks: nn.Module) -> None:
        super().__init__()
        self.widen = Conv(inputs, outputs)
        self.blocks = nn.ModuleList(blocks)
        self.fuse = Conv((2 + len(blocks)) * outputs // 2, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.widen(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.fuse(torch.cat(parts, 1))


def c2f(inputs: int, outputs: int, depth: int = 1, shortcut: bool = False) -> C2f:
    """C2f whose blocks are two 3x3 convolutions."""
    kind, half = Shortcut if shortcut else nn.Sequential, outputs // 2
    return C2f(
        inputs,
        outputs,
        *(kind(Conv(half, half, 3), Conv(half, half, 3)) for _ in range(depth)),
    )


def sc_down(inputs: int, outputs: int) -> nn.Sequential:
    """SCDown: 1x1 for the channels, then a depthwise convolution that halves the sides."""
    return nn.Sequential(Conv(inputs, outputs), depthwise(outputs, 3, 2, act=False))


class SPPF(nn.Module):
    """The feature beside its maxima in windows of 5, 9 and 13."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = Conv(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.fuse = Conv(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.narrow(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.fuse(torch.cat(parts, 1))


class Attention(nn.Module):
    """Self-attention over places; heads of 64 channels, queries and keys of 32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // 64
        self.qkv = Conv(channels, 2 * channels, act=False)
        self.position = depthwise(channels, act=False)
        self.project = Conv(channels, channels, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        q, k, v = self.qkv(x).view(n, self.heads, 128, h * w).split([32, 32, 64], 2)
        weights = (q.transpose(-2, -1) @ k * 32**-0.5).softmax(-1)
        seen = (v @ weights.transpose(-2, -1)).view(x.shape)
        return self.project(seen + self.position(v.reshape(x.shape)))


class PSA(nn.Module):
    """Partial self-attention: half of the channels pass by."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.widen = Conv(channels, channels)
        self.attention = Shortcut(Attention(half))
        self.feed = Shortcut(Conv(half, channels), Conv(channels, half, act=False))
        self.fuse = Conv(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        by, through = self.widen(x).chunk(2, 1)
        return self.fuse(torch.cat([by, self.feed(self.attention(through))], 1))


class Detect(nn.Module):
    """The head: for each place at three scales a box and the scores of the classes."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        sides = 4 * BINS
        self.boxes = nn.ModuleList(
            nn.Sequential(Conv(c, sides, 3), Conv(sides, sides, 3), nn.Conv2d(sides, sides, 1))
            for c in channels
        )
        self.classes = nn.ModuleList(
            nn.Sequential(
                depthwise(c),
                Conv(c, CLASSES),
                depthwise(CLASSES),
                Conv(CLASSES, CLASSES),
                nn.Conv2d(CLASSES, CLASSES, 1),
            )
            for c in channels
        )
        self.register_buffer("bins", torch.arange(float(BINS)), persistent=False)

    def forward(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor | list[torch.Tensor]:
        """In train() mode what a loss needs: per scale the bins' and classes' logits [N,144,h,w].

        In eval() mode the best detections, float32[N,300,6]: corners x, y, x, y; score; class.
        """
        raw = [
            torch.cat([box(x), scores(x)], 1)
            for x, box, scores in zip(features, self.boxes, self.classes)
        ]
        return raw if self.training else self.decode(raw)

    def decode(self, raw: list[torch.Tensor]) -> torch.Tensor:
        places = torch.cat([x.flatten(2) for x in raw], 2).transpose(1, 2)
        sides, logits = places.split([4 * BINS, CLASSES], 2)
        distances = sides.unflatten(2, (4, BINS)).softmax(-1) @ self.bins
        centres, strides = self.grid(raw)
        first, last = distances.chunk(2, 2)
        boxes = torch.cat([centres - first, centres + last], 2) * strides
        best, classes = logits.sigmoid().max(2, keepdim=True)
        found = torch.cat([boxes, best, classes], 2)
        order = best.topk(min(DETECTIONS, best.shape[1]), 1).indices
        return found.gather(1, order.expand(-1, -1, found.shape[2]))

    @staticmethod
    def grid(raw: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Centres [places,2] in units of their strides [places,1]."""
        centres, strides = [], []
        for x, stride in zip(raw, STRIDES):
            rows, columns = (torch.arange(n, device=x.device) + 0.5 for n in x.shape[2:])
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            centres.append(torch.stack([x, y], -1).flatten(0, 1))
            strides.append(torch.full((len(centres[-1]), 1), float(stride), device=x.device))
        return torch.cat(centres), torch.cat(strides)


class YOLOv10n(nn.Module):
    """Images float32[N,3,H,W], H and W multiples of 32, to detections: see `Detect`."""

    def __init__(self) -> None:
        super().__init__()
        self.stage3 = nn.Sequential(  # 64x80x80
            Conv(3, 16, 3, 2),
            Conv(16, 32, 3, 2),
            c2f(32, 32, shortcut=True),
            Conv(32, 64, 3, 2),
            c2f(64, 64, depth=2, shortcut=True),
        )
        self.stage4 = nn.Sequential(  # 128x40x40
            sc_down(64, 128), c2f(128, 128, depth=2, shortcut=True)
        )
        self.stage5 = nn.Sequential(  # 256x20x20
            sc_down(128, 256), c2f(256, 256, shortcut=True), SPPF(256), PSA(256)
        )
        self.up = nn.Upsample(scale_factor=2)
        self.up4, self.up3 = c2f(256 + 128, 128), c2f(128 + 64, 64)
        self.shrink4, self.down4 = Conv(64, 64, 3, 2), c2f(64 + 128, 128)
        self.shrink5 = sc_down(128, 128)
        self.down5 = C2f(128 + 256, 256, compact_inverted_block(128))
        self.detect = Detect((64, 128, 256))

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the head gets."""
        p3 = self.stage3(x)
        p4 = self.stage4(p3)
        p5 = self.stage5(p4)
        n4 = self.up4(torch.cat([self.up(p5), p4], 1))
        n3 = self.up3(torch.cat([self.up(n4), p3], 1))
        n4 = self.down4(torch.cat([self.shrink4(n3), n4], 1))
        n5 = self.down5(torch.cat([self.shrink5(n4), p5], 1))
        return n3, n4, n5

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        return self.detect(self.features(x))
