"""`serve --web-ui`: a replay that answers a browser from the recording, and fills in what that has not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from omnirecord.errors import UsageError
from omnirecord.replayer import send as sending
from omnirecord.replayer import server as replaying
from omnirecord.replayer.server import Replay
from tests.replayer.omnigent_ui.test_omnigent_ui_answers import CHROME, EVENTS, HTML, ITEMS, SESSION, conversation
from tests.replayer.omnigent_ui.test_session_updates import UPDATES, told, watch
from tests.support.cassettes import HEALTHY, Made, heartbeat
from tests.support.command import invoke
from tests.support.sse_clients import page_of
from tests.support.wire import Upstream, answering

BROWSER = dict(CHROME)


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return conversation().save(tmp_path / "t.db")


@pytest.fixture
def ui(tmp_path: Path) -> Path:
    folder = tmp_path / "ui"
    folder.mkdir()
    (folder / "index.html").write_bytes(b"the page")
    (folder / "app.js").write_bytes(b"the script")
    return folder


async def test_a_browser_gets_the_page_its_files_and_the_session_as_it_is_now(tape: Path, ui: Path) -> None:
    async with Replay(tape, timing="instant", web_ui=ui) as server, aiohttp.ClientSession(server.url) as client:
        async with client.get("/c/s", headers=BROWSER) as page:
            assert (page.status, await page.read()) == (200, b"the page")
            assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
        async with client.get("/app.js", headers=BROWSER) as plan:
            etag = plan.headers["ETag"]
        async with client.get("/app.js", headers=BROWSER | {"If-None-Match": etag}) as again:
            assert (again.status, await again.read()) == (304, b"")
        async with client.get(f"{SESSION}/stream", headers=BROWSER) as stream:
            await stream.content.readuntil(b"heartbeat")
            await asyncio.gather(client.post(EVENTS), client.post(f"{SESSION}/elicitations/e/resolve"))
            await stream.content.readuntil(b'"status": "idle"')
            async with client.get(ITEMS, headers=BROWSER) as items:
                assert [one["id"] for one in (await items.json())["data"]] == ["m", "u"]
        async with client.get("/v1/me", headers=BROWSER) as me:
            assert (await me.json())["user_id"] == "local"
        async with client.get("/v1/me") as other:
            assert other.status == 404
        assert server.made_up == ["GET /v1/me"]
        assert [one.target for one in server.unmatched] == ["/v1/me"]
        async with client.get("/-/omnirecord/state") as state:
            assert (await state.json())["made_up"] == ["GET /v1/me"]
        await server.reset()
        assert server.made_up == []


async def test_the_list_that_a_page_watches_is_filled_in_too(tape: Path, ui: Path) -> None:
    async with (
        Replay(tape, timing="instant", web_ui=ui) as server,
        aiohttp.ClientSession() as client,
        client.ws_connect(server.url + UPDATES) as socket,
    ):
        await socket.send_str(watch("s", "nobody"))
        assert await told(socket) == ("snapshot", {"s": "idle"})


async def test_a_page_hears_heartbeats_on_what_is_over_and_on_what_was_never_heard(
    tmp_path: Path, ui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "HEARTBEAT_EVERY", 0.05)
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()))
    tape.get("/v1/sessions/t", 2.0, {"id": "t"})
    made = tape.save(tmp_path / "t.db")
    async with Replay(made, timing="instant", web_ui=ui) as server, aiohttp.ClientSession(server.url) as client:
        for name in ("s", "t"):
            async with client.get(f"/v1/sessions/{name}/stream", headers=BROWSER) as stream:
                for _ in range(3):
                    await stream.content.readuntil(b"session.heartbeat")
        with pytest.raises(TimeoutError):
            async with client.get(f"{SESSION}/stream", timeout=aiohttp.ClientTimeout(0.5)) as stream:
                await stream.content.read()


async def test_a_page_has_time_to_load_where_no_message_sets_off_what_it_hears(
    tape: Path, ui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "LOADS", 0.3)
    clock = asyncio.get_running_loop().time
    took = []
    for no_gate, headers in ((True, BROWSER), (True, {}), (False, BROWSER)):
        server = Replay(tape, timing="instant", no_gate=no_gate, web_ui=ui)
        async with server, aiohttp.ClientSession(server.url) as client:
            asked = clock()
            async with client.get(f"{SESSION}/stream", headers=headers):
                took.append(clock() - asked >= 0.3)
    assert took == [True, False, False]


async def test_without_it_a_browser_gets_only_what_was_recorded(tape: Path) -> None:
    async with Replay(tape, timing="instant") as server, aiohttp.ClientSession(server.url) as client:
        async with client.get("/", headers=BROWSER) as page:
            assert page.status == 404
        assert (server.page, server.made_up) == ("", [])


def test_a_page_keeps_the_recorded_ids(ui: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        Replay(HEALTHY["text"], web_ui=ui, match=["sessions mapped"])
    assert Replay(HEALTHY["text"], web_ui="auto", match=["sessions mapped"])._web_ui is False


def test_serve_takes_a_folder_that_is_none_for_a_wrong_call(tmp_path: Path) -> None:
    done = invoke("serve", HEALTHY["text"], "--web-ui", tmp_path)
    assert done.exit_code == 2
    assert "--web-ui" in done.output
    assert "name the folder of a built web UI" in done.output


TRIES = """async url => {
  const asks = attempt => attempt.then(() => 'reached', () => 'refused')
  const loads = (tag, name, value) => asks(new Promise((done, failed) => {
    const element = document.createElement(tag)
    element.onload = done; element.onerror = failed; element[name] = value; document.body.append(element)
  }))
  const socket = new Promise((done, failed) => {
    const opened = new WebSocket(url.replace('http', 'ws')); opened.onopen = done; opened.onerror = failed
  })
  return [await asks(fetch(url, {mode: 'no-cors'})), await asks(socket), await loads('img', 'src', url),
          await loads('script', 'src', url), navigator.sendBeacon(url), await asks(fetch('/v1/me'))]
}"""


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_a_page_from_a_cassette_reaches_its_replay_and_nobody_else(tmp_path: Path, async_browser: Any) -> None:
    tape = Made()
    tape.get("/", 0.1, b"<!doctype html><link rel=icon href=data:,><p>a page", headers=HTML)
    async with (
        Upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as other,
        Replay(tape.save(tmp_path / "t.db"), web_ui="auto") as server,
        page_of(async_browser) as page,
    ):
        await page.goto(server.url)
        told = await page.evaluate(TRIES, other.url)
        await page.wait_for_timeout(300)  # the beacon
        assert told[:4] == ["refused"] * 4
        assert told[5] == "reached"
        assert other.connections == 0
