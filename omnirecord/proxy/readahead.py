"""From upstream to the client through a bounded buffer, so that a slow client does not slow the recording.

What arrives goes straight to the client's transport while that takes it. Once it does not, what arrives waits here,
up to `limit` bytes; only then does reading from upstream pause, and the client's slowness reaches it. Where the disk
cannot keep up with all that is read ahead, less is: the client has enough to take for now, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from aiohttp import web

from ..recorder import Received
from ..serving import RawResponse
from ..tape import Take

DEFAULT = 8 * 1024 * 1024
"""Bytes read ahead of a client, per stream."""
_ENOUGH = 256 * 1024
"""Bytes read ahead at which a client lacks nothing for a while, so that the disk may catch up first."""
_LOOK_EVERY = 0.05
"""Seconds between looks whether it has."""
_TRANSPORT_FULL = 64 * 1024
"""Bytes waiting in the transport at which a client counts as slow."""


class ReadAhead:
    """The buffer of one stream. With a limit of 0 every read waits for the client."""

    def __init__(self, request: web.BaseRequest, response: RawResponse, take: Take, limit: int) -> None:
        self._request = request
        self._writer = response.writer()
        self._take = take
        self._limit = limit
        self._waiting: deque[tuple[Received, bytes]] = deque()
        self._size = 0
        self._room = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    async def pass_on(self, read: Received, data: bytes) -> None:
        """Send now if the client keeps up, else put it in the queue and wait for room in that."""
        if self._sender is None and not self._client_is_slow():
            await self._send(read, data)
            return
        self._waiting.append((read, data))
        self._size += len(data)
        if self._sender is None:
            self._sender = asyncio.create_task(self._drain())
            self._sender.add_done_callback(_retrieved)
        while self._sender is not None and (self._size > self._limit or self._waits_for_disk()):
            self._room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY if self._size <= self._limit else None):
                    await self._room.wait()

    def _waits_for_disk(self) -> bool:
        return self._size > _ENOUGH and self._take.is_behind

    async def flush(self) -> None:
        """Wait until everything is handed on."""
        if self._sender is not None:
            await self._sender

    def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()

    def _client_is_slow(self) -> bool:
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() > _TRANSPORT_FULL

    async def _send(self, read: Received, data: bytes) -> None:
        await self._writer.write(data, drain=False)
        self._take.sent(read)

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._writer.drain()
                read, data = self._waiting.popleft()
                await self._send(read, data)
                self._size -= len(data)
                self._room.set()
        finally:
            self._sender = None
            self._room.set()


def _retrieved(sender: asyncio.Task[None]) -> None:
    """A client that is lost while it is waited for is no news: who reads from upstream is told in another way."""
    if not sender.cancelled():
        sender.exception()
