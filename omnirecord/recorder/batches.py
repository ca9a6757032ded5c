"""Batches of queued operations, for one commit each.

The event loop waits for the GIL, so batches are taken from the queue, and freed, a portion at a time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..server.timers import monotonic
from .files import RecordingFile
from .intervals import PORTION, resting
from .operations import BodyData, Messaged, Op, Received, SentLate, content, held

_CHECK_EVERY = 1000
"""Operations between two looks at the clock: 2 ms."""


@dataclass(slots=True)
class Batch:
    """Operations of one file, in order."""

    file: RecordingFile
    ops: list[Op] = field(default_factory=list)
    size: int = 0
    """Bytes of memory that they take, as the queue counts them."""

    def free(self, rest: Callable[[], object] | None) -> None:
        """Free the operations a portion at a time."""
        while self.ops:
            del self.ops[-PORTION:]
            if rest is not None:
                rest()


def take_batches(waiting: deque[tuple[RecordingFile, Op]], most: int, rest: Callable[[], object] | None) -> list[Batch]:
    """Take the operations that wait now, up to `most` bytes, and return them as batches. `rest` pauses between
    portions; None: no pauses."""
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
class Dropped:
    """Queued operations without their bytes: each exchange, its length and its end."""

    batches: list[Batch] = field(default_factory=list)
    size: int = 0
    """Bytes that are dropped."""
    pieces: int = 0
    """The number of reads, messages and pieces of a body that had these bytes."""
    held: int = 0
    """Bytes of memory that they took, as the queue counts them."""
    is_cut: bool = False
    """Whether operations are left in the queue for lack of time."""


def drop_bytes(waiting: deque[tuple[RecordingFile, Op]], until: float = math.inf) -> Dropped:
    """Take all operations from the queue, and drop their bytes. The reads of a stream become one, so that writing them
    takes little time. After `until`, in seconds of the monotonic clock, the rest stays in the queue."""
    found = Dropped()
    reads: dict[tuple[int, int], Received] = {}
    for n in range(len(waiting)):
        if n % _CHECK_EVERY == 1 and monotonic() > until:
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
    """Yield the same operations in order, in batches of about `most` bytes of memory."""
    for batch in batches:
        part = Batch(batch.file)
        for op in batch.ops:
            part.ops.append(op)
            part.size += held(op)
            if part.size >= most:
                yield part
                part = Batch(batch.file)
        yield part
