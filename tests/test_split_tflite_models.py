"""Every cut of every TFLite model in the test data: the halves compute what the whole does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import picture
from tflite_models import assert_exact, samples

import pysplitcodec as sc
from pysplitcodec.errors import ModelError
from pysplitcodec.runtime import TFLiteModel, probe
from pysplitcodec.splitting import Cut, list_cuts, read_graph, split

# Model -> how many cuts it has.
CUTS = {
    "mlperf-tiny-tflite/ad01_autoencoder_fp32": 9,
    "mlperf-tiny-tflite/ad01_autoencoder_int8": 9,
    "mlperf-tiny-tflite/resnet8_cifar10_fp32": 7,
    "mlperf-tiny-tflite/resnet8_cifar10_int8": 7,
    "mlperf-tiny-tflite/sww_int8": 10,
    "mlperf-tiny-tflite/vww_mobilenetv1_96_fp32": 30,
    "mlperf-tiny-tflite/vww_mobilenetv1_96_int8": 30,
    "coral-tflite/deeplabv3_mnv2_dm05_pascal_quant": 36,
    "coral-tflite/keras_lstm_mnist_ptq": 5,
    "coral-tflite/mobilenet_v1_0.25_128_quant": 30,
    "coral-tflite/mobilenet_v1_0.75_192_quant": 30,
    "coral-tflite/mobilenet_v2_1.0_224_quant": 35,
    "coral-tflite/movenet_single_pose_lightning_ptq": 16,
    "coral-tflite/split_concat": 1,
    "coral-tflite/tf2_mobilenet_v2_1.0_224_ptq": 37,
    "tflite-micro/mobilenet_v2_pytorch_int8_nchw": 43,
}
# Models with more cuts where two tensors may be sent -> how many then.
CUTS_OF_TWO = {
    "mlperf-tiny-tflite/resnet8_cifar10_fp32": 15,
    "mlperf-tiny-tflite/resnet8_cifar10_int8": 15,
    "coral-tflite/deeplabv3_mnv2_dm05_pascal_quant": 71,
    "coral-tflite/mobilenet_v2_1.0_224_quant": 65,
    "coral-tflite/movenet_single_pose_lightning_ptq": 52,
    "coral-tflite/tf2_mobilenet_v2_1.0_224_ptq": 67,
    "tflite-micro/mobilenet_v2_pytorch_int8_nchw": 83,
}
# Models that cannot be run, whole or in halves -> cuts, what happens.
BROKEN = {
    "tflite-micro/person_detect": (30, "rejects the model: quantized_dimension"),
    "tflite-micro/keyword_scrambled_8bit": (14, "crashes the process"),
}


def model_file(data_dir: Path, name: str) -> Path:
    return data_dir / f"{name}.tflite"


def inputs_of(model: TFLiteModel, data_dir: Path) -> list[list[np.ndarray]]:
    """Random ones, and a picture if the model takes one."""
    seen = picture(data_dir, model.inputs[0])
    return samples(model) if seen is None else [*samples(model), [seen]]


def test_no_model_is_left_out(data_dir):
    found = {path.relative_to(data_dir).as_posix()[:-7] for path in data_dir.glob("*/*.tflite")}
    assert found == CUTS.keys() | BROKEN.keys()


@pytest.mark.parametrize(
    "delegates",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["delegates", "no delegates"],
)
@pytest.mark.parametrize("name", CUTS)
def test_every_cut_is_exact(name, delegates, data_dir):
    data = model_file(data_dir, name).read_bytes()
    cuts = assert_exact(data, delegates, inputs=inputs_of(TFLiteModel(data), data_dir))
    assert len(cuts) == CUTS[name]
    for cut in cuts[:: len(cuts) // 3 + 1]:
        assert_lean(data, cut)


@pytest.mark.slow
@pytest.mark.parametrize("name", CUTS_OF_TWO)
def test_every_cut_of_two_tensors_is_exact(name, data_dir):
    data = model_file(data_dir, name).read_bytes()
    cuts = assert_exact(data, tensors=2, inputs=inputs_of(TFLiteModel(data), data_dir))
    assert len(cuts) == CUTS_OF_TWO[name]


def assert_lean(data: bytes, cut: Cut) -> None:
    """The halves hold little more than the whole: tables that both need, no weights twice."""
    halves = split(data, cut)
    assert len(halves.head) + len(halves.tail) < len(data) + 2500


def test_inputs_of_the_exactness_test_matter(data_dir):
    """Were all outputs alike, comparing them would show nothing."""
    pictures = 0
    for name in CUTS:
        model = TFLiteModel(model_file(data_dir, name))
        inputs = inputs_of(model, data_dir)
        pictures += len(inputs) - 2
        outputs = {tuple(array.tobytes() for array in model(*arrays)) for arrays in inputs}
        assert len(outputs) > 1, name
    assert pictures == 12


@pytest.mark.parametrize("name", BROKEN)
def test_models_that_cannot_be_run(name, data_dir):
    path = model_file(data_dir, name)
    count, message = BROKEN[name]
    with pytest.raises(ModelError, match=message):
        probe(path)
    graph = read_graph(path)
    cuts = graph.list_cuts()
    assert len(cuts) == count
    for cut in cuts:
        for half in graph.split(cut):
            assert list_cuts(half) is not None


@pytest.mark.parametrize("name", [name for name in CUTS if not name.endswith("fp32")])
def test_features_go_through_the_table_as_they_are(name, data_dir):
    """8-bit features are neither dequantised nor rescaled, not by the codec nor by the tail."""
    graph = read_graph(model_file(data_dir, name))
    whole = TFLiteModel(model_file(data_dir, name))
    (inputs,) = samples(whole, 1)
    outputs = whole(*inputs)
    cuts = [cut for cut in graph.list_cuts() if cut.dtype in ("int8", "uint8")]
    assert cuts
    for cut in cuts[:: len(cuts) // 3 + 1]:
        head, tail = map(TFLiteModel, graph.split(cut))
        (sent,), (taken,) = head.outputs, tail.inputs
        assert (sent.scale, sent.zero_point) == (taken.scale, taken.zero_point)
        assert (sent.scale, sent.zero_point) == (cut.tensor.scale, cut.tensor.zero_point)
        assert taken.scale
        (feature,) = head(*inputs)
        low, high = np.iinfo(cut.dtype).min, np.iinfo(cut.dtype).max
        shape, dtype = feature.shape, cut.dtype

        every = sc.Codec(sc.Codebook(np.arange(low, high + 1)), "pack", shape=shape, dtype=dtype)
        decoded = every.decode(every.encode(feature))
        assert decoded.dtype == feature.dtype
        for got, wanted in zip(tail(decoded), outputs):
            assert got.tobytes() == wanted.tobytes()

        levels = np.linspace(low, high, 16).round()
        few = sc.Codec(sc.Codebook(levels), "pack", shape=shape, dtype=dtype)
        decoded = few.decode(few.encode(feature))
        distances = np.abs(feature.reshape(-1, 1)[:1000] - levels)
        got = np.abs(decoded.astype(int) - feature).reshape(-1)[:1000]
        np.testing.assert_array_equal(got, distances.min(axis=1))
        assert [array.shape for array in tail(decoded)] == [array.shape for array in outputs]
