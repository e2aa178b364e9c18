"""The layer report: what it measures is what codebooks, codecs and features give directly."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysplitcodec as sc
from pysplitcodec.errors import ArgumentError
from pysplitcodec.report import LayerReport, layer_report
from pysplitcodec.report.features import Feature
from pysplitcodec.report.pictures import draw_mosaic
from pysplitcodec.runtime import open_model
from pysplitcodec.splitting import read_graph

onnx = pytest.importorskip("onnx", reason='needs "pysplitcodec[onnx]"')
pytest.importorskip("onnxruntime", reason='needs "pysplitcodec[onnx]"')

REPORT = """model format inputs outputs macs params weight_bytes samples bits machine version
operators split_points"""
SPLIT_POINT = """index name after operators_before tensors shape dtype elements bytes float32_bytes
int8_bytes repeats macs_head macs_tail params_head params_tail weight_bytes_head weight_bytes_tail
head_ram_bytes sparsity entropy_bits coded head_ms tail_ms codebooks histograms picture"""
OPERATOR = "index name kind inputs macs params output_bytes split_point"


def small_network() -> bytes:
    """in [1, 2, 8, 8] -> c (Conv, 4 channels) -> r (Relu) -> p (MaxPool) -> out."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2, 8, 8] in) => (float[1, 4, 4, 4] out) <float[4, 2, 3, 3] w> {
        c = Conv<pads=[1, 1, 1, 1]>(in, w)
        r = Relu(c)
        p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(r)
        out = Tanh(p)
    }"""
    model = onnx.parser.parse_model(text)
    del model.graph.value_info[:]
    weights = np.random.default_rng(1).normal(size=(4, 2, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return model.SerializeToString()


def inputs_of(count: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(2)
    steps = rng.normal(size=(count, 1, 2, 8, 8)).astype(np.float32)
    return [[sample] for sample in np.cumsum(steps, axis=-1)]


def features_of(model: bytes | Path, name: str, inputs: list[Any]) -> np.ndarray:
    head = open_model(read_graph(model).split(name).head)
    return np.concatenate([head(*sample)[0] for sample in inputs])


@pytest.fixture(scope="module")
def report() -> LayerReport:
    return layer_report(small_network(), inputs_of(12), bits=(2, 3), time=False)


def test_keys_are_those_that_are_promised(report):
    described = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(described) == REPORT.split()
    for point in described["split_points"]:
        assert list(point) == SPLIT_POINT.split()
        assert list(point["tensors"][0]) == ["name", "shape", "dtype", "scale", "zero_point"]
        assert [list(row) for row in point["coded"]] == [["bits", "pack", "lzma", "context"]] * 2
        assert [list(row) for row in point["codebooks"]] == [["bits", "centroids"]] * 2
        assert set(point["picture"]) == {"png", "channels", "width", "height"}
        for histogram in point["histograms"]:
            assert set(histogram) == {"channel", "counts", "low", "high"}
    for row in described["operators"]:
        assert list(row) == OPERATOR.split()
    assert described["inputs"] == [{"name": "in", "shape": [1, 2, 8, 8], "dtype": "float32"}]
    assert described["outputs"][0]["shape"] == [1, 4, 4, 4]
    assert described["samples"] == 12 and described["bits"] == [2, 3]
    assert described["format"] == "onnx" and described["version"] == sc.__version__


def test_what_needs_no_run(report):
    points = {point.name: point for point in report.split_points}
    assert list(points) == ["c", "r", "p"]
    macs = 4 * 8 * 8 * (2 * 3 * 3)
    assert report.macs == points["c"].macs_head == macs and points["c"].macs_tail == 0
    assert report.params == points["c"].params_head == 72 and points["p"].params_tail == 0
    assert report.weight_bytes == points["r"].weight_bytes_head == 4 * 72
    assert [points[name].head_ram_bytes for name in "crp"] == [4 * 384, 4 * 512, 4 * 512]
    assert points["r"].bytes == points["r"].float32_bytes == 1024
    assert points["r"].int8_bytes == points["r"].elements == 256
    assert [point.repeats for point in report.split_points] == [None, 0, None]
    assert [row["inputs"] for row in report.operators] == [[-1], [0], [1], [2]]
    assert [row["split_point"] for row in report.operators] == [0, 1, 2, None]
    assert [row["output_bytes"] for row in report.operators] == [1024, 1024, 256, 256]


@pytest.mark.parametrize("name", ["c", "r", "p"])
def test_entropy_and_sparsity_are_those_of_the_indices(name, report):
    point = next(point for point in report.split_points if point.name == name)
    features = features_of(small_network(), name, inputs_of(12))
    assert point.sparsity == pytest.approx(np.mean(features[6:] == 0))
    assert (point.sparsity > 0.1) == (name != "c")
    for bits, entropy in enumerate(point.entropy_bits, 1):
        indices = sc.Codebook.fit(features[:6], bits).quantize(features[6:])
        share = np.unique(indices, return_counts=True)[1] / indices.size
        assert entropy == pytest.approx(float(-(share * np.log2(share)).sum()), rel=1e-9)


@pytest.mark.parametrize("name", ["c", "p"])
def test_coded_bytes_are_those_of_frames(name, report):
    point = next(point for point in report.split_points if point.name == name)
    features = features_of(small_network(), name, inputs_of(12))
    for row, book in zip(point.coded, point.codebooks):
        codebook = sc.Codebook.fit(features[:6], row["bits"])
        assert book == {"bits": row["bits"], "centroids": codebook.centroids.tolist()}
        codecs = {
            coder: sc.Codec(codebook, coder, shape=features.shape[1:], channel_axis=0)
            for coder in ("pack", "lzma")
        }
        codecs["context"] = sc.fit_codec(codebook, features[:6], "context", channel_axis=0)
        for coder, codec in codecs.items():
            frames = [codec.encode(feature) for feature in features[6:]]
            assert row[coder] == np.mean([len(frame) for frame in frames]), coder
    assert point.coded[0]["pack"] == 10 + features[0].size / 4


def test_histograms_count_what_the_channels_hold(report):
    features = features_of(small_network(), "c", inputs_of(12))[6:]
    for histogram in report.split_points[0].histograms:
        values = features[:, histogram["channel"]]
        assert sum(histogram["counts"]) == values.size
        assert (histogram["low"], histogram["high"]) == (values.min(), values.max())
        expected = np.histogram(values, 64)[0]
        assert histogram["counts"] == expected.tolist()
    assert [h["channel"] for h in report.split_points[0].histograms] == [0, 1, 2, 3]


def test_pictures_show_the_first_sample(report):
    image = pytest.importorskip("PIL.Image", reason="pictures need the extra 'cli'")
    picture = report.split_points[0].picture
    drawn = np.asarray(image.open(io.BytesIO(base64.b64decode(picture["png"]))))
    assert drawn.shape == (picture["height"], picture["width"]) == (16, 16)
    assert picture["channels"] == 4
    feature = features_of(small_network(), "c", inputs_of(1))[0]
    for channel, (row, column) in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        plane = feature[channel]
        grey = np.rint((plane - plane.min()) * (255 / (plane.max() - plane.min())))
        assert np.abs(drawn[row : row + 8, column : column + 8] - grey).max() <= 1


@pytest.mark.parametrize(
    ("shape", "size", "channels"),
    [
        ((64, 112, 112), (256, 256), 64),
        ((100, 7, 7), (56, 56), 64),
        ((3, 5, 6), (12, 10), 3),
        ((1, 10), (4, 3), 1),
        ((1, 4, 300), (256, 4), 1),
        ((2, 3, 4, 5), (40, 3), 2),
    ],
)
def test_pictures_stay_small(shape, size, channels):
    pytest.importorskip("PIL", reason="pictures need the extra 'cli'")
    picture = draw_mosaic(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    assert (picture["width"], picture["height"], picture["channels"]) == (*size, channels)


def test_without_inputs_only_times_are_measured():
    report = layer_report(small_network())
    assert report.samples == 0
    for point in report.split_points:
        assert point.head_ms > 0 and point.tail_ms > 0
        for name in ("sparsity", "entropy_bits", "coded", "codebooks", "histograms", "picture"):
            assert getattr(point, name) is None
    for point in layer_report(small_network(), time=False).split_points:
        assert point.head_ms is None and point.tail_ms is None


def test_one_input_is_learned_from_and_measured():
    report = layer_report(small_network(), inputs_of(1), time=False)
    point = report.split_points[1]
    assert point.entropy_bits[7] > point.entropy_bits[0] > 0
    assert point.coded[0]["context"] is None and point.coded[0]["pack"] == 74


def test_context_can_be_left_out():
    for channels, trained in ((4, True), (3, False)):
        report = layer_report(small_network(), inputs_of(4), context_channels=channels, time=False)
        sizes = [row["context"] for point in report.split_points for row in point.coded]
        assert [size is not None for size in sizes] == [trained] * 3


def test_several_tensors_are_a_split_point_if_asked_for():
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 8] in) => (float[1, 8] out)
    { x = Exp(in) a = Relu(x) b = Neg(x) out = Add(a, b) }"""
    model = onnx.parser.parse_model(text).SerializeToString()
    report = layer_report(model, [[np.ones((1, 8), np.float32)]] * 2, tensors=2, context_channels=0)
    sent = [[tensor["name"] for tensor in point.tensors] for point in report.split_points]
    assert sent == [["x"], ["x", "a"], ["x", "b"]]
    assert [point.elements for point in report.split_points] == [8, 16, 16]
    assert [row["split_point"] for row in report.operators] == [0, 1, 2, None]
    assert all(point.sparsity == 0 and point.tail_ms > 0 for point in report.split_points)
    assert len(layer_report(model, time=False).split_points) == 1


def test_progress_reaches_its_end():
    told: dict[str, list[tuple[int, int]]] = {}
    layer_report(
        small_network(),
        inputs_of(4),
        progress=lambda what, done, of: told.setdefault(what, []).append((done, of)),
    )
    for steps in told.values():
        assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1]
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert len(told) == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bits": (0,)}, r"bits is \(0,\): expected index widths, 1 to 8"),
        ({"bits": 2}, "bits is 2: expected index widths"),
        ({"bits": ()}, "bits is"),
        ({"inputs": []}, "inputs is empty"),
        ({"inputs": [[np.zeros((1, 2, 8, 7), np.float32)]]}, r"inputs\[0\] is float32 of shape"),
        ({"inputs": [[np.zeros((1, 2, 8, 8))]]}, r"inputs\[0\] is float64 of .*: expected float32"),
        ({"inputs": [[]]}, r"inputs\[0\] is nothing: expected"),
        ({"tensors": 0}, "tensors must be a positive int"),
    ],
)
def test_wrong_arguments_are_named(changed, message):
    with pytest.raises(ArgumentError, match=message):
        layer_report(small_network(), **changed)


def test_few_distinct_values_have_codebooks_all_the_same():
    feature = Feature(0, False, (2,), 2, 2)
    values = np.float32([0, 0, 1, 5]).repeat(16).reshape(1, 4, 4, 4)
    for _ in range(2):
        feature.learn(values)
    feature.fit(0)
    for _ in range(2):
        feature.measure(values)
    assert feature.entropy_bits()[1:] == pytest.approx([1.5] * 7)
    assert feature.sparsity() == 0.5
    assert feature.codebooks()[0]["centroids"][:3] == [0, 1, 5]


def test_what_cannot_be_quantised_has_no_entropy():
    feature = Feature(0, False, (2,), 1, 1)
    values = np.float32([0, np.nan, 1, 2]).reshape(1, 4)
    feature.learn(values)
    feature.fit(0)
    feature.measure(values)
    assert feature.entropy_bits() is None and feature.coded() is None
    assert feature.sparsity() == 0.25


def test_larger_features_are_sampled():
    feature = Feature(0, True, (2,), 3, 3)
    rng = np.random.default_rng(3)
    for take in (feature.learn, feature.measure):
        for _ in range(3):
            take(rng.normal(size=(1, 128, 128, 24)).astype(np.float32))
        if take == feature.learn:
            feature.fit(0)
    normal = [1.0, 1.911, 2.825, 3.765, 4.730, 5.710]  # Max, "Quantizing for minimum distortion"
    assert feature.entropy_bits()[:6] == pytest.approx(normal, abs=0.02)
    histograms = feature.histograms()
    assert len(histograms) == 16 and [h["channel"] for h in histograms][:4] == [0, 1, 3, 4]
    assert all(4096 <= sum(h["counts"]) <= 4098 for h in histograms)


# ------------------------------------------------------------------ int8 TFLite


def test_int8_features_are_coded_as_they_are(data_dir):
    path = data_dir / "mlperf-tiny-tflite" / "resnet8_cifar10_int8.tflite"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    pytest.importorskip("ai_edge_litert", reason='needs "pysplitcodec[tflite]"')
    rng = np.random.default_rng(4)
    images = rng.normal(scale=20, size=(8, 1, 32, 32, 3)).cumsum(axis=2).clip(-128, 127)
    inputs = [[image] for image in images.astype(np.int8)]
    report = layer_report(path, inputs, bits=(2, 8), context_channels=0, time=False)
    point = report.split_points[2]
    assert (point.shape, point.dtype) == ([1, 16, 16, 32], "int8")
    assert (point.bytes, point.float32_bytes) == (8192, 32768)
    features = features_of(path, point.name, inputs)
    zero = point.tensors[0]["zero_point"]
    assert zero != 0 and point.sparsity == pytest.approx(np.mean(features[4:] == zero))
    book = sc.Codebook.fit(features[:4], 2)
    codec = sc.Codec(book, "lzma", shape=(16, 16, 32), dtype="int8", channel_axis=-1)
    sizes = [len(codec.encode(feature)) for feature in features[4:]]
    assert point.coded[0]["lzma"] == np.mean(sizes)
    assert point.histograms[0]["low"] % 1 == 0.5
    # every value has a centroid of its own, but for those that the first samples lack
    exact = np.unique(features[4:], return_counts=True)[1] / features[4:].size
    assert point.entropy_bits[7] == pytest.approx(-(exact * np.log2(exact)).sum(), abs=0.01)
