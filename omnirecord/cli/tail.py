"""`tail`: the new events of a recording, as they arrive."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import click

from .arguments import NAMED, named_source, shown
from .common import is_terminal, output_options, print_growing
from .events import verdict_option

LAST = 10
"""Number of earlier events to show with a line each."""
LAST_FOLDED = 100
"""Number of earlier events to show folded."""


@click.command()
@click.argument("source", metavar="CASSETTE|URL", type=NAMED)
@click.option("--session", metavar="ID", help="Only streams of this session; the id may be shortened.")
@click.option("--stream", type=int, metavar="N", help="Only this stream.")
@click.option("--type", "type_glob", metavar="GLOB", help="Only events of these types, such as 'response.*'.")
@verdict_option
@click.option("-v", "--verbose", is_flag=True, help="Show every event and request, one line each.")
@click.option(
    "-n",
    "--last",
    type=click.IntRange(0, sys.maxsize),
    metavar="N",
    help="Number of earlier events to show (default: 100, or 10 if each event has a line).",
)
@click.option(
    "--token",
    envvar="OMNIRECORD_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="Token of a proxy that is reachable beyond loopback. The proxy prints the token at its start.",
)
@click.option(
    "--ca",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="CA bundle that verifies the certificate of an https proxy (PEM).",
)
@click.option("--retry", is_flag=True, help="Wait for a missing file or session, and for the next recording.")
@output_options
def tail(
    source: str,
    session: str | None,
    stream: int | None,
    type_glob: str | None,
    verdict: str | None,
    verbose: bool,
    last: int | None,
    token: str | None,
    ca: Path | None,
    retry: bool,
    as_json: bool,
) -> None:
    """Print the last events of a recording, then new events as they arrive, until the recording ends or Ctrl-C.

    The source is a cassette, or the URL of a proxy with --control. Consecutive deltas (pieces of text) are one line.
    With --type, --verdict, --verbose or --json, each event has its own line.

    \b
    Example:
      omnirecord tail session.db --type 'response.*'
    """
    from ..analysis.follow.rows import Wanted
    from ..analysis.follow.tail import follow

    source, session = named_source(source, session)
    every = verbose or as_json or type_glob is not None or verdict is not None
    if last is None:
        last = LAST if every else LAST_FOLDED
    wanted = Wanted(session, stream, type_glob, verdict, requests=not as_json)
    if as_json:
        with suppress(KeyboardInterrupt):  # how to end it while the recording goes on: no error
            print_growing(follow(source, wanted, last=last, retry=retry, token=token, ca=ca, say=_say_aside))
        return
    from ..analysis.live import LiveView
    from .live import Screen

    screen = Screen()
    view = LiveView(every=every)
    with suppress(KeyboardInterrupt):
        rows = follow(
            source,
            wanted,
            last=last,
            retry=retry,
            token=token,
            ca=ca,
            say=lambda said: screen.say(f"-- {shown(said)}"),
            rest=lambda: screen.draw(view.growing(), now=True),
        )
        for row in rows:
            screen.print(view.lines_of(row))
            screen.draw(view.growing())
    screen.print(view.rest())


def _say_aside(sentence: str) -> None:
    """Print a sentence on stderr, since stdout is for a program."""
    if is_terminal(sys.stderr):
        click.echo(f"omnirecord: {shown(sentence)}", err=True)
