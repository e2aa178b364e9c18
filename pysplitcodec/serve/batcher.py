"""One queue for each tail: what waits runs together, and no more waits than is said."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

from pysplitcodec.errors import ModelError
from pysplitcodec.serve.limits import RefusalError, ServerLimits
from pysplitcodec.serve.tail import Answer, Tail, Work

__all__ = ["Batcher"]

# How much the last run counts in the mean time of a request.
_SHARE_OF_LAST = 0.1


class _Waiting(NamedTuple):
    work: Work
    answer: asyncio.Future[Answer]
    since: float
    until: float


class Batcher:
    """A tail, and the requests that wait for it.

    pool: where the tail runs, one run of it at a time.  ran: told of how many requests each run is.
    Used on one event loop.
    """

    def __init__(
        self,
        tail: Tail,
        pool: Executor,
        limits: ServerLimits,
        ran: Callable[[Tail, int], None],
    ) -> None:
        self.tail = tail
        self._pool, self._limits, self._ran = pool, limits, ran
        self._waiting: deque[_Waiting] = deque()
        self._of_client: Counter[str] = Counter()
        self._running = 0
        self._request_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait or run."""
        return len(self._waiting) + self._running

    async def answer(self, work: Work, client: str) -> Answer:
        """The tail's answer.

        Raises RefusalError if too many wait (503), too many of this client (429), or the work's
        time is over before it runs (504), and what the tail raises.
        """
        if len(self._waiting) >= self._limits.max_waiting:
            raise self._refusal(503, f"{len(self._waiting)} requests wait for {self.tail.name}")
        if self._of_client[client] >= self._limits.max_waiting_of_one:
            raise self._refusal(429, f"{self._of_client[client]} requests of {client} wait")
        loop, now = asyncio.get_running_loop(), time.monotonic()
        until = math.inf if work.timeout_s is None else now + work.timeout_s
        one = _Waiting(work, loop.create_future(), now, until)
        self._waiting.append(one)
        self._of_client[client] += 1
        try:
            self._run()
            return await one.answer
        finally:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]

    def _refusal(self, status: int, why: str) -> RefusalError:
        seconds = max(1, math.ceil(self.waiting * self._request_s))
        return RefusalError(status, f"{why}: try again later", {"Retry-After": str(seconds)})

    def _run(self, waited: bool = False) -> None:
        """Start a run, unless there is one, or others are still waited for."""
        if waited:
            self._timer = None
        if self._running:
            return
        if self._limits.delay_s and not waited and not self._enough():
            if self._timer is None and self._waiting:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._limits.delay_s, self._run, True)
            return
        batch = self._taken()
        if not batch:
            return
        self._running = len(batch)
        begin = time.monotonic()
        self._ran(self.tail, len(batch))
        run = asyncio.get_running_loop().run_in_executor(
            self._pool, self.tail.run, [one.work for one in batch]
        )
        run.add_done_callback(lambda done: self._done(batch, begin, done))

    def _enough(self) -> bool:
        """Whether what waits fills a run."""
        return sum(len(one.work.inputs) for one in self._waiting) >= self._limits.run

    def _taken(self) -> list[_Waiting]:
        """The next requests to run; those whose time is over, or that nobody waits for, leave."""
        batch: list[_Waiting] = []
        samples, now = 0, time.monotonic()
        while self._waiting and (
            not batch or samples + len(self._waiting[0].work.inputs) <= self._limits.run
        ):
            one = self._waiting.popleft()
            if one.answer.done():
                continue
            if one.until <= now:
                why = f"its {one.work.timeout_s:g} s were over before it could run"
                one.answer.set_exception(RefusalError(504, why))
                continue
            batch.append(one)
            samples += len(one.work.inputs)
        return batch

    def _done(
        self,
        batch: list[_Waiting],
        begin: float,
        run: asyncio.Future[list[Answer | Exception]],
    ) -> None:
        self._running = 0
        error = None if run.cancelled() else run.exception()
        if run.cancelled() or error is not None:
            found: list[Answer | Exception] = [
                ModelError(f"the run failed: {error or 'cancelled'}") for _ in batch
            ]
        else:
            found = run.result()
        spent = (time.monotonic() - begin) / len(batch)
        self._request_s += (spent - self._request_s) * (_SHARE_OF_LAST if self._request_s else 1)
        for one, answer in zip(batch, found):
            if one.answer.done():
                continue
            if isinstance(answer, Exception):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer._replace(wait_s=begin - one.since))
        self._run()
