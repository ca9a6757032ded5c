"""`verify` and `demo`: both servers at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..gist import visible
from ..temporary import TemporaryFolder
from .common import DATABASE, Failure, cassette_argument, decoded_option, is_terminal, json_option, print_rows, shown


@click.command(short_help="Replay a cassette, and compare bytes and timing.")
@cassette_argument
@click.option(
    "--timing", default="compressed", show_default=True, type=click.Choice(["original", "compressed", "instant"]),
    help="As for serve.",
)  # fmt: skip
@click.option("--speed", type=float, metavar="N", help="As for serve.")
@click.option("--max-gap", type=float, metavar="S", help="As for serve.")
@decoded_option
@json_option
def verify(cassette: Path, timing: str, speed: float | None, max_gap: float | None, as_json: bool) -> None:
    """Serve a cassette to itself, and compare every stream's bytes and timing with the recording.

    Exit code 1 where they differ.

    \b
    Example:
      omnirecord verify session.db --timing original
    """
    import asyncio

    from ..verify import verify as run

    try:
        result = asyncio.run(run(cassette, timing=timing, speed=speed, max_gap=max_gap))
    except* TimeoutError as group:
        raise Failure(f"the replay of {shown(cassette)} got stuck: {group.exceptions[0]}") from group
    if as_json:
        print_rows([result.row()])
    else:
        row = result.row()
        plural = "" if result.streams == 1 else "s"
        said = "equal" if result.equal else "different"
        click.echo(f"{result.streams} stream{plural}, {result.bytes} bytes: {said}")
        error = row["timing_error_ms"]
        click.echo(f"timing error: p50 {error['p50']} ms, p99 {error['p99']} ms, max {error['max']} ms")
        for difference in result.differences:
            click.echo(visible(difference))
    if not result.streams:
        click.echo(f"omnirecord: {shown(cassette)} holds no stream: there was nothing to verify", err=True)
    sys.exit(0 if result.equal and result.streams else 1)


@click.command(short_help="Replay, record, show and verify a shipped cassette.")
@click.option("--db", type=DATABASE, help="Keep the recording in this file (default: a temporary file).")
@decoded_option
@json_option
def demo(db: Path | None, as_json: bool) -> None:
    """Replay a shipped session, record it through the proxy, show it and verify it, without a network.

    \b
    Example:
      omnirecord demo
    """
    import asyncio

    from ..demo import demo as run
    from .screen import Screen

    screen = Screen(stderr=True, unbuffered=True) if is_terminal(sys.stderr) and not as_json else None
    say = (lambda _: None) if as_json else click.echo
    with TemporaryFolder("demo") as folder:
        result = asyncio.run(run(db or Path(folder) / "demo.db", say, screen, is_temporary=db is None))
    if as_json:
        print_rows([{"db": None if db is None else str(db), **result.row()}])
    sys.exit(0 if result.equal else 1)
