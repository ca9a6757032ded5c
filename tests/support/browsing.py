"""A real browser for the tests of the page, and the page in it. Playwright's synchronous side: nothing awaits here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from omnirecord.server.listener import Background
from omnirecord.ui.viewer import Viewer
from tests.support.sse_clients import SWITCHES, chromium


@contextmanager
def chromium_running() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
        try:
            yield browser
        finally:
            browser.close()


class SharedBrowser:
    """One browser for all tests of a worker, as its start takes a second of CPU time."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._browser: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def lent(self) -> Iterator[Any]:
        """The browser, or a new one if that has crashed. Contexts that are open at the end are closed.

        Playwright marks its event loop as running even between its calls. It may not stay marked when the browser is
        returned, as no asynchronous test could run then.
        """
        asyncio._set_running_loop(self._loop)
        try:
            if not self._answers():
                self._running.close()
                self._browser = self._running.enter_context(chromium_running())
            yield self._browser
            for context in self._browser.contexts:
                context.close()
        finally:
            self._loop = asyncio._get_running_loop()
            asyncio._set_running_loop(None)

    def close(self) -> None:
        asyncio._set_running_loop(self._loop)
        self._running.close()
        asyncio._set_running_loop(None)

    def _answers(self) -> bool:
        from playwright.sync_api import Error

        try:
            if self._browser is not None:
                self._browser.new_browser_cdp_session().detach()
        except Error:
            return False
        return self._browser is not None


@contextmanager
def showing(cassette: Path, other: Path | None = None) -> Iterator[str]:
    """Where the page of a cassette is, or of two beside each other."""
    viewer = Viewer(cassette, other)
    background = Background(viewer)
    background.start()
    try:
        yield viewer.address
    finally:
        background.stop()


@contextmanager
def opened(
    browser: Any, url: str, *, width: int = 1280, height: int = 800, expected: str | None = None, **settings: Any
) -> Iterator[Any]:
    """A page at that address; fails on errors of its script, and on anything that its policy had to stop, but for what
    is `expected`."""
    context = browser.new_context(viewport={"width": width, "height": height}, **settings)
    context.set_default_timeout(30_000)
    page, troubles = context.new_page(), []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
    try:
        page.goto(url)
        yield page
        assert [trouble for trouble in troubles if expected is None or expected not in trouble] == []
    finally:
        context.close()


def texts(page: Any, selector: str) -> list[str]:
    """What is written in those elements that can be seen, as it stands there. A locator would find the elements in one
    step and read them in another, when the page may have drawn others in their place."""
    script = """selector => [...document.querySelectorAll(selector)]
        .filter(one => one.checkVisibility()).map(one => one.textContent)"""
    found: list[str] = page.evaluate(script, selector)
    return found


def settled(page: Any) -> None:
    """Once all of the session is there, and drawn."""
    page.wait_for_selector(".session[data-loaded]")
    drawn(page)


def drawn(page: Any) -> None:
    """Once what has changed is on the screen."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def violations(page: Any, *new: str) -> list[dict[str, Any]]:
    """What axe finds on the page. `new`: where the contrast of colours is looked at, which takes four fifths of the CPU
    time of a run; everywhere if there is none."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[dict[str, Any]] = page.evaluate(
        """async fresh => {
            const resultTypes = ['violations'], rules = { 'color-contrast': { enabled: !fresh.length } }
            const runs = [await axe.run(document, { resultTypes, rules })]
            const include = fresh.map(one => [one]), runOnly = ['color-contrast']
            if (fresh.length) runs.push(await axe.run({ include }, { resultTypes, runOnly }))
            return runs.flatMap(one => one.violations)
        }""",
        list(new),
    )
    return found


def serious(page: Any, *new: str) -> list[str]:
    """What of it makes the page hard or impossible to use."""
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in violations(page, *new)
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.04)
