"""The edge's side: sends frames to a tail server and reads its answers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError, FeatureError, ServerError
from pysplitcodec.frame import inspect
from pysplitcodec.serve import protocol
from pysplitcodec.serve.connection import Connection

if TYPE_CHECKING:
    from types import TracebackType

    from pysplitcodec.runtime import Model

__all__ = ["EdgeClient", "EdgeReply", "TailClient", "TailReply"]

Array = npt.NDArray[Any]
Frame = Union[bytes, bytearray, memoryview]


@dataclass(frozen=True)
class TailReply:
    """What the tail made of one request.

    outputs: by name, with as many rows as frames were sent.
    decode_s, tail_s: seconds the server spent on decoding and in the model; NaN if it did not say.
    roundtrip_s: seconds from the start of sending to the end of the answer, the server's work
        included.
    sent_bytes, received_bytes: lengths of the HTTP bodies; headers come on top.
    """

    outputs: dict[str, Array]
    decode_s: float
    tail_s: float
    roundtrip_s: float
    sent_bytes: int
    received_bytes: int


class TailClient:
    """A connection to a tail server, kept open between requests.

    url: such as "http://192.168.1.20:8000".  model: its name on the server, otherwise the one the
    server names first.  timeout_s: how long to wait for the server to accept, take or send
    anything.  Nothing is sent before the first call, and proxies set in the environment are not
    used.  Safe to use from several threads; close it, or use it in a `with` statement.

    All methods but `ready` raise ServerError if the server is not there, refuses or fails.
    """

    def __init__(self, url: str, model: str | None = None, timeout_s: float = 10.0) -> None:
        self._connection = Connection(url, timeout_s)
        self.url = self._connection.url
        self._model = model
        self._input: str | None = None

    @property
    def model(self) -> str:
        """The model's name; the first use asks the server unless it was given."""
        if self._model is None:
            models = self._get("/v2").get("models")
            if not isinstance(models, list) or not models or not isinstance(models[0], str):
                raise ServerError(f"{self.url} does not say which models it has: name one")
            self._model = models[0]
        return self._model

    def ready(self) -> bool:
        """Whether the server answers and has the model."""
        try:
            self._get(f"{self._path()}/ready")
        except ServerError:
            return False
        return True

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata: inputs, outputs, and in `parameters` the codec ids."""
        return self._get(self._path())

    def infer(self, frames: Frame | Sequence[Frame]) -> TailReply:
        """Have one or several frames decoded and run through the tail."""
        if isinstance(frames, (bytes, bytearray, memoryview)):
            frames = [frames]
        tensor = np.empty(len(frames), dtype=object)
        for i, frame in enumerate(frames):
            tensor[i] = bytes(frame)
        return self._infer({"frame": tensor})

    def infer_tensor(self, array: Array) -> TailReply:
        """Run the tail on features as they are, not encoded.

        array: of the tail's input dtype and shape, or with more samples along the first axis.
        """
        if self._input is None:
            try:
                inputs = self.metadata()["inputs"]
                (self._input,) = [str(i["name"]) for i in inputs if i["datatype"] != "BYTES"]
            except (KeyError, TypeError, ValueError):
                raise ServerError(
                    f"model {self.model!r} of {self.url} has no input for plain tensors, or several"
                ) from None
        return self._infer({self._input: array})

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> TailClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _path(self) -> str:
        return f"/v2/models/{quote(self.model, safe='')}"

    def _get(self, path: str) -> dict[str, Any]:
        return self._connection.exchange_json("GET", path)

    def _infer(self, inputs: Mapping[str, Array]) -> TailReply:
        path = f"{self._path()}/infer"
        message = protocol.encode_request(inputs)
        begin = time.perf_counter()
        body, headers = self._connection.exchange("POST", path, message.body, message.headers())
        roundtrip_s = time.perf_counter() - begin
        try:
            json_len = protocol.parse_json_len(headers.get(protocol.JSON_LEN_HEADER))
            response = protocol.decode_response(body, json_len)
        except protocol.ProtocolError as error:
            raise ServerError(f"{self.url} sent an answer that makes no sense: {error}") from None
        return TailReply(
            response.outputs,
            _seconds(response.parameters.get("decode_us")),
            _seconds(response.parameters.get("tail_us")),
            roundtrip_s,
            len(message.body),
            len(body),
        )


@dataclass(frozen=True)
class EdgeReply:
    """The outputs of a split model, and where the time and the bytes went.

    frame_len, payload_len: bytes of the frame sent, and of the payload in it.
    head_s, encode_s: seconds in the head and in encoding its feature.
    """

    outputs: dict[str, Array]
    frame_len: int
    payload_len: int
    head_s: float
    encode_s: float
    tail: TailReply


class EdgeClient:
    """A split model as the edge device sees it: head and codec here, the tail behind `tail`.

    head: has one output, of the codec's dtype and shape, or with a leading batch axis of 1.
    Raises ArgumentError if head and codec do not fit each other.
    """

    def __init__(self, head: Model, codec: Codec, tail: TailClient) -> None:
        if len(head.outputs) != 1:
            raise ArgumentError(f"the head has {len(head.outputs)} outputs: expected one")
        output = head.outputs[0]
        if output.dtype != codec.dtype or output.shape not in (codec.shape, (1, *codec.shape)):
            raise ArgumentError(
                f"the head gives {output.dtype} of shape {output.shape}: the codec is for "
                f"{codec.dtype} features of shape {codec.shape}"
            )
        self.head = head
        self.codec = codec
        self.tail = tail

    def run(self, *inputs: npt.ArrayLike) -> EdgeReply:
        """Run the split model on one sample.

        inputs: what the head takes.  Raises ModelError if they do not fit it, FeatureError if they
        hold more than one sample, ServerError if the server is not there, refuses or fails.
        """
        begin = time.perf_counter()
        (feature,) = self.head(*inputs)
        headed = time.perf_counter()
        if feature.size != math.prod(self.codec.shape):
            raise FeatureError(
                f"the head gave shape {feature.shape}: expected one feature of {self.codec.shape}"
            )
        frame = self.codec.encode(feature.reshape(self.codec.shape))
        encoded = time.perf_counter()
        reply = self.tail.infer(frame)
        return EdgeReply(
            reply.outputs,
            len(frame),
            inspect(frame).payload_len,
            headed - begin,
            encoded - headed,
            reply,
        )


def _seconds(microseconds: object) -> float:
    return microseconds / 1e6 if isinstance(microseconds, float) else math.nan
