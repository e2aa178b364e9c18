"""A service's answers to messages that are not HTTP: `pysplitcodec.serve.messages`."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.messages import FrameReply, FrameRequest

if TYPE_CHECKING:
    from pysplitcodec.serve.service import Service

__all__ = ["reply_to"]


async def reply_to(service: Service, data: bytes, client: str, link: str) -> bytes:
    """The reply to a message; one that is no request is refused under the id 0.

    client: who sent it.  link: what brought it, for the log.
    """
    id, model, begin = 0, "", time.perf_counter()
    try:
        if len(data) > service.limits.max_body:
            raise RefusalError(413, f"the request is too long: {len(data)} bytes")
        request = FrameRequest.read(data)
        id, model = request.id, request.model or service.models[0]
        tail = service.tail(model)
        work = tail.of_frame(request.frame, request.timeout_s)
        answer = await service.answer(model, work, client, str(id), zlib.crc32(data))
    except Exception as error:
        refusal = service.refused(error, client, link, model)
        retry_s = refusal.headers.get("Retry-After")
        return FrameReply(
            id,
            refusal.status,
            error=str(refusal),
            retry_after_s=None if retry_s is None else float(retry_s),
        ).pack()
    reply = FrameReply(id, 200, answer.outputs, answer.decode_s, answer.tail_s).pack()
    seconds = time.perf_counter() - begin
    service.answered(client, model, work, answer, seconds, len(data), len(reply))
    return reply
