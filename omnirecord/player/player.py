"""The player: takes a request and the time, and decides what it gets. No socket and no clock.

One `Run` is one playing of a session tree, with its own playhead; a new `POST /v1/sessions` for a session that was
played already begins a new one. Sessions never wait for each other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..cassette import Ending, Exchange
from ..greeting import GREETING_TYPES
from ..routes import (
    is_bookkeeping,
    is_session_updates,
    is_tunnel,
    opens_session_stream,
    session_of,
)
from ..store import is_coded
from .decisions import Answering, Decision, Incoming, Mismatch, NoContent, Refused, Updates
from .joining import join
from .lookup import READS, Asked, Lookup, answers
from .mapping import own_id, renamed, session_map
from .playing import Playing
from .rules import DEFAULT, Rules
from .run import Run
from .script import Script, Session, start_of
from .timeline import Gate, Timeline
from .timing import Timing


class Player:
    """Plays one cassette to any number of clients. `mismatches` and `notes` are what there is to tell."""

    def __init__(self, script: Script, timing: Timing, rules: Rules = DEFAULT) -> None:
        self._script = script
        self._timing = timing
        self._lookup = Lookup(script.exchanges, script.request_body, rules)
        self._sessions = session_map(script) if rules.maps_sessions else None
        self._runs: dict[str, Run] = {}
        self._asked = Asked()
        self.mismatches: list[Mismatch] = []
        self.notes: list[str] = []

    def answer(self, request: Incoming, now: int) -> Decision:
        """What a request gets."""
        if self._sessions is None:
            return self._answer(request, now)
        if root := self._sessions.meet(request.target):
            self._runs.pop(root, None)
        told = len(self.mismatches)
        decision = self._answer(self._sessions.request(request), now)
        renaming = self._sessions.renaming(request.target)
        self.mismatches[told:] = [replace(one, request=renaming.string(one.request)) for one in self.mismatches[told:]]
        return renamed(decision, renaming)

    def _answer(self, request: Incoming, now: int) -> Decision:
        session = self._script.sessions.get(session_of(request.target) or "")
        if self._lookup.is_creation(request):
            return self._create(request, now)
        if session and session.opens and opens_session_stream(request.method, request.target):
            return self._open(request, session, now)
        if request.method in READS:
            return self._read(request, session, now)
        return self._act(request, session, now)

    def websocket(self, target: str) -> Decision:
        """What a WebSocket gets. A tunnel is refused always: its frames would start processes on a stranger's word."""
        if is_tunnel(target):
            return Refused("a runner's or host's tunnel is never replayed: its frames would start processes")
        if is_session_updates(target):
            return Updates()
        return Refused("terminals and dictation are not replayed")

    def session_rows(self, session_ids: list[str], now: int) -> dict[str, Any]:
        """The row of each of these sessions in the session list, as of its playhead: the newest, else the first."""
        recorded = [self._sessions.recorded(name) for name in session_ids] if self._sessions else session_ids
        horizons = {name: self._horizon(self._script.sessions.get(name), now) for name in recorded}
        rows: dict[str, Any] = {}
        for at_ns, row in self._script.session_rows():
            name = row.get("id")
            if name in horizons and (name not in rows or at_ns < horizons[name]):
                rows[name] = row
        return self._sessions.rows(rows, session_ids) if self._sessions else rows

    def closed(self, playing: Playing) -> None:
        """A client is gone, or its stream is over."""
        for run in self._runs.values():
            if playing in run.live:
                run.live.remove(playing)

    def _create(self, request: Incoming, now: int) -> Decision:
        exchange = self._lookup.creation(request)
        if exchange is None:
            return self._act(request, None, now)  # which may be one that failed
        self.notes += self._lookup.told_of(exchange)
        session = self._script.sessions.get(exchange.session_id or "")
        if session is not None:
            self._runs.pop(session.root, None)
            self._run(session).came(exchange, now)
            if self._sessions is not None:
                self._sessions.call(session.root, own_id(request) or session.root)
        return self._answering(request, exchange, None, now)

    def _run(self, session: Session) -> Run:
        if session.root not in self._runs:
            self._runs[session.root] = self._new_run(session.root)
        return self._runs[session.root]

    def _new_run(self, root: str) -> Run:
        tree = self._script.trees[root]
        gates = [Gate(x.exchange, x.request.at_ns, f"{x.request.method} {x.request.target}") for x in tree.gates]
        timeline = Timeline(self._script.points_of(root), gates, self._timing)
        return Run(tree, timeline, {gate.exchange: gate for gate in gates})

    def _open(self, request: Incoming, session: Session, now: int) -> Decision:
        """The nth open gets the nth recorded one, where that is what comes next; else it joins at the playhead."""
        run = self._run(session)
        number = run.opened[session.session_id]
        run.opened[session.session_id] += 1
        if number >= len(session.opens):
            return self._join(request, run, session, number, now)
        recorded = session.opens[number]
        run.came(recorded, now)
        if number and (run.skips(session, recorded) or self._is_overtaken(run, session, recorded)):
            return self._join(request, run, session, number, now)
        return self._play(request, run, recorded, now)

    def _is_overtaken(self, run: Run, session: Session, recorded: Exchange) -> bool:
        """Whether somebody who is still there has got more of the session than this recorded stream begins with.
        Heartbeats and the like do not count."""
        sent = run.sent[session.session_id].upto_ns
        if not run.listeners(session) or sent <= start_of(recorded):
            return False
        frames = (frame for x in session.opens if x.kind == "sse" for frame in self._script.frames(x))
        news = (frame.offset_ns for frame in frames if frame.type not in GREETING_TYPES and frame.verdict != "comment")
        return any(start_of(recorded) < offset <= sent for offset in news)

    def _play(self, request: Incoming, run: Run, exchange: Exchange, now: int) -> Decision:
        if exchange.kind != "sse":
            return self._answering(request, exchange, None, now)
        sent = run.sent[exchange.session_id or ""]
        pieces = self._script.pieces(exchange)
        playing = Playing(exchange, run.timeline, pieces, exchange.ending, now, sent, coded=is_coded(exchange))
        run.begin(playing)
        return playing

    def _join(self, request: Incoming, run: Run, session: Session, number: int, now: int) -> Decision:
        streams = [x for x in session.opens if x.kind == "sse"]
        if not streams:
            return self._answering(request, session.opens[-1], None, now)
        sent = run.sent[session.session_id]
        earlier = sum(x.kind == "sse" for x in session.opens[: number + 1])
        pieces = join([self._script.frames(x) for x in streams], sent.upto_ns, max(0, earlier - 1))
        has_missed_the_end = all(piece.greeting for piece in pieces)
        ending: Ending = "open" if has_missed_the_end else streams[-1].ending
        playing = Playing(streams[-1], run.timeline, pieces, ending, now, sent, joined=True)
        run.join(playing, start_of(streams[0]))
        return playing

    def _read(self, request: Incoming, session: Session | None, now: int) -> Decision:
        recorded = self._lookup.alike(request) or self._relaxed(request)
        if any(x.kind == "sse" for x in recorded):
            return self._act(request, session, now)
        if session:
            self._run(session).came_again(recorded, now)
        candidates = [x for x in recorded if answers(x, request.if_none_match)]
        if not candidates:
            return self._lookup.miss(request, instead=recorded)
        horizon = self._horizon(session, now)
        known = [x for x in candidates if x.request.at_ns < horizon]
        return self._answering(request, known[-1] if known else candidates[0], session, now)

    def _relaxed(self, request: Incoming) -> list[Exchange]:
        """What was recorded of the same resource, asked in more or less detail."""
        recorded, other = self._lookup.alike_in_other_detail(request)
        if other is not None:
            self.notes.append(f"{self._lookup.key(request)} was not recorded: answered as {other}")
        return recorded

    def _horizon(self, session: Session | None, now: int) -> float:
        """What a read may know, in recorded time: of a session, what its playhead has passed."""
        if session is not None:
            return self._run(session).horizon(now)
        return self._common_horizon(now)

    def _common_horizon(self, now: int) -> float:
        """For what belongs to no session: as far as the session that is furthest on, but not into one that has still
        to begin."""
        begun = {root: run for root, run in self._runs.items() if run.started}
        furthest = max((run.horizon(now) for run in begun.values()), default=-1.0)
        sent = max((sent.upto_ns for run in begun.values() for sent in run.sent.values()), default=-1)
        waiting = [self._first(root) for root in self._script.trees if root not in begun]
        bounds = [first for first in waiting if first > sent]
        return min([*bounds, furthest] if begun else bounds, default=float("inf"))

    def _first(self, root: str) -> float:
        """When a session tree's first frame or message came."""
        points = self._script.points_of(root)
        gates = (x.request.at_ns for x in self._script.trees[root].gates)
        return min([*points[:1], *gates], default=float("inf"))

    def _act(self, request: Incoming, session: Session | None, now: int) -> Decision:
        run = self._run(session) if session else None
        asked = run.asked if run else self._asked
        exchange = self._lookup.next(request, asked, again=run is None)
        if exchange is None:
            is_noted = is_bookkeeping(request.method, request.target)
            return NoContent() if is_noted else self._lookup.miss(request, asked)
        if run is not None:
            run.came(exchange, now)
        if exchange.kind == "sse":
            self.mismatches += self._lookup.mismatches(request, exchange)
            return self._alone(exchange, now)
        return self._answering(request, exchange, session, now)

    def _alone(self, exchange: Exchange, now: int) -> Playing:
        """A stream that belongs to no session has a playhead of its own."""
        timeline = Timeline(self._script.points([exchange]), (), self._timing)
        timeline.move(start_of(exchange), now)
        pieces = self._script.pieces(exchange)
        return Playing(exchange, timeline, pieces, exchange.ending, now, coded=is_coded(exchange))

    def _answering(self, request: Incoming, exchange: Exchange, session: Session | None, now: int) -> Answering:
        self.mismatches += self._lookup.mismatches(request, exchange)
        at, end = exchange.request.at_ns, exchange.end_ns or exchange.request.at_ns
        earliest, body = now + self._timing.gap(end - at), self._script.body(exchange)
        if session is None or request.method in READS:
            return Answering(exchange, body, earliest)
        timeline = self._run(session).timeline
        gates = tuple(g for g in timeline.gates if at < g.at_ns < end and g.exchange != exchange.exchange)
        return Answering(exchange, body, earliest, gates, timeline)
