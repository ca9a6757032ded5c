"""`show`: a session told turn by turn, to a person or to a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ..errors import UsageError
from .common import (
    busy,
    cassette_argument,
    decoded_option,
    json_option,
    print_rows,
    terminal_width,
)

if TYPE_CHECKING:
    from ..analysis.transcript import Line

T = TypeVar("T")
_NARROWEST = 30


@click.command(short_help="Print sessions turn by turn.")
@cassette_argument
@click.argument("session", required=False)
@click.option("--full", is_flag=True, help="Print long texts in full.")
@click.option(
    "--silence", type=float, default=5.0, metavar="S", help="Seconds from which on a silence is printed (default: 5)."
)
@click.option("--width", type=int, metavar="N", help="Columns of a line (default: those of the terminal, at most 100).")
@click.option("--follow", is_flag=True, help="Continue while the session is recorded; Ctrl-C ends it.")
@click.option("--absolute", is_flag=True, help="Count times from the start of the recording, not of the session.")
@decoded_option
@json_option
def show(
    cassette: Path,
    session: str | None,
    full: bool,
    silence: float,
    width: int | None,
    follow: bool,
    absolute: bool,
    as_json: bool,
) -> None:
    """Print sessions turn by turn: how each ended and why, its messages, answers, tools and approvals.

    It prints all sessions of the cassette, or SESSION, whose id may be shortened. Sub-agents are inside their
    parents.

    \b
    Example:
      omnirecord show session.db
    """
    from ..analysis.transcript.show import lines_of, rows_of
    from ..cassette.open import open_store
    from .show_follow import follow as go_on

    long_silence, columns = _ns(silence), _columns(width)
    store = open_store(cassette)
    try:
        if follow:
            go_on(store, session, columns, full=full, long_silence=long_silence, absolute=absolute, as_json=as_json)
        elif as_json:
            print_rows(_prepared(rows_of(store, session, long_silence=long_silence), cassette))
        else:
            lines = lines_of(store, session, columns, full=full, long_silence=long_silence, absolute=absolute)
            print_lines(_prepared(lines, cassette))
    finally:
        store.close()


def _ns(seconds: float) -> int:
    if not 0 <= seconds < 1e9:
        raise UsageError(f"--silence {seconds:g}: give seconds, 0 or more")
    return round(seconds * 1e9)


def _columns(width: int | None) -> int:
    if width is not None and width < _NARROWEST:
        raise UsageError(f"--width {width} is too narrow: give {_NARROWEST} or more")
    return width if width is not None else max(terminal_width(100), _NARROWEST)


def _prepared(items: Iterable[T], cassette: Path) -> Iterator[T]:
    """The same, saying that we are at work while the first one is made, if that takes long."""
    iterator = iter(items)
    with busy(f"reading {cassette.name}"):
        first = [item for item in [next(iterator, None)] if item is not None]
    yield from first
    yield from iterator


def print_lines(lines: Iterable[Line]) -> None:
    """Lines on stdout: coloured on a terminal, plain elsewhere."""
    from .colour import Painter

    painter = Painter()
    for line in lines:
        painter.print(line)
