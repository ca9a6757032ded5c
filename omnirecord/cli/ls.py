"""`ls`: the sessions, streams or exchanges of a cassette."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from .common import (
    cassette_argument,
    decoded_option,
    fitted_table,
    is_terminal,
    json_option,
    print_rows,
    shown,
    terminal_width,
)


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
    from ..analysis import listing
    from ..cassette.open import open_store

    if exchanges and streams:
        raise UsageError("--exchanges and --streams exclude each other")
    what = "exchanges" if exchanges else "streams" if streams else None
    rows_of = {"exchanges": listing.exchange_rows, "streams": listing.stream_rows, None: listing.session_rows}[what]
    with closing(open_store(cassette)) as store:
        rows = list(rows_of(store))
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
"""Columns that a narrow terminal cuts, and their least width in characters."""
_LEFT_OUT = ("verdicts", "bytes", "kind", "sent", "method", "status", "session")


def ls_lines(cassette: Path, what: str | None, rows: list[dict[str, Any]], width: int) -> Iterator[str]:
    """The output of `ls` as text, in lines of at most `width`."""
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
