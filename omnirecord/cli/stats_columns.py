"""The columns of the table that `stats` prints. The command `stats` prints it, and a report of one session.

To add a column, add an entry to `COLUMNS`. For a number that `stats --json` lacks, add a field to
`analysis.stats.values.SessionStats`, and measure it in `analysis.stats`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..model import total
from ..providers.grouping import conversation_number

if TYPE_CHECKING:
    from ..analysis.stats.values import SessionStats


def number_text(value: float | None, digits: int = 0) -> str:
    """A number as text; `-` for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


def seconds_text(value: float | None) -> str:
    """Seconds as text; to the millisecond below 10 s."""
    return number_text(value, 3 if value is not None and value < 10 else 1)


def size_text(count: int) -> str:
    """A number of bytes as text, with a unit."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f}GB"


def name_of(session: SessionStats) -> str | None:
    """The id of a session, or the number of a conversation."""
    conversation = conversation_number(session.session_id)
    return session.session_id if conversation is None else f"#{conversation}"


COLUMNS: dict[str, Callable[[SessionStats], str]] = {
    "session": lambda session: (
        name_of(session) or f"(stream {', '.join(str(stream.stream) for stream in session.streams)})"
    ),
    "rec": lambda session: str(session.recording),
    "took s": lambda session: seconds_text(session.duration_s),
    "ended": lambda session: session.conclusion.outcome,
    "turns": lambda session: str(len(session.turns)) if session.turns else "-",
    "1st token s": lambda session: seconds_text(None if session.first_token_s is None else session.first_token_s.p50),
    "tokens/s": lambda session: number_text(session.output_tokens_per_s, 1),
    "out": lambda session: number_text(session.output_tokens),
    "cost $": lambda session: number_text(total(usage.cost_usd for usage in session.usage), 4),
    "tools s": lambda session: seconds_text(session.tool_s),
    "asked s": lambda session: seconds_text(session.approval_s),
    "events": lambda session: f"{session.events:,}" if session.streams else "-",
    "beats %": lambda session: number_text(None if session.heartbeat_share is None else 100 * session.heartbeat_share),
    "gap s": lambda session: seconds_text(getattr(session.gaps_without_heartbeats, "longest_s", None)),
    "bytes": lambda session: (
        size_text(sum(stream.content_bytes for stream in session.streams)) if session.streams else "-"
    ),
}
"""Heads of the table's columns, and the functions that make their cells."""
LEFT_OUT_FIRST = ("beats %", "bytes", "cost $", "turns", "out", "asked s")
"""Columns that a narrow terminal lacks, in this order."""
