"""QPART: noise of layers, patterns of bits, and looking them up."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors", reason="packed weights need the extra 'safetensors'")

from cloud_classifier import cloud_classifier  # noqa: E402
from torch import nn  # noqa: E402

from pysplitcodec.errors import ArgumentError, ModelError, SplitError  # noqa: E402
from pysplitcodec.plan import best, choices, get_device, get_link  # noqa: E402
from pysplitcodec.plan.classifier import run  # noqa: E402
from pysplitcodec.plan.packed_weights import pack_weights, unpack_weights  # noqa: E402
from pysplitcodec.plan.qpart import (  # noqa: E402
    Classifier,
    Pattern,
    at_drop,
    find_patterns,
    load_patterns,
    save_patterns,
)
from pysplitcodec.plan.qpart_noise import (  # noqa: E402
    adversarial_noise,
    even_grid,
    measure,
    noise,
)
from pysplitcodec.splitting import split  # noqa: E402

DROPS = [0.01, 0.05]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return cloud_classifier()


@pytest.fixture(scope="module")
def patterns(classifier: Classifier) -> list[Pattern]:
    return find_patterns(classifier, DROPS)


def test_noise_falls_by_three_quarters_a_bit(classifier: Classifier) -> None:
    """Eq. 18, as a measurement: within a factor of two over six bits."""
    for layer in measure(classifier, DROPS):
        weight = classifier.layers[layer.name]
        assert layer.size == weight.numel()
        for bits in (3, 6, 8):
            measured = noise(classifier, classifier.answers({layer.name: even_grid(weight, bits)}))
            assert 0.4 < measured / (layer.at_0_bits * 4.0**-bits) < 2.5


def test_robustness_is_the_noise_that_costs_the_drop(classifier: Classifier) -> None:
    """Noise of another seed, as strong as a layer stands, costs about what it was asked for."""
    for layer in measure(classifier, [0.05, 0.2]):
        assert 0 < layer.robustness[0.05] <= layer.robustness[0.2]
        weight = classifier.layers[layer.name]
        shape = torch.rand(weight.shape, generator=torch.Generator().manual_seed(5)) - 0.5
        wanted = layer.robustness[0.2] * adversarial_noise(classifier)
        scale = float(weight.std())
        for _ in range(20):
            answers = classifier.answers({layer.name: weight + scale * shape})
            scale *= (wanted / noise(classifier, answers)) ** 0.4
        assert noise(classifier, answers) == pytest.approx(wanted, rel=0.05)
        assert 0.08 < classifier.drop(answers) < 0.4


def test_adversarial_noise_is_the_least_that_changes_a_class(classifier: Classifier) -> None:
    top = classifier.plain.topk(2, 1)
    gap = (top.values[:, 0] - top.values[:, 1])[:, None]
    toward = torch.zeros_like(classifier.plain)
    toward.scatter_(1, top.indices[:, :1], -1.0).scatter_(1, top.indices[:, 1:], 1.0)
    wanted = top.indices[:, 0]
    just_less, just_more = (classifier.plain + toward * gap / 2 * by for by in (0.999, 1.001))
    assert torch.equal(just_less.argmax(1), wanted)
    assert not (just_more.argmax(1) == wanted).any()
    noise = (toward * gap / 2).square().sum(1).mean()
    assert adversarial_noise(classifier) == pytest.approx(float(noise), rel=1e-5)


def test_even_grid_is_what_is_sent(classifier: Classifier) -> None:
    weight = classifier.layers["0.weight"]
    sent = unpack_weights(pack_weights({"w": weight.numpy()}, {"w": 3}))["w"]
    assert torch.equal(even_grid(weight, 3), torch.from_numpy(sent))
    assert even_grid(torch.ones(3), 2).tolist() == [1, 1, 1]


def test_patterns_keep_their_drops(classifier: Classifier, patterns: list[Pattern]) -> None:
    """By doing what a device and a server would do: head unpacked, feature on its grid, tail."""
    assert {one.split for one in patterns} == {"1", "3"}
    assert len(patterns) == 4
    for one in patterns:
        halves = split(classifier.model, at=one.split, example=classifier.inputs[:1])
        state = {n: t.numpy() for n, t in halves.head.state_dict().items()}
        data = pack_weights(state, one.weight_bits)
        assert len(data) == one.head_bytes
        head = {n: torch.from_numpy(w) for n, w in unpack_weights(data).items()}
        sent = even_grid(run(halves.head, classifier.inputs, head), one.feature_bits)
        measured = classifier.drop(run(halves.tail, sent))
        assert measured == pytest.approx(one.measured_drop)
        assert measured <= one.drop
        assert one.head_macs == sum(classifier.layers[name].numel() for name in one.weight_bits)
        assert one.head_macs + one.tail_macs == 20 * 64 + 64 * 32 + 32 * 10
        assert one.candidate.payload_bytes == np.ceil(one.feature_elements * one.feature_bits / 8)


def test_what_may_lose_more_sends_no_more(patterns: list[Pattern]) -> None:
    for name in ("1", "3"):
        strict, loose = (one for one in patterns if one.split == name)
        assert strict.drop < loose.drop
        assert loose.head_bytes <= strict.head_bytes
        assert all(1 <= bits <= 8 for bits in strict.weight_bits.values())


def test_exact_widths_are_no_worse(classifier: Classifier, patterns: list[Pattern]) -> None:
    pytest.importorskip("scipy", reason="exact widths need the extra 'plan'")

    def sent(one: Pattern) -> int:
        weights = {n: classifier.layers[n].numel() * b for n, b in one.weight_bits.items()}
        return sum(weights.values()) + one.feature_elements * one.feature_bits

    exact = find_patterns(classifier, DROPS, splits=["3"], widths="exact")
    rounded = [one for one in patterns if one.split == "3"]
    for one, other in zip(exact, rounded):
        assert sent(one) <= 1.1 * sent(other)


def test_never_more_than_uniform_widths(classifier: Classifier, patterns: list[Pattern]) -> None:
    uniform = find_patterns(classifier, DROPS, widths="uniform")
    for one in uniform:
        assert set(one.weight_bits.values()) == {one.feature_bits}
        assert one.measured_drop <= one.drop
    by = {(one.split, one.drop): one for one in patterns}
    assert all(by[one.split, one.drop].head_bytes <= one.head_bytes for one in uniform)


def test_weights_may_be_coded(classifier: Classifier) -> None:
    packed, coded = (
        find_patterns(classifier, [0.01], splits=["1"], widths="uniform", coder=coder)[0]
        for coder in ("pack", "range")
    )
    halves = split(classifier.model, at="1", example=classifier.inputs[:1])
    state = {n: t.numpy() for n, t in halves.head.state_dict().items()}
    assert coded.head_bytes == len(pack_weights(state, coded.weight_bits, coder="range"))
    assert coded.head_bytes < packed.head_bytes
    assert coded.weight_bits == packed.weight_bits


def test_the_request_is_answered(patterns: list[Pattern]) -> None:
    """Algorithm 2: the largest drop that is allowed, then the least objective."""
    assert {one.drop for one in at_drop(patterns, 0.03)} == {0.01}
    assert {one.drop for one in at_drop(patterns, 0.05)} == {0.05}
    with pytest.raises(ArgumentError, match=r"drop is 0\.001: expected at least 0\.01"):
        at_drop(patterns, 0.001)
    with pytest.raises(ArgumentError, match="expected at least none"):
        at_drop([], 0.1)
    found = choices(
        [one.candidate for one in at_drop(patterns, 0.05)],
        get_device("qpart"),
        dataclasses.replace(get_link("qpart"), bits_per_s=1e5),
        server=get_device("qpart-server"),
        inferences=1,
    )
    assert best(found).candidate.name == "1"  # on a slow link little is sent down


def test_patterns_are_kept(patterns: list[Pattern], tmp_path: Path) -> None:
    save_patterns(patterns, tmp_path / "patterns.json")
    assert load_patterns(tmp_path / "patterns.json") == patterns


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2, "patterns": []}', '{"format": 1, "patterns": [{}]}']
)
def test_wrong_patterns(text: str, tmp_path: Path) -> None:
    (tmp_path / "patterns.json").write_text(text)
    with pytest.raises(ModelError, match=r"patterns\.json"):
        load_patterns(tmp_path / "patterns.json")


def test_wrong_questions(classifier: Classifier) -> None:
    for drops in ([], [0.0], [1.0], [-0.1]):
        with pytest.raises(ArgumentError, match="drops are"):
            find_patterns(classifier, drops)
    with pytest.raises(
        ArgumentError, match="widths is 'best': expected one of rounded, exact, uni"
    ):
        find_patterns(classifier, DROPS, widths="best")  # type: ignore[arg-type]
    with pytest.raises(SplitError, match="nowhere"):
        find_patterns(classifier, DROPS, splits=["nowhere"])
    inputs, targets = classifier.inputs, classifier.targets
    for wrong in ((inputs[:3], targets), (inputs[:0], targets[:0])):
        with pytest.raises(ArgumentError, match="inputs and targets are"):
            Classifier(classifier.model, *wrong)
    with pytest.raises(ArgumentError, match=r"gives \[1200, 10, 1\]: expected \[samples, classes"):
        Classifier(nn.Sequential(classifier.model, nn.Unflatten(1, (10, 1))), inputs, targets)
