"""What happens on the wire, as values. The proxy queues them, and `RowMaker` makes rows of them.

Times are ns since the recording began. Data is None if there was no memory left to keep it.

The recording thread takes batches from the queue, for one commit each. The event loop waits for the GIL, so batches are
taken, and freed, a portion at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..model import Direction, Ending, Headers, Kind, Side
from ..redaction.coded import MaskedStream
from ..redaction.redactor import JsonMask
from .intervals import PORTION, resting

HELD = 300
"""Bytes of memory that a queued operation takes beside its data."""

HELD_BY_FIELD = 200
"""Bytes of memory that a header field takes beside its characters."""


@dataclass(slots=True)
class Requested:
    """The header section of a request is complete. `hop`: the position of its upstream among those of the recorder.
    `answered_from`: the number of the exchange of another cassette that is the answer."""

    exchange: int
    party: str
    at_ns: int
    method: str
    target: str
    headers: Headers
    hop: int = 0
    answered_from: int | None = None


@dataclass(slots=True)
class Passed:
    """The state of redaction of an exchange that ends in one file and continues in the next. `RowMaker` fills it in at
    the end of the exchange in the old file."""

    masked: MaskedStream | None = None
    """Of a stream."""
    texts: dict[Side, JsonMask | None] = field(default_factory=dict)
    """Of both directions of a WebSocket."""


@dataclass(slots=True)
class Responded:
    """The header section of a response is complete. `passed`: the exchange continues from another file."""

    exchange: int
    kind: Kind
    stream: int | None
    at_ns: int
    status: int
    reason: str
    headers: Headers
    passed: Passed | None = None


@dataclass(slots=True)
class BodyData:
    """Bytes of a body that is no stream."""

    exchange: int
    side: Side
    data: bytes | None


@dataclass(slots=True)
class Received:
    """One read of a stream. `sent_ns` is filled in later; `written` tells whether that is too late for the row.

    `file`: the index of the file that it belongs to; `before`: its beginning, which belongs to the previous file.
    """

    exchange: int
    n: int
    at_ns: int
    size: int
    data: bytes | None
    sent_ns: int | None = None
    written: bool = False
    file: int = 0
    before: Received | None = None


@dataclass(slots=True)
class Messaged:
    """One WebSocket message or control frame; `sent_ns`, `written` and `file` as in `Received`."""

    exchange: int
    number: int
    at_ns: int
    dir: Direction
    opcode: int
    data: bytes | None
    sent_ns: int | None = None
    written: bool = False
    file: int = 0


@dataclass(slots=True)
class SentLate:
    """A read or message was handed on after its row had been written."""

    of: Received | Messaged


@dataclass(slots=True)
class Ended:
    """An exchange is over. `passed`: it continues in another file. `is_cut`: the body of its request was not read to
    its end."""

    exchange: int
    at_ns: int
    ending: Ending
    passed: Passed | None = None
    is_cut: bool = False


@dataclass(slots=True)
class Incidence:
    """Something went wrong with the recording."""

    at_ns: int
    message: str


@dataclass(slots=True)
class Labelled:
    """A label that is known at the end of a recording."""

    key: str
    value: str


Op = Requested | Responded | BodyData | Received | Messaged | SentLate | Ended | Incidence | Labelled


def content(op: Op) -> int:
    """Return the number of bytes that are kept with it."""
    return len(op.data or b"") if isinstance(op, (Received, BodyData, Messaged)) else 0


def held(op: Op) -> int:
    """Return the bytes of memory that a queued operation takes: 0 for an incident or a label, and for a read that is
    not kept."""
    if isinstance(op, (Incidence, Labelled)) or (isinstance(op, Received) and op.data is None):
        return 0
    if isinstance(op, (Requested, Responded)):
        return HELD + sum([HELD_BY_FIELD + len(name) + len(value) for name, value in op.headers])
    return HELD + content(op)


F = TypeVar("F")
"""The file that operations belong to."""
_CHECK_EVERY = 1000
"""Operations between two looks at the clock: 2 ms."""


@dataclass(slots=True)
class Batch(Generic[F]):
    """Operations of one file, in order."""

    file: F
    ops: list[Op] = field(default_factory=list)
    size: int = 0
    """Bytes of memory that they take, as the queue counts them."""

    def free(self, rest: Callable[[], object] | None) -> None:
        while self.ops:
            del self.ops[-PORTION:]
            if rest is not None:
                rest()


def take_batches(waiting: deque[tuple[F, Op]], most: int, rest: Callable[[], object] | None) -> list[Batch[F]]:
    """Take the operations that wait now, up to `most` bytes, and return them as batches. `rest` pauses between
    portions; None: no pauses."""
    batches: list[Batch[F]] = []
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
class Dropped(Generic[F]):
    """Queued operations without their bytes: each exchange, its length and its end."""

    batches: list[Batch[F]] = field(default_factory=list)
    size: int = 0
    """Bytes that are dropped."""
    pieces: int = 0
    """The number of reads, messages and pieces of a body that had these bytes."""
    held: int = 0
    """Bytes of memory that they took, as the queue counts them."""
    is_cut: bool = False
    """Whether operations are left in the queue for lack of time."""


def drop_bytes(waiting: deque[tuple[F, Op]], most: int, is_late: Callable[[], bool]) -> Dropped[F]:
    """Take all operations from the queue, and drop their bytes. The reads of a stream become one, so that writing them
    takes little time. Each batch has about `most` bytes of memory. Once `is_late`, the rest stays in the queue."""
    found = Dropped[F]()
    reads: dict[tuple[F, int], Received] = {}
    for n in range(len(waiting)):
        if n % _CHECK_EVERY == 1 and is_late():
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
            op.data = None
            op.written = True
            if (first := reads.get((file, op.exchange))) is not None:
                first.size += op.size
                continue
            reads[file, op.exchange] = op
        elif type(op) is BodyData or type(op) is Messaged:
            op.data = None
        if not found.batches or found.batches[-1].file is not file or found.batches[-1].size >= most:
            found.batches.append(Batch(file))
        found.batches[-1].ops.append(op)
        found.batches[-1].size += held(op)
    return found
