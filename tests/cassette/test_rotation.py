"""Rotation and retention: several cassettes of one run, nothing lost between them, nothing removed that is not ours."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

import omnirecord
from omnirecord.analysis.follow.tail import Wanted, follow
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.rotation import RotatedCassettes
from omnirecord.cassette.sqlite import Writer
from omnirecord.cassette.sqlite.lock import RecorderLock, lock_path
from omnirecord.errors import CassetteInUse, NotACassette, UsageError
from omnirecord.recorder import files as file_module
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.recorder.queue import ExchangeRecorder
from omnirecord.recorder.thread import RecorderThread
from omnirecord.redaction.redactor import content_scanner
from omnirecord.wire.limits import Retention, Rotation
from tests.recorder.proxy.test_websocket import HELLO, SWITCH, TEXT, ws
from tests.support import wire
from tests.support.process import Process
from tests.support.wire import STREAM, Wire, chunk, connected, event, get
from tests.ui.test_control import Talker

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
        Process(upstream.url, db, "--rotate", "1MB") as proxy,
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
        await asyncio.sleep(0.4)
        await proxy.end(signal.SIGKILL)
        task.cancel()
    left = [path for path in files(tmp_path) if f"{path.name}-wal" in names(tmp_path)]
    assert len(left) > 1, "a stream that has no whole event ends where it began"
    contents = [wire.content(path, 1) for path in files(tmp_path)]
    assert b"".join(contents).startswith(seen)
    RecorderThread(db, None, rotation=Rotation(seconds=3600)).stop()
    assert {path.suffix for path in tmp_path.iterdir()} == {".db"}
    assert [wire.content(path, 1) for path in files(tmp_path)] == contents


async def test_every_command_reads_every_file(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    recorder = run.stream()
    for n in range(3):
        receive(recorder, event(2 * n), event(2 * n + 1))
        await run.rotates()
    receive(recorder, event(7))
    recorder.end("client_left")
    run.stop()
    for path in [*files(tmp_path), tmp_path / "run.db"]:
        assert omnirecord.validate(path).ok
        assert len(omnirecord.stats(path)) == len({x.session_id for x in wire.exchanges(path) if x.session_id})
        assert {one.severity for one in omnirecord.doctor(path)} <= {"note"}
        omnirecord.search(path, "x")
        text = tmp_path / "copy.jsonl"
        with wire.opened(path) as store:
            text.write_bytes(b"".join(jsonl_bytes(store)))
        assert omnirecord.diff(path, text) == []


async def test_so_many_files_are_kept_and_the_current_one_and_their_search_indexes_go_with_them(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "run.db", Retention(files=2))
    for n in range(5):
        await run.rotates()
        for path in files(tmp_path):
            path.with_name(path.name + "-search").touch()
        await wire.eventually(lambda n=n: len(files(tmp_path)) == min(3, n + 2))  # type: ignore[misc]
    run.stop()
    kept = files(tmp_path)
    assert {path.name.removesuffix("-search") for path in tmp_path.iterdir()} == {"run.db", *(p.name for p in kept)}


def test_the_name_of_a_file_that_is_just_being_removed_is_not_taken(tmp_path: Path) -> None:
    rotated, now = RotatedCassettes(tmp_path / "run.db", Retention()), datetime.now(UTC)
    names = [rotated.named((now + timedelta(seconds=n)).strftime("%Y%m%dT%H%M%SZ")) for n in range(4)]
    removing = [RecorderLock(path) for path in names]
    writer = rotated.begin()
    writer.close()
    assert writer.path is not None
    assert writer.path > names[-1]
    for lock in removing:
        lock.release()


def test_a_link_that_a_killed_recorder_was_making_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".omnirecord.link.abcd_123"
    left.mkdir(0o700)
    (left / "run.db").symlink_to("run-20261127T100000Z.db")
    os.utime(left, (1, 1))
    path = begun(RotatedCassettes(tmp_path / "run.db", Retention()))
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, "run.db"]
    assert (tmp_path / "run.db").readlink() == Path(path.name)


def test_a_pipe_in_the_place_of_the_lock_file_is_a_sentence_and_stays(tmp_path: Path) -> None:
    """It was locked, and removed at the end."""
    path = tmp_path / "a.db"
    os.mkfifo(lock_path(path))
    with pytest.raises(NotACassette, match="is a pipe or a device"):
        Writer(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.db-lock"]


def begun(rotated: RotatedCassettes) -> Path:
    """The next cassette, closed at once, as the newest."""
    writer = rotated.begin()
    writer.close()
    assert writer.path is not None
    rotated.point(writer.path)
    return writer.path


def test_the_newest_in_order_of_recording_are_kept_though_the_clock_was_set_back(tmp_path: Path) -> None:
    rotated = RotatedCassettes(tmp_path / "run.db", Retention(files=2))
    with freeze_time("2026-11-27T10:00:00Z", tick=True):
        early = [begun(rotated) for _ in range(3)]
    with freeze_time("2026-11-26T10:00:00Z", tick=True):
        late = [begun(rotated) for _ in range(3)]
        rotated.prune({late[-1]})
        assert set(files(tmp_path)) == set(late)
        again = RotatedCassettes(
            tmp_path / "run.db", Retention(files=1)
        )  # another run, which knows the order from the files
        again.prune({late[-1]})
    assert set(files(tmp_path)) == set(late[1:])
    assert early[0].name > late[-1].name, "by names it would be the other way round"


def test_what_was_begun_between_two_files_is_told_in_order_of_recording(tmp_path: Path) -> None:
    """A reader that follows the link finds the file in between, whatever the clock did."""
    rotated = RotatedCassettes(tmp_path / "run.db", Retention())
    made = []
    for day in (27, 25, 26):
        with freeze_time(f"2026-11-{day}T10:00:00Z"):
            made.append(begun(rotated))
    assert RotatedCassettes(tmp_path / "run.db", Retention()).between(made[0], made[2]) == [made[1]]


def test_files_of_a_version_without_numbers_are_the_oldest(tmp_path: Path) -> None:
    rotated = RotatedCassettes(tmp_path / "run.db", Retention(files=1))
    with freeze_time("2026-11-27T10:00:00Z"):
        old = begun(rotated)
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE key = 'made_number'")
    again = RotatedCassettes(tmp_path / "run.db", Retention(files=1))
    with freeze_time("2026-11-26T10:00:00Z"):
        new, newest = begun(again), begun(again)
        again.prune({newest})
    assert set(files(tmp_path)) == {new, newest}


def test_a_clock_that_is_set_ahead_does_not_age_what_was_just_recorded(tmp_path: Path) -> None:
    steady = 0.0
    rotated = RotatedCassettes(tmp_path / "run.db", Retention(seconds=3600), lambda: steady)
    with freeze_time("2026-11-26T10:00:00Z"):
        full, current = begun(rotated), begun(rotated)
        for path in (full, current):
            os.utime(path, (1, 1))  # it looks old from here on
        rotated.prune({full, current})
        steady = 3599.0
        rotated.prune({current})
        assert full.exists()
        steady = 3601.0
        rotated.prune({current})
    assert not full.exists()


async def test_files_are_kept_by_size_and_age(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    for _ in range(3):
        await run.rotates()
    run.stop()
    sizes = [path.stat().st_size for path in files(tmp_path)]
    os.utime(files(tmp_path)[0], (1, 1))
    RotatedCassettes(tmp_path / "run.db", Retention(seconds=3600)).prune(set())
    assert len(files(tmp_path)) == 3
    RotatedCassettes(tmp_path / "run.db", Retention(size=sum(sizes[-2:]))).prune({files(tmp_path)[-1]})
    assert len(files(tmp_path)) == 2


async def test_only_what_a_rotation_made_is_removed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db", Retention(files=1))
    await run.rotates()
    run.stop()
    mine = files(tmp_path)[0]
    others = {
        "run-20200101T000000Z.db": lambda path: shutil.copy(mine, path),  # a copy has another's name in it
        "run-20200102T000000Z.db": lambda path: path.write_bytes(b"no cassette"),
        "run-20200103T000000Z.db": lambda path: RecorderThread(path, None).stop(),
        "run-20200104T000000Z.db": lambda path: path.symlink_to(mine.name),
        "run-2020.db": lambda path: path.touch(),
        "other-20200101T000000Z.db": lambda path: shutil.copy(mine, path),
    }
    for name, make in others.items():
        make(tmp_path / name)
    RotatedCassettes(tmp_path / "run.db", Retention(files=1)).prune(set())
    assert names(tmp_path) >= others.keys()
    assert mine.exists()


async def test_what_somebody_records_into_is_not_removed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    await run.rotates()
    await run.rotates()
    run.stop()
    first, second, _ = files(tmp_path)
    other = RecorderThread(first, None)
    RotatedCassettes(tmp_path / "run.db", Retention(files=1)).prune(set())
    assert first.exists()
    assert second.exists()
    other.stop()
    RotatedCassettes(tmp_path / "run.db", Retention(files=1)).prune(set())
    assert not first.exists()


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
    for _ in range(3):
        run.request()
        await asyncio.sleep(0.1)
    said = [record.message for record in caplog.records if "no new file can be begun" in record.message]
    assert len(said) == 1, "once a minute"
    assert f"{link} grows on" in said[0]
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


@asynccontextmanager
async def numbered(folder: Path, **how: Any) -> AsyncIterator[Proxy]:
    async def handle(conn: Wire) -> None:
        await conn.stream()
        for n in range(400):
            await conn.send(chunk(event(n)))
            await asyncio.sleep(0.005)
        await conn.gone()

    async with wire.Upstream(handle) as upstream, Proxy(upstream.url, folder / "run.db", rotate="1h", **how) as proxy:
        proxy._recorder_thread.files._rotation = Rotation(seconds=0.4)
        yield proxy


@pytest.mark.slow
@pytest.mark.parametrize("by", ["file", "url"])
async def test_who_follows_hears_every_event_once_over_all_files(tmp_path: Path, by: str) -> None:
    heard: list[int] = []
    async with numbered(tmp_path, control=True) as proxy, connected(proxy.url, get()) as client:
        await client.head()

        def listen() -> None:
            source = proxy.url if by == "url" else str(tmp_path / "run.db")
            for row in follow(source, Wanted(), last=1000, say=lambda _: None):
                heard.append(row["sequence_number"])
                if heard[-1] == 399:
                    return

        task = asyncio.create_task(asyncio.to_thread(listen))
        await client.until(b'"delta":"399')
        await asyncio.wait_for(task, 20)
    assert len(files(tmp_path)) > 2
    assert heard == list(range(400))


@pytest.mark.parametrize("by", ["file", "url"])
async def test_an_answer_that_ends_in_an_old_file_is_told_to_its_end_and_what_is_in_the_new_one_meanwhile(
    tmp_path: Path, by: str
) -> None:
    talker, heard = Talker(), list[int]()
    async with (
        wire.Upstream(talker.handle) as upstream,
        Proxy(upstream.url, tmp_path / "run.db", rotate="1h", control=True) as proxy,
        connected(proxy.url, b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") as posts,
        connected(proxy.url, get()) as gets,
    ):
        await posts.head()
        await gets.head()

        def listen() -> None:
            source = proxy.url if by == "url" else str(tmp_path / "run.db")
            for row in follow(source, Wanted(), last=1000, say=lambda _: None):
                heard.append(row["sequence_number"])

        async def say(numbers: range) -> None:
            """Half of them by the answer to the POST."""
            for n in numbers:
                await talker.say(event(n), stream=n % 2)
            await wire.eventually(lambda: sorted(heard) == list(range(numbers.stop)))

        following = asyncio.create_task(asyncio.to_thread(listen))
        await say(range(2))
        old, proxy._recorder_thread.files._rotation = proxy._recorder_thread.file, SMALL
        await say(range(2, 4))
        await wire.eventually(lambda: proxy._recorder_thread.file is not old)
        proxy._recorder_thread.files._rotation = Rotation(seconds=3600)
        await say(range(4, 8))
        assert not old.is_closed
        await talker.say(event(8), stream=0)
        await wire.eventually(lambda: event(8) in wire.content(old.path, 1) + wire.content(old.path, 2))
    await asyncio.wait_for(following, 20)
    assert sorted(heard) == list(range(9)), "with what came last before the recorder stopped"


async def test_a_cassette_of_several_is_served_from_its_first_event_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    recorder = run.stream()
    receive(recorder, event(1))
    await run.rotates()
    receive(recorder, event(2), event(3))
    recorder.end("eof")
    run.stop()
    second = files(tmp_path)[1]
    async with omnirecord.replay(second) as server, asyncio.timeout(5):
        answer = await wire.ask(server.url, get("/v1/sessions/s/stream"))
    assert answer.body == event(3)


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
