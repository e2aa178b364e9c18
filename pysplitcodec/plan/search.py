"""Choosing among candidates: the best, those that no other beats, and where the answer changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.cost import Candidate, Cost, evaluate
from pysplitcodec.plan.device import DeviceProfile
from pysplitcodec.plan.link import Link
from pysplitcodec.plan.tables import check_count


@dataclass(frozen=True)
class Weights:
    """What is minimised: QPART, Eq. 17, omega T + tau E + eta C; units of T, E and C differ.

    >>> Weights(per_j=2.0).of(Cost(0.5, compute_j=0.25, codec_j=0, link_j=0, ship_j=0, price=0))
    1.0
    """

    per_s: float = 1.0
    per_j: float = 0.0
    per_price: float = 0.0

    def __post_init__(self) -> None:
        """Raise ArgumentError for negative weights, and for none."""
        check_count("weights", per_s=self.per_s, per_j=self.per_j, per_price=self.per_price)
        if not (self.per_s or self.per_j or self.per_price):
            raise ArgumentError("weights are all 0: expected one above 0")

    def of(self, cost: Cost) -> float:
        """The weighted sum; raises ArgumentError if what it needs is not known."""
        found = self.per_s * cost.latency_s
        for name, weight, value in (
            ("energy_j", self.per_j, cost.energy_j),
            ("price", self.per_price, cost.price),
        ):
            if weight and value is None:
                raise ArgumentError(
                    f"{name} has a weight of {weight:g} and is not known: expected power_w of the "
                    "device, transmit_power_w of the link, price_per_s of the server"
                )
            found += weight * (value or 0.0)
        return found


@dataclass(frozen=True)
class Limits:
    """What a plan must keep to; None: anything.  Memory is held to the device's profile."""

    latency_s: float | None = None
    energy_j: float | None = None
    payload_bytes: float | None = None
    accuracy_drop: float | None = None

    def __post_init__(self) -> None:
        """Raise ArgumentError for negative limits."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        check_count("limits", **{k: v for k, v in given.items() if v is not None})


class Choice(NamedTuple):
    """A candidate, what it costs, the weighted sum of that, and why it will not do, if so.

    missed: the largest factor by which it misses a limit; 1 if it keeps all, infinite where a
    figure is not known.
    """

    candidate: Candidate
    cost: Cost
    objective: float
    why_not: tuple[str, ...]
    missed: float

    @property
    def feasible(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.why_not


def choices(
    candidates: Iterable[Candidate],
    device: DeviceProfile,
    link: Link,
    *,
    server: DeviceProfile | None = None,
    inferences: float | None = None,
    weights: Weights | None = None,
    limits: Limits | None = None,
) -> list[Choice]:
    """Every candidate with its cost: those that will do, the best first, then the nearest first.

    server, inferences: as for `evaluate`.  weights: the time alone by default.  A limit on what is
    not known of a candidate speaks against it.  Raises ArgumentError for no candidates, and as
    `evaluate` and `Weights.of`.
    """
    weights, limits = weights or Weights(), limits or Limits()
    found = [_choice(one, device, link, server, inferences, weights, limits) for one in candidates]
    if not found:
        raise ArgumentError("candidates are none: expected one at least")
    return sorted(found, key=lambda choice: (choice.missed, choice.objective))


def _choice(
    one: Candidate,
    device: DeviceProfile,
    link: Link,
    server: DeviceProfile | None,
    inferences: float | None,
    weights: Weights,
    limits: Limits,
) -> Choice:
    cost = evaluate(one, device, link, server=server, inferences=inferences)
    against = list(_against(one, cost, device, limits))
    missed = max((factor for _, factor in against), default=1.0)
    return Choice(one, cost, weights.of(cost), tuple(text for text, _ in against), missed)


def best(found: Sequence[Choice]) -> Choice:
    """The first of `choices`; if it will not do, an ArgumentError names it as the nearest."""
    first = found[0]
    if first.feasible:
        return first
    raise ArgumentError(
        f"no candidate keeps the limits; nearest is {first.candidate.name}: "
        + "; ".join(first.why_not)
    )


def _against(
    one: Candidate, cost: Cost, device: DeviceProfile, limits: Limits
) -> Iterable[tuple[str, float]]:
    """What speaks against a candidate, and how many times too much it is."""
    checks: list[tuple[str, float | None, float | None]] = [
        ("latency_s", cost.latency_s, limits.latency_s),
        ("energy_j", cost.energy_j, limits.energy_j),
        ("payload_bytes", one.payload_bytes, limits.payload_bytes),
        ("accuracy_drop", one.accuracy_drop, limits.accuracy_drop),
    ]
    for name, value, most in checks:
        if most is not None and value is None:
            yield f"{name} is not known, and at most {most:g} is allowed", math.inf
        elif most is not None and value is not None and value > most:
            yield f"{name} is {value:.6g}, above {most:g}", value / most if most else math.inf
    # A device of which only one memory is known holds weights and data in it.
    data_bytes, memories = one.ram_bytes or 0, []
    if device.flash_bytes is None:
        memories.append(("ram_bytes", one.head_bytes + data_bytes, device.ram_bytes))
    else:
        memories.append(("flash_bytes", one.head_bytes, device.flash_bytes))
        memories.append(("ram_bytes", data_bytes, device.ram_bytes))
    for name, needed, room in memories:
        if room is not None and needed > room:
            yield f"{name} is {needed:.0f}, above {device.name}'s {room}", needed / room


Figure = Callable[[Choice], float]


def pareto(found: Iterable[Choice], figures: Sequence[Figure]) -> list[Choice]:
    """Those of `found` that no other equals in all of `figures` and beats in one; less is better.

    In order of the first figure.  Of several that are equal in all, the first stays.
    """
    if not figures:
        raise ArgumentError("figures are none: expected one at least")
    given = list(found)
    rows = np.array([[figure(one) for figure in figures] for one in given], np.float64)
    rows = rows.reshape(-1, len(figures))
    front, size = np.empty_like(rows), 0
    kept = []
    for i in np.lexsort(rows.T[::-1]):  # by the first figure, then by the next
        if not (front[:size] <= rows[i]).all(axis=1).any():
            front[size] = rows[i]
            size += 1
            kept.append(given[i])
    return kept


_FASTEST = 1e9  # bit/s: what a choice is shown at whose span has no end
_ENDLESS = 1e300  # bit/s: sending takes no time beside what does not depend on the rate


class Span(NamedTuple):
    """Rates of a link, in bit/s, at which one candidate is best: from `low` on to `high`.

    choice: with its cost at `high`, or at 1 Gbit/s if that is less.
    """

    low: float
    high: float
    choice: Choice


def break_even(
    candidates: Sequence[Candidate],
    device: DeviceProfile,
    link: Link,
    *,
    server: DeviceProfile | None = None,
    inferences: float | None = None,
    weights: Weights | None = None,
    limits: Limits | None = None,
) -> list[Span]:
    """Which candidate is best at which rate of the link, from 0 to infinity; exact.

    What is minimised is a line over 1 / rate for each candidate, and the answer their lower
    envelope.  The link's latency and packets stay as they are.  Limits on time and energy, which
    depend on the rate, are not held; the others are.  Arguments and errors as for `choices`;
    ArgumentError if no candidate will do.
    """
    weights, limits = weights or Weights(), limits or Limits()
    held = replace(limits, latency_s=None, energy_j=None)

    def at(one: Candidate, moved: Link) -> Choice:
        return _choice(one, device, moved, server, inferences, weights, held)

    def best_to(i: int, high: float) -> Choice:
        return at(candidates[i], replace(link, bits_per_s=min(high, _FASTEST)))

    at_1, endless = (replace(link, bits_per_s=rate) for rate in (1.0, _ENDLESS))
    slow = {i: at(one, at_1) for i, one in enumerate(candidates)}
    slow = {i: choice for i, choice in slow.items() if choice.feasible}
    if not slow:
        raise ArgumentError("no candidate keeps the limits at any rate")
    # objective = fixed + slope / rate
    fixed = {i: at(choice.candidate, endless).objective for i, choice in slow.items()}
    lines = [(choice.objective - fixed[i], i) for i, choice in slow.items()]
    # At an infinite rate the least fixed part is best, then the least slope.
    slope, now = min(lines, key=lambda line: (fixed[line[1]], line[0]))
    spans, inverse = [], 0.0
    while True:
        # where the lines of less slope cut this one, further on
        cuts = [
            ((fixed[i] - fixed[now]) / (slope - other), other, i)
            for other, i in lines
            if other < slope
        ]
        cuts = [cut for cut in cuts if cut[0] >= inverse]
        high = 1 / inverse if inverse else math.inf
        if not cuts:
            spans.append(Span(0.0, high, best_to(now, high)))
            return spans[::-1]
        until, slope_next, after = min(cuts)
        if until > inverse:
            spans.append(Span(1 / until, high, best_to(now, high)))
        inverse, slope, now = until, slope_next, after
