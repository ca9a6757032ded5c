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
        lasted = pc.cast(pc.round(pc.multiply(pc.fill_null(rows["duration_s"], 0), 1e6)), pa.int64())
        until = pc.add(rows["started_at"], pc.cast(lasted, pa.duration("us")))
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
    rows, split, at = *_newest_first(rows), 0
    while at < rows.num_rows:
        some, at = _parts(rows.slice(at, many), split), at + many
        if wanted.findings and many < _ALL:
            left = {one for recordings in some.values() for one in recordings} - read
            read |= left
            have.update(_of_findings(query, wanted.findings, left))
        if wanted.findings:
            some = {key: recordings for key, recordings in some.items() if key in have}
        if some:
            yield some
        many = min(2 * many, _ALL)


def _with_a_part(rows: pa.Table, is_one: pa.Array) -> pa.Table:
    """Return the rows of the sessions that have a row with `is_one`."""
    ids = rows["session_id"]
    known = pc.is_in(ids, pc.drop_null(ids.filter(is_one)).unique())
    return rows.filter(pc.or_(known, pc.and_(pc.is_null(ids), pc.fill_null(is_one, False))))


def _newest_first(rows: pa.Table) -> tuple[pa.Table, Parts]:
    """Return a row for each session by its beginning, and the recordings of those in several recordings."""
    counts = pc.value_counts(pc.drop_null(rows["session_id"]).combine_chunks())
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    split: dict[str, list[tuple[int, datetime | None, str]]] = defaultdict(list)
    if len(several):
        places = pc.indices_nonzero(pc.is_in(rows["session_id"], several))
        of = rows.select(["session_id", "started_at", "recording_id"]).take(places)
        for place, id_, *more in zip(places.to_pylist(), *(one.to_pylist() for one in of.columns), strict=True):
            split[id_].append((place, *more))
        later = [place for some in split.values() for place, *_ in sorted(some, key=_begun)[1:]]
        is_later = pc.is_in(pa.array(range(rows.num_rows), pa.int64()), pa.array(later, pa.int64()))
        rows = rows.filter(pc.invert(is_later))
    rows = rows.sort_by([("started_at", "descending"), ("session_id", "ascending")])
    return rows, {id_: sorted({recording for *_, recording in some}) for id_, some in split.items()}


def _begun(part: tuple[int, datetime | None, str]) -> tuple[bool, datetime | None]:
    return part[1] is None, part[1]


def _parts(rows: pa.Table, split: Parts) -> Parts:
    columns = (rows[name].to_pylist() for name in ("recording_id", "session_id", "stream"))
    return {_key(*one): split.get(one[1], [one[0]]) for one in zip(*columns, strict=True)}


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
    told = {one["recording_id"]: one for one in of_recordings.to_pylist()}
    made = list[Row]()
    for row in rows.to_pylist():
        recording_id = row.pop("recording_id")
        key = _key(recording_id, row["session_id"], row["stream"])
        if len(found.get(key, ())) == 1:
            lasted = timedelta(microseconds=round((row["duration_s"] or 0) * 1e6))
            row["until"] = None if row["started_at"] is None else row["started_at"] + lasted
            row["server_version"] = told[recording_id]["server_version"]
            row["labels"], row["recordings"] = told[recording_id]["labels"], [recording_id]
            made.append({name: dict(row[name] or ()) if name == "labels" else plain(row[name]) for name in SHOWN})
    made += _split(query, {key: some for key, some in found.items() if len(some) > 1}, of_recordings)
    _add_parents(query, made, parents, recordings)
    made.sort(key=lambda one: (one["session_id"] is None, one["session_id"], one["stream"]))
    return sorted(made, key=lambda one: str(one["started_at"] or ""), reverse=True)


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
