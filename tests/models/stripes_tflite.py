"""A TFLite classifier that is trained in a second: which of four textures noisy squares have."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from tflite_models import INT8, OPERATOR, Graph, schema
from torch import nn

KERNEL, HIDDEN, LAST = "kernel", "hidden/weights", "last/weights"

Arrays = dict[str, np.ndarray]


def squares() -> tuple[np.ndarray, np.ndarray]:
    """600 squares in float32, [n, 8, 8, 1], and their classes."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((8, 8))
    textures = np.stack([rows, columns, rows + columns, rows // 2 + columns // 2]) % 2
    targets = rng.integers(0, 4, 600)
    pixels = textures[targets] + rng.normal(0, 1.1, (600, 8, 8))
    return pixels[..., None].astype(np.float32), targets


def trained_weights() -> Arrays:
    """Weights and biases as TFLite has them, by name."""
    inputs, targets = (torch.from_numpy(one) for one in squares())
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 6 * 6, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(inputs.permute(0, 3, 1, 2)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = {name: one.detach().numpy() for name, one in model.named_parameters()}
    hidden = state["3.weight"].reshape(16, 8, 6, 6).transpose(0, 2, 3, 1).reshape(16, -1)
    return {
        KERNEL: state["0.weight"].transpose(0, 2, 3, 1),
        "kernel/bias": state["0.bias"],
        HIDDEN: hidden,
        "hidden/bias": state["3.bias"],
        LAST: state["5.weight"],
        "last/bias": state["5.bias"],
    }


def features(weights: Arrays, inputs: np.ndarray) -> np.ndarray:
    """What the convolution gives, in numpy: [n, 6, 6, 8]."""
    patches = sliding_window_view(inputs[..., 0], (3, 3), (1, 2))
    maps = np.einsum("nyxij,cij->nyxc", patches, weights[KERNEL][..., 0])
    return np.maximum(maps + weights["kernel/bias"], 0)


def answers_to(weights: Arrays, maps: np.ndarray) -> np.ndarray:
    """What the rest of the model gives for that, in numpy: [n, 4]."""
    hidden = maps.reshape(len(maps), -1) @ weights[HIDDEN].T + weights["hidden/bias"]
    return np.maximum(hidden, 0) @ weights[LAST].T + weights["last/bias"]


def stripes_graph(weights: Arrays, *, batch: int = -1) -> Graph:
    """The model; batch: what its reshape gives, of which any but -1 forbids batches."""
    graph = Graph()
    x = graph.tensor("in", (1, 8, 8, 1))
    stored = {name: graph.tensor(name, one.shape, one) for name, one in weights.items()}
    shape = graph.tensor("shape", (2,), np.int32([batch, 8 * 6 * 6]), type=2)
    maps, vector = graph.tensor("maps", (1, 6, 6, 8)), graph.tensor("vector", (1, 8 * 6 * 6))
    hidden, out = graph.tensor("hidden", (1, 16)), graph.tensor("out", (1, 4))
    relu = schema.ActivationFunctionType.RELU
    convolution: Any = schema.Conv2DOptionsT()
    convolution.strideH = convolution.strideW = 1
    convolution.dilationHFactor = convolution.dilationWFactor = 1
    convolution.padding = schema.Padding.VALID
    convolution.fusedActivationFunction = relu
    graph.op(OPERATOR.CONV_2D, [x, stored[KERNEL], stored["kernel/bias"]], [maps], convolution)
    graph.op(OPERATOR.RESHAPE, [maps, shape], [vector], schema.ReshapeOptionsT())
    for name, given, taken, function in (
        ("hidden", vector, hidden, relu),
        ("last", hidden, out, schema.ActivationFunctionType.NONE),
    ):
        connected: Any = schema.FullyConnectedOptionsT()
        connected.fusedActivationFunction = function
        inputs = [given, stored[f"{name}/weights"], stored[f"{name}/bias"]]
        graph.op(OPERATOR.FULLY_CONNECTED, inputs, [taken], connected)
    graph.ends([x], [out])
    return graph


def in_int8(graph: Graph, name: str) -> Graph:
    """The graph with some weights in 8 bits, as converters have them that quantise weights only."""
    tensor = next(one for one in graph.now.tensors if one.name == name)
    values = np.frombuffer(graph.model.buffers[tensor.buffer].data, np.float32)
    scale = float(np.abs(values).max()) / 127
    tensor.buffer = graph.buffer(np.rint(values / scale).astype(np.int8))
    tensor.type = INT8
    tensor.quantization = schema.QuantizationParametersT(scale=[scale], zeroPoint=[0])
    return graph
