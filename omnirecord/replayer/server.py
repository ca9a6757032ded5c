"""The replay server: an aiohttp shell around `player`. It answers from a cassette.

`player` decides which answer a request gets and when each part is due; `send` waits until then, and writes it. Only
with a `Beyond` (module `beyond`), requests go on to another server.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from ..cassette.open import open_store
from ..cassette.sqlite import Store
from ..errors import UsageError
from ..model import Ending, Exchange, Headers
from ..omnigent.routes import CONTROL, is_by_runner, opens_session_stream, session_of
from ..options import ReplayOptions
from ..providers.register import Api, api_of
from ..redaction.redactor import prepare_expressions
from ..server.access import File
from ..server.http import origin_form
from ..server.listener import Listener, Place, WithBlock, check_apart, continue_upload
from ..server.raw_response import RawResponse
from ..server.refusals import ambiguous, bad_request, error_response
from ..wire.headers import asks_for_websocket, decoded, header
from ..wire.limits import checked_seconds
from ..wire.redirects import Reached, address_beside, client_address
from . import player
from .beyond import Beyond, Copy, Question, Served, Source, Where
from .control import ControlPath, PlayheadControl, Server, WaitState
from .matching import READS
from .matching.bodies import COMPARED
from .matching.conversations import LARGEST
from .matching.key import RECORD_REST, UsedBy
from .omnigent_ui import OmnigentUi, Quiet, is_page, serve_updates
from .omnigent_ui.page import BuiltUi, MadeUp, installed
from .player.plan import ReplayPlan
from .send import Sender, Waiting, keep_quiet, refusal_of_miss, send_made_up

log = logging.getLogger("omnirecord")

LOADS = 1.0
"""Seconds for a web page to load if there are no gates: the page loses events that arrive while it loads."""
_OF_FIRST_HOP = (
    "only",
    "faults",
    "gates",
    "host",
    "port",
    "listens",
    "allow_remote",
    "token",
    "tls_cert",
    "tls_key",
    "web_ui",
)
"""The options of the first hop alone. Faults and gates name events and requests of it."""
_BEFOREHAND = 256 << 20
"""Bytes of streams to read before the first client connects; that takes some seconds."""


class Replay(WithBlock, PlayheadControl):
    """A server that answers as the recorded one did. Use it with `async with`, or with `with`: then it runs in a thread
    of its own. Clients connect to `url`. It plays the first hop of the cassette; `further` plays the others.

    `requests`: all requests; `unmatched`: those that match no recorded request; `mismatches`: those with another `type`
    or `action` than the recorded one; `waiting`: the requests that it has been waiting for, for more than five seconds.
    Entering raises `UsageError`, `CassetteError` or `ServerError`.
    """

    def __init__(
        self,
        cassette: str | Path,
        *,
        hold_opens: bool = False,
        repeats: bool = True,
        **chosen: Any,
    ) -> None:
        """`chosen`: the other fields of `ReplayOptions`. `hold_opens`, `repeats`: see `player.Options`. Raises
        `UsageError`."""
        options = ReplayOptions(cassette, **chosen)
        self.cassette = Path(cassette)
        self._of_every_hop = {
            "hold_opens": hold_opens,
            "repeats": repeats,
            **{name: value for name, value in chosen.items() if name not in _OF_FIRST_HOP},
        }
        self._options = player.Options(options, hold_opens=hold_opens, repeats=repeats)
        self._web_ui = _web_ui(options.web_ui, maps_sessions=self._options.rules.maps_sessions)
        self._place = Place(
            options.host, options.port, options.allow_remote, options.token, options.tls_cert, options.tls_key
        )
        self._listens = _places(self._place, options.listens or {})
        self._listener = Listener(self._handle, self._place)
        self.url = ""
        self.further: dict[str, Replay] = {}
        """The replays of the cassette's further hops, by name. Each has its own `url`, requests and playheads."""
        self.token: str | None = None
        """The token that the control path requires as `Authorization: Bearer`; None if it requires none."""
        self.timing = self._options.timing
        self.made_token: str | None = None
        """The token, if the server generated it; else None."""
        self.only = self._options.only
        """The name of the hop that is played; None if it has none."""
        self._beside_it: list[Replay] = []  # the replays of the other hops
        self._tasks: set[asyncio.Task[object]] = set()
        self.requests: list[Served] = []
        self.unmatched: list[Served] = []
        self.served: list[tuple[str | None, Served]] = []
        """The requests of all hops in order, each with the name of its hop."""
        self.lost: list[Served] = []
        """The requests of all hops whose live answer is not whole, because the upstream was lost."""
        self.on_request: Callable[[str | None, Served], object] = lambda _hop, _served: None
        """Called with each request of all hops, when its answer begins."""
        self._given: set[int] = set()  # the exchanges that a client has got whole, or gets
        self.beyond: Beyond | None = None
        """What requests that match nothing go on to; None: nowhere. Set it before the replay is entered."""
        self.taken_over: Callable[[], set[int]] = set
        """Returns the exchanges, of all hops, in whose place live ones came."""
        self.logs_misses = True
        self.fails_unused = False
        """Whether to raise `UsageError` at the end of the block if no client has sent a request."""
        self._is_asked = False
        self.used_by: UsedBy = "python"
        if options.skip_gates_after is not None:
            checked_seconds("skip_gates_after", options.skip_gates_after)
        self._waiting = Waiting(self.now, options.skip_gates_after, lambda exchange: self._plan.content_told(exchange))
        self._is_stopping = self._stopped = False

    @property
    def urls(self) -> Mapping[str, str]:
        """The addresses of the hops with a name, by name."""
        return {one.only: one.url for one in self.hops if one.only is not None}

    @property
    def hops(self) -> list[Replay]:
        """The replays of all hops, this one first."""
        return [self, *self.further.values()]

    @property
    def waiting(self) -> list[str]:
        return self._waiting.reported

    @property
    def is_unused(self) -> bool:
        """Whether no client has sent a request, to no hop. `reset` does not change that."""
        return not self.served and not any(one._is_asked for one in self.hops)

    @property
    def mismatches(self) -> list[player.Mismatch]:
        return self._player.mismatches

    @property
    def page(self) -> str:
        """The web UI that a browser gets, in words; empty if it gets only recorded answers."""
        return self._ui.shell.page_is if self._ui else ""

    @property
    def made_up(self) -> list[str]:
        """The requests of a web UI that were not recorded and were answered all the same."""
        return list(self._ui.made_up) if self._ui else []

    @property
    def records_into(self) -> Path | None:
        """The cassette that gets live answers; None for a replay without an upstream."""
        return None

    @property
    def due(self) -> list[Exchange]:
        """The recorded requests that a client of this hop has to send."""
        return self._player.due()

    @property
    def unanswered(self) -> list[Exchange]:
        """The recorded requests of clients of this hop that never got an answer."""
        return self._player.unanswered()

    @property
    def unplayed(self) -> list[Exchange]:
        """The recorded requests of clients that no client has sent yet, and that no live one replaces."""
        taken_over = self.taken_over()
        return [x for x in self.unsent if x.exchange not in taken_over]

    @property
    def unsent(self) -> list[Exchange]:
        """The recorded requests of clients that no client has sent yet."""
        return self._player.unplayed()

    @property
    def replaced(self) -> set[int]:
        """The recorded exchanges of this hop that later ones replaced before this replay."""
        return {x.exchange for x in self._plan.exchanges if x.is_replaced}

    def told(self, exchange: Exchange) -> str:
        """Return a recorded request as words (`Player.told`)."""
        return self._player.told(exchange)

    @property
    def faults(self) -> list[str]:
        """The faults that have changed an answer so far."""
        return list(self._player.streams.effects.happened)

    def __enter__(self) -> Server:
        server = self._blocking = Server(self)
        return server.start()

    async def __aenter__(self) -> Replay:
        self._store = await asyncio.to_thread(partial(open_store, self.cassette, judges=False))
        try:
            await asyncio.to_thread(prepare_expressions)  # requests are compared without their secrets
            await self._prepare(self._store)
            for hop, place in self._further_places().items():
                self.further[hop] = self._beside(hop, place)
                await self.further[hop]._prepare(self._store)
            self._connect()
            for one in self.hops:
                one._plan.urls = {other.only: other.url for other in self.hops}
                one._beside_it = [other for other in self.hops if other is not one]
                await one._listener.start()
        except BaseException:
            for one in self.hops:
                await one._listener.stop(0)
            self._store.close()
            raise
        return self

    def _connect(self) -> None:
        """Called when the addresses of all hops are bound, before the first request."""

    async def _prepare(self, store: Store) -> None:
        """Read the hop to play, and bind its address."""
        self._plan = await asyncio.to_thread(ReplayPlan, store, self._options.gates, self._options.only)
        self.only = self._plan.hop
        self._player = await asyncio.to_thread(player.Player, self._plan, self._options)
        files = None if isinstance(self._web_ui, bool) else self._web_ui
        has_ui = self._web_ui and self._options.only is None
        self._ui = OmnigentUi(self._plan, self._player, files) if has_ui else None
        await asyncio.to_thread(self._plan.read_ahead, _BEFOREHAND)
        self._controls = self._player.controls
        self._sender = Sender(self._waiting, self.now, self._player.streams.effects.ended, self._api, self._reached)
        await self._listener.bind()
        self.url = self._listener.url
        self.token = self._listener.token
        self.made_token = self.token if self._listener.is_made else None
        self._control = ControlPath(self._listener.guard, self, self._state)
        if self._listener.is_remote:
            log.warning(
                "any client that can reach %s can read all of %s: only its control path asks for a token",
                self.url,
                self.cassette,
            )

    def _further_places(self) -> dict[str, Place]:
        """Return the addresses of the further hops. Raises `UsageError` for the address of a hop that is not played."""
        hops = self._plan.further if self._options.only is None else []
        if unknown := [name for name in self._listens if name not in hops]:
            played = ", ".join(hops)
            why = f"the further hops are {played}" if played else "no further hop is played"
            raise UsageError(f"--listen {unknown[0]}=: {why}")
        default = replace(self._place, port=0)
        return {hop: replace(self._listens.get(hop, default), token=self.token) for hop in hops}

    def _beside(self, hop: str, place: Place) -> Replay:
        """Return the replay of a further hop."""
        replay = Replay(self.cassette, only=hop, **self._of_every_hop)
        replay._listener = Listener(replay._handle, place)
        replay.beyond = self.beyond
        replay.on_request = self.on_request
        replay.served = self.served
        replay.lost = self.lost
        replay.taken_over = self.taken_over
        replay.logs_misses = self.logs_misses
        replay.used_by = self.used_by
        return replay

    def __exit__(self, *how: object) -> None:
        self.fails_unused = self.fails_unused and not any(how)
        super().__exit__(*how)

    async def __aexit__(self, *how: object) -> None:
        await self.stop()
        if self.fails_unused and self.is_unused and not any(how):
            raise UsageError(
                f"no request came to the replay of {self.cassette}, so nothing was compared with the recording. Connect"
                " the client to the url of the replay, or allow this with allow_no_requests=True"
            )

    async def stop(self) -> None:
        """Close every connection. Safe to call twice."""
        for one in self.hops:
            one._is_stopping = True
            one._waiting.stop()
        await self.release()
        for one in self.hops:
            await one._listener.stop(0.1)
        if not self._stopped:
            self._stopped = True
            self._store.close()

    def hurry(self) -> None:
        """Stop without a wait for a disk."""

    @property
    def is_incomplete(self) -> bool:
        """Whether a cassette lacks something that passed."""
        return False

    def wait_state(self) -> WaitState:
        runs = self._player.streams.all(older=True)
        opened = sum(gate.open for run in runs for gate in run.timeline.gates)
        awaits = self._waiting.awaited
        if awaits is None and not self._tasks and not opened:
            awaits = self._plan.first_gate() or (None if self.requests else "a request")
        return WaitState(awaits, opened, bool(self._tasks))

    async def release(self) -> None:
        """Cut every open response and accept no more connections, so that no client stays blocked."""
        for one in self.hops:
            one._listener.refuse_connections()
            for task in one._tasks:
                task.cancel()

    async def reset(self) -> None:
        """Start again from the beginning: cut every stream, close every gate and forget every request. The further hops
        start again, too."""
        for one in self.further.values():
            await one.reset()
        mine = asyncio.current_task()
        for task in self._tasks - ({mine} if mine is not None else set()):
            task.cancel()
        self._player.reset()
        self.requests.clear()
        self.unmatched.clear()
        self.served.clear()
        self.lost.clear()
        self._given.clear()
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
        target = origin_form(request)
        headers = decoded(request.raw_headers)
        if target is None:
            return bad_request("it names no path", 405)
        if target.startswith(CONTROL):
            return await self._control.handle(request, target)
        self._is_asked = True
        if (refusal := ambiguous(request, headers)) is not None:
            return refusal
        incoming = await self._read(request, target, headers)
        where: Where | player.Incoming | player.Miss = "recording"
        if self.beyond is not None:
            question = Question(self.only, incoming, lambda: self._player.next_exchange(incoming))
            where = self.beyond.decide(question)
            if not isinstance(where, str):
                return await self._decided(self.beyond, request, question, where)
        decision = await self._decide(incoming)
        self._announce()
        if self.beyond is not None and where == "either" and self._is_beyond(self.beyond, target, decision):
            miss = decision if isinstance(decision, player.Miss) else None
            return await self._live(self.beyond, request, incoming, miss)
        if isinstance(decision, MadeUp | Quiet):
            status = decision.status if isinstance(decision, MadeUp) else 200
            self._note(Served(request.method, target, status, None, source="made up"))
            return await (send_made_up(request, decision) if isinstance(decision, MadeUp) else keep_quiet(request))
        return await self._carry_out(request, incoming, decision)

    async def _decided(
        self, beyond: Beyond, request: web.BaseRequest, question: Question, where: player.Incoming | player.Miss
    ) -> web.StreamResponse:
        """Send a request to the upstream at once, or refuse it."""
        asked = question.request
        if isinstance(where, player.Miss):
            return self._miss(request, asked.target, where)
        if question.exchange is not None:
            self._player.pass_over(question.exchange)
        failing, earliest = self._player.fault(asked, self.now())
        if failing is not None:
            return await self._carry_out(request, asked, failing)
        await self._waiting.sleep_until(earliest)
        return await self._live(beyond, request, where)

    def _is_beyond(self, beyond: Beyond, target: str, decision: player.Decision | MadeUp | Quiet) -> bool:
        """Return whether the upstream answers a request. It does not know the sessions of the recording."""
        is_open = isinstance(decision, player.Miss | player.Refused) and beyond.reaches(self.only)
        return is_open and session_of(target) not in self._plan.sessions

    async def _live(
        self, beyond: Beyond, request: web.BaseRequest, sent: player.Incoming, miss: player.Miss | None = None
    ) -> web.StreamResponse:
        """Let the upstream answer a request. `miss`: why the recording does not."""
        served = Served(sent.method, sent.target, 0, None, source="live")
        if miss is not None:
            miss = self._advised(miss)
            served = replace(served, why=miss.why, advice=miss.advised(self.used_by))
        told: list[Served] = []

        def answered(_hop: str | None, _method: str, _target: str, exchange: int, status: int) -> None:
            told.append(replace(served, status=status, new=exchange or None))
            self._note(told[0])

        def over(ending: Ending) -> None:
            if not told:
                self._note(served)
            if ending == "upstream_lost":
                self.lost.append(told[0] if told else served)

        return await beyond.live(self.only, request, sent, answered, over)

    async def _carry_out(
        self, request: web.BaseRequest, incoming: player.Incoming, decision: player.Decision
    ) -> web.StreamResponse:
        target = incoming.target
        match decision:
            case player.Playing():
                self._served(request, target, decision.exchange)
                if decision.is_behind_end:
                    self._tell_end(request, target)
                try:
                    with self._copied(incoming, decision.exchange) as copy:
                        return _ended(await self._sender.play(request, decision, copy), copy)
                finally:
                    self._player.closed(decision)
                    if not decision.is_whole:
                        self._given.discard(decision.exchange.exchange)
                    self._announce()
            case player.Answering():
                self._served(request, target, decision.exchange)
                with self._copied(incoming, decision.exchange) as copy:
                    return _ended(await self._sender.answer(request, decision, copy), copy)
            case player.Failing():
                self._note(Served(request.method, target, decision.status, None, source="fault"))
                return await self._sender.fail(request, target, decision)
            case player.Updates():
                rows = self._player.session_rows if self._ui is None else self._ui.rows
                return await serve_updates(request, lambda session_ids: rows(session_ids, self.now()))
            case player.Refused():
                return error_response(403, "not_replayed", f"omnirecord: {decision.message}")
            case player.NoContent():
                self._note(Served(request.method, target, 204, None, source="made up"))
                return web.Response(status=204)
            case player.Miss():
                return self._miss(request, target, decision)

    @contextmanager
    def _copied(self, incoming: player.Incoming, exchange: Exchange) -> Iterator[Copy | None]:
        """Yield what records the answer from an exchange; None if nothing does."""
        copy = None if self.beyond is None else self.beyond.copy(self.only, incoming, exchange)
        try:
            yield copy
        finally:
            if copy is not None:
                copy.end("recorder_stopped" if self._is_stopping else "client_left")  # unless it has ended

    async def _read(self, request: web.BaseRequest, target: str, headers: Headers) -> player.Incoming:
        """Read a request whole. Keep the start of its body for matching, or all of it if it may go on to an
        upstream."""
        body = bytearray()
        if not asks_for_websocket(headers):
            continue_upload(request, headers)
            most = COMPARED if self._api(target) is None else LARGEST
            async for data in request.content.iter_any():
                body += data if self.beyond is not None else data[: most - len(body)]
        return player.Incoming(
            request.method,
            target,
            is_by_runner(request.method, target, headers),
            header(headers, "if-none-match"),
            bytes(body),
            headers,
            header(headers, "last-event-id"),
            self._ui is not None and is_page(headers),
            datetime.now(UTC).date(),
        )

    async def _decide(self, incoming: player.Incoming) -> player.Decision | MadeUp | Quiet:
        """Return the answer of the recording."""
        if asks_for_websocket(incoming.headers):
            return self._player.websocket(incoming.target)
        if self._ui is None:
            return self._player.answer(incoming, self.now())
        if self._options.gates.off and incoming.is_page and opens_session_stream(incoming.method, incoming.target):
            await asyncio.sleep(LOADS)
        return self._ui.answer(incoming, self.now())

    def _note(self, served: Served) -> None:
        self.requests.append(served)
        self.served.append((self.only, served))
        self.on_request(self.only, served)

    def _served(self, request: web.BaseRequest, target: str, exchange: Exchange) -> None:
        status = exchange.response.status if exchange.response else 0
        is_again = exchange.exchange in self._given and request.method not in READS
        self._given.add(exchange.exchange)
        source: Source = "again" if is_again else "recorded"
        self._note(Served(request.method, target, status, exchange.exchange, source=source))

    def _tell_end(self, request: web.BaseRequest, target: str) -> None:
        """Log why this client gets no event, and how to start again."""
        how = f"reset: curl -X POST -H 'X-Omnirecord: 1' {self.url}{CONTROL}reset"
        if self._options.loop:
            how = f"close every stream of the session and open a new one, or {how}"
        else:
            how = f"restart the replay, serve with --loop, or {how}"
        said = "gets no further event: the session was played to its end. To start again,"
        log.warning("%s %s %s %s", request.method, target, said, how)

    def _miss(self, request: web.BaseRequest, target: str, miss: player.Miss) -> web.StreamResponse:
        miss = self._advised(miss)
        text = miss.text(self.used_by)
        answer = refusal_of_miss(self._api(target), miss.call, f"omnirecord: {text}", miss.nearest)
        advice = miss.advised(self.used_by)
        served = Served(request.method, target, answer.status, None, miss.why, "none", advice=advice)
        self._note(served)
        self.unmatched.append(served)
        if self.logs_misses:
            log.warning("%s", text, extra={"has_lines": True})
        return answer

    def _advised(self, miss: player.Miss) -> player.Miss:
        """Return a miss without advice to record, if this replay has an upstream."""
        return replace(miss, advice=None) if self.beyond is not None and miss.advice is RECORD_REST else miss

    def _reached(self, exchange: Exchange, headers: Headers) -> list[Reached]:
        """Return the upstream of a recorded exchange, and those of the other hops, with their addresses for the client
        of a request."""
        here = client_address(headers, self.url)
        others = [
            Reached(upstream, address_beside(here, one.url))
            for one in self._beside_it
            for upstream in one._plan.upstreams
        ]
        return [Reached(self._plan.upstream_of[exchange.recording], here), *others]

    def _api(self, target: str) -> Api | None:
        """Return the model API of a target; None if the replayed hop has no such requests."""
        return api_of(target) if self._plan.asks_model(target) else None

    def _state(self) -> dict[str, Any]:
        """Return the fields of `GET …/state`."""
        return {
            "cassette": str(self.cassette),
            "requests": len(self.requests),
            "waiting": self.waiting,
            "unmatched": [f"{one.method} {one.target}" for one in self.unmatched],
            "mismatches": [asdict(one) for one in self.mismatches],
            "faults": self.faults,
            "made_up": self.made_up,
            "sources": dict(Counter(one.source for one in self.requests)),
            "unplayed": [f"{one.request.method} {one.request.target}" for one in self.unplayed],
        }

    def _announce(self) -> None:
        """Wake the streams that wait, and log the player's notes."""
        self._waiting.announce()
        while self._player.notes:
            log.info("%s", self._player.notes.pop(0))


def _ended(response: web.StreamResponse, copy: Copy | None) -> web.StreamResponse:
    """Return a response that was sent, and record how it ended."""
    if copy is not None:
        copy.end("upstream_lost" if isinstance(response, RawResponse) and response.is_cut else "eof")
    return response


def _places(first: Place, listens: Mapping[str, str]) -> dict[str, Place]:
    """Return the addresses of further hops by name. Raises `UsageError`."""
    places = {name: first.at(listen, f"--listen {name}=") for name, listen in listens.items()}
    check_apart([first, *places.values()], "hops")
    return places


def _web_ui(chosen: File | None, *, maps_sessions: bool) -> BuiltUi | bool:
    """Return the files of a web UI, or whether to answer a web UI without files. Raises `UsageError`."""
    if chosen is None or (chosen == "auto" and maps_sessions):
        return False
    if maps_sessions:
        raise UsageError("--web-ui and --match 'sessions mapped' exclude each other: a page keeps the recorded ids")
    return installed() or True if chosen == "auto" else BuiltUi(Path(chosen))
