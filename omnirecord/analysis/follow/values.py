"""The filter of a follower, its position in a cassette, and the result of a read."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ...model import Streaming, TimedFrame
from ..listing import Row


@dataclass(frozen=True, slots=True)
class Wanted:
    """The filter: every given condition has to hold, as for `events`. A session id may be shortened."""

    session: str | None = None
    stream: int | None = None
    type: str | None = None
    verdict: str | None = None
    requests: bool = False
    """Whether requests are wanted too. With a stream, a type or a verdict, none are."""

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
    """The position in a cassette: the open streams with their last `seq`, and the highest stream."""

    highest: int = 0
    at: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """The result of one read of one cassette."""

    cassette: str
    """Its id among the cassettes that are followed."""
    rows: list[Row]
    """As `events --json` prints them, by time."""
    has_more: bool = False
    """Whether more can be read at once."""
    is_recorded: bool = False
    """Whether a recorder wrote to it during the read: more may come."""
    requests: list[Row] = field(default_factory=list)
    """Requests that have begun or ended, by number."""
    left_out: int = 0
    """Number of events that were skipped, since there are too many."""

    @property
    def happenings(self) -> list[Row]:
        """Events and requests by time."""
        return sorted([*self.requests, *self.rows], key=_at) if self.requests else self.rows


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one read of all followed cassettes."""

    parts: list[Part]
    """The parts that have rows, the oldest file first."""
    has_more: bool
    is_recorded: bool

    @property
    def rows(self) -> list[Row]:
        return [row for part in self.parts for row in part.rows]

    @property
    def happenings(self) -> list[Row]:
        """Events and requests by time, those of the oldest file first."""
        return [row for part in self.parts for row in part.happenings]

    @property
    def left_out(self) -> int:
        """Number of events that were skipped, since there are too many."""
        return sum(part.left_out for part in self.parts)


def _at(row: Row) -> tuple[int, int, bool]:
    """Return the sort key of a row. A request that has ended comes after the events at the same time."""
    end_ns = row.get("end_ns")
    return row["recording"], row["offset_ns"] if end_ns is None else end_ns, end_ns is not None
