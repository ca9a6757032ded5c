"""Decides the answers of a replay: which exchange, which frames, and when each is due. No socket and no clock.

`Player.answer` takes a request and the time, and returns a `Decision`; the shell in `server` carries it out.
`plan` is a cassette laid out for that, `playback` one playing of a session tree, `timeline` its playhead.
`stream_choice` chooses the stream that a client gets, and makes the one of a client that reconnects. `rewrite` applies
faults and ids; `controls` holds the verbs of the playhead. Answers are found by `replayer.matching`.

A `Playthrough` plays a session tree once, with its own playhead. A further `POST /v1/sessions` for a played session
begins another `Playthrough`. Sessions never wait for each other.

To add an option to `serve`: a field of `omnirecord.options.ReplayOptions`, an attribute of `options.Options`, and the
code that it controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...model import Exchange
from ...omnigent import routes
from ..matching import READS, Asked, Lookup, answers
from ..matching.key import Incoming, Mismatch, Miss
from ..matching.rules import Rules
from .controls import Controls, Position
from .gates import GateRule
from .options import Options
from .plan import ReplayPlan, Session
from .playback import Answering, Decision, Failing, NoContent, Playing, Refused, Updates
from .rewrite import SessionMap, answer_to, ids_differ, own_id, parts_to, renamed, session_map
from .stream_choice import StreamChoice
from .timeline import Timing

__all__ = [
    "Answering",
    "Decision",
    "Failing",
    "GateRule",
    "Incoming",
    "Mismatch",
    "Miss",
    "NoContent",
    "Options",
    "Player",
    "Playing",
    "Position",
    "Refused",
    "Rules",
    "Timing",
    "Updates",
]


class Player:
    """Plays one cassette to any number of clients. `notes`: lines to log."""

    def __init__(self, plan: ReplayPlan, options: Options) -> None:
        self._plan = plan
        self._timing = options.timing
        self._repeats = options.repeats
        self._lookup = Lookup(plan.exchanges, plan.request_body, options.rules, plan.day, plan.may_ask_model)
        self._sessions = session_map(plan) if options.rules.maps_sessions else SessionMap((), ())
        self.streams = StreamChoice(plan, options)
        self.controls = Controls(plan, self.streams, options.timing)
        self._asked: Asked = set()
        self.mismatches: list[Mismatch] = []
        self.notes: list[str] = []

    def answer(self, request: Incoming, now: int) -> Decision:
        """Return the answer to a request, with the time at which it begins."""
        failing, earliest = self.fault(request, now)
        if failing is not None:
            return failing
        decision = self._in_its_ids(request, now)
        if earliest == now:
            return decision
        if isinstance(decision, Answering):
            return replace(decision, earliest=max(decision.earliest, earliest))
        if isinstance(decision, Playing):
            decision.begins_at = max(decision.begins_at, earliest)
        return decision

    def fault(self, request: Incoming, now: int) -> tuple[Failing | None, int]:
        """Return the answer that a fault gives to a request, if one does, and the time from which on the request may be
        answered. Counts the request."""
        fault = self.streams.effects.on_request(request.method, request.target) if not request.is_runner else None
        if fault is None:
            return None, now
        earliest = now + fault.late_ns
        if (instead := fault.answer) is None:
            return None, earliest
        told = f"the fault {str(instead)!r} says so"
        return Failing(instead.status, told, earliest, instead.retry_after_ns), earliest

    def _in_its_ids(self, request: Incoming, now: int) -> Decision:
        """Return the answer in the session ids of the client."""
        if root := self._sessions.meet(request.target):
            self.streams.supersede(root)
        told = len(self.mismatches)
        decision = self._decide(self._sessions.request(request), now)
        if not (renaming := self._sessions.renaming(request.target)):
            return decision
        self.mismatches[told:] = [replace(one, request=renaming.string(one.request)) for one in self.mismatches[told:]]
        decision = renamed(decision, renaming)
        if isinstance(decision, Playing):
            self.streams.effects.lay_out(decision)
        return decision

    def _decide(self, request: Incoming, now: int) -> Decision:
        session = self._plan.sessions.get(routes.session_of(request.target) or "")
        is_new = not request.is_runner and request.last_event_id is None
        if session and is_new and self.streams.is_over(session.root, now):
            self._begin_over(request, session)
        if self._lookup.creations and not request.is_runner and routes.creates_session(request.method, request.target):
            return self._create(request, now)
        if session and session.opens and routes.opens_session_stream(request.method, request.target):
            resumed = self.streams.resume(session, request.last_event_id, now)
            opened = resumed or self.streams.open(session, now)
            return opened if isinstance(opened, Playing) else self._answering(request, opened, None, now)
        if request.method in READS:
            return self._read(request, session, now)
        return self._act(request, session, now)

    def next_exchange(self, request: Incoming) -> Exchange | None:
        """Return the exchange whose turn it is to answer a request, else one that never got an answer; None if no
        recorded request matches. Changes nothing."""
        request = self._sessions.request(request)
        session = self._plan.sessions.get(routes.session_of(request.target) or "")
        asked = self._asked if session is None else self.streams.playthrough(session).asked
        found = self._lookup.next(request, set(asked), again=session is None and self._repeats)
        if found is not None:
            return found
        unanswered = (x for x in self._lookup.alike(request) if not x.is_answered and x.exchange not in asked)
        return next(unanswered, None)

    def pass_over(self, exchange: Exchange) -> None:
        """Let an exchange count as sent, because its request got another answer."""
        self._asked.add(exchange.exchange)
        self.streams.made.add(exchange.exchange)

    def due(self) -> list[Exchange]:
        """Return the answered requests of recorded clients, without bookkeeping and replaced requests."""
        return [x for x in self._of_clients() if x.is_answered]

    def unanswered(self) -> list[Exchange]:
        """Return the requests of recorded clients that never got an answer, without bookkeeping."""
        return [x for x in self._of_clients() if not x.is_answered]

    def _of_clients(self) -> list[Exchange]:
        return [
            x
            for x in self._plan.exchanges
            if x.party != "runner" and not x.is_replaced
            if not routes.is_bookkeeping(x.request.method, x.request.target)
        ]

    def unplayed(self) -> list[Exchange]:
        """Return the requests that are due and that no client has sent yet. One of several equal reads is enough."""
        return [x for x in self.due() if x.exchange not in self.streams.made]

    def told(self, exchange: Exchange) -> str:
        """Return a recorded request as words: of a request to a model also its number and its last message."""
        call = self._lookup.conversations.told(exchange)
        return f"{exchange.request.method} {exchange.request.target}" + (f" ({call})" if call else "")

    def websocket(self, target: str) -> Decision:
        """Return the answer to a WebSocket. Tunnels are refused: their frames would start processes from a cassette."""
        if routes.is_tunnel(target):
            return Refused("a runner's or host's tunnel is never replayed: its frames would start processes")
        if routes.is_session_updates(target):
            return Updates()
        return Refused("terminals and dictation are not replayed")

    def session_rows(self, session_ids: list[str], now: int) -> dict[str, Any]:
        """Return a row of the session list for each session: the newest as of its playhead, else the first."""
        horizons = {name: self.horizon(name, now) for name in map(self._sessions.recorded, session_ids)}
        rows: dict[str, Any] = {}
        for at_ns, row in self._plan.session_rows:
            name = row.get("id")
            if name in horizons and (name not in rows or at_ns < horizons[name]):
                rows[name] = row
        return self._sessions.rows(rows, session_ids)

    def horizon(self, session_id: str, now: int) -> float:
        """Return the recorded offset up to which a read may know this session, in ns."""
        return self._horizon(self._plan.sessions.get(session_id), now)

    def closed(self, playing: Playing) -> None:
        """Remove a stream whose client left, or that ended. A model's answer that a fault ended, or that the client did
        not wait for, is left for the retry."""
        self.streams.closed(playing)
        if not playing.is_whole and playing.exchange in self._lookup.conversations:
            self._asked.discard(playing.exchange.exchange)

    def reset(self) -> None:
        self.streams.reset()
        self._lookup.reset()
        self._asked.clear()
        self._sessions.reset()
        self.mismatches.clear()
        self.notes.clear()

    def _begin_over(self, request: Incoming, session: Session) -> None:
        """Begin a session tree again that is over. A request that was recorded at its end still belongs to it: an act
        behind the last event, or a read behind the last stream."""
        run = self.streams.playthrough(session)
        points = self._plan.points_of(session.root)
        ends_ns = points[-1] if points else 0
        if request.method in READS:
            ends_ns = max([ends_ns, *(x.end_ns or 0 for one in run.tree.sessions for x in one.opens)])
        later = (x for x in self._lookup.alike(request) if x.request.at_ns > ends_ns and x.exchange not in run.asked)
        if (last := next(later, None)) is None:
            self.streams.supersede(session.root)
        elif request.method in READS:
            run.asked.add(last.exchange)

    def _create(self, request: Incoming, now: int) -> Decision:
        if (exchange := self._lookup.creation(request)) is None:
            return self._act(request, None, now)  # a recorded one that failed may match
        if len(creations := self._lookup.creations) > 1:
            path = routes.path_of(exchange.request.target)
            number = creations.index(exchange) + 1
            self.notes.append(f"POST {path}: session {number} of the {len(creations)} recorded")
        session = self._plan.sessions.get(exchange.session_id or "")
        if session is not None:
            self.streams.begin_again(session).came(exchange, now)
            self._sessions.call(session.root, own_id(request) or session.root)
        return self._answering(request, exchange, None, now)

    def _read(self, request: Incoming, session: Session | None, now: int) -> Decision:
        recorded = self._lookup.alike(request) or self._relaxed(request)
        if any(x.kind == "sse" for x in recorded):
            return self._act(request, session, now)
        self.streams.made |= {x.exchange for x in recorded}
        if session:
            self.streams.playthrough(session).came_again(recorded, now)
        candidates = [x for x in recorded if answers(x, request.if_none_match)]
        if not candidates:
            return self._miss(request, instead=recorded)
        if not self._plan.trees:
            return self._answering(request, self._next_read(candidates), None, now)
        horizon = self._horizon(session, now)
        known = [x for x in candidates if x.request.at_ns < horizon]
        return self._answering(request, known[-1] if known else candidates[0], session, now)

    def _next_read(self, candidates: list[Exchange]) -> Exchange:
        """Return the next of several equal reads of a recording without sessions; after the last, the last again. After
        every recorded request, the recording starts again."""
        if self._repeats and self._asked >= {x.exchange for x in self._plan.exchanges if x.response is not None}:
            self._asked.clear()
        exchange = next((x for x in candidates if x.exchange not in self._asked), candidates[-1])
        self._asked.add(exchange.exchange)
        return exchange

    def _relaxed(self, request: Incoming) -> list[Exchange]:
        recorded, other = self._lookup.alike_in_other_detail(request)
        if other is not None and not request.is_page:  # a page repeats its requests
            self.notes.append(f"{self._lookup.key(request)} was not recorded: answered as {other}")
        return recorded

    def _horizon(self, session: Session | None, now: int) -> float:
        """Return the recorded offset up to which a read may know a session, in ns. Without a session: that of the most
        advanced session, but before the start of any session that has not begun."""
        if session is not None:
            return self.streams.playthrough(session).horizon(now)
        runs = self.streams.playthroughs.items()
        begun = {root: run for root, run in runs if run.timeline.started and not self.streams.is_over(root, now)}
        furthest = max((run.horizon(now) for run in begun.values()), default=-1.0)
        sent = max((sent.upto_ns for run in begun.values() for sent in run.sent.values()), default=-1)
        waiting = [self._first(root) for root in self._plan.trees if root not in begun]
        bounds = [first for first in waiting if first > sent]
        return min([*bounds, furthest] if begun else bounds, default=float("inf"))

    def _first(self, root: str) -> float:
        """Return the offset of a session tree's first frame or message, in ns."""
        points = self._plan.points_of(root)
        gates = (x.request.at_ns for x in self._plan.trees[root].gates)
        return min([*points[:1], *gates], default=float("inf"))

    def _act(self, request: Incoming, session: Session | None, now: int) -> Decision:
        run = self.streams.playthrough(session) if session else None
        asked = self._asked if run is None else run.asked
        if (exchange := self._lookup.next(request, asked, again=run is None and self._repeats)) is None:
            is_noted = routes.is_bookkeeping(request.method, request.target)
            return NoContent() if is_noted else self._miss(request, asked)
        for one in [run] if run is not None else self.streams.alone:
            one.came(exchange, now)
        if exchange.kind == "sse":
            self.mismatches += self._lookup.mismatches(request, exchange)
            return self._to(request, self.streams.play_alone(exchange, now))
        return self._to(request, self._answering(request, exchange, session, now))

    def _miss(self, request: Incoming, asked: Asked | None = None, instead: Sequence[Exchange] = ()) -> Miss:
        """Return the miss of a request. It names another hop that has such requests."""
        miss = replace(self._lookup.miss(request, asked, instead), call=self._lookup.call(request))
        elsewhere = self._plan.in_another_hop(request.method, request.target)
        return replace(miss, message=f"{miss.message}; {elsewhere}") if elsewhere else miss

    def _to(self, request: Incoming, decision: Playing | Answering) -> Playing | Answering:
        """Return an answer; that to a JSON-RPC request with the ids of this request."""
        calls = self._lookup.calls(request, decision.exchange)
        if calls is None or not ids_differ(*calls):
            return decision
        if isinstance(decision, Answering):
            return answer_to(decision, *calls)
        self.streams.rewrite(decision, lambda parts: parts_to(parts, *calls))
        return decision

    def _answering(self, request: Incoming, exchange: Exchange, session: Session | None, now: int) -> Answering:
        self.streams.made.add(exchange.exchange)
        self.mismatches += self._lookup.mismatches(request, exchange)
        begin = exchange.request.at_ns
        end = exchange.end_ns or begin
        earliest = now + int(self._timing.gap(end - begin) / self.streams.speed)
        body = self._plan.body(exchange)
        if session is None or request.method in READS:
            return Answering(exchange, body, earliest)
        timeline = self.streams.playthrough(session).timeline
        return Answering(exchange, body, earliest, timeline.gates.during(exchange), timeline)
