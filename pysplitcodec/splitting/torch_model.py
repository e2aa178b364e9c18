"""Cutting a PyTorch model in two at one tensor, or at several.

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

A TransformerEncoder with a padding mask leaves out what is masked when no gradients are wanted,
unless it has enable_nested_tensor=False: it is then one operator, with no cut in it.

Not carried over: `torch.no_grad` inside forward(), plain attributes that forward() sets, hooks of
the model itself, and a change of device for tensors that the code makes on the example's device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import fx, nn

from pysplitcodec.errors import ArgumentError
from pysplitcodec.runtime_torch import Arguments, as_arguments
from pysplitcodec.splitting.cuts import Half, Tensor
from pysplitcodec.splitting.model_graph import ModelGraph
from pysplitcodec.splitting.torch_extract import extract
from pysplitcodec.splitting.torch_graph import Graph


class TorchPlaces(ModelGraph[Half]):
    """Where a PyTorch model can be cut, whatever is to become of its halves.

    Raises SplitError if the model cannot be split.
    """

    def __init__(self, model: nn.Module, arguments: Arguments) -> None:
        super().__init__()
        self.graph = Graph(model, arguments)
        self._returned: dict[fx.Node, list[str]] = {}
        for path, node in self.graph.trace.results.items():
            self._returned.setdefault(node, []).append(path)

    def _modules_of_halves(self, sent: Sequence[int]) -> tuple[nn.Module, nn.Module]:
        return extract(self.graph, self._head(sent), [self.graph.nodes[n] for n in sent])

    def _candidates(self, tensors: int) -> Iterable[int]:
        return range(len(self.graph.nodes))

    def _find(self, name: str) -> list[int]:
        """By the tensor's name, else by the path of a module that returns it."""
        found = [node for node, known in self.graph.names.items() if known == name]
        if not found and name in self.graph.trace.results:
            found = [self.graph.trace.results[name]]
        return [self.graph.number[node] for node in found]

    def _name(self, tensor: int) -> str:
        node = self.graph.nodes[tensor]
        return str(self.graph.names.get(node, node.name))

    def _after(self, tensor: int) -> str:
        return str(self.graph.nodes[tensor].meta["op"])

    def _head(self, tensors: Iterable[int]) -> int:
        return self.graph.head(self.graph.nodes[tensor] for tensor in tensors)

    def _crossing(self, head: int) -> list[int]:
        return [self.graph.number[node] for node in self.graph.crossing(head)]

    def _operators(self, head: int) -> int:
        return self.graph.operators(head)

    def _never(self, tensor: int) -> str | None:
        return self.graph.never(self.graph.nodes[tensor])

    def _inseparable(self, at: str, head: int, crossing: Sequence[int]) -> str | None:
        reason = super()._inseparable(at, head, crossing)
        return reason or self.graph.inseparable(at, head, [self.graph.nodes[n] for n in crossing])

    def _tensors(self, numbers: Iterable[int]) -> dict[int, Tensor]:
        found = {}
        for number in numbers:
            node = self.graph.nodes[number]
            shape, dtype = self.graph.shape(node), node.meta["dtype"]
            found[number] = Tensor(number, self._name(number), shape, dtype)
        return found

    def _modules(self, tensor: int) -> tuple[str, ...]:
        return tuple(self._returned.get(self.graph.nodes[tensor], ()))


class TorchGraph(TorchPlaces[nn.Module]):
    """A PyTorch model to be cut.

    example: a tensor, or a tuple of positional or a dict of named arguments. Only those with
        tensors become arguments of the head; the values of the others, None too, are fixed.

    The halves share the model's modules; deepcopy the model before for a copy.  The head gives
    the tensor, or a tuple of them; the tail takes each as an argument.

    Raises ArgumentError for a bad example, SplitError if the model cannot be split.
    """

    def __init__(self, model: nn.Module, example: Any) -> None:
        if example is None:
            raise ArgumentError("a PyTorch model needs an example of its input: example=x")
        super().__init__(model, as_arguments(example))

    def halves(self, sent: Sequence[int]) -> tuple[nn.Module, nn.Module]:
        """As `ModelGraph.halves`."""
        return self._modules_of_halves(sent)
