"""The page about reliability has the result of every row that is run, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.end_to_end.hostile.page import client_lines, upstream_lines

PAGE = (Path(__file__).parent.parent.parent / "docs" / "reliability.md").read_text()


@pytest.mark.parametrize("lines", [upstream_lines(), client_lines()], ids=["upstream", "clients"])
def test_the_tables_of_the_page_are_the_rows_of_the_harness(lines: Iterable[str]) -> None:
    """`python -m tests.end_to_end.hostile.page` prints them."""
    header, *rest = lines
    (table,) = [table for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE) if table.startswith(f"{header}\n")]
    assert table.splitlines() == [header, *rest]


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 5
    for file, test in named:
        assert not test or f"def {test}(" in (Path(__file__).parent.parent.parent / file).read_text(), (file, test)
