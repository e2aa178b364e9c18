"""Pages opened in a real browser that must not ask for anything but their file."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest

pytest.importorskip("playwright", reason="needs the extra 'test'")
from playwright.sync_api import Browser, Page, Route, sync_playwright

_CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium, or a skip where it is not installed."""
    if _CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_FLAGS))
        yield started
        started.close()


@dataclasses.dataclass
class Opened:
    """A page in the browser, with what it complained of and asked for."""

    page: Page
    address: str
    messages: list[str] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def assert_clean(self) -> None:
        assert self.messages == []
        assert [address.partition("#")[0] for address in self.requests] == [self.address]

    def assert_nothing_overflows(self, panels: str) -> None:
        """Neither the page nor any of its panels, on wide and narrow screens."""
        for width in (1280, 800, 390):
            self.page.set_viewport_size({"width": width, "height": 800})
            self.page.reload()
            self.requests.pop()
            assert self.page.evaluate("document.documentElement.scrollWidth") == width
            for panel in self.page.locator(panels).all():
                box = panel.bounding_box()
                assert box is not None
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width
                assert panel.evaluate("e => e.scrollWidth <= e.clientWidth")


@contextmanager
def opener(
    browser: Browser, folder: Path, write: Callable[..., None]
) -> Iterator[Callable[..., Opened]]:
    """Give what writes a page into `folder`, with write(contents, path), and opens it.

    The network is blocked, and nothing may be asked of it; in the end no page may have complained.
    """
    opened: list[Opened] = []

    def open_page(contents: Any, width: int = 1280, scheme: Any = "light") -> Opened:
        path = folder / f"{len(opened)}.html"
        write(contents, path)
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        shown = Opened(context.new_page(), path.as_uri())

        def allow_the_file_alone(route: Route) -> None:
            if route.request.url.startswith(shown.address):
                route.continue_()
            else:
                route.abort()

        shown.page.route("**/*", allow_the_file_alone)
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.on("pageerror", lambda error: shown.messages.append(str(error)))
        shown.page.on(
            "console",
            lambda message: (
                shown.messages.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        shown.page.goto(shown.address)
        opened.append(shown)
        return shown

    yield open_page
    for shown in opened:
        shown.assert_clean()
        shown.page.context.close()


def centre(opened: Opened, selector: str) -> tuple[float, float]:
    """The middle of an element, in pixels of the page."""
    box = opened.page.locator(selector).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
