"""What the event loop puts in waits for the recording thread; of too much, the bytes are counted, and that is said."""

from __future__ import annotations

import logging
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnirecord.model import Headers
from omnirecord.recorder.batches import taken
from omnirecord.recorder.files import Reel
from omnirecord.recorder.queue import Intake, Take
from omnirecord.recorder.rows.exchanges import HELD, BodyData, Ended, Incidence, Messaged, Received, Requested
from tests.support.reeling import reel_in


@pytest.fixture
def reel(tmp_path: Path) -> Iterator[Reel]:
    with reel_in(tmp_path / "t.db") as made:
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
    intake = Intake(clock.now, clock.wake)
    clock.ns += 7
    assert intake.now() == 7


def test_only_who_sleeps_is_woken(reel: Reel) -> None:
    clock = Ticking()
    intake = Intake(clock.now, clock.wake)
    intake.note("a", reel)
    assert clock.woken == 0
    intake.sleeps = True
    intake.note("b", reel)
    assert clock.woken == 1
    assert [(of, op) for of, op in intake.ops] == [(reel, Incidence(0, "a")), (reel, Incidence(0, "b"))]


def test_what_is_too_much_is_not_kept_until_there_is_room_again_and_both_are_said_once(
    reel: Reel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "omnirecord")
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 10)
    intake = Intake(lambda: 0, lambda: None)
    assert [intake.room(b"x" * 6, reel) for _ in range(4)] == [b"x" * 6, b"x" * 6, None, None]
    assert intake.waiting == 12, "what is not kept does not wait"
    intake.taken_bytes = 12
    assert [intake.room(b"y", reel) for _ in range(2)] == [b"y", b"y"]
    said = [op.message for _, op in intake.ops if isinstance(op, Incidence)]
    assert said == [
        "too much waits for the disk: bytes are counted, no longer kept",
        "bytes are kept again; 12 bytes in 2 pieces were not kept",
    ]
    assert [record.getMessage() for record in caplog.records] == [f"recording degraded: {one}" for one in said]


def test_how_much_is_not_kept_is_said_every_ten_seconds(reel: Reel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 1)
    clock = Ticking()
    intake = Intake(clock.now, clock.wake)
    intake.room(b"kept", reel)
    for _ in range(5):
        intake.room(b"x" * 60_000, reel)
        clock.ns += 4_000_000_000
    said = [op.message for _, op in intake.ops if isinstance(op, Incidence)]
    assert said[1:] == ["too much waits for the disk: 0.2 MB in 4 pieces are not kept so far"]
    assert (intake.dropped_bytes, intake.dropped) == (300_000, 5)


def test_a_file_that_is_full_now_and_then_is_told_every_ten_seconds(
    reel: Reel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 10)
    clock = Ticking()
    intake = Intake(clock.now, clock.wake)
    for _ in range(50):
        for _ in range(3):
            intake.room(b"x" * 6, reel)
        intake.taken_bytes = intake.put_bytes
        clock.ns += 500_000_000
    assert len(intake.ops) == 2 * 3, "25 seconds"


def test_reads_that_are_not_kept_become_one_and_take_no_memory(reel: Reel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is put where bytes are kept again, or the exchange ends."""
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 1000)
    reels = types.SimpleNamespace(current=reel, next_stream=lambda: 1, rotates=False)
    intake = Intake(Ticking().now, lambda: None)
    takes = [Take(intake, reels, Requested(n, "a", 0, "GET", "/", ()), reel) for n in (1, 2)]  # type: ignore[arg-type]
    takes[0].receive(b"x" * 1000)
    for _ in range(100):
        for take in takes:
            take.sent(take.receive(b"y" * 10))
            take.body("request", b"z")
    takes[1].end("eof")
    intake.taken_bytes = intake.put_bytes
    takes[0].receive(b"kept")
    reads = [op for _, op in intake.ops if isinstance(op, Received)]
    assert [(op.exchange, op.n, op.size) for op in reads] == [(1, 0, 1000), (2, 0, 1000), (1, 1, 1000), (1, 2, 4)]
    assert [op.data for op in reads] == [b"x" * 1000, None, None, b"kept"]
    assert all(op.sent_ns is not None for op in reads[1:3])
    assert sum(isinstance(op, BodyData) for _, op in intake.ops) == 2
    assert sum(isinstance(op, Ended) for _, op in intake.ops) == 1
    assert intake.dropped_bytes == 2 * 1000 + 2 * 100


def test_it_is_behind_with_a_quarter_of_what_may_wait(reel: Reel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 40)
    intake = Intake(lambda: 0, lambda: None)
    intake.room(b"x" * 10, reel)
    assert not intake.is_behind
    intake.room(b"x", reel)
    assert intake.is_behind


def test_its_lag_is_that_of_the_first_bytes_that_are_not_taken(reel: Reel) -> None:
    intake = Intake(lambda: 0, lambda: None)
    intake.room(b"abc", reel)
    assert (intake.lag(5.0), intake.lag(6.0)) == (0.0, 1.0)
    intake.taken_bytes = 3
    assert intake.lag(7.0) == 0.0


def takes_of(intake: Intake, reel: Reel, headers: Headers, number: int = 1) -> Take:
    reels = types.SimpleNamespace(current=reel, next_stream=lambda: number, rotates=False)
    return Take(intake, reels, Requested(number, "a", 0, "GET", "/", headers), reel)  # type: ignore[arg-type]


def test_headers_and_messages_without_data_are_counted_as_memory(reel: Reel) -> None:
    intake = Intake(Ticking().now, lambda: None)
    take = takes_of(intake, reel, (("X-Large", "v" * 50_000),))
    assert intake.waiting > 50_000
    before = intake.waiting
    for _ in range(1000):
        take.message("down", 1, b"")
    assert intake.waiting >= before + 1000 * HELD


def test_all_memory_that_is_counted_is_given_back(reel: Reel) -> None:
    intake = Intake(Ticking().now, lambda: None)
    take = takes_of(intake, reel, (("X-Some", "value"),))
    take.respond("websocket", 101, "", (("X-Some", "value"),))
    message = take.message("up", 1, b"abc")
    message.written = True
    take.sent(message)
    take.body("request", b"body")
    take.sent(take.receive(b"read"))
    take.end("eof")
    assert intake.waiting == sum(batch.size for batch in taken(intake.ops, 1 << 20, None))


def test_exchanges_that_begin_while_nothing_is_kept_take_no_memory_and_are_counted(
    reel: Reel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 1000)
    intake = Intake(Ticking().now, lambda: None)
    takes_of(intake, reel, (("X-Large", "v" * 1000),))
    waiting, ops = intake.waiting, len(intake.ops)
    for number in range(2, 102):
        take = takes_of(intake, reel, (("X-Large", "v" * 1000),), number)
        take.body("request", b"12")
        take.respond("sse", 200, "OK", ())
        take.sent(take.receive(b"345"))
        take.message("down", 1, b"6")
        take.end("eof")
    assert (intake.waiting, len(intake.ops)) == (waiting, ops + 1), "one incident"
    assert intake.left_out == 100
    assert intake.dropped_bytes >= 100 * (1000 + 6)
    assert "of which 100 are whole exchanges" in intake.told_dropped


def test_of_messages_that_are_not_kept_in_a_row_the_first_is_told(reel: Reel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of them grew for as long as the disk took nothing."""
    monkeypatch.setattr("omnirecord.recorder.queue.BUFFER", 1000)
    intake = Intake(Ticking().now, lambda: None)
    take = takes_of(intake, reel, ())
    take.message("down", 1, b"x" * 1000)
    for _ in range(100):
        take.sent(take.message("down", 1, b"y"))
        take.sent(take.message("up", 1, b""))
    intake.taken_bytes = intake.put_bytes
    take.message("down", 1, b"kept")
    told = [(op.dir, op.number, op.data) for _, op in intake.ops if isinstance(op, Messaged)]
    assert told == [("down", 0, b"x" * 1000), ("down", 1, None), ("up", 2, None), ("down", 201, b"kept")]
