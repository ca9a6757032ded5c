"""The values of a cassette: the wall clock of an offset, and that nothing in there can be changed."""

from __future__ import annotations

import dataclasses

import pytest

from omnirecord.model import VERDICTS, Read, wall_clock
from tests.support.examples import each


@each(
    ("started_at", "offset_ns", "at"),
    [
        ("2026-01-02T03:04:05+00:00", 0, "2026-01-02T03:04:05.000000Z"),
        ("2026-01-02T03:04:05.000001+00:00", 0, "2026-01-02T03:04:05.000001Z"),
        ("2026-01-02T03:04:05Z", 1_500_000_000, "2026-01-02T03:04:06.500000Z"),
        ("2026-01-02T03:04:05.999999Z", 1_000, "2026-01-02T03:04:06.000000Z"),
        ("2026-01-02T03:04:05Z", 1_999, "2026-01-02T03:04:05.000001Z"),
        ("2025-12-31T23:59:59Z", 3_600_000_000_000, "2026-01-01T00:59:59.000000Z"),
    ],
)
def test_the_wall_clock_is_the_start_and_the_offset(started_at: str, offset_ns: int, at: str) -> None:
    assert wall_clock(started_at, offset_ns) == at


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Read(1, 2, 3).size = 4  # type: ignore[misc]


def test_verdicts_are_in_the_order_in_which_they_are_decided() -> None:
    assert VERDICTS == ("comment", "sentinel", "truncated", "malformed", "unknown", "invalid", "valid")
