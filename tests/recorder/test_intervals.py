"""When frames are made, by a clock that is passed in."""

from __future__ import annotations

from omnirecord.recorder.intervals import BREATH, BREATHS, FEW, FRAME_EVERY, FRAME_FOR, FrameSchedule, Lag, breath


def test_those_of_few_streams_are_due_at_once() -> None:
    pace = FrameSchedule()
    pace.begin(100.0)
    assert pace.pause(FEW, 100.0) == 0.0


def test_those_of_many_streams_are_due_a_while_after_the_last_ones() -> None:
    pace = FrameSchedule()
    assert pace.pause(FEW + 1, 100.0) == 0.0, "the first ones at once"
    pace.begin(100.0)
    assert pace.pause(FEW + 1, 100.0 + FRAME_EVERY / 4) == FRAME_EVERY * 3 / 4
    assert pace.pause(FEW + 1, 100.0 + FRAME_EVERY) == 0.0


def test_what_there_was_no_time_for_is_due_at_once() -> None:
    pace = FrameSchedule()
    pace.begin(100.0)
    assert not pace.is_long(100.0 + FRAME_FOR / 2)
    assert pace.is_long(100.0 + 2 * FRAME_FOR)
    assert pace.pause(FEW + 1, 100.0 + 2 * FRAME_FOR) == 0.0


def test_between_the_frames_of_few_streams_nobody_rests() -> None:
    assert breath(FEW) == 0.0
    assert breath(FEW + 1) == BREATH


def test_the_rests_of_very_many_streams_leave_half_of_the_time_for_their_frames() -> None:
    assert 10_000 * breath(10_000) == FRAME_EVERY * BREATHS


def test_bytes_wait_from_when_they_were_seen_until_they_are_written() -> None:
    lag = Lag()
    assert lag.seconds(10, 0, 100.0) == 0.0
    assert lag.seconds(20, 0, 101.0) == 1.0
    assert lag.seconds(30, 9, 102.0) == 2.0, "one of the first ten waits still"
    assert lag.seconds(40, 10, 103.0) == 2.0, "the eleventh came by 101"
    assert lag.seconds(40, 40, 104.0) == 0.0
    assert lag.seconds(41, 40, 110.0) == 0.0


def test_the_lag_of_whoever_keeps_up_does_not_grow() -> None:
    lag = Lag()
    assert {lag.seconds(n + 1, n, float(n)) for n in range(9)} == {0.0}, "what came since the last look alone waits"
    lag = Lag()
    assert [lag.seconds(n + 2, n, float(n)) for n in range(4)] == [0.0, 1.0, 1.0, 1.0]
