"""The page about the real client: it has every fault, and tells of each what a client should do."""

from __future__ import annotations

import re

from omnirecord.replayer.faults import Faults
from omnirecord.replayer.faults.verbs import VERBS, Ends
from tests.support.client_page import PAGE, rows, statuses, tables

LINES = [line for row in rows() for line in row.faults]


def test_every_verb_is_on_the_page() -> None:
    """A stall ends by itself: a client only waits."""
    assert {line.split()[0] for line in LINES} == set(VERBS) - {"stall"}


def test_every_way_of_a_cut_and_of_a_freeze_is_on_the_page() -> None:
    ends = [fault for fault in Faults.parse(LINES).faults if isinstance(fault, Ends)]
    cuts, freezes = [e for e in ends if e.how != "freeze"], [e for e in ends if e.how == "freeze"]
    assert {cut.where for cut in cuts} == {"before", "after", "inside", "inside a character of"}
    assert {cut.how for cut in cuts} == {"clean", "short", "reset"}
    assert {freeze.where for freeze in freezes} == {"before", "after"}
    assert {cut.each_time for cut in cuts} == {freeze.each_time for freeze in freezes} == {True, False}


def test_no_case_is_on_the_page_twice() -> None:
    cases = [(row.cassette, row.faults, caller) for row in rows() for caller in row.does]
    assert len(cases) == len(set(cases))


def test_each_row_says_what_a_client_should_do() -> None:
    assert [row.faults for row in rows() if not row.advice] == []


def test_every_table_is_read() -> None:
    headers = [header[0] for header, *_ in tables()]
    assert sum(header.startswith("fault on ") for header in headers) == len(headers) - 2
    assert {"status", "raised"} < set(headers)
    assert statuses().keys() >= {401, 404, 409, 429, 500, 503}


def test_the_page_names_the_version_that_the_tests_run() -> None:
    project = (PAGE.parent.parent / "pyproject.toml").read_text()
    version = re.search(r"omnigent-client==([\d.]+)", project)
    assert version is not None
    assert f"`omnigent-client` {version[1]}" in PAGE.read_text()
