"""The frames of a growing cassette as their bytes arrive, before the recorder has stored any frames.

    tail = Tail()
    tail.look(store)                      # one query for the new bytes of all streams
    for frame in tail.frames(x, after):   # of a stream that is open in `tail`
        ...

A `Tail` belongs to one follower of one file. It keeps a parser for each open stream, so each byte is parsed once. Pure,
apart from the given store.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from ...contract.judge import Contract
from ...model import Exchange, Streaming, TimedFrame
from ...wire.sse import BLANK_LINE
from ..contracts import NAMES
from ..framing import Framed, Framer, Run, is_usual, storable_type
from .journal import Segment, is_there, segments_of
from .reader import Store
from .stream_reads import ReadBlock, Recent, from_byte, from_read, is_delta, portions
from .stream_rows import NOT_SENT
from .tables import content_encoding

_NEW_READS = "SELECT reads, data FROM journal WHERE entry > ? ORDER BY entry"
_LAST_ENTRY = "SELECT coalesce(max(entry), 0) FROM journal"
_NEW_BLOCKS = """SELECT exchange, max(n + json_array_length(reads)), max(start + size) FROM main.read_blocks
WHERE rowid > ? GROUP BY exchange"""
_LAST_BLOCK = "SELECT coalesce(max(rowid), 0) FROM main.read_blocks"
_RECEIVED = """SELECT n + json_array_length(reads), start + size FROM main.read_blocks WHERE exchange = ?
ORDER BY n DESC LIMIT 1"""
_AT_ONCE = 4 * 1024 * 1024
"""Bytes of a stream that a look takes at most, unless it may leave out frames. A stream with more is closed: its
follower waits for stored frames."""
_PART = 0.0003
"""Seconds of work between two pauses, while much is read."""
_REST = 5
"""A pause as a multiple of the work before it. A busy event loop needs three quarters of the time. With less, events
wait for as long as a look takes."""
_LONGEST_REST = 0.005
"""The longest pause, in seconds."""
_MUCH = 64 * 1024
"""New bytes that are more than a person can read."""


_OTHER_THAN_DELTA = re.compile(rb"\nevent: (?!\S*delta\n)[^\n]*\n")
"""The end of a line and the first line of an event that is not one of many parts of a text. Without the end of a line
it takes quadratic time, and an expression that begins with `^` takes three times as long."""


class _Alike(NamedTuple):
    """Consecutive valid frames of one type, not made yet."""

    seq: int
    run: Run
    start: int
    """The offset of the first frame in the content, in bytes."""
    block: ReadBlock

    def frames(self, stream: int, after: int) -> Iterator[TimedFrame]:
        at = self.start - self.block.start
        data = self.block.data or b""
        for seq, length, number in zip(range(self.seq, self.end), self.run.lengths, self.run.reads, strict=True):
            if seq > after:
                read = self.block.read(number)
                raw = data[at : at + length]
                yield TimedFrame(stream, seq, read.offset_ns, read.sent_ns, raw, length, self.run.type, "valid", ())
            at += length

    @property
    def end(self) -> int:
        """The number of the frame after the last one."""
        return self.seq + len(self.run.lengths)


class _Growing:
    """One stream on its way from reads to frames. `stored`: the number of its stored frames; `length`: their bytes.

    Thousands may be open and idle, so an idle one holds no block and no empty queue.
    """

    __slots__ = (
        "_api",
        "_at",
        "_framer",
        "_is_closed",
        "_made",
        "_recent",
        "_skip",
        "byte",
        "exchange",
        "is_done",
        "n",
        "opened_at",
        "seq",
        "stream",
    )

    def __init__(
        self, exchange: int, stream: int, coding: str | None, contract: Contract, stored: int, length: int
    ) -> None:
        self.exchange = exchange
        self.stream = stream
        self._framer = Framer(coding, contract, length)
        self._api = contract.api
        self.is_done: bool | None = False
        """Whether a frame ended the stream; None if it may be among those that were left out."""
        self.byte = length
        """Bytes on the wire that the parser has."""
        self._skip = 0
        if self._framer.decodes:  # a coded stream can only be decoded from its start
            self._framer = Framer(coding, contract)
            self.byte = 0
            self._skip = stored
        self.n = 0
        """The number of the next read."""
        self.seq = stored
        """The number of the last frame."""
        self.opened_at = stored + 1
        self._at = length
        self._is_closed = False
        self._recent = Recent()
        self._made: deque[TimedFrame | _Alike] | None = None
        """The frames that were not taken."""

    def feed(self, block: ReadBlock) -> None:
        self._recent.add(block, self._framer.read)
        self.byte = block.end
        self.n = block.next
        for some in portions(self._framer, block, runs=True):
            self._add(some, block)
        if not self._framer.holds:
            self._recent.clear()

    def leave_out_new(self, block: ReadBlock) -> int | None:
        """Count the frames that the next reads complete, without making most of them. None, and nothing is done, if
        that needs the parser."""
        block = block.behind(self.byte)
        data = block.data
        if data is None or block.start != self.byte or self._framer.decodes or not is_usual(data):
            return None
        before = self.seq
        begin = block.start
        if self._framer.is_between:
            if data.startswith(b"\n"):
                return None
        else:
            begin += data.find(BLANK_LINE, 1) + len(BLANK_LINE)  # the first byte may end the frame that has begun
            waiting = self._made or ()
            self._made = None
            self.feed(block.before(begin))
            made: Iterable[TimedFrame | _Alike] = self._made or ()
            kept = [one for one in made if type(one) is TimedFrame and not is_delta(one.type, one.verdict)]
            left = [*waiting, *kept]
            self._made = deque(left) if left else None
            before += len(kept)
        left_out = self.seq - before
        if self._framer.is_between:
            end = block.start + data.rfind(BLANK_LINE) + len(BLANK_LINE)
            count = self._framer.leave_out(data[begin - block.start : end - block.start])
            self._at += end - begin
            self.seq += count
            self.byte = end
            self.is_done = self.is_done or None
            left_out += count
        if self.byte < block.end:
            self.feed(block.behind(self.byte))
        self.n = block.next
        return left_out

    def close(self) -> None:
        """Note that no byte follows. Further calls have no effect."""
        if not self._is_closed:
            self._is_closed = True
            self._add(self._framer.close(), None)

    def _add(self, found: Sequence[Framed | Run], block: ReadBlock | None) -> None:
        for one in found:
            if self._skip:
                self._skip -= 1
            elif type(one) is Run and block is not None:
                self._keep(_Alike(self.seq + 1, one, self._at, block))
                self.seq += len(one.lengths)
                self._at += sum(one.lengths)
            elif type(one) is Framed:
                if self._api.is_end(one.judgement.verdict, one.judgement.type):
                    self.is_done = True
                self._keep(self._timed(one))
                self.seq += 1
                self._at += one.frame.length

    def _keep(self, made: TimedFrame | _Alike) -> None:
        if self._made is None:
            self._made = deque()
        self._made.append(made)

    def _timed(self, framed: Framed) -> TimedFrame:
        frame, judgement, number = framed
        read = self._recent.of(number)
        issues = tuple((issue.path, issue.message) for issue in judgement.issues)
        return TimedFrame(
            self.stream,
            self.seq + 1,
            read.offset_ns,
            read.sent_ns,
            frame.raw,
            frame.length,
            storable_type(judgement.type),
            judgement.verdict,
            issues,
        )

    def frames(self, after: int) -> Iterator[TimedFrame]:
        """Yield the frames after number `after`, and forget the frames before each of them."""
        made = self._made
        while made:
            one = made[0]
            if type(one) is _Alike:
                yield from one.frames(self.stream, after)
            elif type(one) is TimedFrame and one.seq > after:
                yield one
            made.popleft()
        if self._made is made:
            self._made = None

    @property
    def waiting(self) -> int:
        """The number of frames that were not taken."""
        return sum(one.end - one.seq if type(one) is _Alike else 1 for one in self._made or ())

    def leave_out(self, most: int) -> int:
        """Forget waiting frames, so that at most `most` are left; return how many. Of consecutive frames of one type,
        all but the last go first."""
        before = self.waiting
        if before <= most:
            return 0
        last = deque(one for some in self._made or () for one in _last_of(some, self.stream))
        kept = deque(last, maxlen=most)
        self._made = deque(kept)  # without a limit: it would drop later frames uncounted
        return before - len(kept)


def _last_of(some: TimedFrame | _Alike, stream: int) -> Iterable[TimedFrame]:
    return some.frames(stream, some.end - 2) if type(some) is _Alike else [some]  # type: ignore[list-item]


class Tail:
    """The new frames of the streams that a follower has opened with `open`. `rests`: the follower shares its process
    with a recorder, so it pauses after each part of its work."""

    def __init__(self, *, rests: bool = False) -> None:
        self._rests = rests
        self._entry = self._block = 0
        self._growing: dict[int, _Growing] = {}
        self._streams: set[int] = set()
        self._left_out = 0
        self._rested_at = 0.0
        self._changed: set[int] = set()
        """The streams with frames that the last look made."""

    def look(self, store: Store, most: int | None = None) -> set[int]:
        """Take the bytes that arrived since the last look; return the streams with new frames. One that has too many
        is closed: open it again. Call it once for each transaction of the store, before the other methods.

        `most`: with more new frames than that, those of all streams that have only deltas are left out. Raises
        `CassetteError`."""
        self._changed.clear()
        self._rested_at = time.perf_counter()
        for _ in store._checked(lambda: self._look(store, most)):
            pass
        return set(self._changed)

    def _look(self, store: Store, most: int | None) -> Iterator[None]:
        connection = store._connection
        if not is_there(connection):
            return
        if self._growing:
            self._feed_settled(connection, most)
            self._feed_journal(connection, self._entry, self._growing, most)
        (self._entry,) = connection.execute(_LAST_ENTRY).fetchone()
        (self._block,) = connection.execute(_LAST_BLOCK).fetchone()
        yield from ()

    def _feed_settled(self, connection: sqlite3.Connection, most: int | None) -> None:
        """Feed the new reads that the journal does not have any more."""
        behind: list[_Growing] = []
        size = 0
        for exchange, next_n, end in connection.execute(_NEW_BLOCKS, (self._block,)).fetchall():
            growing = self._growing.get(exchange)
            if growing is None or growing.n >= next_n:
                continue
            if most is None and end - growing.byte > _AT_ONCE:
                self.forget(exchange)
                self._changed.add(growing.stream)
                continue
            behind.append(growing)
            size += end - growing.byte
        left = None if most is None or (len(behind) <= most and size <= _MUCH) else most
        for growing in behind:
            for block in from_read(connection, growing.exchange, growing.n):
                left = self._feed_new(growing, block, left)
                if left is not None:
                    self._rest()

    def _feed_new(self, growing: _Growing, block: ReadBlock, left: int | None) -> int | None:
        """Feed a block, or leave out its frames. `left`: the number of frames that are still made; None: all. Return
        what is left of it."""
        if left is not None:
            if left and block.data is not None and _OTHER_THAN_DELTA.search(b"\n" + block.data):
                left = max(0, left - block.data.count(BLANK_LINE))
            elif (count := growing.leave_out_new(block)) is not None:
                self._left_out += count
                if growing.waiting:
                    self._changed.add(growing.stream)
                return left
        self._feed_blocks(growing, [block])
        self._changed.add(growing.stream)
        return left

    def _feed_blocks(self, growing: _Growing, blocks: Iterable[ReadBlock]) -> None:
        """Feed the part of these blocks that is new."""
        for block in blocks:
            if block.end > growing.byte:
                growing.feed(block.behind(growing.byte))
                self._rest()
            growing.n = max(growing.n, block.next)  # the last reads of a block may be empty

    def _feed_journal(
        self, connection: sqlite3.Connection, after: int, wanted: dict[int, _Growing], most: int | None = None
    ) -> None:
        """Feed the reads in the entries after number `after`. `most`: see `look`."""
        found: dict[int, list[Segment]] = {}
        frames = 0
        is_much = False
        for row in connection.execute(_NEW_READS, (after,)):
            if most is not None:
                frames += row[1].count(BLANK_LINE)
                is_much = frames > most
            for segment in segments_of(row):
                if isinstance(segment, Segment) and segment.exchange in wanted:
                    found.setdefault(segment.exchange, []).append(segment)
            if is_much:
                self._rest()
        left = most if is_much else None
        for exchange, segments in found.items():
            growing = wanted[exchange]
            new = [one for one in segments if one.n + len(one.sizes) > growing.n]
            if new:
                left = self._feed_new(growing, _joined(new), left)
            if left is not None:
                self._rest()

    def _rest(self) -> None:
        """Pause after a part of much work: the recorder's event loop may wait for the interpreter."""
        worked = time.perf_counter() - self._rested_at
        if self._rests and worked > _PART:
            time.sleep(min(_REST * worked, _LONGEST_REST))
            self._rested_at = time.perf_counter()

    def left_out(self) -> int:
        """Return the number of frames that looks left out since the last call."""
        left_out = self._left_out
        self._left_out = 0
        return left_out

    def open(self, store: Store, exchanges: Iterable[int]) -> None:
        """Follow the streams of these exchanges too, from their last stored frame on. A stream that a contract file
        judges stays closed, since only the recorder has read the file. So does a stream of an older cassette, and one
        of which too many bytes are in no stored frame yet. Raises `CassetteError`."""
        new = [exchange for exchange in exchanges if exchange not in self._growing]
        if new:
            self._rested_at = time.perf_counter()
            for _ in store._checked(lambda: self._open(store, new)):
                pass

    def _open(self, store: Store, exchanges: list[int]) -> Iterator[None]:
        connection = store._connection
        if not is_there(connection):
            return
        opened: dict[int, _Growing] = {}
        for x in store.newer(sys.maxsize, exchanges):
            if x.stream is None or store.recording(x.recording).contract not in NAMES:
                continue
            next_n, received = connection.execute(_RECEIVED, (x.exchange,)).fetchone() or (0, 0)
            stored, length = store._stored(x) if next_n else (0, 0)
            if received - length > _AT_ONCE:
                continue
            growing = _Growing(x.exchange, x.stream, content_encoding(x), store.judge_of(x), stored, length)
            opened[x.exchange] = growing
            if next_n:
                self._feed_blocks(growing, from_byte(connection, x.exchange, growing.byte))
                growing.n = max(growing.n, next_n)
        self._feed_journal(connection, 0, opened)
        self._growing |= opened
        self._streams |= {growing.stream for growing in opened.values()}
        yield from ()

    def new_frames(self, store: Store, x: Exchange | Streaming, after: int, *, is_over: bool) -> Iterable[TimedFrame]:
        """Return the frames of a stream after number `after`, whether it is open here or not. `is_over`: no byte
        follows."""
        if x.exchange in self._growing:
            return self.frames(store, x, after)
        return store.frames_behind(x, after) if is_over else store.stored_frames(x, after)

    def has(self, exchange: int) -> bool:
        """Whether the stream of this exchange is open here."""
        return exchange in self._growing

    def follows(self, stream: int) -> bool:
        """Whether the stream with this number is open here."""
        return stream in self._streams

    def waiting(self, exchange: int) -> int:
        """Return the number of frames of an open stream that were made and not taken."""
        return self._growing[exchange].waiting

    def opened_at(self, exchange: int) -> int:
        """Return the number of the first frame of an open stream that is made here. The recorder has stored those
        before."""
        return self._growing[exchange].opened_at

    def frames(self, store: Store, x: Exchange | Streaming, after: int) -> Iterator[TimedFrame]:
        """Yield the frames of an open stream after number `after`, but not those that were left out. Those before are
        forgotten. Raises `CassetteError`."""
        growing = self._growing[x.exchange]
        first = growing.opened_at
        if after + 1 < first:
            yield from takewhile(lambda frame: frame.seq < first, store.stored_frames(x, after))
        yield from growing.frames(after)

    def end(self, exchange: int) -> None:
        """Note that no byte of a stream follows: what is left of it is its last frame."""
        if (growing := self._growing.get(exchange)) is not None:
            growing.close()

    def is_done(self, exchange: int) -> bool | None:
        """Return whether a frame has ended an open stream; None if it may be among those that were left out."""
        return self._growing[exchange].is_done

    def forget(self, exchange: int) -> None:
        if (growing := self._growing.pop(exchange, None)) is not None:
            self._streams.discard(growing.stream)

    def leave_out(self, exchange: int, most: int) -> int:
        """Forget frames of an open stream, so that at most `most` are left; return how many were forgotten."""
        return self._growing[exchange].leave_out(most)


def _joined(segments: list[Segment]) -> ReadBlock:
    """Return consecutive segments of a stream as one block."""
    first = segments[0]
    base = first.came[0]
    came = [at - base for one in segments for at in one.came]
    sent = [None if at == NOT_SENT else at - base for one in segments for at in one.sent]
    sizes = [size for one in segments for size in one.sizes]
    data = b"".join([one.data for one in segments])
    if segments[-1].start + len(segments[-1].data) != first.start + len(data):
        raise ValueError(f"exchange {first.exchange} lacks some of its reads")
    return ReadBlock(first.n, first.start, len(data), base, came, sent, sizes, data)
