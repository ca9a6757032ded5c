"""The sessions of a lake, each once: the rows of `whole_sessions` that match some filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .query import LakeQuery, plain

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


_KEY = "coalesce(session_id, concat_ws(' ', recording_id, stream))"
_FOUND = f"SELECT DISTINCT {_KEY} FROM findings WHERE code IN (SELECT unnest($findings))"
_KEPT = f"child_session_ids IS NOT NULL OR {_KEY} IN (SELECT unnest($keys))"
_IN = "recording_id IN (SELECT unnest($recordings))"
_OF_RECORDINGS = "recording_id, started_at, server_version, labels"
_CANDIDATES = """
SELECT coalesce(s.session_id, concat_ws(' ', s.recording_id, s.stream)) AS key, list(s.recording_id)
FROM sessions s{labels}
WHERE {where} GROUP BY key HAVING {having} ORDER BY min(s.started_at) DESC, key {limit}
"""
_WHOLE = f"""
SELECT {", ".join(SHOWN)} FROM whole_sessions
WHERE coalesce(session_id, concat_ws(' ', recordings[1], stream)) IN (SELECT unnest($keys)) AND {{where}}
ORDER BY started_at DESC, session_id {{limit}}
"""


def sessions(query: LakeQuery, wanted: Wanted, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the sessions, the newest first, at most `limit`. Raises `LakeError`.

    First a few columns of all sessions are read, or of `findings`, then the rest of those that may match.
    """
    where, having, exact, given = ["true"], ["true"], ["true"], dict[str, Any]()
    if wanted.since is not None:
        given["since"] = wanted.since
        having.append("max(s.started_at + to_microseconds((coalesce(s.duration_s, 0) * 1e6)::BIGINT)) >= $since")
    for number, (name, value) in enumerate(wanted.labels.items()):
        given |= {f"key{number}": name, f"label{number}": value}
        having.append(f"bool_or(r.labels[$key{number}] = $label{number})")
    if wanted.statuses:
        given["statuses"] = list(wanted.statuses)
        exact.append("outcome IN (SELECT unnest($statuses))")
    for number, model in enumerate(wanted.models):
        given[f"model{number}"] = model
    if wanted.models:
        exact.append("(" + " OR ".join(f"model GLOB $model{number}" for number in range(len(wanted.models))) + ")")
    most = "" if limit is None else f"LIMIT {limit}"
    with query.narrowed() as first:
        if wanted.findings:
            given["keys"] = [one for (one,) in first.rows(_FOUND, {"findings": list(wanted.findings)}).rows]
            if not given["keys"]:
                return
            first.hold("sessions", _KEPT, {"keys": given["keys"]})
            where.append("key IN (SELECT unnest($keys))")
        sql = _CANDIDATES.format(
            labels=" JOIN recordings r USING (recording_id)" if wanted.labels else "",
            where=" AND ".join(where),
            having=" AND ".join(having),
            limit=most if len(exact) == 1 else "",
        )
        found = dict(first.rows(sql, _named_in(sql, given)).rows)
        if not found:
            return
        sql = _WHOLE.format(where=" AND ".join(exact), limit=most)
        with _whole(first, found, is_held=bool(wanted.findings)) as rest:
            for row in rest.rows(sql, {**_named_in(sql, given), "keys": list(found)}).rows:
                yield dict(zip(SHOWN, map(plain, row), strict=True))


def _named_in(sql: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if f"${name}" in sql}


@contextmanager
def _whole(query: LakeQuery, found: Mapping[str, list[str]], *, is_held: bool) -> Iterator[LakeQuery]:
    """Give a query with all that `whole_sessions` reads for these sessions in memory.

    `found`: their recordings by key. `is_held`: whether the query has their rows of `sessions` in memory.
    """
    recordings = {one for some in found.values() for one in some}
    with nullcontext(query) if is_held else query.narrowed(recordings=recordings) as rest:
        if not is_held:
            rest.hold("sessions", _KEPT, {"keys": list(found)})
        rest.hold("recordings", _IN, {"recordings": sorted(recordings)}, _OF_RECORDINGS)
        split = [one for (one,) in rest.rows("FROM split_sessions").rows]
        if split:
            rest.hold("turns", "session_id IN (SELECT unnest($split))", {"split": split})
        else:
            rest.hold("turns")
        yield rest


def root_of(session_id: str, parents: Mapping[str, str]) -> str:
    """Return the id of the session that began a tree of sub-agents. A damaged lake may have parents in a circle."""
    seen = {session_id}
    while (parent := parents.get(session_id)) is not None and parent not in seen:
        seen.add(parent)
        session_id = parent
    return session_id
