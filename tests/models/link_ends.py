"""Both ends of links in one process, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import numpy as np
from fake_model import FakeModel

from pysplitcodec import Codebook, Codec
from pysplitcodec.errors import ServerError
from pysplitcodec.serve import ServerLimits, Service, Tail
from pysplitcodec.serve.messages import FrameReply

TIMEOUT_S = 30
Run = Callable[[np.ndarray], list[np.ndarray]]
CODEC = Codec(Codebook([-1, 0, 0.5, 2]), "pack", shape=(2,))


def frame_of(*values: float) -> bytes:
    """A frame of two of the codec's levels."""
    return CODEC.encode(np.array(values, np.float32))


class Gate:
    """A model's run that waits until it is opened, and counts."""

    def __init__(self, is_open: bool = True) -> None:
        self.open = threading.Event()
        self.runs = 0
        if is_open:
            self.open.set()

    def __call__(self, array: np.ndarray) -> list[np.ndarray]:
        if array.any():  # zeros are run when the tail is made
            assert self.open.wait(TIMEOUT_S)
            self.runs += 1
        return [array.sum(axis=1, keepdims=True)]


def service_of(*runs: Run, tokens: Any = None, **limits: Any) -> Service:
    """A service of tails named tail0, tail1, ...; a Gate's output is the sum of its input."""
    bounds = ServerLimits(**limits)
    tails = [
        Tail(FakeModel(run), [CODEC], f"tail{i}", bounds) for i, run in enumerate(runs or (Gate(),))
    ]
    return Service(tails, limits=bounds, tokens=tokens)


@contextlib.contextmanager
def running(
    link: Callable[[], AbstractAsyncContextManager[Any]],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> Iterator[None]:
    """A server's side of a link, on an event loop in a thread; entered when the statement runs."""
    loop = new_loop()
    begun: queue.Queue[BaseException | None] = queue.Queue()
    stop = asyncio.Event()

    async def live() -> None:
        async with link():
            begun.put(None)
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(live())
        except BaseException as error:
            begun.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        _raise(begun.get(timeout=TIMEOUT_S))
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
    if not begun.empty():
        _raise(begun.get())


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


class Inbox:
    """What a transport calls back with."""

    def __init__(self) -> None:
        self._replies: queue.Queue[FrameReply] = queue.Queue()
        self._losses: queue.Queue[ServerError] = queue.Queue()
        self.callbacks = self._replies.put, self._losses.put

    def reply(self, timeout_s: float = TIMEOUT_S) -> FrameReply:
        """The next reply; queue.Empty if none comes."""
        return self._replies.get(timeout=timeout_s)

    def loss(self) -> ServerError:
        return self._losses.get(timeout=TIMEOUT_S)

    @property
    def empty(self) -> bool:
        return self._replies.empty() and self._losses.empty()


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    waited = threading.Event()
    for _ in range(TIMEOUT_S * 100):
        if condition():
            return
        waited.wait(0.01)
    raise AssertionError("it never held")
