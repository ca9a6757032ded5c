"""A stream from upstream's connection to the client's, in the very step in which it came.

No task is woken for an event: the connection calls us when it has something of the body, and we write it. That spares
each event two rounds of the event loop. A task waits for the end only, or for a client that does not keep up: what
comes for that one goes through `ReadAhead`.

From upstream to the client through a bounded buffer, so that a slow client does not slow the recording.

What arrives goes straight to the client's transport while that takes it. Once it does not, what arrives waits here,
up to `limit` bytes; only then does reading from upstream pause, and the client's slowness reaches it. Where the disk
cannot keep up with all that is read ahead, less is: the client has enough to take for now, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

import aiohttp
from aiohttp import web

from ...server.listener import RawResponse
from ..queue import ExchangeRecorder
from ..rows.exchanges import Received
from .resumable import LOST
from .upstream import connection_of

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
        return queue.size > _ENOUGH and self._recorder.is_behind

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
                self._recorder.sent(read)
                queue.size -= len(data)
                queue.room.set()
        finally:
            self._queue = self._sender = None
            queue.room.set()


def _retrieved(sender: asyncio.Task[None]) -> None:
    """A client that is lost while it is waited for is no news: who reads from upstream is told in another way."""
    if not sender.cancelled():
        sender.exception()


class Passing:
    """One stream. Its client is kept up with, or else is `ahead`'s."""

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
        """Until upstream has sent all. Raises what `LOST` names."""
        while not (await self._pass_directly() or await self._pass_slowly()):
            pass

    async def _pass_directly(self) -> bool:
        """Whether that was all; else the client does not keep up."""
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
        """Whether that was all; else the client keeps up again."""
        while self._ahead.is_needed:
            if not (data := await self._content.readany()):
                return True
            self._read += len(data)
            await self._ahead.pass_on(self._recorder.receive(data), data)
        return False

    def _arrived(self) -> None:
        """There is something of the body, or nothing more will come."""
        if self._is_passing or self._over is None or self._over.done():
            return  # the first: to read has aiohttp parse what it had put off, and tell us of that
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
        """As `_pass_directly`; None: neither is so yet."""
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
