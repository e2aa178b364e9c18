"""TFLite models whose weights are packed, as they are sent to a device.

A file as of `pack_weights`: the flatbuffer without the buffers that were packed, as bytes under
"model", and each of those buffers under its number.  A device gives them back to the flatbuffer and
runs that: the weights lie on few levels, and are computed with as floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pysplitcodec.errors import ArgumentError, ModelError
from pysplitcodec.plan.packed_weights import pack_weights, unpack_weights
from pysplitcodec.runtime import ModelSource
from pysplitcodec.splitting.tflite_file import AlignedBuffer, read_model, tensor_name, write_model

__all__ = [
    "WeightTensor",
    "pack_tflite",
    "read_weights",
    "tflite_weights",
    "unpack_tflite",
    "with_weights",
]

_MODEL = "model"
_FLOAT32 = 0  # of the schema's TensorType


class WeightTensor(NamedTuple):
    """A constant float32 tensor of a model."""

    name: str
    shape: tuple[int, ...]


def tflite_weights(model: ModelSource) -> list[WeightTensor]:
    """The constant float32 tensors of a TFLite model (path or bytes), which can be packed.

    Layers' weights have two dimensions or more, biases one.  Raises ModelError if it is no sound
    TFLite model, MissingDependencyError without the extra "tflite".
    """
    return [tensor for tensor, _ in _weights(_read(model))]


def read_weights(model: ModelSource, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """The values of some weights of a TFLite model (path or bytes), by name.

    Raises ArgumentError for names that no weights have, or several; otherwise as `tflite_weights`.
    """
    tree = _read(model)
    return {name: _named(tree, name, "names have")[1] for name in names}


def with_weights(model: ModelSource, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """A TFLite model (path or bytes) with some weights replaced.

    Tensors that share their weights get the new ones together.  Raises ArgumentError for names as
    `read_weights`, and for arrays of another shape or dtype; ModelError where other tensors than
    weights share them; otherwise as `tflite_weights`.
    """
    tree = _read(model)
    filled = set()
    for name, values in weights.items():
        number, plain = _named(tree, name, "weights name")
        if values.dtype != np.float32 or values.shape != plain.shape:
            raise ArgumentError(
                f"weights {name!r} are {values.dtype} of shape {values.shape}: expected float32 of "
                f"shape {plain.shape}"
            )
        tree.buffers[number].data = _stored(values)
        filled.add(number)
    _check_sizes(tree, filled)
    return _written(tree)


def pack_tflite(model: ModelSource, bits: Mapping[str, int], *, coder: str = "pack") -> bytes:
    """Write a TFLite model (path or bytes) with some of its weights in few bits.

    bits: 1 to 8 by the names that `tflite_weights` lists.  coder: see `pack_weights`.

    Raises ArgumentError for names that no weights have, or several, and for widths that differ for
    tensors of one buffer; ModelError where other tensors than weights share it; otherwise as
    `tflite_weights` and `pack_weights`.
    """
    tree = _read(model)
    arrays: dict[str, NDArray[Any]] = {}
    widths: dict[str, int] = {}
    for name, width in bits.items():
        number, values = _named(tree, name, "bits name")
        if widths.setdefault(str(number), width) != width:
            raise ArgumentError(
                f"bits of {name!r} are {width}: expected {widths[str(number)]}, for it shares "
                "another tensor's weights"
            )
        arrays[str(number)] = values
    numbers = {int(number) for number in arrays}
    _check_sizes(tree, numbers)  # some other tensor may have the same bytes
    for number in numbers:
        # of no bytes, not without any: the tensor stays a constant, and its loss is noticed
        tree.buffers[number].data = np.empty(0, np.uint8)
    arrays[_MODEL] = np.frombuffer(_written(tree), np.uint8)
    return pack_weights(arrays, widths, coder=coder)


def unpack_tflite(data: bytes, *, max_elements: int = 1 << 26) -> bytes:
    """Read what `pack_tflite` wrote: a TFLite model in float32.

    max_elements: of all packed weights together.  Raises ModelError for bytes that are none of
    ours, or whose parts do not fit one another; FrameError for damaged weights;
    MissingDependencyError without safetensors or the extra "tflite".
    """
    arrays = unpack_weights(data, max_elements=max_elements)
    model = arrays.pop(_MODEL, None)
    if model is None or model.dtype != np.uint8 or model.ndim != 1:
        raise ModelError(f"the bytes hold no packed TFLite model: expected bytes under {_MODEL!r}")
    tree = _read(model.tobytes())
    buffers = tree.buffers
    for name, values in arrays.items():
        if not (name.isascii() and name.isdigit() and str(int(name[:9])) == name):
            raise ModelError(f"the packed model has {name!r}: expected numbers of buffers")
        number = int(name)
        empty = number < len(buffers) and buffers[number].data is not None
        if not empty or len(buffers[number].data) or values.dtype != np.float32:
            raise ModelError(
                f"the packed model has {values.dtype} for buffer {name}: expected float32 for one "
                "that is empty"
            )
        buffers[number].data = _stored(values)
    _check_sizes(tree, {int(name) for name in arrays})
    return _written(tree)


def _read(model: ModelSource) -> Any:
    tree = read_model(model)
    tree.buffers = tree.buffers or []
    return tree


def _weights(tree: Any) -> Iterator[tuple[WeightTensor, int]]:
    """Weights, and the numbers of their buffers."""
    for tensor in _tensors(tree):
        shape = _shape(tensor)
        data = tree.buffers[tensor.buffer].data if tensor.buffer < len(tree.buffers) else None
        if tensor.type == _FLOAT32 and data is not None and len(data) == 4 * math.prod(shape) > 0:
            yield WeightTensor(tensor_name(tensor), shape), tensor.buffer


def _named(tree: Any, name: str, given: str) -> tuple[int, NDArray[np.float32]]:
    """The one weight tensor of a name: its buffer's number, and its values."""
    found = [(tensor, number) for tensor, number in _weights(tree) if tensor.name == name]
    if not found:
        known = ", ".join(repr(tensor.name) for tensor, _ in _weights(tree)) or "none"
        raise ArgumentError(
            f"{given} {name!r}: expected float32 weights, of which there are {known}"
        )
    if len({number for _, number in found}) > 1:
        raise ArgumentError(f"{given} {name!r}: {len(found)} weight tensors have this name")
    tensor, number = found[0]
    stored = np.asarray(tree.buffers[number].data, np.uint8)
    return number, stored.view("<f4").astype(np.float32).reshape(tensor.shape)


def _stored(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.frombuffer(values.astype("<f4").tobytes(), np.uint8)


def _check_sizes(tree: Any, filled: set[int]) -> None:
    """Every constant has the bytes that its shape takes: the runtime does not check them all."""
    for tensor in _tensors(tree):
        if not 0 < tensor.buffer < len(tree.buffers):
            continue
        name, shape = tensor_name(tensor), _shape(tensor)
        wanted = 4 * math.prod(shape)
        data = tree.buffers[tensor.buffer].data
        if tensor.buffer in filled and (tensor.type != _FLOAT32 or len(data) != wanted):
            raise ModelError(
                f"the model has {len(data)} bytes for {name!r}, of type {tensor.type} and "
                f"shape {shape}: expected float32 in {wanted} bytes"
            )
        if tensor.type == _FLOAT32 and data is not None and not len(data) and wanted:
            raise ModelError(f"the packed model lacks the weights {name!r}")


def _tensors(tree: Any) -> Iterator[Any]:
    for subgraph in tree.subgraphs or []:
        yield from subgraph.tensors or []


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def _written(tree: Any) -> bytes:
    data = [None if one.data is None else np.asarray(one.data, np.uint8) for one in tree.buffers]
    tree.buffers = [AlignedBuffer(one) for one in data]
    # where the weights were, in the file that was read
    tree.metadata = [one for one in tree.metadata or [] if one.name != b"buffer_location"] or None
    return write_model(tree)
