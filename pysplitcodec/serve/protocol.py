"""Messages of the Open Inference Protocol v2, with Triton's binary tensor extension.

A message is a JSON object, and behind it the bytes of those tensors that say `binary_data_size`,
one after another in the order in which the object lists them:

    {"inputs": [{"name": "frame", "shape": [2], "datatype": "BYTES",
                 "parameters": {"binary_data_size": 47}}]}<47 bytes>

The HTTP header Inference-Header-Content-Length tells where the object ends.  Numbers are
little-endian, rows first; an element of a BYTES tensor is its length as uint32, then its bytes.

Both sides read messages with the same functions, which trust nothing: every size is checked
against what really came before anything of that size is made.
"""

from __future__ import annotations

import json
import math
import reprlib
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import ProtocolError

__all__ = [
    "DATATYPES",
    "JSON_LEN_HEADER",
    "InferRequest",
    "InferResponse",
    "Message",
    "ProtocolError",
    "datatype_of",
    "decode_object",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "parse_json_len",
    "shown",
]

Array = npt.NDArray[Any]

JSON_LEN_HEADER = "Inference-Header-Content-Length"

# The protocol's datatypes and numpy's; BYTES tensors are object arrays of bytes.
DATATYPES = {
    "BOOL": "bool",
    **{f"UINT{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BYTES": "object",
}
_DATATYPE_OF = {dtype: datatype for datatype, dtype in DATATYPES.items()}

# Python objects made from JSON take up to 25 times its length.  Large tensors belong behind it.
_MAX_JSON_LEN = 4 << 20
_MAX_RANK = 8
# An element of 4 bytes in a message becomes an object of at least 33.
_MAX_BYTES_ELEMENTS = 1 << 16
_MAX_ELEMENTS = 0x1FFFFFFF
_MAX_TIMEOUT_US = 3_600_000_000

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(frozen=True)
class Message:
    """A request's or response's body; `json_len` bytes of it are JSON, None if all are."""

    body: bytes
    json_len: int | None

    def headers(self) -> dict[str, str]:
        """The HTTP headers that go with the body."""
        if self.json_len is None:
            return {"Content-Type": "application/json"}
        length = str(self.json_len)
        return {"Content-Type": "application/octet-stream", JSON_LEN_HEADER: length}


@dataclass(frozen=True)
class InferRequest:
    """What a client asks for.

    inputs: by name; each array is the reader's own, in native byte order.
    outputs: the names wanted, and whether as binary; empty for all, then as `binary` says.
    timeout_s: how long the request may wait, from the parameter `timeout` in microseconds, which
        is Triton's; None if it has none.
    labels: the right class of each sample, from the parameter `label`; empty if it has none.
    """

    inputs: dict[str, Array]
    outputs: dict[str, bool] = field(default_factory=dict)
    binary: bool = False
    id: str = ""
    timeout_s: float | None = None
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class InferResponse:
    """What a server answers; see InferRequest for the arrays."""

    model: str
    outputs: dict[str, Array]
    parameters: dict[str, Any] = field(default_factory=dict)
    id: str = ""


def encode_request(
    inputs: Mapping[str, Array],
    *,
    id: str = "",
    timeout_s: float | None = None,
    label: npt.ArrayLike | None = None,
) -> Message:
    """Return a request for all outputs; tensors travel as binary in both directions.

    inputs: arrays by name, of a dtype in DATATYPES; object arrays must hold bytes.  timeout_s: see
    InferRequest.  label: of one sample, or a list with that of each.
    """
    top: dict[str, Any] = {"id": id} if id else {}
    top["parameters"] = {"binary_data_output": True}
    if timeout_s is not None:
        top["parameters"]["timeout"] = min(max(1, round(timeout_s * 1e6)), _MAX_TIMEOUT_US)
    if label is not None:
        top["parameters"]["label"] = np.asarray(label).tolist()
    return _encode(top, "inputs", inputs, inputs)


def decode_request(body: bytes, json_len: int | None) -> InferRequest:
    """Read a request; json_len: from `parse_json_len`.  Raises ProtocolError."""
    top, rest = decode_object(body, json_len)
    parameters = _parameters(top, "the request")
    binary = _flag(parameters, "binary_data_output", False, "the request")
    outputs: dict[str, bool] = {}
    for entry in _entries(top, "outputs", optional=True):
        name = _name(entry, outputs, "outputs")
        where = f"output {shown(name)}"
        outputs[name] = _flag(_parameters(entry, where), "binary_data", binary, where)
    timeout_us = parameters.get("timeout", 0)
    if type(timeout_us) is not int or not 0 <= timeout_us <= _MAX_TIMEOUT_US:
        raise ProtocolError(
            f"timeout of the request is {shown(timeout_us)}: expected microseconds, at most an hour"
        )
    inputs = _decode_tensors(top, "inputs", rest)
    timeout_s, labels = timeout_us / 1e6 or None, _labels(parameters)
    return InferRequest(inputs, outputs, binary, _id(top), timeout_s, labels)


def encode_response(response: InferResponse, binary: Collection[str]) -> Message:
    """Return a response; the outputs named in `binary` travel as binary, the others in JSON.

    Raises ProtocolError for NaN or infinity in JSON, which cannot hold them.
    """
    top: dict[str, Any] = {"model_name": response.model, "model_version": "1"}
    if response.id:
        top["id"] = response.id
    if response.parameters:
        top["parameters"] = response.parameters
    return _encode(top, "outputs", response.outputs, binary)


def decode_response(body: bytes, json_len: int | None) -> InferResponse:
    """Read a response; json_len: from `parse_json_len`.  Raises ProtocolError."""
    top, rest = decode_object(body, json_len)
    model = top.get("model_name")
    if not isinstance(model, str):
        raise ProtocolError("the response has no model_name")
    outputs = _decode_tensors(top, "outputs", rest)
    return InferResponse(model, outputs, _parameters(top, "the response"), _id(top))


def decode_object(body: bytes, json_len: int | None) -> tuple[dict[str, Any], memoryview]:
    """The JSON object of a message, and the bytes behind it.  Raises ProtocolError."""
    if json_len is None:
        json_len = len(body)
    elif json_len > len(body):
        raise ProtocolError(f"{JSON_LEN_HEADER} is {json_len}: the body has {len(body)} bytes")
    if json_len > _MAX_JSON_LEN:
        raise ProtocolError(
            f"the JSON part has {json_len} bytes: the limit is {_MAX_JSON_LEN}, "
            "send tensors as binary data"
        )
    try:
        top = json.loads(body[:json_len].decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(top, dict):
        raise ProtocolError(f"the JSON is no object but {shown(top)}")
    return top, memoryview(body)[json_len:]


def parse_json_len(header: str | None) -> int | None:
    """Read the header Inference-Header-Content-Length; None if it is absent.

    Raises ProtocolError unless it is a plain decimal number.
    """
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= 18):
        raise ProtocolError(f"{JSON_LEN_HEADER} is {shown(header)}: expected a number of bytes")
    return int(header)


def datatype_of(array: Array) -> str:
    """Return the protocol's name for an array's dtype.  Raises ProtocolError if it has none."""
    try:
        return _DATATYPE_OF[array.dtype.name]
    except KeyError:
        raise ProtocolError(f"the protocol has no datatype for {array.dtype}") from None


def shown(value: object) -> str:
    """Return `value` as a message may quote it: on one line, and short whoever wrote it."""
    return _SHORT.repr(value)


def _encode(
    top: dict[str, Any], key: str, tensors: Mapping[str, Array], binary: Collection[str]
) -> Message:
    listed, blobs = [], []
    for name, array in tensors.items():
        entry: dict[str, Any] = {"name": name, "datatype": datatype_of(array)}
        entry["shape"] = list(array.shape)
        if name in binary:
            blobs.append(_to_binary(array))
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = _to_json(name, array)
        listed.append(entry)
    text = json.dumps({**top, key: listed}, separators=(",", ":"), allow_nan=False).encode("ascii")
    return Message(b"".join([text, *blobs]), len(text) if blobs else None)


def _to_binary(array: Array) -> bytes:
    if array.dtype == object:
        return b"".join(
            part for item in array.flat for part in (struct.pack("<I", len(item)), item)
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _to_json(name: str, array: Array) -> list[Any]:
    if array.dtype == object:
        raise ProtocolError(f"tensor {shown(name)} is BYTES: JSON cannot hold any bytes")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ProtocolError(
            f"tensor {shown(name)} has NaN or infinite elements, which JSON cannot hold: "
            "ask for it as binary data"
        )
    flat: list[Any] = array.reshape(-1).tolist()
    return flat


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has no {name}")


def _decode_tensors(top: dict[str, Any], key: str, rest: memoryview) -> dict[str, Array]:
    """The tensors that `top` lists under `key`; `rest` must be used up exactly."""
    tensors: dict[str, Array] = {}
    for entry in _entries(top, key):
        name = _name(entry, tensors, key)
        where = f"tensor {shown(name)}"
        datatype = entry.get("datatype")
        if not isinstance(datatype, str) or datatype not in DATATYPES:
            raise ProtocolError(f"{where} has datatype {shown(datatype)}, which is unknown")
        shape = _shape(entry, where)
        size = _parameters(entry, where).get("binary_data_size")
        if (size is None) == ("data" not in entry):
            raise ProtocolError(f"{where} needs either data or a parameter binary_data_size")
        if size is None:
            tensors[name] = _from_json(entry["data"], datatype, shape, where)
            continue
        if type(size) is not int or size < 0:
            raise ProtocolError(f"{where} has binary_data_size {shown(size)}")
        if size > len(rest):
            raise ProtocolError(
                f"{where} has binary_data_size {shown(size)}: {len(rest)} bytes are left"
            )
        tensors[name] = _from_binary(rest[:size], datatype, shape, where)
        rest = rest[size:]
    if len(rest):
        raise ProtocolError(f"the body has {len(rest)} bytes behind its last tensor")
    return tensors


def _from_binary(data: memoryview, datatype: str, shape: tuple[int, ...], where: str) -> Array:
    count = math.prod(shape)
    if datatype == "BYTES":
        return _from_counted_bytes(data, count, where).reshape(shape)
    dtype = np.dtype(DATATYPES[datatype])
    if len(data) != count * dtype.itemsize:
        raise ProtocolError(
            f"{where} has {len(data)} bytes: {datatype} of shape {list(shape)} "
            f"takes {count * dtype.itemsize}"
        )
    if datatype == "BOOL" and (np.frombuffer(data, np.uint8) > 1).any():
        raise ProtocolError(f"{where} is BOOL and has bytes other than 0 and 1")
    # A copy, since the data may lie at any address and belong to the body.
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _from_counted_bytes(data: memoryview, count: int, where: str) -> Array:
    if count > _MAX_BYTES_ELEMENTS:
        raise ProtocolError(
            f"{where} has {count} elements: the limit for BYTES is {_MAX_BYTES_ELEMENTS}"
        )
    items = np.empty(count, dtype=object)
    at = 0
    for i in range(count):
        if len(data) - at < 4:
            raise ProtocolError(f"{where} ends before element {i} of {count}")
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if length > len(data) - at:
            raise ProtocolError(
                f"element {i} of {count} of {where} has {length} bytes: {len(data) - at} are left"
            )
        items[i] = bytes(data[at : at + length])
        at += length
    if at != len(data):
        raise ProtocolError(f"{where} has {len(data) - at} bytes behind its last element")
    return items


def _from_json(data: object, datatype: str, shape: tuple[int, ...], where: str) -> Array:
    """An array from lists, flat or nested as the shape says."""
    if datatype == "BYTES":
        raise ProtocolError(
            f"{where} is BYTES: expected binary data (binary_data_size), JSON cannot hold any bytes"
        )
    level: list[Any] = data if isinstance(data, list) else [data]
    if any(isinstance(item, list) for item in level):
        level = [data]
        for size in shape:
            if not all(isinstance(item, list) and len(item) == size for item in level):
                break
            level = list(chain.from_iterable(level))
    if len(level) != math.prod(shape) or any(isinstance(item, list) for item in level):
        raise ProtocolError(f"{where} has data that do not fit its shape {list(shape)}")
    dtype = np.dtype(DATATYPES[datatype])
    kinds = {"b": (bool,), "f": (int, float)}.get(dtype.kind, (int,))
    if not set(kinds).issuperset(map(type, level)):
        raise ProtocolError(f"{where} is {datatype} and has data of another kind")
    if level and dtype.kind != "b":
        limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        if not (int(limits.min) <= min(level) and max(level) <= int(limits.max)):
            raise ProtocolError(f"{where} has data that do not fit {datatype}")
    return np.array(level, dtype=dtype).reshape(shape)


def _entries(top: dict[str, Any], key: str, optional: bool = False) -> list[dict[str, Any]]:
    entries = top.get(key)
    if entries is None and optional:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ProtocolError(f"{key} is {shown(entries)}: expected a list of objects")
    return entries


def _name(entry: dict[str, Any], taken: Collection[str], key: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str):
        raise ProtocolError(f"{key} has an entry whose name is {shown(name)}")
    if name in taken:
        raise ProtocolError(f"{key} names {shown(name)} twice")
    return name


def _shape(entry: dict[str, Any], where: str) -> tuple[int, ...]:
    shape = entry.get("shape")
    # Zeros count as ones, for numpy multiplies the other dimensions too.
    if (
        not isinstance(shape, list)
        or len(shape) > _MAX_RANK
        or not all(type(size) is int and 0 <= size <= _MAX_ELEMENTS for size in shape)
        or math.prod(max(size, 1) for size in shape) > _MAX_ELEMENTS
    ):
        raise ProtocolError(
            f"{where} has shape {shown(shape)}: expected at most {_MAX_RANK} sizes "
            f"and {_MAX_ELEMENTS} elements"
        )
    return tuple(shape)


def _parameters(holder: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise ProtocolError(f"parameters of {where} are {shown(parameters)}: expected an object")
    return parameters


def _flag(parameters: dict[str, Any], key: str, default: bool, where: str) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"{key} of {where} is {shown(value)}: expected true or false")
    return value


def _labels(parameters: dict[str, Any]) -> tuple[int, ...]:
    given = parameters.get("label")
    if given is None:
        return ()
    labels = given if isinstance(given, list) else [given]
    if not labels or not all(type(label) is int for label in labels):
        raise ProtocolError(
            f"label of the request is {shown(given)}: expected an integer, or one for each sample"
        )
    return tuple(labels)


def _id(top: dict[str, Any]) -> str:
    name = top.get("id", "")
    if not isinstance(name, str):
        raise ProtocolError(f"id is {shown(name)}: expected a string")
    return name
