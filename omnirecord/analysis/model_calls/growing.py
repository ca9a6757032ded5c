"""Links model calls to turns while both are recorded. The work of an update depends on what is recent. Pure.

    growing = GrowingLinks()
    found = growing.update(calls, sessions, recordings)

A link is final once newer calls have links, or some time after the end of its call. Final links stay as they are. The
other calls are linked anew, with the last turns of the sessions in which something happens. The result for a complete
recording comes from `linked`, and may differ in rare cases: a call that ends long after its turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ...model import Recording
from ...providers.call import ModelCall
from ..turns.values import Session
from .clocks import Clocks
from .correlate import evidence_of, linked
from .features import START, Asked, History, history_after
from .places import named
from .retries import LONGEST_WAIT
from .values import Link, ModelCalls, turns_of

TURNS = 8
"""Last turns of a session to which a call is linked."""
CALLS = 12
"""Last linked calls of a session whose links may still change: their ids connect the calls of a session."""
_REST = 60_000_000_000
"""Time in ns after which a call with an answer is final."""


@dataclass(slots=True)
class _Past:
    """The turns of a session before the recent ones."""

    turns: int = 0
    history: History = START


@dataclass(slots=True)
class GrowingLinks:
    """The model calls of a growing cassette."""

    _final: dict[int, Link] = field(default_factory=dict)
    _open: dict[int, ModelCall] = field(default_factory=dict)
    _asked: dict[int, Asked] = field(default_factory=dict)
    _requests: dict[int, int] = field(default_factory=dict)
    """The number of the request of each call."""
    _last: int = 0
    """The highest of these numbers."""
    _before: dict[int, Link] = field(default_factory=dict)
    """The links of the last update that are not final."""
    _past: dict[object, _Past] = field(default_factory=dict)
    _first: dict[object, int] = field(default_factory=dict)
    """The first turn of each session that has a link without being final."""
    _now_ns: int = 0
    """The latest known time, in ns since 1970."""

    def update(
        self, calls: Iterable[ModelCall], sessions: Sequence[Session], recordings: Iterable[Recording]
    ) -> ModelCalls:
        """Return all calls with their turns. `calls`: the new and the changed ones; `sessions`: all."""
        recordings = list(recordings)
        clocks = Clocks(recordings)
        self._open.update((one.exchange, one) for one in calls if one.exchange not in self._final)
        self._now_ns = max([
            self._now_ns, *(clocks.zero(one.recording) + one.until_ns for one in sessions),
            *(clocks.zero(one.recording) + (one.ended_ns or one.started_ns) for one in self._open.values()),
        ])  # fmt: skip
        histories: dict[object, History] = {}
        recent = [self._recent(one, clocks, histories) for one in self._active(sessions, clocks)]
        found = linked(self._open.values(), recent, recordings, histories, self._evidence)
        links = self._numbered(found)
        everything = sorted([*self._final.values(), *links], key=_order)
        self._settle(links, clocks)
        return ModelCalls.of_links(everything, found.offsets)

    def _evidence(self, call: ModelCall) -> Asked:
        if call.exchange not in self._asked:
            self._asked[call.exchange] = evidence_of(call)
        return self._asked[call.exchange]

    def _active(self, sessions: Iterable[Session], clocks: Clocks) -> list[Session]:
        """Return the sessions with an open turn, and those in which something happened lately or since the start of a
        call without a final link."""
        starts = [clocks.zero(one.recording) + one.started_ns for one in self._open.values()]
        since_ns = min([self._now_ns, *starts]) - _REST
        return [
            one for one in sessions
            if _is_open(one) or clocks.zero(one.recording) + one.until_ns >= since_ns
        ]  # fmt: skip

    def _recent(self, session: Session, clocks: Clocks, histories: dict[object, History]) -> Session:
        """Return the session with its last turns, and note the history before them. An open turn lasts until now."""
        key, first = named(session), self._first.get((session.recording, session.session_id), len(session.turns))
        begin = max(0, min(len(session.turns) - TURNS, first - 1))
        past = self._past.setdefault(key, _Past())
        past.history = history_after(session.turns[past.turns : begin], past.history)
        past.turns = max(past.turns, begin)
        histories[key] = past.history
        until_ns = self._now_ns - clocks.zero(session.recording) if _is_open(session) else session.until_ns
        return replace(session, turns=session.turns[past.turns :], until_ns=until_ns)

    def _numbered(self, found: ModelCalls) -> list[Link]:
        """Return the links with numbers of requests that stay the same."""
        groups: dict[int, list[int]] = {}
        for link in found.links:
            groups.setdefault(link.request, []).append(link.call.exchange)
        for some in groups.values():
            known = [self._requests[one] for one in some if one in self._requests]
            self._last += not known
            self._requests.update(dict.fromkeys(some, min(known, default=self._last)))
        links = [replace(link, request=self._requests[link.call.exchange]) for link in found.links]
        links = [self._known(link) for link in links]
        self._before = {link.call.exchange: link for link in links}
        return links

    def _known(self, link: Link) -> Link:
        """Return the link, with its turns and its attempt as they were if these are no longer among the recent ones."""
        before = self._before.get(link.call.exchange)
        if before is None:
            return link
        if not turns_of(link) and before.call is link.call:
            return before
        return replace(link, attempt=max(link.attempt, before.attempt))

    def _settle(self, links: Sequence[Link], clocks: Clocks) -> None:
        """Make links final: in each session those before the last `CALLS`, and those of calls that ended long ago."""
        newer: dict[object, int] = {}
        self._first = {}
        for link in sorted(links, key=lambda one: one.started_ns, reverse=True):
            call, is_old = link.call, False
            if link.turn is not None:
                session: object = link.turn[:2]
                newer[session] = newer.get(session, 0) + 1
                is_old = newer[session] > CALLS
            since_ns = clocks.zero(call.recording) + (call.ended_ns or call.started_ns)
            rest = _REST if call.has_answer or link.turn is not None else LONGEST_WAIT
            if call.ending != "open" and (is_old or self._now_ns - since_ns > rest):
                self._final[call.exchange] = link
                del self._open[call.exchange]
                self._asked.pop(call.exchange, None)
            elif link.turn is not None:
                session = link.turn[:2]
                self._first[session] = min(link.turn.turn, self._first.get(session, link.turn.turn))


def _is_open(session: Session) -> bool:
    return session.ended_ns is None and bool(session.turns) and session.turns[-1].ended_ns is None


def _order(link: Link) -> tuple[int, int, int]:
    return link.call.recording, link.call.started_ns, link.call.exchange
