"""The graph of a TFLite model: which operators a tensor needs, and what a cut would send.

Sets of operators are held as bits of one int: a union of ancestors is then one `|`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pysplitcodec.errors import ModelError, SplitError
from pysplitcodec.splitting.model_graph import bits
from pysplitcodec.splitting.tflite_file import schema, tensor_name

# State of these lives in the interpreter under a name, not in a tensor, so that the two halves
# of a split model would each have their own.
_NAMED_STATE = frozenset(
    [
        "CALL_ONCE",
        "VAR_HANDLE",
        "READ_VARIABLE",
        "ASSIGN_VARIABLE",
        "HASHTABLE",
        "HASHTABLE_FIND",
        "HASHTABLE_IMPORT",
        "HASHTABLE_SIZE",
    ]
)
_CALLS_OF_UNKNOWN_SUBGRAPHS = frozenset(["CALL", "STABLEHLO_CUSTOM_CALL"])
_RANDOM = frozenset(
    ["RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "STABLEHLO_RNG_BIT_GENERATOR"]
)
_CUSTOM = 32
# The type of handles of such state; TensorFlow's own operators, which are custom ones, have them.
_RESOURCE = 13


class Operator(NamedTuple):
    """What the graph needs to know of one operator; tensors are indices, -1 is left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Reference(NamedTuple):
    """A field of an operator's options that holds the number of another subgraph."""

    options: str
    field: str
    subgraphs: tuple[int, ...]


class Graph:
    """Subgraph 0 of a model, checked and with its ancestors worked out.

    tree: a `ModelT`.  Raises ModelError when its numbers make no sense, SplitError when it is
    sound but of a kind that cannot be split.
    """

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        if not tree.subgraphs:
            raise ModelError("the TFLite model holds no subgraph")
        self.operator_names = _operator_names(tree)
        for number in range(len(tree.subgraphs)):
            self._check(number)

        main = tree.subgraphs[0]
        self.tensors: list[Any] = main.tensors or []
        self.inputs = _numbers(main.inputs)
        self.outputs = _numbers(main.outputs)
        self.operators = [self._operator(o) for o in main.operators or []]
        self._check_kinds()

        self.producer = self._producers()
        # The caller, who takes the outputs, counts as one more operator, behind the last.
        self._caller = 1 << len(self.operators)
        self.consumers = [0] * len(self.tensors)
        for number, operator in enumerate(self.operators):
            for tensor in operator.inputs:
                self.consumers[tensor] |= 1 << number
        for tensor in self.outputs:
            self.consumers[tensor] |= self._caller
        self._find_ancestors()
        self._activations = self._find_activations()

    def name(self, tensor: int) -> str:
        """Name of a tensor, by its number where it has none."""
        return tensor_name(self.tensors[tensor]) or f"#{tensor}"

    def is_variable(self, tensor: int) -> bool:
        """Whether a tensor keeps its value from one run to the next."""
        return bool(self.tensors[tensor].isVariable)

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor has the same value in every run."""
        if self.is_variable(tensor) or tensor in self.inputs:
            return False
        producer = self.producer.get(tensor)
        return producer is None or bool(self._constant >> producer & 1)

    def head(self, tensor: int) -> int:
        """The operators that `tensor` needs."""
        producer = self.producer.get(tensor)
        return 0 if producer is None else self._ancestors[producer]

    def tail(self, head: int) -> int:
        """The operators left to do after `head`, and what they need of constant operators."""
        rest = self._rest(head)
        needed = rest
        read = [tensor for number in bits(rest) for tensor in self.operators[number].inputs]
        for tensor in (*read, *self.outputs):
            if self.is_constant(tensor):
                needed |= self.head(tensor)
        return needed

    def crossing(self, head: int) -> Iterator[int]:
        """The tensors, in graph order, that have to be sent when `head` is cut off.

        Constants are not among them: each side gets its own copy, also of what constant
        operators (such as the dequantisation of float16 weights) compute.
        """
        rest = self._rest(head) | self._caller
        for tensor, source in self._activations:
            if self.consumers[tensor] & rest and (source is None or source & head):
                yield tensor

    def reads_input(self, head: int) -> bool:
        """Whether anything in `head` depends on an input of the model."""
        return any(self.consumers[tensor] & head for tensor in self.inputs)

    def references(self, operator: Any) -> list[Reference]:
        """The other subgraphs that an `OperatorT` runs, such as the body of a WHILE."""
        found = []
        for name in ("builtinOptions", "builtinOptions2"):
            options = getattr(operator, name)
            for field, value in vars(options).items() if options is not None else ():
                if field.endswith("SubgraphIndex"):
                    found.append(Reference(name, field, (int(value),)))
                elif field.endswith("SubgraphIndices"):
                    found.append(Reference(name, field, _numbers(value)))
        # Optional bodies are written as -1.
        return [r for r in found if any(number >= 0 for number in r.subgraphs)]

    def _rest(self, head: int) -> int:
        return self._live & ~head & ~self._constant

    def _operator(self, operator: Any) -> Operator:
        return Operator(
            self.operator_names[operator.opcodeIndex],
            tuple(t for t in _numbers(operator.inputs) if t >= 0),
            tuple(t for t in _numbers(operator.outputs) if t >= 0),
        )

    def _check(self, number: int) -> None:
        """Every index in a subgraph must point at something."""
        subgraph, buffers = self.tree.subgraphs[number], len(self.tree.buffers or [])
        count = len(subgraph.tensors or [])
        for tensor in subgraph.tensors or []:
            if tensor.buffer >= max(buffers, 1):
                raise ModelError(
                    f"the TFLite model is corrupt: tensor {tensor_name(tensor)!r} refers to "
                    f"buffer {tensor.buffer} of {buffers}"
                )
        lists = [("subgraph", subgraph.inputs, 0), ("subgraph", subgraph.outputs, 0)]
        for operator in subgraph.operators or []:
            if operator.opcodeIndex >= len(self.operator_names):
                raise ModelError(
                    "the TFLite model is corrupt: an operator refers to operator code "
                    f"{operator.opcodeIndex} of {len(self.operator_names)}"
                )
            name = self.operator_names[operator.opcodeIndex]
            lists += [(name, operator.inputs, -1), (name, operator.outputs, -1)]
            lists += [(name, operator.intermediates, -1)]
            for reference in self.references(operator):
                if max(reference.subgraphs) >= len(self.tree.subgraphs):
                    raise ModelError(
                        f"the TFLite model is corrupt: operator {name} refers to subgraph "
                        f"{max(reference.subgraphs)} of {len(self.tree.subgraphs)}"
                    )
        for owner, values, lowest in lists:
            for value in _numbers(values):
                if not lowest <= value < count:
                    raise ModelError(
                        f"the TFLite model is corrupt: {owner} of subgraph {number} refers to "
                        f"tensor {value} of {count}"
                    )

    def _check_kinds(self) -> None:
        if any(entry.name == b"COMPRESSION_METADATA" for entry in self.tree.metadata or []):
            raise SplitError(
                "the model cannot be split: its weights are compressed for TensorFlow Lite Micro, "
                "in metadata that number the tensors; split the model before they are"
            )
        for number, subgraph in enumerate(self.tree.subgraphs):
            for operator in subgraph.operators or []:
                name = self.operator_names[operator.opcodeIndex]
                touched = (*_numbers(operator.inputs), *_numbers(operator.outputs))
                handles = [t for t in touched if t >= 0 and subgraph.tensors[t].type == _RESOURCE]
                if name in _NAMED_STATE or handles:
                    raise SplitError(
                        f"the model cannot be split: its {name} operator keeps state outside "
                        "the graph, which head and tail could not share"
                    )
                if name in _CALLS_OF_UNKNOWN_SUBGRAPHS:
                    raise SplitError(
                        f"the model cannot be split: operators of the kind {name} are not supported"
                    )
            if number and any(t.isVariable for t in subgraph.tensors or []):
                raise SplitError(
                    f"the model cannot be split: subgraph {number} keeps state from one run "
                    "to the next"
                )

    def _producers(self) -> dict[int, int]:
        producers: dict[int, int] = {}
        written = {t for operator in self.operators for t in operator.outputs}
        for number, operator in enumerate(self.operators):
            for tensor in operator.inputs:
                if tensor in written and tensor not in producers:
                    raise ModelError(
                        f"the TFLite model is corrupt: operator {number} ({operator.name}) "
                        f"reads {self.name(tensor)!r} before anything writes it"
                    )
            for tensor in operator.outputs:
                if tensor in producers or tensor in self.inputs:
                    raise ModelError(
                        f"the TFLite model is corrupt: {self.name(tensor)!r} is written twice"
                    )
                producers[tensor] = number
        return producers

    def _find_ancestors(self) -> None:
        self._ancestors: list[int] = []
        self._constant = 0
        live = 0
        for number, operator in enumerate(self.operators):
            own = 1 << number
            for tensor in operator.inputs:
                own |= self.head(tensor)
            self._ancestors.append(own)
            repeatable = operator.name not in _RANDOM and not operator.name.startswith("CUSTOM")
            calls = self.references(self.tree.subgraphs[0].operators[number])
            if repeatable and not calls and all(map(self.is_constant, operator.inputs)):
                self._constant |= 1 << number
            # An operator that updates a variable acts on later runs, read or not in this one.
            if any(map(self.is_variable, operator.inputs)):
                live |= own
        for tensor in self.outputs:
            live |= self.head(tensor)
        self._live = live

    def _find_activations(self) -> list[tuple[int, int | None]]:
        """What is not constant, in the order of computation, each with where it comes from.

        That is its producer, None for an input of the model; for a variable, which any of its
        users may write, all of them.
        """
        found: list[tuple[int, int | None]] = []
        for tensor in sorted(range(len(self.tensors)), key=lambda t: (self.producer.get(t, -1), t)):
            if self.is_variable(tensor):
                found.append((tensor, self.consumers[tensor]))
            elif not self.is_constant(tensor):
                producer = self.producer.get(tensor)
                found.append((tensor, None if producer is None else 1 << producer))
        return found


def _numbers(vector: Any) -> tuple[int, ...]:
    """A vector of the schema, None when absent, as plain ints."""
    return () if vector is None else tuple(int(value) for value in vector)


def _operator_names(tree: Any) -> list[str]:
    codes = {
        value: name
        for name, value in vars(schema().BuiltinOperator).items()
        if not name.startswith("_")
    }
    names = []
    for code in tree.operatorCodes or []:
        # Files from before the code outgrew one byte have it in the older field only.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        if number == _CUSTOM:
            custom = (code.customCode or b"").decode("utf-8", "replace")
            names.append(f"CUSTOM {custom}".rstrip())
        else:
            names.append(codes.get(number, f"OPERATOR {number}"))
    return names
