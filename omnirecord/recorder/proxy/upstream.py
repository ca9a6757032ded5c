"""The one server that the proxy connects to, and how: nothing added, nothing decoded, no timeout of our own."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ...errors import UsageError
from ...model import Headers
from ...server.accept import EXHAUSTED
from ...server.access import is_loopback
from ...server.http import FIELD_LIMIT, FIELDS, LIMIT
from ...server.tls import Trust, explained
from ...wire.headers import asks_for_websocket
from .upstream_connection import Connection, connection_of

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})
_READ_AT_ONCE = 64 * 1024
"""Bytes that aiohttp takes ahead of us, up to twice as many. By default it is half a megabyte, which would hide a slow
client from upstream, however little is to be read ahead of it."""
_NO_HEADERS = CIMultiDictProxy(CIMultiDict[str]())
_FRAMING = ("host", "transfer-encoding")
"""The only fields that a request gets beside those of its client."""
_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


def parse_upstream(url: str) -> URL:
    """The upstream's URL, which may have a path prefix. Raises `UsageError` with what is wrong with it."""
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


def upstream_context(url: URL, trust: Trust) -> ssl.SSLContext | None:
    """How this upstream is verified; None where it speaks no TLS. Raises `UsageError`."""
    if url.scheme == "https":
        return trust.context()
    if trust:
        raise UsageError(f"--ca, --cert, --key and --insecure are for an upstream with https, and {url} has none")
    return None


def refuse_itself(upstream: URL, own: str) -> None:
    """Raise `UsageError` where the upstream is the proxy: every request would come round again and again."""
    here, host = URL(own), upstream.host or ""
    anywhere = here.host in ("0.0.0.0", "::")
    same = host == here.host or (is_loopback(host) and (anywhere or host == "localhost"))
    if same and upstream.port == here.port:
        raise UsageError(f"--upstream {upstream} is the proxy's own address: name the server, or another --listen")


def why_unreachable(error: aiohttp.ClientOSError) -> str | None:
    """Why no connection came about, TCP or TLS; None where there was one, and something else went wrong with it.

    With TLS 1.3 a server refuses a client certificate behind the handshake: then the cause tells.
    """
    causes = getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__
    found = next(filter(None, (explained(cause) for cause in causes if cause is not None)), None)
    if found is not None or not isinstance(error, aiohttp.ClientConnectorError):
        return found
    number = error.errno or 0
    if error.ssl is not False and isinstance(error.os_error, ConnectionError) and number <= 0:
        return "it closed the connection in the TLS handshake"
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def is_out_of_descriptors(error: aiohttp.ClientOSError) -> bool:
    """Whether no connection came about because this process, or the system, has no file descriptor for it."""
    return isinstance(error, aiohttp.ClientConnectorError) and error.errno in EXHAUSTED


class Upstream:
    """Connections to one upstream. Those of idempotent requests are used again, others are closed: a POST on a
    pooled connection that is just dying would fail, and could not be sent again.

    A connection is never used again after a request with a body or an upgrade: upstream may see another end of it.
    It is used again for the same client connection only: bytes that upstream sends late reach no other client.
    """

    def __init__(self, url: URL, tls: ssl.SSLContext | None = None) -> None:
        self.shown = str(url).rstrip("/")
        self._url = url
        self._prefix = url.raw_path.rstrip("/")
        verified = True if tls is None else tls
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=10, ssl=verified)
        self._pooled, self._idle = _session(connector, _traced()), connector._conns
        self._key: ConnectionKey | None = None  # of all connections, but for the client
        self._single = _session(aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=10, ssl=verified))

    async def request(
        self, client: int, method: str, target: str, headers: Headers, body: AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        """Send a request of the client connection with this number; return once the header section of its response is
        there. Raises aiohttp's errors.

        It is sent again only where it went to a connection that had been used before, and that was lost.
        """
        answer = await self._send(client, method, target, headers, body)
        if (connection := connection_of(answer)) is not None:
            connection.body = answer.content
        return answer

    async def _send(
        self, client: int, method: str, target: str, headers: Headers, body: AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        url = self._url.with_path(self._prefix + target, encoded=True)  # the query in it: a lone `?` stays that way
        exactly = (_exactly(headers),)
        if method in _IDEMPOTENT and body is None and not asks_for_websocket(headers):
            used = _Used()
            try:
                return await self._pooled.request(
                    method, url, headers=headers, middlewares=(*exactly, self._for(client)), allow_redirects=False,
                    trace_request_ctx=used,
                )  # fmt: skip
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not used.before:
                    raise
        return await self._single.request(
            method, url, headers=headers, middlewares=exactly, data=body, allow_redirects=False
        )

    def _for(self, client: int) -> aiohttp.ClientMiddlewareType:
        """Lets a request use the connections of this client, and no others."""

        async def send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            assert isinstance(request, _Request)
            self._key, request.client = request.connection_key, client
            return await handler(request)

        return send

    def left(self, client: int) -> None:
        """Close the idle connections of a client connection that is closed."""
        if self._key is not None:
            for protocol, _ in self._idle.pop(_of(client, self._key), ()):
                protocol.close()

    @property
    def idle(self) -> int:
        """How many connections are open and wait for the next request."""
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


def _of(client: int | None, key: ConnectionKey) -> ConnectionKey:
    """This key, for one client: in the place of the hash of a proxy's header fields, since we use no proxy."""
    return key._replace(proxy_headers_hash=client)


class _Request(aiohttp.ClientRequest):
    """A request whose connection is used again for `client` only."""

    client: int | None = None

    @property
    def connection_key(self) -> ConnectionKey:
        return _of(self.client, super().connection_key)


def keep_body_only(answer: aiohttp.ClientResponse) -> None:
    """Let go what aiohttp keeps of a request and of its answer's header section, 1 to 2 KB: nobody asks for them once
    a stream has begun."""
    answer._raw_headers, answer._headers = (), _NO_HEADERS
    answer._cache.clear()
    answer._traces = []
    answer._request_info = None  # type: ignore[assignment]  # for errors that come before a body


def _exactly(headers: Headers) -> aiohttp.ClientMiddlewareType:
    """Sends these headers as they are: aiohttp takes names that differ in case for one that is to be replaced."""
    names = {name.lower() for name, _ in headers}

    async def send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        own = [(name, value) for name, value in request.headers.items() if name.lower() in _FRAMING]
        added = [(name, value) for name, value in own if name.lower() not in names]
        request.headers = CIMultiDict([*added, *headers])
        return await handler(request)

    return send


@dataclass(slots=True)
class _Used:
    """Whether the connection that a request went to had been used before."""

    before: bool = False


async def _note_use(_session: object, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.before = True


def _traced() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_use)
    return trace


def _connecting(connector: aiohttp.TCPConnector) -> aiohttp.TCPConnector:
    protocol: type[ResponseHandler] = Connection
    connector._factory = partial(protocol, loop=asyncio.get_running_loop())
    return connector


def _session(connector: aiohttp.TCPConnector, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=_connecting(connector),
        request_class=_Request,
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
    session._retry_connection = False  # it would send again what a new connection has lost
    return session
