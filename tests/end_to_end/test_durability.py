"""Promise 3: durable as it arrives. A proxy is killed with -9 in the middle of it, again and again."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import time
from pathlib import Path

import pytest

from omnirecord.recorder.thread import RecorderThread
from tests.conftest import Figure
from tests.recorder.proxy.test_websocket import HELLO, SWITCH, TEXT, ws
from tests.support import wire
from tests.support.process import ForkedProcess
from tests.support.wire import Wire, chunk, connected, event, get

STREAMS = 4
DURABLE_AFTER = 0.25
DONE = b"data: [DONE]\n\n"


async def fast(conn: Wire) -> None:
    """Thousands of events a second, in pieces that end anywhere."""
    await conn.stream()
    n, rest = 0, b""
    while True:
        burst = rest + b"".join(map(event, range(n, n + 15)))
        n += 15
        cut = len(burst) - n % 50
        rest = burst[cut:]
        await conn.send(chunk(burst[:cut]))
        await asyncio.sleep(0.005)


class Listener:
    """A client that knows what it had received when."""

    def __init__(self, client: Wire) -> None:
        self._client = client
        self.data = b""
        self.sizes: list[tuple[float, int]] = []

    async def run(self) -> None:
        await self._client.head()
        while True:
            self.data += await self._client.chunk()
            self.sizes.append((time.monotonic(), len(self.data)))

    def until(self, at: float) -> bytes:
        return self.data[: max([size for when, size in self.sizes if when <= at], default=0)]


async def record_and_kill(upstream: str, db: Path, after: float) -> tuple[list[Listener], float]:
    """Record until then; return what each client had received, and when the kill was."""
    async with ForkedProcess(upstream, db) as proxy, asyncio.TaskGroup() as group:
        clients = [connected(proxy.url, get(f"/{n}")) for n in range(STREAMS)]
        listeners = [Listener(await client.__aenter__()) for client in clients]
        tasks = [group.create_task(listener.run()) for listener in listeners]
        await wire.eventually(lambda: all(listener.data for listener in listeners))
        await asyncio.sleep(after)
        killed = time.monotonic()
        proxy.process.send_signal(signal.SIGKILL)
        for task in tasks:
            task.cancel()
        for client in clients:
            await client.__aexit__(None, None, None)
        return listeners, killed


def digests(db: Path) -> list[str]:
    parts = [db, db.with_name(db.name + "-wal")]
    return [hashlib.sha256(part.read_bytes()).hexdigest() for part in parts if part.exists()]


def oldest_lost(listener: Listener, kept: bytes, killed: float) -> float:
    """How long before the kill the first bytes came that are not in the file, in seconds; 0 where all are."""
    return max([killed - when for when, size in listener.sizes if size > len(kept)], default=0.0)


@pytest.mark.slow
@pytest.mark.timed
async def test_what_reached_a_client_survives_a_kill_at_any_moment(tmp_path: Path, long: bool, figure: Figure) -> None:
    """Recordings in one file, each killed at another moment; each next one finishes what was left behind."""
    db, rounds = tmp_path / "run.db", 100 if long else 3
    moments = random.Random(7)
    received: list[bytes] = []
    oldest = 0.0
    async with wire.Upstream(fast) as upstream:
        for round_ in range(1, rounds + 1):
            listeners, killed = await record_and_kill(upstream.url, db, moments.uniform(0.0, 0.9))
            before = digests(db)
            found = [one for one in wire.exchanges(db) if one.recording == round_]
            streams = {int(one.request.target[1:]): one.stream for one in found}
            for n, listener in enumerate(listeners):
                kept = wire.content(db, streams.get(n) or 0)
                assert kept.startswith(listener.until(killed - DURABLE_AFTER)), "every byte is there"
                oldest = max(oldest, oldest_lost(listener, kept, killed))
                received.append(listener.until(killed - DURABLE_AFTER))
                frames = wire.frames(db, streams.get(n) or 0)
                assert b"".join(frame.raw or b"" for frame in frames) == kept
                assert {frame.verdict for frame in frames[:-1]} <= {"valid"}
            assert {one.ending for one in found} <= {"recorder_killed"}
            assert digests(db) == before, "reading repairs nothing"
    assert max(map(len, received)) > 50_000, "it was a fast stream"
    megabytes = sum(map(len, received)) / 1e6
    lost = f"nothing lost; the oldest byte that was had come {oldest * 1000:.0f} ms before"
    figure(f"kill -9, {rounds} times", f"of {megabytes:.0f} MB that had reached clients 250 ms before, {lost}")

    contents = {one.stream: wire.content(db, one.stream) for one in wire.exchanges(db) if one.stream}
    RecorderThread(db, None).stop()
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]
    for stream, content in contents.items():
        assert wire.content(db, stream) == content
        assert wire.stored_frames(db, stream) == len(wire.frames(db, stream)), "all frames are rows by now"
    assert {one.ending for one in wire.exchanges(db)} == {"recorder_killed"}


async def test_what_a_killed_recorder_left_is_finished_by_the_next(tmp_path: Path) -> None:
    db = tmp_path / "run.db"

    async def handle(conn: Wire) -> None:
        line, _ = await conn.head()
        if b"/tunnel" in line:
            await conn.send(SWITCH + b"\r\n" + ws(TEXT, b"hello"))
        elif b"/body" in line:
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
        elif b"/stream" in line:
            await conn.send(wire.STREAM + chunk(event(1)) + chunk(b'data: {"type'))
        elif b"/done" in line:
            await conn.send(wire.STREAM + chunk(event(1)) + chunk(DONE))
        await conn.gone()

    async with wire.Upstream(handle) as upstream, ForkedProcess(upstream.url, db) as proxy:
        requests = [get("/silent"), get("/stream"), get("/body"), HELLO, get("/done")]
        clients = [connected(proxy.url, request) for request in requests]
        for client in clients:
            entered = await client.__aenter__()
            if client is not clients[0]:
                await entered.head()
        size = len(event(1) + b'data: {"type' + event(1) + DONE)
        await wire.eventually(lambda: len(wire.content(db, 1)) + len(wire.content(db, 2)) == size)
        await wire.eventually(lambda: wire.body(db, "response", 3) == b"half of it")
        assert {one.ending for one in wire.exchanges(db)} <= {"open", "done"}
        await proxy.end(signal.SIGKILL)
        for client in clients:
            await client.__aexit__(None, None, None)
    endings = {one.request.target: one.ending for one in wire.exchanges(db)}
    assert endings.pop("/done") == "done"
    assert set(endings.values()) == {"recorder_killed"}

    thread = RecorderThread(db, None)
    assert thread.recording == 2
    thread.stop()
    found = {one.request.target: one for one in wire.exchanges(db)}
    assert len(found) == 5
    assert found.pop("/done").ending == "done"
    assert {one.ending for one in found.values()} == {"recorder_killed"}
    assert all(one.end_ns is not None for one in found.values())
    stream = found["/stream"].stream
    assert stream is not None
    assert [frame.verdict for frame in wire.frames(db, stream)] == ["valid", "truncated"]
    assert wire.content(db, stream) == event(1) + b'data: {"type'
    assert wire.stored_frames(db, stream) == 2
    assert wire.body(db, "response", found["/body"].exchange) == b"half of it"


async def test_the_end_of_a_terminated_proxy_is_clean(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    async with (
        wire.Upstream(fast) as upstream,
        ForkedProcess(upstream.url, db) as proxy,
        connected(proxy.url, get()) as client,
    ):
        await client.head()
        await client.chunk()
        began = time.monotonic()
        code, errors = await proxy.end(signal.SIGTERM)
    assert code == 0
    assert time.monotonic() - began < 6
    assert "Traceback" not in errors
    assert wire.ending(db) == "recorder_stopped"
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]
