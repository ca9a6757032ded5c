"""The server of one test: a replay, or a `recording`; and its limit.

`section` describes the server of a failed test. It never raises, so that it does not hide the failure.

A `Limit` ends a test whose client does not send the request that the replay waits for. A thread checks the replay. When
the limit is over, it keeps the section of the failed test and closes every connection, so that a blocked client raises.
A test that still does not end is interrupted by a signal, if it runs in the main thread.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ..cassette.select import named_session
from ..errors import NotACassette, ServerError
from ..replayer.control import Server, position_text
from ..replayer.server import Replay
from ..replayer.verdict import told_source
from ..server.timers import monotonic
from ..text import visible
from .settings import Case, Settings, failed_path

_LISTED = 10
"""Most requests of the client that are listed."""


def section(server: Server, cassette: Path, *, stopped: bool = False, told: str = "") -> str:
    """Return lines about the cassette, the playhead and the differences from the recording, without the lines that the
    failure `told` already."""
    try:
        if server.is_recording:
            kept = f"recorded, and kept since the test failed: {visible(str(failed_path(cassette)))}"
            name = visible(str(cassette))
            as_it_was = "is unchanged" if cassette.exists() else "is written when the test passes"
            return f"{_came(server)[0] if server.is_unused else kept}\nits cassette {as_it_was}: {name}"
        where = f"{visible(str(cassette))}, replayed at {server.url}"
        playhead = [] if stopped else _playhead(server)
        faults = [f"fault that struck: {visible(one)}" for one in server.faults]
        where += _kept(server, cassette)
        known = set(told.split("\n"))
        differences = [line for line in server.differences() if line not in known]
        return "\n".join([where, *_came(server), *playhead, *faults, *differences])
    except Exception as error:
        return f"{visible(str(cassette))}: no more can be said ({type(error).__name__}: {visible(str(error))})"


def _kept(server: Server, cassette: Path) -> str:
    """Return where the live answers of a failed test are; empty without any."""
    if not any(one.source == "live" for _, one in server.served):
        return ""
    return f"\nlive answers are kept since the test failed: {visible(str(failed_path(cassette)))}"


def counts(server: Server) -> str:
    """Return how many requests were answered from the recording, and how many live, as words."""
    live = sum(one.source == "live" for _, one in server.served)
    return f"{len(server.served) - live} recorded, {live} live"


def sources(server: Server) -> str:
    """Return a line for each request that says where its answer is from."""
    return "\n".join(told_source(one) for _, one in server.served)


def _playhead(server: Server) -> Iterator[str]:
    yield from (f"waiting for {visible(one)}" for one in server.waiting)
    try:
        places = [position_text(position) for position in server.positions()]
        if not places and any(x.session_id is not None for x in server.unplayed):  # model calls have no playhead
            is_answered = any(one.exchange is not None for one in server.requests)
            places = ["no stream is open" if is_answered else "no client has listened yet"]
    except Exception as error:  # the thread died
        places = [visible(str(error))]
    yield from (f"playhead: {one}" for one in places)


def _came(server: Server) -> list[str]:
    if not (requests := server.requests):
        return ["no request came"]
    head = "1 request came:" if len(requests) == 1 else f"{len(requests)} requests came:"
    if len(requests) > _LISTED:
        head = f"{len(requests)} requests came, the last {_LISTED} of them:"
    told = [visible(f"  {one.method} {one.target} -> {one.status}") for one in requests[-_LISTED:]]
    live = [" (live)" if one.source == "live" else "" for one in requests[-_LISTED:]]
    return [head, *map("".join, zip(told, live, strict=True))]


@contextmanager
def served(case: Case, settings: Settings) -> Iterator[Server]:
    """Run the server of a test. Raises `UsageError`, `CassetteError` or `ServerError`."""
    file, part = named_session(case.cassette)
    is_begun = settings.record in ("once", "new_episodes") and not file.exists()
    if part is None and (settings.record == "all" or is_begun):
        from .recording import recorded  # the recorder takes a quarter of the time of a replay's first fixture

        with recorded(case, settings) as server:
            yield server
        return
    if part is None and settings.record == "new_episodes" and not settings.replay.get("faults"):
        from .recording import extended

        with extended(case, settings) as server:
            yield server
        return
    if not file.exists():
        flags = "--omnirecord-record=once" + ("" if case.has_upstream else " --omnirecord-upstream=URL")
        how = f": record it with `pytest '{case.node_id}' {flags}`"
        if settings.only_replays:
            how = f", and this test does not record it: first run the test that does, with {flags}"
        raise NotACassette(f"{case.cassette} does not exist{how}")
    replay = Replay(case.cassette, **settings.replay)
    replay.logs_misses = False  # a failed test shows misses once
    replay.used_by = "pytest"
    with replay as server:
        yield server


_LOOKS = 20
"""Checks of the replay within the limit."""
GRACE = 3.0
"""Seconds for a test to end by itself after its connections are closed."""
_NAME = "omnirecord-limit"
_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)


class Limit:
    """Watches the replay of `cassette` from `start` to `stop`. `seconds`: the limit."""

    def __init__(self, server: Server, cassette: Path, seconds: float) -> None:
        self._server = server
        self._cassette = cassette
        self._seconds = seconds
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
            self._before = signal.signal(_SIGNAL, self._interrupt)
            self._interrupts = True
        self._thread.start()

    def stop(self) -> None:
        """Stop watching: the test has ended. Safe to call twice."""
        self._over.set()
        if self._interrupts:
            self._interrupts = False
            assert _SIGNAL is not None
            signal.signal(_SIGNAL, self._before)

    def _watch(self) -> None:
        waited = 0.0
        looked = monotonic()
        opened = 0
        try:
            while not self._over.wait(self._seconds / _LOOKS):
                wait_state = self._server.wait_state()
                before = looked
                looked = monotonic()
                is_counted = wait_state.awaits and (wait_state.serves or self.is_called)
                if wait_state.opened != opened:
                    waited = 0.0
                    opened = wait_state.opened
                elif is_counted and not self.is_suspended:
                    waited += looked - before
                if waited >= self._seconds and wait_state.awaits:
                    self._end(wait_state.awaits, GRACE if wait_state.serves else 0.0)
                    return
        except ServerError:
            return  # the server has ended, and reports why

    def _end(self, awaits: str, grace: float) -> None:
        """Close the connections, and interrupt the test until it ends, first after `grace` seconds."""
        said = f"the replay waited {self._seconds:g} s for {awaits}, and the client did not send it"
        if not self._server.requests:
            said = f"the client sent no request for {self._seconds:g} s; the replay waits for {awaits}"
        self.section = section(self._server, self._cassette)
        self.reason = (
            f"{said}. The replay then closed its connections. gate_timeout=S sets this limit, 0 means none;"
            " skip_gates_after=S continues without the request."
        )
        self._server.release()
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
        if (limit := item.config.stash.get(_LIMIT, None)) is None:
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
def limited(config: pytest.Config, server: Server, cassette: Path, seconds: float | None) -> Iterator[Limit | None]:
    """Set the limit of a test while the block runs; None if it has none."""
    if seconds is None or server.is_recording:
        yield None
        return
    if not config.pluginmanager.has_plugin(_NAME):
        config.pluginmanager.register(_Hooks(), _NAME)
    limit = Limit(server, cassette, seconds)
    config.stash[_LIMIT] = limit
    limit.start()
    try:
        yield limit
    finally:
        limit.stop()
        del config.stash[_LIMIT]


def _waiting_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of this thread if no task of it runs now; else None."""
    try:
        loop = asyncio.get_running_loop()
        return loop if asyncio.current_task(loop) is None else None
    except RuntimeError:
        return None
