"""One HTTP exchange through the proxy: forward first, record second.

The client sees what it would see without the proxy. The ending of the exchange says which side ended it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import aiohttp
from aiohttp import web

from ...model import Ending, Headers, Kind
from ...server.aiohttp_private import drop_header_section
from ...server.http import (  # fmt: skip
    SectionTooLarge,
    ambiguous,
    bad_body,
    error_response,
    is_too_large,
    number_of,
    out_of_descriptors,
)
from ...server.listener import RawResponse, continue_upload, no_response
from ...server.timers import Complaint
from ...text import unquoted
from ...wire.headers import (  # fmt: skip
    asks_for_websocket,
    decoded,
    end_to_end,
    is_event_stream,
    transfer_coding,
    unsendable,
    without,
)
from ..queue import ExchangeRecorder
from .pass_through import Passing, ReadAhead
from .resumable import LOST
from .resume import Asked, Resuming, can_be_stamped
from .upstream import Upstream, is_out_of_descriptors, why_unreachable
from .websocket import Tunnel

log = logging.getLogger("omnirecord")

_SHORT = Complaint()
"""The warning that no upstream connection can be opened for lack of a file descriptor."""

Answered = Callable[[str, str, int, int], None]
"""Called when a response begins: method, target, number of the exchange, status."""


class Forward:
    """Passes one request on and its response back.

    `stopped`: the recorder ends it. `endless`: it is a stream or a WebSocket. With `resuming`, a resumable stream is
    handed over to it. `answered` is called once.
    """

    __slots__ = (
        "_answered", "_asked", "_ending", "_handed_over", "_read_ahead", "_request", "_resuming", "_upstream",
        "endless", "recorder", "stopped",
    )  # fmt: skip

    def __init__(
        self,
        request: web.BaseRequest,
        asked: Asked,
        recorder: ExchangeRecorder,
        upstream: Upstream,
        read_ahead: int,
        resuming: Resuming | None,
        answered: Answered,
    ) -> None:
        self._request = request
        self._asked = asked
        self.recorder = recorder
        self._upstream = upstream
        self._read_ahead = read_ahead
        self._resuming = resuming
        self._answered = answered
        self._handed_over = False
        self._ending: Ending = "client_left"
        self.stopped = False
        self.endless = False

    async def run(self) -> web.StreamResponse:
        """Run the exchange and return the response. Raises `CancelledError` if the client leaves or the recorder stops.
        The exchange is ended in any case."""
        try:
            return await self._exchange()
        except web.RequestPayloadError as error:
            self._ending = "eof"
            return self._instead(bad_body(error))
        except (*LOST, aiohttp.ClientError) as error:
            if is_too_large(error):
                return self._bad_answer(SectionTooLarge.message)
            if isinstance(error, aiohttp.ClientResponseError):
                return self._bad_answer(f"it is no HTTP ({unquoted(error.message)})")
            self._ending = "client_left" if self._client_is_gone() else "upstream_lost"
            return no_response(self._request)  # upstream closed before its own
        except asyncio.CancelledError:
            if self.stopped:
                self._ending = "recorder_stopped"
            raise
        finally:
            if not self._handed_over:
                self.recorder.end(self._ending)

    async def _exchange(self) -> web.StreamResponse:
        refusal = ambiguous(self._request, self._asked.headers)
        if refusal is not None:
            self._ending = "eof"
            return self._instead(refusal)
        try:
            answer = await self._ask()
        except aiohttp.ClientOSError as error:
            if (reason := why_unreachable(error)) is None:
                raise
            self._ending = "upstream_unreachable"
            return self._out_of_descriptors() if is_out_of_descriptors(error) else self._unreachable(reason)
        if (flaw := self._flaw(answer)) is not None:
            answer.close()
            return self._bad_answer(flaw)
        if answer.status == 101:
            return await self._tunnel(answer)
        if self._resuming is not None and can_be_stamped(self._request, answer):
            return await self._hand_over(answer, self._resuming)
        return await self._answer(answer)

    def _respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None:
        self.recorder.respond(kind, status, reason, headers)
        self._answered(self._request.method, self._asked.target, self.recorder.exchange, status)

    async def _hand_over(self, answer: aiohttp.ClientResponse, resuming: Resuming) -> web.StreamResponse:
        """Let a relay serve the stream, which may outlive this request. The relay ends the exchange."""
        self._respond("sse", answer.status, answer.reason or "", decoded(answer.raw_headers))
        relay = resuming.begin(self._asked, answer, self.recorder)
        self._keep_only(answer)
        self.endless = self._handed_over = True
        return await relay.serve(self._request)

    async def _ask(self) -> aiohttp.ClientResponse:
        target, headers = self._asked.target, self._asked.headers
        upgrade = asks_for_websocket(headers)
        passed = without(headers, {"host"}) if upgrade else end_to_end(headers, but=("host", "expect"))
        body = self._upload() if self._request.body_exists and not upgrade else None
        continue_upload(self._request, headers)
        try:
            client = number_of(self._request.protocol)
            return await self._upstream.request(client, self._request.method, target, passed, body)
        except aiohttp.ClientConnectionError:
            if isinstance(error := self._request.content.exception(), web.RequestPayloadError):
                raise error from error.__cause__
            raise

    async def _upload(self) -> AsyncIterator[bytes]:
        yield b""  # lets aiohttp send the header section before the body arrives
        async for data in self._request.content.iter_any():
            yield data
            self.recorder.body("request", data)

    def _unreachable(self, reason: str) -> web.Response:
        message = f"omnirecord could not reach the upstream {self._upstream.shown}: {reason}"
        log.warning("%s", message)
        return self._instead(error_response(502, "upstream_unreachable", message))

    def _out_of_descriptors(self) -> web.Response:
        _SHORT.say("file descriptors run short: no connection to upstream can be opened, such requests get 503")
        return self._instead(out_of_descriptors())

    def _flaw(self, answer: aiohttp.ClientResponse) -> str | None:
        """Return why a response cannot be passed on unchanged; None if it can."""
        headers = decoded(answer.raw_headers)
        if answer.status == 101 and not (asks_for_websocket(self._asked.headers) and answer.connection is not None):
            return "it switches to another protocol, which the client did not ask for"
        if transfer_coding(headers) not in (None, "chunked", "identity"):
            return "it has a transfer coding that is not chunked"
        return unsendable(answer.reason or "", headers)

    def _bad_answer(self, why: str) -> web.Response:
        """Return a 502 in the place of a response that cannot be passed on. It quotes nothing of the response."""
        self._ending = "upstream_lost"
        log.warning("exchange %d: upstream's answer is not passed on: %s", self.recorder.exchange, why)
        message = f"omnirecord does not pass on the upstream's answer: {why}"
        return self._instead(error_response(502, "upstream_answer", message))

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
        response = RawResponse(answer.status, answer.reason or "", end_to_end(decoded(answer.raw_headers)))
        try:
            self._begin(answer)
            await response.prepare(self._request)
            if self.endless:
                response.forget_headers()
                self._keep_only(answer)
                await self._stream(answer, response)
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

    def _begin(self, answer: aiohttp.ClientResponse) -> None:
        headers = decoded(answer.raw_headers)
        self.endless = is_event_stream(headers)
        self._respond("sse" if self.endless else "http", answer.status, answer.reason or "", headers)

    def _keep_only(self, answer: aiohttp.ClientResponse) -> None:
        """Free the header fields of the request and the response: a thousand streams may be open for days."""
        self._asked = Asked(self._asked.target, ())
        drop_header_section(answer)

    async def _stream(self, answer: aiohttp.ClientResponse, response: RawResponse) -> None:
        ahead = ReadAhead(self._request, response, self.recorder, self._read_ahead)
        try:
            await Passing(answer, response, self.recorder, ahead).run()
        except LOST:
            await ahead.flush()
            raise
        else:
            await ahead.flush()
        finally:
            ahead.close()

    def _client_is_gone(self) -> bool:
        return self._request.transport is None or self._request.transport.is_closing()
