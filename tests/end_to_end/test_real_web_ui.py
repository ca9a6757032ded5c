"""The real web UI of Omnigent in front: it records a session through the proxy, and shows it again from a replay with
everything else stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")

from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from tests.omnigent_rig import agents, script
from tests.omnigent_rig.stack import Stack
from tests.support.cassettes import HEALTHY, SHIPPED
from tests.support.sse_clients import browser_running
from tests.support.web_page import WebPage, web_page

pytestmark = [pytest.mark.real, pytest.mark.browser, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

INSTALLED = "explainer"
"""The agent that new sessions have."""


def answer_to(text: str) -> str:
    return script.SCRIPT[text].text  # type: ignore[union-attr, no-any-return]


ANSWER = answer_to(script.EXPLAIN)


@dataclass
class Recorded:
    """What there is once server, runner and provider are gone. `shown`: what the page said at the end."""

    db: Path
    session_id: str
    shown: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    async with browser_running() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def recorded(tmp_path_factory: pytest.TempPathFactory, browser: Any, shared_stack: Stack) -> Recorded:
    db, stack = tmp_path_factory.mktemp("web") / "ui.db", shared_stack
    async with Proxy(stack.url, db) as proxy:
        from omnigent_client import OmnigentClient

        async with OmnigentClient(base_url=stack.url, headers={"Origin": "omnigent://internal"}) as client:
            session = await client.sessions.create(agents.bundle(agents.ASKS_FIRST))
            await client.sessions.bind_runner(session.id, runner_id=stack.runner_id)
        async with web_page(browser, proxy.url) as page:
            await whole_trip(page, session.id)
            shown = await page.conversation()
    return Recorded(db, session.id, shown)


async def whole_trip(page: WebPage, session_id: str) -> None:
    """Pick the session from the list, say something, approve it, read the answer."""
    await page.open()
    await page.pick(session_id)
    await page.say(script.EXPLAIN)
    await page.approve()
    await page.sees(ANSWER, times=1)
    await page.rests()


async def from_the_first_page(page: WebPage, text: str) -> None:
    """Start a new session, and read the answer."""
    await page.open()
    await page.start_session(text, INSTALLED)
    await page.sees(answer_to(text), times=1, within_ms=60_000)  # a host starts a runner for it
    await page.rests()


@pytest.mark.parametrize("timing", ["instant", pytest.param("original", marks=pytest.mark.long)])
async def test_it_shows_the_same_session_again_with_everything_else_stopped(
    recorded: Recorded, browser: Any, timing: str
) -> None:
    async with Replay(recorded.db, timing=timing, web_ui="auto") as server, web_page(browser, server.url) as page:
        assert server.page == "the recorded web UI"
        await whole_trip(page, recorded.session_id)
        assert await page.conversation() == recorded.shown
        assert (server.unmatched, server.mismatches, server.made_up) == ([], [], [])
        await page.reload()
        await page.sees(ANSWER, times=1)
        await page.sees(script.EXPLAIN)
        assert (server.unmatched, server.mismatches, page.errors, page.abroad) == ([], [], [], [])


async def test_a_page_that_is_reloaded_during_a_turn_shows_the_session_as_it_is_by_then(
    recorded: Recorded, browser: Any
) -> None:
    async with Replay(recorded.db, timing="instant", web_ui="auto") as server, web_page(browser, server.url) as page:
        await page.open(f"/c/{recorded.session_id}")
        await page.say(script.EXPLAIN)
        await page.is_asked()
        await page.reload()
        await page.approve()
        await page.sees(ANSWER, times=1)
        assert (server.unmatched, server.mismatches, page.errors) == ([], [], [])


async def test_a_new_session_is_the_one_that_was_started_when_it_was_recorded(browser: Any) -> None:
    cassette = SHIPPED / "corpus" / "web_ui_new_session.jsonl.zst"
    async with Replay(cassette, timing="instant", web_ui="auto") as server, web_page(browser, server.url) as page:
        await from_the_first_page(page, script.SUMMARISE)
        assert (server.unmatched, server.mismatches, page.errors, page.abroad) == ([], [], [], [])


@pytest.mark.long
async def test_a_new_session_of_now_is_recorded_and_is_the_one_that_is_started(
    tmp_path: Path, browser: Any, shared_stack: Stack
) -> None:
    async with Proxy(shared_stack.url, tmp_path / "new.db") as proxy, web_page(browser, proxy.url) as page:
        await shared_stack.start_host(agents.HELPER.replace("helper", INSTALLED))
        await from_the_first_page(page, script.EXPLAIN)
        await shared_stack.stop_host()
    async with (
        Replay(tmp_path / "new.db", timing="instant", web_ui="auto") as server,
        web_page(browser, server.url) as page,
    ):
        await from_the_first_page(page, script.EXPLAIN)
        assert (server.unmatched, server.mismatches, page.errors, page.abroad) == ([], [], [], [])


async def test_a_session_that_was_recorded_without_it_is_shown_by_the_one_that_is_installed(browser: Any) -> None:
    async with (
        Replay(HEALTHY["approval"], timing="instant", web_ui="auto") as server,
        web_page(browser, server.url) as page,
    ):
        assert server.page == "an installed web UI"
        await page.open()
        await page.pick("04cc962c53894fceb438253de1a3c240")
        await page.say(script.SUMMARISE)
        await page.approve()
        await page.sees(answer_to(script.SUMMARISE), times=1)
        await page.rests()
        assert (server.unmatched, server.mismatches, page.errors, page.abroad) == ([], [], [], [])


@pytest.mark.long
async def test_without_gates_it_plays_by_itself(browser: Any) -> None:
    async with (
        Replay(HEALTHY["tool"], speed=4, no_gate=True, web_ui="auto") as server,
        web_page(browser, server.url) as page,
    ):
        await page.open("/c/586d66e29ad945e8bc1265a6a1e297c3")
        await page.sees(script.COUNT)
        await page.sees("The poem in poem.txt has three lines.")
        assert (server.unmatched, page.errors) == ([], [])
