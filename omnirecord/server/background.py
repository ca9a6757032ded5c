"""One of our servers in a thread of its own: for callers without an event loop, or whose loop may be busy or blocked.

Each has its own thread and its own loop, so that nothing one of them does, however wrong it goes, reaches another.
What waits for a thread that dies is told so.

Python's search for circles among objects. It stops every thread of a process, and so every stream.

What a server has loaded when it begins stays to the end, and most of what it makes for an event has no circles: to
look for them there took 20 to 40 ms every few seconds, and half a millisecond in between.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

from ..errors import OmnirecordError, ServerError
from .timers import monotonic


class RealTimeLoop(asyncio.SelectorEventLoop):
    """Its clock runs on where a test has frozen `time.monotonic`."""

    def time(self) -> float:
        return monotonic()


class Background:
    """Runs `server`, an async context manager, from `start` to `stop`."""

    def __init__(self, server: AbstractAsyncContextManager[object]) -> None:
        self._server = server
        self._thread = threading.Thread(target=self._run, name="omnirecord", daemon=True)
        self._started: Future[None] = Future()
        self._lock = threading.Lock()
        self._calls: set[Future[Any]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._is_over = self._is_unwanted = False

    def start(self) -> None:
        """Return once the server is entered. Raises what that raises."""
        self._thread.start()
        try:
            self._started.result()
        except BaseException as error:
            if self._started.done():
                self._thread.join()
            else:  # a Ctrl-C meanwhile
                self._is_unwanted = True
                self._post(self._leave)
            if isinstance(error, OSError):
                raise ServerError(f"no server can be started: {error.strerror or error}") from error
            raise

    def stop(self) -> None:
        """Leave the server and end its thread; twice is fine. Raises `ServerError` where that had ended by itself."""
        self._post(self._leave)
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error if isinstance(error, OmnirecordError) else self._gone(error) from error

    def run(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Any:
        """Call `function` in the server's loop and return what it returns; if that can be awaited, what comes of it.

        Raises what it raises, `TimeoutError` after `timeout` seconds, `ServerError` where the server is gone.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._is_over:
                raise self._gone(self._error)
            self._calls.add(future)
        self._post(self._begin, future, function, args, timeout)
        return future.result()

    def _post(self, callback: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError, AttributeError):  # its loop is closed already, or was never made
            self._loop.call_soon_threadsafe(callback, *args)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=RealTimeLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # whatever it was: those who wait for us have to know
            self._error = error
        self._end()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        if self._is_unwanted:
            return
        async with self._server:
            self._started.set_result(None)
            await self._stopping.wait()

    def _leave(self) -> None:
        self._stopping.set()

    def _begin(self, *call: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._call(*call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(
        self, future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...], timeout: float | None
    ) -> None:
        try:
            async with asyncio.timeout(timeout):
                result = function(*args)
                result = await result if inspect.isawaitable(result) else result
        except asyncio.CancelledError:
            return  # we are being stopped: `_end` says so
        except BaseException as error:  # an exit too is the caller's, not ours
            future.set_exception(error)
        else:
            future.set_result(result)
        self._calls.discard(future)

    def _end(self) -> None:
        """The thread is about to end: nobody waits any longer."""
        with self._lock:
            self._is_over = True
        for future in self._calls:
            if not future.done():
                future.set_exception(self._gone(self._error))
        if not self._started.done():
            self._started.set_exception(self._error or self._gone(None))
            self._error = None

    def _gone(self, error: BaseException | None) -> ServerError:
        why = f": {type(error).__name__} {error}".rstrip() if error is not None else ""
        return ServerError(f"the server's thread has ended{why}; start another server")


MANY = 10_000
"""Objects that are made before it is looked for circles among them; Python's own is 700 to 2,000."""


def settle(many: int = MANY) -> None:
    """All that is there now is never looked at again, and what is made later less often. For a process of ours: in
    somebody's program that is theirs to say."""
    gc.freeze()
    gc.set_threshold(many, 20, 100)
