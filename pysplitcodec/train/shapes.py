"""Generated images of shapes: data to train on for those who have none, and for tests.

>>> data = shapes("detection", seed=1)                      # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.data import Data, Samples
from pysplitcodec.train.detection import Detection
from pysplitcodec.train.task import Classification, Task

CLASSES = ("circle", "ring", "triangle", "square", "pentagon", "cross", "star", "gear")

# A regular shape's corners, and where its sides are nearest to its centre if its corners are at 1.
_CORNERS = {
    "triangle": (3, 0.5),
    "square": (4, 0.5**0.5),
    "pentagon": (5, 0.809),
    "star": (5, 0.45),
    "gear": (8, 0.75),
}

_MOST = 4  # objects in an image


def shapes(
    task: str = "classification",
    *,
    side: int = 64,
    train_samples: int = 5000,
    test_samples: int = 1000,
    seed: int = 0,
) -> Data:
    """Shapes of varied size, rotation and colour over noise, the same for the same `seed`.

    task: "classification", one shape per image, or "detection", one to four; see `Classification`
    and `Detection` for the targets.  side: height and width in pixels, at least 32.  Images do
    not depend on how many there are, nor those for tests on those for training.

    Raises ArgumentError.
    """
    tasks: dict[str, Task] = {
        "classification": Classification(),
        "detection": Detection((side, side)),
    }
    if task not in tasks:
        raise ArgumentError(f"task is {task!r}: expected one of {', '.join(map(repr, tasks))}")
    if side < 32:
        raise ArgumentError(f"side is {side}: expected at least 32 pixels")
    for name, count in (("train_samples", train_samples), ("test_samples", test_samples)):
        if count < 1:
            raise ArgumentError(f"{name} is {count}: expected at least 1")
    parts = []
    for part, count in enumerate((train_samples, test_samples)):
        images = np.empty((count, 3, side, side), np.uint8)
        targets = np.full((count, _MOST, 5), -1, np.float32)
        for i in range(count):
            rng = np.random.default_rng([seed, part, i])
            if task == "classification":
                images[i], found = _image(rng, side, 1, (0.18, 0.38))
            else:
                objects = int(rng.integers(1, _MOST + 1))
                images[i], found = _image(rng, side, objects, (0.08, 0.22))
            targets[i, : len(found)] = found
        wanted = torch.from_numpy(targets)
        if task == "classification":
            wanted = wanted[:, 0, 0].long()
        parts.append(Samples(torch.from_numpy(images), wanted))
    return Data(f"shapes-{task}-{side}-{seed}", tasks[task], CLASSES, *parts)


def _image(
    rng: np.random.Generator, side: int, objects: int, radii: tuple[float, float]
) -> tuple[NDArray[np.uint8], list[tuple[float, ...]]]:
    """An image [3, side, side] and its targets; fewer than `objects` where there is no room.

    radii: the least and the greatest, as shares of the side.
    """
    image = _texture(rng, side)
    placed: list[tuple[float, float, float]] = []
    targets: list[tuple[float, ...]] = []
    for _ in range(objects):
        for _ in range(10):
            radius = side * rng.uniform(*radii)
            x, y = rng.uniform(radius + 1, side - radius - 1, 2)
            if all(np.hypot(x - u, y - v) > 0.9 * (radius + r) for u, v, r in placed):
                break
        else:
            break
        placed.append((x, y, radius))
        kind = int(rng.integers(len(CLASSES)))
        cover = _cover(CLASSES[kind], side, x, y, radius, rng.uniform(0, 2 * np.pi))
        # a colour at some distance from what it lies on, itself uneven, and not quite opaque
        behind = (image * cover).sum((1, 2)) / cover.sum()
        direction = np.abs(rng.normal(size=3)) * np.where(behind > 128, -1, 1)
        colour = behind + direction / np.linalg.norm(direction) * rng.uniform(60, 160)
        shade = colour[:, None, None] + 0.3 * (_texture(rng, side) - 128)
        image += 0.85 * cover * (shade - image)
        columns, rows = (np.flatnonzero((cover > 0.5).any(axis)) for axis in (0, 1))
        targets.append((kind, columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    image += rng.normal(0, rng.uniform(3, 12), image.shape)
    return image.clip(0, 255).round().astype(np.uint8), targets


def _texture(rng: np.random.Generator, side: int) -> NDArray[Any]:
    """Noise of three scales [3, side, side] about a random colour."""
    image = np.repeat(rng.uniform(60, 196, 3), side * side).reshape(3, side, side)
    for cells, deviation in ((2, 20), (5, 10), (13, 6)):
        # between the points of a coarse grid, linearly
        at = np.linspace(0, cells - 1e-6, side)
        low, share = at.astype(int), at % 1
        blend = np.zeros((side, cells + 1))
        blend[np.arange(side), low] = 1 - share
        blend[np.arange(side), low + 1] = share
        image += blend @ rng.normal(0, deviation, (3, cells + 1, cells + 1)) @ blend.T
    return image


def _cover(
    kind: str, side: int, x: float, y: float, radius: float, turn: float
) -> NDArray[np.float32]:
    """How much of each pixel [side, side] a shape covers, about 0 to 1."""
    rows, columns = np.ogrid[:side, :side]
    right, down = columns + 0.5 - x, rows + 0.5 - y
    distance = np.hypot(right, down)
    if kind in ("circle", "ring"):
        inside = radius - distance
        if kind == "ring":
            inside = np.minimum(inside, distance - 0.55 * radius)
    elif kind == "cross":
        along = np.abs(right * np.cos(turn) + down * np.sin(turn))
        across = np.abs(down * np.cos(turn) - right * np.sin(turn))
        far, near = np.maximum(along, across), np.minimum(along, across)
        inside = np.minimum(0.95 * radius - far, 0.3 * radius - near)
    else:
        # the side between a corner and the middle to the next one, folded onto one sector
        corners, inner = _CORNERS[kind]
        half = np.pi / corners
        angle = np.abs((np.arctan2(down, right) + turn) % (2 * half) - half)
        # from the nearest point (inner, 0) to the corner (cos, sin)
        edge = np.array([np.cos(half) - inner, np.sin(half)])
        edge /= np.linalg.norm(edge)
        u, v = distance * np.cos(angle), distance * np.sin(angle)
        inside = (radius * inner - u) * edge[1] + v * edge[0]
    return (inside + 0.5).clip(0, 1).astype(np.float32)
