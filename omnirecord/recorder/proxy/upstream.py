"""Connections to the upstream: the proxy adds nothing, decodes nothing, and has no timeout.

If aiohttp's parser refuses something, it drops the whole segment. That may hold a valid response to HEAD before an
invalid body, or events before an invalid chunk. A direct client would have these. So `Connection` gives the parser
one header section at a time. After an invalid chunk, aiohttp lets the reader of the body wait for ever; here the body
ends.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import islice
from types import SimpleNamespace

import aiohttp
from aiohttp import ClientPayloadError, ClientResponse, StreamReader
from multidict import CIMultiDict
from yarl import URL

from ...errors import UsageError
from ...model import Headers
from ...server.accept import EXHAUSTED
from ...server.access import explained, is_loopback
from ...server.aiohttp_private import (  # fmt: skip
    ConnectionKey,
    Few,
    RawResponseMessage,
    RequestOfClient,
    UpstreamProtocol,
    connection_key,
    disable_retry,
    idle_connections,
    use_protocol,
)
from ...server.http import FIELD_LIMIT, FIELDS, LIMIT, SectionTooLarge
from ...wire.headers import asks_for_websocket, section_size

_END = b"\r\n\r\n"
_SECTION_END = re.compile(_END)
_LONGEST_BEGINNING = 3
_NO_CONTENT = 1 << 21
"""The most consecutive bytes of a body that are not content. aiohttp keeps a trailer section in memory."""
_MOST = 8
"""The most header sections in one segment: interim responses (1xx) come before the last one."""


def connection_of(answer: ClientResponse) -> Connection | None:
    """Return the connection that the body of a response arrives on; None if the body is complete."""
    protocol = answer.connection.protocol if answer.connection is not None else None
    return protocol if isinstance(protocol, Connection) else None


class Connection(UpstreamProtocol):
    """A connection that parses a header section and the bytes after it separately. `body`: the body that ends with the
    connection. `arrived` is called when it may have new bytes, and at its end."""

    _before = b""
    _section = 0  # bytes since the last header section, or since the last content, that are not content
    body: StreamReader | None = None
    arrived: Callable[[], None] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.header_sections = Few()

    def is_connected(self) -> bool:
        """Return whether the next request can use this connection: not if bytes are left, as they are no response."""
        return super().is_connected() and not self.should_close

    def data_received(self, data: bytes) -> None:
        body = self.body_being_read
        content = 0 if body is None else body.total_bytes
        if self.arrived is None:
            self._by_section(data)
        else:  # in a body that is passed on, no header section follows before its end
            self._before = data[-_LONGEST_BEGINNING:]
            super().data_received(data)
        if body is not None and body is self.body_being_read:
            if body.total_bytes > content:
                self._section = 0
            elif not (self.is_reading_paused or body.is_eof()):
                self._count(len(data), _NO_CONTENT)
        if self.arrived is not None:
            self.arrived()

    def _count(self, size: int, limit: int = LIMIT) -> None:
        """Count bytes of a header section, a trailer section or a chunk extension, and refuse more than `limit`."""
        self._section += size
        if self._section > limit:
            self._refuse()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Called by aiohttp with each header section."""
        message, _ = data
        self._section = 0
        if message.code == 101:  # another protocol follows, even where no client asked for one
            self.force_close()
        if section_size(len(message.reason or ""), message.raw_headers) > LIMIT:
            self._refuse()
        else:
            super().feed_data(data, size)

    def _refuse(self) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(SectionTooLarge())

    def _by_section(self, data: bytes) -> None:
        at = 0
        for end in self._ends(data):
            super().data_received(data[at:end])
            at = end
            if self.exception() is not None:
                return
        if at < len(data) or not data:
            super().data_received(data[at:])
            if not self.upgraded and (self.body_being_read is None or self.body_being_read.is_eof()):
                self._count(len(data) - at)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called at each read of the body, mostly with nothing to resume."""
        if self.is_reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        body, self.body = self.body, None
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(ClientPayloadError(f"the connection ended in the body: {exc or 'closed'}"))
        if self.arrived is not None:
            self.arrived()

    def _ends(self, data: bytes) -> list[int]:
        """Return where header sections end in this segment, or what looks like one: that does no harm in a body."""
        before = self._before
        if len(data) > _LONGEST_BEGINNING and data[0] not in b"\r\n" and _END not in data:  # nearly always
            self._before = data[-_LONGEST_BEGINNING:]
            return []
        joined = before + data
        self._before = joined[-_LONGEST_BEGINNING:]
        return [found.end() - len(before) for found in islice(_SECTION_END.finditer(joined), _MOST)]


_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})
_READ_AT_ONCE = 64 * 1024
"""Bytes that aiohttp reads ahead, up to twice as many. Its default of half a megabyte would hide a slow client from
upstream."""
_FRAMING = ("host", "transfer-encoding")
"""The only fields that the proxy adds to a request."""
_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


def parse_upstream(url: str) -> URL:
    """Return the upstream's URL, which may have a path prefix. Raises `UsageError`."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(
            f"--upstream {url!r} has characters that no URL has: write a path percent-encoded, a host in its xn-- form"
        )
    try:
        parsed = URL(url, encoded=True)
        port = parsed.port
    except ValueError as error:
        raise UsageError(f"--upstream {url!r} is no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or port is None:
        raise UsageError(f"--upstream {url!r} needs a scheme and a host: write for instance http://127.0.0.1:6767")
    if parsed.raw_user or parsed.raw_password:
        raise UsageError("--upstream may not carry a user or password: clients send their own credentials")
    if parsed.raw_query_string or parsed.raw_fragment:
        raise UsageError(f"--upstream {url!r} may have a path, but no query and no fragment")
    return parsed


def refuse_itself(upstream: URL, own: str) -> None:
    """Raise `UsageError` if the upstream is the proxy itself: a request would never end."""
    here, host = URL(own), upstream.host or ""
    anywhere = here.host in ("0.0.0.0", "::")
    same = host == here.host or (is_loopback(host) and (anywhere or host == "localhost"))
    if same and upstream.port == here.port:
        raise UsageError(f"--upstream {upstream} is the proxy's own address: name the server, or another --listen")


def why_unreachable(error: aiohttp.ClientOSError) -> str | None:
    """Return why no TCP or TLS connection was made; None if there was one. With TLS 1.3 a server refuses a client
    certificate after the handshake. Then the cause of the error says so."""
    causes = getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__
    found = next(filter(None, (explained(cause) for cause in causes if cause is not None)), None)
    if found is not None or not isinstance(error, aiohttp.ClientConnectorError):
        return found
    number = error.errno or 0
    if error.ssl is not False and isinstance(error.os_error, ConnectionError) and number <= 0:
        return "it closed the connection in the TLS handshake"
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def is_out_of_descriptors(error: aiohttp.ClientOSError) -> bool:
    """Return whether no connection was made because this process, or the system, has no file descriptor left."""
    return isinstance(error, aiohttp.ClientConnectorError) and error.errno in EXHAUSTED


class Upstream:
    """Connections to one upstream. Those of idempotent requests are used again, others are closed: a POST on a dying
    connection would fail, and could not be sent again.

    A connection is never used again after a request with a body or an upgrade: upstream may see another end of it.
    It is used again for the same client connection only, so that late bytes of upstream reach no other client.
    """

    def __init__(self, url: URL, tls: ssl.SSLContext | None = None) -> None:
        self.shown = str(url).rstrip("/")
        self._url = url
        self._prefix = url.raw_path.rstrip("/")
        verified = True if tls is None else tls
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=10, ssl=verified)
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_use)
        self._pooled, self._idle = _session(connector, trace), idle_connections(connector)
        self._key: ConnectionKey | None = None  # of all connections, but for the client
        self._single = _session(aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=10, ssl=verified))

    async def request(
        self, client: int, method: str, target: str, headers: Headers, body: AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        """Send a request of the client connection with this number, and return its response without the body. It is
        sent again only if its connection had been used before and was lost. Raises aiohttp's errors."""
        url = self._url.with_path(self._prefix + target, encoded=True)  # with the query, so that a lone `?` stays
        exactly, answer = (_exactly(headers),), None
        if method in _IDEMPOTENT and body is None and not asks_for_websocket(headers):
            used = SimpleNamespace(before=False)
            try:
                answer = await self._pooled.request(
                    method, url, headers=headers, middlewares=(*exactly, self._for(client)), allow_redirects=False,
                    trace_request_ctx=used,
                )  # fmt: skip
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not used.before:
                    raise
        if answer is None:
            answer = await self._single.request(
                method, url, headers=headers, middlewares=exactly, data=body, allow_redirects=False
            )
        if (connection := connection_of(answer)) is not None:
            connection.body = answer.content
        return answer

    def _for(self, client: int) -> aiohttp.ClientMiddlewareType:
        """Return the middleware that lets a request use the connections of this client only."""

        async def send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            assert isinstance(request, RequestOfClient)
            self._key, request.client = request.connection_key, client
            return await handler(request)

        return send

    def left(self, client: int) -> None:
        """Close the idle connections of a client connection that is closed."""
        if self._key is not None:
            for protocol, _ in self._idle.pop(connection_key(client, self._key), ()):
                protocol.close()

    @property
    def idle(self) -> int:
        """The number of open connections without a request."""
        return sum(map(len, self._idle.values()))

    def let_go(self) -> None:
        """Close the idle connections: their file descriptors are needed."""
        for connections in list(self._idle.values()):
            while connections:
                connections.pop()[0].close()
        self._idle.clear()

    async def close(self) -> None:
        await self._pooled.close()
        await self._single.close()


def _exactly(headers: Headers) -> aiohttp.ClientMiddlewareType:
    """Return the middleware that sends these fields unchanged: aiohttp merges names that differ in case."""
    names = {name.lower() for name, _ in headers}

    async def send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        own = [(name, value) for name, value in request.headers.items() if name.lower() in _FRAMING]
        added = [(name, value) for name, value in own if name.lower() not in names]
        request.headers = CIMultiDict([*added, *headers])
        return await handler(request)

    return send


async def _note_use(_session: object, context: SimpleNamespace, _params: object) -> None:
    """Note that the connection of a request had been used before."""
    context.trace_request_ctx.before = True


def _session(connector: aiohttp.TCPConnector, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    use_protocol(connector, partial(Connection, loop=asyncio.get_running_loop()))
    session = aiohttp.ClientSession(
        connector=connector,
        request_class=RequestOfClient,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        skip_auto_headers=_ADDED_BY_AIOHTTP,
        read_bufsize=_READ_AT_ONCE,
        max_line_size=LIMIT,
        max_field_size=FIELD_LIMIT,
        max_headers=FIELDS,
        trust_env=False,
        trace_configs=list(traces),
    )
    disable_retry(session)
    return session
