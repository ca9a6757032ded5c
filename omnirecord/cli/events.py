"""`events`: recorded events, one per line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..model import VERDICTS
from ..text import visible
from .arguments import cassette_argument, opened
from .common import fitted, moment_options, output_options, print_lines, print_rows, terminal_width
from .group import NothingFound

if TYPE_CHECKING:
    from ..analysis.listing import EventFilter
    from ..cassette.sqlite import Store

_NARROW = 100
"""Terminal width in columns below which the type column is narrower."""
_TYPE = 34
"""Width of the type column in characters; longer types are not cut."""
_TYPE_NARROW = 26
"""Its width on a narrow terminal."""


verdict_option = click.option(
    "--verdict",
    type=click.Choice(VERDICTS),
    help="Only events with this verdict: the result of the check against the contract.",
)


@click.command()
@cassette_argument
@click.option("--session", metavar="ID", help="Only events of this session; the id may be shortened.")
@click.option("--stream", type=int, metavar="N", help="Only events of this stream.")
@click.option("--type", "type_glob", metavar="GLOB", help="Only events of these types, such as 'session.*'.")
@verdict_option
@moment_options("events")
@click.option("--limit", type=click.IntRange(1, sys.maxsize), metavar="N", help="Highest number of events to print.")
@click.option("--absolute", is_flag=True, help="Count times from the start of the recording, not of the session.")
@output_options
def events(
    cassette: Path,
    session: str | None,
    stream: int | None,
    type_glob: str | None,
    verdict: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    absolute: bool,
    as_json: bool,
) -> None:
    """Print recorded events with their times and verdicts, stream by stream.

    A verdict says whether an event fits the contract: the event types that the server may send. With --type, the exit
    code is 1 if no event matches.

    \b
    Example:
      omnirecord events session.db --type 'response.*' --json
    """
    from ..analysis.listing import EventFilter, event_rows, zeros
    from ..cassette.select import moment, the_session, the_stream

    times = moment("--since", since), moment("--until", until)
    with opened(cassette) as store:
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
        print_lines(map(fitted, event_lines(rows, None if absolute else zeros(store))))
        if limit is not None and next(found, None) is not None:
            click.echo(f"… and more: raise --limit {limit}, or narrow it down with --since and --type")


def _no_event(store: Store, of_streams: EventFilter, glob: str) -> str:
    """The error for a type that no event has, with similar types."""
    from ..analysis.listing import types_of
    from ..replayer.event_address.matcher import nearest_names

    counts = types_of(store, of_streams)
    if any(fnmatchcase(name, glob) for name in counts):
        return f"no event of type {glob!r} matches the other options"
    return f"no event has a type like {glob!r}: {nearest_names(glob, counts)}"


def event_lines(rows: Iterator[dict[str, Any]], zero: Callable[[int, str | None, int], int] | None) -> Iterator[str]:
    """The rows of events as a person reads them, a line each, their streams named. `zero`: where times count from, by
    recording, session and stream; None: from the recording's start."""
    from ..analysis.apis import summary

    stream = None
    before = 0
    begun = 0
    wide = _TYPE if terminal_width(_NARROW) == _NARROW else _TYPE_NARROW
    for row in rows:
        if row["stream"] != stream:
            stream = row["stream"]
            before = row["offset_ns"]
            begun = 0 if zero is None else zero(row["recording"], row["session_id"], stream)
            yield f"stream {stream} · recording {row['recording']} · session {visible(row['session_id'] or '-')}"
        gap = (row["offset_ns"] - before) / 1e9
        before = row["offset_ns"]
        known = f"{(row['offset_ns'] - begun) / 1e9:>9.3f}s {gap:>+8.3f}"
        times = f"{'-':>10} {'-':>8}" if row["at"] is None else known
        shown = visible(row["type"] or "-")
        place = f"{stream}:{row['seq']}"
        said = visible(summary(row["type"], row["data"]))
        yield f"{place:>7} {times}  {row['verdict']:<9} {shown:<{wide}} {said}"
        for issue in row["issues"]:
            said = ": ".join(filter(None, (issue["path"], issue["message"])))
            yield f"{'':>27}  {visible(said)}"
    if stream is None:
        yield "no events"
