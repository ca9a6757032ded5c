"""A session told turn by turn, as its user lived it: frozen values in, turns out. No I/O, no clock, no printing.

    session = session_of(exchanges, frames, acts)
    for turn in session.turns: ...

`line` makes one run of frames out of the streams that several clients heard; `narrator` tells them to a `course`,
which knows the turns, each a `draft` until it is frozen; `events`, `items` and `notes` say what an event adds; `acts`
and `snapshots` read what clients did and were told, `aftermath` what the server did after a stream; `stopped` says why
there is no more, and `conclusion` how the session ended in one line; `growth` how the texts of a turn grew; `values`
has what comes out. All of it is linear in the number of frames, and none of it can be broken by what a frame holds: an
event that fits no type is counted, and told as far as it can be.
"""

from __future__ import annotations

from ...omnigent.routes import is_session, unknown_sessions
from .builder import ENDED_BY_SERVER, Aftermath
from .client_actions import Act, act_of, may_act
from .conclusion import OUTCOMES, Conclusion, Outcome, concluded
from .draft import Pace, growth_of, pace_of
from .failures import FailedRequest, deleted_at, failed_requests
from .items import is_snapshot, snapshot_of
from .merge import one_line
from .narrator import grown_session, session_of, turns
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
    turn_row,
)
from .why_stopped import Stopped, stopped

__all__ = [
    "ENDED_BY_SERVER",
    "LONG_SILENCE",
    "OUTCOMES",
    "Act",
    "Aftermath",
    "Approval",
    "Asked",
    "Child",
    "Conclusion",
    "Ended",
    "FailedRequest",
    "Fault",
    "Listening",
    "Note",
    "Outcome",
    "Pace",
    "Passage",
    "Session",
    "Silence",
    "Snapshot",
    "Stopped",
    "Tool",
    "Trouble",
    "Turn",
    "TurnUsage",
    "act_of",
    "concluded",
    "deleted_at",
    "failed_requests",
    "grown_session",
    "growth_of",
    "is_session",
    "is_snapshot",
    "may_act",
    "one_line",
    "pace_of",
    "session_of",
    "snapshot_of",
    "stopped",
    "turn_row",
    "turns",
    "unknown_sessions",
]
