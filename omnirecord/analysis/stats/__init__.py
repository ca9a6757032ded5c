"""The numbers of a session: how soon, how fast, how much, and what was waited for. Pure: values in, numbers out.

    stats = measure(exchanges, frames, acts, recording.started_at)

`session` puts them together, `turns`, `usage` and `gaps` measure their part, `numbers` counts and divides, `values` has
what comes out. What two clients heard is counted once (`story.one_line`), but for what each stream says of itself.
"""

from __future__ import annotations

from .session import measure
from .values import (
    ApprovalStats,
    Gaps,
    SessionStats,
    Spread,
    StreamStats,
    ToolStats,
    TurnStats,
    UsageStats,
    stats_row,
)

__all__ = [
    "ApprovalStats",
    "Gaps",
    "SessionStats",
    "Spread",
    "StreamStats",
    "ToolStats",
    "TurnStats",
    "UsageStats",
    "measure",
    "stats_row",
]
