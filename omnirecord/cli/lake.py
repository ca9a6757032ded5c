"""`lake`: a folder or bucket with the recordings of many recorders."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ..text import visible
from .common import Group, fitted_table, json_line, json_option, print_lines, terminal_width
from .lake_ask import get, sessions, sql
from .lake_fleet import doctor, stats, validate
from .lake_upkeep import compact, expire
from .stderr import busy, progress

if TYPE_CHECKING:
    from ..lake.check import TableState


@click.group(cls=Group)
def lake() -> None:
    """Keep the recordings of many recorders in one place, the lake, and query all of them.

    URL is a folder, s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH. Credentials come from the
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
        click.echo(f"{visible(place.url)} is a lake already, made {marker.created_at} by omnirecord"
                   f" {visible(marker.created_by)}; its tables are complete")  # fmt: skip


@click.command(short_help="Print the state of a lake: tables, sizes, problems.")
@click.argument("url")
@json_option
@click.pass_context
def check(context: click.Context, url: str, as_json: bool) -> None:
    """Print the state of a lake: its tables with their commits, rows, files and bytes, and its problems.

    If the credentials allow writing, the command also writes and removes a small object, to test conditional PUT. Exit
    code 1 if a table or a column is missing or cannot be read, or if two shippers could overwrite each other's commits.

    \b
    Example:
      omnirecord lake check lake
    """
    from ..lake import check as checks
    from ..lake.location import Lake
    from ..lake.tables import TABLES

    place = Lake(url)
    with busy(f"opening {visible(place.url)}"):
        marker = place.marker()
        conditional = checks.can_write(place)
    states = list(progress(checks.table_states(place), "reading the logs", total=len(TABLES)))
    wrong, hints = checks.problems(place.url, states, conditional), checks.advice(place.url, states)
    if as_json:
        click.echo(json_line({
            "url": place.url, **vars(marker), "conditional_put": conditional,
            "tables": [asdict(one) for one in states], "problems": wrong, "advice": hints,
        }))  # fmt: skip
    else:
        click.echo(f"lake {marker.lake}, format {marker.format}, made {marker.created_at} by omnirecord"
                   f" {visible(marker.created_by)}")  # fmt: skip
        width = terminal_width(sys.maxsize)
        print_lines(fitted_table([_row(one) for one in states], _COLUMNS, width, least={}, left_out=_LEFT_OUT))
        click.echo(f"conditional PUT: {_PUT[conditional]}")
        for line in (*wrong, *hints):
            click.echo(visible(line))
    context.exit(1 if wrong else 0)


_COLUMNS = ("table", "commit", "rows", "files", "bytes", "orphans")
_LEFT_OUT = ("commit", "orphans", "bytes")
"""Columns that a narrow terminal leaves out, in this order."""
_PUT = {True: "yes", False: "no", None: "not tested, since nothing can be written there"}


def _row(one: TableState) -> dict[str, str]:
    numbers: dict[str, Any] = {
        "commit": one.version, "rows": one.rows, "files": one.files, "bytes": one.bytes, "orphans": one.orphans,
    }  # fmt: skip
    return {"table": one.table} | {name: "-" if value is None else f"{value:,}" for name, value in numbers.items()}


lake.add_section("Make", (init, check))
lake.add_section("Query", (sessions, sql, get))
lake.add_section("Analyse with the installed version", (doctor, stats, validate))
lake.add_section("Maintain", (compact, expire))
