"""A TFLite model that classifies, for QPART: weights are replaced in its file, which then runs.

Needs torch, and the extra "tflite".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pysplitcodec.errors import ArgumentError, ModelError
from pysplitcodec.plan.calibrated import CalibratedClassifier, Part, Weights
from pysplitcodec.plan.packed_model import (
    pack_tflite,
    read_weights,
    tflite_weights,
    unpack_tflite,
    with_weights,
)
from pysplitcodec.runtime import ModelSource, TFLiteModel, read_bytes
from pysplitcodec.splitting.cuts import Cut, Split, short
from pysplitcodec.splitting.layers import read_layers
from pysplitcodec.splitting.tflite import TFLiteGraph
from pysplitcodec.splitting.tflite_file import tensor_name

_BATCH = 50


class TFLiteClassifier(CalibratedClassifier):
    """A TFLite model in float32 and calibration samples.

    model: path or bytes; it takes one tensor, [1, ...], and gives one, [1, classes].  Samples run
    in batches where the model can be resized, otherwise one by one.

    Raises ArgumentError for models that are quantised or have other inputs and outputs, for layers
    that share a name, and as `CalibratedClassifier`; ModelError for no TFLite model, or inputs that
    it does not take; MissingDependencyError without the extra "tflite".
    """

    def __init__(self, model: ModelSource, inputs: Tensor, targets: Tensor) -> None:
        self.model = read_bytes(model)
        self._file = TFLiteGraph(self.model)
        _check_float(self._file)
        self._readers = _readers(self._file, self.model)
        self._layers = _tensors(self.model, self._readers)
        super().__init__(inputs, targets)

    @property
    def layers(self) -> dict[str, Tensor]:
        """Constant float32 tensors of two dimensions or more, in the order they are read in.

        Of tensors that share their weights the first stands for all.
        """
        return dict(self._layers)

    @property
    def float_bytes(self) -> int:
        """The size of the file."""
        return len(self.model)

    def answers(self, weights: Weights, inputs: Tensor | None = None) -> Tensor:
        """As `CalibratedClassifier.answers`."""
        return _run(_replaced(self.model, weights), self.inputs if inputs is None else inputs)

    @property
    def _graph(self) -> TFLiteGraph:
        return self._file

    def _last_cuts(self) -> list[str]:
        cuts = [point for point in self._file.list_cuts() if _is_batch(point)]
        last = {tuple(self._layer_names(point)): point.name for point in cuts}
        return [name for layers, name in last.items() if layers]

    def _layer_names(self, point: Cut) -> list[str]:
        head = self._file.graph.head(point.tensor.number)
        return [name for name, readers in self._readers.items() if readers & head]

    def _part(self, split: Split[bytes], head_macs: int, tail_macs: int) -> TFLitePart:
        point = split.cut
        if not _is_batch(point):
            raise ArgumentError(
                f"the feature at {short(point.name)} is {point.dtype} of shape {point.shape}: "
                "expected float32 of shape (1, ...)"
            )
        return TFLitePart(
            point.name,
            _run(split.head, self.inputs),
            head_macs,
            tail_macs,
            self._layer_names(point),
            split.head,
            split.tail,
        )


@dataclass(frozen=True)
class TFLitePart(Part):
    """A TFLite model cut at a split point.  What is sent of the head is its file."""

    channel_axis: ClassVar[int] = -1

    head: bytes
    tail: bytes

    @property
    def float_bytes(self) -> int:
        """The size of the head's file."""
        return len(self.head)

    def features_of(self, inputs: Tensor, weights: Weights) -> Tensor:
        """As `Part.features_of`."""
        return _run(_replaced(self.head, weights), inputs)

    def answers_to(self, features: Tensor) -> Tensor:
        """As `Part.answers_to`."""
        return _run(self.tail, features)

    def packed(self, bits: Mapping[str, int], coder: str = "pack") -> bytes:
        """What `pack_tflite` makes of the head."""
        return pack_tflite(self.head, bits, coder=coder)

    def unpacked(self, data: bytes) -> Weights:
        """The layers of the file that `unpack_tflite` gives."""
        return _tensors(unpack_tflite(data), self.layer_names)


def _run(model: bytes, inputs: Tensor) -> Tensor:
    """What a model of one input and one output gives for inputs [n, ...]."""
    runner = TFLiteModel(model)
    try:
        found = [runner(some.numpy())[0] for some in inputs.split(_BATCH)]
    except ModelError:  # if not of the batch's size, the first sample alone fails again
        found = [runner(one.numpy())[0] for one in inputs.split(1)]
    return torch.from_numpy(np.concatenate(found))


def _replaced(model: bytes, weights: Weights) -> bytes:
    if not weights:
        return model
    return with_weights(model, {name: one.numpy() for name, one in weights.items()})


def _tensors(model: bytes, names: Iterable[str]) -> dict[str, Tensor]:
    found = read_weights(model, names)
    return {name: torch.from_numpy(values) for name, values in found.items()}


def _is_batch(point: Cut) -> bool:
    return point.dtype == "float32" and point.shape[:1] == (1,)


def _readers(file: TFLiteGraph, model: bytes) -> dict[str, int]:
    """By the name of a layer's weights, the operators that read them, as bits of one int."""
    graph = file.graph
    names = {name for name, shape in tflite_weights(model) if len(shape) >= 2}
    first: dict[int, str] = {}  # by buffer, of the tensors that share it
    found: dict[str, int] = {}
    for operator in graph.operators:
        for number in operator.inputs:
            tensor = graph.tensors[number]
            if tensor_name(tensor) in names and graph.tree.buffers[tensor.buffer].data is not None:
                name = first.setdefault(tensor.buffer, tensor_name(tensor))
                found[name] = found.get(name, 0) | graph.consumers[number]
    return found


def _check_float(file: TFLiteGraph) -> None:
    """Raise ArgumentError unless it is float32, one sample in and its classes out."""
    layers = read_layers(file, [])
    for operator in layers.operators:
        weights = [layers.weights[key] for key in operator.weights] if operator.macs != 0 else []
        if any(one.nbytes != 4 * one.elements for one in weights):
            raise ArgumentError(
                f"the model is quantised: {operator.kind} {short(operator.name)} has other than "
                "float32 weights, expected float32 weights and features"
            )
    ends = [*layers.inputs, *layers.outputs]
    if len(ends) != 2 or ends[0].shape[:1] != (1,) or ends[1].dtype != "float32":
        shown = ", ".join(f"{end.dtype} {list(end.shape)}" for end in ends)
        raise ArgumentError(
            f"the model takes and gives {shown}: expected one input, [1, ...], and one output in "
            "float32, [1, classes]"
        )
