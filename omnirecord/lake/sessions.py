"""The sessions of a lake, each once: the rows of `whole_sessions` that match some filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .query import LakeQuery

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


def sessions(query: LakeQuery, wanted: Wanted, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the sessions, the newest first, at most `limit`. Raises `LakeError`."""
    where, given = ["true"], dict[str, Any]()
    if wanted.findings:
        given["findings"] = list(wanted.findings)
        where.append("session_id IN (SELECT session_id FROM findings WHERE code IN (SELECT unnest($findings)))")
    if wanted.since is not None:
        given["since"] = wanted.since
        where.append("until >= $since")
    for number, (key, value) in enumerate(wanted.labels.items()):
        given |= {f"key{number}": key, f"label{number}": value}
        where.append(f"labels[$key{number}] = $label{number}")
    if wanted.statuses:
        given["statuses"] = list(wanted.statuses)
        where.append("outcome IN (SELECT unnest($statuses))")
    if wanted.models:
        given |= {f"model{number}": one for number, one in enumerate(wanted.models)}
        where.append("(" + " OR ".join(f"model GLOB $model{number}" for number in range(len(wanted.models))) + ")")
    sql = f"SELECT {', '.join(SHOWN)} FROM whole_sessions WHERE {' AND '.join(where)}"
    sql += " ORDER BY started_at DESC, session_id"
    if limit is not None:
        sql += f" LIMIT {limit}"
    return (dict(zip(SHOWN, row, strict=True)) for row in query.rows(sql, given).rows)
