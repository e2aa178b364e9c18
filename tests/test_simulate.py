"""Split inference simulated, against the planner's formulas and those of queues."""

from __future__ import annotations

import dataclasses
import doctest
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import (
    Candidate,
    Channel,
    Cost,
    DeviceProfile,
    Fading,
    Link,
    Trace,
    evaluate,
    get_link,
)

pytest.importorskip("simpy", reason='needs "pysplitcodec[plan]"')

from pysplitcodec.plan import simulate as module
from pysplitcodec.plan.simulate import (
    ClosedLoop,
    Edge,
    Periodic,
    Poisson,
    simulate,
)

DEVICE = DeviceProfile("d", macs_per_s=1e9, encode_ns_per_element={"lzma": 100.0}, power_w=0.5)
SERVER = DeviceProfile("s", macs_per_s=1e11, price_per_s=3.0)
LINK = Link("l", bits_per_s=1e6, latency_s=0.002, transmit_power_w=0.1)
PACKETS = Link(
    "p",
    bits_per_s=1e6,
    latency_s=0.001,
    packet_payload_bytes=100,
    packet_overhead_bytes=20,
    packet_interval_s=5e-4,
    loss=0.1,
    transmit_power_w=0.2,
)
ONE = Candidate(
    "one", 2e7, 5e8, elements=1e4, coder="lzma", payload_bytes=1_000.0, head_bytes=40_000.0
)
STAGES = ("arrival_s", "taken_s", "head_s", "code_s", "send_s", "sent_s", "serve_s", "answer_s")


def one_at_a_time(candidate: Candidate, link: Any, **options: Any) -> np.ndarray:
    edge = Edge(DEVICE, candidate, ClosedLoop(), inferences=options.pop("inferences", None))
    return simulate([edge], link, inputs=20, **options).records


def test_examples() -> None:
    found = doctest.testmod(module)
    assert found.failed == 0 < found.attempted


def test_documented_example(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "planning.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^## Simulating\n.*?```python\n(.*?)```", text, re.DOTALL | re.M)
    exec(example, {})
    assert capsys.readouterr().out.split() == example.split("#")[-1].split()


# ------------------------------------------------------------------ what `evaluate` says


@pytest.mark.parametrize("link", [LINK, PACKETS, *map(get_link, ("ble-4.0", "wifi", "lte"))])
@pytest.mark.parametrize("server", [None, SERVER])
@pytest.mark.parametrize(
    "candidate",
    [
        ONE,
        Candidate("all on the device", 1e9, 0),
        Candidate("send the input", 0, 1e9, payload_bytes=12_000),
        Candidate("nothing", 0, 0),
    ],
    ids=lambda one: one.name,
)
def test_one_input_at_a_time_costs_what_evaluate_says(
    candidate: Candidate, link: Link, server: DeviceProfile | None
) -> None:
    for inferences in (None, 1):
        cost = evaluate(candidate, DEVICE, link, server=server, inferences=inferences)
        records = one_at_a_time(candidate, link, server=server, inferences=inferences)
        assert len(records) == 20 and not records["dropped"].any()
        latency_s = records["answer_s"] - records["arrival_s"]
        assert latency_s == pytest.approx(np.full(20, cost.latency_s), abs=1e-9)
        for found, wanted in (("energy_j", cost.energy_j), ("price", cost.price)):
            known = np.nan if wanted is None else wanted
            assert records[found] == pytest.approx(np.full(20, known), abs=1e-12, nan_ok=True)


def test_every_stage_has_its_time() -> None:
    cost = evaluate(ONE, DEVICE, LINK, server=SERVER, inferences=1)
    records = one_at_a_time(ONE, LINK, server=SERVER, inferences=1)
    times = np.stack([records[name] for name in STAGES])
    air_s = LINK.airtime_s(ONE.payload_bytes)
    wanted = (0, cost.ship_s, cost.compute_s, cost.codec_s + LINK.latency_s, air_s, 0, 0.005)
    assert np.diff(times, axis=0) == pytest.approx(np.tile(wanted, (20, 1)).T, abs=1e-9)
    assert records["arrival_s"][1:] == pytest.approx(records["answer_s"][:-1])


def test_weights_are_sent_once_for_so_many_inputs() -> None:
    cost = evaluate(ONE, DEVICE, LINK, inferences=4)
    records = one_at_a_time(ONE, LINK, inferences=4)
    waited_s = records["head_s"] - records["taken_s"]
    wanted = np.tile([LINK.seconds(ONE.head_bytes), 0, 0, 0], 5)
    assert waited_s == pytest.approx(wanted, abs=1e-9)
    assert np.mean(records["answer_s"] - records["arrival_s"]) == pytest.approx(cost.latency_s)
    assert np.mean(records["energy_j"]) == pytest.approx(cost.energy_j)


@pytest.mark.parametrize("slowest", ["head", "link", "server"])
def test_stages_that_overlap_give_the_frames_of_a_pipeline(slowest: str) -> None:
    candidate = {
        "head": dataclasses.replace(ONE, head_macs=5e7),
        "link": ONE,
        "server": dataclasses.replace(ONE, tail_macs=4e9),
    }[slowest]
    edge = Edge(DEVICE, candidate, Periodic(1e-3))
    for link in (LINK, PACKETS):
        cost: Cost = evaluate(candidate, DEVICE, link, server=SERVER)
        found = simulate([edge], link, inputs=20_000, server=SERVER)
        assert found.summary().frames_per_s == pytest.approx(cost.frames_per_s, rel=1e-9)
        if slowest == "server":
            assert found.server_utilisation == pytest.approx(1, abs=0.01)
        alone = simulate([dataclasses.replace(edge, overlap=False)], link, inputs=500)
        busy_s = cost.compute_s + cost.codec_s + cost.link_s
        assert alone.summary().frames_per_s == pytest.approx(1 / busy_s, rel=1e-9)


# ------------------------------------------------------------------ queues


def waits_of(arrivals_s: np.ndarray, service_s: float) -> np.ndarray:
    """Lindley: what one that serves the first first makes each wait."""
    found = np.zeros(len(arrivals_s))
    for number, gap_s in enumerate(np.diff(arrivals_s), 1):
        found[number] = max(found[number - 1] + service_s - gap_s, 0)
    return found


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_poisson_arrivals_at_the_server_wait_as_in_an_m_d_1_queue(load: float) -> None:
    tail = Candidate("tail", 0, 1e9)  # 10 ms
    edges = [Edge(DEVICE, tail, Poisson(load / 0.01 / 2)) for _ in range(2)]
    records = simulate(edges, LINK, inputs=20_000, server=SERVER, seed=5).records
    records = records[np.argsort(records["arrival_s"], kind="stable")][:35_000]
    waits_s = records["serve_s"] - records["sent_s"]
    assert waits_s == pytest.approx(waits_of(records["arrival_s"], 0.01), abs=1e-9)
    assert np.mean(waits_s) == pytest.approx(load * 0.01 / (2 * (1 - load)), rel=0.06)


def test_a_shared_link_is_an_m_d_1_queue_too() -> None:
    sending = Candidate("send", 0, 0, payload_bytes=1_250)  # 10 ms
    edges = [Edge(DEVICE, sending, Poisson(1.0), queue_len=5) for _ in range(60)]
    found = simulate(edges, LINK, inputs=400, until_s=300.0, seed=6)
    records = found.records[np.isfinite(found.records["sent_s"])]
    assert not found.records["dropped"].any()
    # None of a device overtakes, so that what waits in a device waits for the link.
    waits_s = records["sent_s"] - records["arrival_s"] - 0.01 - LINK.latency_s
    assert np.mean(waits_s) == pytest.approx(0.6 * 0.01 / (2 * 0.4), rel=0.1)
    assert found.link_utilisation == pytest.approx((0.6,), abs=0.02)


def test_a_shared_link_has_one_payload_at_a_time_and_own_links_do_not_wait() -> None:
    edges = [Edge(DEVICE, ONE, Poisson(20.0), inferences=50) for _ in range(4)]
    shared = simulate(edges, LINK, inputs=300, seed=7)
    own = simulate(edges, [LINK] * 4, inputs=300, seed=7)
    for found, overlap in ((shared, False), (own, True)):
        sent = np.sort(found.records[np.isfinite(found.records["sent_s"])], order="send_s")
        assert (sent["send_s"][1:] < sent["sent_s"][:-1] - 1e-9).any() == overlap
    assert len(shared.link_utilisation) == 1 and len(own.link_utilisation) == 4
    assert shared.link_utilisation[0] > max(own.link_utilisation)
    ready_s = own.records["code_s"] + 0.001 + LINK.latency_s
    alone = ~own.records["dropped"] & (np.arange(1200) % 300 > 60)
    late_s = (own.records["send_s"] - ready_s)[alone & np.isfinite(own.records["send_s"])]
    assert np.median(late_s) == pytest.approx(0, abs=1e-9)


def test_latency_keeps_no_other_from_sending() -> None:
    far = dataclasses.replace(LINK, latency_s=1.0)
    sending = Candidate("send", 0, 0, payload_bytes=1_250)
    edges = [Edge(DEVICE, sending, Periodic(1e6, start_s=start)) for start in (0.0, 0.5)]
    records = simulate(edges, far, inputs=1).records
    assert records["answer_s"] == pytest.approx([1.01, 1.51])


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_tails_run_than_there_are_workers(workers: int) -> None:
    edges = [Edge(DEVICE, Candidate("tail", 0, 5e9), Poisson(9.0)) for _ in range(5)]
    found = simulate(edges, LINK, inputs=400, server=SERVER, workers=workers, seed=8)
    begin_s, end_s = found.records["serve_s"], found.records["answer_s"]
    assert end_s - begin_s == pytest.approx(np.full(2_000, 0.05), abs=1e-9)
    running = [np.sum((begin_s <= at) & (at + 1e-9 < end_s)) for at in begin_s]
    assert max(running) == workers
    busy_s = 2_000 * 0.05 / workers
    assert found.server_utilisation == pytest.approx(busy_s / found.seconds)


def test_inputs_that_find_the_queue_full_are_dropped() -> None:
    slow = Candidate("all on the device", 2.4e9, 0)
    edge = Edge(DEVICE, slow, Periodic(1.0), queue_len=1)
    records = simulate([edge], LINK, inputs=10).records
    # begins at 0, 2.4, 4.8, 7.2, 9.6; at 1, 3, 5 and 8 an input finds the queue empty
    assert np.flatnonzero(records["dropped"]).tolist() == [2, 4, 6, 7, 9]
    kept = records[~records["dropped"]]
    assert kept["head_s"] == pytest.approx([0, 2.4, 4.8, 7.2, 9.6])
    assert np.isnan(records[records["dropped"]]["taken_s"]).all()
    none = simulate([dataclasses.replace(edge, queue_len=0)], LINK, inputs=10).records
    assert np.flatnonzero(~none["dropped"]).tolist() == [0, 3, 6, 9]
    everyone = simulate([dataclasses.replace(edge, queue_len=10)], LINK, inputs=10)
    assert everyone.summary().dropped == 0


@pytest.mark.parametrize("overlap", [True, False])
def test_a_closed_loop_drops_nothing(overlap: bool) -> None:
    edge = Edge(DEVICE, ONE, ClosedLoop(), queue_len=0, overlap=overlap)
    assert simulate([edge], LINK, inputs=50, server=SERVER).summary().answered == 50


@pytest.mark.parametrize("until_s", [0.01, 0.5, 3.0, 40.0])
def test_every_input_is_answered_dropped_or_in_flight(until_s: float) -> None:
    edges = [
        Edge(DEVICE, ONE, arrivals, queue_len=queue, inferences=7)
        for arrivals in (Poisson(60.0), Periodic(0.02), ClosedLoop())
        for queue in (0, 3)
    ]
    found = simulate(edges, PACKETS, inputs=500, server=SERVER, until_s=until_s, seed=9)
    records = found.records
    whole = found.summary()
    assert found.seconds == until_s
    assert whole.inputs == whole.answered + whole.dropped + whole.in_flight == len(records)
    each = [found.summary(edge) for edge in range(len(edges))]
    assert sum(one.inputs for one in each) == whole.inputs
    assert all(one.in_flight >= 0 for one in each)
    assert np.nanmax(np.stack([records[name] for name in STAGES])) <= until_s
    for name, after in zip(STAGES, STAGES[1:]):
        reached = np.isfinite(records[after])
        assert np.isfinite(records[name][reached]).all()
        assert (records[after][reached] >= records[name][reached]).all()
    assert not (records["dropped"] & np.isfinite(records["taken_s"])).any()
    assert 0 < found.link_utilisation[0] <= 1 or until_s == 0.01
    assert 0 <= found.server_utilisation <= 1


def test_what_is_sent_at_the_end_counts_as_far_as_it_came() -> None:
    sending = Candidate("send", 0, 1e11, payload_bytes=125_000)  # 1 s, and 1 s on the server
    edge = Edge(DEVICE, sending, Periodic(100.0))
    link = dataclasses.replace(LINK, latency_s=0.0)
    found = simulate([edge], link, inputs=1, server=SERVER, until_s=0.5)
    assert found.link_utilisation == pytest.approx((1.0,))
    assert found.server_utilisation == 0
    (record,) = found.records
    assert record["send_s"] == 0 and np.isnan(record["sent_s"])
    assert found.summary().latency_s is found.summary().p50_s is found.summary().energy_j is None
    later = simulate([edge], link, inputs=1, server=SERVER, until_s=1.25)
    assert later.link_utilisation == pytest.approx((0.8,))
    assert later.server_utilisation == pytest.approx(0.2)
    assert later.summary().frames_per_s is None


# ------------------------------------------------------------------ channels and draws


def test_fading_and_traces_go_on_from_input_to_input() -> None:
    trace = Trace((1.0, 1.0), (1e6, 2e5))
    sending = Candidate("send", 0, 0, payload_bytes=2_500)
    edge = Edge(DEVICE, sending, Periodic(0.25, start_s=0.2))
    found = simulate([edge], Channel(dataclasses.replace(LINK, latency_s=0), trace), inputs=8)
    took_s = found.records["sent_s"] - found.records["send_s"]
    # the last begins at 1.95: half of it passes before the rate rises again
    assert took_s == pytest.approx([0.02] * 4 + [0.1] * 3 + [0.06])


def test_energy_of_a_fading_channel_is_of_the_time_it_sends() -> None:
    fading = Fading(bandwidth_hz=2e5, mean_gain=1e-9, noise_w=1e-10, coherence_s=0.003)
    sending = Candidate("send", 0, 0, payload_bytes=1_000)
    channel = Channel(LINK, fading)
    records = simulate([Edge(DEVICE, sending, ClosedLoop())], channel, inputs=200, seed=1).records
    took_s = records["sent_s"] - records["send_s"]
    assert records["energy_j"] == pytest.approx(took_s * LINK.transmit_power_w)
    assert np.std(took_s) > 0.1 * np.mean(took_s)


def test_draws_are_of_the_seed_and_of_each_device() -> None:
    fading = Fading(bandwidth_hz=2e5, mean_gain=1e-9, noise_w=1e-10, coherence_s=0.01)
    edges = [Edge(DEVICE, ONE, Poisson(10.0)) for _ in range(3)]

    def run(seed: int, count: int = 3) -> np.ndarray:
        links = [Channel(LINK, fading)] * count
        return simulate(edges[:count], links, inputs=200, seed=seed).records

    assert run(1).tobytes() == run(1).tobytes()
    assert run(1).tobytes() != run(2).tobytes()
    gaps = np.diff(run(1)["arrival_s"].reshape(3, 200), axis=1)
    assert np.abs(np.corrcoef(gaps) - np.eye(3)).max() < 0.25
    assert gaps.mean() == pytest.approx(0.1, rel=0.15)
    # one device less changes nothing of the others
    assert run(1, 2).tobytes() == run(1)[:400].tobytes()


def test_what_is_not_known_is_none() -> None:
    silent = dataclasses.replace(LINK, transmit_power_w=None)
    cheap = dataclasses.replace(SERVER, price_per_s=None)
    found = simulate([Edge(DEVICE, ONE, ClosedLoop())], silent, inputs=5, server=cheap).summary()
    assert found.energy_j is found.price is None
    assert found.latency_s is not None and found.p50_s == pytest.approx(found.p99_s)
    empty = simulate([Edge(DEVICE, ONE, Periodic(1.0, 5.0))], LINK, inputs=5, until_s=1.0)
    assert empty.summary().inputs == 0 and empty.summary().drop_share == 0


def test_percentiles_are_of_the_answers() -> None:
    edges = [Edge(DEVICE, ONE, Poisson(30.0), queue_len=9) for _ in range(2)]
    found = simulate(edges, LINK, inputs=2_000, server=SERVER, seed=3)
    for edge in (None, 0, 1):
        summary = found.summary(edge)
        rows = found.records if edge is None else found.records[2_000 * edge :][:2_000]
        rows = rows[~rows["dropped"]]
        latency_s = np.sort(rows["answer_s"] - rows["arrival_s"])
        for value, share in ((summary.p50_s, 0.5), (summary.p95_s, 0.95), (summary.p99_s, 0.99)):
            below = np.searchsorted(latency_s, value) / len(latency_s)
            assert below == pytest.approx(share, abs=2 / len(latency_s))
        assert summary.latency_s == pytest.approx(latency_s.mean())
        assert summary.drop_share == pytest.approx(1 - len(rows) / summary.inputs)


# ------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"inputs": 0}, "inputs is 0: expected a whole number, at least 1"),
        ({"inputs": 1.5}, "inputs is 1.5"),
        ({"workers": 0}, "workers is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"until_s": 0.0}, "until_s is 0.0"),
        ({"until_s": float("nan")}, "until_s is nan"),
        ({"edges": []}, "edges are none"),
        ({"links": []}, "links are 0: expected one for all, or a list of one for each of 1 edges"),
        ({"links": [LINK, LINK]}, "links are 2"),
        ({"server": DeviceProfile("unknown")}, "unknown has no macs_per_s"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], says: str) -> None:
    right = {"edges": [Edge(DEVICE, ONE, ClosedLoop())], "links": LINK, "inputs": 1}
    with pytest.raises(ArgumentError, match=says):
        simulate(**{**right, **arguments})


def test_wrong_edges() -> None:
    with pytest.raises(ArgumentError, match="queue_len is -1"):
        Edge(DEVICE, ONE, ClosedLoop(), queue_len=-1)
    with pytest.raises(ArgumentError, match="inferences is 0"):
        Edge(DEVICE, ONE, ClosedLoop(), inferences=0)
    with pytest.raises(ArgumentError, match="period_s is 0"):
        Periodic(0)
    with pytest.raises(ArgumentError, match="start_s is -1"):
        Periodic(1, -1)
    with pytest.raises(ArgumentError, match="inputs_per_s is inf"):
        Poisson(float("inf"))


def test_without_simpy() -> None:
    code = (
        "import sys; sys.modules['simpy'] = None\n"
        "import pysplitcodec.plan\n"
        "from pysplitcodec.errors import MissingDependencyError\n"
        "try:\n    import pysplitcodec.plan.simulate\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == 'simulating needs SimPy: pip install "pysplitcodec[plan]"'
