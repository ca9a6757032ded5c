"""The replay server: an aiohttp shell around `player`. It answers from a cassette and never dials out.

What is due when, and what it waits for, is decided in `player`; here it is slept, written, held open or cut.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from ..cassette.open import open_store
from ..errors import UsageError
from ..model import Exchange, Headers
from ..omnigent.parties import is_by_runner
from ..omnigent.routes import CONTROL
from ..server.http import ambiguous, bad_request, error_response, origin_form
from ..server.listener import Listener, Place, continue_upload
from ..server.timers import monotonic_ns
from ..server.tls import File
from ..wire.headers import asks_for_websocket, decoded, header
from ..wire.limits import seconds
from .control import ControlPath, PlayheadControl
from .matching.bodies import COMPARED
from .omnigent_ui import MadeUp, OmnigentUi, Quiet
from .omnigent_ui.files import BuiltUi, installed
from .player import (  # fmt: skip
    Answering,
    Decision,
    Failing,
    Incoming,
    Mismatch,
    Miss,
    NoContent,
    Player,
    Playing,
    Refused,
    Timing,
    Updates,
    options,
)
from .player.plan import ReplayPlan
from .send import Sender, keep_quiet, send_made_up, serve_updates
from .wait import Waiting

log = logging.getLogger("omnirecord")

LOADS = 1.0
"""Seconds that a page has to load, where no message sets off what it hears: what comes meanwhile is too much for it."""
_BEFOREHAND = 256 << 20
"""Bytes of streams that are read before the first client comes: some seconds' work."""


@dataclass(frozen=True, slots=True)
class WaitState:
    """What a replay waits for. `awaits`: the recorded request that has to come before anything goes on, or that would
    be the first; None where nothing waits for one. `opened`: how many gates are open. `serves`: whether a response is
    under way."""

    awaits: str | None
    opened: int
    serves: bool


@dataclass(frozen=True, slots=True)
class Served:
    """A request that came, and what it got: the number of the exchange, None where nothing matched."""

    method: str
    target: str
    status: int
    exchange: int | None
    why: str = ""
    """Of one that nothing matched: what was missed, what was nearest and in what it differs."""


class Replay(PlayheadControl):
    """A server that answers as the recorded one did. Use it with `async with`: `url` is where it is.

    `requests`: what came; `unmatched`: what was never recorded; `mismatches`: what came with another `type` or
    `action` than recorded; `waiting`: what it has been waiting for, for more than five seconds.
    Raises `UsageError`, `CassetteError` or `ServerError` on entering.
    """

    def __init__(
        self,
        cassette: str | Path,
        *,
        skip_gates_after: float | None = None,
        gate_timeout: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        allow_remote: bool = False,
        token: str | None = None,
        tls_cert: File | None = None,
        tls_key: File | None = None,
        web_ui: str | PathLike[str] | None = None,
        **chosen: Any,
    ) -> None:
        """`web_ui`: fill in what Omnigent's web UI asks and nobody recorded, with the files of that folder, or, for
        `auto`, of an `omnigent` that is installed. `gate_timeout`: the former name of `skip_gates_after`. `chosen`:
        what `player.options` takes. Raises `UsageError`."""
        self.cassette = Path(cassette)
        self._options = options(**chosen)
        self._web_ui = _web_ui(web_ui, maps_sessions=self._options.rules.maps_sessions)
        self._listener = Listener(self._handle, Place(host, port, allow_remote, token, tls_cert, tls_key))
        self._tasks: set[asyncio.Task[object]] = set()
        self.requests: list[Served] = []
        self.unmatched: list[Served] = []
        self.logs_misses = True
        skip = _skip_gates_after(skip_gates_after, gate_timeout)
        self._waiting = Waiting(self.now, skip)
        self._stopped = False

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def token(self) -> str | None:
        """What requests to its control path have to send as `Authorization: Bearer`; None where nothing."""
        return self._listener.token

    @property
    def made_token(self) -> str | None:
        """The same, where it was made up: nobody knows it yet."""
        return self._listener.token if self._listener.is_made else None

    @property
    def timing(self) -> Timing:
        return self._options.timing

    @property
    def waiting(self) -> list[str]:
        return self._waiting.reported

    @property
    def mismatches(self) -> list[Mismatch]:
        return self._player.mismatches

    @property
    def page(self) -> str:
        """What a browser sees, in words; empty where it gets only what was recorded."""
        return self._ui.page if self._ui else ""

    @property
    def made_up(self) -> list[str]:
        """What a web UI asked that was not recorded, and got all the same."""
        return list(self._ui.made_up) if self._ui else []

    @property
    def unplayed(self) -> list[Exchange]:
        """What clients asked when it was recorded, and nobody has asked again."""
        return self._player.unplayed()

    @property
    def faults(self) -> list[str]:
        """Those that have made a difference so far."""
        return list(self._player.streams.effects.happened)

    async def __aenter__(self) -> Replay:
        self._store = await asyncio.to_thread(open_store, self.cassette)
        try:
            self._plan = await asyncio.to_thread(ReplayPlan, self._store, self._options.gates)
            self._player = await asyncio.to_thread(Player, self._plan, self._options)
            self._ui = _ui(self._web_ui, self._plan, self._player)
            await asyncio.to_thread(self._plan.lay_down, _BEFOREHAND)
            self._controls = self._player.controls
            self._sender = Sender(self._waiting, self.now, self._player.ended)
            await self._listener.bind()
            self._control = ControlPath(self._listener.guard, self, self._controls, self.reset, self._state)
            if self._listener.is_remote:
                log.warning(
                    "whoever can reach %s can have all of %s: only its control path asks for a token",
                    self.url,
                    self.cassette,
                )
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
        self._waiting.stop()
        for task in self._tasks:
            task.cancel()
        await self._listener.stop(0.1)
        if not self._stopped:
            self._stopped = True
            self._store.close()

    def wait_state(self) -> WaitState:
        """Return what the replay waits for at this moment."""
        opened = self._player.streams.opened_gates()
        awaits = self._waiting.awaited
        if awaits is None and not self._tasks and not opened:
            awaits = self._plan.first_gate() or (None if self.requests else "a request")
        return WaitState(awaits, opened, bool(self._tasks))

    async def release(self) -> None:
        """Cut every response that is under way, and accept no more connections: no client waits any longer."""
        self._listener.refuse_connections()
        for task in self._tasks:
            task.cancel()

    def now(self) -> int:
        """The replay's clock in ns: the kernel's, which runs on where a test has frozen the others."""
        return monotonic_ns()

    async def reset(self) -> None:
        """Begin again, as if just started: streams are cut, playheads stand at the start, nothing was asked."""
        mine = asyncio.current_task()
        for task in self._tasks - ({mine} if mine is not None else set()):
            task.cancel()
        self._player.reset()
        self.requests.clear()
        self.unmatched.clear()
        if self._ui is not None:
            self._ui.made_up.clear()
        self._announce()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await self._respond(request)
        finally:
            self._tasks.discard(task)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        target, headers = origin_form(request), decoded(request.raw_headers)
        if target is None:
            return bad_request("it names no path", 405)
        if target.startswith(CONTROL):
            return await self._control.handle(request, target)
        if (refusal := ambiguous(request, headers)) is not None:
            return refusal
        decision: Decision | MadeUp | Quiet
        if asks_for_websocket(headers):
            decision = self._player.websocket(target)
        else:
            continue_upload(request, headers)
            decision = await self._decide(await _incoming(request, target, headers))
        self._announce()
        if isinstance(decision, MadeUp | Quiet):
            status = decision.status if isinstance(decision, MadeUp) else 200
            self.requests.append(Served(request.method, target, status, None))
            return await (send_made_up(request, decision) if isinstance(decision, MadeUp) else keep_quiet(request))
        return await self._carry_out(request, target, decision)

    async def _carry_out(self, request: web.BaseRequest, target: str, decision: Decision) -> web.StreamResponse:
        match decision:
            case Playing():
                self._served(request, target, decision.exchange)
                return await self._play(request, decision)
            case Answering():
                self._served(request, target, decision.exchange)
                return await self._sender.answer(request, decision)
            case Failing():
                self.requests.append(Served(request.method, target, decision.status, None))
                return await self._sender.fail(decision)
            case Updates():
                return await serve_updates(request, self._rows)
            case Refused():
                return error_response(403, "not_replayed", f"omnirecord: {decision.message}")
            case NoContent():
                self.requests.append(Served(request.method, target, 204, None))
                return web.Response(status=204)
            case Miss():
                return self._miss(request, target, decision)

    async def _decide(self, request: Incoming) -> Decision | MadeUp | Quiet:
        if self._ui is not None and self._options.gates.off and self._ui.opens_stream(request):
            await asyncio.sleep(LOADS)
        told = len(self._player.notes)
        if self._ui is not None and self._ui.says(request):
            self._player.pass_over_unanswered(request)
        decision = self._player.answer(request, self.now())
        if self._ui is None:
            return decision
        if self._ui.takes(request):
            del self._player.notes[told:]  # a page asks for the same again and again
        return self._ui.fill(request, decision, self.now())

    def _rows(self, session_ids: list[str]) -> dict[str, Any]:
        """What the session list says of these now."""
        rows = self._player.session_rows if self._ui is None else self._ui.rows
        return rows(session_ids, self.now())

    async def _play(self, request: web.BaseRequest, playing: Playing) -> web.StreamResponse:
        try:
            return await self._sender.play(request, playing)
        finally:
            self._player.closed(playing)
            self._announce()

    def _served(self, request: web.BaseRequest, target: str, exchange: Exchange) -> None:
        status = exchange.response.status if exchange.response else 0
        self.requests.append(Served(request.method, target, status, exchange.exchange))

    def _miss(self, request: web.BaseRequest, target: str, miss: Miss) -> web.Response:
        text = miss.text
        served = Served(request.method, target, 404, None, text)
        self.requests.append(served)
        self.unmatched.append(served)
        if self.logs_misses:
            log.warning("%s", text)
        return error_response(404, "not_recorded", f"omnirecord: {text}", nearest=miss.nearest)

    def _state(self) -> dict[str, Any]:
        return {
            "cassette": str(self.cassette), "requests": len(self.requests), "waiting": self.waiting,
            "unmatched": [f"{one.method} {one.target}" for one in self.unmatched],
            "mismatches": [asdict(one) for one in self.mismatches], "faults": self.faults,
            "made_up": self.made_up,
            "unplayed": [f"{one.request.method} {one.request.target}" for one in self.unplayed],
        }  # fmt: skip

    def _announce(self) -> None:
        """Wake whoever waits at a gate, and pass on what the player has to say."""
        self._waiting.announce()
        while self._player.notes:
            log.info("%s", self._player.notes.pop(0))


async def _incoming(request: web.BaseRequest, target: str, headers: Headers) -> Incoming:
    body = bytearray()
    async for data in request.content.iter_any():  # all of it is taken, a megabyte of it is looked at
        body += data[: COMPARED - len(body)]
    is_runner = is_by_runner(request.method, target, headers)
    return Incoming(
        request.method, target, is_runner, header(headers, "if-none-match"), bytes(body), headers,
        header(headers, "last-event-id"),
    )  # fmt: skip


def _skip_gates_after(chosen: float | None, former: float | None) -> float | None:
    """Seconds after which a gate is skipped, by this name or the former one. Raises `UsageError`."""
    if former is not None:
        if chosen is not None:
            raise UsageError("gate_timeout is the former name of skip_gates_after: give one of them")
        warnings.warn("gate_timeout is called skip_gates_after now", DeprecationWarning, stacklevel=3)
        return seconds("gate_timeout", former)
    return None if chosen is None else seconds("skip_gates_after", chosen)


def _web_ui(chosen: str | PathLike[str] | None, *, maps_sessions: bool) -> BuiltUi | bool:
    """The files of a web UI, or whether there is to be one without."""
    if chosen is None or (chosen == "auto" and maps_sessions):
        return False
    if maps_sessions:
        raise UsageError("--web-ui and --match 'sessions mapped' exclude each other: a page keeps the recorded ids")
    return installed() or True if chosen == "auto" else BuiltUi(Path(chosen))


def _ui(web_ui: BuiltUi | bool, plan: ReplayPlan, player: Player) -> OmnigentUi | None:
    return None if web_ui is False else OmnigentUi(plan, player, None if web_ui is True else web_ui)
