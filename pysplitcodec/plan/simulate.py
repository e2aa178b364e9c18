"""Split inference simulated: devices that infer, send over links and share a server (QPART, V).

QPART's executing module is `evaluate`, whose times of computing and coding every input takes; its
communication module is `Channel`; its performance module is `Result`.  What `evaluate` cannot say
comes of the simulation: waiting for a link and a server that others use too, inputs that are
dropped, and rates that change while a payload is sent.  Importing this module needs SimPy, of the
extra "plan".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from pysplitcodec.errors import ArgumentError, MissingDependencyError
from pysplitcodec.plan.channel import AnyLink, Channel, Medium, as_channel
from pysplitcodec.plan.cost import Candidate, Cost, evaluate
from pysplitcodec.plan.device import DeviceProfile
from pysplitcodec.plan.link import Link
from pysplitcodec.plan.records import FIELDS, Columns, Result, as_records
from pysplitcodec.plan.tables import check_count, check_positive

try:
    import simpy
except ImportError as error:
    raise MissingDependencyError(
        'simulating needs SimPy: pip install "pysplitcodec[plan]"'
    ) from error

if TYPE_CHECKING:
    from simpy.resources.resource import Request

# Columns of what is written down of an input.
_ARRIVAL, _TAKEN, _HEAD, _CODE, _SEND, _SENT, _SERVE, _ANSWER, _ENERGY, _PRICE, _DROPPED = range(
    len(FIELDS)
)


@dataclass(frozen=True)
class Periodic:
    """An input every `period_s`, the first at `start_s`."""

    period_s: float
    start_s: float = 0.0

    def __post_init__(self) -> None:
        """Raise ArgumentError for a period that is not above 0, and a negative start."""
        check_positive("arrivals", period_s=self.period_s)
        check_count("arrivals", start_s=self.start_s)


@dataclass(frozen=True)
class Poisson:
    """So many inputs a second on average, each independent of the others."""

    inputs_per_s: float

    def __post_init__(self) -> None:
        """Raise ArgumentError for a rate that is not above 0."""
        check_positive("arrivals", inputs_per_s=self.inputs_per_s)


@dataclass(frozen=True)
class ClosedLoop:
    """The next input when the last answer came; the first at once."""


Arrivals = Union[Periodic, Poisson, ClosedLoop]


@dataclass(frozen=True)
class Edge:
    """A device with its part of a model, and how inputs come to it.

    queue_len: inputs that may wait for the head; those that find so many are dropped.  overlap:
    whether the next input is inferred while the last is coded and sent; a feature that is finished
    before waits in the head.  inferences: for how many inputs the head's weights are sent once,
    before the first of them is inferred; None: they are there already.
    Raises ArgumentError for a negative queue and inferences below 1.
    """

    device: DeviceProfile
    candidate: Candidate
    arrivals: Arrivals
    queue_len: int = 1
    overlap: bool = True
    inferences: int | None = None

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no device does."""
        _check_whole("queue_len", self.queue_len, 0)
        if self.inferences is not None:
            _check_whole("inferences", self.inferences, 1)


def simulate(
    edges: Sequence[Edge],
    links: AnyLink | Sequence[AnyLink],
    *,
    inputs: int,
    server: DeviceProfile | None = None,
    workers: int = 1,
    until_s: float = math.inf,
    seed: int = 0,
) -> Result:
    """Run every device for so many inputs, or until a time, and return what became of each.

    links: one that all devices share, or one for each of them, not shared.  Of a shared one, the
    first that is ready sends first, a whole payload; latency passes before and keeps no other from
    sending.  server: what runs the tails, the first that arrives first; without it they take no
    time.  workers: tails that run at a time.  seed: the same gives the same arrays; every device
    and link has draws of its own.  Memory: about 200 bytes for each input of each device.

    With one device, one input at a time and a rate that stays, an input's latency is that of
    `evaluate`.  Raises ArgumentError as `evaluate`, and for counts that are not above 0 or links
    that are not as many as devices.

    >>> from pysplitcodec.plan import Candidate, DeviceProfile, Link
    >>> device = DeviceProfile("d", macs_per_s=1e9)
    >>> half = Candidate("layer1", head_macs=2e7, tail_macs=0, payload_bytes=1_000)
    >>> edges = [Edge(device, half, Poisson(40.0)) for _ in range(3)]
    >>> summary = simulate(edges, Link("l", bits_per_s=1e6), inputs=1_000, seed=1).summary()
    >>> round(summary.latency_s, 3), round(summary.drop_share, 2)
    (0.038, 0.2)
    """
    _check_whole("inputs", inputs, 1)
    _check_whole("workers", workers, 1)
    _check_whole("seed", seed, 0)
    if not until_s > 0:
        raise ArgumentError(f"until_s is {until_s!r}: expected a time above 0")
    channels = _channels(links, len(edges))
    environment = simpy.Environment()
    of_arrivals, of_links = np.random.SeedSequence(seed).spawn(2)
    lines = [
        _Line(environment, channel.open(draws))
        for channel, draws in zip(channels, of_links.spawn(len(channels)))
    ]
    tails = simpy.Resource(environment, workers)
    table = np.full((len(edges), inputs, len(FIELDS)), np.nan)
    costs = []
    for number, (edge, draws) in enumerate(zip(edges, of_arrivals.spawn(len(edges)))):
        own = number % len(lines)  # or the one that there is
        costs.append(evaluate(edge.candidate, edge.device, channels[own].link, server=server))
        rng = np.random.default_rng(draws)
        _Run(environment, edge, costs[-1], lines[own], tails, table[number], rng)
    environment.run(None if until_s == math.inf else until_s)
    return Result(
        as_records(table),
        environment.now,
        tuple(line.utilisation() for line in lines),
        _server_utilisation(costs, table, environment.now) / workers,
    )


def _channels(links: AnyLink | Sequence[AnyLink], edges: int) -> list[Channel]:
    """One that is shared, or one for each edge."""
    if not edges:
        raise ArgumentError("edges are none: expected one at least")
    if isinstance(links, (Link, Channel)):
        return [as_channel(links)]
    if len(links) != edges:
        raise ArgumentError(
            f"links are {len(links)}: expected one for all, or a list of one for each of "
            f"{edges} edges"
        )
    return [as_channel(link) for link in links]


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name} is {value!r}: expected a whole number, at least {least}")


def _server_utilisation(costs: Sequence[Cost], table: Columns, end_s: float) -> float:
    """Seconds that workers were busy until the end, for each second."""
    if not end_s:
        return 0.0
    began = table[:, :, FIELDS.index("serve_s")]
    each = np.array([cost.server_s for cost in costs])[:, np.newaxis]
    return float(np.nansum(np.minimum(each, end_s - began))) / end_s


class _Line:
    """A medium that one payload has at a time: who has `turn`, the first that asks first."""

    def __init__(self, environment: simpy.Environment, medium: Medium) -> None:
        self._environment = environment
        self.turn = simpy.Resource(environment)
        self.medium = medium
        self._held_s = 0.0
        self._until_s = 0.0  # when the last payload that had it will have passed

    def send(self, payload_bytes: float) -> tuple[float, float]:
        """Seconds from now on that it takes, and joules, NaN if not known."""
        begin_s = self._environment.now
        self._until_s, airtime_s = self.medium.send(begin_s, payload_bytes)
        self._held_s += self._until_s - begin_s
        return self._until_s - begin_s, _known(self.medium.link.transmit_power_w) * airtime_s

    def utilisation(self) -> float:
        """Share of the time until now in which a payload had it."""
        now_s = self._environment.now
        return (self._held_s - max(self._until_s - now_s, 0.0)) / now_s if now_s else 0.0


class _Run:
    """One device at work: where its inputs come from, its head, its sender."""

    def __init__(
        self,
        environment: simpy.Environment,
        edge: Edge,
        cost: Cost,
        line: _Line,
        tails: simpy.Resource,
        rows: Columns,
        rng: np.random.Generator,
    ) -> None:
        self._environment = environment
        self._edge, self._cost, self._line, self._tails, self._rows = edge, cost, line, tails, rows
        self._sender = simpy.Resource(environment)
        self._waiting: deque[int] = deque()
        self._busy = False
        self._called = self._answered = environment.event()
        environment.process(self._work())
        environment.process(self._arrive(rng))

    def _mark(self, number: int, field: int, value: float | None = None) -> None:
        self._rows[number, field] = self._environment.now if value is None else value

    def _arrive(self, rng: np.random.Generator) -> Generator[Any, Any, None]:
        env, arrivals, at_s = self._environment, self._edge.arrivals, 0.0
        for number in range(len(self._rows)):
            if isinstance(arrivals, ClosedLoop):
                if number:
                    yield self._answered
                self._answered = env.event()
            else:
                if isinstance(arrivals, Periodic):
                    at_s = arrivals.start_s + number * arrivals.period_s
                else:
                    at_s += rng.exponential(1 / arrivals.inputs_per_s)
                yield env.timeout(max(at_s - env.now, 0.0))
            self._mark(number, _ARRIVAL)
            if self._busy and len(self._waiting) >= self._edge.queue_len:
                self._mark(number, _DROPPED, 1)
                continue
            self._waiting.append(number)
            if not self._busy:
                self._busy = True
                self._called.succeed()

    def _work(self) -> Generator[Any, Any, None]:
        env, edge, taken = self._environment, self._edge, 0
        weights = 0.0 if edge.inferences is None else edge.candidate.head_bytes
        while True:
            if not edge.overlap:
                sender = self._sender.request()
                yield sender
            if not self._waiting:
                self._busy, self._called = False, env.event()
                yield self._called
            number, joules = self._waiting.popleft(), 0.0
            self._mark(number, _TAKEN)
            if weights and taken % (edge.inferences or 1) == 0:
                joules = yield from self._send(weights)
            taken += 1
            self._mark(number, _HEAD)
            yield env.timeout(self._cost.compute_s)
            if edge.overlap:
                sender = self._sender.request()
                yield sender
            env.process(self._finish(number, sender, joules))

    def _finish(self, number: int, sender: Request, joules: float) -> Generator[Any, Any, None]:
        env, cost, payload_bytes = self._environment, self._cost, self._edge.candidate.payload_bytes
        self._mark(number, _CODE)
        if cost.codec_s:
            yield env.timeout(cost.codec_s)
        if payload_bytes:
            joules += yield from self._send(payload_bytes, number)
        else:
            self._mark(number, _SEND)
        self._sender.release(sender)
        self._mark(number, _SENT)
        self._mark(number, _ENERGY, joules + _known(cost.compute_j) + _known(cost.codec_j))
        if cost.server_s:
            with self._tails.request() as worker:
                yield worker
                self._mark(number, _SERVE)
                yield env.timeout(cost.server_s)
        else:
            self._mark(number, _SERVE)
        self._mark(number, _ANSWER)
        self._mark(number, _PRICE, _known(cost.price))
        if isinstance(self._edge.arrivals, ClosedLoop):
            self._answered.succeed()

    def _send(self, payload_bytes: float, number: int | None = None) -> Generator[Any, Any, float]:
        """Latency, a turn, the bits of weights or an input's feature; the joules of that."""
        env, line = self._environment, self._line
        latency_s = line.medium.latency_s(env.now)
        if latency_s:
            yield env.timeout(latency_s)
        with line.turn.request() as turn:
            yield turn
            if number is not None:
                self._mark(number, _SEND)
            seconds, joules = line.send(payload_bytes)
            yield env.timeout(seconds)
        return joules


def _known(value: float | None) -> float:
    return math.nan if value is None else value
