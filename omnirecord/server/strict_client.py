"""Limits of a request that need private names of aiohttp, and refusals at once (`StrictClient`).

An aiohttp that lacks one of these names gets `Client` (`server.http`). `connection_class` decides.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from aiohttp import EMPTY_PAYLOAD, StreamReader, web

from ..wire.headers import section_size
from .aiohttp_names import HttpProcessingError, RawRequestMessage
from .aiohttp_private import ClientNames, ParseFailure, client_lacks
from .http import Client
from .refusals import LIMIT, SectionTooLarge

_LINGER = 1.0
_QUIET = 0.05
"""Longest wait, in seconds, for a refused client to stop sending; and the silence, in seconds, that ends this wait."""
_END = b"\r\n\r\n"


@cache
def connection_class() -> type[Client]:
    """Return the class of client connections: `StrictClient` if this aiohttp has the names that it uses."""
    return Client if client_lacks() else StrictClient


class StrictClient(ClientNames, Client):
    """A client's connection. A request whose header section has more than `LIMIT` bytes is refused, and the bytes
    behind it are not read as a request. The same limit applies to bytes of a body that are not content: a trailer
    section, a chunk extension. A body ends with an invalid chunk: aiohttp would let its reader wait for ever.

    If a request asks for an upgrade to another protocol than WebSocket, aiohttp drops the bytes after it in the
    segment. It would read the next segment as a request. So such a request is parsed alone, or the connection ends
    after it."""

    __slots__ = ("_before", "_discarded_at", "_is_last", "_is_refused", "_section", "_upload")

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.free_queue()
        self._section = 0  # bytes since the last request, or since the last content, that belong to a section
        self._upload: StreamReader = EMPTY_PAYLOAD
        self._is_refused = self._is_last = False
        self._discarded_at = 0.0
        self._before = b""  # the end of the previous segment

    def begin(self, request: web.BaseRequest) -> web.Response | None:
        self.handled = request  # its header section is examined already
        return None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._upload = EMPTY_PAYLOAD  # the body refers to its connection

    def data_received(self, data: bytes) -> None:
        is_section = self._upload.is_eof() and not self.is_upgraded
        last = data.lower().rfind(b"\nupgrade") if is_section else -1
        begin = 0
        while begin < last and self._upload.is_eof() and (end := data.find(_END, begin) + len(_END)) >= len(_END):
            self._received(data[begin:end])
            begin = end
        if begin < len(data) or not data:
            self._received(data[begin:])

    def _received(self, data: bytes) -> None:
        if self._is_refused or (self._is_last and self._upload.is_eof()):
            self._discarded_at = asyncio.get_running_loop().time()
            return
        in_section = self._upload.is_eof() and not (self.is_upgraded or self.is_parser_paused)
        before = self.request_count
        content = self._upload.total_bytes
        web.RequestHandler.data_received(self, data)
        if new := self.request_count - before:
            if self._section + len(data) > LIMIT:
                self._examine(min(new, len(self.messages)))
            self._begin_last(data)
        elif in_section or not (self._upload.is_eof() or self._upload.total_bytes > content or self._is_paused()):
            self._section += len(data)
            if self._section > LIMIT:
                self._refuse()
        else:
            self._section = 0
        if self.messages and isinstance(error := self.messages[-1][0], ParseFailure):
            self._is_refused = True
            self._discarded_at = asyncio.get_running_loop().time()
            self._end_bodies(error.exc)
        self._before = data[1 - len(_END) :]

    def _is_paused(self) -> bool:
        """Whether content may wait in the parser, or is no longer read at all."""
        return self.is_reading_paused or self.closes_after_response or self.is_force_closed

    def _begin_last(self, data: bytes) -> None:
        """Expect the body of the last request in `data`. If bytes behind it may be lost, expect no further request."""
        message, self._upload = self.messages[-1] if self.messages else (None, EMPTY_PAYLOAD)
        self._section = 0
        if isinstance(message, RawRequestMessage) and message.upgrade and not self.is_upgraded:
            if self._upload.is_eof() and data.endswith(_END) and (self._before + data).count(_END) == 1:
                return  # nothing was behind it
            self.messages[-1] = message._replace(should_close=True), self._upload
            self._is_last = True

    def _examine(self, new: int) -> None:
        """Refuse the first of the `new` last requests that has too large a header section, and drop what follows it."""
        for at in range(len(self.messages) - new, len(self.messages)):
            message = self.messages[at][0]
            if isinstance(message, ParseFailure) or section_size(len(message.path), message.raw_headers) > LIMIT:
                while len(self.messages) > at:
                    refused, _ = self.messages.pop()
                self._refuse(refused.exc if isinstance(refused, ParseFailure) else None)
                return

    def _refuse(self, error: BaseException | None = None) -> None:
        self._is_refused = True
        self._discarded_at = asyncio.get_running_loop().time()
        why = error if isinstance(error, HttpProcessingError) else SectionTooLarge()
        self.messages.append((ParseFailure(why.code, why, why.message), EMPTY_PAYLOAD))
        if self.message_waiter is not None and not self.message_waiter.done():
            self.message_waiter.set_result(None)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the rest of a response; a refusal only once the client has stopped sending."""
        if self._is_refused and not resp.prepared:  # if a connection is closed with unread bytes, its answer is lost
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < min(began + _LINGER, max(began, self._discarded_at) + _QUIET):  # noqa: ASYNC110
                await asyncio.sleep(_QUIET)
        before = self.request_count
        behind = self.unparsed
        self.handled = None
        finished = await web.RequestHandler.finish_response(self, request, resp, start_time)
        if self.request_count > before:  # aiohttp has parsed the bytes behind a declined WebSocket
            self._begin_last(behind)
        return finished

    def _end_bodies(self, why: BaseException) -> None:
        """No more of a body can be read: raise `RequestPayloadError` in its reader, which would wait for ever."""
        error = web.RequestPayloadError("the body is no valid HTTP")
        error.__cause__ = why
        current = [] if self.handled is None else [self.handled.content]
        # Before Python 3.12, a request is in neither place while its handler starts. Its body is the last one then.
        for body in (*current, *(body for _, body in self.messages), self._upload):
            if not body.is_eof() and body.exception() is None:
                body.set_exception(error)
