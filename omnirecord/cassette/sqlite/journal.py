"""The journal: one row for each commit, with the reads of all streams in it. Pure, apart from the given connection.

A row of `read_blocks` for each stream and commit costs more than the proxy itself. So a commit writes its reads as one
row of `journal`. Later, the recorder writes the reads of many commits as a few rows of `read_blocks`. In the same
transaction, it deletes the rows of the journal. A reader joins both tables: a read that is in both counts once.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ...model import LIMIT
from .checked import blob_of
from .rows import CHUNK, MESSAGE, Row
from .stream_rows import JOURNAL, LATE, MASK_AGAIN, NOT_SENT, READ_BLOCK, ReadBlocks

FIRST_VERSION = 6
"""The first `user_version` with a journal."""
_FIELDS = 6
"""Numbers in a record of the journal."""
DELETE: Row = ("DELETE FROM journal", ())
_COVERED = """SELECT n, json_array_length(reads) FROM read_blocks WHERE exchange = ?
  AND n >= (SELECT coalesce(max(n), 0) FROM read_blocks WHERE exchange = ? AND n <= ?)"""
UNSETTLED = "unsettled"
"""The temporary table with the reads that are in the journal only."""
_UNSETTLED = f"""CREATE TEMP TABLE {UNSETTLED} (
  exchange INTEGER, n INTEGER, start INTEGER, size INTEGER, offset_ns INTEGER, reads TEXT, data BLOB,
  PRIMARY KEY (exchange, n)) WITHOUT ROWID"""
_COLUMNS = "exchange, n, start, size, offset_ns, reads, data"
_JOINED = f"""CREATE TEMP VIEW read_blocks AS SELECT {_COLUMNS} FROM main.read_blocks
  UNION ALL SELECT {_COLUMNS} FROM {UNSETTLED}"""


class Segment(NamedTuple):
    """Consecutive reads of one stream in a row of the journal. Their numbers begin at `n`, their bytes at offset
    `start`. Times are in ns; `NOT_SENT` stands for a read that was not handed on by then."""

    exchange: int
    n: int
    start: int
    came: Sequence[int]
    sent: Sequence[int]
    sizes: Sequence[int]
    data: bytes


class Late(NamedTuple):
    """The time in ns at which a read of an earlier row was handed on."""

    exchange: int
    n: int
    sent_ns: int


def segments_of(row: Any) -> Iterator[Segment | Late]:
    """Yield the content of the columns `reads` and `data`. Raises `ValueError` or `TypeError` for a row that no
    recorder writes."""
    data = blob_of(row[1:2])
    numbers = array("q")
    numbers.frombytes(blob_of(row[:1]))
    if len(numbers) % _FIELDS:
        raise ValueError("a row of the journal is cut off")
    exchanges, reads, starts, came, sent, sizes = (numbers[field::_FIELDS] for field in range(_FIELDS))
    _check(reads, starts, came, sent, sizes)
    at = first = 0
    records = len(exchanges)
    while first < records:
        exchange = exchanges[first]
        n = reads[first]
        if sizes[first] == LATE:
            yield Late(exchange, n, sent[first])
            first += 1
            continue
        last = first
        end = at
        while last < records and exchanges[last] == exchange and sizes[last] != LATE:
            if reads[last] != n + last - first or starts[last] != starts[first] + end - at:
                raise ValueError("a row of the journal lacks a read")
            end += sizes[last]
            last += 1
        if end > len(data):
            raise ValueError("a row of the journal has fewer bytes than its reads")
        of = slice(first, last)
        yield Segment(exchange, n, starts[first], came[of], sent[of], sizes[of], data[at:end])
        at = end
        first = last
    if at != len(data):
        raise ValueError("a row of the journal has more bytes than its reads")


def _check(
    reads: Sequence[int], starts: Sequence[int], came: Sequence[int], sent: Sequence[int], sizes: Sequence[int]
) -> None:
    if not reads:
        return
    least = min(min(reads), min(starts), min(sizes) - LATE)
    most = max(max(reads), max(starts), max(sizes), max(came), -min(came), max(sent))
    if least < 0 or most >= LIMIT or any(-LIMIT >= one != NOT_SENT for one in sent):
        raise ValueError("a row of the journal has a number that is too large or too small")


def without_bytes(made: Iterable[Row]) -> Iterator[Row]:
    """Yield rows without the bytes of streams, bodies and messages: the exchanges, their sizes and ends stay."""
    for statement, values in made:
        if statement == READ_BLOCK:
            yield statement, (*values[:-1], None)
        elif statement == MESSAGE:
            yield statement, (*values[:-1], "")
        elif statement == JOURNAL:
            yield from _lost(values)
        elif statement not in (CHUNK, MASK_AGAIN) or values[-1] == b"":  # an empty chunk is a mark
            yield statement, values


def _lost(values: tuple[Any, ...]) -> Iterator[Row]:
    """Yield the rows of `read_blocks` for the reads in a row of the journal, without their bytes."""
    for one in segments_of(values):
        if isinstance(one, Segment):
            sent = [None if at == NOT_SENT else at for at in one.sent]
            blocks = ReadBlocks(one.exchange, one.n, one.start)
            made = list[Row]()
            for came_ns, sent_ns, size in zip(one.came, sent, one.sizes, strict=True):
                blocks.add(came_ns, sent_ns, size, None, made)
            yield from made
            yield from blocks.close()


def _unsettled(connection: sqlite3.Connection) -> Iterator[Row]:
    """Yield the rows of `read_blocks` for the reads that are in the journal only."""
    segments: defaultdict[int, list[Segment]] = defaultdict(list)
    late: dict[tuple[int, int], int] = {}
    for row in connection.execute("SELECT reads, data FROM journal ORDER BY entry"):
        for one in segments_of(row):
            if isinstance(one, Segment):
                segments[one.exchange].append(one)
            else:
                late[one.exchange, one.n] = one.sent_ns
    for exchange, found in segments.items():
        found.sort(key=lambda one: one.n)
        covered = set[int]()
        for n, count in connection.execute(_COVERED, (exchange, exchange, found[0].n)):
            covered.update(range(n, n + count))
        yield from _rows_of(exchange, found, covered, late)


def _rows_of(
    exchange: int, segments: list[Segment], covered: set[int], late: dict[tuple[int, int], int]
) -> Iterator[Row]:
    """Yield the rows of the reads of a stream that are not `covered`."""
    blocks: ReadBlocks | None = None
    made: list[Row] = []
    for segment in segments:
        at = 0
        for place, size in enumerate(segment.sizes):
            n = segment.n + place
            start = segment.start + at
            data = segment.data[at : at + size]
            at += size
            if n in covered:
                continue
            if blocks is None or blocks.n != n:
                made += blocks.close() if blocks is not None else []
                blocks = ReadBlocks(exchange, n, start)
            if blocks.start != start:
                raise ValueError(f"exchange {exchange} lacks some of its reads")
            sent_ns = late.get((exchange, n), segment.sent[place])
            blocks.add(segment.came[place], None if sent_ns == NOT_SENT else sent_ns, size, data, made)
    yield from made
    yield from blocks.close() if blocks is not None else []


def settle(connection: sqlite3.Connection) -> None:
    """Move the reads that a killed recorder left in the journal to `read_blocks`. Call it in a transaction. Raises what
    SQLite raises, or one of `DAMAGED`."""
    for row in list(_unsettled(connection)):
        connection.execute(*row)
    connection.execute(*DELETE)


def is_there(connection: sqlite3.Connection) -> bool:
    """Whether the cassette has a journal: those before version 6 have none."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version >= FIRST_VERSION)


def has_entries(connection: sqlite3.Connection) -> bool:
    return is_there(connection) and connection.execute("SELECT 1 FROM journal LIMIT 1").fetchone() is not None


def join(connection: sqlite3.Connection) -> Iterator[None]:
    """Let `read_blocks` have the reads of the journal too, in this reading connection. Call it once in a transaction:
    its end undoes it. Raises what SQLite raises, or one of `DAMAGED`."""
    found = list(_unsettled(connection))
    (reads_only,) = connection.execute("PRAGMA query_only").fetchone()
    connection.execute("PRAGMA query_only = OFF")  # for temporary objects, which are outside of the file
    connection.execute(_UNSETTLED)
    connection.executemany("INSERT INTO unsettled VALUES (?, ?, ?, ?, ?, ?, ?)", [values for _, values in found])
    connection.execute(_JOINED)
    connection.execute(f"PRAGMA query_only = {reads_only}")
    yield from ()
