"""The limit of a test: it ends a test whose client does not send the request that the replay waits for.

A thread looks at the replay. Once the limit is over it notes what is shown of the test, and closes every connection, so
that a blocked client raises. A test that still does not end is interrupted by a signal, where that can be done.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from ..blocking import Server
from ..errors import ServerError
from ..steady import monotonic

_LOOKS = 20
"""Looks at the replay within the limit."""
GRACE = 3.0
"""Seconds that a test gets to end by itself, once its connections are closed."""
_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)


class Limit:
    """Watches `server` from `start` to `stop`. `seconds`: the limit; `section` makes what is shown of a failed test."""

    def __init__(self, server: Server, seconds: float, section: Callable[[], str]) -> None:
        self._server, self._seconds, self._make_section = server, seconds, section
        self._over, self._is_called = threading.Event(), False
        self._thread = threading.Thread(target=self._watch, name="omnirecord-limit", daemon=True)
        self._before: Any = None
        self._interrupts = self._is_suspended = self._has_cancelled = False
        self.section: str | None = None
        """What was to be shown when the limit was over."""
        self.reason: str | None = None
        """Why the test fails; None as long as the limit is not over."""

    def start(self) -> None:
        """Watch from now on. In the main thread, a test can be interrupted."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and _SIGNAL is not None and signal.getsignal(_SIGNAL) is signal.SIG_DFL:
            self._before, self._interrupts = signal.signal(_SIGNAL, self._interrupt), True
        self._thread.start()

    def call(self) -> None:
        """The test's own code begins: a client that does not even connect counts from now on."""
        self._is_called = True

    def suspend(self) -> None:
        """Watch no more: a person debugs this test."""
        self._is_suspended = True

    def stop(self) -> None:
        """Watch no more: the test has ended. Safe to call twice."""
        self._over.set()
        if self._interrupts:
            self._interrupts = False
            assert _SIGNAL is not None
            signal.signal(_SIGNAL, self._before)

    def _watch(self) -> None:
        waited, looked, opened = 0.0, monotonic(), 0
        try:
            while not self._over.wait(self._seconds / _LOOKS):
                standing = self._server.standing()
                before, looked = looked, monotonic()
                is_counted = standing.awaits and (standing.serves or self._is_called)
                if standing.opened != opened:
                    waited, opened = 0.0, standing.opened
                elif is_counted and not self._is_suspended:
                    waited += looked - before
                if waited >= self._seconds and standing.awaits:
                    self._end(standing.awaits)
                    self._press_on(GRACE if standing.serves else 0.0)
                    return
        except ServerError:
            return  # the server is gone, and says why itself

    def _end(self, awaits: str) -> None:
        said = f"the replay waited {self._seconds:g} s for {awaits}, and the client did not send it"
        if not self._server.requests:
            said = f"the client sent no request for {self._seconds:g} s; the replay waits for {awaits}"
        self.section = self._make_section()
        self.reason = (
            f"{said}. The replay then closed its connections. gate_timeout=S sets this limit, 0 means none;"
            " skip_gates_after=S goes on without the request."
        )
        self._server.release()

    def _press_on(self, grace: float) -> None:
        """Interrupt the test until it ends, the first time after so many seconds."""
        main = threading.main_thread().ident
        while not self._over.wait(grace) and self._interrupts and not self._is_suspended:
            signal.pthread_kill(main or 0, _SIGNAL or 0)
            grace = GRACE

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """In the main thread: cancel what waits in an event loop, so that the test's lines are shown; else raise."""
        __tracebackhide__ = True
        if not self._interrupts or self._over.is_set():
            return
        if not self._has_cancelled and (loop := _waiting_loop()) is not None:
            self._has_cancelled = True
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # wakes it
            return
        raise pytest.fail.Exception(f"omnirecord: {self.reason}")


def _waiting_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread, if no task of it runs at this moment."""
    try:
        loop = asyncio.get_running_loop()
        return loop if asyncio.current_task(loop) is None else None
    except RuntimeError:
        return None
