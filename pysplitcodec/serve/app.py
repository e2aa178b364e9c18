"""A service over HTTP: the Open Inference Protocol v2, offers, and metrics."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import pysplitcodec
from pysplitcodec.serve import protocol
from pysplitcodec.serve.bodies import Bodies
from pysplitcodec.serve.dashboard import DASHBOARD, dashboard_routes
from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.negotiation import negotiation_routes
from pysplitcodec.serve.protocol import shown
from pysplitcodec.serve.service import Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["create_app"]

_LIVE, _READY = "/v2/health/live", "/v2/health/ready"
_OPEN = (_LIVE, _READY, DASHBOARD)


def create_app(service: Service) -> Starlette:
    """Return the ASGI application of a service: docs/serving.md has its endpoints."""
    bodies = Bodies(service.room, service.limits.body_s)

    async def server_metadata(_request: Request) -> Response:
        return JSONResponse(
            {
                "name": "pysplitcodec",
                "version": pysplitcodec.__version__,
                "extensions": ["binary_tensor_data"],
                "models": list(service.models),
            }
        )

    async def live(_request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_request: Request) -> Response:
        return JSONResponse({"ready": not service.draining}, 503 if service.draining else 200)

    async def metrics(_request: Request) -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def model_ready(request: Request) -> Response:
        tail = await service.tail(**request.path_params)
        return JSONResponse({"name": tail.name, "ready": True})

    async def model_metadata(request: Request) -> Response:
        return JSONResponse((await service.tail(**request.path_params)).metadata())

    async def infer(request: Request) -> Response:
        begin, headers = time.perf_counter(), request.headers
        name = (await service.tail(**request.path_params)).name  # refused before its body is read
        async with bodies.read(request, service.limits.max_body) as body:
            json_len = protocol.parse_json_len(headers.get(protocol.JSON_LEN_HEADER))
            tail = await service.tail(name)  # another one perhaps, now
            work = tail.read(body, json_len)
            key = headers.get("idempotency-key")
            made_of = 0 if key is None else zlib.crc32(body)
            client = request.state.client
            answer = await service.answer(name, work, client, key, made_of)
            message = tail.encode(work, answer)
            seconds = time.perf_counter() - begin
            sizes = len(body), len(message.body)
        service.answered(client, name, work, answer, seconds, *sizes)
        return Response(message.body, headers=message.headers())

    routes = []
    # In this order, for routes are tried one after another.
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            Route(f"{path}/infer", infer, methods=["POST"]),
            Route(f"{path}/ready", model_ready),
            Route(path, model_metadata),
        ]
    routes += [
        Route("/v2", server_metadata),
        Route(_LIVE, live),
        Route(_READY, ready),
        Route("/metrics", metrics),
        *negotiation_routes(service, bodies),
        *dashboard_routes(service),
    ]
    handlers = {HTTPException: _raised}
    return Starlette(
        routes=routes, middleware=[Middleware(_Door, service)], exception_handlers=handlers
    )


async def _raised(_request: Request, error: Exception) -> Response:
    """Starlette's own refusals, of paths and methods, become ours."""
    assert isinstance(error, HTTPException)
    raise RefusalError(error.status_code, error.detail, error.headers)


class _Door:
    """Lets clients in that may ask, and tells those that are refused why."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service, begun = self._service, False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if service.draining:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        host = scope["client"][0] if scope.get("client") else "-"
        client = host
        try:
            if scope["path"] not in _OPEN:
                client = service.client(Headers(scope=scope).get("authorization"), host)
            scope.setdefault("state", {})["client"] = client
            await self._app(scope, receive, sent)
        except Exception as error:
            where = f"{scope['method']} {shown(scope['path'])}"
            model = scope.get("path_params", {}).get("model", "")
            refusal = service.refused(error, client, where, model)
            if begun:
                raise
            answer = JSONResponse({"error": str(refusal)}, refusal.status, refusal.headers)
            await answer(scope, receive, sent)
