"""What the nodes of an ONNX model compute: sizes, weights and multiply-accumulates."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pysplitcodec.runtime import Model, open_model
from pysplitcodec.splitting.cuts import Cut
from pysplitcodec.splitting.layers import End, Layers, Operator, Weight, total
from pysplitcodec.splitting.model_graph import bits
from pysplitcodec.splitting.onnx_cuts import OnnxGraph
from pysplitcodec.splitting.onnx_extract import extract, value_info
from pysplitcodec.splitting.onnx_file import bodies, package
from pysplitcodec.splitting.onnx_graph import Graph, function_key
from pysplitcodec.splitting.onnx_macs import Shapes, count, has_products
from pysplitcodec.splitting.onnx_types import Tensor, end_of, tensors_of

# What they give has a shape that depends on values, which a run on zeros does not tell.
_SHAPED_BY_VALUES = frozenset(["Compress", "NonMaxSuppression", "NonZero", "Unique"])
# Shapes, axes and conditions are no weights.
_NO_WEIGHTS = ("bool", "int64")


def read_layers(model: OnnxGraph, cuts: Sequence[Cut]) -> Layers:
    """As `layers.read_layers`, for an ONNX model."""
    graph = model.graph
    nodes = _Nodes(graph)
    place = {number: i for i, number in enumerate(nodes.numbers)}
    given = [i for i in graph.model.graph.input if i.name in graph.inputs]
    heads = [bits(graph.head(_names(cut))) for cut in cuts]
    return Layers(
        inputs=tuple(End(i.name, *end_of(i.type)) for i in given),
        outputs=tuple(End(name, *nodes.end(name)) for name in graph.outputs),
        operators=tuple(nodes.operator(number) for number in nodes.numbers),
        nbytes={number: nodes.nbytes(name) for name, number in graph.numbers.items()},
        kept=frozenset(),
        weights={graph.numbers[name]: weight for name, weight in nodes.weights.items()},
        cuts=tuple(cuts),
        heads=tuple(tuple(place[i] for i in head if i in place) for head in heads),
        channels_last=False,
    )


def open_observed(model: OnnxGraph, cuts: Sequence[Cut]) -> Model:
    """As `layers.open_observed`, for an ONNX model."""
    graph = model.graph
    names = dict.fromkeys(name for cut in cuts for name in _names(cut))
    inputs = [i for i in graph.model.graph.input if i.name in graph.inputs]
    outputs = [package().ValueInfoProto(name=name) for name in names]
    return open_model(extract(graph, graph.head(names), inputs, outputs))


def _names(cut: Cut) -> list[str]:
    return [tensor.name for tensor in cut.tensors]


class _Nodes:
    """The nodes of a graph that depend on its inputs and are needed.

    numbers: theirs, in the order in which they run.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.numbers = [
            number
            for number in bits(graph.head(graph.outputs))
            if not all(map(graph.is_constant, graph.nodes[number].outputs))
        ]
        read = [t for number in self.numbers for t in graph.nodes[number].inputs]
        written = [t for number in self.numbers for t in graph.nodes[number].outputs]
        wanted = [t for t in dict.fromkeys((*read, *written)) if t in graph.producer]
        self._tensors = tensors_of(graph, wanted)
        given = [i for i in graph.model.graph.input if i.name in graph.inputs]
        for value in given:
            shape, dtype = end_of(value.type)
            self._tensors[value.name] = Tensor(value.type, shape, dtype, _is_known(value.type))
        # Nothing is known of shapes where more than the batch is left open.
        self._vague = not all(self._tensors[value.name].known for value in given)
        self._by_values = sum(
            1 << i for i, n in enumerate(graph.model.graph.node) if n.op_type in _SHAPED_BY_VALUES
        )
        constants = [t for t in dict.fromkeys(read) if graph.is_constant(t)]
        found = {name: self._weight(name) for name in constants}
        self.weights: dict[str, Weight] = {
            name: weight for name, weight in found.items() if weight is not None
        }

    def operator(self, number: int) -> Operator:
        """What `Layers` has of a node."""
        node, numbers = self._graph.nodes[number], self._graph.numbers
        return Operator(
            name=node.outputs[0],
            kind=node.name,
            reads=tuple(numbers[t] for t in node.inputs if not self._graph.is_constant(t)),
            writes=tuple(numbers[t] for t in node.outputs),
            weights=tuple(numbers[t] for t in node.inputs if t in self.weights),
            macs=self.macs(number),
        )

    def macs(self, number: int) -> int | None:
        """Multiply-accumulates of a node; None if they cannot be told."""
        node = self._graph.model.graph.node[number]
        if function_key(node) in self._graph.functions:
            return self._macs_of_function(node)
        inside = [inner for body in bodies(node) for inner in body.node]
        if inside:
            return 0 if not any(map(self._may_have_products, inside)) else None
        shapes = Shapes(
            tuple(self.shape(t) if t else None for t in node.input),
            tuple(self.shape(t) if t else None for t in node.output),
        )
        return count(node, shapes)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a tensor that a node reads or writes, None if it is not known."""
        stored = self._graph.initialisers.get(name)
        if stored is not None:
            return tuple(stored.dims)
        tensor = self._tensors.get(name)
        vague = self._vague or self._graph.head([name]) & self._by_values
        if tensor is None or not tensor.known or (vague and not self._graph.is_constant(name)):
            return None
        return tensor.shape

    def nbytes(self, name: str) -> int | None:
        """Size of a tensor, None if it is not known."""
        shape = self.shape(name)
        if shape is None or name not in self._tensors:
            return None
        return math.prod(shape) * np.dtype(self._tensors[name].dtype).itemsize

    def end(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of an output; as far as the file tells if that is all there is."""
        if name in self._tensors:
            return self._tensors[name].shape, self._tensors[name].dtype
        return end_of(next(o for o in self._graph.model.graph.output if o.name == name).type)

    def _macs_of_function(self, node: Any) -> int | None:
        """What a local function has inside, as a graph of its own."""
        onnx, old = package(), self._graph.model
        model = onnx.ModelProto(ir_version=old.ir_version, graph=onnx.GraphProto(name="function"))
        model.opset_import.extend(old.opset_import)
        model.functions.extend(old.functions)
        model.graph.node.append(node)
        for name in dict.fromkeys(t for t in node.input if t):
            if name in self._graph.initialisers:
                model.graph.initializer.append(self._graph.initialisers[name])
            elif self.shape(name) is not None:
                elements = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self._tensors[name].dtype))
                type_ = onnx.helper.make_tensor_type_proto(elements, self.shape(name))
                model.graph.input.append(value_info(name, type_))
            else:
                return None
        model.graph.output.extend(onnx.ValueInfoProto(name=t) for t in node.output if t)
        inliner = importlib.import_module("onnx.inliner")
        inside = _Nodes(Graph(inliner.inline_local_functions(model)))
        return total(inside.macs(number) for number in inside.numbers)

    def _may_have_products(self, node: Any) -> bool:
        function = self._graph.functions.get(function_key(node))
        inside = [inner for body in bodies(node) for inner in body.node]
        inside += [] if function is None else function.node
        if inside:
            return any(map(self._may_have_products, inside))
        return has_products(node) is not False

    def _weight(self, name: str) -> Weight | None:
        """What a constant is, None if it is no weight."""
        stored, shape = self._graph.initialisers.get(name), self.shape(name)
        if stored is None:
            if name not in self._tensors or self._tensors[name].dtype in _NO_WEIGHTS:
                return None
        elif _element_type(stored) in _NO_WEIGHTS:
            return None
        return Weight(math.prod(shape or ()), self._stored_bytes(name))

    def _stored_bytes(self, name: str) -> int:
        """Of a constant, or of those that it is computed from."""
        stored = self._graph.initialisers.get(name)
        if stored is not None:
            return _tensor_bytes(stored)
        node = self._graph.model.graph.node[self._graph.producer[name]]
        held = [a.t for a in node.attribute if a.HasField("t")]
        read = self._graph.nodes[self._graph.producer[name]].inputs
        return sum(map(_tensor_bytes, held)) + sum(map(self._stored_bytes, read))


def _is_known(type_: Any) -> bool:
    """Whether an input's shape is known but for its first dimension, which is taken for 1."""
    if not type_.tensor_type.HasField("shape"):
        return False
    return all(d.HasField("dim_value") for d in type_.tensor_type.shape.dim[1:])


def _element_type(stored: Any) -> str:
    values = getattr(stored, "values", stored)  # of a sparse one
    return str(package().TensorProto.DataType.Name(values.data_type)).lower()


def _tensor_bytes(stored: Any) -> int:
    values = getattr(stored, "values", stored)
    if values.HasField("raw_data"):
        return len(values.raw_data)
    return int(package().numpy_helper.to_array(values).nbytes)
