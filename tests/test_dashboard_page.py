"""The live dashboard in a real browser, of a real server that devices ask."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import page_browser
import pytest
from page_browser import Opened
from playwright.sync_api import Browser, Locator, Request, Route, expect
from report_examples import HOSTILE

NEEDS = 'needs "pysplitcodec[serve,tflite,safetensors]"'
for name in ("httpx", "starlette", "uvicorn", "prometheus_client", "ai_edge_litert", "safetensors"):
    pytest.importorskip(name, reason=NEEDS)

import httpx  # noqa: E402
from digits_offers import digits_offers  # noqa: E402
from server_process import TIMEOUT_S, Served, serving  # noqa: E402

from pysplitcodec.demo import load_digits  # noqa: E402
from pysplitcodec.plan import DeviceProfile, Link  # noqa: E402
from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.serve import TailClient, negotiate, write_offers  # noqa: E402
from pysplitcodec.serve.tokens import add_token  # noqa: E402

TIMEOUT_MS = 1000 * TIMEOUT_S
DIGITS = load_digits()
DEVICE = DeviceProfile("mine", macs_per_s=1e7, ram_bytes=100_000, power_w=1.0)
LINK = Link("slow", bits_per_s=1e4)
(FEATURES,) = TFLiteModel(DIGITS.head)(DIGITS.images[0])
LABEL = int(TFLiteModel(DIGITS.tail)(FEATURES)[0].argmax())
# What the browser says by itself of answers that are no 200, and of servers that are not there.
NO_ANSWER = "Failed to load resource"


@pytest.fixture(scope="module")
def offers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offers") / "digits"
    write_offers(folder, "digits", digits_offers(DIGITS, tmp_path_factory.mktemp("parts")))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with page_browser.launched() as started:
        yield started


@pytest.fixture(scope="module")
def shared(offers: Path) -> Iterator[Served]:
    """A server for tests that do not count."""
    with serving(offers.parent, offers) as served:
        ask(served.url, right=1)
        yield served


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens the dashboard of a server, and sees to it that nothing else is asked for."""
    opened: list[Opened] = []

    def open_one(served: Served, width: int = 1400, scheme: Any = "light") -> Opened:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        shown = Opened(context.new_page(), served.url)

        def only_the_server(route: Route, request: Request) -> None:
            shown.requests.append(request.url)
            if request.url.startswith(served.url):
                route.continue_()
            else:
                route.abort()

        shown.page.route("**/*", only_the_server)
        shown.page.on("pageerror", lambda error: shown.messages.append(str(error)))
        shown.page.on("console", lambda message: shown.messages.append(message.text))
        shown.page.goto(f"{served.url}/dashboard")
        opened.append(shown)
        return shown

    yield open_one
    for shown in opened:
        assert set(shown.requests) == {
            f"{shown.address}/dashboard",
            f"{shown.address}/v1/live/events",
        }
        assert [text for text in shown.messages if not text.startswith(NO_ANSWER)] == []
        shown.page.context.close()


def shows(locator: Locator, text: str) -> None:
    expect(locator).to_have_text(text, timeout=TIMEOUT_MS)


def status(opened: Opened) -> Locator:
    return opened.page.locator("#status")


def fact(opened: Opened, term: str) -> Locator:
    """The value beside a term among the figures of all devices."""
    return opened.page.locator("#now > div", has=opened.page.get_by_text(term, exact=True)).locator(
        "dd"
    )


def rows(opened: Opened, table: str) -> list[dict[str, str]]:
    """The rows of a table, by its heads."""
    of_rows = "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent))"
    heads, *texts = opened.page.locator(f"table:has(#{table}) tr").evaluate_all(of_rows)
    return [{head: text.replace("\u00a0", " ") for head, text in zip(heads, row)} for row in texts]


def headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def bottleneck(url: str, token: str | None = None) -> str:
    """The tail that takes what the embedded head gives."""
    for model in httpx.get(f"{url}/v2", headers=headers(token)).json()["models"]:
        told = httpx.get(f"{url}/v2/models/{model}", headers=headers(token)).json()
        if told["inputs"][1]["shape"][1:] == list(FEATURES.shape[1:]):
            return str(model)
    raise AssertionError("none of the tails takes the features")


def ask(url: str, right: int, wrong: int = 0, token: str | None = None) -> tuple[int, int]:
    """So many samples with labels; the bytes of all requests, and of all answers."""
    with TailClient(url, bottleneck(url, token), token=token) as tail:
        replies = [tail.infer_tensor(FEATURES, label=LABEL) for _ in range(right)]
        replies += [tail.infer_tensor(FEATURES, label=(LABEL + 1) % 10) for _ in range(wrong)]
    return sum(r.sent_bytes for r in replies), sum(r.received_bytes for r in replies)


def test_the_numbers_are_those_of_what_was_sent(
    offers: Path, tmp_path: Path, open_page: Callable[..., Opened]
) -> None:
    with serving(tmp_path, offers) as served:
        opened = open_page(served)
        shows(status(opened), "Live")
        shows(fact(opened, "Frames in all"), "0")
        model = bottleneck(served.url)
        sent, received = ask(served.url, right=7, wrong=3)
        for path in ("nobody", "nobody", model + "/infer"):
            httpx.get(f"{served.url}/v2/models/{path}")
        shows(fact(opened, "Frames in all"), "10")
        shows(fact(opened, "Accuracy in all"), "70.0\u00a0% of 10")
        shows(opened.page.locator("#statuses"), "20010" + "4042" + "4051")
        told = httpx.get(f"{served.url}/v1/live").json()
        assert (told["all"]["received_bytes"], told["all"]["sent_bytes"]) == (sent, received)
        (device,) = rows(opened, "devices")
        assert device["Device"] == "127.0.0.1" and device["Model"] == model
        assert device["Frames"] == "10" and device["Refused"] == "3" and device["Plan"] == "\u2013"
        assert device["Accuracy"] == "70.0 % of 10"
        refusals = rows(opened, "refusals")
        assert [one["Status"] for one in refusals] == ["405", "404", "404"]
        assert refusals[1]["Request"] == "GET '/v2/models/nobody'"
        assert "there is no model 'nobody'" in refusals[1]["Why"]
        # percentiles stay once nothing is asked any more
        ms = told["all"]["ms"]
        stages = {row["Stage"]: row for row in rows(opened, "stages")}
        assert list(stages) == ["Wait", "Decode", "Tail", "Whole request"]
        for stage, title in (("tail", "Tail"), ("request", "Whole request")):
            for key, head in (("p50", "50 %"), ("p99", "99 %")):
                shown = stages[title][head].removesuffix(" ms")
                assert float(shown) == pytest.approx(ms[stage][key], rel=6e-3)
        # all of it is in the minute that is drawn, once its second is over
        (path,) = opened.page.locator("#frames-chart path").all()
        for height in (32, 0):  # of no frames and of the most, from the top
            drawn = re.compile(rf"[ML]\d+ {height}\.00")
            expect(path).to_have_attribute("d", drawn, timeout=TIMEOUT_MS)


def test_charts_are_the_seconds(shared: Served, open_page: Callable[..., Opened]) -> None:
    """To scale, the latest on the right."""
    opened = open_page(shared)
    shows(status(opened), "Live")
    drawn = opened.page.evaluate("values => drawn(values, 10)", [0, 5, None, 10, 2.5])
    assert drawn == "M55 32.00h0L56 16.00M58 0.00h0L59 24.00"


def test_tokens_plans_and_hostile_names(
    offers: Path, tmp_path: Path, open_page: Callable[..., Opened]
) -> None:
    file = tmp_path / "tokens.toml"
    tokens = {"kitchen-pi": add_token(file, "kitchen-pi"), "hall-pi": add_token(file, "hall-pi")}
    # A name may be anything in a file that somebody wrote.
    hostile = HOSTILE[1] + HOSTILE[0]
    file.write_text(file.read_text().replace("[hall-pi]", f"[{json.dumps(hostile)}]"))
    with serving(tmp_path, offers, "--tokens", file) as served:
        opened = open_page(served)
        shows(status(opened), "A token is needed")
        expect(opened.page.locator("#shown")).to_be_hidden()
        opened.page.get_by_label("Token").fill("no-such-token")
        opened.page.get_by_role("button", name="Show").click()
        shows(status(opened), "This token will not do")
        opened.page.get_by_label("Token").fill(tokens["kitchen-pi"])
        opened.page.keyboard.press("Enter")
        shows(status(opened), "Live")
        expect(opened.page.locator("#ask")).to_be_hidden()
        with negotiate(
            served.url,
            "digits",
            tmp_path / "cache",
            max_accuracy_drop=0.05,
            device=DEVICE,
            link=LINK,
            inferences=1000,
            token=tokens["kitchen-pi"],
        ) as agreed:
            for image in DIGITS.images[:5]:
                agreed.run(image)
        ask(served.url, right=1, token=tokens["hall-pi"])
        markup = "<img src=x onerror='window.hurt = 1'>"
        httpx.get(f"{served.url}/v2/models/{markup}", headers=headers(tokens["hall-pi"]))
        shows(opened.page.locator("#statuses"), "2006" + "4012" + "4041")
        shows(fact(opened, "Devices"), "2")
        by_name = {row["Device"]: row for row in rows(opened, "devices")}
        assert set(by_name) == {"kitchen-pi", hostile}
        assert by_name["kitchen-pi"]["Frames"] == "5" and by_name[hostile]["Frames"] == "1"
        assert by_name[hostile]["Accuracy"] == "100.0 % of 1"
        assert agreed.plan is not None
        widths = agreed.plan["weight_bits"].values()
        assert len(set(widths)) == 1
        assert by_name["kitchen-pi"]["Plan"] == (
            f"digits at {agreed.plan['split']}, feature {agreed.plan['feature_bits']} bit, "
            f"head {min(widths)} bit, drop {100 * agreed.plan['accuracy_drop']:.1f} %"
        )
        last = rows(opened, "refusals")[0]
        assert last["Device"] == hostile and markup in last["Request"] + last["Why"]
        assert opened.page.evaluate("window.hurt") is None
        assert opened.count("script") == 1 and opened.count("img") == 0
        opened.page.reload()  # a token is not kept
        shows(status(opened), "A token is needed")


def test_a_server_that_goes_and_comes_back(
    offers: Path, tmp_path: Path, open_page: Callable[..., Opened]
) -> None:
    with serving(tmp_path, offers) as served:
        opened = open_page(served)
        ask(served.url, right=2)
        shows(fact(opened, "Frames in all"), "2")
        served.process.send_signal(signal.SIGSTOP)  # still connected, but says nothing
        expect(status(opened)).to_contain_text("the server is quiet", timeout=TIMEOUT_MS)
        served.process.send_signal(signal.SIGCONT)
        shows(status(opened), "Live")
        served.process.kill()
        expect(status(opened)).to_contain_text("Connection lost", timeout=TIMEOUT_MS)
        shows(fact(opened, "Frames in all"), "2")  # what was known stays
    port = httpx.URL(served.url).port
    assert port is not None
    with serving(tmp_path, offers, port=port) as again:
        shows(status(opened), "Live")
        shows(fact(opened, "Frames in all"), "0")
        ask(again.url, right=3)
        shows(fact(opened, "Frames in all"), "3")
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(TIMEOUT_S) == -signal.SIGTERM
        expect(status(opened)).to_contain_text("Connection lost", timeout=TIMEOUT_MS)


def test_it_fits_on_wide_and_narrow_screens(
    offers: Path, tmp_path: Path, open_page: Callable[..., Opened]
) -> None:
    file = tmp_path / "tokens.toml"
    names = ["kitchen-pi", *(text.encode("utf-8", "ignore").decode() for text in HOSTILE)]
    tokens = []
    for number, name in enumerate(names):
        tokens.append(add_token(file, f"name-{number}"))
        file.write_text(file.read_text().replace(f"[name-{number}]", f"[{json.dumps(name)}]"))
    with serving(tmp_path, offers, "--tokens", file) as served:
        for token in tokens:
            ask(served.url, right=1, token=token)
            httpx.get(f"{served.url}/v2/models/{'long' * 99}", headers=headers(token))
        for scheme in ("light", "dark"):
            opened = open_page(served, scheme=scheme)
            opened.page.get_by_label("Token").fill(tokens[0])
            opened.page.keyboard.press("Enter")
            shows(fact(opened, "Devices"), str(len(names)))
            assert opened.count("#devices tr") == len(names) < opened.count("#refusals tr")
            for width in (1400, 800, 380):
                opened.page.set_viewport_size({"width": width, "height": 800})
                assert opened.page.evaluate("document.documentElement.scrollWidth") == width
                for panel in opened.page.locator("section").all():
                    assert panel.evaluate("e => e.scrollWidth <= e.clientWidth")
            back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (back == "rgb(15, 18, 22)") == (scheme == "dark")


def test_tables_and_states_have_names(shared: Served, open_page: Callable[..., Opened]) -> None:
    opened = open_page(shared)
    shows(status(opened), "Live")
    for table in ("stages", "statuses", "devices", "refusals"):
        heads = opened.page.locator(f"table:has(#{table}) thead th")
        assert heads.evaluate_all("all => all.every(e => e.scope === 'col' && e.textContent)")
    assert opened.count("tbody tr") == opened.count("tbody tr > th[scope=row]:first-child") > 5
    scrolled = opened.page.locator(".pane").all()
    names = {pane.get_attribute("aria-label") for pane in scrolled}
    assert len(scrolled) == len(names) == 4 and None not in names
    assert all(pane.get_attribute("tabindex") == "0" for pane in scrolled)
    expect(opened.page.get_by_role("status")).to_have_attribute("aria-live", "polite")
    charts = opened.page.get_by_role("img").all()
    assert len(charts) == 3
    assert all("at most" in (chart.get_attribute("aria-label") or "") for chart in charts)


def test_so_many_dashboards_and_no_more(shared: Served, open_page: Callable[..., Opened]) -> None:
    """Who comes too late is told so, and comes in once another has left."""
    opened = open_page(shared)
    shows(status(opened), "Live")
    url = f"{shared.url}/v1/live/events"
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(httpx.stream("GET", url, timeout=TIMEOUT_S))
        late = open_page(shared)
        expect(status(late)).to_contain_text("16 dashboards are open", timeout=TIMEOUT_MS)
        shows(status(opened), "Live")
    shows(status(late), "Live")
