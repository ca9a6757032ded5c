"""Trouble is said when it begins, once a minute, and when it is over."""

from __future__ import annotations

import pytest

from omnirecord.server.timers import Complaint


def test_trouble_is_said_once_a_minute_and_its_end_where_it_was_said(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    one = Complaint(lambda: now)
    one.over("nothing was wrong")
    for now in range(0, 130, 10):
        one.say(f"wrong at {now}")
    one.over("over")
    one.over("over twice")
    assert caplog.messages == ["wrong at 0", "wrong at 60", "wrong at 120", "over"]


def test_what_comes_and_goes_within_a_minute_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    one = Complaint(lambda: now)
    for now in (0, 10, 20, 61):
        one.say(f"wrong at {now}")
        one.over(f"over at {now}")
    assert caplog.messages == ["wrong at 0", "over at 0", "wrong at 61", "over at 61"]
