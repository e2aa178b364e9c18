"""The live dashboard: a page, and what it shows: docs/serving.md."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pysplitcodec.page_policy import source_hash
from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.service import Service

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["DASHBOARD", "dashboard_routes"]

DASHBOARD = "/dashboard"
_LIVE, _EVENTS = "/v1/live", "/v1/live/events"

_MAX_STREAMS = 16
# How late a stream sees that a second is over, or that the server stops.
_STEP_S = 0.1
_FRESH = {"Cache-Control": "no-store"}


def dashboard_routes(service: Service) -> list[Route]:
    """The routes of the page of a service, which needs no token, and of its data, which do."""
    page, policy = _page()
    streams: set[_Stream] = set()
    latest = (-1, b"")

    async def dashboard(_request: Request) -> Response:
        headers = {
            **_FRESH,
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(page, headers=headers)

    async def live(_request: Request) -> Response:
        return JSONResponse(_told(service), headers=_FRESH)

    async def events(_request: Request) -> Response:
        if len(streams) >= _MAX_STREAMS:
            why = f"{_MAX_STREAMS} dashboards are open: close one, or try again later"
            raise RefusalError(503, why, {"Retry-After": "5"})
        return _Stream(each_second(), streams)

    def event() -> bytes:
        """One event, made once a second however many streams there are."""
        nonlocal latest
        second = int(time.monotonic())
        if latest[0] != second:
            latest = second, f"data: {json.dumps(_told(service))}\n\n".encode()
        return latest[1]

    async def each_second() -> AsyncIterator[bytes]:
        while True:
            second = int(time.monotonic())
            yield event()
            while int(time.monotonic()) == second:
                if service.draining:
                    return
                await asyncio.sleep(_STEP_S)

    return [Route(DASHBOARD, dashboard), Route(_LIVE, live), Route(_EVENTS, events)]


class _Stream(StreamingResponse):
    """Server-sent events; one of `streams` until it ends, in whatever way."""

    def __init__(self, content: AsyncIterator[bytes], streams: set[_Stream]) -> None:
        super().__init__(content, headers=_FRESH, media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.add(self)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.discard(self)


def _told(service: Service) -> dict[str, Any]:
    models = service.waiting()
    return {"draining": service.draining, "waiting": models, **service.live.snapshot()}


def _page() -> tuple[str, str]:
    """The page, and the content security policy that lets nothing else into it."""
    style, script = _part("dashboard.css"), _part("dashboard.js")
    page = Template(_part("dashboard.html")).substitute(style=style, script=script)
    policy = (
        f"default-src 'none'; style-src '{source_hash(style)}'; "
        f"script-src '{source_hash(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return page, policy


def _part(name: str) -> str:
    return (resources.files("pysplitcodec.serve") / name).read_text(encoding="utf-8")
