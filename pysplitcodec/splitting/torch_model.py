"""Cutting a PyTorch model in two at one tensor, or at a module that several tensors leave.

>>> cuts = list_cuts(model, example=x)                      # doctest: +SKIP
>>> head, tail = split(model, at="layer2", example=x)       # doctest: +SKIP
>>> torch.equal(tail(head(x)), model(x))                    # doctest: +SKIP

The halves are modules that call the model's own modules, with its parameters and under its
names: training a half trains the model, and a half's state_dict is a part of the model's.
train() and eval() act on each half as on the model; where the model runs other operators in the
one than in the other (not only BatchNorm, Dropout or `training=self.training`), the halves
refuse the mode that the model was not in.

What the code decides by shapes is decided by those of the example; halves of code that asks for
shapes refuse others, except for the first dimension, the batch, which stays free unless the code
decides by it.  Code that decides by the values in a tensor cannot be split.

Not carried over: `torch.no_grad` and `torch.autocast` inside forward(), plain attributes that
forward() sets, hooks of the model itself, and a change of device for tensors that the code
makes on the example's device.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union

import torch
from torch import fx, nn

from pysplitcodec.errors import ArgumentError, SplitError
from pysplitcodec.splitting.torch_extract import extract
from pysplitcodec.splitting.torch_graph import Graph
from pysplitcodec.splitting.torch_trace import as_arguments


@dataclass(frozen=True)
class TorchTensor:
    """A tensor that is sent: name of what gives it, shape for the example, name of its dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size as it is, in bytes."""
        return self.elements * int(getattr(torch, self.dtype).itemsize)


@dataclass(frozen=True)
class TorchCut:
    """A place at which a PyTorch model can be cut.

    index: number of the cut, from 0, along the graph.
    name: path in `named_modules()` of the module that gives the tensor, ":2" for its second
        call; or path of the module whose code made it and the operator, "layer1.0.add".
    tensors: what is sent; one tensor unless more were asked for.
    modules: paths of all modules that return the tensor `name`, such as "layer1.0", "layer1".
    after: the operator that computes it, such as "Conv2d" or "add".
    operators_before: how many operators the head has.
    repeats: index of the first cut that sends tensors of the same shapes and dtypes, if not this.
    """

    index: int
    name: str
    tensors: tuple[TorchTensor, ...]
    modules: tuple[str, ...]
    after: str
    operators_before: int
    repeats: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the one tensor."""
        return self._only().shape

    @property
    def dtype(self) -> str:
        """Name of the one tensor's dtype."""
        return self._only().dtype

    @property
    def elements(self) -> int:
        """How many numbers are sent for one run on the example."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        """Size of the tensors as they are, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def _only(self) -> TorchTensor:
        if len(self.tensors) > 1:
            raise SplitError(f"{len(self.tensors)} tensors are sent at {self.name!r}: see .tensors")
        return self.tensors[0]


@dataclass(frozen=True)
class TorchSplit:
    """The two halves of a model, as modules: `head, tail = split(model, at, example)`."""

    head: nn.Module
    tail: nn.Module
    cut: TorchCut

    def __iter__(self) -> Iterator[nn.Module]:
        """Give head, then tail."""
        yield self.head
        yield self.tail


TorchAt = Union[TorchCut, int, str]


def list_cuts(model: nn.Module, example: Any, tensors: int = 1) -> list[TorchCut]:
    """Every place at which `model` can be cut, in the order of computation.

    example: a tensor, or a tuple of positional or a dict of named arguments. Only its tensors
        become inputs of a half; the values of other arguments are fixed.
    tensors: above 1, also the modules whose end can be cut by sending up to so many tensors.

    Raises ArgumentError for a bad example or number, SplitError if the model cannot be split.
    """
    return list(_cuts(_graph(model, example), _checked(tensors)).values())


def split(model: nn.Module, at: TorchAt, example: Any, tensors: int = 1) -> TorchSplit:
    """Cut `model` in two at `at`: a cut, its number, its name, or the path of a module.

    example, tensors: as for `list_cuts`; numbers of cuts depend on them.

    The head takes the model's inputs and gives the tensor, or a tuple of them; the tail takes
    it, or each as an argument, and gives what the model gives.  They share the model's modules;
    deepcopy the model before for a copy.

    Raises SplitError, which says what is in the way and what could be had instead, if the model
    cannot be cut there; otherwise as `list_cuts`.
    """
    graph = _graph(model, example)
    cuts = _cuts(graph, _checked(tensors))
    node = _find(graph, cuts, at, tensors)
    head = graph.head(node)
    return TorchSplit(*extract(graph, head, graph.crossing(head)), cut=cuts[node])


def _graph(model: nn.Module, example: Any) -> Graph:
    if example is None:
        raise ArgumentError("a PyTorch model needs an example of its input: example=x")
    return Graph(model, as_arguments(example))


def _checked(tensors: int) -> int:
    if not isinstance(tensors, int) or tensors < 1:
        raise ArgumentError(f"tensors must be a positive int, not {tensors!r}")
    return tensors


def _cuts(graph: Graph, tensors: int) -> dict[fx.Node, TorchCut]:
    returned: dict[fx.Node, list[str]] = {}
    for path, node in graph.trace.results.items():
        returned.setdefault(node, []).append(path)
    cuts: dict[fx.Node, TorchCut] = {}
    first: dict[Any, int] = {}
    for node in graph.nodes:
        if graph.obstacle(node, tensors if node in returned else 1) is None:
            head = graph.head(node)
            sent = tuple(_tensor(graph, n) for n in graph.crossing(head))
            kind = tuple((tensor.shape, tensor.dtype) for tensor in sent)
            repeats = first.setdefault(kind, len(cuts))
            cuts[node] = TorchCut(
                index=len(cuts),
                name=graph.names[node],
                tensors=sent,
                modules=tuple(returned.get(node, ())),
                after=node.meta["op"],
                operators_before=graph.operators(head),
                repeats=None if repeats == len(cuts) else repeats,
            )
    return cuts


def _tensor(graph: Graph, node: fx.Node) -> TorchTensor:
    return TorchTensor(graph.names[node], graph.example_shape(node), node.meta["dtype"])


def _find(graph: Graph, cuts: dict[fx.Node, TorchCut], at: TorchAt, tensors: int) -> fx.Node:
    nodes = list(cuts)
    if isinstance(at, TorchCut):
        for node, cut in cuts.items():
            if (cut.name, cut.tensors) == (at.name, at.tensors):
                return node
        raise SplitError(f"the cut at {at.name!r} belongs to another model, example or tensors=")
    if isinstance(at, str):
        return _find_name(graph, cuts, at, tensors)
    try:
        number = operator.index(at)
    except TypeError:
        raise ArgumentError(
            f"at must be a cut, a cut's number or a name, not {type(at).__name__}"
        ) from None
    if not 0 <= number < len(nodes):
        raise SplitError(f"there is no cut {number}: {_how_many(cuts)}")
    return nodes[number]


def _find_name(graph: Graph, cuts: dict[fx.Node, TorchCut], name: str, tensors: int) -> fx.Node:
    named = {graph.names[node]: node for node in graph.nodes if node in graph.names}
    node = named.get(name) or graph.trace.results.get(name)
    if node is not None and node in cuts:
        return node
    if node is not None:
        place = graph.number[node]
        allowed = tensors if node in graph.trace.results.values() else 1
        text = f"{graph.obstacle(node, allowed)}; {_how_many(cuts)}"
        before = [cut for n, cut in cuts.items() if graph.number[n] < place]
        after = [cut for n, cut in cuts.items() if graph.number[n] > place]
        if before:
            text += f"; the nearest before it is {before[-1].index}, {before[-1].name!r}"
        if after:
            text += f"; the nearest after it is {after[0].index}, {after[0].name!r}"
        raise SplitError(text)
    known = dict.fromkeys(name for cut in cuts.values() for name in (cut.name, *cut.modules))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; similar names: {', '.join(map(repr, close))}" if close else ""
    raise SplitError(f"the model runs nothing named {name!r}: {_how_many(cuts)}{hint}")


def _how_many(cuts: dict[fx.Node, TorchCut]) -> str:
    if not cuts:
        return "the model cannot be cut anywhere"
    if len(cuts) == 1:
        return f"the model has one cut, 0, at {next(iter(cuts.values())).name!r}"
    return f"the model has {len(cuts)} cuts, 0 to {len(cuts) - 1}"
