"""Accepts connections for as long as file descriptors last.

Each client connection takes a seat, which counts its descriptor, and that of the upstream connection that its request
may need. A connection without a seat is accepted too, so that its request gets an answer (`refusals`). When there are
too many of those, the listening sockets are not read until a connection closes: new clients wait in the kernel's queue.

The event loop's own accept loop is not used. When descriptors run out, asyncio logs a traceback for each connection
that the backlog may hold. uvloop closes the connection without an answer.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from aiohttp import web

from .timers import Complaint, monotonic

BACKLOG = 4096
"""Connections that the kernel queues for us: a client beyond them waits for a second or longer."""
RESERVE = 48
"""Descriptors that connections leave free: for SQLite, locks, rotation, the second process, DNS, the control path."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of a process or a system that has no descriptor left, or no memory for one."""

_AT_ONCE = 64
"""Connections that are accepted before other events have their turn."""
_PAUSE = 0.25
"""Seconds until `accept` is retried after it found no descriptor."""
_IDLE = 5.0
"""Seconds after which an open connection without a request may be closed, if its descriptor is needed."""
_LOOK_EVERY = 0.05
"""Seconds between two searches for such connections."""
_MOST_CLOSED = 8
"""The most of them that one search closes."""
_MOST_REFUSED = 64
"""Connections without a seat that may be open at the same time, at most."""
_LEAST = 4
"""Descriptors that connections may use even where the limit is lower than the reserve."""


def raise_limit() -> None:
    """Raise this process's soft limit of file descriptors to its hard limit, where the system permits that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # some systems refuse the hard limit itself: the soft one stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """The number of file descriptors that this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


@dataclass(slots=True)
class Descriptors:
    """The file descriptors of this process, shared by all its servers, which may run in different threads."""

    taken: int = 0
    """Descriptors of connections with a seat, upstream connections included."""
    refused: int = 0
    """Descriptors of connections without a seat."""
    _others: int = 16
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def measure(self) -> None:
        """Count the descriptors that are open for other purposes, unless connections are open."""
        with self._lock:
            if not self.taken + self.refused:
                self._others = len(os.listdir("/dev/fd"))  # noqa: PTH208  # names alone, in one call

    def take(self, cost: int, elsewhere: int) -> bool:
        """Take a seat of `cost` descriptors; return whether there was one. `elsewhere`: those that no seat counts."""
        room = self._room(elsewhere)
        with self._lock:
            if self.taken + cost > room:
                return False
            self.taken += cost
            return True

    def is_calm(self, elsewhere: int) -> bool:
        """Whether an eighth of the seats is free."""
        return self.taken * 8 <= self._room(elsewhere) * 7

    def _room(self, elsewhere: int) -> int:
        most = limit()
        return max(_LEAST, most - self._others - elsewhere - RESERVE - _refusals(most))

    def is_full(self, cost: int, elsewhere: int) -> bool:
        """Whether there is neither a seat nor a descriptor for a connection without one."""
        return self.refused >= _refusals(limit()) and self.taken + cost > self._room(elsewhere)

    def refuse(self, cost: int = 0) -> None:
        """Count a connection without a seat. `cost`: of the seat that it had, and gives back before it is closed."""
        with self._lock:
            self.taken -= cost
            self.refused += 1

    def give(self, cost: int) -> None:
        """Give a seat back; 0: the descriptor of a connection without one."""
        with self._lock:
            self.taken -= cost
            self.refused -= not cost


def _refusals(most: int) -> int:
    return min(_MOST_REFUSED, max(8, most // 32))


_PROCESS = Descriptors()


class Accepting:
    """Accepts the connections of one server. A connection with a seat costs `cost` descriptors.

    `elsewhere` returns the number of descriptors of this server for connections without a client; `let_go` closes the
    idle ones among them. `noted` gets one sentence when refusing begins, and one when it ends. `is_idle` returns
    whether a connection has no request. `closed` gets each client connection that is closed.
    """

    def __init__(self, cost: int, descriptors: Descriptors = _PROCESS) -> None:
        self._cost = cost
        self._descriptors = descriptors
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[web.RequestHandler, tuple[int, float]] = {}  # the cost of each, and its begin
        self._is_paused = True
        self._looked_at = 0.0
        self._trouble = Complaint()
        self.refused = 0
        """Requests that were answered 503."""
        self.elsewhere: Callable[[], int] = lambda: 0
        self.let_go: Callable[[], object] = lambda: None
        self.noted: Callable[[str], object] = lambda _: None
        self.is_idle: Callable[[web.RequestHandler], bool] = lambda _: False
        self.closed: Callable[[web.RequestHandler], object] = lambda _: None

    def bind(self, bound: Sequence[int], server: web.Server, tls: ssl.SSLContext | None) -> None:
        """Use copies of these bound descriptors, which do not listen yet."""
        self._sockets = [socket.socket(fileno=os.dup(fd)) for fd in bound]
        self._server = server
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._descriptors.measure()

    def start(self) -> None:
        for listening in self._sockets:
            listening.setblocking(False)
            listening.listen(BACKLOG)
        self._resume()

    def stop(self) -> None:
        """Accept no more connections. Safe to call twice."""
        self._pause()
        sockets = self._sockets
        self._sockets = []
        for listening in sockets:
            listening.close()

    def _pause(self) -> None:
        self._is_paused = True
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())

    def _pause_a_moment(self) -> None:
        """Accept nothing until a connection closes, or for `_PAUSE` seconds."""
        self._pause()
        self._loop.call_later(_PAUSE, self._resume)

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            for listening in self._sockets:
                self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if self._descriptors.is_full(self._cost, self.elsewhere()):
                self._close_idle()
                self._pause_a_moment()
                return
            try:
                connection, _ = listening.accept()
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._pause_a_moment()
                    self._complain()
                return  # no client waits, or it has left
            cost = self._seat()
            task = self._loop.create_task(self._serve(connection, cost))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _seat(self) -> int:
        """Take a seat, or that of an idle connection. Return its cost in descriptors, 0 if there is no seat."""
        if self._descriptors.take(self._cost, self.elsewhere()):
            return self._cost
        self.let_go()
        self._close_idle()
        if self._descriptors.take(self._cost, self.elsewhere()):
            return self._cost
        self._descriptors.refuse()
        return 0

    def _close_idle(self) -> None:
        """Close the oldest connections without a request, at most `_MOST_CLOSED`: their seats are free at once."""
        now = monotonic()
        if now - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = now
        idle = (one for one in self._open if self.is_idle(one) and now - self._open[one][1] > _IDLE)
        for protocol in list(islice(idle, _MOST_CLOSED)):
            cost, since = self._open[protocol]
            if cost:
                self._descriptors.refuse(cost)
                self._open[protocol] = 0, since
            protocol.force_close()

    async def _serve(self, connection: socket.socket, cost: int) -> None:
        protocol = self._server()
        self._open[protocol] = cost, monotonic()
        try:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
        except (OSError, asyncio.CancelledError):  # it has left, or the handshake of TLS failed
            self.left(protocol)

    def left(self, protocol: web.RequestHandler) -> None:
        """Give back the descriptors of a closed connection."""
        self.closed(protocol)
        cost, _ = self._open.pop(protocol, (None, 0.0))
        if cost is not None:
            self._descriptors.give(cost)
            self._resume()
            if self._descriptors.is_calm(self.elsewhere()):
                said = f"connections have file descriptors again; {self.refused} requests were refused with 503"
                if self._trouble.over(said):
                    self.noted(said)

    def admits(self, protocol: web.RequestHandler) -> bool:
        """Whether this connection has a seat, or gets one now, so that its request may be served. Count a refusal."""
        cost, since = self._open.get(protocol, (self._cost, 0.0))
        if cost:
            return True
        if self._descriptors.take(self._cost, self.elsewhere()):
            self._descriptors.give(0)
            self._open[protocol] = self._cost, since
            return True
        self.refused += 1
        self._complain()
        return False

    def _complain(self) -> None:
        said = (
            f"file descriptors run short: {len(self._open)} connections are open, and this process may have {limit()}"
            " descriptors; more requests get 503 until some close (raise the hard limit, ulimit -Hn)"
        )
        if self._trouble.say(said):
            self.noted(said)
