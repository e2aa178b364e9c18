"""Cutting a TFLite model in two at one tensor.

The head holds the operators that the tensor needs and the tail all others, so that tail(head(x))
computes what the whole model computes, operator by operator.  The halves are complete TFLite
files: weights used on both sides are in both, and nothing else is in either.

Not carried over: metadata other than the runtime version and the converter's record (above all
TFLITE_METADATA, which describes the whole model's inputs and outputs), signatures of subgraphs
other than the first, and those subgraphs themselves unless an operator such as WHILE runs them.
Operators that no output needs are dropped.
"""

from __future__ import annotations

from typing import Any

from pysplitcodec.runtime import ModelSource
from pysplitcodec.splitting.cuts import At, Cut, Obstacle, Split, crossing_text, find, short
from pysplitcodec.splitting.tflite_extract import extract
from pysplitcodec.splitting.tflite_file import read_model
from pysplitcodec.splitting.tflite_graph import Graph

# TensorType of the schema -> numpy.  Tensors of other types (strings, resources, 4-bit integers)
# are no arrays of numbers and cannot be sent.
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float64",
    11: "complex128",
    12: "uint64",
    15: "uint32",
    16: "uint16",
}


def list_cuts(model: ModelSource) -> list[Cut]:
    """Every tensor at which `model` (path or bytes) can be cut, in the order of computation.

    A tensor qualifies when nothing else that depends on the input has to be sent with it. The
    model's own inputs and outputs are left out.  The list may be empty.

    Raises ModelError if `model` is not a sound TFLite model, SplitError if it is of a kind that
    cannot be split at all, MissingDependencyError without the extra "tflite".
    """
    return _cuts(Graph(read_model(model)))


def split(model: ModelSource, at: At) -> Split:
    """Cut `model` (path or bytes) in two at `at`: a Cut, its number, or the tensor's name.

    The head takes the model's inputs and gives the tensor; the tail takes the tensor and gives
    the model's outputs.

    Raises SplitError, which says what is in the way and what could be had instead, if the model
    cannot be cut there; otherwise as `list_cuts`.
    """
    graph = Graph(read_model(model))

    def obstacle(name: str) -> Obstacle | None:
        for tensor in range(len(graph.tensors)):
            if graph.name(tensor) == name:
                return Obstacle(str(_obstacle(graph, tensor)), _operators(graph, tensor))
        return None

    cut = find(_cuts(graph), at, obstacle)
    head = graph.head(cut.tensor)
    return Split(
        head=extract(graph, head, graph.inputs, [cut.tensor]),
        tail=extract(graph, graph.tail(head), [cut.tensor], graph.outputs),
        cuts=(cut,),
    )


def _cuts(graph: Graph) -> list[Cut]:
    cuts: list[Cut] = []
    for number, after in enumerate(graph.operators):
        for tensor in after.outputs:
            if _obstacle(graph, tensor) is None:
                cuts.append(_cut(graph, tensor, len(cuts), graph.operators[number].name))
    return cuts


def _cut(graph: Graph, tensor: int, index: int, after: str) -> Cut:
    stored = graph.tensors[tensor]
    scale, zero_point = _quantisation(stored.quantization)
    return Cut(
        index=index,
        tensor=tensor,
        name=graph.name(tensor),
        shape=() if stored.shape is None else tuple(int(size) for size in stored.shape),
        dtype=_DTYPES[stored.type],
        scale=scale,
        zero_point=zero_point,
        after=after,
        operators_before=_operators(graph, tensor),
    )


def _operators(graph: Graph, tensor: int) -> int:
    return bin(graph.head(tensor)).count("1")


def _quantisation(stored: Any) -> tuple[float | None, int | None]:
    if stored is None or stored.scale is None or len(stored.scale) != 1:
        return None, None
    zero_point = 0 if stored.zeroPoint is None or not len(stored.zeroPoint) else stored.zeroPoint[0]
    return float(stored.scale[0]), int(zero_point)


def _obstacle(graph: Graph, tensor: int) -> str | None:
    """Why `graph` cannot be cut at `tensor`, None if it can."""
    name = short(graph.name(tensor))
    if tensor in graph.inputs:
        return f"{name} is an input of the model: the head would be empty"
    if tensor in graph.outputs:
        return f"{name} is an output of the model"
    if graph.is_variable(tensor) or graph.is_constant(tensor):
        return f"{name} does not depend on the model's input"
    if graph.tensors[tensor].type not in _DTYPES:
        return f"{name} is not an array of numbers of a common type"
    head = graph.head(tensor)
    crossing = list(graph.crossing(head))
    state = [t for t in crossing if graph.is_variable(t)]
    if state:
        variable = short(graph.name(state[0]))
        return (
            f"cutting at {name} would part the users of the variable {variable}, "
            "which keeps its value from one run to the next"
        )
    if crossing != [tensor]:
        if tensor not in crossing:
            return f"no output of the model needs {name}"
        return crossing_text(name, [graph.name(t) for t in crossing])
    if not graph.reads_input(head):
        return f"{name} does not depend on the model's input"
    return None
