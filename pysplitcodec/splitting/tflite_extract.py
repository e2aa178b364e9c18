"""Writing part of a TFLite model as a model of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from pysplitcodec.splitting.model_graph import bits
from pysplitcodec.splitting.tflite_file import AlignedBuffer, schema, write_model
from pysplitcodec.splitting.tflite_graph import Graph
from pysplitcodec.splitting.tflite_metadata import INPUTS, OUTPUTS, without

# Metadata that number what is renumbered here, or tell where the weights were.
_DROPPED_METADATA = frozenset(
    [
        b"OfflineMemoryAllocation",
        b"buffer_location",
        b"debug_metadata",
        b"model_control_dependencies",
    ]
)


def extract(graph: Graph, operators: int, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """Write `operators` (bits) of subgraph 0 as a TFLite model from `inputs` to `outputs`.

    One of the two are the whole model's.  The new model holds nothing that its operators do not
    use: tensors, weights, operator codes and other subgraphs are left out and the rest renumbered.
    """
    return _Extraction(graph, inputs, outputs).run(operators)


class _Extraction:
    def __init__(self, graph: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        self._graph = graph
        self._old = graph.tree
        self._inputs, self._outputs = inputs, outputs
        self._is_head = list(inputs) == list(graph.inputs)
        self._codes: dict[int, int] = {}
        self._subgraphs = {0: 0}
        # Old number -> new number.  Buffer 0 is the empty one, in every model.
        self._buffers = {0: 0}
        self._new_buffers = [AlignedBuffer(None)]

    def run(self, operators: int) -> bytes:
        new = schema().ModelT()
        new.version = self._old.version
        new.description = self._old.description
        new.subgraphs = [self._main(operators)]
        # The list of subgraphs grows while their operators are copied.
        while len(new.subgraphs) < len(self._subgraphs):
            number = list(self._subgraphs)[len(new.subgraphs)]
            new.subgraphs.append(self._whole(number))
        new.metadata, new.associatedFiles = self._metadata()
        new.operatorCodes = [self._old.operatorCodes[old] for old in self._codes]
        new.buffers = self._new_buffers
        new.signatureDefs = self._signatures()
        return write_model(new)

    def _main(self, operators: int) -> Any:
        old = self._old.subgraphs[0]
        kept = [old.operators[number] for number in bits(operators)]
        used = {*self._inputs, *self._outputs}
        for operator in kept:
            for vector in (operator.inputs, operator.outputs, operator.intermediates):
                used.update(() if vector is None else (int(t) for t in vector))
        used.discard(-1)
        self._tensors = {tensor: number for number, tensor in enumerate(sorted(used))}

        new = schema().SubGraphT()
        new.name = old.name
        new.tensors = [self._tensor(old.tensors[tensor]) for tensor in self._tensors]
        new.inputs = self._renumber(self._inputs)
        new.outputs = self._renumber(self._outputs)
        new.operators = []
        for operator in kept:
            operator = self._operator(operator)
            operator.inputs = self._renumber(operator.inputs)
            operator.outputs = self._renumber(operator.outputs)
            operator.intermediates = self._renumber(operator.intermediates)
            new.operators.append(operator)
        return new

    def _whole(self, number: int) -> Any:
        """Subgraph `number`, all of it: only its buffers and operator codes are renumbered."""
        new = copy.copy(self._old.subgraphs[number])
        new.tensors = [self._tensor(tensor) for tensor in new.tensors or []]
        new.operators = [self._operator(operator) for operator in new.operators or []]
        new.debugMetadataIndex = -1
        return new

    def _renumber(self, tensors: Any) -> Any:
        if tensors is None:
            return None
        # -1 stands for an optional tensor that is absent.
        return np.array([self._tensors.get(int(t), -1) for t in tensors], np.int32)

    def _tensor(self, old: Any) -> Any:
        new = copy.copy(old)
        new.buffer = self._buffer(old.buffer)
        return new

    def _buffer(self, old: int) -> int:
        data = self._old.buffers[old].data if self._old.buffers else None
        # Converters give every activation an empty buffer of its own; the shared one will do.
        # A buffer of no bytes is not the same as none: it makes an empty tensor a constant.
        if data is None:
            return 0
        if old not in self._buffers:
            self._buffers[old] = self._new_buffer(np.asarray(data, np.uint8))
        return self._buffers[old]

    def _new_buffer(self, data: np.ndarray[Any, Any]) -> int:
        self._new_buffers.append(AlignedBuffer(data))
        return len(self._new_buffers) - 1

    def _operator(self, old: Any) -> Any:
        new = copy.copy(old)
        new.opcodeIndex = self._codes.setdefault(old.opcodeIndex, len(self._codes))
        new.debugMetadataIndex = -1
        for reference in self._graph.references(old):
            # Copied first, for the other half of the model needs the old numbers.
            options = copy.copy(getattr(new, reference.options))
            setattr(new, reference.options, options)
            numbers = [
                self._subgraphs.setdefault(n, len(self._subgraphs)) if n >= 0 else n
                for n in reference.subgraphs
            ]
            several = reference.field.endswith("Indices")
            setattr(options, reference.field, numbers if several else numbers[0])
        return new

    def _metadata(self) -> tuple[Any, list[Any]]:
        """The entries that hold of this half, and the files that come with them."""
        kept, files = [], self._old.associatedFiles
        buffers = self._old.buffers or []
        for entry in self._old.metadata or []:
            if entry.buffer >= len(buffers) or entry.name in _DROPPED_METADATA:
                continue
            new = copy.copy(entry)
            if entry.name == b"TFLITE_METADATA":
                data = buffers[entry.buffer].data
                other = OUTPUTS if self._is_head else INPUTS
                described = None if data is None else without(bytes(data), other)
                if described is None:
                    continue
                new.buffer = self._new_buffer(np.frombuffer(described.entry, np.uint8))
                gone = described.dropped_files
                files = [file for file in files if file[0].filename.encode() not in gone]
            else:
                new.buffer = self._buffer(entry.buffer)
            kept.append(new)
        return kept or None, files

    def _signatures(self) -> Any:
        """The signatures of subgraph 0: the model's own names, and names of what is sent."""
        kept = []
        for old in self._old.signatureDefs or []:
            if old.subgraphIndex != 0:
                continue
            new = copy.copy(old)
            if self._is_head:
                new.inputs = self._own(old.inputs, self._inputs)
                new.outputs = self._sent(self._outputs)
            else:
                new.inputs = self._sent(self._inputs)
                new.outputs = self._own(old.outputs, self._outputs)
            kept.append(new)
        return kept or None

    def _own(self, old: Any, tensors: Sequence[int]) -> list[Any]:
        """The side of a signature that is as in the whole model."""
        arguments = []
        for entry in old or []:
            if entry.tensorIndex in tensors:
                entry = copy.copy(entry)
                entry.tensorIndex = self._tensors[entry.tensorIndex]
                arguments.append(entry)
        return arguments

    def _sent(self, tensors: Sequence[int]) -> list[Any]:
        """The side of a signature between the halves: in both, tensors have their own names."""
        arguments: list[Any] = []
        for tensor in tensors:
            entry = schema().TensorMapT()
            entry.name = self._graph.name(tensor)
            if any(other.name == entry.name for other in arguments):
                entry.name += f"#{tensor}"
            entry.tensorIndex = self._tensors[tensor]
            arguments.append(entry)
        return arguments
