"""What breaks stays told apart: each ending under its name, and a cut is seen as a cut."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from omnirecord.recorder.proxy.server import Proxy
from tests.support import wire
from tests.support.wire import END, STREAM, Wire, ask, chunk, connected, event, get, recorded

DONE = b"data: [DONE]\n\n"
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
ONE = event(1)

STREAMS = {
    "done": ("done", STREAM + chunk(ONE) + chunk(DONE) + END),
    "done, though more came": ("done", STREAM + chunk(DONE + ONE) + chunk(b"data: x\n\n") + END),
    "done, though it was cut": ("done", STREAM + chunk(DONE)),
    "done, in pieces": ("done", STREAM + chunk(b"data: [DO") + chunk(b"NE]\n") + chunk(b"\n") + END),
    "done, though its frame is not complete": ("done", STREAM + chunk(b"data: [DONE]\n") + END),
    "eof": ("eof", STREAM + chunk(ONE) + END),
    "eof without a byte": ("eof", STREAM + END),
    "eof in a frame": ("eof", STREAM + chunk(ONE + b"data: {") + END),
    "eof by closing": ("eof", UNTIL_CLOSE + ONE),
    "lost between frames": ("upstream_lost", STREAM + chunk(ONE)),
    "lost in a frame": ("upstream_lost", STREAM + chunk(ONE + b'data: {"ty')),
    "lost in a chunk": ("upstream_lost", STREAM + b"fff\r\n" + ONE),
    "lost before the length": ("upstream_lost", COUNTED + ONE),
    "lost at the last chunk": ("upstream_lost", STREAM + chunk(ONE) + b"0\r\n"),
}


def sending(data: bytes, *, then: Callable[[Wire], object] = Wire.close) -> Callable[[Wire], Awaitable[None]]:
    async def handle(conn: Wire) -> None:
        await conn.request()
        await conn.send(data)
        then(conn)

    return handle


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_ends_under_its_name_and_as_it_did_for_the_client(kind: str, tmp_path: Path) -> None:
    ending, data = STREAMS[kind]
    async with recorded(sending(data), tmp_path) as (proxy, upstream):
        direct, proxied = await ask(upstream.url, get()), await ask(proxy.url, get())
    assert proxied.whole is direct.whole is (data.endswith(END) or data.startswith(UNTIL_CLOSE))
    assert direct.body.startswith(proxied.body), "of a chunk cut in two, what came may come or not"
    assert proxied.body == direct.body or "chunk" in kind
    (found,) = wire.exchanges(proxy.db)
    assert (found.kind, found.ending, found.stream) == ("sse", ending, 1)
    assert wire.content(proxy.db) == proxied.body


async def test_a_reset_in_a_frame_is_upstream_lost(tmp_path: Path) -> None:
    half = b'data: {"type": "respo'

    async def handle(conn: Wire) -> None:
        await conn.stream(ONE + half)
        await go_on.wait()
        conn.reset()

    go_on = asyncio.Event()
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        assert await client.chunk() == ONE + half
        go_on.set()
        assert await client.rest() == b"", "no last chunk: not a clean end"
    assert wire.ending(proxy.db) == "upstream_lost"
    assert [frame.verdict for frame in wire.frames(proxy.db)] == ["valid", "truncated"]
    assert wire.content(proxy.db) == ONE + half


async def test_what_is_no_chunk_is_upstream_lost(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream(ONE)
        await go_on.wait()
        await conn.send(b"this is no chunk\r\n")
        await conn.gone()

    go_on = asyncio.Event()
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        assert await client.chunk() == ONE
        go_on.set()
        assert await client.rest() == b""
    assert wire.ending(proxy.db) == "upstream_lost"


@pytest.mark.parametrize("path", ["/stream", "/body"])
async def test_a_client_that_leaves_is_client_left(path: str, tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        line, *_ = await conn.request()
        answer = STREAM if b"/stream" in line else STREAM.replace(b"text/event-stream", b"a/b")
        await conn.send(answer + chunk(ONE))
        await conn.gone()

    async with recorded(handle, tmp_path) as (proxy, _):
        async with connected(proxy.url, get(path)) as client:
            await client.head()
            await client.chunk()
        await wire.eventually(lambda: wire.ending(proxy.db) == "client_left")


async def test_a_client_that_leaves_after_done_is_done(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream(ONE + DONE)
        await conn.gone()

    async with recorded(handle, tmp_path) as (proxy, _):
        async with connected(proxy.url, get()) as client:
            await client.head()
            await client.chunk()
        await wire.eventually(lambda: wire.ending(proxy.db) == "done")
    assert wire.ending(proxy.db) == "done"


async def test_an_open_stream_is_open_until_the_recorder_stops(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream(ONE)
        await conn.gone()

    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        await client.chunk()
        await wire.eventually(lambda: wire.ending(proxy.db) == "open")
        stopping = asyncio.create_task(proxy.stop())
        assert await client.rest() == b"", "cut, not ended"
        await stopping
    assert wire.ending(proxy.db) == "recorder_stopped"
    assert [frame.verdict for frame in wire.frames(proxy.db)] == ["valid"]


async def test_an_unreachable_name_is_upstream_unreachable(tmp_path: Path) -> None:
    async with Proxy("http://no-such-host.invalid/", tmp_path / "run.db") as proxy:
        assert (await ask(proxy.url, get())).status == b"HTTP/1.1 502 Bad Gateway"
    assert wire.ending(proxy.db) == "upstream_unreachable"


async def test_the_body_of_a_request_that_did_not_reach_the_upstream_is_recorded(tmp_path: Path) -> None:
    head = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
    async with Proxy("http://127.0.0.1:9/", tmp_path / "run.db") as proxy:
        assert (await ask(proxy.url, head + b"b" * 200_000)).status == b"HTTP/1.1 502 Bad Gateway"
    assert wire.ending(proxy.db) == "upstream_unreachable"
    assert wire.body(proxy.db, "request") == b"b" * 200_000


async def test_an_upstream_that_speaks_no_http_is_lost_and_the_client_is_told(tmp_path: Path) -> None:
    async with recorded(sending(b"220 mail.example ESMTP\r\n\r\n"), tmp_path) as (proxy, _):
        answer = await ask(proxy.url, get())
    assert answer.status == b"HTTP/1.1 502 Bad Gateway"
    assert b"mail.example" not in answer.body
    assert (wire.ending(proxy.db), wire.body(proxy.db)) == ("upstream_lost", answer.body)


async def curl(url: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--no-buffer", "--max-time", "10", "--noproxy", "*", url, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return process.returncode, out


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("kind", "code"), [("lost in a frame", 18), ("lost before the length", 18), ("lost in a chunk", 18), ("eof", 0)]
)
async def test_curl_sees_a_cut_as_it_does_without_the_proxy(kind: str, code: int, tmp_path: Path) -> None:
    async with recorded(sending(STREAMS[kind][1]), tmp_path) as (proxy, upstream):
        direct, proxied = await curl(upstream.url), await curl(proxy.url)
    assert proxied == direct
    assert proxied[0] == code


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_sees_an_empty_reply_as_it_does_without_the_proxy(tmp_path: Path) -> None:
    async with recorded(sending(b""), tmp_path) as (proxy, upstream):
        assert await curl(proxy.url) == await curl(upstream.url) == (52, b"")
