"""Links whose rate changes: what is sent when, piece by piece.

QPART, Eq. 11 to 16, sends at one rate for as long as a payload takes.  Here the rate may change
meanwhile, and a payload passes when its bits have, at whatever rates held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, NamedTuple, Union

import numpy as np

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.link import Link, shannon_bits_per_s
from pysplitcodec.plan.tables import check_positive
from pysplitcodec.plan.trace import Piece, Trace


@dataclass(frozen=True)
class Fading:
    """Block fading: the gain is drawn anew every `coherence_s` (QPART, Eq. 11 to 13).

    The rate is B log2(1 + pi g / sigma) with g = mean_gain x h and h exponentially distributed
    with a mean of 1; pi is the link's `transmit_power_w`.  mean_gain: the large-scale part, alpha.
    Raises ArgumentError for figures that are not above 0.
    """

    bandwidth_hz: float
    mean_gain: float
    noise_w: float
    coherence_s: float

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no channel has."""
        check_positive("fading", **self.__dict__)


class Sent(NamedTuple):
    """When a payload's last bit has left, and for how long the device was sending."""

    end_s: float
    airtime_s: float


@dataclass(frozen=True)
class Channel:
    """A link, and how its rate changes.

    link: packets, overhead, pauses, loss and latency are as `Link.seconds` has them.  rates: take
    the place of its `bits_per_s`; None: the rate stays.  Raises ArgumentError for fading over a
    link without `transmit_power_w`.

    >>> bus = Channel(Link("bus", bits_per_s=1.0), Trace((1.0, 1.0), bits_per_s=(8e3, 2e3)))
    >>> bus.open(seed=0).send(0.5, payload_bytes=625)  # half of it in each of two stretches
    Sent(end_s=1.5, airtime_s=1.0)
    """

    link: Link
    rates: Trace | Fading | None = None

    def __post_init__(self) -> None:
        """Raise ArgumentError if fading lacks a power."""
        if isinstance(self.rates, Fading) and self.link.transmit_power_w is None:
            raise ArgumentError(
                f"link {self.link.name} has no transmit_power_w: fading needs one to have a rate"
            )

    def open(self, seed: int | np.random.SeedSequence) -> Medium:
        """Return it with draws of its own; the same seed gives the same rates."""
        return Medium(self.link, self._rates(seed))

    def _rates(self, seed: int | np.random.SeedSequence) -> Callable[[float], Piece]:
        if isinstance(self.rates, Trace):
            return self.rates.at
        if isinstance(self.rates, Fading):
            assert self.link.transmit_power_w is not None
            return _Blocks(self.rates, self.link.transmit_power_w, np.random.default_rng(seed)).at
        constant = Piece(math.inf, self.link.bits_per_s, 0.0)
        return lambda _: constant


AnyLink = Union[Link, Channel]


def as_channel(given: AnyLink) -> Channel:
    """A link alone is a channel whose rate stays."""
    return given if isinstance(given, Channel) else Channel(given)


class _Blocks:
    """The gains of one fading channel, in order of time; those of idle blocks are not drawn."""

    def __init__(self, fading: Fading, transmit_power_w: float, rng: np.random.Generator) -> None:
        self._fading, self._power_w, self._rng = fading, transmit_power_w, rng
        self._begun = 0.0
        self._piece = Piece(0.0, 0.0, 0.0)

    def at(self, time_s: float) -> Piece:
        coherence_s = self._fading.coherence_s
        while self._piece.until_s <= time_s:
            self._begun = max(time_s // coherence_s, self._begun) + 1
            self._piece = Piece(self._begun * coherence_s, self._bits_per_s(), 0.0)
        return self._piece

    def _bits_per_s(self) -> float:
        fading = self._fading
        gain = fading.mean_gain * self._rng.exponential()
        if not gain:
            return 0.0
        return shannon_bits_per_s(fading.bandwidth_hz, self._power_w, gain, fading.noise_w)


class Medium:
    """A channel in use: what a payload takes that is sent at a given time.

    Times are seconds from 0 on.  Payloads are sent one after another, in order of time.
    """

    def __init__(self, link: Link, rate_at: Callable[[float], Piece]) -> None:
        self.link = link
        self._at = rate_at

    def latency_s(self, time_s: float) -> float:
        """Until the first bit of a payload leaves that is ready at this time."""
        return self.link.latency_s + self._at(time_s).latency_s

    def send(self, begin_s: float, payload_bytes: float) -> Sent:
        """When a payload has passed whose first bit leaves at `begin_s`; exact over the pieces.

        Where nothing passes, it waits.  Pauses between packets take no part in `airtime_s`.
        """
        if not payload_bytes:
            return Sent(begin_s, 0.0)
        link = self.link
        bits, pauses_s = 8 * link.bytes_sent(payload_bytes), link.pauses_s(payload_bytes)
        piece = self._at(begin_s)
        if piece.bits_per_s:
            airtime_s = bits / piece.bits_per_s
            if begin_s + airtime_s + pauses_s <= piece.until_s:
                return Sent(begin_s + airtime_s + pauses_s, airtime_s)
        if not pauses_s:
            return self._send_bits(begin_s, bits)
        return self._send_packets(begin_s, payload_bytes)

    def _send_packets(self, begin_s: float, payload_bytes: float) -> Sent:
        """With the pauses where they belong; lost packets are their share of every packet."""
        link, now_s, airtime_s = self.link, begin_s, 0.0
        assert link.packet_payload_bytes is not None
        full, count = link.packet_payload_bytes, link.packets(payload_bytes)
        sizes = [full] * (count - 1) + [payload_bytes - full * (count - 1)]
        bits = {size: 8 * link.bytes_sent(size) for size in set(sizes)}
        repeats_s = link.pauses_s(full)
        for number, size in enumerate(sizes):
            if number:
                now_s += link.packet_interval_s
            end_s, sending_s = self._send_bits(now_s, bits[size])
            now_s = end_s + repeats_s
            airtime_s += sending_s
        return Sent(now_s, airtime_s)

    def _send_bits(self, begin_s: float, bits: float) -> Sent:
        now_s, airtime_s = begin_s, 0.0
        while True:
            until_s, bits_per_s, _ = self._at(now_s)
            if bits <= bits_per_s * (until_s - now_s):
                return Sent(now_s + bits / bits_per_s, airtime_s + bits / bits_per_s)
            if bits_per_s:
                bits -= bits_per_s * (until_s - now_s)
                airtime_s += until_s - now_s
            now_s = until_s
