"""One frame and what the tail makes of it, as bytes, for links that are not HTTP.

Little-endian.  A request is 12 bytes, the model's name, and the frame:

    u8 1 | u8 length of the name | u16 timeout in ms, 0 for none | u64 id | name | frame

A reply is 12 bytes and, where status is 200, times and outputs, otherwise why:

    u8 2 | u8 number of outputs | u16 status, as HTTP's | u64 id
        | u32 decode_us | u32 tail_us | for each output:
            u8 length of the name | u8 datatype | u8 rank | u8 0 | u32 sizes | name | data
        or
        | u16 seconds after which it may be sent again, 0 if never | UTF-8

The datatype is the place in `DATATYPES` below; data are rows first.  A hello, with which a
connection begins where the server needs tokens, is

    u8 3 | token as UTF-8

Ids begin at 1: a reply of id 0 is not to a request but to a hello, or to what could not be read.
docs/links.md says how messages travel.  Both sides trust nothing: what does not add up is a
ProtocolError.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import ProtocolError
from pysplitcodec.serve.protocol import shown

__all__ = ["DATATYPES", "HELLO", "MAX_REPLY_LEN", "FrameReply", "FrameRequest", "Hello"]

# The longest reply that clients take.
MAX_REPLY_LEN = 64 << 20
HELLO = 3
_REQUEST, _REPLY = 1, 2
_HEAD = struct.Struct("<BBHQ")
_TIMES = struct.Struct("<II")
_RETRY = struct.Struct("<H")
_OUTPUT = struct.Struct("<BBBB")
_MAX_U16, _MAX_U32 = 0xFFFF, 0xFFFFFFFF
_MAX_RANK = 8
_MAX_COUNT = 255
_OK = 200

DATATYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
)


@dataclass(frozen=True)
class FrameRequest:
    """A frame for a tail.

    id: from 1 to below 2**64, its client's own: a request that comes again with it is not run
    again.  model: "" for the server's first.  timeout_s: how long it may wait there, 65 s at most.
    """

    id: int
    frame: bytes
    model: str = ""
    timeout_s: float | None = None

    def pack(self) -> bytes:
        """The request as bytes.

        Raises ProtocolError for an id that is none, and a name of more than 255 bytes.
        """
        name = self.model.encode()
        if len(name) > _MAX_COUNT:
            raise ProtocolError(
                f"model is {shown(self.model)}, of {len(name)} bytes: expected {_MAX_COUNT} at most"
            )
        if not 0 < self.id < 1 << 64:
            raise ProtocolError(f"id is {self.id}: expected 1 to 2**64 - 1")
        timeout_ms = 0
        if self.timeout_s is not None:
            timeout_ms = max(1, math.ceil(min(self.timeout_s * 1e3, _MAX_U16)))
        return _HEAD.pack(_REQUEST, len(name), timeout_ms, self.id) + name + self.frame

    @classmethod
    def read(cls, data: bytes) -> FrameRequest:
        """Read what `pack` gives."""
        name_len, timeout_ms, id, rest = _head(data, _REQUEST, "request")
        if id == 0:
            raise ProtocolError("the request has id 0: expected 1 to 2**64 - 1")
        if name_len > len(rest):
            raise ProtocolError(f"the name has {name_len} bytes: {len(rest)} are left")
        model = _text(rest[:name_len])
        return cls(id, bytes(rest[name_len:]), model, timeout_ms / 1e3 or None)


@dataclass(frozen=True)
class FrameReply:
    """What became of a request.

    status: 200, or as HTTP's.  outputs: by name; empty unless status is 200.  decode_s, tail_s:
    seconds the server spent on decoding and in the model.  error: why not; retry_after_s: when the
    request may be sent again, None if that is of no use.
    """

    id: int
    status: int = _OK
    outputs: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    decode_s: float = 0.0
    tail_s: float = 0.0
    error: str = ""
    retry_after_s: float | None = None

    def pack(self) -> bytes:
        """The reply as bytes.  Raises ProtocolError for outputs that it has no form for."""
        if len(self.outputs) > _MAX_COUNT:
            raise ProtocolError(f"there are {len(self.outputs)} outputs: at most {_MAX_COUNT} fit")
        head = _HEAD.pack(_REPLY, len(self.outputs), self.status, self.id)
        if self.status != _OK:
            retry_s = 0
            if self.retry_after_s is not None:
                retry_s = max(1, math.ceil(min(self.retry_after_s, _MAX_U16)))
            return head + _RETRY.pack(retry_s) + self.error.encode()
        times_us = (min(round(1e6 * s), _MAX_U32) for s in (self.decode_s, self.tail_s))
        parts = [head, _TIMES.pack(*times_us)]
        for name, array in self.outputs.items():
            parts += _packed(name, array)
        return b"".join(parts)

    @classmethod
    def read(cls, data: bytes) -> FrameReply:
        """Read what `pack` gives."""
        count, status, id, rest = _head(data, _REPLY, "reply")
        if status != _OK:
            (retry_s,) = _unpack(_RETRY, rest)
            return cls(id, status, error=_text(rest[_RETRY.size :]), retry_after_s=retry_s or None)
        decode_us, tail_us = _unpack(_TIMES, rest)
        rest = rest[_TIMES.size :]
        outputs: dict[str, npt.NDArray[Any]] = {}
        for _ in range(count):
            name, array, rest = _output(rest)
            outputs[name] = array
        if len(rest) or len(outputs) != count:
            raise ProtocolError(f"the reply has {len(outputs)} outputs and {len(rest)} bytes more")
        return cls(id, status, outputs, decode_us / 1e6, tail_us / 1e6)


@dataclass(frozen=True)
class Hello:
    """Who connects: a token, as `splitcodec token` makes it."""

    token: str

    def pack(self) -> bytes:
        """The hello as bytes."""
        return bytes((HELLO,)) + self.token.encode()

    @classmethod
    def read(cls, data: bytes) -> Hello:
        """Read what `pack` gives."""
        if data[:1] != bytes((HELLO,)):
            raise ProtocolError(f"the message is {shown(bytes(data[:12]))}: expected a hello")
        return cls(_text(memoryview(data)[1:]))


def _packed(name: str, array: npt.NDArray[Any]) -> list[bytes]:
    text, dtype = name.encode(), array.dtype.name
    if (
        dtype not in DATATYPES
        or array.ndim > _MAX_RANK
        or len(text) > _MAX_COUNT
        or max(array.shape, default=0) > _MAX_U32
    ):
        raise ProtocolError(
            f"output {shown(name)} is {dtype} of shape {array.shape}: no reply can hold it"
        )
    return [
        _OUTPUT.pack(len(text), DATATYPES.index(dtype), array.ndim, 0),
        struct.pack(f"<{array.ndim}I", *array.shape),
        text,
        array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(),
    ]


def _head(data: bytes, kind: int, what: str) -> tuple[int, int, int, memoryview]:
    """The three numbers of a head, and what is behind it."""
    if len(data) < _HEAD.size:
        raise ProtocolError(f"the {what} has {len(data)} bytes: expected {_HEAD.size} at least")
    given, first, second, id = _HEAD.unpack_from(data)
    if given != kind:
        raise ProtocolError(f"the message is of kind {given}: expected a {what}, which is {kind}")
    return first, second, id, memoryview(data)[_HEAD.size :]


def _output(rest: memoryview) -> tuple[str, npt.NDArray[Any], memoryview]:
    """The first output, and what is behind it."""
    name_len, code, rank, _ = _unpack(_OUTPUT, rest)
    if code >= len(DATATYPES) or rank > _MAX_RANK:
        raise ProtocolError(f"an output has datatype {code} and rank {rank}")
    sizes = struct.Struct(f"<{rank}I")
    shape = _unpack(sizes, rest[_OUTPUT.size :])
    rest = rest[_OUTPUT.size + sizes.size :]
    dtype = np.dtype(DATATYPES[code])
    length = math.prod(shape) * dtype.itemsize
    if name_len + length > len(rest):
        raise ProtocolError(f"an output has {name_len + length} bytes: {len(rest)} are left")
    name, data = _text(rest[:name_len]), rest[name_len : name_len + length]
    if dtype.kind == "b" and (np.frombuffer(data, np.uint8) > 1).any():
        raise ProtocolError(f"output {shown(name)} is bool and has bytes other than 0 and 1")
    try:
        found = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    except ValueError as error:  # no elements, in more of a shape than numpy has
        raise ProtocolError(f"output {shown(name)} is of shape {shape}: {error}") from None
    return name, found, rest[name_len + length :]


def _unpack(form: struct.Struct, data: memoryview) -> tuple[int, ...]:
    if len(data) < form.size:
        raise ProtocolError(f"the message ends within its numbers: {len(data)} bytes are left")
    return form.unpack_from(data)


def _text(data: memoryview) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"{shown(bytes(data[:80]))} is no UTF-8") from None
