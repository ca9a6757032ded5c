"""What the event loop puts in waits for the recording thread; of too much, the bytes are counted, and that is said."""

from __future__ import annotations

import logging
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnirecord.model import Headers
from omnirecord.recorder.files import RecordingFile
from omnirecord.recorder.operations import HELD, BodyData, Ended, Incidence, Messaged, Received, Requested, take_batches
from omnirecord.recorder.queue import ExchangeRecorder, RecordQueue
from tests.support.recording_files import file_in


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RecordingFile]:
    with file_in(tmp_path / "t.db") as made:
        yield made


class Ticking:
    """A clock that is moved by hand, and how often somebody was woken."""

    def __init__(self) -> None:
        self.ns, self.woken = 1_000, 0

    def now(self) -> int:
        return self.ns

    def wake(self) -> None:
        self.woken += 1


def test_times_count_from_its_begin() -> None:
    clock = Ticking()
    queue = RecordQueue(clock.now, clock.wake)
    clock.ns += 7
    assert queue.now() == 7


def test_only_who_sleeps_is_woken(file: RecordingFile) -> None:
    clock = Ticking()
    queue = RecordQueue(clock.now, clock.wake)
    queue.note("a", file)
    assert clock.woken == 0
    queue.sleeps = True
    queue.note("b", file)
    assert clock.woken == 1
    assert [(of, op) for of, op in queue.ops] == [(file, Incidence(0, "a")), (file, Incidence(0, "b"))]


def test_what_is_too_much_is_not_kept_until_there_is_room_again_and_both_are_said_once(
    file: RecordingFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "omnirecord")
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 10)
    queue = RecordQueue(lambda: 0, lambda: None)
    assert [queue.room(b"x" * 6, file) for _ in range(4)] == [b"x" * 6, b"x" * 6, None, None]
    assert queue.waiting == 12, "what is not kept does not wait"
    queue.taken_bytes = 12
    assert [queue.room(b"y", file) for _ in range(2)] == [b"y", b"y"]
    said = [op.message for _, op in queue.ops if isinstance(op, Incidence)]
    assert said == [
        "too much waits for the disk: bytes are counted, no longer kept",
        "bytes are kept again; 12 bytes in 2 pieces were not kept",
    ]
    assert [record.getMessage() for record in caplog.records] == [f"recording degraded: {one}" for one in said]


def test_how_much_is_not_kept_is_said_every_ten_seconds(file: RecordingFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 1)
    clock = Ticking()
    queue = RecordQueue(clock.now, clock.wake)
    queue.room(b"kept", file)
    for _ in range(5):
        queue.room(b"x" * 60_000, file)
        clock.ns += 4_000_000_000
    said = [op.message for _, op in queue.ops if isinstance(op, Incidence)]
    assert said[1:] == ["too much waits for the disk: 0.2 MB in 4 pieces are not kept so far"]
    assert (queue.dropped_bytes, queue.dropped) == (300_000, 5)


def test_a_file_that_is_full_now_and_then_is_told_every_ten_seconds(
    file: RecordingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 10)
    clock = Ticking()
    queue = RecordQueue(clock.now, clock.wake)
    for _ in range(50):
        for _ in range(3):
            queue.room(b"x" * 6, file)
        queue.taken_bytes = queue.put_bytes
        clock.ns += 500_000_000
    assert len(queue.ops) == 2 * 3, "25 seconds"


def test_reads_that_are_not_kept_become_one_and_take_no_memory(
    file: RecordingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is put where bytes are kept again, or the exchange ends."""
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 1000)
    files = types.SimpleNamespace(current=file, next_stream=lambda: 1, rotates=False)
    queue = RecordQueue(Ticking().now, lambda: None)
    recorders = [ExchangeRecorder(queue, files, Requested(n, "a", 0, "GET", "/", ()), file) for n in (1, 2)]  # type: ignore[arg-type]
    recorders[0].receive(b"x" * 1000)
    for _ in range(100):
        for recorder in recorders:
            recorder.sent(recorder.receive(b"y" * 10))
            recorder.body("request", b"z")
    recorders[1].end("eof")
    queue.taken_bytes = queue.put_bytes
    recorders[0].receive(b"kept")
    reads = [op for _, op in queue.ops if isinstance(op, Received)]
    assert [(op.exchange, op.n, op.size) for op in reads] == [(1, 0, 1000), (2, 0, 1000), (1, 1, 1000), (1, 2, 4)]
    assert [op.data for op in reads] == [b"x" * 1000, None, None, b"kept"]
    assert all(op.sent_ns is not None for op in reads[1:3])
    assert sum(isinstance(op, BodyData) for _, op in queue.ops) == 2
    assert sum(isinstance(op, Ended) for _, op in queue.ops) == 1
    assert queue.dropped_bytes == 2 * 1000 + 2 * 100


def test_it_is_behind_with_a_quarter_of_what_may_wait(file: RecordingFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 40)
    queue = RecordQueue(lambda: 0, lambda: None)
    queue.room(b"x" * 10, file)
    assert not queue.is_behind
    queue.room(b"x", file)
    assert queue.is_behind


def takes_of(queue: RecordQueue, file: RecordingFile, headers: Headers, number: int = 1) -> ExchangeRecorder:
    files = types.SimpleNamespace(current=file, next_stream=lambda: number, rotates=False)
    return ExchangeRecorder(queue, files, Requested(number, "a", 0, "GET", "/", headers), file)  # type: ignore[arg-type]


def test_headers_and_messages_without_data_are_counted_as_memory(file: RecordingFile) -> None:
    queue = RecordQueue(Ticking().now, lambda: None)
    recorder = takes_of(queue, file, (("X-Large", "v" * 50_000),))
    assert queue.waiting > 50_000
    before = queue.waiting
    for _ in range(1000):
        recorder.message("down", 1, b"")
    assert queue.waiting >= before + 1000 * HELD


def test_all_memory_that_is_counted_is_given_back(file: RecordingFile) -> None:
    queue = RecordQueue(Ticking().now, lambda: None)
    recorder = takes_of(queue, file, (("X-Some", "value"),))
    recorder.respond("websocket", 101, "", (("X-Some", "value"),))
    message = recorder.message("up", 1, b"abc")
    message.written = True
    recorder.sent(message)
    recorder.body("request", b"body")
    recorder.sent(recorder.receive(b"read"))
    recorder.end("eof")
    assert queue.waiting == sum(batch.size for batch in take_batches(queue.ops, 1 << 20, None))


def test_exchanges_that_begin_while_nothing_is_kept_take_no_memory_and_are_counted(
    file: RecordingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 1000)
    queue = RecordQueue(Ticking().now, lambda: None)
    takes_of(queue, file, (("X-Large", "v" * 1000),))
    waiting, ops = queue.waiting, len(queue.ops)
    for number in range(2, 102):
        recorder = takes_of(queue, file, (("X-Large", "v" * 1000),), number)
        recorder.body("request", b"12")
        recorder.respond("sse", 200, "OK", ())
        recorder.sent(recorder.receive(b"345"))
        recorder.message("down", 1, b"6")
        recorder.end("eof")
    assert (queue.waiting, len(queue.ops)) == (waiting, ops + 1), "one incident"
    assert queue.left_out == 100
    assert queue.dropped_bytes >= 100 * (1000 + 6)
    assert "of which 100 are whole exchanges" in queue.told_dropped


def test_of_messages_that_are_not_kept_in_a_row_the_first_is_told(
    file: RecordingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of them grew for as long as the disk took nothing."""
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 1000)
    queue = RecordQueue(Ticking().now, lambda: None)
    recorder = takes_of(queue, file, ())
    recorder.message("down", 1, b"x" * 1000)
    for _ in range(100):
        recorder.sent(recorder.message("down", 1, b"y"))
        recorder.sent(recorder.message("up", 1, b""))
    queue.taken_bytes = queue.put_bytes
    recorder.message("down", 1, b"kept")
    told = [(op.dir, op.number, op.data) for _, op in queue.ops if isinstance(op, Messaged)]
    assert told == [("down", 0, b"x" * 1000), ("down", 1, None), ("up", 2, None), ("down", 201, b"kept")]
