"""A cassette's rows in the order in which a recorder would have written them, to be written bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omnirecord.jsonl import Reader
from omnirecord.store import rows
from omnirecord.store.reader import contract_or_default
from omnirecord.store.rows import Row


def live_rows(path: Path) -> list[Row]:
    """The rows of a .jsonl cassette by their times; what has none comes with what it belongs to."""
    with path.open("rb") as lines:
        found = list(Reader(str(path), contract_or_default).rows(lines))
    return [row for _, _, row in sorted(_timed(found), key=lambda one: one[:2])]


def _timed(found: list[Row]) -> Iterator[tuple[int, int, Row]]:
    exchanges = {values[1]: values[-1] for sql, values in found if sql == rows._RESPONSE and values[1] is not None}
    reads = {(values[0], values[1]): values[2] for sql, values in found if sql == rows._READ}
    ended = {values[-1]: values[0] for sql, values in found if sql == rows._END}
    asked = {values[0]: values[5] for sql, values in found if sql == rows._REQUEST}
    for number, (sql, values) in enumerate(found):
        if sql == rows._REQUEST:
            at = values[5]
        elif sql == rows._RESPONSE or sql == rows._READ:
            at = values[2]
        elif sql == rows._FRAME:
            at = reads[exchanges[values[0]], values[2]]
        elif sql == rows._CHUNK:
            at = asked[values[0]] if values[1] == "request" else ended[values[0]]
        elif sql == rows._END:
            at = values[0]
        else:
            at = 0
        # what ends an exchange comes behind everything of its time
        yield at if at is not None else 1 << 62, number + (1_000_000 if sql == rows._END else 0), (sql, values)
