"""The graph of an ONNX model: which nodes a tensor needs, and what a cut would send.

Sets of nodes are held as bits of one int: a union of ancestors is then one `|`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pysplitcodec.errors import ModelError
from pysplitcodec.splitting.model_graph import bits
from pysplitcodec.splitting.onnx_file import bodies

# Nodes of other domains may keep state or draw random numbers: they are never run twice.
_KNOWN_DOMAINS = frozenset(["", "ai.onnx", "ai.onnx.ml", "com.microsoft"])
_RANDOM = frozenset(
    [
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Sampling",
    ]
)


class Node(NamedTuple):
    """What the graph needs to know of one node.

    inputs: with what graphs inside it take from outside; without optional ones that are absent.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Graph:
    """The main graph of a checked `ModelProto`, with the ancestors of its nodes worked out."""

    def __init__(self, model: Any) -> None:
        self.model = model
        graph = model.graph
        self.functions = {function_key(function): function for function in model.functions}
        self.initialisers = {t.name: t for t in graph.initializer}
        self.initialisers.update((t.values.name, t) for t in graph.sparse_initializer)
        # What has a default value is no input that a caller has to give.
        self.inputs = tuple(i.name for i in graph.input if i.name not in self.initialisers)
        self.outputs = tuple(output.name for output in graph.output)
        self.nodes = [_node(node) for node in graph.node]
        self.producer = {t: i for i, node in enumerate(self.nodes) for t in node.outputs}
        # Number of every tensor, see `Tensor.number`.
        tensors = dict.fromkeys((*self.inputs, *self.producer, *self.initialisers))
        self.numbers = {t: i for i, t in enumerate(tensors)}

        # The caller, who takes the outputs, counts as one more node, behind the last.
        caller = 1 << len(self.nodes)
        self._consumers = dict.fromkeys(self.numbers, 0)
        for number, node in enumerate(self.nodes):
            for tensor in node.inputs:
                self._check(tensor, number)
                self._consumers[tensor] |= 1 << number
        for tensor in self.outputs:
            self._check(tensor, len(self.nodes))
            self._consumers[tensor] |= caller
        self._caller = caller
        self._find_ancestors()

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor has the same value in every run."""
        if tensor in self.inputs:
            return False
        producer = self.producer.get(tensor)
        return producer is None or bool(self._constant >> producer & 1)

    def head(self, tensors: Iterable[str]) -> int:
        """The nodes that `tensors` need."""
        nodes = 0
        for tensor in tensors:
            if tensor in self.producer:
                nodes |= self._ancestors[self.producer[tensor]]
        return nodes

    def tail(self, head: int) -> int:
        """The nodes left to do after `head`, and what they need of constant nodes."""
        rest = self._live & ~head & ~self._constant
        read = [tensor for number in bits(rest) for tensor in self.nodes[number].inputs]
        return rest | self.head(t for t in (*read, *self.outputs) if self.is_constant(t))

    def crossing(self, head: int) -> list[str]:
        """The tensors, in graph order, that have to be sent when `head` is cut off.

        Constants are not among them: each side gets its own copy, also of what constant nodes
        (such as Constant, or the dequantisation of weights) compute.
        """
        rest = self._live & ~head & ~self._constant | self._caller
        given = [t for t in self.inputs if self._consumers[t] & rest]
        computed = [
            tensor
            for number in bits(head & ~self._constant)
            for tensor in self.nodes[number].outputs
            if self._consumers[tensor] & rest
        ]
        return given + computed

    def reads_input(self, head: int) -> bool:
        """Whether anything in `head` depends on an input of the model."""
        return any(self._consumers[tensor] & head for tensor in self.inputs)

    def readers(self, tensor: str) -> Iterator[int]:
        """The numbers of the nodes that read `tensor`."""
        yield from bits(self._consumers[tensor] & ~self._caller)

    def single_cuts(self) -> list[str]:
        """The tensors that cross alone where the graph is cut at them, in graph order.

        Asking `crossing` of each tensor takes the square of the graph's size.  But where all nodes
        lie on paths from inputs to outputs, those tensors are cuts over which, in graph order,
        nothing jumps: every path then steps on them.
        """
        active = self._live & ~self._constant
        users = active | self._caller
        # Number of the last reader, counted from 1; 0 if there is none.
        last = {t: (readers & users).bit_length() for t, readers in self._consumers.items()}
        furthest = max((last[tensor] for tensor in self.inputs), default=0)
        found = []
        for number in bits(active & self._varying):
            read = [t for t in self.nodes[number].outputs if last[t]]
            # Nodes that depend on no input, such as random ones, are on no such path.
            if (
                furthest <= number + 1
                and len(read) == 1
                and read[0] not in self.outputs
                and (not active & ~self._varying or self.crossing(self.head(read)) == read)
            ):
                found += read
            furthest = max((furthest, *(last[tensor] for tensor in read)))
        return found

    def _check(self, tensor: str, reader: int) -> None:
        """Not all versions of the checker look into what graphs inside a node read."""
        if tensor not in self._consumers or self.producer.get(tensor, -1) >= reader:
            raise ModelError(
                f"the ONNX model is not valid: {tensor!r} is read before anything computes it"
            )

    def _find_ancestors(self) -> None:
        self._ancestors: list[int] = []
        self._constant = 0
        # Nodes that depend on an input of the model.
        self._varying = 0
        for number, node in enumerate(self.nodes):
            self._ancestors.append(self.head(node.inputs) | 1 << number)
            if any(t in self.inputs for t in node.inputs) or (
                self._ancestors[number] & self._varying
            ):
                self._varying |= 1 << number
            elif all(map(self.is_constant, node.inputs)) and self._repeatable(
                self.model.graph.node[number]
            ):
                self._constant |= 1 << number
        self._live = self.head(self.outputs)

    def _repeatable(self, node: Any) -> bool:
        """Whether a node gives the same on both sides of a cut."""
        function = self.functions.get(function_key(node))
        if function is not None:
            return all(map(self._repeatable, function.node))
        return (
            node.domain in _KNOWN_DOMAINS
            and node.op_type not in _RANDOM
            and all(self._repeatable(inner) for body in bodies(node) for inner in body.node)
        )


def function_key(called: Any) -> tuple[str, str, str]:
    """What a node and the local function that it calls have in common."""
    name = called.op_type if hasattr(called, "op_type") else called.name
    return ("" if called.domain == "ai.onnx" else called.domain, name, called.overload)


def read_by(node: Any) -> set[str]:
    """The tensors that a node takes, with what graphs inside it take from outside."""
    read = set(node.input)
    for body in bodies(node):
        inside = {t.name for t in (*body.input, *body.initializer)}
        inside.update(t.values.name for t in body.sparse_initializer)
        taken = {output.name for output in body.output}
        for inner in body.node:
            taken |= read_by(inner)
            inside.update(inner.output)
        read |= taken - inside
    return read - {""}


def _node(node: Any) -> Node:
    custom = node.domain not in ("", "ai.onnx")
    names = {*read_by(node), *node.output}
    # Some versions of protobuf give bytes where a file has no text.
    if not all(isinstance(name, str) for name in names):
        raise ModelError("the ONNX model is corrupt: it has names that are no text")
    return Node(
        name=f"{node.domain}::{node.op_type}" if custom else node.op_type,
        inputs=tuple(sorted(read_by(node))),
        outputs=tuple(t for t in node.output if t),
    )
