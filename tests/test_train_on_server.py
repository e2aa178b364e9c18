"""The whole model on the device, or on the server, which gets JPEGs."""

from __future__ import annotations

import io

import numpy as np
import pytest

from pysplitcodec import errors

torch = pytest.importorskip("torch")
image = pytest.importorskip("PIL.Image", reason="JPEG needs the extra 'cli'")

from pysplitcodec.train.data import Data, Samples  # noqa: E402
from pysplitcodec.train.on_server import JpegInput, jpeg_quality, measure_model  # noqa: E402
from pysplitcodec.train.task import Classification  # noqa: E402

SIDE = 24


def stripes(count: int, seed: int) -> Samples:
    """Two classes that differ in faint, fine stripes, which JPEG of low quality wipes out."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, count)
    strength = rng.uniform(2, 30, (count, 1, 1, 1))
    columns = np.where(np.arange(SIDE) % 2, 1, -1)
    pixels = 128 + rng.normal(0, 8, (count, 3, SIDE, SIDE)) + rng.normal(0, 20, (count, 3, 1, 1))
    pixels += strength * columns * (2 * classes[:, None, None, None] - 1)
    pixels = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    return Samples(pixels, torch.from_numpy(classes))


@pytest.fixture(scope="module")
def data() -> Data:
    return Data("stripes", Classification(), ("even", "odd"), stripes(256, 0), stripes(200, 1))


@pytest.fixture(scope="module")
def model(data: Data) -> torch.nn.Module:
    torch.manual_seed(0)
    trained = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 2))
    optimizer = torch.optim.Adam(trained.parameters(), 1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        outputs = trained(data.normalized(data.train.images))
        data.task.loss(outputs, data.train.targets).backward()
        optimizer.step()
    return trained


@pytest.fixture(scope="module")
def found(model: torch.nn.Module, data: Data) -> dict[float, JpegInput]:
    return {drop: jpeg_quality(model, data, drop) for drop in (0.02, 0.1)}


def accuracy(model: torch.nn.Module, data: Data, found: JpegInput, quality: int) -> float:
    """As JPEG files of that quality give it, written and read by Pillow alone."""
    decoded = []
    for pixels in data.test.images.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=found.subsampling)
        decoded.append(np.asarray(image.open(file)))
    images = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)
    return measure_model(model, data, images)["top1"]


def test_measuring_a_model(model: torch.nn.Module, data: Data) -> None:
    outputs = model(data.normalized(data.test.images))
    right = (outputs.argmax(1) == data.test.targets).float().mean()
    assert measure_model(model, data) == {"top1": pytest.approx(float(right))}
    assert float(right) > 0.9
    inverted = 255 - data.test.images
    assert measure_model(model, data, inverted)["top1"] < 0.2


@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_the_model_as_it_was(data: Data, training: bool) -> None:
    model = torch.nn.Sequential(
        torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 2)
    ).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_model(model, data)
    assert model.training is training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("max_drop", [0.02, 0.1])
def test_the_lowest_quality_that_keeps_the_accuracy(
    model: torch.nn.Module, data: Data, found: dict[float, JpegInput], max_drop: float
) -> None:
    best = found[max_drop]
    wanted = measure_model(model, data)["top1"] - max_drop
    assert 1 < best.quality < 100
    assert best.metrics["top1"] == accuracy(model, data, best, best.quality) >= wanted
    for lower in range(max(1, best.quality - 3), best.quality):
        assert accuracy(model, data, best, lower) < wanted


def test_more_may_be_lost_in_fewer_bytes(found: dict[float, JpegInput]) -> None:
    assert found[0.1].quality < found[0.02].quality
    assert found[0.1].mean_bytes < found[0.02].mean_bytes


def test_bytes_are_those_of_the_images(data: Data, found: dict[float, JpegInput]) -> None:
    best = found[0.02]
    files, headers = [], []
    for pixels in data.test.images.permute(0, 2, 3, 1).numpy():
        sizes = []
        for optimize in (True, False):
            file = io.BytesIO()
            image.fromarray(pixels).save(
                file,
                "JPEG",
                quality=best.quality,
                subsampling=best.subsampling,
                optimize=optimize,
            )
            sizes.append(len(file.getvalue()))
        files.append(sizes[0])
        headers.append(sizes[1] - 623 - 2)  # all but the scan, in any file of three components
    assert best.mean_file_bytes == pytest.approx(np.mean(files))
    assert best.mean_bytes == pytest.approx(np.mean(headers))


def test_colours_that_do_not_count_are_sent_coarsely(data: Data) -> None:
    class Brightness(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            columns = images.mean(dim=(1, 2))
            difference = columns[:, 1::2].mean(1) - columns[:, ::2].mean(1)
            return torch.stack([-difference, difference], 1)

    assert jpeg_quality(Brightness(), data, 0.05).subsampling == "4:2:0"


@pytest.mark.parametrize("max_drop", [-0.01, 1.5, float("nan")])
def test_wrong_drop(model: torch.nn.Module, data: Data, max_drop: float) -> None:
    with pytest.raises(errors.ArgumentError, match="max_drop is"):
        jpeg_quality(model, data, max_drop)


def test_a_model_that_no_jpeg_satisfies(data: Data) -> None:
    class Exact(torch.nn.Module):
        """Right only about pixels that are exactly those of the test images."""

        def __init__(self) -> None:
            super().__init__()
            self.known = {one.numpy().tobytes() for one in data.normalized(data.test.images)}

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            known = torch.tensor([one.numpy().tobytes() in self.known for one in images])
            return torch.stack([known.float(), ~known * 1.0], 1)

    targets = torch.zeros(len(data.test), dtype=torch.int64)
    all_first = Data(
        "exact", data.task, data.classes, data.train, Samples(data.test.images, targets)
    )
    with pytest.raises(errors.ArgumentError, match="quality 100 lowers top1 by more"):
        jpeg_quality(Exact(), all_first, 0.01)
