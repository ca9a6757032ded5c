"""Rotation and retention: several cassettes of one run, nothing lost between them, nothing removed that is not ours."""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.cassette.rotation import RotatedCassettes
from omnirecord.cassette.sqlite import Writer
from omnirecord.errors import CassetteInUse, UsageError
from omnirecord.recorder import files as file_module
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.recorder.queue import ExchangeRecorder
from omnirecord.recorder.thread import RecorderThread
from omnirecord.redaction.redactor import content_scanner
from omnirecord.wire.limits import Retention, Rotation
from tests.recorder.proxy.test_websocket import HELLO, SWITCH, TEXT, ws
from tests.support import wire
from tests.support.process import ForkedProcess
from tests.support.watchdog import slowness
from tests.support.wire import STREAM, Wire, chunk, connected, event, get

HEADERS = (("Content-Type", "text/event-stream"),)
SMALL = Rotation(size=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be full at once, and is closed soon."""
    monkeypatch.setattr(file_module, "LEAST_AGE", 0.0)
    monkeypatch.setattr(file_module, "LINGER", 0.05)


def files(folder: Path) -> list[Path]:
    """The cassettes, oldest first."""
    return sorted(path for path in folder.iterdir() if path.suffix == ".db" and not path.is_symlink())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Run:
    """A recorder thread that rotates when it is told to."""

    def __init__(self, db: Path, keep: Retention | None = None, rotation: Rotation = SMALL, **options: Any) -> None:
        self.thread = RecorderThread(db, "http://a", rotation=rotation, keep=keep, **options)

    async def rotates(self) -> None:
        """Something is recorded, so that the file is full, and a new one is begun."""
        before = self.thread.file
        self.request()
        await wire.eventually(lambda: self.thread.file is not before)

    def request(self) -> None:
        recorder = self.thread.begin_exchange("GET", "/x", ())
        recorder.respond("http", 200, "OK", ())
        recorder.end("eof")

    def stream(self, method: str = "GET", headers: Any = HEADERS) -> ExchangeRecorder:
        recorder = self.thread.begin_exchange(method, "/v1/sessions/s/stream", ())
        recorder.respond("sse", 200, "OK", headers)
        return recorder

    def stop(self) -> None:
        self.thread.stop()


def receive(recorder: ExchangeRecorder, *parts: bytes) -> None:
    for part in parts:
        recorder.sent(recorder.receive(part))


async def test_a_stream_goes_on_in_the_next_file_behind_a_whole_event_and_no_byte_is_lost(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    recorder = run.stream()
    receive(recorder, event(1), event(2)[:20])
    await run.rotates()
    receive(recorder, event(2)[20:] + event(3) + event(4)[:30], event(4)[30:], event(5))
    recorder.end("client_left")
    run.stop()

    old, new = files(tmp_path)[:2]
    assert (wire.content(old), wire.content(new)) == (event(1) + event(2) + event(3), event(4) + event(5))
    assert {frame.verdict for path in (old, new) for frame in wire.frames(path)} == {"valid"}
    assert all(frame.sent_ns is not None for path in (old, new) for frame in wire.frames(path))
    assert (wire.ending(old), wire.ending(new)) == ("recorder_stopped", "client_left")
    (begun,) = [x for x in wire.exchanges(old) if x.stream]
    (gone_on,) = [x for x in wire.exchanges(new) if x.stream]
    assert (begun.exchange, begun.stream) == (gone_on.exchange, gone_on.stream), "it keeps its numbers"
    assert begun.request.target == gone_on.request.target


async def test_a_file_is_a_clean_cassette_once_all_in_it_has_ended_and_the_link_leads_to_the_newest(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "run.db")
    recorder = run.stream()
    receive(recorder, event(1))
    await run.rotates()
    old = files(tmp_path)[0]
    assert names(tmp_path) > {f"{old.name}-wal", f"{old.name}-lock"}, "the stream has not moved yet"
    receive(recorder, event(2), event(3))
    await wire.eventually(lambda: f"{old.name}-lock" not in names(tmp_path))
    assert not [name for name in names(tmp_path) if name.startswith(f"{old.name}-")]
    assert (tmp_path / "run.db").resolve() == files(tmp_path)[-1]
    run.stop()
    assert {path.suffix for path in tmp_path.iterdir()} == {".db"}


@pytest.mark.parametrize(
    ("method", "headers"), [("POST", HEADERS), ("GET", (*HEADERS, ("Content-Encoding", "gzip")))], ids=["POST", "gzip"]
)
async def test_what_cannot_be_cut_ends_where_it_began(tmp_path: Path, method: str, headers: Any) -> None:
    run = Run(tmp_path / "run.db")
    recorder = run.stream(method, headers)
    receive(recorder, b"a")
    await run.rotates()
    receive(recorder, b"b\n\n", b"c\n\n")
    recorder.end("eof")
    run.stop()
    old = files(tmp_path)[0]
    assert [x.response_bytes for x in wire.exchanges(old) if x.stream] == [7]
    assert not any(x.stream for path in files(tmp_path)[1:] for x in wire.exchanges(path))


async def test_a_body_under_way_is_whole_in_its_file(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    recorder = run.thread.begin_exchange("POST", "/x", (("Content-Type", "application/json"),))
    recorder.body("request", b'{"password": "one two')
    await run.rotates()
    recorder.body("request", b' three"}')
    recorder.respond("http", 200, "OK", ())
    recorder.body("response", b"answer")
    recorder.end("eof")
    run.stop()
    (first, *_) = files(tmp_path)
    assert b"two" not in wire.body(first, "request")
    assert wire.body(first, "response") == b"answer"


async def test_a_websocket_goes_on_between_two_messages(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.head()
        await conn.send(SWITCH + b"\r\n")
        for n in range(300):
            await conn.send(ws(TEXT, b"message %d" % n))
            await asyncio.sleep(0.005)
        await conn.gone()

    async with wire.Upstream(handle) as upstream, Proxy(upstream.url, tmp_path / "run.db", rotate="1MB") as proxy:
        proxy._recorder_thread.files._rotation = Rotation(seconds=0.2)
        async with connected(proxy.url, HELLO) as client:
            await client.head()
            await client.until(b"message 299")
    told = []
    for path in files(tmp_path):
        with wire.opened(path) as store:
            told.append([m.data for x in store.exchanges() for m in store.messages(x.exchange)])
    assert len([messages for messages in told if messages]) > 2
    assert [data for messages in told for data in messages] == [b"message %d" % n for n in range(300)]


async def test_secrets_have_the_same_pseudonyms_in_all_files(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    for _ in range(2):
        run.thread.begin_exchange("GET", "/x", (("Authorization", "Bearer abc"),)).end("eof")
        await run.rotates()
    run.stop()
    told = {x.request.headers for path in files(tmp_path) for x in wire.exchanges(path) if x.request.headers}
    assert len(told) == 1
    assert "abc" not in str(told)


async def test_numbers_and_clocks_of_a_file(tmp_path: Path) -> None:
    """Numbers go on over the files of a run; each has a recording of its own, which begins with it."""
    run = Run(tmp_path / "run.db")
    await run.rotates()
    await run.rotates()
    run.request()
    run.stop()
    found = [x for path in files(tmp_path) for x in wire.exchanges(path)]
    assert [x.exchange for x in found] == [1, 2, 3]
    assert {x.recording for x in found} == {1}
    assert all(0 <= x.request.at_ns < 1e9 for x in found)


SECRET = "sk-PLANTEDsEcReT0123456789"


def said(text: str) -> bytes:
    return b'data: {"type": "response.output_text.delta", "delta": "%s"}\n\n' % text.encode()


async def test_a_secret_that_is_cut_in_two_by_a_rotation_is_masked_in_both_files(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db", content=content_scanner("content", ()))
    recorder = run.stream()
    receive(recorder, said(SECRET[:9])[:50])
    await run.rotates()
    receive(recorder, said(SECRET[:9])[50:], said(SECRET[9:]), said(" more"))
    socket = run.thread.begin_exchange("GET", "/tunnel", ())
    socket.respond("websocket", 101, "", ())
    socket.sent(socket.message("down", 1, said(SECRET[:9])[6:-2]))
    await run.rotates()
    socket.sent(socket.message("down", 1, said(SECRET[9:])[6:-2]))
    run.stop()
    first, second = files(tmp_path)[:2]
    assert wire.content(first) == said(SECRET[:3] + "*" * 6)
    assert wire.content(second) == said("*" * len(SECRET[9:])) + said(" more")
    for path in files(tmp_path):
        assert SECRET[3:9].encode() not in path.read_bytes()
        assert SECRET[9:15].encode() not in path.read_bytes()


async def test_a_file_of_several_that_is_removed_is_begun_anew_and_the_link_leads_there(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db", rotation=Rotation(seconds=3600))
    recorder = run.stream()
    receive(recorder, event(1))
    (old,) = files(tmp_path)
    await wire.eventually(lambda: wire.content(old) == event(1))
    old.rename(tmp_path / "moved.away")
    await wire.eventually(lambda: (tmp_path / "run.db").exists())
    receive(recorder, event(2))
    recorder.end("eof")
    run.stop()
    newest = (tmp_path / "run.db").resolve()
    assert [frame.raw for frame in wire.frames(newest)] == [None, event(2)]
    assert any("was removed or moved away" in one for one in wire.incidents(newest))
    assert wire.content(tmp_path / "moved.away") == event(1)
    assert RotatedCassettes(tmp_path / "run.db", Retention()).current() == newest, (
        "it is one of those that --keep counts"
    )


async def test_a_file_in_which_nothing_was_recorded_is_not_rotated(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db", rotation=Rotation(seconds=0.01))
    run.thread.files.turn()
    await asyncio.sleep(0.1)
    run.thread.files.turn()
    run.stop()
    assert len(files(tmp_path)) == 1


async def test_the_next_run_goes_on_in_the_newest_file_and_finishes_what_a_killed_one_left(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    await run.rotates()
    run.stop()
    again = Run(tmp_path / "run.db", rotation=Rotation(seconds=3600))
    again.request()
    again.stop()
    assert len(files(tmp_path)) == 2
    assert [x.recording for x in wire.exchanges(tmp_path / "run.db")] == [2]


@pytest.mark.slow
async def test_a_kill_between_two_files_loses_nothing_and_the_next_run_finishes_both(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        line, _ = await conn.head()
        await conn.send(STREAM)
        for n in range(10_000):
            await conn.send(chunk(event(n, 2000) if b"fast" in line else event(n, 2000)[:-3]))
            await asyncio.sleep(0.001)

    db = tmp_path / "run.db"
    async with (
        wire.Upstream(handle) as upstream,
        ForkedProcess(upstream.url, db, "--rotate", "1MB") as proxy,
        connected(proxy.url, get("/fast")) as fast,
        connected(proxy.url, get("/stuck")) as stuck,
    ):
        await fast.head()
        await stuck.head()
        received = b""

        async def reads() -> None:
            nonlocal received
            while True:
                received += await fast.chunk()
                await stuck.chunk()

        task = asyncio.create_task(reads())
        await wire.eventually(lambda: len(files(tmp_path)) > 1, 30)
        seen = received
        await asyncio.sleep(0.4 * slowness())
        await proxy.end(signal.SIGKILL)
        task.cancel()
    left = [path for path in files(tmp_path) if f"{path.name}-wal" in names(tmp_path)]
    assert len(left) > 1, "a stream that has no whole event ends where it began"
    contents = [wire.content(path, 1) for path in files(tmp_path)]
    assert b"".join(contents).startswith(seen)
    RecorderThread(db, None, rotation=Rotation(seconds=3600)).stop()
    assert {path.suffix for path in tmp_path.iterdir()} == {".db"}
    assert [wire.content(path, 1) for path in files(tmp_path)] == contents


def begun(folder: Path) -> list[Path]:
    """Files that a recorder had made when it was killed: empty, without tables, with a log, without a recording."""
    empty, page, log, tables = (folder / f"run-2026010{n}T000000Z.db" for n in range(1, 5))
    empty.touch()
    for path in (page, log):
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        if path == log:
            connection.execute("CREATE TABLE one (two)")
            connection.execute("DROP TABLE one")
            copies = {one: one.read_bytes() for one in (path, path.with_name(f"{path.name}-wal"))}
        connection.close()
    for path, data in copies.items():
        path.write_bytes(data)
    Writer(tables).close()
    return [empty, page, log, tables]


def test_files_that_a_killed_recorder_had_only_begun_are_removed_by_the_next(tmp_path: Path) -> None:
    left = begun(tmp_path)
    text, mine, older = (tmp_path / f"run-2026020{n}T000000Z.db" for n in range(1, 4))
    text.write_text("mine")
    connection = sqlite3.connect(mine)
    connection.execute("CREATE TABLE one (two)")
    connection.close()
    RecorderThread(older, None).stop()
    thread = RecorderThread(tmp_path / "run.db", None, rotation=Rotation(seconds=3600))
    thread.stop()
    assert files(tmp_path) == sorted([text, mine, older, thread.file.path])
    assert not any(one.name.startswith(path.name) for path in left for one in tmp_path.iterdir())


def test_a_file_that_is_no_link_of_ours_is_left_as_it_is(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    db.write_text("mine")
    with pytest.raises(
        UsageError, match=r"run\.db is there already: with --rotate it is a link to the newest of run-TIME"
    ):
        RecorderThread(db, None, rotation=SMALL)
    assert names(tmp_path) == {"run.db"}
    db.unlink()
    db.symlink_to("elsewhere.db")
    with pytest.raises(UsageError, match="is there already"):
        RecorderThread(db, None, rotation=SMALL)


def test_two_recorders_cannot_have_one_file_by_its_link_and_its_name(tmp_path: Path) -> None:
    thread = RecorderThread(tmp_path / "run.db", None, rotation=SMALL)
    for path in (tmp_path / "run.db", thread.file.path):
        with pytest.raises(CassetteInUse):
            RecorderThread(path, None)
    with pytest.raises(CassetteInUse):
        RecorderThread(tmp_path / "run.db", None, rotation=SMALL)
    thread.stop()


async def test_a_name_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    await run.rotates()
    await run.rotates()
    run.stop()
    assert len(files(tmp_path)) == 3, "all in one second"


@pytest.mark.parametrize("why", ["folder", "link"])
async def test_where_no_new_file_can_be_begun_the_old_one_grows_on_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(file_module, "ROTATE_AGAIN", 0.0)
    caplog.set_level(logging.INFO, "omnirecord")
    db = tmp_path / "run.db"
    run = Run(db, rotation=Rotation(seconds=3600))
    link = db.readlink()
    if why == "link":
        db.unlink()
        db.write_text("somebody's")
    else:
        monkeypatch.setattr(RotatedCassettes, "_free_name", lambda _: tmp_path / "gone" / "run.db")
    run.thread.files._rotation = SMALL

    def said() -> list[str]:
        return [record.message for record in caplog.records if "no new file can be begun" in record.message]

    try:
        run.request()
        await wire.eventually(said)
        for _ in range(2):
            run.request()
            await asyncio.sleep(0.1)
    except BaseException:
        run.stop()
        raise
    assert len(said()) == 1, "once a minute"
    assert f"{link} grows on" in said()[0]
    if why == "link":
        assert db.read_text() == "somebody's"
        db.unlink()
    else:
        monkeypatch.undo()
        monkeypatch.setattr(file_module, "LEAST_AGE", 0.0)
        run.thread.files._not_before = 0.0
    await run.rotates()
    run.stop()
    assert any("a new file could be begun" in record.message for record in caplog.records)
    assert len(wire.exchanges(tmp_path / link)) >= 3


async def test_a_rotating_proxy_says_where_it_records_and_python_has_the_same_options(tmp_path: Path) -> None:
    async with wire.Upstream(wire.answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as upstream:
        db = tmp_path / "run.db"
        async with omnirecord.record(upstream.url, db, rotate=["500MB", "1h"], keep=[10, "7d", "5GB"]) as proxy:
            await wire.ask(proxy.url, get())
    assert len(wire.exchanges(db)) == 1
    assert db.is_symlink()


def test_keep_without_rotate_is_refused() -> None:
    with pytest.raises(UsageError, match="give --rotate as well"):
        omnirecord.record("http://a", keep=10)


async def test_a_file_that_is_locked_when_it_is_looked_at_ends_no_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run.db", rotation=Rotation(seconds=3600))

    def locked() -> int:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(run.thread.file.writer, "size", locked)
        run.thread.files._rotation = SMALL
        run.request()
        await wire.eventually(lambda: "database is locked" in caplog.text)
    await run.rotates()
    run.stop()
    assert len(files(tmp_path)) > 1


async def test_each_cassette_names_its_contract(tmp_path: Path) -> None:
    for db, name in (("a.db", "documented"), ("b.db", "omnigent")):
        RecorderThread(tmp_path / db, None, name).stop()
        with wire.opened(tmp_path / db) as store:
            assert [one.contract for one in store.recordings()] == [name]
