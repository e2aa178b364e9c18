"""What a server does now: rates, times, accuracy and plans by device, and what was refused.

Counting a request takes a few microseconds and no memory of its own; what is shown is worked out
when somebody looks.
"""

from __future__ import annotations

import math
import operator
import time
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pysplitcodec.serve.tail import Answer, Work

__all__ = ["Live"]

_WINDOWS_S = (10, 60)
_KEPT_S = max(_WINDOWS_S)
_DEVICES, _SHOWN_DEVICES = 1000, 100
_REFUSALS = 50
_NAME_LEN, _WHY_LEN = 100, 300
# Requests whose times are kept, of all devices and of each.
_OF_ALL, _OF_DEVICE = 4096, 256
_STAGES = ("wait", "decode", "tail", "request")
_RANKS = (50, 90, 99)


class Live:
    """What is counted of all devices together, and of the 1,000 that were here last.

    A device is a client that got an answer or a plan.  clock: gives seconds that never go back.
    Used on one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begin = clock, clock()
        self._all = _Tally(_OF_ALL)
        self._devices: OrderedDict[str, _Device] = OrderedDict()
        self._statuses: Counter[int] = Counter()
        self._refusals: deque[_Refusal] = deque(maxlen=_REFUSALS)

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
        """A request and its answer: seconds in all, and bytes of their bodies."""
        now = self._now()
        device = self._device(client, now)
        device.model = model
        samples, labelled = len(work.inputs), len(work.labels)
        times = answer.wait_s, answer.decode_s, answer.tail_s, seconds
        counts = _Counts(1, samples, received, sent, labelled, answer.right, *times)
        self._all.add(int(now), counts)
        device.tally.add(int(now), counts)

    def negotiated(self, client: str, model: str, plan: Mapping[str, Any]) -> None:
        """A plan that a device was sent, as of the endpoint that devices negotiate by."""
        weights = plan["weight_bits"].values()
        self._device(client, self._now()).plan = {
            "model": model,
            "split": plan["split"],
            "feature_bits": plan["feature_bits"],
            "weight_bits": [min(weights), max(weights)] if weights else None,
            "accuracy_drop": plan["accuracy_drop"],
        }

    def refused(self, client: str, status: int, where: str, why: str) -> None:
        """A request that was refused.  where: method and path, as they may be quoted."""
        self._statuses[status] += 1
        one = _Refusal(self._now(), client[:_NAME_LEN], status, where, why[:_WHY_LEN])
        self._refusals.append(one)
        device = self._devices.get(one.client)
        if device is not None:
            device.refused += 1

    def snapshot(self) -> dict[str, Any]:
        """All of it, for JSON.

        Rates are of whole seconds: the last 10 and 60 of them, or as many as there were.
        Percentiles are of the last 4,096 requests, 256 of one device, by nearest rank.  Of devices
        the last 100 are told, the latest first; "seconds" has the oldest first.
        """
        now = self._now()
        latest = islice(reversed(self._devices.items()), _SHOWN_DEVICES)
        statuses = {200: self._all.total.requests, **dict(sorted(self._statuses.items()))}
        return {
            "up_s": round(now, 3),
            "all": self._all.told(int(now)),
            "seconds": self._all.each_second(int(now)),
            "device_count": len(self._devices),
            "devices": [{"name": name, **device.told(now)} for name, device in latest],
            "statuses": {str(status): count for status, count in statuses.items()},
            "refusals": [one.told(now) for one in reversed(self._refusals)],
        }

    def _now(self) -> float:
        return self._clock() - self._begin

    def _device(self, client: str, now: float) -> _Device:
        name = client[:_NAME_LEN]
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = _Device()
            if len(self._devices) > _DEVICES:
                self._devices.popitem(last=False)
        else:
            self._devices.move_to_end(name)
        device.seen = now
        return device


class _Refusal(NamedTuple):
    at: float
    client: str
    status: int
    where: str
    why: str

    def told(self, now: float) -> dict[str, Any]:
        told = self._asdict()
        return {"ago_s": round(now - told.pop("at"), 3), **told}


class _Device:
    __slots__ = ("model", "plan", "refused", "seen", "tally")

    def __init__(self) -> None:
        self.model: str | None = None
        self.plan: dict[str, Any] | None = None
        self.seen, self.refused = 0.0, 0
        self.tally = _Tally(_OF_DEVICE)

    def told(self, now: float) -> dict[str, Any]:
        return {
            "model": self.model,
            "ago_s": round(now - self.seen, 3),
            "refused": self.refused,
            "plan": self.plan,
            **self.tally.told(int(now)),
        }


class _Counts(NamedTuple):
    """Sums over requests."""

    requests: int = 0
    samples: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    labelled: int = 0
    right: int = 0
    wait_s: float = 0.0
    decode_s: float = 0.0
    tail_s: float = 0.0
    request_s: float = 0.0

    def since(self, before: _Counts) -> _Counts:
        return _Counts._make(map(operator.sub, self, before))


class _Tally:
    """Counts in all and by second; times of the last `kept` requests."""

    __slots__ = ("_at", "_begins", "_end", "_times", "total")

    def __init__(self, kept: int) -> None:
        self.total = _Counts()
        # Seconds in which there was anything, with what there was before each.
        self._begins: deque[tuple[int, _Counts]] = deque(maxlen=_KEPT_S + 1)
        # A ring of rows, one number for each stage, which grows until it is full.
        self._times, self._at, self._end = array("f"), 0, kept * len(_STAGES)

    def add(self, second: int, counts: _Counts) -> None:
        if not self._begins or self._begins[-1][0] != second:
            self._begins.append((second, self.total))
        self.total = _Counts._make(map(operator.add, self.total, counts))
        end = self._at + len(_STAGES)
        self._times[self._at : end] = array("f", counts[-len(_STAGES) :])
        self._at = end if end < self._end else 0

    def told(self, second: int) -> dict[str, Any]:
        total = self.total
        return {
            "requests": total.requests,
            "samples": total.samples,
            "received_bytes": total.received_bytes,
            "sent_bytes": total.sent_bytes,
            "labelled": total.labelled,
            "right": total.right,
            **{f"last_{window_s}_s": self._rates(second, window_s) for window_s in _WINDOWS_S},
            "ms": self._percentiles(),
        }

    def each_second(self, second: int) -> dict[str, list[float | None]]:
        """Counts and mean times of the last whole seconds; a time is None if nothing took any."""
        first = second - min(second, _KEPT_S)
        ones = [self._before(at + 1).since(self._before(at)) for at in range(first, second)]
        return {
            "samples": [one.samples for one in ones],
            "received_bytes": [one.received_bytes for one in ones],
            "sent_bytes": [one.sent_bytes for one in ones],
            "tail_ms": [_ms(one.tail_s / one.requests) if one.requests else None for one in ones],
            "request_ms": [
                _ms(one.request_s / one.requests) if one.requests else None for one in ones
            ],
        }

    def _before(self, second: int) -> _Counts:
        """What there was in all before a second, one of the last `_KEPT_S` or this one."""
        return next((counts for at, counts in self._begins if at >= second), self.total)

    def _rates(self, second: int, window_s: int) -> dict[str, float | None]:
        found = self._before(second).since(self._before(second - window_s))
        span_s = min(second, window_s) or 1
        return {
            "samples_per_s": found.samples / span_s,
            "received_bytes_per_s": found.received_bytes / span_s,
            "sent_bytes_per_s": found.sent_bytes / span_s,
            "accuracy": found.right / found.labelled if found.labelled else None,
        }

    def _percentiles(self) -> dict[str, dict[str, float]]:
        rows = np.sort(np.array(self._times).reshape(-1, len(_STAGES)), axis=0)
        if not len(rows):
            return {}
        places = {f"p{rank}": math.ceil(rank / 100 * len(rows)) - 1 for rank in _RANKS}
        return {
            stage: {name: _ms(rows[place, at]) for name, place in places.items()}
            for at, stage in enumerate(_STAGES)
        }


def _ms(seconds: float) -> float:
    return round(float(seconds) * 1e3, 3)
