"""The upstreams of a recorder, each with a listener for its clients (`Target`); and connections to them (`Upstream`).

The first upstream may have no name. The others have one: their exchanges are a hop of their own.

The proxy adds nothing, decodes nothing, and has no timeout.
If aiohttp's parser refuses something, it drops the whole segment. That may hold a valid response to HEAD before an
invalid body, or events before an invalid chunk. A direct client would have these. So `Connection` gives the parser
one header section at a time. After an invalid chunk, aiohttp lets the reader of the body wait for ever; here the body
ends. `Connection` is not used if aiohttp lacks a private name that it needs. Then a header section is lost if its
segment has an invalid chunk. A body ends up to `_LOOK_EVERY` seconds after an invalid chunk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from inspect import signature
from itertools import chain, islice
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp import ClientPayloadError, ClientResponse, StreamReader, web
from multidict import CIMultiDict
from yarl import URL

from ...errors import UsageError
from ...model import Headers, checked_hop
from ...options import RecordOptions
from ...server.access import explained
from ...server.aiohttp_names import ConnectionKey, RawResponseMessage
from ...server.aiohttp_private import (
    Few,
    RequestOfClient,
    UpstreamProtocol,
    client_lacks,
    connection_key,
    idle_connections,
    upstream_lacks,
    use_protocol,
)
from ...server.http import number_of
from ...server.listener import Listener, Place, check_apart
from ...server.refusals import FIELD_LIMIT, FIELDS, LIMIT, SectionTooLarge
from ...wire.addresses import is_loopback, repeated_part
from ...wire.headers import asks_for_websocket, section_size
from ...wire.redirects import Reached, address_beside, client_address
from .via import HttpProxy, http_proxy

log = logging.getLogger("omnirecord")

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
            self.resume_now(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        body = self.body
        self.body = None
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
_LOOK_EVERY = 1.0
"""Seconds between two checks whether a connection ended in a body, without the fast path."""
_TAKES_A_LIMIT = "max_headers" in signature(aiohttp.ClientSession).parameters
"""Whether aiohttp limits the number of header fields, as it does since 3.13.4."""
_READ_AT_ONCE = 64 * 1024
"""Bytes that aiohttp reads ahead, up to twice as many. Its default, 512 KiB, would hide a slow client from upstream."""
_FRAMING = ("host", "transfer-encoding")
"""The only fields that the proxy adds to a request."""
_CONNECTS_WITHIN = 10.0
"""Seconds after which the check at the start gives up. A request waits longer."""


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


def _why_unreachable(error: aiohttp.ClientOSError) -> str | None:
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


class Upstream:
    """Connections to one upstream. Those of idempotent requests are used again, others are closed: a POST on a dying
    connection would fail, and could not be sent again.

    A connection is never used again after a request with a body or an upgrade: upstream may see another end of it.
    It is used again for the same client connection only, so that late bytes of upstream reach no other client.
    If aiohttp lacks a private name of the fast path, no connection is used again.
    """

    def __init__(self, url: URL, tls: ssl.SSLContext | None = None, via: HttpProxy | None = None) -> None:
        self._url = url
        self._via = via
        self._options: dict[str, Any] = {"allow_redirects": False}
        if via is not None:
            self._options |= {"proxy": via.url, "proxy_headers": via.headers}
        # for https, aiohttp asks the HTTP proxy for a tunnel; else the proxy reads each request
        self._reader = via if url.scheme == "http" else None
        self._prefix = url.raw_path.rstrip("/")
        self._has_told = False
        """Whether the log has a line about a repeated part of the path."""
        verified = True if tls is None else tls
        self._is_fast = not upstream_lacks()
        kept = aiohttp.TCPConnector if self._is_fast else partial(_ClosingConnector, force_close=True)
        connector = kept(limit=0, ttl_dns_cache=10, ssl=verified)
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_use)
        self._pooled = _session(connector, trace)
        self._connector = connector
        self._key: ConnectionKey | None = None  # of all connections, but for the client
        self._single = _session(aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=10, ssl=verified))

    def _tell_repeated(self, target: str) -> None:
        """Log the cause of a 404 if both the upstream's URL and the client have a part of the path."""
        part = repeated_part(self._prefix, target)
        if part:
            self._has_told = True
            path = f"{self._prefix}{target.partition('?')[0]}"
            log.warning(
                "the upstream answers 404 to %s: --upstream ends with %s, and the client sends it, too. Leave %s out of"
                " --upstream",
                path,
                part,
                part,
            )

    async def request(
        self, client: int, method: str, target: str, headers: Headers, body: AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        """Send a request of the client connection with this number, and return its response without the body. It is
        sent again only if its connection had been used before and was lost. Raises aiohttp's errors."""
        url = self._url.with_path(self._prefix + target, encoded=True)  # with the query, so that a lone `?` stays
        answer = None
        if method in _IDEMPOTENT and body is None and not asks_for_websocket(headers):
            used = SimpleNamespace(before=False)
            middlewares = [self._middleware(client, headers)]
            try:
                answer = await self._pooled.request(
                    method, url, headers=headers, middlewares=middlewares, trace_request_ctx=used, **self._options
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not used.before:
                    raise
        if answer is None:
            middlewares = [self._middleware(client, headers)]
            answer = await self._single.request(
                method, url, headers=headers, middlewares=middlewares, data=body, **self._options
            )
        if answer.status == 404 and not self._has_told:
            self._tell_repeated(target)
        if answer.status == 407 and self._reader is not None:  # the HTTP proxy asks the recorder, not the client
            answer.close()
            raise aiohttp.ClientHttpProxyError(answer.request_info, (), status=407)
        if not self._is_fast:
            if section_size(len(answer.reason or ""), answer.raw_headers) > LIMIT:
                answer.close()
                raise SectionTooLarge
            _end_with_connection(answer, asyncio.get_running_loop())
        if (connection := connection_of(answer)) is not None:
            connection.body = answer.content
        return answer

    def _middleware(self, client: int, headers: Headers) -> aiohttp.ClientMiddlewareType:
        """Return the middleware that lets a request use the connections of this client only, and sends these fields
        unchanged: aiohttp merges names that differ in case."""
        names = {name.lower() for name, _ in headers}

        async def send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            if isinstance(request, RequestOfClient):
                self._key = request.connection_key
                request.client = client
            own = [(name, value) for name, value in request.headers.items() if name.lower() in _FRAMING]
            added = [(name, value) for name, value in own if name.lower() not in names]
            request.headers = CIMultiDict([*added, *headers])
            if self._reader is not None:
                request.headers.update(self._reader.headers)
            return await handler(request)

        return _once(send)

    def why_unreachable(self, error: aiohttp.ClientOSError | aiohttp.ClientHttpProxyError) -> str | None:
        """Return why the upstream was not reached; None if it was."""
        if isinstance(error, aiohttp.ClientHttpProxyError):
            assert self._via is not None
            return self._via.refusal(error.status)
        reason = _why_unreachable(error)
        return reason if reason is None or self._via is None else self._via.unreachable(error, reason)

    async def missing(self) -> str | None:
        """Open a connection as for a request, and close it. Return why there is none; None if there is one."""

        async def only_connect(
            request: aiohttp.ClientRequest, _handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            assert self._single.connector is not None
            (await self._single.connector.connect(request, [], aiohttp.ClientTimeout())).close()
            raise _Connected

        host = (self._url if self._via is None else self._via.url).host or ""
        try:
            async with asyncio.timeout(_CONNECTS_WITHIN):
                if (why := await _without_address(host)) is not None:
                    return f"the name {host} has no address ({why})"
                await self._single.get(self._url, middlewares=[_once(only_connect)], **self._options)
        except _Connected:
            return None
        except TimeoutError:
            return f"no answer within {_CONNECTS_WITHIN:g} s"
        except (aiohttp.ClientOSError, aiohttp.ClientHttpProxyError) as error:
            return self.why_unreachable(error) or "it closed the connection"
        except aiohttp.ClientError:
            return "it closed the connection"
        return None

    def left(self, client: int) -> None:
        """Close the idle connections of a client connection that is closed."""
        if self._is_fast and self._key is not None:
            idle = idle_connections(self._connector)
            for protocol, _ in idle.pop(connection_key(client, self._key), ()):
                protocol.close()

    @property
    def idle(self) -> int:
        """The number of open connections without a request."""
        return sum(map(len, idle_connections(self._connector).values())) if self._is_fast else 0

    def let_go(self) -> None:
        """Close the idle connections: their file descriptors are needed."""
        if not self._is_fast:
            return
        idle = idle_connections(self._connector)
        for protocol, _ in chain.from_iterable(list(idle.values())):
            protocol.close()
        idle.clear()

    async def close(self) -> None:
        await self._pooled.close()
        await self._single.close()


def _once(send: aiohttp.ClientMiddlewareType) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that calls `send` once. aiohttp calls it again for an idempotent request: then it raises the
    first error."""
    failed: list[Exception] = []

    async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if failed:
            raise failed[0]
        try:
            return await send(request, handler)
        except Exception as error:
            failed.append(error)
            raise

    return once


class _Connected(Exception):
    """A connection was opened, and that was all."""


async def _without_address(host: str) -> str | None:
    """Return why a host name has no address; None if it has one. The thread of the event loop's own look-up would
    delay the end of the process."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str | None] = loop.create_future()

    def look_up() -> None:
        why = None
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, why)

    def tell(why: str | None) -> None:
        if not found.done():  # as it is if the check was cancelled
            found.set_result(why)

    threading.Thread(target=look_up, name="omnirecord-name", daemon=True).start()
    return await found


class _ClosingConnector(aiohttp.TCPConnector):
    """Closes each connection after its response. No header field says so, just as for a connection that is kept."""

    @property
    def force_close(self) -> bool:
        return False


def slower_because() -> str | None:
    """Return why streams do not take the fast path; None if they do. Call it in an event loop."""
    if not (lacks := (*upstream_lacks(), *client_lacks())):
        return None
    return f"aiohttp {aiohttp.__version__} lacks {', '.join(lacks)}: streams pass unchanged, and take more CPU time"


def _end_with_connection(answer: ClientResponse, loop: asyncio.AbstractEventLoop) -> None:
    """End the body with its connection. After an invalid chunk, aiohttp closes that, but the reader would wait."""
    if (connection := answer.connection) is None:
        return
    if connection.transport is not None:
        loop.call_later(_LOOK_EVERY, _end_with_connection, answer, loop)
    elif not answer.content.is_eof() and answer.content.exception() is None:
        answer.content.set_exception(ClientPayloadError("the connection ended in the body"))


async def _note_use(_session: object, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.before = True


def _session(connector: aiohttp.TCPConnector, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    if is_fast := not upstream_lacks():
        use_protocol(connector, partial(Connection, loop=asyncio.get_running_loop()))
    limit: dict[str, Any] = {"max_headers": FIELDS} if _TAKES_A_LIMIT else {}
    return aiohttp.ClientSession(
        connector=connector,
        request_class=RequestOfClient if is_fast else aiohttp.ClientRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),  # none
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        read_bufsize=_READ_AT_ONCE,
        max_line_size=LIMIT,
        max_field_size=FIELD_LIMIT,
        trace_configs=list(traces),
        **limit,
    )


class Target:
    """One upstream. `number`: its position among the upstreams. `handler` gets the target and a request."""

    def __init__(
        self,
        number: int,
        name: str | None,
        url: str,
        contract: str | None,
        place: Place,
        handler: Callable[[Target, web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        no_proxy: bool,
    ) -> None:
        self.number = number
        self.name = name
        self.contract = contract
        self._url = parse_upstream(url)
        self.shown = str(self._url)
        self.is_https = self._url.scheme == "https"
        self.via = None if no_proxy else http_proxy(self._url)
        self.uses_tls = self.is_https or (self.via is not None and self.via.url.scheme == "https")
        # a client connection has two file descriptors: its own, and the one to upstream
        self.listener = Listener(lambda request: handler(self, request), place, cost=2)
        self.exchanges = 0
        self.others: list[Target] = []

    def reached(self, request: Headers) -> list[Reached]:
        """Return the upstreams of the recorder, this one first, with the addresses at which the client of a request
        reaches them."""
        here = client_address(request, self.listener.url)
        others = (Reached(one.shown, address_beside(here, one.listener.url)) for one in self.others)
        return [Reached(self.shown, here), *others]

    def refuse_itself(self, own: Iterable[str]) -> None:
        """Raise `UsageError` if it is at one of the proxy's own URLs: a request would never end."""
        host = self._url.host or ""
        whole = ("0.0.0.0", "::")
        for here in (one for one in map(URL, own) if one.port == self._url.port):
            if host == here.host or (is_loopback(host) and (here.host in whole or host == "localhost")):
                own_address = f"--upstream {self.shown} is the proxy's own address"
                raise UsageError(f"{own_address}: name the server, or another --listen")

    def connect(self, tls: ssl.SSLContext | None) -> None:
        """Make `upstream`."""
        self.upstream = Upstream(self._url, tls, self.via)

    def attend(
        self, elsewhere: Callable[[], int], let_go: Callable[[], object], noted: Callable[[str], object]
    ) -> None:
        """Let the listener count and close connections as `Accepting` says."""
        upstream = self.upstream
        accepting = self.listener.accepting
        accepting.elsewhere = elsewhere
        accepting.let_go = let_go
        accepting.noted = noted
        accepting.closed = lambda protocol: upstream.left(number_of(protocol))

    async def check(self) -> None:
        """Warn if no connection to the upstream is possible."""
        if (why := await self.upstream.missing()) is not None:
            log.warning("no connection to the upstream %s: %s. Clients get a 502 until there is one", self.shown, why)

    def warn(self, *, insecure: bool, has_control: bool) -> None:
        """Warn of options that are not safe. `has_control`: its listener has the control path."""
        if self.listener.is_remote:
            log.warning(
                "any client that can reach %s can use %s through it: the proxy asks for no token%s",
                self.listener.url,
                self.shown,
                ", except on its control path" if has_control else "",
            )
        if insecure and self.is_https:
            log.warning(
                "--insecure: the certificate of %s is not verified, so a machine in between can read and change"
                " everything",
                self.shown,
            )


def targets_of(
    options: RecordOptions, place: Place, handler: Callable[[Target, web.BaseRequest], Awaitable[web.StreamResponse]]
) -> list[Target]:
    """Return the upstreams of a recorder, that without a name first. Raises `UsageError`. `place` is that of the first
    one. By default, another one has a free port of the same host."""
    upstream = options.upstream
    upstreams = options.upstreams or {}
    contracts = options.contracts or {}
    listens = options.listens or {}
    if upstream is None and not upstreams:
        raise UsageError("there is no upstream to record: give --upstream URL")
    for hop in upstreams:
        try:
            checked_hop(hop)
        except (TypeError, ValueError) as error:
            raise UsageError(f"--upstream {hop}=: {hop!r} {error}") from None
    for option, given in (("--contract", contracts), ("--listen", listens)):
        if unknown := [name for name in given if name not in upstreams]:
            raise UsageError(f"{option} {unknown[0]}= has no upstream: give --upstream {unknown[0]}=URL as well")
    first: list[tuple[str | None, str]] = [] if upstream is None else [(None, upstream)]
    made = []
    for number, (name, url) in enumerate([*first, *upstreams.items()]):
        at = place if number == 0 else replace(place, port=0)
        if name is not None and name in listens:
            at = at.at(listens[name], f"--listen {name}=")
        judge = options.contract if name is None else contracts.get(name)
        made.append((number, name, url, judge, at))
    check_apart([at for *_, at in made], "upstreams")
    targets = [Target(*one, handler, no_proxy=options.no_proxy) for one in made]
    for target in targets:
        target.others = [one for one in targets if one is not target]
    return targets
