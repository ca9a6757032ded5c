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

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ..analysis.transcript.follow import Following
    from ..analysis.transcript.sentences import Line

T = TypeVar("T")
_NARROWEST = 30
_STYLES = {
    "verdict": "bold green",
    "bad": "bold red",
    "head": "bold",
    "asked": "bold cyan",
    "said": "",
    "thought": "italic dim",
    "tool": "yellow",
    "approval": "magenta",
    "child": "blue",
    "trouble": "bold red",
    "note": "dim",
    "silence": "red",
    "end": "dim",
    "total": "dim",
    "stop": "bold green",
    "more": "dim",
    "heartbeat": "dim",
    "blank": "",
    "model": "green",
}
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
        if follow:
            _follow(Following(store, session, page, long_silence=long_silence), as_json=as_json)
        elif as_json:
            print_rows(_prepared(rows_of(store, session, long_silence=long_silence), cassette))
        else:
            lines = lines_of(store, session, page, long_silence=long_silence)
            _print(console(), _prepared(lines, cassette))


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

    return Text(str(line), style=_STYLES.get(line.kind, ""))


def _follow(following: Following, *, as_json: bool) -> None:
    """Print each line once it is final, until the recording ends. Ctrl-C ends it too, which is no error."""
    screen = console()

    def print_turns(last: bool) -> None:
        print_rows(following.rows(last=last))

    try:
        if as_json:
            _until_the_end(following, print_turns)
        elif screen.is_terminal:
            _on_a_terminal(following, screen)
        else:
            _until_the_end(following, lambda last: _print(screen, following.news(last=last)))
    except KeyboardInterrupt:  # what has arrived is printed too
        if as_json:
            print_turns(last=True)
        else:
            _print(screen, following.growing())
        click.echo(err=True)


def _until_the_end(following: Following, tell: Callable[[bool], None]) -> None:
    while True:
        following.look()
        last = not following.goes_on
        tell(last)
        if sys.stdout is not None:  # None if the calling process closed it
            sys.stdout.flush()
        if last:
            return
        time.sleep(_EVERY)


def _on_a_terminal(following: Following, screen: Console) -> None:
    """Print final lines, and below them the last lines that may still change."""
    from rich.console import Group
    from rich.live import Live

    with Live(console=screen, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:

        def tell(last: bool) -> None:
            if news := list(following.news(last=last)):
                live.update(Group(), refresh=True)  # final lines replace the changing ones
                _print(screen, news)
            lines = [] if last else list(following.growing())[-_HEIGHT:]
            live.update(Group(*map(_coloured, lines)), refresh=True)

        _until_the_end(following, tell)
