"""One HTTP exchange through the proxy: forward first, record second.

The client sees what it would see without the proxy. The ending of the exchange says which side ended it.

A stream is passed from the connection to upstream to the client's connection, in the step in which bytes arrive. No
task wakes for an event: the upstream connection calls `Passing`, which writes to the client. This saves two rounds of
the event loop an event. A task waits only for the end, or for a client that does not keep up. If aiohttp lacks a
private name that this needs, a task reads the stream.

The bytes for a slow client wait in `Passing`, up to `limit` bytes. Then reading from upstream pauses. It pauses earlier
if the disk cannot keep up, so that nothing is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import aiohttp
from aiohttp import web

from ...model import UNREACHED, Ending, Headers, Kind
from ...server import http, refusals
from ...server.accept import EXHAUSTED
from ...server.aiohttp_names import HttpProcessingError
from ...server.listener import continue_upload, no_response
from ...server.raw_response import RawResponse
from ...server.timers import Complaint
from ...text import unquoted
from ...wire.headers import (
    asks_for_websocket,
    decoded,
    end_to_end,
    is_event_stream,
    transfer_coding,
    unsendable,
    without,
)
from ...wire.redirects import at_own_address
from ..operations import Received
from ..queue import ExchangeRecorder
from .upstream import Connection, Target, connection_of
from .websocket import Tunnel

_ENOUGH = 256 * 1024
"""Bytes read ahead that last a client for a while, so that the disk may catch up first."""
_CHECK_DISK_EVERY = 0.05
"""Seconds between two checks whether it has."""
_TRANSPORT_FULL = 64 * 1024
"""Bytes waiting in the transport at which a client counts as slow."""
_LARGEST_UNSENT = 16 << 20
"""Bytes of a request that did not reach the upstream, from which on the rest is not read."""
_LONGEST_UPLOAD = 5.0
"""Seconds for the body of such a request to arrive."""
LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, HttpProcessingError, ConnectionError)
"""The errors of a lost upstream, or of a lost client, in a body."""

log = logging.getLogger("omnirecord")

_SHORT = Complaint()
"""The warning that no upstream connection can be opened for lack of a file descriptor."""

Answered = Callable[[str | None, str, str, int, int], None]
"""Called when a response begins: name of the upstream, method, target, number of the exchange, status."""
Over = Callable[[Ending], object]
"""Called when an exchange has ended."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The target and the header fields of a request. `body`: its whole body, if that is read already."""

    target: str
    headers: Headers
    body: bytes | None = None


_FORGOTTEN = RequestHead("", ())


class Forward:
    """Passes one request on and its response back.

    `stopped`: the recorder ends it. `endless`: it is a stream or a WebSocket. `answered` is called once. `running` has
    it until it is over.
    """

    __slots__ = (
        "_answered",
        "_ending",
        "_head",
        "_is_uploading",
        "_over",
        "_read_ahead",
        "_request",
        "_running",
        "endless",
        "recorder",
        "stopped",
        "target",
        "task",
    )

    def __init__(
        self,
        request: web.BaseRequest,
        head: RequestHead,
        recorder: ExchangeRecorder,
        target: Target,
        read_ahead: int,
        answered: Answered,
        running: dict[Forward, None],
        over: Over = lambda _: None,
    ) -> None:
        self._request = request
        self._head = head
        self.recorder = recorder
        self.target = target
        self._read_ahead = read_ahead
        self._answered = answered
        self._running = running
        self._over = over
        task = asyncio.current_task()
        assert task is not None
        self.task: asyncio.Task[object] = task
        self.stopped = False
        self.endless = False
        self._is_uploading = False
        self._ending: Ending = "client_left"
        running[self] = None

    async def run(self) -> web.StreamResponse:
        """Run the exchange and return the response. Raises `CancelledError` if the client leaves or the recorder stops.
        The exchange is ended in any case."""
        try:
            answer = await self._exchange()
            return answer if isinstance(answer, web.StreamResponse) else await answer
        except web.RequestPayloadError as error:
            self._ending = "eof"
            return self._instead(refusals.bad_body(error))
        except (*LOST, aiohttp.ClientError) as error:
            if refusals.is_too_large(error):
                return self._bad_answer(refusals.SectionTooLarge.message)
            if isinstance(error, aiohttp.ClientResponseError):
                return self._bad_answer(f"it is no HTTP ({unquoted(error.message)})")
            self._ending = "client_left" if self._client_is_gone() else "upstream_lost"
            return no_response(self._request)  # upstream closed before its own
        except asyncio.CancelledError:
            if self.stopped:
                self._ending = "recorder_stopped"
            raise
        finally:
            self.recorder.end(self._ending, is_cut=self._is_uploading and not self._request.content.at_eof())
            del self._running[self]
            self._over(self._ending)

    async def _exchange(self) -> web.StreamResponse | Awaitable[web.StreamResponse]:
        """Return a response of the proxy's own, or a coroutine: this call would last as long as a stream."""
        if (refusal := refusals.ambiguous(self._request, self._head.headers)) is not None:
            self._ending = "eof"
            return self._instead(refusal)
        try:
            answer = await self._ask()
        except (aiohttp.ClientOSError, aiohttp.ClientHttpProxyError) as error:
            if (reason := self.target.upstream.why_unreachable(error)) is None:
                raise
            self._ending = "upstream_unreachable"
            await self._read_body()
            is_short = isinstance(error, aiohttp.ClientConnectorError) and error.errno in EXHAUSTED
            return self._unreachable(reason, is_short=is_short)
        if (flaw := self._flaw(answer)) is not None:
            answer.close()
            return self._bad_answer(flaw)
        if answer.status == 101:
            return self._tunnel(answer)
        return self._answer(answer)

    def _respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None:
        self.recorder.respond(kind, status, reason, headers)
        self._answered(self.target.name, self._request.method, self._head.target, self.recorder.exchange, status)

    async def _ask(self) -> aiohttp.ClientResponse:
        target = self._head.target
        headers = self._head.headers
        upgrade = asks_for_websocket(headers)
        passed = without(headers, {"host"}) if upgrade else end_to_end(headers, but=("host", "expect"))
        self._is_uploading = self._request.body_exists and not upgrade
        body = self._upload() if self._is_uploading else None
        if self._head.body is None:
            continue_upload(self._request, headers)
        try:
            client = http.number_of(self._request.protocol)
            return await self.target.upstream.request(client, self._request.method, target, passed, body)
        except aiohttp.ClientConnectionError:
            if isinstance(error := self._request.content.exception(), web.RequestPayloadError):
                raise error from error.__cause__
            raise

    async def _upload(self) -> AsyncIterator[bytes]:
        yield b""  # lets aiohttp send the header section before the body arrives
        if (whole := self._head.body) is not None:
            self.recorder.body("request", whole)
            yield whole
            return
        async for data in self._request.content.iter_any():
            self.recorder.body("request", data)  # an answer that arrives during the `yield` ends this generator
            yield data

    async def _read_body(self) -> None:
        """Record the body of a request that did not reach the upstream, up to a limit, so that it can be read and sent
        again."""
        if not self._is_uploading:
            return
        if self._head.body is not None:
            self.recorder.body("request", self._head.body)
            return
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_UPLOAD):
                async for data in self._request.content.iter_any():
                    self.recorder.body("request", data)
                    size += len(data)
                    if size > _LARGEST_UNSENT:
                        return

    def _unreachable(self, reason: str, *, is_short: bool) -> web.Response:
        if is_short:
            _SHORT.say("file descriptors run short: no connection to upstream can be opened, such requests get 503")
            return self._instead(refusals.out_of_descriptors())
        what = f"{self.target.shown}: {reason}"
        log.warning("could not reach the upstream %s", what)
        return self._instead(refusals.error_response(502, "upstream_unreachable", f"{UNREACHED}{what}"))

    def _flaw(self, answer: aiohttp.ClientResponse) -> str | None:
        """Return why a response cannot be passed on unchanged; None if it can."""
        headers = decoded(answer.raw_headers)
        if answer.status == 101 and not (asks_for_websocket(self._head.headers) and answer.connection is not None):
            return "it switches to another protocol, which the client did not ask for"
        if transfer_coding(headers) not in (None, "chunked", "identity"):
            return "it has a transfer coding that is not chunked"
        return unsendable(answer.reason or "", headers)

    def _bad_answer(self, why: str) -> web.Response:
        """Return a 502 in the place of a response that cannot be passed on. It quotes nothing of the response."""
        self._ending = "upstream_lost"
        log.warning("exchange %d: upstream's answer is not passed on: %s", self.recorder.exchange, why)
        message = f"omnirecord does not pass on the upstream's answer: {why}"
        return self._instead(refusals.error_response(502, "upstream_answer", message))

    def _instead(self, answer: web.Response) -> web.Response:
        """Record a response of the proxy's own, and return it."""
        text = answer.body if isinstance(answer.body, bytes) else b""
        self._respond("http", answer.status, answer.reason, tuple(answer.headers.items()))
        self.recorder.body("response", text)
        return answer

    async def _tunnel(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        self._respond("websocket", answer.status, answer.reason or "", decoded(answer.raw_headers))
        self.endless = True
        tunnel = Tunnel(self._request, answer, self.recorder)
        try:
            return await tunnel.run()
        finally:
            self._ending = tunnel.ending

    async def _answer(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = decoded(answer.raw_headers)
        asked = self._head.headers
        passed = at_own_address(end_to_end(headers), asked, partial(self.target.reached, asked))
        response = RawResponse(answer.status, answer.reason or "", passed)
        try:
            self.endless = is_event_stream(headers)
            self._respond("sse" if self.endless else "http", answer.status, answer.reason or "", headers)
            del headers, asked, passed  # this call lasts as long as a stream
            await response.prepare(self._request)
            if self.endless:
                response.forget_headers()
                self._head = _FORGOTTEN  # a thousand streams may be open for days
                await Passing(self._request, answer, response, self.recorder, self._read_ahead).run()
            else:
                async for data in answer.content.iter_any():
                    await response.write(data)
                    self.recorder.body("response", data)
            self._ending = "eof"
        except LOST:
            self._ending = "client_left" if self._client_is_gone() else "upstream_lost"
            response.cut(self._request)
        except asyncio.CancelledError:
            response.cut(self._request)
            raise
        finally:
            answer.close()
        return response

    def _client_is_gone(self) -> bool:
        return self._request.transport is None or self._request.transport.is_closing()


class _ReadAhead:
    """The reads that wait for a slow client. A client that keeps up has none."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Received, bytes]] = deque()
        self.size = 0
        self.room = asyncio.Event()


class Passing:
    """Passes one stream on: directly, or through a queue while the client is slow. With a `limit` of 0 bytes every read
    waits for the client."""

    __slots__ = (
        "_answer",
        "_content",
        "_is_passing",
        "_limit",
        "_over",
        "_queue",
        "_read",
        "_recorder",
        "_request",
        "_response",
        "_sender",
    )

    def __init__(
        self,
        request: web.BaseRequest,
        answer: aiohttp.ClientResponse,
        response: RawResponse,
        recorder: ExchangeRecorder,
        limit: int,
    ) -> None:
        self._request = request
        self._answer = answer
        self._content = answer.content
        self._response = response
        self._recorder = recorder
        self._limit = limit
        self._over: asyncio.Future[bool]
        self._is_passing = False
        self._read = 0  # bytes of the body
        self._queue: _ReadAhead | None = None
        self._sender: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Pass the stream on until upstream has sent all. Raises the errors of `LOST`."""
        try:
            is_over = False
            while not is_over:
                connection = connection_of(self._answer)
                is_over = await (self._pass_by_task() if connection is None else self._pass_by_calls(connection))
                is_over = is_over or await self._pass_slowly()
        except LOST:
            await self._flush()
            raise
        else:
            await self._flush()
        finally:
            if self._sender is not None:
                self._sender.cancel()

    async def _pass_by_task(self) -> bool:
        """Pass on what this task reads: the body is complete, or aiohttp lacks a name of the fast path. Return like
        `_pass`."""
        while not self._is_slow:
            if not (data := await self._content.readany()):
                return True
            self._pass_one(data)
        return False

    async def _pass_by_calls(self, connection: Connection) -> bool:
        """Let the connection to upstream call `_arrived`. Return like `_pass`."""
        self._over = asyncio.get_running_loop().create_future()
        connection.arrived = self._arrived
        try:
            self._arrived()
            return await self._over
        finally:
            connection.arrived = None

    def _arrived(self) -> None:
        """Called by the connection when there are new bytes, or at the end."""
        if self._is_passing or self._over.done():
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
        """Pass the bytes on that are there. Return True at the end of the stream, False when the client does not keep
        up, and None to wait for more."""
        content = self._content
        while not self._is_slow:
            if content.total_bytes == self._read:
                if (error := content.exception()) is not None:
                    raise error
                return True if content.at_eof() else None
            self._pass_one(content.read_nowait())
        return False

    def _pass_one(self, data: bytes) -> None:
        """Write one read to the client, and record it."""
        self._read += len(data)
        at = self._recorder.now()
        try:
            self._response.write_at_once(data)
        except LOST:
            self._recorder.receive(data)
            raise
        self._recorder.passed(data, at)

    @property
    def _is_slow(self) -> bool:
        """Whether the client does not keep up, so that new bytes have to wait here."""
        if self._queue is not None:
            return True
        transport = self._request.transport
        return transport is not None and transport.get_write_buffer_size() > _TRANSPORT_FULL

    async def _pass_slowly(self) -> bool:
        """Return True at the end of the stream, False when the client keeps up again."""
        while self._is_slow:
            if not (data := await self._content.readany()):
                return True
            self._read += len(data)
            await self._put(self._recorder.receive(data), data)
        return False

    async def _put(self, read: Received, data: bytes) -> None:
        """Put a read into the queue, and wait until the queue has room."""
        if (queue := self._queue) is None:
            queue = self._queue = _ReadAhead()
            self._sender = asyncio.create_task(self._drain(queue))
            # the error of a lost client is ignored here: the reader of upstream gets it too
            self._sender.add_done_callback(lambda sender: sender.cancelled() or sender.exception())
        queue.waiting.append((read, data))
        queue.size += len(data)
        while self._queue is queue and (
            queue.size > self._limit or (queue.size > _ENOUGH and self._recorder.is_behind)
        ):
            queue.room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_DISK_EVERY if queue.size <= self._limit else None):
                    await queue.room.wait()

    async def _flush(self) -> None:
        """Wait until the queue is empty."""
        if self._sender is not None:
            await self._sender

    async def _drain(self, queue: _ReadAhead) -> None:
        try:
            while queue.waiting:
                await self._response.drain()
                read, data = queue.waiting.popleft()
                self._response.write_at_once(data)
                self._recorder.sent(read)
                queue.size -= len(data)
                queue.room.set()
        finally:
            self._queue = self._sender = None
            queue.room.set()
