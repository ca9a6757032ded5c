"""Reads a stream from the file: its bytes and reads from any position on, an outline, or the whole as columns.

Table `read_blocks` has several reads in a row, with their bytes. Table `frame_blocks` has several frames in a row. An
outline leaves out most deltas of a stream, and needs little work. Columns are for work on many frames at once: no
object is made for a frame.
"""

from __future__ import annotations

import json
import operator
import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, repeat
from typing import Any, NamedTuple

from ...model import VERDICTS, Exchange, Read, TimedFrame, Verdict
from ..framing import Framed, Framer, Run
from .checked import (
    FRAME_BLOCK_COLUMNS,
    FrameColumnsRow,
    entries_of,
    frame_columns_of,
    issues_of,
    read_block_of,
    times_of,
)


@dataclass(slots=True)
class ReadBlock:
    """The reads of one row. `data` is None if their bytes were lost."""

    n: int
    """Number of the first read, from 0."""
    start: int
    """Offset in the stream, in bytes."""
    size: int
    offset_ns: int
    """Base of the times in `came` and `sent`, in ns."""
    came: Sequence[int]
    sent: Sequence[int | None]
    sizes: Sequence[int]
    data: bytes | None

    @property
    def end(self) -> int:
        """Offset of the end in the stream, in bytes."""
        return self.start + self.size

    @property
    def next(self) -> int:
        """Number of the first read after this block."""
        return self.n + len(self.sizes)

    def read(self, number: int) -> Read:
        """Return the read with this number. Raises `IndexError` if the block does not hold it."""
        place = number - self.n
        if place < 0:
            raise IndexError(f"read {number} is missing")
        sent = self.sent[place]
        base = self.offset_ns
        return Read(base + self.came[place], None if sent is None else base + sent, self.sizes[place])

    def behind(self, byte: int) -> ReadBlock:
        """Return the part after the first `byte` bytes of the stream; a read may be cut."""
        return self if byte <= self.start else self._cut(byte, self.end)

    def before(self, byte: int) -> ReadBlock:
        """Return the part within the first `byte` bytes of the stream; a read may be cut."""
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
        return ReadBlock(self.n + first, start, end - start, self.offset_ns, self.came[of], self.sent[of], sizes, data)


_ROWS = "SELECT n, start, size, offset_ns, reads, data FROM read_blocks WHERE exchange = ? AND n >= ? ORDER BY n"
_OF_BYTE = "SELECT n FROM read_blocks WHERE exchange = ? AND start <= ? ORDER BY n DESC LIMIT 1"
_TIMES = "SELECT n, start, size, offset_ns, reads, NULL FROM read_blocks WHERE exchange = ? ORDER BY n"


def from_read(connection: sqlite3.Connection, exchange: int, read: int) -> Iterator[ReadBlock]:
    """Yield the blocks from the one with read number `read` on. Raises what SQLite raises, or one of `DAMAGED`."""
    return _from(connection, exchange, "SELECT max(n) FROM read_blocks WHERE exchange = ? AND n <= ?", read)


def from_byte(connection: sqlite3.Connection, exchange: int, byte: int, row: int | None = None) -> Iterator[ReadBlock]:
    """Yield the blocks after the first `byte` bytes. Raises what SQLite raises, or one of `DAMAGED`. `row`: number of
    the first read of the row that begins there, if known; a search takes longer in a longer stream."""
    blocks = _from(connection, exchange, _OF_BYTE, byte) if row is None else _rows(connection, exchange, row, byte)
    for block in blocks:
        if block.end > byte:
            yield block.behind(byte)


def _from(connection: sqlite3.Connection, exchange: int, query: str, where: int) -> Iterator[ReadBlock]:
    found = connection.execute(query, (exchange, where)).fetchone()
    first = 0 if found is None or found[0] is None else found[0]
    return _rows(connection, exchange, first, None if first else 0)


def _rows(connection: sqlite3.Connection, exchange: int, first: int, end: int | None) -> Iterator[ReadBlock]:
    """Yield the blocks from read `first` on. `end`: the offset at which that read begins, if known."""
    for row in connection.execute(_ROWS, (exchange, first)):
        block = ReadBlock(*read_block_of(row))
        if end is not None and block.start != end:
            raise ValueError(f"exchange {exchange} lacks some of its reads")
        end = block.end
        yield block


def together(blocks: Iterator[ReadBlock], most: int) -> Iterator[ReadBlock]:
    """Yield adjacent blocks joined, up to `most` bytes: the cost of small blocks is the work for each block."""
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
    for row in connection.execute(_TIMES, (exchange,)):
        _, _, _, base, came, sent, sizes, _ = read_block_of(row)
        for at, handed_on, size in zip(came, sent, sizes, strict=True):
            yield Read(base + at, None if handed_on is None else base + handed_on, size)


class Recent:
    """The reads of the last blocks: the parser may hold back a frame until its LF arrives."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks: list[ReadBlock] = []

    def add(self, block: ReadBlock, first: int) -> None:
        """Add the next block, and forget the blocks before read number `first`."""
        if self._blocks:
            self._blocks = [one for one in self._blocks if one.next > first]
        self._blocks.append(block)

    def clear(self) -> None:
        self._blocks.clear()

    def of(self, number: int) -> Read:
        """Return the read with this number. Raises `LookupError` if it is in none of the last blocks."""
        for block in reversed(self._blocks):
            if block.n <= number < block.next:
                return block.read(number)
        raise LookupError(f"read {number} is missing")


def portions(framer: Framer, block: ReadBlock, *, runs: bool = False) -> Iterator[Sequence[Framed | Run]]:
    """Yield the frames that a block completes, in portions. `runs`: return similar frames as a `Run`."""
    if block.data is None:
        return iter([[one for n, size in enumerate(block.sizes, block.n) for one in framer.skip(n, size)]])
    return framer.portions(block.n, block.sizes, block.data, runs=runs)


_NONE = ReadBlock(0, 0, 0, 0, (), (), (), None)


class Content:
    """The bytes of one stream and the times of its reads, to be requested in order. Request the bytes of a frame first,
    then the read of its last byte. Both raise `LookupError` if they are missing."""

    def __init__(self, blocks: Iterator[ReadBlock]) -> None:
        self._blocks = blocks
        self._is_now(_NONE)

    def _is_now(self, block: ReadBlock) -> None:
        self._block = block
        self._next = block.next
        self._start = block.start
        self._data = b"" if block.data is None else block.data
        self._end = block.end if block.data is not None else -1  # none of its bytes is available
        self._number = -1
        self._read: Read | None = None

    def take(self, start: int, end: int) -> bytes:
        at = start - self._start
        if at >= 0 and end <= self._end:  # the usual case
            return self._data[at : at + end - start]
        parts = []
        while start < end:
            if start >= self._block.end:
                self._step()
                continue
            last = min(end, self._block.end)
            if start < self._start or last > self._end:
                raise LookupError(f"bytes from {start} on are missing")
            parts.append(self._data[start - self._start : last - self._start])
            start = last
        return b"".join(parts)

    def read(self, number: int) -> Read:
        if number == self._number and self._read is not None:  # one read may bring several frames
            return self._read
        while number >= self._next:
            self._step()
        self._read = self._block.read(number)
        self._number = number
        return self._read

    def whole(self, start: int, ends: Sequence[int], first: int) -> int:
        """Return the place after the last of these consecutive frames that is whole in the current block; `first` if
        none is. The frame at place `first` begins at `start`. The ends are in ascending order."""
        return bisect_right(ends, self._end, first) if start >= self._start else first

    def slices(self, start: int, ends: Sequence[int]) -> list[bytes]:
        """Return the bytes of consecutive frames, all of them whole in the current block."""
        data = self._data
        base = self._start
        return [data[one - base : end - base] for one, end in pairwise([start, *ends])]

    def times(self, numbers: Sequence[int]) -> tuple[list[int], list[int | None]]:
        """Return the arrivals and sending times of reads, in ns."""
        block = self._block
        base = self._block.offset_ns
        first = block.n
        came = block.came
        sent = block.sent
        if numbers and min(numbers) >= first and max(numbers) < self._next:  # the usual case
            places = [number - first for number in numbers]
            sending = [sent[place] for place in places]
            return [base + came[place] for place in places], [None if at is None else base + at for at in sending]
        found = [self.read(number) for number in numbers]
        return [one.offset_ns for one in found], [one.sent_ns for one in found]

    def _step(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            raise LookupError("a stream lacks some of its bytes")
        self._is_now(block)


def decoded(connection: sqlite3.Connection, exchange: int, start: int) -> Iterator[ReadBlock]:
    """Yield the decoded bytes of a stream with a content coding, from the row with byte `start` on."""
    first = "SELECT coalesce(max(start), 0) FROM chunks WHERE exchange = ? AND side = 'content' AND start <= ?"
    (begin,) = connection.execute(first, (exchange, start)).fetchone()
    query = "SELECT start, data FROM chunks WHERE exchange = ? AND side = 'content' AND start >= ? ORDER BY start"
    for at, data in connection.execute(query, (exchange, begin)):
        yield ReadBlock(0, at, len(data), 0, (), (), (), data)


def frame_lists(
    stream: int, row: FrameColumnsRow, after: int, times: Content, content: Content
) -> Iterator[list[TimedFrame]]:
    """Yield the frames of a row of `frame_blocks` after number `after`, those in one block of `content` together.
    Raises one of `DAMAGED`."""
    count = len(row.ends)
    at = max(0, after + 1 - row.seq)
    types = [row.names[0]] * count if row.kinds is None else [row.names[kind] for kind in row.kinds]
    verdicts: list[Verdict] = ["valid"] * count if row.verdicts is None else [VERDICTS[one] for one in row.verdicts]
    start = row.ends[at - 1] if 0 < at <= count else row.start
    while at < count:
        last = content.whole(start, row.ends, at)
        if row.more:
            last = next((place for place in range(at, last) if str(place) in row.more), last)
        raws: Sequence[bytes | None]
        issues: Iterable[tuple[tuple[str, str], ...]] = repeat(())
        if last > at:
            raws = content.slices(start, row.ends[at:last])
        else:
            last = at + 1
            more = row.more.get(str(at))
            raws = (None if more is not None and "lost" in more else content.take(start, row.ends[at]),)
            issues = (() if more is None else issues_of(more),)
        came, sent = times.times(row.reads[at:last])
        lengths = [end - begin for begin, end in pairwise([start, *row.ends[at:last]])]
        columns = came, sent, raws, lengths, types[at:last], verdicts[at:last], issues
        numbers = range(row.seq + at, row.seq + last)
        yield list(map(tuple.__new__, repeat(TimedFrame), zip(repeat(stream), numbers, *columns, strict=False)))
        start = row.ends[last - 1]
        at = last


_BLOCKS = f"SELECT {FRAME_BLOCK_COLUMNS} FROM frame_blocks WHERE stream = ? ORDER BY seq"
PAUSE = 5_000_000_000
"""Longest gap between two deltas of which an outline leaves out one, in ns."""
_QUERY = f"SELECT {FRAME_BLOCK_COLUMNS}, offset_ns, times, length FROM frame_blocks WHERE stream = ? ORDER BY seq"
Sources = Callable[[int, int], Content]
"""Returns the content of the stream from a read and a byte on."""


class Part(NamedTuple):
    """Some frames of an outline; the last frame number and the offset in bytes up to which the outline is complete."""

    frames: list[TimedFrame]
    seq: int
    end: int


class _Run:
    """Consecutive deltas. The last one is held until another frame follows."""

    def __init__(self) -> None:
        self.type: str | None = None
        self.last_ns = 0
        self.held: int | None = None
        """The number of the last one; it came at `last_ns`."""

    def over(self, stream: int) -> list[TimedFrame]:
        if self.held is None or self.type is None:
            return []
        held = self.held
        self.held = None
        return [_without_bytes(stream, held, self.last_ns, self.type)]


def outlined(connection: sqlite3.Connection, stream: int, sources: Sources) -> Iterator[Part]:
    """Yield the stored frames of a stream; of consecutive deltas without a pause, only the first and the last. Only the
    first delta of a run has a `raw`. No frame has a `sent_ns`."""
    run = _Run()
    for row in connection.execute(_QUERY, (stream,)):
        first_ns, times, length = row[-3:]
        row = row[:-3]
        seq = row[0]
        count = row[1]
        start = row[2]
        came = times_of(times, first_ns, count)
        gaps = map(operator.sub, came, [run.last_ns, *came])
        if run.type is not None and _is_run(row, run.type) and max(gaps) <= PAUSE:
            run.held = seq + count - 1
            run.last_ns = came[-1]
            yield Part([], seq + count - 1, start + length)
        else:
            yield Part(_frames(row, came, stream, run, sources), seq + count - 1, start + length)
    yield Part(run.over(stream), 0, 0)


def _is_run(row: Any, type_: str) -> bool:
    """Whether all frames of a block are valid deltas of that type."""
    *_, names, kinds, verdicts, more = row
    return kinds is None and verdicts is None and more is None and json.loads(names) == [type_]


def _frames(row: Any, came: list[int], stream: int, run: _Run, sources: Sources) -> list[TimedFrame]:
    content: Content | None = None
    first, entries = entries_of(row)
    found: list[TimedFrame] = []
    for seq, at_ns, (start, end, _, type_, verdict, more) in zip(
        range(first, first + len(entries)), came, entries, strict=False
    ):
        if type_ == run.type and type_ is not None and verdict == "valid" and more is None:  # a delta of the run
            if at_ns - run.last_ns > PAUSE:
                found += run.over(stream)
                found.append(_without_bytes(stream, seq, at_ns, type_))
            else:
                run.held = seq
            run.last_ns = at_ns
            continue
        if run.held is not None:
            found += run.over(stream)
        raw = None
        if more is None or "lost" not in more:
            content = sources(row[3], row[2]) if content is None else content
            raw = content.take(start, end)
        issues = () if more is None else issues_of(more)
        found.append(TimedFrame(stream, seq, at_ns, None, raw, end - start, type_, verdict, issues))
        run.type = type_ if is_delta(type_, verdict) else None
        run.last_ns = at_ns
    return found


def is_delta(type_: str | None, verdict: Verdict) -> bool:
    """Whether a frame may be one of a run of which an outline leaves out most."""
    return type_ is not None and verdict == "valid" and type_.endswith(".delta")


def _without_bytes(stream: int, seq: int, at_ns: int, type_: str) -> TimedFrame:
    return TimedFrame(stream, seq, at_ns, None, None, 0, type_, "valid", ())


@dataclass(slots=True)
class FrameTable:
    """A stream whose every byte is recorded and in a frame, as columns. Times are in ns, offsets and sizes in bytes."""

    body: bytes = b""
    ends: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    """The read that brought the last byte of each frame, from 0."""
    types: list[str | None] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    issues: dict[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Path and message of each difference from the contract, by the position of the frame."""
    came: Sequence[int] = ()
    sent: Sequence[int | None] = ()
    sizes: Sequence[int] = ()

    def frames(self, stream: int) -> list[TimedFrame]:
        ends = self.ends
        came = self.came
        sent = self.sent
        starts = [0, *ends[:-1]]
        issues = [self.issues.get(place, ()) for place in range(len(ends))] if self.issues else repeat(())
        return list(
            map(
                tuple.__new__,
                repeat(TimedFrame),
                zip(
                    repeat(stream),
                    range(1, len(ends) + 1),
                    [came[read] for read in self.reads],
                    [sent[read] for read in self.reads],
                    map(self.body.__getitem__, map(slice, starts, ends)),
                    map(operator.sub, ends, starts),
                    self.types,
                    self.verdicts,
                    issues,
                    strict=False,
                ),
            )
        )


def frame_table(connection: sqlite3.Connection, exchange: Exchange) -> FrameTable | None:
    """Return a stream without a content coding; None if it lacks bytes, or has bytes without a frame. Raises what
    SQLite raises, or one of `DAMAGED`."""
    made = FrameTable()
    for row in connection.execute(_BLOCKS, (exchange.stream,)):
        seq, start, ends, reads, names, kinds, verdicts, more = frame_columns_of(row)
        if (seq, start) != (len(made.ends) + 1, made.ends[-1] if made.ends else 0):
            return None
        for place, rare in more.items():
            if "lost" in rare:
                return None
            if issues := issues_of(rare):
                made.issues[len(made.ends) + int(place)] = issues
        made.ends += ends
        made.reads += reads
        made.types += [names[0]] * len(ends) if kinds is None else [names[kind] for kind in kinds]
        made.verdicts += ["valid"] * len(ends) if verdicts is None else [VERDICTS[one] for one in verdicts]
    return made if _add_reads(made, connection, exchange.exchange) else None


def _add_reads(made: FrameTable, connection: sqlite3.Connection, exchange: int) -> bool:
    """Add the bytes and reads of a stream; return whether every byte is recorded and in a frame."""
    came: array[int] = array("q")
    sent = []
    sizes = array("q")
    data: list[bytes] = []
    for block in from_read(connection, exchange, 0):
        if block.data is None or block.n != len(sizes):
            return False
        base = block.offset_ns
        came.extend([base + at for at in block.came])
        sent += [None if at is None else base + at for at in block.sent]
        sizes.extend(block.sizes)
        data.append(block.data)
    made.body = b"".join(data)
    made.came = came
    made.sent = sent
    made.sizes = sizes
    return len(made.body) == (made.ends[-1] if made.ends else 0) and max(made.reads, default=-1) < len(sizes)
