"""`lake forget`: removes sessions from a lake, and keeps them out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..text import counted, visible
from .common import is_terminal, json_line, json_option, label_option, print_lines, table
from .lake_sessions import answering, lake_at
from .lake_upkeep import dry_run_option, finish_forgetting, removed_objects, retain_option, retention
from .stderr import busy

if TYPE_CHECKING:
    from ..lake.chosen import Chosen
    from ..lake.forgotten import Forgotten
    from ..lake.location import Lake

_SHOWN = 20
"""Sessions in the list before the question."""
_LOGS = timedelta(days=30)
"""How long the log of a table keeps the session ids of removed objects."""


@click.command(short_help="Remove sessions, and keep them out.")
@click.argument("url", metavar="URL")
@click.argument("sessions", nargs=-1, metavar="[SESSION]...")
@label_option(
    "All sessions of recordings with this label, and these recordings. Repeatable: a recording needs all labels."
)
@click.option(
    "--where",
    metavar="SQL",
    help="All sessions for which this condition holds. Its columns are those of whole_sessions.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@retain_option
@dry_run_option
@json_option
def forget(
    url: str,
    sessions: tuple[str, ...],
    labels: tuple[str, ...],
    where: str | None,
    yes: bool,
    retain: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove sessions from a lake, with all that belongs to them. The lake does not accept them again.

    SESSION is a session id, or the beginning of an id. Sub-agents go with their session, and so do the model calls of
    its turns. On a terminal, the command asks for confirmation.

    The rows leave the tables at once. The old objects leave the store after --retain, at the next forget, expire or
    compact. Without a session, the command completes what an interrupted forget left.

    \b
    Examples:
      omnirecord lake forget lake 04cc962c
      omnirecord lake forget lake --label user=alice
      omnirecord lake forget lake --where "asked LIKE '%passport%'"
    """
    from ..cassette.labels import labels_of
    from ..lake.forgotten import Forgotten

    if where is not None and not where.strip():
        raise UsageError("--where is empty: give a condition such as \"asked LIKE '%passport%'\"")
    if sum(map(bool, (sessions, labels, where))) > 1:
        raise UsageError("give sessions, --label or --where, and only one of them")
    age = retention(retain)
    given = labels_of(labels, {})
    lake = lake_at(url)
    forgotten = Forgotten(lake, lake.marker().lake)
    gone: Counter[str] = Counter()
    with busy(f"looking for the sessions in {visible(lake.url)}"):
        forgotten.read()
    if not dry_run:
        finish_forgetting(lake, forgotten, gone)  # of an earlier call, which was interrupted after its question
    with answering(lake, False), busy(f"looking for the sessions in {visible(lake.url)}"):
        chosen = _chosen(lake, forgotten, sessions, given, where)
    if chosen.leaving:
        if not as_json:
            print_lines(_told(chosen))
        if not dry_run:
            if not yes and is_terminal(sys.stdin):
                click.confirm("Remove them from the lake?", abort=True, err=True)
            forgotten.add(chosen.sessions, chosen.leaving)
            finish_forgetting(lake, forgotten, gone)
    removed = sum(map(len, removed_objects(lake, age, {name for name, rows in gone.items() if rows}, dry_run).values()))
    _report(lake, chosen, forgotten, gone, removed, age, dry_run=dry_run, as_json=as_json)


def _chosen(
    lake: Lake, forgotten: Forgotten, sessions: Sequence[str], labels: Mapping[str, str], where: str | None
) -> Chosen:
    from ..lake.chosen import by_id, by_label, by_sql, rediscovered

    if sessions:
        return by_id(lake, forgotten, sessions)
    if where is not None:
        return by_sql(lake, where)
    return by_label(lake, labels) if labels else rediscovered(lake, forgotten)


def _told(chosen: Chosen) -> Iterator[str]:
    ids = sorted(chosen.sessions)
    yield from ids[:_SHOWN]
    if len(ids) > _SHOWN:
        yield f"and {counted(len(ids) - _SHOWN, 'more session')}"
    whole = sum(one.is_whole for one in chosen.leaving.values())
    yield (
        f"{counted(len(ids), 'session')}; {counted(whole, 'recording')} as a whole, parts of"
        f" {len(chosen.leaving) - whole:,}"
    )


def _report(
    lake: Lake,
    chosen: Chosen,
    forgotten: Forgotten,
    gone: Counter[str],
    removed: int,
    age: timedelta,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from ..lake.upkeep import remove

    left = sum(len(remove(lake, name, timedelta(0), dry_run=True)) for name in lake.tables())
    done_at = forgotten.done_at
    until = None if done_at is None or not left else done_at + age
    logs = None if done_at is None or datetime.now(UTC) > done_at + _LOGS else done_at + _LOGS
    row: dict[str, Any] = {
        "url": lake.url,
        "sessions": sorted(chosen.sessions),
        "parents": sorted(chosen.parents),
        "recordings": sorted(one for one, of in chosen.leaving.items() if of.is_whole),
        "parts": sorted(one for one, of in chosen.leaving.items() if not of.is_whole),
        "rows": {name: rows for name, rows in gone.items() if rows},
        "objects_removed": removed,
        "objects_left": left,
        "objects_until": until and until.isoformat(),
        "logs_until": logs and logs.isoformat(),
        "dry_run": dry_run,
    }
    if as_json:
        click.echo(json_line(row))
        return
    if not chosen.leaving and not row["rows"]:
        click.echo("nothing to remove: the lake has no row of these sessions")
    if row["rows"]:
        click.echo("")
        print_lines(table([{"table": name, "rows": f"{rows:,}"} for name, rows in row["rows"].items()]))
    for parent in row["parents"]:
        click.echo(f"the session {parent}, which started one of them, stays and may quote it")
    if until is not None:
        click.echo(
            f"{counted(left, 'old object')} of the lake may hold rows of them until {until:%Y-%m-%d %H:%M} UTC; run"
            f" `omnirecord lake compact {visible(lake.url)}` after that"
        )
    if logs is not None:
        click.echo(f"the logs of the tables may name their ids until {logs:%Y-%m-%d}")
    if dry_run:
        click.echo("nothing was changed: --dry-run")
