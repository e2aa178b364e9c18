"""bottlenet's units and its quantiser."""

from __future__ import annotations

import numpy as np
import pytest

from pysplitcodec import errors

torch = pytest.importorskip("torch")
pytest.importorskip("PIL", reason="JPEG needs the extra 'cli'")

from pysplitcodec.codecs.jpeg import JpegCodec  # noqa: E402
from pysplitcodec.train.bottlenet import JpegWire, bottlenet, reduction_units  # noqa: E402
from pysplitcodec.train.method import Method  # noqa: E402


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(16, 8, 8), (5, 9, 7), (3, 13, 4), (1, 4, 11)], ids=str)
def test_any_shape_is_restored(shape: tuple[int, int, int], stride: int) -> None:
    reduce, restore = reduction_units(shape, channels=2, stride=stride)
    feature = torch.randn(3, *shape)
    reduced = reduce(feature)
    assert reduced.shape == (3, 2, -(-shape[1] // stride), -(-shape[2] // stride))
    assert (reduced >= 0).all()
    assert restore(reduced).shape == feature.shape


def test_features_below_zero_can_be_restored() -> None:
    torch.manual_seed(0)
    feature = torch.randn(4, 3, 8, 8)
    model = torch.nn.Sequential(*reduction_units((3, 8, 8), channels=6, stride=1))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(60):
        loss = (model(feature) - feature).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3  # half of the variance is below zero


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
@pytest.mark.parametrize("side", range(8, 13))
def test_strides_leave_no_gaps(side: int, stride: int) -> None:
    units = reduction_units((4, 9, side), channels=3, stride=stride)
    smaller, larger = (
        next(layer for layer in unit if getattr(layer, "stride", (1, 1)) == (stride, stride))
        for unit in units
    )
    for layer in (smaller, larger):
        torch.nn.init.ones_(layer.weight)
    feature = torch.ones(1, 3, 9, side, requires_grad=True)
    reduced = smaller(feature)
    reduced.sum().backward()
    assert (feature.grad > 0).all()
    assert (larger(reduced) > 0).all()


@pytest.mark.parametrize(
    ("channels", "stride", "message"),
    [
        (0, 1, "channels is 0: expected a whole number from 1"),
        (2.0, 1, r"channels is 2\.0"),
        (2, 0, "stride is 0"),
        (2, True, "stride is True"),
        (2, 8, "stride is 8: expected at most 7"),
    ],
)
def test_wrong_units(channels: int, stride: int, message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        reduction_units((16, 9, 7), channels=channels, stride=stride)


def method(shape: tuple[int, int, int], quality: int) -> Method:
    made = bottlenet(quality=quality)
    made.begin(np.zeros((1, *shape), np.float32))
    return made


def test_forward_is_what_the_codec_decodes() -> None:
    torch.manual_seed(0)
    feature = torch.randn(4, 5, 9, 7).requires_grad_()
    restored, terms = method((5, 9, 7), 30)(feature, 0.0)
    assert not terms
    codec, features = JpegCodec((5, 9, 7), 30), feature.detach().numpy()
    frames = [codec.encode(one) for one in features]
    assert np.array_equal(restored.detach(), np.stack([codec.decode(frame) for frame in frames]))
    wire = bottlenet(quality=30).wire(features)
    assert torch.equal(wire.restore(feature), restored)
    assert wire.payload_bytes(features, features) == {"jpeg": np.mean([*map(len, frames)])}


def test_backward_is_the_identity() -> None:
    feature = torch.randn(2, 3, 8, 8, requires_grad=True)
    weights = torch.randn(2, 3, 8, 8)
    (method((3, 8, 8), 5)(feature, 0.0)[0] * weights).sum().backward()
    assert torch.equal(feature.grad, weights)


def test_features_that_are_not_finite() -> None:
    with pytest.raises(errors.FeatureError, match="finite"):
        JpegWire((1, 2, 2), 50).restore(torch.full((1, 1, 2, 2), float("nan")))
    with pytest.raises(errors.FeatureError, match=r"expected \(1, 2, 2\)"):
        JpegWire((1, 2, 2), 50).restore(torch.zeros(1, 1, 2, 3))


def test_training_through_the_jpeg_overfits_a_batch() -> None:
    """And better than units that were trained without it."""
    torch.manual_seed(0)
    images, classes = torch.randn(32, 6, 9, 9), torch.randint(0, 4, (32,))
    jpeg = method((2, 5, 5), 20)
    losses = {}
    for sent in ("jpeg", "float"):
        torch.manual_seed(1)
        reduce, restore = reduction_units((6, 9, 9), channels=2, stride=2)
        tail = torch.nn.Linear(6 * 9 * 9, 4)
        model = torch.nn.ModuleList([reduce, restore, tail])
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for step in range(81):
            through_jpeg = sent == "jpeg" or step == 80
            reduced = reduce(images)
            restored = restore(jpeg(reduced, 0.0)[0] if through_jpeg else reduced)
            loss = torch.nn.functional.cross_entropy(tail(restored.flatten(1)), classes)
            losses[sent] = loss.item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert losses["jpeg"] < 0.1
    assert losses["jpeg"] < losses["float"]
