"""aiohttp's server with our limits of a request."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from ..text import dumps
from ..wire.headers import section_size
from .accept import Accepting
from .aiohttp_names import HttpProcessingError, RawRequestMessage
from .refusals import (
    LIMIT,
    SectionTooLarge,
    bad_body,
    bad_request,
    error_response,
    is_too_large,
    out_of_descriptors,
    too_large,
)

_MOST_UNREAD = 1 << 20
"""The most bytes that a connection of the class `Client` gets without content and without the begin of a request."""
_ABSOLUTE_FORM = re.compile(r"(?i:https?)://[^/?#]*(.*)")
"""A target that names a server, and the rest of that target."""
_NUMBERS = count()

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = logging.getLogger("omnirecord")


def json_response(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, text=dumps(value), content_type="application/json")


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


class Client(web.RequestHandler):
    """A client's connection. Its refusals are fixed texts: neither they nor stderr quote the request.

    It uses only public names of aiohttp. `StrictClient` (`server.strict_client`) needs others, and limits a request
    more precisely. Here, a header section of more than `LIMIT` bytes is refused once it is parsed. A connection ends
    after `_MOST_UNREAD` bytes that are neither content nor the begin of a request. It ends after a request for an
    upgrade that is declined: aiohttp may have dropped bytes behind that request."""

    __slots__ = ("_is_tunnel", "_unread", "handled", "number")

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.number = next(_NUMBERS)
        """Tells client connections of this process apart."""
        self.handled: web.BaseRequest | None = None
        """The request that a handler has; None between requests."""
        self._is_tunnel = False
        self._unread = 0  # bytes since the last begin of a request, or since the last content

    def begin(self, request: web.BaseRequest) -> web.Response | None:
        """Note that a handler gets this request. Return its refusal if its header section is too large."""
        self.handled = request
        self._unread = 0
        if section_size(len(request.raw_path), request.raw_headers) > LIMIT:
            return bad_request(SectionTooLarge.message, 431)
        return None

    def data_received(self, data: bytes) -> None:
        body = EMPTY_PAYLOAD if self.handled is None else self.handled.content
        before = body.total_bytes
        super().data_received(data)
        self._unread += len(data)
        if self._is_tunnel or body.total_bytes > before:
            self._unread = 0
        elif self._unread > _MOST_UNREAD:
            if not body.is_eof() and body.exception() is None:
                error = web.RequestPayloadError(SectionTooLarge.message)
                error.__cause__ = SectionTooLarge()
                body.set_exception(error)
            else:
                self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.handled = None

    def set_parser(self, parser: Any, *more: Any, **named: Any) -> None:
        self._is_tunnel = True
        super().set_parser(parser, *more, **named)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send the rest of a response."""
        self.handled = None
        if not self._is_tunnel and "Upgrade" in request.headers:
            resp.force_close()
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, _message: str | None = None
    ) -> web.StreamResponse:
        is_refused = status < 500 or isinstance(exc, web.RequestPayloadError)
        if is_too_large(exc) and isinstance(exc, HttpProcessingError):
            return too_large(exc)
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


def number_of(connection: web.RequestHandler) -> int:
    """The number of a client connection; -1 for one that another server accepted."""
    return connection.number if isinstance(connection, Client) else -1


class Server(web.Server):
    """aiohttp's server. Its connections are of the class `kind`, with the arguments `options`. It reports closed
    connections to `accepting`, which admits or refuses each request."""

    def __init__(self, handler: Handler, accepting: Accepting, kind: type[Client] = Client, **options: Any) -> None:
        super().__init__(self._handle, handler_cancellation=True, request_factory=_request)
        self._respond = handler
        self._accepting = accepting
        self._kind = kind
        self._options = options
        accepting.is_idle = lambda connection: isinstance(connection, Client) and connection.handled is None

    def __call__(self) -> Client:
        return self._kind(self, loop=asyncio.get_running_loop(), **self._options)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._accepting.left(handler)

    def _handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Return the handler's coroutine: one of its own would last as long as a stream."""
        connection = request.protocol
        refusal = connection.begin(request) if isinstance(connection, Client) else None
        if not self._accepting.admits(connection):
            refusal = out_of_descriptors()
        return self._respond(request) if refusal is None else _answered(refusal)


def _request(
    message: RawRequestMessage,
    body: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Return the request of a parsed header section. Below aiohttp 3.14, its target may be no URL: then it becomes `*`,
    which names no path."""
    others = (body, protocol, writer, task, asyncio.get_running_loop())
    try:
        return web.BaseRequest(message, *others)
    except ValueError:
        return web.BaseRequest(message._replace(path="*", url=URL("*", encoded=True)), *others)


async def _answered(refusal: web.Response) -> web.Response:
    return refusal
