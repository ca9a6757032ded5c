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

from ...server.listener import RawResponse
from ..queue import Take
from ..rows.exchanges import Received

DEFAULT = 8 * 1024 * 1024
"""Bytes read ahead of a client, per stream."""
_ENOUGH = 256 * 1024
"""Bytes read ahead at which a client lacks nothing for a while, so that the disk may catch up first."""
_LOOK_EVERY = 0.05
"""Seconds between looks whether it has."""
_TRANSPORT_FULL = 64 * 1024
"""Bytes waiting in the transport at which a client counts as slow."""


class _Queue:
    """What waits for a client that is slow. One that keeps up, as nearly all do, has none."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Received, bytes]] = deque()
        self.size = 0
        self.room = asyncio.Event()


class ReadAhead:
    """The buffer of one stream. With a limit of 0 every read waits for the client."""

    __slots__ = ("_limit", "_queue", "_request", "_response", "_sender", "_take")

    def __init__(self, request: web.BaseRequest, response: RawResponse, take: Take, limit: int) -> None:
        self._request = request
        self._response = response
        self._take = take
        self._limit = limit
        self._queue: _Queue | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def is_needed(self) -> bool:
        """Whether the client does not keep up: what comes is to wait here."""
        if self._queue is not None:
            return True
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() > _TRANSPORT_FULL

    async def pass_on(self, read: Received, data: bytes) -> None:
        """Put it in the queue, and wait for room in that."""
        queue = self._queue
        if queue is None:
            queue = self._queue = _Queue()
            self._sender = asyncio.create_task(self._drain(queue))
            self._sender.add_done_callback(_retrieved)
        queue.waiting.append((read, data))
        queue.size += len(data)
        while self._queue is queue and (queue.size > self._limit or self._waits_for_disk(queue)):
            queue.room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY if queue.size <= self._limit else None):
                    await queue.room.wait()

    def _waits_for_disk(self, queue: _Queue) -> bool:
        return queue.size > _ENOUGH and self._take.is_behind

    async def flush(self) -> None:
        """Wait until everything is handed on."""
        if self._sender is not None:
            await self._sender

    def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()

    async def _drain(self, queue: _Queue) -> None:
        try:
            while queue.waiting:
                await self._response.writer().drain()
                read, data = queue.waiting.popleft()
                self._response.write_at_once(data)
                self._take.sent(read)
                queue.size -= len(data)
                queue.room.set()
        finally:
            self._queue = self._sender = None
            queue.room.set()


def _retrieved(sender: asyncio.Task[None]) -> None:
    """A client that is lost while it is waited for is no news: who reads from upstream is told in another way."""
    if not sender.cancelled():
        sender.exception()
