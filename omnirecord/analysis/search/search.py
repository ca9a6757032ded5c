"""Searching a cassette: its index brought up to date, then asked, and what is found as rows.

A cassette below `WORTH_A_FILE` bytes, one in text form, and one in a folder that may not be written is indexed in
memory each time; else the index is a file beside it (`store.index`). The cassette itself is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...cassette.files import stamp_of
from ...cassette.open import open_store
from ...cassette.select import the_session
from ...cassette.sqlite import Store, is_database, is_packed
from ...cassette.sqlite.search_index import UNUSABLE, Index, path_beside
from ...cassette.times import Given, Moment, moment, span
from ...errors import NotACassette, UsageError
from ...model import Exchange, TimedFrame
from ..listing import event_row, request_row, zeros
from .matches import Match, Narrow, indexed_sessions, matches, session_names
from .query import Query, parse
from .snippets import WIDTH, Snippet, apart, best, cut, signs_in, unmarked
from .update_index import Stale, bring_up

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
