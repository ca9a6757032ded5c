"""`lake`: a folder or bucket with the recordings of many recorders. `lake_sessions` has the commands over sessions."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import LakeError, UsageError
from ..text import counted, visible
from ..wire.limits import duration, shown_size, size_of
from .arguments import OUTPUT, STDOUT, stdin_text
from .common import is_terminal, json_line, json_option, output_options, print_lines, print_rows, table
from .group import Group
from .lake_forget import forget
from .lake_sessions import answering, doctor, lake_at, search, sessions, stats, validate, warn
from .lake_upkeep import (
    AGE,
    dry_run_option,
    forgotten_rows,
    removed_objects,
    retain_option,
    retention,
    run_steps,
)
from .query import form_of, print_names, print_result, sql_options, values_of
from .stderr import busy, progress

if TYPE_CHECKING:
    from ..lake.location import Lake, TableState
    from ..lake.lost import Lost
    from ..lake.upkeep import Expired


@click.group(cls=Group)
def lake() -> None:
    """Keep the recordings of many recorders in one place (a lake), and query all of them.

    The URL of a lake is a folder, s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH. Credentials come from the
    environment variables of AWS, Google or Azure. The commands need extra packages: pip install "omnirecord[lake]"

    \b
    Example:
      omnirecord lake init lake
    """


@click.command(short_help="Make a lake, or add missing tables to an older lake.")
@click.argument("url")
@json_option
def init(url: str, as_json: bool) -> None:
    """Make a lake: its marker file and its tables. In an existing lake, add missing tables and columns.

    The command refuses a store without conditional PUT, because two shippers could overwrite each other's commits.

    \b
    Example:
      omnirecord lake init lake
    """
    from ..lake.location import Lake

    place = Lake(url)
    with busy(f"making the lake {visible(place.url)}"):
        marker, is_new = place.init()
    if as_json:
        click.echo(json_line({"url": place.url, **vars(marker), "is_new": is_new}))
    elif is_new:
        click.echo(f"made the lake {visible(place.url)}: omnirecord ship CASSETTE --lake {visible(url)}")
    else:
        click.echo(
            f"{visible(place.url)} is a lake already, made {marker.created_at} by omnirecord"
            f" {visible(marker.created_by)}; its tables are complete"
        )


@click.command(short_help="Print the state of a lake: tables, sizes, problems.")
@click.argument("url")
@click.option(
    "--deep",
    is_flag=True,
    help="Read all files, and also name damaged files, the recordings with rows in lost files, and incomplete"
    " recordings.",
)
@json_option
def check(url: str, deep: bool, as_json: bool) -> None:
    """Print the state of a lake: its tables with their commits, rows, files and bytes, and its problems.

    If the credentials allow writing, the command also writes and removes a small object, to test conditional PUT. Exit
    code 1 if a table, a column or a file is missing or unreadable, or if the store has no conditional PUT.

    \b
    Examples:
      omnirecord lake check lake
      omnirecord lake check --deep lake
    """
    from ..lake.forgotten import Forgotten
    from ..lake.layout import TABLES
    from ..lake.location import Lake, advice, can_write, problems, table_states
    from ..lake.lost import Lost, about_ids, examined, incomplete, lost_in

    place = Lake(url)
    with busy(f"opening {visible(place.url)}"):
        marker = place.marker()
        conditional = can_write(place)
    more: dict[str, Any] = {}
    lost = list[Lost]()
    unfinished = list[str]()
    failures = list[str]()
    with place.one_version():
        states = list(progress(table_states(place), "reading the logs", total=len(TABLES)))
        if deep:
            states = list(progress(examined(place, states), "reading the files", total=len(TABLES)))
            try:
                with busy("looking for lost rows"):
                    lost = lost_in(place, states)
                    unfinished = incomplete(place, states)
                    failures += about_ids(place, lost)
            except LakeError as error:
                failures.append(str(error))
            more = {"lost": [asdict(one) for one in lost], "incomplete": unfinished}
    wrong = [*problems(place.url, states, conditional), *failures]
    hints = list(advice(place.url, states))
    forgotten = Forgotten(place, marker.lake)
    forgotten.read()
    if pending := forgotten.pending():
        hints.append(pending)
    if conditional is not None and (ahead := place.skew()):
        hints.append(place.about_skew(ahead))
    if as_json:
        click.echo(
            json_line(
                {
                    "url": place.url,
                    **vars(marker),
                    "conditional_put": conditional,
                    "tables": [asdict(one) for one in states],
                    "problems": wrong,
                    "advice": hints,
                    **more,
                }
            )
        )
    else:
        click.echo(
            f"lake {marker.lake}, format {marker.format}, made {marker.created_at} by omnirecord"
            f" {visible(marker.created_by)}"
        )
        print_lines(table([_row(one) for one in states], left_out=("commit", "orphans", "bytes")))
        click.echo(f"conditional PUT: {_PUT[conditional]}")
        print_lines(map(visible, (*wrong, *hints)))
        if deep:
            print_lines(_lost_lines(lost, unfinished))
    sys.exit(1 if wrong else 0)


_PUT = {True: "yes", False: "no", None: "not tested, since nothing can be written there"}


def _row(one: TableState) -> dict[str, str]:
    numbers: dict[str, Any] = {
        "commit": one.version,
        "rows": one.rows,
        "files": one.files,
        "bytes": one.bytes,
        "orphans": one.orphans,
    }
    return {"table": one.table} | {name: "-" if value is None else f"{value:,}" for name, value in numbers.items()}


def _lost_lines(lost: Sequence[Lost], unfinished: Sequence[str]) -> Iterator[str]:
    """The lost files with their recordings, and the recordings that are not complete."""
    yield ""
    yield f"lost: {counted(len(lost), 'file')}"
    for one in lost:
        yield f"  {one.table}/{one.path}: {counted(len(one.recordings), 'recording')}"
        yield from (f"    {id_}" for id_ in one.recordings)
    if unfinished:
        yield f"not complete: {counted(len(unfinished), 'recording')}. Ship their cassettes again"
        yield from (f"  {id_}" for id_ in unfinished)


@click.command(short_help="Drop lost files, so that their recordings can be shipped again.")
@click.argument("url", metavar="URL")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@dry_run_option
@json_option
def repair(url: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Drop lost files from the tables of a lake, after a confirmation.

    A file is lost if a table names it, and the store lacks it or it cannot be read. The command reads all files. A
    recording with rows in a lost file leaves the lake as a whole. If you ship its cassette again, it is complete. Lost
    objects of the folder ids are computed again.

    \b
    Example:
      omnirecord lake repair lake --dry-run
    """
    from ..lake.layout import TABLES
    from ..lake.location import table_states
    from ..lake.lost import examined, lost_in
    from ..lake.lost import repair as repaired

    lake = lake_at(url)
    with lake.one_version():
        states = list(progress(table_states(lake), "reading the logs", total=len(TABLES)))
        for one in states:
            if one.failure is not None:
                raise LakeError(f"{lake.table_url(one.table)}: {one.failure}")
        states = list(progress(examined(lake, states), "reading the files", total=len(TABLES)))
        with busy("looking for lost rows"):
            lost = lost_in(lake, states)
    if not as_json:
        print_lines(_lost_lines(lost, ()))
    ids = {id_ for one in lost for id_ in one.recordings if one.table in TABLES}
    if ids and not dry_run and not yes:
        if not is_terminal(sys.stdin):
            raise UsageError("repair removes recordings from the lake: confirm with --yes, or look with --dry-run")
        click.confirm("Remove these recordings from the lake?", abort=True, err=True)
    if not dry_run:
        run_steps(repaired(lake, lost), "repairing", len({one.table for one in lost} | {TABLES[-1]}))
    if as_json:
        print_rows({**asdict(one), "dry_run": dry_run} for one in lost)
        return
    if dry_run:
        click.echo("nothing was changed: --dry-run")
    elif ids:
        again = f"omnirecord ship CASSETTE --lake {visible(url)}"
        click.echo(f"{counted(len(ids), 'recording')} left the lake. Ship the cassettes again: {again}")


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
    from ..lake.query import NAMES, LakeQuery
    from ..lake.sql import ABOUT

    form = form_of(form, as_json)
    text = stdin_text("SQL") if sql == "-" else sql
    values = values_of(params)
    place = lake_at(url)
    if text is None:
        print_names(NAMES, ABOUT, form)
        return
    with LakeQuery(place) as query, answering(place, form == "json"):
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
@click.option("--stream", type=int, metavar="N", help="Only stream N of a recording. SESSION is then the recording id.")
@output_options
def get(url: str, session: str, output: Path, stream: int | None, as_json: bool) -> None:
    """Write a session of a lake as a cassette, byte for byte as recorded, with its parent and its sub-agents.

    SESSION is a session id, or the beginning of one. If several recordings contain parts of the session, the command
    writes all parts. For a stream without a session, give the recording id as SESSION, and the number of the stream as
    --stream. `lake sessions --json` prints both. Exit code 1 if files of the lake are missing.

    \b
    Example:
      omnirecord lake get lake 04cc962c -o session.db
    """
    from ..cassette.export import refuse_leftovers, write_lines
    from ..lake.get import Fetch

    is_text, is_compressed = _form_of(output)
    refuse_leftovers(output)
    place = lake_at(url)
    with answering(place, False), busy(f"looking for the session in {visible(place.url)}"):
        fetch = Fetch(place, session, stream)
    with closing(fetch), answering(place, False):
        lines = progress(fetch.values(), f"writing {visible(str(output))}")
        write_lines(lines, output, is_text=is_text, is_compressed=is_compressed)
        is_aside = output is STDOUT
    missing = [{"table": of, "path": path} for of, path in place.missing.files()]
    if as_json:
        row: dict[str, Any] = {
            "output": str(output),
            "session_id": fetch.session_id,
            "sessions": fetch.sessions,
            "recordings": fetch.recordings,
            "exchanges": fetch.exchanges,
            "events": fetch.events,
            **({"missing": missing} if missing else {}),
        }
        click.echo(json_line(row), err=is_aside)
        sys.exit(1 if missing else 0)
    more = f" with {counted(len(fetch.sessions) - 1, 'session')} of its tree" if len(fetch.sessions) > 1 else ""
    what = f"session {fetch.session_id}" if stream is None else f"stream {stream}"
    click.echo(
        f"wrote {visible(str(output))}: {what}{more}, {counted(fetch.events, 'event')} of"
        f" {counted(len(fetch.recordings), 'recording')}",
        err=is_aside,
    )
    sys.exit(1 if missing else 0)


def _form_of(output: Path) -> tuple[bool, bool]:
    """Return whether the output is text, and whether it is compressed. Raises `UsageError`."""
    from ..cassette.export import named

    if output is STDOUT:
        return True, False
    suffix, is_compressed = named(output)
    if suffix not in (".db", ".jsonl"):
        raise UsageError(f"{output} names no cassette: give it the suffix .db, .jsonl, .db.zst or .jsonl.zst")
    if output.is_file() or output.is_dir():
        raise UsageError(f"{output} exists: choose another --output, or remove it")
    return suffix == ".jsonl", is_compressed


_LEFT_OUT = ("rows", "after", "into", "events", "objects", "before", "merged")
"""Columns of `compact` and `expire` that a narrow terminal leaves out, in this order."""


@click.command(short_help="Merge small objects, and remove unused objects.")
@click.argument("url", metavar="URL")
@click.option(
    "--target-size",
    metavar="SIZE",
    default="128MiB",
    show_default=True,
    help="Size of a merged object. Objects of at least half this size do not change.",
)
@retain_option
@dry_run_option
@json_option
def compact(url: str, target_size: str, retain: str, dry_run: bool, as_json: bool) -> None:
    """Merge the small objects of each day of a lake, so that queries read fewer objects. Run the command once a day.

    The command also completes an interrupted `lake forget`, and removes unused objects after --retain. Unused objects
    have left their table, or a killed process wrote them without a commit. Several shippers, compactions and queries
    may run at the same time. If the command is killed, the lake stays consistent.

    \b
    Example:
      omnirecord lake compact s3://team-lake/omnirecord
    """
    from ..lake.upkeep import Merged, merge, merges

    target = size_of("--target-size", target_size, "a size as in 128MiB")
    age = retention(retain)
    lake = lake_at(url)
    _skew(lake, dry_run)
    changed = forgotten_rows(lake, dry_run=dry_run)
    tables = lake.tables()
    found = [one for name in progress(tables, "reading the tables") for one in merges(lake, name, target)]
    merged = {name: Merged() for name in tables}
    if dry_run:
        for one in found:
            merged[one.table].add(one, ())
    else:
        steps = (part for one in found for part in merge(lake, one, merged[one.table], target))
        run_steps(steps, "merging objects", sum(len(one.files) for one in found))
    if left_out := lake.missing.files():
        warn(f"{counted(len(left_out), 'file')} could not be merged: omnirecord lake check --deep {url} names them")
    left = removed_objects(lake, age, changed.union(name for name in tables if merged[name].into), dry_run)
    rows: list[dict[str, Any]] = [
        {"table": name, **asdict(one), "removed": len(left[name]), "dry_run": dry_run}
        for name, one in merged.items()
        if one.objects or left[name]
    ]
    if as_json:
        print_rows(rows)
        return
    if not rows:
        click.echo("nothing to merge and nothing to remove")
        return
    cells = [
        {
            "table": row["table"],
            "merged": f"{row['objects']:,}",
            "into": "-" if dry_run else f"{row['into']:,}",
            "before": shown_size(row["bytes_before"]),
            "after": "-" if dry_run else shown_size(row["bytes_after"]),
            "rows": f"{row['rows']:,}",
            "removed": f"{row['removed']:,}",
        }
        for row in rows
    ]
    print_lines(table(cells, left_out=_LEFT_OUT))
    if dry_run:
        click.echo("\nnothing was changed: --dry-run")


@click.command(short_help="Remove old days.")
@click.argument("url", metavar="URL")
@click.option(
    "--older-than",
    metavar="DURATION",
    required=True,
    help="Age, such as 90d. A day expires when the whole day is older. A recording belongs to the UTC day of its"
    " start.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@retain_option
@dry_run_option
@json_option
def expire(url: str, older_than: str, yes: bool, retain: str, dry_run: bool, as_json: bool) -> None:
    """Remove the days of a lake that are older than DURATION. On a terminal, the command asks for confirmation.

    A recording with an impossible date, such as 2001, belongs to the day on which it arrived.

    The days leave the tables at once. Their objects leave the store after --retain, at the next expire or compact. The
    lake does not accept an expired recording again.

    \b
    Example:
      omnirecord lake expire s3://team-lake/omnirecord --older-than 90d
    """
    from ..lake.upkeep import arrived_since, expiring, first_day_kept
    from ..lake.upkeep import expire as expired_from

    older = duration("--older-than", older_than, AGE)
    age = retention(retain)
    lake = lake_at(url)
    until = first_day_kept(older, datetime.now(UTC) + _skew(lake, dry_run))
    changed = forgotten_rows(lake, dry_run=dry_run)
    days = expiring(lake, until)
    if not as_json:
        print_lines(_told(days, f"{until}"))
        for day, count in sorted(Counter(arrived_since(lake, until).values()).items()):
            click.echo(f"{day}: {counted(count, 'recording')} of a wrong clock arrived on {until} or later, and stay")
    if days and not dry_run and not yes and is_terminal(sys.stdin):
        click.confirm("Remove them from the lake?", abort=True, err=True)
    if not dry_run:
        run_steps(expired_from(lake, until), "removing days", len(lake.tables()))
    removed = sum(map(len, removed_objects(lake, age, changed.union(one.table for one in days), dry_run).values()))
    if as_json:
        print_rows({**asdict(one), "dry_run": dry_run} for one in days)
        return
    if removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {counted(removed, 'old object')} from the store")
    if dry_run:
        click.echo("nothing was changed: --dry-run")


def _told(days: Sequence[Expired], until: str) -> Iterable[str]:
    if not days:
        yield f"no day before {until} in the lake"
        return
    by_day: dict[str, list[Expired]] = defaultdict(list)
    for one in days:
        by_day[one.day].append(one)
    rows = [
        {
            "day": day,
            "recordings": f"{sum(one.rows for one in of_day if one.table == 'recordings'):,}",
            "events": f"{sum(one.rows for one in of_day if one.table == 'events'):,}",
            "objects": f"{sum(one.objects for one in of_day):,}",
            "size": shown_size(sum(one.bytes for one in of_day)),
        }
        for day, of_day in sorted(by_day.items())
    ]
    yield from table(rows, left_out=_LEFT_OUT)


def _skew(lake: Lake, dry_run: bool) -> timedelta:
    """How far the clock of the store is ahead, with a warning if it is. With `dry_run`, zero if nothing can be written
    there."""
    try:
        ahead = lake.skew()
    except LakeError:
        if not dry_run:
            raise
        return timedelta(0)
    if ahead:
        warn(lake.about_skew(ahead))
    return ahead


lake.add_section("Make", (init, check))
lake.add_section("Query", (sessions, search, sql, get))
lake.add_section("Analyse with the installed version", (doctor, stats, validate))
lake.add_section("Maintain", (compact, expire, forget, repair))
