"""The work that is done, counted: figures that do not depend on the machine, nor on what else it does.

`python -m benchmarks work` prints them, as the bounds that `tests/test_work.py` holds them to. All is driven through
what is public, for 1,000 events in shapes that never change. What is counted: *calls* that code of omnirecord makes or
takes, in all threads of the process; *statements* of SQL, with every repetition; *rows* of all tables of the closed
file; *exchanges* that a reader makes of rows; *blocks* and *bytes* of memory that are held. Counted in a process of its
own, since the hooks stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import os
import sqlite3
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import omnirecord
from omnirecord.analysis.follow.rows import Wanted, rows_of
from omnirecord.analysis.query import Whole
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Writer
from omnirecord.cassette.sqlite.checked import exchange_of
from omnirecord.cassette.sqlite.rows import recording as one_recording
from omnirecord.cli import main as command
from omnirecord.model import Recording
from omnirecord.omnigent.contract import load
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.operations import Received, Requested, Responded
from omnirecord.recorder.queue import ExchangeRecorder
from omnirecord.recorder.rows import RowMaker
from omnirecord.recorder.thread import RecorderThread
from omnirecord.redaction.redactor import Redactor, prepare_expressions

from .reading import SHIPPED, repeated
from .weighing import weights

EVENTS = 1_000
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
HEADERS = (("Content-Type", "text/event-stream"),)
_FOLDER = str(Path(omnirecord.__file__).parent) + os.sep

Figures = dict[str, int]


class Counting:
    """While it lasts, calls are counted; with `all_threads` those of every thread that is begun meanwhile too."""

    def __init__(self, *, all_threads: bool = True) -> None:
        self.calls = self.statements = self.exchanges = 0
        self._all_threads = all_threads

    def __enter__(self) -> Counting:
        _hooked.append(self)
        if self._all_threads:
            threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        _hooked.remove(self)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(_FOLDER):
            self.calls += 1
            self.exchanges += event == "call" and frame.f_code is exchange_of.__code__


_hooked: list[Counting] = []
_CONNECT = sqlite3.connect


def _connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
    """A connection to SQLite that tells its statements."""
    connection: sqlite3.Connection = _CONNECT(*arguments, **named)
    connection.set_trace_callback(_statement)
    return connection


def _statement(_: str) -> None:
    for one in _hooked:
        one.statements += 1


def event(number: int) -> bytes:
    data = {"type": "response.output_text.delta", "sequence_number": number, "delta": f"word {number} "}
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


EVENT = [event(number) for number in range(EVENTS)]
SHAPES = {"one read": [b"".join(EVENT)], "a read an event": EVENT}


def begun(thread: RecorderThread, session: int) -> ExchangeRecorder:
    recorder = thread.begin_exchange("GET", f"/v1/sessions/s{session}/stream", (("Host", "upstream"),))
    recorder.respond("sse", 200, "OK", HEADERS)
    return recorder


def taping(folder: Path) -> Iterator[tuple[str, int]]:
    """A recorder thread that is given a stream in one read, or in a read an event; and a hundred streams of ten."""
    RecorderThread(folder / "warm.db", None).stop()
    for name, reads in SHAPES.items():
        db = folder / f"{name}.db"
        with Counting() as all_threads:
            thread = RecorderThread(db, None)
            recorder = begun(thread, 0)
            for data in reads:
                recorder.sent(recorder.receive(data))
            recorder.end("eof")
            thread.stop()
        yield f"record, {name}: calls", all_threads.calls
        yield f"record, {name}: statements", all_threads.statements
        yield f"record, {name}: rows", rows(db)
    yield "record, a hundred streams: calls", crowd(folder / "crowd.db")


def crowd(db: Path) -> int:
    with Counting() as counting:
        thread = RecorderThread(db, None)
        recorders = [begun(thread, number) for number in range(100)]
        for start in range(0, EVENTS, 100):
            for recorder, data in zip(recorders, EVENT[start : start + 100], strict=True):
                recorder.sent(recorder.receive(data))
        for recorder in recorders:
            recorder.end("eof")
        thread.stop()
    return counting.calls


def following(folder: Path) -> Iterator[tuple[str, int]]:
    """A live view of a hundred streams, of which each has an event at each of eleven looks."""
    db = folder / "followed.db"
    with contextlib.closing(Writer(db)) as writer:
        row_maker = RowMaker(1, Redactor(b"key"), FrameMaker(writer, 1, load("omnigent")))
        writer.write(
            [
                one_recording(
                    Recording(1, "2026-01-01T00:00:00Z", "0", "omnigent", None, recording_id=str(uuid.UUID(int=1)))
                )
            ]
        )
        follower = rows_of(db, Wanted(requests=True), last=0, most=50)
        follower.read()
        numbers = range(1, 101)
        for number in numbers:
            request = Requested(number, "client", 1, "GET", f"/v1/sessions/s{number}/stream", HEADERS)
            writer.write(row_maker.rows([request, Responded(number, "sse", number, 2, 200, "OK", HEADERS)]))
        calls = statements = 0
        for look, data in enumerate(EVENT[:11]):
            reads = [Received(number, look, 10 + look, len(data), data, 20 + look) for number in numbers]
            writer.write(row_maker.rows(reads))
            with Counting() as counting:
                follower.read()
            calls += counting.calls if look else 0  # the first look opens the streams
            statements += counting.statements if look else 0
    yield "follow, a hundred streams: calls", calls
    yield "follow, a hundred streams: statements", statements


def forwarding() -> Iterator[tuple[str, int]]:
    """What stands between a read and a write: calls on the thread of a caller, for each event that comes alone."""
    with tempfile.TemporaryDirectory() as folder:
        thread = RecorderThread(Path(folder) / "run.db", None)
        recorder = begun(thread, 0)
        with Counting(all_threads=False) as counting:
            for data in EVENT:
                recorder.sent(recorder.receive(data))
        recorder.end("eof")
        thread.stop()
    yield "record, a read an event: calls before it is passed on", counting.calls


def holding(folder: Path) -> Iterator[tuple[str, int]]:
    """What a hundred open streams hold, once all that came is in the file."""
    db = folder / "held.db"
    thread = RecorderThread(db, None)
    recorder = begun(thread, 0)
    recorder.sent(recorder.receive(EVENT[0]))
    settled(db, 1)
    before = held()
    recorders = [begun(thread, number) for number in range(1, 101)]
    for one in recorders:
        one.sent(one.receive(EVENT[0]))
    settled(db, 101)
    yield "record, a hundred open streams: blocks", held() - before
    thread.stop()


def weighing(folder: Path) -> Iterator[tuple[str, int]]:
    """The same of the whole proxy, beside one that keeps nothing: so it depends on no version of anything."""
    ours, bare = weights(folder / "weighed.db", settled)
    yield "proxy, a hundred open streams: % of the bytes of a bare one", round(100 * ours / bare)


def held() -> int:
    """The least within half a second: on a busy machine the recorder's thread is still at its last batch."""
    found = []
    for _ in range(10):
        gc.collect()
        found.append(sys.getallocatedblocks())
        time.sleep(0.05)
    return min(found)


def settled(db: Path, streams: int) -> None:
    """Wait until so many streams have their event in the file, and the recorder has turned to nothing else."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        time.sleep(0.2)
        with omnirecord.open_cassette(db) as cassette:
            if sum(len(list(one.frames())) for one in cassette.streams()) >= streams:
                break
    time.sleep(0.2)


async def proxying(folder: Path) -> int:
    """Events that come one by one through the whole proxy."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD.encode())
        for data in EVENT:
            await turn.acquire()
            writer.write(data)
        writer.close()

    turn = asyncio.Semaphore(1)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as upstream:
        port = upstream.sockets[0].getsockname()[1]
        with Counting() as counting:
            async with omnirecord.record(f"http://127.0.0.1:{port}", db=folder / "proxied.db") as proxy:
                reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
                writer.write(b"GET /v1/sessions/s/stream HTTP/1.1\r\nHost: x\r\n\r\n")
                for _ in EVENT:
                    await reader.readuntil(b"}\n\n")
                    turn.release()
                writer.close()
    return counting.calls


async def replaying(cassette: Path) -> int:
    prepare_expressions()  # a process does this once
    with Counting() as counting:
        async with omnirecord.replay(cassette, timing="instant") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            writer.write(b"GET /v1/sessions/s0/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in EVENT:
                await reader.readuntil(b"}\n\n")
            writer.close()
    return counting.calls


def reading(folder: Path) -> Iterator[tuple[str, int]]:
    """Commands on a shipped session that is repeated until it has 1,000 events."""
    text, db = folder / "many.jsonl", folder / "many.db"
    lines = SHIPPED.read_text().splitlines()
    copies = -(-EVENTS // sum('"seq"' in line for line in lines))
    text.write_text("".join(f"{line}\n" for line in repeated(lines, copies)))
    quietly("import", str(text), "--db", str(db))
    with omnirecord.open_cassette(db) as cassette:
        yield "read: calls", counted(lambda: [list(one.events()) for one in cassette.streams()])
    yield "ls: calls", counted(lambda: quietly("ls", str(db), "--streams"))
    yield "show: calls", counted(lambda: quietly("show", str(db)))
    yield "doctor: calls", counted(lambda: omnirecord.doctor(db))
    yield "stats: calls", counted(lambda: omnirecord.stats(db))
    for name in ("ls", "show", "doctor", "stats", "sessions"):
        with Counting() as counting:
            quietly(name, str(db))
        yield f"{name}, 171 exchanges: exchanges made", counting.exchanges
        yield f"{name}, 171 exchanges: statements", counting.statements
    yield "validate: calls", counted(lambda: omnirecord.validate(db))
    yield "all facts of a lake: calls", counted(lambda: facts(db))
    yield "search, first: calls", counted(lambda: omnirecord.search(db, "tide"))
    yield "search, again: calls", counted(lambda: omnirecord.search(db, "tide"))


def facts(db: Path) -> None:
    """The analyses with which a recording is shipped, in one pass."""
    with contextlib.closing(open_store(db)) as store:
        told = Whole(store, 1)
        for table in (
            told.sessions,
            told.turns,
            told.tools,
            told.approvals,
            told.model_calls,
            told.findings,
            told.problems,
        ):
            list(table())


def counted(function: Callable[[], object]) -> int:
    with Counting() as counting:
        function()
    return counting.calls


def quietly(*words: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        command(list(words))


def rows(db: Path) -> int:
    """Of all tables of a cassette."""
    with contextlib.closing(sqlite3.connect(db)) as file:
        names = [name for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return sum(file.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names)


def figures() -> Figures:
    """All of them, by name. Changes this process: it is for one that ends."""
    sqlite3.connect = _connect  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found: Figures = dict(taping(folder))
        found |= dict(following(folder))
        found |= forwarding()
        found |= holding(folder)
        found |= weighing(folder)
        found["proxy, a read an event: calls"] = asyncio.run(proxying(folder))
        for name in SHAPES:
            found[f"replay, {name}: calls"] = asyncio.run(replaying(folder / f"{name}.db"))
        found |= reading(folder)
        return found


def lines(found: Figures) -> Iterator[str]:
    """The bounds of the test, as they would be now: a tenth over the figure, rounded."""
    for name, figure in found.items():
        digits = 10 ** max(0, len(str(figure)) - 2)
        bound = -(-figure * 11 // (10 * digits)) * digits
        yield f'    "{name}": {bound:_},  # {figure:,}'


if __name__ == "__main__":
    sys.stdout.write(json.dumps(figures()) + "\n")
