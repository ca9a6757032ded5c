"""Searching a cassette: its index brought up to date, then asked, and what is found as rows.

A cassette below `WORTH_A_FILE` bytes, one in text form, and one in a folder that may not be written is indexed in
memory each time; else the index is a file beside it (`store.index`). The cassette itself is only read.

The index of a cassette brought up to date: what is new in the cassette is added, in steps of one transaction each.

How far each stream is indexed stands in the index, and is looked up in each step, with the digest of the last frame:
where the cassette has another one there, or none, the index is another cassette's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ...cassette.files import stamp_of
from ...cassette.open import open_store
from ...cassette.select import Given, Moment, moment, span, the_session
from ...cassette.sqlite import Store, is_database, is_packed
from ...cassette.sqlite.search_index import UNANSWERED, UNUSABLE, Index, State, digest, path_beside
from ...errors import NotACassette, UsageError
from ...model import Exchange, Streaming, TimedFrame
from ..listing import event_row, request_row, zeros
from ..turns.requests import may_have_failed
from .documents import Texts, of_answer, of_request
from .matches import Match, Narrow, indexed_sessions, matches, session_names
from .query import WIDTH, Query, Snippet, apart, best, cut, parse, signs_in, unmarked

_STEP = 4_000
"""Frames or requests that are indexed in one transaction…"""
_BYTES = 8 << 20
"""…and bytes of them, but for a single larger frame. Of a larger request nothing is searched."""
_LISTENERS = 20
"""How many of a session's streams, the latest ones, are asked whether they told the same."""


class Stale(Exception):
    """The index speaks of something that the cassette has not."""


def bring_up(store: Store, index: Index, stamp: tuple[int, list[int] | None], *, anew: bool = False) -> Iterator[int]:
    """Index what is not indexed yet, or all of it `anew`; yields how many frames each step took. Raises `Stale`."""
    recordings = [[r.recording, r.started_at, r.version, r.contract, r.upstream] for r in store.recordings()]
    now = State(*stamp, recordings, not store.is_being_recorded)
    made, known = index.state() or (0, None)
    standing = "other" if known is None or anew else known.standing(now)
    if standing == "current":
        return
    if standing == "other":
        made = index.begin(now, instead_of=made)
    yield from _all(store, index)
    index.complete(made, now)


class _Next(NamedTuple):
    """What is to be indexed next of a stream: the frames behind what is indexed of it `before`."""

    x: Streaming
    others: list[int]
    """Streams that may have told the same."""
    before: tuple[int, int]
    frames: list[TimedFrame]
    is_through: bool
    """There are no more by now."""


def _all(store: Store, index: Index) -> Iterator[int]:
    left = deque(_streams(store))
    while left:
        found = list(_next(store, index, left))
        store.refresh()
        with index.step():
            late = [one for one in found if not _put(index, one)]
        left.extendleft((one.x, one.others) for one in reversed(late) if one.is_through)
        if taken := sum(len(one.frames) for one in found):
            yield taken
    # What was asked comes last: by then it is known which event tells it again.
    for bodies in _asked(store, [number for number in store.posted() if not index.is_done(number)]):
        store.refresh()
        with index.step():
            for x, *both in bodies:
                _request(index, x, *both)
        yield 0


def _streams(store: Store) -> Iterator[tuple[Streaming, list[int]]]:
    """Each stream, and those that may have told the same."""
    heard: dict[tuple[int, str | None], list[int]] = {}
    for x in store.streaming():
        before = heard.setdefault((x.recording, x.session_id), [])
        yield x, before[-_LISTENERS:] if x.session_id is not None else []
        before.append(x.exchange)


def _next(store: Store, index: Index, left: deque[tuple[Streaming, list[int]]]) -> Iterator[_Next]:
    """What one step has room for. Streams that are through are no longer `left`; a step ends with the disk, so that
    short ones share it."""
    room, size = _STEP, _BYTES
    while left and room > 0 and size > 0:
        x, others = left[0]
        before, frames, is_through = index.done(x.exchange), [], True
        for frame in _behind(store, x, *before):
            frames.append(frame)
            room, size = room - 1, size - frame.length
            if room <= 0 or size <= 0:
                is_through = False
                break
        if is_through:
            left.popleft()
        yield _Next(x, others, before, frames, is_through)


def _put(index: Index, new: _Next) -> bool:
    """Whether nobody else was faster."""
    x, frames = new.x, new.frames
    if index.done(x.exchange) != new.before:
        return False
    if frames:
        session = index.session(x.recording, x.session_id, x.exchange)
        texts = Texts(index.under_way(x.exchange))
        docs = [doc for frame in frames for doc in texts.hear(frame)] + texts.rest()
        index.put(docs, x.recording, x.exchange, session, new.others)
        index.set_done(x.exchange, frames[-1].seq, _digest(frames[-1]))
    if new.is_through:
        index.publish(x.exchange)
    return True


def _behind(store: Store, x: Streaming, seq: int, known: int) -> Iterator[TimedFrame]:
    """The frames behind one that is indexed. That one is looked at, whether it is the same."""
    after = max(0, seq - 1)
    frames = store.stored_frames(x, after) if store.is_being_recorded else store.frames_behind(x, after)
    if seq:
        last = next(iter(frames), None)
        if last is None and store.is_being_recorded:
            return  # another search has seen more of it already
        if last is None or last.seq != seq or _digest(last) != known:
            raise Stale
    yield from frames


def _digest(frame: TimedFrame) -> int:
    return digest(frame.raw if frame.raw is not None else str(frame.length))


def _asked(store: Store, exchanges: list[int]) -> Iterator[list[tuple[Exchange, bytes, bytes]]]:
    """Requests with their bodies and those of their answers, if they failed: what one step has room for together."""
    found: list[tuple[Exchange, bytes, bytes]] = []
    size = 0
    for begin in range(0, len(exchanges), _STEP):
        for x in store.numbered(exchanges[begin : begin + _STEP]):
            has_answer = x.end_ns is not None and may_have_failed(x) and x.response_bytes <= _BYTES
            answer = store.decoded_body(x, "response") if has_answer else b""
            found.append((x, store.decoded_body(x, "request") if x.request_bytes <= _BYTES else b"", answer))
            size += x.request_bytes + len(answer)
            if len(found) >= _STEP or size >= _BYTES:
                yield found
                found, size = [], 0
    if found:
        yield found


def _request(index: Index, x: Exchange, body: bytes, answer: bytes) -> None:
    """What a client posted, and the answer of a request that failed. While the request goes on, its body may not be
    whole, and its answer is not known."""
    if index.is_done(x.exchange):
        return  # another search was faster
    asked = None if index.has_request(x.exchange) else of_request(x, body)
    answered = None if x.end_ns is None else of_answer(x, answer)
    docs = [doc for doc in (asked, answered) if doc is not None]
    if docs:
        session = index.session(x.recording, x.session_id, x.exchange)
        index.put(docs, x.recording, x.exchange, session, [])
    if x.end_ns is not None:
        index.set_done(x.exchange, 0, 0)
    elif asked is not None:
        index.set_done(x.exchange, UNANSWERED, 0)


WORTH_A_FILE = 512 * 1024
"""Below so many bytes an index is made in less time than anybody notices, and no file for it is left behind."""
_PACKED = 10
"""How many times as large a compressed one is, about."""
LIMIT = 20

_ATTEMPTS = 5

Watch = Callable[[Iterator[int]], Iterable[int]]
"""Goes through the steps of indexing, each the number of frames that it took; may show them."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was found.

    `row` is that of its event as `events --json` prints it: for words in a text that came in deltas, the one with which
    they begin. For a request, `stream`, `seq`, `type` and what else only events have is None, and `exchange` is set.
    For the answer of a request that failed, `status` is set as well.
    """

    row: dict[str, Any]
    snippet: Snippet
    exchange: int | None = None
    status: int | None = None
    begun_ns: int = 0
    """When its session began, on the recording's clock."""


@dataclass(frozen=True, slots=True)
class Found:
    """The first hits, by session and time, and how many there are in all."""

    hits: tuple[Hit, ...]
    total: int


def search(
    cassette: str | Path,
    query: str,
    *,
    type: str | None = None,
    session: str | None = None,
    since: Given = None,
    until: Given = None,
    limit: int = LIMIT,
    width: int = WIDTH,
    watch: Watch = iter,
) -> Found:
    """`width`: about how many characters a snippet has. Raises `UsageError` or `CassetteError`."""
    if limit < 1:
        raise UsageError(f"a limit of {limit} shows nothing: take 1 or more")
    times = moment("since", since), moment("until", until)
    asked = _Asked(parse(query), type, session, times, limit, width)
    try:
        return _search(Path(cassette), asked, watch)
    except Stale:
        return _search(Path(cassette), asked, watch, anew=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    query: Query
    type: str | None
    session: str | None
    times: tuple[Moment, Moment]
    limit: int
    width: int


def _search(cassette: Path, asked: _Asked, watch: Watch, *, anew: bool = False) -> Found:
    stamp = stamp_of(cassette)
    store = open_store(cassette)
    try:
        index = _index_beside(cassette)
        found = None if index is None else _if_usable(index, store, stamp, asked, watch, anew=anew)
        return _ask(Index.in_memory(), store, stamp, asked, watch) if found is None else found
    finally:
        store.close()


def _index_beside(cassette: Path) -> Index | None:
    try:
        size = cassette.stat().st_size * (_PACKED if is_packed(cassette) else 1)
        has_one = path_beside(cassette).exists() or size >= WORTH_A_FILE
        return Index.beside(cassette) if has_one and is_database(cassette) else None
    except (OSError, NotACassette, *UNUSABLE):
        return None  # a folder that may not be written, a file of somebody else's


def _if_usable(index: Index, *asking: Any, anew: bool) -> Found | None:
    """None where the file cannot be used: damaged, on a disk that is full, held by a search that hangs."""
    try:
        return _ask(index, *asking, anew=anew)
    except UNUSABLE as error:
        index.give_up(error)
        return None


def _ask(index: Index, store: Store, stamp: Any, asked: _Asked, watch: Watch, *, anew: bool = False) -> Found:
    with closing(index):
        for attempt in range(_ATTEMPTS):
            for _ in watch(bring_up(store, index, stamp, anew=anew and not attempt)):
                pass
            with index.at_once() as is_complete:
                if is_complete:
                    total, found = matches(index.connection, asked.query, _narrow(store, index, asked), asked.limit)
                    return Found(tuple(_hits(store, found, asked)), total)
    raise Stale  # other searches make it anew again and again


def _narrow(store: Store, index: Index, asked: _Asked) -> Narrow:
    sessions = None
    if asked.session is not None:
        names = session_names(index.connection)
        wanted = the_session(store, asked.session)
        sessions = [number for number, name in names if name == wanted]
    glob = asked.type
    takes = None if glob is None else lambda type_: fnmatchcase(type_, glob)
    return Narrow(sessions, takes, None if asked.times == (None, None) else list(_spans(store, index, asked.times)))


def _spans(store: Store, index: Index, times: tuple[Moment, Moment]) -> Iterator[tuple[int, int, int]]:
    """Of each session in the index the first and the last ns that lie in between. Numbers count from its start."""
    recordings, zero = {one.recording: one for one in store.recordings()}, zeros(store)
    streams = {x.exchange: x.stream for x in store.streams()}
    for number, recording, session_id, exchange in indexed_sessions(index.connection):
        if recording in recordings:
            begun_ns = zero(recording, session_id, streams.get(exchange or 0))
            yield number, *span(recordings[recording], *times, begun_ns)


def _hits(store: Store, found: list[Match], asked: _Asked) -> Iterator[Hit]:
    """In the order of sessions, then of what they point to."""
    started = {r.recording: r.started_at for r in store.recordings()}
    exchanges = {x.exchange: x for x in store.numbered({match.exchange for match in found})}
    zero = zeros(store)
    made = []
    for match in found:
        x = exchanges.get(match.exchange)
        if x is None:
            raise Stale
        hit = _hit(store, match, x, started[x.recording], asked)
        made.append((match.session, replace(hit, begun_ns=zero(x.recording, x.session_id, x.stream))))
    return (hit for _, hit in sorted(made, key=lambda one: (one[0], one[1].row["offset_ns"])))


def _hit(store: Store, match: Match, x: Exchange, started_at: str, asked: _Asked) -> Hit:
    text, spans = unmarked(match.marked)
    signs = [term.text for clause in asked.query for term in clause.wanted if term.is_sign]
    spans = best(text, apart([*spans, *signs_in(text, signs)]), asked.width)
    snippet = cut(text, spans, asked.width)
    if match.doc.kind == "answer" and x.response is not None:
        row = request_row(x, store.decoded_body(x, "response"), started_at, x.response.at_ns)
        return Hit(row, snippet, x.exchange, x.response.status)
    if match.doc.kind == "request":
        return Hit(request_row(x, store.decoded_body(x, "request"), started_at), snippet, x.exchange)
    seq = match.doc.seq_at(spans[0][0] if spans else 0)
    return Hit(event_row(x, _frame(store, x, seq), started_at), snippet)


def _frame(store: Store, x: Exchange, seq: int | None) -> TimedFrame:
    frame = store.frame(x, seq) if seq is not None and x.stream is not None else None
    if frame is None:
        raise Stale
    return frame
