"""Redirects at the upstream's own address keep clients on the recorder, and on the replay of the recording."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omnirecord.analysis.follow.rows import Wanted, rows_of
from omnirecord.analysis.live import LiveView
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from tests.support.wire import Upstream, Wire, answering, ask, connected, exchanges, get, recorded


def moved(location: str, status: str = "302 Found") -> bytes:
    return f"HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def location_at(url: str, *lines: str, host: str = "client.example") -> str:
    fields = dict((await ask(url, get("/", *lines, "Connection: close", host=host))).headers)
    return fields[b"Location"].decode()


def redirecting(location: str) -> tuple[Upstream, list[str]]:
    """A server that redirects every request; `UP` stands for its URL."""
    held: list[str] = []

    async def handle(conn: Wire) -> None:
        while True:
            await conn.request()
            await conn.send(moved(location.replace("UP", held[0])))

    return Upstream(handle), held


@pytest.mark.parametrize("status", ["201 Created", "301 Moved", "302 Found", "303 See Other", "307 T", "308 P"])
async def test_the_client_is_led_to_the_recorder_and_the_recording_keeps_the_original(
    status: str, tmp_path: Path
) -> None:
    async def handle(conn: Wire) -> None:
        await conn.request()
        url = f"{upstream.url}/x?a=%2f#b"
        await conn.send(moved(url, status).replace(b"\r\n\r\n", f"\r\nContent-Location: {url}\r\n\r\n".encode()))

    async with recorded(handle, tmp_path) as (proxy, upstream):
        answer = await ask(proxy.url, get(host="rec.example:6868"))
        led = b"http://rec.example:6868/x?a=%2f#b"
        assert [value for name, value in answer.headers if name.endswith(b"Location")] == [led, led]
        original = f"{upstream.url}/x?a=%2f#b"
    (exchange,) = exchanges(tmp_path / "run.db")
    assert exchange.response is not None
    assert [value for name, value in exchange.response.headers if name.endswith("Location")] == [original, original]


async def test_without_a_host_it_is_the_address_of_the_listener(tmp_path: Path) -> None:
    server, held = redirecting("UP/x")
    async with server as upstream, Proxy(upstream.url, tmp_path / "run.db") as proxy:
        held.append(upstream.url)
        async with connected(proxy.url, b"GET / HTTP/1.0\r\n\r\n") as conn:
            _, headers = await conn.head()
        assert dict(headers)[b"Location"] == f"{proxy.url}/x".encode()


async def test_a_redirect_to_another_upstream_leads_to_its_listener(tmp_path: Path) -> None:
    server, held = redirecting("UP/v1/x")
    async with (
        server as upstream,
        Upstream(answering(moved("x"))) as model,
        Proxy(upstream.url, tmp_path / "run.db", upstreams={"model": f"{model.url}/v1"}) as proxy,
    ):
        held.append(model.url)
        assert await location_at(proxy.url) == f"{proxy.urls['model']}/x"


async def test_below_a_path_prefix_the_client_does_not_see_the_prefix(tmp_path: Path) -> None:
    server, held = redirecting("/base/login?next=/base/x")
    async with server as upstream, Proxy(f"{upstream.url}/base", tmp_path / "run.db") as proxy:
        held.append(upstream.url)
        assert await location_at(proxy.url) == "/login?next=/base/x"


@pytest.mark.parametrize("location", ["https://login.example.com/x", "http://127.0.0.1:1/x", "x", "/x", "app://done"])
async def test_others_pass_byte_for_byte(location: str, tmp_path: Path) -> None:
    async with recorded(answering(moved(location)), tmp_path) as (proxy, _):
        assert await location_at(proxy.url) == location


async def test_a_replay_leads_its_client_to_itself(tmp_path: Path) -> None:
    server, held = redirecting("UP/x")
    async with server as upstream, Proxy(upstream.url, tmp_path / "run.db") as proxy:
        held.append(upstream.url)
        await location_at(proxy.url, "X-Forwarded-Proto: http")
    async with Replay(tmp_path / "run.db", timing="instant") as replay:
        assert await location_at(replay.url, host="replay.example:1") == "http://replay.example:1/x"


@pytest.mark.fast_path
async def test_the_live_view_says_once_for_each_server_that_the_client_leaves(tmp_path: Path) -> None:
    locations = "https://login.example.com/a?token=s3cret", "https://login.example.com/b", "/c", "//other.example/d"
    db = tmp_path / "run.db"
    async with recorded(answering(*map(moved, locations)), tmp_path) as (proxy, _), connected(proxy.url) as conn:
        for _ in locations:
            await conn.send(get())
            await conn.head()
    follower, view = rows_of(db, Wanted(requests=True), last=1000), LiveView()
    rows = (await asyncio.to_thread(follower.read)).rows
    lines = [line.line() for row in rows for line in view.lines_of(row)]
    assert not rows or "token" not in "".join(lines)
    said = [line.split(" redirect   ")[1].split("  ")[0] for line in lines if " redirect " in line]
    assert said == [
        "to https://login.example.com: the client leaves the recorder. To record this server: --upstream"
        " NAME=https://login.example.com",
        "to http://other.example: the client leaves the recorder. To record this server: --upstream"
        " NAME=http://other.example",
    ]
