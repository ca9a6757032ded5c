"""What our two servers have in common: listening, answering in Omnigent's error shape, cutting a response, stopping.

The pieces of aiohttp that are used below its public surface are all in this file and in `proxy`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientConnectionResetError, web
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import CIMultiDict

from .cassette import Headers
from .errors import ServerError, UsageError
from .guarding import Guard, checked_token, is_loopback
from .headers import decoded, section_size
from .payloads import dumps
from .tls import File, listening_context

LIMIT = 1 << 16
"""The longest request line, and the longest header section with its first line, in bytes."""
FIELD_LIMIT = LIMIT - 4
"""The longest name and value of a header field together, in bytes; with `: ` and CRLF they are a line of `LIMIT`."""
FIELDS = 1000
"""The most header fields of a message."""
BACKLOG = 4096
"""How many clients may come at once: of more than are taken in, each waits a second or longer to be let in."""
DRAIN_TIMEOUT = 5.0
"""Seconds that ordinary requests get to finish when a server stops."""

_LINGER, _QUIET = 1.0, 0.05
"""Seconds that a refused client may go on sending before its connection is closed, and without a byte until then."""
_SMALL = 2048
"""Bytes that are copied, since that costs less than to write three pieces."""

TOKEN_VARIABLE = "OMNIRECORD_TOKEN"
"""The environment variable that may hold the token which the control path asks for."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class RawResponse(web.StreamResponse):
    """A response whose header section goes out exactly as given, and whose body can be cut.

    aiohttp would add Date, Server and Content-Type, and drop the Content-Length of a 304.
    """

    def __init__(self, status: int, reason: str, headers: Headers) -> None:
        super().__init__(status=status, reason=reason)
        self._headers = CIMultiDict(headers)

    async def _prepare_headers(self) -> None:
        request, writer = self._req, self._payload_writer
        assert request is not None
        assert writer is not None
        keep = request.keep_alive if self._keep_alive is None else self._keep_alive
        keep = keep and request.version >= (1, 1)  # an older client would have to be told in a header of our own
        length = self._headers.get("Content-Length")
        bodiless = self._must_be_empty_body or request.method == "HEAD"
        if not bodiless and length is None and request.version >= (1, 1):
            writer.enable_chunking()
            self._headers["Transfer-Encoding"] = "chunked"
        if self.status != 101 and not keep and request.version >= (1, 1):
            self._headers["Connection"] = "close"
        self._keep_alive = keep

    def forget_headers(self) -> None:
        """They have been sent, and what is open for days needs them no more."""
        self._headers = CIMultiDict()

    def writer(self) -> StreamWriter:
        """Where the body goes; only after `prepare`."""
        assert isinstance(self._payload_writer, StreamWriter)
        return self._payload_writer

    def write_at_once(self, data: bytes) -> None:
        """Hand some of the body to the transport, whatever waits in that; only after `prepare`. Raises
        `ClientConnectionResetError` where the client is gone."""
        transport = self._req.transport if self._req is not None else None
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client is gone")
        if not self.writer().chunked:
            transport.write(data)
        elif len(data) < _SMALL:
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))

    def reset(self, request: web.BaseRequest) -> None:
        """End the connection by an RST, as a killed process with unread bytes does. What was not yet on its way is
        lost."""
        sock = request.transport.get_extra_info("socket") if request.transport is not None else None
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut(request)

    def cut(self, request: web.BaseRequest) -> None:
        """End the connection here, so that the client sees a body cut short and no clean end."""
        self._eof_sent = True
        self.force_close()
        if request.transport is not None:
            request.transport.close()


def json_response(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, text=dumps(value), content_type="application/json")


def error_response(status: int, code: str, message: str, **details: Any) -> web.Response:
    """An error in Omnigent's shape: `{"error": {"code", "message"}}`."""
    return json_response({"error": {"code": code, "message": message, **details}}, status)


def continue_upload(request: web.BaseRequest, headers: Headers) -> None:
    """A client that waits for leave to send its body (`Expect: 100-continue`) gets it."""
    expects = any(name.lower() == "expect" and value.lower() == "100-continue" for name, value in headers)
    if expects and request.body_exists and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def parse_listen(listen: str, *, allow_remote: bool) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises `UsageError`, also where it is not loopback and may not be remote."""
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]")
    is_number = port.isascii() and port.isdecimal() and len(port) <= 5
    if not colon or not host or not is_number or int(port) > 65535:
        raise UsageError(
            f"--listen {listen!r} is no HOST:PORT: write for instance 127.0.0.1:6868, port 0 for a free one"
        )
    if not allow_remote and not is_loopback(host):
        raise UsageError(f"--listen {listen!r} is reachable from elsewhere: add --allow-remote if that is meant")
    return host, int(port)


def refused(guard: Guard, request: web.BaseRequest, *, is_public: bool = False) -> web.Response | None:
    """The answer to a request for the control path that may not pass; None where it may. `is_public`: see `Guard`.

    Whatever is served below the control path asks this first.
    """
    headers = decoded(request.raw_headers)
    refusal = guard.refusal(request.method, request._message.path, headers, is_public=is_public)
    if refusal is None:
        return None
    answer = error_response(refusal.status, refusal.code, f"omnirecord: {refusal.message}")
    if refusal.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server of ours listens. `token`: what its control path asks for, instead of one that is made up where
    it is reachable from elsewhere. `tls_cert` and `tls_key`: PEM files, for https. Raises `UsageError` where the host
    is not loopback and that was not allowed."""

    host: str = "127.0.0.1"
    port: int = 0
    allow_remote: bool = False
    token: str | None = None
    tls_cert: File | None = None
    tls_key: File | None = None

    def __post_init__(self) -> None:
        if not self.allow_remote and not is_loopback(self.host):
            raise UsageError(f"host {self.host!r} is reachable from elsewhere: pass allow_remote=True if that is meant")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port} is none: choose one from 1 to 65535, or 0 for a free one")
        if self.token is not None:
            checked_token(self.token, "the token")


class SectionTooLarge(HttpProcessingError):
    """A header section has more than `LIMIT` bytes, or more than `FIELDS` fields."""

    code = 431
    message = f"its header section has more than {LIMIT:,} bytes or {FIELDS:,} fields"


def is_too_large(error: BaseException | None) -> bool:
    """Returns whether this error, or one that caused it, says that a header section or a line of one is too large."""
    while error is not None and not isinstance(error, SectionTooLarge | LineTooLong):
        if isinstance(error, BadHttpMessage) and error.message == "Too many headers received":
            return True
        error = error.__cause__
    return error is not None


class _Client(RequestHandler):
    """A client's connection. A request whose header section has more than `LIMIT` bytes is refused, and its connection
    closed: what is behind it is not read as a request."""

    _section = 0  # bytes since the last request that belong to the header section of the next one
    _upload: StreamReader = EMPTY_PAYLOAD
    _is_refused = False
    _discarded_at = 0.0

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            self._discarded_at = self._loop.time()
            return
        in_section = self._upload.is_eof() and not (self._upgraded or self._buffer_paused)
        before = self._request_count
        super().data_received(data)
        if new := self._request_count - before:
            if self._section + len(data) > LIMIT:
                self._examine(min(new, len(self._messages)))
            self._section, self._upload = 0, self._messages[-1][1] if self._messages else EMPTY_PAYLOAD
        elif in_section:
            self._section += len(data)
            if self._section > LIMIT:
                self._refuse()

    def _examine(self, new: int) -> None:
        """Refuse the first of the `new` last requests that has too large a header section, and drop what follows it."""
        for at in range(len(self._messages) - new, len(self._messages)):
            message = self._messages[at][0]
            if isinstance(message, _ErrInfo) or section_size(len(message.path), message.raw_headers) > LIMIT:
                while len(self._messages) > at:
                    refused, _ = self._messages.pop()
                self._refuse(refused.exc if isinstance(refused, _ErrInfo) else None)
                return

    def _refuse(self, error: BaseException | None = None) -> None:
        self._is_refused, self._discarded_at = True, self._loop.time()
        why = error if isinstance(error, HttpProcessingError) else SectionTooLarge()
        self._messages.append((_ErrInfo(why.code, why, why.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _make_error_handler(self, err_info: _ErrInfo) -> Handler:
        if not is_too_large(err_info.exc):
            return super()._make_error_handler(err_info)
        is_line = isinstance(err_info.exc, LineTooLong) and err_info.exc.args[1] == LIMIT
        self._is_refused = True

        async def refuse(_request: web.BaseRequest) -> web.StreamResponse:
            await self._linger()
            return _line_too_long() if is_line else _section_too_large()

        return refuse

    async def _linger(self) -> None:
        """Let the client send the rest: if bytes of it are unread when the connection is closed, the answer is lost."""
        began = self._loop.time()
        while self._loop.time() < min(began + _LINGER, max(began, self._discarded_at) + _QUIET):  # noqa: ASYNC110
            await asyncio.sleep(_QUIET)


def _line_too_long() -> web.Response:
    answer = error_response(414, "uri_too_long", f"omnirecord: the request line has more than {LIMIT:,} bytes")
    answer.force_close()
    return answer


def _section_too_large() -> web.Response:
    message = f"omnirecord: the header section has more than {LIMIT:,} bytes or {FIELDS:,} fields"
    answer = error_response(431, "header_fields_too_large", message)
    answer.force_close()
    return answer


class _Server(web.Server):
    """aiohttp's server, with connections of ours."""

    def __call__(self) -> RequestHandler:
        return _Client(self, loop=self._loop, **self._kwargs)


class Listener:
    """One listening server of ours. `url` is where it is, once `bind` returned; `guard` lets requests to its control
    path pass, who have to send `token` unless that is None (`is_made`: it was made up here); `is_remote`: whether it is
    reachable from elsewhere."""

    def __init__(self, handler: Handler, place: Place) -> None:
        self._handler = handler
        self._place = place
        self._server: web.Server | None = None
        self._sockets: asyncio.Server | None = None
        self.url = ""
        self.guard = Guard()
        self.token: str | None = None
        self.is_remote = self.is_made = False

    async def bind(self) -> None:
        """Take the address, and accept nothing yet. Raises `ServerError` where it is taken or is none of ours, and
        `UsageError` where the token in the environment is none, or the certificate."""
        host, port = self._place.host, self._place.port
        self.token = self._place.token or _token_of_environment()
        tls = listening_context(self._place.tls_cert, self._place.tls_key)
        self._server = _Server(
            self._handler, handler_cancellation=True, access_log=None, auto_decompress=False, keepalive_timeout=75.0,
            max_line_size=LIMIT, max_field_size=FIELD_LIMIT, max_headers=FIELDS,
        )  # fmt: skip
        try:
            loop = asyncio.get_running_loop()
            self._sockets = await loop.create_server(
                self._server, host, port, ssl=tls, start_serving=False, backlog=BACKLOG
            )
        except OSError as error:
            reason = "is in use" if error.errno == 98 else f"cannot be listened on ({error.strerror or error})"
            raise ServerError(f"{host}:{port} {reason}: choose another --listen, port 0 takes a free one") from error
        bound = [one.getsockname() for one in self._sockets.sockets]
        self._watch_over([address for address, *_ in bound])
        shown = f"[{bound[0][0]}]" if ":" in bound[0][0] else bound[0][0]
        self.url = f"{'http' if tls is None else 'https'}://{shown}:{bound[0][1]}"

    def _watch_over(self, bound: list[str]) -> None:
        """A name may mean more than it says: what counts is what the sockets are bound to."""
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
        self.guard = Guard(names, any_address=anywhere, token=self.token)

    async def start(self) -> None:
        """Accept connections, from now on."""
        assert self._sockets is not None
        await self._sockets.start_serving()

    def refuse_connections(self) -> None:
        """Accept no more connections, and no further requests on those that are open.

        One whose upload is not over is left alone: a closing connection of aiohttp is deaf.
        """
        if self._sockets is not None:
            self._sockets.close()
        for connection in self._server.connections if self._server is not None else ():
            request = connection._current_request
            if request is None or request.content.is_eof():
                connection.close()

    async def stop(self, timeout: float) -> None:
        """Wait for what is going on, `timeout` seconds at the most, then close every connection."""
        self.refuse_connections()
        if self._server is not None:
            await self._server.shutdown(timeout)


def _token_of_environment() -> str | None:
    token = os.environ.get(TOKEN_VARIABLE)
    return checked_token(token, TOKEN_VARIABLE) if token else None
