"""Traces, fading, and what a payload takes while the rate changes."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import Channel, Fading, Link, Trace, get_link, load_links

PACKETS = Link(
    "packets",
    bits_per_s=1e5,
    packet_payload_bytes=100,
    packet_overhead_bytes=25,
    packet_interval_s=0.003,
    loss=0.2,
)
FADING = Fading(bandwidth_hz=1e6, mean_gain=1e-9, noise_w=2e-10, coherence_s=0.01)
RADIO = Link("radio", bits_per_s=1.0, transmit_power_w=0.5)


def test_examples() -> None:
    for name in ("channel", "trace"):
        found = doctest.testmod(importlib.import_module(f"pysplitcodec.plan.{name}"))
        assert found.failed == 0 < found.attempted


# ------------------------------------------------------------------ sending


@pytest.mark.parametrize("name", [*load_links(), "packets"])
@pytest.mark.parametrize("chopped", [False, True])
def test_a_rate_that_stays_costs_what_the_link_says(name: str, chopped: bool) -> None:
    link = PACKETS if name == "packets" else get_link(name)
    # The same rate in many pieces: every payload spans some.
    pieces = np.random.default_rng(1).uniform(0.2, 1, 7) * link.seconds(2_000) / 5
    trace = Trace(list(pieces), [link.bits_per_s] * 7) if chopped else None
    medium = Channel(link, trace).open(seed=0)
    begin_s = 3.0
    for payload_bytes in (1, 99.5, 100, 101, 2_400, 20_000):
        sent = medium.send(begin_s, payload_bytes)
        took_s = medium.latency_s(begin_s) + sent.end_s - begin_s
        assert took_s == pytest.approx(link.seconds(payload_bytes), rel=1e-9)
        assert sent.airtime_s == pytest.approx(link.airtime_s(payload_bytes), rel=1e-9)
        begin_s = sent.end_s
    assert medium.send(begin_s, 0) == (begin_s, 0.0)


def test_bits_are_integrated_over_the_pieces() -> None:
    rng = np.random.default_rng(2)
    durations, rates = rng.uniform(0.01, 2, 50), rng.uniform(0, 1e6, 50)
    rates[rng.integers(0, 50, 15)] = 0
    medium = Channel(Link("l", 1.0), Trace(list(durations), list(rates))).open(seed=0)
    # Bits that have passed by a time, and the times by which bits have passed.
    times = np.concatenate([[0], np.cumsum(np.tile(durations, 3))])
    bits = np.concatenate([[0], np.cumsum(np.tile(durations * rates, 3))])
    sending = np.concatenate([[0], np.cumsum(np.tile(durations * (rates > 0), 3))])
    for _ in range(300):
        begin_s, payload_bytes = rng.uniform(0, durations.sum()), rng.uniform(1, 1e6)
        until = np.interp(begin_s, times, bits) + 8 * payload_bytes
        end_s = float(np.interp(until, bits, times))
        sent = medium.send(begin_s, payload_bytes)
        assert sent.end_s == pytest.approx(end_s, rel=1e-9)
        airtime_s = np.interp(end_s, times, sending) - np.interp(begin_s, times, sending)
        assert sent.airtime_s == pytest.approx(airtime_s, rel=1e-9)


def test_where_nothing_passes_it_waits() -> None:
    trace = Trace((1.0, 5.0, 1.0), (8_000.0, 0.0, 4_000.0))
    medium = Channel(Link("l", 1.0), trace).open(seed=0)
    assert medium.send(0.5, 750) == pytest.approx((6.5, 1.0))
    assert medium.send(7.0 + 2.0, 500) == pytest.approx((14.0, 1.0))  # in the second round


def test_pauses_are_between_packets_wherever_the_rate_changes() -> None:
    link = Link("l", 1.0, packet_payload_bytes=100, packet_interval_s=0.5)
    medium = Channel(link, Trace((1.0, 10.0), (800.0, 400.0))).open(seed=0)
    # 1 s at 800 bit/s, a pause, then two packets at 400 with a pause between them
    assert medium.send(0.0, 300) == pytest.approx((1.0 + 0.5 + 2.0 + 0.5 + 2.0, 5.0))


def test_latency_of_link_and_trace_add_up() -> None:
    link = dataclasses.replace(get_link("1-mbit"), latency_s=0.1)
    medium = Channel(link, Trace((1.0, 1.0), (1e6, 1e6), (0.02, 0.3))).open(seed=0)
    assert medium.latency_s(0.5) == pytest.approx(0.12)
    assert medium.latency_s(1.0) == pytest.approx(0.4)
    assert Channel(link).open(seed=0).latency_s(7.0) == 0.1


# ------------------------------------------------------------------ traces


def test_pieces_always_end_later() -> None:
    trace = Trace((0.1, 1e-9, 0.7, 0.3), (1.0, 2.0, 3.0, 4.0))
    time_s, bits, seen = 0.0, 0.0, []
    while time_s < 10_000 * 1.1 - 0.5:
        piece = trace.at(time_s)
        assert piece.until_s > time_s
        seen.append(piece.bits_per_s)
        bits += piece.bits_per_s * (piece.until_s - time_s)
        time_s = piece.until_s
    assert seen[:8] == [1, 2, 3, 4] * 2
    assert bits == pytest.approx(trace.mean_bits_per_s * time_s, abs=4)  # less than one round
    assert trace.seconds == pytest.approx(1.1)
    assert trace.mean_bits_per_s == pytest.approx((0.1 + 2.1 + 1.2) / 1.1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((), ()), "no rate above 0"),
        (((1.0,), (0.0,)), "no rate above 0"),
        (((1.0, 0.0), (1.0, 1.0)), "stretch 1: duration_s is 0.0"),
        (((1.0, math.nan), (1.0, 1.0)), "stretch 1: duration_s is nan"),
        (((math.inf,), (1.0,)), "stretch 0: duration_s is inf"),
        (((1.0,), (-1.0,)), "stretch 0: bits_per_s is -1.0"),
        (((1.0,), (math.inf,)), "stretch 0: bits_per_s is inf"),
        (((1.0,), (1.0,), (-0.1,)), "stretch 0: latency_s is -0.1"),
        (((1.0,), (1.0, 2.0)), "1 durations, 2 rates and 0 latencies"),
        (((1.0, 2.0), (1.0, 2.0), (0.1,)), "2 durations, 2 rates and 1 latencies"),
    ],
)
def test_traces_that_are_none(arguments: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        Trace(*arguments)


def test_json_traces(tmp_path: Path) -> None:
    rows = [
        {"duration_ms": 102, "bandwidth_kbps": 0, "latency_ms": 20},
        {"duration_ms": 1000, "bandwidth_kbps": 28136, "latency_ms": 20.5},
    ]
    path = tmp_path / "report_bus_0010.json"
    path.write_text(json.dumps(rows, indent=1))
    trace = Trace.load(path)
    assert list(trace.durations_s) == pytest.approx([0.102, 1.0])
    assert list(trace.bits_per_s) == pytest.approx([0, 28.136e6])
    assert list(trace.latency_s) == pytest.approx([0.02, 0.0205])


def test_text_traces_have_the_rate_before_each_line(tmp_path: Path) -> None:
    path = tmp_path / "norway_ferry_20"
    path.write_text("1050.5\t9.9\n\n1052.5 0.5\r\n1053.0  1.25\n")
    trace = Trace.load(path)
    assert list(trace.durations_s) == pytest.approx([2.0, 0.5])
    assert list(trace.bits_per_s) == pytest.approx([0.5e6, 1.25e6])
    assert not trace.latency_s


GOOD = '{"duration_ms": 1, "bandwidth_kbps": 1, "latency_ms": 1}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 0 lines of figures"),
        ("1.0 2.0\n", "has 1 lines of figures"),
        ("0 1\n1 -2\n", "line 2: mbit_per_s is -2.0"),
        ("0 1\n1 nan\n", "line 2: mbit_per_s is nan"),
        ("0 1\n1 inf\n", "line 2: mbit_per_s is inf"),
        ("nan 1\n1 1\n", "line 1: nan s: expected a finite time"),
        ("0 1\n\ninf 1\n", "line 3: inf s: expected a finite time"),
        ("0 1\n2 1\n1 1\n", r"line 3: 1.0 s is not after 2.0 s"),
        ("0 1\n0 1\n", "line 2: 0.0 s is not after 0.0 s"),
        ("0 1\n1 1 1\n", "line 2: expected two numbers"),
        ("0 1\n1\n", "line 2: expected two numbers"),
        ("0 1\n1 fast\n", "line 2: expected two numbers"),
        ("0 0\n1 0\n", "no rate above 0"),
        ("{}", "line 1: expected two numbers"),
        ("[", "is no JSON"),
        ("[]", "no rate above 0"),
        ("[1]", "object 0 is 1.0: expected duration_ms"),
        (f"[{GOOD}, {{}}]", "object 1 lacks duration_ms, bandwidth_kbps, latency_ms"),
        (f'[{GOOD[:-1]}, "loss": 0}}]', "object 0 has loss"),
        (f"[{GOOD.replace('1,', '-1,', 1)}]", "object 0: duration_ms is -1.0"),
        (f"[{GOOD.replace('1,', '0,', 1)}]", "stretch 0: duration_s is 0.0"),
        (f"[{GOOD.replace('1}', '-1}')}]", "object 0: latency_ms is -1.0"),
        (f"[{GOOD.replace('1}', 'NaN}')}]", "object 0: latency_ms is nan"),
        (f"[{GOOD.replace('1}', 'true}')}]", "object 0: latency_ms is True"),
        (f"[{GOOD.replace('1}', 'null}')}]", "object 0: latency_ms is None"),
        (f"[{GOOD.replace('1}', '9' * 400 + '}')}]", "object 0: latency_ms is inf"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_files_that_are_no_traces(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=says) as caught:
        Trace.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArgumentError, match="is no text"):
        Trace.load(path)
    with pytest.raises(OSError):
        Trace.load(tmp_path / "missing")


# ------------------------------------------------------------------ fading


def test_blocks_have_rates_of_the_channel() -> None:
    medium = Channel(RADIO, FADING).open(seed=3)
    found = []
    for block in range(20_000):
        # a bit that takes less than a microsecond, in the middle of every block
        begin_s = (block + 0.5) * FADING.coherence_s
        found.append(0.125 * 8 / medium.send(begin_s, 0.125).airtime_s)
    gains = np.linspace(0, 40, 400_001)[1:]
    snr = RADIO.transmit_power_w * FADING.mean_gain / FADING.noise_w
    density = np.exp(-gains) * (gains[1] - gains[0])
    rates = FADING.bandwidth_hz * np.log2(1 + snr * gains)
    mean = float(np.sum(density * rates))
    deviation = math.sqrt(float(np.sum(density * rates**2)) - mean**2)
    assert np.mean(found) == pytest.approx(mean, abs=4 * deviation / math.sqrt(len(found)))
    assert np.std(found) == pytest.approx(deviation, rel=0.03)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.03


def test_the_gain_stays_for_a_block() -> None:
    medium = Channel(RADIO, FADING).open(seed=4)
    within = {medium.send(1.0 + 1e-4 * number, 0.125).airtime_s for number in range(90)}
    assert len({round(airtime_s * 1e12) for airtime_s in within}) == 1
    assert medium.send(1.0101, 0.125).airtime_s not in within


def test_fading_is_of_its_seed() -> None:
    def ends(seed: int) -> list[float]:
        medium = Channel(RADIO, FADING).open(seed)
        return [medium.send(0.05 * number, 3_000).end_s for number in range(50)]

    assert ends(1) == ends(1)
    assert ends(1) != ends(2)


def test_fading_needs_a_power() -> None:
    with pytest.raises(ArgumentError, match="link lte has no transmit_power_w"):
        Channel(get_link("lte"), FADING)
    for name in ("bandwidth_hz", "mean_gain", "noise_w", "coherence_s"):
        with pytest.raises(ArgumentError, match=f"fading: {name} is 0.0"):
            dataclasses.replace(FADING, **{name: 0.0})
