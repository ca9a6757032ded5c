"""Stopping: streams are cut at once, ordinary requests get five seconds, everything is in the file."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.recorder.proxy.test_websocket import HELLO, SWITCH, TEXT, ws
from tests.support import wire
from tests.support.wire import Wire, chunk, connected, event, get, recorded

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"


class Server:
    """Streams, WebSockets, and requests that are answered when `answer` is set, or never."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self, conn: Wire) -> None:
        line, _ = await conn.head()
        if b"/tunnel" in line:
            await conn.send(SWITCH + b"\r\n" + ws(TEXT, b"hello"))
            await conn.gone()
        elif b"/stream" in line:
            await conn.send(wire.STREAM + chunk(event(1)))
            await conn.gone()
        else:
            self.asked.set()
            await self.answer.wait()
            if b"/upload" in line:
                assert await conn.read(8) == b"half" + b"done"
            await conn.send(OK)


async def refused(url: str) -> bool:
    try:
        async with connected(url):
            return False
    except ConnectionRefusedError:
        return True


async def test_stopping_with_fifty_streams_takes_no_time_and_loses_nothing(tmp_path: Path) -> None:
    async with recorded(Server(), tmp_path) as (proxy, _), AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(connected(proxy.url, get(f"/stream/{n}"))) for n in range(50)]
        sockets = [await stack.enter_async_context(connected(proxy.url, HELLO)) for _ in range(10)]
        for client in streams:
            await client.head()
            assert await client.chunk() == event(1)
        for client in sockets:
            await client.until(b"\r\n\r\n")
            assert await client.read(7) == ws(TEXT, b"hello")
        began = time.monotonic()
        await proxy.stop()
        assert time.monotonic() - began < 3
        assert await refused(proxy.url)
        for client in streams + sockets:
            assert await client.rest() == b""
    found = wire.exchanges(proxy.db)
    assert [one.ending for one in found] == ["recorder_stopped"] * 60
    for stream in range(1, 51):
        assert wire.content(proxy.db, stream) == event(1)
    assert {path.name for path in tmp_path.iterdir()} == {"run.db"}, "one clean file"


@pytest.mark.slow
async def test_an_ordinary_request_gets_five_seconds_and_no_more(tmp_path: Path) -> None:
    server = Server()
    async with recorded(server, tmp_path) as (proxy, _), connected(proxy.url, get("/slow")) as client:
        await server.asked.wait()
        began = time.monotonic()
        stopping = asyncio.create_task(proxy.stop())
        assert await client.rest() == b""
        await stopping
        assert 4 < time.monotonic() - began < 6
    assert wire.ending(proxy.db) == "recorder_stopped"


@pytest.mark.parametrize(
    "request_", [get("/slow"), b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf"]
)
async def test_a_request_that_ends_in_time_is_answered_and_streams_do_not_wait_for_it(
    request_: bytes, tmp_path: Path
) -> None:
    server = Server()
    async with (
        recorded(server, tmp_path) as (proxy, _),
        connected(proxy.url, request_) as client,
        connected(proxy.url, get("/stream")) as stream,
    ):
        await server.asked.wait()
        await stream.head()
        await stream.chunk()
        began = time.monotonic()
        stopping = asyncio.create_task(proxy.stop())
        assert await stream.rest() == b""
        assert await refused(proxy.url)
        assert not stopping.done()
        if b"/upload" in request_:
            await client.send(b"done")
        server.answer.set()
        assert (await client.rest()).endswith(b"slow")
        await stopping
        assert time.monotonic() - began < 3
    assert sorted(one.ending for one in wire.exchanges(proxy.db)) == ["eof", "recorder_stopped"]


@pytest.mark.timed
async def test_hurrying_waits_for_nothing(tmp_path: Path) -> None:
    server = Server()
    async with recorded(server, tmp_path) as (proxy, _), connected(proxy.url, get("/slow")) as client:
        await server.asked.wait()
        began = time.monotonic()
        stopping = asyncio.create_task(proxy.stop())
        await asyncio.sleep(0)
        proxy.hurry()
        await stopping
        assert time.monotonic() - began < 2
        assert await client.rest() == b""
    assert wire.ending(proxy.db) == "recorder_stopped"


@pytest.mark.timed
async def test_stopping_while_a_client_reads_nothing_takes_no_time(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream()
        for _ in range(100):
            await conn.send(chunk(event(1, 64 * 1024)))
        await conn.gone()

    async with (
        recorded(handle, tmp_path) as (proxy, _),
        connected(proxy.url, get(), receive_buffer=4096) as slow,
    ):
        await slow.head()
        await wire.eventually(lambda: len(wire.content(proxy.db)) >= 100 * 64 * 1024)
        began = time.monotonic()
        await proxy.stop()
        assert time.monotonic() - began < 2
    assert wire.ending(proxy.db) == "recorder_stopped"


async def test_stopping_twice_is_stopping(tmp_path: Path) -> None:
    async with recorded(Server(), tmp_path) as (proxy, _):
        await proxy.stop()
        await proxy.stop()
    assert wire.exchanges(proxy.db) == []
