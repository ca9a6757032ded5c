"""One session's numbers as a page that a person reads. No line holds a control character, whatever was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..text import visible
from .common import table

if TYPE_CHECKING:
    from ..analysis.stats import Gaps, SessionStats, Spread, UsageStats

_INDENT = "  "


def lines_of(one: SessionStats) -> Iterator[str]:
    """The page."""
    yield _head(one)
    if not one.streams:
        yield f"{_INDENT}no stream was recorded: there is nothing to measure but {one.exchanges:,} exchanges"
        return
    if one.duration_s is None:
        yield f"{_INDENT}no times were recorded"
    for title, lines in _sections(one):
        shown = list(lines)
        if shown:
            yield ""
            yield title
            yield from (_INDENT + line for line in shown)


def _sections(one: SessionStats) -> Iterator[tuple[str, Iterator[str]]]:
    yield "How soon, from the POST of a message", _soon(one)
    yield "How fast", _fast(one)
    yield "Turns", _turns(one)
    yield "Tools", _tools(one)
    yield "Approvals", _approvals(one)
    yield "Usage", _usage(one)
    yield "Gaps between events", _gaps(one)
    yield _events_title(one), _counts(one.events_by_type)
    yield "Streams", _streams(one)
    yield "The proxy's own delay", _delay(one)


def _head(one: SessionStats) -> str:
    name = f"Session {visible(one.session_id)}" if one.session_id else "A stream of no session"
    parts = [name, f"recording {one.recording}"]
    parts += [f"{one.started_at[:19].replace('T', ' ')} UTC"] if one.started_at is not None else []
    parts += [f"sub-agent of {visible(one.parent_session_id)}"] if one.parent_session_id else []
    parts += [f"{shown_s(one.duration_s)} s"] if one.duration_s is not None else []
    parts += [_listed(one.turns_ended, "turn") if one.turns else "no turns", visible(one.conclusion.verdict)]
    return " · ".join(parts)


def _listed(counts: Mapping[str, int], what: str) -> str:
    """How many there are, and how many of which kind."""
    count = sum(counts.values())
    kinds = ", ".join(f"{kind}" if len(counts) == 1 else f"{n:,} {kind}" for kind, n in counts.items())
    return f"{count:,} {what}{'' if count == 1 else 's'} ({kinds})"


def _soon(one: SessionStats) -> Iterator[str]:
    named = (("first event", one.first_event_s), ("first token", one.first_token_s), ("first text", one.first_text_s))
    yield from (f"{name}  {_spread(value, 's')}" for name, value in named if value is not None)


def _spread(value: Spread, unit: str) -> str:
    if value.count == 1:
        return f"{shown_s(value.max)} {unit}"
    return f"p50 {shown_s(value.p50)}, p99 {shown_s(value.p99)}, max {shown_s(value.max)} {unit}"


def _fast(one: SessionStats) -> Iterator[str]:
    if one.output_tokens_per_s is not None:
        yield f"{number(one.output_tokens_per_s, 1)} output tokens a second while deltas came, in turns without tools"
    if one.deltas_per_s is not None:
        yield f"{number(one.deltas_per_s, 1)} deltas a second: {one.deltas:,} in {shown_s(one.streaming_s)} s"
    if one.events_per_s is not None:
        yield f"{number(one.events_per_s, 1)} events a second during turns, heartbeats apart"


def _turns(one: SessionStats) -> Iterator[str]:
    rows = [
        {
            "turn": str(t.turn), "ended": t.ended, "took s": shown_s(t.duration_s),
            "1st event s": shown_s(t.first_event_s), "1st token s": shown_s(t.first_token_s),
            "tokens/s": number(t.output_tokens_per_s, 1), "out": number(t.output_tokens),
            "deltas": f"{t.deltas:,}", "events": f"{t.events:,}",
            "tools s": shown_s(t.tool_s), "asked s": shown_s(t.approval_s), "silence s": shown_s(t.longest_silence_s),
        } for t in one.turns
    ]  # fmt: skip
    return _table(rows)


def _tools(one: SessionStats) -> Iterator[str]:
    return _table([
        {"tool": t.name or "-", "calls": str(t.calls), "answered": str(t.answered), "total s": shown_s(t.total_s),
         "longest s": shown_s(t.longest_s)} for t in one.tools
    ])  # fmt: skip


def _approvals(one: SessionStats) -> Iterator[str]:
    return _table([
        {"waited for": a.answered_by or "(no answer recorded)", "count": str(a.count), "total s": shown_s(a.total_s),
         "longest s": shown_s(a.longest_s)} for a in one.approvals
    ])  # fmt: skip


def _usage(one: SessionStats) -> Iterator[str]:
    rows = [_usage_row(usage, "these turns") for usage in one.usage]
    rows += [_usage_row(usage, "the server") for usage in one.reported_usage]
    return _table(rows)


def _usage_row(usage: UsageStats, by: str) -> dict[str, str]:
    return {
        "model": usage.model or "-", "counted by": by, "turns": number(usage.turns),
        "in": number(usage.input_tokens), "out": number(usage.output_tokens),
        "reasoning": number(usage.reasoning_tokens), "total": number(usage.total_tokens),
        "cost $": number(usage.cost_usd, 4),
    }  # fmt: skip


def _gaps(one: SessionStats) -> Iterator[str]:
    named = (("all events", one.gaps), ("heartbeats apart", one.gaps_without_heartbeats))
    yield from _table([_gap_row(name, gaps) for name, gaps in named if gaps is not None])
    if one.silent_at_end_s is not None:
        yield f"after the last event, heartbeats apart, somebody listened for {shown_s(one.silent_at_end_s)} s"


def _gap_row(name: str, gaps: Gaps) -> dict[str, str]:
    where = f"{gaps.longest_from} {gaps.longest_from_type} -> {gaps.longest_to} {gaps.longest_to_type}"
    return {
        "between": name, "p50 s": shown_s(gaps.p50_s), "p99 s": shown_s(gaps.p99_s),
        "longest s": shown_s(gaps.longest_s), "where (stream:seq)": where,
    }  # fmt: skip


def _events_title(one: SessionStats) -> str:
    share = (
        ""
        if not one.heartbeats
        else f", {one.heartbeats:,} of them heartbeats ({100 * (one.heartbeat_share or 0):.1f} %)"
    )
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in one.verdicts.items())
    return f"Events: {one.events:,}{share}; frames by verdict: {verdicts}"


def _counts(counts: Mapping[str, int]) -> Iterator[str]:
    yield from (f"{count:>9,}  {visible(name)}" for name, count in counts.items())


def _streams(one: SessionStats) -> Iterator[str]:
    return _table([
        {"stream": str(s.stream), "party": s.party, "ending": s.ending, "took s": shown_s(s.duration_s),
         "1st event s": shown_s(s.first_event_s), "events": f"{s.events:,}", "content": size(s.content_bytes),
         "on the wire": size(s.wire_bytes),
         "delay p99 ms": number(None if s.proxy_delay_ms is None else s.proxy_delay_ms.p99, 3),
         "never sent": number(s.never_sent)} for s in one.streams
    ])  # fmt: skip


def _delay(one: SessionStats) -> Iterator[str]:
    if one.proxy_delay_ms is not None:
        yield f"{_spread(one.proxy_delay_ms, 'ms')}, until an event was handed to the client's transport"
    if one.never_sent:
        yield f"{one.never_sent:,} events were never handed over"


def _table(rows: Sequence[dict[str, str]]) -> Iterator[str]:
    return table(list(rows), list(rows[0])) if rows else iter(())


def number(value: float | None, digits: int = 0) -> str:
    """A number for a person; `-` where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def shown_s(value: float | None) -> str:
    """The same, for seconds: to the millisecond where they are few."""
    return number(value, 3 if value is not None and value < 10 else 1)


def size(count: int) -> str:
    """Bytes for a person."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f}GB"


def cost(one: SessionStats) -> float | None:
    known = [usage.cost_usd for usage in one.usage if usage.cost_usd is not None]
    return sum(known) if known else None
