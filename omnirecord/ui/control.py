"""The control interface of a proxy, below `/-/omnirecord/`: the state of the recording, and its events as they arrive.

Each client has a cursor in the cassette and reads from there. A slow client delays no stream and takes no memory.
Two threads read the cassette, only if it has new rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

from aiohttp import web

from ..analysis.follow import Follower
from ..analysis.follow.rows import LAST, Wanted, rows_of
from ..analysis.listing import Row
from ..errors import CassetteError, UsageError
from ..model import VERDICTS
from ..omnigent.routes import CONTROL, UI, path_of, query_of
from ..server.access import Guard
from ..server.http import json_response
from ..server.listener import refused
from ..server.refusals import error_response
from ..text import dumps
from ..wire.headers import decoded, header

_MOST = 64
"""Most clients that follow the events at once."""
_HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent."""
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Omnirecord": "events",
}
_TAKES = ("session", "stream", "type", "verdict", "last", "requests")


class Page(Protocol):
    """Answers requests below `UI`."""

    async def handle(self, request: web.BaseRequest, target: str) -> web.StreamResponse: ...

    def close(self) -> None: ...


class Control:
    """Answers requests below the control path. `state` returns the body of `GET /-/omnirecord/`.

    `page`: the handler of the page, if there is one. `goes_on`: whether the recording still runs; it may end before
    this server.
    """

    def __init__(
        self,
        db: Callable[[], Path],
        state: Callable[[], dict[str, Any]],
        page: Page | None = None,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._db = db
        self._state = state
        self._page = page
        self._goes_on = goes_on
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="omnirecord-control")
        self._following: set[asyncio.Task[object]] = set()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._is_over = False

    def announce(self) -> None:
        """Wake the clients: the cassette has new rows. Called in the recording thread."""
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        """Set the event that clients wait for, and replace it. A busy client reads again before it waits."""
        self._news.set()
        self._news = asyncio.Event()

    async def finish(self, timeout: float) -> None:
        """The recording is closed: send the clients the rest, for at most `timeout` seconds."""
        self._is_over = True
        self._wake()
        if self._following:
            await asyncio.wait(self._following, timeout=timeout)
        for task in self._following:
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._page is not None:
            self._page.close()

    async def serve(self, request: web.BaseRequest, guard: Guard) -> web.StreamResponse:
        """Answer a request to a listener of the page alone."""
        target = request.raw_path
        if path_of(target) in ("/", CONTROL):
            return web.Response(status=302, headers={"Location": UI})
        if self._page is not None and target.startswith(UI):
            return await self._page.handle(request, target)
        if target.startswith(CONTROL):
            return await self.handle(request, target, guard)
        return error_response(404, "not_found", f"omnirecord: the page is at {UI}")

    async def handle(self, request: web.BaseRequest, target: str, guard: Guard) -> web.StreamResponse:
        """Answer a request below the control path, if `guard` permits."""
        name = path_of(target).removeprefix(CONTROL)
        if refusal := refused(guard, request):
            return refusal
        if name not in ("", "events"):
            return error_response(404, "not_found", f"omnirecord: use GET {CONTROL} and GET {CONTROL}events")
        if request.method not in ("GET", "HEAD"):
            return error_response(405, "method_not_allowed", f"omnirecord: {CONTROL}{name} takes only GET")
        if not name:
            return json_response({**self._state(), "listening": len(self._following)})
        try:
            follower = self._follower(request, target)
        except UsageError as error:
            return error_response(400, "bad_request", f"omnirecord: {error}")
        if len(self._following) >= _MOST or self._is_over:
            return error_response(503, "too_many", f"omnirecord: {_MOST} clients follow already: close one of them")
        return await self._events(request, follower)

    def _follower(self, request: web.BaseRequest, target: str) -> Follower[Row]:
        options = dict(parse_qsl(query_of(target), keep_blank_values=True))
        if odd := [name for name in options if name not in _TAKES]:
            raise UsageError(f"events has no option {odd[0]}: use {', '.join(_TAKES)}")
        verdict = options.get("verdict")
        if verdict is not None and verdict not in VERDICTS:
            raise UsageError(f"verdict={verdict!r} is unknown: use {', '.join(VERDICTS)}")
        stream = _number(options, "stream")
        tells_requests = options.get("requests") == "1"
        wanted = Wanted(options.get("session"), stream, options.get("type"), verdict, tells_requests)
        last = _number(options, "last")
        behind = header(decoded(request.raw_headers), "last-event-id")
        return rows_of(self._db(), wanted, LAST if last is None else last, bookmark=behind)

    async def _events(self, request: web.BaseRequest, follower: Follower[Row]) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._following.add(task)
        response = web.StreamResponse(headers=_HEADERS)
        try:
            await response.prepare(request)
            await response.write(b": omnirecord\n\n")
            if request.method == "GET":
                await self._follow(response, follower)
        except ConnectionError:
            pass  # the client has left
        finally:
            self._following.discard(task)
        return response

    async def _follow(self, response: web.StreamResponse, follower: Follower[Row]) -> None:
        cassette = ""
        while True:
            news = self._news
            was_over = self._is_over or not self._goes_on()
            data, has_more, cassette = await self._loop.run_in_executor(self._threads, _read, follower, cassette)
            if data:
                await response.write(data)  # waits for a slow client
            if has_more:
                continue
            if was_over:
                await response.write(b'event: end\ndata: {"ended": true}\n\n')
                return
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await news.wait()
            except TimeoutError:
                await response.write(b": omnirecord\n\n")


def _read(follower: Follower[Row], cassette: str) -> tuple[bytes, bool, str]:
    """New rows as bytes of an event stream; whether there are more; the id of the cassette. Runs in a thread.

    `cassette`: the id of the previous rows' cassette. An event with the cassette's id comes first, and before the rows
    of the next file (`--rotate`). The last event has a bookmark as its id: a client that sends it as `Last-Event-ID`
    continues after it.
    """
    try:
        batch = follower.read()
    except CassetteError as error:
        return f"event: trouble\ndata: {dumps({'message': str(error)})}\n\n".encode(), False, cassette
    lines = []
    for of, rows in [(part.cassette, part.rows) for part in batch.parts] or [(cassette or follower.cassette, [])]:
        if of != cassette:
            cassette = of
            lines.append(f"event: cassette\ndata: {dumps({'id': cassette})}\n\n")
        for row in rows:
            name = "event: request\n" if row.get("exchange") is not None else ""
            lines.append(f"{name}data: {dumps(row)}\n\n")
    if lines:
        lines[-1] = f"id: {follower.bookmark}\n{lines[-1]}"
    return "".join(lines).encode("utf-8", "surrogatepass"), batch.has_more, cassette


def _number(options: dict[str, str], name: str) -> int | None:
    value = options.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise UsageError(f"{name}={value!r} is not a number")
    return int(value)
