"""Lines for a person: finished ones below each other, and on a terminal one below them that grows.

The line that grows is drawn without an end, and the cursor goes back to its begin: other output that comes in between
stands in its place. Where the output is no terminal, there are only finished lines, without control characters.

A table that fits a terminal: wide columns are cut first, then columns are left out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO

from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from ..analysis.live import Line
from ..server.timers import monotonic
from ..text import clip, visible
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


Paint = Callable[[int, str, str], str]
"""Makes of a row's number, a column and its padded text what is printed."""


def fitted_table(
    rows: Sequence[Mapping[str, str]],
    columns: Sequence[str],
    width: int,
    *,
    least: Mapping[str, int],
    left_out: Sequence[str] = (),
    paint: Paint = lambda _row, _column, text: text,
) -> Iterator[str]:
    """Rows as aligned text with a head, in lines of at most `width`; control characters shown as escapes.

    `least`: columns that may be cut, each down to so many characters. `left_out`: columns that go where that is not
    enough, the first one first.
    """
    cells = [{column: visible(row[column]) for column in columns} for row in rows]
    widths = {column: max([len(column), *(len(row[column]) for row in cells)]) for column in columns}
    for gone in (None, *left_out):
        widths.pop(gone or "", None)
        fitting = _fitting(widths, width, least)
        if sum(fitting.values()) + 2 * (len(fitting) - 1) <= width:
            break
    heads = {column: column for column in columns}
    for number, row in enumerate([heads, *cells], -1):
        parts = (clip(row[column], size).ljust(size) for column, size in fitting.items())
        texts = [*parts]
        texts[-1] = texts[-1].rstrip()
        yield "  ".join(paint(number, column, text) for column, text in zip(fitting, texts, strict=True)).rstrip()


def _fitting(widths: Mapping[str, int], width: int, least: Mapping[str, int]) -> dict[str, int]:
    """The widths, those of `least` made smaller, the widest one first, as far as that is needed and allowed."""
    fitting = dict(widths)
    excess = sum(fitting.values()) + 2 * (len(fitting) - 1) - width
    while excess > 0:
        shrinkable = [column for column in fitting if fitting[column] > least.get(column, fitting[column])]
        if not shrinkable:
            break
        widest = max(shrinkable, key=fitting.__getitem__)
        fitting[widest] -= 1
        excess -= 1
    return fitting
