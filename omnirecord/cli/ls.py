"""`ls`: the sessions, streams, exchanges or recordings of a cassette."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .arguments import cassette_argument, opened, shown
from .common import fitted_table, is_terminal, none_in, output_options, print_found, terminal_width

if TYPE_CHECKING:
    from ..cassette.sqlite import Store


@click.command()
@cassette_argument
@click.option("--exchanges", is_flag=True, help="List every exchange: a request with its response, or a WebSocket.")
@click.option("--streams", is_flag=True, help="List every event stream.")
@click.option("--recordings", is_flag=True, help="List every recording with its id and its labels.")
@output_options
def ls(cassette: Path, exchanges: bool, streams: bool, recordings: bool, as_json: bool) -> None:
    """List the sessions of a cassette, or its exchanges, streams or recordings.

    \b
    Example:
      omnirecord ls session.db --streams
    """
    from ..analysis import listing

    chosen = [name for name, is_chosen in zip(_LISTS, (exchanges, streams, recordings), strict=True) if is_chosen]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    what = chosen[0] if chosen else None
    lists: dict[str | None, Callable[[Store], Iterator[dict[str, Any]]]] = {
        "exchanges": listing.exchange_rows,
        "streams": listing.stream_rows,
        "recordings": listing.recording_rows,
        None: partial(listing.session_rows, is_brief=not as_json),
    }
    with opened(cassette) as store:
        rows = list(lists[what](store))
        nothing = none_in(shown(cassette), (what or "sessions").removesuffix("s"), is_recorded=store.is_being_recorded)
    lines = ls_lines(what, rows, terminal_width(sys.maxsize)) if rows else [nothing]
    print_found(as_json, rows, lines)


_LISTS = ("exchanges", "streams", "recordings")
_COLUMNS = {
    None: [
        "recording",
        "hop",
        "session_id",
        "started_at",
        "duration_s",
        "streams",
        "exchanges",
        "events",
        "ending",
    ],
    "streams": [
        "stream",
        "hop",
        "session_id",
        "party",
        "method",
        "path",
        "status",
        "duration_s",
        "events",
        "bytes",
        "ending",
        "verdicts",
    ],
    "exchanges": [
        "exchange",
        "hop",
        "kind",
        "party",
        "method",
        "path",
        "status",
        "duration_s",
        "request_bytes",
        "response_bytes",
        "ending",
    ],
    "recordings": [
        "recording",
        "hop",
        "recording_id",
        "started_at",
        "duration_s",
        "upstream",
        "server_version",
        "labels",
        "exchanges",
    ],
}
_HEADS = {
    "recording": "rec",
    "session_id": "session",
    "started_at": "began (UTC)",
    "duration_s": "took s",
    "exchanges": "requests",
    "request_bytes": "sent",
    "response_bytes": "received",
    "exchange": "no",
    "recording_id": "id",
    "server_version": "server",
}
_LEAST = {"session": 8, "path": 16, "verdicts": 10, "ending": 11, "party": 6, "labels": 10, "upstream": 12}
"""Columns that a narrow terminal cuts, and their least width in characters."""
_LEFT_OUT = ("verdicts", "bytes", "kind", "sent", "method", "status", "session", "upstream", "server")


def ls_lines(what: str | None, rows: list[dict[str, Any]], width: int) -> Iterator[str]:
    """The output of `ls` as text, in lines of at most `width`."""
    columns = [column for column in _COLUMNS[what] if _is_told(column, rows)]
    cells = [{_HEADS.get(column, column): _cell(column, row) for column in columns} for row in rows]
    heads = [_HEADS.get(column, column) for column in columns]
    yield from fitted_table(cells, heads, width, least=_LEAST, left_out=_LEFT_OUT)


def _is_told(column: str, rows: list[dict[str, Any]]) -> bool:
    """Whether a table has the column: `recording` if there are several, `hop` if one has a name."""
    if column == "recording":
        return len({row[column] for row in rows}) > 1
    return column != "hop" or any(row[column] is not None for row in rows)


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
    if column == "labels":
        return " ".join(f"{key}={text}" for key, text in value.items()) or "-"
    if column == "duration_s":
        return f"{value:.2f}"
    return str(value)[:19].replace("T", " ") if column == "started_at" else str(value)
