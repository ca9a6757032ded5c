"""The sessions of a lake, each once: the rows of `whole_sessions` that match some filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

    First a few columns of all sessions are read, then the rest of those that may match, of their recordings only.
    """
    where, having, exact, given = ["true"], ["true"], ["true"], dict[str, Any]()
    if wanted.findings:
        given["findings"] = list(wanted.findings)
        keys = "SELECT coalesce(session_id, concat_ws(' ', recording_id, stream)) FROM findings"
        where.append(f"key IN ({keys} WHERE code IN (SELECT unnest($findings)))")
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
    sql = _CANDIDATES.format(
        labels=" JOIN recordings r USING (recording_id)" if wanted.labels else "",
        where=" AND ".join(where),
        having=" AND ".join(having),
        limit=most if len(exact) == 1 else "",
    )
    first = {name: value for name, value in given.items() if f"${name}" in sql}
    found = list(query.rows(sql, first).rows)
    if not found:
        return
    recordings = {one for _, some in found for one in some}
    with query.narrowed(recordings=recordings) as rest:
        sql = _WHOLE.format(where=" AND ".join(exact), limit=most)
        second = {name: value for name, value in given.items() if f"${name}" in sql}
        for row in rest.rows(sql, {**second, "keys": [key for key, _ in found]}).rows:
            yield dict(zip(SHOWN, map(plain, row), strict=True))
