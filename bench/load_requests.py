"""What bench/load.py sends: good requests with the answers they must have, bad ones with theirs."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from pysplitcodec import Codec
from pysplitcodec.native import core
from pysplitcodec.runtime import Model
from pysplitcodec.serve import protocol

__all__ = ["BAD_KINDS", "Maker", "Request", "http_post", "is_refusal", "mixed", "random_frames"]

FEATURES = 32  # different ones: an answer that belongs to another request is noticed
VARIANTS = 16  # of each kind of bad request
BAD_KINDS = (
    "damaged",
    "huge",
    "wrong_shape",
    "unknown_model",
    "oversize",
    "leaves",
    "wrong_token",
)
# more than any server allows
OVERSIZE = 1 << 40


@dataclass(frozen=True)
class Request:
    """One HTTP request, and what is right for a server to do with it.

    data: all of it, or what is sent before `rest`, which then dribbles a byte at a time.
    outcomes: statuses that are right, or "closed": the connection, without an answer.
    is_right: whether a body is, of an answer with one of the statuses in `outcomes`.
    leaves: the connection is closed once `data` are sent; nothing is right or wrong then.
    """

    kind: str
    data: bytes
    outcomes: frozenset[str]
    is_right: Callable[[int, bytes], bool]
    rest: bytes = b""
    leaves: bool = False


def is_refusal(body: bytes) -> bool:
    """Whether a body says what was wrong, as all errors of the server do."""
    try:
        top = json.loads(body)
    except ValueError:
        return False
    return isinstance(top, dict) and list(top) == ["error"] and bool(top["error"])


def random_frames(codec: Codec, count: int, seed: int) -> list[bytes]:
    """Frames of features that are drawn from the codec's centroids, all equally likely."""
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, 1 << codec.bits, (count, *codec.shape), dtype=np.uint8)
    return codec.encode_batch(np.stack([codec.dequantize(one) for one in indices]))


class Maker:
    """Makes requests to one server for one tail.

    host: for the header.  model: the tail's name on the server.  tail: the same tail, run here for
    the answers that are right.  token: sent with every request, as a bearer token; None for a
    server that asks for none.  busy: a status that a good request may get too, None if none.
    """

    def __init__(
        self,
        host: str,
        model: str,
        tail: Model,
        codec: Codec,
        *,
        token: str | None = None,
        busy: int | None = None,
        seed: int = 0,
    ) -> None:
        self._host, self._path, self._token = host, f"/v2/models/{model}/infer", token
        self._tail, self._codec = tail, codec
        self._busy = set() if busy is None else {str(busy)}
        self._rng = random.Random(seed)
        self._frames = random_frames(codec, FEATURES, seed)

    def good(self) -> list[Request]:
        """One for each feature: a frame in, all outputs out, as binary."""
        made = []
        for frame in self._frames:
            feature = self._codec.decode(frame).reshape(self._tail.inputs[0].shape)
            outputs = b"".join(output.tobytes() for output in self._tail(feature))
            is_right = partial(_ends_with, outputs)
            outcomes = frozenset({"200"} | self._busy)
            made.append(Request("good", self._http(_frame_request(frame)), outcomes, is_right))
        return made

    def bad(self, kinds: Sequence[str]) -> list[Request]:
        """Several of each kind, of BAD_KINDS; wrong tokens only if there is a right one."""
        makers = {
            "damaged": lambda: self._refused("damaged", 400, _frame_request(self._damaged())),
            "huge": lambda: self._refused("huge", 400, self._huge()),
            "wrong_shape": lambda: self._refused("wrong_shape", 400, self._wrong_shape()),
            "unknown_model": self._unknown_model,
            "oversize": self._oversize,
            "leaves": self._leaves,
            "wrong_token": self._wrong_token,
        }
        asked = [kind for kind in kinds if kind != "wrong_token" or self._token is not None]
        return [makers[kind]() for kind in asked for _ in range(VARIANTS)]

    def slow(self) -> Request:
        """A good request whose body dribbles: 408 is right, or the end of the connection."""
        data = self._http(_frame_request(self._frames[0]))
        begin = data.index(b"\r\n\r\n") + 8
        return Request("slow", data[:begin], frozenset({"408", "closed"}), _refuses, data[begin:])

    def _refused(self, kind: str, status: int, message: protocol.Message) -> Request:
        return Request(kind, self._http(message), frozenset({str(status)}), _refuses)

    def _damaged(self) -> bytes:
        frame = bytearray(self._rng.choice(self._frames))
        way = self._rng.randrange(3)
        if way == 0:
            frame[self._rng.randrange(len(frame))] ^= 1 << self._rng.randrange(8)
        elif way == 1:
            del frame[self._rng.randrange(len(frame)) :]
        else:  # looks like a frame, and is noise
            frame[1:] = self._rng.randbytes(len(frame) - 1)
        return bytes(frame)

    def _huge(self) -> protocol.Message:
        """A frame, or an element of the tensor, that claims 4 GiB and has a few bytes."""
        if self._rng.randrange(2):
            message = _frame_request(self._frames[0])
            assert message.json_len is not None
            begin = message.body[: message.json_len]
            return protocol.Message(
                begin + b"\xff" * 4 + message.body[len(begin) + 4 :], len(begin)
            )
        feature = self._codec.decode(self._frames[0])
        frame = bytearray(self._codec.encode(feature, self_describing=True))
        dims = (1 << 30, *[1] * (feature.ndim - 1))  # of float32
        struct.pack_into(f"<{len(dims)}I", frame, 12, *dims)
        frame[-4:] = struct.pack("<I", core.crc32c(bytes(frame[:-4])))
        return _frame_request(bytes(frame))

    def _wrong_shape(self) -> protocol.Message:
        info = self._tail.inputs[0]
        shape = (*info.shape[:-1], info.shape[-1] + 1)
        return protocol.encode_request({info.name: np.zeros(shape, info.dtype)})

    def _unknown_model(self) -> Request:
        name = f"nobody{self._rng.randrange(1000)}"
        data = self._http(_frame_request(self._frames[0]), path=f"/v2/models/{name}/infer")
        return Request("unknown_model", data, frozenset({"404"}), _refuses)

    def _wrong_token(self) -> Request:
        data = self._http(_frame_request(self._frames[0]), token=f"{self._token}x")
        return Request("wrong_token", data, frozenset({"401"}), _refuses)

    def _oversize(self) -> Request:
        """Says how much it will send, and waits for what the server says to that."""
        head, _, _ = self._http(_frame_request(self._frames[0]), length=OVERSIZE).partition(_END)
        return Request("oversize", head + _END, frozenset({"413"}), _refuses)

    def _leaves(self) -> Request:
        data = self._http(_frame_request(self._rng.choice(self._frames)))
        body = data.index(_END) + len(_END)
        cut = data[: self._rng.randrange(body, len(data))]
        return Request("leaves", cut, frozenset({"closed"}), _refuses, leaves=True)

    def _http(
        self,
        message: protocol.Message,
        *,
        path: str | None = None,
        token: str | None = None,
        length: int | None = None,
    ) -> bytes:
        headers = message.headers()
        token = token or self._token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return http_post(self._host, path or self._path, message.body, headers, length)


def http_post(
    host: str, path: str, body: bytes, headers: Mapping[str, str], length: int | None = None
) -> bytes:
    """A request as it is sent; length: what it says of the body's, by default the truth."""
    length = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("ascii") + _END + body


def mixed(
    good: Sequence[Request], bad: Sequence[Request], share: float, seed: int
) -> Iterator[Request]:
    """Requests without end, of which a share is bad; the same for the same seed."""
    rng = random.Random(seed)
    while True:
        yield rng.choice(bad if bad and rng.random() < share else good)


_END = b"\r\n\r\n"


def _frame_request(frame: bytes) -> protocol.Message:
    tensor: npt.NDArray[np.object_] = np.empty(1, dtype=object)
    tensor[0] = frame
    return protocol.encode_request({"frame": tensor})


def _ends_with(outputs: bytes, status: int, body: bytes) -> bool:
    """Whether an answer is JSON and then these bytes, or says why the server is busy."""
    if status != 200:
        return is_refusal(body)
    return body.endswith(outputs) and body[-len(outputs) - 1 : -len(outputs)] == b"}"


def _refuses(_status: int, body: bytes) -> bool:
    return is_refusal(body)
