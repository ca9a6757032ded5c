"""A listening server, shared by the proxy, the replay and the page: binding, access, stopping; and its thread.

`Background` runs a server in its own thread, for callers without an event loop, or whose loop may be busy. If the
thread dies, waiting calls raise.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from aiohttp import web

from ..errors import OmnirecordError, ServerError, UsageError
from ..model import Headers
from ..wire.addresses import is_loopback
from ..wire.headers import decoded
from .accept import Accepting
from .access import File, Guard, checked_token, listening_context
from .http import Client, Handler, Server
from .raw_response import RawResponse
from .refusals import FIELD_LIMIT, FIELDS, LIMIT, error_response
from .strict_client import connection_class
from .timers import monotonic

DRAIN_TIMEOUT = 5.0
"""Seconds that ordinary requests get to finish when a server stops."""

TOKEN_VARIABLE = "OMNIRECORD_TOKEN"
"""The environment variable with the token for the control path."""


def no_response(request: web.BaseRequest, *, by_reset: bool = False) -> RawResponse:
    """Close or reset the connection of a request that gets no response. Return the object that the handler returns."""
    response = RawResponse(502, "Bad Gateway", ())
    (response.reset if by_reset else response.cut)(request)
    return response


def continue_upload(request: web.BaseRequest, headers: Headers) -> None:
    """Answer `Expect: 100-continue`, so that the client sends its body."""
    expects = any(name.lower() == "expect" and value.lower() == "100-continue" for name, value in headers)
    if expects and request.body_exists and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def parse_listen(listen: str, *, allow_remote: bool, option: str = "--listen") -> tuple[str, int]:
    """Return host and port of `HOST:PORT`. Raises `UsageError`, also for a remote address that is not allowed."""
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]")
    is_number = port.isascii() and port.isdecimal() and len(port) <= 5
    if not colon or not host or not is_number or int(port) > 65535:
        raise UsageError(
            f"{option} {listen!r} is no HOST:PORT: write for instance 127.0.0.1:6868, port 0 for a free one"
        )
    if not allow_remote and not is_loopback(host):
        raise UsageError(f"{option} {listen!r} is reachable from elsewhere: add --allow-remote if that is meant")
    return host, int(port)


def by_name(option: str, texts: Iterable[str], example: str | None = None) -> tuple[str | None, dict[str, str]]:
    """Return the value without a name, and those of `NAME=VALUE` by name. Of several without a name the last counts, or
    with an `example` none. Raises `UsageError`."""
    unnamed: str | None = None
    named: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or "/" in name or ":" in name:
            if unnamed is not None and example is not None:
                raise UsageError(f"{option} {unnamed} and {option} {text}: one of them needs a name, as in {example}")
            unnamed = text
        elif name in named:
            raise UsageError(f"{option} {name}= is given twice: give each name once")
        else:
            named[name] = value
    return unnamed, named


def refused(guard: Guard, request: web.BaseRequest, *, is_public: bool = False) -> web.Response | None:
    """Return the refusal of a request for the control path; None if it may pass. `is_public`: see `Guard`. Every
    handler below the control path calls this first."""
    headers = decoded(request.raw_headers)
    if (refusal := guard.refusal(request.method, request.raw_path, headers, is_public=is_public)) is None:
        return None
    answer = error_response(refusal.status, refusal.code, f"omnirecord: {refusal.message}")
    if refusal.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


@dataclass(frozen=True, slots=True)
class Place:
    """The address of a server. `token`: for its control path; by default a remote server generates one. `tls_cert` and
    `tls_key`: PEM files, for https. Raises `UsageError` for a remote address that is not allowed."""

    host: str = "127.0.0.1"
    port: int = 0
    allow_remote: bool = False
    token: str | None = None
    tls_cert: File | None = None
    tls_key: File | None = None
    option: str = "--listen"
    """The name of the option in errors."""

    def __post_init__(self) -> None:
        if not self.allow_remote and not is_loopback(self.host):
            raise UsageError(f"host {self.host!r} is reachable from elsewhere: pass allow_remote=True if that is meant")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port} is none: choose one from 1 to 65535, or 0 for a free one")
        if self.token is not None:
            checked_token(self.token, "the token")

    def at(self, listen: str, option: str) -> Place:
        """Return the same at another `HOST:PORT`, which an option names. Raises `UsageError`."""
        host, port = parse_listen(listen, allow_remote=self.allow_remote, option=option)
        return replace(self, host=host, port=port, option=option)


LOOPBACK = Place()
"""A free port of the loopback address."""


def check_apart(places: Iterable[Place], of: str) -> None:
    """Raise `UsageError` if two places have one address. `of`: what they are for, in the plural."""
    counted = Counter((place.host, place.port) for place in places if place.port)
    if twice := [f"{host}:{port}" for (host, port), count in counted.items() if count > 1]:
        raise UsageError(f"--listen gives {twice[0]} to two {of}: choose another port for one of them")


class Listener:
    """One listening server. `url` is set by `bind`. `guard` checks requests to its control path, which send `token`
    unless that is None (`is_made`: it was generated). `is_remote`: other machines can connect. `has_pages`: it serves
    only our own pages, which may use the control path. `cost`: file descriptors of a connection, 2 if its request needs
    an upstream connection."""

    def __init__(self, handler: Handler, place: Place, *, has_pages: bool = False, cost: int = 1) -> None:
        self._handler = handler
        self._has_pages = has_pages
        self._place = place
        self._server: Server | None = None
        self.accepting = Accepting(cost)
        self.url = ""
        self.guard = Guard()
        self.token: str | None = None
        self.is_remote = self.is_made = False

    async def bind(self) -> None:
        """Bind the address, and accept nothing yet. Raises `ServerError` if the address cannot be used, and
        `UsageError` for an invalid token in the environment, or an invalid certificate."""
        host = self._place.host
        port = self._place.port
        self.token = self._place.token
        if self.token is None and (given := os.environ.get(TOKEN_VARIABLE)):
            self.token = checked_token(given, TOKEN_VARIABLE)
        tls = listening_context(self._place.tls_cert, self._place.tls_key)
        self._server = Server(
            self._handler,
            self.accepting,
            connection_class(),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=75.0,
            max_line_size=LIMIT,
            max_field_size=FIELD_LIMIT,
            max_headers=FIELDS,
        )
        try:
            loop = asyncio.get_running_loop()
            binding = await loop.create_server(self._server, host, port, start_serving=False)
        except OSError as error:
            reason = "is in use" if error.errno == 98 else f"cannot be listened on ({error.strerror or error})"
            raise ServerError(
                f"{host}:{port} {reason}: choose another {self._place.option}, port 0 takes a free one"
            ) from error
        bound = [one.getsockname() for one in binding.sockets]
        self.accepting.bind([one.fileno() for one in binding.sockets], self._server, tls)
        binding.close()  # it never listened: `accepting` has copies of the sockets
        self._watch_over([address for address, *_ in bound])
        shown = f"[{bound[0][0]}]" if ":" in bound[0][0] else bound[0][0]
        self.url = f"{'http' if tls is None else 'https'}://{shown}:{bound[0][1]}"

    def _watch_over(self, bound: list[str]) -> None:
        """Check the addresses that the sockets are bound to: a host name may stand for a remote one."""
        self.is_remote = not all(map(is_loopback, bound))
        if self.is_remote and not self._place.allow_remote:
            self.refuse_connections()
            raise ServerError(
                f"{self._place.host} is {', '.join(bound)} here, reachable from elsewhere: take 127.0.0.1"
            )
        self.is_made = self.token is None and self.is_remote
        if self.is_made:
            self.token = secrets.token_urlsafe(24)
        names = [self._place.host, *bound, *([socket.gethostname()] if self.is_remote else [])]
        anywhere = any(address in ("0.0.0.0", "::") for address in bound)
        self.guard = Guard(names, any_address=anywhere, token=self.token, has_pages=self._has_pages)

    async def start(self) -> None:
        self.accepting.start()

    def refuse_connections(self) -> None:
        """Accept no more connections, and no further requests on open ones. A connection with an unfinished upload is
        not touched: aiohttp does not read from a closing one."""
        self.accepting.stop()
        for connection in self._server.connections if self._server is not None else ():
            request = connection.handled if isinstance(connection, Client) else None
            if request is None or request.content.is_eof():
                connection.close()

    async def stop(self, timeout: float) -> None:
        """Wait for open requests, at most `timeout` seconds, and close every connection."""
        self.refuse_connections()
        if self._server is not None:
            await self._server.shutdown(timeout)


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
        self._calls: dict[Future[Any], asyncio.Task[None] | None] = {}
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
        error = self._error
        self._error = None
        if error is not None:
            raise error if isinstance(error, OmnirecordError) else self._gone(error) from error

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` in the server's event loop, await its result if it is awaitable, and return it. Raises what
        it raises, and `ServerError` if the server is gone."""
        future: Future[Any] = Future()
        with self._lock:
            if self._is_over:
                raise self._gone(self._error)
            self._calls[future] = None
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
        with self._lock:
            self._is_over = True
        for future in self._calls:
            if not future.done():
                future.set_exception(self._gone(self._error))
        if not self._started.done():
            self._started.set_exception(self._error or self._gone(None))
            self._error = None

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        if self._is_unwanted:
            return
        async with self._server:
            self._started.set_result(None)
            await self._stopping.wait()

    def _leave(self) -> None:
        self._stopping.set()

    def _begin(self, future: Future[Any], *call: Any) -> None:
        self._calls[future] = asyncio.get_running_loop().create_task(self._call(future, *call))

    async def _call(self, future: Future[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = function(*args)
            result = await result if inspect.isawaitable(result) else result
        except asyncio.CancelledError:
            return  # the server stops: `_run` sets the exception
        except BaseException as error:  # the caller's, even a SystemExit
            future.set_exception(error)
        else:
            future.set_result(result)
        del self._calls[future]

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
