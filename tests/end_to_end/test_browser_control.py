"""What a web page can do to the control path of a replay, with a real browser: nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from omnirecord.replayer.server import Replay
from tests.support.cassettes import Made, heartbeat
from tests.support.sse_clients import page_of
from tests.support.wire import Upstream, answering

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PAGE = b"<!doctype html><link rel=icon href=data:,><iframe name=frame></iframe><p>a page"
HTML = (("content-type", "text/html"),)

# Every way in which a page can ask, each telling what came of it. `url` is where the control path is.
ATTACKS = """async url => {
  const told = {}
  const tries = async (name, attack) => { try { told[name] = await attack() } catch { told[name] = 'refused' } }
  const seen = (path, init) => fetch(url + path, init).then(answer => answer.type + ' ' + answer.status)
  const loads = (tag, path) => new Promise(resolve => {
    const element = document.createElement(tag)
    element.onload = () => resolve('loaded'); element.onerror = () => resolve('refused')
    element.src = url + path; document.body.append(element)
  })
  const sends = path => new Promise(resolve => {
    const form = document.createElement('form'), frame = document.querySelector('iframe')
    form.method = 'POST'; form.action = url + path; form.target = 'frame'; form.enctype = 'text/plain'
    form.innerHTML = `<input name='{"a' value='":1}'>`
    frame.onload = () => resolve('sent'); document.body.append(form); form.submit()
  })
  const json = {'Content-Type': 'application/json'}
  await tries('fetch', () => seen('state'))
  await tries('blind fetch', () => seen('state', {mode: 'no-cors'}))
  await tries('fetch post', () => seen('pause', {method: 'POST'}))
  await tries('blind post', () => seen('pause', {method: 'POST', mode: 'no-cors'}))
  await tries('blind text', () => seen('pause', {method: 'POST', mode: 'no-cors', body: '{}'}))
  await tries('json post', () => seen('pause', {method: 'POST', headers: json, body: '{}'}))
  await tries('header post', () => seen('pause', {method: 'POST', headers: {'X-Omnirecord': '1'}}))
  await tries('beacon', () => navigator.sendBeacon(url + 'pause', new Blob(['{}'], {type: 'text/plain'})))
  await tries('form', () => sends('pause'))
  await tries('image', () => loads('img', 'state'))
  await tries('script', () => loads('script', 'state'))
  await tries('events', () => new Promise(resolve => {
    const source = new EventSource(url + 'state')
    source.onopen = () => resolve('open'); source.onerror = () => { source.close(); resolve('refused') }
  }))
  await tries('socket', () => new Promise(resolve => {
    const socket = new WebSocket(url.replace('http', 'ws') + 'state')
    socket.onopen = () => resolve('open'); socket.onerror = () => resolve('refused')
  }))
  return told
}"""


@asynccontextmanager
async def replay(folder: Path) -> AsyncIterator[Replay]:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()))
    tape.get("/page", 2.0, PAGE, headers=HTML)
    async with Replay(tape.save(folder / "t.db"), timing="instant") as server:
        yield server


@asynccontextmanager
async def elsewhere(name: str) -> AsyncIterator[str]:
    """The URL of a page that another server of this machine has."""
    response = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(PAGE), PAGE)
    async with Upstream(answering(*[response] * 9)) as other:
        yield other.url.replace("127.0.0.1", name)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "evil.example"])
async def test_a_page_of_another_origin_neither_reads_nor_drives_anything(
    async_browser: Any, tmp_path: Path, name: str
) -> None:
    async with (
        replay(tmp_path) as server,
        elsewhere(name) as url,
        page_of(async_browser) as page,
    ):
        await page.goto(url)
        told = await page.evaluate(ATTACKS, f"{server.url}/-/omnirecord/")
        await page.wait_for_timeout(300)  # the beacon
        assert not server.paused
        assert told.pop("form") == "sent"
        assert told.pop("beacon") in (True, "refused")
        assert set(told.values()) <= {"refused", "opaque 0"}, told
        assert [name for name, came in told.items() if came == "opaque 0"] in (
            ["blind fetch", "blind post", "blind text"],
            [],
        )


async def test_a_page_whose_name_was_made_to_mean_us_gets_nothing(async_browser: Any, tmp_path: Path) -> None:
    async with replay(tmp_path) as server, page_of(async_browser) as page:
        port = urlsplit(server.url).port
        await page.goto(f"http://evil.example:{port}/page")
        assert "a page" in await page.inner_text("p")
        told: dict[str, Any] = await page.evaluate(ATTACKS, f"http://evil.example:{port}/-/omnirecord/")
        await page.wait_for_timeout(300)
        assert not server.paused
        assert told["fetch"] == told["json post"] == told["header post"] == "basic 403"
        assert {told[name] for name in ("image", "script", "events", "socket")} == {"refused"}
