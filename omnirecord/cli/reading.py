"""`ls` and `events`: reading what was recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cassette import VERDICTS
from ..errors import UsageError
from ..gist import visible
from .columns import fitted_table
from .common import (
    NothingFound,
    cassette_argument,
    decoded_option,
    fitted,
    is_terminal,
    json_option,
    print_rows,
    shown,
    terminal_width,
)

if TYPE_CHECKING:
    from ..listing import EventFilter
    from ..store import Store

_NARROW = 100
"""Below this terminal width, in columns, `events` gives less room to the types and more to what events say."""
_TYPE, _TYPE_NARROW = 34, 26
"""Width of the type column, in characters; a longer type is shown whole."""


@click.command(short_help="List sessions, exchanges or streams of a cassette.")
@cassette_argument
@click.option("--exchanges", is_flag=True, help="List every request and WebSocket.")
@click.option("--streams", is_flag=True, help="List every event stream.")
@decoded_option
@json_option
def ls(cassette: Path, exchanges: bool, streams: bool, as_json: bool) -> None:
    """List the sessions of a cassette, or its exchanges or streams.

    \b
    Example:
      omnirecord ls session.db --streams
    """
    from .. import listing
    from ..library import open_store

    if exchanges and streams:
        raise UsageError("--exchanges and --streams exclude each other")
    what = "exchanges" if exchanges else "streams" if streams else None
    rows_of = {"exchanges": listing.exchange_rows, "streams": listing.stream_rows, None: listing.session_rows}[what]
    store = open_store(cassette)
    try:
        rows = list(rows_of(store))
    finally:
        store.close()
    if as_json:
        print_rows(rows)
        return
    for line in ls_lines(cassette, what, rows, terminal_width(sys.maxsize)):
        click.echo(line)


_COLUMNS = {
    None: [
        "recording", "session_id", "started_at", "duration_s", "streams", "exchanges", "events", "last_status",
        "ending",
    ],
    "streams": [
        "stream", "session_id", "party", "method", "path", "status", "duration_s", "events", "bytes", "ending",
        "verdicts",
    ],
    "exchanges": [
        "exchange", "kind", "party", "method", "path", "status", "duration_s", "request_bytes", "response_bytes",
        "ending",
    ],
}  # fmt: skip
_HEADS = {
    "recording": "rec", "session_id": "session", "started_at": "began (UTC)", "duration_s": "took s",
    "exchanges": "requests", "last_status": "status", "request_bytes": "sent", "response_bytes": "received",
    "exchange": "no",
}  # fmt: skip
_LEAST = {"session": 8, "path": 16, "verdicts": 10, "ending": 11, "party": 6}
"""Columns that are cut on a narrow terminal, and to how many characters at least."""
_LEFT_OUT = ("verdicts", "bytes", "kind", "sent", "method", "status", "session")


def ls_lines(cassette: Path, what: str | None, rows: list[dict[str, Any]], width: int) -> Iterator[str]:
    """What `ls` prints for a person, in lines of at most `width`."""
    if not rows:
        yield f"{shown(cassette)} holds no {what or 'sessions'} yet"
        return
    columns = [column for column in _COLUMNS[what] if column != "recording" or len({row[column] for row in rows}) > 1]
    cells = [{_HEADS.get(column, column): _cell(column, row) for column in columns} for row in rows]
    heads = [_HEADS.get(column, column) for column in columns]
    yield from fitted_table(cells, heads, width, least=_LEAST, left_out=_LEFT_OUT)


def _cell(column: str, row: dict[str, Any]) -> str:
    value = row[column]
    if column == "session_id" and value is None:
        return "(none)"
    if value is None:
        return "-"
    if column == "path" and row["session_id"] is not None and is_terminal(sys.stdout):
        return str(value).replace(row["session_id"], f"{row['session_id'][:6]}…")
    if column == "verdicts":
        return " ".join(f"{count} {verdict}" for verdict, count in value.items())
    if column == "duration_s":
        return f"{value:.2f}"
    return str(value)[:19].replace("T", " ") if column == "started_at" else str(value)


@click.command(short_help="Print recorded events.")
@cassette_argument
@click.option("--session", metavar="ID", help="Only events of this session; the id may be shortened.")
@click.option("--stream", type=int, metavar="N", help="Only events of this stream.")
@click.option("--type", "type_glob", metavar="GLOB", help="Only events of these types, as in 'session.*'.")
@click.option("--verdict", type=click.Choice(VERDICTS), help="Only events with this verdict.")
@click.option(
    "--since", metavar="T",
    help="Only events from T on: seconds from the session's start, a time of day (UTC) as in 14:03:00, or ISO 8601.",
)  # fmt: skip
@click.option("--until", metavar="T", help="Only events up to T.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Most events to print.")
@click.option("--absolute", is_flag=True, help="Count times from the start of the recording, not of the session.")
@decoded_option
@json_option
def events(
    cassette: Path, session: str | None, stream: int | None, type_glob: str | None, verdict: str | None,
    since: str | None, until: str | None, limit: int | None, absolute: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print recorded events with their times and verdicts, stream by stream.

    Exit code 1 if --type is given and no event has such a type.

    \b
    Example:
      omnirecord events session.db --type 'response.*' --json
    """
    from ..choosing import the_session, the_stream
    from ..library import open_store
    from ..listing import EventFilter, event_rows, zeros
    from ..moments import moment

    times = moment("--since", since), moment("--until", until)
    store = open_store(cassette)
    try:
        of_streams = the_session(store, session) if session else None, the_stream(store, stream)
        found = event_rows(store, EventFilter(*of_streams, type_glob, verdict, *times))
        rows: Iterator[dict[str, Any]] = islice(found, limit)
        if type_glob is not None:
            first = list(islice(rows, 1))
            if not first:
                raise NothingFound(_no_event(store, EventFilter(*of_streams), type_glob))
            rows = chain(first, rows)
        if as_json:
            print_rows(rows)
            return
        zero = None if absolute else zeros(store)
        for line in event_lines(rows, zero=zero):
            click.echo(fitted(line))
        if limit is not None and next(found, None) is not None:
            click.echo(f"… and more: raise --limit {limit}, or narrow it down with --since and --type")
    finally:
        store.close()


def _no_event(store: Store, of_streams: EventFilter, glob: str) -> str:
    """A sentence on why no event has such a type."""
    from ..addresses.nearest import nearest_names
    from ..listing import types_of

    counts = types_of(store, of_streams)
    if any(fnmatchcase(name, glob) for name in counts):
        return f"no event of type {glob!r} matches the other options"
    return f"no event has a type like {glob!r}: {nearest_names(glob, counts)}"


def event_lines(
    rows: Iterator[dict[str, Any]], empty: str = "no events", zero: Callable[[int, str | None, int], int] | None = None
) -> Iterator[str]:
    """The rows of events as a person reads them, a line each, their streams named. `zero`: where times count from, by
    recording, session and stream; by default the recording's start."""
    from ..gist import gist

    stream, before, begun = None, 0, 0
    wide = _TYPE if terminal_width(_NARROW) == _NARROW else _TYPE_NARROW
    for row in rows:
        if row["stream"] != stream:
            stream, before = row["stream"], row["offset_ns"]
            begun = 0 if zero is None else zero(row["recording"], row["session_id"], stream)
            yield f"stream {stream} · recording {row['recording']} · session {visible(row['session_id'] or '-')}"
        gap, before = (row["offset_ns"] - before) / 1e9, row["offset_ns"]
        times = (
            f"{(row['offset_ns'] - begun) / 1e9:>9.3f}s {gap:>+8.3f}"
            if row["at"] is not None
            else f"{'-':>10} {'-':>8}"
        )
        shown = visible(row["type"] or "-")
        place, said = f"{stream}:{row['seq']}", visible(gist(row["type"], row["data"]))
        yield f"{place:>7} {times}  {row['verdict']:<9} {shown:<{wide}} {said}"
        yield from (f"{'':>27}  {visible(i['path'])}: {visible(i['message'])}" for i in row["issues"])
    if stream is None and empty:
        yield empty
