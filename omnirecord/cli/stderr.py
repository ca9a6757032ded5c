"""Output on stderr: log lines, and on a terminal the progress of work that takes longer than half a second.

A thread writes the log lines, so that a slow reader of stderr does not block the event loop. A pager, or a terminal
that is stopped with Ctrl-S, may read nothing more. With a plain handler, the next warning would block every stream.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import queue
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from threading import Timer
from typing import TYPE_CHECKING, TypeVar

from ..server.timers import Complaint, fault_of, monotonic
from ..text import visible
from .common import console, is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress

_MOST = 1000
"""Most waiting lines; further ones are counted, and the count is logged when there is room."""
_MOST_ALIKE = 100
"""Most lines per minute from one line of code; the next minute's first line has the count of further ones."""
_MINUTE = 60.0
_LAST_WORDS = 0.5
"""Seconds that the exit waits for them."""
_AFTER = 0.5
"""Seconds before progress is shown."""
_EVERY = 0.1
"""Seconds between two updates of the progress."""
T = TypeVar("T")


class _Alike:
    """The rate limit of one line of code, which a client may trigger very often."""

    def __init__(self) -> None:
        self.since = -math.inf
        self.lines = 0
        self.left_out = 0

    def admits(self, now: float) -> bool:
        """Whether another line may be written now. A new minute starts with `left_out` of the previous one."""
        if now - self.since >= _MINUTE:
            self.since = now
            self.lines = 0
        self.lines += 1
        self.left_out += self.lines > _MOST_ALIKE
        return self.lines <= _MOST_ALIKE


class Stderr(logging.Handler):
    """Writes to the descriptor itself: a thread that hangs in `sys.stderr` would keep the process from ending."""

    def __init__(self, clock: Callable[[], float] = monotonic, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._before = before
        self._clock = clock
        self._alike: defaultdict[tuple[str, int], _Alike] = defaultdict(_Alike)
        self._lines: queue.Queue[str] = queue.Queue(_MOST)
        self._lost = 0
        self._fd = sys.stderr.fileno()
        threading.Thread(target=self._write, name="omnirecord-stderr", daemon=True).start()
        atexit.register(self._flush)

    def emit(self, record: logging.LogRecord) -> None:
        alike = self._alike[record.pathname, record.lineno]
        if not alike.admits(self._clock()):
            return
        left_out = alike.left_out
        alike.left_out = 0
        before = f"omnirecord: {left_out} lines like the next one were left out\n" if left_out else ""
        try:
            self._lines.put_nowait(before + self.format(record))
        except queue.Full:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            lost = self._lost
            self._lost = 0
            if lost:
                line = f"omnirecord: {lost} lines more could not be written here in time\n{line}"
            try:
                self._before()
                write_all(self._fd, f"{line}\n".encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # stderr is closed
            finally:
                self._lines.task_done()

    def _flush(self) -> None:
        if left_out := sum(alike.left_out for alike in self._alike.values()):
            with suppress(queue.Full):
                self._lines.put_nowait(f"omnirecord: {left_out} lines like some of those before were left out")
        done = threading.Thread(target=self._lines.join, daemon=True)
        done.start()
        done.join(_LAST_WORDS)


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def handler(before: Callable[[], None] = lambda: None) -> logging.Handler:
    """The log handler for stderr; a plain one if stderr is no file, as in a test. `before` is called before each line,
    in the thread that writes it."""
    try:
        return Stderr(before=before)
    except (OSError, AttributeError, ValueError):
        return logging.StreamHandler()


def log_to_stderr(*, verbose: bool = True, before: Callable[[], None] = lambda: None) -> None:
    """Write the servers' log to stderr, one line per record. `before` is called before each line."""
    writer = handler(before)
    writer.setFormatter(_Harmless())
    log = logging.getLogger("omnirecord")
    log.handlers[:] = [writer]
    log.setLevel(logging.INFO if verbose else logging.WARNING)
    log.propagate = False
    library = logging.getLogger("asyncio")
    library.handlers[:] = [_OfAsyncio()]
    library.propagate = False


class _OfAsyncio(logging.Handler):
    """Logs at most one error of asyncio per minute, as a sentence."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._trouble = Complaint()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        said = f"{fault_of(error)}: " if isinstance(error, Exception) else ""
        self._trouble.say(f"{said}{record.getMessage().partition(chr(10))[0]} (the next such line comes in a minute)")


class _Harmless(logging.Formatter):
    """Formats a record as one line without control characters; a record with `has_lines` as lines, the further ones
    indented."""

    def format(self, record: logging.LogRecord) -> str:
        said = f"omnirecord: {record.getMessage()}"
        lines = said.split("\n") if getattr(record, "has_lines", False) else [said]
        said = "\n".join(
            visible(line if n == 0 or line.startswith("  ") else f"  {line}") for n, line in enumerate(lines)
        )
        return said if not record.exc_info else f"{said}\n{self.formatException(record.exc_info)}"


def progress(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items, with progress: a bar with percentage, rate and remaining time if the total is known; else a count."""
    if not is_terminal(sys.stderr):
        yield from items
        return
    with Bar(label, len(items) if total is None and isinstance(items, Sized) else total) as bar:
        for number, item in enumerate(items, 1):
            yield item
            bar.update(number)


class Bar:
    """Progress on a terminal. `rate`: the rate as text, if it is not that of the count."""

    def __init__(self, label: str, total: int | None, rate: Callable[[], str] | None = None) -> None:
        self._label = label
        self._total = total
        self._rate = rate
        self._begun = self._looked = monotonic()
        self._drawn: Progress | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn is not None:
            self._drawn.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the beginning, at least those between two updates."""
        return max(monotonic() - self._begun, _EVERY)

    def update(self, done: int) -> None:
        """Show how much is done, ten times a second at most."""
        if (now := monotonic()) - self._looked < _EVERY or not is_terminal(sys.stderr):
            return
        self._looked = now
        if self._drawn is None and now - self._begun >= _AFTER:
            self._drawn = _bar(self._total, self._rate)
            self._task = self._drawn.add_task(self._label, total=self._total)
            self._drawn.start()
        if self._drawn is not None:
            self._drawn.update(self._task, completed=done if self._total is None else min(done, self._total))


@contextmanager
def busy(label: str) -> Iterator[None]:
    """Show a label and the elapsed time while the block runs."""
    if not is_terminal(sys.stderr):
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    shown = Progress(*columns, console=console(stderr=True), transient=True)
    shown.add_task(label, total=None)
    timer = Timer(_AFTER, shown.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        shown.stop()


def _bar(total: int | None, rate: Callable[[], str] | None) -> Progress:
    from rich import progress as rich
    from rich.text import Text

    class Rate(rich.ProgressColumn):
        def render(self, task: rich.Task) -> Text:
            speed = task.finished_speed or task.speed
            text = "" if speed is None else f"{speed:,.0f}/s"
            return Text(text if rate is None else rate(), style="progress.data.speed")

    label = rich.TextColumn("{task.description}", markup=False)
    columns: list[rich.ProgressColumn] = (
        [rich.SpinnerColumn(), label, rich.TextColumn("{task.completed:,}"), Rate(), rich.TimeElapsedColumn()]
        if total is None
        else [label, rich.BarColumn(), rich.TaskProgressColumn(), Rate(), rich.TimeRemainingColumn()]
    )
    return rich.Progress(*columns, console=console(stderr=True), transient=True)
