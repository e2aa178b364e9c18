"""The models that splitting is measured on: files, and architectures with random weights."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import numpy as np

DATA = Path(os.environ.get("SPLITCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))

# Side of the images for PyTorch's models: small, for they run twice for every split point.
SIDE = 64

# Architectures that come with the package onnx, as exporters wrote them.
ONNX = ("densenet121", "inception_v1", "resnet50", "shufflenet", "squeezenet")


def torchvision_model(name: str, side: int = SIDE) -> tuple[Any, Any]:
    """An architecture of torchvision with random weights, and an example of its input."""
    import torch

    from pysplitcodec.train.models import torchvision_models

    torch.manual_seed(0)
    options = {"image_size": side} if name.startswith("vit") else {}
    model = getattr(torchvision_models(), name)(weights=None, **options)
    for weights in model.parameters():
        # Transformers start with a last layer of zeros: every input gives the same output.
        if weights.dim() > 1 and not weights.any():
            torch.nn.init.normal_(weights, std=0.02)
    return model.eval(), torch.randn(1, 3, side, side)


def yolov10n() -> tuple[Any, Any]:
    """A detector, with statistics of BatchNorm that keep features away from zero."""
    import torch
    from yolov10n import YOLOv10n

    torch.manual_seed(0)
    model = YOLOv10n().train()
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(4, 3, SIDE, SIDE))
    return model.eval(), torch.randn(1, 3, SIDE, SIDE)


# Name -> what gives a module and an example of its input.
TORCH: dict[str, Callable[[], tuple[Any, Any]]] = {
    name: lambda name=name: torchvision_model(name)
    for name in (
        "alexnet",
        "densenet169",
        "densenet201",
        "efficientnet_v2_s",
        "mobilenet_v2",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet152",
        "swin_t",
        "vgg16",
        "vit_b_16",
    )
}
TORCH["yolov10n"] = yolov10n


def onnx_file(name: str) -> Path:
    """One of `ONNX`, in which every weight is the same number."""
    package = importlib.util.find_spec("onnx")
    assert package is not None and package.origin is not None
    return (
        Path(package.origin).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    )


def write_with_random_weights(source: Path, target: Path) -> None:
    """Copy an ONNX model whose nodes ConstantOfShape make its weights, with weights in their place.

    With equal weights every input gives the same output, and so do any two halves.
    """
    import onnx

    model = onnx.load(source)
    shapes = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = list(model.graph.node)
    reshaped = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Unsqueeze"}
    norms = [node.input for node in nodes if node.op_type == "BatchNormalization"]
    factors = [reshaped.get(i) for node in nodes if node.op_type == "Mul" for i in node.input]
    scales = {*factors, *(inputs[1] for inputs in norms)}
    variances = {inputs[4] for inputs in norms}
    rng = np.random.default_rng(0)
    for node in nodes:
        if node.op_type == "ConstantOfShape" and node.input[0] in shapes:
            shape = tuple(map(int, shapes[node.input[0]]))
            if len(shape) > 1:
                # He et al. 2015: keeps the spread of what passes a layer and its ReLU
                values = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
            elif node.output[0] in scales:
                values = rng.uniform(0.4, 0.8, shape)  # or sums of many blocks grow
            elif node.output[0] in variances:
                values = rng.uniform(0.5, 1.5, shape)
            else:
                values = rng.normal(0, 0.1, shape)
            weight = onnx.numpy_helper.from_array(values.astype(np.float32), node.output[0])
            model.graph.initializer.append(weight)
            # these files are of a version that wants weights among the inputs too
            info = onnx.helper.make_tensor_value_info(weight.name, weight.data_type, shape)
            model.graph.input.append(info)
            model.graph.node.remove(node)
    onnx.save(model, target)


def models() -> Iterator[tuple[str, str]]:
    """Format and name of every model that can be measured here."""
    for path in sorted(DATA.glob("*/*.tflite")):
        yield "tflite", path.relative_to(DATA).with_suffix("").as_posix()
    if importlib.util.find_spec("onnx"):
        for name in ONNX:
            if onnx_file(name).exists():
                yield "onnx", name
    if importlib.util.find_spec("torch") and importlib.util.find_spec("torchvision"):
        for name in TORCH:
            yield "torch", name
