"""The sessions of a growing cassette with their turns, and its model calls with their links.

    growing = GrowingSessions(GrowingSession)
    others = list(growing.look(store, lambda x: False))
    growing.calls.of(turn)

Each look reads the new frames and the new calls only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ...cassette.sqlite import Store
from ...model import Exchange
from ...providers.call import ModelCall
from ..gather import Held, ModelHops, acts_in, call_in
from ..model_calls.growing import GrowingLinks
from ..model_calls.values import ModelCalls
from ..turns.draft import Draft
from ..turns.requests import Act
from ..turns.session_builder import LiveMerge, SessionBuilder
from ..turns.values import LONG_SILENCE, Session, Turn

Key = tuple[int, str | int]
_UNSETTLED = 3
"""Last turns of a session that may still change after their end."""


class GrowingSession:
    """One session, as far as it is recorded."""

    def __init__(self, first: Exchange, parent_id: str | None, long_silence: int) -> None:
        self.recording, self.session_id, self.parent_id = first.recording, first.session_id, parent_id
        self.builder = SessionBuilder(is_child=parent_id is not None, long_silence=long_silence)
        self.exchanges: dict[int, Exchange] = {}
        self._merge = LiveMerge()
        self._listening: dict[int, int] = {}  # the last frame of each stream that goes on, by its exchange
        self._streams: set[int] = set()
        self._frozen: dict[Draft, Turn] = {}
        self._so_far: Session | None = None

    @property
    def begun_ns(self) -> int:
        """The time of its first request, in ns."""
        return min(x.request.at_ns for x in self.exchanges.values())

    def take(self, store: Store, x: Exchange, *, is_open: bool) -> list[Act]:
        """Take the current state of an exchange. Return the client actions in it."""
        del is_open  # a subclass uses it
        self.exchanges[x.exchange] = x
        self._so_far = None
        if x.stream is not None and x.exchange not in self._streams:
            self._streams.add(x.exchange)
            self._listening[x.exchange] = 0
        acts = list(acts_in(store, [x]))
        for act in acts:
            self.builder.turns.act(x.exchange, act)
        return acts

    def hear(self, store: Store, open_: set[int]) -> None:
        """Add the new frames. `open_`: the exchanges that go on."""
        for exchange, after in list(self._listening.items()):
            x = self.exchanges[exchange]
            stream, is_over = x.stream or 0, exchange not in open_
            behind = store.frames(x, after=after) if is_over else store.stored_frames(x, after)
            frames = list(Held().of(behind))
            for heard in self._merge.add(stream, frames):
                self.builder.add(heard)
            if is_over:
                del self._listening[exchange]
                for heard in self._merge.end(stream):
                    self.builder.add(heard)
            elif frames:
                self._listening[exchange] = frames[-1].seq
            if is_over or frames:
                self._so_far = None

    @property
    def has_news(self) -> bool:
        """Whether it has changed since the last `so_far`."""
        return self._so_far is None

    def so_far(self) -> Session:
        """Return the session with its turns. A turn that no longer changes is made once."""
        if self._so_far is None:
            exchanges = sorted(self.exchanges.values(), key=lambda x: (x.request.at_ns, x.exchange))
            self._so_far = self.builder.so_far(exchanges, self.parent_id, list(self._turns()))
        return self._so_far

    def turn(self, draft: Draft, number: int) -> Turn:
        """Return a turn as it is now."""
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


S = TypeVar("S", bound=GrowingSession)
_Make = Callable[[Exchange, str | None, int], S]


class GrowingSessions(Generic[S]):
    """The sessions of a cassette, present and future. `make` makes one from its first exchange.

    `session`: only those whose id begins with it, unless model calls need all. `reads_open`: whether an open call is
    read at each look; else it is read again at its end.
    """

    def __init__(
        self, make: _Make[S], session: str | None = None, long_silence: int = LONG_SILENCE, *, reads_open: bool = False
    ) -> None:
        self._make, self._wanted, self._long_silence = make, session, long_silence
        self._reads_open = reads_open
        self.all: dict[Key, S] = {}
        self.calls = ModelCalls()
        self.open: set[int] = set()
        """The exchanges that go on."""
        self._last_exchange = 0
        self._links = GrowingLinks()
        self._answered: dict[int, bool] = {}
        """The open calls that were read, and whether the provider had answered."""

    def look(self, store: Store, skips: Callable[[Exchange], bool]) -> Iterator[Exchange]:
        """Read what is new in the file, and yield each new or changed exchange of no session and no call. `skips`:
        whether an exchange belongs elsewhere. Sessions and calls are complete at the end of the result."""
        hops, parents = ModelHops(store), _Parents(store)
        calls: list[ModelCall] = []
        for x in store.newer(self._last_exchange, self.open):
            self._last_exchange = max(self._last_exchange, x.exchange)
            is_open = x.end_ns is None and (x.ending == "open" or store.is_being_recorded)
            (self.open.add if is_open else self.open.discard)(x.exchange)
            if hops.has(x):
                calls += self._read(store, x, hops)
            elif not skips(x):
                session = self._session_of(x, parents, all_=bool(hops))
                if session is None:
                    yield x
                else:
                    session.take(store, x, is_open=is_open)
        for session in self.all.values():
            session.hear(store, self.open)
        if hops and (calls or any(session.has_news for session in self.all.values())):
            told = [session.so_far() for session in self.all.values()]
            self.calls = self._links.update(calls, told, store.recordings())

    def _read(self, store: Store, x: Exchange, hops: ModelHops) -> Iterator[ModelCall]:
        """Yield a call, unless it was read in this state."""
        is_open, is_answered = x.ending == "open", x.response is not None
        if self._reads_open or not is_open or self._answered.get(x.exchange) is not is_answered:
            call = call_in(store, x, hops, with_answer=self._reads_open or not is_open)
            yield from [] if call is None else [call]
        if is_open:
            self._answered[x.exchange] = is_answered
        else:
            self._answered.pop(x.exchange, None)

    def _session_of(self, x: Exchange, parents: _Parents, *, all_: bool) -> S | None:
        if x.party == "runner" or (x.session_id is None and x.kind != "sse"):
            return None
        if not all_ and not self.is_wanted(x.session_id):
            return None
        key: Key = (x.recording, x.session_id if x.session_id is not None else x.exchange)
        if key not in self.all:
            self.all[key] = self._make(x, parents.of(x.session_id or ""), self._long_silence)
        return self.all[key]

    def is_wanted(self, session_id: str | None) -> bool:
        return self._wanted is None or (session_id or "").startswith(self._wanted)


class _Parents:
    """The parents of sessions, read at the first question."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, str] | None = None

    def of(self, session_id: str) -> str | None:
        if self._known is None:
            self._known = self._store.parents()
        return self._known.get(session_id)
