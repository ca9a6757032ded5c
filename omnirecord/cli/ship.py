"""`ship`: copies closed cassettes to a lake."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import LakeError, UsageError
from ..text import counted, visible
from .arguments import CASSETTE, shown
from .common import json_line, label_option, output_options
from .listen import say
from .options import of_recorder
from .settings import reads_settings
from .stderr import Bar

if TYPE_CHECKING:
    from ..lake.location import Lake
    from ..lake.ship import Shipped, Shipper


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=CASSETTE)
@click.option("--lake", "url", required=True, metavar="URL", help="Lake to ship to: a folder, s3://, gs:// or az://.")
@click.option(
    "--watch",
    is_flag=True,
    help="Continue until Ctrl-C, and ship each cassette after its recorder closes it.",
)
@click.option("--recursive", "-r", is_flag=True, help="Also ship the cassettes in subfolders of a folder.")
@label_option("Label of the recordings in the lake. It overrides a recorded label with the same KEY. Repeatable.")
@click.option("--redact", type=click.Choice(["content"]), help="In the copy, mask values that look like a secret.")
@of_recorder("pseudonym_key")
@reads_settings({"url": ("lake",)})
@output_options
def ship(
    paths: tuple[Path, ...],
    url: str,
    watch: bool,
    recursive: bool,
    labels: tuple[str, ...],
    redact: str | None,
    pseudonym_key: Path | None,
    as_json: bool,
) -> None:
    """Copy the recordings of closed cassettes to a lake. The cassettes do not change.

    A lake is a folder or a bucket with the recordings of many recorders. A cassette is closed when no recorder writes
    to it. PATH is a cassette, or a folder with cassettes. Subfolders count only with --recursive.

    The command skips a recording that is in the lake, or that expired from the lake. So each recording is shipped once,
    even if several `ship` commands run at the same time or are killed. Exit code 1
    if a recording is not in the lake afterwards, 2 if the lake fails.

    \b
    Examples:
      omnirecord ship session.db --lake lake
    """
    from ..cassette.labels import labels_of
    from ..lake.location import Lake
    from ..lake.ship import Shipper

    given = labels_of(labels, {})
    lake = Lake(url)

    def make() -> Shipper:
        return Shipper(lake, labels=given, redact=redact is not None, pseudonym_key=pseudonym_key)

    results = Results(lake, as_json)
    try:
        if watch:
            from ..lake.watch import Watcher

            watcher = Watcher(make, lambda: list(_present(paths, recursive)), results.tell, say)
            while True:
                time.sleep(watcher.look())
        found = _found(paths, recursive)
        if any(path.is_dir() for path in paths):
            click.echo(f"found {counted(len(found), 'cassette')}", err=True)
        _ship(found, make, results)
    except KeyboardInterrupt:
        results.summary()
        sys.stdout.flush()
        os._exit(128 + signal.SIGINT)  # without a wait for the store: a lake takes a killed shipper
    results.summary()
    sys.exit(2 if results.has_failed else int(results.is_incomplete))


class Results:
    """Prints the result of each recording, and the sums."""

    def __init__(self, lake: Lake, as_json: bool) -> None:
        self._lake = lake
        self._as_json = as_json
        self._count: Counter[str] = Counter()
        self._said: set[str] = set()
        self.events = self._bytes = 0
        self.is_incomplete = False
        """Whether a recording was not shipped."""
        self.has_failed = False
        """Whether the lake failed."""

    def tell(self, one: Shipped) -> None:
        """Print a result: an object with `--json`, else only why a recording was not shipped, each reason once."""
        self._count[one.status] += 1
        self.is_incomplete |= one.status in ("failed", "busy")
        self.events += one.events
        self._bytes += one.bytes
        if self._as_json:
            click.echo(json_line(one.row(shown(one.path))))
            sys.stdout.flush()
        elif one.message is not None and one.message not in self._said:
            self._said.add(one.message)
            say(one.message)

    def summary(self) -> None:
        if self._as_json:
            return
        count = self._count
        shipped = f"{counted(count['shipped'], 'recording')} shipped to {visible(self._lake.url)}"
        parts = [f"{shipped}, {counted(self.events, 'event')}, {self._bytes:,} bytes"] if count["shipped"] else []
        parts += [f"{count['there already']:,} there already"] * bool(count["there already"])
        parts += [f"{counted(count['busy'], 'cassette')} being recorded"] * bool(count["busy"])
        parts += [f"{count['failed']:,} not shipped"] * bool(count["failed"])
        click.echo("; ".join(parts) or "nothing to ship")


def _ship(paths: list[Path], make: Callable[[], Shipper], results: Results) -> None:
    shipper = make()
    sizes = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    done = 0
    with Bar("shipping", sum(sizes.values()), rate=lambda: f"{results.events / bar.seconds:,.0f} events/s") as bar:
        try:
            for one in shipper.ship(paths):
                results.tell(one)
                done += sizes.pop(one.path, 0)
                bar.update(done)
        except LakeError as error:
            for one in shipper.unshipped(sizes):
                results.tell(replace(one, message=str(error)))
            results.has_failed = True
            return
    for warning in shipper.warnings():
        say(warning)
    shipper.close()


def _found(paths: tuple[Path, ...], recursive: bool) -> list[Path]:
    """The cassettes. Raises `UsageError` for a name with a session: a lake takes whole recordings."""
    from ..analysis.listing import cassettes_in

    found = list(cassettes_in(paths, recursive=recursive))
    for path, session in found:
        if session is not None:
            raise UsageError(f"{path}#{session} is a part of a cassette, and a lake takes all of it: leave out the #")
    return [path for path, _ in found]


def _present(paths: tuple[Path, ...], recursive: bool) -> Iterator[Path]:
    """The cassettes of those paths that are there now."""
    for path in paths:
        with suppress(UsageError):  # a folder without a cassette
            yield from (one for one in _found((path,), recursive) if one.exists())
