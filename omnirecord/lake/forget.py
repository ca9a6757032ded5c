"""Removes sessions from a lake, with all that belongs to them, and remembers them so that they do not come back.

`plan` finds the rows, `Forgotten.add` remembers them, `finish` removes them, table by table. A plan names recordings
and numbers only. So after a kill at any moment, `finish` removes the rest without asking again. To a session belong
its exchanges, the model calls of its turns, the results of analyses, and the exchanges without a session that name it.
A recording in which no session, no stream and no model call is left goes as a whole, with its labels.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..analysis.forgetting import names_of
from ..analysis.validate import validation
from ..providers.register import later_id
from ..wire.content_coding import CodingError, decoded
from ..wire.headers import header
from .extract import columns_of
from .files import File, files_of
from .forgotten import Forgotten, Leaving
from .layout import SCHEMAS
from .location import Lake
from .reading import Reader, Snapshot, Wanted
from .scan import Lost, runs, scanned, tuples
from .upkeep import TableChange, changed

IsGone = Callable[[str | None], bool]
_KEYS = ("recording_id", "exchange", "session_id", "stream")
_SESSIONS = ("recording_id", "session_id", "stream")
_SKIPS: tuple[Lost, ...] = ("missing",)
"""A damaged file may hold rows that have to leave, so it is an error."""
_OF_STREAMS = ("sessions", "turns", "tools", "approvals", "findings")
"""Tables with rows of a stream without a session."""


def plan(
    lake: Lake,
    is_gone: IsGone,
    *,
    sessions: Collection[str] | None = None,
    recordings: Collection[str] | None = None,
    whole: Collection[str] = (),
    streams: Collection[tuple[str, int]] = (),
) -> dict[str, Leaving]:
    """Return what leaves each recording, complete or not. Raises `LakeError`.

    `sessions`: the ids for which `is_gone` holds, if they are known. `recordings`: only of these. `whole`: recordings
    that go as a whole. `streams`: streams without a session, by recording.
    """
    among: dict[str, Collection[Any]] = {} if recordings is None else {"recording_id": recordings}
    if sessions is not None:
        among["session_id"] = sessions
    touched = {*whole, *(recording for recording, _ in streams)}
    ids = set[str]()
    for name in ("sessions", "exchanges", "model_calls"):
        for recording, session in _distinct(lake, name, among):
            if is_gone(session):
                touched.add(recording)
                ids.add(session)
    found = {recording: Leaving(is_whole=True) for recording in whole}
    left = sorted(touched.difference(whole))
    if left:
        rows = _Exchanges(lake, left, is_gone, streams)
        if ids:
            rows.add_naming(lake, ids)
        kept = rows.kept(lake)
        found |= {one: Leaving(one not in kept, frozenset(rows.own[one]), rows.streams(one)) for one in left}
    return found


class _Exchanges:
    """The exchanges of recordings, and those of them that leave."""

    def __init__(
        self, lake: Lake, recordings: Sequence[str], is_gone: IsGone, streams: Collection[tuple[str, int]]
    ) -> None:
        self._recordings = recordings
        self._is_gone = is_gone
        self.own = defaultdict[str, set[int]](set)
        """The exchanges that leave, by recording."""
        self._strays = defaultdict[str, set[int]](set)
        self._numbers = defaultdict[str, dict[int, int]](dict)
        calls = list(_rows(lake, "model_calls", recordings, *_KEYS[:3], "response_id"))
        self._calls = {(recording, exchange): session for recording, exchange, session, _ in calls}
        answers = {(recording, id_): session for recording, _, session, id_ in calls if id_ is not None}
        for recording, exchange, session, stream, target in _rows(lake, "exchanges", recordings, *_KEYS, "target"):
            if stream is not None:
                self._numbers[recording][exchange] = stream
            of = session or self._calls.get((recording, exchange)) or answers.get((recording, later_id(target)))
            if is_gone(of) or (recording, stream) in streams:
                self.own[recording].add(exchange)
            elif of is None:
                self._strays[recording].add(exchange)

    def streams(self, recording: str) -> frozenset[int]:
        """Return the numbers of the streams that leave a recording."""
        numbers = self._numbers[recording]
        return frozenset(numbers[one] for one in self.own[recording] if one in numbers)

    def add_naming(self, lake: Lake, ids: Collection[str]) -> None:
        """Add the exchanges without a session that name one of these sessions."""
        for recording, exchange in _naming(lake, self._strays, ids):
            self.own[recording].add(exchange)

    def kept(self, lake: Lake) -> set[str]:
        """Return the recordings in which a session, a stream or a model call is left."""
        kept = {recording for recording, exchange in self._calls if exchange not in self.own[recording]}
        for recording, session, stream in _rows(lake, "sessions", self._recordings, *_SESSIONS):
            is_left = stream not in self.streams(recording) if session is None else not self._is_gone(session)
            if is_left:
                kept.add(recording)
        return kept


def _distinct(lake: Lake, name: str, among: Mapping[str, Collection[Any]]) -> set[tuple[str, str]]:
    """Return the recordings and the sessions of the rows of a table."""
    files, _ = files_of(lake, name)
    schema = pa.schema([SCHEMAS[name].field(one) for one in ("recording_id", "session_id")])
    rows = scanned(
        lake, name, files, schema, where=lambda some: pc.is_valid(some["session_id"]), among=among, skips=_SKIPS
    )
    return set(tuples(rows.group_by(schema.names).aggregate([]), *schema.names))


def _rows(
    lake: Lake,
    name: str,
    recordings: Collection[str],
    *columns: str,
    among: Mapping[str, Collection[Any]] | None = None,
) -> Iterator[tuple[Any, ...]]:
    return tuples(_scanned(lake, name, recordings, columns, among), *columns)


def _scanned(
    lake: Lake,
    name: str,
    recordings: Collection[str],
    columns: Sequence[str],
    among: Mapping[str, Collection[Any]] | None = None,
) -> pa.Table:
    """Return the rows of these recordings, complete or not."""
    files = [one for one in files_of(lake, name)[0] if one.may_hold(recordings)]
    schema = pa.schema([SCHEMAS[name].field(one) for one in columns])
    return scanned(lake, name, files, schema, among={**(among or {}), "recording_id": recordings}, skips=_SKIPS)


def _naming(lake: Lake, strays: Mapping[str, set[int]], ids: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield those of these exchanges that name a session."""
    recordings = sorted(one for one, of in strays.items() if of)
    if not recordings:
        return
    names = names_of(ids)
    among = {"exchange": set().union(*strays.values())}
    texts = {
        "exchanges": ("target", "request_headers", "request_body", "response_headers", "response_body"),
        "events": ("raw", "raw_bytes"),
        "messages": ("data",),
    }
    for name, columns in texts.items():
        for recording, exchange, *values in _rows(lake, name, recordings, *_KEYS[:2], *columns, among=among):
            if exchange not in strays[recording]:
                continue
            if name == "exchanges":
                values[2] = _content(values[1], values[2])
                values[4] = _content(values[3], values[4])
            if any(names.search(one.encode() if isinstance(one, str) else one) for one in values if one):
                yield recording, exchange


def _content(headers: str | None, body: bytes | None) -> bytes | None:
    """Return a body without its content coding, as far as it can be decoded."""
    coding = header(tuple(map(tuple, json.loads(headers or "[]"))), "content-encoding")
    if not body or not coding:
        return body
    try:
        return decoded(body, coding)
    except (CodingError, ValueError):
        return body


def finish(lake: Lake, forgotten: Forgotten, gone: Counter[str] | None = None) -> Iterator[str]:
    """Remove from the tables what is still to be removed; yield the name of each table that is done.

    Adds the number of removed rows of each table to `gone`. Raises `LakeError`.
    """
    leaving = forgotten.leaving()
    for name in lake.tables() if leaving else ():
        _remove(lake, name, leaving, forgotten, Counter() if gone is None else gone)
        yield name
    forgotten.done()


def _remove(lake: Lake, name: str, leaving: Mapping[str, Leaving], forgotten: Forgotten, gone: Counter[str]) -> None:
    """Remove the rows from one table, in one commit."""
    without = _Change(lake, name, leaving, forgotten)

    def rewrite(change: TableChange) -> None:
        for file in change.files:
            if file.may_hold(leaving) and without.concerns(file):
                change.rewrite(file, without)

    gone[name] += changed(lake, name, rewrite).rows


class _Change:
    """Returns the rows of one recording without those that leave."""

    def __init__(self, lake: Lake, name: str, leaving: Mapping[str, Leaving], forgotten: Forgotten) -> None:
        self._lake = lake
        self._name = name
        self._leaving = leaving
        self._is_gone = forgotten.has
        parts = [one for one, of in leaving.items() if not of.is_whole]
        self._problems = _problems(lake, parts) if name == "problems" and parts else {}
        self._counts = _counts(lake, parts) if name == "recordings" and parts else {}

    def concerns(self, file: File) -> bool:
        """Whether a file has rows that leave or change. Reads the columns that tell it."""
        if self._name in ("problems", "recordings"):  # they are small, and other columns change
            return True
        columns = [one for one in _KEYS if one in SCHEMAS[self._name].names]
        schema = pa.schema([SCHEMAS[self._name].field(one) for one in columns])
        rows = scanned(self._lake, self._name, [file], schema, among={"recording_id": self._leaving}, skips=_SKIPS)
        at = 0
        for one, end in runs(rows["recording_id"]):
            if self._kept(rows.slice(at, end - at), self._leaving[one]).num_rows < end - at:
                return True
            at = end
        return False

    def __call__(self, rows: pa.Table) -> pa.Table:
        recording = rows["recording_id"][0].as_py()
        leaving = self._leaving.get(recording)
        if leaving is None:
            return rows
        if self._name == "problems" and recording in self._problems:
            found = self._problems[recording].select(rows.column_names)
            return rows if _sorted(rows) == _sorted(found) else found.cast(rows.schema)
        rows = self._kept(rows, leaving)
        if self._name == "recordings" and rows.num_rows:
            for column, count in self._counts[recording].items():
                place = rows.column_names.index(column)
                rows = rows.set_column(place, rows.schema.field(place), pa.array([count], rows.schema.types[place]))
        return rows

    def _kept(self, rows: pa.Table, leaving: Leaving) -> pa.Table:
        if leaving.is_whole:
            return rows.slice(0, 0)
        names = rows.column_names
        if "exchange" in names:
            rows = rows.filter(pc.invert(_among(rows["exchange"], leaving.exchanges)))
        elif self._name in _OF_STREAMS or self._name == "problems":
            rows = rows.filter(pc.invert(_among(rows["stream"], leaving.streams)))
        if "session_id" in names:
            ids = [one for one in rows["session_id"].unique().to_pylist() if self._is_gone(one)]
            rows = rows.filter(pc.invert(_among(rows["session_id"], ids)))
        return rows


def _among(column: pa.ChunkedArray, values: Iterable[Any]) -> pa.ChunkedArray:
    return pc.is_in(column, pa.array(sorted(values), column.type))


def _sorted(rows: pa.Table) -> list[str]:
    return sorted(map(str, rows.to_pylist()))


def _counts(lake: Lake, recordings: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the counts of recordings, from the rows of other tables."""
    exchanges = defaultdict[str, list[tuple[int | None, str | None]]](list)
    for recording, stream, session in _rows(lake, "exchanges", recordings, "recording_id", "stream", "session_id"):
        exchanges[recording].append((stream, session))
    events = Counter(_scanned(lake, "events", recordings, ["recording_id"])["recording_id"].to_pylist())
    return {
        one: {
            "exchanges": len(exchanges[one]),
            "streams": sum(stream is not None for stream, _ in exchanges[one]),
            "events": events[one],
            "sessions": len({session for _, session in exchanges[one]} - {None}),
        }
        for one in recordings
    }


def _problems(lake: Lake, recordings: Collection[str]) -> dict[str, pa.Table]:
    """Return the rows of `problems` of complete recordings that have such rows, computed from what is left of them."""
    known = set(_scanned(lake, "problems", recordings, ["recording_id"])["recording_id"].to_pylist())
    if not known:
        return {}
    snapshot = Snapshot(lake)
    days = snapshot.recordings(lake)
    found: dict[str, pa.Table] = {}
    wanted = [Wanted(days[one], one) for one in sorted(known & days.keys())]
    with closing(Reader(lake)) as reader:
        for batch in snapshot.batches(wanted, 1):
            for group, rows in reader.recordings(batch):
                (one,) = group
                problems = [{**of.row, **of.row["first"]} for of in validation(rows).problems]
                schema = SCHEMAS["problems"]
                columns = columns_of("problems", problems)
                own = {"day": pa.nulls(len(problems), schema.field("day").type)}
                own["recording_id"] = pa.repeat(one.recording_id, len(problems))
                found[one.recording_id] = pa.Table.from_pydict({**columns, **own}, schema=schema)
    return found
