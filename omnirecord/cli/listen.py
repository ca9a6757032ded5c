"""Shared by `proxy`, `serve` and `ui`: the line that reports readiness, signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from ..text import visible
from .common import is_terminal, json_line

if TYPE_CHECKING:
    import asyncio

_STOPS_WITHIN = 9.0
"""Seconds between the first signal and the end of the process, at most."""


def print_ready(as_json: bool, sentence: str, row: dict[str, Any], token: str | None = None) -> None:
    """The one line on stdout that says connections are accepted. `token`: a generated token, to print once."""
    if token is not None:
        row["token"] = token
        say(f"requests below /-/omnirecord/ need: Authorization: Bearer {token}")
    click.echo(json_line(row) if as_json else visible(sentence))
    if sys.stdout is not None:  # closed by the parent process
        sys.stdout.flush()


def say(sentence: str) -> None:
    click.echo(f"omnirecord: {visible(sentence)}", err=True)


def say_lines(text: str) -> None:
    """Print a sentence, and further lines about it."""
    first, *further = text.split("\n")
    say(first)
    for line in further:
        click.echo(visible(line), err=True)


def print_parting(sentence: str) -> None:
    """Print the result at the end, on a new line after the ^C; without a terminal nothing."""
    if is_terminal(sys.stderr):
        click.echo(f"\n{visible(sentence)}", err=True)


def _last_resort(asked: SimpleQueue[None], is_stopped: threading.Event) -> None:
    """End the process some seconds after the first signal, even if it waits for a disk that never answers."""
    asked.get()
    if is_stopped.wait(_STOPS_WITHIN):
        return
    said = f"omnirecord: not stopped within {_STOPS_WITHIN:.0f} s: the process ends here, as if it was killed\n"
    with suppress(OSError):
        os.set_blocking(sys.stderr.fileno(), False)  # nothing waits for its reader
        os.write(sys.stderr.fileno(), said.encode())
    os._exit(1)


@contextmanager
def stop_signal(hurry: Callable[[], None], is_stopped: threading.Event | None = None) -> Iterator[asyncio.Event]:
    """An event that the first SIGINT, SIGTERM or SIGHUP sets. A second signal ends the process without waiting.

    The caller sets `is_stopped` to go on for longer than stopping may take.

    The event loop's own handlers are gone before the process is: a signal in between would change its exit code. So
    these are the system's, and once all is stopped, signals are ignored to the very end.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    asked: SimpleQueue[None] = SimpleQueue()  # reentrant, unlike an Event: a signal may interrupt this handler
    last_resort = [asked, is_stopped or threading.Event()]
    threading.Thread(target=_last_resort, args=last_resort, name="omnirecord-stop", daemon=True).start()

    def stop_or_hurry() -> None:
        if stop.is_set():
            hurry()
        stop.set()

    def ask(*_: object) -> None:
        asked.put(None)  # at once: an event loop that is busy takes its time
        loop.call_soon_threadsafe(stop_or_hurry)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]  # nohup
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    except BaseException:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise
    for number in before:
        signal.signal(number, signal.SIG_IGN)
