"""Halves of PyTorch models as TFLite and ONNX files: they compute what the half does."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pysplitcodec import Codebook, Codec
from pysplitcodec.errors import ArgumentError, MissingDependencyError, ModelError, SplitError
from pysplitcodec.runtime import OnnxModel, TFLiteModel
from pysplitcodec.splitting import split

torch = pytest.importorskip("torch", reason="needs torch")
from cifar_resnet import trained_resnet20  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from pysplitcodec.splitting.torch_export import check_export, export  # noqa: E402
from pysplitcodec.splitting.torch_parts import ChannelsLast  # noqa: E402


def _needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)}")


needs_tflite = _needs("litert_torch", "ai_edge_quantizer", "ai_edge_litert")
needs_onnx = _needs("onnx", "onnxscript", "onnxruntime")

AT = ("layer1", "layer2", pytest.param("layer3", marks=pytest.mark.slow))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def model(data_dir: Path):
    return trained_resnet20(data_dir).eval()


@pytest.fixture(scope="module")
def photographs(data_dir: Path):
    """200 images of CIFAR-10, normalised, and their classes, in mixed order."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    files = sorted((data_dir / "cifar10-png-200").glob("*/*.png"))
    if len(files) != 200:
        pytest.skip("the images of cifar10-png-200 are missing")
    classes = sorted({file.parent.name for file in files})
    pixels = np.stack([np.asarray(image.open(file).convert("RGB")) for file in files])
    x = torch.tensor(pixels).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    y = torch.tensor([classes.index(file.parent.name) for file in files])
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    return x[order], y[order]


@pytest.fixture(scope="module")
def heads(model, photographs):
    """Split point and kind -> the head, exported once."""
    known = {}
    x, _ = photographs

    def give(at: str, kind: str):
        if (at, kind) not in known:
            head, _ = split(model, at, example=x[:1])
            calibration = x[:100].split(1) if kind == "int8" else None
            format = "onnx" if kind == "onnx" else "tflite"
            known[at, kind] = export(head, x[:1], format, calibration=calibration)
        return known[at, kind]

    return give


def accuracy(logits, y) -> float:
    return float((logits.argmax(1) == y).float().mean())


def operators(data: bytes) -> Counter[str]:
    """How many operators of each kind a TFLite file has."""
    from pysplitcodec.splitting.tflite_file import read_model, schema

    names = {v: k for k, v in vars(schema().BuiltinOperator).items() if isinstance(v, int)}
    tree = read_model(data)
    codes = [tree.operatorCodes[o.opcodeIndex] for o in tree.subgraphs[0].operators]
    return Counter(names[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in codes)


@needs_tflite
@pytest.mark.parametrize("at", AT)
def test_float_head_on_tflite_and_tail_on_torch(model, photographs, heads, at: str) -> None:
    x, y = photographs
    exported = heads(at, "float")
    assert exported.relative < 1e-5
    assert exported.snr_db > 100
    assert exported.steps is None
    head, tail = split(model, at, example=x[:1])
    file = TFLiteModel(exported.data)
    (received,), (sent,) = file.inputs, file.outputs
    assert (received.name, received.shape, received.dtype) == ("x", (1, 3, 32, 32), "float32")
    with torch.no_grad():
        feature = head(x)
        assert (sent.name, sent.shape) == (argument_of(tail), (1, *feature.shape[1:]))
        got = torch.cat([torch.tensor(file(sample.numpy())[0]) for sample in x.split(1)])
        torch.testing.assert_close(got, feature, rtol=0, atol=1e-5 * float(feature.abs().max()))
        assert torch.equal(tail(got).argmax(1), model(x).argmax(1))
        assert accuracy(tail(got), y) > 0.97


def argument_of(tail) -> str:
    (name,) = (node.name for node in tail.graph.nodes if node.op == "placeholder")
    return name


@needs_tflite
@pytest.mark.parametrize("at", AT)
def test_int8_head_through_codec_to_tail(model, photographs, heads, at: str) -> None:
    x, y = photographs
    exported = heads(at, "int8")
    assert exported.snr_db > 25
    assert exported.steps < 16
    assert exported.largest == pytest.approx(
        exported.steps * TFLiteModel(exported.data).outputs[0].scale
    )
    float_weights = len(heads(at, "float").data)
    assert len(exported.data) < 0.75 * float_weights
    file = TFLiteModel(exported.data)
    (received,), (sent,) = file.inputs, file.outputs
    assert (received.dtype, sent.dtype) == ("int8", "int8")
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators(exported.data))
    # ReLU is in front of the feature: all of int8's range is for what is not negative
    assert sent.zero_point == -128

    images = np.rint(x.numpy() / received.scale) + received.zero_point
    images = images.clip(-128, 127).astype(np.int8)
    features = [file(image[None])[0][0] for image in images]
    shape = features[0].shape
    every_level = Codec(Codebook(np.arange(-128, 128)), shape=shape, dtype="int8")
    few_levels = Codec(Codebook.fit(np.stack(features[:100]), 4), shape=shape, dtype="int8")
    _, tail = split(model, at, example=x[:1])

    def received_by_tail(codec: Codec):
        frames = [codec.encode(feature) for feature in features]
        decoded = np.stack([codec.decode(frame) for frame in frames])
        return decoded, torch.tensor(sent.scale * (decoded.astype(np.float32) - sent.zero_point))

    with torch.no_grad():
        whole = accuracy(model(x), y)
        decoded, real = received_by_tail(every_level)
        np.testing.assert_array_equal(decoded, np.stack(features))
        assert accuracy(tail(real), y) >= whole - 0.02
        assert accuracy(tail(received_by_tail(few_levels)[1]), y) >= whole - 0.04


@needs_tflite
def test_check_on_samples_not_calibrated_with(model, photographs, heads) -> None:
    x, _ = photographs
    head, _ = split(model, "layer2", example=x[:1])
    exported = heads("layer2", "int8")
    again = check_export(head, exported.data, x[:100].split(1))
    assert again == exported
    fresh = check_export(head, exported.data, x[100:].split(1))
    assert fresh.snr_db == pytest.approx(exported.snr_db, abs=1.5)
    # another model's file is told from this one's
    other = split(trained_like(model), "layer2", example=x[:1]).head
    assert check_export(other, exported.data, x[:4].split(1)).snr_db < 5
    with pytest.raises(ArgumentError, match="at least one sample"):
        check_export(head, exported.data, [])
    with pytest.raises(SplitError, match=r"input x has shape \(1, 3, 16, 16\)"):
        check_export(head, exported.data, [torch.randn(1, 3, 16, 16)])


def trained_like(model):
    """A model of the same shapes that computes something else."""
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data = parameter.data.flip(0)
    return other


@needs_onnx
@pytest.mark.parametrize("at", AT)
def test_onnx_head_of_any_batch(model, photographs, heads, at: str) -> None:
    x, _ = photographs
    exported = heads(at, "onnx")
    assert exported.relative < 1e-5
    head, tail = split(model, at, example=x[:1])
    file = OnnxModel(exported.data)
    assert [info.name for info in file.inputs] == ["x"]
    assert [info.name for info in file.outputs] == [argument_of(tail)]
    with torch.no_grad():
        for batch in (1, 2, 7):
            (feature,) = file(x[:batch].numpy())
            wanted = head(x[:batch])
            largest = float(wanted.abs().max())
            torch.testing.assert_close(torch.tensor(feature), wanted, rtol=0, atol=1e-5 * largest)
        assert torch.equal(tail(torch.tensor(file(x.numpy())[0])).argmax(1), model(x).argmax(1))


@needs_tflite
def test_channels_last_without_transpositions(model, photographs, heads) -> None:
    x, _ = photographs
    head, tail = split(model, "layer1", example=x[:1])
    exported = export(head, x[:1], channels_last=True)
    file = TFLiteModel(exported.data)
    assert (file.inputs[0].shape, file.outputs[0].shape) == ((1, 32, 32, 3), (1, 32, 32, 16))
    assert operators(exported.data)["TRANSPOSE"] == 0
    assert operators(heads("layer1", "float").data)["TRANSPOSE"] == 2
    with torch.no_grad():
        for sample in x[:5].split(1):
            (feature,) = file(sample.permute(0, 2, 3, 1).numpy())
            got = ChannelsLast(tail)(torch.tensor(feature))
            torch.testing.assert_close(got, model(sample), rtol=1e-4, atol=1e-4)


class Parts(nn.Module):
    """Two inputs, one in a dict; two tensors of one shape are sent."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 1), nn.Conv2d(3, 4, 1)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, small, rest):
        a, b = self.left(small), self.right(rest["large"])
        return self.last(torch.relu(a) - b) + a * b


@pytest.mark.parametrize(
    "format", [pytest.param("tflite", marks=needs_tflite), pytest.param("onnx", marks=needs_onnx)]
)
@pytest.mark.parametrize("named", [False, True])
def test_several_tensors_keep_names_and_order(format: str, named: bool) -> None:
    small, large = torch.randn(1, 2, 4, 4), torch.randn(1, 3, 4, 4)
    example = (small, {"large": large})
    model = Parts().eval()
    head, tail = split(model, ["right", "left"], example=example)
    given = {"rest": {"large": large}, "small": small} if named else example
    file = (OnnxModel if format == "onnx" else TFLiteModel)(export(head, given, format).data)
    assert [info.name for info in file.inputs] == ["small", "rest"]
    assert [info.name for info in file.outputs] == ["left", "right"]
    assert [n.name for n in tail.graph.nodes if n.op == "placeholder"] == ["left", "right"]
    sent = [torch.tensor(array) for array in file(small.numpy(), large.numpy())]
    torch.testing.assert_close(tail(*sent), model(*example), rtol=1e-5, atol=1e-5)


class ByBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.first(x)
        x = x * 2 if x.shape[0] == 3 else x
        return self.last(x)


@needs_onnx
def test_onnx_keeps_a_batch_that_the_code_decides_by() -> None:
    x = torch.randn(3, 4)
    head, _ = split(ByBatch().eval(), "mul", example=x)
    file = OnnxModel(export(head, x, "onnx").data)
    np.testing.assert_allclose(file(x.numpy())[0], head(x).detach(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelError, match="failed to run"):
        file(torch.randn(2, 4).numpy())


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(F.dropout(self.norm(self.first(x)), 0.5, training=self.training))


@pytest.mark.parametrize(
    "format", [pytest.param("tflite", marks=needs_tflite), pytest.param("onnx", marks=needs_onnx)]
)
def test_exports_in_eval_mode_and_puts_the_mode_back(format: str) -> None:
    x = torch.randn(2, 4)
    model = Dropping().train()
    model.norm.eval()
    head, _ = split(model, "dropout", example=x)
    modes = {name: module.training for name, module in head.named_modules()}
    before = copy.deepcopy(head.state_dict())
    exported = export(head, x, format)
    assert {name: module.training for name, module in head.named_modules()} == modes
    torch.testing.assert_close(head.state_dict(), before, rtol=0, atol=0)
    file = (OnnxModel if format == "onnx" else TFLiteModel)(exported.data)
    wanted = head.eval()(x).detach()
    np.testing.assert_allclose(file(x.numpy())[0], wanted, rtol=1e-5, atol=1e-6)


class Around(nn.Module):
    """A convolution and one more operator."""

    def __init__(self, operator) -> None:
        super().__init__()
        self.conv, self.operator = nn.Conv2d(3, 4, 3), operator

    def forward(self, x):
        return self.operator(self.conv(x))


@needs_tflite
def test_operators_that_tflite_lacks_are_named() -> None:
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(ModelError, match=r"aten\.adaptive_max_pool2d"):
        export(Around(nn.AdaptiveMaxPool2d(3)), x)
    # litert-torch makes a file of it that LiteRT cannot run
    with pytest.raises(ModelError, match="STABLEHLO_SORT"):
        export(Around(lambda x: x.sort(-1)[0]), x)
    calibration = [torch.randn(1, 3, 8, 8) for _ in range(2)]
    with pytest.raises(ModelError, match="EXP, GREATER_EQUAL would be computed in float"):
        export(Around(nn.ELU()), x, calibration=calibration)


@needs_tflite
def test_files_that_compute_something_else_are_refused() -> None:
    x = torch.randn(1, 3, 8, 8)
    # litert-torch 0.10.0 takes the wrong dimension
    with pytest.raises(ModelError, match=r"is float32 of shape \(1, 6, 6, 6\), the half gives"):
        export(Around(lambda x: torch.cdist(x, x)), x)


@needs_onnx
def test_operators_that_onnx_lacks_are_named() -> None:
    with pytest.raises(ModelError, match="_linalg_svd"):
        export(Around(torch.linalg.svdvals), torch.randn(1, 3, 8, 8), "onnx")


def test_bad_arguments() -> None:
    half, x = nn.Linear(4, 4), torch.randn(1, 4)
    with pytest.raises(ArgumentError, match="format must be 'tflite' or 'onnx', not 'onx'"):
        export(half, x, "onx")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="calibration is for TFLite"):
        export(half, x, "onnx", calibration=[x])
    with pytest.raises(ArgumentError, match="calibration must hold at least one sample"):
        export(half, x, calibration=[])
    with pytest.raises(ArgumentError, match="example must be a tensor"):
        export(half, 3)
    with pytest.raises(ArgumentError, match="example does not fit the half: too many"):
        export(half, (x, x))
    with pytest.raises(ArgumentError, match=r"its weight is on meta.*deepcopy\(half\)\.cpu"):
        export(nn.Linear(4, 4, device="meta"), x)


@needs_tflite
def test_calibration_must_be_like_the_example() -> None:
    with pytest.raises(ArgumentError, match=r"shapes \[\(2, 4\)\], the example of \[\(1, 4\)\]"):
        export(nn.Linear(4, 4), torch.randn(1, 4), calibration=[torch.randn(2, 4)])


def test_a_half_of_the_other_mode_is_refused() -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = self.first(x)
            return self.last(torch.tanh(x) if self.training else x)

    x = torch.randn(1, 4)
    head, _ = split(Moody().train(), "tanh", example=x)
    with pytest.raises(SplitError, match="other operators in train"):
        export(head, x)
    assert head.training


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    half, x = nn.Linear(4, 4), torch.randn(1, 4)
    version = torch.__version__.split("+")[0]
    pip = rf'pip install "pysplitcodec\[export\]" "torch=={version}"'
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(MissingDependencyError, match=f"TFLite needs litert_torch: {pip}"):
        export(half, x)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    with pytest.raises(MissingDependencyError, match=f"ONNX needs onnxscript: {pip}"):
        export(half, x, "onnx")


def test_converters_are_imported_when_needed() -> None:
    code = (
        "import sys, pysplitcodec.splitting.torch_export; "
        "print({'litert_torch', 'ai_edge_quantizer', 'jax', 'onnx', 'onnxscript'} "
        "& set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@needs_tflite
@pytest.mark.slow
@pytest.mark.parametrize(("name", "at"), [("mobilenet_v2", "features.6"), ("resnet18", "layer2")])
def test_heads_of(architecture, name: str, at: str) -> None:
    model, x = architecture(name)
    head, tail = split(model, at, example=x)
    exported = export(head, x)
    assert exported.relative < 1e-4
    (feature,) = TFLiteModel(exported.data)(x.numpy())
    torch.testing.assert_close(tail(torch.tensor(feature)), model(x), rtol=1e-3, atol=1e-3)
    calibration = [torch.randn(1, 3, 64, 64) for _ in range(4)]
    assert export(head, x, calibration=calibration).snr_db > 10
    assert export(head, x, "onnx").relative < 1e-4
