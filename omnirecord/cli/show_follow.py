"""`show --follow`: what is finished as whole lines; on a terminal, what grows below them.

Ctrl-C is how it is ended while the recording goes on: no error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Group
from rich.live import Live

from ..analysis.transcript import Line
from ..analysis.transcript.follow import Following
from ..analysis.turns import turn_row
from ..cassette.sqlite import Store
from .colour import Painter, painted
from .common import print_rows

_EVERY = 0.2
"""How many seconds lie between two looks."""
_HEIGHT = 12
"""How many lines of what grows are shown at most: its last ones."""


def follow(
    store: Store, session: str | None, width: int, *, full: bool, long_silence: int, absolute: bool, as_json: bool
) -> None:
    """Print turns until the recording ends, or until Ctrl-C."""
    following = Following(store, session, width=width, full=full, long_silence=long_silence, absolute=absolute)
    painter = Painter()
    try:
        if as_json:
            _until_the_end(following, lambda last: print_rows(map(turn_row, following.finished_turns(last=last))))
        elif painter.console.is_terminal:
            _on_a_terminal(following, painter)
        else:
            _until_the_end(following, lambda last: _print(painter, following.news(last=last)))
    except KeyboardInterrupt:  # no event is lost
        if as_json:
            print_rows(map(turn_row, following.finished_turns(last=True)))
        else:
            _print(painter, following.growing())
        click.echo(err=True)


def _until_the_end(following: Following, tell: Callable[[bool], None]) -> None:
    while True:
        following.look()
        last = not following.goes_on
        tell(last)
        if sys.stdout is not None:  # closed by the parent process
            sys.stdout.flush()
        if last:
            return
        time.sleep(_EVERY)


def _print(painter: Painter, lines: Iterator[Line]) -> None:
    for line in lines:
        painter.print(line)


def _on_a_terminal(following: Following, painter: Painter) -> None:
    live = Live(
        console=painter.console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )
    with live:

        def tell(last: bool) -> None:
            if news := list(following.news(last=last)):
                live.update(Group(), refresh=True)  # what is finished takes the place of what grew
                _print(painter, iter(news))
            lines = [] if last else list(following.growing())[-_HEIGHT:]
            live.update(Group(*map(painted, lines)), refresh=True)

        _until_the_end(following, tell)
