"""What our two servers have in common: listening, answering in Omnigent's error shape, cutting a response, stopping.

The pieces of aiohttp that are used below its public surface are all in this file and in `proxy`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict

from .cassette import Headers
from .errors import ServerError, UsageError
from .headers import decoded, header
from .payloads import dumps

LIMIT = 1 << 20
"""The longest request line, header field, or header section that is taken, in bytes."""
DRAIN_TIMEOUT = 5.0
"""Seconds that ordinary requests get to finish when a server stops."""

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

    def writer(self) -> StreamWriter:
        """Where the body goes; only after `prepare`."""
        assert isinstance(self._payload_writer, StreamWriter)
        return self._payload_writer

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


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def foreign_origin(request: web.BaseRequest) -> str | None:
    """The Origin of a page that is not on this machine; None where there is none, or it is."""
    origin = header(decoded(request.raw_headers), "origin")
    if origin is None:
        return None
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        host = None
    return None if host is not None and is_loopback(host) else origin


def foreign_host(request: web.BaseRequest) -> str | None:
    """The Host of a request that asks for us by a name that may be anybody's; None where it is an address, or this
    machine's name. A page can have its own name mean us, and would then be of our origin to its browser."""
    host = header(decoded(request.raw_headers), "host") or ""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host
    known = ("localhost", socket.gethostname().lower())
    return None if name in known or is_address(name) else host


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Listener:
    """One listening server of ours. `url` is where it is, once `start` returned."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: web.Server | None = None
        self._sockets: asyncio.Server | None = None
        self.url = ""

    async def bind(self, host: str, port: int) -> None:
        """Take the address, and accept nothing yet. Raises `ServerError` where it is taken or is none of ours."""
        if not 0 <= port <= 65535:
            raise UsageError(f"port {port} is none: choose one from 1 to 65535, or 0 for a free one")
        self._server = web.Server(
            self._handler, handler_cancellation=True, access_log=None, auto_decompress=False, keepalive_timeout=75.0,
            max_line_size=LIMIT, max_field_size=LIMIT, max_headers=16384,
        )  # fmt: skip
        try:
            loop = asyncio.get_running_loop()
            self._sockets = await loop.create_server(self._server, host, port, start_serving=False)
        except OSError as error:
            reason = "is in use" if error.errno == 98 else f"cannot be listened on ({error.strerror or error})"
            raise ServerError(f"{host}:{port} {reason}: choose another --listen, port 0 takes a free one") from error
        bound = self._sockets.sockets[0].getsockname()
        shown = f"[{bound[0]}]" if self._sockets.sockets[0].family == socket.AF_INET6 else bound[0]
        self.url = f"http://{shown}:{bound[1]}"

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
