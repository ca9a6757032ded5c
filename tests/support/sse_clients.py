"""Other people's readers of event streams, each as a function: a server and the targets of its streams in, events out.

What a reader raises is the last of its events: `Event("raises", "UnicodeDecodeError")`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import httpx
import httpx_sse
import pytest
from aiohttp.http import HttpProcessingError
from aiohttp_sse_client2 import client as aiohttp_sse_client2

from omnirecord.wire.sse import Parser
from tests.support.whatwg import Event, events_of

Heard = dict[str, list[Event]]


async def _each(targets: Iterable[str], events: Callable[[str], AsyncIterator[Event]]) -> Heard:
    """All the streams at once, as there may be time between their bytes."""
    targets = list(targets)
    return dict(zip(targets, await asyncio.gather(*(_all(events(target)) for target in targets)), strict=True))


async def _all(events: AsyncIterator[Event]) -> list[Event]:
    heard = []
    try:
        async for event in events:
            heard.append(event)
    except (ValueError, ArithmeticError, HttpProcessingError) as error:
        heard.append(Event("raises", type(error).__name__))
    return heard


async def by_httpx_sse(url: str, targets: Iterable[str]) -> Heard:
    async with httpx.AsyncClient(base_url=url) as client:

        async def events(target: str) -> AsyncIterator[Event]:
            async with httpx_sse.aconnect_sse(client, "GET", target) as source:
                async for sse in source.aiter_sse():
                    yield Event(sse.event, sse.data, sse.id)

        return await _each(targets, events)


async def by_aiohttp(url: str, targets: Iterable[str]) -> Heard:
    """aiohttp itself has no parser: its bytes, as they come, to ours."""
    async with aiohttp.ClientSession(url) as session:

        async def events(target: str) -> AsyncIterator[Event]:
            parser, frames = Parser(), []
            async with session.get(target) as response:
                async for data in response.content.iter_any():
                    frames += parser.feed(data)
            for event in events_of([*frames, *parser.close()]):
                yield event

        return await _each(targets, events)


class _Over(Exception):
    """Raised for the first error: this reader would wait and connect again."""


async def by_aiohttp_sse_client2(url: str, targets: Iterable[str]) -> Heard:
    def over() -> None:
        raise _Over

    async with aiohttp.ClientSession() as session:

        async def events(target: str) -> AsyncIterator[Event]:
            try:
                async with aiohttp_sse_client2.EventSource(url + target, session=session, on_error=over) as source:
                    async for event in source:
                        yield Event(event.type or "message", event.data, event.last_event_id)
            except _Over:
                pass

        return await _each(targets, events)


PAGE = b"""<!doctype html>
<title>EventSource</title>
<link rel="icon" href="data:,">
<script>
const listen = (target, types) => new Promise(resolve => {
  const heard = [], source = new EventSource(target)
  for (const type of types) {
    source.addEventListener(type, event => heard.push([event.type, event.data, event.lastEventId]))
  }
  source.onerror = () => { source.close(); resolve([target, heard]) }  // it would connect again
})
const listenAll = ([targets, types]) => Promise.all(targets.map(target => listen(target, types)))
</script>
"""
"""Its script opens an `EventSource` for each target until the first error, which is the end of its stream."""

# Nothing but the page, and no sandbox, which a container does not allow.
SWITCHES = (
    "--no-sandbox", "--in-process-gpu", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def chromium() -> str:
    """Where Chromium is: the headless shell, which takes a third of the CPU time, or the whole browser. Without one the
    test is skipped, but for a CI, where it fails."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        reason = "there is no chromium on PATH: apt-get install chromium-headless-shell, or chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return str(found)


@asynccontextmanager
async def browser_running(*switches: str) -> AsyncIterator[Any]:
    """A browser, for as many pages as there are to be."""
    from playwright.async_api import async_playwright

    path = chromium()
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=[*SWITCHES, *switches])
        try:
            yield started
        finally:
            await started.close()


@asynccontextmanager
async def page_of(running: Any) -> AsyncIterator[Any]:
    """An empty page, which knows nothing of others that the browser has had."""
    context = await running.new_context()
    try:
        yield await context.new_page()
    finally:
        await context.close()


class SharedBrowser:
    """One browser for all asynchronous tests of a worker, which opens `evil.example` at 127.0.0.1."""

    def __init__(self) -> None:
        self._running = AsyncExitStack()
        self._browser: Any = None

    async def lend(self) -> Any:
        """The browser, or a new one if that has crashed."""
        from playwright.async_api import Error

        try:
            if self._browser is not None:
                await (await self._browser.new_browser_cdp_session()).detach()
        except Error:
            await self.close()
        if self._browser is None:
            self._browser = await self._running.enter_async_context(
                browser_running("--host-resolver-rules=MAP evil.example 127.0.0.1")
            )
        return self._browser

    async def close(self) -> None:
        self._browser = None
        await self._running.aclose()


async def by_event_source(page: Any, url: str, targets: Iterable[str], types: Iterable[str]) -> Heard:
    """`url` serves `PAGE` at /page; events of `types` are listened to."""
    await page.goto(f"{url}/page")
    heard = await page.evaluate("listenAll", [list(targets), list(types)])
    return {target: [Event(*event) for event in events] for target, events in heard}
