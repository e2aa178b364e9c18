"""Cutting a TFLite model in two at one tensor.

>>> cuts = list_cuts("model.tflite")                        # doctest: +SKIP
>>> head, tail = split("model.tflite", at=cuts[3])          # doctest: +SKIP

The head holds the operators that the tensor needs and the tail all others, so that tail(head(x))
computes what the whole model computes, operator by operator.  The halves are complete TFLite
files: weights used on both sides are in both, and nothing else is in either.

Not carried over: metadata other than the runtime version and the converter's record (above all
TFLITE_METADATA, which describes the whole model's inputs and outputs), signatures of subgraphs
other than the first, and those subgraphs themselves unless an operator such as WHILE runs them.
Operators that no output needs are dropped.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from pysplitcodec.errors import ArgumentError, SplitError
from pysplitcodec.runtime import ModelSource
from pysplitcodec.split.tflite_extract import extract
from pysplitcodec.split.tflite_file import read_model
from pysplitcodec.split.tflite_graph import Graph

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


@dataclass(frozen=True)
class Cut:
    """A tensor at which a model can be cut so that this tensor alone is sent.

    index: number of the cut, from 0, along the graph.
    tensor: number of the tensor in subgraph 0 of the model.
    name: name of the tensor, or "#7" for tensor 7 if it has none.
    shape: its static shape; a dimension that varies has the value the file gives, usually 1.
    dtype: name of its numpy dtype.
    scale, zero_point: real value = scale * (value - zero_point); None unless the whole tensor is
        quantised with one pair.
    after: the operator that computes it, such as "CONV_2D" or "CUSTOM name".
    operators_before: how many operators the head has.
    """

    index: int
    tensor: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    after: str
    operators_before: int

    @property
    def elements(self) -> int:
        """How many numbers are sent for one run."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the tensor as it is, in bytes."""
        return self.elements * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Split:
    """The two halves of a model, as TFLite files: `head, tail = split(model, at)`."""

    head: bytes
    tail: bytes
    cut: Cut

    def __iter__(self) -> Iterator[bytes]:
        """Give head, then tail."""
        yield self.head
        yield self.tail


At = Union[Cut, int, str]


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
    cut = _find(graph, _cuts(graph), at)
    head = graph.head(cut.tensor)
    return Split(
        head=extract(graph, head, graph.inputs, [cut.tensor]),
        tail=extract(graph, graph.tail(head), [cut.tensor], graph.outputs),
        cut=cut,
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
        operators_before=bin(graph.head(tensor)).count("1"),
    )


def _quantisation(stored: Any) -> tuple[float | None, int | None]:
    if stored is None or stored.scale is None or len(stored.scale) != 1:
        return None, None
    zero_point = 0 if stored.zeroPoint is None or not len(stored.zeroPoint) else stored.zeroPoint[0]
    return float(stored.scale[0]), int(zero_point)


def _obstacle(graph: Graph, tensor: int) -> str | None:
    """Why `graph` cannot be cut at `tensor`, None if it can."""
    name = _short(graph.name(tensor))
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
        variable = _short(graph.name(state[0]))
        return (
            f"cutting at {name} would part the users of the variable {variable}, "
            "which keeps its value from one run to the next"
        )
    if crossing != [tensor]:
        if tensor not in crossing:
            return f"no output of the model needs {name}"
        shown = ", ".join(_short(graph.name(t)) for t in crossing[:5])
        if len(crossing) > 5:
            shown += ", ..."
        return f"cutting at {name} would send {len(crossing)} tensors ({shown})"
    if not graph.reads_input(head):
        return f"{name} does not depend on the model's input"
    return None


def _find(graph: Graph, cuts: list[Cut], at: At) -> Cut:
    if isinstance(at, Cut):
        for cut in cuts:
            if cut.tensor == at.tensor and cut.name == at.name:
                return cut
        raise SplitError(f"the cut at {_short(at.name)} belongs to another model")
    if isinstance(at, str):
        return _find_name(graph, cuts, at)
    try:
        number = operator.index(at)
    except TypeError:
        raise ArgumentError(
            f"at must be a Cut, a cut's number or a tensor's name, not {type(at).__name__}"
        ) from None
    if not 0 <= number < len(cuts):
        raise SplitError(f"there is no cut {number}: {_how_many(cuts)}")
    return cuts[number]


def _find_name(graph: Graph, cuts: list[Cut], name: str) -> Cut:
    found = [cut for cut in cuts if cut.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(str(cut.index) for cut in found)
        raise SplitError(f"several cuts are named {_short(name)}; give a number instead: {numbers}")
    for tensor in range(len(graph.tensors)):
        if graph.name(tensor) == name:
            raise SplitError(f"{_obstacle(graph, tensor)}; {_near(graph, cuts, tensor)}")
    close = difflib.get_close_matches(name, [cut.name for cut in cuts], n=3, cutoff=0.5)
    hint = f"; similar names: {', '.join(map(_short, close))}" if close else ""
    raise SplitError(f"the model has no tensor named {_short(name)}: {_how_many(cuts)}{hint}")


def _how_many(cuts: list[Cut]) -> str:
    if not cuts:
        return "the model cannot be cut at any single tensor"
    if len(cuts) == 1:
        return f"the model has one cut, 0, at {_short(cuts[0].name)}"
    return f"the model has {len(cuts)} cuts, 0 to {len(cuts) - 1}"


def _near(graph: Graph, cuts: list[Cut], tensor: int) -> str:
    """Name the cuts on either side of `tensor`."""
    place = graph.producer.get(tensor, -1)
    before = [cut for cut in cuts if graph.producer[cut.tensor] < place]
    after = [cut for cut in cuts if graph.producer[cut.tensor] > place]
    text = _how_many(cuts)
    if before:
        text += f"; the nearest before it is {before[-1].index}, {_short(before[-1].name)}"
    if after:
        text += f"; the nearest after it is {after[0].index}, {_short(after[0].name)}"
    return text


def _short(name: str) -> str:
    """A name for a message; converters join the names of all that they fused into one."""
    return repr(name if len(name) <= 60 else name[:57] + "...")
