"""QPART on TFLite models, against the same network in numpy and against files that really run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors", reason='needs "pysplitcodec[safetensors,tflite]"')
pytest.importorskip("ai_edge_litert", reason='needs "pysplitcodec[safetensors,tflite]"')

from stripes_tflite import (  # noqa: E402
    HIDDEN,
    KERNEL,
    LAST,
    Arrays,
    answers_to,
    features,
    in_int8,
    squares,
    stripes_graph,
    trained_weights,
)
from tflite_models import OPERATOR, schema  # noqa: E402

from pysplitcodec import Codebook, Codec  # noqa: E402
from pysplitcodec.codecs.jpeg import JpegScans  # noqa: E402
from pysplitcodec.errors import ArgumentError, ModelError, SplitError  # noqa: E402
from pysplitcodec.plan import baselines  # noqa: E402
from pysplitcodec.plan.calibrated import Part  # noqa: E402
from pysplitcodec.plan.packed_model import (  # noqa: E402
    pack_tflite,
    read_weights,
    tflite_weights,
    unpack_tflite,
    with_weights,
)
from pysplitcodec.plan.qpart import TFLiteClassifier, find_patterns  # noqa: E402
from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.splitting import split  # noqa: E402

DROPS = [0.01, 0.05]
MACS = {KERNEL: 6 * 6 * 8 * 9, HIDDEN: 16 * 288, LAST: 4 * 16}
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def weights() -> Arrays:
    return trained_weights()


@pytest.fixture(scope="module")
def classifier(weights: Arrays) -> TFLiteClassifier:
    return of_squares(stripes_graph(weights).pack())


@pytest.fixture(scope="module")
def parts(classifier: TFLiteClassifier) -> list[Part]:
    return classifier.cut()


def of_squares(model: bytes) -> TFLiteClassifier:
    return TFLiteClassifier(model, *(torch.from_numpy(one) for one in squares()))


def close(given: Any, wanted: np.ndarray) -> bool:
    return np.allclose(given.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_answers_with_other_weights(weights: Arrays, tmp_path: Path) -> None:
    inputs, targets = squares()
    rng = np.random.default_rng(1)
    others = {KERNEL: rng.normal(size=(8, 3, 3, 1)), LAST: rng.normal(size=(4, 16))}
    others = {name: one.astype(np.float32) for name, one in others.items()}
    for batch in (-1, 1):  # in batches, and sample by sample
        path = tmp_path / "model.tflite"
        path.write_bytes(stripes_graph(weights, batch=batch).pack())
        found = TFLiteClassifier(path, torch.from_numpy(inputs), torch.from_numpy(targets))
        plain = answers_to(weights, features(weights, inputs))
        assert close(found.plain, plain)
        assert found.accuracy == pytest.approx(np.mean(plain.argmax(1) == targets))
        assert found.accuracy > 0.9
        mixed = {**weights, **others}
        given = {name: torch.from_numpy(one) for name, one in others.items()}
        wanted = answers_to(mixed, features(mixed, inputs))
        assert close(found.answers(given), wanted) and not close(found.plain, wanted)
        assert close(found.answers(given, torch.from_numpy(inputs[3:5])), wanted[3:5])


def test_layers_and_parts(weights: Arrays, classifier: TFLiteClassifier, parts: list[Part]) -> None:
    assert list(classifier.layers) == [KERNEL, HIDDEN, LAST]
    assert all(np.array_equal(one, weights[name]) for name, one in classifier.layers.items())
    assert classifier.macs == sum(MACS.values())
    # "vector" follows "maps", and no layer is between them
    assert [(one.name, list(one.layer_names)) for one in parts] == [
        ("vector", [KERNEL]),
        ("hidden", [KERNEL, HIDDEN]),
    ]
    maps = features(weights, squares()[0])
    assert close(parts[0].features, maps.reshape(600, -1))
    for part in parts:
        assert part.head_macs == sum(MACS[name] for name in part.layer_names)
        assert part.head_macs + part.tail_macs == classifier.macs
        assert close(part.answers_to(part.features), classifier.plain.numpy())
        known = {one.name for one in tflite_weights(split(classifier.model, part.name).head)}
        assert known >= set(part.layer_names)
    (part,) = classifier.cut(["maps"])
    assert close(part.features, maps)
    coarse = {**weights, KERNEL: np.sign(weights[KERNEL])}
    given = {KERNEL: torch.from_numpy(coarse[KERNEL])}
    inputs = squares()[0][:9]
    assert close(part.features_of(torch.from_numpy(inputs), given), features(coarse, inputs))
    with pytest.raises(SplitError, match="nowhere"):
        classifier.cut(["nowhere"])


def test_patterns_keep_their_drops(classifier: TFLiteClassifier) -> None:
    """By what a device and a server do, one sample at a time, with files as they are sent."""
    patterns = find_patterns(classifier, DROPS)
    assert {(one.split, one.drop) for one in patterns} == {
        (name, drop) for name in ("vector", "hidden") for drop in DROPS
    }
    inputs, targets = squares()
    for one in patterns:
        head, tail = split(classifier.model, one.split)
        data = pack_tflite(head, one.weight_bits)
        assert len(data) == one.head_bytes
        device, server = TFLiteModel(unpack_tflite(data)), TFLiteModel(tail)
        given = np.concatenate([device(sample[None])[0] for sample in inputs])
        levels = Codebook.fit(given, one.feature_bits, "minmax")
        codec = Codec(levels, "pack", shape=given.shape[1:])
        assert len(codec.encode(given[0])) <= one.candidate.payload_bytes + 10
        sent = [codec.decode(codec.encode(feature)) for feature in given]
        answers = np.concatenate([server(feature[None])[0] for feature in sent])
        drop = classifier.accuracy - float(np.mean(answers.argmax(1) == targets))
        assert drop == pytest.approx(one.measured_drop, abs=1e-6)
        assert drop <= one.drop + 1e-6
        (part,) = classifier.cut([one.split])
        assert (one.head_macs, one.tail_macs) == (part.head_macs, part.tail_macs)
        run = baselines.run_pattern(classifier, part, one)
        assert run.candidate == one.candidate
        assert close(run.answers(classifier.inputs), answers)


def test_weights_may_be_coded(classifier: TFLiteClassifier) -> None:
    (one,) = find_patterns(classifier, [0.05], splits=["hidden"], widths="uniform", coder="range")
    head = split(classifier.model, "hidden").head
    assert one.head_bytes == len(pack_tflite(head, one.weight_bits, coder="range"))
    assert one.head_bytes < len(pack_tflite(head, one.weight_bits))


def test_baselines(weights: Arrays, classifier: TFLiteClassifier, parts: list[Part]) -> None:
    alone = baselines.on_device(classifier)
    assert alone.candidate.head_bytes == len(classifier.model)
    assert alone.candidate.head_macs == classifier.macs
    assert torch.equal(alone.answers(classifier.inputs), classifier.plain)
    plain = baselines.unoptimised(classifier, parts)
    heads = [split(classifier.model, part.name).head for part in parts]
    assert [one.candidate.head_bytes for one in plain] == [len(head) for head in heads]
    for part, one in zip(parts, baselines.pruning(classifier, parts, 0.01)):
        assert one.candidate.head_bytes < part.float_bytes
        count = sum(weights[name].size for name in part.layer_names)
        left = (one.candidate.head_bytes - part.float_bytes + 4 * count - count // 8) / 4
        every = np.concatenate([weights[name].ravel() for name in part.layer_names])
        least = np.sort(np.abs(every))[-round(left)]
        kept = {n: weights[n] * (np.abs(weights[n]) >= least) for n in part.layer_names}
        pruned = {**weights, **kept}
        wanted = answers_to(pruned, features(pruned, squares()[0]))
        assert close(one.answers(classifier.inputs), wanted)
        assert classifier.drop(torch.from_numpy(wanted)) <= 0.01
    for part, one in zip(parts, baselines.jalad(classifier, parts, 0.01)):
        levels = Codebook.fit(part.features.numpy(), one.candidate.bits, "minmax")
        sent = torch.from_numpy(levels.centroids[levels.quantize(part.features.numpy())])
        assert torch.equal(one.answers(classifier.inputs), part.answers_to(sent))
        assert classifier.drop(part.answers_to(sent)) == one.candidate.accuracy_drop <= 0.01


def test_an_autoencoder_of_maps_whose_channels_are_last(
    weights: Arrays, classifier: TFLiteClassifier
) -> None:
    (part,) = classifier.cut(["maps"])
    (one,) = baselines.autoencoder(classifier, [part], 0.05)
    narrow = one.candidate.payload_bytes / (4 * 36)
    assert narrow in (1, 2, 4)
    assert one.candidate.head_macs == part.head_macs + 36 * 8 * narrow
    maps = features(weights, squares()[0])
    rows = maps.reshape(-1, 8)
    apart = rows - rows.mean(0)
    basis = np.linalg.svd(apart.T @ apart)[0][:, : int(narrow)]
    restored = apart @ basis @ basis.T + rows.mean(0)
    wanted = answers_to(weights, restored.reshape(maps.shape))
    assert np.allclose(one.answers(classifier.inputs), wanted, atol=1e-2)
    assert one.candidate.accuracy_drop <= 0.05


def test_jpeg_input(weights: Arrays, classifier: TFLiteClassifier) -> None:
    pixels = np.clip(classifier.inputs[..., 0].numpy() * 60 + 100, 0, 255).astype(np.uint8)

    def inputs_of(given: np.ndarray) -> torch.Tensor:
        return torch.from_numpy((given[..., None].astype(np.float32) - 100) / 60)

    one = baselines.jpeg_input(classifier, pixels, inputs_of, 0.02)
    assert one is not None
    codec = JpegScans((8, 8), int(one.candidate.name.rsplit(" ", 1)[1]))
    decoded = inputs_of(np.stack([codec.decode(codec.encode(image)) for image in pixels]))
    wanted = answers_to(weights, features(weights, decoded.numpy()))
    assert close(one.answers(pixels), wanted)
    assert one.candidate.tail_macs == classifier.macs


def test_quantised_models_are_refused(weights: Arrays) -> None:
    for name, operator in ((KERNEL, "CONV_2D 'maps'"), (LAST, "FULLY_CONNECTED 'out'")):
        with pytest.raises(ArgumentError, match=f"quantised: {operator} has other than float32 w"):
            of_squares(in_int8(stripes_graph(weights), name).pack())


def test_a_quantised_model_of_others_is_refused(data_dir: Path) -> None:
    model = data_dir / "mlperf-tiny-tflite" / "resnet8_cifar10_int8.tflite"
    with pytest.raises(ArgumentError, match="expected float32 weights and features"):
        TFLiteClassifier(model, torch.zeros(1, 32, 32, 3, dtype=torch.int8), torch.zeros(1))


def test_features_that_are_no_floats(weights: Arrays) -> None:
    """A model that rounds on its way is in float32, but can be cut only where features are."""
    graph = stripes_graph(weights)
    whole = graph.tensor("whole", (1, 4), type=2)
    back = graph.tensor("back")
    graph.op(OPERATOR.CAST, graph.now.outputs, [whole], schema.CastOptionsT())
    graph.op(OPERATOR.CAST, [whole], [back], schema.CastOptionsT())
    graph.now.outputs = [back]
    found = of_squares(graph.pack())
    assert [part.name for part in found.cut()] == ["vector", "hidden", "out"]
    with pytest.raises(ArgumentError, match=r"at 'whole' is int32 of shape \(1, 4\): expected fl"):
        found.cut(["whole"])


def test_layers_that_share(weights: Arrays) -> None:
    """Tensors of one buffer are one layer; layers of one name are refused."""
    eye = np.eye(4, dtype=np.float32)
    graph = stripes_graph({**weights, "again/weights": eye, "more/weights": eye})
    tensors = {one.name: number for number, one in enumerate(graph.now.tensors)}
    given = tensors["out"]
    for name in ("more", "again"):  # against the order of the tensors
        out = graph.tensor(name)
        inputs = [given, tensors[f"{name}/weights"], -1]
        graph.op(OPERATOR.FULLY_CONNECTED, inputs, [out], schema.FullyConnectedOptionsT())
        given = out
    graph.now.outputs = [given]
    again, more = (graph.now.tensors[tensors[f"{n}/weights"]] for n in ("again", "more"))
    again.buffer = more.buffer
    found = of_squares(graph.pack())
    assert list(found.layers) == [KERNEL, HIDDEN, LAST, "more/weights"]
    doubled = found.answers({"more/weights": 2 * torch.eye(4)})
    assert close(doubled, 4 * found.plain.numpy())
    assert [part.name for part in found.cut()] == ["vector", "hidden", "out", "more"]
    (pattern,) = find_patterns(found, [0.05], splits=["more"], widths="uniform")
    assert list(pattern.weight_bits) == [KERNEL, HIDDEN, LAST, "more/weights"]
    graph.now.tensors[tensors[LAST]].name = HIDDEN
    with pytest.raises(ArgumentError, match="'hidden/weights': 2 weight tensors have this name"):
        of_squares(graph.pack())


def test_wrong_models_and_samples(weights: Arrays, classifier: TFLiteClassifier) -> None:
    inputs, targets = classifier.inputs, classifier.targets
    with pytest.raises(ArgumentError, match="inputs and targets are 3 and 600"):
        TFLiteClassifier(classifier.model, inputs[:3], targets)
    with pytest.raises(ModelError, match=r"must have shape \(1, 8, 8, 1\)"):
        TFLiteClassifier(classifier.model, inputs[:, :7], targets)
    with pytest.raises(ModelError, match="must be float32, an array of float64"):
        TFLiteClassifier(classifier.model, inputs.double(), targets)
    with pytest.raises(ModelError, match="not a TFLite model"):
        TFLiteClassifier(b"no model", inputs, targets)
    graph = stripes_graph(weights)
    graph.now.outputs = [*graph.now.outputs, graph.now.outputs[0] - 1]
    with pytest.raises(ArgumentError, match=r"gives float32 \[1, 8, 8, 1\], float32 \[1, 4\], fl"):
        of_squares(graph.pack())


def test_with_weights(weights: Arrays, classifier: TFLiteClassifier) -> None:
    assert with_weights(classifier.model, {}) == with_weights(classifier.model, weights)
    other = with_weights(classifier.model, {LAST: -weights[LAST]})
    found = read_weights(other, weights)
    assert all(
        np.array_equal(found[name], -one if name == LAST else one) for name, one in weights.items()
    )
    with pytest.raises(ArgumentError, match="weights name 'fc': expected float32 weights, of whi"):
        with_weights(classifier.model, {"fc": weights[LAST]})
    with pytest.raises(ArgumentError, match="names have 'fc'"):
        read_weights(classifier.model, ["fc"])
    for wrong in (weights[LAST].T, weights[LAST].astype(np.float64)):
        with pytest.raises(ArgumentError, match=r"expected float32 of shape \(4, 16\)"):
            with_weights(classifier.model, {LAST: wrong})


def test_the_example_of_offers(classifier: TFLiteClassifier, tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason='needs "pysplitcodec[serve]"')
    from pysplitcodec.serve import read_offers

    inputs, targets = classifier.inputs, classifier.targets
    model = tmp_path / "model.tflite"
    model.write_bytes(classifier.model)
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    (example,) = (
        block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "TFLiteCl" in block
    )
    exec(example, {"model": model, "inputs": inputs, "targets": targets, "out": tmp_path})
    name, offers = read_offers(tmp_path / "offers")
    assert name == "textures" and len(offers) == 4
    for one in offers:
        head = TFLiteModel(unpack_tflite(one.head.read_bytes()))
        sent = [one.codec.decode(one.codec.encode(head(x[None])[0][0])) for x in inputs.numpy()]
        tail = TFLiteModel(one.tail)
        right = [tail(x[None])[0].argmax() == y for x, y in zip(sent, targets)]
        drop = classifier.accuracy - np.mean(right)
        assert drop == pytest.approx(one.pattern.measured_drop, abs=1e-6)
        assert drop <= one.pattern.drop + 1e-6
