"""What is logged on its way to stderr: behind a thread, so that nobody waits for whoever reads it.

A pager that was left open, or a terminal that was stopped with Ctrl-S, takes nothing more; with a plain handler the
next warning would hold up the event loop, and every stream with it.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
import threading

_MOST = 1000
"""Lines that may wait; what is more is counted, and said once there is room again."""
_LAST_WORDS = 0.5
"""Seconds that the end of the process waits for them."""


class Stderr(logging.Handler):
    """Writes to the descriptor itself: a thread that hangs in `sys.stderr` would keep the process from ending."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue(_MOST)
        self._lost = 0
        self._fd = sys.stderr.fileno()
        threading.Thread(target=self._write, name="omnirecord-stderr", daemon=True).start()
        atexit.register(self._flush)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
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
                _write_all(self._fd, f"{line}\n".encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # nobody is there any more
            finally:
                self._lines.task_done()

    def _flush(self) -> None:
        done = threading.Thread(target=self._lines.join, daemon=True)
        done.start()
        done.join(_LAST_WORDS)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def handler() -> logging.Handler:
    """What writes log records to stderr; in the plain way where that is no file, as in a test."""
    try:
        return Stderr()
    except (OSError, AttributeError, ValueError):
        return logging.StreamHandler()
