"""The sessions of a lake, each once: the rows of `whole_sessions` that match some filters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .files import File, has_between
from .layout import CHILDREN, SCHEMAS
from .query import LakeQuery
from .scan import Where, tuples
from .sql import COLUMNS, plain

SHOWN = COLUMNS["whole_sessions"][1:]
"""The columns of a row, and the keys of `lake sessions --json`: those of `whole_sessions` without the day."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters; all of them apply."""

    findings: Sequence[str] = ()
    """Codes of `doctor`: the session has one of them."""
    since: datetime | None = None
    """The session was active at this time, or later."""
    labels: Mapping[str, str] = field(default_factory=dict)
    statuses: Sequence[str] = ()
    """The outcomes of the session: `finished`, `failed`, `unfinished`…"""
    models: Sequence[str] = ()
    """The model of the last turn, or a pattern with `*` and `?`."""


_CHOOSING = ("recording_id", "session_id", "stream", "started_at", "duration_s")
"""The columns of `sessions` by which sessions are chosen."""
_OWN = tuple(name for name in SHOWN if name in SCHEMAS["sessions"].names)
_OF_RECORDINGS = ("recording_id", "started_at", "server_version", "labels")
_FILES = 16
_ROWS = 20_000
"""Files of `sessions`, or their rows, that are read together first, at least."""
_DAY = timedelta(days=1)
_ALL = 1 << 62
_SPLIT = f"SELECT {', '.join(SHOWN)} FROM whole_sessions WHERE session_id IN (SELECT unnest($ids))"
Row = dict[str, Any]
Parts = dict[str, list[str]]
"""The recordings of sessions, by their key: the id, or of a stream without a session its recording and its number."""


def sessions(query: LakeQuery, wanted: Wanted, limit: int | None = None) -> Iterator[Row]:
    """Yield the sessions, the newest first, at most `limit`. Raises `LakeError`.

    With a limit, the newest files of `sessions` are read until there are enough sessions; of the other files, only what
    tells whether a part of these is there. Rows are those of the view `whole_sessions`. DuckDB is needed for sessions
    in several recordings only.
    """
    query.open("recordings", "sessions", *(["findings"] if wanted.findings else []))
    is_late = bool(wanted.statuses or wanted.models)  # whole sessions are needed to choose them
    enough = _ALL if limit is None else limit
    rows = list[Row]()
    waiting = Parts()
    for some in _chosen(query, wanted, limit if limit is None or not is_late else 4 * limit):
        waiting |= some
        if is_late or len(rows) + len(waiting) >= enough:
            rows += (one for one in _whole(query, waiting) if _matches(one, wanted))
            waiting.clear()
        if len(rows) >= enough:
            rows = _checked(query, rows)
            if len(rows) >= enough:
                break
    else:
        rows += (one for one in _whole(query, waiting) if _matches(one, wanted))
        rows = _checked(query, rows, is_all=limit is None)
    yield from rows[:limit]


def _matches(row: Row, wanted: Wanted) -> bool:
    is_model = any(fnmatchcase(row["model"] or "", one) for one in wanted.models)
    return (not wanted.statuses or row["outcome"] in wanted.statuses) and (is_model or not wanted.models)


def _chosen(query: LakeQuery, wanted: Wanted, limit: int | None) -> Iterator[Parts]:
    """Yield the sessions that may match, the newest first: about `limit`, then more and more; without one, all.

    A session with an earlier part in a file that is not read yet comes twice: first with some of its recordings, later
    with all.
    """
    columns = _CHOOSING if wanted.since is not None else _CHOOSING[:-1]
    left = sorted(query.files("sessions"), key=lambda one: (one.newest is None, one.newest or 0))
    found = list[pa.Table]()
    having = set[str]()
    labelled = set[str]()
    after: int | None = _ALL
    many: int = _ALL if limit is None else limit
    while left:
        before = after
        files = _newest(left, many, 1 << len(found))
        after = left[-1].newest if left else None
        has_further = bool(wanted.findings or wanted.labels)
        recordings = _held(query, files) if has_further and limit is not None else None
        if wanted.findings:
            having.update(_of_findings(query, wanted.findings, recordings))
        if wanted.labels:
            labelled.update(_of_labels(query, wanted.labels, recordings))
        where = _is_of(having) if wanted.findings else None
        found.append(query.scan("sessions", columns, files=files, where=where if limit is None else None))
        rows = pa.concat_tables(found)
        if where is not None:
            rows = rows.filter(where(rows))
        if wanted.since is not None:
            until = _until(rows)
            rows = _with_a_part(rows, pc.greater_equal(until, pa.scalar(wanted.since, until.type)))
        if wanted.labels:
            rows = _with_a_part(rows, pc.is_in(rows["recording_id"], pa.array(labelled, pa.string())))
        for some in _begun_between(rows, after, before, many):
            if wanted.findings:
                some = {key: recordings for key, recordings in some.items() if key in having}
            yield some
        many = min(2 * many, _ALL)


def _newest(left: list[File], many: int, times: int) -> list[File]:
    """Remove the newest files from the end of the list, and return them. They have `many` rows, or more."""
    taken = list[File]()
    rows = 0
    while left and (rows < many or max(len(taken) / _FILES, rows / _ROWS) < times or left[-1].newest is None):
        taken.append(left.pop())
        rows += taken[-1].rows or 0
    return taken


def _is_of(sessions: Collection[str]) -> Where:
    """Return a function that tells which rows are of these sessions, or of none."""
    ids = pa.array(sessions, pa.string())
    return lambda rows: pc.or_(pc.is_null(rows["session_id"]), pc.is_in(rows["session_id"], ids))


def _held(query: LakeQuery, files: Sequence[File]) -> set[str]:
    """Return the ids of the recordings whose rows may be in these files."""
    days = {one.day for one in files if one.recording_id is None}
    several = query.recordings().of_days(days) if days else set()
    return several | {one.recording_id for one in files if one.recording_id is not None}


def _begun_between(rows: pa.Table, after: int | None, before: int | None, many: int) -> Iterator[Parts]:
    """Yield the sessions that began after a time and not after another one, the newest first, `many` at a time.

    Times are in µs since 1970. Without `after`, those without a start are among them.
    """
    begun = rows["started_at"].combine_chunks().cast(pa.int64())
    rows = rows.set_column(rows.column_names.index("started_at"), "started_at", begun)  # Python is slow with times
    is_between = pc.less_equal(begun, before)
    if after is not None:
        is_between = pc.and_(is_between, pc.greater(begun, after))
    places = pc.indices_nonzero(pc.fill_null(is_between, after is None))
    newest = places.take(pc.array_sort_indices(begun.take(places), order="descending"))
    at = 0
    while at < len(newest):
        end = min(at + many, len(newest))
        while end < len(newest) and begun[newest[end].as_py()] == begun[newest[end - 1].as_py()]:
            end += 1  # those that began at the same time stay together
        yield _parts(rows, newest[at:end])
        many = min(2 * many, _ALL)
        at = end


def _until(rows: pa.Table) -> pa.ChunkedArray:
    lasted = pc.cast(pc.round(pc.multiply(pc.fill_null(rows["duration_s"], 0), 1e6)), pa.int64())
    return pc.add(rows["started_at"], pc.cast(lasted, pa.duration("us")))


def _with_a_part(rows: pa.Table, is_one: pa.Array) -> pa.Table:
    """Return the rows of the sessions that have a row with `is_one`."""
    ids = rows["session_id"]
    known = pc.is_in(ids, pc.drop_null(ids.filter(is_one)).unique())
    return rows.filter(pc.or_(known, pc.and_(pc.is_null(ids), pc.fill_null(is_one, False))))


def _parts(rows: pa.Table, places: pa.Array) -> Parts:
    """Return the sessions that begin in the rows at these places, the newest first, with all their recordings.

    Times are in µs since 1970.
    """
    some = rows.take(places).sort_by([("started_at", "descending"), ("session_id", "ascending")])
    ids = pc.drop_null(some["session_id"])
    of = rows if len(places) == rows.num_rows else rows.filter(pc.is_in(rows["session_id"], ids.combine_chunks()))
    counts = pc.value_counts(pc.drop_null(of["session_id"]).combine_chunks())
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    split: dict[str, list[tuple[int | None, str]]] = defaultdict(list)
    if len(several):
        parts = of.filter(pc.is_in(of["session_id"], several))
        for id_, started_at, recording_id in tuples(parts, "session_id", "started_at", "recording_id"):
            split[id_].append((started_at, recording_id))
    found: Parts = {}
    for recording_id, session_id, stream, started_at in tuples(some, *_CHOOSING[:4]):
        if session_id not in split:
            found[_key(recording_id, session_id, stream)] = [recording_id]
        elif (started_at, recording_id) == min(split[session_id], key=lambda part: (part[0] is None, part[0])):
            found[session_id] = sorted({recording for _, recording in split[session_id]})
    return found


def _key(recording_id: str, session_id: str | None, stream: int | None) -> str:
    return f"{recording_id} {stream}" if session_id is None else session_id


def _of_findings(query: LakeQuery, codes: Sequence[str], recordings: Collection[str] | None) -> Iterator[str]:
    """Yield the keys of the sessions with one of these findings, of all recordings by default."""
    names = ["recording_id", "session_id", "stream"]
    rows = query.scan("findings", names, among={"code": codes}, recordings=recordings)
    return map(_key, *(rows[name].to_pylist() for name in names))


def _of_labels(query: LakeQuery, labels: Mapping[str, str], recordings: Collection[str] | None) -> Iterator[str]:
    """Yield those of the recordings that have these labels, of all recordings by default."""
    rows = query.scan("recordings", ("recording_id", "labels"), recordings=recordings)
    return (id_ for id_, of in tuples(rows, *rows.column_names) if labels.items() <= dict(of or ()).items())


def _whole(query: LakeQuery, found: Parts) -> list[Row]:
    """Return the rows of `whole_sessions` of these sessions, with a parent only if the session's own rows tell it."""
    recordings = {one for some in found.values() for one in some}
    of: Any = {"where": _is_of(found)} if any(" " in key for key in found) else {"among": {"session_id": found}}
    rows = query.scan("sessions", ["recording_id", *_OWN], recordings=recordings, **of)
    of_recordings = query.scan("recordings", _OF_RECORDINGS, recordings=recordings)
    told = {one.pop("recording_id"): one for one in _plain_rows(of_recordings)}
    made = list[Row]()
    rows = rows.append_column("until", _until(rows))
    for row in _plain_rows(rows):
        recording_id = row["recording_id"]
        if len(found.get(_key(recording_id, row["session_id"], row["stream"]), ())) == 1:
            of = told.get(recording_id, {})  # its file may be lost
            row["server_version"] = of.get("server_version")
            row["labels"] = dict(of.get("labels") or ())
            row["recordings"] = [recording_id]
            made.append({name: row[name] for name in SHOWN})
    made += _split(query, {key: some for key, some in found.items() if len(some) > 1}, of_recordings)
    made.sort(key=lambda one: (one["session_id"] is None, one["session_id"], one["stream"]))
    return sorted(made, key=lambda one: str(one["started_at"] or ""), reverse=True)


def _plain_rows(rows: pa.Table) -> Iterator[Row]:
    """Yield rows whose times are texts, and whose NaN are null, as `plain` makes them."""
    columns = []
    for column in rows.columns:
        if pa.types.is_timestamp(column.type):
            column = pc.replace_substring(column.cast(pa.string()), " ", "T")
        elif pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        columns.append(column.to_pylist())
    names = rows.column_names
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _split(query: LakeQuery, found: Parts, recordings: pa.Table) -> Iterator[Row]:
    """Yield the rows of sessions in several recordings. `recordings`: their rows of that table, at least."""
    if not found:
        return
    with query.narrowed(recordings={one for some in found.values() for one in some}) as joined:
        joined.hold("recordings", recordings)
        for name in ("sessions", "turns"):
            joined.hold(name, joined.scan(name, among={"session_id": found}))
        for values in joined.rows(_SPLIT, {"ids": list(found)}).rows:
            yield dict(zip(SHOWN, map(plain, values), strict=True))


def _checked(query: LakeQuery, rows: Sequence[Row], *, is_all: bool = False) -> list[Row]:
    """Return the rows of sessions that have all their recordings, with the parents that only a stream tells.

    Such a parent is looked for in the same recordings, and in those of about the same time. `is_all`: no session lacks
    a recording.
    """
    ids = [] if is_all else sorted({row["session_id"] for row in rows if row["session_id"] is not None})
    without = [row for row in rows if row["parent_session_id"] is None]
    begun = [datetime.fromisoformat(row["started_at"]).date() for row in without if row["started_at"] is not None]
    first, last = (f"{min(begun) - _DAY}", f"{max(begun) + _DAY}") if begun else ("~", "")
    own = {query.recordings()[id_] for row in rows for id_ in row["recordings"]}
    near = list[File]()
    far = list[File]()
    for one in query.files("sessions"):
        if one.day in own or first <= one.day <= last:
            near.append(one)
        elif one.sessions is None or has_between(ids, *one.sessions):
            far.append(one)
    found = query.scan("sessions", ("session_id", "recording_id", CHILDREN), files=near)
    others = query.scan("sessions", ("session_id", "recording_id"), files=far, among={"session_id": ids})
    parts = defaultdict[str, set[str]](set)
    is_wanted = pc.is_in(found["session_id"], pa.array(ids, pa.string()))
    for some in (found.filter(is_wanted), others):
        for session_id, recording_id in tuples(some, "session_id", "recording_id"):
            parts[session_id].add(recording_id)
    named = found.filter(pc.is_valid(found[CHILDREN]))
    parents = {child: parent for parent, of in tuples(named, "session_id", CHILDREN) for child in of}
    for row in without:
        row["parent_session_id"] = parents.get(row["session_id"])
    return [row for row in rows if row["session_id"] not in parts or parts[row["session_id"]] == {*row["recordings"]}]
