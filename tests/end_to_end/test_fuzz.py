"""A moment of each fuzzer, and what they have found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnirecord.cassette.open import open_store
from omnirecord.errors import BrokenCassette
from tests.support.cassettes import conversation
from tests.support.examples import examples
from tests.support.fuzz import fuzz
from tests.support.fuzzing import TARGETS, Target, in_time

MOMENT = examples(80)
"""Inputs of each target: some seconds for all of them."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_is_spoiled_gets_more_than_a_sentence(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=MOMENT, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def check(value: Any) -> None:
        target.check(value)

    check()


def test_the_runner_finds_what_is_wrong_and_makes_it_small() -> None:
    def check(number: int) -> None:
        assert number < 1000

    tried, error = fuzz(Target(st.integers(0, 10**6), check), 20, 1)

    assert tried > 0
    assert "value=1000" in "".join(getattr(error, "__notes__", []))


def test_a_fuzzer_takes_a_hang_for_a_fault() -> None:
    with pytest.raises(TimeoutError), in_time(0.05):
        any(False for _ in iter(int, 1))  # for ever


def test_a_schema_that_is_no_text_is_damaged(tmp_path: Path) -> None:
    """What SQLite says of it has a piece of it in it, which Python cannot decode."""
    path = conversation().save(tmp_path / "a.db")
    data = path.read_bytes().replace(b"CREATE TABLE recordings", b"CREATE TABLE record\x80ngs")
    path.write_bytes(data)

    with pytest.raises(BrokenCassette, match=r"a\.db is damaged"), closing(open_store(path)):
        pass


def test_the_seeds_are_whole() -> None:
    from tests.support.fuzzing import SCRATCH, bodies, databases

    assert len(databases()) > 10
    assert sum(map(len, bodies())) > 100_000
    path = SCRATCH / "omnirecord-fuzz-seed.db"
    path.write_bytes(databases()[0])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    path.unlink()
