"""`verify`: a replay of a cassette, compared with the recording."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..text import counted, visible
from .arguments import cassette_argument, shown
from .common import output_options, print_lines, print_rows
from .group import Failure
from .options import of_replay

_ERRORS = {
    "timing_error_ms": "timing error",
    "first_byte_error_ms": "error of the time to the first byte",
    "first_event_error_ms": "error of the time to the first event",
}


@click.command()
@cassette_argument
@of_replay("timing", "speed", "max_gap", timing={"default": "compressed"})
@output_options
def verify(cassette: Path, timing: str, speed: float | None, max_gap: float | None, as_json: bool) -> None:
    """Replay a cassette, and compare the bytes and times of every stream with the recording.

    The answers to model calls that are no streams are compared, too. Exit code 1 if bytes differ, if the cassette lacks
    some, or if it contains neither a stream nor a model call.

    \b
    Example:
      omnirecord verify session.db --timing original
    """
    import asyncio

    from ..replayer.verify import verify as run

    try:
        result = asyncio.run(run(cassette, timing=timing, speed=speed, max_gap=max_gap))
    except TimeoutError as stuck:
        raise Failure(f"the replay of {shown(cassette)} did not finish: {stuck}") from stuck
    row = result.row()
    if as_json:
        print_rows([row])
    else:
        same = "a part cannot be compared" if result.missing else "equal"
        said = "different" if result.differences else same
        compared = [counted(result.streams, "stream")] if result.streams or not result.calls else []
        compared += [counted(result.calls, "plain answer")] if result.calls else []
        click.echo(f"{', '.join(compared)}, {result.bytes} bytes: {said}")
        for key, what in _ERRORS.items():
            if result.streams and (error := row[key]) is not None:
                click.echo(f"{what}: p50 {error['p50']} ms, p99 {error['p99']} ms, max {error['max']} ms")
        print_lines(map(visible, [*result.differences, *result.missing]))
    is_empty = not result.streams and not result.calls
    if is_empty:
        click.echo(f"omnirecord: {shown(cassette)} holds no stream: there was nothing to verify", err=True)
    sys.exit(0 if result.equal and not is_empty else 1)
