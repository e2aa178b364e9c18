"""The samples that models are trained and measured on."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.task import Classification, Task


@dataclass(frozen=True)
class Samples:
    """images: uint8 [n, 3, h, w]; targets: [n] or [n, ...], as the task wants them."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int | None) -> Samples:
        """At most `count` of them."""
        return Samples(self.images[:count], self.targets[:count])


@dataclass(frozen=True)
class Data:
    """train, test: samples in an order that says nothing of their targets."""

    name: str
    task: Task
    classes: tuple[str, ...]
    train: Samples
    test: Samples

    def normalized(self, images: Tensor) -> Tensor:
        """What models take: float32, channels of mean 0 and deviation 1 over ImageNet."""
        mean = torch.tensor([0.485, 0.456, 0.406], device=images.device)[:, None, None]
        deviation = torch.tensor([0.229, 0.224, 0.225], device=images.device)[:, None, None]
        return (images.float() / 255 - mean) / deviation


def image_folders(
    train: str | Path,
    test: str | Path,
    *,
    name: str,
    side: int | None = None,
    train_samples: int | None = None,
    test_samples: int | None = None,
    mirror: bool = True,
) -> Data:
    """Images to classify, one folder per class, as folders or as archives that tarfile reads.

    side: images are scaled to this height and width; without it all must have one size.
    train_samples, test_samples: use so many, drawn by a seed of 0.  mirror: whether images may be
    mirrored for training.

    Raises ArgumentError for what cannot be read, or does not fit together.
    """
    if side is not None and side < 8:
        raise ArgumentError(f"side is {side}: expected at least 8 pixels")
    found = [_read(Path(path), side) for path in (train, test)]
    classes = tuple(sorted({label for images in found for label, _ in images}))
    parts = []
    for (path, wanted), images in zip(((train, train_samples), (test, test_samples)), found):
        missing = set(classes) - {label for label, _ in images}
        if missing:
            raise ArgumentError(f"{path} has no images of class {sorted(missing)[0]!r}")
        sizes = {image.shape for _, image in images}
        if len(sizes) > 1:
            raise ArgumentError(f"{path} has images of {len(sizes)} sizes: expected one, or a side")
        order = np.random.default_rng(0).permutation(len(images))
        pixels = np.stack([images[i][1] for i in order])
        labels = torch.tensor([classes.index(images[i][0]) for i in order])
        samples = Samples(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels)
        parts.append(samples.first(wanted))
    if parts[0].images.shape[1:] != parts[1].images.shape[1:]:
        raise ArgumentError(f"{train} and {test} have images of different sizes: expected a side")
    return Data(name, Classification(mirror), classes, *parts)


def _read(path: Path, side: int | None) -> list[tuple[str, np.ndarray]]:
    images = [(name.split("/")[-2], _pixels(name, data, side)) for name, data in _files(path)]
    if not images:
        raise ArgumentError(f"{path} has no images: expected CLASS/IMAGE files")
    return images


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names, with their folder, and contents of image files, in the order of their names."""
    endings = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in endings:
                yield file.relative_to(path.parent).as_posix(), file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            held = {}
            for member in archive:  # in the order of the file: going back means unpacking again
                if member.isfile() and member.name.lower().endswith(endings):
                    opened = archive.extractfile(member)
                    assert opened is not None
                    held[f"{path.name}/{member.name}"] = opened.read()
    except (OSError, tarfile.TarError) as error:
        raise ArgumentError(f"{path} cannot be read: {error}") from None
    yield from sorted(held.items())


def _pixels(name: str, data: bytes, side: int | None) -> np.ndarray:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ArgumentError(f"{name} is no image: {error}") from None
    if side is not None and image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)
