"""The layer report's page, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page_browser
import pytest
import report_examples
from page_browser import Opened, centre
from playwright.sync_api import Browser

from pysplitcodec.report.page import page, write_page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with page_browser.launched() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    with page_browser.opener(browser, tmp_path, write_page) as open_page:
        yield open_page


def selected(opened: Opened) -> dict[str, str | None]:
    """The split point that every view shows as selected; each shows exactly one."""
    shown: dict[str, str | None] = {}
    for view in ("#graph", "#chart", "#table"):
        marked = opened.page.locator(f"{view} [data-point][aria-selected=true]")
        assert marked.count() == 1, view
        shown[view] = marked.get_attribute("data-point")
    shown["#detail"] = opened.text("#detail-title").removeprefix("Split point ")
    shown["address"] = opened.page.evaluate("location.hash").removeprefix("#point=")
    return shown


def assert_selected(opened: Opened, point: int) -> None:
    assert set(selected(opened).values()) == {str(point)}


def test_a_click_on_a_chart_point_selects_it_everywhere(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)
    for point in (4, 7, 0):
        opened.page.mouse.click(*centre(opened, f"#chart-{point}"))
        assert_selected(opened, point)
        wanted = report["split_points"][point]
        assert wanted["name"] in opened.text("#detail")
        assert f"{wanted['elements']:,}".replace(",", "\u202f") in opened.text("#detail")


def test_a_click_in_the_graph_or_the_table_selects_too(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)
    operator = next(item for item in report["operators"] if item["split_point"] == 3)
    opened.page.locator(f"#node-{operator['index']}").click()
    assert_selected(opened, 3)
    opened.page.locator("#table tr[data-point='8']").click()
    assert_selected(opened, 8)
    opened.page.locator("#previous").click()
    assert_selected(opened, 7)


def test_the_head_is_what_the_cut_leaves_behind(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)
    opened.page.locator("#table tr[data-point='3']").click()
    before = report["split_points"][3]["operators_before"]
    assert opened.count("#graph .head") == before + 1  # and the input
    # one tensor crosses: it is read by the block's first operator and by its shortcut
    assert opened.count("#graph .crossing") == 2


def test_a_split_point_of_two_tensors(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)
    last = report["split_points"][-1]
    opened.page.mouse.click(*centre(opened, f"#chart-{last['index']}"))
    assert opened.text("#detail-title") == f"Split point {last['index']}"
    for tensor in last["tensors"]:
        assert tensor["name"] in opened.text("#detail table >> nth=0")
    # no operator alone stands for it, but the cut is drawn
    assert opened.count("#graph [aria-selected=true]") == 0
    assert opened.count("#graph .crossing") == 2


def test_keys_go_from_split_point_to_split_point(open_page: Any) -> None:
    opened = open_page(report_examples.residual())
    for view in ("#graph svg", "#chart svg", "#table"):
        opened.page.locator(view).focus()
        opened.page.keyboard.press("Home")
        assert_selected(opened, 0)
        opened.page.keyboard.press("ArrowDown")
        opened.page.keyboard.press("ArrowRight")
        assert_selected(opened, 2)
        opened.page.keyboard.press("ArrowUp")
        assert_selected(opened, 1)
        active = opened.page.locator(view).get_attribute("aria-activedescendant")
        assert view == "#table" or opened.count(f"{view} #{active}[aria-selected=true]") == 1
    assert opened.page.evaluate("document.activeElement.id") == "table"


def test_the_address_remembers_the_selection(open_page: Any) -> None:
    opened = open_page(report_examples.residual())
    opened.page.locator("#table tr[data-point='5']").click()
    opened.page.reload()
    assert_selected(opened, 5)
    opened.page.evaluate("location.hash = '#point=2'")
    opened.page.wait_for_function(
        "document.getElementById('detail-title').textContent.endsWith(' 2')"
    )
    assert_selected(opened, 2)
    assert len(opened.requests) == 2
    opened.requests.pop()  # it was opened twice


def test_other_bytes_give_other_colours_and_figures(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)
    values = opened.page.locator("#measure option").evaluate_all("all => all.map(o => o.value)")
    # the context coder was measured up to 3 bits: no choice where there is nothing
    assert values[:3] == ["bytes", "float32", "int8"]
    assert "context-3" in values
    assert "context-4" not in values

    def look(point: int) -> tuple[str, str, str]:
        (operator,) = (item for item in report["operators"] if item["split_point"] == point)
        node = f"#node-{operator['index']}"
        fill = opened.page.locator(f"{node} .field").evaluate("e => getComputedStyle(e).fill")
        row = opened.text(f"#table tr[data-point='{point}'] td.bytes")
        return fill, opened.page.locator(f"{node} .bytes").text_content() or "", row

    before = look(6)
    opened.page.locator("#measure").select_option("lzma-2")
    after = look(6)
    assert before[0] != after[0]
    assert before[1] == before[2] == "32.8\u00a0kB"
    wanted = report["split_points"][6]["coded"][1]["lzma"] / 1000
    assert after[1] == after[2]
    assert float(after[1].split()[0]) == pytest.approx(wanted, rel=5e-3)
    # every colour is one that the browser knows, and they differ where bytes do
    assert len({look(point)[0] for point in (0, 6, 10)}) == 3
    assert "lzma, 2 bits" in opened.text("#summary")


def test_the_table_sorts_by_every_column(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)

    def order() -> list[int]:
        rows = opened.page.locator("#table tbody tr")
        return rows.evaluate_all("all => all.map(row => Number(row.dataset.point))")

    points = report["split_points"]
    opened.page.locator("[data-sort=bytes]").click()
    by_bytes = sorted(range(len(points)), key=lambda at: (points[at]["bytes"], at))
    assert order() == by_bytes
    assert opened.page.locator("th[aria-sort=ascending]").inner_text().startswith("Bytes")
    opened.page.locator("[data-sort=bytes]").click()
    assert order() == sorted(range(len(points)), key=lambda at: (-points[at]["bytes"], at))
    # keys follow the order that is shown
    opened.page.locator("#table").focus()
    opened.page.keyboard.press("End")
    assert_selected(opened, by_bytes[0])
    opened.page.locator("[data-sort=sparsity]").click()
    assert order() == sorted(range(len(points)), key=lambda at: points[at]["sparsity"])


def test_rows_that_were_not_measured_come_last(open_page: Any) -> None:
    report = report_examples.residual()
    report["split_points"][0]["sparsity"] = None
    report["split_points"][0]["coded"] = None
    opened = open_page(report)
    for _ in range(2):
        opened.page.locator("[data-sort=sparsity]").click()
        assert opened.page.locator("#table tbody tr").last.get_attribute("data-point") == "0"
    opened.page.locator("#measure").select_option("pack-1")
    assert opened.count("#chart [data-point]") == len(report["split_points"]) - 1
    assert "1 split point not measured" in opened.text("#chart-key")


def test_latency_over_a_link(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)

    def fastest(bits_per_second: float, slower: float) -> int:
        def latency(point: dict[str, Any]) -> float:
            sent = 8000 * point["bytes"] / bits_per_second
            return point["head_ms"] * slower + sent + point["tail_ms"]

        return min(range(len(report["split_points"])), key=lambda at: latency(points[at]))

    points = report["split_points"]
    found = []
    for slider, slower in ((0, 1), (60, 1), (60, 100), (100, 1)):
        opened.page.locator("#slower").fill(str(slower))
        opened.page.locator("#link").fill(str(slider))
        found.append(fastest(10 ** (4 + slider / 20), slower))
        assert f"split point {found[-1]} has the lowest latency" in opened.text("#summary")
        ring = centre(opened, "#chart circle.fastest")
        assert ring == pytest.approx(centre(opened, f"#chart-{found[-1]} .halo"), abs=0.5)
    assert found[1] != found[2]  # a slow device does less of it


def test_the_detail_draws_what_was_measured(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)
    opened.page.locator("#table tr[data-point='2']").click()
    point = report["split_points"][2]
    assert opened.count("#detail .entropy .bar") == 8
    assert opened.count("#detail .histograms figure") == len(point["histograms"])
    for bits in (1, 3):
        opened.page.locator("#codebook").select_option(str(bits))
        centroids = next(book for book in point["codebooks"] if book["bits"] == bits)["centroids"]
        first = point["histograms"][0]
        inside = sum(first["low"] <= centroid <= first["high"] for centroid in centroids)
        assert inside > 0
        assert opened.count("#detail figure >> nth=0 >> .centroid") == inside
    assert opened.page.locator("#detail img").evaluate("image => image.naturalWidth") == 64


def test_the_quantisation_of_integer_features_is_shown(open_page: Any) -> None:
    opened = open_page(report_examples.residual(quantised=True))
    assert "0.0235 \u00d7 (value + 128)" in opened.text("#detail")


def test_pareto_points_are_those_that_nothing_beats(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)
    marked = opened.page.locator("#chart .optimal").evaluate_all(
        "all => all.map(point => Number(point.dataset.point))"
    )
    costs = [(point["macs_head"], point["bytes"]) for point in report["split_points"]]
    wanted = [
        index
        for index, (macs, size) in enumerate(costs)
        if not any(
            other_macs <= macs and other_size <= size and (other_macs, other_size) != (macs, size)
            for other_macs, other_size in costs
        )
    ]
    assert sorted(marked) == wanted


def test_tooltips_follow_the_pointer(open_page: Any) -> None:
    report = report_examples.residual()
    opened = open_page(report)
    opened.page.mouse.move(*centre(opened, "#chart-4"))
    assert report["split_points"][4]["name"] in opened.text("#tooltip")
    opened.page.locator("#model").hover()
    assert not opened.page.locator("#tooltip").is_visible()
    opened.page.locator("#graph [data-node='39']").hover()
    assert report["operators"][39]["name"] in opened.text("#tooltip")


def test_schemes(open_page: Any) -> None:
    def luminance(opened: Opened, selector: str, key: str) -> float:
        colour = opened.page.locator(selector).evaluate(f"e => getComputedStyle(e).{key}")
        red, green, blue = (
            (value / 255) ** 2.2 for value in map(int, re.findall(r"\d+", colour)[:3])
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for scheme, lighter in (("light", "backgroundColor"), ("dark", "color")):
        opened = open_page(report_examples.residual(), scheme=scheme)
        for selector in ("body", "#chart-panel"):
            pair = {"color": luminance(opened, selector, "color")}
            pair["backgroundColor"] = luminance(opened, selector, "backgroundColor")
            assert max(pair, key=lambda key: pair[key]) == lighter
            low, high = sorted(pair.values())
            assert (high + 0.05) / (low + 0.05) > 7


@pytest.mark.parametrize("example", ["residual", "hostile", "bare", "unsplittable"])
def test_nothing_overflows(open_page: Any, example: str) -> None:
    opened = open_page(getattr(report_examples, example)())
    opened.assert_nothing_overflows("section:visible")


def test_hostile_names_are_text(open_page: Any) -> None:
    report = report_examples.hostile()
    opened = open_page(report)
    for point in report["split_points"]:
        opened.page.locator(f"#table tr[data-point='{point['index']}']").click()
        shown = opened.page.locator("#detail .full").evaluate("e => e.textContent")
        # a lone surrogate leaves Python as U+FFFD
        assert shown.replace("\ufffd", "\ud800") == point["name"]
    opened.page.locator("#graph [data-node='5']").hover()
    assert opened.page.evaluate("window.hurt") is None
    assert opened.count("script") == 2
    assert opened.page.locator("img:not(#detail img)").count() == 0
    assert opened.text("#model") == report["model"]
    assert opened.page.title().startswith("</script>")


def test_no_name_can_end_the_data_or_get_a_script_in() -> None:
    report = report_examples.hostile()
    written = page(report)
    assert len(re.findall(r"</script", written)) == 2
    assert "<!--" not in written
    (data,) = re.findall(r'<script type="application/json" id="report">(.*?)</script>', written)
    assert json.loads(data) == report
    assert "http:" not in written.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in written
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', written)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_policy_keeps_a_script_out_that_got_in(open_page: Any) -> None:
    opened = open_page(report_examples.residual())
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hurt = 1";
            document.body.append(script);
        }"""
    )
    assert opened.page.evaluate("window.hurt") is None
    assert len(opened.messages) == 1
    assert "Content Security Policy" in opened.messages.pop()


def test_what_was_not_measured_is_not_shown_as_null(open_page: Any) -> None:
    report = report_examples.bare()
    report["operators"][3]["macs"] = float("nan")  # JSON has none: shown as not measured
    opened = open_page(report)
    assert opened.page.locator("#link").is_hidden()
    assert opened.count("#measure option") == 3
    assert "not measured" in opened.text("#detail").lower()
    assert opened.count("#detail img, #detail figure, #detail .entropy") == 0
    for point in report["split_points"]:
        opened.page.locator(f"#table tr[data-point='{point['index']}']").click()
        seen = opened.page.locator("body").inner_text() + str(
            opened.page.locator("svg text").evaluate_all("all => all.map(e => e.textContent)")
        )
        assert not re.search(r"\b(null|NaN|undefined|Infinity)\b", seen)
    markup = opened.page.locator("main").evaluate("e => e.innerHTML")
    assert not re.search(r"\b(null|NaN|undefined|Infinity)\b", markup)


def test_operators_stand_for_macs_that_are_not_known(open_page: Any) -> None:
    report = report_examples.bare()
    report["macs"] = report["operators"][0]["macs"] = None
    for point in report["split_points"]:
        point["macs_head"] = None
    opened = open_page(report)
    assert "operators in the head (%)" in opened.text("#chart")
    assert opened.count("#chart [data-point]") == len(report["split_points"])
    assert "Head operators" in opened.text("#table thead")
    opened.page.locator("#graph [data-node='0']").hover()
    assert "MACs not measured" in opened.text("#tooltip")


def test_a_model_without_split_points(open_page: Any) -> None:
    opened = open_page(report_examples.unsplittable())
    assert "no split point" in opened.text("#summary")
    assert opened.count("#graph .node") == 4
    for part in ("#chart-panel", "#table-panel", "#controls"):
        assert opened.page.locator(part).is_hidden()
    opened.page.locator("#next").click()
    opened.page.locator("#graph svg").press("ArrowDown")


def test_seven_hundred_operators(open_page: Any) -> None:
    report = report_examples.large()
    opened = open_page(report, 390)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    nodes = opened.page.locator("#graph .node").evaluate_all(
        """all => all.map(node => {
            const {e, f} = node.transform.baseVal.consolidate().matrix;
            const {width, height} = node.firstChild.getBBox();
            return [e, f, width, height];
        })"""
    )
    assert len(nodes) == 701
    drawn_width, drawn_height = opened.page.locator("#graph svg").evaluate(
        "({viewBox: {baseVal}}) => [baseVal.width, baseVal.height]"
    )
    boxes = [(x, y, x + w, y + h) for x, y, w, h in nodes]
    assert min(left for left, _, _, _ in boxes) >= 0
    assert max(right for _, _, right, _ in boxes) <= drawn_width
    assert max(bottom for _, _, _, bottom in boxes) <= drawn_height
    # no two operators on top of each other
    rows: dict[float, list[tuple[float, float]]] = {}
    for left, top, right, _ in boxes:
        rows.setdefault(top, []).append((left, right))
    tops = sorted(rows)
    assert all(below - above >= nodes[0][3] for above, below in zip(tops, tops[1:]))
    for spans in rows.values():
        spans.sort()
        assert all(first[1] < second[0] for first, second in zip(spans, spans[1:]))
    # branches side by side, and every edge points down
    assert max(map(len, rows.values())) >= 4
    for operator in report["operators"]:
        for source in operator["inputs"]:
            assert boxes[source + 1][3] < boxes[operator["index"] + 1][1]
    edges = opened.page.locator("#graph .edges path").evaluate_all(
        "all => all.map(path => { const {x, y, width, height} = path.getBBox();"
        " return [x, y, x + width, y + height]; })"
    )
    assert len(edges) == sum(len(set(operator["inputs"])) for operator in report["operators"])
    assert min(left for left, _, _, _ in edges) >= 0
    assert max(right for _, _, right, _ in edges) <= drawn_width
    # the pane scrolls to what is selected
    opened.page.locator("#chart svg").focus()
    opened.page.keyboard.press("End")
    last = opened.page.locator("#graph [aria-selected=true]").bounding_box()
    pane = opened.page.locator("#graph").bounding_box()
    assert last is not None
    assert pane is not None
    assert pane["x"] <= last["x"]
    assert last["x"] + last["width"] <= pane["x"] + pane["width"] + 1
    assert pane["y"] <= last["y"] <= pane["y"] + pane["height"]


def test_zoom(open_page: Any) -> None:
    opened = open_page(report_examples.residual())

    def size() -> tuple[float, float]:
        found = opened.page.locator("#graph svg").bounding_box()
        assert found is not None
        return found["width"], found["height"]

    pane = opened.page.locator("#graph").bounding_box()
    assert pane is not None
    before = size()
    opened.page.locator("[data-zoom=in]").click()
    assert size()[0] == pytest.approx(1.25 * before[0], rel=1e-3)
    opened.page.locator("[data-zoom=width]").click()
    assert size()[0] <= pane["width"]
    opened.page.locator("[data-zoom=all]").click()
    assert size()[1] <= pane["height"]
