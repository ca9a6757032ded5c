"""The sessions of a growing cassette with their turns, and its model calls with their links.

    growing = GrowingSessions(GrowingSession)
    growing.look(store)
    growing.calls.of(turn)

Each look reads the new frames and the new calls only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, islice
from typing import Generic, TypeVar

from ...cassette.held import Held
from ...cassette.model_calls import ModelHops, call_in
from ...cassette.sqlite import Store
from ...model import Exchange, Recording, TimedFrame
from ...omnigent.line import Line, in_order
from ...omnigent.routes import is_session
from ...providers.call import ModelCall
from ...providers.grouping import Grouping
from ...providers.register import later_id
from ...providers.retries import LONGEST_WAIT
from ..gather import Context, acts_in, failures_in, overlapping, with_texts_held
from ..model_calls import evidence_of, linked, order, talks_of
from ..model_calls.places import START, Asked, Clocks, History, keys_and_history, named
from ..model_calls.values import Link, ModelCalls, Talk, requests_of, turns_of
from ..turns import SessionBuilder
from ..turns.draft import LONG_SILENCE, Draft
from ..turns.requests import Act
from ..turns.values import Session, Turn
from .growth import Growth

Key = tuple[int, str | int]
_PORTION = 1000
"""Frames of a stream that are held at a time, if no other stream of its session is open."""
_UNSETTLED = 3
"""Last turns of a session that may still change after their end."""


class GrowingSession:
    """One session, as far as it is recorded."""

    def __init__(self, first: Exchange, parent_id: str | None, long_silence: int) -> None:
        self.recording = first.recording
        self.session_id = first.session_id
        self.parent_id = parent_id
        self.builder = SessionBuilder(is_child=parent_id is not None, long_silence=long_silence)
        self.exchanges: dict[int, Exchange] = {}
        self._line = Line()
        self._frozen: dict[Draft, Turn] = {}
        self._so_far: Session | None = None
        self._acts: dict[int, list[Act]] = {}

    @property
    def begun_ns(self) -> int:
        """The time of its first request, in ns."""
        return min(x.request.at_ns for x in self.exchanges.values())

    def take(self, store: Store, x: Exchange, *, is_open: bool) -> list[Act]:
        """Take the current state of an exchange. Return the client actions in it."""
        del is_open  # a subclass uses it
        self.exchanges[x.exchange] = x
        self._so_far = None
        if x.stream is not None:
            self._line.listen(x.stream, x.end_ns)
        acts = self._acts[x.exchange] = acts_in(store, [x])
        for act in acts:
            self.builder.turns.act(x.exchange, act)
        return acts

    def hear(self, streams: Iterable[Iterable[TimedFrame]]) -> None:
        """Add the new frames of its streams."""
        self._so_far = None
        self.builder.add_all(self._line.add(in_order(streams)))

    def is_alone(self, exchange: int) -> bool:
        """Return whether no other stream is open at the same time as the stream of this exchange."""
        streams = (x for x in self.exchanges.values() if x.stream is not None)
        return any([x.exchange for x in group] == [exchange] for group in overlapping(streams))

    @property
    def has_news(self) -> bool:
        """Whether it has changed since the last `so_far`."""
        return self._so_far is None

    def so_far(self) -> Session:
        """Return the session with its turns. A turn that no longer changes is made once."""
        if self._so_far is None:
            self._so_far = self.builder.so_far(self._in_order(), self.parent_id, self._turns())
        return self._so_far

    def whole(self, store: Store, context: Context) -> Session:
        """Return the session as `show` has it. Nothing follows."""
        exchanges = self._in_order()
        told, _ = self.builder.session(exchanges, self.parent_id, context.of(exchanges))
        acts = chain.from_iterable(self._acts.values())
        return replace(told, failures=tuple(failures_in(store, exchanges, acts)))

    def _in_order(self) -> list[Exchange]:
        return sorted(self.exchanges.values(), key=lambda x: (x.request.at_ns, x.exchange))

    def turn(self, draft: Draft, number: int) -> Turn:
        return draft.freeze(self.recording, self.session_id, number, self.builder.turns.answered)

    def _turns(self) -> Iterator[Turn]:
        drafts = self.builder.turns.drafts
        for number, draft in enumerate(drafts, 1):
            turn = self._frozen.get(draft)
            if turn is None or turn.turn != number:
                if draft is not self.builder.turns.open:
                    self.builder.turns.settle(draft)
                turn = self.turn(draft, number)
                if number <= len(drafts) - _UNSETTLED and all(tool.returned_ns is not None for tool in turn.tools):
                    self._frozen[draft] = turn
            yield turn


TURNS = 8
"""Last turns of a session to which a call is linked."""
CALLS = 12
"""Last linked calls of a session whose links may still change: their ids connect the calls of a session."""
_REST = 60_000_000_000
"""Time in ns after which a call with an answer is final."""


@dataclass(slots=True)
class GrowingLinks:
    """Links model calls to turns while both are recorded. The work of an update depends on what is recent.

    A link is final once newer calls have links, or some time after the end of its call. Final links stay as they are.
    The other calls are linked anew, with the last turns of the sessions in which something happens. The result for a
    complete recording comes from `linked`, and may differ in rare cases: a call that ends long after its turn.
    """

    grouping: Grouping = field(default_factory=Grouping)
    """The conversations of the calls."""
    _final: dict[int, Link] = field(default_factory=dict)
    _open: dict[int, ModelCall] = field(default_factory=dict)
    _asked: dict[int, Asked] = field(default_factory=dict)
    _requests: dict[int, int] = field(default_factory=dict)
    """The number of the request of each call."""
    _last: int = 0
    """The highest of these numbers."""
    _before: dict[int, Link] = field(default_factory=dict)
    """The links of the last update that are not final."""
    _past: dict[object, tuple[int, History]] = field(default_factory=dict)
    """The number of turns of each session before the recent ones, and the history after them."""
    _first: dict[object, int] = field(default_factory=dict)
    """The first turn of each session that has a link without being final."""
    _of: dict[int, dict[int, Link]] = field(default_factory=dict)
    """The links of each conversation, by exchange."""
    _over: set[int] = field(default_factory=set)
    """The calls whose answers were given to it."""
    _talks: dict[int, Talk] = field(default_factory=dict)
    """By their numbers."""
    _now_ns: int = 0
    """The latest known time, in ns since 1970."""

    def update(self, calls: list[ModelCall], sessions: list[Session], recordings: list[Recording]) -> ModelCalls:
        """Return all calls with their turns. `calls`: the new and the changed ones; `sessions`: all."""
        clocks = Clocks(recordings)
        self._open.update((one.exchange, one) for one in calls if one.exchange not in self._final)
        self.grouping.know(recordings)
        self._group(calls, clocks)
        known = [clocks.zero(one.recording) + one.until_ns for one in sessions]
        known += [clocks.zero(one.recording) + (one.ended_ns or one.started_ns) for one in self._open.values()]
        self._now_ns = max([self._now_ns, *known])
        histories: dict[object, History] = {}
        recent = [self._recent(one, clocks, histories) for one in self._active(sessions, clocks)]
        open_ = self._open.values()
        grouping = self.grouping
        found = linked(open_, recent, recordings, histories, self._evidence, grouping=grouping)
        links = self._numbered(found)
        everything = sorted([*self._final.values(), *links], key=lambda link: order(link.call))
        self._settle(links, clocks)
        self._talk(links, clocks)
        return ModelCalls.of_links(everything, found.offsets, [self._talks[one] for one in sorted(self._talks)])

    def _group(self, calls: Iterable[ModelCall], clocks: Clocks) -> None:
        """Give these calls their places in conversations: a call has one as soon as its request is complete."""
        for call in sorted(calls, key=lambda one: (clocks.zero(one.recording) + one.started_ns, one.exchange)):
            is_over = call.ending != "open"
            zero_ns = clocks.zero(call.recording)
            is_asked = is_over or call.conversation is not None or call.status is not None
            if is_asked and call.exchange not in self.grouping.places:
                self.grouping.begin(call, zero_ns)
            if is_over and call.exchange not in self._over:
                self._over.add(call.exchange)
                self.grouping.end(call, zero_ns)

    def _talk(self, links: Iterable[Link], clocks: Clocks) -> None:
        """Update the conversations of these links."""
        places = self.grouping.places
        changed = set[int]()
        for link in links:
            place = places.get(link.call.exchange)
            if place is not None:
                of = self._of.setdefault(place.conversation, {})
                if of.get(link.call.exchange) is not link:
                    of[link.call.exchange] = link
                    changed.add(place.conversation)
        for number in changed:
            self._talks.pop(number, None)
            self._talks.update((one.number, one) for one in talks_of(self._of[number].values(), self.grouping, clocks))

    def _evidence(self, call: ModelCall) -> Asked:
        if call.exchange not in self._asked:
            self._asked[call.exchange] = evidence_of(call)
        return self._asked[call.exchange]

    def _active(self, sessions: Iterable[Session], clocks: Clocks) -> list[Session]:
        """Return the sessions with an open turn, and those in which something happened lately or since the start of a
        call without a final link."""
        starts = [clocks.zero(one.recording) + one.started_ns for one in self._open.values()]
        since_ns = min([self._now_ns, *starts]) - _REST
        return [one for one in sessions if _is_open(one) or clocks.zero(one.recording) + one.until_ns >= since_ns]

    def _recent(self, session: Session, clocks: Clocks, histories: dict[object, History]) -> Session:
        """Return the session with its last turns, and note the history before them. An open turn lasts until now."""
        key = named(session)
        first = self._first.get((session.recording, session.session_id), len(session.turns))
        begin = max(0, min(len(session.turns) - TURNS, first - 1))
        past, history = self._past.get(key, (0, START))
        for turn in session.turns[past:begin]:
            history = keys_and_history(turn, history)[1]
        past = max(past, begin)
        histories[key] = history
        self._past[key] = past, history
        until_ns = self._now_ns - clocks.zero(session.recording) if _is_open(session) else session.until_ns
        return replace(session, turns=session.turns[past:], until_ns=until_ns)

    def _numbered(self, found: ModelCalls) -> list[Link]:
        """Return the links with numbers of requests that stay the same."""
        for request in requests_of(found.links):
            some = [link.call.exchange for link in request]
            known = [self._requests[one] for one in some if one in self._requests]
            self._last += not known
            self._requests.update(dict.fromkeys(some, min(known, default=self._last)))
        links = [self._known(replace(link, request=self._requests[link.call.exchange])) for link in found.links]
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
            call = link.call
            is_old = False
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


def _portions(frames: Iterable[TimedFrame]) -> Iterator[list[TimedFrame]]:
    coming = iter(frames)
    while some := list(islice(coming, _PORTION)):
        yield some


def _is_open(session: Session) -> bool:
    return session.ended_ns is None and bool(session.turns) and session.turns[-1].ended_ns is None


S = TypeVar("S", bound=GrowingSession)
_Make = Callable[[Exchange, str | None, int], S]


class Others:
    """The exchanges that are in no session and no model call, and belong elsewhere. Here there are none."""

    def takes(self, store: Store, x: Exchange) -> bool:
        """Take the current state of an exchange that is no model call. Return whether it is one of these."""
        del store, x
        return False

    def hears(self, exchange: int) -> bool:
        """Return whether the frames of an exchange are wanted."""
        del exchange
        return False

    def hear(self, exchange: int, frames: Iterable[TimedFrame]) -> None:
        """Take the new frames of an exchange."""


class GrowingSessions(Generic[S]):
    """The sessions of a cassette, present and future. `make` makes one from its first exchange.

    `session`: only those whose id begins with it, and those of their sub-agents; with model calls all are read.
    `reads_open`: whether an open call is read at each look; else it is read again at its end. `others` takes the
    exchanges that belong elsewhere.
    """

    def __init__(
        self,
        make: _Make[S],
        session: str | None = None,
        long_silence: int = LONG_SILENCE,
        *,
        reads_open: bool = False,
        others: Others | None = None,
    ) -> None:
        self._make = make
        self._wanted = session
        self._long_silence = long_silence
        self._reads_open = reads_open
        self._others = others or Others()
        self.growth = Growth()
        self.all: dict[Key, S] = {}
        self.calls = ModelCalls()
        self._of: dict[int, S] = {}
        """The session of each exchange."""
        self._has_calls = False
        self._links: GrowingLinks | None = None
        self._answered: dict[int, bool] = {}
        """The open calls that were read, and whether the provider had answered."""
        self._waiting: dict[tuple[int, str], int] = {}
        """The calls of which a client may ask for the rest of the answer, by recording and id of the answer."""

    def _completed(self, store: Store, hops: ModelHops, answers: Iterable[Exchange]) -> Iterator[ModelCall]:
        """Read the calls again for the rest of whose answers these requests ask."""
        asked = ((x.recording, later_id(x.request.target) or "") for x in answers)
        if again := [self._waiting[answer] for answer in asked if answer in self._waiting]:
            yield from filter(None, (call_in(store, x, hops) for x in store.numbered(again)))

    def look(self, store: Store) -> list[Exchange]:
        """Read what is new in the file. Return each new or changed exchange of no session and no call."""
        hops = ModelHops(store)
        parents = cache(store.parents)
        calls: list[ModelCall] = []
        strays: list[Exchange] = []
        answers: list[Exchange] = []
        self._links = self._links or GrowingLinks(Grouping(known=store.places))
        for x, is_over in self.growth.exchanges(store):
            is_call = hops.has(x)
            if not is_over and x.response is not None and not (is_call and self._reads_open):
                self.growth.wait_for_end(x.exchange)
            if is_call:
                self._has_calls = True
                calls += self._read(store, x, hops)
                continue
            if is_over and self._waiting:
                answers.append(x)
            if not self._others.takes(store, x):
                session = self._session_of(x, parents, all_=hops.has_further or self._has_calls)
                if session is None:
                    strays.append(x)
                else:
                    self._of[x.exchange] = session
                    session.take(store, x, is_open=not is_over)
        calls += self._completed(store, hops, answers)
        for call in calls:
            if call.may_have_more and call.response_id is not None:
                self._waiting[call.recording, call.response_id] = call.exchange
        calls += self._ended_early(store, hops, calls)
        self._hear(store)
        if self._has_calls and (calls or any(session.has_news for session in self.all.values())):
            told = [session.so_far() for session in self.all.values()]
            self.calls = self._links.update(calls, told, store.recordings())
        return strays

    def _hear(self, store: Store) -> None:
        """Give the sessions and the others their new frames."""
        others = self._others
        at = self.growth.cursor.at
        heard: dict[S, list[list[TimedFrame]]] = {}
        for x, new in self.growth.streams(store, lambda x: x.exchange in self._of or others.hears(x.exchange)):
            portions = _portions(new)
            first = next(portions, None)
            if first is None:
                continue
            session = self._of.get(x.exchange)
            if len(first) == _PORTION and session is not None and session.is_alone(x.exchange):
                session.hear(heard.pop(session, []))  # streams that were over when this one began
                for some in with_texts_held(Held(), chain([first], portions)):
                    at[x.stream] = some[-1].seq
                    session.hear([some])
                continue
            frames = list(Held().of(chain.from_iterable(chain([first], portions))))
            at[x.stream] = frames[-1].seq
            if session is None:
                others.hear(x.exchange, frames)
            else:
                heard.setdefault(session, []).append(frames)
        for session, streams in heard.items():
            session.hear(streams)

    def _read(self, store: Store, x: Exchange, hops: ModelHops) -> Iterator[ModelCall]:
        """Yield a call, unless it was read in this state."""
        is_open = x.ending == "open"
        is_answered = x.response is not None
        if self._reads_open or not is_open or self._answered.get(x.exchange) is not is_answered:
            call = call_in(store, x, hops, with_answer=self._reads_open or not is_open)
            yield from [] if call is None else [call]
        if is_open:
            self._answered[x.exchange] = is_answered
        else:
            self._answered.pop(x.exchange, None)

    def _ended_early(self, store: Store, hops: ModelHops, calls: Sequence[ModelCall]) -> Iterator[ModelCall]:
        """Yield the open calls whose answers are complete, if one of these calls may continue them."""
        if self._reads_open or not any(call.continues for call in calls):
            return
        for x in store.numbered([exchange for exchange, is_answered in self._answered.items() if is_answered]):
            call = call_in(store, x, hops)
            if call is not None and call.ending != "open":
                yield call

    def _session_of(self, x: Exchange, parents: Callable[[], dict[str, str]], *, all_: bool) -> S | None:
        if x.party == "runner" or (x.session_id is None and x.kind != "sse"):
            return None
        if not all_ and not self._is_read(x.session_id, parents):
            return None
        key: Key = (x.recording, x.session_id if x.session_id is not None else x.exchange)
        if key not in self.all:
            self.all[key] = self._make(x, parents().get(x.session_id or ""), self._long_silence)
        return self.all[key]

    def _is_read(self, session_id: str | None, parents: Callable[[], dict[str, str]]) -> bool:
        """Return whether a session is wanted, or is of a sub-agent of a wanted one, or of one of theirs."""
        seen: set[str | None] = set()
        while not self.is_wanted(session_id) and session_id not in seen:
            seen.add(session_id)
            session_id = parents().get(session_id or "")
        return self.is_wanted(session_id)

    def complete(self, store: Store) -> tuple[dict[S, Session], ModelCalls]:
        """Return the sessions and the calls as `show` has them. Nothing follows."""
        context = Context(store)
        sessions = [one for one in self.all.values() if is_session(one.exchanges.values())]
        wholes = {one: one.whole(store, context) for one in sessions}
        calls = [link.call for link in self.calls.links]
        if not calls:
            return wholes, self.calls
        return wholes, linked(calls, wholes.values(), store.recordings(), known_places=store.places)

    def is_wanted(self, session_id: str | None) -> bool:
        return self._wanted is None or (session_id or "").startswith(self._wanted)
