"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

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

    def answered(
        self, model: str, samples: int, seconds: float, answer: Answer, received: int, sent: int
    ) -> None:
        """A request and its answer: seconds in all, and bytes of their bodies."""
        self._requests.labels(model, "200").inc()
        self._samples.labels(model).inc(samples)
        self._received.labels(model).inc(received)
        self._sent.labels(model).inc(sent)
        for stage, value in (
            ("decode", answer.decode_s),
            ("tail", answer.tail_s),
            ("request", seconds),
        ):
            self._stages.labels(model, stage).observe(value)

    def refused(self, model: str, status: int) -> None:
        """A request that was refused; model: "" if it names none that there is."""
        self._requests.labels(model, str(status)).inc()

    def ran(self, tail: Tail, waited_s: list[float]) -> None:
        """A run of a tail, and how long each of its requests had waited for it."""
        self._together.labels(tail.name).observe(len(waited_s))
        stage = self._stages.labels(tail.name, "wait")
        for value in waited_s:
            stage.observe(value)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


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
