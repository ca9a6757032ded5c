"""The sessions of a cassette with their exchanges, frames and client actions: the input of `turns`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import chain
from typing import NamedTuple

from ..cassette.held import Held
from ..cassette.model_calls import ModelHops, calls_in, without_calls
from ..cassette.select import Source, the_session, with_children
from ..cassette.sqlite import Store
from ..contract import OMNIGENT
from ..model import Exchange, Incident, TimedFrame
from ..omnigent.line import Line, MergedFrame, in_order
from ..omnigent.protocol import OF_RESPONSE
from ..text import one_line
from ..wire.content_coding import tells_of_coding
from ..wire.strict_json import payload
from .apis import api_in, error_text, is_unknown, request_text
from .model_calls import linked
from .model_calls.values import ModelCalls
from .turns import Around, SessionBuilder, session_of
from .turns.aftermath import ENDED_BY_SERVER, Aftermath
from .turns.builder import is_snapshot, snapshot_of
from .turns.conclusion import Conclusion, children_of, concluded
from .turns.draft import LONG_SILENCE, Draft
from .turns.requests import Act, FailedRequest, act_of, answer_tells, failed_requests, may_act
from .turns.stored import Stored, reads_stored_state, stored_in
from .turns.values import Session

_MOST_CHILDREN = 64
"""Sessions of sub-agents that are kept for their parents."""
_AFTERWARDS = 1 << 62
Read = Callable[[Exchange], Iterable[list[TimedFrame]]]
"""Reads the frames of a stream, in lists."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """One session of one recording, or one stream without a session."""

    exchanges: list[Exchange]
    acts: list[Act]
    parent_id: str | None
    _store: Source

    @property
    def has_turns(self) -> bool:
        """False for a stream of an unknown API."""
        return not is_unknown(self._store, self.exchanges[0])

    @property
    def streams(self) -> list[Exchange]:
        return [x for x in self.exchanges if x.stream is not None]

    def frames(self) -> Iterator[TimedFrame]:
        """Return the frames of all its streams, stream by stream, to be held: too many raise `TooLarge`."""
        return Held().lists(some for x in self.streams for some in self._store.frame_lists(x))

    def line(self, *, is_outline: bool = False, read: Read | None = None) -> Iterator[MergedFrame]:
        """Return the frames of all its streams, each event once, by time. Those of streams that were open at the same
        time are held, and the turns keep the texts of responses: too many of these raise `TooLarge`.

        `is_outline`: without most deltas, which is enough for the conclusion, in a fraction of the time. If streams
        overlap, all are read in full, so that copies are found. `read` reads a stream, by default the store.
        """
        line = Line(knows_all=True)
        for x in self.streams:
            line.listen(x.stream or 0, x.end_ns)
        return chain.from_iterable(map(line.add, self._frames_of_groups(is_outline, read or self._store.frame_lists)))

    def _frames_of_groups(self, is_outline: bool, read: Read) -> Iterator[Iterable[TimedFrame]]:
        """Yield the frames of each group of overlapping streams, by time."""
        groups = list(overlapping(self.streams))
        is_outline = is_outline and len(groups) == len(self.streams)
        held = Held()
        for group in groups:
            if is_outline:
                yield self._store.outline(group[0])
            elif len(group) == 1:
                yield chain.from_iterable(with_texts_held(held, read(group[0])))
            else:
                yield in_order(held.lists(read(x)) for x in group)

    def told(
        self,
        around: Around,
        *,
        is_outline: bool = False,
        long_silence: int = LONG_SILENCE,
        line: Iterable[MergedFrame] | None = None,
    ) -> tuple[Session, list[Draft]]:
        """Return the session, and the drafts of its turns. `is_outline`: see `line`. `line`: the frames, if they are
        read already."""
        told, drafts = session_of(
            self.exchanges,
            self.line(is_outline=is_outline) if line is None else line,
            self.acts,
            around,
            parent_id=self.parent_id,
            long_silence=long_silence,
        )
        return replace(told, failures=tuple(failures_in(self._store, self.exchanges, self.acts))), drafts


def with_texts_held(held: Held, lists: Iterable[list[TimedFrame]]) -> Iterator[list[TimedFrame]]:
    """Yield these lists of frames. The frames of responses are counted: turns keep their texts."""
    for frames in lists:
        held.all([frame for frame in frames if (frame.type or "").startswith(OF_RESPONSE)])
        yield frames


def overlapping(streams: Iterable[Exchange]) -> Iterator[list[Exchange]]:
    """Yield the streams by their beginning, in groups of those that were open at the same time."""
    group = list[Exchange]()
    end_ns = -1
    for x in sorted(streams, key=lambda x: x.request.at_ns):
        if group and x.request.at_ns > end_ns:
            yield group
            group = []
        group.append(x)
        end_ns = max(end_ns, _AFTERWARDS if x.end_ns is None else x.end_ns)
    if group:
        yield group


def gathered(
    store: Source,
    session: str | None = None,
    *,
    family: bool = False,
    takes: Callable[[Exchange], bool] = lambda _: True,
) -> Iterator[Gathered]:
    """Return each session of each recording by its beginning; with `session`, an id or the beginning of one, only that,
    with `family` also those of its sub-agents, and of theirs. `takes`: whether the session of an exchange is wanted.
    Raises `UsageError` if no session, or more than one, has that id."""
    wanted = None if session is None else frozenset({the_session(store, session)})
    wanted = with_children(store, *wanted) if family and wanted is not None else wanted
    return (one for one in Gathering(store).of(wanted) if takes(one.exchanges[0]))


class Gathering:
    """Gathers the sessions of a cassette one by one."""

    def __init__(self, store: Source) -> None:
        self._store = store
        self._hops = ModelHops(store)
        self._parents = store.parents()

    def of(self, sessions: Collection[str] | None = None, recording: int | None = None) -> Iterator[Gathered]:
        """Return each session of each recording by its beginning. `sessions`, `recording`: only of these."""
        for exchanges in self._store.groups(sessions=sessions, recording=recording):
            first = exchanges[0]
            if first.session_id is not None or not self._hops.has(first):
                acts = acts_in(self._store, exchanges)
                parent_id = self._parents.get(first.session_id or "")
                yield Gathered(exchanges, acts, parent_id, self._store)


def model_calls(store: Source, sessions: Callable[[], Iterable[Session]] | None = None) -> ModelCalls:
    """Return the model calls of a cassette with their turns. In a cassette without calls, no session is read.

    `sessions`: returns all sessions of the cassette with their texts; by default they are read.
    """
    calls = list(calls_in(store))
    if not calls:
        return ModelCalls()
    told = whole_sessions(store) if sessions is None else sessions()
    return linked(calls, told, store.recordings(), known_places=store.places)


def whole_sessions(store: Source, session: str | None = None, *, long_silence: int = LONG_SILENCE) -> Iterator[Session]:
    """Return each session of each recording, and each stream without a session, with all texts.

    `session`: only that one, and those of its sub-agents, and of theirs.
    """
    return (told for told, _ in sessions_with_drafts(store, session, long_silence=long_silence))


def sessions_with_drafts(
    store: Source,
    session: str | None = None,
    *,
    long_silence: int = LONG_SILENCE,
    takes: Callable[[Exchange], bool] = lambda _: True,
) -> Iterator[tuple[Session, list[Draft]]]:
    """Return the sessions as `whole_sessions` does, each with the drafts of its turns. `takes`: whether the session of
    an exchange is wanted."""
    context = Context(store)
    for one in gathered(store, session, family=True, takes=takes):
        yield one.told(context.of(one.exchanges), long_silence=long_silence)


class SessionsById(Mapping[tuple[int, str | None], Session]):
    """The sessions of a cassette by their recordings and ids, with all texts. Each is read when it is asked for; the
    last ones are kept."""

    def __init__(self, store: Store, long_silence: int = LONG_SILENCE) -> None:
        self._keys = dict.fromkeys(store.session_keys())
        self._gathering = Gathering(store)
        self._context = Context(store)
        self._long_silence = long_silence
        self._read = lru_cache(maxsize=_MOST_CHILDREN)(self._session)

    def __iter__(self) -> Iterator[tuple[int, str | None]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __getitem__(self, key: tuple[int, str | None]) -> Session:
        if key not in self._keys:
            raise KeyError(key)
        return self._read(*key)

    def _session(self, recording: int, session_id: str | None) -> Session:
        ((one),) = self._gathering.of({session_id or ""}, recording)
        return one.told(self._context.of(one.exchanges), long_silence=self._long_silence)[0]


def acts_in(store: Source, exchanges: Iterable[Exchange]) -> list[Act]:
    """Return the client actions in these exchanges. Only bodies of requests that may be actions are read."""
    by_clients = (x for x in exchanges if x.party != "runner" and may_act(x))
    ours = (x for x in by_clients if x.session_id is not None or api_in(store, x).name == OMNIGENT)
    bodies = ((x, store.decoded_body(x, "response") if answer_tells(x) else b"") for x in ours)
    acts = (act_of(x, store.decoded_body(x, "request"), answer) for x, answer in bodies)
    return [act for act in acts if act is not None]


def failures_in(store: Source, exchanges: Sequence[Exchange], acts: Iterable[Act] = ()) -> list[FailedRequest]:
    """Return the failed requests among these exchanges. `acts`: the client actions among them."""
    return failed_requests(exchanges, lambda x: store.decoded_body(x, "response"), {act.exchange for act in acts})


def strays_in(store: Source, recording: int | None = None) -> list[Exchange]:
    """Return the exchanges of clients without a session that are no stream and no model call. A session that the server
    did not know is none. `recording`: only of that one."""
    return without_calls(store, store.strays(recording=recording))


def all_but_calls(store: Source, hops: ModelHops, recording: int) -> Iterator[Exchange]:
    """Return the exchanges of a recording that are no model calls, in the order of their requests."""
    return (x for x in store.each(recording) if not hops.has(x))


def aftermath_in(store: Source, hops: ModelHops, recording: int) -> Aftermath:
    """Return what the server did in a recording."""
    return Aftermath(
        partial(all_but_calls, store, hops, recording),
        lambda: None if hops.recordings else store.last_exchange_ns(recording),
    )


class Context:
    """The facts that `session_of` needs from the rest of the cassette."""

    def __init__(self, store: Source) -> None:
        self._store = store
        self._aftermath = cache(partial(aftermath_in, store, ModelHops(store)))
        self._last_known_ns = cache(store.last_known_ns)
        self._started = {one.recording: one.started_at for one in store.recordings()}
        self._undecoded = {stream: why for _, stream, why in undecoded(store)}

    def times(self, exchanges: Sequence[Exchange]) -> Around:
        """Return the facts that tell the times of a session. `exchanges`: those that decide about them."""
        recording = exchanges[0].recording
        last_known_ns = self._last_known_ns(recording) if any(x.end_ns is None for x in exchanges) else 0
        return Around(None, self._aftermath(recording), self._started.get(recording), last_known_ns)

    def of(self, exchanges: Sequence[Exchange]) -> Around:
        """Return the facts for the session of these exchanges."""
        first = exchanges[0]
        asked = next((x for x in reversed(exchanges) if is_snapshot(x)), None)
        snapshot = None if asked is None else snapshot_of(asked, self._store.decoded_body(asked, "response"))
        request = request_text(self._store, first) if is_unknown(self._store, first) else None
        unreadable = next((why for x in exchanges if (why := self._undecoded.get(x.stream or 0)) is not None), None)
        last_error = None if request is None else self._last_error(first)
        return self.times(exchanges)._replace(
            snapshot=snapshot,
            request=request,
            unreadable=unreadable,
            last_error=last_error,
            reads=partial(self._reads, exchanges),
        )

    def _last_error(self, x: Exchange) -> str | None:
        """Return the error in the last event of a stream; None if that is no error."""
        events = (frame for frame in self._store.outline(x) if frame.verdict not in ("comment", "sentinel"))
        last = next(iter(deque(events, maxlen=1)), None)
        return None if last is None else error_text(last.type, payload(last))

    def _reads(self, exchanges: Sequence[Exchange]) -> Iterator[Stored]:
        for x in filter(reads_stored_state, reversed(exchanges)):
            yield stored_in(x, self._store.decoded_body(x, "response"))


def undecoded(store: Source) -> Iterator[tuple[Incident, int, str]]:
    """Return each incident about a stream whose events cannot be decoded, the number of the stream, and the reason."""
    for incident in store.incidents():
        begin, _, why = incident.message.partition(": ")
        number = begin.removeprefix("stream ")
        if tells_of_coding(incident.message) and number.isdecimal():
            yield incident, int(number), one_line(why)


class Brief(NamedTuple):
    """One session without its turns, and some of its exchanges."""

    session: Session
    exchanges: int
    """How many there are."""
    streams: list[Exchange]
    last: Exchange


def briefs(store: Store) -> Iterator[Brief]:
    """Return the sessions of `gathered`. No frame and no body is read."""
    context = Context(store)
    hops = ModelHops(store)
    parents = store.parents()
    for group, exchanges in store.brief_groups():
        first, last = (x for number in (group.first, group.last) for x in exchanges if x.exchange == number)
        if first.session_id is None and hops.has(first):
            continue
        streams = [x for x in exchanges if x.stream is not None]
        parent_id = parents.get(first.session_id or "")
        builder = SessionBuilder(is_child=parent_id is not None)
        if not is_unknown(store, first):
            builder.last_ns = max([0, *(store.last_frame_ns(x) for x in streams if x.end_ns is not None)])
        told, _ = builder.session(exchanges, parent_id, context.times(exchanges))
        yield Brief(told, group.exchanges, streams, last)


class Concluded(NamedTuple):
    """One session from its outline, and how it ended."""

    gathered: Gathered
    session: Session
    """With the turns of `show`, without most of their text."""
    conclusion: Conclusion

    @property
    def stream(self) -> int | None:
        """The number of its stream, if that has no session."""
        return self.gathered.exchanges[0].stream if self.session.session_id is None else None


Known = dict[object, Session]
"""Complete sessions from earlier calls, by their exchanges."""


Tell = Callable[[Gathered, Around], Session]
"""Reads a session."""


def conclusions(
    store: Source,
    session: str | None = None,
    *,
    sessions: Collection[str] | None = None,
    known: Known | None = None,
    tell: Tell | None = None,
) -> Iterator[Concluded]:
    """Return how each session ended, in the order of `gathered`, with the same `session`. `sessions`: only these.
    `known`: a caller that asks again keeps it, so that a complete session is read once. `tell` reads a session, by
    default its outline. Raises `UsageError` as `gathered` does.

    A session is read when its turn comes, and a sub-agent when that of its parent comes.
    """
    wanted = sessions if session is None else {the_session(store, session)}
    return _conclusions(store, wanted, known, tell)


def _conclusions(
    store: Source, sessions: Collection[str] | None, known: Known | None, tell: Tell | None
) -> Iterator[Concluded]:
    concluding = Concluding(store, known)
    context = Context(store)
    for one in Gathering(store).of(sessions):
        told = concluding.outlined(one) if tell is None else tell(one, context.of(one.exchanges))
        yield concluding.concluded(one, told)


class Concluding:
    """Tells how sessions ended, one after the other. A session waits for its sub-agents, so their outlines are read
    with it. `known`: see `conclusions`."""

    def __init__(self, store: Source, known: Known | None = None) -> None:
        self._gathering = Gathering(store)
        self._context = Context(store)
        self._known = known
        self._early: dict[tuple[int, str | None], Session] = {}
        """The sub-agents that were read with their parents, until their own turn comes."""

    def outlined(self, one: Gathered) -> Session:
        """Return a session from its outline."""
        first = one.exchanges[0]
        early = self._early.get((first.recording, first.session_id))
        return self._read(one) if early is None else early

    def concluded(self, one: Gathered, told: Session) -> Concluded:
        """Return how a session ended. `told`: the session with its turns."""
        self._early.pop((told.recording, told.session_id), None)
        ids = {spawned.session_id for turn in told.turns for spawned in turn.children}
        children = {id_: own for id_ in ids if (own := self._child((told.recording, id_))) is not None}
        return Concluded(one, told, concluded(told, children))

    def _child(self, key: tuple[int, str]) -> Session | None:
        for one in self._gathering.of({key[1]}) if key not in self._early else ():
            self._early[one.exchanges[0].recording, key[1]] = self._read(one)
        return self._early.get(key)

    def _read(self, one: Gathered) -> Session:
        return _outlined(one, self._context.of(one.exchanges), self._known)


def all_concluded(found: Sequence[tuple[Gathered, Session]]) -> list[Concluded]:
    """Return how these sessions ended, the sub-agents among them included."""
    by_id = {(told.recording, told.session_id): told for _, told in found}
    return [Concluded(one, told, concluded(told, children_of(told, by_id))) for one, told in found]


def _outlined(one: Gathered, around: Around, known: Known | None) -> Session:
    if known is None:
        return one.told(around, is_outline=True)[0]
    key = around.started_at, one.exchanges[0].recording, tuple((x.exchange, x.end_ns, x.ending) for x in one.exchanges)
    if key in known:
        return known[key]
    told = one.told(around, is_outline=True)[0]
    # A later exchange may show what a server did after it ended a stream.
    if all(x.end_ns is not None and (x.stream is None or x.ending not in ENDED_BY_SERVER) for x in one.exchanges):
        known[key] = told
    return told
