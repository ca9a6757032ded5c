"""Reads the tables of `docs/client-behaviour.md`: they are the cases of `tests/end_to_end/test_real_faults.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent.parent / "docs" / "client-behaviour.md"
_HEADER = re.compile(r"fault on `(.+)`")
_CODE = re.compile(r"`([^`]+)`")


class Row(NamedTuple):
    """`cassette`: its name; `faults`: lines that are given together; `does`: result by caller; `advice`: what it should
    do."""

    cassette: str
    faults: tuple[str, ...]
    does: dict[str, str]
    advice: str


def rows() -> list[Row]:
    """The rows of all tables of faults. A line with `or` between its faults makes a row for each of them."""
    return [
        row for header, *lines in tables() if (rows_of := _maker(header)) for line in lines for row in rows_of(line)
    ]


def statuses() -> dict[int, str]:
    """Name of the exception, by HTTP status."""
    (lines,) = [lines for header, *lines in tables() if header[0] == "status"]
    return {int(line[0]): line[1].strip("`") for line in lines}


def tables() -> list[list[list[str]]]:
    """All tables, as lists of rows of cells; the header is the first row."""
    found = re.findall(r"(?:^\|.*\n)+", PAGE.read_text(), re.MULTILINE)
    return [[_cells(line) for line in table.splitlines() if not line.startswith("|---")] for table in found]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


class _Maker(NamedTuple):
    cassette: str
    callers: list[str]

    def __call__(self, cells: list[str]) -> Iterator[Row]:
        faults, *does, advice = cells
        for alternative in faults.split("<br>or "):
            told = dict(zip(self.callers, does, strict=True))
            yield Row(self.cassette, tuple(_CODE.findall(alternative)), told, advice)


def _maker(header: list[str]) -> _Maker | None:
    found = _HEADER.fullmatch(header[0])
    return _Maker(found[1], [cell.replace("`", "") for cell in header[1:-1]]) if found else None
