"""A stream from upstream's connection to the client's, in the very step in which it came.

No task is woken for an event: the connection calls us when it has something of the body, and we write it. That spares
each event two rounds of the event loop. A task waits for the end only, or for a client that does not keep up: what
comes for that one goes through `ReadAhead`.
"""

from __future__ import annotations

import asyncio

import aiohttp

from ...server.listener import RawResponse
from ..queue import Take
from .read_ahead import ReadAhead
from .resumable import LOST
from .upstream_connection import connection_of


class Passing:
    """One stream. Its client is kept up with, or else is `ahead`'s."""

    __slots__ = ("_ahead", "_answer", "_content", "_is_passing", "_over", "_read", "_response", "_take")

    def __init__(self, answer: aiohttp.ClientResponse, response: RawResponse, take: Take, ahead: ReadAhead) -> None:
        self._answer, self._content = answer, answer.content
        self._response, self._take, self._ahead = response, take, ahead
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
            await self._ahead.pass_on(self._take.receive(data), data)
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
        content, take = self._content, self._take
        while not self._ahead.is_needed:
            if content.total_bytes == self._read:
                if (error := content.exception()) is not None:
                    raise error
                return True if content.at_eof() else None
            data = content.read_nowait()
            self._read += len(data)
            at = take.now()
            try:
                self._response.write_at_once(data)
            except LOST:
                take.receive(data)
                raise
            take.passed(data, at)
        return False
