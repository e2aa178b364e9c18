"""What the operators of a PyTorch model compute: sizes, weights and multiply-accumulates.

An operator is a module without children, or a function that the code of a module calls.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from pysplitcodec.runtime import Runner
from pysplitcodec.runtime_torch import ModuleModel, head_arguments
from pysplitcodec.splitting.cuts import Cut, Tensor
from pysplitcodec.splitting.layers import End, Layers, Operator, Weight
from pysplitcodec.splitting.torch_extract import observe
from pysplitcodec.splitting.torch_graph import Graph, is_given, is_item
from pysplitcodec.splitting.torch_model import TorchPlaces
from pysplitcodec.splitting.torch_trace import CONTAINER, in_mode

# Counters, shapes and masks are no weights.
_NO_WEIGHTS = (torch.int64, torch.bool)
_TORCHS_OWN = frozenset(["aten", "prim", "prims", "profiler"])
# Names of operators that have products; the fused cells are what is left behind them.
_PRODUCTS = re.compile(
    r"^(?!_thnn_fused)(.*_)?(\w*mm|mv|addmv|v?dot|conv\w*|\w*attention|rnn|lstm|gru|trilinear)(_|$)"
)


def read_layers(model: TorchPlaces[Any], cuts: Sequence[Cut]) -> Layers:
    """As `layers.read_layers`, for a PyTorch model."""
    graph = model.graph
    found = _Operators(graph)
    place = {graph.number[node]: i for i, node in enumerate(found.nodes)}
    heads = [graph.head(graph.nodes[t.number] for t in cut.tensors) for cut in cuts]
    with _counting(graph):
        operators = tuple(map(found.operator, found.nodes))
    given = [n for n in graph.nodes if is_given(n) and _is_tensor(n)]
    return Layers(
        inputs=tuple(_end(graph, node) for node in given),
        outputs=tuple(_end(graph, n) for n in _tensors_in(graph.output)),
        operators=operators,
        nbytes={graph.number[n]: _nbytes(graph, n) for n in graph.nodes if _is_tensor(n)},
        kept=frozenset(),
        weights=found.weights,
        cuts=tuple(cuts),
        heads=tuple(
            tuple(place[graph.number[n]] for n in graph.members(head) if graph.number[n] in place)
            for head in heads
        ),
        channels_last=False,
    )


def open_observed(model: TorchPlaces[Any], cuts: Sequence[Cut]) -> Runner:
    """As `layers.open_observed`, for a PyTorch model."""
    numbers = dict.fromkeys(tensor.number for cut in cuts for tensor in cut.tensors)
    graph = model.graph
    return ModuleModel(
        observe(graph, [graph.nodes[n] for n in numbers]), head_arguments(graph.arguments)
    )


class _Operators:
    """The operators of a graph that depend on its inputs and are needed; nodes: in order."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.nodes = [
            node
            for node in graph.members(graph.live)
            if graph.is_data(node)
            and node.op != "output"
            and not is_given(node)
            and node.meta["op"] != CONTAINER
            and not _passes_on(graph, node)
        ]
        # behind the numbers of tensors; tied weights are one
        self._keys: dict[int, int] = {}
        self.weights: dict[int, Weight] = {}

    def operator(self, node: fx.Node) -> Operator:
        """What `Layers` has of a node."""
        graph = self._graph
        read = [t for n in node.all_input_nodes if graph.is_data(n) for t in _given(graph, n)]
        constants = [n for n in node.all_input_nodes if not graph.is_data(n)]
        stored = [tensor for n in constants for tensor in self._stored(n)]
        if node.op == "call_module":
            module = graph.model.get_submodule(str(node.target))
            stored += [*module.parameters(), *module.buffers()]
        return Operator(
            name=graph.names[node],
            kind=str(node.meta["op"]),
            reads=tuple(dict.fromkeys(read)),
            writes=tuple(_given(graph, node)),
            weights=tuple(self._key(t) for t in stored if t.dtype not in _NO_WEIGHTS),
            macs=_macs(graph, node),
        )

    def _key(self, tensor: torch.Tensor) -> int:
        key = self._keys.setdefault(id(tensor), len(self._graph.nodes) + len(self._keys))
        self.weights[key] = Weight(tensor.numel(), tensor.numel() * tensor.element_size())
        return key

    def _stored(self, node: fx.Node) -> Iterator[torch.Tensor]:
        """What is stored of the constants that `node` is computed from."""
        if node.op == "get_attr":
            name = str(node.target)
            constant = self._graph.trace.constants.get(name)
            parent, _, last = name.rpartition(".")
            held = getattr(self._graph.model.get_submodule(parent), last, None)
            yield held if constant is None else constant
        for before in node.all_input_nodes:
            yield from self._stored(before)


@contextmanager
def _counting(graph: Graph) -> Iterator[None]:
    """Run attention and recurrent layers as the products that they are made of."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of mkldnn.flags, about Intel's GPUs
            with (
                in_mode(graph.model, training=False),
                torch.no_grad(),
                sdpa_kernel(SDPBackend.MATH),
                torch.backends.mkldnn.flags(enabled=False),
            ):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _macs(graph: Graph, node: fx.Node) -> int | None:
    """Products of one operator where free dimensions are 1.

    None if it does not run by itself, or runs something whose products torch does not count.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            call, args, kwargs = _call(graph, node)
            with FlopCounterMode(display=False) as counter, _Uncounted() as uncounted:
                call(*args, **kwargs)
        except Exception:  # whatever the operator raises
            return None
    return None if uncounted.found else int(counter.get_total_flops()) // 2


class _Uncounted(TorchDispatchMode):
    """Notes whether operators run that may have products and that torch does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        multiplies = _PRODUCTS.search(packet.__name__) and packet not in flop_registry
        self.found |= func.namespace not in _TORCHS_OWN or bool(multiplies)
        return func(*args, **(kwargs or {}))


def _call(graph: Graph, node: fx.Node) -> tuple[Any, Any, Any]:
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: _value(graph, n))
    if node.op == "call_module":
        name = str(node.target)
        checks = {**graph.trace.checks, **graph.modes}
        return checks.get(name) or graph.model.get_submodule(name), args, kwargs
    if node.op == "call_method":
        return getattr(args[0], str(node.target)), args[1:], kwargs
    return node.target, args, kwargs


def _value(graph: Graph, node: fx.Node) -> Any:
    """Something like what `node` gives: a tensor without values, or several, or a number."""
    if _is_tensor(node):
        return torch.empty(graph.shape(node), dtype=getattr(torch, node.meta["dtype"]))
    call, args, kwargs = _call(graph, node)
    return call(*args, **kwargs)


def _tensors_in(results: fx.Node) -> Iterator[fx.Node]:
    """What the output, or a container in it, is made of."""
    for node in results.all_input_nodes:
        if node.meta["op"] == CONTAINER:
            yield from _tensors_in(node)
        elif _is_tensor(node):
            yield node


def _given(graph: Graph, node: fx.Node) -> list[int]:
    """The tensors that `node` gives."""
    if _is_tensor(node):
        return [graph.number[node]]
    return [number for n in node.users if _passes_on(graph, n) for number in _given(graph, n)]


def _passes_on(graph: Graph, node: fx.Node) -> bool:
    return is_item(node) or node.target in graph.trace.checks


def _is_tensor(node: fx.Node) -> bool:
    return bool(node.meta["tensors"] == 1)


def _end(graph: Graph, node: fx.Node) -> End:
    return End(graph.names.get(node, node.name), graph.shape(node), node.meta["dtype"])


def _nbytes(graph: Graph, node: fx.Node) -> int:
    return Tensor(0, "", graph.shape(node), node.meta["dtype"]).nbytes
