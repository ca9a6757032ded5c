"""The bytes of a stream that are in no frame yet: what a recorder has still to work off, and a reader derives."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Position:
    """How far a stream has been worked off."""

    byte: int = 0
    """Bytes of the body on the wire that are done with."""
    read: int = 0
    """The read in which the next byte lies…"""
    read_start: int = 0
    """…and where that read begins."""


@dataclass(frozen=True, slots=True)
class Unframed:
    """What is left of one read."""

    read: int
    offset_ns: int
    size: int
    data: bytes | None
    """None if it was lost: the recording was degraded when it came."""


class _Bytes:
    """The chunks of one response, in order, as a run of bytes with perhaps some holes."""

    def __init__(self, connection: sqlite3.Connection, exchange: int, start: int) -> None:
        self._rows = connection.execute(
            "SELECT start, data FROM chunks WHERE exchange = ? AND side = 'response' AND start + length(data) > ?"
            " ORDER BY start",
            (exchange, start),
        )
        self._at, self._data = 0, b""

    def take(self, start: int, end: int) -> bytes | None:
        parts = []
        while start < end:
            if self._at + len(self._data) <= start and not self._next():
                return None
            if self._at > start:
                return None
            part = self._data[start - self._at : end - self._at]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next(self) -> bool:
        row = self._rows.fetchone()
        if row is not None:
            self._at, self._data = row
        return row is not None


def unframed(
    connection: sqlite3.Connection, exchange: int, position: Position, until: int | None = None
) -> Iterator[Unframed]:
    """What lies behind `position`, read by read; `position` moves along with what is yielded. `until`: no byte behind
    this one."""
    source = _Bytes(connection, exchange, position.byte)
    reads = connection.execute(
        "SELECT n, offset_ns, size FROM reads WHERE exchange = ? AND n >= ? ORDER BY n", (exchange, position.read)
    )
    for n, offset_ns, size in reads:
        start, end = position.byte, position.read_start + size
        if until is not None and end > until:
            position.byte = max(start, until)
            if until > start:
                yield Unframed(n, offset_ns, until - start, source.take(start, until))
            return
        position.byte = max(start, end)
        position.read, position.read_start = n + 1, end
        if end > start:
            yield Unframed(n, offset_ns, end - start, source.take(start, end))
