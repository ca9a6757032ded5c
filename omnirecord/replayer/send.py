"""Sends the decisions of a replay when they are due: streams as they play, and answers.

`player` decides when a part is due. `Waiting` waits until then, at closed gates, and while paused. A wait at a gate is
logged after a second. A long one inserts heartbeats, and ends after `--skip-gates-after`. `Sender` writes the part,
holds it open, cuts or resets it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from math import ceil
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ..errors import ServerError
from ..model import Exchange, Headers, Kind, Response
from ..omnigent import protocol
from ..providers.register import Api, model_api
from ..server.http import json_response
from ..server.listener import no_response
from ..server.raw_response import RawResponse
from ..server.refusals import error_response
from ..server.timers import Timers, wake
from ..text import joined
from ..wire.headers import decoded, end_to_end, header, unsendable, without
from ..wire.json_rpc import Message
from ..wire.redirects import Reached, at_own_address
from .beyond import Copy
from .omnigent_ui.page import MadeUp
from .player import Answering, Failing, Playing
from .player.gates import Gate
from .player.stream_choice import frame_of
from .player.timeline import NS, Timeline

log = logging.getLogger("omnirecord")

HEARTBEAT_EVERY = 15.0
"""Seconds of silence before a heartbeat is inserted: clients take 45 s without a byte for a dead stream."""
LOG_AFTER = 1.0
"""Seconds at a gate after which the wait is logged."""
REPORT_AFTER = 5.0
"""Seconds at a gate after which `server.waiting` has it."""

Beat = Callable[[], Awaitable[None]]
"""Inserts a heartbeat; called after each `HEARTBEAT_EVERY` of silence."""
Write = Callable[[bytes], Awaitable[None]]

_TURN = 4
"""Bursts after which other clients get their turn."""

_BODILESS = (204, 304)  # RFC 9110, section 6.4.1


class Waiting:
    """All waits of one replay. `now` returns the kernel's monotonic clock, in ns; `content` returns what the client
    says in a recorded request, by its number."""

    def __init__(self, now: Callable[[], int], skip_gates_after: float | None, content: Callable[[int], str]) -> None:
        self._now = now
        self._content = content
        self._skip_gates_after = skip_gates_after
        self._sleepers: set[asyncio.Future[None]] = set()
        self._timers = Timers()
        self._reported: Counter[str] = Counter()
        self._at_gates: list[tuple[Gate, Timeline]] = []
        self._timed = 0  # number of waits for a known time
        self._stopped = False

    @property
    def reported(self) -> list[str]:
        """The requests of long waits that still last."""
        return list(self._reported)

    @property
    def awaited(self) -> str | None:
        """The request that every response waits for. None while any response waits for a time, a playhead is paused, or
        no response waits at a gate."""
        if self._timed or any(timeline.paused for _, timeline in self._at_gates):
            return None
        return next((gate.what for gate, _ in self._at_gates if not gate.open), None)

    def announce(self) -> None:
        """Wake all waits after a change: a gate may have opened, a playhead may have moved."""
        sleepers = self._sleepers
        self._sleepers = set()
        for sleeper in sleepers:
            wake(sleeper)

    async def until_due(self, what: Playing | Answering, beat: Beat | None = None) -> None:
        """Wait until the next part, or the answer, may be sent."""
        quiet_since = self._now()
        while (due := what.due(now := self._now())) is None or due > now:
            if due is not None:
                await self._changed(at_ns=due)
                continue
            gate = what.waits_for()
            if gate is not None and what.timeline is not None:
                await self._at(gate, what.timeline, beat)
            else:
                quiet_since = await self._held(quiet_since, beat)

    async def sleep_until(self, due: int) -> None:
        """Wait for a time, in ns, whatever changes meanwhile."""
        await asyncio.sleep(max(0, due - self._now()) / NS)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a condition that `announce` may change. Raises `ServerError` after the server has stopped."""
        while not is_so():
            if self._stopped:
                raise ServerError("the replay was stopped, nothing comes any more")
            await self._changed()

    def stop(self) -> None:
        self._stopped = True
        self.announce()
        self._timers.close()

    async def _changed(self, seconds: float | None = None, at_ns: int | None = None) -> None:
        """Wait for a change, at most for about so many seconds, or until a precise time, in ns."""
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, wake, sleeper)
        if at_ns is not None:
            self._timers.wake(sleeper, at_ns)
        self._timed += at_ns is not None
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            self._sleepers.discard(sleeper)
            self._timed -= at_ns is not None
            if timer is not None:
                timer.cancel()

    async def _held(self, quiet_since: int, beat: Beat | None) -> int:
        """Wait for a change, at most until the next heartbeat. Return the start of the silence, in ns."""
        left = HEARTBEAT_EVERY - (self._now() - quiet_since) / NS
        if left <= 0:
            if beat is not None:
                await beat()
            return self._now()
        await self._changed(left)
        return quiet_since

    async def _at(self, gate: Gate, timeline: Timeline, beat: Beat | None) -> None:
        """Wait for a gate. Log the wait, once for all clients that wait for it."""
        place = (gate, timeline)
        recorded = f"(recorded at {gate.at_ns / NS:.1f} s)"
        what = f"{gate.what} {recorded}"
        reported = Counter[str]()

        def tell() -> None:
            if not gate.is_reported:
                gate.is_reported = True
                log.warning("waiting for %s", joined([gate.what, self._content(gate.exchange), recorded]))

        def report() -> None:
            reported[what] += 1
            self._reported[what] += 1

        def skip() -> None:
            if not gate.open:
                log.warning("went on without %s: --skip-gates-after is over", gate.what)
                timeline.open(gate, self._now())
                self.announce()

        self._at_gates.append(place)
        try:
            with _after(LOG_AFTER, tell), _after(REPORT_AFTER, report), _after(self._skip_gates_after, skip):
                quiet_since = self._now()
                while not gate.open:
                    quiet_since = await self._held(quiet_since, beat)
        finally:
            self._reported -= reported
            self._at_gates.remove(place)


@contextmanager
def _after(seconds: float | None, call: Callable[[], None]) -> Iterator[None]:
    """Call `call` after so many seconds, unless the block ends before; None: never."""
    timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, call)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


class _Copied(RawResponse):
    """A response of which `copy` records the header section, with the fields `recorded`, and the body."""

    def __init__(self, of: Response, headers: Headers, recorded: Headers, kind: Kind, copy: Copy) -> None:
        super().__init__(of.status, of.reason, headers)
        self._recorded = recorded
        self._kind = kind
        self._copy = copy

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if not self.prepared:
            self._copy.respond(self._kind, self.status, self.reason or "", self._recorded)
        return await super().prepare(request)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        at_ns = self._copy.now()
        await super().write(data)
        if self._kind == "sse":
            self._copy.passed(bytes(data), at_ns)
        else:
            self._copy.body("response", bytes(data))


class Sender:
    """Sends for one replay. `now` returns the time on its clock, in ns; `ended` returns whether a fault ends a
    stream; `api` returns the model API of a target; `reached` returns the upstream of a recorded exchange, and the
    address at which the client of a request reaches it."""

    def __init__(
        self,
        waiting: Waiting,
        now: Callable[[], int],
        ended: Callable[[Playing], bool],
        api: Callable[[str], Api | None],
        reached: Callable[[Exchange, Headers], Sequence[Reached]],
    ) -> None:
        self._waiting = waiting
        self._api = api
        self._reached = reached
        self._now = now
        self._ended = ended

    async def answer(self, request: web.BaseRequest, answer: Answering, copy: Copy | None = None) -> web.StreamResponse:
        """Send a recorded answer. `copy` records it."""
        await self._waiting.until_due(answer)
        exchange = answer.exchange
        if exchange.response is None:
            return no_response(request)
        if (refused := _not_replayable(exchange.response)) is not None:
            return refused
        recorded = exchange.response
        cut = exchange.ending == "upstream_lost"
        has_body = request.method != "HEAD" and recorded.status not in _BODILESS

        def fitting(headers: Headers) -> Headers:
            if cut or not has_body or header(headers, "content-length") is None:
                return headers
            return _sized(headers, answer.body)  # redaction may have changed it

        response = self._response(request, exchange, recorded, fitting, copy)
        await response.prepare(request)
        if answer.body and has_body:
            await response.write(answer.body)
        if cut:
            response.cut(request)
        return response

    async def play(self, request: web.BaseRequest, playing: Playing, copy: Copy | None = None) -> web.StreamResponse:
        """Send a stream, to its end or until the client leaves. `copy` records it."""
        recorded = playing.exchange.response
        assert recorded is not None
        if (refused := _not_replayable(recorded)) is not None:
            return refused
        is_bodiless = request.method == "HEAD" or recorded.status in _BODILESS
        differs = {"content-length", "content-encoding"} if playing.decoded else {"content-length"}
        fitting = partial(without, dropped=() if is_bodiless else differs)
        response = self._response(request, playing.exchange, recorded, fitting, copy)
        try:
            await self._waiting.sleep_until(playing.begins_at)
            await response.prepare(request)
            if not is_bodiless:
                await self._send(playing, response.write)
            if playing.stop == "reset":
                response.reset(request)
            elif playing.stop == "short":
                response.cut(request)
        except ConnectionError:
            response.cut(request)
        return response

    def _response(
        self,
        request: web.BaseRequest,
        exchange: Exchange,
        recorded: Response,
        fitting: Callable[[Headers], Headers],
        copy: Copy | None,
    ) -> RawResponse:
        """Return a response with the recorded fields, and with URLs at the upstream moved to this server. `fitting`
        changes the fields for the body."""
        reached = partial(self._reached, exchange, decoded(request.raw_headers))
        headers = end_to_end(recorded.headers)
        returned = fitting(at_own_address(headers, exchange.request.headers, reached))
        if copy is None:
            return RawResponse(recorded.status, recorded.reason, returned)
        return _Copied(recorded, returned, fitting(headers), exchange.kind, copy)

    async def fail(self, request: web.BaseRequest, target: str, failing: Failing) -> web.StreamResponse:
        """Answer with the status of a fault, in the shape of the target's API; or reset the connection."""
        await self._waiting.sleep_until(failing.due)
        if not failing.status:
            return no_response(request, by_reset=True)
        message = f"omnirecord: {failing.status}, since {failing.message}"
        return refusal(self._api(target), failing.status, "fault", message, retry_headers(failing.retry_after_ns))

    async def _send(self, playing: Playing, write: Write) -> None:
        async def beat() -> None:
            if playing.takes_a_frame and playing.exchange.session_id is not None:  # only sessions have heartbeats
                await write(_synthetic_heartbeat())

        cut = playing.chunks.cut(playing.exchange.stream or 0)
        while True:
            while await self._send_freely(playing, write):
                await self._waiting.until_due(playing, beat)
                await _write_each(cut(playing.take(self._now())), write)
                if playing.timeline.paused:
                    self._waiting.announce()  # a step may wait for this event
            if playing.stop == "open":  # the recorded server did not end it: its client does
                while playing.is_kept_alive:
                    await asyncio.sleep(HEARTBEAT_EVERY)
                    await beat()
                await asyncio.Event().wait()
            await self._waiting.until_due(playing, beat)
            if not playing.faulty.end or self._ended(playing):
                break
        if playing.stop == "freeze":
            await asyncio.Event().wait()

    async def _send_freely(self, playing: Playing, write: Write) -> bool:
        """Send bursts as long as nothing holds them, with turns for other clients; return whether more parts follow."""
        number = 0
        while (burst := playing.burst(self._now())) is not None:
            await write(burst)
            number += 1
            if not number % _TURN:
                await asyncio.sleep(0)
        return playing.has_more


def refusal(
    api: Api | None, status: int, code: str, message: str, headers: Headers = (), **details: Any
) -> web.StreamResponse:
    """Return an error in the shape of a model API; with None, of Omnigent. `code` is omnirecord's."""
    if api is None:
        answer = error_response(status, code, message, **details)
    else:
        body = model_api(api).error(status, message, code if code == NOT_RECORDED else None)
        body["error"] |= details
        answer = json_response(body, status)
    answer.headers.extend(headers)
    return answer


def refusal_of_miss(
    api: Api | None, call: Message | None, message: str, nearest: list[dict[str, str]]
) -> web.StreamResponse:
    """Return the answer to a request that was not recorded, as an error of its API. A JSON-RPC request gets an error
    with its `id` and status 200: clients of MCP take a 404 for the end of their session."""
    if call is None:
        return refusal(api, 404, NOT_RECORDED, message, nearest=nearest)
    error = {"code": _NOT_RECORDED_CALL, "message": message, "data": {"code": NOT_RECORDED, "nearest": nearest}}
    return json_response({"jsonrpc": "2.0", "id": call.id, "error": error}, 200 if call.kind == "request" else 404)


NOT_RECORDED = "not_recorded"
_NOT_RECORDED_CALL = -32004
"""A code that JSON-RPC leaves to servers, and that MCP does not use."""


def retry_headers(after_ns: int | None) -> Headers:
    """Return the fields that tell a client when to try again, from a time in ns; none for None. Whole seconds are
    rounded up; `Retry-After-Ms`, which several SDKs prefer, is exact."""
    if after_ns is None:
        return ()
    return (("Retry-After", str(ceil(after_ns / 1e9))), ("Retry-After-Ms", f"{after_ns / 1e6:g}"))


async def _write_each(writes: Iterable[bytes], write: Write) -> None:
    """Write one after the other; each has left before the next is made."""
    for number, data in enumerate(writes):
        if number:
            await asyncio.sleep(0)
        await write(data)


def _not_replayable(response: Response) -> web.Response | None:
    """Return the refusal of a recorded response that cannot be sent; None if it can. A cassette may hold any."""
    why = unsendable(response.reason, response.headers)
    said = None if why is None else f"a response cannot be replayed: {why}"
    if not 200 <= response.status <= 599:
        said = f"a response with status {response.status} cannot be replayed"
    return None if said is None else error_response(502, "not_replayable", f"omnirecord: {said}")


def _sized(headers: Headers, body: bytes) -> Headers:
    return (*without(headers, {"content-length"}), ("Content-Length", str(len(body))))


def _synthetic_heartbeat(why: str = "omnirecord is waiting at a gate") -> bytes:
    """Return a heartbeat that was not recorded, with a comment that says so; clients ignore comments."""
    return f": {why}\n".encode() + frame_of(protocol.SESSION_HEARTBEAT, {"server_time": None})


async def send_made_up(request: web.BaseRequest, answer: MadeUp) -> web.StreamResponse:
    """Send an answer that was not recorded; 304 if the client has it."""
    etag = header(answer.headers, "etag")
    if etag is not None and request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    response = RawResponse(answer.status, HTTPStatus(answer.status).phrase, _sized(answer.headers, answer.body))
    await response.prepare(request)
    await response.write(answer.body)
    return response


async def keep_quiet(request: web.BaseRequest) -> web.StreamResponse:
    """Send a stream of heartbeats until the client leaves."""
    response = RawResponse(200, "OK", (("content-type", "text/event-stream; charset=utf-8"),))
    await response.prepare(request)
    while True:
        await response.write(_synthetic_heartbeat("nothing was recorded of this stream"))
        await asyncio.sleep(HEARTBEAT_EVERY)
