"""The numbers of a session: latency, rates, counts, waits.

    for numbers in measured(store): ...

`stats` reads sessions and combines the numbers, `values` counts, divides and holds the results, `model` has model
calls. An event that two clients received counts once, except in the numbers of each stream.
"""

from __future__ import annotations

from .stats import measure, measured
from .values import (
    ApprovalStats,
    FirstTokenStats,
    Gaps,
    ModelStats,
    SessionStats,
    Spread,
    StreamStats,
    ToolStats,
    TurnStats,
    UsageStats,
    stats_row,
)

__all__ = [
    "ApprovalStats", "FirstTokenStats", "Gaps", "ModelStats", "SessionStats", "Spread", "StreamStats", "ToolStats",
    "TurnStats", "UsageStats", "measure", "measured", "stats_row",
]  # fmt: skip
