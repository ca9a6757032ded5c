"""What is asked for, how far a cassette has been read, and what a read brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ...model import Streaming, TimedFrame
from ..listing import Row


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are told: each condition that is given has to hold, as for `events`. A session's id may be
    shortened."""

    session: str | None = None
    stream: int | None = None
    type: str | None = None
    verdict: str | None = None
    requests: bool = False
    """Whether requests are told too. With a stream, a type or a verdict, none are."""

    @property
    def takes_requests(self) -> bool:
        return self.requests and (self.stream, self.type, self.verdict) == (None, None, None)

    def takes_session(self, session_id: str | None) -> bool:
        return self.session is None or (session_id is not None and session_id.startswith(self.session))

    def takes_stream(self, x: Streaming) -> bool:
        return self.takes_session(x.session_id) and self.stream in (None, x.stream)

    def takes(self, frame: TimedFrame) -> bool:
        if self.verdict not in (None, frame.verdict):
            return False
        return self.type is None or (frame.type is not None and fnmatchcase(frame.type, self.type))


@dataclass(slots=True)
class Cursor:
    """How far a cassette has been read: the streams that go on with their last `seq`, and the highest stream."""

    highest: int = 0
    at: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """What one read of one cassette brought."""

    cassette: str
    """By which it is told from others."""
    rows: list[Row]
    """As `events --json` prints them, in the order in which they came."""
    has_more: bool = False
    """There is more to be read at once."""
    is_recorded: bool = False
    """Somebody was recording when it was read: there may be more later."""
    requests: list[Row] = field(default_factory=list)
    """Requests that have begun or ended, in the order of their numbers."""
    left_out: int = 0
    """Events that are not told, since there are too many."""

    @property
    def happenings(self) -> list[Row]:
        """Events and requests, in the order in which they came."""
        return sorted([*self.requests, *self.rows], key=_at) if self.requests else self.rows


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read of all that is followed brought."""

    parts: list[Part]
    """Those that have rows, of the oldest file first."""
    has_more: bool
    is_recorded: bool

    @property
    def rows(self) -> list[Row]:
        return [row for part in self.parts for row in part.rows]

    @property
    def happenings(self) -> list[Row]:
        """Events and requests, those of the oldest file first, in the order in which they came."""
        return [row for part in self.parts for row in part.happenings]

    @property
    def left_out(self) -> int:
        """Events that are not told, since there are too many."""
        return sum(part.left_out for part in self.parts)


def _at(row: Row) -> tuple[int, int, bool]:
    """A request that has ended stands behind the events of its last moment."""
    end_ns = row.get("end_ns")
    return row["recording"], row["offset_ns"] if end_ns is None else end_ns, end_ns is not None
