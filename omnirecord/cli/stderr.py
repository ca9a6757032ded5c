"""A logging handler that writes to stderr in a thread, so that a slow reader of stderr does not block the event loop.

A pager, or a terminal that is stopped with Ctrl-S, may read nothing more. With a plain handler, the next warning would
block the event loop, and every stream.
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
from collections.abc import Callable
from contextlib import suppress

from ..server.timers import monotonic

_MOST = 1000
"""Most waiting lines; further ones are counted, and the count is logged when there is room."""
_MOST_ALIKE = 100
"""Most lines per minute from one line of code; the next minute's first line has the count of further ones."""
_MINUTE = 60.0
_LAST_WORDS = 0.5
"""Seconds that the exit waits for them."""


class _Alike:
    """The rate limit of one line of code, which a client may trigger very often."""

    def __init__(self) -> None:
        self.since, self.lines, self.left_out = -math.inf, 0, 0

    def admits(self, now: float) -> bool:
        """Whether another line may be written now. A new minute starts with `left_out` of the previous one."""
        if now - self.since >= _MINUTE:
            self.since, self.lines = now, 0
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
        left_out, alike.left_out = alike.left_out, 0
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
            lost, self._lost = self._lost, 0
            if lost:
                line = f"omnirecord: {lost} lines more could not be written here in time\n{line}"
            try:
                self._before()
                _write_all(self._fd, f"{line}\n".encode("utf-8", "backslashreplace"))
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


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def handler(before: Callable[[], None] = lambda: None) -> logging.Handler:
    """The log handler for stderr; a plain one if stderr is no file, as in a test. `before` is called before each line,
    in the thread that writes it."""
    try:
        return Stderr(before=before)
    except (OSError, AttributeError, ValueError):
        return logging.StreamHandler()
