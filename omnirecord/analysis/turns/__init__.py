"""The turns of a session, from its exchanges, frames and client actions. No I/O, no clock, no printing.

    session = session_of(exchanges, frames, acts)
    for turn in session.turns: ...

- `session_builder` makes one sequence of frames out of a session's streams, so that each event is in it once. It gives
  these frames to a `TurnBuilder` (`builder`), which has the turns. A turn is a `Draft` until nothing follows, and then
  a frozen `Turn` (`values`).
- `events` adds each event to its turn by its type, `builder` each output item.
- `requests` reads what clients did: messages, interrupts, answers, and what the server refused.
- `why_stopped` finds out why a recording holds no more of a session; `conclusion` has that in one line.

The work is linear in the number of frames. No frame makes it fail: an event that fits no type is counted, and read as
far as possible.
"""

from __future__ import annotations

from ...omnigent.routes import is_session, unknown_sessions
from .builder import ENDED_BY_SERVER, Aftermath, is_snapshot, snapshot_of
from .conclusion import OUTCOMES, Conclusion, Outcome, concluded
from .draft import Pace, growth_of, pace_of
from .requests import Act, FailedRequest, act_of, deleted_at, failed_requests, may_act
from .session_builder import Around, merged, session_of, session_with_drafts
from .values import (
    LONG_SILENCE,
    Approval,
    Asked,
    Child,
    Ended,
    Fault,
    Listening,
    Note,
    Passage,
    Session,
    Silence,
    Snapshot,
    Tool,
    Trouble,
    Turn,
    TurnUsage,
    row_without_turn,
    turn_row,
)
from .why_stopped import Stopped, stopped

__all__ = [
    "ENDED_BY_SERVER", "LONG_SILENCE", "OUTCOMES", "Act", "Aftermath", "Approval", "Around", "Asked", "Child",
    "Conclusion", "Ended", "FailedRequest", "Fault", "Listening", "Note", "Outcome", "Pace", "Passage", "Session",
    "Silence", "Snapshot", "Stopped", "Tool", "Trouble", "Turn", "TurnUsage", "act_of", "concluded", "deleted_at",
    "failed_requests", "growth_of", "is_session", "is_snapshot", "may_act", "merged", "pace_of", "row_without_turn",
    "session_of", "session_with_drafts", "snapshot_of", "stopped", "turn_row", "unknown_sessions",
]  # fmt: skip
