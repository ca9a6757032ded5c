"""The live view's output: final lines, and on a terminal one line below them that still changes.

The changing line is drawn without a line end, and the cursor returns to its start, so that other output overwrites it.
Output that is no terminal gets only final lines, without control characters.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import IO

from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from ..analysis.live import Line
from ..server.timers import monotonic
from ..text import visible
from .common import console

STYLES = {
    "asked": "bold cyan", "said": "", "thought": "italic dim", "tool": "yellow", "approval": "magenta", "child": "blue",
    "trouble": "bold red", "warning": "yellow", "note": "dim", "end": "green",
}  # fmt: skip
_WIDEST = 120
"""Columns that a line uses at most."""
_EVERY = 0.1
"""Seconds between two drawings of a line that grows."""
_ERASE = Control((ControlType.ERASE_IN_LINE, 2))


class _Unbuffered:
    """A file that writes to a descriptor itself: a thread that hangs in it does not keep the process from ending."""

    encoding = "utf-8"

    def __init__(self, file: IO[str]) -> None:
        self._fd, self._file = file.fileno(), file
        self._encoding = getattr(file, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        data = text.encode(self._encoding, "backslashreplace")
        with suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._fd, data) :]
        return len(text)

    def flush(self) -> None:
        """Nothing is held."""

    def isatty(self) -> bool:
        return self._file.isatty()

    def fileno(self) -> int:
        return self._fd


class Screen:
    """Prints on stdout, or with `stderr` there. `clear` may be called by any thread."""

    def __init__(self, *, stderr: bool = False, unbuffered: bool = False) -> None:
        self._console = console(stderr=stderr)
        if unbuffered:
            with suppress(OSError, ValueError, AttributeError):
                self._console.file = _Unbuffered(self._console.file)  # type: ignore[assignment]
        self._grows = self._console.is_terminal and not self._console.is_dumb_terminal
        self._lock = threading.RLock()
        self._drawn_at, self._is_drawn = 0.0, False

    @property
    def _width(self) -> int | None:
        return min(self._console.width - 1, _WIDEST) if self._console.is_terminal else None

    def print(self, lines: Iterable[Line]) -> None:
        for told in lines:
            for line in told.lines(self._width):
                self._print(Text(line, style=STYLES[told.kind]))

    def say(self, sentence: str) -> None:
        """A sentence about the view itself."""
        self._print(Text(visible(sentence), style="dim"))

    def _print(self, text: Text) -> None:
        with self._lock, self._console:
            self._erase()
            self._console.print(text, soft_wrap=True)

    def draw(self, told: Line | None, *, now: bool = False) -> None:
        """Show the line that grows, ten times a second at most; at once with `now`."""
        if not self._grows or not (now or monotonic() - self._drawn_at >= _EVERY):
            return
        with self._lock, self._console:
            self._drawn_at = monotonic()
            self._erase()
            if told is not None:
                text = Text(told.line(self._width), style=STYLES[told.kind])
                self._console.print(text, soft_wrap=True, end="\r")
                self._is_drawn = True

    def clear(self) -> None:
        """Take away the line that grows."""
        with self._lock, self._console:
            self._erase()

    def _erase(self) -> None:
        if self._is_drawn:
            self._console.control(_ERASE)
            self._is_drawn = False
