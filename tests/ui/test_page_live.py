"""The page beside a running proxy: it follows, can be paused without losing its place, and is there when it ends."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord import record
from omnirecord.cassette.open import open_store
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from omnirecord.replayer.verify import Rerun
from omnirecord.server.listener import Place
from omnirecord.ui.viewer import Viewer
from tests.support.cassettes import HEALTHY
from tests.support.process import Process
from tests.support.sse_clients import page_of

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
EVENTS = 112


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 25.0) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110  # what is waited for is in a browser
            await asyncio.sleep(0.1)


async def count(page: Any) -> int:
    return int(re.split(r"\D", await page.inner_text(".wire-count"))[0] or 0)


async def has(page: Any, at_least: int) -> bool:
    return await count(page) >= at_least


async def reads(page: Any, selector: str, text: str) -> bool:
    return text in await page.inner_text(selector)


async def is_hidden(page: Any, selector: str) -> bool:
    return bool(await page.is_hidden(selector))


async def test_it_follows_a_recording_and_can_be_paused_without_losing_its_place(
    tmp_path: Path, async_browser: Any
) -> None:
    source, troubles = HEALTHY["turns"], list[str]()
    async with (
        Replay(source, timing="original", speed=1.5) as upstream,
        record(upstream.url, tmp_path / "run.db", ui=True) as proxy,
        page_of(async_browser) as page,
    ):
        page.on("pageerror", lambda error: troubles.append(str(error)))
        await page.goto(proxy.page)
        await eventually(lambda: reads(page, "main", "It is being recorded"))
        with closing(open_store(source)) as store:
            held = asyncio.create_task(upstream.run_until(lambda frame: frame.seq >= 40))
            clients = asyncio.create_task(Rerun(store, 1, proxy.url).run(120))
            await page.click("td.name a")
            await eventually(lambda: reads(page, ".live", "live"))
            await eventually(lambda: has(page, 30))
            await held  # else a slow browser could pause only after the last event
            await page.keyboard.press("l")
            await eventually(lambda: reads(page, ".live", "paused"))
            upstream.play()
            await eventually(lambda: reads(page, ".live", " new"))
            stands = await page.inner_text(".player .time"), await page.inner_text(".talk")
            await clients
        await eventually(lambda: has(page, EVENTS))
        assert (await page.inner_text(".player .time")).split("/")[0] == stands[0].split("/")[0]
        # What is told comes a little behind the wire: a question without its answer, an answer before its POST ended.
        so_far = re.split(r"\n(?:working|The agent (?:waits|asked) for)", stands[1])[0]
        await eventually(lambda: reads(page, ".talk", so_far))
        assert not await reads(page, ".talk", "Goodbye")
        await page.keyboard.press("l")
        await eventually(lambda: reads(page, ".live", "no client connected"))
        await eventually(lambda: reads(page, ".talk", "Goodbye, and calm seas."))
        await eventually(lambda: reads(page, ".why", "Why it stops here"))
        await proxy.stop()
        await eventually(lambda: is_hidden(page, ".live"))  # what it says of the end was there before
        assert await reads(page, ".why", "Why it stops here")
    assert troubles == []


async def test_a_session_that_is_over_before_the_page_follows_is_listed(tmp_path: Path, async_browser: Any) -> None:
    """The page's list is older than the session, and its stream of events starts after the session."""
    source, asked, goes_on = HEALTHY["approval"], asyncio.Event(), asyncio.Event()

    async def hold(route: Any) -> None:
        asked.set()
        await goes_on.wait()
        await route.continue_()

    async with (
        Replay(source, timing="instant") as upstream,
        record(upstream.url, tmp_path / "run.db", ui=True) as proxy,
        page_of(async_browser) as page,
    ):
        await page.route("**/events?last=0", hold)
        await page.goto(proxy.page)
        await asked.wait()
        with closing(open_store(source)) as store:
            await Rerun(store, 1, proxy.url).run(120)
        assert await are(page, "td.name a", 0)
        goes_on.set()
        await eventually(lambda: are(page, "td.name a", 1))
        await page.unroute_all(behavior="ignoreErrors")


async def test_it_goes_on_when_its_server_has_been_away(tmp_path: Path, async_browser: Any) -> None:
    source, db = HEALTHY["turns"], tmp_path / "run.db"
    async with (
        Replay(source, timing="original") as upstream,
        Proxy(upstream.url, db) as proxy,
        page_of(async_browser) as page,
    ):
        with closing(open_store(source)) as store:
            async with Viewer(db) as viewer:
                await page.goto(viewer.page)
                clients = asyncio.create_task(Rerun(store, 1, proxy.url).run(120))
                await page.click("td.name a")
                await eventually(lambda: has(page, 10))
            await eventually(lambda: reads(page, ".state", "connection lost"))
            seen = await count(page)
            await clients
        async with Viewer(db, place=Place(port=int(viewer.url.rpartition(":")[2]))):
            await eventually(lambda: reads(page, ".state", "recording"))
            await eventually(lambda: has(page, EVENTS))
            assert seen < EVENTS
            await eventually(lambda: reads(page, ".talk", "Goodbye, and calm seas."))
            await eventually(lambda: reads(page, ".live", "no client connected"))
            assert not await page.is_visible(".problem")
            await proxy.stop()
            await eventually(lambda: reads(page, ".why", "Why it stops here"))


async def test_a_proxy_that_was_killed_and_runs_again_is_followed_again(tmp_path: Path, async_browser: Any) -> None:
    source, db = HEALTHY["approval"], tmp_path / "run.db"
    async with Replay(source, timing="instant") as upstream, page_of(async_browser) as page:
        async with Process(upstream.url, db, "--ui") as proxy:
            await page.goto(f"{proxy.url}/-/omnirecord/ui/")
            with closing(open_store(source)) as store:
                await Rerun(store, 1, proxy.url).run(120)
            await page.click("td.name a")
            await eventually(lambda: has(page, 30))
            own = page.url.partition("/-/")[0].removeprefix("http://")
            await proxy.end(signal.SIGKILL)
        await eventually(lambda: reads(page, ".state", "connection lost"))
        await upstream.reset()
        async with Process(upstream.url, db, "--ui", own) as proxy:
            await eventually(lambda: reads(page, ".state", "recording"))
            with closing(open_store(source)) as store:
                await Rerun(store, 1, proxy.url).run(120)
            await page.keyboard.press("g")
            await eventually(lambda: reads(page, "main", "Recording 2"))
            await eventually(lambda: are(page, "td.name a", 2))
            await page.locator("td.name a").first.click()
            await eventually(lambda: has(page, 30))
            assert await count(page) == 30


async def are(page: Any, selector: str, count: int) -> bool:
    return bool(await page.locator(selector).count() == count)
