"""A stream's bytes and reads, as they are in the file: row by row, from anywhere on.

A stream without most of its deltas, read from the pages: what is left says how its turns went, for little work.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from ...model import LIMIT, Read, TimedFrame, Verdict
from ..framing import Framed, Framer, Run
from .checked import FRAME_BLOCK_COLUMNS, entries_of, issues_of, read_block_of


@dataclass(slots=True)
class ReadBlock:
    """The reads of one row. `data` is None where their bytes were lost."""

    n: int
    """The number of the first, from 0."""
    start: int
    """Where it begins in the stream, in bytes."""
    size: int
    offset_ns: int
    """What the times are counted from."""
    came: Sequence[int]
    sent: Sequence[int | None]
    sizes: Sequence[int]
    data: bytes | None

    @property
    def end(self) -> int:
        return self.start + self.size

    @property
    def next(self) -> int:
        """The number of the first read behind it."""
        return self.n + len(self.sizes)

    def read(self, number: int) -> Read:
        """Raises `IndexError` where it is not here."""
        place = number - self.n
        if place < 0:
            raise IndexError(f"read {number} is not there")
        sent = self.sent[place]
        base = self.offset_ns
        return Read(base + self.came[place], None if sent is None else base + sent, self.sizes[place])

    def behind(self, byte: int) -> ReadBlock:
        """What of it is behind the first `byte` bytes of the stream: a read may be cut."""
        return self if byte <= self.start else self._cut(byte, self.end)

    def before(self, byte: int) -> ReadBlock:
        return self if byte >= self.end else self._cut(self.start, byte)

    def _cut(self, start: int, end: int) -> ReadBlock:
        end = max(start, end)
        bounds = list(pairwise(accumulate(self.sizes, initial=self.start)))
        sizes = [min(last, end) - max(first, start) for first, last in bounds]
        kept = [place for place, size in enumerate(sizes) if size > 0]
        first, last = (kept[0], kept[-1] + 1) if kept else (0, 0)
        data = None if self.data is None else self.data[start - self.start : end - self.start]
        of = slice(first, last)
        sizes = [max(size, 0) for size in sizes[of]]
        return ReadBlock(
            self.n + first, start, end - start, self.offset_ns, self.came[of], self.sent[of], sizes, data
        )  # fmt: skip


_ROWS = "SELECT n, start, size, offset_ns, reads, data FROM pieces WHERE exchange = ? AND n >= ? ORDER BY n"
_OF_READ = "SELECT max(n) FROM pieces WHERE exchange = ? AND n <= ?"
_OF_BYTE = "SELECT n FROM pieces WHERE exchange = ? AND start <= ? ORDER BY n DESC LIMIT 1"
_TIMES = "SELECT n, start, size, offset_ns, reads, NULL FROM pieces WHERE exchange = ? ORDER BY n"


def from_read(connection: sqlite3.Connection, exchange: int, read: int) -> Iterator[ReadBlock]:
    """The rows from the one on in which that read is."""
    return _from(connection, exchange, _OF_READ, read)


def from_byte(connection: sqlite3.Connection, exchange: int, byte: int, row: int | None = None) -> Iterator[ReadBlock]:
    """What lies behind the first `byte` bytes. `row`: the first read of the row that begins there, if that is known: to
    look for it takes the longer the more is behind it."""
    blocks = _from(connection, exchange, _OF_BYTE, byte) if row is None else _rows(connection, exchange, row, byte)
    for block in blocks:
        if block.end > byte:
            yield block.behind(byte)


def _from(connection: sqlite3.Connection, exchange: int, query: str, where: int) -> Iterator[ReadBlock]:
    found = connection.execute(query, (exchange, where)).fetchone()
    first = 0 if found is None or found[0] is None else found[0]
    return _rows(connection, exchange, first, None if first else 0)


def _rows(connection: sqlite3.Connection, exchange: int, first: int, end: int | None) -> Iterator[ReadBlock]:
    """The rows from that of the read `first` on. `end`: where in the stream it begins, if that is known."""
    for row in connection.execute(_ROWS, (exchange, first)):
        block = ReadBlock(*read_block_of(row))
        if end is not None and block.start != end:
            raise ValueError(f"exchange {exchange} lacks some of its reads")
        end = block.end
        yield block


def together(blocks: Iterator[ReadBlock], most: int) -> Iterator[ReadBlock]:
    """Those that follow each other as one, up to `most` bytes: of small ones, what is done for each is what costs."""
    some: list[ReadBlock] = []
    for block in blocks:
        if some and (block.data is None or some[0].data is None or block.end - some[0].start > most):
            yield _joined(some)
            some = []
        some.append(block)
    if some:
        yield _joined(some)


def _joined(blocks: list[ReadBlock]) -> ReadBlock:
    first = blocks[0]
    if len(blocks) == 1:
        return first
    came = [one.offset_ns - first.offset_ns + at for one in blocks for at in one.came]
    sent = [None if at is None else one.offset_ns - first.offset_ns + at for one in blocks for at in one.sent]
    sizes = [size for one in blocks for size in one.sizes]
    data = b"".join([one.data or b"" for one in blocks])
    return ReadBlock(first.n, first.start, blocks[-1].end - first.start, first.offset_ns, came, sent, sizes, data)


def reads(connection: sqlite3.Connection, exchange: int) -> Iterator[Read]:
    """All of them, in order."""
    for *row, data in connection.execute(_TIMES, (exchange,)):
        _, _, _, base, came, sent, sizes, _ = read_block_of((*row, data))
        for at, handed_on, size in zip(came, sent, sizes, strict=True):
            yield Read(base + at, None if handed_on is None else base + handed_on, size)


def last_read_ns(connection: sqlite3.Connection, exchange: int) -> int:
    """When the last of them came; 0 where none did."""
    row = connection.execute(_TIMES + " DESC LIMIT 1", (exchange,)).fetchone()
    if row is None:
        return 0
    _, _, _, base, came, *_ = read_block_of(row)
    return base + came[-1] if came else base


class Recent:
    """The reads of the last rows: a frame may be held back for the LF that belongs to it."""

    def __init__(self) -> None:
        self._blocks: deque[ReadBlock] = deque(maxlen=8)

    def add(self, block: ReadBlock) -> None:
        self._blocks.append(block)

    def of(self, number: int) -> Read:
        """Raises `LookupError` where it is not among them."""
        for block in reversed(self._blocks):
            if block.n <= number < block.next:
                return block.read(number)
        raise LookupError(f"read {number} is not there")


def portions(framer: Framer, block: ReadBlock, *, runs: bool = False) -> Iterator[Sequence[Framed | Run]]:
    """The frames that are complete with a row, some at a time. `runs`: frames that are alike need not be made."""
    if block.data is None:
        return iter([[one for n, size in enumerate(block.sizes, block.n) for one in framer.skip(n, size)]])
    return framer.portions(block.n, block.sizes, block.data, runs=runs)


_NONE = ReadBlock(0, 0, 0, 0, (), (), (), None)


class Content:
    """The bytes of one stream and the times of its reads, asked for in order: of each frame first the bytes, then the
    read that brought the last of them. Both raise `LookupError` for what is not there."""

    def __init__(self, blocks: Iterator[ReadBlock]) -> None:
        self._blocks = blocks
        self._is_now(_NONE)

    def _is_now(self, block: ReadBlock) -> None:
        self._block, self._next = block, block.next
        self._start, self._data = block.start, b"" if block.data is None else block.data
        self._end = block.end if block.data is not None else -1  # none of its bytes can be taken
        self._number, self._read = -1, None  # type: int, Read | None

    def take(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`."""
        at = start - self._start
        if at >= 0 and end <= self._end:  # nearly always
            return self._data[at : at + end - start]
        return self._across(start, end)

    def _across(self, start: int, end: int) -> bytes:
        parts = []
        while start < end:
            if start >= self._block.end:
                self._step()
                continue
            last = min(end, self._block.end)
            if start < self._start or last > self._end:
                raise LookupError(f"bytes from {start} on are not there")
            parts.append(self._data[start - self._start : last - self._start])
            start = last
        return b"".join(parts)

    def read(self, number: int) -> Read:
        if number == self._number and self._read is not None:  # several frames come with one read
            return self._read
        while number >= self._next:
            self._step()
        self._number, self._read = number, self._block.read(number)
        return self._read

    def _step(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            raise LookupError("a stream lacks some of its bytes")
        self._is_now(block)


def decoded(connection: sqlite3.Connection, exchange: int, start: int) -> Iterator[ReadBlock]:
    """The decoded bytes of a stream with a content coding, from the row on in which byte `start` of them is."""
    first = "SELECT coalesce(max(start), 0) FROM chunks WHERE exchange = ? AND side = 'content' AND start <= ?"
    (begin,) = connection.execute(first, (exchange, start)).fetchone()
    query = "SELECT start, data FROM chunks WHERE exchange = ? AND side = 'content' AND start >= ? ORDER BY start"
    for at, data in connection.execute(query, (exchange, begin)):
        yield ReadBlock(0, at, len(data), 0, (), (), (), data)


PAUSE = 5_000_000_000
"""Two deltas that are further apart than this, in ns, are both told."""
_QUERY = f"SELECT {FRAME_BLOCK_COLUMNS}, offset_ns, times, length FROM pages WHERE stream = ? ORDER BY seq"
Sources = Callable[[int, int], Content]
"""The content of the stream from a read and a byte on."""


class Part(NamedTuple):
    """Some frames of an outline, and up to where in the stream all frames have been looked at."""

    frames: list[TimedFrame]
    seq: int
    end: int


class _Run:
    """Deltas that follow each other: the last one is held until something else comes."""

    def __init__(self) -> None:
        self.type: str | None = None
        self.last_ns = 0
        self.held: TimedFrame | None = None

    def over(self) -> Iterator[TimedFrame]:
        if self.held is not None:
            yield self.held
        self.held = None


def outlined(connection: sqlite3.Connection, stream: int, sources: Sources) -> Iterator[Part]:
    """The frames that are stored of a stream: of a run of deltas without pause only the first and the last. All but the
    first have no `raw`, and no frame has a `sent_ns`."""
    run = _Run()
    for row in connection.execute(_QUERY, (stream,)):
        row, (first_ns, times, length) = row[:-3], row[-3:]
        seq, count, start = row[0], row[1], row[2]
        came = _came(times, first_ns, count)
        if run.type is not None and _is_run(row, run.type) and came[0] - run.last_ns <= PAUSE and _is_steady(came):
            run.held = _without_bytes(stream, seq + count - 1, came[-1], run.type)
            run.last_ns = came[-1]
            yield Part([], seq + count - 1, start + length)
        else:
            frames = list(_frames(row, came, stream, run, sources))
            yield Part(frames, seq + count - 1, start + length)
    yield Part(list(run.over()), 0, 0)


def _came(times: Any, first_ns: Any, count: Any) -> list[int]:
    """When each frame of a page came."""
    found = json.loads(times)
    if type(found) is not list or type(count) is not int or len(found) != count or set(map(type, found)) != {int}:
        raise ValueError("a page has not as many times as frames")
    if type(first_ns) is not int or max(abs(first_ns + min(found)), abs(first_ns + max(found))) >= LIMIT:
        raise ValueError("a page has a time that is too large")
    return [first_ns + one for one in found]


def _is_run(row: Any, type_: str) -> bool:
    """Whether all frames of a page are valid deltas of that type."""
    *_, names, kinds, verdicts, more = row
    return kinds is None and verdicts is None and more is None and json.loads(names) == [type_]


def _is_steady(came: list[int]) -> bool:
    return all(later - earlier <= PAUSE for earlier, later in pairwise(came))


def _frames(row: Any, came: list[int], stream: int, run: _Run, sources: Sources) -> Iterator[TimedFrame]:
    content: Content | None = None
    first, entries = entries_of(row)
    for seq, at_ns, (start, end, _, type_, verdict, more) in zip(
        range(first, first + len(entries)), came, entries, strict=False
    ):
        if type_ is not None and type_ == run.type and _is_delta(type_, verdict) and more is None:
            if at_ns - run.last_ns > PAUSE:
                yield from run.over()
                yield _without_bytes(stream, seq, at_ns, type_)
            else:
                run.held = _without_bytes(stream, seq, at_ns, type_)
            run.last_ns = at_ns
            continue
        yield from run.over()
        raw = None
        if more is None or "lost" not in more:
            content = sources(row[3], row[2]) if content is None else content
            raw = content.take(start, end)
        issues = () if more is None else issues_of(more)
        yield TimedFrame(stream, seq, at_ns, None, raw, end - start, type_, verdict, issues)
        run.type, run.last_ns = (type_ if _is_delta(type_, verdict) else None), at_ns


def _is_delta(type_: str | None, verdict: Verdict) -> bool:
    return type_ is not None and verdict == "valid" and type_.endswith(".delta")


def _without_bytes(stream: int, seq: int, at_ns: int, type_: str) -> TimedFrame:
    return TimedFrame(stream, seq, at_ns, None, None, 0, type_, "valid", ())
