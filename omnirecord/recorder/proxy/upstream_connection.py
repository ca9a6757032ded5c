"""A connection to upstream, where what is right in a segment is not lost with what is wrong behind it.

Where its parser refuses something, aiohttp throws away all that came in the same segment: the answer to a HEAD, if its
server sends a body, or a stream's first events with a chunk that is none. A client without us has them by then. After
a chunk that is none it closes the connection, and lets whoever reads the body wait for ever: here the body ends then.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import islice
from typing import Any

from aiohttp import ClientPayloadError, ClientResponse, StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage

from ...server.http import LIMIT, SectionTooLarge
from ...wire.headers import section_size

_END = b"\r\n\r\n"
_SECTION_END = re.compile(_END)
_LONGEST_BEGINNING = 3
_NO_CONTENT = 1 << 21
"""The most bytes in a row of a body that are not content. aiohttp keeps those of a trailer section in memory."""
_MOST = 8
"""Sections that are told apart in one segment: interim answers (1xx) come before the last one."""


class _Few(list[Any]):
    """A queue of what is one, nearly always: where it is empty, an eighth of the 760 bytes of a `deque`."""

    __slots__ = ()

    def popleft(self) -> Any:
        return self.pop(0)


def connection_of(answer: ClientResponse) -> Connection | None:
    """What the body of an answer comes by; None where all of it is here."""
    protocol = answer.connection.protocol if answer.connection is not None else None
    return protocol if isinstance(protocol, Connection) else None


class Connection(ResponseHandler):
    """Gives the parser a header section, and then what follows it. `body`: what ends with the connection. `arrived` is
    called when there may be something new of it, the end included."""

    _before = b""
    _section = 0  # bytes since the last header section, or since the last content, that are not content
    body: StreamReader | None = None
    arrived: Callable[[], None] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._buffer = _Few()  # type: ignore[assignment]  # header sections that nobody has taken yet

    def is_connected(self) -> bool:
        """Whether the next request may go here: not if bytes are left that would be taken for its answer."""
        return super().is_connected() and not self.should_close

    def data_received(self, data: bytes) -> None:
        body = self._payload
        content = 0 if body is None else body.total_bytes
        if self.arrived is None:
            self._by_section(data)
        else:  # somebody is given the body, and no header section comes before its end
            self._before = data[-_LONGEST_BEGINNING:]
            super().data_received(data)
        if body is not None and body is self._payload:
            if body.total_bytes > content:
                self._section = 0
            elif not (self._reading_paused or body.is_eof()):
                self._count(len(data), _NO_CONTENT)
        if self.arrived is not None:
            self.arrived()

    def _count(self, size: int, limit: int = LIMIT) -> None:
        """Refuse more bytes than this that are not content: a header section, a trailer section, a chunk extension."""
        self._section += size
        if self._section > limit:
            self._refuse()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Called by aiohttp with each header section."""
        message, _ = data
        self._section = 0
        if message.code == 101:  # another protocol follows, even where no client asked for one
            self.force_close()
        if section_size(len(message.reason or ""), message.raw_headers) > LIMIT:
            self._refuse()
        else:
            super().feed_data(data, size)

    def _refuse(self) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(SectionTooLarge())

    def _by_section(self, data: bytes) -> None:
        at = 0
        for end in self._ends(data):
            super().data_received(data[at:end])
            at = end
            if self.exception() is not None:
                return
        if at < len(data) or not data:
            super().data_received(data[at:])
            if not self._upgraded and (self._payload is None or self._payload.is_eof()):
                self._count(len(data) - at)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called at each read of the body, and nearly always there is nothing to resume."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        body, self.body = self.body, None
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(ClientPayloadError(f"the connection ended in the body: {exc or 'closed'}"))
        if self.arrived is not None:
            self.arrived()

    def _ends(self, data: bytes) -> list[int]:
        """Where in this segment header sections end, or what looks like one: that does no harm in a body."""
        before = self._before
        if len(data) > _LONGEST_BEGINNING and data[0] not in b"\r\n" and _END not in data:  # nearly always
            self._before = data[-_LONGEST_BEGINNING:]
            return []
        joined = before + data
        self._before = joined[-_LONGEST_BEGINNING:]
        return [found.end() - len(before) for found in islice(_SECTION_END.finditer(joined), _MOST)]
