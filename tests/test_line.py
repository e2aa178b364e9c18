"""Losses and jitter on one direction of a link; tests/test_relay.py has its rate and latency."""

from __future__ import annotations

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import Channel, Fading, Link, Trace
from pysplitcodec.serve.relay import Line

LOSSY = Link(
    "lossy",
    bits_per_s=8_000,
    latency_s=0.5,
    packet_payload_bytes=100,
    packet_overhead_bytes=20,
    packet_interval_s=0.25,
    loss=0.4,
)
TRY_S = 0.12 + LOSSY.packet_interval_s


def waits_s(losses: int, *, followed: bool) -> float:
    """A round trip and, in powers of two, timeouts of 200 ms more, up to 120 s."""
    timeouts = [min(1.2 * 2**number, 120.0) for number in range(losses - followed)]
    return followed * 1.0 + sum(timeouts) if losses else 0.0


def test_a_lost_packet_is_sent_again_and_arrives_after_the_waits() -> None:
    one, seen = Line(Channel(LOSSY)), set()
    free_s = 0.0
    for _ in range(2_000):  # a packet at a time
        more_s, arrives_s = one.take(0.0, 100)
        sent_s = more_s + 0.05
        tries = round((sent_s + LOSSY.packet_interval_s - free_s) / TRY_S)
        assert sent_s == pytest.approx(free_s + tries * TRY_S - LOSSY.packet_interval_s)
        free_s = sent_s + LOSSY.packet_interval_s
        held_s, alone_s = (waits_s(tries - 1, followed=behind) for behind in (True, False))
        assert arrives_s == pytest.approx(sent_s + 0.5 + held_s)
        assert one.alone_s == pytest.approx(sent_s + 0.5 + alone_s)
        seen.add(tries - 1)
    assert {0, 1, 2, 3, 4} < seen and max(seen) >= 8  # 1.2 s doubled seven times is above 120 s


def test_as_many_are_lost_as_the_link_says() -> None:
    link = Link("l", bits_per_s=8_000, packet_payload_bytes=100, packet_overhead_bytes=20, loss=0.2)
    one = Line(Channel(link))
    sent_s = max(one.take(0.0, 1_450)[0] for _ in range(2_000)) + 0.05
    # 30,000 packets: a share of 0.2 within 1.5 % by far, for the deviation is 0.0023.
    assert sent_s == pytest.approx(2_000 * link.airtime_s(1_450), rel=0.015)
    losses = [Line(Channel(link)).take(0.0, 100) for _ in range(2)]
    assert losses[0] == losses[1]


def test_of_packets_that_arrive_late_the_latest_counts() -> None:
    """What a chunk of several packets takes is what they take one by one."""
    together, single = Line(Channel(LOSSY)), Line(Channel(LOSSY))
    for _ in range(200):
        more_s, arrives_s = together.take(0.0, 450)
        ones = []
        for size in (100, 100, 100, 100, 50):
            ones.append((*single.take(0.0, size), single.alone_s))
        assert more_s == pytest.approx(ones[-1][0])
        assert arrives_s == pytest.approx(max(one[1] for one in ones))
        expected = max(*(one[1] for one in ones[:-1]), ones[-1][2])  # only the last is alone
        assert together.alone_s == pytest.approx(expected)


def test_an_end_is_no_packet() -> None:
    one = Line(Channel(LOSSY))
    for _ in range(50):
        more_s, arrives_s = one.take(1e6, 0)
        assert arrives_s == one.alone_s == pytest.approx(more_s + 0.05 + 0.5)


@pytest.mark.parametrize("rates", [None, Trace((1.0, 2.0), (8_000.0, 0.0), (0.1, 0.7))])
def test_without_loss_and_jitter_it_is_the_channel(rates: Trace | None) -> None:
    """The same bits, whatever the seed."""
    link = Link(
        "l", bits_per_s=9_600, latency_s=0.1, packet_payload_bytes=99, packet_interval_s=0.01
    )
    medium, free_s, arrived_s = Channel(link, rates).open(0), 0.0, 0.0
    one = Line(Channel(link, rates), seed=7)
    for now_s, length in ((0.3, 1_460), (0.4, 5), (4.0, 300), (30.0, 1)):
        begin_s = max(now_s, free_s)
        sent_s = medium.send(begin_s, length).end_s
        free_s = sent_s + link.packet_interval_s
        arrived_s = max(arrived_s, sent_s + medium.latency_s(begin_s))
        assert one.take(now_s, length) == (sent_s - 0.05, arrived_s)
        assert one.alone_s == arrived_s


def test_losses_leave_fading_as_it_is() -> None:
    fading = Fading(bandwidth_hz=1e5, mean_gain=1e-9, noise_w=1e-10, coherence_s=0.01)
    link = Link("l", bits_per_s=1.0, transmit_power_w=0.1, packet_payload_bytes=10_000)
    rare = Link(**{**vars(link), "loss": 1e-9})
    whole, lossy = (Line(Channel(one, fading), 3).take(0.0, 10_000) for one in (link, rare))
    assert whole == lossy


def test_jitter_is_bounded_and_uniform_and_takes_no_rate() -> None:
    link = Link("l", bits_per_s=8e6, latency_s=0.5)
    still, shaking = Line(Channel(link)), Line(Channel(link), seed=1, jitter_s=0.2)
    late_s = []
    for _ in range(2_000):
        more_s, arrives_s = still.take(0.0, 1_000)
        shaken = shaking.take(0.0, 1_000)
        assert shaken[0] == more_s
        late_s.append(shaken[1] - arrives_s)
        assert shaking.alone_s == shaken[1]
    assert -1e-9 < min(late_s) < 0.01 and 0.19 < max(late_s) < 0.2 + 1e-9
    assert np.mean(late_s) == pytest.approx(0.1, abs=0.006)


def test_jitter_leaves_losses_as_they_are() -> None:
    still, shaking = (Line(Channel(LOSSY), seed=2, jitter_s=jitter_s) for jitter_s in (0.0, 1.0))
    for _ in range(300):
        assert still.take(0.0, 100)[0] == shaking.take(0.0, 100)[0]


@pytest.mark.parametrize("jitter_s", [-0.1, float("nan"), float("inf")])
def test_jitter_that_is_none(jitter_s: float) -> None:
    with pytest.raises(ArgumentError, match=f"jitter_s is {jitter_s}: expected a number of at"):
        Line(Channel(LOSSY), jitter_s=jitter_s)
