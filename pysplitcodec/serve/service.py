"""What a tail server does, whatever carries requests to it: docs/serving.md."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pysplitcodec.errors import ArgumentError, FrameError, ModelError, ProtocolError
from pysplitcodec.serve.batcher import Batcher
from pysplitcodec.serve.limits import RefusalError, ServerLimits
from pysplitcodec.serve.live import Live
from pysplitcodec.serve.logs import Refusals
from pysplitcodec.serve.metrics import Metrics
from pysplitcodec.serve.once import Once
from pysplitcodec.serve.protocol import shown
from pysplitcodec.serve.room import Room

if TYPE_CHECKING:
    from pysplitcodec.plan import DeviceProfile
    from pysplitcodec.serve.offers import Offer, Offers
    from pysplitcodec.serve.tail import Answer, Tail, Work
    from pysplitcodec.serve.tokens import Tokens

__all__ = ["Service"]

# Of all tails together: a run computes without holding the interpreter, and the loop needs a share.
_WORKERS = 2

_log = logging.getLogger("pysplitcodec.serve")


class Service:
    """Tails, each with its queue; offers; who may ask, and what is counted.

    models: the names of all tails.  device: this machine's profile, for what its time costs in a
    plan.  tokens: those that clients need; None: anybody may ask.

    Raises ArgumentError for nothing to serve, and for names that are there twice.
    """

    _later: Sequence[str] = ()  # names of tails that are not in memory yet, see `_queue`

    def __init__(
        self,
        tails: Sequence[Tail] = (),
        offers: Sequence[Offers] = (),
        *,
        limits: ServerLimits | None = None,
        device: DeviceProfile | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.device = device
        self.tokens = tokens
        self.draining = False
        self.room = Room(self.limits.max_bodies)
        self.metrics = Metrics(self.waiting)
        self.live = Live()
        self._refusals = Refusals()
        self._once = Once()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="tail")
        self._queues: MutableMapping[str, Batcher] = {}
        self.replace(tails, offers)

    def replace(self, tails: Sequence[Tail], offers: Sequence[Offers] = ()) -> None:
        """Serve these from now on; requests that have begun are answered by those there were.

        Raises ArgumentError as the constructor does, and then changes nothing.
        """
        names = [*self._later, *(tail.name for tail in tails)]
        models = {one.model: one.offers for one in offers}
        if not names or len(set(names)) < len(names) or len(models) < len(offers):
            shown_names = ", ".join([*names, *(one.model for one in offers)]) or "none"
            raise ArgumentError(f"models are {shown_names}: expected one at least, each once")
        self._queues = {tail.name: self._queue_of(tail) for tail in tails}
        self.models: Sequence[str] = names
        self.offers: Mapping[str, Sequence[Offer]] = models
        self.heads: Mapping[str, Path] = {
            one.head.name: one.head for found in models.values() for one in found
        }

    def _queue_of(self, tail: Tail) -> Batcher:
        return Batcher(tail, self._pool, self.limits, self.metrics.ran)

    def waiting(self) -> dict[str, int]:
        """Requests that wait or run, by model."""
        return {name: queue.waiting for name, queue in self._queues.items()}

    async def _queue(self, model: str) -> Batcher:
        return self._queues[model]

    async def tail(self, model: str, version: str = "1") -> Tail:
        """The tail of this name.  Raises RefusalError (404)."""
        if model not in self.models:
            known = ", ".join(map(repr, self.models))
            raise RefusalError(404, f"there is no model {shown(model)}: this server has {known}")
        if version != "1":
            raise RefusalError(404, f"model {model!r} has no version {shown(version)}, only '1'")
        return (await self._queue(model)).tail

    async def answer(
        self, model: str, work: Work, client: str, key: str | None = None, made_of: int = 0
    ) -> Answer:
        """What the tail makes of a request that `tail(model)` has just read.

        key: of requests that may come again, unique among those of the client; made_of: a checksum
        of the request.  Raises RefusalError, and what a run raises.
        """
        queue = await self._queue(model)
        if key is None:
            return await queue.answer(work, client)
        return await self._once.answer(
            (client, model, key), made_of, lambda: queue.answer(work, client)
        )

    def client(self, authorization: str | None, host: str) -> str:
        """Who asks, by a header Authorization: a name, or the host where no token is needed.

        Raises RefusalError (401).
        """
        return host if self.tokens is None else self.tokens.client(authorization)

    def answered(
        self,
        client: str,
        model: str,
        work: Work,
        answer: Answer,
        seconds: float,
        received: int,
        sent: int,
    ) -> None:
        """Count a request and its answer: seconds in all, and bytes of their bodies."""
        self.metrics.answered(model, len(work.inputs), seconds, answer, received, sent)
        self.live.answered(client, model, work, answer, seconds, received, sent)

    def refused(self, error: Exception, client: str, where: str, model: str) -> RefusalError:
        """Count and log why a request is not answered, and what its client is told."""
        if isinstance(error, RefusalError):
            refusal = error
        elif isinstance(error, (ProtocolError, FrameError, ArgumentError)):
            refusal = RefusalError(400, str(error)[:1000])
        elif isinstance(error, ModelError):
            _log.error("tail %s: %s", model, error)
            refusal = RefusalError(500, "the tail failed to run")
        else:
            _log.error("a request that should not have failed", exc_info=error)
            refusal = RefusalError(500, "internal error")
        self.metrics.refused(model if model in self.models else "", refusal.status)
        self.live.refused(client, refusal.status, where, str(refusal))
        if refusal.status != 500:  # those are logged above, with their cause
            self._refusals.log(client, refusal.status, where, str(refusal))
        return refusal
