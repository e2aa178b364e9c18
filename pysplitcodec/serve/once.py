"""Answers that are kept for a while: a request that is sent again is not run again."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple

from pysplitcodec.serve.limits import RefusalError
from pysplitcodec.serve.tail import Answer

__all__ = ["Once"]

_KEPT_S = 120.0
_MAX_BYTES = 64 << 20
# What an answer takes beside its numbers, about.
_OVERHEAD = 1000


class _Kept(NamedTuple):
    made_of: int
    answer: asyncio.Future[Answer]
    since: float


class Once:
    """Answers of the last two minutes by key, the latest 64 MB of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0

    async def answer(
        self, key: Hashable, made_of: int, make: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """What `make` gives, or gave, or is about to give, for this key.

        made_of: a checksum of the request.  Raises RefusalError (422) if the key is of another one,
        and what `make` raises, which is not kept.
        """
        self._forget()
        known = self._kept.get(key)
        if known is not None:
            if known.made_of != made_of:
                raise RefusalError(422, f"the key {key!r} is of another request")
            return await asyncio.shield(known.answer)
        made = asyncio.ensure_future(make())
        self._kept[key] = _Kept(made_of, made, time.monotonic())
        made.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(made)

    def _made(self, key: Hashable, made: asyncio.Future[Answer]) -> None:
        if made.cancelled() or made.exception() is not None:
            self._kept.pop(key, None)
        else:
            self._bytes += _size(made)

    def _forget(self) -> None:
        """Let go of what is old, or too much; what is not answered yet stays."""
        oldest = time.monotonic() - _KEPT_S
        while self._kept:
            key, kept = next(iter(self._kept.items()))
            fresh = kept.since > oldest and self._bytes <= _MAX_BYTES
            if fresh or not kept.answer.done():
                break
            del self._kept[key]
            self._bytes -= _size(kept.answer)


def _size(made: asyncio.Future[Answer]) -> int:
    return _OVERHEAD + sum(array.nbytes for array in made.result().outputs.values())
