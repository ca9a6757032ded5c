"""The sessions of a store, each with all that a story is told from: its exchanges, its frames, what clients did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .cassette import Exchange, TimedFrame
from .choosing import the_session
from .errors import TooLarge
from .limits import AN_EVENT, max_decoded, shown_size
from .store import Store
from .story import Act, FailedRequest, act_of, failed_requests, is_session, may_act


class Held:
    """What a program holds of a cassette's events: `of` counts them as they are read, and raises `TooLarge` where they
    cost more than `max_decoded` together."""

    def __init__(self) -> None:
        self._most = self._left = max_decoded()

    def of(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        for frame in frames:
            self._left -= AN_EVENT if frame.raw is None else AN_EVENT + frame.length
            if self._left < 0:
                raise self._too_large()
            yield frame

    def refuse(self, cost: int) -> None:
        """Raise `TooLarge` where events of that cost could not be held."""
        if cost > self._most:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the cassette has more than {shown_size(self._most)} of events to be held at a time (--max-decoded):"
            " choose one session of it, or give a larger limit"
        )


@dataclass(frozen=True, slots=True)
class Gathered:
    """One session of one recording, or one stream that belongs to none."""

    exchanges: list[Exchange]
    acts: list[Act]
    parent_id: str | None
    _store: Store

    def frames(self) -> Iterator[TimedFrame]:
        """Those of all its streams, stream by stream."""
        return Held().of(frame for x in self.exchanges if x.stream is not None for frame in self._store.frames(x))


def gathered(store: Store, session: str | None = None) -> Iterator[Gathered]:
    """Each session of each recording, in the order in which they began; only one, if its id or the beginning of that
    is given. Raises `UsageError` where no session, or more than one, has that id."""
    wanted = None if session is None else the_session(store, session)
    parents = store.parents()
    for exchanges in grouped(store.exchanges("party != 'runner'")):
        if wanted in (None, exchanges[0].session_id):
            acts = list(acts_in(store, exchanges))
            yield Gathered(exchanges, acts, parents.get(exchanges[0].session_id or ""), store)


def acts_in(store: Store, exchanges: Iterable[Exchange]) -> Iterator[Act]:
    """What clients did with these exchanges. Only the bodies of requests that may be an act are read."""
    for x in exchanges:
        if x.party != "runner" and may_act(x):
            act = act_of(x, store.decoded_body(x, "request"), store.decoded_body(x, "response"))
            if act is not None:
                yield act


def failures_in(store: Store, exchanges: Sequence[Exchange], acts: Iterable[Act] = ()) -> list[FailedRequest]:
    """The requests among these that the server did not fulfil. `acts`: what is known of them as acts."""
    return failed_requests(exchanges, lambda x: store.decoded_body(x, "response"), {act.exchange for act in acts})


def strays(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """The exchanges that belong to no session and are no stream. A session that the server did not know is none."""
    known = {x.exchange for group in grouped(exchanges) for x in group}
    return [x for x in exchanges if x.exchange not in known]


def grouped(exchanges: Iterable[Exchange]) -> Iterator[list[Exchange]]:
    """Those of each session in each recording, in the order in which sessions began; a stream that belongs to no
    session is on its own. Leaves out sessions that the server did not know (`is_session`)."""
    groups: dict[tuple[int, object], list[Exchange]] = {}
    for x in exchanges:
        if x.session_id is not None:
            groups.setdefault((x.recording, x.session_id), []).append(x)
        elif x.kind == "sse":
            groups[x.recording, x.exchange] = [x]
    yield from (group for group in groups.values() if group[0].session_id is None or is_session(group))
