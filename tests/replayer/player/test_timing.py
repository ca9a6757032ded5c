"""How recorded time becomes played time: what asciinema does, as numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.errors import UsageError
from omnirecord.replayer.player.timing import NS, Scale, Timing, gaps, timing_of
from tests.support.examples import each

HOUR = 3600 * NS
POINTS = st.lists(st.integers(0, HOUR), max_size=20).map(sorted)
TIMINGS = st.builds(
    Timing,
    speed=st.floats(0.01, 1000),
    max_gap=st.none() | st.floats(0, 100),
    instant=st.booleans(),
)


def test_original_time_is_recorded_time() -> None:
    assert Scale([0, NS, 61 * NS], timing_of())(61 * NS) == 61 * NS


def test_speed_divides_gaps() -> None:
    assert timing_of(speed=2).gap(10 * NS) == 5 * NS
    assert timing_of(speed=0.5).gap(10 * NS) == 20 * NS


def test_a_gap_is_capped_before_it_is_divided() -> None:
    assert timing_of(speed=10, max_gap=5).gap(60 * NS) == NS // 2
    assert timing_of(speed=10, max_gap=5).gap(4 * NS) == 4 * NS // 10


def test_a_gap_of_a_minute_is_played_as_long_as_max_gap_says() -> None:
    assert Scale([0, 60 * NS], timing_of(max_gap=0.2))(60 * NS) == NS // 5


def test_compressed_is_speed_10_and_max_gap_5() -> None:
    assert timing_of("compressed") == Timing(speed=10, max_gap=5)


def test_explicit_options_override_compressed_one_by_one() -> None:
    assert timing_of("compressed", speed=2) == Timing(speed=2, max_gap=5)
    assert timing_of("compressed", max_gap=1) == Timing(speed=10, max_gap=1)
    assert timing_of("compressed", max_gap=0) == Timing(speed=10, max_gap=0)


def test_an_hour_is_over_at_once_when_instant() -> None:
    points = [n * NS for n in range(3601)]

    assert Scale(points, timing_of("instant"))(HOUR) == 0


@each(
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


def test_gaps_are_the_differences_of_neighbours() -> None:
    assert list(gaps([1, 3, 3, 10])) == [2, 0, 7]
    assert list(gaps([5])) == []


def test_played_time_counts_from_the_first_point() -> None:
    scale = Scale([5 * NS, 7 * NS], timing_of(speed=2))

    assert [scale(at * NS) for at in (0, 5, 6, 7, 9)] == [0, 0, NS // 2, NS, 2 * NS]


def test_within_a_capped_gap_time_runs_until_the_cap_and_then_stands() -> None:
    scale = Scale([0, 60 * NS, 61 * NS], timing_of(max_gap=5))

    assert [scale(at * NS) // NS for at in (3, 5, 30, 60, 61)] == [3, 5, 5, 5, 6]


def test_without_points_no_time_passes() -> None:
    assert Scale([], timing_of())(HOUR) == 0


@given(points=POINTS, offsets=st.lists(st.integers(0, 2 * HOUR), max_size=20).map(sorted), how=TIMINGS)
def test_played_time_never_runs_backwards(points: list[int], offsets: list[int], how: Timing) -> None:
    scale = Scale(points, how)
    played = [scale(at) for at in sorted([*points, *offsets])]

    assert played == sorted(played)


@given(points=POINTS.filter(bool), how=TIMINGS)
def test_at_its_points_played_time_is_the_sum_of_the_played_gaps(points: list[int], how: Timing) -> None:
    scale = Scale(points, how)

    assert [scale(at) for at in points] == [
        sum(how.gap(gap) for gap in gaps(points[: points.index(at) + points.count(at)])) for at in points
    ]
