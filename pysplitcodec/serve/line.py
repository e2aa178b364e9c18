"""When bytes arrive that are sent over one direction of a link, one after another.

What is lost there is sent again, as TCP does it: a model, which `Line` tells.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pysplitcodec.plan.channel import Channel
from pysplitcodec.plan.tables import check_count

__all__ = ["Line"]

# So long before the line is free bytes are read: who wakes late then costs the line nothing.
_AHEAD_S = 0.05
# Linux: a retransmission timeout is the round trip and 200 ms at least (TCP_RTO_MIN), where RFC
# 6298 (2.4) has 1 s in all; it doubles up to 120 s (TCP_RTO_MAX; 2.5 has 60 s or more).
_TIMEOUT_BEYOND_ROUNDTRIP_S = 0.2
_MAX_TIMEOUT_S = 120.0


class Line:
    """One direction of a link: when what comes has left, and when it arrives.

    It has no clock and moves nothing: times are given, in seconds from 0 on, and do not go back.

    Packets are lost as the link's `loss` says, each on its own, and sent again until they arrive.
    Each try takes up the rate, right behind the one before; the wait for it comes on top of the
    latency.  It is a model of TCP with selective acknowledgements.  The first wait is a round trip,
    twice the latency, for what is sent behind a packet tells the sender that it is lost (fast
    retransmission).  With nothing behind it, and for each further try, it is a retransmission
    timeout, a round trip and 200 ms, which doubles each time (RFC 6298, 5.5).  There is neither a
    congestion window nor a loss of acknowledgements.

    seed: of losses, jitter and a fading channel, each with draws of its own.  jitter_s: the bytes
    of each call arrive later by 0 to so many seconds, uniformly.  Raises ArgumentError for a
    negative one.
    """

    def __init__(
        self,
        channel: Channel,
        seed: int | np.random.SeedSequence = 0,
        *,
        jitter_s: float = 0.0,
    ) -> None:
        check_count("line", jitter_s=jitter_s)
        if not isinstance(seed, np.random.SeedSequence):
            seed = np.random.SeedSequence(seed)
        # Whole tries are sent here, not the mean of them.
        self._link = replace(channel.link, loss=0.0)
        self._medium = replace(channel, link=self._link).open(seed)
        self._loss, self._jitter_s = channel.link.loss, jitter_s
        self._losses, self._jitter = map(np.random.default_rng, seed.spawn(2))
        self._free_s = 0.0
        self._arrived_s = 0.0
        self.alone_s = 0.0

    def take(self, now_s: float, length: int) -> tuple[float, float]:
        """Send so many bytes behind what is there: when to bring more, and when they arrive.

        They are a payload of their own and begin a packet.  More is wanted 50 ms before their last
        bit has left.  None overtakes what came before, even where the latency falls, but for what
        jitter or a loss holds up: bytes behind it in the same connection have to wait for it.

        The arrival is for bytes that others follow; `alone_s`, from then on, for those that none
        do.  They differ if the last packet was lost.
        """
        begin_s = max(now_s, self._free_s)
        latency_s = self._medium.latency_s(begin_s)
        sent_s, held_s, held_alone_s = self._send(begin_s, length, 2 * latency_s)
        self._free_s = sent_s + self._link.packet_interval_s
        self._arrived_s = max(self._arrived_s, sent_s + latency_s)
        jitter_s = self._jitter.uniform(0.0, self._jitter_s)
        self.alone_s = max(self._arrived_s, held_alone_s + latency_s) + jitter_s
        return sent_s - _AHEAD_S, max(self._arrived_s, held_s + latency_s) + jitter_s

    def _send(self, begin_s: float, length: int, roundtrip_s: float) -> tuple[float, float, float]:
        """When the line is free, and until when losses hold the bytes up, followed and alone."""
        sent_s = held_s = held_alone_s = begin_s
        pause_s = 0.0
        for size in self._sizes(length):
            losses = int(self._losses.geometric(1 - self._loss)) - 1
            for _ in range(losses + 1):
                sent_s = self._medium.send(sent_s + pause_s, size).end_s
                pause_s = self._link.packet_interval_s
            held_alone_s = max(held_s, sent_s + _waits_s(losses, roundtrip_s, followed=False))
            held_s = max(held_s, sent_s + _waits_s(losses, roundtrip_s, followed=True))
        return sent_s, held_s, held_alone_s

    def _sizes(self, length: int) -> list[int]:
        """Of packets; of all at once, which the medium divides, if none is lost."""
        full = self._link.packet_payload_bytes
        if full is None or not self._loss:
            return [length]
        count = self._link.packets(length)
        return [min(full, length - number * full) for number in range(count)]


def _waits_s(losses: int, roundtrip_s: float, *, followed: bool) -> float:
    """Of a packet that is lost so often in a row; followed: others are sent behind it."""
    waited_s, timeout_s = 0.0, roundtrip_s + _TIMEOUT_BEYOND_ROUNDTRIP_S
    for number in range(losses):
        if not number and followed:
            waited_s += roundtrip_s
        else:
            waited_s += timeout_s
            timeout_s = min(2 * timeout_s, _MAX_TIMEOUT_S)
    return waited_s
