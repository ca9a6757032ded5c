"""`lake sessions`, `lake sql` and `lake get`: questions to a lake, and sessions out of it."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..text import counted, visible
from .arguments import OUTPUT, STDOUT, stdin_text
from .common import decoded_option, json_line, json_option, print_rows, terminal_width
from .query import form_of, print_names, print_result, sql_options, values_of
from .sessions import Line, session_table
from .stderr import busy, progress

_SHOWN = 100
"""Most sessions in a table, by default."""
_NEAREST = 3
"""Codes of findings that a warning names."""
_NO_CODE = "docs/doctor.md lists all codes"
_OUTCOMES = ("finished", "failed", "unfinished", "recording", "unknown")
_FORMS = (".db", ".jsonl")


@click.command(short_help="List sessions of all recordings, with filters.")
@click.argument("url")
@click.option(
    "--finding",
    "findings",
    multiple=True,
    metavar="CODE",
    help="Only sessions with this finding of doctor. Repeatable: one finding is enough.",
)
@click.option(
    "--since", metavar="T",
    help="Only sessions with activity at or after T: a time in ISO 8601, or a duration before now, such as 2h.",
)  # fmt: skip
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only sessions of recordings with this label. Repeatable: a recording needs all given labels.",
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(_OUTCOMES),
    help="Only sessions with this status: how the session ended. Repeatable: one status is enough.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="GLOB",
    help="Only sessions whose last turn used this model; * stands for any text. Repeatable: one model is enough.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Highest number of sessions; 0 lists all. Default: {_SHOWN}; with --json, all.",
)
@json_option
def sessions(
    url: str, findings: tuple[str, ...], since: str | None, labels: tuple[str, ...], statuses: tuple[str, ...],
    models: tuple[str, ...], limit: int | None, as_json: bool,
) -> None:  # fmt: skip
    """List the sessions of a lake, the newest first.

    Each line shows the start, the first question, how the session ended, and the worst finding.

    A session with parts in several recordings is one line. The column `parts` then shows the number of recordings. A
    session must match all given options.

    \b
    Examples:
      omnirecord lake sessions lake
      omnirecord lake sessions lake --finding tool-without-output --since 7d
    """
    from ..cassette.identity import labels_of
    from ..lake.location import Lake
    from ..lake.query import LakeQuery
    from ..lake.sessions import Wanted
    from ..lake.sessions import sessions as matching
    from ..wire.limits import since as time_of

    _warn_of_unknown(findings)
    after = None if since is None else time_of(since, datetime.now(UTC))
    wanted = Wanted(findings, after, labels_of(labels, {}), statuses, models)
    most = limit or None if limit is not None or as_json else _SHOWN
    place = Lake(url)
    place.marker()
    with LakeQuery(place) as query:
        with busy(f"asking {visible(place.url)}"):
            rows = matching(query, wanted, None if most is None else most + 1)
            found = [] if as_json else list(rows)
        if as_json:
            print_rows(rows)
            return
        if not found:
            has_filter = any((findings, since, labels, statuses, models))
            empty = f"no session in {visible(place.url)} yet: omnirecord ship CASSETTE --lake {visible(url)}"
            click.echo(f"no session of {visible(place.url)} matches" if has_filter else empty)
            return
        for line in session_table([_line(one) for one in found[:most]], terminal_width(sys.maxsize)):
            click.echo(line)
        if most is not None and len(found) > most:
            click.echo(f"more sessions match: --limit 0 prints all, --limit N the newest N (here {most})", err=True)


def _warn_of_unknown(findings: tuple[str, ...]) -> None:
    """Print a warning for each code that this version does not have. A lake may have findings of another version."""
    if not findings:
        return
    from difflib import get_close_matches

    from ..analysis.codes import CODES

    for code in findings:
        if code not in CODES:
            close = get_close_matches(code, CODES, _NEAREST)
            near = f"the nearest {'are' if len(close) > 1 else 'is'} {', '.join(close)}" if close else _NO_CODE
            click.echo(f"Warning: doctor has no finding {visible(code)}: {near}", err=True)


def _line(row: dict[str, Any]) -> Line:
    return Line(
        row["session_id"], row["stream"], row["started_at"], row["asked"], row["parent_session_id"] is not None,
        row["model"], row["turns"] or 0, row["duration_s"], row["conclusion_code"], row["outcome"],
        row["verdict"] or "-", row["finding_code"], row["finding_severity"], len(row["recordings"]),
    )  # fmt: skip


@click.command(short_help="Run SQL over all recordings.")
@click.argument("url")
@sql_options
@json_option
def sql(url: str, sql: str | None, form: str | None, params: tuple[tuple[str, str], ...], as_json: bool) -> None:
    """Run one SQL statement in DuckDB's dialect over a lake, read-only, and print the resulting rows.

    Without SQL, list the tables and views with their columns. Use "-" to read the SQL from standard input. A query sees
    only complete recordings, and reads no file outside the lake.

    \b
    Examples:
      omnirecord lake sql lake
      omnirecord lake sql lake "SELECT code, count(*) FROM findings GROUP BY code"
    """
    from ..lake.location import Lake
    from ..lake.query import NAMES, LakeQuery
    from ..lake.views import ABOUT

    form = form_of(form, as_json)
    text = stdin_text("SQL") if sql == "-" else sql
    values = values_of(params)
    place = Lake(url)
    place.marker()
    if text is None:
        print_names(NAMES, ABOUT, form)
        return
    with LakeQuery(place) as query:
        print_result(lambda: query.run(text, values), form)


@click.command(short_help="Write a session of a lake as a cassette.")
@click.argument("url")
@click.argument("session")
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    required=True,
    metavar="FILE",
    help='Cassette to write: .db or .jsonl, also with .zst. The file must not exist. Use "-" for stdout (.jsonl).',
)
@click.option(
    "--stream", type=int, metavar="N", help="Only stream N of a recording. SESSION is then the recording id."
)  # fmt: skip
@decoded_option
@json_option
def get(url: str, session: str, output: Path, stream: int | None, as_json: bool) -> None:
    """Write a session of a lake as a cassette, byte for byte as recorded, with its parent and its sub-agents.

    SESSION is a session id, or the beginning of one. If several recordings contain parts of the session, the command
    writes all parts. For a stream without a session, give the recording id as SESSION, and the number of the stream as
    --stream. `lake sessions --json` prints both.

    \b
    Example:
      omnirecord lake get lake 04cc962c -o session.db
    """
    from ..cassette.export import refuse_leftovers, write_lines
    from ..lake.get import Fetch
    from ..lake.location import Lake

    is_text, is_compressed = _form_of(output)
    refuse_leftovers(output)
    place = Lake(url)
    place.marker()
    with busy(f"looking for the session in {visible(place.url)}"):
        fetch = Fetch(place, session, stream)
    with closing(fetch):
        lines = progress(fetch.values(), f"writing {visible(str(output))}")
        write_lines(lines, output, is_text=is_text, is_compressed=is_compressed)
        found, is_aside = fetch.found, output is STDOUT
    if as_json:
        row = {
            "output": str(output), "session_id": found.session_id, "sessions": found.sessions,
            "recordings": found.recordings, "exchanges": fetch.exchanges, "events": fetch.events,
        }  # fmt: skip
        click.echo(json_line(row), err=is_aside)
        return
    more = f" with {counted(len(found.sessions) - 1, 'session')} of its tree" if len(found.sessions) > 1 else ""
    what = f"session {found.session_id}" if stream is None else f"stream {stream}"
    click.echo(
        f"wrote {visible(str(output))}: {what}{more}, {counted(fetch.events, 'event')} of"
        f" {counted(len(found.recordings), 'recording')}", err=is_aside,
    )  # fmt: skip


def _form_of(output: Path) -> tuple[bool, bool]:
    """Return whether the output is text, and whether it is compressed. Raises `UsageError`."""
    from ..cassette.export import named

    if output is STDOUT:
        return True, False
    suffix, is_compressed = named(output)
    if suffix not in _FORMS:
        raise UsageError(f"{output} names no cassette: give it the suffix .db, .jsonl, .db.zst or .jsonl.zst")
    if output.is_file() or output.is_dir():
        raise UsageError(f"{output} exists: choose another --output, or remove it")
    return suffix == ".jsonl", is_compressed
