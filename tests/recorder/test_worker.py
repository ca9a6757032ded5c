"""The worker process makes the same frames as the recorder would, even if one of the two dies."""

from __future__ import annotations

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from omnirecord.recorder import files as file_module
from omnirecord.recorder import supervisor
from omnirecord.recorder.queue import ExchangeRecorder
from omnirecord.recorder.thread import RecorderThread
from omnirecord.wire.limits import Rotation
from tests.support import wire
from tests.support.process import ForkedProcess, children
from tests.support.wire import connected, event, get, stored_frames

KILLS = 10
HEADERS = (("Content-Type", "text/event-stream"),)


@contextmanager
def recording(db: Path, **options: Any) -> Iterator[RecorderThread]:
    thread = RecorderThread(db, None, worker=True, **options)
    try:
        yield thread
    finally:
        thread.stop()


def stream(thread: RecorderThread, *parts: bytes, headers: Any = HEADERS) -> ExchangeRecorder:
    recorder = thread.begin_exchange("GET", "/x", ())
    recorder.respond("sse", 200, "OK", headers)
    receive(recorder, *parts)
    return recorder


def receive(recorder: ExchangeRecorder, *parts: bytes) -> None:
    for part in parts:
        recorder.sent(recorder.receive(part))


def until(is_so: Callable[[], Any]) -> None:
    patience = time.monotonic() + wire.PATIENCE
    while not is_so():
        assert time.monotonic() < patience
        time.sleep(0.01)


def process_of(thread: RecorderThread) -> subprocess.Popen[bytes]:
    """The process that makes its frames."""
    worker = thread._worker
    assert worker is not None
    until(lambda: worker._process)
    assert worker._process is not None
    return worker._process


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_worker_makes_the_same_frames_as_the_recorder(tmp_path: Path) -> None:
    odd = b'data: {"type": "session.status"}\n\n: only a comment\n\ndata: no json\n\ndata: \xff\n\n'
    cut = b'data: {"type": "cut'
    pages = []
    for worker in (False, True):
        db = tmp_path / f"{worker}.db"
        thread = RecorderThread(db, None, worker=worker)
        recorder = stream(thread, *map(event, range(700)), odd, cut)
        recorder.end("eof")
        thread.stop()
        pages.append([(frame.raw, frame.verdict, frame.type) for frame in wire.frames(db)])
        assert stored_frames(db) == len(pages[-1]) == 705
    assert pages[0] == pages[1]


def test_new_frames_are_news(tmp_path: Path) -> None:
    told: list[None] = []
    with recording(tmp_path / "t.db", news=lambda: told.append(None)) as thread:
        stream(thread, event(1), event(2)).end("eof")
        until(lambda: told)
        assert stored_frames(tmp_path / "t.db") > 0


def test_a_process_that_dies_costs_no_byte_and_no_verdict(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_AFTER", 0.05)
    caplog.set_level(logging.WARNING, "omnirecord")
    db = tmp_path / "t.db"
    with recording(db) as thread:
        recorder = stream(thread, event(1))
        until(lambda: stored_frames(db) == 1)
        process_of(thread).kill()
        until(lambda: thread.degraded)
        assert "the process that makes frames ended (signal 9)" in str(thread.degraded)
        receive(recorder, *map(event, range(2, 6)))
        until(lambda: stored_frames(db) == 5)
        until(lambda: thread.degraded is None)
    assert wire.content(db) == b"".join(map(event, range(1, 6)))
    said = [record.message for record in caplog.records]
    assert said[0].startswith("recording degraded: the process that makes frames ended")
    assert said[-1] == "frames are made again"
    assert [path.name for path in tmp_path.iterdir()] == ["t.db"]


def test_one_that_is_killed_again_and_again_under_load_makes_no_frame_twice_and_leaves_none_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_AFTER", 0.01)
    monkeypatch.setattr(supervisor, "RESTART_AT_MOST", 0.01)
    db, moments, sent = tmp_path / "t.db", random.Random(7), 0
    with recording(db) as thread:
        recorders = [stream(thread) for _ in range(4)]
        for _ in range(KILLS):
            process = process_of(thread)
            dies_at = time.monotonic() + moments.uniform(0.0, 0.4)
            while time.monotonic() < dies_at:
                for recorder in recorders:
                    receive(recorder, b"".join(map(event, range(sent, sent + 20))))
                sent += 20
                time.sleep(0.005)
            process.kill()
            until(lambda one=process: process_of(thread) is not one)
        for recorder in recorders:
            recorder.end("eof")
        until(lambda: all(stored_frames(db, number) == sent for number in range(1, 5)))
    assert sent > 0
    for number in range(1, 5):
        assert wire.content(db, number) == b"".join(map(event, range(sent)))
        assert {frame.verdict for frame in wire.frames(db, number)} == {"valid"}
    assert wire.incidents(db) == []


def test_where_no_process_can_be_begun_bytes_are_recorded_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    monkeypatch.setattr("omnirecord.recorder.intervals.GIVE_UP_AFTER", 0.1)
    db = tmp_path / "t.db"
    with recording(db) as thread:
        stream(thread, event(1), event(2))
        until(lambda: wire.content(db) == event(1) + event(2))
        assert "cannot be begun" in str(thread.degraded)
        before = time.process_time()
        time.sleep(0.3)  # in which the recorder is to do nothing: there is nobody to tell what is new
        assert time.process_time() - before < 0.15
    assert [frame.verdict for frame in wire.frames(db)] == ["valid"] * 2, "whoever reads makes them"
    assert any("frames were not finished in time" in record.message for record in caplog.records)


def test_where_no_thread_can_be_begun_bytes_are_recorded_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error ended the recording thread, and nothing was written from then on."""
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "omnirecord-frames":
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr("omnirecord.recorder.intervals.GIVE_UP_AFTER", 0.1)
    db = tmp_path / "t.db"
    with recording(db) as thread:
        stream(thread, event(1), event(2))
        until(lambda: wire.content(db) == event(1) + event(2))
        assert "cannot be begun: can't start new thread" in str(thread.degraded)


def test_where_the_recording_does_not_keep_up_frames_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = tmp_path / "t.db"
    with recording(db) as thread:
        recorder = stream(thread, event(1))
        until(lambda: stored_frames(db) == 1)
        with monkeypatch.context() as late:
            late.setattr("omnirecord.recorder.intervals.HOLD_FRAMES_AT", -1)
            receive(recorder, event(2))
            until(lambda: wire.content(db) == event(1) + event(2))
            receive(recorder, event(3))
            until(lambda: wire.content(db) == event(1) + event(2) + event(3))
            assert stored_frames(db) == 1
        until(lambda: stored_frames(db) == 3)


def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    db = tmp_path / "t.db"
    with recording(db) as thread:
        recorder = stream(thread, event(1))
        until(lambda: stored_frames(db) == 1)
        other = sqlite3.connect(db, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        receive(recorder, event(2))
        until(lambda: thread.degraded)
        other.close()
        until(lambda: stored_frames(db) == 2)
        until(lambda: thread.degraded is None)


def test_a_full_file_is_let_go_and_left_as_one_clean_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "LEAST_AGE", 0.0)
    monkeypatch.setattr(file_module, "LINGER", 0.05)
    with recording(tmp_path / "run.db", rotation=Rotation(size=1)) as thread:
        recorder = stream(thread, event(1))
        first = thread.file.path
        until(lambda: thread.file.path != first)
        receive(recorder, event(2), event(3))
        until(lambda: not first.with_name(first.name + "-wal").exists())
        recorder.end("eof")
    assert stored_frames(first) == 2, "it goes on behind the end of an event"
    assert sum(stored_frames(path) for path in tmp_path.glob("run-*.db")) == 3


def test_a_file_that_is_moved_away_has_its_frames_and_so_has_the_next(tmp_path: Path) -> None:
    db, moved = tmp_path / "t.db", tmp_path / "moved.db"
    with recording(db) as thread:
        recorder = stream(thread, event(1))
        until(lambda: stored_frames(db) == 1)
        before = thread.file.writer
        db.rename(moved)
        until(lambda: thread.file.writer is not before)
        receive(recorder, event(2))
        until(lambda: stored_frames(db) >= 2)
    assert wire.content(moved) == event(1)
    assert wire.frames(db)[-1].raw == event(2)


def test_what_masks_content_decides_how_far_frames_are_made(tmp_path: Path) -> None:
    from omnirecord.redaction.redactor import content_scanner
    from tests.cassette.test_scrub import KEY, SECRET
    from tests.support.cassettes import delta

    db = tmp_path / "t.db"
    whole = delta(KEY) + delta("x")
    with recording(db, content=content_scanner("content", ())) as thread:
        stream(thread, whole[:70], whole[70:]).end("eof")
        until(lambda: stored_frames(db) == 2)  # a worker that has yet to begin is not waited for at the end
    assert SECRET.encode() not in db.read_bytes()


async def streaming(conn: wire.Wire) -> None:
    await conn.stream(event(1))
    await conn.gone()


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [True, False])
async def test_it_ends_with_the_recorder_however_that_ends(tmp_path: Path, is_killed: bool) -> None:
    async with wire.Upstream(streaming) as upstream, ForkedProcess(upstream.url, tmp_path / "t.db") as proxy:
        await wire.eventually(lambda: children(proxy.process.pid))
        (child,) = children(proxy.process.pid)
        await proxy.end(signal.SIGKILL if is_killed else signal.SIGTERM)
        await wire.eventually(lambda: not is_alive(child))


@pytest.mark.slow
async def test_a_signal_to_all_of_them_ends_it_as_it_should(tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches every process of the group."""
    db = tmp_path / "t.db"
    async with (
        wire.Upstream(streaming) as upstream,
        ForkedProcess(upstream.url, db) as proxy,
        connected(proxy.url, get()) as client,
    ):
        await client.head()
        await wire.eventually(lambda: stored_frames(db) == 1)
        (child,) = children(proxy.process.pid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(child, number)
        code, errors = await proxy.end(signal.SIGINT)
    assert (code, errors) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["t.db"]
    assert wire.ending(db) == "recorder_stopped"
