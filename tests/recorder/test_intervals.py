"""When frames are made, by a clock that is passed in."""

from __future__ import annotations

from omnirecord.recorder.intervals import (
    FRAME_EVERY,
    FRAME_FOR,
    FRAMES_WITHIN,
    FrameSchedule,
)


def test_the_first_frames_are_due_at_once() -> None:
    assert FrameSchedule().pause(100.0, is_busy=True) == 0.0


def test_while_little_happens_frames_are_made_twice_a_second() -> None:
    pace = FrameSchedule()
    pace.begin(100.0)
    assert pace.pause(100.0 + FRAME_EVERY / 4, is_busy=False) == FRAME_EVERY * 3 / 4
    assert pace.pause(100.0 + FRAME_EVERY, is_busy=False) == 0.0


def test_while_much_happens_frames_lag_ten_seconds_at_most() -> None:
    pace = FrameSchedule()
    pace.begin(100.0)
    assert pace.pause(101.0, is_busy=True) == FRAMES_WITHIN - 1.0 == 9.0
    pace.begin(105.0, goes_on=True)
    assert pace.pause(110.0, is_busy=True) == 0.0, "a pass that goes on is no new one"


def test_commits_interrupt_a_long_pass() -> None:
    pace = FrameSchedule()
    pace.begin(100.0)
    assert not pace.is_long(100.0 + FRAME_FOR / 2)
    assert pace.is_long(100.0 + 2 * FRAME_FOR)
    pace.begin(100.0 + 2 * FRAME_FOR, goes_on=True)
    assert not pace.is_long(100.0 + 2.5 * FRAME_FOR)
