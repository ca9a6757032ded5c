"""The sessions of a lake, each once: the rows of `whole_sessions` that match some filters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .query import LakeQuery
from .scan import tuples
from .tables import CHILDREN, SCHEMAS
from .values import plain

SHOWN = (
    "session_id", "stream", "parent_session_id", "started_at", "until", "duration_s", "asked", "model",
    "server_version", "turns", "outcome", "verdict", "conclusion_code", "finding_code", "finding_severity",
    "finding_message", "errors", "warnings", "notes", "input_tokens", "output_tokens", "total_tokens", "cost_usd",
    "first_token_s", "labels", "recordings",
)  # fmt: skip
"""The columns of a row, and the keys of `lake sessions --json`."""


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
"""The columns of `sessions` that are read of all recordings."""
_PART = ("session_id", "started_at", "recording_id")
_OWN = tuple(name for name in SHOWN if name in SCHEMAS["sessions"].names)
_OF_RECORDINGS = ("recording_id", "started_at", "server_version", "labels")
_DAY = timedelta(days=1)
_ALL = 1 << 62
_SPLIT = f"SELECT {', '.join(SHOWN)} FROM whole_sessions WHERE session_id IN (SELECT unnest($ids))"
Row = dict[str, Any]
Parts = dict[str, list[str]]
"""The recordings of sessions, by their key: the id, or of a stream without a session its recording and its number."""


def sessions(query: LakeQuery, wanted: Wanted, limit: int | None = None) -> Iterator[Row]:
    """Yield the sessions, the newest first, at most `limit`. Raises `LakeError`.

    A few columns of all sessions are read; the findings and the rest only of the newest ones that may match. Rows are
    those of the view `whole_sessions`. DuckDB is needed for sessions in several recordings only.
    """
    is_late = bool(wanted.statuses or wanted.models)  # whole sessions are needed to choose them
    many = _ALL if limit is None else 4 * limit if is_late or wanted.findings else limit
    left, chosen = limit, _chosen(query, wanted, many)
    for some in chosen if is_late or limit is None else _first(chosen, limit):
        rows = [one for one in _whole(query, some) if _matches(one, wanted)]
        yield from rows if left is None else rows[:left]
        if left is not None:
            left -= len(rows)
            if left <= 0:
                return


def _first(chosen: Iterable[Parts], limit: int) -> Iterator[Parts]:
    """Yield the first sessions together, `limit` of them if there are as many."""
    found: Parts = {}
    for some in chosen:
        found |= some
        if len(found) >= limit:
            break
    if found:
        yield dict(islice(found.items(), limit))


def _matches(row: Row, wanted: Wanted) -> bool:
    is_model = any(fnmatchcase(row["model"] or "", one) for one in wanted.models)
    return (not wanted.statuses or row["outcome"] in wanted.statuses) and (is_model or not wanted.models)


def _chosen(query: LakeQuery, wanted: Wanted, many: int) -> Iterator[Parts]:
    """Yield the sessions that may match, the newest first: first of `many`, then of more and more."""
    columns = _CHOOSING if wanted.since is not None else _CHOOSING[:-1]
    rows = query.scan("sessions", columns)
    if wanted.since is not None:
        until = _until(rows)
        rows = _with_a_part(rows, pc.greater_equal(until, pa.scalar(wanted.since, until.type)))
    if wanted.labels:
        labels = query.scan("recordings", ("recording_id", "labels"))
        for one in wanted.labels.items():
            ids = [id_ for id_, of in zip(*map(pa.ChunkedArray.to_pylist, labels.columns), strict=True) if one in of]
            rows = _with_a_part(rows, pc.is_in(rows["recording_id"], pa.array(ids, pa.string())))
    read, have = set[str](), set[str]()
    if wanted.findings and many == _ALL:
        have.update(_of_findings(query, wanted.findings, None))
        rows = rows.filter(
            pc.or_(pc.is_null(rows["session_id"]), pc.is_in(rows["session_id"], pa.array(have, pa.string())))
        )
    begun, at = rows["started_at"].combine_chunks(), 0
    newest = pc.array_sort_indices(begun, order="descending")
    while at < rows.num_rows:
        end = _behind_equals(begun, newest, min(at + many, rows.num_rows))
        some, at = _parts(rows, newest[at:end]), end
        if wanted.findings and many < _ALL:
            left = {one for recordings in some.values() for one in recordings} - read
            read |= left
            have.update(_of_findings(query, wanted.findings, left))
        if wanted.findings:
            some = {key: recordings for key, recordings in some.items() if key in have}
        if some:
            yield some
        many = min(2 * many, _ALL)


def _until(rows: pa.Table) -> pa.ChunkedArray:
    """Return when each session ended."""
    lasted = pc.cast(pc.round(pc.multiply(pc.fill_null(rows["duration_s"], 0), 1e6)), pa.int64())
    return pc.add(rows["started_at"], pc.cast(lasted, pa.duration("us")))


def _with_a_part(rows: pa.Table, is_one: pa.Array) -> pa.Table:
    """Return the rows of the sessions that have a row with `is_one`."""
    ids = rows["session_id"]
    known = pc.is_in(ids, pc.drop_null(ids.filter(is_one)).unique())
    return rows.filter(pc.or_(known, pc.and_(pc.is_null(ids), pc.fill_null(is_one, False))))


def _behind_equals(values: pa.Array, order: pa.Array, at: int) -> int:
    """Return `at`, or the next place in the order whose value differs from the one before it."""
    while at < len(order) and values[order[at].as_py()] == values[order[at - 1].as_py()]:
        at += 1
    return at


def _parts(rows: pa.Table, places: pa.Array) -> Parts:
    """Return the sessions that begin in the rows at these places, the newest first, with all their recordings."""
    some = rows.take(places).sort_by([("started_at", "descending"), ("session_id", "ascending")])
    ids = pc.drop_null(some["session_id"])
    of = rows if len(places) == rows.num_rows else rows.filter(pc.is_in(rows["session_id"], ids.combine_chunks()))
    counts = pc.value_counts(pc.drop_null(of["session_id"]).combine_chunks())
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    split: dict[str, list[tuple[datetime | None, str]]] = defaultdict(list)
    if len(several):
        for id_, *part in tuples(of.filter(pc.is_in(of["session_id"], several)), *_PART):
            split[id_].append((part[0], part[1]))
    found: Parts = {}
    for recording_id, session_id, stream, started_at in tuples(some, *_CHOOSING[:4]):
        if session_id not in split:
            found[_key(recording_id, session_id, stream)] = [recording_id]
        elif (started_at, recording_id) == min(split[session_id], key=_begun):
            found[session_id] = sorted({recording for _, recording in split[session_id]})
    return found


def _begun(part: tuple[datetime | None, str]) -> tuple[bool, datetime | None]:
    return part[0] is None, part[0]


def _key(recording_id: str, session_id: str | None, stream: int | None) -> str:
    return f"{recording_id} {stream}" if session_id is None else session_id


def _of_findings(query: LakeQuery, codes: Sequence[str], recordings: Collection[str] | None) -> Iterator[str]:
    """Yield the keys of the sessions with one of these findings, of all recordings by default."""
    names = ["recording_id", "session_id", "stream"]
    rows = query.scan("findings", [*names, "code"], where=pc.field("code").isin(list(codes)), recordings=recordings)
    return map(_key, *(rows[name].to_pylist() for name in names))


def _whole(query: LakeQuery, found: Parts) -> list[Row]:
    """Return the rows of `whole_sessions` of these sessions."""
    recordings = {one for some in found.values() for one in some}
    rows = query.scan("sessions", ["recording_id", *_OWN, CHILDREN], recordings=recordings)
    parents = _parents(rows)
    ids = pc.field("session_id")
    rows = rows.filter(ids.is_null() | ids.isin(list(found))).drop_columns([CHILDREN])
    of_recordings = query.scan("recordings", _OF_RECORDINGS, recordings=recordings)
    told = {one.pop("recording_id"): one for one in _plain_rows(of_recordings)}
    made = list[Row]()
    rows = rows.append_column("until", _until(rows))
    for row in _plain_rows(rows):
        recording_id = row["recording_id"]
        if len(found.get(_key(recording_id, row["session_id"], row["stream"]), ())) == 1:
            of = told[recording_id]
            row["server_version"], row["labels"] = of["server_version"], dict(of["labels"] or ())
            row["recordings"] = [recording_id]
            made.append({name: row[name] for name in SHOWN})
    made += _split(query, {key: some for key, some in found.items() if len(some) > 1}, of_recordings)
    _add_parents(query, made, parents, recordings)
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
    ids, of = pc.field("session_id").isin(list(found)), {one for some in found.values() for one in some}
    with query.narrowed(recordings=of) as joined:
        joined.hold("recordings", recordings)
        for name in ("sessions", "turns"):
            joined.hold(name, joined.scan(name, where=ids))
        for values in joined.rows(_SPLIT, {"ids": list(found)}).rows:
            yield dict(zip(SHOWN, map(plain, values), strict=True))


def _add_parents(query: LakeQuery, rows: Sequence[Row], parents: Mapping[str, str], known: Collection[str]) -> None:
    """Add the parents that only a stream tells, maybe in a recording of about the same time without the session.

    `parents`: those that the recordings `known` tell.
    """
    without = [row for row in rows if row["session_id"] not in parents and row["parent_session_id"] is None]
    times = [datetime.fromisoformat(row["started_at"]) for row in without if row["started_at"] is not None]
    more = dict[str, str]()
    if times:
        days = min(times).date() - _DAY, max(times).date() + _DAY
        with query.narrowed(days=days) as near:
            others = query.recording_ids().difference(known)
            where = pc.field(CHILDREN).is_valid()
            more = _parents(near.scan("sessions", ["session_id", CHILDREN], where=where, recordings=others))
    for row in rows:
        id_ = row["session_id"]
        row["parent_session_id"] = row["parent_session_id"] or parents.get(id_) or more.get(id_)


def _parents(rows: pa.Table) -> dict[str, str]:
    """Return the parent of each session that the streams of its parent tell."""
    some = rows.select(["session_id", CHILDREN]).filter(pc.is_valid(rows[CHILDREN]))
    pairs = zip(*(column.to_pylist() for column in some.columns), strict=True)
    return {child: parent for parent, children in pairs for child in children}


def root_of(session_id: str, parents: Mapping[str, str]) -> str:
    """Return the id of the session that began a tree of sub-agents. A damaged lake may have parents in a circle."""
    seen = {session_id}
    while (parent := parents.get(session_id)) is not None and parent not in seen:
        seen.add(parent)
        session_id = parent
    return session_id
