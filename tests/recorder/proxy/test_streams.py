"""Streams as they run: each event at once, a slow reader alone with its slowness (promise 4)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support import wire
from tests.support.watchdog import slowness
from tests.support.wire import Wire, chunk, connected, event, get, recorded

MIB = 1 << 20


def flood(size: int, gone: Callable[[int], None]) -> Callable[[Wire], Awaitable[None]]:
    """An upstream whose `/flood` sends so many bytes as fast as it can, and whose `/tick` an event each 10 ms."""

    async def handle(conn: Wire) -> None:
        line, *_ = await conn.request()
        await conn.send(wire.STREAM)
        conn.writer.transport.set_write_buffer_limits(high=0)
        if b"/tick" in line:
            for n in range(150):
                await conn.send(chunk(event(n)))
                await asyncio.sleep(0.01)
        else:
            one, sent = event(7, 64 * 1024), 0
            while sent < size:
                await conn.send(chunk(one))
                sent += len(one)
                gone(sent)
        await conn.send(wire.END)

    return handle


@pytest.mark.timed
async def test_each_event_reaches_the_client_while_the_stream_is_open(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream()
        for n in range(20):
            await asyncio.wait_for(go_on.acquire(), wire.PATIENCE)
            sent_at.append(time.monotonic())
            await conn.send(chunk(event(n)))
        await conn.gone()

    go_on, sent_at, late = asyncio.Semaphore(0), list[float](), list[float]()
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        for n in range(20):
            go_on.release()
            assert await client.chunk() == event(n)
            late.append(time.monotonic() - sent_at[n])
        assert sorted(late)[10] < 0.02 * slowness()
        await wire.eventually(lambda: len(wire.frames(proxy.db)) == 20)
        assert all(frame.sent_ns and frame.sent_ns >= frame.offset_ns for frame in wire.frames(proxy.db))
        assert wire.ending(proxy.db) == "open"


async def test_the_header_section_of_a_silent_stream_comes_at_once(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream()
        await conn.gone()

    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        async with asyncio.timeout(2):
            assert (await client.head())[0] == b"HTTP/1.1 200 OK"
        await wire.eventually(lambda: [one.kind for one in wire.exchanges(proxy.db)] == ["sse"])


async def test_a_stream_is_one_whatever_its_method(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.request()
        await conn.send(wire.STREAM.replace(b"text/event-stream", b"Text/Event-Stream; charset=utf-8"))
        await conn.send(chunk(event(1)) + wire.END)

    async with recorded(handle, tmp_path) as (proxy, _):
        await wire.ask(proxy.url, b"POST /v1/responses HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
    assert [frame.type for frame in wire.frames(proxy.db)] == ["response.output_text.delta"]
    assert wire.body(proxy.db, "request") == b"{}"


async def test_half_an_event_passes_without_its_other_half(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream(b"data: {")
        await conn.gone()

    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        assert await client.chunk() == b"data: {"
        await wire.eventually(lambda: wire.content(proxy.db) == b"data: {")


@pytest.mark.timed
@pytest.mark.slow
async def test_upstream_is_read_ahead_of_a_client_that_reads_nothing_and_no_further(tmp_path: Path) -> None:
    sent = 0

    def count(so_far: int) -> None:
        nonlocal sent
        sent = so_far

    async with (
        recorded(flood(30 * MIB, count), tmp_path, read_ahead=8 * MIB) as (proxy, _),
        connected(proxy.url, get("/flood"), receive_buffer=4096) as slow,
        connected(proxy.url, get("/tick")) as other,
    ):
        before = wire.resident()
        await other.head()
        gaps, last = [], time.monotonic()
        for n in range(150):
            assert await other.chunk() == event(n)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
        assert sorted(gaps)[140] < 0.1, "other streams are not delayed"
        assert 8 * MIB < sent < 30 * MIB, "it is read ahead, then it has to wait"
        held = sent
        await asyncio.sleep(0.2)
        assert sent == held
        assert wire.resident() - before < 64 * MIB

        await slow.head()
        received = 0
        while (part := await slow.chunk()) != b"":
            received += len(part)
    assert received == sent >= 30 * MIB, "all of it comes in the end"
    assert sum(frame.length for frame in wire.frames(proxy.db)) == sent
    assert {frame.verdict for frame in wire.frames(proxy.db)} == {"valid"}
    assert wire.incidents(proxy.db) == []


@pytest.mark.slow
async def test_without_read_ahead_upstream_goes_at_the_clients_pace(tmp_path: Path) -> None:
    sent = 0

    def count(so_far: int) -> None:
        nonlocal sent
        sent = so_far

    async with (
        recorded(flood(30 * MIB, count), tmp_path, read_ahead=0) as (proxy, _),
        connected(proxy.url, get("/flood"), receive_buffer=4096) as slow,
    ):
        await slow.head()
        while True:
            held = sent
            await asyncio.sleep(0.3)
            if held == sent:
                break
        assert sent < 12 * MIB, "the kernel's buffers are all there is"
        received = 0
        while (part := await slow.chunk()) != b"":
            received += len(part)
    assert received == sent >= 30 * MIB


async def test_what_waits_for_a_slow_client_is_in_the_file_and_not_called_sent(tmp_path: Path) -> None:
    async with (
        recorded(flood(12 * MIB, lambda _: None), tmp_path, read_ahead=16 * MIB) as (proxy, _),
        connected(proxy.url, get("/flood"), receive_buffer=4096) as slow,
    ):
        await wire.eventually(lambda: len(wire.content(proxy.db)) >= 12 * MIB)
        last = wire.frames(proxy.db)[-1]
        assert last.sent_ns is None
        await slow.head()
        while await slow.chunk():
            pass
        await wire.eventually(lambda: wire.ending(proxy.db) == "eof")
    frames = wire.frames(proxy.db)
    assert frames[-1].sent_ns
    assert frames[-1].sent_ns > frames[-1].offset_ns
    assert [frame.sent_ns for frame in frames] == sorted(frame.sent_ns or 0 for frame in frames)


async def test_no_more_is_read_ahead_than_the_disk_takes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked file: what is read for a client that does not want it yet would be lost. One that keeps up waits for
    nothing."""
    sent = 0

    def count(so_far: int) -> None:
        nonlocal sent
        sent = so_far

    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 4 * MIB)
    async with recorded(flood(20 * MIB, count), tmp_path, read_ahead=64 * MIB) as (proxy, _):
        other = sqlite3.connect(proxy.db, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with connected(proxy.url, get("/flood"), receive_buffer=4096) as slow:
            await slow.head()
            await wire.eventually(lambda: "recording degraded" in caplog.text)
            async with connected(proxy.url, get("/tick")) as quick:
                await quick.head()
                assert [await quick.chunk() for _ in range(5)] == [event(n) for n in range(5)]
            assert sent < 12 * MIB, "the kernel's buffers, and what may wait"
            other.close()
            await wire.eventually(lambda: sent >= 20 * MIB)
            received = 0
            while (part := await slow.chunk()) != b"":
                received += len(part)
    assert received == len(wire.content(proxy.db)) == sent
    assert "no longer kept" not in caplog.text


@pytest.mark.parametrize("read_ahead", [0, 8 * MIB])
async def test_a_slow_client_that_leaves_is_one_that_left(
    read_ahead: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with recorded(flood(30 * MIB, lambda _: None), tmp_path, read_ahead=read_ahead) as (proxy, _):
        async with connected(proxy.url, get("/flood"), receive_buffer=4096) as slow:
            await slow.head()
            await wire.eventually(lambda: len(wire.content(proxy.db)) > MIB // 2)
            slow.reset()
        await wire.eventually(lambda: wire.ending(proxy.db) == "client_left")
    assert wire.incidents(proxy.db) == []
    assert not caplog.records


async def test_a_slow_client_gets_all_that_a_lost_upstream_had_sent_and_then_a_cut(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream()
        for n in range(100):
            await conn.send(chunk(event(n, 64 * 1024)))

    everything = b"".join(event(n, 64 * 1024) for n in range(100))
    async with (
        recorded(handle, tmp_path, read_ahead=8 * MIB) as (proxy, _),
        connected(proxy.url, get(), receive_buffer=4096) as slow,
    ):
        await slow.head()
        await wire.eventually(lambda: wire.content(proxy.db) == everything)
        assert await slow.body([(b"transfer-encoding", b"chunked")]) == (everything, False)
    assert wire.ending(proxy.db) == "upstream_lost"


@pytest.mark.slow
async def test_a_hundred_streams_run_beside_each_other(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream()
        for n in range(20):
            await conn.send(chunk(event(n)))
            await asyncio.sleep(0.02)
        await conn.send(wire.END)

    async with recorded(handle, tmp_path) as (proxy, _), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(proxy.url, get(f"/{n}"))) for n in range(100)]
        for client in clients:
            _, headers = await client.head()
            assert await client.body(headers) == (b"".join(map(event, range(20))), True)
    for stream in range(1, 101):
        assert [frame.verdict for frame in wire.frames(proxy.db, stream)] == ["valid"] * 20
