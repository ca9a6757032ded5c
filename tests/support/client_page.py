"""Reads the tables of `docs/client-behaviour.md`: they are the cases of `tests/end_to_end/test_real_faults.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent.parent / "docs" / "client-behaviour.md"
_HEADER = re.compile(r"fault on `(.+)`")
_CODE = re.compile(r"`([^`]+)`")


class Row(NamedTuple):
    """`cassette`: its name; `faults`: one or more lines; `does`: result by caller; `advice`: recommended behaviour."""

    cassette: str
    faults: tuple[str, ...]
    does: dict[str, str]
    advice: str


def rows() -> list[Row]:
    """The rows of all tables of faults."""
    return [row for header, *lines in tables() if (row_of := _maker(header)) for row in map(row_of, lines)]


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

    def __call__(self, cells: list[str]) -> Row:
        faults, *does, advice = cells
        return Row(self.cassette, tuple(_CODE.findall(faults)), dict(zip(self.callers, does, strict=True)), advice)


def _maker(header: list[str]) -> _Maker | None:
    found = _HEADER.fullmatch(header[0])
    return _Maker(found[1], [cell.replace("`", "") for cell in header[1:-1]]) if found else None
