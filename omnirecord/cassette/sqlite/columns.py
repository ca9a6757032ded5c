"""Whole streams as columns, for work on many frames at once. No object is made for a frame."""

from __future__ import annotations

import operator
import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat

from ...model import VERDICTS, Exchange, TimedFrame, Verdict
from .checked import FRAME_BLOCK_COLUMNS, frame_columns_of, issues_of
from .stream_reads import from_read

_new = tuple.__new__
_BLOCKS = f"SELECT {FRAME_BLOCK_COLUMNS} FROM frame_blocks WHERE stream = ? ORDER BY seq"


@dataclass(slots=True)
class FrameTable:
    """A stream whose every byte is recorded and in a frame, as columns. Times are in ns, offsets and sizes in bytes."""

    body: bytes = b""
    ends: list[int] = field(default_factory=list)
    """The offset in `body` at which each frame ends."""
    reads: list[int] = field(default_factory=list)
    """The read that brought the last byte of each frame, from 0."""
    types: list[str | None] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    issues: dict[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Path and message of each difference from the contract, by the position of the frame."""
    came: Sequence[int] = ()
    """The arrival of each read."""
    sent: Sequence[int | None] = ()
    sizes: Sequence[int] = ()

    def frames(self, stream: int) -> list[TimedFrame]:
        """Return the frames as values."""
        ends, came, sent = self.ends, self.came, self.sent
        starts = [0, *ends[:-1]]
        issues = [self.issues.get(place, ()) for place in range(len(ends))] if self.issues else repeat(())
        return list(map(_new, repeat(TimedFrame), zip(
            repeat(stream), range(1, len(ends) + 1), [came[read] for read in self.reads],
            [sent[read] for read in self.reads], map(self.body.__getitem__, map(slice, starts, ends)),
            map(operator.sub, ends, starts), self.types, self.verdicts, issues, strict=False,
        )))  # fmt: skip


def frame_table(connection: sqlite3.Connection, exchange: Exchange) -> FrameTable | None:
    """Return a stream without a content coding; None if it lacks bytes, or has bytes without a frame.

    Raises what SQLite raises, or one of `DAMAGED`.
    """
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
    came, sent, sizes, data = array("q"), [], array("q"), []  # type: array[int], list[int | None], array[int], list[bytes]
    for block in from_read(connection, exchange, 0):
        if block.data is None or block.n != len(sizes):
            return False
        base = block.offset_ns
        came.extend([base + at for at in block.came])
        sent += [None if at is None else base + at for at in block.sent]
        sizes.extend(block.sizes)
        data.append(block.data)
    made.body, made.came, made.sent, made.sizes = b"".join(data), came, sent, sizes
    return len(made.body) == (made.ends[-1] if made.ends else 0) and max(made.reads, default=-1) < len(sizes)
