"""Waking somebody at a time of the kernel's steady clock, a tenth of a millisecond late.

An event loop counts in whole milliseconds, and rounds up: what waits for its timers is one to two late, and with uvloop
it may be early. Here one timer of the kernel (`timerfd_create(2)`) is set to the next time, and the loop waits for it
as for a socket: nothing is polled, and nobody sleeps short of the time to wait out the rest. Where there is none, the
loop's timers have to do.

The kernel's steady clock. It goes on where a test has frozen those of Python: servers of ours run beside such tests,
and a recording made beside one has its times.

Something that goes on being wrong, said when it begins, once a minute at the most, and when it is over.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # commands without a server do not load asyncio
    import asyncio


def monotonic() -> float:
    """Seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def monotonic_ns() -> int:
    """Nanoseconds, of the same clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


_NS = 1_000_000_000
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_FEW = 64


class Timer(Protocol):
    """A file that can be read from a time on."""

    fd: int

    def set(self, at_ns: int) -> None:
        """To be readable from then on, and not before; 0: never."""
        ...


class _Native:
    """From Python 3.13 on."""

    def __init__(self) -> None:
        self.fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)  # type: ignore[attr-defined,unused-ignore]

    def set(self, at_ns: int) -> None:
        os.timerfd_settime_ns(self.fd, flags=_ABSOLUTE, initial=at_ns)  # type: ignore[attr-defined,unused-ignore]


class _Libc:
    """The same by the C library."""

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


def timer() -> Timer | None:
    """A timer of the kernel; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return _Native() if sys.version_info >= (3, 13) else _Libc()
    except OSError:  # no file to spare
        return None


class Alarms:
    """All that wait in one event loop; its length is how many are remembered. To be closed.

    `make`: makes the timer, or gives None where the loop's have to do.
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
        """Give it its result at that time, unless it is done before."""
        loop = sleeper.get_loop()
        if (watch := self._ready(loop)) is None:
            handle = loop.call_later((at_ns - monotonic_ns()) / _NS, wake, sleeper)  # the past keeps its order
            sleeper.add_done_callback(lambda _: handle.cancel())
            return
        if len(self._waiting) > self._many:
            self._forget_the_woken()
        heappush(self._waiting, (at_ns, next(self._count), sleeper))
        if not self._set_to or at_ns < self._set_to:
            self._set(watch, at_ns)

    def __len__(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """Wake nobody any more. Twice is fine."""
        self._closed = True
        self._waiting.clear()
        if self._timer is not None:
            self._loop.remove_reader(self._timer.fd)
            os.close(self._timer.fd)
            self._timer = None

    def _ready(self, loop: asyncio.AbstractEventLoop) -> Timer | None:
        if not self._asked and not self._closed:
            self._asked, self._loop, self._timer = True, loop, self._make()
            if self._timer is not None:
                loop.add_reader(self._timer.fd, self._ring)
        return self._timer

    def _set(self, watch: Timer, at_ns: int) -> None:
        self._set_to = at_ns
        watch.set(at_ns)

    def _ring(self) -> None:
        """Wake those whose time has come, and set the timer to the next one's; which has it readable no more."""
        now = monotonic_ns()
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][2].done()):
            wake(heappop(self._waiting)[2])
        if self._timer is not None:
            self._set(self._timer, self._waiting[0][0] if self._waiting else 0)

    def _forget_the_woken(self) -> None:
        """Those who were woken by something else stay until their time: not too many of them."""
        self._waiting = [one for one in self._waiting if not one[2].done()]
        heapify(self._waiting)
        self._many = max(_FEW, 2 * len(self._waiting))


def wake(sleeper: asyncio.Future[None]) -> None:
    """Let it go on, unless it has been woken or has given up."""
    if not sleeper.done():
        sleeper.set_result(None)


EVERY = 60.0
"""Seconds."""

log = logging.getLogger("omnirecord")


class Complaint:
    """One kind of trouble. What comes and goes within a minute is told once, and so is its end."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told_at: float | None = None
        self._is_told = False

    def say(self, sentence: str) -> bool:
        """It is wrong, or still is. Returns whether that is said now."""
        now = self._clock()
        if self._told_at is not None and now - self._told_at < EVERY:
            return False
        self._told_at, self._is_told = now, True
        log.warning("%s", sentence)
        return True

    def over(self, sentence: str) -> bool:
        """It is no longer. Returns whether that is said now."""
        if not self._is_told:
            return False
        self._is_told = False
        log.warning("%s", sentence)
        return True


def fault_of(error: Exception) -> str:
    """Why a step of the recording failed, in words."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    return f"a fault of omnirecord: {type(error).__name__}: {error}"
