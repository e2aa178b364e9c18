"""Reading ONNX files: whole, sound, and with all their weights."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pysplitcodec.errors import MissingDependencyError, ModelError
from pysplitcodec.runtime import ModelSource, one_line, read_bytes

# What one protobuf message can hold.
_MAX_BYTES = 2**31 - 1


def package() -> Any:
    """The package `onnx`, imported on first use."""
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        raise MissingDependencyError(
            'splitting ONNX models needs onnx: pip install "pysplitcodec[onnx]"'
        ) from error


def read_model(model: ModelSource) -> Any:
    """Parse an ONNX file into a `ModelProto` that holds all its weights.

    Raises ModelError for anything that is not a sound ONNX model of less than 2 GB.
    """
    onnx = package()
    data = read_bytes(model)
    if len(data) > _MAX_BYTES:
        raise _too_large(len(data))
    # What parsing raises is of another class in each of protobuf's implementations.
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:
        raise ModelError(f"not an ONNX model, or a corrupt one: {one_line(error)}") from error
    if not proto.HasField("graph"):
        raise ModelError("not an ONNX model: it holds no graph")
    outside = [tensor for tensor in _tensors(proto) if _is_outside(tensor)]
    if outside:
        _bring_in(outside, model, len(data))
    try:
        # Bytes spare it writing the model first.
        onnx.checker.check_model(proto if outside else data)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ModelError(f"the ONNX model is not valid: {one_line(error)}") from error
    return proto


def bodies(node: Any) -> Iterator[Any]:
    """The graphs inside a node, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(message: Any) -> Iterator[Any]:
    """Every `TensorProto` inside a message, wherever it is."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(part)


def _is_outside(tensor: Any) -> bool:
    return bool(tensor.data_location == package().TensorProto.EXTERNAL)


def _bring_in(tensors: list[Any], model: ModelSource, size: int) -> None:
    """Read weights that are in files beside the model, `size` bytes itself, into it."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        raise ModelError(
            f"the weights of {tensors[0].name!r} are in a separate file: give the model's path"
        )
    onnx, folder = package(), os.fspath(Path(model).parent)
    try:
        sizes = [_size(onnx.external_data_helper.ExternalDataInfo(t), folder) for t in tensors]
        if size + sum(sizes) > _MAX_BYTES:
            raise _too_large(size + sum(sizes))
        for tensor, wanted in zip(tensors, sizes):
            onnx.external_data_helper.load_external_data_for_tensor(tensor, folder)
            if len(tensor.raw_data) != wanted:
                raise ModelError(
                    f"the file with the weights of {tensor.name!r} is truncated: "
                    f"{len(tensor.raw_data)} of {wanted} bytes"
                )
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"the weights beside the ONNX model cannot be read: {one_line(error)}"
        ) from error


def _size(info: Any, folder: str) -> int:
    if info.length:
        return int(info.length)
    return Path(folder, info.location).stat().st_size - int(info.offset or 0)


def _too_large(size: int) -> ModelError:
    return ModelError(
        f"the model is too large: {size} bytes with its weights, where one ONNX file holds 2 GB"
    )
