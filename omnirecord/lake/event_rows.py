"""Makes the rows of the tables `events` and `reads` of a lake: as Arrow arrays, without an object for each frame."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, groupby, islice
from operator import itemgetter, lt
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ..wire.sse import is_utf8
from .layout import AT, SCHEMAS

if TYPE_CHECKING:
    from ..cassette.sqlite import Store
    from ..cassette.sqlite.stream_reads import FrameTable
    from ..model import Exchange

FLUSH_BYTES = 64 << 20
"""Bytes of frames in one batch of events, about: a row group of the Parquet file."""
FLUSH_ROWS = 1 << 20


Times = tuple[int, int | None, int]
"""Arrival and sending time in ns, and a size in bytes."""


class EventColumns:
    """The events of one recording. `started_us`: its start, in microseconds since 1970."""

    def __init__(self, started_us: int) -> None:
        self._started_us = started_us
        self._begin()

    def _begin(self) -> None:
        self._streams: list[tuple[int, str | None, int, int | None]] = []  # up to which row: session, exchange, stream
        self._seq = array("i")
        self._offset_ns = array("q")
        self._ends = array("i", [0])
        self._sent_ns: list[int | None] = []
        self._types: list[str | None] = []
        self._verdicts: list[str] = []
        self._lengths = array("q")
        self._body: list[bytes] = []
        self._size = 0
        self._no_text: set[int] = set()
        self._binary: dict[int, bytes] = {}
        self._issues: dict[int, list[dict[str, str]]] = {}

    def __len__(self) -> int:
        return len(self._seq)

    @property
    def is_full(self) -> bool:
        """Whether the rows should be taken before others follow."""
        return self._size >= FLUSH_BYTES or len(self) >= FLUSH_ROWS

    def add_table(self, x: Exchange, table: FrameTable) -> None:
        """Add a whole stream whose body is text."""
        begin = len(self)
        size = self._size
        came = table.came
        sent = table.sent
        self._seq.extend(range(1, len(table.ends) + 1))
        self._offset_ns.extend([came[read] for read in table.reads])
        self._sent_ns += [sent[read] for read in table.reads]
        self._ends.extend([size + end for end in table.ends])
        self._lengths.extend([end - start for start, end in zip([0, *table.ends], table.ends, strict=False)])
        self._types += table.types
        self._verdicts += table.verdicts
        self._body.append(table.body)
        self._size += len(table.body)
        for place, issues in table.issues.items():
            self._issues[begin + place] = _issues(issues)
        self._span(x)

    def add_frames(self, x: Exchange, store: Store) -> Iterator[None]:
        """Add a stream frame by frame. Yields when the rows should be taken."""
        for frame in store.frames(x, unfinished=True):
            place = len(self)
            self._seq.append(frame.seq)
            self._offset_ns.append(frame.offset_ns)
            self._sent_ns.append(frame.sent_ns)
            self._types.append(frame.type)
            self._verdicts.append(frame.verdict)
            self._lengths.append(frame.length)
            if frame.raw is not None and is_utf8(frame.raw):
                self._body.append(frame.raw)
                self._size += len(frame.raw)
            else:
                self._no_text.add(place)
                if frame.raw is not None:
                    self._binary[place] = frame.raw
            self._ends.append(self._size)
            if frame.issues:
                self._issues[place] = _issues(frame.issues)
            if self.is_full:
                self._span(x)
                yield
        self._span(x)

    def _span(self, x: Exchange) -> None:
        if len(self) > (self._streams[-1][0] if self._streams else 0):
            self._streams.append((len(self), x.session_id, x.exchange, x.stream))

    def take(self) -> dict[str, pa.Array]:
        """Return the rows so far as columns, and begin again."""
        count = len(self)
        offset_ns = integers(self._offset_ns, pa.int64())
        schema = SCHEMAS["events"]
        names = ("session_id", "exchange", "stream")
        ends, *values = zip(*self._streams, strict=True)
        ends = pa.array(ends, pa.int32())
        of_streams = {
            name: pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(ends, pa.array(one, schema.field(name).type)))
            for name, one in zip(names, values, strict=True)
        }
        raw = pa.StringArray.from_buffers(count, pa.py_buffer(self._ends), pa.py_buffer(b"".join(self._body)))
        if self._no_text:
            raw = pc.if_else([place in self._no_text for place in range(count)], pa.scalar(None, pa.string()), raw)
        made = {
            **of_streams,
            "seq": integers(self._seq, pa.int32()),
            "at": pc.add(pc.divide(offset_ns, 1000), self._started_us).cast(AT),
            "offset_ns": offset_ns,
            "sent_ns": pa.array(self._sent_ns, pa.int64()),
            "type": pa.array(self._types, pa.string()),
            "verdict": pa.array(self._verdicts, pa.string()),
            "length": integers(self._lengths, pa.int64()).cast(pa.int32()),
            "raw": raw,
            "raw_bytes": _sparse(self._binary, count, schema.field("raw_bytes").type),
            "issues": _sparse(self._issues, count, schema.field("issues").type),
        }
        self._begin()
        return made


def integers(values: array[int], type_: pa.DataType) -> pa.Array:
    """Return a column of integers without a copy."""
    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])


def is_text(table: FrameTable) -> bool:
    """Whether every frame of a stream is UTF-8."""
    body = table.body
    if body.isascii():
        return True
    return is_utf8(body) and all(body[end] & 0xC0 != 0x80 for end in table.ends if end < len(body))


def underived(table: FrameTable) -> list[int]:
    """Return the numbers of the reads that `derived_reads` does not find without them."""
    came = table.came
    sent = table.sent
    ends = table.ends
    last_ends = dict(zip(table.reads, ends, strict=True))  # of the frames that a read completed
    is_usual = all(table.sizes) and [*last_ends.values()] == [*accumulate(table.sizes)]
    if is_usual and all(map(lt, came, islice(came, 1, None))):
        return []
    found = []
    pos = 0
    at = 0
    for n, size in enumerate(table.sizes):
        until = at
        while until < len(ends) and (came[table.reads[until]], sent[table.reads[until]]) == (came[n], sent[n]):
            until += 1
        pos += size
        if until == at or not size or ends[until - 1] != pos:
            found.append(n)
        while at < len(ends) and ends[at] <= pos:
            at += 1
    return found


def derived_reads(events: Iterable[Times], stored: Mapping[int, Times]) -> Iterator[Times]:
    """Yield all reads of a stream, from its events and from the reads that are stored, by number.

    Consecutive events with the same times came in one read. A read is an offset and a sending time in ns, and a size in
    bytes, an event the same with its length.
    """
    runs = ((key, sum(length for *_, length in some)) for key, some in groupby(events, key=itemgetter(0, 1)))
    n = pos = end = 0
    key, size = next(runs, ((0, None), None))  # type: tuple[int, int | None], int | None
    while size is not None or n in stored:
        if n in stored:
            yield stored[n]
            pos += stored[n][2]
        else:
            yield *key, end + (size or 0) - pos
            pos = end + (size or 0)
        while size is not None and end + size <= pos:
            end += size
            key, size = next(runs, ((0, None), None))
        n += 1


def _issues(issues: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "message": message} for path, message in issues]


def _sparse(values: dict[int, Any], count: int, type_: pa.DataType) -> pa.Array:
    if not values:
        return pa.nulls(count, type_)
    return pa.array([values.get(place) for place in range(count)], type_)
