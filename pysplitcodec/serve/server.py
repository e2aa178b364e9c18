"""The tail server: one TFLite or ONNX tail behind the Open Inference Protocol v2."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Union

import numpy as np
import numpy.typing as npt

import pysplitcodec
from pysplitcodec.codec import Codec, decode
from pysplitcodec.errors import (
    ArgumentError,
    CodecMismatchError,
    FrameError,
    MissingDependencyError,
    ModelError,
    ServerError,
    SplitCodecError,
)
from pysplitcodec.frame import inspect
from pysplitcodec.runtime import Model, open_model
from pysplitcodec.serve import protocol
from pysplitcodec.serve.protocol import ProtocolError, shown

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise MissingDependencyError(
        f'serving needs {error.name}: pip install "pysplitcodec[serve]"'
    ) from error

__all__ = ["MAX_BATCH", "MAX_BODY", "create_app", "serve"]

Array = npt.NDArray[Any]
CodecSource = Union[Codec, str, "os.PathLike[str]"]

MAX_BODY = 16 << 20
MAX_BATCH = 64

_FRAME = "frame"
# The model runs one call at a time: one thread for it, and one that reads the next request.
_WORKERS = 2
# Longer than the client keeps an idle connection, so that it never sends into a closing one.
_KEEP_ALIVE_S = 75
_CONTENT_TYPES = ("application/json", "application/octet-stream")

_log = logging.getLogger("pysplitcodec.serve")


class Tail:
    """A model with one input, and the codecs whose frames it takes.

    Samples run one by one: a result is then the same bits whatever else is in its batch.
    """

    def __init__(self, model: Model, codecs: Sequence[Codec], name: str, max_batch: int) -> None:
        if len(model.inputs) != 1:
            raise ModelError(f"the tail has {len(model.inputs)} inputs: expected one")
        names = [output.name for output in model.outputs]
        if len(set(names)) != len(names):
            raise ModelError(f"the tail has several outputs of one name: {', '.join(names)}")
        self.name = name
        self.max_batch = max_batch
        self._model = model
        self._input = model.inputs[0]
        for codec in codecs:
            self._check_fits(codec.shape, codec.dtype, f"codec {codec.id:08x}", ArgumentError)
        self._codecs = {codec.id: codec for codec in codecs}
        # Shows at the start whether the model runs at all, and what its outputs look like.
        results = model(np.zeros(self._input.shape, self._input.dtype))
        self._batched = self._input.shape[:1] == (1,) and all(r.shape[:1] == (1,) for r in results)
        self._outputs = dict(zip(names, results))
        self._input_datatype = protocol.datatype_of(np.empty(0, self._input.dtype))

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata, and in `parameters` what is peculiar to this server."""
        plain = _described(self._input.name, np.empty(self._input.shape, self._input.dtype))
        outputs = [_described(name, array) for name, array in self._outputs.items()]
        if self._batched:
            for described in (plain, *outputs):
                described["shape"][0] = -1
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": self._model.platform,
            "inputs": [{"name": _FRAME, "datatype": "BYTES", "shape": [-1]}, plain],
            "outputs": outputs,
            "parameters": {
                "codec_ids": [f"{id:08x}" for id in self._codecs],
                "max_batch": self.max_batch if self._batched else 1,
            },
        }

    def infer(self, body: bytes, json_len: int | None) -> protocol.Message:
        """Answer one request.  Raises ProtocolError, FrameError and ModelError."""
        request = protocol.decode_request(body, json_len)
        unknown = set(request.outputs) - set(self._outputs)
        if unknown:
            raise ProtocolError(
                f"there is no output {shown(min(unknown))}: the tail has "
                + ", ".join(map(shown, self._outputs))
            )
        wanted = request.outputs or dict.fromkeys(self._outputs, request.binary)

        begin = time.perf_counter()
        samples = self._samples(request.inputs)
        decoded = time.perf_counter()
        results = [self._model(sample) for sample in samples]
        done = time.perf_counter()

        outputs = {}
        for place, name in enumerate(self._outputs):
            if name in wanted:
                parts = [result[place] for result in results]
                outputs[name] = np.concatenate(parts) if len(parts) > 1 else parts[0]
        response = protocol.InferResponse(
            self.name,
            outputs,
            {"decode_us": (decoded - begin) * 1e6, "tail_us": (done - decoded) * 1e6},
            request.id,
        )
        return protocol.encode_response(response, {name for name in wanted if wanted[name]})

    def _samples(self, inputs: Mapping[str, Array]) -> list[Array]:
        """The tail's inputs, one for each run."""
        if len(inputs) != 1:
            raise ProtocolError(f"the request has {len(inputs)} inputs: expected one")
        ((name, array),) = inputs.items()
        datatype = protocol.datatype_of(array)
        if name == _FRAME and datatype == "BYTES":
            if array.ndim != 1:
                raise ProtocolError(f"'{_FRAME}' has shape {list(array.shape)}: expected [n]")
            self._check_batch(array.size)
            return [self._decoded(frame, i, array.size) for i, frame in enumerate(array)]
        if name != self._input.name:
            raise ProtocolError(
                f"there is no input {shown(name)}: expected '{_FRAME}' (BYTES) or "
                f"{shown(self._input.name)} ({self._input_datatype})"
            )
        if datatype != self._input_datatype:
            raise ProtocolError(f"{shown(name)} is {datatype}: expected {self._input_datatype}")
        shape = self._input.shape
        if array.shape == shape:
            return [array]
        if not self._batched or array.ndim != len(shape) or array.shape[1:] != shape[1:]:
            raise ProtocolError(
                f"input {shown(name)} has shape {list(array.shape)}: expected {list(shape)}"
                + (", or more than one of it" if self._batched else "")
            )
        self._check_batch(len(array))
        return [array[i : i + 1] for i in range(len(array))]

    def _decoded(self, frame: bytes, i: int, count: int) -> Array:
        try:
            info = inspect(frame)
            codec = self._codecs.get(info.codec_id)
            if codec is not None:
                feature = codec.decode(frame)
            elif info.shape is None:
                known = ", ".join(f"{id:08x}" for id in self._codecs) or "none"
                raise CodecMismatchError(
                    f"made by codec {info.codec_id:08x}: this server knows {known}"
                )
            else:
                # Before decoding, which allocates what the frame claims.
                self._check_fits(info.shape, str(info.dtype), "the frame", CodecMismatchError)
                feature = decode(frame)
        except SplitCodecError as error:
            kind = type(error) if isinstance(error, FrameError) else FrameError
            raise kind(f"frame {i} of {count}: {error}") from None
        return feature.reshape(self._input.shape)

    def _check_fits(
        self, shape: tuple[int, ...], dtype: str, what: str, kind: Callable[[str], Exception]
    ) -> None:
        """Features have the input's shape, or that of one sample, and its dtype."""
        ours = self._input.shape
        if dtype != self._input.dtype or not (shape == ours or (1, *shape) == ours):
            raise kind(
                f"{what} is for {dtype} features of shape {shape}: the tail's input is "
                f"{self._input.dtype} of shape {ours}"
            )

    def _check_batch(self, count: int) -> None:
        most = self.max_batch if self._batched else 1
        if not 1 <= count <= most:
            raise ProtocolError(f"the request has {count} samples: expected 1 to {most}")


def create_app(
    model: Model,
    codecs: Sequence[Codec] = (),
    *,
    name: str = "tail",
    max_body: int = MAX_BODY,
    max_batch: int = MAX_BATCH,
) -> Starlette:
    """Return the ASGI application that serves `model` as `name`.

    codecs: those whose compact frames are accepted; self-describing frames always are, if they fit.
    max_body: longest request body in bytes.  max_batch: most samples in one request.

    Raises ArgumentError for a codec that does not fit the tail's input, or a name that cannot
    stand in a URL; ModelError for a tail that does not run, or has more than one input.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise ArgumentError(
            f"name is {name!r}: expected letters, digits, '_', '-' and '.', not first '-' or '.'"
        )
    if max_body < 1 or max_batch < 1:
        raise ArgumentError(f"max_body is {max_body}, max_batch {max_batch}: expected at least 1")
    tail = Tail(model, codecs, name, max_batch)
    workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="tail")

    def check_model(request: Request) -> None:
        wanted = request.path_params["model"]
        if wanted != name:
            raise HTTPException(404, f"there is no model {shown(wanted)}: this server has {name!r}")
        version = request.path_params.get("version", "1")
        if version != "1":
            raise HTTPException(404, f"model {name!r} has no version {shown(version)}, only '1'")

    async def server_metadata(_request: Request) -> Response:
        return JSONResponse(
            {
                "name": "pysplitcodec",
                "version": pysplitcodec.__version__,
                "extensions": ["binary_tensor_data"],
                "models": [name],
            }
        )

    async def health(_request: Request) -> Response:
        return JSONResponse({"live": True, "ready": True})

    async def model_ready(request: Request) -> Response:
        check_model(request)
        return JSONResponse({"name": name, "ready": True})

    async def model_metadata(request: Request) -> Response:
        check_model(request)
        return JSONResponse(tail.metadata())

    async def infer(request: Request) -> Response:
        check_model(request)
        _check_headers(request)
        body = await _read_body(request, max_body)
        try:
            json_len = protocol.parse_json_len(request.headers.get(protocol.JSON_LEN_HEADER))
            message = await asyncio.get_running_loop().run_in_executor(
                workers, tail.infer, body, json_len
            )
        except (ProtocolError, FrameError) as error:
            raise HTTPException(400, str(error)) from None
        except ModelError as error:
            _log.error("tail %s: %s", name, error)
            raise HTTPException(500, "the tail failed to run") from None
        except Exception:
            _log.exception("a request that should not have failed")
            raise HTTPException(500, "internal error") from None
        return Response(message.body, headers=message.headers())

    routes = [
        Route("/v2", server_metadata),
        Route("/v2/health/live", health),
        Route("/v2/health/ready", health),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            Route(path, model_metadata),
            Route(f"{path}/ready", model_ready),
            Route(f"{path}/infer", infer, methods=["POST"]),
        ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refusal})


def serve(
    tail_path: str | os.PathLike[str],
    codecs: Sequence[CodecSource] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    max_body: int = MAX_BODY,
    max_batch: int = MAX_BATCH,
    threads: int = 1,
    announce: bool = False,
) -> None:
    """Serve a TFLite or ONNX tail until SIGINT or SIGTERM.

    codecs: codecs, or paths of the JSON files that `Codec.save` writes.  port: 0 takes a free one.
    name: of the model in URLs, otherwise the file's name without its suffix.  threads: CPU
    threads for one run of the tail.  max_body, max_batch: see `create_app`.

    Once requests are answered, a message goes to stderr and, with `announce`, one line of JSON,
    {"url": ..., "model": ...}, to stdout.  Raises what `create_app` raises, and ServerError if it
    cannot listen there.
    """
    name = Path(tail_path).stem if name is None else name
    loaded = [codec if isinstance(codec, Codec) else Codec.load(codec) for codec in codecs]
    model = open_model(tail_path, threads)
    app = create_app(model, loaded, name=name, max_body=max_body, max_batch=max_batch)
    listener = _listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=10,
    )

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ids = ", ".join(f"{codec.id:08x}" for codec in loaded) or "none"
            print(f"serving {name} at {url} (codecs: {ids})", file=sys.stderr, flush=True)
            if announce:
                print(json.dumps({"url": url, "model": name}), flush=True)

    # uvicorn shuts down in order, and then raises the signal once more.
    with listener, contextlib.suppress(KeyboardInterrupt):
        Announced(config).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise ArgumentError(f"port is {port}: expected 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ServerError(f"cannot listen on {host}, port {port}: {error}") from None
    # asyncio sets TCP_NODELAY only on sockets whose protocol is given as TCP; without it each
    # answer waits 40 ms for a delayed acknowledgement.
    return socket.socket(family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())


def _check_headers(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise HTTPException(415, f"Content-Encoding is {shown(encoding)}: expected none")
    given = request.headers.get("content-type", "application/json")
    if given.partition(";")[0].strip().lower() not in _CONTENT_TYPES:
        raise HTTPException(
            415, f"Content-Type is {shown(given)}: expected {' or '.join(_CONTENT_TYPES)}"
        )


async def _read_body(request: Request, max_body: int) -> bytes:
    """The request's body; refused as soon as it is known to be too long."""
    too_long = HTTPException(
        413, f"the request body is too long: the limit is {max_body} bytes", {"Connection": "close"}
    )
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or len(declared) > 18 or int(declared) > max_body:
        raise too_long
    body = bytearray()
    try:
        async for chunk in request.stream():
            if len(body) + len(chunk) > max_body:
                raise too_long
            body += chunk
    except ClientDisconnect:
        raise HTTPException(400, "the client left before its request was complete") from None
    return bytes(body)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code < 500:  # those are logged where they arise, with their cause
        host = request.client.host if request.client else "-"
        where = f"{host} {request.method} {shown(request.url.path)}"
        _log.warning("%s: %d %s", where, error.status_code, error.detail)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": protocol.datatype_of(array), "shape": list(array.shape)}
