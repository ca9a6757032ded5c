"""The page's requests by name: options in, a value for JSON out. Reads the cassette; no HTTP.

Each answer opens and closes a `.db`, so that a recorder can start and stop meanwhile. A cassette that has to be
unpacked or converted first is kept open until its file changes.

The overview has recordings, sessions and incidents of the recorder. It reads no frames: findings are a request of their
own, so that the list appears at once. A session has its turns as in `show --json`, the growth of their texts, its
requests, and the sessions of its sub-agents. Comparisons come from `diff`, for two sessions of one cassette or of two
merged ones. An exported file searches the documents that `omnirecord search` has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from ..analysis import gather
from ..analysis.conversations import ConcludedTalk
from ..analysis.diff import TOLERANCE_S, DiffSession, by_session, compare, diff_session, turn_pairs
from ..analysis.diff.differences import Difference, counts, spans
from ..analysis.doctor.examine import examine
from ..analysis.gather import Concluded, Gathered, Known, gathered, model_calls
from ..analysis.listing import session_row, talk_row, verdicts_of
from ..analysis.search import search, update_index
from ..analysis.search.query import everything
from ..analysis.transcript import turn_row, turn_rows
from ..analysis.turns.conclusion import Conclusion, children_of, concluded
from ..analysis.turns.draft import Draft, growth_of
from ..analysis.turns.values import Session
from ..cassette.files import stamp_of
from ..cassette.model_calls import ModelHops, without_calls
from ..cassette.open import open_store
from ..cassette.sqlite import Store
from ..cassette.sqlite.search_index import Doc, Index
from ..errors import UsageError, __version__
from ..model import Exchange, wall_clock
from ..providers.grouping import conversation_number
from ..wire.content_coding import tells_of_coding
from . import events
from .calls import CALLS, Hops, Linked, call_in_file, call_of_hit
from .events import Key, Options, key_of_exchange, key_of_session, number_in, numbers_in, read_key

Row = dict[str, Any]
MOST_OTHERS = 500
"""Most listed requests without a session, those of runners included."""
HITS = 200
"""Most hits of a search."""


def comparison(store: Store, a: str, b: str) -> Row:
    """The differences of two sessions. Raises `UsageError`.

    `turns`: the pairs of turns, by index. Of each difference, `turn` is an index in that list, None outside turns;
    `spans` is its two texts as one, if it has texts.
    """
    one = _session_with(store, read_key(a))
    other = _session_with(store, read_key(b))
    pairs = turn_pairs(one, other)
    places = {side: {pair[side]: place for place, pair in enumerate(pairs)} for side in (0, 1)}
    found = compare([one], [other], tolerance_s=TOLERANCE_S)
    return {"a": a, "b": b, "tolerance_s": TOLERANCE_S, "turns": pairs, "found": [_row(one, places) for one in found]}


def _row(one: Difference, places: dict[int, dict[int | None, int]]) -> Row:
    both = isinstance(one.a, str) and isinstance(one.b, str)
    said = [list(span) for span in spans(one.a, one.b)] if both else None
    # Paths count turns in the first session, except for turns of the second one alone.
    found = re.match(r"turns\[(\d+)\](.*)", one.path, re.DOTALL)
    turn = None if found is None else places[one.a is None and not found[2]][int(found[1])]
    return {**one.row(), "turn": turn, "spans": said}


def pairs(store: Store, files: Mapping[int, str], a: str = "", b: str = "") -> list[Row]:
    """The pairs of sessions of two merged cassettes, with the number of their differences. Raises `UsageError`.

    `files`: the cassette of each recording. `a`, `b`: only this session of it.
    """
    names = list(dict.fromkeys(files.values()))
    if len(names) != 2:
        raise UsageError("there is one cassette: choose two of its sessions")
    sessions = list(gathered(store))
    sides = [
        [one for one in sessions if files[one.exchanges[0].recording] == name and key in ("", _key_of(one))]
        for name, key in zip(names, (a, b), strict=True)
    ]
    linked = model_calls(store)
    read = ([diff_session(one, linked, one.frames()) for one in side] for side in sides)
    return [
        {
            "a": None if i is None else _key_of(sides[0][i]),
            "b": None if j is None else _key_of(sides[1][j]),
            "differences": len(differences),
            "counts": counts(differences),
        }
        for (i, j), differences in by_session(*read, tolerance_s=TOLERANCE_S)
    ]


def _key_of(one: Gathered) -> str:
    return str(key_of_exchange(one.exchanges[0]))


def _session_with(store: Store, key: Key) -> DiffSession:
    number = conversation_number(key.session_id)
    if number is not None:
        raise UsageError(f"a conversation is compared by `omnirecord diff CASSETTE#{number} CASSETTE#OTHER`")
    for one in gathered(store, key.session_id):
        if key_of_exchange(one.exchanges[0]) == key:
            return diff_session(one, model_calls(store), one.frames())
    raise UsageError(f"the cassette holds no session {key}")


def search_data(store: Store, exchanges: set[int], hops: Hops | None = None) -> Row:
    """The documents of these exchanges by session and time, and their texts, each once.

    `same` is equal for equal documents; `at` is in ns of the recording. `marks` of a text of deltas: the characters of
    each delta, and the distance of its event from the previous one.
    """
    with closing(Index.in_memory()) as index:
        for _ in update_index(store, index, (0, None)):
            pass
        found = [one for one in everything(index.connection) if one[1] in exchanges]
    by_number = {x.exchange: x for x in store.numbered({number for _, number, _ in found})}
    places: dict[str, int] = {}
    links = {} if hops is None else hops.by_exchange
    docs = [
        {
            **_search_row(doc, by_number[number], same, places.setdefault(doc.text, len(places))),
            **({"call": call_in_file(links[number])} if number in links else {}),
        }
        for doc, number, same in found
    ]
    return {"texts": list(places), "docs": docs}


def _search_row(doc: Doc, x: Exchange, same: int, text: int) -> Row:
    is_request = doc.kind in ("request", "answer")
    row: Row = {
        "recording": x.recording,
        "session_id": x.session_id,
        "stream": None if is_request else x.stream,
        "exchange": x.exchange if is_request else None,
        "seq": doc.first_seq,
        "type": doc.type,
        "at": doc.first_ns,
        "same": same,
        "text": text,
    }
    if doc.marks:  # position, event, position, event…: their differences take less space
        before = [0, doc.marks[1], *doc.marks]
        row["marks"] = [one - earlier for one, earlier in zip(doc.marks, before, strict=False)]
    return row


Talks = Callable[[], list[ConcludedTalk]]
"""Returns the conversations of model calls without a session."""


class Answers:
    """Answers the page's requests, in several threads.

    `path` returns the current path of the cassette. `files`: the file of each recording of a merged one.
    """

    def __init__(self, path: Callable[[], Path], files: Mapping[int, str] | None = None) -> None:
        self._path = path
        self._files = {} if files is None else files
        self._lock = Lock()
        self._known = Known()
        self._kept: tuple[object, Store] | None = None
        self._calls = Linked()
        self._names: dict[str, Callable[[Store, Options, Talks], Any]] = {
            "overview": lambda store, _, talks: overview(store, self._path().name, self._files, self._known, talks),
            "findings": lambda store, asked, _: findings(store, asked.get("session")),
            "session": lambda store, asked, talks: session_data(store, read_key(asked.get("key", "")), talks),
            "events": lambda store, asked, _: events.columns(
                store, number_in(asked, "stream"), number_in(asked, "after", 0)
            ),
            "summaries": lambda store, asked, _: events.summaries(
                store,
                number_in(asked, "stream"),
                number_in(asked, "after", 0),
                number_in(asked, "count", events.SUMMARIES),
            ),
            "event": lambda store, asked, _: events.event(store, number_in(asked, "stream"), number_in(asked, "seq")),
            "exchange": lambda store, asked, _: events.exchange(store, number_in(asked, "exchange")),
            "matching": lambda store, asked, _: {
                "streams": events.matching(store, numbers_in(asked, "streams"), asked.get("text", "")),
                "exchanges": events.exchanges_with(store, numbers_in(asked, "exchanges"), asked.get("text", "")),
            },
            "pairs": lambda store, asked, _: pairs(store, self._files, asked.get("a", ""), asked.get("b", "")),
            "comparison": lambda store, asked, _: comparison(store, asked.get("a", ""), asked.get("b", "")),
        }

    def __contains__(self, name: str) -> bool:
        return name == "search" or name in self._names or name in CALLS

    def answer(self, name: str, asked: Options) -> Any:
        """The value of a request. Raises `UsageError` for bad options, `CassetteError` for an unreadable file."""
        if name == "search":
            return self._search(asked)
        path = self._path()
        stamp = stamp_of(path)
        with self._store() as store:
            if name in CALLS:
                return CALLS[name](store, self._calls.linked(store, path, stamp), asked)
            return self._names[name](
                store, asked, lambda: self._calls.linked(store, path, stamp).talks if ModelHops(store) else []
            )

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    @contextmanager
    def _store(self) -> Iterator[Store]:
        path = self._path()
        with self._lock:
            stamp = (path, path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None
            if self._kept is not None and self._kept[0] != stamp:
                self._forget()
            if self._kept is None:
                store = open_store(path)
                if store.is_copy and not store.is_being_recorded:
                    self._kept = stamp, store
            if self._kept is not None:
                yield self._kept[1]
                return
        with closing(store):
            yield store

    def _search(self, asked: Options) -> Any:
        found = search(
            self._path(),
            asked.get("query", ""),
            type=asked.get("type") or None,
            session=asked.get("session") or None,
            limit=HITS,
            width=160,
        )
        rows = [
            {
                **{name: hit.row[name] for name in ("recording", "session_id", "stream", "seq", "offset_ns", "type")},
                "exchange": hit.exchange,
                "text": hit.snippet.text,
                "spans": hit.snippet.spans,
                "call": call_of_hit(hit),
            }
            for hit in found.hits
        ]
        return {"hits": rows, "total": found.total}


def overview(
    store: Store,
    name: str,
    files: Mapping[int, str] | None = None,
    known: Known | None = None,
    talks: Talks | None = None,
) -> Row:
    """The overview. `name`: the cassette's. `files`: the file of each recording of a merged cassette. `known`: see
    `conclusions`. `talks`: returns the conversations; by default they are read. Times are ns of their recording."""
    files = files or {}
    recordings = store.recordings()
    exchanges = store.exchanges()
    asked = without_calls(store, exchanges)
    with_calls = ModelHops(store).recordings
    astray = {x.exchange for x in gather.strays_in(store)}
    others = [x for x in asked if x.party == "runner" or x.exchange in astray]
    return {
        "name": " · ".join(dict.fromkeys(files.values())) or name,
        "files": list(dict.fromkeys(files.values())),
        "version": __version__,
        "is_recorded": store.is_being_recorded,
        "recordings": [
            {
                "recording": r.recording,
                "file": files.get(r.recording),
                "started_at": r.started_at,
                "version": r.version,
                "contract": r.contract,
                "upstream": r.upstream,
                "recording_id": r.recording_id,
                "run_id": r.run_id,
                "labels": dict(r.labels),
                "server_version": r.server_version,
                "hop": r.hop,
                "is_model_hop": r.hop is not None or r.recording in with_calls,
                "exchanges": sum(x.recording == r.recording for x in exchanges),
            }
            for r in recordings
        ],
        "sessions": [
            *(_session(store, one) for one in gather.conclusions(store, known=known)),
            *(_conversation(store, one) for one in (Hops.of(store).talks if talks is None else talks())),
        ],
        "others": [{"recording": x.recording, **events.exchange_row(x)} for x in others[:MOST_OTHERS]],
        "more_others": max(0, len(others) - MOST_OTHERS),
        "incidents": [
            {"recording": one.recording, "at_ns": one.at_ns, "message": one.message}
            for one in store.incidents()
            if not tells_of_coding(one.message)  # the server's doing, not the recorder's
        ],
    }


def findings(store: Store, session: str | None = None) -> list[Row]:
    """The findings of the cassette, or of one session."""
    is_conversation = conversation_number(session) is not None
    found = examine(store, None if is_conversation else session)
    return [one.row() for one in found if not is_conversation or one.session_id == session]


def _session(store: Store, one: Concluded) -> Row:
    exchanges = one.gathered.exchanges
    verdicts = verdicts_of(store, exchanges)
    return {
        **session_row(one, verdicts),
        **_extent(one, exchanges),
        "key": str(key_of_exchange(exchanges[0])),
        "stream": one.stream,
        "verdicts": verdicts,
    }


def _extent(one: Concluded | ConcludedTalk, exchanges: Sequence[Exchange]) -> Row:
    """Where a session or a conversation is on the time axis, and in which streams."""
    streams = [x for x in exchanges if x.stream is not None]
    return {
        "begun_ns": one.session.begun_ns,
        "ended_ns": one.session.until_ns,
        "stream_numbers": [x.stream for x in streams],
        "path": exchanges[0].request.target,
        "bytes": sum(x.response_bytes for x in streams),
        "asked": one.conclusion.asked,
    }


def _conversation(store: Store, one: ConcludedTalk) -> Row:
    exchanges = _exchanges_of(store, one)
    return {
        **talk_row(store, one),
        **_extent(one, exchanges),
        "conclusion": one.conclusion.row(),
        "key": str(key_of_session(one.session)),
        "stream": None,
        "verdicts": verdicts_of(store, exchanges),
    }


def _exchanges_of(store: Store, one: ConcludedTalk) -> list[Exchange]:
    found = store.numbered([link.call.exchange for link in one.talk.links])
    return sorted(found, key=lambda x: (x.request.at_ns, x.exchange))


def _conversation_data(store: Store, key: Key, talks: Iterable[ConcludedTalk]) -> Row:
    one = next((one for one in talks if key_of_session(one.session) == key), None)
    if one is None:
        raise UsageError(f"the cassette holds no conversation {key}")
    started_at = store.recording(key.recording).started_at
    turns = [turn_row(turn, begun_ns=one.session.begun_ns) for turn in one.session.turns]
    return {
        "key": str(key),
        "started_at": started_at,
        "is_recorded": store.is_being_recorded,
        "family": [_told(one.session, [], turns, one.conclusion)],
        "exchanges": [events.exchange_row(x) for x in _exchanges_of(store, one)],
        "messages": [],
        "at": wall_clock(started_at, 0),
    }


def session_data(store: Store, key: Key, talks: Talks | None = None) -> Row:
    """A session and its sub-agents, the session itself first. Raises `UsageError` if the cassette has none such.
    `talks`: see `overview`."""
    if conversation_number(key.session_id) is not None:
        return _conversation_data(store, key, Hops.of(store).talks if talks is None else talks())

    def takes(first: Exchange) -> bool:
        is_stream = key.stream is None or (first.session_id is None and first.stream == key.stream)
        return first.recording == key.recording and is_stream

    found = gather.sessions_with_drafts(store, key.session_id, takes=takes)
    family = sorted(found, key=lambda one: key_of_session(one[0]) != key)
    if not family or key_of_session(family[0][0]) != key:
        raise UsageError(f"the cassette holds no session {key}")
    started_at = store.recording(key.recording).started_at
    by_id = {(told.recording, told.session_id): told for told, _ in family}
    ids = {told.session_id for told, _ in family if told.session_id is not None}
    exchanges = [
        x
        for x in store.exchanges(recording=key.recording)
        if x.session_id in ids or (x.session_id is None and x.stream is not None and x.stream == key.stream)
    ]
    return {
        "key": str(key),
        "started_at": started_at,
        "is_recorded": store.is_being_recorded,
        "family": [
            _told(told, drafts, list(turn_rows(told, by_id)), concluded(told, children_of(told, by_id)))
            for told, drafts in family
        ],
        "exchanges": [events.exchange_row(x) for x in exchanges],
        "messages": [row for x in exchanges if x.kind == "websocket" for row in events.message_rows(store, x)],
        "at": wall_clock(started_at, 0),
    }


def _told(told: Session, drafts: list[Draft], turns: list[Row], why: Conclusion) -> Row:
    return {
        "key": str(key_of_session(told)),
        "session_id": told.session_id,
        "parent_id": told.parent_id,
        "title": told.snapshot.title if told.snapshot else None,
        "begun_ns": told.begun_ns,
        "ended_ns": told.until_ns,
        "status": told.status,
        "request": told.request,
        "cost_usd": told.cost_usd,
        "heartbeats": told.heartbeats,
        "streams": [asdict(one) for one in told.streams],
        "turns": turns,
        "growth": [growth_of(draft) for draft in drafts],
        "stopped": {"code": why.code, "sentence": why.sentence, "at_rest": why.outcome == "finished"},
        "conclusion": why.row(),
    }
