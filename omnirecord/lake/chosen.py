"""Chooses the sessions of a lake that are to be forgotten: by their ids, by a label, or by a condition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ..model import children_of, reached
from .forget import plan
from .forgotten import Forgotten, Leaving
from .get import is_named, the_session
from .layout import CHILDREN
from .location import Lake
from .query import LakeQuery
from .scan import tuples

_EDGES = ("session_id", "parent_session_id", CHILDREN)


@dataclass(frozen=True, slots=True)
class Chosen:
    sessions: frozenset[str] = frozenset()
    """With their sub-agents."""
    leaving: Mapping[str, Leaving] = field(default_factory=dict)
    """What leaves each recording."""
    parents: frozenset[str] = frozenset()
    """The sessions that started one of these, and stay."""


def by_id(lake: Lake, forgotten: Forgotten, names: Sequence[str]) -> Chosen:
    """Return these sessions. A forgotten one needs its whole id. Raises `UsageError` for an unknown one."""
    with LakeQuery(lake) as query:
        rows = query.scan("sessions", ("day", "session_id"), where=lambda rows: _is_any(rows["session_id"], names))
        found = {name if forgotten.has(name) else the_session(query, name, rows)[0] for name in names}
        return _chosen(lake, query, found)


def _is_any(ids: pa.Array, names: Sequence[str]) -> pa.Array:
    made = is_named(ids, names[0])
    for name in names[1:]:
        made = pc.or_(made, is_named(ids, name))
    return made


def by_label(lake: Lake, labels: Mapping[str, str]) -> Chosen:
    """Return all sessions of the recordings with these labels, and these recordings."""
    given = {f"k{n}": key for n, key in enumerate(labels)} | {f"v{n}": value for n, value in enumerate(labels.values())}
    has = " AND ".join(f"labels[$k{n}] = $v{n}" for n in range(len(labels)))
    with LakeQuery(lake) as query:
        whole = {one for (one,) in query.rows(f"SELECT recording_id FROM recordings WHERE {has}", given).rows}
        rows = query.scan(
            "sessions", ("session_id",), recordings=whole, where=lambda rows: pc.is_valid(rows["session_id"])
        )
        return _chosen(lake, query, set(rows["session_id"].to_pylist()), whole=whole)


def by_sql(lake: Lake, where: str) -> Chosen:
    """Return the sessions for which a condition over `whole_sessions` holds. Raises `UsageError` for a mistake."""
    with LakeQuery(lake) as query:
        found = list(query.run(f"SELECT session_id, stream, recordings[1] FROM whole_sessions WHERE ({where}\n)").rows)
        sessions = {session for session, _, _ in found if session is not None}
        streams = {(recording, stream) for session, stream, recording in found if session is None}
        return _chosen(lake, query, sessions, streams=streams)


def rediscovered(lake: Lake, forgotten: Forgotten) -> Chosen:
    """Return the forgotten sessions that are in the lake: an older version shipped them, or a backup was restored."""
    found = set[str]()

    def is_gone(session: str | None) -> bool:
        if session is not None and forgotten.has(session):
            found.add(session)
            return True
        return False

    leaving = plan(lake, is_gone) if forgotten else {}
    return Chosen(frozenset(found), leaving)


def _chosen(
    lake: Lake,
    query: LakeQuery,
    sessions: Collection[str],
    *,
    whole: Collection[str] = (),
    streams: Collection[tuple[str, int]] = (),
) -> Chosen:
    if not sessions and not whole and not streams:
        return Chosen()
    parents = dict(_edges(query))
    tree = frozenset(reached([*sessions], children_of(parents)))
    leaving = plan(lake, tree.__contains__, sessions=tree, whole=whole, streams=streams)
    above = {parents[one] for one in tree if one in parents} - tree
    return Chosen(tree, leaving, frozenset(above))


def _edges(query: LakeQuery) -> Iterator[tuple[str, str]]:
    """Yield each sub-agent with its parent."""
    rows = query.scan("sessions", _EDGES, where=lambda rows: pc.or_(*(pc.is_valid(rows[one]) for one in _EDGES[1:])))
    for session, parent, children in tuples(rows, *_EDGES):
        if parent is not None:
            yield session, parent
        for child in children or ():
            yield child, session
