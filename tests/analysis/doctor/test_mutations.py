"""Faults at random places of healthy cassettes: how many doctor finds, by the table in its documentation."""

from __future__ import annotations

import pytest

from tests.support.doctor_examples import COVERAGE, TABLE
from tests.support.mutations import Count, run, table


@pytest.fixture(scope="module")
def counts() -> dict[str, Count]:
    return run()


@pytest.mark.slow
def test_nine_of_ten_faults_that_change_the_meaning_are_reported_by_their_name(counts: dict[str, Count]) -> None:
    meant, found = sum(c.meant for c in counts.values()), sum(c.found for c in counts.values())
    assert found >= 0.9 * meant > 400
    assert all(count.found >= 0.75 * count.meant for count in counts.values()), counts


@pytest.mark.slow
def test_the_table_in_the_documentation_is_what_is_counted(counts: dict[str, Count]) -> None:
    found = TABLE.search(COVERAGE.read_text())
    assert found is not None
    assert found[0].splitlines() == table(counts)


@pytest.mark.slow
def test_events_that_come_a_little_later_are_no_finding(counts: dict[str, Count]) -> None:
    assert (counts["delay by 2 s"].unmeant, counts["delay by 2 s"].alarms) == (54, 0)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_other_places_are_found_as_often(seed: int) -> None:
    counts = run(seed)
    assert sum(c.found for c in counts.values()) >= 0.9 * sum(c.meant for c in counts.values())
