"""`serve`: a server that answers as the recorded one did.

On a terminal, keys control it, as in asciinema: space pauses, `.` steps, `+` and `-` change the speed.
To add an option, see `omnirecord.options`.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..text import counted
from . import last_resort
from .arguments import by_name, cassette_argument, shown
from .common import is_terminal, output_options
from .listen import print_parting, print_ready, say, say_lines, stop_signal
from .options import of_recorder, of_replay, place_options, refuse_without_recording, replay_arguments
from .settings import one_each, reads_settings
from .stderr import busy, log_to_stderr

if TYPE_CHECKING:
    from asyncio import Task

    from ..replayer.beyond import Served
    from ..replayer.control import PlayheadControl
    from ..replayer.player import Position
    from ..replayer.server import Replay

_SETTINGS = ("timing", "speed", "max_gap", "gates", "skip_gates_after", "match")
"""Its settings, beside the address."""
_OF_RECORDING = ("ca", "insecure", "no_proxy", "labels", "redact", "redact_patterns", "pseudonym_key")
"""The options of a recording, which `--record` makes."""
_KEYS = "keys: space pauses, . steps to the next event, + and - change the speed"


@click.command()
@cassette_argument
@of_replay("listens")
@place_options
@of_replay(
    "timing",
    "speed",
    "max_gap",
    "gates",
    "no_gate",
    "skip_gates_after",
    "only",
    "match",
    "faults",
    "chunks",
    "resume",
    "loop",
    "web_ui",
    "record",
    "upstream",
    "output",
)
@reads_settings(
    {"listens": ("host", "port"), **one_each(_SETTINGS)},
    unused=lambda given: _OF_RECORDING if given["record"] == "none" else (),
)
@of_recorder(*_OF_RECORDING)
@output_options
def serve(as_json: bool, **given: Any) -> None:
    """Replay a cassette as a server, which sends the recorded answers.

    The replay keeps the recorded gaps between events. Where the recorded client sent a message, the replay waits
    until your client sends the same message. A request that was not recorded gets a 404, which lists the most similar
    recorded requests. The replay connects to another server only with --record.

    On a terminal, space pauses the replay. `.` steps to the next event. + and - change the speed. Ctrl-C stops the
    replay.

    \b
    Examples:
      omnirecord serve session.db --timing compressed
      omnirecord serve agent.db --record new_episodes --upstream model=https://api.openai.com -o agent-2.db
    """
    import asyncio

    from ..episodes.replay import replay
    from ..server.accept import raise_limit
    from ..wire.limits import checked_seconds

    log_to_stderr()
    if given["skip_gates_after"] is not None:
        checked_seconds("skip-gates-after", given["skip_gates_after"])
    raise_limit()
    recording = {name: given.pop(name) for name in _OF_RECORDING}
    if given["record"] == "none":
        refuse_without_recording({"--upstream": given["upstream"], "-o": given["output"], **recording})
        server = replay(**replay_arguments(given))
    else:
        server = replay(**replay_arguments(given), recording=recording)
        server.logs_misses = False
        server.on_request = _print_source
    server.used_by = "serve"
    asyncio.run(_run_replay(server, as_json))
    if server.is_incomplete:
        sys.exit(1)


def _print_source(_hop: str | None, served: Served) -> None:
    from ..replayer.verdict import told_source

    say_lines(told_source(served))


async def _run_replay(server: Replay, as_json: bool) -> None:
    with stop_signal(server.hurry) as stop:
        async with AsyncExitStack() as running:
            with busy(f"reading {shown(server.cassette)}"):
                await running.enter_async_context(server)
            from ..server.timers import reduce_gc

            reduce_gc()
            keys = Keys([server, *server.further.values()], say)
            hop = "" if server.only is None else f"the hop {server.only} of "
            row: dict[str, Any] = {"url": server.url, "cassette": by_name(str(server.cassette))}
            if server.urls:
                row["urls"] = dict(server.urls)
            further = {name: url for name, url in server.urls.items() if url != server.url}
            places = [server.url, *(f"{name} at {url}" for name, url in further.items())]
            sentence = f"serving {hop}{shown(server.cassette)} at {', '.join(places)}"
            if (into := server.records_into) is not None:
                row["db"] = str(into)
                sentence += f"; what it does not have is recorded into {shown(into)}"
            print_ready(as_json, sentence, row, server.made_token)
            with listening(keys.press) as listens:
                if listens and is_terminal(sys.stderr):
                    if server.page:
                        say(f"a browser sees {server.page}")
                    say(_KEYS)
                await stop.wait()
            keys.close()
        if server.records_into is not None:
            from ..replayer.verdict import verdict_of

            say(verdict_of(server, by_name(str(server.cassette)), into=by_name(str(server.records_into))).counts)
            return
        unmatched = sum(len(one.unmatched) for one in server.hops)
        print_parting(f"{counted(len(server.served), 'request')}, {unmatched} unmatched")


class Keys:
    """What each key does to the replays of one cassette; a step is for the first. `say` prints the result."""

    def __init__(self, controls: Sequence[PlayheadControl], say: Callable[[str], None]) -> None:
        self._control = controls[0]
        self._controls = controls
        self._say = say
        self._stepping: Task[None] | None = None

    def press(self, key: str) -> None:
        """Run the action of a key; other keys do nothing."""
        from asyncio import ensure_future

        try:
            if key == " " and self._control.paused:
                self.close()
                for control in self._controls:
                    control.play()
                self._say("playing")
            elif key == " ":
                for control in self._controls:
                    control.pause()
                self._say("paused: space plays on, . steps")
            elif key == "." and (self._stepping is None or self._stepping.done()):  # one step at a time
                self._stepping = ensure_future(self._step())
            elif key in ("+", "=", "-"):
                speed = self._control.speed * (0.5 if key == "-" else 2.0)
                for control in self._controls:
                    control.set_speed(speed)
                self._say(f"speed {self._control.speed:g}")
        except UsageError as error:
            self._say(str(error))

    async def _step(self) -> None:
        try:
            self._say(_told(await self._control.step()))
        except UsageError as error:
            self._say(str(error))

    def close(self) -> None:
        """Cancel the waiting step."""
        if self._stepping is not None:
            self._stepping.cancel()


def _told(position: Position) -> str:
    after = f", then {position.next}" if position.next else ""
    waits = f", waiting for {position.waits_for}" if position.waits_for else ""
    return f"{position.at_s:.2f} s: {position.type or 'no event'} ({position.stream}:{position.seq}){after}{waits}"


@contextmanager
def listening(press: Callable[[str], None]) -> Iterator[bool]:
    """Pass on the keys typed on stdin. Yields whether stdin is a terminal in the foreground.

    The system stops a background process (Ctrl-Z and `bg`) that reads from the terminal or changes its settings.
    """
    import asyncio

    settings = _settings()
    if settings is None:
        yield False
        return
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def take() -> None:
        """Read single keys, if the process is in the foreground. Called again after each continue."""
        loop.remove_reader(descriptor)
        if _is_ours(descriptor):
            with suppress(termios.error):  # the terminal is gone
                tty.setcbreak(descriptor, termios.TCSANOW)  # Ctrl-C stays Ctrl-C
            loop.add_reader(descriptor, read)

    def read() -> None:
        try:
            typed = os.read(descriptor, 64) if _is_ours(descriptor) else b""
        except OSError:
            typed = b""
        if not typed:
            loop.remove_reader(descriptor)  # the terminal is gone, or another job's
        for key in typed.decode("utf-8", "replace"):
            press(key)

    def continued(*_: object) -> None:
        last_resort.call_off()
        loop.call_soon_threadsafe(take)

    take()
    before = signal.signal(signal.SIGCONT, continued)  # asyncio's own handlers would replace the last resort
    try:
        yield True
    finally:
        signal.signal(signal.SIGCONT, before)
        loop.remove_reader(descriptor)
        if _is_ours(descriptor):
            with suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSANOW, settings)


def _settings() -> list[Any] | None:
    """The terminal's settings; None if stdin is no terminal, or belongs to another job."""
    try:
        is_one = sys.stdin.isatty() and _is_ours(sys.stdin.fileno())
        return termios.tcgetattr(sys.stdin.fileno()) if is_one else None
    except (AttributeError, OSError, ValueError, termios.error):  # closed, or no terminal after all
        return None


def _is_ours(descriptor: int) -> bool:
    """Whether the process is in the foreground of this terminal."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
