"""`import`: another form of a cassette into a cassette."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..text import visible
from .arguments import by_name
from .common import DATABASE, FILE, decoded_option, json_line, json_option


@click.command("import", short_help="Append a .jsonl or compressed cassette, or an .sse body, to a cassette.")
@click.argument("file", type=FILE)
@click.option(
    "--db", default="omnirecord.db", show_default=True, type=DATABASE,
    help="Cassette to append to; created if missing.",
)  # fmt: skip
@decoded_option
@json_option
def import_(file: Path, db: Path, as_json: bool) -> None:
    """Append a .jsonl cassette, a compressed one, or the raw body of one stream, to a cassette.

    It imports all of FILE or nothing: if a line is invalid, the cassette stays unchanged. - reads standard input.

    \b
    Example:
      omnirecord import session.jsonl --db session.db
    """
    from ..cassette.open import import_file

    exchanges, frames = import_file(file, db)
    if as_json:
        row: dict[str, Any] = {"file": by_name(str(file)), "db": str(db), "exchanges": exchanges, "frames": frames}
        click.echo(json_line(row))
    else:
        click.echo(visible(f"imported {exchanges} exchanges with {frames} frames from {by_name(str(file))} into {db}"))
