"""A transport without a link: a tail in the same process, for tests of what uses it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pysplitcodec.errors import ArgumentError, ServerError
from pysplitcodec.serve.framed import reply_to
from pysplitcodec.serve.messages import FrameReply
from pysplitcodec.serve.transport import check_fits

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysplitcodec.serve.messages import FrameRequest
    from pysplitcodec.serve.service import Service

__all__ = ["MemoryTransport"]


class MemoryTransport:
    """Messages to a service in this process, some of which go wrong on the way.

    loss, repeat, swap: the shares of messages, in either direction, that are lost, come twice, and
    come after the one behind them.  max_len: see `Transport`.  seed: of what goes wrong.

    Raises ArgumentError for shares that are none.
    """

    def __init__(
        self,
        service: Service,
        *,
        loss: float = 0.0,
        repeat: float = 0.0,
        swap: float = 0.0,
        max_len: int | None = None,
        seed: int = 0,
    ) -> None:
        for name, value in (("loss", loss), ("repeat", repeat), ("swap", swap)):
            if not 0 <= value < 1:
                raise ArgumentError(f"{name} is {value}: expected 0 to below 1")
        self.max_len, self.lossy = max_len, loss > 0
        self._service = service
        self._shares = loss, repeat, swap
        self._draws = np.random.default_rng(seed)
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="memory", daemon=True)
        thread.start()
        weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection: _Connection | None = None

    def open(
        self, replied: Callable[[FrameReply], None], lost: Callable[[ServerError], None]
    ) -> None:
        """Begin to carry messages; see `Transport`."""
        lines = (_Line(self._shares, self._draws) for _ in range(2))
        self._connection = _Connection(replied, lost, *lines)

    def send(self, request: FrameRequest) -> None:
        """Send a request; see `Transport`."""
        data = request.pack()
        check_fits(len(data), self.max_len, "the link")
        if self._connection is None:
            raise ServerError("the connection is closed")
        self._loop.call_soon_threadsafe(self._arrive, self._connection, data)

    def cut(self) -> None:
        """Lose the connection, with all that is on its way."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lost(ServerError("the connection was cut"))

    def close(self) -> None:
        """Stop carrying; see `Transport`."""
        self._connection = None

    def _arrive(self, connection: _Connection, data: bytes) -> None:
        for one in connection.there.carry(data):
            task = self._loop.create_task(self._answer(connection, one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, connection: _Connection, data: bytes) -> None:
        reply = await reply_to(self._service, data, "memory", "memory")
        for one in connection.back.carry(reply):
            if connection is self._connection:
                connection.replied(FrameReply.read(one))


class _Connection(NamedTuple):
    replied: Callable[[FrameReply], None]
    lost: Callable[[ServerError], None]
    there: _Line
    back: _Line


class _Line:
    """One direction."""

    def __init__(self, shares: tuple[float, float, float], draws: np.random.Generator) -> None:
        self._shares, self._draws = shares, draws
        self._held: list[bytes] = []

    def carry(self, message: bytes) -> list[bytes]:
        """What arrives now that a message is sent."""
        lost, repeated, swapped = (self._draws.random() < share for share in self._shares)
        found = [] if lost else [message, message] if repeated else [message]
        if swapped and not self._held:
            self._held = found
            return []
        found, self._held = found + self._held, []
        return found
