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

from collections.abc import Sequence
from typing import Any

from pysplitcodec.errors import ArgumentError, SplitError
from pysplitcodec.runtime import ModelSource
from pysplitcodec.splitting.cuts import (
    At,
    Cut,
    Obstacle,
    Split,
    crossing_text,
    find,
    short,
    unknown_name,
)
from pysplitcodec.splitting.onnx_extract import extract, value_info
from pysplitcodec.splitting.onnx_file import package, read_model
from pysplitcodec.splitting.onnx_graph import Graph
from pysplitcodec.splitting.onnx_types import Tensor, tensors_of

# What has the scale and zero point of its first input as its second and third.
_QUANTISED_INPUT = ("DequantizeLinear", "QLinear")


def list_cuts(model: ModelSource) -> list[Cut]:
    """As `pysplitcodec.splitting.list_cuts`, for an ONNX model."""
    return _cuts(Graph(read_model(model)))[0]


def split(model: ModelSource, at: At) -> Split:
    """As `pysplitcodec.splitting.split`, for an ONNX model."""
    graph = Graph(read_model(model))
    cuts, tensors = _cuts(graph)
    if isinstance(at, (list, tuple)):
        names = _several(graph, cuts, at)
        tensors = tensors_of(graph, names)
        for name in names:
            if name not in tensors:
                raise SplitError(_unsendable(graph, name))
        sent = tuple(_cut(graph, name, -1, tensors[name]) for name in names)
    else:
        sent = (find(cuts, at, lambda name: _obstacle(graph, name)),)
    head = graph.head(cut.name for cut in sent)
    between = [value_info(cut.name, tensors[cut.name].type) for cut in sent]
    old = graph.model.graph
    return Split(
        head=extract(graph, head, [i for i in old.input if i.name in graph.inputs], between),
        tail=extract(graph, graph.tail(head), between, old.output),
        cuts=sent,
    )


def _cuts(graph: Graph) -> tuple[list[Cut], dict[str, Tensor]]:
    tensors = tensors_of(graph, graph.single_cuts())
    cuts = [_cut(graph, name, index, t) for index, (name, t) in enumerate(tensors.items())]
    return cuts, tensors


def _cut(graph: Graph, name: str, index: int, tensor: Tensor) -> Cut:
    scale, zero_point = _quantisation(graph, name)
    return Cut(
        index=index,
        tensor=graph.numbers[name],
        name=name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=scale,
        zero_point=zero_point,
        after=graph.nodes[graph.producer[name]].name,
        operators_before=_operators(graph, name),
    )


def _operators(graph: Graph, name: str) -> int:
    return bin(graph.head([name])).count("1")


def _several(graph: Graph, cuts: Sequence[Cut], at: Sequence[str]) -> list[str]:
    """`at` in graph order, if these tensors and no others cross where they are computed."""
    if not at or not all(isinstance(name, str) for name in at):
        raise ArgumentError("at must hold the names of the tensors to be sent, as strings")
    for name in at:
        if name not in graph.numbers and name not in graph.initialisers:
            raise unknown_name(cuts, name)
        reason = _never(graph, name)
        if reason:
            raise SplitError(reason)
    crossing = graph.crossing(graph.head(at))
    if set(crossing) - set(at):
        raise SplitError(crossing_text(", ".join(map(short, at)), crossing))
    for name in at:
        if name not in crossing:
            raise SplitError(f"{short(name)} need not be sent: no node after the cut reads it")
    return crossing


def _obstacle(graph: Graph, name: str) -> Obstacle | None:
    """Why `graph` cannot be cut at `name`, which is none of its cuts."""
    if name not in graph.numbers and name not in graph.initialisers:
        return None
    return Obstacle(_reason(graph, name), _operators(graph, name))


def _reason(graph: Graph, name: str) -> str:
    reason = _never(graph, name)
    if reason:
        return reason
    crossing = graph.crossing(graph.head([name]))
    if name not in crossing:
        return f"no output of the model needs {short(name)}"
    if len(crossing) > 1:
        return crossing_text(short(name), crossing)
    return _unsendable(graph, name)


def _never(graph: Graph, name: str) -> str | None:
    """Why no cut has `name` among its tensors, None if one may."""
    if name in graph.inputs:
        return f"{short(name)} is an input of the model: the head would be empty"
    if name in graph.outputs:
        return f"{short(name)} is an output of the model"
    if graph.is_constant(name) or not graph.reads_input(graph.head([name])):
        return f"{short(name)} does not depend on the model's input"
    return None


def _unsendable(graph: Graph, name: str) -> str:
    node = graph.nodes[graph.producer[name]].name
    return (
        f"{short(name)}, which {node} computes, is not an array of numbers of a common type, "
        "or of a type and shape that neither shape inference nor a run can tell"
    )


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
