"""Progress on stderr, if that is a terminal, of work that takes longer than half a second."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
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


def _bar(total: int | None) -> Progress:
    from rich import progress as rich
    from rich.text import Text

    from .common import console

    class Rate(rich.ProgressColumn):
        def render(self, task: rich.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed")

    label = rich.TextColumn("{task.description}", markup=False)
    columns: list[rich.ProgressColumn] = (
        [rich.SpinnerColumn(), label, rich.TextColumn("{task.completed:,}"), Rate(), rich.TimeElapsedColumn()]
        if total is None
        else [label, rich.BarColumn(), rich.TaskProgressColumn(), Rate(), rich.TimeRemainingColumn()]
    )
    return rich.Progress(*columns, console=console(stderr=True), transient=True)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
