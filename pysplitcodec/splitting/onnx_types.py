"""Types and shapes of the tensors of an ONNX model, which its file need not hold."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pysplitcodec.errors import MissingDependencyError, ModelError
from pysplitcodec.runtime import ONNX_DTYPES, OnnxModel
from pysplitcodec.splitting.onnx_extract import extract
from pysplitcodec.splitting.onnx_file import package
from pysplitcodec.splitting.onnx_graph import Graph

# Larger constants are no shapes and axes, so inferring shapes does not need their values.
_SMALL = 1024


class Tensor(NamedTuple):
    """What the halves have to say of a tensor, and what it is where free dimensions are 1."""

    type: Any  # TypeProto
    shape: tuple[int, ...]
    dtype: str
    known: bool  # all of the shape, of which otherwise some is taken for 1


def tensors_of(graph: Graph, names: Sequence[str]) -> dict[str, Tensor]:
    """What `names` are, without those that are no arrays of numbers or of which too little is
    known.

    What shape inference leaves open is found out by running the graph, where ONNX Runtime is
    installed and can run it.
    """
    types = _inferred(graph, names)
    shapes = {name: _shape(type_) for name, type_ in types.items()}
    vague = [name for name in names if None in shapes.get(name, [None])]
    if vague:
        fixed = _infer(graph, vague, [], fixed=True)
        shapes.update((name, _shape(type_)) for name, type_ in fixed.items())
        vague = [name for name in names if None in shapes.get(name, [None])]
    for name, array in _run(graph, vague).items():
        shapes[name] = list(array.shape)
        if name not in types or not types[name].tensor_type.HasField("shape"):
            types[name] = _type_like(array)
    found = {}
    for name in names:
        dtype = _dtype(types[name]) if name in types else None
        if dtype is not None and types[name].tensor_type.HasField("shape"):
            shape = shapes[name]
            found[name] = Tensor(types[name], _filled(shape), dtype, None not in shape)
    return found


def end_of(type_: Any) -> tuple[tuple[int, ...], str]:
    """Shape, whose free dimensions are 1, and dtype of an input or output of a model."""
    return _filled(_shape(type_)), _dtype(type_) or "other"


def _filled(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(1 if size is None else size for size in shape)


def _type_like(array: Any) -> Any:
    """The type of a tensor like `array`, whose dimensions are free."""
    helper = package().helper
    elements = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_type_proto(elements, [None] * array.ndim)


def _shape(type_: Any) -> list[int | None]:
    """The dimensions of a type, None for those that are not known."""
    if not type_.tensor_type.HasField("shape"):
        return [None]
    return [d.dim_value if d.HasField("dim_value") else None for d in type_.tensor_type.shape.dim]


def _dtype(type_: Any) -> str | None:
    try:
        name = np.dtype(package().helper.tensor_dtype_to_np_dtype(type_.tensor_type.elem_type)).name
    except (KeyError, TypeError):
        return None
    # Others (strings, bfloat16, 4-bit integers) are no arrays that can be sent.
    return name if name in ONNX_DTYPES.values() else None


def _inferred(graph: Graph, names: Sequence[str]) -> dict[str, Any]:
    """The types of those of `names` of which ONNX knows at least the element type.

    The file's own are used only if inference fails without them, as behind custom operators:
    tools that change a model's inputs leave them as they were.
    """
    found = _infer(graph, names, [])
    if len(found) < len(names) and graph.model.graph.value_info:
        found = {**_infer(graph, names, graph.model.graph.value_info), **found}
    return found


def _infer(
    graph: Graph, names: Sequence[str], known: Sequence[Any], fixed: bool = False
) -> dict[str, Any]:
    """As `_inferred`, with the types in `known`; fixed: of free dimensions, which are then 1."""
    onnx, old = package(), graph.model.graph
    # From version 4 on, initialisers need not be inputs.
    model = onnx.ModelProto(ir_version=max(graph.model.ir_version, 4))
    model.opset_import.extend(graph.model.opset_import)
    model.functions.extend(graph.model.functions)
    model.graph.name = old.name
    model.graph.node.extend(old.node)
    model.graph.input.extend(i for i in old.input if i.name in graph.inputs)
    if fixed:
        for given in model.graph.input:
            for dimension in given.type.tensor_type.shape.dim:
                if not dimension.HasField("dim_value"):
                    dimension.dim_value = 1
    for tensor in old.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            model.graph.initializer.append(tensor)
        else:
            model.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    model.graph.sparse_initializer.extend(old.sparse_initializer)
    model.graph.value_info.extend(known)
    # Where inference stumbles over a node, the file's own types are all there is.
    with contextlib.suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    wanted = set(names)
    return {
        v.name: v.type
        for v in model.graph.value_info
        if v.name in wanted and v.type.tensor_type.elem_type
    }


def _run(graph: Graph, names: Sequence[str]) -> dict[str, Any]:
    """The values of `names` for inputs of zeros whose free dimensions are 1, if that works."""
    if not names:
        return {}
    inputs = [i for i in graph.model.graph.input if i.name in graph.inputs]
    outputs = [package().ValueInfoProto(name=name) for name in names]
    try:
        model = OnnxModel(extract(graph, graph.head(names), inputs, outputs), optimise=False)
        arrays = model(*(np.zeros(info.shape, info.dtype) for info in model.inputs))
    except (ModelError, MissingDependencyError):
        return {}
    return dict(zip(names, arrays))
