"""Makes the rows of a stream: read blocks with its bytes, frame blocks with its frames.

A block joins many reads or frames in one row, since the cost is per row.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, groupby, islice
from typing import Any

from pydantic_core import to_json

from ...contract.judge import Judgement
from ...model import VERDICTS, Verdict
from ...omnigent.protocol import LANDMARKS
from ..framing import Framed, Run, is_text, storable_type
from .rows import PAGE_SIZE, Row
from .stream_reads import ReadBlock

READ_BLOCK_BYTES = 64 * 1024
"""Bytes of a stream in a read block; a larger read has its own block."""
READS_PER_BLOCK = 500
ROW_BYTES = PAGE_SIZE // 6
"""Bytes of a row that fits into a page of the file. Two rows of more than a third would leave the rest of it empty."""
_BYTES_PER_READ = 24
"""Bytes in a row for one read, beside its data."""
FRAME_BLOCK_BYTES = 256 * 1024
"""Bytes of frames in a frame block; a larger frame has its own block."""
FRAMES_PER_BLOCK = 250
_VERDICT = {verdict: number for number, verdict in enumerate(VERDICTS)}

JOURNAL = "INSERT INTO journal VALUES (NULL, ?, ?)"
READ_BLOCK = "INSERT OR REPLACE INTO read_blocks VALUES (?, ?, ?, ?, ?, ?, ?)"
_SENT_LATE = (
    "UPDATE read_blocks SET reads = with_sent(reads, n, offset_ns, ?) WHERE exchange = ?"
    " AND n BETWEEN (SELECT max(n) FROM read_blocks WHERE exchange = ? AND n <= ?) AND ?"
)
MASK_AGAIN = (
    "UPDATE read_blocks SET data = spliced(data, ? - start, ?) WHERE exchange = ?"
    " AND n = (SELECT n FROM read_blocks WHERE exchange = ? AND start <= ? ORDER BY n DESC LIMIT 1)"
)
_FORGET = (
    "UPDATE read_blocks SET data = NULL WHERE exchange = ? AND n BETWEEN ? AND ? AND start >= ? AND start + size <= ?"
)
_FRAME_BLOCK = "INSERT INTO frame_blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TALLY = (
    "INSERT INTO tallies VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET frames = frames + excluded.frames, length = length + excluded.length"
)


NOT_SENT = -(1 << 63)
"""Stands for a read that was not handed on before the commit, in place of the time."""
LATE = -1
"""Stands for the size in a record of a read that an earlier record has. Such a record only adds the time of sending."""


class JournalEntry:
    """Collects the reads of one commit."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._data: list[bytes] = []
        self.size = 0
        """Bytes of its row."""

    def add(self, numbers: Sequence[int], data: Sequence[bytes]) -> None:
        """Add records: for each read the six numbers exchange, number, offset, arrival, sending, size."""
        self._numbers.extend(numbers)
        self._data += data
        self.size += 8 * len(numbers) + sum(map(len, data))

    def late(self, exchange: int, n: int, sent_ns: int) -> None:
        """Add the time at which a read of an earlier commit was handed on."""
        self.add((exchange, n, 0, 0, sent_ns, LATE), ())

    def rows(self) -> list[Row]:
        if not self._numbers:
            return []
        return [(JOURNAL, (self._numbers.tobytes(), b"".join(self._data)))]


class ReadBlocks:
    """Joins the reads of one stream into rows of `read_blocks`. A row has the bytes of consecutive reads. The bytes of
    lost reads are NULL. The numbers of the waiting reads are in arrays: the garbage collector would visit objects."""

    __slots__ = (
        "_came",
        "_data",
        "_exchange",
        "_first",
        "_is_changed",
        "_journaled",
        "_journaled_to",
        "_offset_ns",
        "_sent",
        "_sizes",
        "n",
        "start",
    )

    def __init__(self, exchange: int, n: int = 0, start: int = 0) -> None:
        self._exchange = exchange
        self.n = n
        self.start = start
        """Number of the next read, and its offset in the stream in bytes."""
        self._begin()

    def _begin(self) -> None:
        self._data: list[bytes] | None = []
        self._first = self.start
        self._offset_ns = 0
        self._came = array("q")
        """The arrivals of the waiting reads, in ns after `_offset_ns`."""
        self._sent = array("q")
        """When they were handed on, likewise; or `NOT_SENT`."""
        self._sizes = array("q")
        self._journaled = 0
        """The number of these reads that the journal has."""
        self._journaled_to = self.start
        """The offset of the next read for the journal, in bytes."""
        self._is_changed = False
        """Whether bytes were replaced, so that the journal must not be read."""

    def add(self, offset_ns: int, sent_ns: int | None, size: int, data: bytes | None, out: list[Row]) -> None:
        """Add the next read. A row that is complete without it is appended to `out`."""
        reads = len(self._sizes)
        if reads and (
            self.start - self._first >= READ_BLOCK_BYTES
            or reads >= READS_PER_BLOCK
            or (data is None) is not (self._data is None)
        ):
            out += self.close()
            reads = 0
        if not reads:
            self._offset_ns = offset_ns
            if data is None:
                self._data = None
        if self._data is not None and data is not None:
            self._data.append(data)
        base = self._offset_ns
        self._came.append(offset_ns - base)
        self._sent.append(NOT_SENT if sent_ns is None else sent_ns - base)
        self._sizes.append(size)
        self.n += 1
        self.start += size

    def add_all(
        self,
        came: Sequence[int],
        sent: Sequence[int | None],
        sizes: Sequence[int],
        data: Sequence[bytes | None],
        out: list[Row],
    ) -> None:
        """Add consecutive reads, as `add` does, with less work if all of them fit into one row."""
        size = sum(sizes)
        reads = len(self._sizes)
        is_full = self.start - self._first + size >= READ_BLOCK_BYTES or reads + len(sizes) > READS_PER_BLOCK
        if is_full or self._data is None or None in data:
            for read in zip(came, sent, sizes, data, strict=True):
                self.add(*read, out)
            return
        if not reads:
            self._offset_ns = came[0]
        base = self._offset_ns
        self._came.extend([at - base for at in came])
        self._sent.extend([NOT_SENT if at is None else at - base for at in sent])
        self._sizes.extend(sizes)
        self._data += data  # type: ignore[arg-type]
        self.n += len(sizes)
        self.start += size

    def again(self, start: int, data: bytes) -> Iterator[Row]:
        """Replace the bytes at offset `start` by as many others; yield a row if they are already written."""
        if start >= self._first and self._data is not None:
            at = start - self._first
            held = b"".join(self._data)
            self._data = [held[:at], data, held[at + len(data) :]]
            self._is_changed = True
        else:
            yield MASK_AGAIN, (start, data, self._exchange, self._exchange, start)

    @property
    def size(self) -> int:
        """Bytes of the waiting reads."""
        return self.start - self._first

    def journal(self, entry: JournalEntry) -> list[Row]:
        """Add the reads since the last call to a row of the journal. Return their rows instead, if bytes were lost or
        replaced."""
        if self._data is None or self._is_changed:
            return self.close()
        base = self._offset_ns
        at = self._journaled_to
        reads = len(self._sizes)
        first = self.n - reads
        numbers: list[int] = []
        for place in range(self._journaled, reads):
            sent = self._sent[place]
            size = self._sizes[place]
            sent_ns = NOT_SENT if sent == NOT_SENT else base + sent
            numbers += (self._exchange, first + place, at, base + self._came[place], sent_ns, size)
            at += size
        entry.add(numbers, self._data[self._journaled :])
        self._journaled = reads
        self._journaled_to = at
        return []

    def sent(self, n: int, sent_ns: int, entry: JournalEntry) -> bool:
        """Note when a waiting read was handed on. Return False if it is no waiting read."""
        place = n - (self.n - len(self._sizes))
        if place < 0:
            return False
        self._sent[place] = sent_ns - self._offset_ns
        if place < self._journaled:
            entry.late(self._exchange, n, sent_ns)
        return True

    def forget(self) -> None:
        """Drop the waiting reads: the journal has them, or they cannot be written."""
        self._begin()

    def close(self) -> list[Row]:
        """Return the rows of the waiting reads: one, or several if one would waste too much of a database page."""
        return rows_of(self._exchange, self.take())

    def take(self) -> list[ReadBlock]:
        """Return the waiting reads as the blocks that `close` would make rows of. None wait afterwards."""
        made: list[ReadBlock] = []
        reads = len(self._sizes)
        data = None if self._data is None else b"".join(self._data)
        size = self.start - self._first + _BYTES_PER_READ * reads
        blocks = -(-size // ROW_BYTES) if ROW_BYTES < size < PAGE_SIZE else 1
        at = 0
        most = max(1, -(-reads // blocks))  # most reads that share a row
        for first in range(0, reads, most):
            of = slice(first, first + most)
            sizes = self._sizes[of]
            sent = [None if one == NOT_SENT else one for one in self._sent[of]]
            end = at + sum(sizes)
            part = None if data is None else data[at:end]
            n = self.n - reads + first
            made.append(ReadBlock(n, self._first + at, end - at, self._offset_ns, self._came[of], sent, sizes, part))
            at = end
        self._begin()
        return made


def rows_of(exchange: int, blocks: Iterable[ReadBlock]) -> list[Row]:
    """Return the rows of these blocks of a stream."""
    made: list[Row] = []
    for one in blocks:
        reads = _numbers(list(zip(one.came, one.sent, one.sizes, strict=True)))
        made.append((READ_BLOCK, (exchange, one.n, one.start, one.size, one.offset_ns, reads, one.data)))
    return made


def read_blocks(
    exchange: int, reads: Iterable[tuple[int, int | None, int]], data: Iterable[bytes | None]
) -> Iterator[Row]:
    """Yield the rows of all reads of a stream: arrival, sending and size of each, and the bytes of each."""
    blocks = ReadBlocks(exchange)
    made = list[Row]()
    for (offset_ns, sent_ns, size), one in zip(reads, data, strict=True):
        blocks.add(offset_ns, sent_ns, size, one, made)
        yield from made
        made.clear()
    yield from blocks.close()


def reads_sent(exchange: int, sent: list[tuple[int, int]]) -> Row:
    """Return the row that stores when these reads were sent on, after their rows are written. `sent` has read numbers
    in ascending order and times in ns."""
    return _SENT_LATE, (json.dumps(sent), exchange, exchange, sent[0][0], sent[-1][0])


class FrameColumns:
    """Consecutive frames as columns, for fast work on many frames at once."""

    __slots__ = ("lengths", "odd", "reads", "types", "verdicts")

    def __init__(self, found: Iterable[Framed | Run] = ()) -> None:
        self.lengths: list[int] = []
        self.reads: list[int] = []
        """The read that brought the last byte of each frame."""
        self.types: list[str | None] = []
        self.verdicts: list[Verdict] = []
        self.odd: dict[int, dict[str, Any]] = {}
        """Rare properties by position: lost bytes, issues, or bytes that are no text."""
        self.add(found)

    def __len__(self) -> int:
        return len(self.lengths)

    def add(self, found: Iterable[Framed | Run]) -> None:
        """Append frames and runs."""
        for is_run, some in groupby(found, key=lambda one: type(one) is Run):
            if not is_run:
                self._add(list(some))  # type: ignore[arg-type]
                continue
            runs: Iterator[Run] = some  # type: ignore[assignment]
            for run in runs:
                self.lengths += run.lengths
                self.reads += run.reads
                self.types += [run.type] * len(run.lengths)
                self.verdicts += ["valid"] * len(run.lengths)

    def _add(self, framed: list[Framed]) -> None:
        frames, judgements, reads = zip(*framed, strict=True)
        first = len(self)
        raws = [frame.raw for frame in frames]
        self.lengths += [frame.length for frame in frames]
        self.reads += reads
        self.types += [judgement.type for judgement in judgements]
        self.verdicts += [judgement.verdict for judgement in judgements]
        if not any(judgement.issues for judgement in judgements) and None not in raws:
            whole = b"".join(raws)
            if whole.isascii() and b"\0" not in whole:  # nearly always
                return
        for place, (raw, judgement) in enumerate(zip(raws, judgements, strict=True), first):
            if more := _more(raw, judgement):
                self.odd[place] = more

    def part(self, first: int, last: int) -> FrameColumns:
        made = FrameColumns()
        of = slice(first, last)
        made.lengths = self.lengths[of]
        made.reads = self.reads[of]
        made.types = self.types[of]
        made.verdicts = self.verdicts[of]
        if self.odd:
            made.odd = {place - first: more for place, more in self.odd.items() if first <= place < last}
        return made


def _more(raw: bytes | None, judgement: Judgement) -> dict[str, Any]:
    more: dict[str, Any] = {} if raw is not None else {"lost": 1}
    if raw is not None and not is_text(raw):
        more["binary"] = 1
    if judgement.issues:
        more["issues"] = [[issue.path, issue.message] for issue in judgement.issues]
    return more


def _block(
    stream: int, of: FrameColumns, came_at: Callable[[int], int], seq: int, start: int, before: int
) -> Iterator[Row]:
    """Yield the rows of one block, whose first frame has number `seq` and begins at `start`. `before`: an earlier
    read."""
    names = of.types[:1] if _are_alike(of.types) else list(dict.fromkeys(of.types))
    ends = list(accumulate(of.lengths))
    came = {read: came_at(read) for read in set(of.reads)}  # one call each: a read may bring many frames
    first_ns = came[of.reads[0]]
    reads = [read - before for read in of.reads]
    times = [came[read] - first_ns for read in of.reads]
    is_valid = of.verdicts.count("valid") == len(ends)
    yield (
        _FRAME_BLOCK,
        (
            stream,
            seq,
            len(ends),
            start,
            ends[-1],
            before,
            first_ns,
            _numbers(ends),
            _numbers(reads),
            _numbers(times),
            _list(list(map(storable_type, names))),
            None if len(names) == 1 else _numbers(list(map(names.index, of.types))),
            None if is_valid else _numbers([_VERDICT[verdict] for verdict in of.verdicts]),
            _list(of.odd) if of.odd else None,
        ),
    )
    for type_ in sorted(LANDMARKS.intersection(names)):  # the order of a set of strings differs between processes
        numbers = (number for number, one in enumerate(of.types, seq) if one == type_)
        yield from (("INSERT OR IGNORE INTO landmarks VALUES (?, ?, ?)", (type_, stream, number)) for number in numbers)


def _are_alike(values: Sequence[object]) -> bool:
    return values.count(values[0]) == len(values)  # takes a tenth of the time that a set takes


_list = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _numbers(values: Sequence[object]) -> str:
    """Return a JSON list of numbers, in a third of the time. Most of the written data is such lists."""
    return to_json(values).decode()


def _blocks_of(columns: FrameColumns) -> Iterator[FrameColumns]:
    for first in range(0, len(columns), FRAMES_PER_BLOCK):
        some = columns.part(first, first + FRAMES_PER_BLOCK)
        if sum(some.lengths) <= FRAME_BLOCK_BYTES:
            yield some
            continue
        begin = 0
        length = 0
        for end, one in enumerate(some.lengths, 1):
            length += one
            if length >= FRAME_BLOCK_BYTES or end == len(some):
                yield some.part(begin, end)
                begin = end
                length = 0


def frame_blocks(
    stream: int,
    framed: Iterable[Framed] | FrameColumns,
    came: Callable[[int], int],
    seq: int = 1,
    start: int = 0,
    read: int = 0,
) -> Iterator[Row]:
    """Yield the rows of consecutive frames, one at a time: judged frames need more memory than their bytes. `came`
    returns the arrival of a read in ns. `seq` is the number of the first frame, `start` its offset in the content,
    `read` the first read that may bring it. The last rows add the numbers of frames to `tallies`."""
    found: dict[str, tuple[int, int]] = {}
    for columns in [framed] if isinstance(framed, FrameColumns) else map(FrameColumns, _some(framed)):
        _count(columns, found)
        for of in _blocks_of(columns):
            yield from _block(stream, of, came, seq, start, read)
            seq = seq + len(of)
            start = start + sum(of.lengths)
            read = of.reads[-1]
    yield from ((_TALLY, (stream, verdict, *counted)) for verdict, counted in found.items())


def _some(framed: Iterable[Framed]) -> Iterator[list[Framed]]:
    source = iter(framed)
    return iter(lambda: list(islice(source, FRAMES_PER_BLOCK)), [])


def _count(of: FrameColumns, found: dict[str, tuple[int, int]]) -> None:
    """Add the number and the total length of these frames to `found`, by verdict."""
    if not of:
        return
    counts = {of.verdicts[0]: len(of)} if _are_alike(of.verdicts) else Counter(of.verdicts)
    for verdict, count in counts.items():
        frames, length = found.get(verdict, (0, 0))
        pairs = zip(of.lengths, of.verdicts, strict=True)
        lengths = of.lengths if count == len(of) else [one for one, other in pairs if other == verdict]
        found[verdict] = frames + count, length + sum(lengths)


def forgotten(exchange: int, between: tuple[int, int], start: int, length: int) -> Row:
    """Return the row that deletes the bytes of a frame that is too large to keep; bytes in shared rows stay. `between`
    has the first and the last read of the frame."""
    return _FORGET, (exchange, *between, start, start + length)
