"""Full-text search in a cassette: updates its index, then queries it.

The index is a file beside the cassette. It is made in memory for a cassette below `WORTH_A_FILE` bytes, in text form,
or in a read-only folder. The cassette itself is only read.

New frames are indexed in steps of one transaction each. The index holds how far each stream is indexed, with a digest
of the last indexed frame. If the cassette has another frame there, or none, the index belongs to another cassette.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from ...cassette.files import stamp_of
from ...cassette.model_calls import ModelHops
from ...cassette.open import open_store
from ...cassette.select import Given, Moment, moment, span, the_session
from ...cassette.sqlite import Store, is_database, is_packed
from ...cassette.sqlite.search_index import UNANSWERED, UNUSABLE, Doc, Index, State, digest, path_beside
from ...errors import NotACassette, UsageError
from ...model import Exchange, Recording, Streaming, TimedFrame
from ...providers.register import Api, api_of_path, later_id
from ..conversations import calls_with_turns
from ..listing import event_row, request_row, zeros
from ..model_calls.values import Link, turns_of
from ..turns.requests import may_have_failed
from .documents import AnswerDocuments, DocumentMaker, of_answer, of_call, of_request, of_whole_answer
from .query import WIDTH, Filter, Match, Query, Snippet, indexed_sessions, matches, parse, snippet_of

WORTH_A_FILE = 512 * 1024
"""Bytes below which indexing takes no noticeable time, so that no index file is written."""
LIMIT = 20
_PACKED = 10
"""Estimated ratio of a compressed cassette's content to its file size."""
_ATTEMPTS = 5
_STEP = 4_000
"""Most frames or requests that one transaction indexes."""
_BYTES = 8 << 20
"""Most bytes of them, except for a single larger frame. Larger requests are not indexed."""
_LISTENERS = 20
"""How many of a session's latest streams are searched for copies of an event."""
_CALLS = 0
"""The number that stands for the exchange in the index session of all model calls of a recording."""
Watch = Callable[[Iterator[int]], Iterable[int]]
"""Runs the steps of indexing and may show progress; each step is a number of frames."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A hit.

    `row` is the event's row as `events --json` prints it; for text in deltas, that of the delta in which the words
    begin. For a request, `exchange` is set, and `stream`, `seq`, `type` and other fields of events are None. For the
    answer to a failed request, and for one of a model that is no stream, `status` is set too.
    """

    row: dict[str, Any]
    snippet: Snippet
    exchange: int | None = None
    status: int | None = None
    begun_ns: int = 0
    """Start of its session, in ns of the recording; 0 without a session."""
    call: Link | None = None
    """The model call of its request or answer, with its turn."""
    calls: int = 1
    """The number of model calls with the same text; this is the first."""


@dataclass(frozen=True, slots=True)
class Found:
    """The first hits, by session and time, and the number of all hits."""

    hits: tuple[Hit, ...]
    total: int


class StaleIndex(Exception):
    """The index does not belong to this cassette."""


def search(
    cassette: str | Path,
    query: str,
    *,
    type: str | None = None,
    session: str | None = None,
    since: Given = None,
    until: Given = None,
    calls: bool = False,
    limit: int = LIMIT,
    width: int = WIDTH,
    watch: Watch = iter,
) -> Found:
    """The hits of a query. `calls`: only those in model calls.
    `width`: characters of a snippet, roughly. Raises `UsageError` or `CassetteError`."""
    if limit < 1:
        raise UsageError(f"a limit of {limit} shows nothing: take 1 or more")
    times = moment("since", since), moment("until", until)
    asked = _Search(parse(query), type, session, times, calls, limit, width)
    try:
        return _search(Path(cassette), asked, watch)
    except StaleIndex:
        return _search(Path(cassette), asked, watch, anew=True)


@dataclass(frozen=True, slots=True)
class _Search:
    query: Query
    type: str | None
    session: str | None
    times: tuple[Moment, Moment]
    calls: bool
    limit: int
    width: int


def _search(cassette: Path, asked: _Search, watch: Watch, *, anew: bool = False) -> Found:
    stamp = stamp_of(cassette)
    with closing(open_store(cassette)) as store:
        if (index := _index_beside(cassette)) is not None:
            try:
                return _ask(index, store, stamp, asked, watch, anew=anew)
            except UNUSABLE as error:  # it is damaged, on a full disk, or locked by another search
                index.give_up(error)
        return _ask(Index.in_memory(), store, stamp, asked, watch)


def _index_beside(cassette: Path) -> Index | None:
    try:
        size = cassette.stat().st_size * (_PACKED if is_packed(cassette) else 1)
        has_one = path_beside(cassette).exists() or size >= WORTH_A_FILE
        return Index.beside(cassette) if has_one and is_database(cassette) else None
    except (OSError, NotACassette, *UNUSABLE):
        return None  # a read-only folder, or a file that is no index


def _ask(index: Index, store: Store, stamp: Any, asked: _Search, watch: Watch, *, anew: bool = False) -> Found:
    with closing(index):
        for attempt in range(_ATTEMPTS):
            for _ in watch(update_index(store, index, stamp, anew=anew and not attempt)):
                pass
            with index.at_once() as is_complete:
                if is_complete:
                    total, found = matches(index.connection, asked.query, _narrow(store, index, asked), asked.limit)
                    return Found(tuple(_hits(store, found, asked)), total)
    raise StaleIndex  # other searches keep rebuilding it


def _narrow(store: Store, index: Index, asked: _Search) -> Filter:
    sessions = None
    calls = None
    if asked.session is not None:
        wanted = the_session(store, asked.session)
        known = indexed_sessions(index.connection)
        sessions = [] if asked.calls else [number for number, _, session_id, _ in known if session_id == wanted]
        links = _links(store).items()
        calls = [number for number, one in links if any(turn.session_id == wanted for turn in turns_of(one))]
    elif asked.calls:
        calls = list(_apis(store))
    takes = None if asked.type is None else partial(fnmatchcase, pat=asked.type)
    times = None if asked.times == (None, None) else list(_spans(store, index, asked.times))
    return Filter(sessions, takes, times, calls)


def _spans(store: Store, index: Index, times: tuple[Moment, Moment]) -> Iterator[tuple[int, int, int]]:
    """Each session of the index with the first and last ns of the searched time. Numbers count from its start; without
    a session, from the start of the recording."""
    recordings = {one.recording: one for one in store.recordings()}
    zero = zeros(store)
    for number, recording, session_id, _ in indexed_sessions(index.connection):
        if recording in recordings:
            yield number, *span(recordings[recording], *times, zero(recording, session_id, None))


def _hits(store: Store, found: list[Match], asked: _Search) -> Iterator[Hit]:
    """The hits by session, then by the time of their events."""
    recordings = {r.recording: r for r in store.recordings()}
    exchanges = {x.exchange: x for x in store.numbered({match.exchange for match in found})}
    zero = zeros(store)
    hops = ModelHops(store)
    is_linked = any(hops.has(x) or later_id(x.request.target) is not None for x in exchanges.values())
    links = _links(store) if is_linked else {}
    made = []
    for match in sorted(found, key=lambda match: (match.exchange, match.doc.seq_at(0) or 0)):
        x = exchanges.get(match.exchange)
        if x is None:
            raise StaleIndex
        hit = _hit(store, match, x, recordings[x.recording], asked)
        link = links.get(match.exchange)
        # without a session, all hits have one clock
        begun_ns = zero(x.recording, x.session_id, None)
        of_call = (0, 0)
        if link is not None:  # the start of the session of its turn, on the clock of the call
            turn = link.turn
            of_call = (link.call.started_ns, link.call.exchange)
            begun_ns = 0 if turn is None else zero(turn.recording, turn.session_id, None) - link.shift_ns
        place = match.session, *of_call, hit.row["offset_ns"]
        calls = len({links[one].call.exchange if one in links else one for one in match.exchanges})
        made.append((place, replace(hit, begun_ns=begun_ns, call=link, calls=calls)))
    return (hit for _, hit in sorted(made, key=itemgetter(0)))


def _hit(store: Store, match: Match, x: Exchange, of: Recording, asked: _Search) -> Hit:
    snippet, place = snippet_of(match.marked, asked.query, asked.width)
    if match.doc.kind == "answer" and x.response is not None:
        row = request_row(x, store.decoded_body(x, "response"), of.started_at, of.hop, x.response.at_ns)
        return Hit({**row, "type": match.doc.type}, snippet, x.exchange, x.response.status)
    if match.doc.kind == "request":
        row = request_row(x, store.decoded_body(x, "request"), of.started_at, of.hop)
        return Hit({**row, "type": match.doc.type}, snippet, x.exchange)
    seq = match.doc.seq_at(place)
    frame = store.frame(x, seq) if seq is not None and x.stream is not None else None
    if frame is None:
        raise StaleIndex
    return Hit(event_row(x, frame, of.started_at, of.hop), snippet)


def update_index(
    store: Store, index: Index, stamp: tuple[int, list[int] | None], *, anew: bool = False
) -> Iterator[int]:
    """Index new frames and requests, or all of them `anew`; yield the frames of each step. Raises `StaleIndex`."""
    recordings = [
        [r.recording, r.started_at, r.version, store.contract_of(r.recording).name, r.upstream]
        for r in store.recordings()
    ]
    now = State(*stamp, recordings, not store.is_being_recorded)
    made, known = index.state() or (0, None)
    standing = "other" if known is None or anew else known.standing(now)
    if standing == "current":
        return
    if standing == "other":
        made = index.begin(now, instead_of=made)
    yield from _all(store, index)
    index.complete(made, now)


class _Halfway(NamedTuple):
    """The frames that a step left for the next one. No recorder made them, so to find their place again takes as long
    as to make all before them."""

    done: tuple[int, int]
    """The last frame that was taken, as `Index.done` returns it."""
    frames: Iterator[TimedFrame]


class _Next(NamedTuple):
    """The next frames of a stream to index, after those that were indexed `before`."""

    x: Streaming
    others: list[int]
    """Streams that may carry the same events."""
    before: tuple[int, int]
    frames: list[TimedFrame]
    is_through: bool
    """Whether the stream has no further frames yet."""
    halfway: _Halfway | None


def _links(store: Store) -> dict[int, Link]:
    """The model calls by exchange: also by that of a request for the answer of a call."""
    links = calls_with_turns(store).links
    by_answer = {(one.call.recording, one.call.response_id): one for one in links}
    later = ((x.exchange, by_answer.get((x.recording, id_))) for id_, x in ModelHops(store).later_requests())
    return {
        **{exchange: link for exchange, link in later if link is not None},
        **{one.call.exchange: one for one in links},
    }


def _apis(store: Store) -> dict[int, Api]:
    """The exchanges that are model calls, or requests for their answers, with their APIs."""
    hops = ModelHops(store)
    found = ((x.exchange, hops.api_of(x)) for x in store.exchanges())
    later = (
        (x.exchange, api_of_path(x.request.target)) for _, x in hops.later_requests() if x.recording in hops.recordings
    )
    return {exchange: api for exchange, api in (*found, *later) if api is not None}


def _all(store: Store, index: Index) -> Iterator[int]:
    left = deque(_streams(store))
    apis = _apis(store)
    halfway: _Halfway | None = None
    while left:
        found = list(_next(store, index, left, halfway))
        halfway = found[-1].halfway if found else None
        store.refresh()
        with index.step():
            late = [one for one in found if not _put(index, one, apis.get(one.x.exchange))]
        left.extendleft((one.x, one.others) for one in reversed(late) if one.is_through)
        if taken := sum(len(one.frames) for one in found):
            yield taken
    # Requests come last: their events are indexed by then. `-number` stands for the request of an exchange.
    later = (x.exchange for _, x in ModelHops(store).later_requests() if x.exchange in apis)
    numbers = dict.fromkeys((*store.posted(), *later))
    for bodies in _asked(store, [number for number in numbers if not index.is_done(-number)], apis):
        store.refresh()
        with index.step():
            for x, body, answer in bodies:
                _request(index, x, body, answer, apis.get(x.exchange))
        yield 0


def _streams(store: Store) -> Iterator[tuple[Streaming, list[int]]]:
    """Each stream, with the streams that may carry the same events."""
    by_session: dict[tuple[int, str | None], list[int]] = defaultdict(list)
    for x in store.streaming():
        before = by_session[x.recording, x.session_id]
        yield x, before[-_LISTENERS:] if x.session_id is not None else []
        before.append(x.exchange)


def _next(
    store: Store, index: Index, left: deque[tuple[Streaming, list[int]]], begun: _Halfway | None
) -> Iterator[_Next]:
    """The frames of one step, of several short streams if they fit: each step ends with a disk write. Finished streams
    leave `left`. `begun`: where the step before stopped in the first stream."""
    room = _STEP
    size = _BYTES
    while left and room > 0 and size > 0:
        x, others = left[0]
        before = index.done(x.exchange)
        # Another search may have indexed more of the stream since.
        is_ours = begun is not None and begun.done == before
        source = begun.frames if begun is not None and is_ours else _behind(store, x, *before)
        begun = None
        frames = []
        is_through = True
        for frame in source:
            frames.append(frame)
            room = room - 1
            size = size - frame.length
            if room <= 0 or size <= 0:
                is_through = False
                break
        halfway = None
        if is_through:
            left.popleft()
        elif not store.is_being_recorded and frames[-1].seq > store.last_seq(x):
            halfway = _Halfway((frames[-1].seq, _digest(frames[-1])), source)
        yield _Next(x, others, before, frames, is_through, halfway)


def _put(index: Index, new: _Next, api: Api | None) -> bool:
    """Index these frames. False if another search has done so. `api`: of the model call that they answer."""
    x = new.x
    frames = new.frames
    if index.done(x.exchange) != new.before:
        return False
    if frames:
        session = index.session(x.recording, x.session_id, x.exchange if api is None else _CALLS)
        under_way = index.under_way(x.exchange)
        texts = DocumentMaker(under_way) if api is None else AnswerDocuments(api, under_way)
        docs = [doc for frame in frames for doc in texts.add(frame)] + texts.rest()
        index.put(docs, x.recording, x.exchange, session, new.others)
        index.set_done(x.exchange, frames[-1].seq, _digest(frames[-1]))
    if new.is_through:
        index.publish(x.exchange)
    return True


def _behind(store: Store, x: Streaming, seq: int, known: int) -> Iterator[TimedFrame]:
    """The frames after the last indexed one, which has to be unchanged: else raises `StaleIndex`."""
    after = max(0, seq - 1)
    frames = store.frames_behind(x, after)
    if seq:
        last = next(iter(frames), None)
        if last is None and store.is_being_recorded:
            return  # another search has indexed more of it
        if last is None or last.seq != seq or _digest(last) != known:
            raise StaleIndex
    yield from frames


def _digest(frame: TimedFrame) -> int:
    return digest(frame.raw if frame.raw is not None else str(frame.length))


def _asked(store: Store, numbers: list[int], calls: Container[int]) -> Iterator[list[tuple[Exchange, bytes, bytes]]]:
    """The requests of one step, with their bodies and, if they failed or are model calls, their answers."""
    found = list[tuple[Exchange, bytes, bytes]]()
    size = 0
    for begin in range(0, len(numbers), _STEP):
        for x in store.numbered(numbers[begin : begin + _STEP]):
            is_read = may_have_failed(x) or (x.exchange in calls and x.kind == "http")
            has_answer = x.end_ns is not None and is_read and x.response_bytes <= _BYTES
            answer = store.decoded_body(x, "response") if has_answer else b""
            found.append((x, store.decoded_body(x, "request") if x.request_bytes <= _BYTES else b"", answer))
            size += x.request_bytes + len(answer)
            if len(found) >= _STEP or size >= _BYTES:
                yield found
                found = []
                size = 0
    if found:
        yield found


def _request(index: Index, x: Exchange, body: bytes, answer: bytes, api: Api | None) -> None:
    """Index a request, with the answer if it failed or is a model call. An open request may lack both."""
    if index.is_done(-x.exchange):
        return  # another search was faster
    has_request = index.done(-x.exchange)[0] == UNANSWERED
    asked: Iterable[Doc | None] = []
    if not has_request:
        asked = [of_request(x, body)] if api is None else of_call(x, body)
    answered = [] if x.end_ns is None else [of_answer(x, answer)]
    if api is not None and answered == [None]:
        answered = [*of_whole_answer(x, api, answer)]
    docs = [doc for doc in (*asked, *answered) if doc is not None]
    if docs:
        session = index.session(x.recording, x.session_id, x.exchange if api is None else _CALLS)
        index.put(docs, x.recording, x.exchange, session, [])
    if x.end_ns is not None:
        index.set_done(-x.exchange, 0, 0)
    elif docs:
        index.set_done(-x.exchange, UNANSWERED, 0)
