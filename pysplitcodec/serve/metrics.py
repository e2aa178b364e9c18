"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from pysplitcodec.serve.tail import Answer, Tail

__all__ = ["Metrics"]

_SECONDS = tuple(base * 10.0**power for power in range(-5, 1) for base in (1, 2.5, 5))
_COUNTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms of one server, each named `splitcodec_...`.

    waiting: tells the requests that wait or run, by model.
    """

    def __init__(self, waiting: Callable[[], Mapping[str, int]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Waiting(waiting))

        def counted(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"splitcodec_{name}", text, labels, registry=self._registry)

        def spread(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                f"splitcodec_{name}", text, labels, buckets=buckets, registry=self._registry
            )

        self._requests = counted("requests", "Requests answered or refused", "model", "status")
        self._received = counted("received_bytes", "Bytes of bodies of requests", "model")
        self._sent = counted("sent_bytes", "Bytes of bodies of answers", "model")
        self._samples = counted("samples", "Samples that were answered", "model")
        self._stages = spread(
            "stage_seconds", "Seconds of a request by stage", _SECONDS, "model", "stage"
        )
        self._together = spread("run_requests", "Requests that ran together", _COUNTS, "model")
        self._of_model = functools.cache(self._find)

    def answered(
        self, model: str, samples: int, seconds: float, answer: Answer, received: int, sent: int
    ) -> None:
        """A request and its answer: seconds in all, and bytes of their bodies."""
        its = self._of_model(model)
        its.requests.inc()
        its.samples.inc(samples)
        its.received.inc(received)
        its.sent.inc(sent)
        its.wait.observe(answer.wait_s)
        its.decode.observe(answer.decode_s)
        its.tail.observe(answer.tail_s)
        its.request.observe(seconds)

    def refused(self, model: str, status: int) -> None:
        """A request that was refused; model: "" if it names none that there is."""
        self._requests.labels(model, str(status)).inc()

    def ran(self, tail: Tail, requests: int) -> None:
        """A run of a tail, for so many requests together."""
        self._of_model(tail.name).together.observe(requests)

    def _find(self, model: str) -> _OfModel:
        wait, decode, tail, request = (
            self._stages.labels(model, stage) for stage in ("wait", "decode", "tail", "request")
        )
        return _OfModel(
            requests=self._requests.labels(model, "200"),
            samples=self._samples.labels(model),
            received=self._received.labels(model),
            sent=self._sent.labels(model),
            together=self._together.labels(model),
            wait=wait,
            decode=decode,
            tail=tail,
            request=request,
        )

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


class _OfModel(NamedTuple):
    """A model's own counters; looking them up by their labels takes longer than counting."""

    requests: Counter
    samples: Counter
    received: Counter
    sent: Counter
    together: Histogram
    wait: Histogram
    decode: Histogram
    tail: Histogram
    request: Histogram


class _Waiting(Collector):
    def __init__(self, waiting: Callable[[], Mapping[str, int]]) -> None:
        self._waiting = waiting

    def collect(self) -> Iterable[Metric]:
        found = GaugeMetricFamily(
            "splitcodec_waiting_requests", "Requests that wait or run", labels=["model"]
        )
        for model, count in self._waiting().items():
            found.add_metric([model], count)
        yield found
