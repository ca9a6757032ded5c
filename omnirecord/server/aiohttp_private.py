"""The names of aiohttp below its documented API that omnirecord uses, each one here and nowhere else.

Other modules import these classes and functions instead. The base classes give a private attribute or hook a name
without an underscore. Reading such an attribute makes no Python call, since streams read some for every chunk.
`tests/server/test_aiohttp_private.py` says which name a new version of aiohttp lacks.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, MutableMapping, Sequence
from operator import attrgetter
from typing import Any

from aiohttp import (
    ClientConnectionResetError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    StreamReader,
    TCPConnector,
    web,
)
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http import HttpProcessingError, RawRequestMessage, RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_protocol import _ErrInfo as ParseFailure
from multidict import CIMultiDict, CIMultiDictProxy

from ..model import Headers
from ..wire.headers import unsendable

__all__ = [
    "EMPTY_PAYLOAD", "BadHttpMessage", "BaseProtocol", "BaseServer", "ClientProtocol", "ConnectionKey", "Few",
    "HttpProcessingError", "LineTooLong", "ParseFailure", "RawRequestMessage", "RawResponse", "RawResponseMessage",
    "RequestHandler", "RequestOfClient", "StreamWriter", "UpstreamProtocol", "connection_key", "current_request",
    "disable_retry", "drop_header_sections", "idle_connections", "use_protocol",
]  # fmt: skip

_SMALL = 2048
"""Bytes that are copied into one write, which costs less than three."""
_NO_FIELDS = CIMultiDict[str]()
_NO_HEADERS = CIMultiDictProxy(_NO_FIELDS)


def _alias(name: str) -> Any:
    """Return a property that reads and writes the attribute `name`."""
    return property(attrgetter(name), lambda self, value: setattr(self, name, value))


class Few(list[Any]):
    """A queue for few items. An empty one takes an eighth of the 760 bytes of a `deque`."""

    __slots__ = ()

    def popleft(self) -> Any:
        return self.pop(0)


class ClientProtocol(RequestHandler):
    """A client's connection to one of our servers."""

    __slots__ = ()

    request_count: int = _alias("_request_count")
    """The number of requests whose header section is parsed."""
    messages: list[tuple[RawRequestMessage | ParseFailure, StreamReader]] = _alias("_messages")
    """Requests that no handler has yet, and parse failures, each with its body."""
    message_waiter: asyncio.Future[None] | None = _alias("_waiter")
    """The future that is done when `messages` has an entry; None while a handler runs."""
    unparsed: bytes = _alias("_message_tail")
    """Bytes behind a request for an upgrade, which aiohttp parses when the handler declines the upgrade."""
    handled: web.BaseRequest | None = _alias("_current_request")
    """The request that a handler has; None between requests."""
    closes_after_response: bool = _alias("_close")
    is_force_closed: bool = _alias("_force_close")
    is_upgraded: bool = _alias("_upgraded")
    is_reading_paused: bool = _alias("_reading_paused")
    is_parser_paused: bool = _alias("_buffer_paused")
    """Whether the body's buffer is full, so that content may wait in the parser."""
    event_loop: asyncio.AbstractEventLoop = _alias("_loop")

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._messages = Few()  # type: ignore[assignment]  # it has the methods of a deque that are called

    def failure_handler(self, failure: ParseFailure) -> Callable[[web.BaseRequest], Any]:
        """Return the handler that answers a request which could not be parsed."""
        return super()._make_error_handler(failure)

    def _make_error_handler(self, err_info: ParseFailure) -> Callable[[web.BaseRequest], Any]:
        return self.failure_handler(err_info)


def current_request(connection: RequestHandler) -> web.BaseRequest | None:
    """Return the request that a handler of this connection has; None between requests."""
    return connection._current_request


class BaseServer(web.Server):
    """aiohttp's server, whose connections are of the class `connection_class`."""

    connection_class: type[RequestHandler] = RequestHandler

    def __call__(self) -> RequestHandler:
        return self.connection_class(self, loop=self._loop, **self._kwargs)


class RawResponse(web.StreamResponse):
    """A response with exactly the given header fields, whose body can be cut.

    aiohttp would add Date, Server and Content-Type, and drop the Content-Length of a 304.
    """

    def __init__(self, status: int, reason: str, headers: Headers) -> None:
        super().__init__(status=status, reason=reason)
        self._headers = CIMultiDict(headers)

    async def _prepare_headers(self) -> None:
        request, writer = self._req, self.writer()
        assert request is not None
        keep = request.keep_alive if self._keep_alive is None else self._keep_alive
        keep = keep and request.version >= (1, 1)  # an HTTP/1.0 client would need a field that says so
        length = self._headers.get("Content-Length")
        bodiless = self._must_be_empty_body or request.method == "HEAD"
        if not bodiless and length is None and request.version >= (1, 1):
            writer.enable_chunking()
            self._headers["Transfer-Encoding"] = "chunked"
        if self.status != 101 and not keep and request.version >= (1, 1):
            self._headers["Connection"] = "close"
        self._keep_alive = keep

    async def _write_headers(self) -> None:
        """Send the fields as they are: aiohttp refuses control characters, and drops bytes that are not UTF-8."""
        request, writer = self._req, self.writer()
        assert request is not None
        first = f"HTTP/{request.version.major}.{request.version.minor} {self.status} {self.reason}"
        lines = [first, *(f"{name}: {value}" for name, value in self._headers.items()), "", ""]
        if unsendable(self.reason or "", tuple(self._headers.items())):
            raise ValueError("a response has a header field that cannot be sent")
        writer._headers_buf, writer._headers_written = "\r\n".join(lines).encode("utf-8", "surrogateescape"), False
        writer.send_headers()

    def forget_headers(self) -> None:
        """Free the fields after they are sent: a stream may be open for days."""
        self._headers = _NO_FIELDS

    def writer(self) -> StreamWriter:
        """Return the writer of the body. Only after `prepare`."""
        assert isinstance(self._payload_writer, StreamWriter)
        return self._payload_writer

    def write_at_once(self, data: bytes) -> None:
        """Hand bytes of the body to the transport without a wait. Only after `prepare`. Raises
        `ClientConnectionResetError` if the client is gone."""
        transport = self._req.transport if self._req is not None else None
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client is gone")
        if not self._payload_writer.chunked:  # type: ignore[union-attr]  # it is a `StreamWriter`
            transport.write(data)
        elif len(data) < _SMALL:
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))

    def reset(self, request: web.BaseRequest) -> None:
        """End the connection by an RST, like a killed process. Bytes that are not sent yet are lost."""
        sock = request.transport.get_extra_info("socket") if request.transport is not None else None
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut(request)

    def cut(self, request: web.BaseRequest) -> None:
        """End the connection here, so that the client sees a truncated body and no clean end."""
        self._eof_sent = True
        self.force_close()
        if request.transport is not None:
            request.transport.close()


class UpstreamProtocol(ResponseHandler):
    """A connection to the upstream."""

    body_being_read: StreamReader | None = _alias("_payload")
    """The body of the response that is parsed at the moment."""
    is_reading_paused: bool = _alias("_reading_paused")
    header_sections: Sequence[Any] = _alias("_buffer")
    """The queue of parsed header sections that no request has taken: a `deque`, or an object with the methods of one
    that aiohttp uses."""


def use_protocol(connector: TCPConnector, make: Callable[[], UpstreamProtocol]) -> None:
    """Let `make` return the protocol of each connection that this connector opens."""
    connector._factory = make  # type: ignore[assignment]


def idle_connections(connector: TCPConnector) -> MutableMapping[ConnectionKey, Any]:
    """Return the connector's own table of open connections that no request uses: a queue of (protocol, time) a key."""
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


def disable_retry(session: ClientSession) -> None:
    """Let the session send no request a second time."""
    session._retry_connection = False


def drop_header_sections(request: web.BaseRequest, answer: ClientResponse) -> None:
    """Free what aiohttp keeps of two requests and of the response's header section, 2 to 3 KB for each open stream."""
    request._message = request._message._replace(headers=_NO_HEADERS, raw_headers=())
    request._headers = _NO_HEADERS
    answer._raw_headers, answer._headers = (), _NO_HEADERS
    for cache in (request._cache, answer._cache):
        cache.clear()
    answer._traces = []
    answer._request_info = None  # type: ignore[assignment]  # only errors before a body need it
