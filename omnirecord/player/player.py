"""The player: takes a request and the time, and decides what it gets. No socket and no clock.

One `Run` is one playing of a session tree, with its own playhead; a new `POST /v1/sessions` for a session that was
played already begins a new one. Sessions never wait for each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from ..cassette import Exchange
from ..routes import (
    creates_session,
    is_bookkeeping,
    is_session_updates,
    is_tunnel,
    opens_session_stream,
    session_of,
)
from .controls import Controls
from .decisions import Answering, Decision, Incoming, Mismatch, Miss, NoContent, Refused, Updates
from .matching import Key, key_of, nearest
from .options import Options
from .playing import Playing
from .script import Script, Session
from .streams import Streams

_READS = frozenset({"GET", "HEAD"})
_REPEATABLE = _READS | {"PUT", "DELETE"}  # RFC 9110, section 9.2.2: idempotent


class Player:
    """Plays one cassette to any number of clients. `mismatches` and `notes` are what there is to tell."""

    def __init__(self, script: Script, options: Options) -> None:
        self._script = script
        self._timing = options.timing
        self.streams = Streams(script, options)
        self.controls = Controls(script, self.streams, options.timing)
        self._asked: dict[tuple[bool, Key], int] = defaultdict(int)
        self._created = 0
        self._creations = [x for x in script.exchanges if _creates(x)]
        self.mismatches: list[Mismatch] = []
        self.notes: list[str] = []
        self._index: dict[tuple[bool, Key], list[Exchange]] = defaultdict(list)
        for x in script.exchanges:
            self._index[x.party == "runner", key_of(x.request.method, x.request.target)].append(x)

    def answer(self, request: Incoming, now: int) -> Decision:
        """What a request gets."""
        key = key_of(request.method, request.target)
        session = self._script.sessions.get(session_of(request.target) or "")
        if self._creations and not request.is_runner and creates_session(request.method, request.target):
            return self._create(request, now)
        if session and session.opens and opens_session_stream(request.method, request.target):
            return self._open(request, session, now)
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

    def session_rows(self, session_ids: list[str], now: int) -> dict[str, Any]:
        """The row of each of these sessions in the session list, as of its playhead: the newest, else the first."""
        horizons = {name: self._horizon(self._script.sessions.get(name), now) for name in session_ids}
        rows: dict[str, Any] = {}
        for at_ns, row in self._script.session_rows():
            name = row.get("id")
            if name in horizons and (name not in rows or at_ns < horizons[name]):
                rows[name] = row
        return rows

    def closed(self, playing: Playing) -> None:
        """A client is gone, or its stream is over."""
        self.streams.closed(playing)

    def ended(self, playing: Playing) -> None:
        """A fault is about to end it."""

    def reset(self) -> None:
        """Begin again: nothing was asked, nothing was played."""
        self.streams.reset()
        self._asked.clear()
        self._created = 0
        self.mismatches.clear()
        self.notes.clear()

    def _create(self, request: Incoming, now: int) -> Decision:
        exchange = self._creations[self._created % len(self._creations)]
        self._created += 1
        if len(self._creations) > 1:
            number = (self._created - 1) % len(self._creations) + 1
            self.notes.append(f"POST /v1/sessions: session {number} of the {len(self._creations)} recorded")
        session = self._script.sessions.get(exchange.session_id or "")
        if session is not None:
            self.streams.begin_again(session).came(exchange, now)
        return self._answering(request, exchange, None, now)

    def _open(self, request: Incoming, session: Session, now: int) -> Decision:
        resumed = self.streams.resume(session, request.last_event_id, now)
        opened = resumed or self.streams.open(session, now)
        return opened if isinstance(opened, Playing) else self._answering(request, opened, None, now)

    def _read(self, request: Incoming, key: Key, session: Session | None, now: int) -> Decision:
        recorded = self._index.get((request.is_runner, key)) or self._relaxed(request, key)
        if any(x.kind == "sse" for x in recorded):
            return self._act(request, key, session, now)
        if session:
            self.streams.run(session).came_again(recorded, now)
        candidates = [x for x in recorded if x.response is not None and _answers(x, request.if_none_match)]
        if not candidates:
            return self._miss(key, recorded)
        horizon = self._horizon(session, now)
        known = [x for x in candidates if x.request.at_ns < horizon]
        return self._answering(request, known[-1] if known else candidates[0], session, now)

    def _relaxed(self, request: Incoming, key: Key) -> list[Exchange]:
        """What was recorded of the same resource, asked in more or less detail."""
        for (is_runner, other), recorded in self._index.items():
            if is_runner == request.is_runner and other.relaxed() == key.relaxed():
                self.notes.append(f"{key} was not recorded: answered as {other}")
                return recorded
        return []

    def _horizon(self, session: Session | None, now: int) -> float:
        """What a read may know, in recorded time: of a session, what its playhead has passed."""
        if session is not None:
            return self.streams.run(session).horizon(now)
        return self._common_horizon(now)

    def _common_horizon(self, now: int) -> float:
        """For what belongs to no session: as far as the session that is furthest on, but not into one that has still
        to begin."""
        begun = {root: run for root, run in self.streams.runs.items() if run.started}
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

    def _act(self, request: Incoming, key: Key, session: Session | None, now: int) -> Decision:
        what = request.is_runner, key
        recorded = self._index.get(what, [])
        run = self.streams.run(session) if session else None
        asked = run.asked if run else self._asked
        number = asked[what]
        if recorded and run is None:
            number %= len(recorded)  # what belongs to no session begins again, as POST /v1/sessions does
        elif recorded and request.method in _REPEATABLE:
            number = min(number, len(recorded) - 1)
        if number >= len(recorded):
            return NoContent() if is_bookkeeping(request.method, request.target) else self._miss(key, recorded)
        asked[what] += 1
        exchange = recorded[number]
        if run is not None:
            run.came(exchange, now)
        if exchange.kind == "sse":
            self._compare(request, exchange)
            return self.streams.play_alone(exchange, now)
        return self._answering(request, exchange, session, now)

    def _answering(self, request: Incoming, exchange: Exchange, session: Session | None, now: int) -> Answering:
        self._compare(request, exchange)
        at, end = exchange.request.at_ns, exchange.end_ns or exchange.request.at_ns
        lasts = int(self._timing.gap(end - at) / self.streams.pace.speed)
        earliest, body = now + lasts, self._script.body(exchange)
        if session is None or request.method in _READS:
            return Answering(exchange, body, earliest)
        timeline = self.streams.run(session).timeline
        gates = tuple(g for g in timeline.gates if at < g.at_ns < end and g.exchange != exchange.exchange)
        return Answering(exchange, body, earliest, gates, timeline)

    def _compare(self, request: Incoming, exchange: Exchange) -> None:
        """Report a body that says another `type` or `action` than the recorded one."""
        got = _object(request.body)
        recorded = _object(self._script.request_body(exchange)) if got is not None else None
        if got is None or recorded is None:
            return
        for name in ("type", "action"):
            if got.get(name) != recorded.get(name):
                what = f"{request.method} {request.target}"
                self.mismatches.append(Mismatch(what, name, recorded.get(name), got.get(name)))

    def _miss(self, key: Key, recorded: list[Exchange]) -> Miss:
        near = nearest(key, self._script.exchanges)
        answered = [x.response for x in recorded if x.response is not None]
        if not recorded:
            return Miss(f"{key} was never recorded", near)
        if not answered:
            return Miss(f"{key} was recorded, but never answered", near)
        if all(response.status == 304 for response in answered):
            return Miss(f"{key} was recorded only as 304 Not Modified: record it again with a cold cache", near)
        times = "once" if len(recorded) == 1 else f"{len(recorded)} times"
        return Miss(f"{key} was recorded {times} and answered as often: this is one more than there were")


def _creates(exchange: Exchange) -> bool:
    response = exchange.response
    ok = response is not None and 200 <= response.status < 300
    return ok and exchange.party != "runner" and creates_session(exchange.request.method, exchange.request.target)


def _answers(exchange: Exchange, if_none_match: str | None) -> bool:
    """A 304 answers only the validator that it answered."""
    if exchange.response is None or exchange.response.status != 304:
        return True
    recorded = (value for name, value in exchange.request.headers if name.lower() == "if-none-match")
    return if_none_match is not None and if_none_match in recorded


def _object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is; None where it is something else, or was not taken whole."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
