"""A service's answers to messages that are not HTTP: `pysplitcodec.serve.messages`."""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import TYPE_CHECKING

from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.messages import FrameReply, FrameRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pysplitcodec.serve.service import Service

__all__ = ["Answers", "refusal", "reply_to"]


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
        with service.room.taken(len(data)):
            tail = await service.tail(model)
            work = tail.of_frame(request.frame, request.timeout_s)
            answer = await service.answer(model, work, client, str(id), zlib.crc32(data))
        reply = FrameReply(id, 200, answer.outputs, answer.decode_s, answer.tail_s).pack()
    except Exception as error:
        return refusal(service, error, client, link, model, id)
    seconds = time.perf_counter() - begin
    service.answered(client, model, work, answer, seconds, len(data), len(reply))
    return reply


def refusal(
    service: Service, error: Exception, client: str, link: str, model: str = "", id: int = 0
) -> bytes:
    """The reply that says why there is none, which is counted and logged."""
    found = service.refused(error, client, link, model)
    retry_s = found.headers.get("Retry-After")
    return FrameReply(
        id,
        found.status,
        error=str(found),
        retry_after_s=None if retry_s is None else float(retry_s),
    ).pack()


class Answers:
    """Answers of one link that are under way, several at a time; used on one event loop."""

    def __init__(self, service: Service, link: str) -> None:
        self._service, self._link = service, link
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(
        self, data: bytes, client: str, send: Callable[[bytes], Awaitable[None]]
    ) -> asyncio.Task[None]:
        """Answer a message; `send` is given the reply."""

        async def answer() -> None:
            await send(await reply_to(self._service, data, client, self._link))

        task = asyncio.get_running_loop().create_task(answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drained(self) -> None:
        """Wait for what is under way, as long as a server that stops may take; drop the rest."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._service.limits.stop_s)
            for task in late:
                task.cancel()
