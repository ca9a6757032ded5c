"""The limit of a test: it ends a test whose client does not send the request that the replay waits for.

A thread checks the replay. When the limit is over, it keeps the section of the failed test and closes every connection,
so that a blocked client raises. A test that still does not end is interrupted by a signal, if it runs in the main
thread.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ..errors import ServerError
from ..replayer.blocking import Server
from ..server.timers import monotonic
from .recording import section

_LOOKS = 20
"""Checks of the replay within the limit."""
GRACE = 3.0
"""Seconds for a test to end by itself after its connections are closed."""
_NAME = "omnirecord-limit"
_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)


class Limit:
    """Watches `server` from `start` to `stop`. `seconds`: the limit; `section` returns the section of a failed test."""

    def __init__(self, server: Server, seconds: float, section: Callable[[], str]) -> None:
        self._server, self._seconds, self._make_section = server, seconds, section
        self._over = threading.Event()
        self.is_called = self.is_suspended = False
        """Whether the test's code has begun, so that a client that does not connect counts; whether it is debugged."""
        self._thread = threading.Thread(target=self._watch, name="omnirecord-limit", daemon=True)
        self._before: Any = None
        self._interrupts = self._has_cancelled = False
        self.section: str | None = None
        """The section of the test when the limit was over."""
        self.reason: str | None = None
        """Why the test fails; None until the limit is over."""

    def start(self) -> None:
        """Start watching. A test in the main thread can be interrupted."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and _SIGNAL is not None and signal.getsignal(_SIGNAL) is signal.SIG_DFL:
            self._before, self._interrupts = signal.signal(_SIGNAL, self._interrupt), True
        self._thread.start()

    def stop(self) -> None:
        """Stop watching: the test has ended. Safe to call twice."""
        self._over.set()
        if self._interrupts:
            self._interrupts = False
            assert _SIGNAL is not None
            signal.signal(_SIGNAL, self._before)

    def _watch(self) -> None:
        waited, looked, opened = 0.0, monotonic(), 0
        try:
            while not self._over.wait(self._seconds / _LOOKS):
                wait_state = self._server.wait_state()
                before, looked = looked, monotonic()
                is_counted = wait_state.awaits and (wait_state.serves or self.is_called)
                if wait_state.opened != opened:
                    waited, opened = 0.0, wait_state.opened
                elif is_counted and not self.is_suspended:
                    waited += looked - before
                if waited >= self._seconds and wait_state.awaits:
                    self._end(wait_state.awaits)
                    self._press_on(GRACE if wait_state.serves else 0.0)
                    return
        except ServerError:
            return  # the server has ended, and reports why

    def _end(self, awaits: str) -> None:
        said = f"the replay waited {self._seconds:g} s for {awaits}, and the client did not send it"
        if not self._server.requests:
            said = f"the client sent no request for {self._seconds:g} s; the replay waits for {awaits}"
        self.section = self._make_section()
        self.reason = (
            f"{said}. The replay then closed its connections. gate_timeout=S sets this limit, 0 means none;"
            " skip_gates_after=S continues without the request."
        )
        self._server.release()

    def _press_on(self, grace: float) -> None:
        """Interrupt the test until it ends, first after `grace` seconds."""
        main = threading.main_thread().ident
        while not self._over.wait(grace) and self._interrupts and not self.is_suspended:
            signal.pthread_kill(main or 0, _SIGNAL or 0)
            grace = GRACE

    def _interrupt(self, _number: int, frame: FrameType | None) -> None:
        """Cancel the tasks of a waiting event loop, so that the failure shows the test's lines; else raise. Main thread
        only. A callback of a weak reference swallows what is raised in it: the next signal raises then."""
        __tracebackhide__ = True
        if not self._interrupts or self._over.is_set() or swallows(frame):
            return
        if not self._has_cancelled and (loop := _waiting_loop()) is not None:
            self._has_cancelled = True
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # wakes it
            return
        raise pytest.fail.Exception(f"omnirecord: {self.reason}")


def swallows(frame: FrameType | None) -> bool:
    """Return whether an exception that is raised in this frame may be lost."""
    return frame is not None and frame.f_globals.get("__name__") in ("weakref", "_weakrefset")


_LIMIT = pytest.StashKey[Limit]()


class _Hooks:
    """Hooks of runs with a limit: a run without one does not pay for them."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Fail a test whose limit is over, even if its client handles the error."""
        __tracebackhide__ = True
        limit = item.stash.get(_LIMIT, None)
        if limit is None:
            return (yield)
        limit.is_called = True
        try:
            yield
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:
            limit.stop()
            if limit.reason is None or limit.reason in str(error):
                raise
            raise pytest.fail.Exception(f"omnirecord: {limit.reason}") from error
        finally:
            limit.stop()
        if limit.reason is not None:
            raise pytest.fail.Exception(f"omnirecord: {limit.reason}", pytrace=False)

    @pytest.hookimpl
    def pytest_enter_pdb(self, config: pytest.Config) -> None:
        """Suspend the limit while a test is debugged."""
        if (limit := config.stash.get(_LIMIT, None)) is not None:
            limit.is_suspended = True


@contextmanager
def limited(item: pytest.Item, server: Server, cassette: Path, seconds: float | None) -> Iterator[None]:
    """Watch the replay of a test that has a limit."""
    if seconds is None or server.is_recording:
        yield
        return
    manager, config = item.config.pluginmanager, item.config
    if not manager.has_plugin(_NAME):
        manager.register(_Hooks(), _NAME)
    limit = Limit(server, seconds, lambda: section(server, cassette))
    item.stash[_LIMIT] = config.stash[_LIMIT] = limit
    limit.start()
    try:
        yield
    finally:
        limit.stop()
        del config.stash[_LIMIT]


def noted_of(item: pytest.Item) -> str | None:
    """Return the section of a test whose limit was over; None if it was not."""
    limit = item.stash.get(_LIMIT, None)
    return None if limit is None else limit.section


def forget(item: pytest.Item) -> None:
    """Delete the limit of a test: items live as long as the session."""
    if _LIMIT in item.stash:
        del item.stash[_LIMIT]


def _waiting_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of this thread if no task of it runs now; else None."""
    try:
        loop = asyncio.get_running_loop()
        return loop if asyncio.current_task(loop) is None else None
    except RuntimeError:
        return None
