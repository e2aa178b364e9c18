"""Cutting a TFLite model in two at one tensor, or at several.

The head holds the operators that the tensor needs and the tail all others, so that tail(head(x))
computes what the whole model computes, operator by operator.  The halves are complete TFLite
files: weights used on both sides are in both, and nothing else is in either.  Weights behind the
flatbuffer, as large models have them, are brought into it.

Signatures of subgraph 0 keep the names of their own inputs in the head and of their outputs in the
tail; what is sent has the tensors' names in both.  Of TFLITE_METADATA the head keeps what describes
the inputs and the tail what describes the outputs; files behind the flatbuffer go where they are
referred to, such as labels with the tail, and files that nothing refers to go with both.  Other
metadata are kept in both.  Custom operators are kept as they are, and taken to have no state.

Not carried over: signatures of other subgraphs, and those subgraphs themselves unless an operator
such as WHILE runs them; TFLITE_METADATA of several subgraphs or of an unknown form; metadata with
numbers of tensors or operators, which are others in the halves (a plan of memory, control
dependencies, places in source code).  Operators that no output needs are dropped.

Refused, with the reason: state outside the graph (variables by name, hash tables), variables that
both halves would use, weights in separate files, weights compressed for TensorFlow Lite Micro.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pysplitcodec.runtime import ModelSource
from pysplitcodec.splitting.cuts import Tensor, short
from pysplitcodec.splitting.model_graph import ModelGraph
from pysplitcodec.splitting.tflite_extract import extract
from pysplitcodec.splitting.tflite_file import read_model
from pysplitcodec.splitting.tflite_graph import Graph

# TensorType of the schema -> numpy.  Tensors of other types (strings, resources, 4-bit integers)
# are no arrays of numbers and cannot be sent.
DTYPES = {
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


class TFLiteGraph(ModelGraph[bytes]):
    """A TFLite model (path or bytes) to be cut.

    Raises ModelError if `model` is not a sound TFLite model, SplitError if it is of a kind that
    cannot be split at all, MissingDependencyError without the extra "tflite".
    """

    def __init__(self, model: ModelSource) -> None:
        super().__init__()
        self.graph = Graph(read_model(model))

    def halves(self, sent: Sequence[int]) -> tuple[bytes, bytes]:
        """As `ModelGraph.halves`."""
        head = self._head(sent)
        return (
            extract(self.graph, head, self.graph.inputs, sent),
            extract(self.graph, self.graph.tail(head), sent, self.graph.outputs),
        )

    def _candidates(self, tensors: int) -> Iterable[int]:
        return (tensor for operator in self.graph.operators for tensor in operator.outputs)

    def _find(self, name: str) -> list[int]:
        return [t for t in range(len(self.graph.tensors)) if self.graph.name(t) == name]

    def _name(self, tensor: int) -> str:
        return self.graph.name(tensor)

    def _after(self, tensor: int) -> str:
        return self.graph.operators[self.graph.producer[tensor]].name

    def _head(self, tensors: Iterable[int]) -> int:
        head = 0
        for tensor in tensors:
            head |= self.graph.head(tensor)
        return head

    def _crossing(self, head: int) -> list[int]:
        return list(self.graph.crossing(head))

    def _never(self, tensor: int) -> str | None:
        name = short(self.graph.name(tensor))
        if tensor in self.graph.inputs:
            return f"{name} is an input of the model: the head would be empty"
        if tensor in self.graph.outputs:
            return f"{name} is an output of the model"
        graph = self.graph
        constant = graph.is_variable(tensor) or graph.is_constant(tensor)
        if constant or not graph.reads_input(graph.head(tensor)):
            return f"{name} does not depend on the model's input"
        return None

    def _shared_state(self, at: str, crossing: Sequence[int]) -> str | None:
        for tensor in crossing:
            if self.graph.is_variable(tensor):
                return (
                    f"cutting at {at} would part the users of the variable "
                    f"{short(self.graph.name(tensor))}, which keeps its value from one run to the "
                    "next"
                )
        return None

    def _tensors(self, numbers: Iterable[int]) -> dict[int, Tensor]:
        found = {}
        for number in numbers:
            stored = self.graph.tensors[number]
            if stored.type in DTYPES:
                shape = () if stored.shape is None else tuple(int(size) for size in stored.shape)
                name, dtype = self.graph.name(number), DTYPES[stored.type]
                found[number] = Tensor(
                    number, name, shape, dtype, *_quantisation(stored.quantization)
                )
        return found


def _quantisation(stored: Any) -> tuple[float | None, int | None]:
    if stored is None or stored.scale is None or len(stored.scale) != 1:
        return None, None
    zero_point = 0 if stored.zeroPoint is None or not len(stored.zeroPoint) else stored.zeroPoint[0]
    return float(stored.scale[0]), int(zero_point)
