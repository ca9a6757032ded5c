"""Model calls on the page beside a running proxy: they appear as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from omnirecord import record
from omnirecord.analysis.transcript import rows_of
from omnirecord.cassette.open import open_store
from omnirecord.replayer.server import Replay
from omnirecord.replayer.verify import Rerun
from tests.omnigent_rig.provider import Answer
from tests.support.cassettes import HEALTHY
from tests.support.providers import ModelApis
from tests.support.sse_clients import page_of
from tests.ui.test_page_live import eventually

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
ASKED = "What is a flight recorder?"


async def ask(url: str) -> None:
    """One call of the model, streamed to its end."""
    body = {"model": "m", "input": [{"role": "user", "content": ASKED}], "stream": True}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/v1/responses", json=body) as answer:
        await answer.read()


def texts(page: Any, selector: str, wanted: list[str]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return bool(await page.locator(selector).all_text_contents() == wanted)

    return holds


async def test_a_list_of_conversations_grows(tmp_path: Path, async_browser: Any) -> None:
    async with (
        ModelApis({ASKED: Answer("A black box.")}) as provider,
        record(base(provider), tmp_path / "calls.db", contract="openai-responses", ui=True) as proxy,
        page_of(async_browser) as page,
    ):
        await page.goto(proxy.page)
        await page.wait_for_selector("main.sessions")
        for names in (["#1"], ["#1", "#2"]):
            await ask(proxy.url)
            await eventually(texts(page, "td.name code", names))  # while it is open, a call has a row of its own
        await page.click("td.name a")
        await eventually(lambda: says(page, "main", "A black box."))


async def test_a_call_appears_in_the_open_session(tmp_path: Path, async_browser: Any) -> None:
    source = HEALTHY["turns"]
    with closing(open_store(source)) as store:
        said = next(rows_of(store, None))["text"]
        first = next(one.seq for one in store.frames(store.streams()[0]) if (one.type or "").endswith(".delta"))
    async with (
        ModelApis({ASKED: Answer(said)}) as provider,
        Replay(source, timing="original", speed=2) as upstream,
        record(upstream.url, tmp_path / "run.db", upstreams={"model": base(provider)}, ui=True) as proxy,
        page_of(async_browser) as page,
    ):
        await page.goto(proxy.page)
        with closing(open_store(source)) as store:
            held = asyncio.create_task(upstream.run_until(lambda frame: frame.seq >= first - 1))
            clients = asyncio.create_task(Rerun(store, 1, proxy.url).run(120))
            await page.click("td.name a")
            await held
            await ask(proxy.urls["model"])
            upstream.play()
            await eventually(lambda: says(page, ".talk", "1 model call"))
            await clients
        await page.keyboard.press("m")
        await page.locator(".detail h2", has_text="Model call").wait_for()
        await eventually(lambda: says(page, ".detail-body", "turn 1 (likely, by its conversation and text)"))


async def says(page: Any, selector: str, text: str) -> bool:
    return text in (await page.text_content(selector))


def base(provider: ModelApis) -> str:
    return provider.url.removesuffix("/v1")
