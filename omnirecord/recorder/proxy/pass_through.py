"""Passes a stream from the connection to upstream to the client's connection, in the step in which bytes arrive.

No task wakes for an event: the upstream connection calls `Passing`, which writes to the client. This saves two rounds
of the event loop an event. A task waits only for the end, or for a client that does not keep up.

The bytes for a slow client wait in `ReadAhead`, up to `limit` bytes. Then reading from upstream pauses. It pauses
earlier if the disk cannot keep up, so that nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

import aiohttp
from aiohttp import web

from ...server.listener import RawResponse
from ..queue import ExchangeRecorder
from ..rows.operations import Received
from .resumable import LOST
from .upstream import connection_of

DEFAULT = 8 * 1024 * 1024
"""Bytes read ahead of a client, per stream."""
_ENOUGH = 256 * 1024
"""Bytes read ahead that last a client for a while, so that the disk may catch up first."""
_CHECK_DISK_EVERY = 0.05
"""Seconds between two checks whether it has."""
_TRANSPORT_FULL = 64 * 1024
"""Bytes waiting in the transport at which a client counts as slow."""


class _Queue:
    """The reads that wait for a slow client. A client that keeps up has no queue."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Received, bytes]] = deque()
        self.size = 0
        self.room = asyncio.Event()


class ReadAhead:
    """The buffer of one stream. With a limit of 0 every read waits for the client."""

    __slots__ = ("_limit", "_queue", "_recorder", "_request", "_response", "_sender")

    def __init__(self, request: web.BaseRequest, response: RawResponse, recorder: ExchangeRecorder, limit: int) -> None:
        self._request = request
        self._response = response
        self._recorder = recorder
        self._limit = limit
        self._queue: _Queue | None = None
        self._sender: asyncio.Task[None] | None = None

    @property
    def is_needed(self) -> bool:
        """Whether the client does not keep up, so that new bytes have to wait here."""
        if self._queue is not None:
            return True
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() > _TRANSPORT_FULL

    async def pass_on(self, read: Received, data: bytes) -> None:
        """Put a read into the queue, and wait until the queue has room."""
        queue = self._queue
        if queue is None:
            queue = self._queue = _Queue()
            self._sender = asyncio.create_task(self._drain(queue))
            self._sender.add_done_callback(_retrieved)
        queue.waiting.append((read, data))
        queue.size += len(data)
        while self._queue is queue and (
            queue.size > self._limit or (queue.size > _ENOUGH and self._recorder.is_behind)
        ):
            queue.room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_DISK_EVERY if queue.size <= self._limit else None):
                    await queue.room.wait()

    async def flush(self) -> None:
        """Wait until the queue is empty."""
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
                self._recorder.sent(read)
                queue.size -= len(data)
                queue.room.set()
        finally:
            self._queue = self._sender = None
            queue.room.set()


def _retrieved(sender: asyncio.Task[None]) -> None:
    """Ignore the error of a lost client: the reader of upstream gets it too."""
    if not sender.cancelled():
        sender.exception()


class Passing:
    """Passes one stream on: directly, or through `ahead` while the client is slow."""

    __slots__ = ("_ahead", "_answer", "_content", "_is_passing", "_over", "_read", "_recorder", "_response")

    def __init__(
        self, answer: aiohttp.ClientResponse, response: RawResponse, recorder: ExchangeRecorder, ahead: ReadAhead
    ) -> None:
        self._answer, self._content = answer, answer.content
        self._response, self._recorder, self._ahead = response, recorder, ahead
        self._over: asyncio.Future[bool] | None = None
        self._is_passing = False
        self._read = 0  # bytes of the body

    async def run(self) -> None:
        """Pass the stream on until upstream has sent all. Raises the errors of `LOST`."""
        while not (await self._pass_directly() or await self._pass_slowly()):
            pass

    async def _pass_directly(self) -> bool:
        """Return True at the end of the stream, False when the client does not keep up."""
        self._over = asyncio.get_running_loop().create_future()
        connection = connection_of(self._answer)
        if connection is not None:
            connection.arrived = self._arrived
        try:
            self._arrived()
            return await self._over
        finally:
            self._over = None
            if connection is not None:
                connection.arrived = None

    async def _pass_slowly(self) -> bool:
        """Return True at the end of the stream, False when the client keeps up again."""
        while self._ahead.is_needed:
            if not (data := await self._content.readany()):
                return True
            self._read += len(data)
            await self._ahead.pass_on(self._recorder.receive(data), data)
        return False

    def _arrived(self) -> None:
        """Called by the connection when there are new bytes, or at the end."""
        if self._is_passing or self._over is None or self._over.done():
            return  # while passing: a read lets aiohttp parse postponed bytes, and call this again
        self._is_passing = True
        try:
            over = self._pass()
        except Exception as error:
            self._over.set_exception(error)
        else:
            if over is not None:
                self._over.set_result(over)
        finally:
            self._is_passing = False

    def _pass(self) -> bool | None:
        """Pass the bytes on that are there. Return as `_pass_directly`, or None to wait for more."""
        content, recorder = self._content, self._recorder
        while not self._ahead.is_needed:
            if content.total_bytes == self._read:
                if (error := content.exception()) is not None:
                    raise error
                return True if content.at_eof() else None
            data = content.read_nowait()
            self._read += len(data)
            at = recorder.now()
            try:
                self._response.write_at_once(data)
            except LOST:
                recorder.receive(data)
                raise
            recorder.passed(data, at)
        return False
