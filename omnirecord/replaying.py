"""The replay server: an aiohttp shell around `player`. It answers from a cassette and never dials out.

What is due when, and what it waits for, is decided in `player`; here it is slept, written, held open or cut.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from aiohttp import web

from .cassette import Exchange, Headers, Response
from .headers import asks_for_websocket, decoded, end_to_end, header, without
from .library import open_store
from .player import (
    Answering,
    Incoming,
    Mismatch,
    Miss,
    NoContent,
    Player,
    Playing,
    Refused,
    Timing,
    Updates,
    gate_rule,
    timing,
)  # fmt: skip
from .player.joining import frame_of
from .player.script import Script
from .player.timing import NS, seconds
from .serving import Listener, RawResponse, continue_upload, error_response, json_response
from .updates import serve_updates
from .waiting import Waiting

log = logging.getLogger("omnirecord")

CONTROL = "/-/omnirecord/"
_COMPARED = 1 << 20
"""The most of a request's body that is looked at, in bytes."""
_BATCH = 64 * 1024
_BODILESS = (204, 304)  # RFC 9110, section 6.4.1
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\0-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Served:
    """A request that came, and what it got: the number of the exchange, None where nothing matched."""

    method: str
    target: str
    status: int
    exchange: int | None
    why: str = ""
    """Of one that nothing matched: what was missed, what was nearest and in what it differs."""


class Replay:
    """A server that answers as the recorded one did. Use it with `async with`: `url` is where it is.

    `requests`: what came; `unmatched`: what was never recorded; `mismatches`: what came with another `type` or
    `action` than recorded; `waiting`: what it has been waiting for, for more than five seconds.
    Raises `UsageError`, `CassetteError` or `ServerError` on entering.
    """

    def __init__(
        self,
        cassette: str | Path,
        *,
        timing: str = "original",
        speed: float | None = None,
        max_gap: float | None = None,
        gates: Iterable[str] = (),
        no_gate: bool = False,
        gate_timeout: float | None = None,
        hold_opens: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.cassette = Path(cassette)
        self._timing = _timing(timing, speed, max_gap)
        self._rule = gate_rule(gates, off=no_gate, opens=hold_opens)
        self._host, self._port = host, port
        self._listener = Listener(self._handle)
        self._tasks: set[asyncio.Task[object]] = set()
        self.requests: list[Served] = []
        self.unmatched: list[Served] = []
        self._waiting = Waiting(self.now, None if gate_timeout is None else seconds("gate_timeout", gate_timeout))
        self._stopped = False

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def timing(self) -> Timing:
        return self._timing

    @property
    def waiting(self) -> list[str]:
        return self._waiting.reported

    @property
    def mismatches(self) -> list[Mismatch]:
        return self._player.mismatches

    async def __aenter__(self) -> Replay:
        self._store = await asyncio.to_thread(open_store, self.cassette)
        try:
            self._script = await asyncio.to_thread(Script, self._store, self._rule)
            self._player = Player(self._script, self._timing)
            await self._listener.bind(self._host, self._port)
            await self._listener.start()
        except BaseException:
            self._store.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close every connection. Safe to call twice."""
        self._listener.refuse_connections()
        for task in self._tasks:
            task.cancel()
        await self._listener.stop(0.1)
        if not self._stopped:
            self._stopped = True
            self._store.close()

    def now(self) -> int:
        """The event loop's clock in ns: it runs on where a test has frozen the others."""
        return int(asyncio.get_running_loop().time() * NS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await self._respond(request)
        finally:
            self._tasks.discard(task)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        target, headers = request._message.path, decoded(request.raw_headers)
        if target.startswith(CONTROL):
            return self._control(target)
        if asks_for_websocket(headers):
            decision = self._player.websocket(target)
        else:
            continue_upload(request, headers)
            decision = self._player.answer(await _incoming(request, target, headers), self.now())
        self._announce()
        match decision:
            case Playing():
                self._served(request, target, decision.exchange)
                return await self._play(request, decision)
            case Answering():
                self._served(request, target, decision.exchange)
                return await self._answer(request, decision)
            case Updates():
                return await serve_updates(request, self._player, self.now)
            case Refused():
                return error_response(403, "not_replayed", f"omnirecord: {decision.message}")
            case NoContent():
                self.requests.append(Served(request.method, target, 204, None))
                return web.Response(status=204)
            case Miss():
                return self._miss(request, target, decision)

    def _served(self, request: web.BaseRequest, target: str, exchange: Exchange) -> None:
        status = exchange.response.status if exchange.response else 0
        self.requests.append(Served(request.method, target, status, exchange.exchange))

    def _miss(self, request: web.BaseRequest, target: str, miss: Miss) -> web.Response:
        near = "; ".join(f"{one['request']} (differs in {one['differs']})" for one in miss.nearest)
        text = miss.message + (f"; nearest recorded: {near}" if near else "")
        served = Served(request.method, target, 404, None, text)
        self.requests.append(served)
        self.unmatched.append(served)
        log.warning("%s", text)
        return error_response(404, "not_recorded", f"omnirecord: {text}", nearest=miss.nearest)

    def _control(self, target: str) -> web.Response:
        if target.removeprefix(CONTROL) == "state":
            return json_response({
                "cassette": str(self.cassette), "requests": len(self.requests), "waiting": self.waiting,
                "unmatched": [f"{one.method} {one.target}" for one in self.unmatched],
                "mismatches": [asdict(one) for one in self.mismatches],
            })  # fmt: skip
        return error_response(404, "not_found", f"omnirecord: there is {CONTROL}state and nothing else here")

    def _announce(self) -> None:
        """Wake whoever waits at a gate, and pass on what the player has to say."""
        self._waiting.announce()
        while self._player.notes:
            log.info("%s", self._player.notes.pop(0))

    async def _answer(self, request: web.BaseRequest, answer: Answering) -> web.StreamResponse:
        await self._waiting.until_due(answer)
        exchange = answer.exchange
        if exchange.response is None:
            return await self._no_response(request, exchange)
        if problem := unsendable(exchange.response):
            return error_response(502, "not_replayable", f"omnirecord: {problem}")
        recorded, cut = exchange.response, exchange.ending == "upstream_lost"
        headers = end_to_end(recorded.headers)
        if not cut and request.method != "HEAD" and recorded.status not in _BODILESS:
            headers = _sized(headers, answer.body)
        response = RawResponse(recorded.status, recorded.reason, headers)
        await response.prepare(request)
        if answer.body and request.method != "HEAD" and recorded.status not in _BODILESS:
            await response.write(answer.body)
        if cut:
            response.cut(request)
        return response

    async def _no_response(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        """Nothing was answered when this was recorded: the connection is closed, or held until the client goes."""
        if exchange.ending != "upstream_lost":
            await asyncio.Event().wait()
        response = RawResponse(502, "Bad Gateway", ())
        response.cut(request)
        return response

    async def _play(self, request: web.BaseRequest, playing: Playing) -> web.StreamResponse:
        recorded = playing.exchange.response
        assert recorded is not None
        problem = unsendable(recorded) or (recorded.status in _BODILESS and f"{recorded.status} has no body to stream")
        if problem:
            return error_response(502, "not_replayable", f"omnirecord: {problem}")
        dropped = {"content-length", "content-encoding"} if playing.joined else {"content-length"}
        response = RawResponse(recorded.status, recorded.reason, without(end_to_end(recorded.headers), dropped))
        try:
            await response.prepare(request)
            await self._send_pieces(playing, response.writer().write)
            if playing.ending == "upstream_lost":
                response.cut(request)
        except ConnectionError:
            response.cut(request)
        finally:
            self._player.closed(playing)
            self._announce()
        return response

    async def _send_pieces(self, playing: Playing, write: Callable[[bytes], Awaitable[None]]) -> None:
        async def beat() -> None:
            if playing.takes_a_frame:
                await write(_synthetic_heartbeat())

        while playing.has_more:
            await self._waiting.until_due(playing, beat)
            await write(self._due_now(playing))
        if playing.ending not in ("done", "eof", "upstream_lost"):
            await asyncio.Event().wait()  # whoever ended it then was not the server: it stays open
        await self._waiting.until_due(playing, beat)

    def _due_now(self, playing: Playing) -> bytes:
        """The next piece; in `instant`, as many as are due and make a good write."""
        data = playing.take().data
        if not self._timing.instant:
            return data
        parts, size = [data], len(data)
        while size < _BATCH and playing.has_more and playing.due(self.now()) is not None:
            parts.append(playing.take().data)
            size += len(parts[-1])
        return b"".join(parts)


def unsendable(response: Response) -> str | None:
    """What keeps a recorded response from being sent as it is; a stranger's cassette may hold anything."""
    if not 200 <= response.status <= 599:
        return f"a response with status {response.status} cannot be replayed"
    if _CONTROL.search(response.reason):
        return "a response whose reason phrase has control characters cannot be replayed"
    for name, value in response.headers:
        if not _FIELD_NAME.fullmatch(name) or _CONTROL.search(value):
            return f"a response with the header field {name!r} cannot be replayed"
    return None


_timing = timing  # its name is also a parameter's


async def _incoming(request: web.BaseRequest, target: str, headers: Headers) -> Incoming:
    body = bytearray()
    async for data in request.content.iter_any():  # all of it is taken, a megabyte of it is looked at
        body += data[: _COMPARED - len(body)]
    is_runner = header(headers, "x-omnigent-runner-tunnel-token") is not None
    return Incoming(request.method, target, is_runner, header(headers, "if-none-match"), bytes(body))


def _sized(headers: Headers, body: bytes) -> Headers:
    """With the length that the body has: redaction may have changed it."""
    if header(headers, "content-length") is None:
        return headers
    return (*without(headers, {"content-length"}), ("Content-Length", str(len(body))))


def _synthetic_heartbeat() -> bytes:
    """A heartbeat that nobody recorded: a comment says so, which clients do not see."""
    return b": omnirecord is waiting at a gate\n" + frame_of("session.heartbeat", {"server_time": None})
