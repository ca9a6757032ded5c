"""What is measured of a session. Everything is frozen; the fields of `SessionStats` are the keys of `stats --json`.

A name ends in its unit: `_s` seconds, `_ms` milliseconds, `_bytes`, `_per_s`, `_usd`; a count has none, a share is
between 0 and 1. What was not seen is None, never 0. `docs/stats.md` says how each is measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...model import Ending
from ..turns import Conclusion, Ended


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some durations: how many there are, their median, 99th percentile and longest, in the unit of its field."""

    count: int
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Gaps:
    """The time from one event to the next, while somebody listened."""

    count: int
    p50_s: float
    p99_s: float
    longest_s: float
    longest_from: str
    """The event before the longest gap, as `STREAM:SEQ`…"""
    longest_from_type: str
    longest_to: str
    """…and the one after it."""
    longest_to_type: str


@dataclass(frozen=True, slots=True)
class StreamStats:
    """One stream: what one client heard, whatever others heard of it too."""

    stream: int
    party: str
    ending: Ending
    duration_s: float | None
    first_event_s: float | None
    """From its request to its first event."""
    frames: int
    events: int
    """Frames with data."""
    content_bytes: int
    """What `export --format sse` writes."""
    wire_bytes: int
    """What came over the wire: fewer, if the response was compressed."""
    proxy_delay_ms: Spread | None
    never_sent: int | None
    """Events that were never handed to the client's transport; None where no times were recorded."""


@dataclass(frozen=True, slots=True)
class TurnStats:
    """One turn, as `show` tells it."""

    turn: int
    ended: Ended
    duration_s: float | None
    """From the POST of the message, or the first event where that was not recorded, to its end."""
    first_event_s: float | None
    """From the POST of the message to the turn's first event…"""
    first_token_s: float | None
    """…to the first of its thoughts or text…"""
    first_text_s: float | None
    """…and to the first of its text."""
    events: int
    events_per_s: float | None
    deltas: int
    streaming_s: float | None
    """From the first to the last delta of each stretch of text or thoughts, added up."""
    deltas_per_s: float | None
    output_tokens: int | None
    output_tokens_per_s: float | None
    tool_s: float | None
    approval_s: float | None
    longest_silence_s: float | None


@dataclass(frozen=True, slots=True)
class ToolStats:
    """All calls of one tool."""

    name: str
    calls: int
    answered: int
    total_s: float | None
    """From call to answer; of the calls that were answered."""
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class ApprovalStats:
    """All approvals that were waited for from one party."""

    answered_by: str | None
    """The party that posted the answers; None where nobody did, or where that was not recorded."""
    count: int
    total_s: float | None
    """From the question to the answer; where none came, until the turn was over or nobody listened any more."""
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class UsageStats:
    """The tokens and the cost of one model; None where the server did not say."""

    model: str | None
    turns: int | None
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class SessionStats:
    """One session in one recording, or a stream that belongs to none. What two clients heard is counted once."""

    recording: int
    session_id: str | None
    parent_session_id: str | None
    started_at: str | None
    """UTC, ISO 8601; None where no times were recorded."""
    duration_s: float | None
    """From the first request of a client to the end of its last exchange; None where no times were recorded."""
    conclusion: Conclusion
    """How it ended, who was connected, what was asked."""
    exchanges: int
    request_bytes: int
    response_bytes: int
    """Of all its exchanges, streams among them, as they came over the wire: what two clients heard came twice."""
    streams: tuple[StreamStats, ...]
    endings: dict[str, int]
    """How many of its streams ended how."""
    events: int
    """Frames with data."""
    events_by_type: dict[str, int]
    """The most frequent first; `[DONE]` for that, `(no type)` for what has none."""
    verdicts: dict[str, int]
    """Of all frames, comments among them."""
    heartbeats: int
    heartbeat_share: float | None
    """Of the events."""
    gaps: Gaps | None
    gaps_without_heartbeats: Gaps | None
    silent_at_end_s: float | None
    """From the last event, heartbeats apart, until nobody listened any more."""
    turns: tuple[TurnStats, ...]
    turns_ended: dict[str, int]
    first_event_s: Spread | None
    """Of its turns, as the three that follow."""
    first_token_s: Spread | None
    first_text_s: Spread | None
    streaming_s: float | None
    deltas: int
    deltas_per_s: float | None
    events_per_s: float | None
    output_tokens: int | None
    output_tokens_per_s: float | None
    tools: tuple[ToolStats, ...]
    """By name, the one that took longest first."""
    tool_s: float | None
    approvals: tuple[ApprovalStats, ...]
    approval_s: float | None
    usage: tuple[UsageStats, ...]
    """By model, of the turns whose end was recorded."""
    reported_usage: tuple[UsageStats, ...]
    """By model, as the last `session.usage` has it: the server's count, sub-agents and earlier turns included."""
    proxy_delay_ms: Spread | None
    """From an event's last byte to its being handed to the client's transport, on every stream. No proof of reading."""
    never_sent: int | None


def stats_row(stats: SessionStats) -> dict[str, Any]:
    """A session as `stats --json` prints it."""
    return {**asdict(stats), "conclusion": stats.conclusion.row()}
