"""The page of compared trainings, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Callable

import page_browser
import pytest
import run_examples
from page_browser import Opened, centre
from playwright.sync_api import Browser
from report_examples import HOSTILE

from pysplitcodec.plan import DeviceProfile
from pysplitcodec.report.run_latency import RATES, Latencies
from pysplitcodec.report.run_page import page, write_page
from pysplitcodec.report.runs import coder_of, read_rows, score, write_rows

Row = dict[str, Any]

LATENCIES = Latencies(
    DeviceProfile(
        "test-board",
        macs_per_s=2e9,
        encode_ns_per_element={"pack": 1.0, "lzma": 100.0, "context": 500.0},
    )
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with page_browser.launched() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    def write(rows: list[Row], path: Path) -> None:
        write_page(rows, LATENCIES, "context", path)

    with page_browser.opener(browser, tmp_path, write) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Two data sets; ten methods at three widths and split points of the first."""
    folder = tmp_path_factory.mktemp("runs")
    methods = (*run_examples.METHODS, "channels", "slices")
    run_examples.write(folder / "a", run_examples.runs(methods))
    other = run_examples.runs(("kmeans", "tcl"), (2,), (0,), "tiny20", "resnet18")
    run_examples.write(folder / "b", other)
    return read_rows([folder])


def _first(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["model"] == rows[0]["model"]]


def _order(opened: Opened, table: str = "#table") -> list[int]:
    found: list[int] = opened.page.locator(f"{table} tbody tr").evaluate_all(
        "all => all.map(row => Number(row.dataset.point))"
    )
    return found


def _points(opened: Opened, chart: str) -> set[int]:
    found = opened.page.locator(f"{chart} [data-point]").evaluate_all(
        "all => all.map(point => Number(point.dataset.point))"
    )
    return set(found)


def _bytes(row: Row, coder: str = "context") -> float | None:
    used = coder_of(row, coder)
    return None if used is None else row["bytes"][used]["mean"]


def test_every_row_is_in_table_and_charts(open_page: Any, rows: list[Row]) -> None:
    opened = open_page(rows)
    shown = list(range(len(_first(rows))))
    assert len(shown) == 3 * (9 * 3 + 1) + 2
    assert _order(opened) == shown
    assert opened.count("#latency-charts svg") == len(RATES)
    assert opened.count("#latency-charts [data-point]") == len(RATES) * len(shown)
    assert opened.count("#bytes-charts svg") == 3
    assert _points(opened, "#bytes-charts") == {at for at in shown if rows[at]["split"]}
    assert opened.count("#methods tbody tr") == 9 * 3 + 1
    assert f"{len(shown)} of {len(rows)} rows" in opened.text("#summary")


def test_a_click_selects_everywhere_and_tells_all(open_page: Any, rows: list[Row]) -> None:
    opened = open_page(rows)
    at = next(
        at
        for at, row in enumerate(rows)
        if (row["method"], row["split"], row["bits"]) == ("minmax", "layer1", 1)
    )
    opened.page.mouse.click(*centre(opened, f"#bytes-charts [data-point='{at}'] .halo"))
    for view, count in (("#bytes-charts", 1), ("#latency-charts", len(RATES)), ("#table", 1)):
        marked = opened.page.locator(f"{view} [data-point][aria-selected=true]")
        assert marked.count() == count
        assert {mark.get_attribute("data-point") for mark in marked.all()} == {str(at)}
    assert opened.page.evaluate("location.hash") == f"#point={at}"
    told = opened.text("#detail")
    for run in rows[at]["runs"]:
        assert run["command"] in told
    assert "abc1234" in told
    assert "float 3, device 3, server 2" in told
    assert "cifar10: 20\u202f000 + 10\u202f000" in told
    spread = rows[at]["retrained"]["top1"]
    cells = opened.page.locator("#detail tr", has_text="tail retrained, top1").locator("td")
    assert cells.all_inner_texts() == [
        f"{100 * spread[key]:.2f}" for key in ("mean", "deviation", "low", "high")
    ]


def test_tooltips_say_where_figures_come_from(open_page: Any, rows: list[Row]) -> None:
    opened = open_page(rows)
    at = next(at for at, row in enumerate(rows) if row["method"] == "minmax" and row["bits"] == 1)
    opened.page.mouse.move(*centre(opened, f"#bytes-charts [data-point='{at}'] .halo"))
    told = opened.text("#tooltip")
    assert told.startswith("minmax: layer1, 1 bit\n")
    for wanted in ("seeds 0, 1, 2", "device 3", "commit abc1234", "splitcodec train minmax.toml"):
        assert wanted in told
    opened.page.locator("h1").hover()
    assert not opened.page.locator("#tooltip").is_visible()


def test_tables_sort(open_page: Any, rows: list[Row]) -> None:
    opened = open_page(rows)
    shown = list(enumerate(_first(rows)))

    def by(value: Callable[[Row], float | None], sign: int = 1) -> list[int]:
        known = [(at, value(row)) for at, row in shown if value(row) is not None]
        rest = [at for at, row in shown if value(row) is None]
        return [at for at, found in sorted(known, key=lambda p: (sign * p[1], p[0]))] + rest

    for key, value in (
        ("score", lambda row: score(row)["mean"]),
        ("bytes", _bytes),
        ("latency", lambda row: LATENCIES.of(row, "context", RATES[0]).latency_s),
        ("before", lambda row: row["quantized"] and row["quantized"]["top1"]["mean"]),
    ):
        for sign in (1, -1):
            opened.page.locator(f"#table [data-sort={key}]").click()
            assert _order(opened) == by(value, sign), key
    opened.page.locator("#methods [data-sort='layer2-score']").click()
    cells = opened.page.locator("#methods tbody tr td:nth-child(7)").all_inner_texts()
    values = [float(cell.split()[0]) for cell in cells]
    assert values == sorted(values)
    assert len(set(values)) > 20
    # arrow keys follow what is shown
    opened.page.locator("#table [data-sort=bytes]").click()
    opened.page.locator("#table").focus()
    opened.page.keyboard.press("Home")
    assert opened.page.evaluate("location.hash") == f"#point={by(_bytes)[0]}"


def test_filters(open_page: Any, rows: list[Row]) -> None:
    opened = open_page(rows)
    for split, width, bits in (
        ("all", "2 bits", 2),
        ("layer2", "all", 0),
        ("layer2", "2 bits", 2),
        ("layer3", "no codebook", None),
    ):
        opened.page.locator("#split").select_option(label=split)
        opened.page.locator("#bits").select_option(label=width)
        wanted = [
            at
            for at, row in enumerate(_first(rows))
            if row["split"] is None  # to compare with
            or (split in ("all", row["split"]) and bits in (0, row["bits"]))
        ]
        assert _order(opened) == wanted
        assert _points(opened, "#latency-charts") == set(wanted)
        assert _points(opened, "#bytes-charts") == {at for at in wanted if rows[at]["split"]}
        assert opened.count("#bytes-charts svg") == (3 if split == "all" else 1)
        # what is selected is among what is shown
        chosen = opened.page.locator("#table [aria-selected=true]")
        assert chosen.count() == 1
        assert f"Row {chosen.get_attribute('data-point')}:" in opened.text("#detail-title")


def test_another_data_set(open_page: Any, rows: list[Row]) -> None:
    opened = open_page(rows)
    opened.page.locator("#split").select_option("layer1")
    opened.page.locator("#subject").select_option(
        label="resnet18 on tiny20 (20,000 + 10,000 samples)"
    )
    other = [at for at, row in enumerate(rows) if row["model"] == "resnet18"]
    assert _order(opened) == other
    assert opened.page.locator("#bits option").all_inner_texts() == ["all", "2 bits"]
    assert opened.text("#legend").split() == ["kmeans", "tcl", "2", "bits"]
    # the address of a row brings its data set
    opened.page.evaluate("location.hash = '#point=3'")
    opened.page.wait_for_function("document.getElementById('subject').value === '0'")
    assert 3 in _order(opened)
    assert opened.page.locator("#table [aria-selected=true]").get_attribute("data-point") == "3"


def test_coder_and_link(open_page: Any, rows: list[Row]) -> None:
    opened = open_page(rows)
    at, row = next(
        (at, row) for at, row in enumerate(rows) if row["method"] == "qat" and row["bits"] == 2
    )
    server = next(row for row in rows if row["method"] == "on-server")
    for coder, number in (("context", 3), ("lzma", 0), ("pack", 1)):
        opened.page.locator("#coder").select_option(coder)
        opened.page.locator("#rate").select_option(str(number))
        took, whole = (LATENCIES.of(one, coder, RATES[number]).latency_s for one in (row, server))
        line = opened.page.locator(f"#table tr[data-point='{at}']")
        assert line.locator("td.bytes").inner_text() == f"{_bytes(row, coder):.1f}"
        shown = float(line.locator("td.latency").inner_text().split()[0])
        assert shown == pytest.approx(1e3 * took, rel=6e-3)
        assert line.locator("td.-server").inner_text() == f"{whole / took:.2f}"
    bottlenet = next(at for at, row in enumerate(rows) if row["method"] == "bottlenet")
    assert opened.text(f"#table tr[data-point='{bottlenet}'] td.bytes") == "400.0 jpeg"
    assert "not counted, of: jpeg" in opened.text("#latency-key")


def test_keys_and_buttons(open_page: Any, rows: list[Row]) -> None:
    opened = open_page(rows)
    opened.page.locator("#split").select_option("layer3")
    order = _order(opened)
    chart = opened.page.locator("#latency-charts svg >> nth=1")
    chart.focus()
    opened.page.keyboard.press("Home")
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.evaluate("location.hash") == f"#point={order[2]}"
    active = chart.get_attribute("aria-activedescendant")
    assert opened.count(f"#{active}[aria-selected=true]") == 1
    assert "layer3" in (opened.page.locator(f"#{active}").get_attribute("aria-label") or "")
    opened.page.locator("#next").click()
    opened.page.locator("#next").click()
    opened.page.locator("#previous").click()
    assert opened.page.evaluate("location.hash") == f"#point={order[3]}"
    ids = opened.page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


def _renamed(rows: list[Row]) -> list[Row]:
    """Rows in which every text tries to be more than a text."""
    text = json.dumps(rows)
    for name, hostile in zip(
        ("layer1", "layer2", "minmax", "resnet20", "abc1234", "cifar10", "autoencoder"),
        (*HOSTILE, *HOSTILE),
    ):
        text = text.replace(f'"{name}"', json.dumps(hostile))
    return list(json.loads(text))


@pytest.mark.parametrize("hostile", [False, True])
def test_nothing_overflows(open_page: Any, rows: list[Row], hostile: bool) -> None:
    opened = open_page(_renamed(rows) if hostile else rows)
    opened.assert_nothing_overflows("section")


def test_hostile_names_are_text(open_page: Any, rows: list[Row]) -> None:
    hostile = _renamed(rows)
    opened = open_page(hostile)
    for option in ("#split", "#bits", "#coder", "#rate"):
        for value in opened.page.locator(f"{option} option").all():
            opened.page.locator(option).select_option(value.get_attribute("value"))
    opened.page.locator("#methods [data-sort]").last.click()
    assert opened.page.evaluate("window.hurt") is None
    assert opened.count("script") == 2
    assert opened.count("img") == 0
    written = page(hostile, LATENCIES, "context")
    assert len(re.findall(r"</script", written)) == 2
    assert "<!--" not in written


def test_what_is_not_there_is_not_shown_as_null(open_page: Any, tmp_path: Path) -> None:
    runs = [run for run in run_examples.runs((), (), (0,)) if run["method"] == "on-device"]
    runs[0]["batch"] = runs[0]["torch"] = runs[0]["threads"] = None
    opened = open_page(read_rows([run_examples.write(tmp_path / "runs", runs)]))
    assert _order(opened) == [0]
    assert opened.count("#bytes-charts svg") == 0
    assert opened.count("#methods tbody tr") == 0
    seen = opened.text("body") + opened.page.locator("main").evaluate("e => e.innerHTML")
    assert not re.search(r"\b(null|NaN|undefined|Infinity)\b", seen)


def test_rows_rebuild_the_page(rows: list[Row], tmp_path: Path) -> None:
    write_rows(rows, tmp_path / "tcl.json")
    build = partial(page, latencies=LATENCIES, coder="lzma")
    assert build(read_rows([tmp_path / "tcl.json"])) == build(rows)
