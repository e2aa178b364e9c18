"""The graph of a PyTorch model: what a tensor needs, and what a cut there would send.

Sets of nodes are held as bits of one int: a union of ancestors is then one `|`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from torch import fx, nn

from pysplitcodec.errors import SplitError
from pysplitcodec.runtime_torch import Arguments
from pysplitcodec.splitting.torch_parts import Mode, OnlyCount
from pysplitcodec.splitting.torch_trace import CONTAINER, trace


class Graph:
    """What `model` runs on an example, with its ancestors worked out.

    Data are what an input or a drawing of random numbers has a part in; all else (parameters,
    what is computed from them alone, sizes) each half has for itself.

    Raises SplitError when the model cannot be recorded.
    """

    def __init__(self, model: nn.Module, arguments: Arguments) -> None:
        self.model = model
        self.arguments = arguments
        self.trace = trace(model, arguments, model.training)
        self.modes: dict[str, Mode] = {}
        self.one_mode = not self._unite_modes()
        self.nodes = list(self.trace.graph.nodes)
        self.number = {node: i for i, node in enumerate(self.nodes)}
        self.inputs = [node for node in self.nodes if node.op == "placeholder"]
        self.output = self.nodes[-1]
        given = filter(is_given, self.nodes)
        self._given = sum(1 << self.number[node] for node in given)
        self._is_data = self._find_data()
        self._ancestors = self._find_ancestors()
        self.live = self._ancestors[self.number[self.output]]
        self._users = [
            sum(1 << self.number[user] for user in node.users if self.is_data(user)) & self.live
            for node in self.nodes
        ]
        self.names = self._find_names()

    def is_data(self, node: fx.Node) -> bool:
        """Whether the input has a part in `node`."""
        return self._is_data[self.number[node]]

    def members(self, nodes: int) -> Iterator[fx.Node]:
        """Give the nodes of a set in the order in which they run."""
        while nodes:
            low = nodes & -nodes
            yield self.nodes[low.bit_length() - 1]
            nodes ^= low

    def head(self, nodes: Iterable[fx.Node]) -> int:
        """All that `nodes` need, themselves among them, and the inputs, which the tail has not."""
        head = self._given
        for node in nodes:
            head |= self._ancestors[self.number[node]]
        return head

    def tail(self, head: int) -> int:
        """What must run behind a head, with the sizes and parameters that it needs."""
        tail = 0
        waiting = [node for node in self.members(self.live & ~head) if self.is_data(node)]
        while waiting:
            node = waiting.pop()
            bit = 1 << self.number[node]
            if not tail & bit:
                tail |= bit
                if not self.is_size_of_input(node):
                    waiting += [n for n in node.all_input_nodes if not self.is_data(n)]
        return tail

    def crossing(self, head: int) -> list[fx.Node]:
        """The nodes of a head that others need."""
        return [
            node
            for node in self.members(head & self._data)
            if self._users[self.number[node]] & ~head
        ]

    def operators(self, nodes: int) -> int:
        """How many of `nodes` compute something from the input."""
        hidden = [
            n
            for n in self.members(nodes & self._data)
            if n.op in ("placeholder", "output") or n.meta["op"] == CONTAINER
        ]
        return bin(nodes & self._data).count("1") - len(hidden)

    def is_size_of_input(self, node: fx.Node) -> bool:
        """Whether `node` reads the size of an input, which a tail has no more."""
        return node in self.trace.sizes.values()

    def sizes_from(self, head: int, sent: list[fx.Node]) -> dict[fx.Node, tuple[fx.Node, int, int]]:
        """Where the tail reads the sizes of inputs it needs: tensor, dimension, divisor.

        A size that no tensor sent gives is left out.
        """
        found = {}
        needed = [n for n in self.members(self.tail(head)) if self.is_size_of_input(n)]
        for symbol, node in self.trace.sizes.items():
            if node in needed:
                for tensor in sent:
                    for dimension, size in enumerate(tensor.meta["shape"]):
                        if isinstance(size, int) or node in found:
                            continue
                        ratio = size / symbol
                        if ratio.is_Integer:
                            found[node] = (tensor, dimension, int(ratio))
        return found

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Shape of the tensor that `node` gives, where free dimensions are 1."""
        sizes = dict.fromkeys(self.trace.sizes, 1)
        return tuple(
            size if isinstance(size, int) else int(size.subs(sizes)) for size in node.meta["shape"]
        )

    def never(self, node: fx.Node) -> str | None:
        """Why the model cannot be cut at `node`, whatever else is sent; None if it may be."""
        name = repr(self.names.get(node, node.name))
        if is_given(node):
            return f"{name} is an input of the model: the head would be empty"
        if not self.is_data(node) or not self._ancestors[self.number[node]] & self._given:
            return f"{name} does not depend on the model's input"
        if node.meta["tensors"] != 1:
            return f"{name} is several tensors"
        if not self.live >> self.number[node] & 1:
            return f"no output of the model needs {name}"
        if not self.operators(self.tail(self.head([node]))):
            return f"{name} is the model's output: the tail would be empty"
        return None

    def inseparable(self, at: str, head: int, sent: list[fx.Node]) -> str | None:
        """Why `head` cannot be cut off `at`, as shown, by sending `sent`; None if it can."""
        for node in sent:
            if node.meta["tensors"] != 1:
                return f"cutting at {at} would send {node.name!r}, which is no single tensor"
        tail = self.tail(head)
        missing = [n for n in self.members(tail) if self.is_size_of_input(n)]
        found = self.sizes_from(head, sent)
        for node in missing:
            if node not in found:
                source = node.all_input_nodes[0]
                return (
                    f"behind {at}, the model needs the first dimension of its input "
                    f"{self.names.get(source, source.name)!r}, which the tensor does not tell"
                )
        storages = [n.meta["storage"] for n in sent]
        twice = [n for n in sent if storages.count(n.meta["storage"]) > 1]
        if any(map(self.is_written(tail), twice)):
            return f"cutting at {at} would send a tensor twice that is changed afterwards"
        return None

    def is_written(self, nodes: int) -> Any:
        """Give a test of whether one of `nodes` changes a tensor's memory."""
        storages = {
            n.meta.get("storage")
            for writer in self.members(nodes)
            if writer.meta.get("writes")
            for n in writer.all_input_nodes
        }
        return lambda tensor: tensor.meta["storage"] in storages

    @cached_property
    def _data(self) -> int:
        return sum(1 << i for i, data in enumerate(self._is_data) if data)

    def _find_data(self) -> list[bool]:
        data: list[bool] = []
        for node in self.nodes:
            before = [*node.all_input_nodes, *node.meta["after"]]
            data.append(
                node.op in ("placeholder", "output")
                or node.meta["draws"]
                or (node.meta["op"] != "size" and any(data[self.number[n]] for n in before))
            )
        return data

    def _find_ancestors(self) -> list[int]:
        ancestors: list[int] = []
        for i, node in enumerate(self.nodes):
            above = 1 << i
            for other in (*node.all_input_nodes, *node.meta["after"]):
                above |= ancestors[self.number[other]]
            ancestors.append(above)
            if is_item(node):
                # an operator's other results come with it
                siblings = [n for n in node.all_input_nodes[0].users if is_item(n)]
                if node is siblings[-1]:
                    together = above
                    for sibling in siblings:
                        together |= ancestors[self.number[sibling]]
                    for sibling in siblings:
                        ancestors[self.number[sibling]] = together
        return ancestors

    def _find_names(self) -> dict[fx.Node, str]:
        names: dict[fx.Node, str] = {}
        count: dict[str, int] = {}
        for node in self.nodes:
            if node.op == "placeholder":
                names[node] = node.target
                continue
            if isinstance(self.trace.checks.get(node.target), OnlyCount):
                names[node] = names[node.args[0]]
                continue
            if node.op == "call_module":
                name = str(node.target)
            elif is_item(node):
                name = f"{names[node.args[0]]}[{node.args[1]}]"
            else:
                name = f"{node.meta['path']}.{node.meta['op']}".lstrip(".")
            count[name] = count.get(name, 0) + 1
            names[node] = name if count[name] == 1 else f"{name}:{count[name]}"
        return names

    def _unite_modes(self) -> bool:
        """Make the graph serve train() and eval() mode; False if they run other operators."""
        training = self.model.training
        try:
            other = trace(self.model, self.arguments, not training)
        except SplitError:
            return False
        mine, theirs = list(self.trace.graph.nodes), list(other.graph.nodes)
        same = [(n.op, n.target, n.name) for n in mine] == [
            (n.op, n.target, n.name) for n in theirs
        ]
        if not same or any(t is not other.constants[k] for k, t in self.trace.constants.items()):
            return False
        try:
            united = [
                self._unite(m, (m.args, m.kwargs), (t.args, t.kwargs)) for m, t in zip(mine, theirs)
            ]
        except _OtherError:
            return False
        for node, (args, kwargs) in zip(mine, united):
            node.args, node.kwargs = args, kwargs
        return True

    def _unite(self, node: fx.Node, mine: Any, theirs: Any) -> Any:
        if isinstance(mine, fx.Node) and isinstance(theirs, fx.Node) and mine.name == theirs.name:
            return mine
        if isinstance(mine, slice) and isinstance(theirs, slice):
            ends = [(s.start, s.stop, s.step) for s in (mine, theirs)]
            return slice(*self._unite(node, *ends))
        if isinstance(mine, (tuple, list)) and type(mine) is type(theirs):
            if len(mine) == len(theirs):
                items = [self._unite(node, m, t) for m, t in zip(mine, theirs)]
                return type(mine)(*items) if hasattr(mine, "_fields") else type(mine)(items)
        elif isinstance(mine, dict) and isinstance(theirs, dict):
            if list(mine) == list(theirs):
                return {key: self._unite(node, mine[key], theirs[key]) for key in mine}
        elif type(mine) is type(theirs) and mine == theirs:
            return mine
        elif isinstance(mine, _CONSTANTS) and isinstance(theirs, _CONSTANTS):
            name = f"{node.meta['path']}._mode{len(self.modes)}".lstrip(".")
            values = (mine, theirs) if self.model.training else (theirs, mine)
            self.modes[name] = Mode(*values)
            with self.trace.graph.inserting_before(node):
                mode = self.trace.graph.call_module(name)
            mode.meta.update(path="", op="mode", after=set(), tensors=0, draws=False)
            return mode
        raise _OtherError


class _OtherError(Exception):
    """The model runs other operators in its other mode."""


_CONSTANTS = (bool, int, float, str, type(None))


def is_given(node: fx.Node) -> bool:
    """Whether `node` is an input of the model or a part of one."""
    return node.op == "placeholder" or (is_item(node) and is_given(node.all_input_nodes[0]))


def is_item(node: fx.Node) -> bool:
    """Whether `node` takes one of the tensors that another gives."""
    return node.target is operator.getitem and node.all_input_nodes[0].meta["tensors"] > 1
