"""Building the halves of a PyTorch model, as modules, from its graph."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from pysplitcodec.splitting.torch_graph import Graph, is_given
from pysplitcodec.splitting.torch_parts import OnlyMode, OnlyShape


def extract(graph: Graph, head: int, sent: list[fx.Node]) -> tuple[nn.Module, nn.Module]:
    """Give head, tail: what `head` holds, and the rest; `sent` are the tensors between them."""
    return _head(graph, head, sent), _tail(graph, head, sent)


def observe(graph: Graph, tensors: list[fx.Node]) -> nn.Module:
    """Give a module that gives `tensors` as they are when they are computed.

    Operators in place, such as `relu_`, may write over them later.
    """
    return _head(graph, graph.head(tensors), tensors, cloned=True)


def _head(graph: Graph, head: int, sent: list[fx.Node], cloned: bool = False) -> nn.Module:
    half = _Half(graph)
    clones: dict[fx.Node, fx.Node] = {}
    for node in graph.inputs:
        half.copied[node] = half.new.node_copy(node)
    half.check_mode()
    for node in (*graph.inputs, *graph.members(head)):
        if node not in half.copied:
            half.copied[node] = half.new.node_copy(node, half.copied.__getitem__)
        if is_given(node) and node.meta["tensors"] == 1:
            half.check_shape(node)
        if cloned and node in sent:
            clones[node] = half.new.call_method("clone", (half.copied[node],))
    return half.module([clones.get(node, half.copied[node]) for node in sent], "Head")


def _tail(graph: Graph, head: int, sent: list[fx.Node]) -> nn.Module:
    half = _Half(graph)
    tail = graph.tail(head)
    received = {node: half.new.placeholder(node.name) for node in sent}
    half.copied.update(received)
    half.check_mode()
    for size, (tensor, dimension, divisor) in graph.sizes_from(head, sent).items():
        half.copied[size] = half.new.call_method("size", (received[tensor], dimension))
        if divisor > 1:
            half.copied[size] = half.new.call_function(
                operator.floordiv, (half.copied[size], divisor)
            )
    is_written = graph.is_written(tail)
    for node in sent:
        half.check_shape(node)
        if is_written(node):
            # an operator in place must not change what the caller holds
            half.copied[node] = half.new.call_method("clone", (received[node],))
    for node in graph.members(tail):
        if node not in half.copied and node is not graph.output:
            half.copied[node] = half.new.node_copy(node, half.copied.__getitem__)
    result = fx.map_arg(graph.output.args[0], half.copied.__getitem__)
    return half.module([result], "Tail")


class _Half:
    """A half under construction. copied: node of the whole -> its copy here."""

    def __init__(self, graph: Graph) -> None:
        self.new = fx.Graph()
        self.copied: dict[fx.Node, fx.Node] = {}
        self._graph = graph
        self._checks: dict[str, nn.Module] = {}

    def check_mode(self) -> None:
        if self._graph.one_mode:
            self._call("_only_mode", OnlyMode(self._graph.model.training))

    def check_shape(self, node: fx.Node) -> None:
        if self._graph.trace.fixed:
            shape = tuple(n if isinstance(n, int) else None for n in node.meta["shape"])
            check = OnlyShape(self._graph.names[node], shape)
            self._call(f"_only_shape{len(self._checks)}", check, self.copied[node])

    def _call(self, name: str, check: nn.Module, *args: fx.Node) -> None:
        self._checks[name] = check.train(self._graph.model.training)
        self.new.call_module(name, args)

    def module(self, results: list[Any], kind: str) -> nn.Module:
        """Finish: a module that holds those of the model that it calls, under their names."""
        self.new.output(results[0] if len(results) == 1 else tuple(results))
        model, constants = self._graph.model, self._graph.trace.constants
        ours = {**self._graph.modes, **self._graph.trace.checks, **self._checks}
        held: dict[str, Any] = {}
        for node in self.new.nodes:
            name = str(node.target)
            parent, _, last = name.rpartition(".")
            if name in ours:
                held[name] = ours[name].train(model.get_submodule(parent).training)
            elif node.op == "call_module":
                held[name] = model.get_submodule(name)
            elif node.op == "get_attr":
                held[name] = constants.get(name)
                if held[name] is None:
                    held[name] = getattr(model.get_submodule(parent), last)
        half = fx.GraphModule(held, self.new, class_name=kind)
        for path, module in half.named_modules():
            if module is half or type(module) is nn.Module:
                module.training = model.get_submodule(path).training
        self._keep_out_of_state(half, held)
        return half

    def _keep_out_of_state(self, half: nn.Module, held: dict[str, Any]) -> None:
        """Save the tensors that the model saves and no others."""
        saved = self._graph.model.state_dict(keep_vars=True)
        for name, value in held.items():
            if isinstance(value, torch.Tensor) and name not in saved:
                parent, _, last = name.rpartition(".")
                half.get_submodule(parent)._non_persistent_buffers_set.add(last)
