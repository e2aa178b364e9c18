"""A service with more tails than it holds in memory."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pysplitcodec.serve.batcher import Batcher
from pysplitcodec.serve.limits import ServerLimits
from pysplitcodec.serve.service import Service

if TYPE_CHECKING:
    from pysplitcodec.plan import DeviceProfile
    from pysplitcodec.serve.sources import Found
    from pysplitcodec.serve.tokens import Tokens

__all__ = ["MultiplexedService"]

_Loads = Callable[[str], Awaitable[Batcher]]


class MultiplexedService(Service):
    """Tails that are opened when they are first asked for, and offers.

    cached: what is done to the function that loads a tail by its name, so that it remembers some of
    them, such as `ray.serve.multiplexed(max_num_models_per_replica=3)`.  A tail that it has
    forgotten leaves memory once its requests are answered.  The rest: see `Service`.

    Raises ArgumentError for nothing to serve, and for names that are there twice.
    """

    def __init__(
        self,
        found: Found,
        cached: Callable[[_Loads], _Loads],
        *,
        limits: ServerLimits | None = None,
        device: DeviceProfile | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        files = {file.name: file.open for file in found.tails}

        async def load(model: str) -> Batcher:
            tail = await asyncio.get_running_loop().run_in_executor(None, files[model])
            self._queues[model] = queue = self._queue_of(tail)
            return queue

        self._later = [file.name for file in found.tails]
        self._load = cached(load)
        super().__init__((), found.offers, limits=limits, device=device, tokens=tokens)
        self._queues = weakref.WeakValueDictionary()  # those that `cached` remembers, or that run

    async def _queue(self, model: str) -> Batcher:
        return await self._load(model)
