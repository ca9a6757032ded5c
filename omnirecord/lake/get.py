"""Takes a session out of a lake as a cassette, byte for byte as recorded, or one stream of a recording.

The session comes with its tree: its parent, and all sub-agents below that. All recordings that hold a part of one of
them give that part (`parts`), and the other hops of these recordings give its model calls. The rows are the values of
the text form; a cassette is made of them as of any text form.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from difflib import get_close_matches
from heapq import merge
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..cassette.select import first_of
from ..errors import UsageError
from ..model import FORMAT_VERSION, children_of, reached, root_of
from ..providers.register import later_id
from .layout import CHILDREN, LINKED, recording_of
from .location import Lake
from .parts import COLUMNS, Numbers, Part, Row, head_of, joined, numbered
from .query import LakeQuery
from .scan import TOGETHER, together, tuples

_LISTED = 5
"""Ids that a sentence names."""
_NEAR = 0.8
"""Least similarity of a session id that an error names, as Jaro-Winkler."""
_DAYS = timedelta(days=1)
"""Time before and after the known parts in which further parts are looked for. A recorder may see a session through its
runner only, and such a part has no row in `sessions`."""

_APART = 1000
"""Time between the ids of the recordings of one cassette, at most, in ms."""
_CALL = ("recording_id", "exchange", "session_id", "response_id")
_PARENT = "parent_session_id"
_TABLES = ("recordings", "sessions", "exchanges", "incidents", "events", "reads")
"""The tables that are read for every session with a stream."""


class Fetched:
    """A session tree of a lake, or a stream; `values` yields its text form."""

    session_id: str | None
    """None for a stream without a session."""
    sessions: Sequence[str]
    """The ids of its tree, its own included. Of a stream, that of its session."""
    _exchanges: dict[str, list[int]]
    """The numbers of the exchanges of each recording."""

    def __init__(self, query: LakeQuery) -> None:
        self._query = query
        self.exchanges = self.events = 0
        self.holders: dict[str, set[str]] = defaultdict(set)
        """The recordings with exchanges of each session of a tree, by its id."""

    def _find_exchanges(self, days: Days) -> None:
        with self._query.narrowed(days=days) as near:
            columns = ("recording_id", "exchange", "session_id")
            of = near.scan("exchanges", columns, among={"session_id": self.sessions})
        self._exchanges = defaultdict(list)
        for recording, exchange, session_id in tuples(of, *columns):
            self._exchanges[recording].append(exchange)
            self.holders[session_id].add(recording)
        for recording, exchange in self._calls_of():
            self._exchanges[recording].append(exchange)
        self._recordings = self._rows_of(self._exchanges)

    def _calls_of(self) -> Iterator[tuple[str, int]]:
        """Yield the recordings and exchanges of the model calls of the sessions."""
        own = {*self._exchanges, *filter(None, map(recording_of, self.sessions))}
        rows = self._query.scan("recordings", ("recording_id", LINKED), recordings=own)
        known = list(tuples(rows, *rows.column_names))
        own.update(one for _, linked in known for one in linked or ())
        calls = list(tuples(self._query.scan("model_calls", _CALL, recordings=own), *_CALL))
        for group in _groups_of(self._query, [id_ for id_, linked in known if linked is None]):
            calls += _computed(self._query.lake, group)
        answers = set[tuple[str, str]]()
        for recording, exchange, session_id, response_id in calls:
            if session_id in self.sessions:
                yield recording, exchange
                if response_id is not None:
                    answers.add((recording, response_id))
        yield from self._later_requests(answers)

    def _later_requests(self, answers: Collection[tuple[str, str]]) -> Iterator[tuple[str, int]]:
        """Yield the recordings and exchanges of the later requests for these answers, by recording and id."""
        columns = ("recording_id", "exchange", "target", "session_id")
        rows = self._query.scan(
            "exchanges",
            columns,
            recordings={recording for recording, _ in answers},
            where=lambda some: pc.is_null(some["session_id"]),
        )
        for recording, exchange, target in tuples(rows, *columns[:3]):
            if (recording, later_id(target)) in answers:
                yield recording, exchange

    def _rows_of(self, recordings: Collection[str]) -> list[Row]:
        rows = self._query.scan("recordings", (*COLUMNS, "started_at"), recordings=recordings)
        order = [(name, "ascending") for name in ("started_at", "recording", "recording_id")]
        return list(tuples(rows.sort_by(order), *COLUMNS))

    @property
    def recordings(self) -> list[str]:
        """The ids of the recordings that hold a part of the tree, in the order of their start."""
        return [one[0] for one in self._recordings]

    def close(self) -> None:
        self._query.close()

    def values(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the text form as values. Numbers are those of the cassettes, where they are free."""
        parts = [Part(self._query, row, self._exchanges[row[0]]) for row in self._recordings]
        used = Numbers()
        heads = []
        groups = joined(parts)
        for some in groups:
            numbered(some, used)
            heads.append(head_of(some))
        yield {"omnirecord": FORMAT_VERSION, "recordings": heads}
        for part in parts:
            yield from part.incidents()
        for some in groups:
            for _, values in merge(*(part.exchanges() for part in some), key=lambda one: one[0]):
                for value in values:
                    self.exchanges += "request" in value
                    self.events += "seq" in value
                    yield value


class Fetch(Fetched):
    """One session of a lake, or with `stream` that stream of the recording `name`; `values` yields its text form.

    `name` is an id, or the beginning of one. Raises `UsageError` for an unknown one, and `LakeError`.
    """

    def __init__(self, lake: Lake, name: str, stream: int | None = None) -> None:
        super().__init__(LakeQuery(lake))
        with ExitStack() as failed:
            failed.enter_context(self._query)
            self._query.open(*_TABLES)
            if stream is None:
                self._find_session(name)
            else:
                self._find_stream(name, stream)
            failed.pop_all()

    def _find_stream(self, name: str, stream: int) -> None:
        known = sorted(self._query.recordings())
        ids = [one for one in known if one.startswith(name)]
        if len(ids) != 1:
            raise _not_one("recording", name, ids, iter([get_close_matches(name, known, _LISTED), known]))
        self._recordings = self._rows_of(ids)
        found = self._query.scan(
            "exchanges",
            ("stream", "session_id", "exchange"),
            recordings=ids,
            where=lambda rows: pc.is_valid(rows["stream"]),
        )
        sessions: dict[int, str | None] = dict(tuples(found.sort_by("stream"), "stream", "session_id"))
        if stream not in sessions:
            there = f"there are {first_of([*sessions], _LISTED)}" if sessions else "it has none"
            raise UsageError(f"recording {ids[0]} has no stream {stream}: {there}")
        self._exchanges = {ids[0]: found.filter(pc.equal(found["stream"], stream))["exchange"].to_pylist()}
        self.session_id = sessions[stream]
        self.sessions = [] if self.session_id is None else [self.session_id]

    def _find_session(self, name: str) -> None:
        rows = self._query.scan(  # one look at all files
            "sessions",
            ("day", "session_id", _PARENT),
            where=lambda rows: pc.or_(is_named(rows["session_id"], name), pc.is_valid(rows[_PARENT])),
        )
        self.session_id, days = the_session(self._query, name, rows)
        self.sessions, days = _tree(self._query, self.session_id, days, rows)
        self._find_exchanges(days)


class FetchedTree(Fetched):
    """A whole session tree of recordings that began on these days, the first and the last. `query` stays open. Raises
    `LakeError`."""

    def __init__(self, query: LakeQuery, sessions: Collection[str], days: Days) -> None:
        super().__init__(query)
        self.sessions = sorted(sessions)
        self.session_id = self.sessions[0]
        self._find_exchanges((days[0] - _DAYS, days[1] + _DAYS))


def _groups_of(query: LakeQuery, recordings: Collection[str]) -> list[list[str]]:
    """Return the recordings that are analysed together, of those that an older version has shipped.

    The ids of one cassette are made at the same time, and begin with it (UUID version 7). So the rows of few others are
    read.
    """
    made = [at for id_ in recordings if (at := _made_at(id_)) is not None]
    begins = {f"{at >> 16:08x}" for of in made for at in (of - _APART, of, of + _APART)}
    near = [
        id_
        for id_ in query.recordings()
        if id_[:8] in begins and any(abs((_made_at(id_) or 0) - at) <= _APART for at in made)
    ]
    found = together(query.scan("recordings", TOGETHER, recordings=near)) if len(near) > len(recordings) else []
    return [ids for ids in found if not set(ids).isdisjoint(recordings)]


def _made_at(recording_id: str) -> int | None:
    """Return when an id was made, in ms since 1970; None if it does not begin with a time."""
    try:
        return int(recording_id[:13].replace("-", ""), 16)
    except ValueError:
        return None


def _computed(lake: Lake, group: Sequence[str]) -> list[tuple[str, int, str | None, str | None]]:
    """Return recording, exchange, session and answer's id of each model call, which an older version did not store."""
    from .reading import calls_of  # loads the analyses

    return calls_of(lake, group)


Days = tuple[date, date]


def the_session(query: LakeQuery, name: str, rows: pa.Table) -> tuple[str, Days]:
    """Return the session id that `name` means, and the days of its recordings: the first, the last.

    `rows` of `sessions` have those that `name` may mean. Raises `UsageError`.
    """
    days = dict[str, Days]()
    for one, day in tuples(rows.filter(is_named(rows["session_id"], name)), "session_id", "day"):
        first, last = days.get(one, (day, day))
        days[one] = min(first, day), max(last, day)
    found = [name] if name in days else sorted(days)
    if len(found) != 1:
        known = "SELECT DISTINCT session_id FROM sessions WHERE session_id IS NOT NULL"
        alike = "jaro_winkler_similarity(session_id[:length($name)], $name)"
        near = f"FROM ({known}) SELECT session_id WHERE {alike} >= {_NEAR} ORDER BY {alike} DESC, 1 LIMIT {_LISTED}"
        raise _not_one(
            "session",
            name,
            found,
            (
                [one for (one,) in query.rows(sql, given).rows]
                for sql, given in ((near, {"name": name}), (f"{known} ORDER BY 1 LIMIT {_LISTED + 1}", None))
            ),
        )
    return found[0], days[found[0]]


def is_named(ids: pa.Array, name: str) -> pa.Array:
    """Return which ids begin with a name. That of a conversation may leave out a part before the `#`: `01a210c9#2`."""
    begin, mark, number = name.rpartition("#") if "#" in name else (name, "", "")
    is_one = pc.starts_with(ids, begin)
    return pc.fill_null(pc.and_(is_one, pc.ends_with(ids, mark + number)) if mark else is_one, False)


def _not_one(what: str, name: str, found: Sequence[str], others: Iterator[Sequence[str]]) -> UsageError:
    """The error for a name of none or several. `others`: the nearest ids, then all of them."""
    if found:
        there = first_of(found, _LISTED)
        return UsageError(f"several {what}s begin with {name!r}: there are {there}; give more of the id")
    near = next(others)
    there = f"the nearest {'is' if len(near) == 1 else 'are'}" if near else "there are"
    return UsageError(f"no {what} begins with {name!r}: {there} {first_of(near or next(others), _LISTED) or 'none'}")


def _tree(query: LakeQuery, session: str, days: Days, rows: pa.Table) -> tuple[list[str], Days]:
    """Return the ids of the session's tree, and the first and the last day on which a part of it may have begun.

    `rows` of `sessions` have all sessions with a parent. Some parents are told by their stream only, in a recording of
    about the same time.
    """
    columns = (rows[name].to_pylist() for name in ("session_id", _PARENT))
    told = {child: parent for child, parent in zip(*columns, strict=True) if parent is not None}
    while True:
        near = days[0] - _DAYS, days[1] + _DAYS
        with query.narrowed(days=near) as some:
            edges = some.scan("sessions", ("session_id", CHILDREN), where=lambda rows: pc.is_valid(rows[CHILDREN]))
        parents = dict(told)
        for parent, named in zip(*(column.to_pylist() for column in edges.columns), strict=True):
            parents |= {child: parent for child in named if child not in told}
        tree = reached([root_of(session, parents)], children_of(parents))
        if len(tree) == 1:
            return [session], near
        of_tree = query.scan("sessions", ("day",), among={"session_id": tree})["day"]
        known = min(days[0], pc.min(of_tree).as_py()), max(days[1], pc.max(of_tree).as_py())
        if known == days:
            return sorted(tree), near
        days = known
