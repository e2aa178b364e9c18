"""What QPART is compared with: each against what it says it sends, computed here once more."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors", reason="packed weights need the extra 'safetensors'")

from cloud_classifier import cloud_classifier  # noqa: E402
from torch import nn  # noqa: E402

from pysplitcodec import Codebook, Codec  # noqa: E402
from pysplitcodec.codecs.jpeg import JpegScans  # noqa: E402
from pysplitcodec.plan import baselines  # noqa: E402
from pysplitcodec.plan.calibrated import Part  # noqa: E402
from pysplitcodec.plan.classifier import Classifier, run  # noqa: E402
from pysplitcodec.plan.qpart import find_patterns  # noqa: E402
from pysplitcodec.plan.qpart_noise import even_grid  # noqa: E402

DROP = 0.01


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return cloud_classifier()


@pytest.fixture(scope="module")
def parts(classifier: Classifier) -> list[Part]:
    return classifier.cut()


@pytest.fixture(scope="module")
def striped() -> tuple[Classifier, np.ndarray]:
    """Noisy stripes of two directions, which a small convolutional network tells apart."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 120)
    stripes = np.where(np.arange(16) % 4 < 2, 160, 90)
    pixels = np.stack(
        [np.tile(stripes, (16, 1)) if t else np.tile(stripes, (16, 1)).T for t in targets]
    )
    pixels = np.clip(pixels + rng.normal(0, 30, pixels.shape), 0, 255).astype(np.uint8)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 14 * 14, 2),
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    inputs, wanted = as_inputs(pixels), torch.from_numpy(targets)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(inputs), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Classifier(model, inputs, wanted), pixels


def as_inputs(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels[:, None].astype(np.float32) / 255)


def test_unoptimised(classifier: Classifier, parts: list[Part]) -> None:
    found = baselines.unoptimised(classifier, parts)
    sizes = [20 * 64 + 64, 20 * 64 + 64 + 64 * 32 + 32]
    assert [one.candidate.head_bytes for one in found] == [4 * size for size in sizes]
    assert [one.candidate.payload_bytes for one in found] == [4 * 64, 4 * 32]
    assert torch.equal(found[0].answers(classifier.inputs), classifier.plain)
    alone = baselines.on_device(classifier)
    assert alone.candidate.head_bytes == 4 * (sizes[1] + 32 * 10 + 10)
    assert (alone.candidate.head_macs, alone.candidate.tail_macs) == (
        20 * 64 + 64 * 32 + 32 * 10,
        0,
    )
    assert torch.equal(alone.answers(classifier.inputs[:7]), classifier.plain[:7])


def test_jalad_sends_the_fewest_bits_that_keep_the_drop(
    classifier: Classifier, parts: list[Part]
) -> None:
    found = baselines.jalad(classifier, parts, DROP)
    assert [one.candidate.name for one in found] == [part.name for part in parts]
    for part, one in zip(parts, found):
        bits = one.candidate.bits
        drops = {
            b: classifier.drop(part.answers_to(even_grid(part.features, b)))
            for b in range(1, bits + 1)
        }
        assert one.candidate.accuracy_drop == pytest.approx(drops[bits])
        assert drops.pop(bits) <= DROP
        assert all(drop > DROP for drop in drops.values())
        features = part.features.numpy()
        codec = Codec(Codebook.fit(features, bits, "minmax"), "range", shape=features.shape[1:])
        sizes = [len(codec.encode(one)) for one in features]
        assert one.candidate.payload_bytes == pytest.approx(np.mean(sizes))
        assert one.candidate.coder == "range"


def test_an_autoencoder_is_as_narrow_as_the_feature(classifier: Classifier) -> None:
    """A feature of 16 dimensions in a vector of 64 passes through 16 numbers unharmed."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(20, 16), nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 10))
    low_rank = Classifier(model, classifier.inputs, model(classifier.inputs).argmax(1))
    (part,) = low_rank.cut(["1"])
    (one,) = baselines.autoencoder(low_rank, [part], 0.0)
    assert one.candidate.payload_bytes == 4 * 16
    assert one.candidate.accuracy_drop == 0
    assert one.candidate.head_macs == part.head_macs + 64 * 16
    assert one.candidate.tail_macs == part.tail_macs + 64 * 16
    plain = baselines.unoptimised(low_rank, [part])[0].candidate
    assert one.candidate.head_bytes == plain.head_bytes + 4 * (64 * 16 + 64)
    assert torch.allclose(one.answers(low_rank.inputs), low_rank.plain, atol=1e-4)


def test_an_autoencoder_of_maps_has_channels(striped: tuple[Classifier, np.ndarray]) -> None:
    classifier, _ = striped
    (part,) = classifier.cut(["1"])
    (one,) = baselines.autoencoder(classifier, [part], 0.05)
    narrow = one.candidate.payload_bytes / (4 * 16 * 16)
    assert narrow in (1, 2, 4)
    assert one.candidate.head_macs == part.head_macs + 16 * 16 * 8 * narrow
    assert classifier.drop(one.answers(classifier.inputs)) == pytest.approx(
        one.candidate.accuracy_drop
    )
    assert one.candidate.accuracy_drop <= 0.05


def test_pruning_counts_what_is_left(classifier: Classifier, parts: list[Part]) -> None:
    for part, one in zip(parts, baselines.pruning(classifier, parts, DROP)):
        plain = baselines.unoptimised(classifier, [part])[0].candidate
        weights = [classifier.layers[name] for name in part.layer_names]
        count = sum(weight.numel() for weight in weights)
        left = (one.candidate.head_bytes - plain.head_bytes + 4 * count - count // 8) / 4
        assert 0 < left < count
        # the same weights cut off here
        least = torch.cat([w.abs().flatten() for w in weights]).sort().values[-round(left)]
        kept = {name: w * (w.abs() >= least) for name, w in zip(part.layer_names, weights)}
        assert classifier.drop(classifier.answers(kept)) == pytest.approx(
            one.candidate.accuracy_drop
        )
        assert torch.equal(one.answers(classifier.inputs), classifier.answers(kept))
        assert one.candidate.accuracy_drop <= DROP


def test_a_pattern_runs_as_it_was_measured(classifier: Classifier, parts: list[Part]) -> None:
    by_name = {part.name: part for part in parts}
    for pattern in find_patterns(classifier, [DROP, 0.05], widths="uniform"):
        part = by_name[pattern.split]
        one = baselines.run_pattern(classifier, part, pattern)
        assert one.candidate == pattern.candidate
        assert classifier.drop(one.answers(classifier.inputs)) == pytest.approx(
            pattern.measured_drop
        )
        # one sample alone gets the same grid
        assert torch.allclose(
            one.answers(classifier.inputs[:1]), one.answers(classifier.inputs)[:1], atol=1e-5
        )


def test_jpeg_input(striped: tuple[Classifier, np.ndarray]) -> None:
    classifier, pixels = striped
    one = baselines.jpeg_input(classifier, pixels, as_inputs, 0.02)
    assert one is not None
    quality = int(one.candidate.name.rsplit(" ", 1)[1])
    codec = JpegScans((16, 16), quality)
    scans = [codec.encode(image) for image in pixels]
    assert one.candidate.payload_bytes == pytest.approx(np.mean([len(scan) for scan in scans]))
    decoded = as_inputs(np.stack([codec.decode(scan) for scan in scans]))
    assert torch.equal(one.answers(pixels), run(classifier.model, decoded))
    assert one.candidate.accuracy_drop <= 0.02
    assert (one.candidate.head_macs, one.candidate.elements) == (0, 0)
    assert baselines.jpeg_input(classifier, pixels, lambda p: -as_inputs(p) * 9 + 4, -1.0) is None
