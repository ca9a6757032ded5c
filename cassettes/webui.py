"""Records the web UI in headless Chromium: `python -m cassettes.webui FOLDER`. Needs the `real` group and Chromium.

The browser gets the web UI's files (`PAST`) from the server itself, past the recorder: they are megabytes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from omnigent_client import OmnigentClient

from cassettes.stacks import a_stack, everyone_left, publish_small
from omnirecord.recorder.proxy.server import Proxy
from tests.omnigent_rig import agents, script
from tests.omnigent_rig.driver import conversation
from tests.omnigent_rig.provider import Answer
from tests.omnigent_rig.stack import Stack
from tests.support.sse_clients import browser_running
from tests.support.web_page import WebPage, web_page

ANSWERS = {text: step.text for text, step in script.SCRIPT.items() if isinstance(step, Answer)}
INSTALLED = "explainer"
PAST = ("**/assets/**", "**/favicon.svg", "**/v1/harnesses")


async def web_ui(page: WebPage, stack: Stack) -> None:
    """A session is picked from the list; a message is sent and approved, and its answer read."""
    async with OmnigentClient(base_url=stack.url, headers={"Origin": "omnigent://internal"}) as client:
        session = await client.sessions.create(agents.bundle(agents.ASKS_FIRST))
        await client.sessions.bind_runner(session.id, runner_id=stack.runner_id)
    await page.open()
    await page.pick(session.id)
    await page.say(script.EXPLAIN)
    await page.approve()
    await page.sees(ANSWERS[script.EXPLAIN], times=1)
    await page.rests()


async def web_ui_old_session(page: WebPage, stack: Stack) -> None:
    """A session whose turns are over is opened and read."""
    async with conversation(stack.url, stack.runner_id, agents.HELPER) as talk:
        await talk.ask(script.EXPLAIN)
        await talk.ask(script.SUMMARISE)
    await page.open(f"/c/{talk.session_id}")
    await page.sees(ANSWERS[script.SUMMARISE])


async def web_ui_new_session(page: WebPage, stack: Stack) -> None:
    """A session is started from the first page; a host starts a runner for it. Not every time a read
    comes before the runner is ready and gets 503."""
    await stack.start_host(agents.HELPER.replace("helper", INSTALLED))
    await page.open()
    await page.start_session(script.SUMMARISE, INSTALLED)
    await page.sees(ANSWERS[script.SUMMARISE], times=1, within_ms=60_000)
    await page.rests()


Trip = Callable[[WebPage, Stack], Awaitable[None]]
TRIPS: dict[str, Trip] = {trip.__name__: trip for trip in (web_ui, web_ui_old_session, web_ui_new_session)}


async def record(folder: Path, names: list[str], home: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        async with a_stack(home=home) as (_, stack), browser_running() as browser:
            for name in names:
                db = Path(scratch) / f"{name}.db"
                async with Proxy(stack.url, db) as proxy:
                    async with web_page(browser, proxy.url) as page:
                        for path in PAST:
                            await page.page.route(path, _past(proxy.url, stack.url))
                        await TRIPS[name](page, stack)
                    await everyone_left(proxy)
                publish_small(db, folder, name)


def _past(recorder: str, server: str) -> Callable[[Any], Awaitable[None]]:
    async def fulfil(route: Any) -> None:
        response = await route.fetch(url=route.request.url.replace(recorder, server))
        await route.fulfill(response=response)

    return fulfil


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]), sys.argv[2:] or list(TRIPS)))
