"""`sessions`: one line for each session, of one cassette or of many.

To add a column to the table, add an entry to `_COLUMNS`. `omnirecord.columns` has the columns of `sessions --json`, of
`query` and of the lake.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..text import clip, one_line, seconds, visible
from .arguments import CASSETTE, by_name, opened, shown
from .common import (
    fitted_table,
    is_terminal,
    none_in,
    output_options,
    print_found,
    reading_contract_option,
    since_option,
    terminal_width,
    time_of,
)
from .stderr import busy, progress

if TYPE_CHECKING:
    from ..analysis.sessions import Summary

Row = Mapping[str, Any]
_LEAST = {"asked first": 11, "model": 8, "how it ended": 29, "worst finding": 13}
"""Columns that a narrow terminal cuts, and their least width in characters."""
_LEAST_WITH_PARTS = {**_LEAST, "how it ended": 22}
"""The least widths if a session has several parts."""
_LEFT_OUT = ("model", "turns", "took", "began (UTC)", "how it ended", "parts", "worst finding")
_OF_RECORDING = 18
"""Characters of a recording's id before the number of a conversation in a lake: the time, and 12 random bits."""
_WIDEST = 60
"""Greatest width of a column with a sentence, in characters."""
_COLOURS = {"failed": "red", "unfinished": "red", "recording": "cyan", "unknown": "yellow"}
_SEVERE = {"error": "red", "warning": "yellow"}


@click.command()
@click.argument("cassettes", nargs=-1, required=True, metavar="CASSETTE...", type=CASSETTE)
@click.option(
    "--failed", is_flag=True, help="List only sessions that failed, have no end, or have a finding of severity error."
)
@since_option("sessions with activity at or after T")
@reading_contract_option
@output_options
def sessions(cassettes: tuple[Path, ...], failed: bool, since: str | None, as_json: bool) -> None:
    """List the sessions of cassettes: start, first question, how each ended, and the worst finding of `doctor`.

    CASSETTE may be a folder with cassettes, for instance the folder of `proxy --rotate`. CASSETTE#SESSION is one
    session. Use "-" to read a cassette from standard input.

    \b
    Examples:
      omnirecord sessions session.db
      omnirecord sessions session.db session.jsonl --failed --since 2h
    """
    from ..analysis.listing import cassettes_in

    after = time_of(since)
    named = list(cassettes_in(cassettes))
    paths = [path for path, _ in named]
    listed = _watched(((path, list(_chosen(path, session, failed, after))) for path, session in named), paths)
    rows = (summary.row(by_name(str(path))) for path, summaries in listed for summary in summaries)
    print_found(as_json, rows, lines_of(listed, terminal_width(sys.maxsize), failed=failed, since=since))


def _watched(read: Iterator[tuple[Path, list[Summary]]], paths: Sequence[Path]) -> Iterator[tuple[Path, list[Summary]]]:
    """The summaries, with a progress bar over several cassettes."""
    if len(paths) > 1:
        yield from progress(read, "reading cassettes", total=len(paths))
    else:
        with busy(f"reading {shown(paths[0])}"):
            summaries = list(read)
        yield from summaries


def _chosen(path: Path, session: str | None, failed: bool, after: datetime | None) -> Iterator[Summary]:
    from ..analysis.listing import incomplete
    from ..analysis.sessions import summaries

    with opened(path) as store:
        for sentence in incomplete(store):
            click.echo(visible(sentence), err=True)
        for summary in summaries(store, session):
            active = after is None or (summary.until is not None and datetime.fromisoformat(summary.until) >= after)
            if active and (summary.has_failed or not failed):
                yield summary


def lines_of(
    listed: Iterable[tuple[Path, Sequence[Summary]]], width: int, *, failed: bool = False, since: str | None = None
) -> Iterator[str]:
    """The sessions of each cassette as text, in lines of at most `width`. `failed`, `since`: the options that chose
    them."""
    listed = list(listed)
    if not any(summaries for _, summaries in listed):
        yield _empty([path for path, _ in listed], failed=failed, since=since)
        return
    head, *lines = session_table([summary.columns() for _, summaries in listed for summary in summaries], width)
    yield head
    left = iter(lines)
    for path, summaries in listed:
        if len(listed) > 1 and summaries:
            yield shown(path)
        yield from islice(left, len(summaries))
        unsure = [f"#{summary.conversation}" for summary in summaries if summary.is_ambiguous]
        if unsure:
            yield f"{', '.join(unsure)}: {_AMBIGUOUS}"
        for summary in summaries:
            if summary.repeated:
                calls = ", ".join(map(str, summary.repeated))
                repeat = f"call {calls} repeats an" if len(summary.repeated) == 1 else f"calls {calls} each repeat an"
                yield f"#{summary.conversation}: {repeat} earlier call, as the program started again or went back"


def _empty(paths: Sequence[Path], *, failed: bool, since: str | None) -> str:
    where = shown(paths[0]) if len(paths) == 1 else f"{len(paths):,} cassettes"
    kind = "failed session" if failed else "session"
    when = f" since {visible(since)}" if since is not None else ""
    if failed or since is not None:
        return f"no {kind}{when} in {where}"
    is_recorded = False
    for path in paths:
        with opened(path) as store:
            is_recorded = is_recorded or store.is_being_recorded
    return none_in(where, "session", is_recorded=is_recorded)


_AMBIGUOUS = "equal calls at the same time, so some of their later calls may belong to another of them"


def session_table(lines: Sequence[Row], width: int) -> Iterator[str]:
    """A head and a line for each session, of at most `width`, coloured on a terminal.

    `lines`: rows of the table `sessions`. The column of parts is left out if no row has several `recordings`.
    """
    colours = is_terminal(sys.stdout)

    def paint(number: int, column: str, text: str) -> str:
        if number < 0 or not colours:
            return text
        return click.style(text, fg=_colour(lines[number], column))

    rows = [{name: cell(row) for name, cell in _COLUMNS.items()} for row in lines]
    is_split = any(len(row.get("recordings", ())) > 1 for row in lines)
    columns = [name for name in _COLUMNS if is_split or name != "parts"]
    least = _LEAST_WITH_PARTS if is_split else _LEAST
    return fitted_table(rows, columns, width, least=least, left_out=_LEFT_OUT, paint=paint)


def _name(row: Row) -> str:
    from ..omnigent.summary import short_id
    from ..providers.grouping import conversation_number

    session_id = row["session_id"]
    conversation = conversation_number(session_id)
    if conversation is not None:
        return f"#{conversation}"
    if session_id is None:
        return f"stream {row['stream']}"
    begin, mark, number_in_lake = session_id.partition("#")
    return f"{begin[:_OF_RECORDING]}#{number_in_lake}" if mark else short_id(begin)


def _asked(row: Row) -> str:
    from ..providers.grouping import conversation_number

    asked = row["asked"]
    if not asked and not row["turns"]:
        asked = "(nothing asked)"
    elif not asked:  # the body of a call is no request of its API
        is_conversation = conversation_number(row["session_id"]) is not None
        asked = "(no question)" if is_conversation else "(not recorded)"
    mark = "" if row["parent_session_id"] is None else "> "
    return clip(f"{mark}{one_line(asked)}", _WIDEST)


def _ended(row: Row) -> str:
    """A short verdict: a waiting session is unfinished; the end of a finished one is in other columns."""
    if row["conclusion_code"] == "finished":
        return "Finished"
    verdict = (row["verdict"] or "-").removeprefix("Unfinished: ").removesuffix(" UTC")
    return clip(verdict[:1].upper() + verdict[1:], _WIDEST)


_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "session": _name,
    "began (UTC)": lambda row: "-" if row["started_at"] is None else row["started_at"][5:16].replace("T", " "),
    "asked first": _asked,
    "model": lambda row: one_line(row["model"] or "-"),
    "turns": lambda row: str(row["turns"] or 0),
    "took": lambda row: "-" if row["duration_s"] is None else seconds(round(row["duration_s"] * 1e9)),
    "parts": lambda row: str(len(row.get("recordings", ()))),
    "how it ended": _ended,
    "worst finding": lambda row: row["finding_code"] or "-",
}
"""Heads of the table's columns, and the functions that make their cells."""


def _colour(row: Row, column: str) -> str | None:
    if column == "how it ended":
        return _COLOURS.get(row["outcome"] or "")
    return _SEVERE.get(row["finding_severity"] or "") if column == "worst finding" else None
