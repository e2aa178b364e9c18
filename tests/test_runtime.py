"""Running TFLite models: arguments, resizing, threads, choice of runtime, bad models."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pysplitcodec import runtime
from pysplitcodec.errors import ArgumentError, MissingDependencyError, ModelError
from pysplitcodec.runtime import TensorInfo, TFLiteModel, probe

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason='needs "pysplitcodec[tflite]"'
)
flatbuffers = pytest.importorskip("flatbuffers")

DATA = Path(os.environ.get("SPLITCODEC_DATA", Path(__file__).parents[1] / "../shared/data"))


def data_file(name: str) -> Path:
    path = DATA / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"{path} is missing; set SPLITCODEC_DATA to the folder of test models")
    return path


def doubling_model(reshape: tuple[int, int] | None = None, quantised: bool = False) -> bytes:
    """out = in + in for float32 [1, 3] (or int8), then reshaped to constants if asked."""
    tensors = []
    for name in ("in", "doubled", "shape", "out"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, [1, 3]
        if quantised:
            tensor.type = schema.TensorType.INT8
            tensor.quantization = schema.QuantizationParametersT(scale=[0.5], zeroPoint=[-3])
        tensors.append(tensor)
    tensors[2].type, tensors[2].shape, tensors[2].buffer = schema.TensorType.INT32, [2], 1
    tensors[2].quantization = None
    buffer = schema.BufferT(np.int32(reshape or (0, 0)).view(np.uint8))

    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = tensors, [0], [3 if reshape else 1]
    add, change = schema.OperatorT(), schema.OperatorT()
    add.inputs, add.outputs = [0, 0], [1]
    add.builtinOptionsType, add.builtinOptions = 11, schema.AddOptionsT()
    change.opcodeIndex, change.inputs, change.outputs = 1, [1, 2], [3]
    change.builtinOptionsType, change.builtinOptions = 17, schema.ReshapeOptionsT()
    graph.operators = [add, change] if reshape else [add]

    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT(), buffer]
    codes = [schema.BuiltinOperator.ADD, schema.BuiltinOperator.RESHAPE]
    model.operatorCodes = [schema.OperatorCodeT(code, None, 1, code) for code in codes]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def fresh_backend():
    """Have the runtime chosen anew, in this test and after it."""
    runtime.backend.cache_clear()
    yield
    runtime.backend.cache_clear()


X = np.float32([[1, 2, 3]])


def test_inputs_and_outputs_are_described():
    model = TFLiteModel(doubling_model())
    assert model.inputs == [TensorInfo("in", (1, 3), "float32", None, None)]
    assert model.outputs == [TensorInfo("doubled", (1, 3), "float32", None, None)]
    model = TFLiteModel(doubling_model(quantised=True))
    assert model.inputs == [TensorInfo("in", (1, 3), "int8", 0.5, -3)]
    model = TFLiteModel(data_file("mlperf-tiny-tflite/resnet8_cifar10_int8"))
    assert model.inputs[0].shape == (1, 32, 32, 3)
    assert model.outputs[0].scale == 1 / 256


@pytest.mark.parametrize("delegates", [True, False])
def test_runs_on_paths_and_bytes(tmp_path, delegates):
    path = tmp_path / "model.tflite"
    path.write_bytes(doubling_model())
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes())):
        (out,) = TFLiteModel(source, delegates=delegates)(X)
        np.testing.assert_array_equal(out, 2 * X)


def test_delegates_off_means_other_kernels():
    """If the switch did nothing, the results would agree to the last bit."""
    path = data_file("mlperf-tiny-tflite/ad01_autoencoder_fp32")
    x = np.random.default_rng(6).standard_normal((1, 640)).astype(np.float32)
    (with_xnnpack,) = TFLiteModel(path)(x)
    (without,) = TFLiteModel(path, delegates=False)(x)
    np.testing.assert_allclose(with_xnnpack, without, atol=1e-3)
    assert not np.array_equal(with_xnnpack, without)


def test_results_and_weights_are_copies():
    content = bytearray(data_file("mlperf-tiny-tflite/ad01_autoencoder_fp32").read_bytes())
    model = TFLiteModel(content)
    x = np.ones((1, 640), np.float32)
    first = model(x)[0]
    kept = first.copy()
    content[:] = bytes(len(content))
    assert not np.array_equal(model(2 * x)[0], first)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(model(x)[0], kept)


def test_arrays_need_not_be_contiguous():
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(TFLiteModel(doubling_model())(wide[:, ::2])[0], 2 * wide[:, ::2])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([X.astype(np.float64)], "input 'in' must be float32, an array of float64 was given"),
        ([X.astype(">f4")], "input 'in' must be float32, an array of >f4 was given"),
        ([[[1, 2, 3]]], "input 'in' must be float32, an array of int64 was given"),
        ([X[0]], r"'in' must have shape \(1, 3\), an array of shape \(3,\) was given"),
        ([X[:, :2]], r"'in' must have shape \(1, 3\), an array of shape \(1, 2\) was given"),
        ([X[:0]], r"'in' must have shape \(1, 3\), an array of shape \(0, 3\) was given"),
        ([X[None]], r"'in' must have shape \(1, 3\), an array of shape \(1, 1, 3\) was given"),
        ([], r"takes 1 input\(s\) \('in'\), 0 given"),
        ([X, X], r"takes 1 input\(s\) \('in'\), 2 given"),
    ],
)
def test_unfit_arrays_are_refused(arrays, message):
    model = TFLiteModel(doubling_model())
    with pytest.raises(ModelError, match=message):
        model(*arrays)
    np.testing.assert_array_equal(model(X)[0], 2 * X)


def test_threads_must_be_positive():
    with pytest.raises(ArgumentError, match="threads must be at least 1, not 0"):
        TFLiteModel(doubling_model(), threads=0)


@pytest.mark.parametrize("delegates", [True, False])
@pytest.mark.parametrize("name", ["resnet8_cifar10_fp32", "vww_mobilenetv1_96_int8"])
def test_batches_give_what_single_samples_give(name, delegates):
    model = TFLiteModel(data_file(f"mlperf-tiny-tflite/{name}"), delegates=delegates)
    info = model.inputs[0]
    noise = np.random.default_rng(7).integers(-128, 128, (3, *info.shape[1:]))
    batch = noise.astype(info.dtype)
    singles = np.concatenate([model(batch[i : i + 1])[0] for i in range(3)])
    # The order in which the built-in float kernels add depends on the batch size.
    error = 1e-6 if info.dtype == "float32" else 0
    for rows in (3, 2, 1):
        np.testing.assert_allclose(model(batch[:rows])[0], singles[:rows], rtol=0, atol=error)


def test_memory_is_allocated_anew_only_when_shapes_change(monkeypatch):
    model = TFLiteModel(doubling_model())
    calls = []

    class Counting:
        def __init__(self, interpreter):
            self._interpreter = interpreter

        def __getattr__(self, name):
            calls.append(name)
            return getattr(self._interpreter, name)

    monkeypatch.setattr(model, "_interpreter", Counting(model._interpreter))
    for rows in (1, 1, 4, 4, 4, 1):
        model(np.repeat(X, rows, axis=0))
    assert calls.count("invoke") == 6
    assert calls.count("allocate_tensors") == 2


@pytest.mark.parametrize("delegates", [True, False])
def test_models_for_one_batch_size_only(delegates):
    fixed = TFLiteModel(doubling_model(reshape=(1, 3)), delegates=delegates)
    with pytest.raises(ModelError, match=r"cannot be resized from \(1, 3\) to \(2, 3\): "):
        fixed(np.repeat(X, 2, axis=0))
    np.testing.assert_array_equal(fixed(X)[0], 2 * X)


def test_models_that_would_merge_a_batch_into_one_sample():
    merging = TFLiteModel(doubling_model(reshape=(1, -1)))
    with pytest.raises(ModelError, match=r"its output 'out' would have shape \(1, 6\)"):
        merging(np.repeat(X, 2, axis=0))
    np.testing.assert_array_equal(merging(X)[0], 2 * X)
    free = TFLiteModel(doubling_model(reshape=(-1, 3)))
    assert free(np.repeat(X, 2, axis=0))[0].shape == (2, 3)


def test_calls_from_several_threads():
    model = TFLiteModel(doubling_model())

    def task(number: int) -> bool:
        x = np.full((number % 3 + 1, 3), number, np.float32)
        return np.array_equal(model(x)[0], 2 * x)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(task, range(400)))


def test_reset_clears_memory():
    model = TFLiteModel(data_file("tflite-micro/mobilenet_v2_pytorch_int8_nchw"))
    model.reset()  # a model without memory has nothing to lose
    model = TFLiteModel(data_file("coral-tflite/keras_lstm_mnist_ptq"))
    rng = np.random.default_rng(8)
    info = model.inputs[0]
    x = rng.integers(-128, 128, info.shape).astype(info.dtype)
    first = model(x)[0]
    second = model(x)[0]
    model.reset()
    np.testing.assert_array_equal(model(x)[0], first)
    np.testing.assert_array_equal(model(x)[0], second)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a TFLite model"),
        (b"noise" * 100, "not a TFLite model: bytes 4 to 8 are b'enoi'"),
        (doubling_model()[:200], "LiteRT rejects the model|truncated"),
        (b"\x10\0\0\0TFL3" + bytes(200), "rejects the model"),
    ],
)
def test_files_that_are_no_models(content, message):
    with pytest.raises(ModelError, match=message):
        TFLiteModel(content)
    with pytest.raises(ModelError, match=message):
        probe(content)


def test_missing_file():
    with pytest.raises(ModelError, match="cannot read the model 'no such file': No such file"):
        TFLiteModel("no such file")


def test_probe_lets_good_models_pass(tmp_path):
    probe(doubling_model())
    path = tmp_path / "model.tflite"
    path.write_bytes(doubling_model())
    probe(path, threads=2, delegates=False)


def test_probe_survives_a_model_that_crashes():
    with pytest.raises(ModelError, match=r"crashes the process that runs it: SIG\w+, \w+"):
        probe(data_file("tflite-micro/keyword_scrambled_8bit"))


def test_rejected_model():
    path = data_file("tflite-micro/person_detect")
    for load in (TFLiteModel, probe):
        with pytest.raises(ModelError, match="rejects the model: quantized_dimension") as caught:
            load(path)
        assert len(str(caught.value)) < 400


def test_probe_gives_up():
    with pytest.raises(ModelError, match=r"did not end within 0\.001 s"):
        probe(doubling_model(), timeout_s=0.001)


@pytest.mark.usefixtures("fresh_backend")
def test_without_any_runtime(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "pysplitcodec\[tflite\]"'):
        TFLiteModel(doubling_model())
    with pytest.raises(MissingDependencyError):
        probe(doubling_model())


@pytest.mark.usefixtures("fresh_backend")
def test_tflite_runtime_is_not_tried_with_numpy_2(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(MissingDependencyError, match=r'numpy 2\.1\.0: pip install "numpy<2"'):
        runtime.backend()


@pytest.mark.usefixtures("fresh_backend")
def test_tflite_runtime_is_the_second_choice(monkeypatch):
    stand_in = importlib.import_module("ai_edge_litert.interpreter")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", stand_in)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", stand_in)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(np, "__version__", "1.26.4")
    assert runtime.backend() == ("tflite-runtime", stand_in)
    np.testing.assert_array_equal(TFLiteModel(doubling_model())(X)[0], 2 * X)


@pytest.mark.usefixtures("fresh_backend")
def test_broken_runtime_is_not_taken_for_a_missing_one(monkeypatch):
    def broken(_: str) -> None:
        raise ImportError("libLiteRt.so: cannot open shared object file", name="_wrapper")

    monkeypatch.setattr(runtime.importlib, "import_module", broken)
    with pytest.raises(MissingDependencyError, match="LiteRT is installed but broken: libLiteRt"):
        runtime.backend()


def test_importing_the_module_imports_no_runtime():
    code = (
        "import sys, pysplitcodec.runtime;"
        "sys.exit(int('ai_edge_litert' in sys.modules or 'tflite_runtime' in sys.modules))"
    )
    path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


def test_real_values_as_an_input_takes_them():
    real = np.array([-100.0, -0.26, 0.0, 0.25, 0.26, 100.0])
    quantised = TensorInfo("x", (6,), "int8", 0.5, -3)
    np.testing.assert_array_equal(quantised.stored(real), np.int8([-128, -4, -3, -3, -2, 127]))
    plain = TensorInfo("x", (6,), "float32", None, None).stored(real)
    np.testing.assert_array_equal(plain, real.astype(np.float32))
    assert plain.dtype == np.float32
