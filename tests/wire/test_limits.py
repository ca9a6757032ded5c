"""How much a cassette is to hold, and what is kept, as it is written."""

from __future__ import annotations

from typing import Any

import pytest

from omnirecord.errors import UsageError
from omnirecord.wire.limits import Retention, Rotation, retention, rotation
from tests.support.examples import each


@each(
    ("given", "read"),
    [
        ((), None),
        ("500MB", Rotation(size=500_000_000)),
        ("1.5 GiB", Rotation(size=3 << 29)),
        ("2tb", Rotation(size=2 * 10**12)),
        ("1h", Rotation(seconds=3600)),
        (["90 s"], Rotation(seconds=90)),
        (("1MB", "10min"), Rotation(1_000_000, 600)),
        (["1w", "1GB"], Rotation(10**9, 604800)),
    ],
)
def test_a_rotation_is_read(given: Any, read: Rotation | None) -> None:
    assert rotation(given) == read


@each(
    ("given", "read"),
    [
        ((), Retention()),
        (10, Retention(files=10)),
        ("7d", Retention(seconds=604800)),
        ([3, "5GB", "1.5h"], Retention(3, 5 * 10**9, 5400)),
    ],
)
def test_a_retention_is_read(given: Any, read: Retention) -> None:
    assert retention(given) == read


@each(
    "given",
    ["", "MB", "10", "-1MB", "0MB", "1e3MB", "1 hour", "٣MB", "1MB 1h", "9" * 400 + "MB", "9" * 400 + "h", "0s"],
)
def test_what_is_no_rotation_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"--rotate .* cannot be used: give a size as in 500MB, or a time as in 1h"):
        rotation(given)


@each("given", ["", "0", "-1", "1.5", "x", "9" * 20])
def test_what_is_no_retention_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"--keep .* cannot be used: give a number of files as in 10, a time as in 7d"):
        retention(given)


def test_too_little_and_two_of_a_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1MB"):
        rotation("999KB")
    with pytest.raises(UsageError, match="at least 1s"):
        rotation("0.5s")
    with pytest.raises(UsageError, match="--keep 2GB is the second of its kind"):
        retention(["1GB", "2GB"])
