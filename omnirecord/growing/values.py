"""What is asked for, how far a cassette has been read, and what a read brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ..cassette import Streaming, TimedFrame
from ..listing import Row


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are told: each condition that is given has to hold, as for `events`. A session's id may be
    shortened."""

    session: str | None = None
    stream: int | None = None
    type: str | None = None
    verdict: str | None = None

    def takes_stream(self, x: Streaming) -> bool:
        is_of_session = self.session is None or (x.session_id is not None and x.session_id.startswith(self.session))
        return is_of_session and self.stream in (None, x.stream)

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
