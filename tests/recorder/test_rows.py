"""What happened in, rows out: verdicts as a fresh parse gives them, whatever the cuts, the coding or the disk."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store, Writer, rows, stream_rows
from omnirecord.contract import Issue
from omnirecord.contract.judge import Contract
from omnirecord.model import Recording, TimedFrame
from omnirecord.omnigent.contract import load
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.operations import (  # fmt: skip
    BodyData,
    Ended,
    Incidence,
    Messaged,
    Op,
    Received,
    Requested,
    Responded,
    SentLate,
)
from omnirecord.recorder.rows import RowMaker
from omnirecord.recorder.thread import RecorderThread
from omnirecord.redaction.coded import Kept, MaskedStream
from omnirecord.redaction.redactor import Redactor, Scanner
from omnirecord.wire.sse import Parser
from tests.support import wire
from tests.support.examples import examples
from tests.support.wire import Wire, chunk, event, get, recorded

KINDS = {
    "valid": event(1),
    "comment": b": keep-alive\n\n",
    "comment with an id": b"id: 5\nretry: 10\n\n",
    "sentinel": b"data: [DONE]\n\n",
    "malformed, no JSON": b"data: {\n\n",
    "malformed, no object": b"data: [1]\n\n",
    "malformed, no type": b'data: {"a": 1}\n\n',
    "malformed, NaN": b'data: {"type": "response.heartbeat", "a": NaN}\n\n',
    "malformed, a key twice": b'data: {"type": "a", "type": "b"}\n\n',
    "unknown": b'data: {"type": "no.such.event"}\n\n',
    "invalid": b'event: session.status\ndata: {"type": "session.status", "status": 7}\n\n',
    "invalid, another event": event(1).replace(b"event: response.output", b"event: response.input"),
    "valid, in CRLF": event(2).replace(b"\n", b"\r\n"),
    "valid, in many lines": b'data: {"type": "session.heartbeat",\ndata: "server_time": null}\n\n',
    "truncated": b'data: {"type": "respo',
}
EVERYTHING = b"".join(KINDS.values())


def judged(content: bytes) -> list[tuple[bytes | None, str, str | None]]:
    """Raw, verdict and type of each frame, by a fresh parse."""
    contract, parser = load("omnigent"), Parser()
    found = [(frame, contract.judge(frame)) for frame in [*parser.feed(content), *parser.close()]]
    return [(frame.raw, judgement.verdict, judgement.type) for frame, judgement in found]


def stored(frames: list[TimedFrame]) -> list[tuple[bytes | None, str, str | None]]:
    return [(frame.raw, frame.verdict, frame.type) for frame in frames]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(bounds) if a < b]


STREAM = "/v1/sessions/s/stream"


class Bench:
    """A recorder on a cassette in memory, with one request begun."""

    def __init__(
        self, headers: tuple[tuple[str, str], ...] = (), *, kind: Any = "sse", content: Scanner | None = None
    ) -> None:
        self.writer = Writer(None)
        self.row_maker = RowMaker(1, Redactor(b"key", content), FrameMaker(self.writer, 1, load("omnigent")))
        self.writer.write([rows.recording(Recording(1, "2026-01-01T00:00:00Z", "0", "omnigent", None))])
        stream = 1 if kind == "sse" else None
        self.put(Requested(1, "client", 1, "GET", "/v1/sessions/s/stream", ()))
        self.put(Responded(1, kind, stream, 2, 200, "OK", headers))
        self.reads = 0

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.connection.close()

    def put(self, *ops: Op) -> None:
        self.writer.write(self.row_maker.rows(ops))

    def read(self, data: bytes) -> Received:
        op = Received(1, self.reads, 10 + self.reads, len(data), data, 20 + self.reads)
        self.reads += 1
        self.put(op)
        return op

    def make(self) -> None:
        self.row_maker.settle(self.writer.write)
        while self.row_maker.frames.behind:
            list(self.row_maker.frames.make())

    def frames(self) -> list[TimedFrame]:
        store = Store(self.writer.connection)
        found = list(store.frames(store.exchanges()[0]))
        self.writer.connection.execute("ROLLBACK")
        return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as one:
        yield one


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_frame_gets_its_verdict_through_the_proxy(kind: str, tmp_path: Path) -> None:
    response = wire.STREAM + chunk(event(0)) + chunk(KINDS[kind]) + wire.END
    async with recorded(wire.answering(response), tmp_path) as (proxy, _):
        assert (await wire.ask(proxy.url, get(STREAM))).body == event(0) + KINDS[kind]
    verdict, _, rest = kind.partition(" ")
    expected = verdict.rstrip(",")
    frames = wire.frames(proxy.db)
    assert [frame.verdict for frame in frames] == ["valid", expected], rest
    assert bool(frames[1].issues) is (expected in ("malformed", "unknown", "invalid"))
    assert [frame.seq for frame in frames] == [1, 2]


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(0, len(EVERYTHING)), max_size=30), st.booleans())
def test_what_is_stored_through_the_proxy_is_what_a_fresh_parse_gives(cuts: list[int], gzipped: bool) -> None:
    """However upstream cuts its writes."""
    data = gzip.compress(EVERYTHING) if gzipped else EVERYTHING
    head = wire.STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") if gzipped else wire.STREAM

    async def handle(conn: Wire) -> None:
        await conn.request()
        await conn.send(head)
        for part in pieces(data, cuts):
            await conn.send(chunk(part))
            await asyncio.sleep(0.001)
        await conn.send(wire.END)

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with recorded(handle, Path(folder)) as (proxy, _):
                assert (await wire.ask(proxy.url, get(STREAM))).body == data
            assert stored(wire.frames(proxy.db)) == judged(EVERYTHING)
            assert wire.ending(proxy.db) == "done"

    asyncio.run(run())


@settings(deadline=None, max_examples=examples(60))
@given(
    st.lists(st.integers(0, len(EVERYTHING)), max_size=30),
    st.lists(st.booleans(), min_size=31, max_size=31),
    st.booleans(),
)
def test_neither_cuts_nor_when_frames_are_made_change_them(cuts: list[int], makes: list[bool], gzipped: bool) -> None:
    data = gzip.compress(EVERYTHING) if gzipped else EVERYTHING
    right = judged(EVERYTHING)
    with Bench((("Content-Encoding", "gzip"),) if gzipped else ()) as bench:
        for part, make in zip(pieces(data, cuts), makes, strict=False):
            bench.read(part)
            if make:
                bench.make()
            whole = stored(bench.frames())[:-1]  # the last is what has come of the next one
            assert whole == right[: len(whole)]
        bench.put(Ended(1, 99, "eof"))
        bench.make()
        assert stored(bench.frames()) == right
        sizes = (
            "SELECT (SELECT sum(length(data)) FROM read_blocks), (SELECT coalesce(sum(length(data)), 0) FROM chunks)"
        )
        assert bench.writer.connection.execute(sizes).fetchone() == (len(data), len(EVERYTHING) if gzipped else 0)


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_full_disk_costs_no_frame_and_doubles_none(gzipped: bool) -> None:
    content = EVERYTHING + b"".join(event(n, 20) for n in range(3000))
    data = gzip.compress(content) if gzipped else content
    failed = 0
    with Bench((("Content-Encoding", "gzip"),) if gzipped else ()) as bench:
        connection = bench.writer.connection
        for part in pieces(data, list(range(0, len(data), max(1, len(data) // 20)))):
            bench.read(part)
            (size,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {size}")
            try:
                bench.make()
            except sqlite3.OperationalError:
                failed += 1
            connection.execute("PRAGMA max_page_count = 1000000")
        bench.put(Ended(1, 99, "eof"))
        bench.make()
        assert stored(bench.frames()) == judged(content)
    assert failed > 0


def test_each_frame_has_the_time_of_the_read_that_completed_it(bench: Bench) -> None:
    one = event(1)
    for part in (one[:10], one[10:] + b"data: ", b"[DONE]\n", b"\n: c\n\n: d\n\n"):
        bench.read(part)
    bench.put(Ended(1, 99, "eof"))
    bench.make()
    assert [frame.offset_ns for frame in bench.frames()] == [11, 13, 13, 13]
    assert [frame.sent_ns for frame in bench.frames()] == [21, 23, 23, 23]


def test_bytes_that_came_while_frames_were_made_get_theirs_with_the_next_pass(bench: Bench) -> None:
    """The stream waited no more, so its frames were made at its next event only."""
    bench.put(Received(1, 0, 3, 9, b"data: 1\n\n", 4))
    assert list(bench.row_maker.frames.make()) == [0]  # its bytes are in the journal
    bench.row_maker.settle(bench.writer.write)
    assert sum(bench.row_maker.frames.make()) == 1


def test_a_frame_that_was_held_back_has_the_time_of_its_own_read(bench: Bench) -> None:
    """It ends in a lone CR, behind which an LF may come; and what comes first is nothing, many times."""
    made: list[int] = []
    for data in (b"data: 1\r\r", *[b""] * 20, b"data: 2\n\n"):
        bench.read(data)
        bench.row_maker.settle(bench.writer.write)
        made += bench.row_maker.frames.make()
    written = bench.writer.connection.execute("SELECT offset_ns + value FROM frame_blocks, json_each(times)").fetchall()
    assert [at for (at,) in written] == [frame.offset_ns for frame in bench.frames()] == [10, 31]
    assert sum(made) == 2


def test_a_contract_that_fails_is_told_once_of_each_stream_that_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    def check(_type: str, payload: dict[str, Any]) -> tuple[Issue, ...]:
        if payload["delta"] == "bad":
            raise RuntimeError("a fault of ours")
        return ()

    writer = Writer(None)
    row_maker = RowMaker(1, Redactor(b"key"), FrameMaker(writer, 1, Contract("ours", ["text"], check)))
    writer.write([rows.recording(Recording(1, "2026-01-01T00:00:00Z", "0", "ours", None))])
    for number, deltas in enumerate((["bad", "good", "bad"], ["good", "good"], ["good", "bad"]), 1):
        body = b"".join(b'data: {"type": "text", "delta": "%b"}\n\n' % delta.encode() for delta in deltas)
        request, response = (
            Requested(number, "client", 1, "GET", "/", ()),
            Responded(number, "sse", number, 2, 200, "", ()),
        )
        writer.write(row_maker.rows([request, response, Received(number, 0, 3, len(body), body, 4)]))
    row_maker.settle(writer.write)
    while row_maker.frames.behind:
        list(row_maker.frames.make())
    told = [one.message.partition(":")[0] for one in Store(writer.connection).incidents()]
    assert told == ["could not record the verdicts of stream 1", "could not record the verdicts of stream 3"]
    assert len(caplog.records) == 2
    writer.connection.close()


def test_what_is_sent_after_its_row_was_written_gets_its_time(bench: Bench) -> None:
    read = Received(1, 0, 10, 3, b": \n")
    message = Messaged(1, 0, 10, "down", 1, b"hi")
    bench.put(read, message)
    assert read.written
    assert message.written
    read.sent_ns = message.sent_ns = 55
    bench.put(SentLate(read), SentLate(message))
    store = Store(bench.writer.connection)
    assert [one.sent_ns for one in store.reads(1)] == [55]
    assert [one.sent_ns for one in store.messages(1)] == [55]


def test_a_fault_of_ours_costs_the_read_that_has_it_and_not_those_that_came_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take(self: MaskedStream, data: bytes | None, size: int) -> Kept:
        if data == b": bad\n\n":
            raise RuntimeError("a fault of ours")
        return whole(self, data, size)

    whole = MaskedStream.take
    monkeypatch.setattr(MaskedStream, "take", take)
    with Bench(content=Scanner()) as bench:
        parts = (b": one\n\n", b": bad\n\n", b": two\n\n")
        bench.put(*(Received(1, n, 10 + n, len(data), data, 20 + n) for n, data in enumerate(parts)))
        bench.put(Ended(1, 99, "eof"))
        bench.make()
        assert [frame.raw for frame in bench.frames()] == [b": one\n\n", b": two\n\n"]
        (incident,) = Store(bench.writer.connection).incidents()
        assert "a fault of ours" in incident.message


def test_reads_of_two_streams_that_come_in_turns_are_told_apart(bench: Bench) -> None:
    bench.put(Requested(2, "client", 1, "GET", "/v1/sessions/t/stream", ()), Responded(2, "sse", 2, 2, 200, "OK", ()))
    turns = [Received(n % 2 + 1, n // 2, 10 + n, 1, b"%d" % n, 20 + n) for n in range(10)]
    bench.put(*turns[:7], Ended(2, 50, "eof"), *turns[8::2], Ended(1, 51, "eof"))
    store = Store(bench.writer.connection)
    assert [b"".join(store.content(one)) for one in store.exchanges()] == [b"02468", b"135"]
    assert [[read.offset_ns for read in store.reads(number)] for number in (1, 2)] == [
        [10, 12, 14, 16, 18],
        [11, 13, 15],
    ]


def test_bytes_that_were_lost_are_a_frame_of_their_own(bench: Bench) -> None:
    bench.read(event(1) + b"data: {")
    bench.put(Received(1, bench.reads, 30, 1000, None, 31))
    bench.reads += 1
    bench.read(event(2))
    bench.put(Ended(1, 99, "eof"))
    bench.make()
    found = [(frame.verdict, frame.length, frame.raw) for frame in bench.frames()]
    one, two = event(1), event(2)
    assert found == [
        ("valid", len(one), one), ("truncated", 7, b"data: {"), ("truncated", 1000, None), ("valid", len(two), two)
    ]  # fmt: skip


def test_a_fault_in_one_op_costs_that_one_and_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.put(BodyData(77, "response", b"of an exchange that nobody began"))
    bench.read(event(1))
    bench.put(Incidence(5, "something"))
    bench.make()
    assert stored(bench.frames()) == judged(event(1))
    incidents = [one.message for one in Store(bench.writer.connection).incidents()]
    assert any("BodyData" in message for message in incidents)
    assert "something" in incidents
    assert "degraded" in caplog.text


def test_a_row_that_can_never_be_written_costs_that_one_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db = tmp_path / "run.db"
    thread = RecorderThread(db, None)
    recorder = thread.begin_exchange("GET", "/stream", ())
    thread._queue.put(
        Requested(recorder.exchange, "client", 1, "GET", "/again", ()), thread.file
    )  # its number is taken
    thread._queue.put(Requested(2**70, "client", 1, "GET", "/too-large", ()), thread.file)
    recorder.respond("sse", 200, "OK", (("Content-Type", "text/event-stream"),))
    recorder.receive(event(1))
    recorder.end("eof")
    thread.stop()
    assert [(one.request.target, one.ending) for one in wire.exchanges(db)] == [("/stream", "eof")]
    assert wire.content(db) == event(1)
    assert any("2 rows could not be written" in message for message in wire.incidents(db))
    assert "degraded" in caplog.text


@pytest.mark.parametrize(
    ("target", "session"),
    [
        ("/v1/sessions/abc/stream?idle=true", "abc"), ("/v1/sessions/a%20b", "a b"), ("/v1/sessions/updates", None),
        ("/v1/sessions", None), ("/health", None),
    ],
)  # fmt: skip
async def test_an_exchange_belongs_to_the_session_in_its_target(
    target: str, session: str | None, tmp_path: Path
) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    async with recorded(wire.answering(response), tmp_path) as (proxy, _):
        await wire.ask(proxy.url, get(target))
    assert wire.exchanges(proxy.db)[0].session_id == session


async def test_the_request_that_made_a_session_belongs_to_it(tmp_path: Path) -> None:
    response = b'HTTP/1.1 201 Created\r\nContent-Length: 16\r\n\r\n{"id": "conv_1"}'
    async with recorded(wire.answering(response), tmp_path) as (proxy, _):
        await wire.ask(proxy.url, b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert wire.exchanges(proxy.db)[0].session_id == "conv_1"


def test_done_is_done_although_its_frames_were_never_made(tmp_path: Path) -> None:
    """A recorder that was killed after a stream's end was written, and before `[DONE]` was a frame."""
    path = tmp_path / "killed.db"
    writer = Writer(path)
    body, pieces = b"data: {}\n\ndata: [DONE]\n\n", stream_rows.ReadBlocks(1)
    pieces.add(2, 2, len(body), body, [])
    writer.write(
        [
            rows.recording(Recording(1, "2026-01-01T00:00:00+00:00", "0", "omnigent", None)),
            rows.request(1, 1, "http", None, "client", 0, "GET", "/x", ()),
            rows.response(1, "sse", 1, 1, 200, "OK", ()),
            *pieces.close(),
            rows.end(1, 3, "eof", 0, len(body)),
        ]
    )
    writer.close()
    left = open_store(path)
    assert [x.ending for x in left.exchanges()] == ["done"]
    left.close()
    RecorderThread(path, None).stop()
    again = open_store(path)
    (stream,) = again.streams()
    assert (stream.ending, stream.end_ns) == ("done", 3)
    assert [frame.verdict for frame in again.frames(stream)] == ["malformed", "sentinel"]
    assert again.body(1, "response") == b""
    again.close()
