"""`ship`: copies closed cassettes to a lake."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import LakeError, UsageError
from ..text import counted, visible
from .common import CASSETTE, decoded_option, json_line, json_option, progress, shown

if TYPE_CHECKING:
    from ..lake.ship import Shipped


@click.command(short_help="Copy recordings to a lake, each once.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=CASSETTE)
@click.option("--lake", "url", required=True, metavar="URL", help="Lake to ship to: a folder, s3://, gs:// or az://.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE",
    help="Label of the recordings in the lake; replaces a recorded one of that key. Repeatable.",
)  # fmt: skip
@decoded_option
@json_option
def ship(paths: tuple[Path, ...], url: str, labels: tuple[str, ...], as_json: bool) -> None:
    """Copy the recordings of closed cassettes to a lake. The cassettes stay as they are.

    A PATH may be a folder: then all cassettes in it are shipped. A recording that the lake has is left out, also when
    several ships run at once or were killed. Exit with 1 if a recording was not shipped.

    \b
    Examples:
      omnirecord lake init lake
      omnirecord ship recordings --lake lake
    """
    from ..analysis.sessions import cassettes_in
    from ..cassette.identity import labels_of
    from ..lake.location import Lake
    from ..lake.ship import Shipper

    given = labels_of(labels, {})
    lake = Lake(url)
    named = list(cassettes_in(paths))
    if (part := next((path for path, session in named if session is not None), None)) is not None:
        raise UsageError(f"{part} is named with a session, and a lake takes whole recordings: leave out the #SESSION")
    shipper = Shipper(lake, labels=given)
    found: list[Shipped] = []
    try:
        for one in progress(shipper.ship(path for path, _ in named), "shipping"):
            found.append(one)
            _tell(one, as_json)
    except LakeError as error:
        click.echo(f"omnirecord: {visible(str(error))}", err=True)
        found.append(_unshipped(error))
    finally:
        shipper.close()
    if not as_json:
        click.echo(_summary(found, lake.url))
    if any(one.status in ("busy", "failed") for one in found):
        sys.exit(1)


def _unshipped(error: LakeError) -> Shipped:
    from ..lake.ship import Shipped

    return Shipped(None, Path(), 0, 0, "failed", str(error))


def _tell(one: Shipped, as_json: bool) -> None:
    if as_json:
        click.echo(json_line(one.row(shown(one.path))))
    elif one.message is not None:
        click.echo(f"omnirecord: {visible(one.message)}", err=True)


def _summary(found: Iterable[Shipped], url: str) -> str:
    found = list(found)
    count = Counter(one.status for one in found)
    events, size = sum(one.events for one in found), sum(one.bytes for one in found)
    shipped = f"{counted(count['shipped'], 'recording')} shipped to {visible(url)}"
    parts = [f"{shipped}, {counted(events, 'event')}, {size:,} bytes"]
    parts += [f"{count['there already']:,} there already"] * bool(count["there already"])
    parts += [f"{counted(count['busy'], 'cassette')} being recorded"] * bool(count["busy"])
    parts += [f"{count['failed']:,} failed"] * bool(count["failed"])
    return "; ".join(parts)
