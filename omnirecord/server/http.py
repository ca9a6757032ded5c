"""aiohttp's server with our limits of a request, and our answers to refused requests.

A refusal is a fixed text in Omnigent's error shape.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from aiohttp import StreamReader, web

from ..model import Headers
from ..text import dumps
from ..wire.headers import announces_body, asks_for_websocket, section_size, transfer_coding
from .accept import RETRY_AFTER, Accepting
from .aiohttp_private import (  # fmt: skip
    EMPTY_PAYLOAD,
    BadHttpMessage,
    BaseServer,
    ClientProtocol,
    HttpProcessingError,
    LineTooLong,
    ParseFailure,
    RawRequestMessage,
    RequestHandler,
)

LIMIT = 1 << 16
"""The longest request line, and the longest header section with its first line, in bytes."""
FIELD_LIMIT = LIMIT - 4
"""The longest name and value of a header field together, in bytes. With `: ` and CRLF, they are a line of `LIMIT`."""
FIELDS = 1000
"""The most header fields of a message."""

_LINGER, _QUIET = 1.0, 0.05
"""Longest wait, in seconds, for a refused client to stop sending; and the silence, in seconds, that ends this wait."""
_ABSOLUTE_FORM = re.compile(r"(?i:https?)://[^/?#]*(.*)")
"""A target that names a server, and the rest of that target."""
_REFUSALS = {
    400: "bad_request",
    405: "method_not_allowed",
    414: "uri_too_long",
    431: "header_fields_too_large",
    501: "not_implemented",
}
_NUMBERS = count()
_END = b"\r\n\r\n"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = logging.getLogger("omnirecord")


def json_response(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, text=dumps(value), content_type="application/json")


def error_response(status: int, code: str, message: str, **details: Any) -> web.Response:
    """An error in Omnigent's shape: `{"error": {"code", "message"}}`."""
    return json_response({"error": {"code": code, "message": message, **details}}, status)


def origin_form(request: web.BaseRequest) -> str | None:
    """Return the target of a request as a path with its query. None for CONNECT and `*`."""
    target = request.raw_path
    if request.method == "CONNECT":
        return None
    if target.startswith("/"):
        return target
    if (found := _ABSOLUTE_FORM.fullmatch(target)) is None:
        return None
    return found[1] if found[1].startswith("/") else f"/{found[1]}"


def ambiguous(request: web.BaseRequest, headers: Headers) -> web.Response | None:
    """Return the refusal of a request whose end is ambiguous, so that two servers could see different requests; else
    None. It quotes nothing of the request."""
    if transfer_coding(headers) not in (None, "chunked"):
        return bad_request("it has a transfer coding that is not chunked", 501)
    if not announces_body(headers):
        return None
    if asks_for_websocket(headers):
        return bad_request("a request for an upgrade may have no body")
    return None if request.body_exists else bad_request("its Content-Length is too large")


def bad_body(error: BaseException) -> web.Response:
    """Return the refusal of a request whose body cannot be read further, because of this error."""
    if is_too_large(error):
        return bad_request(SectionTooLarge.message, 431)
    return bad_request("its body is not valid HTTP")


def out_of_descriptors() -> web.Response:
    """Return the refusal of a request for lack of a file descriptor. The connection is closed after it."""
    message = "omnirecord has no file descriptor left for this request: try again, or raise its limit (ulimit -n)"
    answer = error_response(503, "out_of_descriptors", message)
    answer.headers["Retry-After"] = RETRY_AFTER
    answer.force_close()
    return answer


def bad_request(why: str, status: int = 400) -> web.Response:
    """Return a refusal. The connection is closed after it: the start of a next request is unknown."""
    answer = error_response(status, _REFUSALS[status], f"omnirecord refuses the request: {why}")
    answer.force_close()
    return answer


class SectionTooLarge(HttpProcessingError):
    """A header section has more than `LIMIT` bytes, or more than `FIELDS` fields."""

    code = 431
    message = f"its header section has more than {LIMIT:,} bytes or {FIELDS:,} fields"


def is_too_large(error: BaseException | None) -> bool:
    """Returns whether this error, or one that caused it, says that a header section or a line of one is too large."""
    while error is not None and not isinstance(error, SectionTooLarge | LineTooLong):
        if isinstance(error, BadHttpMessage) and error.message == "Too many headers received":
            return True
        error = error.__cause__
    return error is not None


class Client(ClientProtocol):
    """A client's connection. Its refusals are fixed texts: neither they nor stderr quote the request. A request whose
    header section has more than `LIMIT` bytes is refused, and the bytes behind it are not read as a request. The same
    limit applies to bytes of a body that are not content: a trailer section, a chunk extension.

    If a request asks for an upgrade to another protocol than WebSocket, aiohttp drops the bytes after it in the
    segment. It would read the next segment as a request. So such a request is parsed alone, or the connection ends
    after it."""

    __slots__ = ("_before", "_discarded_at", "_is_last", "_is_refused", "_section", "_upload", "number")

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.number = next(_NUMBERS)
        """Tells client connections of this process apart."""
        self._section = 0  # bytes since the last request, or since the last content, that belong to a section
        self._upload: StreamReader = EMPTY_PAYLOAD
        self._is_refused = self._is_last = False
        self._discarded_at = 0.0
        self._before = b""  # the end of the previous segment

    def data_received(self, data: bytes) -> None:
        is_section = self._upload.is_eof() and not self.is_upgraded
        last, begin = data.lower().rfind(b"\nupgrade") if is_section else -1, 0
        while begin < last and self._upload.is_eof() and (end := data.find(_END, begin) + len(_END)) >= len(_END):
            self._received(data[begin:end])
            begin = end
        if begin < len(data) or not data:
            self._received(data[begin:])

    def _received(self, data: bytes) -> None:
        if self._is_refused or (self._is_last and self._upload.is_eof()):
            self._discarded_at = self.event_loop.time()
            return
        in_section = self._upload.is_eof() and not (self.is_upgraded or self.is_parser_paused)
        before, content = self.request_count, self._upload.total_bytes
        super().data_received(data)
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
            self._is_refused, self._discarded_at = True, self.event_loop.time()
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
        self._is_refused, self._discarded_at = True, self.event_loop.time()
        why = error if isinstance(error, HttpProcessingError) else SectionTooLarge()
        self.messages.append((ParseFailure(why.code, why, why.message), EMPTY_PAYLOAD))
        if self.message_waiter is not None and not self.message_waiter.done():
            self.message_waiter.set_result(None)

    def failure_handler(self, failure: ParseFailure) -> Handler:
        if not is_too_large(failure.exc):
            return super().failure_handler(failure)
        is_line = isinstance(failure.exc, LineTooLong) and failure.exc.args[1] == LIMIT

        async def refuse(_request: web.BaseRequest) -> web.StreamResponse:
            if is_line:
                return bad_request(f"its request line has more than {LIMIT:,} bytes", 414)
            return bad_request(SectionTooLarge.message, 431)

        return refuse

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the rest of a response; a refusal only once the client has stopped sending."""
        if self._is_refused and not resp.prepared:  # if a connection is closed with unread bytes, its answer is lost
            began = self.event_loop.time()
            while self.event_loop.time() < min(began + _LINGER, max(began, self._discarded_at) + _QUIET):  # noqa: ASYNC110
                await asyncio.sleep(_QUIET)
        before, behind = self.request_count, self.unparsed
        finished = await super().finish_response(request, resp, start_time)
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

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, _message: str | None = None
    ) -> web.StreamResponse:
        is_refused = status < 500 or isinstance(exc, web.RequestPayloadError)
        if is_refused:
            log.warning("a request was refused: it is not valid HTTP")
        else:
            self.log_exception(exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is sent")
        if isinstance(exc, web.RequestPayloadError):
            return bad_body(exc)
        if is_refused:
            return bad_request("it is not valid HTTP")
        answer = error_response(500, "internal_error", "omnirecord: a fault of omnirecord, which stderr names")
        answer.force_close()
        return answer

    def log_exception(self, *_args: Any, **kw: Any) -> None:
        """Log the place of a fault of ours: its message may quote the request. Ignore a body that ended early."""
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            return
        raised = error.__traceback__ if isinstance(error, BaseException) else None
        while raised is not None and raised.tb_next is not None:
            raised = raised.tb_next
        place = "" if raised is None else f" in {raised.tb_frame.f_code.co_filename}, line {raised.tb_lineno}"
        log.error("a request failed by a fault of omnirecord: %s%s", type(error).__name__, place)


def number_of(connection: RequestHandler) -> int:
    """The number of a client connection; -1 for one that another server accepted."""
    return connection.number if isinstance(connection, Client) else -1


class Server(BaseServer):
    """aiohttp's server. It reports closed connections to `accepting`, which admits or refuses each request."""

    connection_class = Client

    def __init__(self, handler: Handler, accepting: Accepting, **options: Any) -> None:
        super().__init__(self._handle, **options)
        self._handler, self._accepting = handler, accepting

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._accepting.left(handler)

    def _handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Return the handler's coroutine: one of its own would last as long as a stream."""
        return self._handler(request) if self._accepting.admits(request.protocol) else _no_descriptor()


async def _no_descriptor() -> web.Response:
    return out_of_descriptors()
