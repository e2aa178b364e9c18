"""Requests over a transport, each answered once or failed in time, whatever the link loses."""

from __future__ import annotations

import logging
import math
import random
import secrets
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pysplitcodec.errors import ArgumentError, ProtocolError, ServerError
from pysplitcodec.serve.closing import Closing
from pysplitcodec.serve.messages import FrameReply, FrameRequest

if TYPE_CHECKING:
    from pysplitcodec.serve.transport import Transport

__all__ = ["Delivered", "Sender", "SenderStats"]

_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 0.05, 1.0
_OK, _BUSY = 200, (429, 503)
# Refusals of a connection that the next one need not get: all others of a client stay.
_MAY_PASS = (408, 413, 429)

_log = logging.getLogger("pysplitcodec.serve")


class Delivered(NamedTuple):
    """A reply of status 200, and seconds from when its frame was ready to be sent."""

    reply: FrameReply
    seconds: float


@dataclass
class SenderStats:
    """Counts since the start: requests, and what happened to them on the way.

    resent: sent once more, for the connection was lost, the reply late, or the server busy.
    repeated: replies that had come before.  connected: how often the link came up.
    """

    answered: int = 0
    failed: int = 0
    resent: int = 0
    repeated: int = 0
    connected: int = 0
    sent_bytes: int = 0


class _Pending:
    def __init__(self, request: FrameRequest, since_s: float) -> None:
        assert request.timeout_s is not None
        self.request, self.since_s, self.due_s = request, since_s, since_s + request.timeout_s
        self.future: Future[Delivered] = Future()
        self.future.set_running_or_notify_cancel()  # so that nobody can cancel it
        self.sends = 0
        self.sent_s = math.inf
        self.next_s = -math.inf  # when it may be sent, or sent again


class Sender(Closing):
    """One client's way to a tail.

    transport: connected when first needed, and again, after growing pauses of up to a second, when
    it is lost; what has no reply is then sent again under its id, so that the server does not run
    it twice.  model: the tail's name, "" for the server's first.  timeout_s: how long a request may
    take in all.  resend_s: how long a reply may take before the request is sent again, twice as
    long each time; None: a tenth of timeout_s if the transport is lossy, as long as it takes if it
    is not.  waiting: requests under way at a time; `submit` waits for one to end.

    Safe to use from several threads.
    """

    def __init__(
        self,
        transport: Transport,
        model: str = "",
        *,
        timeout_s: float = 10.0,
        resend_s: float | None = None,
        waiting: int = 16,
    ) -> None:
        for name, value in (("timeout_s", timeout_s), ("resend_s", resend_s), ("waiting", waiting)):
            if value is not None and not value > 0:
                raise ArgumentError(f"{name} is {value}: expected more than 0")
        self.model, self.timeout_s = model, timeout_s
        self.stats = SenderStats()
        self._transport = transport
        self._resend_s = resend_s or (timeout_s / 10 if transport.lossy else math.inf)
        self._room = threading.Semaphore(waiting)
        self._ids = iter(range((1 + secrets.randbits(31)) << 32, 1 << 64))
        # Guards what follows, but is never held while the transport works.
        self._changed = threading.Condition()
        self._pending: dict[int, _Pending] = {}
        self._open = False
        self._end: ServerError | None = None  # why nothing more is sent, once that is so
        self._heard_s = -math.inf
        self._backoff_s, self._next_open_s = _FIRST_BACKOFF_S, -math.inf
        self._why: ServerError | None = None
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        self._thread.start()

    @property
    def down(self) -> ServerError | None:
        """Why the link is down; None while it is up, or not yet tried."""
        return None if self._open else self._why

    def submit(self, frame: bytes, timeout_s: float | None = None) -> Future[Delivered]:
        """Send a frame.

        timeout_s: for this one, the time that it waits for room included.  The future raises
        ServerError if the server refuses it or the time is over, ArgumentError for a frame that the
        link cannot carry, and ProtocolError for a model's name that is too long.
        """
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        since_s = time.monotonic()
        room = self._room.acquire(timeout=wait_s)
        one = _Pending(FrameRequest(next(self._ids), frame, self.model, wait_s), since_s)
        if not room:
            self._fail(one, self._late(one))
            return one.future
        one.future.add_done_callback(lambda _: self._room.release())
        with self._changed:
            end = self._end
            if end is None:
                self._pending[one.request.id] = one
                self._changed.notify()
                return one.future
        self._fail(one, end)
        return one.future

    def close(self) -> None:
        """Disconnect; what is under way fails."""
        with self._changed:
            self._end = self._end or ServerError("the client is closed")
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        """What one thread does: it alone calls the transport."""
        try:
            try:
                self._carry()
            finally:
                self._transport.close()
        except Exception as error:  # a defect, or a transport of somebody else's
            _log.exception("nothing is sent any more")
            with self._changed:
                self._end = ServerError(f"the link failed: {error!r}")
        assert self._end is not None
        self._fail_all(self._end)

    def _carry(self) -> None:
        while self._end is None:
            now = time.monotonic()
            self._expire(now)
            # Once lost, the link is tried again also while nobody asks: it is there when needed.
            wanted = self._pending or self._why is not None
            if wanted and not self._open and now >= self._next_open_s:
                self._connect()
            if self._open:
                self._send_due(now)
            with self._changed:
                wait_s = self._next_s() - time.monotonic()
                if wait_s > 0 and self._end is None:
                    self._changed.wait(None if wait_s == math.inf else wait_s)

    def _next_s(self) -> float:
        """When there is something to do; the caller holds the lock."""
        times = [] if self._open or self._why is None else [self._next_open_s]
        for one in self._pending.values():
            times += [one.due_s, one.next_s if self._open else self._next_open_s]
        return min(times, default=math.inf)

    def _expire(self, now: float) -> None:
        with self._changed:
            late = [one for one in self._pending.values() if one.due_s <= now]
            for one in late:
                del self._pending[one.request.id]
        for one in late:
            self._fail(one, self._late(one))
        if self._open and any(one.sent_s > self._heard_s for one in late if one.sends):
            # Nothing has come since it was sent: the connection may only look alive.
            self._transport.close()
            self._lost(ServerError("nothing has come back"))

    def _late(self, one: _Pending) -> ServerError:
        why = "" if self.down is None else f": {self.down}"
        return ServerError(f"no answer within {one.request.timeout_s:g} s{why}")

    def _connect(self) -> None:
        try:
            self._transport.open(self._replied, self._lost)
        except ServerError as error:
            self._lost(error)
            return
        with self._changed:
            self._open, self._backoff_s = True, _FIRST_BACKOFF_S
            self.stats.connected += 1

    def _send_due(self, now: float) -> None:
        with self._changed:
            due = [one for one in self._pending.values() if one.next_s <= now]
        for one in due:
            one.sends += 1
            one.sent_s = min(one.sent_s, now)
            one.next_s = now + self._resend_s * 2 ** (one.sends - 1)
            self.stats.resent += one.sends > 1
            try:
                self._transport.send(one.request)
                self.stats.sent_bytes += len(one.request.frame)
            except (ArgumentError, ProtocolError) as error:
                with self._changed:
                    self._pending.pop(one.request.id, None)
                self._fail(one, error)
            except ServerError as error:
                self._lost(error)
                return

    def _lost(self, error: ServerError) -> None:
        with self._changed:
            if self._open:
                _log.warning("the connection is lost: %s", error)
            self._open, self._why = False, error
            # Many clients whose server comes back do not all come at once.
            self._next_open_s = time.monotonic() + self._backoff_s * random.uniform(0.5, 1)
            self._backoff_s = min(2 * self._backoff_s, _LAST_BACKOFF_S)
            for one in self._pending.values():
                one.next_s = -math.inf
            self._changed.notify()
        if error.status in range(400, 500) and error.status not in _MAY_PASS:
            self._fail_all(error)  # who is refused now is refused later

    def _replied(self, reply: FrameReply) -> None:
        with self._changed:
            self._heard_s = time.monotonic()
            one = self._pending.get(reply.id)
            if one is None:
                self.stats.repeated += 1
                return
            if reply.status in _BUSY and reply.retry_after_s is not None:
                again_s = self._heard_s + reply.retry_after_s
                if again_s < one.due_s:
                    one.next_s = again_s
                    self._changed.notify()
                    return
            del self._pending[reply.id]
        if reply.status == _OK:
            self.stats.answered += 1
            one.future.set_result(Delivered(reply, self._heard_s - one.since_s))
        else:
            self._fail(
                one, ServerError(f"the server answered {reply.status}: {reply.error}", reply.status)
            )

    def _fail_all(self, error: ServerError) -> None:
        with self._changed:
            left, self._pending = list(self._pending.values()), {}
        for one in left:
            self._fail(one, error)

    def _fail(self, one: _Pending, error: Exception) -> None:
        self.stats.failed += 1
        one.future.set_exception(error)
