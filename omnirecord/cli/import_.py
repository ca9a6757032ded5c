"""`import`: cassettes, or the raw body of a stream, into a cassette."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..text import visible
from .arguments import DATABASE, FILE, by_name, opened
from .common import output_options, print_found

Rows = list[dict[str, Any]]


@click.command("import")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o",
    "--output",
    "--db",
    "db",
    default="omnirecord.db",
    show_default=True,
    type=DATABASE,
    help="Cassette to append to; created if missing.",
)
@click.option(
    "--hop",
    "hops",
    multiple=True,
    metavar="NAME[=FILE]",
    help="Name of the hop (the connection to one upstream), such as model=laptop.db. The option applies to recordings"
    " in FILE whose hop has no name. Repeatable.",
)
@click.option(
    "--shift",
    "shifts",
    multiple=True,
    metavar="[NAME|FILE=]S",
    help="Correction of a recorder's clock, such as model=+1.5s or laptop.db=-250ms. It moves the start of the"
    " recordings of this hop or file. Repeatable.",
)
@output_options
def import_(files: tuple[Path, ...], db: Path, hops: tuple[str, ...], shifts: tuple[str, ...], as_json: bool) -> None:
    """Append cassettes of any form, or the raw body of one stream, to a cassette.

    The command imports all FILEs, or none of them: if a line is invalid, the cassette stays unchanged. Use "-" to read
    from standard input. The UTC start times put the recordings of several recorders on one time axis.

    \b
    Example:
      omnirecord import server.db laptop.db --hop model=laptop.db -o both.db
    """
    from ..cassette.open import import_file
    from ..cassette.sqlite import is_sqlite

    paths = [str(file) for file in files]
    is_plain = len(files) == 1 and not hops and not shifts
    if is_plain and not (files[0].is_file() and is_sqlite(files[0])):
        exchanges, frames = import_file(files[0], db)
        rows: Rows = [{"file": by_name(paths[0]), "db": str(db), "exchanges": exchanges, "frames": frames}]
    else:
        rows = _joined(paths, db, hops, shifts)
    print_found(as_json, rows, _lines(rows))


def _joined(paths: list[str], db: Path, hops: tuple[str, ...], shifts: tuple[str, ...]) -> Rows:
    """Join the cassettes; return a row for each."""
    from ..cassette.join import join
    from ..model import moment_of

    named = dict(_of_file(one, paths) for one in hops)
    joined = join(paths, db, hops=named, shifts=_shifts(shifts, paths, named))
    first = min(moment_of(one.started_at) for part in joined for one in part.recordings)
    return [
        {
            "file": by_name(part.path),
            "db": str(db),
            "exchanges": part.exchanges,
            "frames": part.frames,
            "recordings": [
                {
                    "recording": one.recording,
                    "recording_id": one.recording_id,
                    "hop": one.hop,
                    "started_at": one.started_at,
                    "after_s": (moment_of(one.started_at) - first).total_seconds(),
                    "shift_s": part.shift_s,
                }
                for one in part.recordings
            ],
        }
        for part in joined
    ]


def _lines(rows: Rows) -> Iterator[str]:
    for row in rows:
        imported = f"{row['exchanges']} exchanges with {row['frames']} frames"
        yield visible(f"imported {imported} from {row['file']} into {row['db']}")
        for one in row.get("recordings", ()):
            hop = "" if one["hop"] is None else f", hop {one['hop']}"
            shifted = f", shifted by {one['shift_s']:+g} s" if one["shift_s"] else ""
            after = "begins first" if not one["after_s"] else f"begins {one['after_s']:.3f} s after the first one"
            began = str(one["started_at"])[:23].replace("T", " ")
            yield f"  recording {one['recording']}{hop}: {after}, at {began} UTC by its clock{shifted}"


def _of_file(text: str, paths: list[str]) -> tuple[str, str]:
    """Return the file that `NAME=FILE` is about, and the name. FILE may be left out if there is one file."""
    name, equals, path = text.partition("=")
    if not equals:
        if len(paths) > 1:
            raise UsageError(f"--hop {text}: which of the files? Write --hop {text}={paths[-1]}")
        path = paths[0]
    if path not in paths:
        raise UsageError(f"--hop {text}: {path} is none of the files to import")
    return path, name


def _shifts(texts: tuple[str, ...], paths: list[str], hops: dict[str, str]) -> dict[str, float]:
    """Return the shift of each file in seconds, by its path."""
    from ..cassette.join import parse_shift

    found: dict[str, float] = {}
    for text in texts:
        of, equals, shift = text.rpartition("=")
        if not equals and len(paths) > 1:
            raise UsageError(f"--shift {text}: which of the files? Write --shift {paths[-1]}={text}")
        wanted = [of] if of in paths else [path for path, name in hops.items() if name == of]
        if not equals:
            wanted = paths
        if not wanted:
            for path in paths:
                with opened(path) as store:
                    wanted += [path] if of in {one.hop for one in store.recordings()} else []
        if len(wanted) != 1:
            raise UsageError(
                f"--shift {text}: {of} is {'no' if not wanted else 'more than one'} file or hop of the files"
            )
        found[wanted[0]] = parse_shift(shift)
    return found
