"""The sessions of a store, each with all that a story is told from: its exchanges, its frames, what clients did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from ..cassette.select import the_session
from ..cassette.sqlite import Store
from ..errors import TooLarge
from ..model import Exchange, TimedFrame
from ..wire.limits import AN_EVENT, max_decoded, shown_size
from .turns import (
    ENDED_BY_SERVER,
    Act,
    Aftermath,
    Conclusion,
    FailedRequest,
    Session,
    Snapshot,
    act_of,
    concluded,
    failed_requests,
    is_session,
    is_snapshot,
    may_act,
    session_of,
    snapshot_of,
)


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

    def outline(self) -> Iterator[TimedFrame]:
        """The same without most of the deltas: enough to say how the session ended, for a fraction of the work. Of
        streams that overlap come all frames, so that the copies among them are found."""
        streams = sorted((x for x in self.exchanges if x.stream is not None), key=lambda x: x.request.at_ns)
        overlap = any(a.end_ns is None or a.end_ns > b.request.at_ns for a, b in pairwise(streams))
        read = self._store.frames if overlap else self._store.outline
        return Held().of(frame for x in streams for frame in read(x))


def gathered(store: Store, session: str | None = None) -> Iterator[Gathered]:
    """Each session of each recording, in the order in which they began; only one, if its id or the beginning of that
    is given. Raises `UsageError` where no session, or more than one, has that id."""
    wanted = None if session is None else the_session(store, session)
    parents = store.parents()
    for exchanges in grouped(store.exchanges(by_clients=True)):
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


class Context:
    """What a session's story takes from the rest of its cassette."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._aftermaths: dict[int, Aftermath] = {}
        self._last_known: dict[int, int] = {}
        self._started = {one.recording: one.started_at for one in store.recordings()}

    def of(self, exchanges: list[Exchange]) -> dict[str, Any]:
        """The named arguments of `session_of` for the session that these exchanges are."""
        recording = exchanges[0].recording
        if recording not in self._aftermaths:
            self._aftermaths[recording] = Aftermath(self._store.exchanges(recording=recording))
        if recording not in self._last_known and any(x.end_ns is None for x in exchanges):
            self._last_known[recording] = self._store.last_known_ns(recording)
        return {
            "aftermath": self._aftermaths[recording], "started_at": self._started.get(recording),
            "last_known_ns": self._last_known.get(recording, 0), "snapshot": self._snapshot(exchanges),
        }  # fmt: skip

    def _snapshot(self, exchanges: list[Exchange]) -> Snapshot | None:
        """The last one that a client asked for."""
        asked = next((x for x in reversed(exchanges) if is_snapshot(x)), None)
        return None if asked is None else snapshot_of(asked, self._store.decoded_body(asked, "response"))


class Concluded(NamedTuple):
    """One session with its outline, and how it ended."""

    gathered: Gathered
    session: Session
    """Without most of its text: its turns are those of `show`, its passages are cut."""
    conclusion: Conclusion

    @property
    def stream(self) -> int | None:
        """The number of its only stream, where it belongs to no session."""
        return self.gathered.exchanges[0].stream if self.session.session_id is None else None


Known = dict[object, Session]
"""Sessions that were outlined before and are over, by their exchanges."""


def conclusions(store: Store, session: str | None = None, known: Known | None = None) -> list[Concluded]:
    """How each session of each recording ended, in the order in which they began; only of one, if its id or the
    beginning of that is given. `known`: kept by a caller that asks again and again, so that no session that is over is
    read twice. Raises `UsageError` as `gathered` does."""
    wanted = None if session is None else the_session(store, session)
    context = Context(store)
    found = [(one, _outlined(one, context, {} if known is None else known)) for one in gathered(store)]
    by_id = {(told.recording, told.session_id): told for _, told in found}
    return [
        Concluded(one, told, concluded(told, children_of(told, by_id)))
        for one, told in found
        if wanted in (None, told.session_id)
    ]


def _outlined(one: Gathered, context: Context, known: Known) -> Session:
    given, first = context.of(one.exchanges), one.exchanges[0]
    key = given["started_at"], first.recording, tuple((x.exchange, x.end_ns, x.ending) for x in one.exchanges)
    if key in known:
        return known[key]
    told = session_of(one.exchanges, one.outline(), one.acts, parent_id=one.parent_id, **given)
    told = replace(told, failures=tuple(failures_in(one._store, one.exchanges, one.acts)))
    # What a server does after it has ended a stream may still become known.
    if all(x.end_ns is not None and (x.stream is None or x.ending not in ENDED_BY_SERVER) for x in one.exchanges):
        known[key] = told
    return told


def children_of(told: Session, by_id: Mapping[tuple[int, str | None], Session]) -> dict[str, Session]:
    """The sessions of its sub-agents that are among those told."""
    children = (child.session_id for turn in told.turns for child in turn.children)
    return {child: by_id[told.recording, child] for child in children if (told.recording, child) in by_id}


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
