"""Promise 2: forward first, record second. No disk, no other process and no fault of ours touches a stream."""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite.rows import Row
from omnirecord.contract.judge import Contract, Judgement
from omnirecord.errors import CassetteError, CassetteInUse
from omnirecord.omnigent.contract import load
from omnirecord.omnigent.routes import party_name
from omnirecord.recorder import thread as thread_module
from omnirecord.recorder.operations import Op
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.recorder.rows import RowMaker
from omnirecord.recorder.thread import RecorderThread
from omnirecord.wire.sse import Frame
from tests.support import wire
from tests.support.process import ForkedProcess
from tests.support.wire import Wire, chunk, connected, event, get, recorded

HEADERS = (("Content-Type", "text/event-stream"),)


async def ticking(conn: Wire) -> None:
    """An event each 10 ms for as long as somebody listens."""
    await conn.stream()
    n = 0
    while True:
        await conn.send(chunk(event(n)))
        n += 1
        await asyncio.sleep(0.01)


async def listen(client: Wire, seconds: float) -> tuple[bytes, float]:
    """What comes in so many seconds, and the longest time in which nothing did."""
    received, longest, last = b"", 0.0, time.monotonic()
    until = last + seconds
    while last < until:
        received += await client.chunk()
        longest = max(longest, time.monotonic() - last)
        last = time.monotonic()
    return received, longest


@pytest.mark.timed
@pytest.mark.slow
async def test_a_locked_file_delays_no_stream_and_costs_no_byte(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "omnirecord")
    async with recorded(ticking, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        received, _ = await listen(client, 0.2)
        other = sqlite3.connect(proxy.db, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        during, longest = await listen(client, 1.7)
        locked_at = len(wire.content(proxy.db))
        assert locked_at < len(received + during) / 2, "nothing could be written"
        other.execute("ROLLBACK")
        other.close()
        received += during
        await wire.eventually(lambda: len(wire.content(proxy.db)) >= len(received))
    assert longest < 0.3
    assert wire.content(proxy.db).startswith(received)
    assert {frame.verdict for frame in wire.frames(proxy.db)} == {"valid"}
    said = [record.message for record in caplog.records if "degraded" in record.message]
    assert len(said) == 1, "once a minute at the most"
    assert re.search(r"locked\. Streams go on, .* [0-9.]+ MB wait in memory; above 268 MB, further", said[0])
    assert any("recovered" in record.message for record in caplog.records)
    assert any("could not be written" in message for message in wire.incidents(proxy.db))


@pytest.mark.timed
@pytest.mark.slow
async def test_a_full_disk_delays_no_stream_and_recording_recovers_by_itself(tmp_path: Path) -> None:
    """The limit on a file's size is what a process sees of a full disk; it is lifted again from outside."""
    db = tmp_path / "run.db"
    unlimited = resource.RLIM_INFINITY
    async with (
        wire.Upstream(ticking) as upstream,
        ForkedProcess(upstream.url, db) as proxy,
        connected(proxy.url, get()) as client,
    ):
        await client.head()
        received, _ = await listen(client, 0.3)
        largest = max(path.stat().st_size for path in tmp_path.iterdir())
        resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (largest + 8192, unlimited))
        during, longest = await listen(client, 1.5)
        assert longest < 0.3
        assert len(wire.content(db)) < len(received + during), "the disk was full"
        resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        received += during
        await wire.eventually(lambda: len(wire.content(db)) >= len(received))
        code, errors = await proxy.end(signal.SIGTERM)
    assert code == 0
    assert wire.content(db).startswith(received)
    assert "recording degraded" in errors
    assert "recording recovered" in errors
    assert "Traceback" not in errors
    assert any("could not be written" in message for message in wire.incidents(db))
    assert wire.ending(db) == "recorder_stopped"


@pytest.mark.slow
async def test_a_recorder_that_cannot_write_stops_all_the_same_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.recorder.intervals.GIVE_UP_AFTER", 1.0)
    async with recorded(ticking, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        await listen(client, 0.2)
        other = sqlite3.connect(proxy.db, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await listen(client, 0.2)
        began = time.monotonic()
        await proxy.stop()
        assert time.monotonic() - began < 5
        other.close()
    assert any("incomplete" in record.message for record in caplog.records)
    assert wire.ending(proxy.db) == "recorder_killed", "what the file says of one that did not end"


def test_what_waits_for_the_disk_is_bounded_and_what_is_lost_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 2500)
    db = tmp_path / "run.db"
    thread = RecorderThread(db, "http://a")
    other = sqlite3.connect(db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    recorder = thread.begin_exchange("GET", "/stream", ())
    recorder.respond("sse", 200, "OK", HEADERS)
    kept, lost, after = event(1), b"".join(map(event, range(30))), event(3)
    recorder.receive(kept)
    recorder.receive(b":" + b"x" * 1200 + b"\n\n")
    recorder.receive(lost)
    other.close()
    until = time.monotonic() + wire.PATIENCE
    while b"x" * 1200 not in wire.content(db):
        assert time.monotonic() < until
        time.sleep(0.05)
    recorder.receive(after)
    recorder.end("eof")
    thread.stop()
    frames = wire.frames(db)
    assert [frame.verdict for frame in frames] == ["valid", "comment", "truncated", "valid"]
    assert (frames[2].raw, frames[2].length) == (None, len(lost))
    assert frames[3].raw == after
    assert any("no longer kept" in message for message in wire.incidents(db))
    assert any("no longer kept" in record.message for record in caplog.records)


class Judging(Contract):
    """The built-in contract, but for how it judges."""

    def __init__(self, judge: Callable[[Frame], Judgement]) -> None:
        super().__init__("omnigent", load("omnigent").types, lambda _type, _payload: ())
        self._judges = judge

    def judge(self, frame: Frame) -> Judgement:
        return self._judges(frame)


@pytest.mark.parametrize("always", [True, False])
async def test_a_fault_in_a_validator_costs_a_verdict_and_nothing_else(
    always: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = load("omnigent").judge

    def judge(frame: Frame) -> Judgement:
        if always or "7 " in (frame.data or ""):
            raise RuntimeError("a bug")
        return right(frame)

    async def handle(conn: Wire) -> None:
        await conn.stream()
        for n in range(20):
            await conn.send(chunk(event(n)))
            await asyncio.sleep(0.01)
        await conn.send(wire.END)

    monkeypatch.setattr(thread_module, "load", lambda _name: Judging(judge))
    async with recorded(handle, tmp_path, contract="omnigent") as (proxy, _):
        answer = await wire.ask(proxy.url, get())
        later = await wire.ask(proxy.url, get())
    everything = b"".join(map(event, range(20)))
    assert answer.body == later.body == everything
    for stream in (1, 2):
        assert wire.content(proxy.db, stream) == everything
        verdicts = [frame.verdict for frame in wire.frames(proxy.db, stream)]
        assert verdicts == ["invalid" if always or n in (7, 17) else "valid" for n in range(20)]
    assert [one.ending for one in wire.exchanges(proxy.db)] == ["eof", "eof"]
    assert len(wire.incidents(proxy.db)) == 2, "one for each stream"
    assert "a bug" in wire.incidents(proxy.db)[0]
    assert any("a bug" in record.message for record in caplog.records)


@pytest.mark.timed
async def test_a_slow_validator_delays_no_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = load("omnigent").judge

    def judge(frame: Frame) -> Judgement:
        time.sleep(0.02)
        return right(frame)

    monkeypatch.setattr(thread_module, "load", lambda _name: Judging(judge))
    async with recorded(ticking, tmp_path) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        received, longest = await listen(client, 0.5)
        assert longest < 0.3
        await wire.eventually(lambda: wire.content(proxy.db).startswith(received))


def test_frames_that_are_behind_do_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("omnirecord.recorder.intervals.GIVE_UP_AFTER", 0.0)
    db = tmp_path / "run.db"
    thread = RecorderThread(db, None)
    recorder = thread.begin_exchange("GET", "/stream", ())
    recorder.respond("sse", 200, "OK", HEADERS)
    part = b"".join(map(event, range(500)))
    for _ in range(150):
        recorder.receive(part)
    recorder.end("eof")
    thread.stop()
    assert "frames were not finished" in caplog.text
    frames = wire.frames(db)
    assert len(frames) == 500 * 150, "whoever reads makes what was not made"
    assert {frame.verdict for frame in frames} == {"valid"}


async def test_one_file_has_one_recorder(tmp_path: Path) -> None:
    async with recorded(ticking, tmp_path) as (proxy, _):
        with pytest.raises(CassetteInUse):
            async with Proxy("http://a", proxy.db):
                pass
    async with recorded(ticking, tmp_path) as (again, _):
        assert again.recording == 2


def test_a_recording_is_appended_and_numbers_go_on(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    for n in (1, 2):
        thread = RecorderThread(db, "http://a")
        assert thread.recording == n
        recorder = thread.begin_exchange("GET", "/stream", ())
        recorder.respond("sse", 200, "OK", HEADERS)
        assert (recorder.exchange, recorder.stream) == (n, n)
        recorder.receive(event(n))
        recorder.end("eof")
        thread.stop()
    assert [(one.recording, one.exchange, one.stream) for one in wire.exchanges(db)] == [(1, 1, 1), (2, 2, 2)]
    assert [wire.content(db, n) for n in (1, 2)] == [event(1), event(2)]


@pytest.mark.slow
def test_a_file_that_another_process_holds_at_the_start_is_refused_in_a_sentence(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    RecorderThread(db, None).stop()
    other = sqlite3.connect(db, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CassetteError, match="in use"):
        RecorderThread(db, None)
    other.close()
    RecorderThread(db, None).stop()


def test_parties_are_told_apart_by_credentials_and_the_runner_by_its_header(tmp_path: Path) -> None:
    thread = RecorderThread(tmp_path / "run.db", None)
    runner = ("X-Omnigent-Runner-Tunnel-Token", "t")
    one, other = (("Authorization", f"Bearer {name}") for name in "ab")
    agent = ("User-Agent", "x")
    parties = [
        thread.begin_exchange("GET", "/", headers).party
        for headers in [(), (one,), (runner,), (agent,), (other, agent)]
    ]
    thread.stop()
    assert parties == ["client", "client-2", "runner", "client", "client-3"]


async def test_a_client_is_the_same_party_after_its_login(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=0123456789abcdef; Path=/; HttpOnly\r\nContent-Length: 0\r\n\r\n"
    async with (
        wire.Upstream(wire.answering(answer)) as upstream,
        Proxy(upstream.url, tmp_path / "run.db") as proxy,
        httpx.AsyncClient(base_url=proxy.url, trust_env=False) as client,
    ):
        for path in ("/login", "/v1/sessions", "/v1/sessions/s"):
            assert (await client.get(path)).status_code == 200
        assert client.cookies["session"]
    with closing(open_store(tmp_path / "run.db")) as store:
        assert [party_name(x) for x in store.exchanges()] == ["Python client"] * 3


def test_what_came_over_the_wire_never_makes_a_cassette_that_cannot_be_read(tmp_path: Path) -> None:
    """Readers refuse what a stranger may have put into a file; a recorder puts nothing of the kind there."""
    thread = RecorderThread(tmp_path / "odd.db", None)
    recorder = thread.begin_exchange("GET", "/a\tb\x7f\udce9", (("X-A", "\0\r\n\udce9"),))
    recorder.respond("http", 799, "a\0b\r\nc\udce9", (("X-B", "\0\x1b\r\n"),))
    recorder.end("eof")
    thread.stop()
    store = open_store(tmp_path / "odd.db")
    (exchange,) = store.exchanges()
    store.close()
    assert exchange.response is not None
    assert (exchange.response.status, exchange.response.reason) == (799, "a\ufffdb\ufffd\ufffdc\ufffd")


def test_what_there_was_no_time_for_is_made_at_once_and_not_when_it_is_due_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.recorder.intervals.FRAME_FOR", 0.0)
    monkeypatch.setattr("omnirecord.recorder.intervals.FRAME_EVERY", 5.0)  # for what comes after a pass; 60 take 300 s
    thread = RecorderThread(tmp_path / "t.db", None)
    for n in range(60):
        recorder = thread.begin_exchange("GET", f"/{n}", ())
        recorder.respond("sse", 200, "OK", (("content-type", "text/event-stream"),))
        recorder.sent(recorder.receive(event(1)))
    until = time.monotonic() + 60  # nothing of this takes long, but other tests may
    while (made := sum(wire.stored_frames(tmp_path / "t.db", n) for n in range(1, 61))) < 60:
        assert time.monotonic() < until
        time.sleep(0.05)
    thread.stop()
    assert made == 60


def test_a_lack_of_memory_costs_what_was_being_written_and_not_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error ended the recording thread, and the exit code was 0."""
    rows, has_failed = RowMaker.rows, threading.Event()

    def fail_once(row_maker: RowMaker, ops: list[Op], rest: Callable[[], object] | None = None) -> list[Row]:
        if has_failed.is_set():
            return rows(row_maker, ops, rest)
        has_failed.set()
        raise MemoryError

    monkeypatch.setattr(RowMaker, "rows", fail_once)
    thread = RecorderThread(tmp_path / "t.db", None)
    thread.begin_exchange("GET", "/lost", ()).end("eof")
    assert has_failed.wait(wire.PATIENCE)
    thread.begin_exchange("GET", "/kept", ()).end("eof")
    thread.stop()
    assert [one.request.target for one in wire.exchanges(thread.path)] == ["/kept"]
    assert thread.is_incomplete
    assert any("are not kept: there is not enough memory" in one for one in wire.incidents(thread.path))


def test_a_fault_in_a_step_of_the_recording_is_said_and_the_next_step_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, has_failed = RecorderThread._look, threading.Event()

    def fail_once(thread: RecorderThread) -> None:
        if not has_failed.is_set():
            has_failed.set()
            raise MemoryError
        look(thread)

    monkeypatch.setattr(RecorderThread, "_look", fail_once)
    thread = RecorderThread(tmp_path / "t.db", None)
    thread.begin_exchange("GET", "/kept", ()).end("eof")
    assert has_failed.wait(wire.PATIENCE)
    thread.stop()
    assert [one.request.target for one in wire.exchanges(thread.path)] == ["/kept"]
    assert any("degraded: there is not enough memory" in record.getMessage() for record in caplog.records)


def test_heads_that_cannot_be_written_in_time_are_counted_and_the_recorder_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of requests without bodies was written to its end, however long that took."""
    monkeypatch.setattr("omnirecord.recorder.intervals.LEAST_LAST_WRITES", 0.0)
    monkeypatch.setattr("omnirecord.recorder.intervals.MASKED_BATCH", 1)
    monkeypatch.setattr(
        RecorderThread, "_step", lambda thread: thread._forget() if thread._queue.ops else thread._gather()
    )
    thread = RecorderThread(tmp_path / "t.db", None)
    thread.hurry()
    for _ in range(50):
        thread.begin_exchange("GET", "/x", ())
    thread.stop(0.0)
    assert thread.is_incomplete
    assert thread.dropped_bytes == 0, "these had no bytes; their memory does not count"
    assert len(wire.exchanges(thread.path)) < 50
