"""A server in its own thread, with its own event loop; and garbage-collector settings for processes of ours.

`Background` is for callers without an event loop, or whose loop may be busy. If its thread dies, waiting calls raise.

A garbage collection pauses every thread. The objects that are loaded at the start stay, and most objects of an event
have no reference cycles. With the default settings, a collection takes 20 to 40 ms every few seconds.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Self

from ..errors import OmnirecordError, ServerError
from .timers import monotonic

GC_THRESHOLD = 10_000
"""New objects before a garbage collection; Python's default is 700 to 2,000."""


class RealTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock goes on while a test freezes `time.monotonic`."""

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
        """Start the thread, and return once the server is entered. Raises what entering it raises."""
        self._thread.start()
        try:
            self._started.result()
        except BaseException as error:
            if self._started.done():
                self._thread.join()
            else:  # Ctrl-C
                self._is_unwanted = True
                self._post(self._leave)
            if isinstance(error, OSError):
                raise ServerError(f"no server can be started: {error.strerror or error}") from error
            raise

    def stop(self) -> None:
        """Leave the server and end its thread. Safe to call twice. Raises `ServerError` if the thread had died."""
        self._post(self._leave)
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error if isinstance(error, OmnirecordError) else self._gone(error) from error

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in the server's event loop, await its result if it is awaitable, and return it.

        Raises what it raises, and `ServerError` if the server is gone.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._is_over:
                raise self._gone(self._error)
            self._calls.add(future)
        self._post(self._begin, future, function, args)
        return future.result()

    def _post(self, callback: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError, AttributeError):  # the loop is closed, or was never made
            self._loop.call_soon_threadsafe(callback, *args)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=RealTimeLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # waiting calls raise it
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

    async def _call(self, future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = function(*args)
            result = await result if inspect.isawaitable(result) else result
        except asyncio.CancelledError:
            return  # the server stops: `_end` sets the exception
        except BaseException as error:  # the caller's, even a SystemExit
            future.set_exception(error)
        else:
            future.set_result(result)
        self._calls.discard(future)

    def _end(self) -> None:
        """Let all waiting calls raise: the thread ends."""
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


def of_server(name: str, copied: Callable[[Any], Any] = lambda value: value) -> Any:
    """Return a property of a `Blocking`: that attribute of its server."""
    return property(lambda self: copied(getattr(self._server, name)))


class Blocking:
    """A server in a thread of its own, for a caller without an event loop. Clients connect to `url`."""

    token: str | None = of_server("token")
    """The token that the control path requires as `Authorization: Bearer`; None if it requires none."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._background = Background(server)
        self.url = ""

    def start(self) -> Self:
        """Start the server, and return once it listens. Raises `UsageError`, `CassetteError` or `ServerError`."""
        self._background.start()
        self.url = self._server.url
        return self

    def stop(self) -> None:
        """Stop the server and end the thread. Raises `ServerError` if the thread died earlier."""
        self._background.stop()


class WithBlock:
    """The end of a `with` block, for a server that begins one with a `Blocking`."""

    _blocking: Blocking

    def __exit__(self, *_: object) -> None:
        self._blocking.stop()


def reduce_gc(threshold: int = GC_THRESHOLD) -> None:
    """Exclude all existing objects from garbage collection, and collect less often. Only for processes of ours: a
    library must not change it for a program."""
    gc.freeze()
    gc.set_threshold(threshold, 20, 100)
