"""What happened since the last transaction, taken over from the event loop a portion at a time.

The loop waits for whoever has the interpreter: so neither is all of it taken, nor let go, in one go.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..server.timers import monotonic
from .files import RecordingFile
from .pace import PORTION, resting
from .rows.exchanges import BodyData, Messaged, Op, Received, SentLate, content, held

_LOOK_EVERY = 1000
"""Operations between two looks at the clock: 2 ms."""


@dataclass(slots=True)
class Batch:
    """Some of it that is for one file, in order."""

    file: RecordingFile
    ops: list[Op] = field(default_factory=list)
    size: int = 0
    """Bytes of memory that it takes, as the intake counts them."""

    def let_go(self, rest: Callable[[], object] | None) -> None:
        while self.ops:
            del self.ops[-PORTION:]
            if rest is not None:
                rest()


def taken(waiting: deque[tuple[RecordingFile, Op]], most: int, rest: Callable[[], object] | None) -> list[Batch]:
    """Take what waits by now, until it is `most` bytes; what comes meanwhile is for the next time. `rest` leaves the
    interpreter to others for a moment; None: they want it less than what waits wants to be written."""
    batches: list[Batch] = []
    size = 0
    for _ in resting(range(len(waiting)), PORTION, rest):
        file, op = waiting.popleft()
        if not batches or batches[-1].file is not file:
            batches.append(Batch(file))
        came = held(op)
        batches[-1].ops.append(op)
        batches[-1].size += came
        size += came
        if size >= most:
            break
    return batches


@dataclass(slots=True)
class Forgotten:
    """What is left of waiting operations once their bytes are dropped: each exchange, its length and its end."""

    batches: list[Batch] = field(default_factory=list)
    size: int = 0
    """Bytes that are dropped, …"""
    pieces: int = 0
    """… and in how many reads, messages or pieces of a body they came."""
    held: int = 0
    """Bytes of memory that they took, as the intake counts them."""
    is_cut: bool = False
    """Whether there was no time for all of them."""


def forgotten(waiting: deque[tuple[RecordingFile, Op]], until: float = math.inf) -> Forgotten:
    """Take all that waits, without its bytes. The reads of a stream become one, so that this takes little time.
    `until`: the time, by the steady clock, after which the rest is left."""
    found = Forgotten()
    reads: dict[tuple[int, int], Received] = {}
    for n in range(len(waiting)):
        if n % _LOOK_EVERY == 1 and monotonic() > until:
            found.is_cut = True
            break
        file, op = waiting.popleft()
        found.held += held(op)
        if size := content(op):
            found.size += size
            found.pieces += 1
        if type(op) is SentLate:
            continue
        if type(op) is Received:
            op.data, op.written = None, True
            if (first := reads.get((file.index, op.exchange))) is not None:
                first.size += op.size
                continue
            reads[file.index, op.exchange] = op
        elif type(op) is BodyData or type(op) is Messaged:
            op.data = None
        if not found.batches or found.batches[-1].file is not file:
            found.batches.append(Batch(file))
        found.batches[-1].ops.append(op)
    return found


def parts(batches: list[Batch], most: int) -> Iterator[Batch]:
    """The same operations in order, cut into batches of about `most` bytes of memory."""
    for batch in batches:
        part = Batch(batch.file)
        for op in batch.ops:
            part.ops.append(op)
            part.size += held(op)
            if part.size >= most:
                yield part
                part = Batch(batch.file)
        yield part
