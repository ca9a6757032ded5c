"""A stream's bytes and reads, as they are in the file: row by row, from anywhere on."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from ..cassette import Read
from ..framing import Framed, Framer
from .making import piece_of


@dataclass(slots=True)
class Piece:
    """The reads of one row. `data` is None where their bytes were lost."""

    n: int
    """The number of the first, from 0."""
    start: int
    """Where it begins in the stream, in bytes."""
    size: int
    reads: list[Read]
    data: bytes | None

    @property
    def end(self) -> int:
        return self.start + self.size

    def behind(self, byte: int) -> Piece:
        """What of it is behind the first `byte` bytes of the stream: a read may be cut."""
        return self if byte <= self.start else self._cut(byte, self.end)

    def before(self, byte: int) -> Piece:
        return self if byte >= self.end else self._cut(self.start, byte)

    def _cut(self, start: int, end: int) -> Piece:
        n, at, reads = self.n, self.start, []  # type: int, int, list[Read]
        for number, read in enumerate(self.reads, self.n):
            first, last = max(at, start), min(at + read.size, end)
            at += read.size
            if first >= last:
                continue
            if not reads:
                n = number
            reads.append(read if last - first == read.size else Read(read.offset_ns, read.sent_ns, last - first))
        data = None if self.data is None else self.data[start - self.start : end - self.start]
        return Piece(n, start, end - start, reads, data)


_ROWS = "SELECT n, start, size, offset_ns, reads, data FROM pieces WHERE exchange = ? AND n >= ? ORDER BY n"
_OF_READ = "SELECT max(n) FROM pieces WHERE exchange = ? AND n <= ?"
_OF_BYTE = "SELECT n FROM pieces WHERE exchange = ? AND start <= ? ORDER BY n DESC LIMIT 1"
_TIMES = "SELECT n, start, size, offset_ns, reads, NULL FROM pieces WHERE exchange = ? ORDER BY n"


def from_read(connection: sqlite3.Connection, exchange: int, read: int) -> Iterator[Piece]:
    """The rows from the one on in which that read is."""
    return _from(connection, exchange, _OF_READ, read)


def from_byte(connection: sqlite3.Connection, exchange: int, byte: int) -> Iterator[Piece]:
    """What lies behind the first `byte` bytes. Quick where there is little."""
    for piece in _from(connection, exchange, _OF_BYTE, byte):
        if piece.end > byte:
            yield piece.behind(byte)


def _from(connection: sqlite3.Connection, exchange: int, query: str, where: int) -> Iterator[Piece]:
    found = connection.execute(query, (exchange, where)).fetchone()
    first, end = 0 if found is None or found[0] is None else found[0], None  # type: int, int | None
    for row in connection.execute(_ROWS, (exchange, first)):
        piece = Piece(*piece_of(row))
        if piece.start != (end if end is not None else piece.start if first else 0):
            raise ValueError(f"exchange {exchange} lacks some of its reads")
        end = piece.end
        yield piece


def reads(connection: sqlite3.Connection, exchange: int) -> Iterator[Read]:
    """All of them, in order."""
    for row in connection.execute(_TIMES, (exchange,)):
        yield from piece_of(row)[3]


class Recent:
    """The reads of the last rows: a frame may be held back for the LF that belongs to it."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque(maxlen=8)

    def add(self, piece: Piece) -> None:
        self._pieces.append(piece)

    def of(self, number: int) -> Read:
        """Raises `LookupError` where it is not among them."""
        for piece in reversed(self._pieces):
            if piece.n <= number < piece.n + len(piece.reads):
                return piece.reads[number - piece.n]
        raise LookupError(f"read {number} is not there")


def feed(framer: Framer, piece: Piece) -> list[Framed]:
    """The frames that are complete with a row."""
    if piece.data is None:
        return [one for n, read in enumerate(piece.reads, piece.n) for one in framer.skip(n, read.size)]
    return framer.feed_reads(piece.n, [read.size for read in piece.reads], piece.data)


class Content:
    """The bytes of one stream and the times of its reads, asked for in order: of each frame first the bytes, then the
    read that brought the last of them. Both raise `LookupError` for what is not there."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._now = Piece(0, 0, 0, [], None)

    def take(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`."""
        while start >= self._now.end:
            self._step()
        if start >= self._now.start and end <= self._now.end:  # nearly always
            return self._of(start, end)
        parts = []
        while start < end:
            if start >= self._now.end:
                self._step()
                continue
            parts.append(self._of(start, min(end, self._now.end)))
            start = self._now.end
        return b"".join(parts)

    def read(self, number: int) -> Read:
        while number >= self._now.n + len(self._now.reads):
            self._step()
        if number < self._now.n:
            raise LookupError(f"read {number} is not there")
        return self._now.reads[number - self._now.n]

    def _of(self, start: int, end: int) -> bytes:
        if start < self._now.start or self._now.data is None:
            raise LookupError(f"bytes from {start} on are not there")
        return self._now.data[start - self._now.start : end - self._now.start]

    def _step(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise LookupError("a stream lacks some of its bytes")
        self._now = piece


def decoded(connection: sqlite3.Connection, exchange: int, start: int) -> Iterator[Piece]:
    """The decoded bytes of a stream with a content coding, from the row on in which byte `start` of them is."""
    first = "SELECT coalesce(max(start), 0) FROM chunks WHERE exchange = ? AND side = 'content' AND start <= ?"
    (begin,) = connection.execute(first, (exchange, start)).fetchone()
    query = "SELECT start, data FROM chunks WHERE exchange = ? AND side = 'content' AND start >= ? ORDER BY start"
    for at, data in connection.execute(query, (exchange, begin)):
        yield Piece(0, at, len(data), [], data)
