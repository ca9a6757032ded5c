"""What the event loop puts in waits for the recording thread; of too much, the bytes are counted, and that is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnirecord.intake import Intake
from omnirecord.recorder import Incidence
from omnirecord.reels import Reel

from .reeling import reel_in


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
    monkeypatch.setattr("omnirecord.intake.BUFFER", 10)
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
    monkeypatch.setattr("omnirecord.intake.BUFFER", 1)
    clock = Ticking()
    intake = Intake(clock.now, clock.wake)
    intake.room(b"kept", reel)
    for _ in range(5):
        intake.room(b"x" * 60_000, reel)
        clock.ns += 4_000_000_000
    said = [op.message for _, op in intake.ops if isinstance(op, Incidence)]
    assert said[1:] == ["too much waits for the disk: 0.2 MB in 4 pieces are not kept so far"]
    assert (intake.dropped_bytes, intake.dropped) == (300_000, 5)


def test_it_is_behind_with_a_quarter_of_what_may_wait(reel: Reel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.intake.BUFFER", 40)
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
