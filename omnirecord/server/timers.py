"""The monotonic clock, timers that are exact to a tenth of a millisecond, and warnings at most once a minute.

The settings of the garbage collector are here too, because a collection pauses every thread.

The clock is the kernel's: it goes on while a test freezes Python's clocks, because servers run beside such tests.

The timers of an event loop round up to whole milliseconds; those of uvloop may be early. `Timers` sets one kernel timer
(`timerfd_create(2)`) to the next time, and the event loop waits for it like for a socket. On systems without one, the
event loop's own timers are used.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands without a server do not load asyncio
    import asyncio


def monotonic() -> float:
    """Return the time in seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def monotonic_ns() -> int:
    """Return the time of the same clock in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


_NS = 1_000_000_000
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_FEW = 64


class _Native:
    """Python's own `timerfd`, since 3.13: a file descriptor that becomes readable at a set time."""

    def __init__(self) -> None:
        self.fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]

    def set(self, at_ns: int) -> None:
        """Set the time, in ns; 0: never."""
        os.timerfd_settime_ns(self.fd, flags=_ABSOLUTE, initial=at_ns)  # type: ignore[attr-defined,unused-ignore]


class _Libc:
    """The `timerfd` of the C library."""

    _FLAGS = os.O_NONBLOCK | os.O_CLOEXEC

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._checked(self._libc.timerfd_create(time.CLOCK_MONOTONIC, self._FLAGS))

    def set(self, at_ns: int) -> None:
        times = (ctypes.c_long * 4)(0, 0, *divmod(at_ns, _NS))  # struct itimerspec: no interval, then the time
        self._checked(self._libc.timerfd_settime(self.fd, _ABSOLUTE, times, None))

    def _checked(self, result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), "timerfd")
        return result


Timer = _Native | _Libc


def timer() -> Timer | None:
    """Return a kernel timer; None if the system has none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return _Native() if sys.version_info >= (3, 13) else _Libc()
    except OSError:  # no descriptor left
        return None


class Timers:
    """Sets futures of one event loop at given times. Its length is the number of waiting futures. Has to be closed.

    `make` returns the kernel timer, or None to use those of the event loop.
    """

    def __init__(self, make: Callable[[], Timer | None] = timer) -> None:
        self._make = make
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap
        self._count = count()
        self._timer: Timer | None = None
        self._set_to = 0
        self._many = _FEW
        self._closed = self._asked = False

    def wake(self, sleeper: asyncio.Future[None], at_ns: int) -> None:
        """Set the future's result at that time, in ns, unless it is done before."""
        loop = sleeper.get_loop()
        if not self._asked and not self._closed:
            self._asked = True
            self._loop = loop
            self._timer = self._make()
            if self._timer is not None:
                loop.add_reader(self._timer.fd, self._ring)
        if self._timer is None:
            handle = loop.call_later((at_ns - monotonic_ns()) / _NS, wake, sleeper)  # the past keeps its order
            sleeper.add_done_callback(lambda _: handle.cancel())
            return
        if len(self._waiting) > self._many:  # drop those that were set by something else
            self._waiting = [one for one in self._waiting if not one[2].done()]
            heapify(self._waiting)
            self._many = max(_FEW, 2 * len(self._waiting))
        heappush(self._waiting, (at_ns, next(self._count), sleeper))
        if not self._set_to or at_ns < self._set_to:
            self._set_to = at_ns
            self._timer.set(at_ns)

    def __len__(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """Set no more futures. Safe to call twice."""
        self._closed = True
        self._waiting.clear()
        if self._timer is not None:
            self._loop.remove_reader(self._timer.fd)
            os.close(self._timer.fd)
            self._timer = None

    def _ring(self) -> None:
        """Set the futures that are due, and set the timer to the next time, which makes it unreadable."""
        now = monotonic_ns()
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][2].done()):
            wake(heappop(self._waiting)[2])
        if self._timer is not None:
            self._set_to = self._waiting[0][0] if self._waiting else 0
            self._timer.set(self._set_to)


def wake(sleeper: asyncio.Future[None]) -> None:
    """Set the future's result, unless it is done or cancelled."""
    if not sleeper.done():
        sleeper.set_result(None)


EVERY = 60.0
"""Seconds between two warnings of one kind."""

log = logging.getLogger("omnirecord")


class Complaint:
    """Warns of one kind of trouble: when it begins, at most once in `EVERY` seconds, and when it ends."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told_at: float | None = None
        self._is_told = False

    def say(self, sentence: str) -> bool:
        """Log a warning that the trouble is there. Return whether it was logged."""
        now = self._clock()
        if self._told_at is not None and now - self._told_at < EVERY:
            return False
        self._told_at = now
        self._is_told = True
        log.warning("%s", sentence)
        return True

    def over(self, sentence: str) -> bool:
        """Log that the trouble has ended, if it was logged. Return whether it was."""
        if not self._is_told:
            return False
        self._is_told = False
        log.warning("%s", sentence)
        return True


def fault_of(error: Exception) -> str:
    """Return in words why a step of the recording failed."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    return f"a fault of omnirecord: {type(error).__name__}: {error}"


GC_THRESHOLD = 20_000
"""New objects before a garbage collection; Python's default is 700 to 2,000."""


@contextmanager
def without_gc() -> Iterator[None]:
    """Pause garbage collection. While modules are imported, it takes a tenth of the time and finds nothing."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def reduce_gc(threshold: int = GC_THRESHOLD) -> None:
    """Exclude all existing objects from garbage collection, and collect less often: with the defaults, a collection
    takes 20 to 40 ms every few seconds. The objects of the start stay. Those of an event, a stream or a client have no
    reference cycles, but the traceback of an error has some. Only for processes of ours: a library must not change it
    for a program."""
    gc.freeze()
    gc.set_threshold(threshold, 20, 10)
