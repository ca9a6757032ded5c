"""The playhead: gates hold what came later, time stands still at them, and nothing here knows what time it is."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.errors import UsageError
from omnirecord.replayer.player.gates import Gate, Gates
from omnirecord.replayer.player.timeline import NS, Scale, Timeline, Timing, timing_of
from tests.support.examples import examples

HOUR = 3600 * NS


def gate(at: int, exchange: int = 1) -> Gate:
    return Gate(exchange, at * NS, f"POST /v1/sessions/{exchange}/events")


def timeline(points: list[int], *gates: Gate, how: Timing = Timing()) -> Timeline:  # noqa: B008  # frozen
    return Timeline([point * NS for point in points], Gates(gates), how)


def started(points: list[int], *gates: Gate, how: Timing = Timing(), now: int = 0) -> Timeline:  # noqa: B008
    line = timeline(points, *gates, how=how)
    line.move(points[0] * NS, now * NS)
    return line


def due(line: Timeline, offset: int, now: int) -> float | None:
    at = line.due(offset * NS, now * NS)
    return None if at is None else at / NS


def test_without_gates_everything_is_due_when_it_was() -> None:
    line = started([0, 1, 5], now=100)

    assert [due(line, at, 100) for at in (0, 1, 5)] == [100, 101, 105]
    assert due(line, 5, 103) == 105
    assert due(line, 1, 103) == 103  # it is late, so at once


def test_before_it_was_started_no_time_passes() -> None:
    line = timeline([0, 10])

    assert not line.started
    assert line.played(HOUR) == 0


def test_gaps_are_played_as_the_timing_says() -> None:
    line = started([0, 60, 70], how=Timing(speed=10, max_gap=5))

    assert [due(line, at, 0) for at in (0, 60, 70)] == [0, 0.5, 1]


def test_a_closed_gate_holds_what_came_later_and_nothing_else() -> None:
    line = started([0, 1, 3, 9], gate(2))

    assert [due(line, at, 0) for at in (0, 1, 2, 3, 9)] == [0, 1, 2, None, None]
    assert [due(line, at, 3600) for at in (3, 9)] == [None, None]


def test_gates_hold_one_after_the_other() -> None:
    first, second = gate(2), gate(6, 2)
    line = started([0, 4, 8], second, first)

    line.open(second, 1 * NS)
    assert due(line, 4, 1) is None
    assert due(line, 8, 1) is None
    line.open(first, 50 * NS)
    assert due(line, 4, 50) == 52
    assert due(line, 8, 50) == 56


def test_time_stands_still_at_a_closed_gate() -> None:
    here = gate(2)
    line = started([0, 5], here)

    assert [line.played(now * NS) // NS for now in (0, 1, 2, 60)] == [0, 1, 2, 2]
    line.open(here, 60 * NS)
    assert [line.played(now * NS) // NS for now in (60, 61)] == [2, 3]


def test_what_was_received_with_the_request_is_not_behind_it() -> None:
    line = started([0, 2, 3], gate(2))

    assert due(line, 2, 0) == 2
    assert line.gates.before(2 * NS) is None
    assert line.gates.before(2 * NS + 1) is not None


def test_the_playhead_moves_to_a_start() -> None:
    line = started([0, 5, 20])
    line.move(20 * NS, 7 * NS)

    assert due(line, 20, 7) == 7
    assert due(line, 5, 7) == 7


def test_the_playhead_moves_to_a_closed_gate_that_is_before_the_start() -> None:
    here = gate(10)
    line = started([0, 5, 20], here)
    line.move(20 * NS, 7 * NS)

    assert due(line, 20, 7) is None
    assert line.played(7 * NS) == 10 * NS
    line.open(here, 30 * NS)
    assert due(line, 20, 30) == 40


def test_from_one_offset_to_another_it_takes_as_long_as_the_gaps_are_played() -> None:
    line = started([0, 10, 70], how=Timing(speed=10, max_gap=5))

    assert line.between(0, 70 * NS) == NS
    assert line.between(10 * NS, 70 * NS) == NS // 2


def test_instant_waits_for_gates_alone() -> None:
    here = gate(10)
    line = started([0, 5, 3600], here, how=Timing(instant=True))

    assert due(line, 5, 0) == 0
    assert due(line, 3600, 0) is None
    line.open(here, 2 * NS)
    assert due(line, 3600, 2) == 2


def test_the_next_point_is_the_first_that_is_not_played_whether_it_was_sent_or_not() -> None:
    line = timeline([1, 2, 9])
    assert line.next_point(HOUR) == 1 * NS

    line.move(1 * NS, 100 * NS)
    assert line.next_point(100 * NS) == 2 * NS
    assert line.next_point(101 * NS - 1) == 2 * NS
    assert line.next_point(101 * NS) == 9 * NS
    assert line.next_point(108 * NS) == float("inf")
    assert timeline([]).next_point(0) == float("inf")


def test_nothing_behind_a_closed_gate_is_played() -> None:
    here = gate(5)
    line = started([1, 9], here)

    assert line.next_point(HOUR) == 9 * NS
    line.open(here, HOUR)
    assert line.next_point(HOUR) == 9 * NS  # a gate is no point itself
    assert line.next_point(HOUR + 4 * NS) == float("inf")


SECONDS = st.integers(0, 100)
STEPS = st.lists(st.tuples(st.integers(0, 3), SECONDS), max_size=6)
TIMINGS = st.builds(Timing, st.sampled_from([0.5, 1.0, 3.0, 10.0]), st.sampled_from([None, 0.0, 5.0]), st.booleans())


@settings(max_examples=examples(300))
@given(
    points=st.lists(SECONDS, min_size=1, max_size=10, unique=True).map(sorted),
    gates=st.lists(SECONDS, max_size=4),
    steps=STEPS,
    how=TIMINGS,
)
def test_nothing_is_due_before_a_gate_that_it_came_after_and_order_is_kept(
    points: list[int], gates: list[int], steps: list[tuple[int, int]], how: Timing
) -> None:
    doors = [gate(at, n) for n, at in enumerate(gates)]
    line = started(points, *doors, how=how)
    opened: dict[int, int] = {}
    sent: dict[int, int] = {}
    now = 0

    def send_what_is_due_until(end: int) -> None:
        """As a player does: ask when the next one is due, wait for that, and ask again after a gate."""
        for point in points:
            if point not in sent and (at := line.due(point * NS, max([now, *sent.values()]))) is not None and at <= end:
                sent[point] = at

    for which, wait in steps:
        send_what_is_due_until(now + wait * NS)
        now += wait * NS
        if which < len(doors) and not doors[which].open:
            line.open(doors[which], now)
            opened[which] = now
    send_what_is_due_until(now + 1000 * HOUR)

    assert list(sent) == points[: len(sent)]  # nothing is left out, then sent
    assert list(sent.values()) == sorted(sent.values())
    for point, at in sent.items():
        assert all(n in opened and at >= opened[n] for n, door in enumerate(gates) if door < point)
    unsent = points[len(sent) :]
    assert all(any(not door.open and door.at_ns < point * NS for door in doors) for point in unsent)


@settings(max_examples=examples(200))
@given(points=st.lists(SECONDS, min_size=1, max_size=8).map(sorted), gates=st.lists(SECONDS, max_size=3), how=TIMINGS)
def test_gates_that_are_opened_at_once_cost_no_time(points: list[int], gates: list[int], how: Timing) -> None:
    doors = [gate(at, n) for n, at in enumerate(gates)]
    line, free = timeline(points, *doors, how=how), timeline([*points, *gates], how=how)
    for door in doors:
        line.open(door, 0)
    line.move(points[0] * NS, 0)
    free.move(points[0] * NS, 0)

    assert [line.due(point * NS, 0) for point in points] == [free.due(point * NS, 0) for point in points]


POINTS = st.lists(st.integers(0, HOUR), max_size=20).map(sorted)
ANY_TIMING = st.builds(
    Timing,
    speed=st.floats(0.01, 1000),
    max_gap=st.none() | st.floats(0, 100),
    instant=st.booleans(),
)


def test_speed_divides_gaps() -> None:
    assert timing_of(speed=2).gap(10 * NS) == 5 * NS
    assert timing_of(speed=0.5).gap(10 * NS) == 20 * NS


def test_a_gap_is_capped_before_it_is_divided() -> None:
    assert timing_of(speed=10, max_gap=5).gap(60 * NS) == NS // 2
    assert timing_of(speed=10, max_gap=5).gap(4 * NS) == 4 * NS // 10


def test_compressed_is_speed_10_and_max_gap_5() -> None:
    assert timing_of("compressed") == Timing(speed=10, max_gap=5)


def test_explicit_options_override_compressed_one_by_one() -> None:
    assert timing_of("compressed", speed=2) == Timing(speed=2, max_gap=5)
    assert timing_of("compressed", max_gap=1) == Timing(speed=10, max_gap=1)
    assert timing_of("compressed", max_gap=0) == Timing(speed=10, max_gap=0)


def test_an_hour_is_over_at_once_when_instant() -> None:
    points = [n * NS for n in range(3601)]

    assert Scale(points, timing_of("instant"))(HOUR) == 0


@pytest.mark.parametrize(
    ("mode", "speed", "max_gap", "says"),
    [
        ("fast", None, None, "none of original, compressed, instant"),
        ("instant", 2, None, "leave out --speed and --max-gap"),
        ("instant", None, 0, "leave out --speed and --max-gap"),
        ("original", 0, None, "must be over 0"),
        ("original", -1, None, "must be over 0"),
        ("original", float("nan"), None, "must be over 0"),
        ("original", float("inf"), None, "must be over 0"),
        ("original", None, -0.1, "must be 0 or more"),
        ("compressed", None, float("nan"), "must be 0 or more"),
        ("compressed", None, float("inf"), "must be 0 or more"),
    ],
)
def test_an_unusable_timing_is_refused(mode: str, speed: float | None, max_gap: float | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        timing_of(mode, speed, max_gap)


def test_time_that_ran_backwards_is_no_gap() -> None:
    assert timing_of().gap(-NS) == 0


def test_played_time_counts_from_the_first_point() -> None:
    scale = Scale([5 * NS, 7 * NS], timing_of(speed=2))

    assert [scale(at * NS) for at in (0, 5, 6, 7, 9)] == [0, 0, NS // 2, NS, 2 * NS]


def test_within_a_capped_gap_time_runs_until_the_cap_and_then_stands() -> None:
    scale = Scale([0, 60 * NS, 61 * NS], timing_of(max_gap=5))

    assert [scale(at * NS) // NS for at in (3, 5, 30, 60, 61)] == [3, 5, 5, 5, 6]


def test_without_points_no_time_passes() -> None:
    assert Scale([], timing_of())(HOUR) == 0


@given(points=POINTS, offsets=st.lists(st.integers(0, 2 * HOUR), max_size=20).map(sorted), how=ANY_TIMING)
def test_played_time_never_runs_backwards(points: list[int], offsets: list[int], how: Timing) -> None:
    scale = Scale(points, how)
    played = [scale(at) for at in sorted([*points, *offsets])]

    assert played == sorted(played)


@given(points=POINTS.filter(bool), how=ANY_TIMING)
def test_at_its_points_played_time_is_the_sum_of_the_played_gaps(points: list[int], how: Timing) -> None:
    scale = Scale(points, how)

    assert [scale(at) for at in points] == [
        sum(how.gap(b - a) for a, b in pairwise(points[: points.index(at) + points.count(at)])) for at in points
    ]
