"""`stats`: the numbers of sessions, as a table, or as a page for one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from ..text import clip, visible
from .common import (
    busy,
    cassette_argument,
    console,
    decoded_option,
    fitted,
    is_terminal,
    json_option,
    print_rows,
    shown,
    table,
)
from .stats_page import cost, number, shown_s, size

if TYPE_CHECKING:
    from ..analysis.stats import SessionStats


@click.command(short_help="Measure sessions: latency, rates, usage.")
@cassette_argument
@click.argument("session", required=False)
@decoded_option
@json_option
def stats(cassette: Path, session: str | None, as_json: bool) -> None:
    """Measure sessions: time to the first token, tokens a second, gaps, tools, approvals, usage, the proxy's delay.

    It prints a table of all sessions, or all figures of a single one: SESSION, whose id may be shortened.

    \b
    Example:
      omnirecord stats session.db
    """
    from ..analysis.stats import stats_row
    from ..analysis.stats.stats import measured
    from ..cassette.open import open_store

    store = open_store(cassette)
    try:
        with busy("measuring"):
            found = list(measured(store, session))
        if as_json:
            print_rows(map(stats_row, found))
        else:
            _print(cassette, found)
    finally:
        store.close()


def _print(cassette: Path, found: Sequence[SessionStats]) -> None:
    from .stats_page import lines_of

    if not found:
        click.echo(f"{shown(cassette)} holds no sessions yet")
        return
    click.echo(fitted(_medians(found)))
    click.echo()
    if len({one.session_id for one in found}) == 1:
        for number, one in enumerate(found):
            for line in ["", *lines_of(one)][number == 0 :]:
                click.echo(fitted(line))
    elif is_terminal(sys.stdout):
        _print_rich(_rows(found))
    else:
        for line in table(rows := _rows(found), list(rows[0])):
            click.echo(line)


def _medians(found: Sequence[SessionStats]) -> str:
    """The first line: the medians of all turns."""
    turns = [turn for one in found for turn in one.turns]
    named = (
        ("first token after {} s", shown_s, [turn.first_token_s for turn in turns]),
        ("{} tokens/s", number, [turn.output_tokens_per_s for turn in turns]),
        ("{} s a turn", shown_s, [turn.duration_s for turn in turns]),
    )  # fmt: skip
    known = [(form, show, [one for one in values if one is not None]) for form, show, values in named]
    told = [form.format(show(median(values))) for form, show, values in known if values]
    count = f"{len(turns):,} turn{'' if len(turns) == 1 else 's'}"
    return f"Median of {count}: {', '.join(told)}" if told else f"No medians: no times are known for {count}"


def _print_rich(rows: Sequence[dict[str, str]]) -> None:
    """The table as wide as the terminal: heads are wrapped, ids lose their end, then columns are left out."""
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
    """What is left for a session's id beside the other columns."""
    return width - sum(width + 1 for width in widths.values()) - 1


def _rows(found: Sequence[SessionStats]) -> list[dict[str, str]]:
    """The table's rows; which recording is said where there are several."""
    columns = dict(_COLUMNS)
    if len({one.recording for one in found}) == 1:
        del columns["rec"]
    return [{name: visible(cell(one)) for name, cell in columns.items()} for one in found]


def _gap(one: SessionStats) -> float | None:
    return None if one.gaps_without_heartbeats is None else one.gaps_without_heartbeats.longest_s


_COLUMNS: dict[str, Callable[[SessionStats], str]] = {
    "session": lambda one: one.session_id or f"(stream {', '.join(str(s.stream) for s in one.streams)})",
    "rec": lambda one: str(one.recording),
    "took s": lambda one: shown_s(one.duration_s),
    "ended": lambda one: one.conclusion.outcome,
    "turns": lambda one: str(len(one.turns)) if one.turns else "-",
    "1st token s": lambda one: shown_s(None if one.first_token_s is None else one.first_token_s.p50),
    "tokens/s": lambda one: number(one.output_tokens_per_s, 1),
    "out": lambda one: number(one.output_tokens),
    "cost $": lambda one: number(cost(one), 4),
    "tools s": lambda one: shown_s(one.tool_s),
    "asked s": lambda one: shown_s(one.approval_s),
    "events": lambda one: f"{one.events:,}" if one.streams else "-",
    "beats %": lambda one: number(None if one.heartbeat_share is None else 100 * one.heartbeat_share),
    "gap s": lambda one: shown_s(_gap(one)),
    "bytes": lambda one: size(sum(s.content_bytes for s in one.streams)) if one.streams else "-",
}
"""The columns of the table, and what is in them."""
_LEFT_OUT_FIRST = ("beats %", "bytes", "cost $", "turns", "out", "asked s")
_SHORTEST_ID = 9
