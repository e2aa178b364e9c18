"""The tail server: TFLite and ONNX tails behind the Open Inference Protocol v2, and offers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Union

import pysplitcodec
from pysplitcodec.codec import Codec
from pysplitcodec.errors import (
    ArgumentError,
    FrameError,
    MissingDependencyError,
    ModelError,
    ServerError,
)
from pysplitcodec.plan import DeviceProfile
from pysplitcodec.runtime import Model, open_model
from pysplitcodec.serve import protocol
from pysplitcodec.serve.offers import Offers, read_offers
from pysplitcodec.serve.protocol import ProtocolError, shown
from pysplitcodec.serve.tail import Tail

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from pysplitcodec.serve.bodies import check_headers, read_body
    from pysplitcodec.serve.negotiation import negotiation_routes, tail_name
except ImportError as error:
    raise MissingDependencyError(
        f'serving needs {error.name}: pip install "pysplitcodec[serve]"'
    ) from error

__all__ = ["MAX_BATCH", "MAX_BODY", "create_app", "serve"]

CodecSource = Union[Codec, str, "os.PathLike[str]"]

MAX_BODY = 16 << 20
MAX_BATCH = 64

# A model runs one call at a time: one thread for it, and one that reads the next request.
_WORKERS = 2
# Longer than the client keeps an idle connection, so that it never sends into a closing one.
_KEEP_ALIVE_S = 75

_log = logging.getLogger("pysplitcodec.serve")


def create_app(
    model: Model | None = None,
    codecs: Sequence[Codec] = (),
    *,
    name: str = "tail",
    offers: Sequence[Offers] = (),
    device: DeviceProfile | None = None,
    max_body: int = MAX_BODY,
    max_batch: int = MAX_BATCH,
    threads: int = 1,
) -> Starlette:
    """Return the ASGI application that serves tails, each as a model of its own.

    model: a tail, served as `name`.  codecs: those whose compact frames it accepts; self-describing
    frames always are, if they fit.  offers: as `read_offers` gives them, of one model each; devices
    negotiate for them, and each of their tails is served.  device: this machine's profile, for what
    its time costs in a plan.  max_body: longest request body in bytes.  max_batch: most samples in
    one request.  threads: CPU threads for one run of an offered tail.

    Raises ArgumentError for a codec that does not fit its tail's input, a name that cannot stand in
    a URL or is there twice, and nothing to serve; ModelError for a tail that does not run, or has
    more than one input.
    """
    if max_body < 1 or max_batch < 1:
        raise ArgumentError(f"max_body is {max_body}, max_batch {max_batch}: expected at least 1")
    found = [] if model is None else [Tail(model, codecs, name, max_batch)]
    for one in offers:
        found += _offered(one, threads, max_batch)
    tails, models = {tail.name: tail for tail in found}, {one.model: one.offers for one in offers}
    if not tails or len(tails) < len(found) or len(models) < len(offers):
        names = ", ".join([*(tail.name for tail in found), *(one.model for one in offers)])
        raise ArgumentError(f"models are {names or 'none'}: expected one at least, and each once")
    routes = _tail_routes(tails, max_body)
    if models:
        routes += negotiation_routes(models, device)
    return Starlette(routes=routes, exception_handlers={HTTPException: _refusal})


def _offered(offers: Offers, threads: int, max_batch: int) -> list[Tail]:
    """The tails of a model's offers, each with the codecs of all offers that have it."""
    codecs: dict[Path, list[Codec]] = {}
    for one in offers.offers:
        codecs.setdefault(one.tail, []).append(one.codec)
    return [
        Tail(open_model(path, threads), fitting, tail_name(offers.model, path), max_batch)
        for path, fitting in codecs.items()
    ]


def _tail_routes(tails: Mapping[str, Tail], max_body: int) -> list[Route]:
    """The Open Inference Protocol's routes."""
    workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="tail")

    def tail_of(request: Request) -> Tail:
        wanted = request.path_params["model"]
        if wanted not in tails:
            known = ", ".join(map(repr, tails))
            raise HTTPException(404, f"there is no model {shown(wanted)}: this server has {known}")
        version = request.path_params.get("version", "1")
        if version != "1":
            raise HTTPException(404, f"model {wanted!r} has no version {shown(version)}, only '1'")
        return tails[wanted]

    async def server_metadata(_request: Request) -> Response:
        return JSONResponse(
            {
                "name": "pysplitcodec",
                "version": pysplitcodec.__version__,
                "extensions": ["binary_tensor_data"],
                "models": list(tails),
            }
        )

    async def health(_request: Request) -> Response:
        return JSONResponse({"live": True, "ready": True})

    async def model_ready(request: Request) -> Response:
        return JSONResponse({"name": tail_of(request).name, "ready": True})

    async def model_metadata(request: Request) -> Response:
        return JSONResponse(tail_of(request).metadata())

    async def infer(request: Request) -> Response:
        tail = tail_of(request)
        check_headers(request)
        body = await read_body(request, max_body)
        try:
            json_len = protocol.parse_json_len(request.headers.get(protocol.JSON_LEN_HEADER))
            message = await asyncio.get_running_loop().run_in_executor(
                workers, tail.infer, body, json_len
            )
        except (ProtocolError, FrameError) as error:
            raise HTTPException(400, str(error)) from None
        except ModelError as error:
            _log.error("tail %s: %s", tail.name, error)
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
    return routes


def serve(
    tail_path: str | os.PathLike[str] | None = None,
    codecs: Sequence[CodecSource] = (),
    *,
    offers: Sequence[str | os.PathLike[str]] = (),
    device: DeviceProfile | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    max_body: int = MAX_BODY,
    max_batch: int = MAX_BATCH,
    threads: int = 1,
    announce: bool = False,
) -> None:
    """Serve a TFLite or ONNX tail, folders of offers, or both, until SIGINT or SIGTERM.

    codecs: codecs, or paths of the JSON files that `Codec.save` writes.  offers: folders that
    `write_offers` wrote.  port: 0 takes a free one.  name: of the tail in URLs, otherwise the
    file's name without its suffix.  threads: CPU threads for one run of a tail.  device, max_body,
    max_batch: see `create_app`.

    Once requests are answered, a message goes to stderr and, with `announce`, one line of JSON,
    {"url": ..., "model": ...}, or "models" of which there are offers, to stdout.  Raises what
    `read_offers` and `create_app` raise, and ServerError if it cannot listen there.
    """
    served: dict[str, Any] = {}
    model, loaded = None, []
    if tail_path is not None:
        served["model"] = Path(tail_path).stem if name is None else name
        loaded = [codec if isinstance(codec, Codec) else Codec.load(codec) for codec in codecs]
        model = open_model(tail_path, threads)
    read = [read_offers(folder) for folder in offers]
    if read:
        served["models"] = [one.model for one in read]
    app = create_app(
        model,
        loaded,
        name=served.get("model", "tail"),
        offers=read,
        device=device,
        max_body=max_body,
        max_batch=max_batch,
        threads=threads,
    )
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
            names = [*served.get("models", ()), *filter(None, [served.get("model")])]
            ids = ", ".join(f"{codec.id:08x}" for codec in loaded) or "none"
            said = f"serving {', '.join(names)} at {url}"
            if model is not None:
                said += f" (codecs: {ids})"
            print(said, file=sys.stderr, flush=True)
            if announce:
                print(json.dumps({"url": url, **served}), flush=True)

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


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code < 500:  # those are logged where they arise, with their cause
        host = request.client.host if request.client else "-"
        where = f"{host} {request.method} {shown(request.url.path)}"
        _log.warning("%s: %d %s", where, error.status_code, error.detail)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
