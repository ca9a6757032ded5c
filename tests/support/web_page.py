"""The real web UI in a real browser, driven as a person does: by what it shows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.sse_clients import page_of

TIMEOUT_MS = 20_000
_TIMES = re.compile(r" [AP]M$|^(Thought|Worked) for ")


@dataclass
class WebPage:
    """A page with nothing in its memory at a web UI. `abroad`: what it asked of anybody else; `errors`: what its
    scripts raised."""

    page: Any
    url: str
    abroad: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def open(self, path: str = "/") -> None:
        await self.page.goto(self.url + path)

    async def pick(self, session_id: str) -> None:
        """Click the session in the list."""
        await self.page.locator(f"a[href*='/c/{session_id}']").first.click(timeout=TIMEOUT_MS)
        await self.page.wait_for_url(f"**/c/{session_id}")
        await self._box().wait_for(timeout=TIMEOUT_MS)

    async def start_session(self, text: str, agent: str) -> None:
        """A new session from its first page, with an agent that somebody installed."""
        box = self.page.get_by_placeholder("Describe a task")
        await box.fill(text, timeout=TIMEOUT_MS)
        await self.page.get_by_role("button", name="Claude Code").click(timeout=TIMEOUT_MS)
        await self.page.get_by_role("menuitem", name="Other").last.click(timeout=TIMEOUT_MS)
        await self.page.get_by_text(agent).first.click(timeout=TIMEOUT_MS)
        await self.page.keyboard.press("Escape")
        await self.page.get_by_role("button", name="Start session").click(timeout=TIMEOUT_MS)
        await self.page.wait_for_url("**/c/*", timeout=TIMEOUT_MS)

    async def reload(self) -> None:
        await self.page.reload()

    async def say(self, text: str) -> None:
        await self._box().fill(text, timeout=TIMEOUT_MS)
        await self._box().press("Enter")

    async def is_asked(self) -> None:
        """Wait for an approval card."""
        await self._approve().wait_for(timeout=TIMEOUT_MS)

    async def approve(self) -> None:
        await self._approve().click(timeout=TIMEOUT_MS)

    async def sees(self, text: str, *, times: int | None = None, within_ms: int = TIMEOUT_MS) -> None:
        """Wait until this text is shown. `times`: how often it then is."""
        found = self.page.locator("main").get_by_text(text, exact=True)
        await found.first.wait_for(timeout=within_ms)
        if times is not None:
            assert await found.count() == times, await self.text()

    async def rests(self) -> None:
        """Wait until the turn is over: what interrupts it has become what sends."""
        await self.page.get_by_role("button", name="Send").wait_for(timeout=TIMEOUT_MS)

    async def text(self) -> str:
        return str(await self.page.inner_text("main"))

    async def conversation(self) -> str:
        """What it says, without the times of day and how long things took."""
        return "\n".join(line for line in (await self.text()).splitlines() if not _TIMES.search(line))

    def _approve(self) -> Any:
        return self.page.get_by_role("button", name="Approve").first

    def _box(self) -> Any:
        return self.page.get_by_placeholder("Send a message")


@asynccontextmanager
async def web_page(running: Any, url: str) -> AsyncIterator[WebPage]:
    """`running`: a browser."""
    async with page_of(running) as page:
        opened = WebPage(page, url)
        page.on("request", lambda request: _note(opened, request.url))
        page.on("websocket", lambda socket: _note(opened, socket.url.replace("ws", "http", 1)))
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        yield opened


def _note(opened: WebPage, url: str) -> None:
    if url.startswith("http") and not url.startswith(opened.url):
        opened.abroad.append(url)
