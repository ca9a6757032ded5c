"""A clock that goes on where a test has frozen the others."""

from __future__ import annotations

import time

import freezegun

from omnirecord.server.timers import monotonic, monotonic_ns


def test_it_goes_on_where_time_is_frozen() -> None:
    with freezegun.freeze_time("2026-01-01"):
        frozen, before, before_ns = time.monotonic(), monotonic(), monotonic_ns()
        while monotonic() == before or monotonic_ns() == before_ns:
            pass
        assert time.monotonic() == frozen


def test_both_are_one_clock() -> None:
    before, between, after = monotonic_ns(), monotonic(), monotonic_ns()
    assert before - 1000 <= between * 1e9 <= after + 1000
