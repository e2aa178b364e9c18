"""The page of a plan, in a real browser."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import page_browser
import pytest
from page_browser import Opened
from playwright.sync_api import Browser
from report_examples import HOSTILE

from pysplitcodec.plan import Candidate, DeviceProfile, Limits, Link, Weights, evaluate
from pysplitcodec.report.candidates import ON_DEVICE, ON_SERVER
from pysplitcodec.report.plan_page import page, write_page
from pysplitcodec.report.plan_report import Plan, Question

DEVICE = DeviceProfile(
    "test-board",
    "a board of nobody's",
    macs_per_s=1e9,
    power_w=0.5,
    encode_ns_per_element={"pack": 1.0, "lzma": 40.0, "context": 90.0},
    sources={"macs_per_s": "a guess at the speed", "power_w": "a guess at the power"},
)
SERVER = DeviceProfile("far", macs_per_s=1e11, price_per_s=2.0, sources={"macs_per_s": "heard"})
LINK = Link("l", bits_per_s=2e6, transmit_power_w=0.2, sources={"bits_per_s": "read somewhere"})
QUESTION = Question(DEVICE, LINK, SERVER, limits=Limits(accuracy_drop=0.05, payload_bytes=25_000))
COMMAND = "splitcodec plan model.tflite --input images --html 'a page.html'"


def network(points: int = 12, seed: int = 0) -> list[Candidate]:
    """Feature sizes that fall, MACs that grow, and what is no split."""
    rng = np.random.default_rng(seed)
    macs = np.cumsum(rng.integers(1, 9, points)) * 1_000_000
    whole = int(macs[-1]) + 2_000_000
    found = [
        Candidate(ON_DEVICE, whole, 0, head_bytes=9e5, accuracy_drop=0.0),
        Candidate(ON_SERVER, 0, whole, payload_bytes=30_000, accuracy_drop=0.0),
        Candidate("send JPEG, quality 70, 4:2:0", 0, whole, payload_bytes=5e3, accuracy_drop=0.01),
    ]
    for at in range(points):
        elements = 16_384 >> (at // 2)
        for bits in (1, 2, 4):
            for share, coder in ((1.0, "pack"), (0.7, "lzma"), (0.5, "context")):
                found.append(
                    Candidate(
                        f"layer{at}",
                        int(macs[at]),
                        whole - int(macs[at]),
                        elements=elements,
                        coder=coder,
                        payload_bytes=round(elements * bits / 8 * share, 1) + 10,
                        bits=bits,
                        head_bytes=float(70_000 * at),
                        ram_bytes=4 * elements,
                        accuracy_drop=round(0.12 / bits**2, 4),
                    )
                )
    return found


def planned(given: list[Candidate], question: Question = QUESTION, name: str = "m.tflite") -> Plan:
    notes = ["a note for the reader"]
    return Plan(name, question, question.choices(given), question.spans(given), 41, notes)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with page_browser.launched() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    def write(plan: Plan, path: Path) -> None:
        write_page(plan, path, COMMAND)

    with page_browser.opener(browser, tmp_path, write) as opener:
        yield opener


def _places(opened: Opened, selector: str) -> list[int]:
    found: list[int] = opened.page.locator(selector).evaluate_all(
        "all => all.map(e => Number(e.dataset.point))"
    )
    return found


def test_the_answer_is_in_one_sentence(open_page: Any) -> None:
    plan = planned(network())
    told = plan.to_dict()
    opened = open_page(plan)
    assert opened.text("#answer") == told["why"][0]
    assert opened.page.locator("#why li").all_inner_texts() == told["why"][1:]
    facts = opened.text("#facts")
    for wanted in (
        "test-board",
        "far",
        "2\u00a0Mbit/s",
        "accuracy_drop 0.05",
        "payload_bytes 25000",
    ):
        assert wanted in facts
    origin = opened.text("#origin")
    assert COMMAND in origin and told["version"] in origin
    assert "a note for the reader" in origin and "21 inputs of 41" in origin
    for wanted in ("a guess at the speed", "a guess at the power", "heard", "read somewhere"):
        assert wanted in opened.text("#profiles")


def test_bars_are_the_parts_of_the_best_of_each(open_page: Any) -> None:
    plan = planned(network())
    opened = open_page(plan)
    shown = _places(opened, "#bars [data-point]")
    assert sorted(shown) == sorted(plan.found.index(one) for one in plan.best_of_each())
    macs = [plan.found[at].candidate.head_macs for at in shown]
    assert macs == sorted(macs)
    names = [plan.found[at].candidate.name for at in shown]
    assert names[:2] == [ON_SERVER, "send JPEG, quality 70, 4:2:0"] and names[-1] == ON_DEVICE
    assert plan.best is not None
    longest = max(plan.found[at].cost.latency_s for at in shown)
    scale = min(longest, 8 * plan.best.cost.latency_s)
    for at in shown:
        cost = plan.found[at].cost
        bar = f"#bars [data-point='{at}'] .stack"
        width = opened.page.locator(bar).evaluate("e => e.clientWidth")
        pieces = opened.page.locator(f"{bar} i").evaluate_all(
            "all => all.map(e => [e.dataset.part, e.getBoundingClientRect().width])"
        )
        assert sum(length for _, length in pieces) == pytest.approx(
            width * min(cost.latency_s / scale, 1), abs=1
        )
        if cost.latency_s < scale:
            for part, length in pieces:
                assert length == pytest.approx(width * getattr(cost, part) / scale, abs=1)
    assert opened.count("#bars .best") == 1
    pale = set(_places(opened, "#bars .out"))
    assert pale == {at for at in shown if not plan.found[at].feasible}


def test_lines_over_the_rates_are_the_latencies(open_page: Any) -> None:
    plan = planned(network())
    opened = open_page(plan)
    assert len(plan.spans) > 2
    rows = opened.page.locator("#spans tr").all_inner_texts()
    assert len(rows) == len(plan.spans)
    assert opened.count("#rates .change") == len(plan.spans) - 1
    lines = opened.page.evaluate("JSON.parse(document.getElementById('report').textContent).lines")
    drawn = [plan.found[line["row"]].candidate for line in lines]
    assert len(set(drawn)) == len(drawn)
    assert plan.best is not None and plan.runner_up is not None
    assert set(drawn) == {
        *(span.choice.candidate for span in plan.spans),
        *(one.candidate for one in (plan.best, plan.runner_up)),
        *(one.candidate for one in plan.found if one.feasible and one.candidate.coder is None),
    }
    for line in lines:
        for rate in (1e4, 3e6, 1e9):
            link = dataclasses.replace(LINK, bits_per_s=rate)
            one = plan.found[line["row"]].candidate
            wanted = evaluate(one, DEVICE, link, server=SERVER).latency_s
            assert line["fixed_s"] + line["sent_bits"] / rate == pytest.approx(wanted)
    assert opened.count("#rates .curve") == len(lines)
    assert "this link: 2" in opened.text("#rates")
    opened.page.locator("#rates svg").hover()
    assert len(opened.text("#tooltip").splitlines()) == len(lines) + 1


@pytest.mark.parametrize("figure", ["payload_bytes", "accuracy_drop", "energy_j", "price"])
def test_the_front_is_what_none_beats(open_page: Any, figure: str) -> None:
    plan = planned(network())
    opened = open_page(plan)
    opened.page.locator("#figure").select_option(figure)
    opened.page.locator("#shown").select_option("kept")

    def figures(one: Any) -> tuple[float, float]:
        where = one.candidate if hasattr(one.candidate, figure) else one.cost
        return one.cost.latency_s, getattr(where, figure)

    kept = [one for one in plan.found if one.feasible]
    wanted = {
        figures(one)
        for one in kept
        if not any(
            figures(other) != figures(one)
            and all(a <= b for a, b in zip(figures(other), figures(one)))
            for other in kept
        )
    }
    marked = _places(opened, "#front .kept")
    assert {figures(plan.found[at]) for at in marked} >= wanted
    extra = set(marked) - {at for at in marked if figures(plan.found[at]) in wanted}
    assert extra <= {plan.found.index(plan.best)}
    assert opened.count("#front [data-point]") == len(kept)


def test_the_table_says_why_not(open_page: Any) -> None:
    plan = planned(network())
    opened = open_page(plan)
    opened.page.locator("#shown").select_option("all")
    assert _places(opened, "#table tbody tr") == list(range(len(plan.found)))
    told = opened.page.locator("#table td.why_not").all_inner_texts()
    assert told == ["; ".join(one.why_not) or "yes" for one in plan.found]
    assert len(set(told)) > 2
    opened.page.locator("#shown").select_option("kept")
    assert _places(opened, "#table tbody tr") == [
        at for at, one in enumerate(plan.found) if one.feasible
    ]
    opened.page.locator("#table [data-sort=payload_bytes]").click()
    sizes = [plan.found[at].candidate.payload_bytes for at in _places(opened, "#table tbody tr")]
    assert sizes == sorted(sizes)


def test_a_click_selects_everywhere(open_page: Any) -> None:
    plan = planned(network())
    opened = open_page(plan)
    assert opened.page.evaluate("location.hash") == "#point=0"
    at = _places(opened, "#bars [data-point]")[4]
    opened.page.locator(f"#bars [data-point='{at}']").click()
    for view in ("#bars", "#front", "#table"):
        assert _places(opened, f"{view} [aria-selected=true]") == [at]
    one = plan.found[at].candidate
    told = opened.text("#detail")
    assert f"--at '{one.name}'" in told and f"{one.bits} bit" in told
    opened.page.locator("#bars").focus()
    opened.page.keyboard.press("End")
    assert (
        opened.page.evaluate("location.hash")
        == f"#point={_places(opened, '#bars [data-point]')[-1]}"
    )
    ids = opened.page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_nothing_keeps_the_limits(open_page: Any) -> None:
    question = dataclasses.replace(QUESTION, limits=Limits(latency_s=1e-9))
    plan = planned(network(), question)
    assert plan.best is None
    opened = open_page(plan)
    assert opened.text("#answer").startswith("No candidate keeps the limits. Nearest is to")
    assert opened.count("#front circle") == 0
    assert "Nothing that keeps the limits" in opened.text("#front-key")
    assert opened.count("#bars .out") == opened.count("#bars .row") > 10


def test_nothing_will_do_at_any_rate(open_page: Any) -> None:
    question = dataclasses.replace(QUESTION, limits=Limits(accuracy_drop=0.0, payload_bytes=1.0))
    plan = planned([one for one in network() if one.name != ON_DEVICE], question)
    assert plan.spans == []
    opened = open_page(plan)
    assert opened.count("#spans tr") == 0
    assert opened.count("#rates .envelope") == 0


def test_little_is_known(open_page: Any) -> None:
    """No server, no energy, no accuracy, one candidate: nothing is shown as null."""
    plain = DeviceProfile("d", macs_per_s=1e9)
    question = Question(plain, Link("l", bits_per_s=1e6), inferences=7, weights=Weights(per_s=2))
    opened = open_page(planned([Candidate(ON_DEVICE, 1e6, 0)], question))
    seen = opened.text("body") + opened.page.locator("main").evaluate("e => e.innerHTML")
    assert not re.search(r"\b(null|NaN|undefined|Infinity)\b", seen)
    assert "not known" in opened.text("#detail")
    assert "once for 7 inputs" in opened.text("#facts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("hostile", [False, True])
def test_nothing_overflows(open_page: Any, scheme: str, hostile: bool) -> None:
    given = network()
    if hostile:
        given = [
            dataclasses.replace(one, name=HOSTILE[i % len(HOSTILE)] + str(i)) if one.coder else one
            for i, one in enumerate(given)
        ]
    opened = open_page(planned(given, name=HOSTILE[0] if hostile else "m.tflite"), scheme=scheme)
    opened.assert_nothing_overflows("section")
    opened.page.locator("#shown").select_option("all")
    assert opened.page.evaluate("window.hurt") is None
    assert opened.count("script") == 2 and opened.count("img") == 0


def test_a_deep_model_has_a_page(open_page: Any) -> None:
    plan = planned(network(points=200))
    opened = open_page(plan)
    assert opened.count("#bars .row") == 203
    assert opened.page.locator("#bars").evaluate("e => e.scrollHeight > e.clientHeight")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 1280


def test_markup_cannot_end_the_script() -> None:
    written = page(planned(network(2), name=HOSTILE[0]), command=HOSTILE[1])
    assert len(re.findall(r"</script", written)) == 2
    assert "<!--" not in written
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", written)
