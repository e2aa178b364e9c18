"""The endpoints that devices negotiate by: docs/serving.md."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pysplitcodec.serve import decide
from pysplitcodec.serve.bodies import Bodies
from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.offers import Offer, tail_name
from pysplitcodec.serve.protocol import shown
from pysplitcodec.serve.service import Service

__all__ = ["HEADS", "NEGOTIATE", "negotiation_routes"]

NEGOTIATE = "/v1/split/negotiate"
HEADS = "/v1/split/heads"

_MAX_REQUEST = 64 << 10
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.ASCII)


def negotiation_routes(service: Service, bodies: Bodies) -> list[Route]:
    """The routes of the offers that a service has."""

    async def negotiate(request: Request) -> Response:
        async with bodies.read(request, _MAX_REQUEST) as body:
            asked = decide.Request.read(body)
        offers = service.offers.get(asked.model)
        if offers is None:
            known = ", ".join(map(repr, service.offers)) or "none"
            raise RefusalError(
                404,
                f"there are no offers of {shown(asked.model)}: this server has those of {known}",
            )
        try:
            offer, plan, runner_up = decide.decide(asked, offers, service.device)
        except decide.NoOfferError as error:
            raise RefusalError(409, str(error)) from None
        service.live.negotiated(request.state.client, asked.model, plan)
        return JSONResponse(_answer(asked.model, offer, plan, runner_up))

    async def head(request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        path = service.heads.get(sha256)
        if path is None:
            raise RefusalError(404, f"there is no head {shown(sha256)}")
        try:
            stat = path.stat()
        except OSError:
            raise RefusalError(404, f"the head {sha256} is gone") from None
        return _file(request, path, stat, f'"{sha256}"')

    return [
        Route(NEGOTIATE, negotiate, methods=["POST"]),
        Route(f"{HEADS}/{{sha256}}", head),
    ]


def _answer(
    model: str, offer: Offer, plan: dict[str, Any], runner_up: dict[str, Any] | None
) -> dict[str, Any]:
    sha256 = offer.head.name
    return {
        "model": model,
        "plan": plan,
        "runner_up": runner_up,
        "head": {
            "url": f"{HEADS}/{sha256}",
            "sha256": sha256,
            "bytes": plan["head_bytes"],
            "kind": offer.kind,
        },
        "codec": offer.codec.to_dict(),
        "tail": tail_name(model, offer.tail),
    }


def _file(request: Request, path: Path, stat: os.stat_result, etag: str) -> Response:
    """A file, a range of it, or word that the client has it: by an ETag that is its hash."""
    known = request.headers.get("if-none-match")
    if known is not None and etag in (one.strip().removeprefix("W/") for one in known.split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    answer = FileResponse(
        path, headers={"ETag": etag}, media_type="application/octet-stream", stat_result=stat
    )
    asked = request.headers.get("range")
    same = request.headers.get("if-range") in (None, etag, answer.headers["last-modified"])
    if asked is not None and same:
        _check_range(asked, stat.st_size)
    return answer


def _check_range(asked: str, size: int) -> None:
    """Refuse, in JSON, what FileResponse would refuse in plain text, and several ranges."""
    found = _RANGE.fullmatch(asked.strip())
    first, last = (found[1], found[2]) if found else (None, None)
    if not found or (first and last and int(last) < int(first)):
        raise RefusalError(400, f"Range is {shown(asked)}: expected bytes=FIRST-LAST")
    if (int(first) if first else size - int(found[3])) >= size:
        raise RefusalError(
            416,
            f"Range is {shown(asked)}: the head has {size} bytes",
            {"Content-Range": f"bytes */{size}"},
        )
