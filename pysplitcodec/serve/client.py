"""A tail server's client over HTTP: sends frames and reads the answers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import ServerError
from pysplitcodec.serve import protocol
from pysplitcodec.serve.closing import Closing
from pysplitcodec.serve.connection import Connection

if TYPE_CHECKING:
    import os

__all__ = ["TailClient", "TailReply"]

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


class TailClient(Closing):
    """A connection to a tail server, kept open between requests.

    url: such as "http://192.168.1.20:8000".  model: its name on the server, otherwise the one the
    server names first.  timeout_s, token, ca: see `Connection`.  Nothing is sent before the first
    call.  Safe to use from several threads; close it, or use it in a `with` statement.

    All methods but `ready` raise ServerError if the server is not there, refuses or fails.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        timeout_s: float = 10.0,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
    ) -> None:
        self._connection = Connection(url, timeout_s, token=token, ca=ca)
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

    def infer(
        self,
        frames: Frame | Sequence[Frame],
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        label: npt.ArrayLike | None = None,
    ) -> TailReply:
        """Have one or several frames decoded and run through the tail.

        key: of a request that may be sent again, its client's own: the server then answers as
        before, and does not run it again.  timeout_s: how long the request may wait there.  label:
        the right class, or one for each frame: for the server's statistics.
        """
        if isinstance(frames, (bytes, bytearray, memoryview)):
            frames = [frames]
        tensor = np.empty(len(frames), dtype=object)
        for i, frame in enumerate(frames):
            tensor[i] = bytes(frame)
        return self._infer({"frame": tensor}, key, timeout_s, label)

    def infer_tensor(self, array: Array, *, label: npt.ArrayLike | None = None) -> TailReply:
        """Run the tail on features as they are, not encoded.

        array: of the tail's input dtype and shape, or with more samples along the first axis.
        label: see `infer`.
        """
        if self._input is None:
            try:
                inputs = self.metadata()["inputs"]
                (self._input,) = [str(i["name"]) for i in inputs if i["datatype"] != "BYTES"]
            except (KeyError, TypeError, ValueError):
                raise ServerError(
                    f"model {self.model!r} of {self.url} has no input for plain tensors, or several"
                ) from None
        return self._infer({self._input: array}, label=label)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _path(self) -> str:
        return f"/v2/models/{quote(self.model, safe='')}"

    def _get(self, path: str) -> dict[str, Any]:
        return self._connection.exchange_json("GET", path)

    def _infer(
        self,
        inputs: Mapping[str, Array],
        key: str | None = None,
        timeout_s: float | None = None,
        label: npt.ArrayLike | None = None,
    ) -> TailReply:
        path = f"{self._path()}/infer"
        message = protocol.encode_request(inputs, timeout_s=timeout_s, label=label)
        sent = message.headers()
        if key is not None:
            sent["Idempotency-Key"] = key
        begin = time.perf_counter()
        body, headers = self._connection.exchange("POST", path, message.body, sent)
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


def _seconds(microseconds: object) -> float:
    return microseconds / 1e6 if isinstance(microseconds, float) else math.nan
