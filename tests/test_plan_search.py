"""What candidates cost, and which is chosen."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import (
    Candidate,
    Choice,
    Cost,
    DeviceProfile,
    Limits,
    Link,
    Weights,
    best,
    break_even,
    choices,
    evaluate,
    get_device,
    get_link,
    pareto,
)

DEVICE = DeviceProfile(
    "d", macs_per_s=2e9, encode_ns_per_element={"lzma": 100.0, "pack": 1.0}, power_w=0.5
)
SERVER = DeviceProfile("s", macs_per_s=1e11, price_per_s=3.0)
LINK = Link("l", bits_per_s=8e6, transmit_power_w=0.1)
ONE = Candidate("one", 1e9, 5e9, elements=5e5, coder="lzma", payload_bytes=3e5)


def candidates(count: int, seed: int) -> list[Candidate]:
    """Of some model: what is fast is often large."""
    rng = np.random.default_rng(seed)
    return [
        Candidate(
            f"at{i}",
            head_macs=int(rng.integers(0, 10) * 1e7),
            tail_macs=int(rng.integers(0, 10) * 1e8),
            elements=1_000,
            coder="pack",
            payload_bytes=float(rng.integers(0, 50) * 100),
            head_bytes=float(rng.integers(0, 1_000_000)),
            ram_bytes=int(rng.integers(0, 1_000_000)),
            accuracy_drop=float(rng.integers(-2, 10)) / 100,
        )
        for i in range(count)
    ]


# ------------------------------------------------------------------ one candidate


@pytest.mark.parametrize("size", [1, 750, 1_736, 2_400, 18_400])
def test_ten_times_the_rate_saves_7200_ns_a_byte(size: int) -> None:
    device = get_device("raspberry-pi-4")
    one = Candidate("one", 118e6, 0, elements=12_544, coder="lzma", payload_bytes=size)
    slow, fast = (evaluate(one, device, get_link(name)) for name in ("1-mbit", "10-mbit"))
    assert slow.latency_s - fast.latency_s == pytest.approx(7.2e-6 * size, rel=1e-12)


def test_all_parts() -> None:
    cost = evaluate(ONE, DEVICE, LINK, server=SERVER)
    assert (cost.compute_s, cost.codec_s, cost.link_s) == pytest.approx((0.5, 0.05, 0.3))
    assert cost.server_s == pytest.approx(0.05)
    assert cost.latency_s == pytest.approx(0.9)
    assert (cost.compute_j, cost.codec_j, cost.link_j) == pytest.approx((0.25, 0.025, 0.03))
    assert cost.energy_j == pytest.approx(0.305)
    assert cost.price == pytest.approx(0.15)
    assert cost.ship_s == cost.ship_j == 0
    assert cost.frames_per_s == pytest.approx(2)  # inference takes longest
    assert cost.frames_per_j == pytest.approx(1 / 0.305)


def test_the_slowest_stage_of_the_pipeline_counts() -> None:
    slow = dataclasses.replace(LINK, bits_per_s=1e6)
    assert evaluate(ONE, DEVICE, slow).frames_per_s == pytest.approx(1 / (0.05 + 2.4))
    busy = dataclasses.replace(SERVER, macs_per_s=1e9)
    assert evaluate(ONE, DEVICE, slow, server=busy).frames_per_s == pytest.approx(1 / 5)


def test_weights_are_shared_by_inferences() -> None:
    one = dataclasses.replace(ONE, head_bytes=2e6)
    for inferences in (1, 50):
        cost = evaluate(one, DEVICE, LINK, inferences=inferences)
        assert cost.ship_s == pytest.approx(2 / inferences)
        assert cost.ship_j == pytest.approx(0.2 / inferences)
    assert evaluate(one, DEVICE, LINK).ship_s == 0


def test_all_on_the_device_needs_no_link() -> None:
    link = dataclasses.replace(LINK, latency_s=1.0, transmit_power_w=None)
    cost = evaluate(Candidate("device", 4e9, 0), DEVICE, link, server=SERVER)
    assert cost == Cost(2.0, compute_j=1.0, codec_j=0, link_j=0, ship_j=0, price=0)
    assert cost.latency_s == 2


def test_nothing_costs_nothing() -> None:
    cost = evaluate(Candidate("nothing", 0, 0), DeviceProfile("d"), LINK)
    assert (cost.latency_s, cost.energy_j) == (0, 0)
    assert cost.frames_per_s == cost.frames_per_j == math.inf


def test_what_is_not_known_is_none() -> None:
    plain = DeviceProfile("d", macs_per_s=2e9, encode_ns_per_element={"lzma": 100.0})
    cost = evaluate(ONE, plain, LINK, server=dataclasses.replace(SERVER, price_per_s=None))
    assert cost.energy_j is cost.frames_per_j is cost.price is None
    assert cost.link_j == pytest.approx(0.03)
    assert evaluate(ONE, DEVICE, dataclasses.replace(LINK, transmit_power_w=None)).energy_j is None
    assert Weights(per_s=2).of(cost) == 2 * cost.latency_s
    for weights, name in ((Weights(per_j=1), "energy_j"), (Weights(per_price=1), "price")):
        with pytest.raises(ArgumentError, match=f"{name} has a weight of 1 and is not known"):
            weights.of(cost)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"coder": "zip"}, "coder on d is 'zip': expected one of lzma, pack"),
        ({"head_macs": -1}, "candidate one: head_macs is -1"),
        ({"elements": float("nan")}, "elements is nan"),
        ({"payload_bytes": -0.5}, "payload_bytes is -0.5"),
        ({"payload_bytes": None}, "payload_bytes is None"),
        ({"ram_bytes": -1}, "ram_bytes is -1"),
    ],
)
def test_wrong_candidates(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(says)):
        evaluate(dataclasses.replace(ONE, **changed), DEVICE, LINK)


@pytest.mark.parametrize("inferences", [0, -1, float("nan")])
def test_wrong_inferences(inferences: float) -> None:
    with pytest.raises(ArgumentError, match="inferences is"):
        evaluate(ONE, DEVICE, LINK, inferences=inferences)


def test_qparts_constants() -> None:
    """The objective is xi O1 + delta O2 + eps Z (Eq. 23 to 26), without the server's energy.

    Eq. 25 has one, which III-B excludes; its eta * xi must be eta * zeta.
    """
    weights, zeta = Weights(per_s=1.0, per_j=1.0, per_price=0.5), 2e-3
    xi = 5 / 200e6 + 5 * 3e-27 * 200e6**2
    delta = (1 + 0.5 * zeta) * (5 / 4) / 3e9
    eps = (1 + 1 * 1) / 200e6
    assert xi == pytest.approx(2.56e-8)
    device, link = get_device("qpart"), get_link("qpart")
    server = dataclasses.replace(get_device("qpart-server"), price_per_s=zeta)
    for one in candidates(20, seed=1):
        plain = dataclasses.replace(one, elements=0, coder=None)
        cost = evaluate(plain, device, link, server=server, inferences=1)
        bits = 8 * (one.payload_bytes + one.head_bytes)
        wanted = xi * one.head_macs + delta * one.tail_macs + eps * bits
        assert weights.of(cost) == pytest.approx(wanted, rel=1e-9)


# ------------------------------------------------------------------ many


def test_the_best_comes_first() -> None:
    given = candidates(200, seed=2)
    weights = Weights(per_s=1, per_j=0.3, per_price=0.01)
    found = choices(given, DEVICE, LINK, server=SERVER, inferences=100, weights=weights)
    assert {one.candidate for one in found} == set(given)
    objectives = [one.objective for one in found]
    assert objectives == sorted(objectives)
    for one in found:
        assert one.cost == evaluate(one.candidate, DEVICE, LINK, server=SERVER, inferences=100)
        assert one.objective == weights.of(one.cost)
    assert best(found) is found[0]


def test_limits_are_kept() -> None:
    given = candidates(300, seed=3)
    small = dataclasses.replace(DEVICE, ram_bytes=500_000, flash_bytes=700_000)
    limits = Limits(latency_s=0.02, energy_j=0.02, payload_bytes=2_000, accuracy_drop=0.05)
    found = choices(given, small, LINK, limits=limits)
    passed = [one for one in found if one.feasible]
    assert 0 < len(passed) < len(found)
    assert found[: len(passed)] == passed
    for one in found:
        candidate, cost = one.candidate, one.cost
        assert one.feasible == (
            cost.latency_s <= 0.02
            and (cost.energy_j or 0) <= 0.02
            and candidate.payload_bytes <= 2_000
            and (candidate.accuracy_drop or 0) <= 0.05
            and (candidate.ram_bytes or 0) <= 500_000
            and candidate.head_bytes <= 700_000
        )
    assert best(found) is min(passed, key=lambda one: one.objective)


def test_weights_and_data_share_the_only_memory() -> None:
    one = dataclasses.replace(ONE, head_bytes=600, ram_bytes=500)
    (found,) = choices([one], dataclasses.replace(DEVICE, ram_bytes=1_000), LINK)
    assert found.why_not == ("ram_bytes is 1100, above d's 1000",)
    apart = dataclasses.replace(DEVICE, ram_bytes=1_000, flash_bytes=600)
    assert choices([one], apart, LINK)[0].feasible
    (found,) = choices([one], dataclasses.replace(apart, flash_bytes=599, ram_bytes=499), LINK)
    assert found.why_not == (
        "flash_bytes is 600, above d's 599",
        "ram_bytes is 500, above d's 499",
    )
    assert found.missed == 500 / 499


def test_limits_that_cannot_be_met_name_the_nearest() -> None:
    near = dataclasses.replace(ONE, name="near", payload_bytes=100.0, accuracy_drop=0.02)
    far = dataclasses.replace(ONE, name="far", accuracy_drop=0.5)
    found = choices([far, near], DEVICE, LINK, limits=Limits(payload_bytes=50, accuracy_drop=0.1))
    with pytest.raises(
        ArgumentError,
        match="no candidate keeps the limits; nearest is near: payload_bytes is 100, above 50",
    ):
        best(found)
    assert [one.missed for one in found] == [2, ONE.payload_bytes / 50]
    (unknown,) = choices([ONE], DEVICE, LINK, limits=Limits(accuracy_drop=0.1))
    assert unknown.why_not == ("accuracy_drop is not known, and at most 0.1 is allowed",)
    assert unknown.missed == math.inf


def test_the_nearest_is_not_the_fastest() -> None:
    """Of those that send too much it is the one that sends least, however slow it is."""
    slow = dataclasses.replace(ONE, name="slow", head_macs=1e12, payload_bytes=60.0)
    fast = dataclasses.replace(ONE, name="fast", payload_bytes=5_000.0)
    found = choices([fast, slow], DEVICE, LINK, limits=Limits(payload_bytes=50))
    assert [one.candidate.name for one in found] == ["slow", "fast"]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: choices([], DEVICE, LINK), "candidates are none"),
        (lambda: Weights(per_s=0), "weights are all 0"),
        (lambda: Weights(per_j=-1), "weights: per_j is -1"),
        (lambda: Limits(latency_s=-1), "limits: latency_s is -1"),
        (lambda: pareto([], ()), "figures are none"),
        (
            lambda: (
                break_even([ONE], dataclasses.replace(DEVICE, ram_bytes=1), LINK)
                and break_even([ONE], DEVICE, LINK, limits=Limits(payload_bytes=1))
            ),
            "no candidate keeps the limits at any rate",
        ),
    ],
)
def test_wrong_questions(call: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        call()


def test_no_other_beats_those_at_the_front() -> None:
    found = choices(candidates(150, seed=4), DEVICE, LINK)

    def figures(one: Choice) -> tuple[float, float, float]:
        return one.cost.latency_s, one.candidate.payload_bytes, one.candidate.accuracy_drop or 0.0

    front = pareto(found, [lambda one, i=i: figures(one)[i] for i in range(3)])
    kept = {figures(one) for one in front}
    assert len(kept) == len(front)  # equal ones stand once
    assert [figures(one)[0] for one in front] == sorted(figures(one)[0] for one in front)
    for one in found:
        beaten = any(
            other != figures(one) and all(a <= b for a, b in zip(other, figures(one)))
            for other in map(figures, found)
        )
        assert (figures(one) in kept) == (not beaten)


@pytest.mark.parametrize("seed", range(5))
def test_the_answer_at_every_rate(seed: int) -> None:
    given = candidates(40, seed=seed)
    link = Link("l", 1e6, packet_payload_bytes=200, packet_overhead_bytes=17, latency_s=0.001)
    settings: dict[str, Any] = {"server": SERVER, "inferences": 1000}
    spans = break_even(given, DEVICE, link, **settings)
    assert spans[0].low == 0 and spans[-1].high == math.inf
    assert all(before.high == after.low < after.high for before, after in zip(spans, spans[1:]))
    assert len(spans) > 1
    for rate in np.geomspace(1e2, 1e10, 60):
        moved = dataclasses.replace(link, bits_per_s=float(rate))
        wanted = best(choices(given, DEVICE, moved, **settings))
        (span,) = (span for span in spans if span.low <= rate < span.high)
        (there,) = choices([span.choice.candidate], DEVICE, moved, **settings)
        assert there.objective == pytest.approx(wanted.objective, rel=1e-9)


def test_one_candidate_is_best_everywhere() -> None:
    (span,) = break_even([ONE], DEVICE, LINK)
    assert (span.low, span.high, span.choice.candidate) == (0, math.inf, ONE)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_front_by_comparing_all_with_all(seed: int, count: int) -> None:
    """Also where figures are equal, of which the first stays, and where all are on the front."""
    rng = np.random.default_rng(seed)
    most = (3, 20, 1000)[seed % 3]
    values = rng.integers(0, most, (120, count)).astype(float)
    values[rng.random(values.shape) < 0.05] = math.inf
    if seed == 5:
        values[:, -1] = -values[:, 0]
    found = choices([dataclasses.replace(ONE, name=str(i)) for i in range(120)], DEVICE, LINK)
    of = {id(one): tuple(row) for one, row in zip(found, values.tolist())}
    wanted = [
        one
        for i, one in enumerate(found)
        if not any(
            all(a <= b for a, b in zip(of[id(other)], of[id(one)]))
            and (of[id(other)] != of[id(one)] or j < i)
            for j, other in enumerate(found)
            if j != i
        )
    ]
    figures = [lambda one, k=k: of[id(one)][k] for k in range(count)]
    front = pareto(found, figures)
    assert front == sorted(wanted, key=lambda one: of[id(one)])
    assert pareto([], figures) == []


def test_equal_candidates_change_nothing_at_any_rate() -> None:
    """The same at an endless rate: the one that sends less, at every finite one."""
    less, more = (dataclasses.replace(ONE, payload_bytes=size) for size in (1e3, 2e3))
    (span,) = break_even([more, less], DEVICE, LINK, server=SERVER)
    assert (span.low, span.high, span.choice.candidate) == (0, math.inf, less)
