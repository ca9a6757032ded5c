"""The buttons of a replay: from Python, and over HTTP below `/-/omnirecord/`. What they do is in `player.controls`.

Over HTTP each is a POST, since it changes something; what goes with it stands in the query or in a JSON body. Who may
press them is decided in `guarding`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from math import isfinite
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from ..errors import UsageError
from ..omnigent.routes import CONTROL, path_of, query_of
from ..server.access import Guard
from ..server.http import error_response, json_response
from ..server.listener import refused
from .player.controls import Controls, Position, Predicate, as_row, is_behind
from .player.playback import Playthrough
from .player.timeline import SortKey
from .wait import Waiting

PATIENCE = 30.0
"""Seconds after which a request that waits for an event is answered that it has not come."""
_LONGEST_BODY = 64 * 1024


class PlayheadControl:
    """What can be done to the playheads of one replay. `which` is a session's id or `stream N`, where there are
    several. Raises `UsageError` where something cannot be done."""

    _controls: Controls
    _waiting: Waiting

    def now(self) -> int:
        """The replay's clock, in ns."""
        raise NotImplementedError

    @property
    def paused(self) -> bool:
        """Whether everything is."""
        return self._controls.paused

    @property
    def speed(self) -> float:
        """How many times as fast as recorded it is played."""
        return self._controls.speed

    def pause(self, which: str | None = None) -> Position | None:
        self._controls.pause(self.now(), which)
        return self._told(which)

    def play(self, which: str | None = None) -> Position | None:
        self._controls.play(self.now(), which)
        return self._told(which)

    def set_speed(self, speed: float, which: str | None = None) -> Position | None:
        self._controls.set_speed(speed, self.now(), which)
        return self._told(which)

    def jump(self, seconds: float, which: str | None = None) -> Position:
        run = self._controls.one(which)
        if run is None:
            raise UsageError("nothing is played yet that one could jump in: open a stream first")
        self._controls.jump(run, seconds, self.now())
        self._waiting.announce()
        return self.position(which)

    def position(self, which: str | None = None) -> Position:
        return self._controls.position(which)

    def positions(self) -> list[Position]:
        """Of everything that is played."""
        return self._controls.positions()

    async def step(self, count: int = 1, which: str | None = None) -> Position:
        """Pause, and let so many events pass, one by one. Waits for somebody who listens, and at closed gates."""
        if count < 1:
            raise UsageError(f"{count} steps are none: take 1 or more")
        self._controls.pause(self.now(), which)
        for _ in range(count):
            await self._step(which)
        return self.position(which)

    async def _step(self, which: str | None) -> None:
        run: Playthrough | None = None
        place: SortKey | None = None

        def has_stepped() -> bool:
            nonlocal run, place
            if run is not None and place is not None and is_behind(run, place):
                return True
            run, before = self._controls.one(which), place
            place = self._controls.step(run, self.now()) if run is not None else None
            if place != before:
                asyncio.get_running_loop().call_soon(self._waiting.announce)
            return False

        await self._waiting.until(has_stepped)

    async def run_until(self, event: str | Predicate, nth: int = 1, which: str | None = None) -> Position:
        """Play on, and pause right behind the nth such event that is sent from now on: the address of one, as in
        `docs/faults.md`, or a function of a `TimedFrame`."""
        target = self._controls.run_until(event, nth, self.now(), which)
        self._waiting.announce()
        try:
            await self._waiting.until(lambda: target.is_over)
        finally:
            self._controls.give_up(target)
        if target.failed is not None:
            raise target.failed
        assert isinstance(target.reached, Playthrough)
        return self.position(target.reached.name)

    def _told(self, which: str | None) -> Position | None:
        """Where that has left it; None where there are several."""
        self._waiting.announce()
        many = which is None and len(self._controls.positions()) > 1
        return None if many else self.position(which)


class ControlPath:
    """The control interface of one replay: `guard` lets requests pass, `state` gives what `GET …/state` tells beside
    the positions."""

    def __init__(
        self,
        guard: Guard,
        buttons: PlayheadControl,
        controls: Controls,
        reset: Callable[[], Awaitable[None]],
        state: Callable[[], dict[str, Any]],
    ) -> None:
        self._guard = guard
        self._control = buttons
        self._controls = controls
        self._reset = reset
        self._state = state
        self._presses: dict[str, tuple[Press, set[str]]] = {
            "pause": (self._pause, {"which"}),
            "play": (self._play, {"which"}),
            "speed": (self._speed, {"which", "speed"}),
            "jump": (self._jump, {"which", "seconds"}),
            "step": (self._step, {"which", "count", "timeout"}),
            "run-until": (self._run_until, {"which", "event", "nth", "timeout"}),
            "reset": (self._begin_again, set()),
        }

    async def handle(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        """Answer a request below the control path."""
        name = path_of(target).removeprefix(CONTROL)
        if refusal := refused(self._guard, request):
            return refusal
        if name in ("state", "position"):
            return self._look(request, name)
        if name not in self._presses:
            known = ", ".join(["GET state", "GET position", *(f"POST {one}" for one in self._presses)])
            return error_response(404, "not_found", f"omnirecord: below {CONTROL} there are {known}")
        if request.method != "POST":
            return error_response(405, "method_not_allowed", f"omnirecord: {CONTROL}{name} changes something: POST it")
        try:
            return json_response(await self._press(name, await _options(request, target)))
        except (UsageError, ValueError) as error:
            return error_response(400, "bad_request", f"omnirecord: {error}")
        except TimeoutError as error:
            return error_response(408, "not_reached", f"omnirecord: {error}", positions=self._positions())

    def _look(self, request: web.BaseRequest, name: str) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return error_response(405, "method_not_allowed", f"omnirecord: {CONTROL}{name} is read: GET it")
        if name == "position":
            return json_response({"positions": self._positions()})
        return json_response({**self._state(), "positions": self._positions()})

    def _positions(self) -> list[dict[str, Any]]:
        return [as_row(one) for one in self._controls.positions()]

    async def _press(self, name: str, options: dict[str, Any]) -> Any:
        press, takes = self._presses[name]
        if odd := [option for option in options if option not in takes]:
            raise UsageError(f"{name} takes no {odd[0]}, but {', '.join(sorted(takes)) or 'nothing'}")
        pressed = await press(options)
        return as_row(pressed) if isinstance(pressed, Position) else {"positions": self._positions()}

    async def _pause(self, options: dict[str, Any]) -> Position | None:
        return self._control.pause(_which(options))

    async def _play(self, options: dict[str, Any]) -> Position | None:
        return self._control.play(_which(options))

    async def _speed(self, options: dict[str, Any]) -> Position | None:
        return self._control.set_speed(_number(options, "speed"), _which(options))

    async def _jump(self, options: dict[str, Any]) -> Position:
        return self._control.jump(_number(options, "seconds"), _which(options))

    async def _step(self, options: dict[str, Any]) -> Position:
        patience = _number(options, "timeout", PATIENCE)
        step = self._control.step(_whole(options, "count"), _which(options))
        return await _in_time(step, patience, "the event has not come")

    async def _run_until(self, options: dict[str, Any]) -> Position:
        patience, nth, event = _number(options, "timeout", PATIENCE), _whole(options, "nth"), options.get("event")
        if not isinstance(event, str):
            raise UsageError("run-until needs an event: a type as in event=response.completed, or a glob")
        return await _in_time(self._control.run_until(event, nth, _which(options)), patience, f"{event} has not come")

    async def _begin_again(self, options: dict[str, Any]) -> None:  # noqa: ARG002  # as the others
        await self._reset()


Press = Callable[[dict[str, Any]], Awaitable[Position | None]]


async def _in_time(coming: Awaitable[Position], seconds: float, what: str) -> Position:
    try:
        async with asyncio.timeout(seconds):
            return await coming
    except TimeoutError:
        raise TimeoutError(f"{what} in {seconds:g} s") from None


def _which(options: dict[str, Any]) -> str | None:
    which = options.get("which")
    if which is not None and not isinstance(which, str):
        raise UsageError(f"which={which!r} names no session: give an id, or 'stream N'")
    return which


def _number(options: dict[str, Any], name: str, default: float | None = None) -> float:
    value: Any = options.get(name, default)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{name}={value!r} is no number" if value is not None else f"{name} is missing") from None
    if not isfinite(number):
        raise UsageError(f"{name}={value!r} is no number that one could wait for")
    return number


def _whole(options: dict[str, Any], name: str) -> int:
    number = _number(options, name, 1)
    if number != int(number):
        raise UsageError(f"{name}={options[name]!r} is no whole number")
    return int(number)


async def _options(request: web.BaseRequest, target: str) -> dict[str, Any]:
    """What stands in the query and in the JSON body."""
    options: dict[str, Any] = dict(parse_qsl(query_of(target), keep_blank_values=True))
    body = await _body(request)
    if body.strip():
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise UsageError("the body is no JSON") from None
        if not isinstance(value, dict):
            raise UsageError("the body is no JSON object")
        options |= value
    return options


async def _body(request: web.BaseRequest) -> bytes:
    body = bytearray()
    async for data in request.content.iter_any():
        body += data
        if len(body) > _LONGEST_BODY:
            raise UsageError(f"the body is longer than {_LONGEST_BODY} bytes")
    return bytes(body)
