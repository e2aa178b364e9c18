"""The ResNet-20 of He et al. for CIFAR-10, and trained parameters for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


class Residual(nn.Module):
    """A block as in He et al., option A: the shortcut has no parameters."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes_in, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.widen = planes - planes_in
        self.stride = stride

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.widen:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.widen // 2, self.widen // 2))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """ResNet-20 for 32x32 images; parameters are named as in the checkpoint."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._layer(16, 16, blocks, 1)
        self.layer2 = self._layer(16, 32, blocks, 2)
        self.layer3 = self._layer(32, 64, blocks, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _layer(planes_in: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [Residual(planes, planes, 1) for _ in range(blocks - 1)]
        return nn.Sequential(Residual(planes_in, planes, stride), *rest)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


def trained_resnet20(data_dir: Path) -> CifarResNet:
    """A ResNet-20 that classifies CIFAR-10; skips the test where the parameters are missing."""
    file = data_dir / "resnet-cifar10-pytorch" / "resnet20-12fca82f.th"
    if not file.exists():
        pytest.skip(f"{file} is missing")
    stored = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    model = CifarResNet()
    model.load_state_dict({name.removeprefix("module."): t for name, t in stored.items()})
    return model
