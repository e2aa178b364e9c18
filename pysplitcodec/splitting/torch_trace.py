"""Recording what a PyTorch model runs, as a graph of its modules and functions.

The model's own code runs once on an example whose tensors have a shape but no values
(FakeTensor), so control flow on shapes, types and lists is simply executed.  Every call of a
module without children, or of one of torch.nn, becomes one node that calls this very module:
its parameters, their names and its train() and eval() behaviour stay as they are.  What the
code between them calls (torch.cat, x + y, x.flatten(1)) becomes a node each.

The first dimension of each input is a symbol where the model allows it.  A size that the code
computes from it is worked out again by the graph from the tensor at hand.
"""

from __future__ import annotations

import dataclasses
import inspect
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export.unflatten import InterpreterModule
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from pysplitcodec.errors import SplitError
from pysplitcodec.runtime_torch import Arguments, tensors_in
from pysplitcodec.splitting.torch_parts import Dataclass, OnlyCount

# These of torch.nn only call their children.
_CONTAINERS = (
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
)
_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)
_SHAPES = ("shape", "size", "numel", "nelement", "stride", "__len__")
# What symbols stand for while recording: primes that sizes of layers seldom are.
_HINTS = (29, 31, 37, 41, 43, 47, 53, 59, 61, 67)
# "op" of nodes that only put tensors together, in the way in which the model passes them on.
CONTAINER = "container"
# Functions that draw numbers: one drawing must not become two, one in each half.
_DRAWS = ("rand", "normal", "bernoulli", "multinomial", "poisson")


class Trace(NamedTuple):
    """What the model ran.

    graph: nodes with, in `meta`: "path", the module whose code made the call; "op", what it
        calls; "tensors", how many tensors it gives; for a tensor "shape" and "dtype"; "after",
        the nodes that must run before it though it takes nothing from them; "draws".
    sizes: symbol -> the node that reads it from an input.
    results: path of a module -> the node of the tensor it returned last.
    constants: target of a get_attr node -> tensor that is neither parameter nor buffer.
    checks: target of a call_module node -> module that is not the model's.
    fixed: the code depends on the shapes in the example, except where they are symbols.
    """

    graph: fx.Graph
    sizes: dict[Any, fx.Node]
    results: dict[str, fx.Node]
    constants: dict[str, torch.Tensor]
    checks: dict[str, nn.Module]
    fixed: bool


def trace(model: nn.Module, arguments: Arguments, training: bool) -> Trace:
    """Record what `model` runs on `arguments`, in train() mode or in eval() mode.

    The model is left as it was.  Raises SplitError if it cannot be recorded.
    """
    try:
        return _trace_any_batch(model, arguments, training)
    except SplitError:  # perhaps for the symbol's sake; a fixed shape says what is wrong with all
        with in_mode(model, training):
            return _Recorder(model, arguments, any_batch=False).run()


def _trace_any_batch(model: nn.Module, arguments: Arguments, training: bool) -> Trace:
    with in_mode(model, training):
        recorder = _Recorder(model, arguments, any_batch=True)
        found = recorder.run()
    if recorder.asks_batch:
        # a symbol stands for 2 and more: decisions by whether a size is 1 are taken unseen
        single = tree_map(
            lambda x: x[:1] if isinstance(x, torch.Tensor) and x.dim() else x, tuple(arguments)
        )
        try:
            with in_mode(model, training):
                one = _Recorder(model, Arguments(*single), any_batch=False).run()
        except SplitError:
            return found  # the model refuses a batch of one, as its halves will
        if not _runs_as(found, one):
            raise SplitError("the model runs other operators for a batch of one")
    return found


def _runs_as(found: Trace, one: Trace) -> bool:
    """Whether a model runs the same for a batch of any size as for a batch of one."""
    mine, its = (
        [node for node in trace.graph.nodes if node.meta["op"] != "size"] for trace in (found, one)
    )
    return len(mine) == len(its) and all(
        (a.op, a.target) == (b.op, b.target) and _same((a.args, a.kwargs), (b.args, b.kwargs))
        for a, b in zip(mine, its)
    )


def _same(mine: Any, its: Any) -> bool:
    """Whether arguments are the same but for sizes, which are numbers for a batch of one."""
    if isinstance(mine, fx.Node):
        return isinstance(its, fx.Node) or mine.meta["op"] == "size"
    if isinstance(mine, slice) and isinstance(its, slice):
        return _same((mine.start, mine.stop, mine.step), (its.start, its.stop, its.step))
    if isinstance(mine, (tuple, list)) and isinstance(its, (tuple, list)):
        return len(mine) == len(its) and all(map(_same, mine, its))
    if isinstance(mine, dict) and isinstance(its, dict):
        return list(mine) == list(its) and all(_same(mine[key], its[key]) for key in mine)
    return bool(mine is its or mine == its)


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Set the mode of the modules that share the model's; afterwards, undo all assignments."""
    own = model.training
    before = [
        (held, dict(held)) for m in model.modules() for held in (vars(m), m._parameters, m._buffers)
    ]
    try:
        for module in model.modules():
            if module.training == own:
                module.training = training
        yield
    finally:
        for held, content in before:
            held.clear()
            held.update(content)


class _Recorder(TorchFunctionMode):
    def __init__(self, model: nn.Module, arguments: Arguments, any_batch: bool) -> None:
        super().__init__()
        self._model = model
        self._arguments = arguments
        self._any_batch = any_batch
        self._shapes = ShapeEnv(allow_scalar_outputs=False, allow_dynamic_output_shape_ops=False)
        self._fake = FakeTensorMode(allow_non_fake_inputs=True, shape_env=self._shapes)
        self._graph = fx.Graph()
        self._module_paths = {id(m): path for path, m in model.named_modules()}
        self._state: dict[int, str] = {}
        self._constants: dict[str, torch.Tensor] = {}
        self._checks: dict[str, nn.Module] = {}
        self._sizes: dict[Any, fx.Node] = {}
        self._results: dict[str, fx.Node] = {}
        # id of a tensor -> its node; the tensors are kept so that no other gets their id
        self._nodes: dict[int, fx.Node] = {}
        self._kept: list[Any] = []
        # storage -> who wrote it last, who has read it since
        self._writer: dict[int, fx.Node] = {}
        self._readers: dict[int, list[fx.Node]] = {}
        self._hints: dict[int, int] = {}
        self._path = ""
        self._autocast = _autocast()
        self._inside = False
        self._asks_shapes = False
        self.asks_batch = False
        self._guards = 0

    def run(self) -> Trace:
        try:
            self._fake_state()
            fakes = Arguments(*tree_map(self._fake_input, tuple(self._arguments)))
            with self._fake:
                self._placeholders(fakes)
                call = nn.Module.__call__

                def record(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
                    return self._module(call, module, args, kwargs)

                # with the dispatcher in Python, no operator asks a symbol for its value
                patch = mock.patch.object(nn.Module, "__call__", record)
                with patch, enable_python_dispatcher(), self:
                    result = self._model(*fakes.args, **fakes.kwargs)
                output = self._graph.output(self._argument(result))
                written = {_storage(t) for t in tensors_in(result)}
                after = {self._writer[storage] for storage in written & set(self._writer)}
                output.meta.update(path="", op="output", after=after, tensors=0, draws=False)
        except SplitError:
            raise
        except Exception as error:
            raise SplitError(self._why(error)) from error
        self._check_symbols()
        for path, module in self._model.named_modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and id(buffer) not in self._state and not _is_leaf(module):
                    self._refuse_write(repr(f"{path}.{name}".lstrip(".")))
        return Trace(
            self._graph,
            self._sizes,
            self._results,
            self._constants,
            self._checks,
            self._asks_shapes,
        )

    def _why(self, error: Exception) -> str:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        place = f"in {self._path!r} " if self._path else ""
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & {
            "DataDependentOutputException",
            "DynamicOutputShapeException",
            "GuardOnDataDependentSymNode",
        }:
            return (
                f"the model's code {place}depends on the values in a tensor, not on its shape "
                f"alone, and cannot be split: {lines[0]}"
            )
        return f"the model does not run on the example; {place}{type(error).__name__}: {lines[0]}"

    def _fake_state(self) -> None:
        """Put tensors without values in the place of parameters and buffers."""
        fakes: dict[int, Any] = {}
        for module in self._model.modules():
            for held in (module._parameters, module._buffers):
                for name, tensor in held.items():
                    if tensor is not None:
                        if id(tensor) not in fakes:
                            fakes[id(tensor)] = self._fake.from_tensor(tensor, static_shapes=True)
                        held[name] = fakes[id(tensor)]
        named = (*self._model.named_parameters(), *self._model.named_buffers())
        self._state = {id(tensor): name for name, tensor in named}

    def _fake_input(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if not self._any_batch or not value.dim():
            return self._fake.from_tensor(value, static_shapes=True)
        # equal sizes are one symbol, which must not be taken for another dimension's size
        hint = self._hints.setdefault(value.shape[0], _HINTS[len(self._hints)])
        dynamic = [DimDynamic.DUCK, *[DimDynamic.STATIC] * (value.dim() - 1)]
        return self._fake.from_tensor(
            value.new_empty((hint, *value.shape[1:])),
            symbolic_context=StatelessSymbolicContext(dynamic_sizes=dynamic),
        )

    def _placeholders(self, fakes: Arguments) -> None:
        try:
            bound = inspect.signature(self._model.forward).bind(*fakes.args, **fakes.kwargs)
        except TypeError as error:
            raise SplitError(f"the example does not fit the model's forward(): {error}") from None
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                named.update({f"{name}_{i}": one for i, one in enumerate(value)})
            elif kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            else:
                named[name] = value
        tensors = {
            name: value
            for name, value in named.items()
            if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(value))
        }
        nodes = {name: self._graph.placeholder(name) for name in tensors}
        for name, value in tensors.items():
            nodes[name].meta.update(path="", op="input", after=set(), draws=False)
            self._bind(nodes[name], value)
        for fake in tree_leaves(tuple(fakes)):
            if isinstance(fake, torch.Tensor) and fake.dim():
                size = fake.shape[0]
                if isinstance(size, torch.SymInt) and size.node.expr not in self._sizes:
                    node = self._graph.call_method("size", (self._nodes[id(fake)], 0))
                    node.meta.update(path="", op="size", after=set(), tensors=0, draws=False)
                    self._sizes[size.node.expr] = node

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._inside:
            return func(*args, **kwargs)
        if func is torch.Tensor.__iter__:
            return iter(self.__torch_function__(torch.unbind, types, args))
        target, name, extra = _target(func)
        writes = (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
        if writes or name in ("__setitem__", "setitem") or "out" in kwargs:
            for leaf in tree_leaves([args[:1], kwargs.get("out")]):
                if id(leaf) in self._state:
                    self._refuse_write(repr(self._state[id(leaf)]))
                elif isinstance(leaf, torch.Tensor) and not isinstance(leaf, FakeTensor):
                    self._refuse_write("a tensor that the model keeps")
        with self._unseen():
            taken = self._taken((args, kwargs))
            result = func(*args, **kwargs)
            written = any(tensor._version != version for tensor, version in taken)
            if written or any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
                kind = "call_method" if isinstance(target, str) else "call_function"
                args = (*args, *extra)
                return self._record(kind, target, name, args, kwargs, taken, result)
            if name in _SHAPES:
                sizes = result if isinstance(result, tuple) else (result,)
                known = [isinstance(self._plain(size), int) for size in sizes]
                self._asks_shapes |= any(known)
                self.asks_batch |= not all(known)
        return result

    def _module(self, call: Any, module: nn.Module, args: Any, kwargs: Any) -> Any:
        path = self._module_paths.get(id(module))
        if self._inside or path is None:
            return call(module, *args, **kwargs)
        leaves_out = _leaves_out(module, args, kwargs)
        if leaves_out and module is self._model:
            raise SplitError(
                "a TransformerEncoder with a padding mask may leave out what is masked and cannot "
                "be split: make it with enable_nested_tensor=False"
            )
        if module is not self._model and (leaves_out or _is_leaf(module)):
            name = _kind(module)
            with self._unseen():
                taken = self._taken((args, kwargs))
                result = call(module, *args, **kwargs)
                result = self._record("call_module", path, name, args, kwargs, taken, result)
        else:
            outer, self._path = self._path, path
            result = call(module, *args, **kwargs)
            self._path = outer
        if isinstance(result, torch.Tensor) and id(result) in self._nodes:
            self._results[path] = self._nodes[id(result)]
        return result

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """Run what becomes one node; decisions on a symbol that were made before are the code's."""
        self._check_symbols()
        if len(self._shapes.guards) != self._guards:
            raise SplitError("the model's code decides by the size of the first dimension")
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            self._guards = len(self._shapes.guards)

    def _check_symbols(self) -> None:
        if self._shapes.replacements:
            raise SplitError("the model runs for the example's first dimension only")

    def _taken(self, arguments: Any) -> list[tuple[torch.Tensor, int]]:
        """Tensors among `arguments` with their versions, which grow when they are written."""
        leaves = tree_leaves(arguments)
        return [(leaf, leaf._version) for leaf in leaves if isinstance(leaf, FakeTensor)]

    def _record(
        self, kind: str, target: Any, name: str, args: Any, kwargs: Any, taken: Any, result: Any
    ) -> Any:
        if _autocast() != self._autocast:
            place = f"in {self._path!r} " if self._path else ""
            raise SplitError(
                f"the model's code {place}runs {name} under autocast, halves would not: use it "
                "around the model"
            )
        after: set[fx.Node] = set()
        written = {_storage(t) for t, version in taken if t._version != version}
        read = {_storage(t) for t, _ in taken}
        for storage in read:
            if storage in self._writer:
                after.add(self._writer[storage])
            if storage in written:
                after.update(self._readers.pop(storage, ()))
        node = self._graph.create_node(
            kind, target, self._argument(tuple(args)), self._argument(kwargs)
        )
        draws = kind == "call_function" and name.startswith(_DRAWS)
        node.meta.update(
            path=self._path, op=name.strip("_"), after=after, draws=draws, writes=bool(written)
        )
        for storage in read:
            self._readers.setdefault(storage, []).append(node)
        for storage in written:
            self._writer[storage] = node
        # Dropout and the like may return what they got: it needs an identity of its own.
        got = {id(t) for t, _ in taken}
        result = tree_map(
            lambda x: (
                x.view_as(x)
                if isinstance(x, torch.Tensor) and id(x) in got and _storage(x) not in written
                else x
            ),
            result,
        )
        if kind != "call_module" and type(result) in (tuple, list):
            check = f"_only_count{len(self._checks)}"
            self._checks[check] = OnlyCount(len(result))
            meta = {**node.meta, "after": set(), "draws": False, "writes": False}
            node.meta["tensors"] = 2
            node = self._graph.call_module(check, (node,))
            node.meta.update(meta)
        self._bind(node, result)
        return result

    def _bind(self, node: fx.Node, value: Any) -> None:
        """Let tensors in `value`, which `node` gives, be found by their identity."""
        self._kept.append(value)
        node.meta["tensors"] = 0
        if isinstance(value, torch.Tensor):
            node.meta["tensors"] = 1
            node.meta["shape"] = tuple(self._plain(size) for size in value.shape)
            node.meta["dtype"] = str(value.dtype).partition(".")[2]
            node.meta["storage"] = _storage(value)
            self._nodes[id(value)] = node
            return
        if isinstance(value, (tuple, list)):
            parts: Any = enumerate(value)
        elif isinstance(value, Mapping):
            parts = value.items()
        else:
            if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(value)):
                raise SplitError(f"{node.meta['op']} gives a {type(value).__name__} of tensors")
            return
        for key, part in parts:
            if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(part)):
                item = self._graph.call_function(operator.getitem, (node, key))
                item.meta.update(
                    path=node.meta["path"], op=f"{node.meta['op']}[{key}]", after=set(), draws=False
                )
                self._bind(item, part)
                node.meta["tensors"] += 2  # whatever holds tensors cannot be sent as one

    def _plain(self, size: Any) -> Any:
        """Give an int, or an expression of symbols."""
        if not isinstance(size, _SYMBOLIC):
            return size
        expression = self._shapes.simplify(size.node.expr)
        return int(expression) if expression.is_Integer else expression

    def _argument(self, value: Any) -> Any:
        """Replace tensors and symbolic sizes in `value` by nodes."""
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, _SYMBOLIC):
            expression = self._plain(value)
            if not hasattr(expression, "free_symbols") or not expression.free_symbols:
                return expression if isinstance(expression, int) else float(expression)
            known = {s: fx.Proxy(self._sizes[s]) for s in expression.free_symbols}
            before = len(self._graph.nodes)
            node = sympy_interp(PythonReferenceAnalysis, known, expression).node
            for new in list(self._graph.nodes)[before:]:
                new.meta.update(path=self._path, op="size", after=set(), tensors=0, draws=False)
            return node
        if isinstance(value, torch.Size):
            return tuple(map(self._argument, value))
        if isinstance(value, tuple):
            items = map(self._argument, value)
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if isinstance(value, list):
            return [self._argument(item) for item in value]
        if isinstance(value, Mapping):
            items_ = {key: self._argument(item) for key, item in value.items()}
            if type(value) is dict:
                return items_
            node = self._graph.call_function(type(value), ([list(p) for p in items_.items()],))
            return self._container(node)
        if isinstance(value, slice):
            return slice(*map(self._argument, (value.start, value.stop, value.step)))
        if dataclasses.is_dataclass(value) and tensors_in(value):
            name = f"_dataclass{len(self._checks)}"
            self._checks[name] = Dataclass(type(value))
            given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            node = self._graph.call_module(name, (self._argument(given),))
            return self._container(node)
        if tensors_in(value) or tensors_in(getattr(value, "__dict__", None)):
            raise SplitError(
                f"the model passes tensors in a {type(value).__name__}, not in tuples, lists, "
                "dicts or dataclasses, and cannot be split"
            )
        return value

    def _container(self, node: fx.Node) -> fx.Node:
        node.meta.update(path=self._path, op=CONTAINER, after=set(), tensors=2, draws=False)
        return node

    def _tensor(self, value: torch.Tensor) -> fx.Node:
        node = self._nodes.get(id(value))
        if node is None:
            name = self._state.get(id(value))
            if name is None:
                if isinstance(value, FakeTensor):
                    raise SplitError(
                        f"a tensor in {self._path!r} was made where it cannot be recorded"
                    )
                name = f"_constant{len(self._constants)}"
                self._constants[name] = value
            node = self._graph.get_attr(name)
            node.meta.update(path=self._path, op=name, after=set(), draws=False)
            self._bind(node, value)
        return node

    def _refuse_write(self, name: str) -> None:
        raise SplitError(
            f"the model's code {f'in {self._path!r} ' if self._path else ''}changes {name}; "
            "the halves could not share it: do so in a module without children"
        )


def _autocast() -> list[Any]:
    """Where autocast is on, and to what."""
    return [
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        for device in ("cpu", "cuda")
    ]


def _is_leaf(module: nn.Module) -> bool:
    if isinstance(module, _CONTAINERS):
        return False
    return not module._modules or type(module).__module__.startswith("torch.nn.")


def _leaves_out(module: nn.Module, args: Any, kwargs: Any) -> bool:
    """Whether it is an encoder that may leave out what is masked, and give zeros for it.

    It decides so by whether gradients are wanted, too.
    """
    if not isinstance(module, nn.TransformerEncoder) or not module.use_nested_tensor:
        return False
    given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    return given.get("src_key_padding_mask") is not None


def _kind(module: nn.Module) -> str:
    """Name of its class; of what was read from a file, of the class it had before."""
    before = module.type_name() if isinstance(module, InterpreterModule) else None
    return str(before or type(module).__name__).rpartition(".")[2]


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _target(func: Any) -> tuple[Any, str, tuple[Any, ...]]:
    """Give what a node calls for `func`, its name, and arguments to add."""
    # operators of ATen, which exported models call, are named like "add.Tensor"
    name = getattr(func, "__name__", type(func).__name__).partition(".")[0]
    owner = getattr(func, "__self__", None)
    if name == "__get__" and owner is not None:
        return getattr, owner.__name__, (owner.__name__,)
    if getattr(torch.Tensor, name, None) is func:
        return name, name, ()
    return func, name, ()
