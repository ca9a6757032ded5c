"""What our two servers have in common: listening, answering in Omnigent's error shape, cutting a response, stopping."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from dataclasses import dataclass

from aiohttp import ClientConnectionResetError, web
from multidict import CIMultiDict

from ..errors import ServerError, UsageError
from ..model import Headers
from ..wire.headers import decoded, unsendable
from .accept import Accepting
from .access import Guard, checked_token, is_loopback
from .aiohttp_private import BaseResponse, StreamWriter, current_request, send_header_section
from .http import FIELD_LIMIT, FIELDS, LIMIT, Handler, Server, error_response
from .tls import File, listening_context

DRAIN_TIMEOUT = 5.0
"""Seconds that ordinary requests get to finish when a server stops."""

_SMALL = 2048
"""Bytes that are copied, since that costs less than to write three pieces."""

TOKEN_VARIABLE = "OMNIRECORD_TOKEN"
"""The environment variable that may hold the token which the control path asks for."""


class RawResponse(BaseResponse):
    """A response whose header section goes out exactly as given, and whose body can be cut.

    aiohttp would add Date, Server and Content-Type, and drop the Content-Length of a 304.
    """

    def __init__(self, status: int, reason: str, headers: Headers) -> None:
        super().__init__(status=status, reason=reason)
        self.fields = CIMultiDict(headers)

    async def prepare_fields(self) -> None:
        request, writer = self.request, self.payload_writer
        assert request is not None
        assert writer is not None
        keep = request.keep_alive if self.keeps_alive is None else self.keeps_alive
        keep = keep and request.version >= (1, 1)  # an older client would have to be told in a header of our own
        length = self.fields.get("Content-Length")
        bodiless = self.has_no_body or request.method == "HEAD"
        if not bodiless and length is None and request.version >= (1, 1):
            writer.enable_chunking()
            self.fields["Transfer-Encoding"] = "chunked"
        if self.status != 101 and not keep and request.version >= (1, 1):
            self.fields["Connection"] = "close"
        self.keeps_alive = keep

    async def write_fields(self) -> None:
        """Without aiohttp's writer: that refuses control characters, and leaves out bytes that are not UTF-8."""
        request, writer = self.request, self.writer()
        assert request is not None
        first = f"HTTP/{request.version.major}.{request.version.minor} {self.status} {self.reason}"
        lines = [first, *(f"{name}: {value}" for name, value in self.fields.items()), "", ""]
        if unsendable(self.reason or "", tuple(self.fields.items())):
            raise ValueError("a response has a header field that cannot be sent")
        send_header_section(writer, "\r\n".join(lines).encode("utf-8", "surrogateescape"))

    def forget_headers(self) -> None:
        """They have been sent, and what is open for days needs them no more."""
        self.fields = CIMultiDict()

    def writer(self) -> StreamWriter:
        """Where the body goes; only after `prepare`."""
        assert isinstance(self.payload_writer, StreamWriter)
        return self.payload_writer

    def write_at_once(self, data: bytes) -> None:
        """Hand some of the body to the transport, whatever waits in that; only after `prepare`. Raises
        `ClientConnectionResetError` where the client is gone."""
        transport = self.request.transport if self.request is not None else None
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
        self.is_ended = True
        self.force_close()
        if request.transport is not None:
            request.transport.close()


def continue_upload(request: web.BaseRequest, headers: Headers) -> None:
    """A client that waits for leave to send its body (`Expect: 100-continue`) gets it."""
    expects = any(name.lower() == "expect" and value.lower() == "100-continue" for name, value in headers)
    if expects and request.body_exists and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def parse_listen(listen: str, *, allow_remote: bool, option: str = "--listen") -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises `UsageError`, also where it is not loopback and may not be remote."""
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


def refused(guard: Guard, request: web.BaseRequest, *, is_public: bool = False) -> web.Response | None:
    """The answer to a request for the control path that may not pass; None where it may. `is_public`: see `Guard`.

    Whatever is served below the control path asks this first.
    """
    headers = decoded(request.raw_headers)
    refusal = guard.refusal(request.method, request.raw_path, headers, is_public=is_public)
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
    option: str = "--listen"
    """What errors call it."""

    def __post_init__(self) -> None:
        if not self.allow_remote and not is_loopback(self.host):
            raise UsageError(f"host {self.host!r} is reachable from elsewhere: pass allow_remote=True if that is meant")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port} is none: choose one from 1 to 65535, or 0 for a free one")
        if self.token is not None:
            checked_token(self.token, "the token")


class Listener:
    """One listening server of ours. `url` is where it is, once `bind` returned; `guard` lets requests to its control
    path pass, who have to send `token` unless that is None (`is_made`: it was made up here); `is_remote`: whether it is
    reachable from elsewhere. `has_pages`: it serves no pages but our own, so that these may use the control path. A
    connection costs `cost` file descriptors: 2 where its request needs one upstream."""

    def __init__(self, handler: Handler, place: Place, *, has_pages: bool = False, cost: int = 1) -> None:
        self._handler, self._has_pages = handler, has_pages
        self._place = place
        self._server: Server | None = None
        self.accepting = Accepting(cost)
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
        self._server = Server(
            self._handler, self.accepting, handler_cancellation=True, access_log=None, auto_decompress=False,
            keepalive_timeout=75.0, max_line_size=LIMIT, max_field_size=FIELD_LIMIT, max_headers=FIELDS,
        )  # fmt: skip
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
        binding.close()  # it never listened: the sockets are ours
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
        self.guard = Guard(names, any_address=anywhere, token=self.token, has_pages=self._has_pages)

    async def start(self) -> None:
        """Accept connections, from now on."""
        self.accepting.start()

    def refuse_connections(self) -> None:
        """Accept no more connections, and no further requests on those that are open.

        One whose upload is not over is left alone: a closing connection of aiohttp is deaf.
        """
        self.accepting.stop()
        for connection in self._server.connections if self._server is not None else ():
            request = current_request(connection)
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
