"""The names of aiohttp with an underscore that omnirecord uses, each one here and nowhere else.

Only the recorder's fast path and the limits of `server.strict_client` need them. `client_lacks` and `upstream_lacks`
test an aiohttp for them, once a process. Without them, the recorder and the servers use public names. Other modules
import the classes and functions here. The classes give a private attribute a name without an underscore. Reading such
an attribute makes no Python call, since streams read some for every chunk.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, MutableMapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

import aiohttp
from aiohttp import ClientRequest, StreamReader, TCPConnector, web

from .aiohttp_names import ConnectionKey, RawRequestMessage

try:
    from aiohttp.client_proto import ResponseHandler
except ImportError:
    ResponseHandler = object  # type: ignore[assignment, misc]  # `upstream_lacks` says so
try:
    from aiohttp.web_protocol import _ErrInfo as ParseFailure
except ImportError:

    class ParseFailure(NamedTuple):  # type: ignore[no-redef]  # `client_lacks` says so
        status: int
        exc: BaseException
        message: str


__all__ = [
    "ClientNames",
    "Few",
    "ParseFailure",
    "RequestOfClient",
    "UpstreamProtocol",
    "client_lacks",
    "connection_key",
    "idle_connections",
    "upstream_lacks",
    "use_protocol",
]


def _alias(name: str) -> Any:
    """Return a property that reads and writes the attribute `name`."""
    return property(attrgetter(name), lambda self, value: setattr(self, name, value))


class Few(list[Any]):
    """A queue for few items. An empty one takes an eighth of the 760 bytes of a `deque`."""

    __slots__ = ()

    def popleft(self) -> Any:
        return self.pop(0)


_UPGRADED = "_upgraded" if hasattr(web.RequestHandler, "_upgraded") else "_upgrade"  # the latter below aiohttp 3.14
_PARSER_PAUSED = "_buffer_paused"  # below aiohttp 3.14.4, the parser is never paused for the queue


class ClientNames:
    """Attributes of a client's connection to one of our servers."""

    __slots__ = ()

    request_count: int = _alias("_request_count")
    """The number of requests whose header section is parsed."""
    messages: list[tuple[RawRequestMessage | ParseFailure, StreamReader]] = _alias("_messages")
    """Requests that no handler has yet, and parse failures, each with its body."""
    message_waiter: asyncio.Future[None] | None = _alias("_waiter")
    """The future that is done when `messages` has an entry; None while a handler runs."""
    unparsed: bytes = _alias("_message_tail")
    """Bytes behind a request for an upgrade, which aiohttp parses when the handler declines the upgrade."""
    closes_after_response: bool = _alias("_close")
    is_force_closed: bool = _alias("_force_close")
    is_upgraded: bool = _alias(_UPGRADED)
    is_reading_paused: bool = _alias("_reading_paused")
    is_parser_paused: bool = _alias(_PARSER_PAUSED) if hasattr(web.RequestHandler, _PARSER_PAUSED) else False
    """Whether the body's buffer is full, so that content may wait in the parser."""

    def free_queue(self) -> None:
        """Let an empty queue of messages take little memory."""
        setattr(self, "_messages", Few())  # noqa: B010  # mypy knows slots, but no aliases


_CLIENT_NAMES = (
    "_request_count",
    "_messages",
    "_waiter",
    "_message_tail",
    "_close",
    "_force_close",
    "_reading_paused",
    _UPGRADED,
)


@cache
def client_lacks() -> tuple[str, ...]:
    """Return the names that `ClientNames` needs and this aiohttp lacks."""
    lacks = [f"RequestHandler.{name}" for name in _CLIENT_NAMES if not hasattr(web.RequestHandler, name)]
    if ParseFailure.__module__ == __name__:
        lacks.append("web_protocol._ErrInfo")
    return tuple(lacks)


_RESUMES_PARSER = "resume_parser" in inspect.signature(getattr(ResponseHandler, "resume_reading", int)).parameters


class UpstreamProtocol(ResponseHandler):
    """A connection to the upstream."""

    body_being_read: StreamReader | None = _alias("_payload")
    """The body of the response that is parsed at the moment."""
    is_reading_paused: bool = _alias("_reading_paused")
    header_sections: Sequence[Any] = _alias("_buffer")
    """The queue of parsed header sections that no request has taken: a `deque`, or an object with the methods of one
    that aiohttp uses."""

    def resume_now(self, resume_parser: bool) -> None:
        """Read again. Below aiohttp 3.14, the parser is not paused."""
        if _RESUMES_PARSER:
            super().resume_reading(resume_parser)
        else:
            super().resume_reading()


@cache
def upstream_lacks() -> tuple[str, ...]:
    """Return what the fast path needs and this aiohttp lacks: names, or calls of `feed_data`. Call it in an event
    loop."""
    loop = asyncio.get_running_loop()
    if not issubclass(ResponseHandler, asyncio.Protocol):
        return ("client_proto.ResponseHandler",)
    sample: tuple[tuple[object, tuple[str, ...]], ...] = (
        (ResponseHandler(loop), ("_payload", "_reading_paused", "_buffer")),
        (TCPConnector(resolver=aiohttp.ThreadedResolver()), ("_factory", "_conns")),
        (ConnectionKey, ("proxy_headers_hash",)),
        (ClientRequest, ("connection_key",)),
    )
    lacks = [f"{_name(owner)}.{name}" for owner, names in sample for name in names if not hasattr(owner, name)]
    return tuple(lacks) if lacks or _feeds(loop) else ("calls of ResponseHandler.feed_data",)


def _name(owner: object) -> str:
    return owner.__name__ if isinstance(owner, type) else type(owner).__name__


def _feeds(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether a protocol calls `feed_data` with each header section, and has the body in `body_being_read`."""
    fed: list[Any] = []

    class Sample(UpstreamProtocol):
        def feed_data(self, data: Any, _size: int = 0) -> None:
            fed.append(data)

    try:
        sample = Sample(loop)
        sample.connection_made(asyncio.Transport())
        sample.set_response_params(auto_decompress=False)
        sample.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        sample.data_received(b"hi")
        [(message, body)] = fed
        return message.code == 200 and sample.body_being_read is body and sample.body_being_read.total_bytes == 2
    except Exception:  # whatever a later aiohttp does instead
        return False


def use_protocol(connector: TCPConnector, make: Callable[[], UpstreamProtocol]) -> None:
    """Let `make` return the protocol of each connection that this connector opens."""
    connector._factory = make  # type: ignore[assignment]


def idle_connections(connector: TCPConnector) -> MutableMapping[ConnectionKey, Any]:
    """Return the connector's own table of open connections that no request uses: a queue of (protocol, time) a key.

    It is not to be kept: the connector makes another one each time it closes old connections.
    """
    return connector._conns


def connection_key(client: int | None, key: ConnectionKey) -> ConnectionKey:
    """Return this key for one client: its number replaces the hash of the fields for an HTTP proxy. These fields are
    the same for all clients."""
    return key._replace(proxy_headers_hash=client)


class RequestOfClient(ClientRequest):
    """A request whose connection is used again for requests of `client` only."""

    client: int | None = None

    @property
    def connection_key(self) -> ConnectionKey:
        return connection_key(self.client, super().connection_key)
