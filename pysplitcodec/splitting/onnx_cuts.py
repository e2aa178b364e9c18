"""Cutting an ONNX model in two at one tensor, or at several.

The head holds the nodes that the tensor needs and the tail all others, so that tail(head(x))
computes what the whole model computes, node by node.  The halves are complete ONNX files: weights
used on both sides are in both, weights that were in separate files are in them, and nothing else
is in either.  Opset imports, metadata and quantisation annotations are kept; free dimensions stay
free.

Not carried over: training_info, and types of tensors that can be inferred.  Nodes that no output
needs are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from pysplitcodec.runtime import ModelSource
from pysplitcodec.splitting import onnx_types
from pysplitcodec.splitting.cuts import Tensor, short
from pysplitcodec.splitting.model_graph import ModelGraph
from pysplitcodec.splitting.onnx_extract import extract, value_info
from pysplitcodec.splitting.onnx_file import package, read_model
from pysplitcodec.splitting.onnx_graph import Graph

# What has the scale and zero point of its first input as its second and third.
_QUANTISED_INPUT = ("DequantizeLinear", "QLinear")


class OnnxGraph(ModelGraph[bytes]):
    """An ONNX model (path or bytes) to be cut.

    Raises ModelError if `model` is not a sound ONNX model, MissingDependencyError without the
    extra "onnx".
    """

    def __init__(self, model: ModelSource) -> None:
        super().__init__()
        self.graph = Graph(read_model(model))
        self._types: dict[str, onnx_types.Tensor | None] = {}

    def halves(self, sent: Sequence[int]) -> tuple[bytes, bytes]:
        """As `ModelGraph.halves`."""
        names = [self._name(number) for number in sent]
        types = self._typed(names)
        between = [value_info(name, types[name].type) for name in names]
        old, head = self.graph.model.graph, self.graph.head(names)
        inputs = [given for given in old.input if given.name in self.graph.inputs]
        return (
            extract(self.graph, head, inputs, between),
            extract(self.graph, self.graph.tail(head), between, old.output),
        )

    def _candidates(self, tensors: int) -> Iterable[int]:
        names = self.graph.single_cuts() if tensors == 1 else self.graph.producer
        return (self.graph.numbers[name] for name in names)

    def _find(self, name: str) -> list[int]:
        return [self.graph.numbers[name]] if name in self.graph.numbers else []

    def _name(self, tensor: int) -> str:
        return self._all_names[tensor]

    def _after(self, tensor: int) -> str:
        return self.graph.nodes[self.graph.producer[self._name(tensor)]].name

    def _head(self, tensors: Iterable[int]) -> int:
        return self.graph.head(map(self._name, tensors))

    def _crossing(self, head: int) -> list[int]:
        return [self.graph.numbers[name] for name in self.graph.crossing(head)]

    def _never(self, tensor: int) -> str | None:
        name = self._name(tensor)
        if name in self.graph.inputs:
            return f"{short(name)} is an input of the model: the head would be empty"
        if name in self.graph.outputs:
            return f"{short(name)} is an output of the model"
        if self.graph.is_constant(name) or not self.graph.reads_input(self.graph.head([name])):
            return f"{short(name)} does not depend on the model's input"
        return None

    def _tensors(self, numbers: Iterable[int]) -> dict[int, Tensor]:
        numbers = list(numbers)
        types = self._typed([self._name(number) for number in numbers])
        found = {}
        for number in numbers:
            name = self._name(number)
            if name in types:
                kind, quantised = types[name], _quantisation(self.graph, name)
                found[number] = Tensor(number, name, kind.shape, kind.dtype, *quantised)
        return found

    def _typed(self, names: Sequence[str]) -> dict[str, onnx_types.Tensor]:
        """As `tensors_of`, which may have to run the model: asked once for each name."""
        asked = [name for name in names if name not in self._types]
        if asked:
            found = onnx_types.tensors_of(self.graph, asked)
            self._types.update((name, found.get(name)) for name in asked)
        known = {name: self._types[name] for name in names}
        return {name: kind for name, kind in known.items() if kind is not None}

    @cached_property
    def _all_names(self) -> list[str]:
        return list(self.graph.numbers)


def _quantisation(graph: Graph, name: str) -> tuple[float | None, int | None]:
    """Scale and zero point of what QuantizeLinear gives or dequantising nodes take."""
    candidates = [graph.producer[name]] if _operator(graph, name) == "QuantizeLinear" else []
    candidates += [
        number
        for number in graph.readers(name)
        if graph.model.graph.node[number].op_type.startswith(_QUANTISED_INPUT)
        and graph.model.graph.node[number].input[0] == name
    ]
    for number in candidates:
        inputs = list(graph.model.graph.node[number].input)
        scale = _constant(graph, inputs[1])
        zero_point = _constant(graph, inputs[2]) if len(inputs) > 2 and inputs[2] else 0
        if scale is not None and zero_point is not None:
            return float(scale), int(zero_point)
    return None, None


def _operator(graph: Graph, name: str) -> str:
    return str(graph.model.graph.node[graph.producer[name]].op_type)


def _constant(graph: Graph, name: str) -> Any:
    """The only element of an initialiser, None if it has others or is none."""
    tensor = graph.initialisers.get(name)
    if tensor is None or not hasattr(tensor, "data_type"):
        return None
    values = package().numpy_helper.to_array(tensor)
    return values.reshape(-1)[0] if values.size == 1 else None
