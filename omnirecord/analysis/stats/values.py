"""The numbers of a session, and how they are counted. The fields of `SessionStats` are the keys of `stats --json`.

A name ends in its unit: `_s` seconds, `_ms` milliseconds, `_bytes`, `_per_s`, `_usd`; a count has none, a share is
between 0 and 1. What was not seen is None, never 0. `docs/stats.md` says how each is measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...model import LIMIT, Ending, Verdict, total
from ...wire.strict_json import as_dict, as_int, as_number
from ..turns.conclusion import Conclusion
from ..turns.values import Ended, Turn, TurnUsage, total_cost

NS = 1_000_000_000
_TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "total_tokens")


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
class ModelStats:
    """Model calls: of a turn, of a session, or of a recording without sessions."""

    calls: int
    requests: int
    """Calls without further attempts of the same request."""
    retried: int
    """Calls that are another attempt."""
    failed: int
    """Calls that the provider refused, failed or cut."""
    rate_limited: int
    model_s: float | None
    """The durations of all calls, summed."""
    first_token_s: Spread | None
    """From the start of each call to its first delta."""
    input_tokens: int | None
    """As the provider counts them, like the next three; cached ones included."""
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    counted: int = 0
    """The calls whose tokens the provider reported: these four numbers are theirs."""
    uncounted: int = 0
    """The calls that were answered without a number of tokens. Refused calls are not among them."""


@dataclass(frozen=True, slots=True)
class FirstTokenStats:
    """The parts of `first_token_s`, for the turns in which a recorded model call brought the first token."""

    before_s: Spread | None
    """From the POST of the message to the first attempt of the request that brought the token."""
    model_s: Spread | None
    """From there to the token at the model hop."""
    after_s: Spread | None
    """From there to the token at the client."""


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
    first_token_before_s: float | None = None
    """The part of `first_token_s` before the model was asked, like `FirstTokenStats`."""
    first_token_model_s: float | None = None
    first_token_after_s: float | None = None
    model_calls: ModelStats | None = None
    """None without a recorded model call."""


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
    first_token_parts: FirstTokenStats | None = None
    """None without a recorded model call."""
    model_calls: ModelStats | None = None
    """The calls of its turns; None without any."""


def stats_row(stats: SessionStats) -> dict[str, Any]:
    """A session as `stats --json` prints it."""
    return {**asdict(stats), "conclusion": stats.conclusion.row()}


def seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / NS


def percentiles(ordered: Sequence[int]) -> tuple[float, float]:
    """The median and the 99th percentile of at least one number, interpolated: `statistics.quantiles`, `inclusive`."""
    if len(ordered) == 1:
        return ordered[0], ordered[0]
    return _cut(ordered, 50), _cut(ordered, 99)


def _cut(ordered: Sequence[int], percent: int) -> float:
    place, part = divmod(percent * (len(ordered) - 1), 100)
    return (ordered[place] * (100 - part) + ordered[place + 1] * part) / 100


def spread(values_ns: Iterable[int | None], unit: int = NS) -> Spread | None:
    """Count and percentiles of the known durations; None without any. `unit`: ns per unit of the result."""
    ordered = sorted(value for value in values_ns if value is not None)
    if not ordered:
        return None
    p50, p99 = percentiles(ordered)
    return Spread(len(ordered), *(round(value / unit, 9) for value in (p50, p99, ordered[-1])))


def count(value: int | None) -> int | None:
    """A number from an event; None if it cannot be a count."""
    return value if value is not None and 0 <= value < LIMIT else None


def cost(value: float | None) -> float | None:
    """A cost from an event, in USD; None if it cannot be one."""
    return float(value) if value is not None and 0 <= value < LIMIT else None


def per_second(count: int | None, ns: int | None) -> float | None:
    """A rate per second; None without a count or without a duration."""
    return round(count * NS / ns, 3) if count is not None and ns else None


def type_of(type_: str | None, verdict: Verdict) -> str:
    """The name under which an event is counted."""
    return "[DONE]" if verdict == "sentinel" else type_ or "(no type)"


def usage_of(turns: Iterable[Turn]) -> tuple[UsageStats, ...]:
    """The usage of the recorded turns by model, in the order in which the models were first used."""
    by: dict[str | None, list[TurnUsage]] = defaultdict(list)
    for turn in turns:
        if turn.usage is not None:
            by[turn.model].append(turn.usage)
    found = []
    for model, usages in by.items():
        price = total_cost(cost(usage.cost_usd) for usage in usages)
        tokens = {name: total(count(getattr(usage, name)) for usage in usages) for name in _TOKENS}
        found.append(UsageStats(model, len(usages), **tokens, cost_usd=price))
    return tuple(found)


def reported_usage(data: dict[str, Any]) -> tuple[UsageStats, ...]:
    """The usage by model in the last `session.usage`, which counts the whole session; empty without one."""
    models = as_dict(data.get("usage_by_model"))
    if models:
        return tuple(_reported(name, as_dict(usage)) for name, usage in models.items())
    return () if as_number(data.get("total_cost_usd")) is None else (_reported(None, data),)


def _reported(model: str | None, usage: dict[str, Any]) -> UsageStats:
    tokens = {name: count(as_int(usage.get(name))) for name in _TOKENS}
    return UsageStats(model=model, turns=None, **tokens, cost_usd=cost(as_number(usage.get("total_cost_usd"))))
