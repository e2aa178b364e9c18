"""What a model computes, operator by operator, whatever its format: for choosing where to cut it.

One MAC is a multiplication and an addition, two FLOPs.  Counted are the products of convolutions,
matrix products, recurrent layers and attention, also those with padding; additions, pooling,
normalisation and activations are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from pysplitcodec.runtime import Runner
from pysplitcodec.splitting.cuts import Cut
from pysplitcodec.splitting.model_graph import ModelGraph
from pysplitcodec.splitting.onnx_cuts import OnnxGraph
from pysplitcodec.splitting.tflite import TFLiteGraph


class Operator(NamedTuple):
    """An operator that depends on the model's input.

    name: of its first output.  kind: as `Cut.after`.  reads, writes: numbers of the tensors that it
    takes and gives, see `Tensor.number`; weights: of the constants that it takes, as far as they
    are in `Layers.weights`.  macs: None if they depend on what is not known before a run, or the
    kind is not known.
    """

    name: str
    kind: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    weights: tuple[int, ...]
    macs: int | None


class Weight(NamedTuple):
    """A constant: how many numbers it has, and bytes of the file.

    What constant operators compute of stored constants, such as the dequantisation of weights, has
    the numbers of the result and the bytes of what is stored.
    """

    elements: int
    nbytes: int


class End(NamedTuple):
    """An input or output of a model."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Layers:
    """The operators of a model and where it can be cut.

    operators: in the order in which they run, but for those whose result is constant or not
        needed.
    nbytes: size of every tensor that is computed or given, by number; None if it is not known.
    kept: numbers of tensors that keep their value from one run to the next.
    weights: constants by number, without shapes and axes.
    cuts: some of `ModelGraph.list_cuts`; heads: the places of the operators before each of them.
    channels_last: whether features have their channels in the last dimension.
    """

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    operators: tuple[Operator, ...]
    nbytes: Mapping[int, int | None]
    kept: frozenset[int]
    weights: Mapping[int, Weight]
    cuts: tuple[Cut, ...]
    heads: tuple[tuple[int, ...], ...]
    channels_last: bool

    def tail(self, cut: int) -> tuple[int, ...]:
        """The operators behind a cut, given by its place in `cuts`."""
        head = set(self.heads[cut])
        return tuple(i for i in range(len(self.operators)) if i not in head)

    def macs(self, operators: Iterable[int]) -> int | None:
        """Multiply-accumulates of some operators; None if not known of all of them."""
        return total(self.operators[i].macs for i in operators)

    def params(self, operators: Iterable[int]) -> int:
        """How many numbers are in the constants that some operators read, each counted once."""
        return sum(self.weights[key].elements for key in self._read(operators))

    def weight_bytes(self, operators: Iterable[int]) -> int:
        """How many bytes of the file these constants are."""
        return sum(self.weights[key].nbytes for key in self._read(operators))

    def sources(self, operator: int) -> list[int]:
        """The operators whose results an operator reads; -1 stands for the model's inputs."""
        return sorted({self._writers.get(key, -1) for key in self.operators[operator].reads})

    def output_bytes(self, operator: int) -> int | None:
        """Size of what an operator gives; None if it is not known."""
        return total(self.nbytes[key] for key in self.operators[operator].writes)

    def head_ram_bytes(self, cut: int) -> int | None:
        """Most bytes of tensors alive at once while the head runs, operator by operator.

        Alive are an operator's inputs and outputs, what a later operator of the head reads, the
        tensors to be sent once they are there, and what is kept from run to run.  No operator works
        in place, and none has scratch memory.  None if a size is not known.
        """
        head = self.heads[cut]
        # Position of the last operator that reads a tensor: it is alive until then.
        last = {key: i for i in head for key in self.operators[i].reads}
        last.update((tensor.number, len(self.operators)) for tensor in self.cuts[cut].tensors)
        last.update((key, len(self.operators)) for key in last.keys() & self.kept)
        computed = {key for i in head for key in self.operators[i].writes}
        alive = last.keys() - computed  # what is given
        peaks: list[int | None] = []
        for i in head:
            alive |= set(self.operators[i].writes)
            peaks.append(total(self.nbytes[key] for key in alive))
            alive = {key for key in alive if last.get(key, i) > i}
        return None if None in peaks else max(filter(None, peaks), default=0)

    @cached_property
    def _writers(self) -> dict[int, int]:
        return {key: i for i, operator in enumerate(self.operators) for key in operator.writes}

    def _read(self, operators: Iterable[int]) -> set[int]:
        return {key for i in operators for key in self.operators[i].weights}


def read_layers(graph: ModelGraph[Any], cuts: Sequence[Cut]) -> Layers:
    """Work out the `Layers` of a model, and its heads at `cuts`, without running it.

    An ONNX model runs once, on zeros, where shape inference does not tell the shapes.
    """
    layers: Layers = _format(graph).read_layers(graph, cuts)
    return layers


def open_observed(graph: ModelGraph[Any], cuts: Sequence[Cut]) -> Runner:
    """The model, ready to be called, with the tensors at all of `cuts` for outputs, in turn."""
    model: Runner = _format(graph).open_observed(graph, cuts)
    return model


def _format(graph: ModelGraph[Any]) -> Any:
    """The module that knows the operators of the model's format."""
    if isinstance(graph, TFLiteGraph):
        from pysplitcodec.splitting import tflite_layers

        return tflite_layers
    if isinstance(graph, OnnxGraph):
        from pysplitcodec.splitting import onnx_layers

        return onnx_layers
    from pysplitcodec.splitting import torch_layers

    return torch_layers


def total(parts: Iterable[int | None]) -> int | None:
    """The sum of `parts`, None if one of them is."""
    total = 0
    for part in parts:
        if part is None:
            return None
        total += part
    return total
