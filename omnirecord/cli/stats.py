"""`stats`: the numbers of sessions, as a table; of one session, as a report in sections.

To add a column to the table: an entry in `_COLUMNS`; its value comes from `analysis.stats.values.SessionStats`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from ..model import by_key
from ..providers.grouping import conversation_number
from ..text import clip, counted, visible
from .arguments import CASSETTE, by_name, opened, shown
from .common import (
    console,
    fitted,
    is_terminal,
    none_in,
    output_options,
    print_lines,
    print_rows,
    reading_contract_option,
    table,
)
from .stderr import busy

if TYPE_CHECKING:
    from ..analysis.stats.values import FirstTokenStats, ModelStats, SessionStats, Spread


_INDENT = "  "
_COLUMNS: dict[str, Callable[[SessionStats], str]] = {
    "session": lambda one: _name(one) or f"(stream {', '.join(str(s.stream) for s in one.streams)})",
    "rec": lambda one: str(one.recording),
    "took s": lambda one: _seconds(one.duration_s),
    "ended": lambda one: one.conclusion.outcome,
    "turns": lambda one: str(len(one.turns)) if one.turns else "-",
    "1st token s": lambda one: _seconds(None if one.first_token_s is None else one.first_token_s.p50),
    "tokens/s": lambda one: _number(one.output_tokens_per_s, 1),
    "out": lambda one: _number(one.output_tokens),
    "cost $": lambda one: _number(_cost(one), 4),
    "tools s": lambda one: _seconds(one.tool_s),
    "asked s": lambda one: _seconds(one.approval_s),
    "events": lambda one: f"{one.events:,}" if one.streams else "-",
    "beats %": lambda one: _number(None if one.heartbeat_share is None else 100 * one.heartbeat_share),
    "gap s": lambda one: _seconds(getattr(one.gaps_without_heartbeats, "longest_s", None)),
    "bytes": lambda one: _size(sum(s.content_bytes for s in one.streams)) if one.streams else "-",
}
"""Heads of the table's columns, and the functions that make their cells."""
_LEFT_OUT_FIRST = ("beats %", "bytes", "cost $", "turns", "out", "asked s")
_SHORTEST_ID = 9


@click.command()
@click.argument("cassette", type=CASSETTE)
@click.argument("more", nargs=-1, metavar="[SESSION | CASSETTE...]")
@reading_contract_option
@output_options
def stats(cassette: Path, more: tuple[str, ...], as_json: bool) -> None:
    """Measure sessions: time to the first token, tokens per second, gaps, tools, approvals, usage, the proxy's delay.

    Without SESSION, the command prints a table of all sessions. With SESSION, an id or the beginning of an id, the
    command prints all figures of this session. CASSETTE may be a folder with cassettes.

    \b
    Examples:
      omnirecord stats session.db
      omnirecord stats session.db session.jsonl --json
    """
    named = _named(cassette, more)
    for number, (path, session) in enumerate(named):
        if len(named) > 1 and not as_json:
            click.echo("\n" * (number > 0) + shown(path))
        _measure(path, session, as_json, {"cassette": by_name(str(path))} if len(named) > 1 else {})


def _named(cassette: Path, more: tuple[str, ...]) -> list[tuple[Path, str | None]]:
    """The cassettes, each with its session. Raises `UsageError`."""
    from ..analysis.listing import cassettes_in
    from ..cassette.open import named_part
    from ..cassette.select import named_session

    session = None
    if len(more) == 1 and not os.path.exists(named_session(more[0])[0]):  # noqa: PTH110  # `Path.exists` may raise
        session = more[0]
        more = ()
    context = click.get_current_context()
    named = list(cassettes_in([cassette, *(CASSETTE.convert(one, None, context) for one in more)]))
    if session is None:
        return named
    if len(named) > 1:
        raise UsageError(f"{cassette} holds {len(named)} cassettes, and {session!r} is a session: name its cassette")
    path, of_cassette = named[0]
    return [named_part(path if of_cassette is None else f"{path}#{of_cassette}", session)]


def _measure(cassette: Path, session: str | None, as_json: bool, mark: dict[str, str]) -> None:
    """Print the figures of one cassette. `mark`: what each object of `--json` has beside."""
    from ..analysis.gather import model_calls
    from ..analysis.stats import astray_row, astray_rows, measured, model_stats
    from ..analysis.stats.values import stats_row

    with opened(cassette) as store:
        with busy("measuring"):
            found = list(measured(store, session))
            calls = model_calls(store)
            astray = list(astray_rows(calls)) if session is None else []
            together = model_stats([link for talk in calls.talks for link in talk.links])
        if as_json:
            print_rows(mark | row for row in chain(map(stats_row, found), (astray_row(*one) for one in astray)))
        elif found or astray:
            _print(found, astray, together)
        else:
            click.echo(none_in(shown(cassette), "session", is_recorded=store.is_being_recorded))


def print_brief(cassette: Path) -> None:
    """Print the table of the sessions, and the figures of the model calls of each recording."""
    from ..analysis.gather import model_calls
    from ..analysis.stats import measured, model_stats

    with opened(cassette) as store:
        found = [one for one in measured(store) if conversation_number(one.session_id) is None]
        calls = [link for link in model_calls(store).links if link.turn is None]
    if found:
        print_lines(table(_rows(found)))
    for recording, links in by_key(calls, lambda link: link.call.recording).items():
        if (numbers := model_stats(links)) is not None:
            click.echo(f"Model calls{' without a turn' if found else ''}, recording {recording}")
            print_lines(fitted(_INDENT + line) for line in _model(numbers))


def _print(
    found: Sequence[SessionStats], astray: Sequence[tuple[int, ModelStats]], together: ModelStats | None
) -> None:
    """`astray`: the model calls without a turn, by recording; `together`: those of all conversations."""
    if found:
        _print_sessions(found)
    parts = [(f"Model calls{' without a turn' if found else ''}, recording {number}", one) for number, one in astray]
    if together is not None and len(found) > 1:
        parts.insert(0, ("Model calls of all conversations", together))
    for number, (title, calls) in enumerate(parts):
        if found or number:
            click.echo()
        click.echo(title)
        print_lines(fitted(_INDENT + line) for line in _model(calls))


def _print_sessions(found: Sequence[SessionStats]) -> None:
    if any(one.turns for one in found):
        click.echo(fitted(_medians(found)))
        click.echo()
    if len({one.session_id for one in found}) == 1:
        for number, one in enumerate(found):
            print_lines(map(fitted, ["", *_report(one)][number == 0 :]))
    elif is_terminal(sys.stdout):
        _print_rich(_rows(found))
    else:
        print_lines(table(_rows(found)))


def _medians(found: Sequence[SessionStats]) -> str:
    """The first line: the medians of all turns; of a single turn, its values."""
    turns = [turn for one in found for turn in one.turns]
    single = turns if len(turns) == 1 else []
    named = (
        ("first event after {} s", _seconds, [turn.first_event_s for turn in single if turn.first_token_s is None]),
        ("first token after {} s", _seconds, [turn.first_token_s for turn in turns]),
        ("{} tokens/s", _number, [turn.output_tokens_per_s for turn in turns]),
        ("{} s a turn", _seconds, [turn.duration_s for turn in turns]),
    )
    known = [(form, show, [one for one in values if one is not None]) for form, show, values in named]
    told = [form.format(show(median(values))) for form, show, values in known if values]
    count = counted(len(turns), "turn")
    if not told:
        return f"No medians: no times are known for {count}"
    return f"{count if single else f'Median of {count}'}: {', '.join(told)}"


def _print_rich(rows: Sequence[dict[str, str]]) -> None:
    """Print the table in the terminal's width: heads wrap, ids are cut, then columns are left out."""
    from rich.table import Table
    from rich.text import Text

    screen = console()
    first, *others = rows[0]
    widths = {name: max(map(len, [*name.split(), *(row[name] for row in rows)])) for name in others}
    for name in _LEFT_OUT_FIRST:
        if _room(screen.width, widths) < _SHORTEST_ID:
            del widths[name]
    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    drawn.add_column(first)
    for name, width in widths.items():
        drawn.add_column(name, justify="right", width=width)
    for row in rows:
        shown = clip(row[first], max(_room(screen.width, widths), _SHORTEST_ID))
        drawn.add_row(Text(shown), *(Text(row[name]) for name in widths))
    screen.print(drawn)


def _room(width: int, widths: Mapping[str, int]) -> int:
    """The columns that remain for a session's id."""
    return width - sum(width + 1 for width in widths.values()) - 1


def _rows(found: Sequence[SessionStats]) -> list[dict[str, str]]:
    """The rows of the table; with several recordings, also their numbers."""
    columns = dict(_COLUMNS)
    if len({one.recording for one in found}) == 1:
        del columns["rec"]
    return [{name: visible(cell(one)) for name, cell in columns.items()} for one in found]


def _report(one: SessionStats) -> Iterator[str]:
    """One session's numbers, in sections. No line holds a control character."""
    yield _head(one)
    if not one.streams and one.model_calls is None:
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
    begin = "POST of a message" if conversation_number(one.session_id) is None else "first call of a turn"
    yield f"Times from the {begin}", _soon(one)
    if one.model_calls is not None:
        yield "Model calls", _model(one.model_calls)
    yield "How fast", _fast(one)
    yield "Turns", _turns(one)
    yield "Tools", _tools(one)
    yield "Approvals", _approvals(one)
    yield "Usage", _usage(one)
    yield "Gaps between events", _gaps(one)
    yield _events_title(one), (f"{count:>9,}  {visible(name)}" for name, count in one.events_by_type.items())
    yield "Streams", _streams(one)
    yield "The proxy's own delay", _delay(one)


def _name(one: SessionStats) -> str | None:
    """The id of a session, or the number of a conversation."""
    number = conversation_number(one.session_id)
    return one.session_id if number is None else f"#{number}"


def _head(one: SessionStats) -> str:
    name = f"Session {visible(one.session_id)}" if one.session_id else "A stream without a session"
    if conversation_number(one.session_id) is not None:
        name = f"Conversation {_name(one)}"
    parts = [name, f"recording {one.recording}"]
    parts += [f"{one.started_at[:19].replace('T', ' ')} UTC"] if one.started_at is not None else []
    parts += [f"sub-agent of {visible(one.parent_session_id)}"] if one.parent_session_id else []
    parts += [f"{_seconds(one.duration_s)} s"] if one.duration_s is not None else []
    parts += [_listed(one.turns_ended, "turn") if one.turns else "no turns", visible(one.conclusion.verdict)]
    return " · ".join(parts)


def _listed(counts: Mapping[str, int], what: str) -> str:
    """The total, and the count of each kind."""
    count = sum(counts.values())
    kinds = ", ".join(f"{kind}" if len(counts) == 1 else f"{n:,} {kind}" for kind, n in counts.items())
    return f"{counted(count, what)} ({kinds})"


def _soon(one: SessionStats) -> Iterator[str]:
    named = (("first event", one.first_event_s), ("first token", one.first_token_s), ("first text", one.first_text_s))
    for name, value in named:
        if value is not None:
            yield f"{name}  {_spread(value, 's')}"
            if name == "first token" and one.first_token_parts is not None:
                yield from _parts(one.first_token_parts)


def _parts(parts: FirstTokenStats) -> Iterator[str]:
    named = (("before the model was asked", parts.before_s), ("model", parts.model_s), ("after", parts.after_s))
    yield from (f"  {name}  {_spread(value, 's')}" for name, value in named if value is not None)


def _model(calls: ModelStats) -> Iterator[str]:
    from ..analysis.model_calls.values import counted_calls

    odd = [(calls.failed, "failed"), (calls.rate_limited, "rate-limited")]
    told = [f"{number:,} {what}" for number, what in odd if number]
    took = "" if calls.model_s is None else f", {_seconds(calls.model_s)} s together"
    yield f"{counted_calls(calls.requests, calls.calls, *told)}{took}"
    if calls.first_token_s is not None:
        yield f"first token of a call  {_spread(calls.first_token_s, 's')}"
    counts = [
        (calls.input_tokens, "in"),
        (calls.output_tokens, "out"),
        (calls.cached_tokens, "of them cached"),
        (calls.reasoning_tokens, "reasoning"),
    ]
    known = ", ".join(f"{number:,} {what}" for number, what in counts if number is not None)
    if known:
        asked = calls.counted + calls.uncounted
        of = f", of {calls.counted:,} of {counted(asked, 'call')}" if calls.uncounted else ""
        yield f"tokens by the provider's count{of}: {known}"


def _spread(value: Spread, unit: str) -> str:
    if value.count == 1:
        return f"{_seconds(value.max)} {unit}"
    return f"p50 {_seconds(value.p50)}, p99 {_seconds(value.p99)}, max {_seconds(value.max)} {unit}"


def _fast(one: SessionStats) -> Iterator[str]:
    if one.output_tokens_per_s is not None:
        yield f"{_number(one.output_tokens_per_s, 1)} output tokens a second while deltas came, in turns without tools"
    if one.deltas_per_s is not None:
        yield f"{_number(one.deltas_per_s, 1)} deltas a second: {one.deltas:,} in {_seconds(one.streaming_s)} s"
    if one.events_per_s is not None:
        yield f"{_number(one.events_per_s, 1)} events a second during turns, without heartbeats"


def _turns(one: SessionStats) -> Iterator[str]:
    rows = [
        {
            "turn": str(t.turn),
            "ended": t.ended,
            "took s": _seconds(t.duration_s),
            "1st event s": _seconds(t.first_event_s),
            "1st token s": _seconds(t.first_token_s),
            "tokens/s": _number(t.output_tokens_per_s, 1),
            "out": _number(t.output_tokens),
            "deltas": f"{t.deltas:,}",
            "events": f"{t.events:,}",
            "tools s": _seconds(t.tool_s),
            "asked s": _seconds(t.approval_s),
            "silence s": _seconds(t.longest_silence_s),
        }
        for t in one.turns
    ]
    return table(rows)


def _tools(one: SessionStats) -> Iterator[str]:
    return table(
        [
            {
                "tool": t.name or "-",
                "calls": str(t.calls),
                "answered": str(t.answered),
                "total s": _seconds(t.total_s),
                "longest s": _seconds(t.longest_s),
            }
            for t in one.tools
        ]
    )


def _approvals(one: SessionStats) -> Iterator[str]:
    return table(
        [
            {
                "waited for": a.answered_by or "(no answer recorded)",
                "count": str(a.count),
                "total s": _seconds(a.total_s),
                "longest s": _seconds(a.longest_s),
            }
            for a in one.approvals
        ]
    )


def _usage(one: SessionStats) -> Iterator[str]:
    counted_by = (("these turns", one.usage), ("the server", one.reported_usage))
    return table(
        [
            {
                "model": usage.model or "-",
                "counted by": by,
                "turns": _number(usage.turns),
                "in": _number(usage.input_tokens),
                "out": _number(usage.output_tokens),
                "reasoning": _number(usage.reasoning_tokens),
                "total": _number(usage.total_tokens),
                "cost $": _number(usage.cost_usd, 4),
            }
            for by, usages in counted_by
            for usage in usages
        ]
    )


def _gaps(one: SessionStats) -> Iterator[str]:
    named = (("all events", one.gaps), ("without heartbeats", one.gaps_without_heartbeats))
    yield from table(
        [
            {
                "between": name,
                "p50 s": _seconds(gaps.p50_s),
                "p99 s": _seconds(gaps.p99_s),
                "longest s": _seconds(gaps.longest_s),
                "where (stream:seq)": f"{gaps.longest_from} {gaps.longest_from_type} ->"
                f" {gaps.longest_to} {gaps.longest_to_type}",
            }
            for name, gaps in named
            if gaps is not None
        ]
    )
    if one.silent_at_end_s is not None:
        yield f"after the last event, a client listened for {_seconds(one.silent_at_end_s)} s (heartbeats ignored)"


def _events_title(one: SessionStats) -> str:
    beats = f", {one.heartbeats:,} of them heartbeats ({100 * (one.heartbeat_share or 0):.1f} %)"
    share = beats if one.heartbeats else ""
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in one.verdicts.items())
    return f"Events: {one.events:,}{share}; frames by verdict: {verdicts}"


def _streams(one: SessionStats) -> Iterator[str]:
    return table(
        [
            {
                "stream": str(s.stream),
                "party": s.party,
                "ending": s.ending,
                "took s": _seconds(s.duration_s),
                "1st event s": _seconds(s.first_event_s),
                "events": f"{s.events:,}",
                "content": _size(s.content_bytes),
                "on the wire": _size(s.wire_bytes),
                "delay p99 ms": _number(None if s.proxy_delay_ms is None else s.proxy_delay_ms.p99, 3),
                "never sent": _number(s.never_sent),
            }
            for s in one.streams
        ]
    )


def _delay(one: SessionStats) -> Iterator[str]:
    if one.proxy_delay_ms is not None:
        yield f"{_spread(one.proxy_delay_ms, 'ms')}, until an event was handed to the client's transport"
    if one.never_sent:
        yield f"{one.never_sent:,} events were never handed over"


def _number(value: float | None, digits: int = 0) -> str:
    """A number as text; `-` for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


def _seconds(value: float | None) -> str:
    """Seconds as text; to the millisecond below 10 s."""
    return _number(value, 3 if value is not None and value < 10 else 1)


def _size(count: int) -> str:
    """A number of bytes as text, with a unit."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f}{unit}" if unit == "B" else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f}GB"


def _cost(one: SessionStats) -> float | None:
    known = [usage.cost_usd for usage in one.usage if usage.cost_usd is not None]
    return sum(known) if known else None
