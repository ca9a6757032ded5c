"""The file is taken away from under the recorder: it is noticed within a second, said, and a new one is begun."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store, Writer
from omnirecord.errors import CassetteInUse
from omnirecord.model import TimedFrame
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.recorder.thread import RecorderThread
from tests.support import wire
from tests.support.examples import a_third
from tests.support.process import ForkedProcess
from tests.support.wire import Wire, ask, chunk, connected, event, get, recorded


class Server:
    """Streams that each get the next event when `tell` is called; everything else is answered."""

    def __init__(self) -> None:
        self.conns: list[Wire] = []
        self.told = 0

    async def __call__(self, conn: Wire) -> None:
        line, *_ = await conn.request()
        if b"/stream" not in line:
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        await conn.send(wire.STREAM)
        self.conns.append(conn)
        await conn.gone()

    async def tell(self) -> None:
        self.told += 1
        for conn in self.conns:
            await conn.send(chunk(event(self.told)))


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[tuple[Proxy, Server, Wire]]:
    """A proxy in the middle of a stream of which one event is in the file."""
    server = Server()
    async with recorded(server, folder) as (proxy, _), connected(proxy.url, get("/stream")) as client:
        await client.head()
        await wire.eventually(lambda: server.conns)
        await server.tell()
        assert await client.chunk() == event(1)
        await wire.eventually(lambda: wire.stored_frames(proxy.db) == 1)  # else its frame may be what is waited for
        yield proxy, server, client


async def noticed(proxy: Proxy, db: Path) -> None:
    await wire.eventually(lambda: proxy.db == db and [one for one in incidents(db) if "while it was recorded" in one])


def frames(db: Path) -> list[TimedFrame]:
    """Of the first stream, as soon as there is a cassette."""
    try:
        return wire.frames(db)
    except Exception:
        return []


def incidents(db: Path) -> list[str]:
    """As soon as there is a cassette."""
    try:
        return wire.incidents(db)
    except Exception:
        return []


async def go_on(proxy: Proxy, server: Server, client: Wire) -> None:
    """The stream goes on, and its second event is in the file, behind one that stands for what is not."""
    await server.tell()
    assert await client.chunk() == event(2)
    await wire.eventually(lambda: len(frames(proxy.db)) == 2)
    lost, second = frames(proxy.db)
    assert (lost.verdict, lost.raw, lost.length) == ("truncated", None, len(event(1)))
    assert (second.verdict, second.raw) == ("valid", event(2))
    assert second.offset_ns > lost.offset_ns, "times go on"


async def test_a_file_that_was_removed_is_begun_anew_at_its_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(tmp_path) as (proxy, server, client):
        for path in tmp_path.iterdir():
            path.unlink()
        await noticed(proxy, tmp_path / "run.db")
        await go_on(proxy, server, client)
        assert (await ask(proxy.url, get("/later"))).body == b"ok"
        db = proxy.db
        assert db == tmp_path / "run.db"
        assert db.stat().st_mode & 0o777 == 0o600
    assert [(one.exchange, one.request.target, one.ending) for one in wire.exchanges(db)] == [
        (1, "/stream", "recorder_stopped"),
        (2, "/later", "eof"),
    ]
    assert [one for one in wire.incidents(db) if "was removed or moved away" in one and "is not in this file" in one]
    assert [one for one in caplog.messages if "was removed or moved away" in one and "goes on in" in one]
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"], "one clean file"


@pytest.mark.timed
async def test_it_is_noticed_within_a_second(tmp_path: Path) -> None:
    async with listening(tmp_path) as (proxy, _, _):
        (tmp_path / "run.db").unlink()
        began = time.monotonic()
        await noticed(proxy, tmp_path / "run.db")
        assert time.monotonic() - began < 1.0


async def test_a_file_that_was_moved_away_has_all_that_came_before(tmp_path: Path) -> None:
    """As somebody would do who wants a new one, and knows nothing of the log beside it."""
    async with listening(tmp_path) as (proxy, server, client):
        moved = tmp_path / "old" / "run.db"
        moved.parent.mkdir()
        proxy.db.rename(moved)
        await noticed(proxy, tmp_path / "run.db")
        await go_on(proxy, server, client)
    assert wire.content(moved) == event(1)
    assert wire.ending(moved) == "recorder_stopped"
    assert any("another one begun" in one for one in wire.incidents(moved))
    assert [one.exchange for one in wire.exchanges(proxy.db)] == [1]
    assert [one.recording for one in wire.exchanges(proxy.db)] == [1]


@pytest.mark.parametrize("other", ["a cassette", "something else"])
async def test_a_file_that_took_its_place_is_left_as_it_is(other: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    if other == "a cassette":
        with closing(Writer(theirs)):
            pass
    else:
        theirs.write_bytes(b"a shopping list")
    before = theirs.read_bytes()
    async with listening(tmp_path) as (proxy, server, client):
        theirs.rename(proxy.db)
        await noticed(proxy, tmp_path / "run-2.db")
        await go_on(proxy, server, client)
    assert (tmp_path / "run.db").read_bytes() == before
    assert any("was replaced by another file" in one for one in wire.incidents(tmp_path / "run-2.db"))


async def test_a_file_that_was_emptied_costs_nothing_that_comes_later(tmp_path: Path) -> None:
    async with listening(tmp_path) as (proxy, server, client):
        (tmp_path / "run.db").write_bytes(b"")
        await wire.eventually(lambda: proxy.db == tmp_path / "run-2.db" and frames(proxy.db))
        await go_on(proxy, server, client)
    assert any("was emptied by another program" in one for one in wire.incidents(proxy.db))


async def test_a_folder_that_is_gone_delays_no_stream_and_what_came_waits_until_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    async with listening(folder) as (proxy, server, client):
        caplog.set_level(logging.WARNING, "omnirecord")
        shutil.rmtree(folder)
        await wire.eventually(lambda: "recording degraded" in caplog.text)
        await server.tell()
        assert await client.chunk() == event(2)
        await asyncio.sleep(0.3)
        folder.mkdir()
        await wire.eventually(lambda: len(frames(proxy.db)) == 2)
        assert frames(proxy.db)[1].raw == event(2)
    assert "recording recovered" in caplog.text


async def test_a_file_that_is_removed_while_it_cannot_be_written_costs_what_waited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As somebody does who makes room on a full disk."""
    async with listening(tmp_path) as (proxy, server, _client):
        other = sqlite3.connect(proxy.db, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await server.tell()
        await wire.eventually(lambda: "recording degraded" in caplog.text)
        proxy.db.unlink()
        await wire.eventually(lambda: proxy.db.exists() and frames(proxy.db))
        await server.tell()
        await wire.eventually(lambda: len(frames(proxy.db)) == 2)
        other.close()
    lost, third = frames(proxy.db)
    assert (lost.verdict, lost.length, third.raw) == ("truncated", len(event(1) + event(2)), event(3))
    assert any("for the file that is no longer there" in one for one in wire.incidents(proxy.db))


async def test_a_recorder_whose_folder_stays_away_stops_all_the_same_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.recorder.intervals.GIVE_UP_AFTER", 0.5)
    folder = tmp_path / "folder"
    folder.mkdir()
    async with listening(folder) as (_, server, client):
        shutil.rmtree(folder)
        await wire.eventually(lambda: "recording degraded" in caplog.text)
        await server.tell()
        assert await client.chunk() == event(2)
    assert "recording incomplete" in caplog.text
    assert "a fault of omnirecord" not in caplog.text


async def test_the_commands_say_it_and_end_well(tmp_path: Path) -> None:
    server, db = Server(), tmp_path / "run.db"
    async with (
        wire.Upstream(server) as upstream,
        ForkedProcess(upstream.url, db) as proxy,
        connected(proxy.url, get("/stream")) as client,
    ):
        await client.head()
        await wire.eventually(lambda: server.conns)
        await server.tell()
        await wire.eventually(lambda: wire.content(db) == event(1))
        db.unlink()
        await wire.eventually(lambda: frames(db))
        await server.tell()
        await wire.eventually(lambda: len(frames(db)) == 2)
        code, errors = await proxy.end(signal.SIGTERM)
    assert code == 0
    assert "run.db was removed or moved away; it goes on in" in errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]


async def test_what_was_begun_in_the_lost_file_is_whole_again_as_far_as_it_came_later(tmp_path: Path) -> None:
    """A body and an upload that go on over it: their ends are in the new file, and their sizes are the whole ones."""

    async def handle(conn: Wire) -> None:
        await conn.head()
        await conn.read(4)
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 8\r\n\r\nhalf")
        assert await conn.read(4) == b"more"
        await conn.send(b"done")

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 8\r\n\r\nfour"
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, request) as client:
        await client.head()
        assert await client.read(4) == b"half"
        await wire.eventually(lambda: wire.body(proxy.db) == b"half" and wire.body(proxy.db, "request") == b"four")
        proxy.db.unlink()
        await wire.eventually(lambda: proxy.db.exists() and _is_there(proxy.db))
        await client.send(b"more")
        assert await client.read(4) == b"done"
    (found,) = wire.exchanges(proxy.db)
    assert (found.ending, found.request_bytes, found.response_bytes) == ("eof", 8, 8)
    assert (wire.body(proxy.db, "request"), wire.body(proxy.db)) == (b"more", b"done")


def _is_there(db: Path) -> bool:
    try:
        with closing(open_store(db)) as store:
            return bool(store.exchanges())
    except Exception:
        return False


def test_the_key_of_the_pseudonyms_goes_along(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    headers = (("Authorization", "Bearer abc"),)
    thread = RecorderThread(db, None)
    thread.begin_exchange("GET", "/1", headers).end("eof")
    thread.stop()
    before = Store.open(db)
    thread = RecorderThread(db, None)
    db.rename(tmp_path / "old.db")
    until = time.monotonic() + wire.PATIENCE
    while not _has_recordings(db) and time.monotonic() < until:
        time.sleep(0.02)
    thread.begin_exchange("GET", "/2", headers).end("eof")
    thread.stop()
    assert before.exchanges()[0].request.headers == wire.exchanges(db)[0].request.headers
    before.close()


def _has_recordings(db: Path) -> bool:
    try:
        with closing(open_store(db)) as store:
            return bool(store.recordings())
    except Exception:
        return False


def test_a_lock_that_somebody_removed_is_not_taken_from_who_has_it_now(tmp_path: Path) -> None:
    db, lock = tmp_path / "run.db", tmp_path / "run.db-lock"
    first = Writer(db)
    lock.unlink()
    db.unlink()
    with closing(Writer(db)):
        first.close()
        with pytest.raises(CassetteInUse):
            Writer(db)


SECRET = "sk-PLANTEDsEcReT0123456789"


def said(text: str) -> bytes:
    return b'data: {"type": "response.output_text.delta", "delta": "%s"}\n\n' % text.encode()


@pytest.mark.parametrize("at", a_third(range(1, 2 * len(said("")) + len(SECRET), 9)))
async def test_a_masked_stream_stays_masked_in_the_next_file_wherever_it_is_cut(at: int, tmp_path: Path) -> None:
    stream = said(SECRET[:9]) + said(SECRET[9:])
    server = Server()
    async with (
        recorded(server, tmp_path, redact="content") as (proxy, _),
        connected(proxy.url, get("/stream")) as client,
    ):
        await client.head()
        await wire.eventually(lambda: server.conns)
        await server.conns[0].send(chunk(stream[:at]))
        assert await client.chunk() == stream[:at]
        await wire.eventually(lambda: len(wire.content(proxy.db)) == at)
        moved = tmp_path / "old" / "run.db"
        moved.parent.mkdir()
        proxy.db.rename(moved)
        await noticed(proxy, tmp_path / "run.db")
        later = stream[at:] + event(2)
        await server.conns[0].send(chunk(later))
        assert await client.chunk() == later
        await wire.eventually(lambda: frames(proxy.db)[-1:] and frames(proxy.db)[-1].raw == event(2))
    lost, *_ = frames(proxy.db)
    assert (lost.raw, lost.length) == (None, at), "one frame stands for what is in the file before"
    masked = said(SECRET[:3] + "*" * 6) + said("*" * len(SECRET[9:])) + event(2)
    assert b"".join(one.raw or b"" for one in frames(proxy.db)) == masked[at:]
    for db in (moved, proxy.db):
        on_disk = wire.bytes_on_disk(db)
        assert SECRET[3:9].encode() not in on_disk
        assert SECRET[9:15].encode() not in on_disk
