"""Times as people give them, and what they mean in a recording."""

from __future__ import annotations

from datetime import datetime, time

import pytest

from omnirecord.cassette.select import Given, moment, span
from omnirecord.errors import UsageError
from omnirecord.model import Recording
from tests.support.cassettes import ns
from tests.support.examples import each

RECORDING = Recording(1, "2026-01-02T23:50:00.000000+00:00", "0", "omnigent", None)
ZERO = 5.0


def at(value: Given) -> float:
    """When that is, in seconds of the recording; the session began at `ZERO`."""
    return span(RECORDING, moment("since", value), None, ns(ZERO))[0] / 1e9


@each(
    ("given", "seconds"),
    [
        ("2.5", 7.5), (2, 7.0), ("-1", 4.0),
        ("23:51", 60.0), ("23:51:00.5", 60.5), ("23:49:59", -1.0), ("00:00:05", 605.0), ("00:51:00+01:00", 60.0),
        ("2026-01-02T23:52:00", 120.0), ("2026-01-03T00:52:00+01:00", 120.0), ("2026-01-03", 600.0),
        (datetime(2026, 1, 2, 23, 51), 60.0),
    ],
)  # fmt: skip
def test_a_time_is_seconds_of_the_session_a_time_of_day_or_a_date(given: Given, seconds: float) -> None:
    assert at(given) == seconds


def test_without_a_time_all_of_a_recording_is_meant() -> None:
    low, high = span(RECORDING, None, None)
    assert low < -(10**18) < 10**18 < high


def test_a_time_of_day_is_read_as_one() -> None:
    assert moment("since", "14:03") == time(14, 3)


@each("given", ["", "soon", "25:00", "nan", "inf", "2026-13-01", "1:2:3:4"])
def test_what_is_no_time_gets_a_sentence(given: str) -> None:
    with pytest.raises(UsageError, match="is no time: give seconds"):
        moment("--since", given)
