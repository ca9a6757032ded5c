"""`stats`: the numbers of sessions, as a table; of one session, as a report in sections.

`stats_columns` has the columns of the table.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
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
from .stats_columns import COLUMNS, LEFT_OUT_FIRST, name_of, number_text, seconds_text, size_text
from .stderr import busy

if TYPE_CHECKING:
    from ..analysis.stats.values import FirstTokenStats, ModelStats, SessionStats, Spread


_INDENT = "  "
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
            calls = model_calls(store)
            sessions = list(measured(store, session, calls))
            astray = list(astray_rows(calls)) if session is None else []
            together = model_stats([link for talk in calls.talks for link in talk.links])
        if as_json:
            print_rows(mark | row for row in chain(map(stats_row, sessions), (astray_row(*one) for one in astray)))
        elif sessions or astray:
            _print(sessions, astray, together)
        else:
            click.echo(none_in(shown(cassette), "session", is_recorded=store.is_being_recorded))


def print_brief(cassette: Path) -> None:
    """Print the table of the sessions, and the figures of the model calls of each recording."""
    from ..analysis.gather import model_calls
    from ..analysis.stats import measured, model_stats

    with opened(cassette) as store:
        found = model_calls(store)
        sessions = [one for one in measured(store, calls=found) if conversation_number(one.session_id) is None]
        calls = [link for link in found.links if link.turn is None]
    if sessions:
        print_lines(table(_rows(sessions)))
    for recording, links in by_key(calls, lambda link: link.call.recording).items():
        if (numbers := model_stats(links)) is not None:
            click.echo(f"Model calls{' without a turn' if sessions else ''}, recording {recording}")
            print_lines(fitted(_INDENT + line) for line in _model(numbers))


def _print(
    sessions: Sequence[SessionStats], astray: Sequence[tuple[int, ModelStats]], together: ModelStats | None
) -> None:
    """`astray`: the model calls without a turn, by recording; `together`: those of all conversations."""
    if sessions:
        _print_sessions(sessions)
    parts = [
        (f"Model calls{' without a turn' if sessions else ''}, recording {number}", calls) for number, calls in astray
    ]
    if together is not None and len(sessions) > 1:
        parts.insert(0, ("Model calls of all conversations", together))
    for number, (title, calls) in enumerate(parts):
        if sessions or number:
            click.echo()
        click.echo(title)
        print_lines(fitted(_INDENT + line) for line in _model(calls))


def _print_sessions(sessions: Sequence[SessionStats]) -> None:
    if any(session.turns for session in sessions):
        click.echo(fitted(_medians(sessions)))
        click.echo()
    if len({session.session_id for session in sessions}) == 1:
        for number, session in enumerate(sessions):
            print_lines(map(fitted, ["", *_report(session)][number == 0 :]))
    elif is_terminal(sys.stdout):
        _print_rich(_rows(sessions))
    else:
        print_lines(table(_rows(sessions)))


def _medians(sessions: Sequence[SessionStats]) -> str:
    """The first line: the medians of all turns; of a single turn, its values."""
    turns = [turn for session in sessions for turn in session.turns]
    single = turns if len(turns) == 1 else []
    named = (
        ("first event after {} s", seconds_text, [turn.first_event_s for turn in single if turn.first_token_s is None]),
        ("first token after {} s", seconds_text, [turn.first_token_s for turn in turns]),
        ("{} tokens/s", number_text, [turn.output_tokens_per_s for turn in turns]),
        ("{} s a turn", seconds_text, [turn.duration_s for turn in turns]),
    )
    known = [(form, show, [value for value in values if value is not None]) for form, show, values in named]
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
    for name in LEFT_OUT_FIRST:
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


def _rows(sessions: Sequence[SessionStats]) -> list[dict[str, str]]:
    """The rows of the table; with several recordings, also their numbers."""
    columns = dict(COLUMNS)
    if len({session.recording for session in sessions}) == 1:
        del columns["rec"]
    return [{name: visible(cell(session)) for name, cell in columns.items()} for session in sessions]


def _report(session: SessionStats) -> Iterator[str]:
    """One session's numbers, in sections. No line holds a control character."""
    yield _head(session)
    if not session.streams and session.model_calls is None:
        yield f"{_INDENT}no stream was recorded: there is nothing to measure but {session.exchanges:,} exchanges"
        return
    if session.duration_s is None:
        yield f"{_INDENT}no times were recorded"
    for title, lines in _sections(session):
        shown = list(lines)
        if shown:
            yield ""
            yield title
            yield from (_INDENT + line for line in shown)


def _sections(session: SessionStats) -> Iterator[tuple[str, Iterator[str]]]:
    begin = "POST of a message" if conversation_number(session.session_id) is None else "first call of a turn"
    yield f"Times from the {begin}", _soon(session)
    if session.model_calls is not None:
        yield "Model calls", _model(session.model_calls)
    yield "How fast", _fast(session)
    yield "Turns", _turns(session)
    yield "Tools", _tools(session)
    yield "Approvals", _approvals(session)
    yield "Usage", _usage(session)
    yield "Gaps between events", _gaps(session)
    yield _events_title(session), (f"{count:>9,}  {visible(name)}" for name, count in session.events_by_type.items())
    yield "Streams", _streams(session)
    yield "The proxy's own delay", _delay(session)


def _head(session: SessionStats) -> str:
    name = f"Session {visible(session.session_id)}" if session.session_id else "A stream without a session"
    if conversation_number(session.session_id) is not None:
        name = f"Conversation {name_of(session)}"
    parts = [name, f"recording {session.recording}"]
    parts += [f"{session.started_at[:19].replace('T', ' ')} UTC"] if session.started_at is not None else []
    parts += [f"sub-agent of {visible(session.parent_session_id)}"] if session.parent_session_id else []
    parts += [f"{seconds_text(session.duration_s)} s"] if session.duration_s is not None else []
    parts += [
        _listed(session.turns_ended, "turn") if session.turns else "no turns",
        visible(session.conclusion.verdict),
    ]
    return " · ".join(parts)


def _listed(counts: Mapping[str, int], what: str) -> str:
    """The total, and the count of each kind."""
    count = sum(counts.values())
    kinds = ", ".join(f"{kind}" if len(counts) == 1 else f"{n:,} {kind}" for kind, n in counts.items())
    return f"{counted(count, what)} ({kinds})"


def _soon(session: SessionStats) -> Iterator[str]:
    named = (
        ("first event", session.first_event_s),
        ("first token", session.first_token_s),
        ("first text", session.first_text_s),
    )
    for name, value in named:
        if value is not None:
            yield f"{name}  {_spread(value, 's')}"
            if name == "first token" and session.first_token_parts is not None:
                yield from _parts(session.first_token_parts)


def _parts(parts: FirstTokenStats) -> Iterator[str]:
    named = (("before the model was asked", parts.before_s), ("model", parts.model_s), ("after", parts.after_s))
    yield from (f"  {name}  {_spread(value, 's')}" for name, value in named if value is not None)


def _model(calls: ModelStats) -> Iterator[str]:
    from ..analysis.model_calls.values import counted_calls

    odd = [(calls.failed, "failed"), (calls.rate_limited, "rate-limited")]
    told = [f"{number:,} {what}" for number, what in odd if number]
    took = "" if calls.model_s is None else f", {seconds_text(calls.model_s)} s together"
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
        return f"{seconds_text(value.max)} {unit}"
    return f"p50 {seconds_text(value.p50)}, p99 {seconds_text(value.p99)}, max {seconds_text(value.max)} {unit}"


def _fast(session: SessionStats) -> Iterator[str]:
    if session.output_tokens_per_s is not None:
        rate = number_text(session.output_tokens_per_s, 1)
        yield f"{rate} output tokens a second while deltas came, in turns without tools"
    if session.deltas_per_s is not None:
        rate = number_text(session.deltas_per_s, 1)
        yield f"{rate} deltas a second: {session.deltas:,} in {seconds_text(session.streaming_s)} s"
    if session.events_per_s is not None:
        yield f"{number_text(session.events_per_s, 1)} events a second during turns, without heartbeats"


def _turns(session: SessionStats) -> Iterator[str]:
    rows = [
        {
            "turn": str(t.turn),
            "ended": t.ended,
            "took s": seconds_text(t.duration_s),
            "1st event s": seconds_text(t.first_event_s),
            "1st token s": seconds_text(t.first_token_s),
            "tokens/s": number_text(t.output_tokens_per_s, 1),
            "out": number_text(t.output_tokens),
            "deltas": f"{t.deltas:,}",
            "events": f"{t.events:,}",
            "tools s": seconds_text(t.tool_s),
            "asked s": seconds_text(t.approval_s),
            "silence s": seconds_text(t.longest_silence_s),
        }
        for t in session.turns
    ]
    return table(rows)


def _tools(session: SessionStats) -> Iterator[str]:
    return table(
        [
            {
                "tool": t.name or "-",
                "calls": str(t.calls),
                "answered": str(t.answered),
                "total s": seconds_text(t.total_s),
                "longest s": seconds_text(t.longest_s),
            }
            for t in session.tools
        ]
    )


def _approvals(session: SessionStats) -> Iterator[str]:
    return table(
        [
            {
                "waited for": a.answered_by or "(no answer recorded)",
                "count": str(a.count),
                "total s": seconds_text(a.total_s),
                "longest s": seconds_text(a.longest_s),
            }
            for a in session.approvals
        ]
    )


def _usage(session: SessionStats) -> Iterator[str]:
    counted_by = (("these turns", session.usage), ("the server", session.reported_usage))
    return table(
        [
            {
                "model": usage.model or "-",
                "counted by": by,
                "turns": number_text(usage.turns),
                "in": number_text(usage.input_tokens),
                "out": number_text(usage.output_tokens),
                "reasoning": number_text(usage.reasoning_tokens),
                "total": number_text(usage.total_tokens),
                "cost $": number_text(usage.cost_usd, 4),
            }
            for by, usages in counted_by
            for usage in usages
        ]
    )


def _gaps(session: SessionStats) -> Iterator[str]:
    named = (("all events", session.gaps), ("without heartbeats", session.gaps_without_heartbeats))
    yield from table(
        [
            {
                "between": name,
                "p50 s": seconds_text(gaps.p50_s),
                "p99 s": seconds_text(gaps.p99_s),
                "longest s": seconds_text(gaps.longest_s),
                "where (stream:seq)": f"{gaps.longest_from} {gaps.longest_from_type} ->"
                f" {gaps.longest_to} {gaps.longest_to_type}",
            }
            for name, gaps in named
            if gaps is not None
        ]
    )
    if session.silent_at_end_s is not None:
        silence = seconds_text(session.silent_at_end_s)
        yield f"after the last event, a client listened for {silence} s (heartbeats ignored)"


def _events_title(session: SessionStats) -> str:
    beats = f", {session.heartbeats:,} of them heartbeats ({100 * (session.heartbeat_share or 0):.1f} %)"
    share = beats if session.heartbeats else ""
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in session.verdicts.items())
    return f"Events: {session.events:,}{share}; frames by verdict: {verdicts}"


def _streams(session: SessionStats) -> Iterator[str]:
    return table(
        [
            {
                "stream": str(s.stream),
                "party": s.party,
                "ending": s.ending,
                "took s": seconds_text(s.duration_s),
                "1st event s": seconds_text(s.first_event_s),
                "events": f"{s.events:,}",
                "content": size_text(s.content_bytes),
                "on the wire": size_text(s.wire_bytes),
                "delay p99 ms": number_text(None if s.proxy_delay_ms is None else s.proxy_delay_ms.p99, 3),
                "never sent": number_text(s.never_sent),
            }
            for s in session.streams
        ]
    )


def _delay(session: SessionStats) -> Iterator[str]:
    if session.proxy_delay_ms is not None:
        yield f"{_spread(session.proxy_delay_ms, 'ms')}, until an event was handed to the client's transport"
    if session.never_sent:
        yield f"{session.never_sent:,} events were never handed over"
