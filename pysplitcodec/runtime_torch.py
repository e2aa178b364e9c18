"""Running PyTorch models, saved by `torch.export` (.pt2) or not, as `pysplitcodec.runtime` does."""

from __future__ import annotations

import dataclasses
import io
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import ArgumentError, MissingDependencyError, ModelError
from pysplitcodec.native import numpy_dtype
from pysplitcodec.runtime import (
    Array,
    ModelSource,
    TensorInfo,
    check_dtypes,
    check_threads,
    one_line,
    read_bytes,
)


class Arguments(NamedTuple):
    """An example's inputs, as the model is called with them."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class TorchModel:
    """A model saved by `torch.export.save`, ready to be called; as `runtime.TFLiteModel`.

    model: path or bytes.  Reading it unpickles what it holds, which can run any code: take
    models only from whom you trust.  threads: how many CPU threads one call may use; the setting
    is the whole process's.

    Raises ModelError if torch rejects the model, MissingDependencyError without torch.
    """

    platform: ClassVar[str] = "pytorch"

    def __init__(self, model: ModelSource, threads: int = 1) -> None:
        check_threads(threads)
        self._threads = threads
        program = read_program(model)
        self._module = program.module()
        nodes = {node.name: node for node in program.graph.nodes}
        signature = program.graph_signature
        self._given = [spec.arg for spec in signature.input_specs if spec.kind.name == "USER_INPUT"]
        self._in_spec = program.call_spec.in_spec
        self.inputs = [_info(arg.name, nodes) for arg in self._given if not _is_fixed(arg)]
        self.outputs = [_info(name, nodes) for name in signature.user_outputs if name in nodes]

    def __call__(self, *arrays: npt.ArrayLike) -> list[Array]:
        """Run the model on one array per input, in the order of `inputs`.

        Dtypes must be those of `inputs`, and so must dimensions that are not free.  Returns a new
        array per output.  Raises ModelError if an array does not fit or the model fails.
        """
        given = [np.asarray(array) for array in arrays]
        check_dtypes(given, self.inputs)
        import torch
        from torch.utils._pytree import tree_unflatten

        torch.set_num_threads(self._threads)
        left = map(_as_tensor, given)
        leaves = [arg.value if _is_fixed(arg) else next(left) for arg in self._given]
        args, kwargs = tree_unflatten(leaves, self._in_spec)
        return _run(self._module, args, kwargs)


class ModuleModel:
    """A `torch.nn.Module`, to be called with arrays in the place of an example's tensors.

    example: a tensor, or a tuple of positional or a dict of named arguments; the leaves of it that
    are no tensors are what the module is called with each time.  None: the arrays are all that it
    takes.

    Raises ArgumentError if the module is in train() mode, in which runs change it.
    """

    def __init__(self, module: Any, example: Any) -> None:
        import torch
        from torch.utils._pytree import tree_leaves

        if module.training:
            raise ArgumentError(
                "the model is in train() mode, in which running it changes it: call eval() first"
            )
        self._module = module
        self._example = None if example is None else as_arguments(example)
        leaves = tree_leaves(tuple(self._example or ()))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        self.inputs = [
            TensorInfo(f"input {i}", tuple(t.shape), str(t.dtype).partition(".")[2], None, None)
            for i, t in enumerate(tensors)
        ]

    def __call__(self, *arrays: npt.ArrayLike) -> list[Array]:
        """As `TorchModel`, with the tensors among the results as arrays."""
        import torch
        from torch.utils._pytree import tree_map

        left = [_as_tensor(np.asarray(array)) for array in arrays]
        if self._example is None:
            return _run(self._module, left, {})
        args, kwargs = tree_map(
            lambda leaf: left.pop(0) if isinstance(leaf, torch.Tensor) else leaf,
            tuple(self._example),
        )
        return _run(self._module, args, kwargs)


def as_arguments(example: Any) -> Arguments:
    """Read an example: a tensor, a tuple of positional or a dict of named arguments."""
    import torch
    from torch.utils._pytree import tree_leaves

    if isinstance(example, Arguments):
        arguments = example
    elif isinstance(example, Mapping):
        arguments = Arguments((), dict(example))
    elif isinstance(example, (tuple, list)):
        arguments = Arguments(tuple(example), {})
    else:
        arguments = Arguments((example,), {})
    if not any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(tuple(arguments))):
        raise ArgumentError(
            "example must be a tensor, or a tuple or dict of the model's arguments with at least "
            f"one tensor, not {type(example).__name__}"
        )
    return arguments


def head_arguments(example: Any) -> Arguments:
    """Those of an example's arguments that hold tensors: what a head takes."""
    args, kwargs = as_arguments(example)
    return Arguments(
        tuple(filter(tensors_in, args)),
        {name: value for name, value in kwargs.items() if tensors_in(value)},
    )


def tensors_in(value: Any) -> list[Any]:
    """The tensors in tuples, lists, dicts and dataclasses."""
    import torch
    from torch.utils._pytree import tree_leaves

    found = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            found.append(leaf)
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensors_in([getattr(leaf, f.name) for f in dataclasses.fields(leaf)])
    return found


def _run(module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Array]:
    import torch

    try:
        with torch.no_grad():
            results = module(*args, **kwargs)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise ModelError(f"the model failed to run: {one_line(error)}") from error
    return [_as_array(tensor) for tensor in tensors_in(results)]


def _as_tensor(array: Array) -> Any:
    import torch

    # copied, for torch cannot be told that an array is not to be written
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def _as_array(tensor: Any) -> Array:
    import torch

    if tensor.dtype is torch.bfloat16:
        array: Array = tensor.view(torch.uint16).numpy().view(numpy_dtype("bfloat16"))
        return array
    plain: Array = tensor.numpy()
    return plain


def read_program(model: ModelSource) -> Any:
    """Read a .pt2 file as a `torch.export.ExportedProgram`; raises as `TorchModel`."""
    data = read_bytes(model)
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "PyTorch models need torch: pip install torch==2.13.0 "
            "--extra-index-url https://download.pytorch.org/whl/cpu"
        ) from error
    if not zipfile.is_zipfile(io.BytesIO(data)):  # of which torch would log a traceback
        raise ModelError("not a model that torch.export saved: no zip archive, or a truncated one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about itself
            return torch.export.load(io.BytesIO(data))
    except Exception as error:  # it has no exception of its own
        raise ModelError(f"not a model that torch.export saved: {one_line(error)}") from error


def _is_fixed(argument: Any) -> bool:
    """Whether an argument of a saved model is no tensor: it is what it was when it was saved."""
    return hasattr(argument, "value")


def _info(name: str, nodes: dict[str, Any]) -> TensorInfo:
    value = nodes[name].meta["val"]
    shape = tuple(size if isinstance(size, int) else 1 for size in value.shape)
    return TensorInfo(name, shape, str(value.dtype).partition(".")[2], None, None)
