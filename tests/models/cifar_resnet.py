"""A ResNet-20 with trained parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from pysplitcodec.train.models import CifarResNet, put_weights


def trained_resnet20(data_dir: Path) -> CifarResNet:
    """A ResNet-20 that classifies CIFAR-10; skips the test where the parameters are missing."""
    file = data_dir / "resnet-cifar10-pytorch" / "resnet20-12fca82f.th"
    if not file.exists():
        pytest.skip(f"{file} is missing")
    model = CifarResNet()
    put_weights(model, file)
    return model
