"""The verbs of a replay's playhead, from Python with and without `await`, and over HTTP below `/-/omnirecord/`.

`Server` is a replay in a thread of its own. Its state is read directly, also after it has stopped; its verbs run in the
replay's event loop. Text about a position, and about the differences between client and recording, is here too.

To add a verb, add a method to `PlayheadControl`, its name to `VERBS`, and its line to `Server`. The HTTP interface
takes a `POST` with the parameters of that method, in the query or in a JSON body. `player/controls.py`
applies a verb to a timeline; `server/access.py` decides which requests may use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial, wraps
from inspect import Parameter, isawaitable, signature
from math import isfinite
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload
from urllib.parse import parse_qsl

from aiohttp import web

from ..errors import UsageError
from ..model import Exchange
from ..omnigent.protocol import RESPONSE_COMPLETED
from ..omnigent.routes import CONTROL, path_of, query_of
from ..server.access import Guard
from ..server.http import json_response
from ..server.listener import Blocking, of_server, refused
from ..server.refusals import error_response
from ..server.timers import monotonic_ns
from ..text import visible
from ..wire.strict_json import loads
from .beyond import Served
from .matching.key import Mismatch
from .player.controls import Controls, Position, Predicate, is_behind
from .player.playback import Playthrough
from .player.timeline import SortKey
from .send import Waiting

P = ParamSpec("P")
R = TypeVar("R")
PATIENCE = 30.0
"""Default `timeout` in seconds, over HTTP and without `await`."""
_LONGEST_BODY = 64 * 1024
"""Longest body of a control request, in bytes."""
_LISTED = 20

VERBS = {
    "pause": "pause",
    "play": "play",
    "speed": "set_speed",
    "jump": "jump",
    "step": "step",
    "run-until": "run_until",
    "reset": "reset",
}
"""The methods of `PlayheadControl` that are verbs, by their name in the HTTP interface."""


@dataclass(frozen=True, slots=True)
class WaitState:
    """What a replay waits for. `awaits`: the recorded request that everything waits for, or the first recorded one if
    no request has come; None if nothing waits. `opened`: the number of open gates. `serves`: whether a response is
    open."""

    awaits: str | None
    opened: int
    serves: bool


class PlayheadControl:
    """The verbs of one replay. `which` is a session's id or `stream N`; it is required where a verb moves one playhead
    and there are several. Every verb raises `UsageError` if it cannot be done."""

    url: str
    _controls: Controls
    _waiting: Waiting

    def now(self) -> int:
        """Return the kernel's monotonic clock, in ns: it runs on if a test has frozen Python's clocks."""
        return monotonic_ns()

    @property
    def paused(self) -> bool:
        """Whether the whole replay is paused."""
        return self._controls.streams.paused

    @property
    def speed(self) -> float:
        """How many times as fast as recorded the replay is."""
        return self._controls.speed

    def position(self, which: str | None = None) -> Position:
        return self._controls.position(which)

    def positions(self) -> list[Position]:
        """Return the position of every playhead: one for each session tree, and for each stream without a session."""
        return self._controls.positions()

    def pause(self, which: str | None = None) -> Position | None:
        """Stop sending until `play`, `step` or `run_until`."""
        self._controls.pause(self.now(), which)
        return self._moved(which)

    def play(self, which: str | None = None) -> Position | None:
        """Continue after a pause."""
        self._controls.play(self.now(), which)
        return self._moved(which)

    def set_speed(self, speed: float, which: str | None = None) -> Position | None:
        """Play `speed` times as fast as recorded, from now on."""
        self._controls.set_speed(speed, self.now(), which)
        return self._moved(which)

    def jump(self, seconds: float, which: str | None = None) -> Position:
        """Move ahead to `seconds` of recorded time from the start of the first stream."""
        if (run := self._controls.one(which)) is None:
            raise UsageError("nothing is played yet that one could jump in: open a stream first")
        self._controls.jump(run, seconds, self.now())
        self._waiting.announce()
        return self.position(which)

    async def step(self, count: int = 1, which: str | None = None, *, timeout: float | None = None) -> Position:
        """Pause, let the next `count` events pass one by one, and return the position then.

        A step waits for a client that listens, and at a closed gate for its request. Raises `TimeoutError` after
        `timeout` seconds (default: never)."""
        if count < 1:
            raise UsageError(f"{count} steps are none: take 1 or more")
        self._controls.pause(self.now(), which)
        async with _limit(timeout, "the event has not come"):
            for _ in range(count):
                await self._step(which)
        return self.position(which)

    async def _step(self, which: str | None) -> None:
        run: Playthrough | None = None
        end: SortKey | None = None

        def has_stepped() -> bool:
            nonlocal run, end
            if run is not None and end is not None and is_behind(run, end):
                return True
            run = self._controls.one(which)
            before = end
            end = self._controls.step(run, self.now()) if run is not None else None
            if end != before:
                asyncio.get_running_loop().call_soon(self._waiting.announce)
            return False

        await self._waiting.until(has_stepped)

    async def run_until(
        self, event: str | Predicate, nth: int = 1, which: str | None = None, *, timeout: float | None = None
    ) -> Position:
        """Play on, pause right behind the `nth` such event that is sent from now on, and return the position then.

        `event` is an address as in `docs/faults.md`, or a function of a `TimedFrame`, whose exceptions are raised
        here. Raises `TimeoutError` after `timeout` seconds (default: never)."""
        target = self._controls.run_until(event, nth, self.now(), which)
        self._waiting.announce()
        try:
            async with _limit(timeout, f"{event} has not come"):
                await self._waiting.until(lambda: target.is_over)
        finally:
            self._controls.give_up(target)
        if target.failed is not None:
            raise target.failed
        assert isinstance(target.reached, Playthrough)
        return self.position(target.reached.name)

    def _moved(self, which: str | None) -> Position | None:
        """Wake the streams, and return the position of the playhead that was moved; None if several were."""
        self._waiting.announce()
        many = which is None and len(self._controls.positions()) > 1
        return None if many else self.position(which)


@asynccontextmanager
async def _limit(seconds: float | None, what: str) -> AsyncIterator[None]:
    """Raise `TimeoutError` with a sentence after so many seconds; None sets no limit."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"{what} in {seconds or 0:g} s") from None


@overload
def _blocking(
    method: Callable[Concatenate[PlayheadControl, P], Awaitable[R]],
) -> Callable[Concatenate[Server, P], R]: ...
@overload
def _blocking(method: Callable[Concatenate[PlayheadControl, P], R]) -> Callable[Concatenate[Server, P], R]: ...
def _blocking(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return `method` without `await`: it is called in the server's event loop. `timeout` is 30 seconds by default."""
    has_timeout = "timeout" in signature(method).parameters

    @wraps(method)
    def call(self: Server, *args: Any, **named: Any) -> Any:
        if has_timeout and named.get("timeout") is None:
            named["timeout"] = PATIENCE
        return self._call(method.__name__, *args, **named)

    return call


class Server(Blocking):
    """A replay in a thread. A client of any kind may connect to `url`, a synchronous client too."""

    def __init__(self, server: PlayheadControl) -> None:
        super().__init__(server)
        self.further: dict[str, Server] = {}
        """The replays of further hops of the cassette, by name."""

    def start(self) -> Self:
        super().start()
        self.further = {name: self._beside(one) for name, one in getattr(self._server, "further", {}).items()}
        return self

    def _beside(self, replay: PlayheadControl) -> Server:
        """Return a replay that runs in the same thread."""
        server = Server(replay)
        server._background = self._background
        server.url = replay.url
        return server

    pause = _blocking(PlayheadControl.pause)
    play = _blocking(PlayheadControl.play)
    set_speed = _blocking(PlayheadControl.set_speed)
    jump = _blocking(PlayheadControl.jump)
    step = _blocking(PlayheadControl.step)
    run_until = _blocking(PlayheadControl.run_until)
    position = _blocking(PlayheadControl.position)
    positions = _blocking(PlayheadControl.positions)

    @property
    def urls(self) -> Mapping[str, str]:
        """The URL of each hop with a name, by name."""
        return dict(self._server.urls)

    @property
    def is_recording(self) -> bool:
        """Whether the server records a live upstream. A recording server has no playhead."""
        return not isinstance(self._server, PlayheadControl)

    is_unused: bool = of_server("is_unused")
    """Whether no client has sent a request."""

    @property
    def records_missing(self) -> bool:
        """Whether an upstream answers what the cassette does not have, and is recorded."""
        return not self.is_recording and self._server.records_into is not None

    requests: list[Served] = of_server("requests", list)
    """The requests so far, in order."""
    served: list[tuple[str | None, Served]] = of_server("served", list)
    """The requests of all hops so far, in order, each with the name of its hop."""
    unmatched: list[Served] = of_server("unmatched", list)
    """The requests that match no recorded request."""
    mismatches: list[Mismatch] = of_server("mismatches", list)
    """The requests whose body has another `type` or `action` than the recorded request that answered them."""
    made_up: list[str] = of_server("made_up", list)
    """The requests of a web UI that were not recorded and were answered all the same."""
    unplayed: list[Exchange] = of_server("unplayed", list)
    """The recorded requests of clients that no client has sent yet."""
    faults: list[str] = of_server("faults", list)
    """The faults that have changed an answer so far."""
    waiting: list[str] = of_server("waiting", list)
    """The requests that the replay has been waiting for, for more than five seconds."""

    def reset(self) -> None:
        """Start again from the beginning: cut every stream, close every gate and forget every request."""
        self._call("reset")

    def release(self) -> None:
        """Cut every open response and accept no more connections, so that no client stays blocked."""
        self._call("release")

    def wait_state(self) -> WaitState:
        state: WaitState = self._call("wait_state")
        return state

    def _call(self, name: str, *args: Any, **named: Any) -> Any:
        try:
            return self._background.run(partial(getattr(self._server, name), *args, **named))
        except TimeoutError as error:
            where = "; ".join(position_text(one) for one in self.positions()) or "no client listens"
            raise TimeoutError(f"{name} was not done after {named.get('timeout') or 0:g} s: {where}") from error

    def assert_all_matched(self) -> None:
        """Raise `AssertionError` with a list if a request matched none recorded, or had another `type` or `action`."""
        __tracebackhide__ = True
        _assert_none(differences(self.unmatched, self.mismatches, ()))
        for one in self.further.values():
            one.assert_all_matched()

    def assert_all_played(self) -> None:
        """As `assert_all_matched`, and raise `AssertionError` if a recorded request was not sent, too."""
        __tracebackhide__ = True
        _assert_none(self.differences())
        for one in self.further.values():
            one.assert_all_played()

    def differences(self) -> list[str]:
        """Return all differences between the client and the recording, as lines of text."""
        unplayed = [self._server.told(x) for x in self.unplayed]
        return differences(self.unmatched, self.mismatches, unplayed)


def _assert_none(differences: list[str]) -> None:
    __tracebackhide__ = True
    if differences:
        raise AssertionError("\n".join(["the client did not do what was recorded", *differences]))


def position_text(position: Position) -> str:
    behind = "before its first event"
    if position.seq is not None:
        behind = f"behind frame {position.seq} of stream {position.stream} ({position.type})"
    said = [f"{position.at_s:.3f} s into {position.which}, {behind}"]
    said += [f"next is {position.next}"] if position.next else []
    said += [f"it waits for {position.waits_for}"] if position.waits_for else []
    said += ["it is paused"] if position.paused else []
    return visible("; ".join(said))


def differences(unmatched: Sequence[Served], mismatches: Sequence[Mismatch], unplayed: Sequence[str]) -> list[str]:
    """Return lines about requests that matched nothing, requests that mismatched, and recorded requests that were not
    sent: a head, then a line for each request, and further ones for why it matched nothing."""
    wrong = [f"{x.request}: {x.field} was {x.recorded!r} when recorded, got {x.got!r}" for x in mismatches]
    return [
        *listed("matched nothing", ["\n  ".join(map(visible, one.reasons)) for one in unmatched]),
        *listed("had other content than the recorded one", list(map(visible, wrong))),
        *listed("recorded, but not sent", list(map(visible, unplayed))),
    ]


def listed(what: str, texts: Sequence[str]) -> list[str]:
    """Return a head with the number of requests, and a line for each; nothing if there are none."""
    if not texts:
        return []
    more = [f"  and {len(texts) - _LISTED} more"] if len(texts) > _LISTED else []
    head = f"{len(texts)} request{'' if len(texts) == 1 else 's'} {what}:"
    return [head, *"\n".join(f"  {text}" for text in texts[:_LISTED]).split("\n"), *more]


class ControlPath:
    """The HTTP control interface of one replay. `guard` decides which requests pass; `state` returns the fields of
    `GET …/state` beside the positions."""

    def __init__(self, guard: Guard, control: PlayheadControl, state: Callable[[], dict[str, Any]]) -> None:
        self._guard = guard
        self._control = control
        self._state = state

    async def handle(self, request: web.BaseRequest, target: str) -> web.StreamResponse:
        name = path_of(target).removeprefix(CONTROL)
        if refusal := refused(self._guard, request):
            return refusal
        if name in ("state", "position"):
            if request.method not in ("GET", "HEAD"):
                return error_response(405, "method_not_allowed", f"omnirecord: {CONTROL}{name} is read: GET it")
            return json_response({**(self._state() if name == "state" else {}), "positions": self._positions()})
        if name not in VERBS:
            known = ", ".join(["GET state", "GET position", *(f"POST {one}" for one in VERBS)])
            return error_response(404, "not_found", f"omnirecord: below {CONTROL} there are {known}")
        if request.method != "POST":
            return error_response(405, "method_not_allowed", f"omnirecord: {CONTROL}{name} changes something: POST it")
        try:
            return json_response(await self._do(name, await _options(request, target)))
        except (UsageError, ValueError) as error:
            return error_response(400, "bad_request", f"omnirecord: {error}")
        except TimeoutError as error:
            return error_response(408, "not_reached", f"omnirecord: {error}", positions=self._positions())

    def _positions(self) -> list[dict[str, Any]]:
        return [asdict(one) for one in self._control.positions()]

    async def _do(self, name: str, options: dict[str, Any]) -> Any:
        """Do a verb with the options of a request, and return the answer. Raises `UsageError` or `TimeoutError`."""
        method = getattr(self._control, VERBS[name])
        takes = signature(method).parameters
        if odd := [option for option in options if option not in takes]:
            raise UsageError(f"{name} takes no {odd[0]}, but {', '.join(sorted(takes)) or 'nothing'}")
        options = {"timeout": PATIENCE, **options} if "timeout" in takes else options
        given = [one for one in takes if one in options or takes[one].default is Parameter.empty]
        result = method(**{one: _value(options, one) for one in given})
        result = await result if isawaitable(result) else result
        return asdict(result) if isinstance(result, Position) else {"positions": self._positions()}


def _value(options: dict[str, Any], name: str) -> Any:
    """Return the value of a parameter of a verb, from the options of a request. Raises `UsageError`."""
    value: Any = options.get(name)
    if name == "which" and not isinstance(value, str | None):
        raise UsageError(f"which={value!r} names no session: give an id, or 'stream N'")
    if name == "event" and not isinstance(value, str):
        raise UsageError(f"run-until needs an event: a type as in event={RESPONSE_COMPLETED}, or a glob")
    if name in ("which", "event"):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{name}={value!r} is no number" if value is not None else f"{name} is missing") from None
    if not isfinite(number):
        raise UsageError(f"{name}={value!r} is no number that one could wait for")
    if name not in ("count", "nth"):
        return number
    if number != int(number):
        raise UsageError(f"{name}={value!r} is no whole number")
    return int(number)


async def _options(request: web.BaseRequest, target: str) -> dict[str, Any]:
    """Return the options in the query and in the JSON body; the body takes precedence. Raises `UsageError`."""
    options: dict[str, Any] = dict(parse_qsl(query_of(target), keep_blank_values=True))
    body = bytearray()
    async for data in request.content.iter_any():
        body += data
        if len(body) > _LONGEST_BODY:
            raise UsageError(f"the body is longer than {_LONGEST_BODY} bytes")
    if body.strip():
        value = loads(bytes(body))
        if not isinstance(value, dict):
            raise UsageError("the body is no JSON object")
        options |= value
    return options
