"""A narrow line to a server, which can be held.

On loopback the kernel takes megabytes before a sender feels that nobody reads. In front of a line with small segments
and buffers it takes some hundred kilobytes, or a good one if the kernel came to think well of the line: a sender's
buffer grows with what got through at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Self
from urllib.parse import urlsplit

SEGMENT = 500
"""Bytes of one TCP segment: the size of the kernel's buffers follows from it."""
BUFFER = 2048
BYTES_PER_SECOND = 250_000
"""Of one connection, downwards: more than the model of a scenario says, but not everything at once."""


class NarrowLine:
    """`async with NarrowLine(url) as line:` passes every connection to `line.url` on to `url`.

    While `line.flows` is not set, nothing comes through from there.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (str(parts.hostname), int(parts.port or 80))
        self.flows = asyncio.Event()
        self.flows.set()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        listening = _narrow(socket.socket())
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=listening, limit=BUFFER)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection that is open now; new ones get through."""
        for line in self._lines:
            line.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.create_task(self._line(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Once one side has no more to say, both connections are closed behind what was said."""
        to = _narrow(socket.socket())
        to.setblocking(False)
        await asyncio.get_running_loop().sock_connect(to, self._to)
        from_server, to_server = await asyncio.open_connection(sock=to, limit=BUFFER)
        pumps = {
            asyncio.create_task(_pump(reader, to_server)),
            asyncio.create_task(_pump(from_server, writer, self.flows)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for end in (writer, to_server):
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None = None) -> None:
    writer.transport.set_write_buffer_limits(BUFFER)
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(BUFFER):
            writer.write(data)
            await writer.drain()
            if gate is not None:
                await asyncio.sleep(len(data) / BYTES_PER_SECOND)
                await gate.wait()


def _narrow(made: socket.socket) -> socket.socket:
    """Has to be done before it is connected."""
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, buffer, BUFFER)
    return made
