"""Finds words in the texts of a lake: questions, answers, tools, approvals, and both sides of model calls.

DuckDB chooses the texts that contain the words anywhere. The index of `analysis.search` then decides, so that a query
means the same as in `omnirecord search`. An equal text of one session is one hit, at its first place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from ..analysis.search.documents import text_in
from ..analysis.search.query import WIDTH, Query, Snippet, Term, in_texts, is_word, parse
from ..errors import UsageError
from .query import LakeQuery
from .sql import plain

_BEGAN = {"turns": "coalesce(asked_at, started_at)", "tools": "called_at", "approvals": "asked_at"}
_TEXTS = {
    "turns": ("asked", "text", "reasoning", "error_message"),
    "tools": ("name", "arguments", "output"),
    "approvals": ("message",),
    "model_calls": ("instructions", "asked", "text", "tool_calls", "error"),
}
"""The columns that are searched. Of equal texts at one time, the first column counts."""
PARTS = tuple(f"{table}.{column}" for table, columns in _TEXTS.items() for column in columns)
_FIRST = 200
"""Texts that DuckDB chooses at first, for each hit that is wanted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A query, and filters that all apply. `part`: a glob of `PARTS`; `session`: an id or the beginning of one."""

    query: Query
    part: str | None = None
    session: str | None = None
    since: datetime | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    recording_id: str
    session_id: str | None
    turn: int | None
    exchange: int | None
    """The number of a model call's exchange."""
    at: str | None
    part: str
    """One of `PARTS`."""
    times: int
    """How often the session has the text."""
    snippet: Snippet

    def row(self) -> dict[str, Any]:
        """Return the object of `lake search --json`. Keys are fixed."""
        return {
            "recording_id": self.recording_id,
            "session_id": self.session_id,
            "turn": self.turn,
            "exchange": self.exchange,
            "at": self.at,
            "part": self.part,
            "times": self.times,
            "snippet": self.snippet.marked(),
        }


def wanted_of(text: str, part: str | None = None, **filters: Any) -> Wanted:
    """Return a search. Raises `UsageError` for an empty query, and for a part that no text has."""
    if part is not None and not any(fnmatchcase(one, part) for one in PARTS):
        raise UsageError(f"--part {part!r} names no text: there are {', '.join(PARTS)}")
    return Wanted(parse(text), part, **filters)


def search(query: LakeQuery, wanted: Wanted, limit: int, width: int = WIDTH) -> list[Hit]:
    """Return the newest hits, at most `limit`. Raises `LakeError`."""
    many = _FIRST + 2 * limit
    while True:
        found = list(_chosen(query, wanted, many))
        snippets = in_texts([text_in(row["text"]) for row in found], wanted.query, width)
        if len(snippets) >= limit or len(found) < many:
            break
        many *= 8
    return [_hit(found[place], snippet) for place, snippet in sorted(snippets.items())[:limit]]


def _hit(row: Mapping[str, Any], snippet: Snippet) -> Hit:
    place = row["place"]
    return Hit(
        place["recording_id"],
        row["session_id"],
        place["turn"],
        place["exchange"],
        row["since"],
        place["part"],
        row["times"],
        snippet,
    )


def _chosen(query: LakeQuery, wanted: Wanted, many: int) -> Iterator[dict[str, Any]]:
    """Yield the newest texts that may match, each once for a session."""
    given: dict[str, Any] = {}

    def value(one: Any) -> str:
        given[f"v{len(given)}"] = one
        return f"$v{len(given) - 1}"

    def has(term: Term) -> str:
        """JSON may escape a letter with an accent."""
        words = [term.text] if term.is_symbol else "".join(c if is_word(c) else " " for c in term.text).split()
        escaped = r"regexp_matches(text, '\\u(00[c-f]|01)')" if term.text.isascii() else r"contains(text, '\u')"
        return (
            " AND ".join(
                f"(contains(strip_accents(lower(text)), strip_accents(lower({value(word)}))) OR {escaped})"
                for word in words
            )
            or "true"
        )

    clauses = (" AND ".join(map(has, clause.wanted)) or "true" for clause in wanted.query)
    conditions = [f"({' OR '.join(f'({clause})' for clause in clauses)})"]
    if wanted.session is not None:
        conditions.append(f"starts_with(session_id, {value(wanted.session)})")
    if wanted.since is not None:
        conditions.append(f"began >= {value(wanted.since)}")
    for key, label in (wanted.labels or {}).items():
        has_label = f"labels[{value(key)}] = {value(label)}"
        conditions.append(f"recording_id IN (SELECT recording_id FROM recordings WHERE {has_label})")
    sql = f"""
SELECT session_id, text, min(began) AS since, count(*) AS times,
  arg_min({{'recording_id': recording_id, 'turn': turn, 'exchange': exchange, 'part': part}}, (began, rank)) AS place
FROM ({" UNION ALL ".join(_texts(wanted.part))}) WHERE {" AND ".join(conditions)}
GROUP BY session_id, text, CASE WHEN session_id IS NULL THEN recording_id END
ORDER BY since DESC NULLS LAST, session_id, place, text LIMIT {many}
"""
    found = query.rows(sql, given)
    return (dict(zip(found.columns, map(plain, row), strict=True)) for row in found.rows)


def _texts(part: str | None) -> Iterator[str]:
    for rank, name in enumerate(PARTS):
        table, _, column = name.partition(".")
        exchange = "exchange" if table == "model_calls" else "NULL::BIGINT"
        if part is None or fnmatchcase(name, part):
            began = _BEGAN.get(table, "started_at")
            yield (
                f"SELECT recording_id, session_id, turn, {exchange} AS exchange, {began} AS began, '{name}' AS part,"
                f" {rank} AS rank, {column} AS text FROM {table} WHERE {column} <> ''"
            )
