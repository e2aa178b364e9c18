"""A network that trains in seconds, images for it, and a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

SETTINGS: dict[str, dict[str, Any]] = {
    "kmeans": {},
    "minmax": {},
    "bnn+": {"task_weight": 0.8, "exponent": 1},
    "tcl": {"task_weight": 0.8},
    "qat": {"per_channel": True},
    "rate": {"rate_weight": 0.1, "prior": "context"},
}


def small_net(classes: int, width: int = 8) -> nn.Module:
    """For images of 16x16: cuts at "stem" and "middle", none inside "two_ways"."""
    return _Net(classes, width)


class _Net(nn.Module):
    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(width, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.left = nn.Conv2d(16, 16, 1)
        self.right = nn.Conv2d(16, 16, 3, 1, 1)
        self.linear = nn.Linear(16, classes)

    def forward(self, x):
        x = self.middle(self.stem(x))
        x = self.left(x) + self.right(x)
        return self.linear(x.relu().mean((2, 3)))


def write_images(folder: Path) -> Path:
    """Two classes, slanting bars of either direction: 240 images to train on and 60 to test."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:16, :16]
    for part, count in (("train", 120), ("test", 30)):
        for label, sign in (("falling", 1), ("rising", -1)):
            place = folder / part / label
            place.mkdir(parents=True)
            for i in range(count):
                bars = np.sin((rows + sign * columns) / rng.uniform(1.2, 2.5) + rng.uniform(0, 6))
                noise = rng.normal(0, 0.9, (16, 16, 3))
                pixels = np.clip(128 + 50 * (bars[..., None] + noise), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i:03}.png")
    return folder


def table(images: Path, method: str = "tcl", bits: int = 2, **parts: Any) -> dict[str, Any]:
    """A recipe whose run takes about a second."""
    settings = SETTINGS.get(method, {})
    return {
        "model": {"name": "small_net:small_net"},
        "data": {
            "name": "bars",
            "train": str(images / "train"),
            "test": str(images / "test"),
            "calibration_samples": 100,
            "mirror": False,
        },
        "split": {"at": "middle"},
        "method": {"name": method, "bits": bits, **settings},
        "schedule": {
            "epochs": {"whole": 6, "float": 2, "device": 2, "server": 1},
            "batch": 16,
            "device": "cpu",
        },
        **parts,
    }
