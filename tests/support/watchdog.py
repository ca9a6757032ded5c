"""A watchdog for event loops: it finds callbacks of our servers that take more than 5 ms of CPU time."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

MOST = 0.005
"""Seconds of CPU time that one callback may take, without garbage collection."""
_REFERENCE = 0.0029
"""Seconds of CPU time of `_work` on the machine for which `MOST` was chosen."""
_TESTS = str(Path(__file__).parent.parent)
_NOT_OURS = ("pytest_asyncio", "pytest_aiohttp", "_pytest", "unittest", "asyncio/runners.py")


@dataclass(slots=True)
class Slow:
    """A callback that took too long: its name, seconds of CPU time, the lines that ran after 5 ms, and how many times
    slower than the reference the machine was right after it."""

    name: str
    seconds: float
    stack: list[str]
    slowness: float

    def __str__(self) -> str:
        where = "".join(f"\n    {line}" for line in self.stack) or " (no sample)"
        return f"{self.name} took {self.seconds * 1000:.1f} ms of CPU time:{where}"


@dataclass(slots=True)
class _Running:
    """What a thread runs now."""

    began: float
    stack: list[str] = field(default_factory=list)


def _work() -> float:
    began = time.thread_time()
    found = {}
    for n in range(20_000):
        found[n & 1023] = str(n)
    return time.thread_time() - began


def slowness() -> float:
    """Returns how many times slower than the reference this machine is now, at least 1. CPU time grows, too, while
    other processes use the same core or its caches."""
    return max(1.0, median(_work() for _ in range(3)) / _REFERENCE)


class Watchdog:
    """Measures each callback of every event loop in this process, in CPU time of its thread."""

    def __init__(self, most: float = MOST) -> None:
        self._most = most
        self.slow: list[Slow] = []
        self.callbacks = 0
        self.longest = 0.0
        """Seconds of CPU time of the longest callback."""
        self._running: dict[int, _Running] = {}
        self._collected: dict[int, float] = {}
        self._collecting: dict[int, float] = {}
        self._over = threading.Event()

    def found(self, times: int = 1) -> list[Slow]:
        """Returns the callbacks that take too long on a machine as fast as the reference, `times` times at least. A
        test that does the same work `times` times finds only what takes too long each time."""
        slow = [one for one in self.slow if one.seconds > self._most * one.slowness]
        count = Counter(one.name for one in slow)
        return [one for one in slow if count[one.name] >= times]

    @contextmanager
    def watching(self) -> Iterator[Watchdog]:
        run = asyncio.Handle._run
        watchdog = self

        def measured(handle: asyncio.Handle) -> None:
            watchdog._measure(handle, run)

        sampler = threading.Thread(target=self._sample, daemon=True)
        asyncio.Handle._run = measured  # type: ignore[method-assign]
        gc.callbacks.append(self._note_collection)
        sampler.start()
        try:
            yield self
        finally:
            asyncio.Handle._run = run  # type: ignore[method-assign]
            gc.callbacks.remove(self._note_collection)
            self._over.set()
            sampler.join()

    def _measure(self, handle: asyncio.Handle, run: Any) -> None:
        callback: Any = handle._callback  # type: ignore[attr-defined]
        thread = threading.get_ident()
        self._collected[thread] = 0.0
        self._running[thread] = running = _Running(time.perf_counter())
        began = time.thread_time()
        try:
            run(handle)
        finally:
            took = time.thread_time() - began - self._collected[thread]
            del self._running[thread]
            if (name := _name(callback)) is not None:
                self.callbacks += 1
                self.longest = max(self.longest, took)
                if took > self._most:
                    self.slow.append(Slow(name, took, running.stack, slowness()))

    def _note_collection(self, phase: str, _info: object) -> None:
        thread = threading.get_ident()
        if phase == "start":
            self._collecting[thread] = time.thread_time()
        elif (began := self._collecting.pop(thread, None)) is not None and thread in self._collected:
            self._collected[thread] += time.thread_time() - began

    def _sample(self) -> None:
        """Take the stack of each callback that has been running for too long, once."""
        while not self._over.wait(self._most / 2):
            now = time.perf_counter()
            for thread, running in list(self._running.items()):
                if now - running.began > self._most and not running.stack:
                    frame = sys._current_frames().get(thread)
                    lines = traceback.extract_stack(frame) if frame is not None else []
                    running.stack = [f"{one.filename}:{one.lineno} {one.name}" for one in lines[-8:]]


def _name(callback: Any) -> str | None:
    """Returns the name of a callback; None if it is one of the tests."""
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(callback, "__qualname__", callback))
    coroutine: Any = task.get_coro()
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    if code is None:
        return repr(coroutine)
    if code.co_filename.startswith(_TESTS) or any(one in code.co_filename for one in _NOT_OURS):
        return None
    return str(code.co_qualname)
