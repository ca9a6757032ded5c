"""The numbers of a session. Frozen values; the fields of `SessionStats` are the keys of `stats --json`.

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
    """Count, median, 99th percentile and maximum of durations, in the unit of the field."""

    count: int
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Gaps:
    """The time from one event to the next, while a client listened."""

    count: int
    p50_s: float
    p99_s: float
    longest_s: float
    longest_from: str
    """The event before the longest gap, as `STREAM:SEQ`."""
    longest_from_type: str
    longest_to: str
    """The event after the longest gap."""
    longest_to_type: str


@dataclass(frozen=True, slots=True)
class StreamStats:
    """One stream; its events count even if other streams carried them too."""

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
    """Bytes of the decoded body, which `export --format sse` writes."""
    wire_bytes: int
    """Bytes of the body on the wire: fewer, if it was compressed."""
    proxy_delay_ms: Spread | None
    never_sent: int | None
    """Events that were never handed to the client's transport; None without times."""


@dataclass(frozen=True, slots=True)
class TurnStats:
    """One turn, as in `show`."""

    turn: int
    ended: Ended
    duration_s: float | None
    """From the POST of the message, or the first event if that was not recorded, to its end."""
    first_event_s: float | None
    """From the POST of the message to the turn's first event."""
    first_token_s: float | None
    """From the POST to its first reasoning or text."""
    first_text_s: float | None
    """From the POST to its first text."""
    events: int
    events_per_s: float | None
    deltas: int
    streaming_s: float | None
    """From the first to the last delta of each text or reasoning, summed."""
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
    """From call to output, over the calls with an output."""
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class ApprovalStats:
    """All approvals that one party answered."""

    answered_by: str | None
    """The party that posted the answers; None if no answer was recorded."""
    count: int
    total_s: float | None
    """From the question to the answer; without one, to the end of the turn or of the last stream."""
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class UsageStats:
    """Tokens and cost of one model; None if the server did not report them."""

    model: str | None
    turns: int | None
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class SessionStats:
    """One session in one recording, or a stream without a session. An event on two streams counts once."""

    recording: int
    session_id: str | None
    parent_session_id: str | None
    started_at: str | None
    """UTC, ISO 8601; None without times."""
    duration_s: float | None
    """From a client's first request to the end of its last exchange; None without times."""
    conclusion: Conclusion
    """How it ended, which clients were connected, the first question."""
    exchanges: int
    request_bytes: int
    response_bytes: int
    """Of all its exchanges, on the wire: an event on two streams counts twice."""
    streams: tuple[StreamStats, ...]
    endings: dict[str, int]
    """Count of streams by ending."""
    events: int
    """Frames with data."""
    events_by_type: dict[str, int]
    """Most frequent first; with `[DONE]`, and `(no type)` for events without a type."""
    verdicts: dict[str, int]
    """Count of frames by verdict, comments included."""
    heartbeats: int
    heartbeat_share: float | None
    """Share of heartbeats among the events, from 0 to 1."""
    gaps: Gaps | None
    gaps_without_heartbeats: Gaps | None
    silent_at_end_s: float | None
    """From the last event, heartbeats apart, to the end of the last stream."""
    turns: tuple[TurnStats, ...]
    turns_ended: dict[str, int]
    first_event_s: Spread | None
    """Over its turns, like the next three."""
    first_token_s: Spread | None
    first_text_s: Spread | None
    streaming_s: float | None
    deltas: int
    deltas_per_s: float | None
    events_per_s: float | None
    output_tokens: int | None
    output_tokens_per_s: float | None
    tools: tuple[ToolStats, ...]
    """By name, longest total time first."""
    tool_s: float | None
    approvals: tuple[ApprovalStats, ...]
    approval_s: float | None
    usage: tuple[UsageStats, ...]
    """By model, over the turns whose end was recorded."""
    reported_usage: tuple[UsageStats, ...]
    """By model, from the last `session.usage`: the server's count, with sub-agents and earlier turns."""
    proxy_delay_ms: Spread | None
    """From an event's last byte to its handing to the client's transport, over all streams. It may not be read yet."""
    never_sent: int | None


def stats_row(stats: SessionStats) -> dict[str, Any]:
    """A session as `stats --json` prints it."""
    return {**asdict(stats), "conclusion": stats.conclusion.row()}
