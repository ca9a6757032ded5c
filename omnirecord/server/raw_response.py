"""A response with exactly the given header fields, whose body can be cut. It uses only public names of aiohttp.

aiohttp's own response would add Date, Server and Content-Type, and drop the Content-Length of a 304. Its writer refuses
control characters, and drops bytes that are not UTF-8.
"""

from __future__ import annotations

import socket
import struct

from aiohttp import ClientConnectionResetError, web
from aiohttp.abc import AbstractStreamWriter

from ..model import Headers
from ..wire.headers import header, unsendable, without

_SMALL = 2048
"""Bytes that are copied into one write, which costs less than three."""
_BODILESS = (204, 304)


class RawResponse(web.StreamResponse):
    """A response that is written as it is given."""

    def __init__(self, status: int, reason: str, headers: Headers) -> None:
        super().__init__(status=status, reason=reason)
        self._fields = headers
        self._asked: web.BaseRequest | None = None
        self._out: AbstractStreamWriter | None = None
        self._is_over = self._is_chunked = False
        self.is_cut = False
        """Whether the connection ended in the body."""
        self._stays_open: bool | None = None

    @property
    def prepared(self) -> bool:
        return self._is_over or self._out is not None

    @property
    def keep_alive(self) -> bool | None:
        return self._stays_open

    def force_close(self) -> None:
        self._stays_open = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the header section. Raises `ValueError` for a field that cannot be sent."""
        if self.prepared:
            return self._out
        fields = self._fields
        is_1_1 = request.version >= (1, 1)
        keep = request.keep_alive if self._stays_open is None else self._stays_open
        self._stays_open = keep = keep and is_1_1  # an HTTP/1.0 client would need a field that says so
        bodiless = self.status < 200 or self.status in _BODILESS or request.method == "HEAD"
        self._is_chunked = not bodiless and is_1_1 and header(fields, "content-length") is None
        if self._is_chunked:
            fields = (*without(fields, {"transfer-encoding"}), ("Transfer-Encoding", "chunked"))
        if self.status != 101 and not keep and is_1_1:
            fields = (*without(fields, {"connection"}), ("Connection", "close"))
        if unsendable(self.reason or "", fields):
            raise ValueError("a response has a header field that cannot be sent")
        first = f"HTTP/{request.version.major}.{request.version.minor} {self.status} {self.reason}"
        lines = [first, *(f"{name}: {value}" for name, value in fields), "", ""]
        self._asked = request
        self._out = request.writer
        await self._out.write("\r\n".join(lines).encode("utf-8", "surrogateescape"))
        if self._is_chunked:
            self._out.enable_chunking()
        return self._out

    def forget_headers(self) -> None:
        """Free the fields after they are sent: a stream may be open for days."""
        self._fields = ()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes of the body, and wait while the client is slow. Only after `prepare`."""
        assert self._out is not None
        await self._out.write(data)

    async def drain(self) -> None:
        """Wait while the client is slow. Only after `prepare`."""
        assert self._out is not None
        await self._out.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """End the body; called by aiohttp."""
        if not self._is_over and self._out is not None:
            await self._out.write_eof(data)
            self._is_over = True
            self._asked = None

    def write_at_once(self, data: bytes) -> None:
        """Hand bytes of the body to the transport without a wait. Only after `prepare`. Raises
        `ClientConnectionResetError` if the client is gone."""
        transport = self._asked.transport if self._asked is not None else None
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client is gone")
        if not self._is_chunked:
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
        self._is_over = self.is_cut = True
        self.force_close()
        if request.transport is not None:
            request.transport.close()
