"""`show`: sessions turn by turn, on a terminal or in a pipe; with `--follow` while they are recorded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ..errors import UsageError
from ..text import visible
from .arguments import cassette_argument, opened
from .common import (
    console,
    output_options,
    print_lines,
    print_rows,
    print_texts,
    reading_contract_option,
    terminal_width,
)
from .stderr import busy
from .styles import STYLES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ..analysis.follow import Batch, Follower
    from ..analysis.transcript.follow import Following
    from ..analysis.transcript.sentences import Line

T = TypeVar("T")
_NARROWEST = 30
_EVERY = 0.2
"""Seconds between two reads of the cassette."""
_HEIGHT = 12
"""Most lines that are shown of the text that still grows: the last ones."""


@click.command()
@cassette_argument
@click.argument("session", required=False)
@click.option("--full", is_flag=True, help="Print long texts in full.")
@click.option(
    "--silence", type=float, default=5.0, metavar="S", help="Shortest silence to print, in seconds (default: 5)."
)
@click.option(
    "--width",
    type=int,
    metavar="N",
    help="Width of a line in columns. Default: the width of the terminal, at most 100.",
)
@click.option("--follow", is_flag=True, help="Continue until the recording ends, or until Ctrl-C.")
@click.option("--absolute", is_flag=True, help="Count times from the start of the recording, not of the session.")
@reading_contract_option
@output_options
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
    """Print sessions turn by turn: messages, answers, tools and approvals, and how and why each session ended.

    SESSION is an id, or the beginning of an id. Without SESSION, the command prints all sessions of the cassette. The
    turns of a sub-agent are inside the turn of its parent.

    \b
    Example:
      omnirecord show session.db
    """
    from ..analysis.listing import incomplete
    from ..analysis.transcript import lines_of, rows_of
    from ..analysis.transcript.follow import Following
    from ..analysis.transcript.sentences import Page

    if not 0 <= silence < 1e9:
        raise UsageError(f"--silence {silence:g}: give seconds, 0 or more")
    if width is not None and width < _NARROWEST:
        raise UsageError(f"--width {width} is too narrow: give {_NARROWEST} or more")
    columns = max(terminal_width(100), _NARROWEST) if width is None else width
    long_silence = round(silence * 1e9)
    page = Page(columns, full, zero_ns=0 if absolute else None)
    with opened(cassette) as store:
        for sentence in incomplete(store):
            click.echo(visible(sentence), err=True)
        if as_json and not follow:
            print_rows(_prepared(rows_of(store, session, long_silence=long_silence), cassette))
        elif not follow:
            lines = lines_of(store, session, page, long_silence=long_silence)
            _print(console(), _prepared(lines, cassette))
    if follow:
        _follow(cassette, lambda: Following(session, page, long_silence=long_silence), as_json=as_json)


def _prepared(items: Iterable[T], cassette: Path) -> Iterator[T]:
    """The items; progress is shown until the first one is made, if that takes long."""
    iterator = iter(items)
    with busy(f"reading {cassette.name}"):
        first = [item for item in [next(iterator, None)] if item is not None]
    yield from first
    yield from iterator


def _print(screen: Console, lines: Iterable[Line]) -> None:
    if screen.is_terminal:
        print_texts(screen, map(_coloured, lines))
    else:
        print_lines(lines)


def _coloured(line: Line) -> Text:
    from rich.text import Text

    return Text(str(line), style=STYLES[line.kind])


def _follow(cassette: Path, make: Callable[[], Following], *, as_json: bool) -> None:
    """Print each line, or with JSON each turn, once it is final, until the recording ends. Ctrl-C ends it too, which is
    no error. `make` makes what has the lines of one file: a rotation begins others."""
    from ..analysis.follow import Follower
    from ..analysis.transcript.follow import told_lines, told_rows
    from ..cassette.open import open_store

    if as_json:
        rows = Follower(cassette, lambda _: told_rows(make()), open_store)
        try:
            _until_the_end(rows, lambda batch: print_rows(batch.rows))
        except KeyboardInterrupt:  # what has arrived is printed too
            for file in rows.files:
                print_rows(file.end())
            click.echo(err=True)
        return
    screen = console()
    lines = Follower(cassette, lambda _: told_lines(make()), open_store)
    try:
        if screen.is_terminal:
            _on_a_terminal(lines, screen)
        else:
            heads = _Heads()
            _until_the_end(lines, lambda batch: _print(screen, heads.lines_of(batch)))
    except KeyboardInterrupt:
        _print(screen, lines.growing())
        click.echo(err=True)


class _Heads:
    """Puts the name of a file before its lines, if the lines before are of another file."""

    def __init__(self) -> None:
        self._before: Path | None = None

    def lines_of(self, batch: Batch[Line]) -> Iterator[Line]:
        from ..analysis.transcript.sentences import Line

        for part in batch.parts:
            if self._before not in (None, part.path):
                yield Line(f"-- {visible(part.path.name)}", "head")
            self._before = part.path
            yield from part.rows


def _until_the_end(follower: Follower[T], tell: Callable[[Batch[T]], None]) -> None:
    while True:
        batch = follower.read()
        tell(batch)
        if sys.stdout is not None:  # None if the calling process closed it
            sys.stdout.flush()
        if not batch.is_recorded:
            return
        if not batch.has_more:
            time.sleep(_EVERY)


def _on_a_terminal(follower: Follower[Line], screen: Console) -> None:
    """Print final lines, and below them the last lines that may still change."""
    from rich.console import Group
    from rich.live import Live

    heads = _Heads()
    with Live(console=screen, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:

        def tell(batch: Batch[Line]) -> None:
            if batch.parts:
                live.update(Group(), refresh=True)  # final lines replace the changing ones
                _print(screen, heads.lines_of(batch))
            lines = follower.growing()[-_HEIGHT:] if batch.is_recorded else []
            live.update(Group(*map(_coloured, lines)), refresh=True)

        _until_the_end(follower, tell)
