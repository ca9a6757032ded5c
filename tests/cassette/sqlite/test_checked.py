"""Rows of a file that may hold anything: a number that is too large is refused, wherever in a row it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omnirecord.cassette.sqlite.checked import LIMIT, read_block_of
from tests.support.examples import each


def row(n: int = 0, start: int = 0, offset: int = 0, **read: Any) -> tuple[Any, ...]:
    """A row of `pieces` of three reads, of which the second has these values."""
    reads = [
        [0, None, 1],
        [read.get("came", 5), read.get("sent", 6), read.get("size", 1)],
        [9, None, 1],
    ]
    return n, start, sum(size for *_, size in reads), offset, json.dumps(reads), None


def test_its_times_may_be_as_large_as_the_limit_allows() -> None:
    assert read_block_of(row(offset=LIMIT - 10))[3] == LIMIT - 10
    assert read_block_of(row(came=1 - LIMIT))[4] == (0, 1 - LIMIT, 9)


@each(
    "large",
    [
        {"n": LIMIT}, {"start": LIMIT}, {"offset": LIMIT - 9}, {"offset": -LIMIT}, {"came": LIMIT}, {"came": -LIMIT},
        {"sent": LIMIT}, {"sent": -LIMIT}, {"size": LIMIT},
    ],
)  # fmt: skip
def test_a_number_that_is_too_large_is_refused(large: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="too large"):
        read_block_of(row(**large))
