"""What the operators of a TFLite model compute: sizes, weights and multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pysplitcodec.runtime import Model, open_model
from pysplitcodec.splitting.cuts import Cut
from pysplitcodec.splitting.layers import End, Layers, Operator, Weight, total
from pysplitcodec.splitting.model_graph import bits
from pysplitcodec.splitting.tflite import DTYPES, TFLiteGraph
from pysplitcodec.splitting.tflite_extract import extract
from pysplitcodec.splitting.tflite_graph import Graph

_INT4 = 17
# Integers without a scale are shapes and axes, unless they are as short as weights.
_WHOLE_NUMBERS = frozenset(["bool", "int16", "int32", "int64", "uint16", "uint32", "uint64"])
_RECURRENT = frozenset(
    [
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "LSTM",
        "RNN",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    ]
)
# They have products, but not as many as a rule here tells.
_UNCOUNTED = frozenset(["RFFT2D", "STABLEHLO_CONVOLUTION", "STABLEHLO_DOT_GENERAL"])
_WITHOUT_PRODUCTS = frozenset(["CUSTOM TFLite_Detection_PostProcess"])


def read_layers(model: TFLiteGraph, cuts: Sequence[Cut]) -> Layers:
    """As `layers.read_layers`, for a TFLite model."""
    graph = model.graph
    live = _head(graph, graph.outputs)
    numbers = [i for i in bits(live) if not all(map(graph.is_constant, graph.operators[i].outputs))]
    place = {number: i for i, number in enumerate(numbers)}
    counter = _Counter(graph)
    weights: dict[int, Weight] = {}
    operators = []
    for number in numbers:
        operator = graph.operators[number]
        constants = [t for t in dict.fromkeys(operator.inputs) if graph.is_constant(t)]
        for tensor in constants:
            if _is_weight(graph.tensors[tensor]):
                weights[tensor] = Weight(
                    math.prod(_shape(graph.tensors[tensor])), _stored_bytes(graph, tensor)
                )
        operators.append(
            Operator(
                name=graph.name(operator.outputs[0]),
                kind=operator.name,
                reads=tuple(t for t in dict.fromkeys(operator.inputs) if not graph.is_constant(t)),
                writes=operator.outputs,
                weights=tuple(t for t in constants if t in weights),
                macs=counter.macs(0, number),
            )
        )
    return Layers(
        inputs=tuple(_end(graph, t) for t in graph.inputs),
        outputs=tuple(_end(graph, t) for t in graph.outputs),
        operators=tuple(operators),
        nbytes={t: _nbytes(graph.tensors[t]) for t in range(len(graph.tensors))},
        kept=frozenset(t for t in range(len(graph.tensors)) if graph.is_variable(t)),
        weights=weights,
        cuts=tuple(cuts),
        heads=tuple(
            tuple(place[i] for i in bits(_head(graph, _numbers(cut))) if i in place) for cut in cuts
        ),
        channels_last=True,
    )


def open_observed(model: TFLiteGraph, cuts: Sequence[Cut]) -> Model:
    """As `layers.open_observed`, for a TFLite model."""
    graph = model.graph
    sent = [number for cut in cuts for number in _numbers(cut)]
    # A tensor is an output once, though two cuts may send it.
    outputs = list(dict.fromkeys(sent))
    return open_model(extract(graph, _head(graph, outputs), graph.inputs, outputs))


def _numbers(cut: Cut) -> list[int]:
    return [tensor.number for tensor in cut.tensors]


def _head(graph: Graph, tensors: Sequence[int]) -> int:
    operators = 0
    for tensor in tensors:
        operators |= graph.head(tensor)
    return operators


class _Counter:
    """Counts the products of operators, of any subgraph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._subgraphs = graph.tree.subgraphs

    def macs(self, subgraph: int, number: int) -> int | None:
        """Of one operator."""
        operator = self._subgraphs[subgraph].operators[number]
        kind = self._graph.operator_names[operator.opcodeIndex]
        inside = [
            self._of_subgraph(called)
            for reference in self._graph.references(operator)
            for called in reference.subgraphs
            if called >= 0
        ]
        if inside:
            return _of_alternatives(kind, inside)
        rule = _RULES.get(kind)
        if rule is None and kind not in _RECURRENT:
            unknown = kind.startswith(("CUSTOM", "OPERATOR")) and kind not in _WITHOUT_PRODUCTS
            return None if unknown or kind in _UNCOUNTED else 0
        tensors = self._subgraphs[subgraph].tensors
        inputs = [None if t < 0 else tensors[t] for t in operator.inputs]
        output = tensors[operator.outputs[0]]
        if any(tensor is not None and _is_vague(tensor) for tensor in (*inputs, output)):
            return None
        if rule is None:
            weights = [t for t in operator.inputs[1:] if self._is_constant(subgraph, t)]
            return _recurrent(inputs[0], [tensors[t] for t in weights])
        return rule(inputs, output, operator.builtinOptions)

    def _of_subgraph(self, number: int) -> int | None:
        operators = self._subgraphs[number].operators or []
        return total(self.macs(number, i) for i in range(len(operators)))

    def _is_constant(self, subgraph: int, tensor: int) -> bool:
        if tensor < 0 or subgraph == 0:
            return tensor >= 0 and self._graph.is_constant(tensor)
        buffer = self._subgraphs[subgraph].tensors[tensor].buffer
        return self._graph.tree.buffers[buffer].data is not None


def _of_alternatives(kind: str, counts: Sequence[int | None]) -> int | None:
    """Of an operator that runs subgraphs: one of them, or some who knows how often."""
    if all(count == 0 for count in counts):
        return 0
    once = kind in ("IF", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE")
    return counts[0] if once and len(set(counts)) == 1 else None


def _convolution(inputs: Sequence[Any], output: Any, _: Any) -> int:
    """Each output takes all of the filter but its first dimension, that of the outputs."""
    return _elements(output) * math.prod(_shape(inputs[1])[1:])


def _depthwise(inputs: Sequence[Any], output: Any, _: Any) -> int:
    """Each output takes the rows and columns of the filter, [1, rows, columns, outputs]."""
    return _elements(output) * math.prod(_shape(inputs[1])[1:3])


def _convolution_3d(inputs: Sequence[Any], output: Any, _: Any) -> int:
    """Each output takes all of the filter but its last dimension, that of the outputs."""
    return _elements(output) * math.prod(_shape(inputs[1])[:-1])


def _transposed(inputs: Sequence[Any], _: Any, __: Any) -> int:
    """Each input, which comes third, takes all of the filter but its last dimension, its own."""
    return _elements(inputs[2]) * math.prod(_shape(inputs[1])[:-1])


def _fully_connected(inputs: Sequence[Any], output: Any, _: Any) -> int:
    return _elements(output) * _shape(inputs[1])[-1]


def _batch_matmul(inputs: Sequence[Any], output: Any, options: Any) -> int:
    return _elements(output) * _shape(inputs[0])[-2 if options.adjX else -1]


def _recurrent(given: Any, weights: Sequence[Any]) -> int:
    """Each step takes every matrix of weights once; biases and peepholes are vectors."""
    steps = _elements(given) // max(_shape(given)[-1], 1)
    return steps * sum(_elements(tensor) for tensor in weights if len(_shape(tensor)) == 2)


_RULES = {
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _convolution,
    "CONV_3D": _convolution_3d,
    "CONV_3D_TRANSPOSE": _transposed,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transposed,
}


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def _elements(tensor: Any) -> int:
    return math.prod(_shape(tensor))


def _is_vague(tensor: Any) -> bool:
    """Whether more than the batch, for which files give 1, is free."""
    free = tensor.shapeSignature
    return free is not None and any(size < 0 for size in free[1:])


def _nbytes(tensor: Any) -> int | None:
    if _is_vague(tensor) or tensor.type not in (*DTYPES, _INT4):
        return None
    elements = _elements(tensor)
    if tensor.type == _INT4:
        return (elements + 1) // 2
    return elements * np.dtype(DTYPES[tensor.type]).itemsize


def _end(graph: Graph, tensor: int) -> End:
    stored = graph.tensors[tensor]
    return End(graph.name(tensor), _shape(stored), DTYPES.get(stored.type, "other"))


def _is_weight(tensor: Any) -> bool:
    scaled = tensor.quantization is not None and tensor.quantization.scale is not None
    return scaled or DTYPES.get(tensor.type, "int4") not in _WHOLE_NUMBERS


def _stored_bytes(graph: Graph, tensor: int) -> int:
    """Of a constant, or of those that it is computed from."""
    if tensor not in graph.producer:
        data = graph.tree.buffers[graph.tensors[tensor].buffer].data
        return 0 if data is None else len(data)
    return sum(
        _stored_bytes(graph, read)
        for read in graph.operators[graph.producer[tensor]].inputs
        if graph.is_constant(read)
    )
