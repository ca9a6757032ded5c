"""The point of a fork: call N of a recorded session, and the calls before it.

A session is a conversation of model calls, or a session of Omnigent with its calls; without a name, all calls of a
cassette. If another conversation has a request that is equal to one of a named conversation, the fork answers only from
the named one: its program was run several times. Else the whole cassette answers, since the calls of a sub-agent are
another conversation of the same program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..analysis.conversations import conversations_in
from ..analysis.gather import model_calls
from ..cassette.conversations import conversation_named, placed_calls
from ..cassette.open import open_store
from ..cassette.select import named_session, session_ids, the_session, with_children
from ..cassette.sqlite import Store
from ..errors import UsageError
from ..model import by_key, clocks
from ..omnigent.routes import path_of
from ..text import counted
from .session import RecordedSession, recorded_session


class Hop(NamedTuple):
    """A recorded upstream, and the paths of the requests to it."""

    upstream: str | None
    paths: list[str]


class _Call(NamedTuple):
    """One attempt of a call. `session`: its conversation, or the id of its session. `call`: its number there. `same`:
    the hash of the request. `again`: the number of the earlier call with an equal request, as in `Place`."""

    exchange: int
    session: object
    call: int
    same: int
    again: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """Where a fork begins. Calls are known by the numbers of their exchanges.

    `number`: N. `source`: the cassette, or the part of it, that answers. `hop`, `target`, `body`: of the request of
    call N. `attempts`: its exchanges. `before`: the exchanges that began before it, calls or not. `expected`: the calls
    of the session among these. `after`: those of call N and of the later calls of the session. `recording_id`: that of
    call N. `hops`: those of the cassette, by name. `turn`: the turn, if the fork begins with one: then call N is its
    first call, and `attempts` is empty. `again`: the number of the call whose request call N repeats, or 0. `place`:
    what call N is if the cassette has several conversations and none is named; else empty.
    """

    number: int
    source: str
    hop: str | None
    target: str
    body: bytes
    attempts: frozenset[int]
    before: frozenset[int]
    expected: frozenset[int]
    after: frozenset[int]
    recording_id: str
    hops: Mapping[str | None, Hop]
    turn: int | None = None
    again: int = 0
    place: str = ""


def point_of(source: str, number: int) -> Point:
    """Return the point at call `number`, from 1, of `CASSETTE#SESSION`. Raises `UsageError`."""
    path, name = named_session(source)
    with closing(open_store(path, judges=False)) as store:
        calls = _calls(store, path, name)
        session = None if name is None else _session(store, name)
        own = [call for call in calls if session is None or call.session == session]
        if not own:
            raise UsageError(f"the session {name} has no model calls in {path.name}")
        most = max(call.call for call in own)
        if not 1 <= number <= most:
            what = "the session" if name is not None else "the cassette"
            raise UsageError(
                f"--from-call {number}: {what} has {counted(most, 'model call')}, which omnirecord show prints"
            )
        others = {call.same for call in calls if call not in own}
        is_repeated = isinstance(session, int) and not others.isdisjoint(call.same for call in own)
        point = _point(store, own, number, source if is_repeated else str(path))
        return point if name is not None else replace(point, place=_place(store, path, point))


def call_number(cassette: Path, exchange: int) -> int | None:
    """Return the number of a model call among all calls of a cassette, for `point_of`; None if it is no model call.
    Raises `UsageError` or `CassetteError`."""
    with closing(open_store(cassette, judges=False)) as store:
        return next((call.call for call in _in_order(store) if call.exchange == exchange), None)


def call_of_turn(source: str, number: int) -> int | None:
    """Return the number of the first model call of turn `number` of a conversation, for `point_of`; None if the source
    is a session of Omnigent. Raises `UsageError`."""
    path, name = named_session(source)
    with closing(open_store(path, judges=False)) as store:
        conversation = None if name is None else conversation_named(store, name)
        if conversation is None and (name is not None or session_ids(store)):
            return None
        talks = {one.talk.number: one for one in conversations_in(model_calls(store), store.recordings())}
        if not talks:
            raise UsageError(f"{path.name} has no session and no conversation: record the program with omnirecord run")
        if conversation is None and len(talks) > 1:
            known = counted(len(talks), "conversation")
            raise UsageError(f"--from-turn {number}: {path.name} has {known}: name one, as in {path.name}#{min(talks)}")
        talk = talks.get(next(iter(talks)) if conversation is None else conversation)
        if talk is None:  # its calls are those of a session of Omnigent
            return None
        first = {link.turn.turn: link.request for link in reversed(talk.calls.links) if link.turn is not None}
        if number not in first:
            raise UsageError(f"--from-turn {number}: the conversation has {counted(len(first), 'turn')}")
        return first[number]


def point_of_turn(source: str, number: int, message: str | None) -> tuple[Point, RecordedSession]:
    """Return the point at turn `number` of a session of Omnigent, and what its client sent. Raises `UsageError`."""
    path, name = named_session(source)
    with closing(open_store(path, judges=False)) as store:
        known = session_ids(store)
        if name is None and len(known) != 1:
            raise UsageError(f"{path.name} has {counted(len(known), 'session')}: name one, as in {path.name}#ID")
        session = recorded_session(store, name or known[0], number, message)
        family = with_children(store, the_session(store, name or known[0]))
        links = [link for link in model_calls(store).links if link.turn is not None and link.turn.session_id in family]
        requests = _Requests(store)
        begin = requests.clock[session.recording], session.begin_ns
        after = [link.call.exchange for link in links if requests.at[link.call.exchange] >= begin]
        if not after:
            raise UsageError(f"{path.name} has no model call of turn {number}: record both hops (docs/both-hops.md)")
        point = requests.point(
            after[0],
            begin,
            number=number,
            source=str(path),
            attempts=frozenset(),
            expected=frozenset(link.call.exchange for link in links).difference(after),
            after=frozenset(after),
            recording_id=requests.recordings[session.recording].recording_id,
            turn=number,
        )
        return point, session


def _calls(store: Store, path: Path, name: str | None) -> list[_Call]:
    """Return the calls of a cassette: by conversation, or by session of Omnigent if the name is that of a session.
    Without a name, they are numbered in the order in which they began."""
    if name is None:
        calls = _in_order(store)
    elif conversation_named(store, name) is None:
        the_session(store, name)
        calls = _by_session(store)
    else:
        calls = [
            _Call(call.exchange, place.conversation, place.call, hash(call.conversation), place.again)
            for call, place in placed_calls(store)
        ]
    if not calls:
        raise UsageError(
            f"{path.name} holds no model calls, so nothing can be forked: record the program with omnirecord run"
        )
    return calls


def _in_order(store: Store) -> list[_Call]:
    """Return the calls of all conversations, numbered together. The attempts of a request have one number."""
    numbers: dict[tuple[int, int], int] = {}
    calls = []
    for call, place in placed_calls(store):
        number = numbers.setdefault((place.conversation, place.call), len(numbers) + 1)
        again = numbers.get((place.conversation, place.again), 0)
        calls.append(_Call(call.exchange, place.conversation, number, hash(call.conversation), again))
    return calls


def _by_session(store: Store) -> list[_Call]:
    """Return the calls of sessions of Omnigent, numbered in each session."""
    calls = []
    links = [link for link in model_calls(store).links if link.turn is not None]
    for session, of_session in by_key(links, lambda link: link.turn and link.turn.session_id).items():
        for number, attempts in enumerate(by_key(of_session, lambda link: link.request).values(), 1):
            for link in attempts:
                calls.append(_Call(link.call.exchange, session, number, hash(link.call.conversation)))
    return calls


def _place(store: Store, path: Path, point: Point) -> str:
    """Return the conversation of call N, and its number there. It is empty if there is one conversation."""
    places = {call.exchange: place for call, place in placed_calls(store)}
    if len({one.conversation for one in places.values()}) < 2:
        return ""
    place = places[min(point.attempts)]
    return f"call {point.number} of {path} is call {place.call} of {path}#{place.conversation}"


def _session(store: Store, name: str) -> str | int:
    """Return the id of a session of Omnigent, or the number of a conversation. Raises `UsageError`."""
    conversation = conversation_named(store, name)
    return the_session(store, name) if conversation is None else conversation


class _Requests:
    """The requests of a cassette by their exchanges, and when they came: on which clock, and after how many ns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.recordings = {recording.recording: recording for recording in store.recordings()}
        self.clock = clocks(self.recordings.values())
        self._exchanges = {x.exchange: x for x in store.exchanges()}
        self.at = {x.exchange: (self.clock[x.recording], x.request.at_ns) for x in self._exchanges.values()}

    def point(self, first: int, begin: tuple[int, int], **more: Any) -> Point:
        """Return the point at the exchange `first`, with the requests before `begin`. `more`: its other fields."""
        x = self._exchanges[first]
        recording = self.recordings[x.recording]
        return Point(
            hop=recording.hop,
            target=x.request.target,
            body=self._store.decoded_body(x, "request"),
            before=frozenset(other for other, when in self.at.items() if when < begin),
            hops=self._hops(),
            **{"recording_id": recording.recording_id, **more},
        )

    def _hops(self) -> dict[str | None, Hop]:
        """Return the hops that have requests."""
        hops: dict[str | None, Hop] = {}
        for x in self._exchanges.values():
            of = self.recordings[x.recording]
            hops.setdefault(of.hop, Hop(of.upstream, [])).paths.append(path_of(x.request.target))
        return hops


def _point(store: Store, own: Iterable[_Call], number: int, source: str) -> Point:
    requests = _Requests(store)
    attempts = frozenset(call.exchange for call in own if call.call == number)
    first = min(attempts, key=lambda exchange: requests.at[exchange])
    return requests.point(
        first,
        requests.at[first],
        number=number,
        source=source,
        attempts=attempts,
        expected=frozenset(call.exchange for call in own if call.call < number),
        after=frozenset(call.exchange for call in own if call.call >= number),
        again=next(call.again for call in own if call.exchange == first),
    )
