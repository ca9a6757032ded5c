"""What happens on the wire, as values. The proxy queues them, `RowMaker` makes rows of them, and `Frames` makes frames.

Times are ns since the recording began. Data is None if there was no memory left to keep it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ..cassette.sqlite import Writer
from ..model import Direction, Ending, Headers, Kind, Side
from ..redaction.coded import MaskedStream
from ..redaction.redactor import JsonMask

HELD = 300
"""Bytes of memory that a queued operation takes beside its data."""

HELD_BY_FIELD = 200
"""Bytes of memory that a header field takes beside its characters."""


@dataclass(slots=True)
class Requested:
    """The header section of a request is complete. `hop`: the position of its upstream among those of the recorder."""

    exchange: int
    party: str
    at_ns: int
    method: str
    target: str
    headers: Headers
    hop: int = 0


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
    """An exchange is over. `passed`: it continues in another file."""

    exchange: int
    at_ns: int
    ending: Ending
    passed: Passed | None = None


@dataclass(slots=True)
class Incidence:
    """Something went wrong with the recording."""

    at_ns: int
    message: str


Op = Requested | Responded | BodyData | Received | Messaged | SentLate | Ended | Incidence


def content(op: Op) -> int:
    """Return the number of bytes that are kept with it."""
    return len(op.data or b"") if isinstance(op, (Received, BodyData, Messaged)) else 0


def held(op: Op) -> int:
    """Return the bytes of memory that a queued operation takes: 0 for an incident, and for a read that is not kept."""
    if isinstance(op, Incidence) or (isinstance(op, Received) and op.data is None):
        return 0
    if isinstance(op, (Requested, Responded)):
        return HELD + sum([HELD_BY_FIELD + len(name) + len(value) for name, value in op.headers])
    return HELD + content(op)


Rest = Callable[[int], object]
"""Called with the number of streams that wait for frames, while no lock is held that others may wait for."""


class Frames(Protocol):
    """Receives the news of the streams of one file from `RowMaker`. `FrameMaker` makes the frames in this process;
    `WorkerFrames` lets the worker process make them."""

    @property
    def behind(self) -> bool:
        """Whether any stream waits for frames."""

    @property
    def waiting(self) -> int:
        """Number of streams that wait for frames."""

    def begin(self, exchange: int, stream: int, coding: str | None, target: str, hop: int = 0) -> None:
        """Note that the response of a stream has begun. `target`: of the request, as it is stored. The contract of the
        hop judges its events."""

    def arrived(self, exchange: int, until: int | None = None) -> None:
        """Note that bytes of it are in the file, or will be with the next commit. Bytes behind `until` may still
        change."""

    def ended(self, exchange: int) -> None:
        """Note that no more bytes of it will arrive."""

    def move(self, writer: Writer) -> None:
        """Continue in another file, of which nothing is known yet."""

    def release(self) -> bool:
        """Stop using the file, and return whether that is done. Only another process uses it by itself."""
        return True
