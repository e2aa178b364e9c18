"""Where a model can be cut, and cutting it.

>>> cuts = list_cuts("model.tflite")                        # doctest: +SKIP
>>> head, tail = split("model.tflite", at=cuts[3])          # doctest: +SKIP

Importing this package imports neither LiteRT nor flatbuffers nor onnx nor torch; the functions
import what they need when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from pysplitcodec.errors import ArgumentError
from pysplitcodec.runtime import ModelSource, is_module, model_format
from pysplitcodec.splitting.cuts import At, Cut, Split, Tensor
from pysplitcodec.splitting.model_graph import ModelGraph
from pysplitcodec.splitting.verify import Difference, verify, verify_all

if TYPE_CHECKING:
    from torch.nn import Module

__all__ = [
    "Cut",
    "Difference",
    "ModelGraph",
    "Split",
    "Tensor",
    "list_cuts",
    "read_graph",
    "split",
    "verify",
    "verify_all",
]


@overload
def read_graph(model: ModelSource) -> ModelGraph[bytes]: ...
@overload
def read_graph(model: Module, example: Any) -> ModelGraph[Module]: ...
def read_graph(model: Any, example: Any = None) -> Any:
    """Read `model` once, to list its cuts and to split it several times: see `ModelGraph`.

    model: a TFLite or ONNX model or what `torch.export.save` wrote (.pt2), as a path or bytes, or
    a `torch.nn.Module`.  example: of a module, its input: a tensor, or a tuple of positional or a
    dict of named arguments.

    Raises ModelError if `model` is not sound, SplitError if it is of a kind that cannot be split
    at all, ArgumentError for an example that is missing or not needed, MissingDependencyError
    without the extra "tflite" or "onnx".
    """
    if is_module(model):
        from pysplitcodec.splitting.torch_model import TorchGraph

        return TorchGraph(model, example)
    if example is not None:
        raise ArgumentError("example is for PyTorch models: a file says itself what it takes")
    form = model_format(model)
    if form == "pt2":
        from pysplitcodec.splitting.torch_file import TorchFileGraph

        return TorchFileGraph(model)
    if form == "onnx":
        from pysplitcodec.splitting.onnx_cuts import OnnxGraph

        return OnnxGraph(model)
    from pysplitcodec.splitting.tflite import TFLiteGraph

    return TFLiteGraph(model)


@overload
def list_cuts(model: ModelSource, *, tensors: int = 1) -> list[Cut]: ...
@overload
def list_cuts(model: Module, *, example: Any, tensors: int = 1) -> list[Cut]: ...
def list_cuts(model: Any, *, example: Any = None, tensors: int = 1) -> list[Cut]:
    """Every tensor at which `model` can be cut, in the order of computation.

    model, example: as for `read_graph`.  tensors: how many tensors may be sent at a cut.

    A tensor qualifies when no more than these have to be sent: itself, and what else depends on
    the input and is needed behind it. The model's own inputs and outputs are left out.  The list
    may be empty.

    Raises as `read_graph`; ArgumentError unless `tensors` is positive.
    """
    return read_graph(model, example).list_cuts(tensors)


@overload
def split(model: ModelSource, at: At, *, tensors: int = 1) -> Split[bytes]: ...
@overload
def split(model: Module, at: At, *, example: Any, tensors: int = 1) -> Split[Module]: ...
def split(model: Any, at: At, *, example: Any = None, tensors: int = 1) -> Split[Any]:
    """Cut `model` in two at `at`: `head, tail = split(model, at)`.

    model, example, tensors: as for `list_cuts`; numbers of cuts depend on `tensors`.  at: a Cut,
    its number, the name of its tensor or of a module that returns it, or a list of names of
    tensors that are to be sent together.

    The head takes the model's inputs and gives the tensors; the tail takes the tensors and gives
    the model's outputs.  Of files the halves are files of the same format, as bytes, of a module
    they are modules, which share its modules and parameters.

    Raises SplitError, which says what is in the way and what could be had instead, if the model
    cannot be cut there; otherwise as `list_cuts`.
    """
    return read_graph(model, example).split(at, tensors)
