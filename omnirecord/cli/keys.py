"""Keys on a terminal while `serve` runs, as in asciinema: space pauses, `.` steps, `+` and `-` change the speed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import UsageError
from ..replayer.control import PlayheadControl
from ..replayer.player import Position

HELP = "keys: space pauses, . steps to the next event, + and - change the speed"


class Keys:
    """What each key does to a replay. `say` prints the result."""

    def __init__(self, control: PlayheadControl, say: Callable[[str], None]) -> None:
        self._control = control
        self._say = say
        self._stepping: asyncio.Task[None] | None = None

    def press(self, key: str) -> None:
        """Run the action of a key; other keys do nothing."""
        try:
            if key == " ":
                self._pause_or_play()
            elif key == "." and (self._stepping is None or self._stepping.done()):  # one step at a time
                self._stepping = asyncio.ensure_future(self._step())
            elif key in ("+", "=", "-"):
                self._control.set_speed(self._control.speed * (0.5 if key == "-" else 2.0))
                self._say(f"speed {self._control.speed:g}")
        except UsageError as error:
            self._say(str(error))

    def _pause_or_play(self) -> None:
        if self._control.paused:
            self.close()
            self._control.play()
            self._say("playing")
        else:
            self._control.pause()
            self._say("paused: space plays on, . steps")

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
    """Pass on the keys typed on stdin. Yields whether stdin is a terminal in the foreground."""
    settings = _settings()
    if settings is None:
        yield False
        return
    terminal, loop = _Terminal(sys.stdin.fileno(), settings, press), asyncio.get_running_loop()
    terminal.take()
    loop.add_signal_handler(signal.SIGCONT, terminal.take)
    try:
        yield True
    finally:
        loop.remove_signal_handler(signal.SIGCONT)
        terminal.give_back()


class _Terminal:
    """The controlling terminal of this process.

    The system stops a background process (Ctrl-Z and `bg`) that reads from the terminal or changes its settings.
    """

    def __init__(self, descriptor: int, settings: list[Any], press: Callable[[str], None]) -> None:
        self._descriptor, self._settings, self._press = descriptor, settings, press
        self._loop = asyncio.get_running_loop()

    def take(self) -> None:
        """Read single keys, if the process is in the foreground. Called again after each continue."""
        self._loop.remove_reader(self._descriptor)
        if _is_ours(self._descriptor):
            keys = self._settings[3] & ~(termios.ICANON | termios.ECHO)  # Ctrl-C stays Ctrl-C
            self._set([*self._settings[:3], keys, *self._settings[4:]])
            self._loop.add_reader(self._descriptor, self._read)

    def give_back(self) -> None:
        """Restore the terminal's settings."""
        self._loop.remove_reader(self._descriptor)
        if _is_ours(self._descriptor):
            self._set(self._settings)

    def _set(self, settings: list[Any]) -> None:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(self._descriptor, termios.TCSANOW, settings)

    def _read(self) -> None:
        try:
            typed = os.read(self._descriptor, 64) if _is_ours(self._descriptor) else b""
        except OSError:
            typed = b""
        if not typed:
            self._loop.remove_reader(self._descriptor)  # the terminal is gone, or another job's
        for key in typed.decode("utf-8", "replace"):
            self._press(key)


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
