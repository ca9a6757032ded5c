"""The sessions of a cassette with their exchanges, frames and client actions: the input of `turns`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import NamedTuple

from ..cassette.contracts import AUTO, judge_with, load
from ..cassette.held import Held
from ..cassette.select import Source, the_session, with_children
from ..contract import OMNIGENT
from ..model import Exchange, Incident, TimedFrame
from ..omnigent.routes import is_session
from ..providers.call import ModelCall, call_of
from ..providers.register import REGISTER, Api, api_of, api_of_path
from ..text import one_line
from ..wire.content_coding import tells_of_coding
from ..wire.strict_json import payload
from .apis import api_in, error_text, is_unknown, request_text
from .model_calls import linked
from .model_calls.values import ModelCalls
from .turns import Around, session_of
from .turns.builder import ENDED_BY_SERVER, Aftermath, is_snapshot, snapshot_of
from .turns.conclusion import Conclusion, children_of, concluded
from .turns.draft import LONG_SILENCE, Draft
from .turns.requests import Act, FailedRequest, act_of, failed_requests, may_act
from .turns.stored import Stored, reads_stored_state, stored_in
from .turns.values import Session


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

    def frames(self) -> Iterator[TimedFrame]:
        """Return the frames of all its streams, stream by stream."""
        return Held().of(frame for x in self.exchanges if x.stream is not None for frame in self._store.frames(x))

    def outline(self) -> Iterator[TimedFrame]:
        """Return the frames without most deltas: enough for the conclusion, in a fraction of the time.

        Overlapping streams are read in full, so that copies are found.
        """
        streams = sorted((x for x in self.exchanges if x.stream is not None), key=lambda x: x.request.at_ns)
        overlap = any(a.end_ns is None or a.end_ns > b.request.at_ns for a, b in pairwise(streams))
        read = self._store.frames if overlap else self._store.outline
        return Held().of(frame for x in streams for frame in read(x))

    def told(
        self, around: Around, frames: Iterable[TimedFrame] | None = None, long_silence: int = LONG_SILENCE
    ) -> tuple[Session, list[Draft]]:
        """Return the session, and the drafts of its turns. `frames`: by default all."""
        told, drafts = session_of(
            self.exchanges, self.frames() if frames is None else frames, self.acts, around, parent_id=self.parent_id,
            long_silence=long_silence,
        )  # fmt: skip
        return replace(told, failures=tuple(failures_in(self._store, self.exchanges, self.acts))), drafts


def gathered(
    store: Source, session: str | None = None, *, family: bool = False,
    takes: Callable[[Exchange], bool] = lambda _: True,
) -> Iterator[Gathered]:  # fmt: skip
    """Return each session of each recording by its beginning; with `session`, an id or the beginning of one, only that,
    with `family` also those of its sub-agents, and of theirs. `takes`: whether the session of an exchange is wanted.
    Raises `UsageError` if no session, or more than one, has that id."""
    wanted = None if session is None else frozenset({the_session(store, session)})
    wanted = with_children(store, *wanted) if family and wanted is not None else wanted
    parents = store.parents()
    for exchanges in grouped(without_calls(store, store.exchanges(by_clients=True))):
        if (wanted is None or exchanges[0].session_id in wanted) and takes(exchanges[0]):
            parent_id = parents.get(exchanges[0].session_id or "")
            yield Gathered(exchanges, acts_in(store, exchanges), parent_id, store)


class ModelHops:
    """The model calls among the exchanges of a cassette.

    A call is a POST to a path of a model API, if the contract of such an API judges it. For a further upstream that was
    recorded with `none` or a file, the contract `auto` decides instead. If the contract of a model API was given, a
    stream at another path is a call, too.
    """

    def __init__(self, store: Source) -> None:
        self._store = store
        self.names = {one.recording: one.hop for one in store.recordings()}
        """The names of the hops, by recording."""

    def __bool__(self) -> bool:
        return bool(self.recordings)

    @cached_property
    def recordings(self) -> set[int]:
        """The recordings with calls. No body is read."""
        return {x.recording for x in self.exchanges()}

    @property
    def has_further(self) -> bool:
        """Whether a further upstream was recorded, which is that of a model."""
        return any(name is not None for name in self.names.values())

    def api_of(self, x: Exchange) -> Api | None:
        """Return the API of a model call; None for another exchange. No body is read."""
        if x.request.method != "POST" or x.session_id is not None:
            return None
        judge, by_path = self._store.judge_of(x).api.name, api_of(x.request.target)
        if judge in REGISTER:
            is_at_another_path = x.kind == "sse" and api_of_path(x.request.target) is None
            return by_path or (judge if is_at_another_path else None)
        if judge == OMNIGENT or by_path is None or self.names.get(x.recording) is None:
            return None
        return by_path if judge_with(load(AUTO), x).api.name in REGISTER else None

    def has(self, x: Exchange) -> bool:
        """Return whether an exchange is a model call. No body is read."""
        return self.api_of(x) is not None

    def exchanges(self) -> Iterator[Exchange]:
        """Return the model calls, by recording and start. No body is read."""
        return (x for x in self._store.exchanges(in_session=False) if self.has(x))


def without_calls(store: Source, exchanges: list[Exchange]) -> list[Exchange]:
    """Return the exchanges that are no model calls."""
    hops = ModelHops(store)
    return [x for x in exchanges if not hops.has(x)]


def calls_in(store: Source) -> Iterator[ModelCall]:
    """Return the model calls of a cassette, by recording and start."""
    hops = ModelHops(store)
    return filter(None, (call_in(store, x, hops) for x in hops.exchanges()))


def call_in(store: Source, x: Exchange, hops: ModelHops, *, with_answer: bool = True) -> ModelCall | None:
    """Return the model call in an exchange; None if it is none. Without its answer, only the request is read."""
    is_streamed = x.kind == "sse"
    response = store.decoded_body(x, "response") if with_answer and not is_streamed else b""
    frames = store.frames(x) if with_answer and is_streamed else ()
    api, hop = hops.api_of(x), hops.names.get(x.recording)
    return call_of(x, store.decoded_body(x, "request"), response, frames, hop=hop, api=api)


def count_calls(store: Source) -> int:
    """Return the number of model calls of a cassette. No body is read."""
    return sum(1 for _ in ModelHops(store).exchanges())


def model_calls(store: Source, sessions: Callable[[], Iterable[Session]] | None = None) -> ModelCalls:
    """Return the model calls of a cassette with their turns. In a cassette without calls, no session is read.

    `sessions`: returns all sessions of the cassette with their texts; by default they are read.
    """
    calls = list(calls_in(store))
    if not calls:
        return ModelCalls()
    told = whole_sessions(store) if sessions is None else sessions()
    return linked(calls, told, store.recordings())


def whole_sessions(store: Source, session: str | None = None, *, long_silence: int = LONG_SILENCE) -> Iterator[Session]:
    """Return each session of each recording, and each stream without a session, with all texts.

    `session`: only that one, and those of its sub-agents, and of theirs.
    """
    return (told for told, _ in sessions_with_drafts(store, session, long_silence=long_silence))


def sessions_with_drafts(
    store: Source, session: str | None = None, *, long_silence: int = LONG_SILENCE,
    takes: Callable[[Exchange], bool] = lambda _: True,
) -> Iterator[tuple[Session, list[Draft]]]:  # fmt: skip
    """Return the sessions as `whole_sessions` does, each with the drafts of its turns. `takes`: whether the session of
    an exchange is wanted."""
    context = Context(store)
    for one in gathered(store, session, family=True, takes=takes):
        yield one.told(context.of(one.exchanges), long_silence=long_silence)


def acts_in(store: Source, exchanges: Iterable[Exchange]) -> list[Act]:
    """Return the client actions in these exchanges. Only bodies of requests that may be actions are read."""
    by_clients = (x for x in exchanges if x.party != "runner" and may_act(x))
    ours = (x for x in by_clients if x.session_id is not None or api_in(store, x).name == OMNIGENT)
    acts = (act_of(x, store.decoded_body(x, "request"), store.decoded_body(x, "response")) for x in ours)
    return [act for act in acts if act is not None]


def failures_in(store: Source, exchanges: Sequence[Exchange], acts: Iterable[Act] = ()) -> list[FailedRequest]:
    """Return the failed requests among these exchanges. `acts`: the client actions among them."""
    return failed_requests(exchanges, lambda x: store.decoded_body(x, "response"), {act.exchange for act in acts})


def strays(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Return the exchanges without a session that are no stream. A session that the server did not know is none."""
    known = {x.exchange for group in grouped(exchanges) for x in group}
    return [x for x in exchanges if x.exchange not in known]


class Context:
    """The facts that `session_of` needs from the rest of the cassette."""

    def __init__(self, store: Source) -> None:
        self._store = store
        self._aftermath = cache(lambda recording: Aftermath(store.exchanges(recording=recording)))
        self._last_known_ns = cache(store.last_known_ns)
        self._started = {one.recording: one.started_at for one in store.recordings()}
        self._undecoded = {stream: why for _, stream, why in undecoded(store)}

    def of(self, exchanges: Sequence[Exchange]) -> Around:
        """Return the facts for the session of these exchanges."""
        first, recording = exchanges[0], exchanges[0].recording
        last_known_ns = self._last_known_ns(recording) if any(x.end_ns is None for x in exchanges) else 0
        asked = next((x for x in reversed(exchanges) if is_snapshot(x)), None)
        snapshot = None if asked is None else snapshot_of(asked, self._store.decoded_body(asked, "response"))
        request = request_text(self._store, first) if is_unknown(self._store, first) else None
        unreadable = next((why for x in exchanges if (why := self._undecoded.get(x.stream or 0)) is not None), None)
        return Around(
            snapshot, self._aftermath(recording), self._started.get(recording), last_known_ns, request, unreadable,
            None if request is None else self._last_error(first), partial(self._reads, exchanges),
        )  # fmt: skip

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


def conclusions(store: Source, session: str | None = None, known: Known | None = None) -> list[Concluded]:
    """Return how each session ended, in the order of `gathered`, with the same `session`. `known`: a caller that asks
    again keeps it, so that a complete session is read once. Raises `UsageError` as `gathered` does."""
    wanted = None if session is None else the_session(store, session)
    context = Context(store)
    found = [(one, _outlined(one, context, {} if known is None else known)) for one in gathered(store)]
    return [one for one in all_concluded(found) if wanted in (None, one.session.session_id)]


def all_concluded(found: Sequence[tuple[Gathered, Session]]) -> list[Concluded]:
    """Return how these sessions ended, the sub-agents among them included."""
    by_id = {(told.recording, told.session_id): told for _, told in found}
    return [Concluded(one, told, concluded(told, children_of(told, by_id))) for one, told in found]


def _outlined(one: Gathered, context: Context, known: Known) -> Session:
    around, first = context.of(one.exchanges), one.exchanges[0]
    key = around.started_at, first.recording, tuple((x.exchange, x.end_ns, x.ending) for x in one.exchanges)
    if key in known:
        return known[key]
    told = one.told(around, one.outline())[0]
    # A later exchange may show what a server did after it ended a stream.
    if all(x.end_ns is not None and (x.stream is None or x.ending not in ENDED_BY_SERVER) for x in one.exchanges):
        known[key] = told
    return told


def grouped(exchanges: Iterable[Exchange]) -> Iterator[list[Exchange]]:
    """Return the exchanges by session and recording, in the order in which sessions began.

    A stream without a session is a group by itself. A session that the server did not know is left out (`is_session`).
    """
    groups: dict[tuple[int, object], list[Exchange]] = {}
    for x in exchanges:
        if x.session_id is not None:
            groups.setdefault((x.recording, x.session_id), []).append(x)
        elif x.kind == "sse":
            groups[x.recording, x.exchange] = [x]
    yield from (group for group in groups.values() if group[0].session_id is None or is_session(group))
