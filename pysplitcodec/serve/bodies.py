"""Bodies of requests: refused before they are read where they are too long or of another kind."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from pysplitcodec.serve.protocol import shown

__all__ = ["check_headers", "read_body"]

_CONTENT_TYPES = ("application/json", "application/octet-stream")


def check_headers(request: Request) -> None:
    """Refuse bodies in a form that nothing here reads."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise HTTPException(415, f"Content-Encoding is {shown(encoding)}: expected none")
    given = request.headers.get("content-type", "application/json")
    if given.partition(";")[0].strip().lower() not in _CONTENT_TYPES:
        raise HTTPException(
            415, f"Content-Type is {shown(given)}: expected {' or '.join(_CONTENT_TYPES)}"
        )


async def read_body(request: Request, max_body: int) -> bytes:
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
