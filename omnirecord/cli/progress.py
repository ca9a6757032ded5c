"""Progress on stderr, if that is a terminal, of work that takes longer than half a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, TextIO, TypeVar

from ..server.timers import monotonic

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
AFTER = 0.5
"""Seconds before anything is shown."""
_EVERY = 0.1
"""Seconds between two updates."""


def progress(items: Iterable[T], label: str, total: int | None = None, after: float = AFTER) -> Iterator[T]:
    """The items, with progress: a bar with percentage, rate and remaining time if the total is known; else a count."""
    if not _is_terminal(sys.stderr):
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    begun = looked = monotonic()
    bar: Progress | None = None
    try:
        for number, item in enumerate(items, 1):
            yield item
            if (now := monotonic()) - looked < _EVERY:
                continue
            looked = now
            if bar is None and now - begun >= after:
                bar = _bar(total)
                task = bar.add_task(label, total=total)
                bar.start()
            if bar is not None:
                bar.update(task, completed=number if total is None else min(number, total))
    finally:
        if bar is not None:
            bar.stop()


@contextmanager
def busy(label: str, after: float = AFTER) -> Iterator[None]:
    """Show a label and the elapsed time while the block runs."""
    if not _is_terminal(sys.stderr):
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from .common import console

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    shown = Progress(*columns, console=console(stderr=True), transient=True)
    shown.add_task(label, total=None)
    timer = Timer(after, shown.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        shown.stop()


class Transfer:
    """A bar over bytes, with events per second and the remaining time."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done, self._events = label, total, 0, 0
        self._begun = self._looked = monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Transfer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, size: int, events: int) -> None:
        """Add bytes that are done. `events`: their number so far."""
        self._done, self._events = self._done + size, events
        if (now := monotonic()) - self._looked < _EVERY or not _is_terminal(sys.stderr):
            return
        self._looked = now
        if self._bar is None and now - self._begun >= AFTER:
            self._bar = _bar(self._total, self._rate)
            self._task = self._bar.add_task(self._label, total=self._total)
            self._bar.start()
        if self._bar is not None:
            self._bar.update(self._task, completed=min(self._done, self._total))

    def _rate(self) -> str:
        return f"{self._events / max(monotonic() - self._begun, _EVERY):,.0f} events/s"


def _bar(total: int | None, rate: Callable[[], str] | None = None) -> Progress:
    """`rate`: the rate as text, if it is not that of what the bar counts."""
    from rich import progress as rich
    from rich.text import Text

    from .common import console

    class Rate(rich.ProgressColumn):
        def render(self, task: rich.Task) -> Text:
            speed = task.finished_speed or task.speed
            text = rate() if rate is not None else "" if speed is None else f"{speed:,.0f}/s"
            return Text(text, style="progress.data.speed")

    label = rich.TextColumn("{task.description}", markup=False)
    columns: list[rich.ProgressColumn] = (
        [rich.SpinnerColumn(), label, rich.TextColumn("{task.completed:,}"), Rate(), rich.TimeElapsedColumn()]
        if total is None
        else [label, rich.BarColumn(), rich.TaskProgressColumn(), Rate(), rich.TimeRemainingColumn()]
    )
    return rich.Progress(*columns, console=console(stderr=True), transient=True)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
