"""A half as converters want it: tensors in, tensors out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from pysplitcodec.errors import ArgumentError
from pysplitcodec.runtime_torch import as_arguments
from pysplitcodec.splitting.torch_parts import to_channels_first, to_channels_last


class Flat(nn.Module):
    """`half`, taking tensors one after another and giving a tuple of tensors, in eval() mode.

    example: its input, in which the places of the tensors count, and the values of all else.
    channels_last: whether tensors of four dimensions are taken and given as (N, H, W, C).
    """

    def __init__(self, half: nn.Module, example: Any, channels_last: bool) -> None:
        super().__init__()
        self.inner = half
        self._channels_last = channels_last
        bound = self._bind(example)
        leaves, self._structure = tree_flatten((bound.args, bound.kwargs))
        self._constants = [None if is_tensor(leaf) else (leaf,) for leaf in leaves]
        self.input_names = list(_names(bound.arguments))
        self._shapes = [leaf.shape for leaf in leaves if is_tensor(leaf)]
        self.eval()

    def tensors(self, sample: Any) -> tuple[torch.Tensor, ...]:
        """The tensors in a sample, as they go into the file; they must be as in the example."""
        bound = self._bind(sample)
        found = [x.detach() for x in tree_leaves((bound.args, bound.kwargs)) if is_tensor(x)]
        shapes = [x.shape for x in found]
        if shapes != self._shapes:
            raise ArgumentError(
                f"a sample holds tensors of shapes {[*map(tuple, shapes)]}, the example of "
                f"{[*map(tuple, self._shapes)]}"
            )
        if self._channels_last:
            found = [to_channels_last(x).contiguous() for x in found]
        return tuple(found)

    def _bind(self, example: Any) -> inspect.BoundArguments:
        """The half's arguments, in the order in which it names them."""
        args, kwargs = as_arguments(example)
        try:
            return inspect.signature(self.inner.forward).bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"example does not fit the half: {error}") from error

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Give the tensors in what the half gives."""
        given = iter(map(to_channels_first, tensors) if self._channels_last else tensors)
        leaves = [next(given) if held is None else held[0] for held in self._constants]
        args, kwargs = tree_unflatten(leaves, self._structure)
        given_back = filter(is_tensor, tree_leaves(self.inner(*args, **kwargs)))
        return tuple(map(to_channels_last, given_back) if self._channels_last else given_back)

    def output_names(self, tensors: Sequence[torch.Tensor]) -> list[str]:
        """Names of the outputs: those of the tensors sent, which the tail has for its arguments."""
        with torch.no_grad():
            count = len(self(*tensors))
        if isinstance(self.inner, fx.GraphModule):
            (output,) = (node for node in self.inner.graph.nodes if node.op == "output")
            nodes = [x for x in tree_leaves(output.args) if isinstance(x, fx.Node)]
            names = [node.name for node in nodes]
            distinct = len({*names, *self.input_names}) == len(names) + len(self.input_names)
            if len(names) == count and distinct:
                return names
        return [f"output_{i}" for i in range(count)]


def _names(arguments: dict[str, Any]) -> Iterator[str]:
    """A name for each tensor in a half's arguments."""
    for name, value in arguments.items():
        leaves = [leaf for leaf in tree_leaves(value) if is_tensor(leaf)]
        for i in range(len(leaves)):
            yield name if len(leaves) == 1 else f"{name}_{i}"


def is_tensor(value: Any) -> bool:
    """Whether `value` is a tensor."""
    return isinstance(value, torch.Tensor)
