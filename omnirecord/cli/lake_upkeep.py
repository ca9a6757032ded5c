"""What the commands share that remove something from a lake: their options, and the removal of old objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from ..text import visible
from ..wire.limits import duration
from .stderr import progress

if TYPE_CHECKING:
    from ..lake.forgotten import Forgotten
    from ..lake.location import Lake

AGE = "a duration as in 90d or 12h"

retain_option = click.option(
    "--retain",
    metavar="DURATION",
    default="7d",
    show_default=True,
    help="Age at which the command removes an unused object. The age counts from the moment at which the object left"
    " its table, or was written without a commit.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the changes, and make none.")


def run_steps(steps: Iterable[object], label: str, total: int) -> None:
    for _ in progress(steps, label, total=total):
        pass


def finish_forgetting(lake: Lake, forgotten: Forgotten, gone: Counter[str]) -> None:
    """Remove the rows that `lake forget` has still to remove, and add their number by table to `gone`."""
    from ..lake.forget import finish

    if not forgotten.leaving():
        return
    try:
        run_steps(finish(lake, forgotten, gone), "removing rows", len(lake.tables()))
    except KeyboardInterrupt:
        click.echo(f"not all rows are removed: omnirecord lake forget {visible(lake.url)} completes it", err=True)
        raise


def forgotten_rows(lake: Lake, *, dry_run: bool) -> set[str]:
    """Remove the rows that an interrupted `lake forget` has left; return the tables that have changed."""
    from ..lake.forgotten import Forgotten

    forgotten = Forgotten(lake, lake.marker().lake)
    forgotten.read()
    gone: Counter[str] = Counter()
    if pending := forgotten.pending():
        if dry_run:
            click.echo(visible(pending), err=True)
        else:
            click.echo(f"completing an interrupted lake forget in {visible(lake.url)}", err=True)
            finish_forgetting(lake, forgotten, gone)
    return {name for name, rows in gone.items() if rows}


def removed_objects(lake: Lake, age: timedelta, changed: set[str], dry_run: bool) -> dict[str, list[str]]:
    """Remove the old objects, and shorten the logs of these tables and of those that objects left.

    Returns the paths by table; with `dry_run`, those that would be removed.
    """
    from ..lake.ids import fold
    from ..lake.upkeep import remove, shorten_log

    tables = lake.tables()
    if not dry_run and fold(lake):
        changed = set(tables)
    label = "looking for old objects" if dry_run else "removing old objects"
    found = {name: remove(lake, name, age, dry_run=dry_run) for name in progress(tables, label)}
    if not dry_run:
        names = [name for name in tables if name in changed or found[name]]
        run_steps(shorten_log(lake, names), "writing checkpoints", len(names))
    return found


def retention(text: str) -> timedelta:
    """The value of `--retain`. Raises `UsageError` for less than an hour, in which a query still reads an object."""
    age = duration("--retain", text, AGE)
    if age < timedelta(hours=1):
        raise UsageError(f"--retain {text} is too short: running queries and shippers need at least 1h")
    return age
