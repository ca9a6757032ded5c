"""Pages of a hostile upstream, and of a stranger's cassette, in a real browser: they share the origin of the control
path, and neither read what it tells nor press its buttons. Their service worker does not reach our page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from omnirecord import record
from omnirecord.replayer.server import Replay
from omnirecord.server.listener import TOKEN_VARIABLE
from tests.support.cassettes import Made, heartbeat
from tests.support.sse_clients import page_of
from tests.support.wire import Upstream, Wire, ask, get

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CONTROL = "/-/omnirecord/"
CANARY = "canary-of-another-client"
TOKEN = "token-of-the-user-1234"
HTML = b"<!doctype html><link rel=icon href=data:,><p>a page of upstream"
WORKER = b"""
self.addEventListener('install', () => self.skipWaiting())
self.addEventListener('activate', event => event.waitUntil(self.clients.claim()))
self.addEventListener('message', event => event.waitUntil((async () => {
  let said
  try {
    const answer = await fetch(event.data, {referrerPolicy: 'no-referrer'})
    const first = await answer.body.getReader().read()
    said = answer.status + ' ' + new TextDecoder().decode(first.value)
  } catch (error) { said = 'refused' }
  event.ports[0].postMessage(said)
})()))
self.addEventListener('fetch', event => {
  if (event.request.mode === 'navigate' && event.request.url.includes('/ui/'))
    event.respondWith(new Response('<p>taken over by a worker', {headers: {'Content-Type': 'text/html'}}))
})
"""

# Each attempt tells all that it could read. `reads` are paths that tell something, `posts` those that change something.
ATTACKS = """async ({reads, posts, base}) => {
  const told = {}
  const bounded = (promise, ms) => Promise.race([promise, new Promise(done => setTimeout(done, ms, 'nothing'))])
  const tries = async (name, attack) => {
    try { told[name] = String(await bounded(attack(), 1500)) } catch (error) { told[name] = 'refused' }
  }
  const text = async (answer) => {
    if (!answer.body) return answer.type + ' ' + answer.status
    const first = await answer.body.getReader().read()
    return answer.status + ' ' + new TextDecoder().decode(first.value)
  }
  const loaded = (tag, url, ask) => new Promise(resolve => {
    const element = document.createElement(tag)
    element.onload = () => resolve(ask(element)); element.onerror = () => resolve('refused')
    element.src = url; document.body.append(element)
  })
  const registration = await navigator.serviceWorker.register('/worker.js', {scope: '/'})
  await navigator.serviceWorker.ready
  const worker = registration.active || registration.waiting || registration.installing
  await Promise.all(reads.map(async (path) => {
    const url = base + path
    await tries('fetch ' + path, async () => text(await fetch(url)))
    await tries('quiet fetch ' + path, async () => text(await fetch(url, {
      referrerPolicy: 'no-referrer', credentials: 'omit', headers: {'Accept-Language': '*', 'X-Omnirecord': '1'}})))
    await tries('blind fetch ' + path, async () => text(await fetch(url, {mode: 'no-cors'})))
    await tries('xhr ' + path, () => new Promise(resolve => {
      const asked = new XMLHttpRequest()
      asked.onprogress = asked.onloadend = () => asked.responseText && resolve(asked.status + asked.responseText)
      asked.onerror = () => resolve('refused'); asked.open('GET', url); asked.send()
    }))
    await tries('frame ' + path, () => loaded('iframe', url, one => one.contentDocument.documentElement.outerHTML))
    await tries('image ' + path, () => loaded('img', url, () => 'loaded'))
    await tries('script ' + path, () => loaded('script', url, () => 'loaded'))
    await tries('window ' + path, async () => {
      const opened = window.open(url)
      await new Promise(done => setTimeout(done, 400))
      try {
        return opened.document.documentElement.outerHTML + JSON.stringify({...opened.sessionStorage})
      } finally { opened.close() }
    })
    await tries('source ' + path, () => new Promise(resolve => {
      const source = new EventSource(url)
      source.onmessage = event => { source.close(); resolve(event.data) }
      source.addEventListener('cassette', event => { source.close(); resolve('open ' + event.data) })
      source.onopen = () => setTimeout(() => { source.close(); resolve('open') }, 300)
      source.onerror = () => { source.close(); resolve('refused') }
    }))
    await tries('socket ' + path, () => new Promise(resolve => {
      const socket = new WebSocket(url.replace('http', 'ws'))
      socket.onopen = () => resolve('open'); socket.onmessage = event => resolve(event.data)
      socket.onerror = () => resolve('refused')
    }))
    await tries('worker ' + path, () => new Promise(resolve => {
      const channel = new MessageChannel()
      channel.port1.onmessage = event => resolve(event.data)
      worker.postMessage(url, [channel.port2])
    }))
  }))
  for (const path of posts) {
    const url = base + path, json = {'Content-Type': 'application/json'}
    await tries('json ' + path, async () => text(await fetch(url, {method: 'POST', headers: json, body: '{}'})))
    await tries('header ' + path, async () => text(await fetch(url, {
      method: 'POST', referrerPolicy: 'no-referrer', headers: {'X-Omnirecord': '1'}})))
    await tries('beacon ' + path, async () => navigator.sendBeacon(url, new Blob(['{}'], {type: 'application/json'})))
    await tries('form ' + path, () => new Promise(resolve => {
      const form = document.createElement('form'), frame = document.createElement('iframe')
      frame.name = form.target = 'frame-' + path; form.method = 'POST'; form.action = url; form.enctype = 'text/plain'
      document.body.append(frame, form)
      frame.onload = () => resolve('sent'); form.submit()
    }))
  }
  told.storage = JSON.stringify([{...sessionStorage}, {...localStorage}])
  told.cookie = document.cookie
  return told
}"""

OWN = """async token => {
  const headers = token ? {Authorization: 'Bearer ' + token} : {}
  return (await fetch('/-/omnirecord/ui/data/overview', {headers})).text()
}"""


async def hostile(conn: Wire) -> None:
    """A page, its service worker, and something that another client was told."""
    while True:
        line, _, _ = await conn.request()
        kind, body = b"text/html", HTML
        if b"/worker.js" in line:
            kind, body = b"text/javascript", WORKER
        elif b"/v1/" in line:
            kind, body = b"application/json", json.dumps({"said": CANARY}).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        await conn.send(head % (kind, len(body)) + body)


def could_read(told: dict[str, str]) -> dict[str, str]:
    """The attempts that told something of a recording, or got an answer."""
    signs = (CANARY, TOKEN, '"cassette"', '"upstream"', '"positions"', '"db"', "200 {", "loaded", "open")
    return {name: said for name, said in told.items() if any(sign in said for sign in signs)}


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_page_of_upstream_reads_nothing_of_the_control_path_nor_of_our_page(
    token: str | None, async_browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    async with (
        Upstream(hostile) as upstream,
        record(upstream.url, tmp_path / "run.db", control=True, ui=True) as proxy,
        page_of(async_browser) as page,
    ):
        await ask(proxy.url, get(f"/v1/{CANARY}"))
        assert proxy.page is not None
        await page.goto(f"{proxy.page}#token={token}" if token else proxy.page)
        await page.wait_for_selector("main")
        await page.goto(f"{proxy.url}/index.html")
        reads = ["", "events?last=9", "ui/", "ui/data/overview", "ui/data/exchange?exchange=1"]
        own = await page.evaluate(ATTACKS, {"reads": reads, "posts": [], "base": proxy.url + CONTROL})
        other = await page.evaluate(ATTACKS, {"reads": reads, "posts": [], "base": proxy.page.removesuffix("ui/")})
        assert could_read(own) == {}
        assert could_read(other) == {}
        await page.goto(f"{proxy.page}#token={token}" if token else proxy.page)
        await page.wait_for_selector("main")
        assert "taken over" not in await page.content()
        assert CANARY in await page.evaluate(OWN, token), "our page reads it"


async def test_a_page_of_a_stranger_s_cassette_neither_reads_nor_drives_its_replay(
    async_browser: Any, tmp_path: Path
) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()))
    tape.get("/page", 2.0, HTML, headers=(("content-type", "text/html"),))
    tape.get("/worker.js", 3.0, WORKER, headers=(("content-type", "text/javascript"),))
    async with Replay(tape.save(tmp_path / "t.db"), timing="instant") as server, page_of(async_browser) as page:
        await page.goto(f"{server.url}/page")
        asked = {"reads": ["state", "position"], "posts": ["pause", "reset"], "base": server.url + CONTROL}
        told = await page.evaluate(ATTACKS, asked)
        await page.wait_for_timeout(300)  # the beacon
        assert could_read(told) == {}
        assert not server.paused
        assert server.requests, "a reset would have forgotten them"
        await page.goto(f"{server.url}{CONTROL}state")
        assert "a browser may not use this here" in await page.content()
