"""Generated images: the same for the same seed, with boxes that fit what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError

torch = pytest.importorskip("torch", reason="needs torch")
from pysplitcodec.train.detection import Detection  # noqa: E402
from pysplitcodec.train.shapes import CLASSES, _cover, shapes  # noqa: E402
from pysplitcodec.train.task import Classification  # noqa: E402

TASKS = ("classification", "detection")


def same(a, b) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_decides_alone(task: str) -> None:
    data = shapes(task, train_samples=12, test_samples=5, seed=3)
    again = shapes(task, train_samples=12, test_samples=5, seed=3)
    assert same(data.train, again.train) and same(data.test, again.test)
    more = shapes(task, train_samples=15, test_samples=9, seed=3)
    assert same(more.train.first(12), data.train) and same(more.test.first(5), data.test)
    other = shapes(task, train_samples=12, test_samples=5, seed=4)
    assert not torch.equal(other.train.images, data.train.images)
    images = torch.cat([data.train.images, data.test.images, other.train.images])
    assert len({image.numpy().tobytes() for image in images}) == len(images)


def test_samples_to_classify() -> None:
    data = shapes(side=48, train_samples=400, test_samples=40)
    assert isinstance(data.task, Classification) and data.classes == CLASSES
    assert data.train.images.shape == (400, 3, 48, 48) and data.test.images.shape[0] == 40
    assert data.train.images.dtype == torch.uint8 and data.train.targets.dtype == torch.int64
    counts = data.train.targets.bincount(minlength=len(CLASSES))
    assert len(counts) == len(CLASSES) and counts.min() >= 25  # of 50 on average
    assert abs(float(data.normalized(data.train.images).mean())) < 0.5


def test_samples_to_detect() -> None:
    data = shapes("detection", side=64, train_samples=300, test_samples=1)
    assert data.task == Detection((64, 64))
    targets = data.train.targets
    assert targets.shape == (300, 4, 5) and targets.dtype == torch.float32
    real = targets[..., 0] >= 0
    assert bool((targets[~real] == -1).all())
    # all that is padding comes last, no image is empty, and all numbers of objects are there
    counts = real.sum(1)
    assert torch.equal(real, torch.arange(4) < counts[:, None])
    assert set(counts.tolist()) == {1, 2, 3, 4}
    kinds, x0, y0, x1, y1 = targets[real].T
    assert set(kinds.tolist()) == set(map(float, range(len(CLASSES))))
    assert x0.min() >= 0 and y0.min() >= 0 and x1.max() <= 64 and y1.max() <= 64
    assert (x1 - x0).min() >= 5 and (y1 - y0).min() >= 5
    assert (x1 - x0).max() <= 30 and (y1 - y0).max() <= 30


def test_objects_are_where_their_boxes_are() -> None:
    """Inside of a box, colours differ more than in the frame of the box's width around it."""
    data = shapes("detection", train_samples=200, test_samples=1)
    wins = []
    for image, targets in zip(data.train.images.float().numpy(), data.train.targets.numpy()):
        if (targets[:, 0] >= 0).sum() == 1:
            x0, y0, x1, y1 = targets[0, 1:].astype(int)
            box = np.zeros((64, 64), bool)
            box[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = True
            frame = np.zeros((64, 64), bool)
            frame[max(y0 - 3, 0) : y1 + 3, max(x0 - 3, 0) : x1 + 3] = True
            frame[y0:y1, x0:x1] = False
            inner, outer = (image[:, where].mean(1) for where in (box, frame))
            moved = np.roll(image, 32, (1, 2))
            still = np.abs(moved[:, box].mean(1) - moved[:, frame].mean(1)).max()
            wins.append(np.abs(inner - outer).max() > still)
    assert len(wins) > 30 and np.mean(wins) > 0.8


# Areas with a circle of radius 1 about the corners.
AREAS = {
    "circle": np.pi,
    "ring": np.pi * (1 - 0.55**2),
    "triangle": 3 / 4 * 3**0.5,
    "square": 2.0,
    "pentagon": 5 / 2 * np.sin(np.radians(72)),
    "cross": 2 * 1.9 * 0.6 - 0.6**2,
    "star": 5 * 0.45 * np.sin(np.pi / 5),
    "gear": 8 * 0.75 * np.sin(np.pi / 8),
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("turn", [0.0, 1.3])
def test_shapes_have_their_areas(kind: str, turn: float) -> None:
    cover = _cover(kind, 200, 100.2, 99.3, 80, turn)
    assert cover.sum() / 80**2 == pytest.approx(AREAS[kind], rel=0.01)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "segmentation"}, "task is 'segmentation': expected one of 'classification'"),
        ({"side": 16}, "side is 16: expected at least 32"),
        ({"train_samples": 0}, "train_samples is 0"),
        ({"test_samples": -1}, "test_samples is -1"),
    ],
)
def test_wrong_arguments(wrong, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        shapes(**wrong)
