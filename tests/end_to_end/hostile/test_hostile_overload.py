"""More than the recorder can write: what is lost is counted and said, and a signal ends the command within 10 s."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from omnirecord.recorder.intervals import STOP_WITHIN
from omnirecord.recorder.thread import RecorderThread
from omnirecord.redaction.redactor import content_scanner
from tests.conftest import Figure
from tests.support import wire
from tests.support.cassettes import conversation
from tests.support.forked import patched
from tests.support.process import ForkedProcess, Process
from tests.support.wire import Wire, chunk, connected, event, get

MIB = 1 << 20
STOP = "omnirecord.recorder.proxy.server.STOP_WITHIN"
TINY = b"".join(chunk(event(n)) for n in range(300))
STREAM = (("Content-Type", "text/event-stream"),)


def kept(db: Path) -> int:
    """Bytes of streams that are in the file."""
    with closing(sqlite3.connect(db)) as connection:
        (size,) = connection.execute("SELECT coalesce(sum(length(data)), 0) FROM read_blocks").fetchone()
    return int(size)


async def tiny_events(conn: Wire) -> None:
    await conn.stream()
    while True:
        await conn.send(TINY)
        await asyncio.sleep(0)


@asynccontextmanager
async def flooded(proxy: Process, size: int) -> AsyncIterator[None]:
    """Clients of several streams, which have got so many bytes together."""
    got = [0] * 4

    async def listen(client: Wire, n: int) -> None:
        while data := await client.reader.read(1 << 20):
            got[n] += len(data)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(proxy.url, get(f"/{n}"))) for n in range(len(got))]
        tasks = [asyncio.create_task(listen(client, n)) for n, client in enumerate(clients)]
        await wire.eventually(lambda: sum(got) > size, 60)
        yield
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.slow
async def test_a_signal_ends_a_flooded_recorder_within_ten_seconds_and_says_what_is_lost(
    tmp_path: Path, long: bool, figure: Figure
) -> None:
    """Masking content is slow, so that most of it waits; a client of each stream has had all of it. In short, the
    recorder stops 4 s earlier than it would, since it masks until then."""
    db, within = tmp_path / "run.db", STOP_WITHIN - (0 if long else 4)
    async with (
        wire.Upstream(tiny_events) as upstream,
        ForkedProcess(upstream.url, db, "--redact", "content", before=[patched(STOP, within)]) as proxy,
        flooded(proxy, (150 if long else 30) * MIB),
    ):
        began = time.monotonic()
        code, said = await proxy.end(signal.SIGTERM)
        took = time.monotonic() - began
    figure("SIGTERM while masking is behind", f"ended in {took:.1f} s; {said.splitlines()[0]}")
    assert took < (10 if long else 7)
    assert code == 1
    assert "recording incomplete: " in said
    assert "Traceback" not in said
    assert any("they passed and are not kept" in one for one in wire.incidents(db))
    assert {one.ending for one in wire.exchanges(db)} == {"recorder_stopped"}
    assert 0 < kept(db) < sum(one.response_bytes for one in wire.exchanges(db))


@pytest.mark.slow
async def test_a_second_signal_does_not_wait_for_what_is_queued(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    async with (
        wire.Upstream(tiny_events) as upstream,
        ForkedProcess(upstream.url, db, "--redact", "content") as proxy,
        flooded(proxy, 20 * MIB),
    ):
        began = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        code, said = await proxy.end(signal.SIGTERM)
        took = time.monotonic() - began
    assert took < 6
    assert code == 1
    assert "recording incomplete: " in said


@pytest.mark.slow
async def test_a_file_that_stays_locked_is_waited_for_and_then_the_command_ends(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    async with wire.Upstream(tiny_events) as upstream, ForkedProcess(upstream.url, db) as proxy:
        other = sqlite3.connect(db, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with flooded(proxy, 2 * MIB):
            began = time.monotonic()
            code, said = await proxy.end(signal.SIGTERM)
            took = time.monotonic() - began
        other.close()
    assert took < 10
    assert code == 1
    assert "recording incomplete: " in said


@pytest.mark.slow
async def test_a_process_that_does_not_end_in_time_is_ended(tmp_path: Path) -> None:
    """A locked file stands for a disk that does not answer; the limit is shorter than what is waited for the file."""
    db = tmp_path / "run.db"
    async with wire.Upstream(tiny_events) as upstream:
        shorter = patched("omnirecord.cli.listen._STOPS_WITHIN", 0.5)
        async with ForkedProcess(upstream.url, db, before=[shorter]) as proxy:
            other = sqlite3.connect(db, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            async with flooded(proxy, MIB):
                began = time.monotonic()
                code, said = await proxy.end(signal.SIGTERM)
                took = time.monotonic() - began
            other.close()
    assert took < 10
    assert code == 1
    assert said.endswith("the process ends here, as if it was killed\n")
    wire.exchanges(db)  # it can be read


@pytest.mark.slow
async def test_what_is_dropped_is_told_while_it_is_and_makes_the_exit_code_1(tmp_path: Path) -> None:
    """The file is locked until more waits than may; then there is room again."""
    db = tmp_path / "run.db"
    async with wire.Upstream(tiny_events) as upstream:
        smaller = patched("omnirecord.recorder.queue.BUFFER", MIB)
        async with ForkedProcess(upstream.url, db, "--control", before=[smaller]) as proxy:
            other = sqlite3.connect(db, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            async with flooded(proxy, 8 * MIB):
                answer = await wire.ask(proxy.url, get("/-/omnirecord/", host="127.0.0.1"))
                state = json.loads(answer.body)
                other.close()
                await wire.eventually(lambda: kept(db) > 0)
                code, said = await proxy.end(signal.SIGTERM)
    assert state["dropped_bytes"] > MIB
    assert state["waiting_bytes"] > MIB
    assert "recording degraded: too much waits for the disk" in said
    assert code == 1
    assert any("too much waits for the disk" in one for one in wire.incidents(db))


def test_what_is_not_written_in_time_is_counted_and_every_exchange_has_its_length_and_end(tmp_path: Path) -> None:
    thread = RecorderThread(tmp_path / "run.db", None, content=content_scanner("content", ()))
    recorder = thread.begin_exchange("GET", "/stream", ())
    recorder.respond("sse", 200, "OK", STREAM)
    other = thread.begin_exchange("GET", "/body", ())
    other.respond("http", 200, "OK", (("Content-Type", "text/plain"),))
    piece = b"".join(map(event, range(500)))
    for _ in range(600):
        recorder.receive(piece)
    other.body("response", b"x" * 1000)
    recorder.end("eof")
    other.end("eof")
    thread.stop(0.0)
    assert thread.is_incomplete
    assert thread.dropped_bytes == 600 * len(piece) - kept(thread.path) + 1000
    stream, body = wire.exchanges(thread.path)
    assert (stream.ending, stream.response_bytes) == ("eof", 600 * len(piece))
    assert body.ending == "eof"
    told = wire.incidents(thread.path)
    assert any("they passed and are not kept" in one for one in told)
    assert "exchange 2: of its response body only the first 0 bytes were kept" in told


def command(name: str, cassette: Path) -> Process:
    """`omnirecord NAME` in the place of a proxy."""
    process = ForkedProcess("http://127.0.0.1:1", cassette)
    more = ["--no-browser"] if name == "ui" else []
    process.command = [
        sys.executable, "-c", "from omnirecord.cli import main; main()", name, str(cassette),
        "--listen", "127.0.0.1:0", "--json", *more,
    ]  # fmt: skip
    return process


@pytest.mark.slow
@pytest.mark.parametrize("name", ["serve", "ui"])
async def test_a_server_ends_while_its_clients_read_nothing(name: str, tmp_path: Path) -> None:
    made = conversation()
    path = made.save(tmp_path / "a.db")
    target = {"serve": "/v1/sessions/s/stream", "ui": "/-/omnirecord/ui/"}[name]
    async with command(name, path) as server, AsyncExitStack() as stack:
        url = server.url.split("/-/")[0]
        for _ in range(20):
            await stack.enter_async_context(connected(url, get(target, host="127.0.0.1"), receive_buffer=2048))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        code, said = await server.end(signal.SIGTERM)
        assert time.monotonic() - began < 10
    assert code == 0
    assert "Traceback" not in said
