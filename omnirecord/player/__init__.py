"""Decides what a replay answers: which exchange, which frames, when each is due. No socket and no clock.

`Player.answer` takes a request and the time and returns one of the decisions below; the shell in `replay` carries it
out. One `Run` is one playing of a session tree, with its own playhead; a new `POST /v1/sessions` for a session that
was played already begins a new one. Sessions never wait for each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ..cassette import Ending, Exchange
from ..routes import (
    creates_session,
    is_bookkeeping,
    is_session_updates,
    is_tunnel,
    opens_session_stream,
    session_of,
)
from .joining import join
from .matching import Key, key_of, nearest
from .script import GateRule, Piece, Script, Session, gate_rule
from .timeline import Gate, Timeline
from .timing import Timing, timing

__all__ = ["GateRule", "Player", "Playing", "Timing", "gate_rule", "timing"]

_READS = frozenset({"GET", "HEAD"})
_REPEATABLE = frozenset({"PUT", "DELETE"})  # RFC 9110, section 9.2.2: idempotent


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request to the replay."""

    method: str
    target: str
    is_runner: bool = False
    if_none_match: str | None = None
    body: bytes = b""


@dataclass(slots=True)
class Playing:
    """One stream on its way to one client: what is left of it, and how it ends."""

    exchange: Exchange
    timeline: Timeline
    pieces: list[Piece]
    ending: Ending
    joined: bool = False
    next: int = 0

    def due(self, now: int) -> int | None:
        """When the next piece may be sent; None while a gate holds it. Call only while `has_more`."""
        piece = self.pieces[self.next]
        if not piece.greeting:
            return self.timeline.due(piece.offset_ns, now)
        return now if self.joined else self.timeline.due_ungated(piece.offset_ns, now)

    @property
    def has_more(self) -> bool:
        return self.next < len(self.pieces)

    def take(self) -> Piece:
        """The next piece, which is sent now."""
        piece = self.pieces[self.next]
        self.next += 1
        if not (piece.greeting and self.joined):
            self.timeline.sent_ns = max(self.timeline.sent_ns, piece.offset_ns)
        return piece

    @property
    def at_frame_end(self) -> bool:
        """Whether what was sent so far ends with a frame, so that another may be put in."""
        return self.next == 0 or self.pieces[self.next - 1].data.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))


@dataclass(frozen=True, slots=True)
class Answering:
    """An answer that is no stream: when it is due, and whether it waits for a gate."""

    exchange: Exchange
    body: bytes
    earliest: int
    gates: tuple[Gate, ...] = ()

    def due(self) -> int | None:
        return None if any(not gate.open for gate in self.gates) else self.earliest

    def waits_for(self) -> Gate | None:
        return next((gate for gate in self.gates if not gate.open), None)


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing recorded answers this."""

    message: str
    nearest: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NoContent:
    """Bookkeeping that nobody recorded."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Never replayed, whatever was recorded."""

    message: str


@dataclass(frozen=True, slots=True)
class Updates:
    """`/v1/sessions/updates`, which is served from the recorded session list."""


Decision = Playing | Answering | Miss | NoContent | Refused | Updates


@dataclass(slots=True)
class Run:
    """One playing of a session tree."""

    timeline: Timeline
    gate_of: dict[int, Gate]
    opened: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    live: list[Playing] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A request that was matched although its body says something else."""

    request: str
    field: str
    recorded: Any
    got: Any


class Player:
    """Plays one cassette to any number of clients. `asked`: what was matched; `mismatches`, `notes`: what to tell."""

    def __init__(self, script: Script, timing: Timing) -> None:
        self._script = script
        self._timing = timing
        self._runs: dict[str, Run] = {}
        self._asked: dict[Key, int] = defaultdict(int)
        self._created = 0
        self._index: dict[tuple[bool, Key], list[Exchange]] = defaultdict(list)
        self._creations = [x for x in script.exchanges if _creates(x)]
        self.mismatches: list[Mismatch] = []
        self.notes: list[str] = []
        for exchange in script.exchanges:
            self._index[exchange.party == "runner", key_of(exchange.request.method, exchange.request.target)].append(
                exchange
            )

    def answer(self, request: Incoming, now: int) -> Decision:
        """What a request gets."""
        key = key_of(request.method, request.target)
        session = self._script.sessions.get(session_of(request.target) or "")
        if creates_session(request.method, request.target) and self._creations:
            return self._create(request, now)
        if session and session.opens and opens_session_stream(request.method, request.target):
            return self._open(session, now)
        if request.method in _READS:
            return self._read(request, key, session, now)
        return self._act(request, key, session, now)

    def websocket(self, target: str) -> Decision:
        """What a WebSocket gets. A tunnel is refused always: its frames would start processes on a stranger's word."""
        if is_tunnel(target):
            return Refused("a runner's or host's tunnel is never replayed: its frames would start processes")
        if is_session_updates(target):
            return Updates()
        return Refused("terminals and dictation are not replayed")

    def open_gate(self, gate: Gate, now: int) -> None:
        """Go on without the request that a gate waits for."""
        for run in self._runs.values():
            if gate in run.timeline.gates:
                run.timeline.open(gate, now)

    def session_rows(self, session_ids: list[str]) -> dict[str, Any]:
        """The newest recorded row of each of these sessions in the session list, as of the playhead."""
        rows: dict[str, Any] = {}
        horizon = self._common_horizon()
        for at_ns, row in self._script.session_rows():
            if at_ns < horizon and row.get("id") in session_ids:
                rows[row["id"]] = row
        return rows

    def closed(self, playing: Playing) -> None:
        """A client is gone, or its stream is over."""
        for run in self._runs.values():
            if playing in run.live:
                run.live.remove(playing)

    def _create(self, request: Incoming, now: int) -> Decision:
        exchange = self._creations[self._created % len(self._creations)]
        self._created += 1
        session = self._script.sessions.get(exchange.session_id or "")
        if session is not None:
            self._runs.pop(session.root, None)
        return self._answering(request, exchange, None, now)

    def _run(self, session: Session) -> Run:
        if session.root not in self._runs:
            self._runs[session.root] = self._new_run(session)
        return self._runs[session.root]

    def _new_run(self, session: Session) -> Run:
        tree = self._script.trees[session.root]
        gate_of = {
            x.exchange: Gate(x.exchange, x.request.at_ns, f"{x.request.method} {x.request.target}") for x in tree.gates
        }
        points = self._script.points(x for one in tree.sessions for x in one.opens)
        return Run(Timeline(points, gate_of.values(), self._timing), gate_of)

    def _open(self, session: Session, now: int) -> Decision:
        """The nth open gets the nth recorded one, where that still lies ahead; else it joins at the playhead."""
        run = self._run(session)
        number = run.opened[session.session_id]
        run.opened[session.session_id] += 1
        if number < len(session.opens) and session.opens[number].exchange in run.gate_of:
            run.timeline.open(run.gate_of[session.opens[number].exchange], now)
        if number < len(session.opens) and self._is_ahead(run, session.opens[number], number):
            return self._play(run, session.opens[number], now)
        return self._join(run, session, min(number, len(session.opens) - 1))

    def _is_ahead(self, run: Run, exchange: Exchange, number: int) -> bool:
        """A first open always plays its stream. A later one does where others listen on and nothing of it was sent
        yet, or where nobody does and no closed gate lies before it."""
        start = _start(exchange)
        if number == 0:
            return True
        return run.timeline.sent_ns < start if run.live else run.timeline.gate_before(start) is None

    def _play(self, run: Run, exchange: Exchange, now: int) -> Decision:
        if exchange.kind != "sse":
            return Answering(exchange, self._script.body(exchange), now)
        if not run.live:
            run.timeline.move(_start(exchange), now)
        playing = Playing(exchange, run.timeline, self._script.pieces(exchange), exchange.ending)
        run.live.append(playing)
        return playing

    def _join(self, run: Run, session: Session, number: int) -> Decision:
        streams = [x for x in session.opens if x.kind == "sse"]
        if not streams:
            return Answering(session.opens[number], self._script.body(session.opens[number]), 0)
        frames = [self._script.frames(x) for x in streams]
        pieces = join(frames, run.timeline.sent_ns, min(number, len(streams) - 1))
        playing = Playing(streams[-1], run.timeline, pieces, streams[-1].ending, joined=True)
        run.live.append(playing)
        return playing

    def _read(self, request: Incoming, key: Key, session: Session | None, now: int) -> Decision:
        recorded = self._index.get((request.is_runner, key)) or self._relaxed(request, key)
        candidates = [x for x in recorded if x.response is not None and _answers(x, request.if_none_match)]
        if not candidates:
            return self._miss(key, recorded)
        horizon = self._run(session).timeline.horizon() if session else self._common_horizon()
        known = [x for x in candidates if x.request.at_ns < horizon]
        return self._answering(request, known[-1] if known else candidates[0], session, now)

    def _relaxed(self, request: Incoming, key: Key) -> list[Exchange]:
        """What was recorded of the same resource, asked in more or less detail."""
        for (is_runner, other), recorded in self._index.items():
            if is_runner == request.is_runner and other.relaxed() == key.relaxed():
                self.notes.append(f"{key} was not recorded: answered as {other}")
                return recorded
        return []

    def _common_horizon(self) -> float:
        """For what belongs to no session: as far as the session that is furthest on; before any, all that came before."""
        started = [run.timeline.horizon() for run in self._runs.values() if run.timeline.started]
        waiting = [self._new_run(tree.sessions[0]).timeline.horizon() for tree in self._script.trees.values()]
        return max(started, default=min(waiting, default=float("inf")))

    def _act(self, request: Incoming, key: Key, session: Session | None, now: int) -> Decision:
        recorded = self._index.get((request.is_runner, key), [])
        run = self._run(session) if session else None
        asked = run.asked if run else self._asked
        number = asked[key]
        if recorded and run is None:
            number %= len(recorded)  # what belongs to no session begins again, as POST /v1/sessions does
        elif recorded and request.method in _REPEATABLE:
            number = min(number, len(recorded) - 1)
        if number >= len(recorded):
            return NoContent() if is_bookkeeping(request.method, request.target) else self._miss(key, recorded)
        asked[key] += 1
        exchange = recorded[number]
        if run and exchange.exchange in run.gate_of:
            run.timeline.open(run.gate_of[exchange.exchange], now)
        if exchange.kind == "sse":
            return self._alone(exchange, now)
        return self._answering(request, exchange, session, now)

    def _alone(self, exchange: Exchange, now: int) -> Playing:
        """A stream that belongs to no session has a playhead of its own."""
        timeline = Timeline(self._script.points([exchange]), (), self._timing)
        timeline.move(_start(exchange), now)
        return Playing(exchange, timeline, self._script.pieces(exchange), exchange.ending)

    def _answering(self, request: Incoming, exchange: Exchange, session: Session | None, now: int) -> Answering:
        self._compare(request, exchange)
        at, end = exchange.request.at_ns, exchange.end_ns or exchange.request.at_ns
        gates: list[Gate] = []
        if session and request.method not in _READS:
            known = self._run(session).timeline.gates
            gates = [g for g in known if at < g.at_ns < end and g.exchange != exchange.exchange]
        return Answering(exchange, self._script.body(exchange), now + self._timing.gap(end - at), tuple(gates))

    def _compare(self, request: Incoming, exchange: Exchange) -> None:
        """Report a body that says another `type` or `action` than the recorded one."""
        if not request.body:
            return
        got, recorded = _object(request.body), _object(self._script.request_body(exchange))
        for name in ("type", "action"):
            if got.get(name) != recorded.get(name):
                what = f"{request.method} {request.target}"
                self.mismatches.append(Mismatch(what, name, recorded.get(name), got.get(name)))

    def _miss(self, key: Key, recorded: list[Exchange]) -> Miss:
        near = nearest(key, self._script.exchanges)
        if recorded and all(x.response and x.response.status == 304 for x in recorded):
            return Miss(f"{key} was recorded only as 304 Not Modified: record it again with a cold cache", near)
        if recorded:
            return Miss(f"{key} was recorded {len(recorded)} times, and that often it has been answered", near)
        return Miss(f"{key} was never recorded", near)


def _creates(exchange: Exchange) -> bool:
    response = exchange.response
    ok = response is not None and 200 <= response.status < 300
    return ok and exchange.party != "runner" and creates_session(exchange.request.method, exchange.request.target)


def _start(exchange: Exchange) -> int:
    return exchange.response.at_ns if exchange.response else exchange.request.at_ns


def _answers(exchange: Exchange, if_none_match: str | None) -> bool:
    """A 304 answers only the validator that it answered."""
    if exchange.response is None or exchange.response.status != 304:
        return True
    recorded = (value for name, value in exchange.request.headers if name.lower() == "if-none-match")
    return if_none_match is not None and if_none_match in recorded


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
