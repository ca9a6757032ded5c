"""What happened since the last transaction, taken over from the event loop a portion at a time.

The loop waits for whoever has the interpreter: so neither is all of it taken, nor let go, in one go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .recorder import HELD, BodyData, Messaged, Op, Received, SentLate
from .recorder.pace import PORTION, resting
from .reels import Reel


@dataclass(slots=True)
class Batch:
    """Some of it that is for one file, in order."""

    reel: Reel
    ops: list[Op] = field(default_factory=list)
    size: int = 0
    """Bytes of memory that it takes, as the intake counts them."""

    def let_go(self, rest: Callable[[], object] | None) -> None:
        while self.ops:
            del self.ops[-PORTION:]
            if rest is not None:
                rest()


def taken(waiting: deque[tuple[Reel, Op]], most: int, rest: Callable[[], object] | None) -> list[Batch]:
    """Take what waits by now, until it is `most` bytes; what comes meanwhile is for the next time. `rest` leaves the
    interpreter to others for a moment; None: they want it less than what waits wants to be written."""
    batches: list[Batch] = []
    size = 0
    for _ in resting(range(len(waiting)), PORTION, rest):
        reel, op = waiting.popleft()
        if not batches or batches[-1].reel is not reel:
            batches.append(Batch(reel))
        came = _size(op)
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


def forgotten(waiting: deque[tuple[Reel, Op]]) -> Forgotten:
    """Take all that waits, without its bytes. The reads of a stream become one, so that this takes little time."""
    found = Forgotten()
    reads: dict[tuple[int, int], Received] = {}
    for _ in range(len(waiting)):
        reel, op = waiting.popleft()
        found.held += _size(op)
        if size := _content(op):
            found.size += size
            found.pieces += 1
        if type(op) is SentLate:
            continue
        if type(op) is Received:
            op.data, op.written = None, True
            if (first := reads.get((reel.number, op.exchange))) is not None and first.reel is op.reel:
                first.size += op.size
                continue
            reads[reel.number, op.exchange] = op
        elif type(op) is BodyData or type(op) is Messaged:
            op.data = None
        if not found.batches or found.batches[-1].reel is not reel:
            found.batches.append(Batch(reel))
        found.batches[-1].ops.append(op)
    return found


def _size(op: Op) -> int:
    """Bytes of memory that it takes, as the intake counts them."""
    if type(op) is Received:
        return 0 if op.data is None else len(op.data) + HELD
    return _content(op)


def _content(op: Op) -> int:
    """Bytes that are kept with it."""
    if type(op) in (Received, BodyData, Messaged):
        return len(op.data or b"")  # type: ignore[union-attr]
    return 0
