"""What a replay has decided, sent to a client: a stream as it plays, or an answer once it is due.

When something is due, `player` decides and `waiting` waits; here it is written, held open, cut or reset.

`/v1/sessions/updates` in a replay: the WebSocket by which the web UI keeps its session list up to date.

A `watch` is answered by a `snapshot` of the watched sessions as of the playhead, then `changed` follows as that
moves, and a `heartbeat` where nothing was sent for 30 s. The content is what the recorded server sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from aiohttp import WSMsgType, web

from ..model import Exchange, Headers, Response
from ..server.http import error_response
from ..server.listener import RawResponse
from ..server.timers import monotonic
from ..wire.headers import end_to_end, header, unsendable, without
from .omnigent_ui import MadeUp
from .player import Answering, Failing, Playing
from .player.reconnect import frame_of
from .wait import HEARTBEAT_EVERY, Beat, Waiting

Write = Callable[[bytes], Awaitable[None]]

_TURN = 4
"""Pieces after which it is somebody else's turn."""

_BODILESS = (204, 304)  # RFC 9110, section 6.4.1


class Sender:
    """Sends for one replay. `now` is its clock, in ns; `ended` is asked where a fault
    would end a stream: whether it does."""

    def __init__(self, waiting: Waiting, now: Callable[[], int], ended: Callable[[Playing], bool]) -> None:
        self._waiting = waiting
        self._now = now
        self._ended = ended

    async def answer(self, request: web.BaseRequest, answer: Answering) -> web.StreamResponse:
        await self._waiting.until_due(answer)
        exchange = answer.exchange
        if exchange.response is None:
            return await self._no_response(request, exchange)
        if problem := not_replayable(exchange.response):
            return error_response(502, "not_replayable", f"omnirecord: {problem}")
        recorded, cut = exchange.response, exchange.ending == "upstream_lost"
        headers = end_to_end(recorded.headers)
        has_body = request.method != "HEAD" and recorded.status not in _BODILESS
        if not cut and has_body:
            headers = _sized(headers, answer.body)
        response = RawResponse(recorded.status, recorded.reason, headers)
        await response.prepare(request)
        if answer.body and has_body:
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

    async def play(self, request: web.BaseRequest, playing: Playing) -> web.StreamResponse:
        """Send a stream, to its end or until the client goes."""
        recorded = playing.exchange.response
        assert recorded is not None
        if problem := not_replayable(recorded):
            return error_response(502, "not_replayable", f"omnirecord: {problem}")
        is_bodiless = request.method == "HEAD" or recorded.status in _BODILESS
        response = RawResponse(recorded.status, recorded.reason, _of_stream(playing, recorded, is_bodiless=is_bodiless))
        try:
            await self._waiting.sleep_until(playing.begins_at)
            await response.prepare(request)
            if not is_bodiless:
                await self._send(playing, response.writer().write)
            if playing.stop == "reset":
                response.reset(request)
            elif playing.stop == "short":
                response.cut(request)
        except ConnectionError:
            response.cut(request)
        return response

    async def fail(self, failing: Failing) -> web.StreamResponse:
        """Answer with the status that a fault wants."""
        await self._waiting.sleep_until(failing.due)
        return error_response(failing.status, "fault", f"omnirecord: {failing.status}, since {failing.message}")

    async def _send(self, playing: Playing, write: Write) -> None:
        async def beat() -> None:
            if playing.takes_a_frame:
                await write(_synthetic_heartbeat())

        cut = playing.chunks.cut(playing.exchange.stream or 0)
        while True:
            while await self._send_freely(playing, write):
                await self._waiting.until_due(playing, beat)
                await _write_each(cut(playing.take(self._now())), write)
                if playing.timeline.paused:
                    self._waiting.announce()  # somebody may wait for just this event
            if playing.stop == "open":
                await _hold(beat if playing.is_kept_alive else None)  # whoever ended it then was not the server
            await self._waiting.until_due(playing, beat)
            if not playing.fault or self._ended(playing):
                break
        if playing.stop == "freeze":
            await asyncio.Event().wait()

    async def _send_freely(self, playing: Playing, write: Write) -> bool:
        """What nothing holds up goes out in bursts; returns whether there is more behind it. A client that takes all
        there is keeps nobody else waiting."""
        number = 0
        while (burst := playing.burst(self._now())) is not None:
            await write(burst)
            number += 1
            if not number % _TURN:
                await asyncio.sleep(0)
        return playing.has_more


def _of_stream(playing: Playing, recorded: Response, *, is_bodiless: bool) -> Headers:
    """The header fields of a stream: with a length or a coding only if its bytes have these."""
    headers = end_to_end(recorded.headers)
    if is_bodiless:
        return headers
    return without(headers, {"content-length", "content-encoding"} if playing.decoded else {"content-length"})


async def _hold(beat: Beat | None) -> None:
    """Leave a stream open until its client goes."""
    while beat is not None:
        await asyncio.sleep(HEARTBEAT_EVERY)
        await beat()
    await asyncio.Event().wait()


async def _write_each(writes: Iterator[bytes], write: Write) -> None:
    """One write after the other; each has left before the next is made."""
    for number, data in enumerate(writes):
        if number:
            await asyncio.sleep(0)
        await write(data)


def not_replayable(response: Response) -> str | None:
    """Why a recorded response cannot be sent as it is. None if it can: a foreign cassette may hold anything."""
    if not 200 <= response.status <= 599:
        return f"a response with status {response.status} cannot be replayed"
    why = unsendable(response.reason, response.headers)
    return None if why is None else f"a response cannot be replayed: {why}"


def _sized(headers: Headers, body: bytes) -> Headers:
    """With the length that the body has: redaction may have changed it."""
    if header(headers, "content-length") is None:
        return headers
    return (*without(headers, {"content-length"}), ("Content-Length", str(len(body))))


def _synthetic_heartbeat(why: str = "omnirecord is waiting at a gate") -> bytes:
    """A heartbeat that nobody recorded: a comment says so, which clients do not see."""
    return f": {why}\n".encode() + frame_of("session.heartbeat", {"server_time": None})


async def send_made_up(request: web.BaseRequest, answer: MadeUp) -> web.StreamResponse:
    """An answer that nobody recorded; to who has it already, only that it is still the same."""
    etag = header(answer.headers, "etag")
    if etag is not None and request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    headers = (*without(answer.headers, {"content-length"}), ("Content-Length", str(len(answer.body))))
    response = RawResponse(answer.status, HTTPStatus(answer.status).phrase, headers)
    await response.prepare(request)
    await response.write(answer.body)
    return response


async def keep_quiet(request: web.BaseRequest) -> web.StreamResponse:
    """A stream on which nothing comes but heartbeats, until the client goes."""
    response = RawResponse(200, "OK", (("content-type", "text/event-stream; charset=utf-8"),))
    await response.prepare(request)
    while True:
        await response.write(_synthetic_heartbeat("nothing was recorded of this stream"))
        await asyncio.sleep(HEARTBEAT_EVERY)


UPDATES_HEARTBEAT_EVERY = 30.0
_LOOK_EVERY = 0.5
"""Seconds between looks at whether the playhead has moved."""


Rows = Callable[[list[str]], dict[str, Any]]
"""The rows of these sessions in the list, by id, as of the playhead."""


async def serve_updates(request: web.BaseRequest, rows_of: Rows) -> web.WebSocketResponse:
    """Serve one client until it leaves."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    with suppress(ConnectionError):  # it left
        await _serve(socket, rows_of)
    return socket


async def _serve(socket: web.WebSocketResponse, rows_of: Rows) -> None:
    watched: list[str] = []
    shown: dict[str, Any] = {}
    quiet_since = monotonic()
    while not socket.closed:
        message = await _message(socket)
        if message is not None:
            watched = message
            shown = rows_of(watched)
            await socket.send_str(json.dumps({"type": "snapshot", "items": list(shown.values())}))
            quiet_since = monotonic()
            continue
        rows = rows_of(watched)
        changed = [row for name, row in rows.items() if row != shown.get(name)]
        if changed:
            await socket.send_str(json.dumps({"type": "changed", "items": changed}))
        elif monotonic() - quiet_since > UPDATES_HEARTBEAT_EVERY:
            await socket.send_str(json.dumps({"type": "heartbeat"}))
        else:
            continue
        shown, quiet_since = rows, monotonic()


async def _message(socket: web.WebSocketResponse) -> list[str] | None:
    """The ids of a `watch`; None where none came in time."""
    try:
        message = await socket.receive(timeout=_LOOK_EVERY)
    except TimeoutError:
        return None
    if message.type is not WSMsgType.TEXT:
        return None
    try:
        value = json.loads(message.data)
        ids = value["session_ids"] if value["type"] == "watch" else None
    except (ValueError, KeyError, TypeError):
        return None
    return [one for one in ids if isinstance(one, str)] if isinstance(ids, list) else None
