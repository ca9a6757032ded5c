"""A wire that a test holds both ends of: an upstream and a client on raw TCP, whose every byte the test decides.

Nothing here knows HTTP but for what a test has to read: where a header section ends, and what its body is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.ports import free_port
from omnirecord import record
from omnirecord.cassette.sqlite import Store
from omnirecord.model import Exchange, TimedFrame
from omnirecord.recorder.proxy.server import Proxy

PATIENCE = 30.0
"""Seconds after which a test that waits has failed, on a busy machine as well."""
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

Headers = list[tuple[bytes, bytes]]
_HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding"}


class Wire:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self, least: int = 1) -> bytes:
        """At least so many bytes, unless the other side ends before."""
        data = b""
        while len(data) < least:
            async with asyncio.timeout(PATIENCE):
                more = await self.reader.read(1 << 20)
            if not more:
                break
            data += more
        return data

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and including `mark`."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """Everything that comes before the other side ends, be it by a reset."""
        data = b""
        try:
            while more := await self.read():
                data += more
        except ConnectionResetError:
            pass
        return data

    async def gone(self) -> None:
        """Wait until the other side has ended."""
        await self.rest()

    async def head(self) -> tuple[bytes, Headers]:
        """The first line and the header lines of the next message."""
        section = (await self.until(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
        first, *lines = section.split(b"\r\n")
        return first, [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    async def body(self, headers: Headers, *, bodiless: bool = False) -> tuple[bytes, bool]:
        """A message's body, and whether it came whole. Without a length it lasts until the end."""
        fields = {name.lower(): value for name, value in headers}
        if bodiless:
            return b"", True
        if fields.get(b"transfer-encoding") == b"chunked":
            return await self._chunked()
        if b"content-length" in fields:
            size = int(fields[b"content-length"])
            data = b""
            while len(data) < size and (more := await self._read_most(size - len(data))):
                data += more
            return data, len(data) == size
        return await self.rest(), True

    async def _read_most(self, most: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(most)
            except ConnectionResetError:
                return b""

    async def _chunked(self) -> tuple[bytes, bool]:
        data = b""
        try:
            while size := int((await self.until(b"\r\n")).split(b";")[0], 16):
                async with asyncio.timeout(PATIENCE):
                    data += (await self.reader.readexactly(size + 2))[:-2]
            await self.until(b"\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            return data + getattr(error, "partial", b""), False
        return data, True

    async def chunk(self) -> bytes:
        """The data of the next chunk."""
        size = int(await self.until(b"\r\n"), 16)
        async with asyncio.timeout(PATIENCE):
            return (await self.reader.readexactly(size + 2))[:-2]

    async def request(self) -> tuple[bytes, Headers, bytes]:
        """The next request, whole."""
        line, headers = await self.head()
        has_body = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
        body, _ = await self.body(headers, bodiless=not has_body)
        return line, headers, body

    async def stream(self, first: bytes = b"") -> None:
        """Take a request and answer it with a stream that goes on."""
        await self.request()
        await self.send(STREAM)
        if first:
            await self.send(chunk(first))

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End with an RST, as a killed process with unread bytes does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Answer:
    """One response as it came over the wire."""

    status: bytes
    headers: Headers
    body: bytes
    whole: bool

    @property
    def end_to_end(self) -> Headers:
        """Without what is for one connection only."""
        return [(name, value) for name, value in self.headers if name.lower() not in _HOP_BY_HOP]

    def seen(self) -> tuple[Any, ...]:
        """All that must be the same with and without the proxy."""
        return self.status, self.end_to_end, self.body, self.whole


@asynccontextmanager
async def connected(
    url: str, request: bytes = b"", *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Wire]:
    """A client, which may have sent something already. With a small buffer it is one that does not keep up."""
    address = urlsplit(url)
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    more: Any = {} if tls is None else {"ssl": tls, "server_hostname": address.hostname}
    try:
        sock.connect((address.hostname, address.port))
        wire = Wire(*await asyncio.open_connection(sock=sock, limit=receive_buffer or 1 << 22, **more))
    except BaseException:  # cancelled or refused, in TLS as well
        sock.close()
        raise
    try:
        await wire.send(request)
        yield wire
    finally:
        await _closed(wire, takes_leave=tls is not None)


async def _closed(wire: Wire, *, takes_leave: bool) -> None:
    """Close a connection, and wait until its socket is closed. Bytes that the other side has not read are dropped, as
    the transport would else keep the socket until they are sent; TLS says goodbye before."""
    wire.close()
    if not takes_leave and wire.writer.transport.get_write_buffer_size():
        wire.writer.transport.abort()
    with suppress(OSError):
        await wire.writer.wait_closed()


async def ask(url: str, request: bytes, tls: ssl.SSLContext | None = None) -> Answer:
    """Send a request, read its response, close."""
    async with connected(url, request, tls=tls) as wire:
        status, headers = await wire.head()
        code = int(status.split()[1])
        bodiless = request.startswith(b"HEAD ") or code in (204, 304)
        body, whole = await wire.body(headers, bodiless=bodiless)
        return Answer(status, headers, body, whole)


async def raw(url: str, request: bytes) -> bytes:
    """Send a request; return every byte that comes until the other side ends."""
    async with connected(url, request) as wire:
        return await wire.rest()


def get(path: str = "/", *lines: str, host: str = "client.example") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(number: int, size: int = 0) -> bytes:
    """A frame that the built-in contract finds valid."""
    delta = f"{number} ".ljust(size, ".")
    return (
        b"event: response.output_text.delta\ndata: "
        b'{"type":"response.output_text.delta","sequence_number":%d,"delta":"%b"}\n\n' % (number, delta.encode())
    )


class Upstream:
    """A server that does with each connection what `handle` says."""

    def __init__(
        self, handle: Callable[[Wire], Awaitable[None]], port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._handle = handle
        self._tls = tls
        self._port = port
        self.connections = 0
        self.url = ""
        self._tasks: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Upstream:
        more: Any = {} if self._tls is None else {"ssl": self._tls}
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=1 << 22, **more)
        self.url = f"{'https' if more else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close their sockets in the next step of the event loop
        failed = [one for one in results if isinstance(one, Exception) and not isinstance(one, (OSError, EOFError))]
        if failed and kind is None:
            raise failed[0]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        wire = Wire(reader, writer)
        if not self._server.is_serving():  # accepted just before the end, when no task would be awaited any more
            wire.close()
            return
        task = asyncio.ensure_future(self._handle(wire))
        task.add_done_callback(lambda _: wire.close())  # a task that is cancelled before its first step closes it, too
        self._tasks.add(task)


def answering(*responses: bytes) -> Callable[[Wire], Awaitable[None]]:
    """Answer each request on a connection with the next response, byte for byte, then close."""

    async def handle(wire: Wire) -> None:
        for response in responses:
            await wire.request()
            await wire.send(response)

    return handle


@asynccontextmanager
async def recorded(
    handle: Callable[[Wire], Awaitable[None]], folder: Path, **options: Any
) -> AsyncIterator[tuple[Proxy, Upstream]]:
    """An upstream and the proxy before it, which records into `folder`/run.db."""
    async with Upstream(handle) as upstream, record(upstream.url, folder / "run.db", **options) as proxy:
        yield proxy, upstream


@contextmanager
def opened(db: Path) -> Iterator[Store]:
    store = Store.open(db)
    try:
        yield store
    finally:
        store.close()


def exchanges(db: Path) -> list[Exchange]:
    with opened(db) as store:
        return store.exchanges()


def frames(db: Path, stream: int = 1) -> list[TimedFrame]:
    with opened(db) as store:
        return [frame for found in store.exchanges(stream=stream) for frame in store.frames(found)]


def stored_frames(db: Path, stream: int = 1) -> int:
    """Frames that are rows, not those that a reader derives."""
    connection = sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)
    (count,) = connection.execute(
        "SELECT coalesce(sum(frames), 0) FROM frame_blocks WHERE stream = ?", (stream,)
    ).fetchone()
    connection.close()
    return int(count)


def content(db: Path, stream: int = 1) -> bytes:
    """The decoded body of a stream, as far as it is in the file."""
    with opened(db) as store:
        found = store.exchanges(stream=stream)
        return b"".join(store.content(found[0])) if found else b""


def body(db: Path, side: Any = "response", exchange: int = 1) -> bytes:
    with opened(db) as store:
        return store.body(exchange, side)


def incidents(db: Path) -> list[str]:
    with opened(db) as store:
        return [one.message for one in store.incidents()]


def ending(db: Path, exchange: int = 1) -> str:
    return next((one.ending for one in exchanges(db) if one.exchange == exchange), "")


async def eventually(check: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until `check` returns something true, and return it. The checks take at most half of the time: servers of a
    test run in the same event loop."""
    until = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if found := check():
            return found
        assert time.monotonic() < until, "it never came true"
        await asyncio.sleep(max(0.01, time.monotonic() - began))


def nobody_listens() -> str:
    """The URL of a port that refuses connections."""
    return f"http://127.0.0.1:{free_port()}"


def bytes_on_disk(db: Path) -> bytes:
    """All that is in the files of a cassette, live or not."""
    parts = [db.with_name(db.name + end) for end in ("", "-wal", "-shm", "-journal")]
    return b"".join(part.read_bytes() for part in parts if part.exists())


def resident() -> int:
    """Bytes of memory that this process has now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
