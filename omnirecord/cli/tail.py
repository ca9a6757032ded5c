"""`tail`: a recording followed while it is made."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..cassette import VERDICTS
from .common import NAMED, decoded_option, fitted, is_terminal, json_option, named_source, print_rows, shown
from .reading import event_lines


@click.command(short_help="Follow a recording while it is made.")
@click.argument("source", metavar="CASSETTE|URL", type=NAMED)
@click.option("--session", metavar="ID", help="Only streams of this session; may be shortened.")
@click.option("--stream", type=int, metavar="N", help="Only this stream.")
@click.option("--type", "type_glob", metavar="GLOB", help="Only events of these types, as in 'response.*'.")
@click.option("--verdict", type=click.Choice(VERDICTS), help="Only events with this verdict.")
@click.option(
    "-n", "--last", type=click.IntRange(min=0), default=10, show_default=True, metavar="N",
    help="How many events are shown of what was there before.",
)  # fmt: skip
@click.option(
    "--token", envvar="OMNIRECORD_TOKEN", show_envvar=True, metavar="TOKEN",
    help="What a proxy asks for that is reachable from elsewhere; it printed it when it started.",
)  # fmt: skip
@click.option(
    "--ca", type=click.Path(readable=False, path_type=Path), metavar="FILE",
    help="Who has to vouch for a proxy with https; PEM.",
)  # fmt: skip
@click.option("--retry", is_flag=True, help="Wait for what is not there yet, and for the next recording.")
@decoded_option
@json_option
def tail(
    source: str, session: str | None, stream: int | None, type_glob: str | None, verdict: str | None, last: int,
    token: str | None, ca: Path | None, retry: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show the last events, then each as it is recorded, until nobody records any more or Ctrl-C.

    By the file, or by the address of a proxy that was started with --control.

    \b
    Example:
      omnirecord tail session.db --type 'response.*'
    """
    try:
        from ..tailing import Wanted, follow

        source, session = named_source(source, session)
        wanted, say = Wanted(session, stream, type_glob, verdict), _say_aside if as_json else _say
        rows = follow(source, wanted, last=last, retry=retry, token=token, ca=ca, say=say)
        if as_json:
            print_rows(rows)
        else:
            for line in event_lines(rows, empty=""):
                click.echo(fitted(line))
    except KeyboardInterrupt:
        pass  # the one way to end it while the recording goes on: nothing is wrong


def _say(sentence: str) -> None:
    click.echo(f"-- {shown(sentence)}")


def _say_aside(sentence: str) -> None:
    """Where programs read stdout: for a person, if there is one."""
    if is_terminal(sys.stderr):
        click.echo(f"omnirecord: {shown(sentence)}", err=True)
