"""The requests of the page on a lake by name: options in, a value for JSON out. No HTTP.

The sessions, findings, first-token times and problems of the lake are copied once, into a temporary database with a
limit of memory. Filters, counts and pages of the list are queries over these copies, which take milliseconds. A copy is
renewed when the lake has a newer commit, at most once a minute, or when the page asks for it.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from threading import Lock
from typing import Any

from ..errors import LakeError, UsageError, __version__
from ..model import moment_of
from ..server.timers import monotonic
from .location import Lake
from .lost import about_missing
from .query import LakeQuery
from .sessions import SHOWN
from .sql import plain

Options = Mapping[str, str]
Row = dict[str, Any]
MEMORY = "1GB"
"""Memory for the copies and for the queries over them; the rest of the copies is in a temporary file."""
RENEW_AFTER = 60.0
"""Seconds after which a request looks for a newer commit of the lake."""
ON_A_PAGE = 100
"""Sessions on one page of the list."""
MOST_DAYS = 366
"""Most days of the trends; the newest ones are shown."""
MOST_LABELS = 200
"""Most labels that are offered as a filter; the most frequent ones."""
SERIES = 7
"""Most series of a plot; the others are added up as `other`."""
NONE = "none"
"""Value of the filters for a session without a finding, or without a model."""
_NAMES = ("from", "to", "label", "finding", "status", "model", "text")
"""The filters."""

_KEY = "coalesce(session_id, concat_ws(' ', {recording}, stream))"
_LISTED = f"CREATE TABLE listed AS SELECT *, {_KEY.format(recording='recordings[1]')} AS whole FROM whole_sessions"
_FOUND = f"""
CREATE TABLE found AS SELECT {_KEY.format(recording="recording_id")} AS whole, code,
  max(list_position(['note', 'warning', 'error'], severity)) AS severe
FROM findings WHERE session_id IS NOT NULL OR stream IS NOT NULL GROUP BY ALL
"""
_HEARD = f"""
CREATE TABLE heard AS SELECT {_KEY.format(recording="recordings[1]")} AS whole,
  coalesce(asked_at, started_at)::DATE AS on_day, first_token_s
FROM whole_turns WHERE first_token_s IS NOT NULL
"""
_DRIFT = """
CREATE TABLE drift AS SELECT r.started_at, coalesce(r.server_version, 'not recorded') AS version, r.labels,
  sum(p.count)::BIGINT AS many
FROM problems p JOIN recordings r USING (recording_id) GROUP BY ALL
"""
_WORST = "list_position(['note', 'warning', 'error'], finding_severity)"
_ORDERS = {
    "time": "started_at DESC NULLS LAST, whole",
    "finding": f"coalesce({_WORST}, 0) DESC, errors DESC, warnings DESC, started_at DESC NULLS LAST, whole",
}


@dataclass(slots=True, weakref_slot=True)
class _Copy:
    """The copies of one state of the lake. They are closed when no request uses them any more."""

    query: LakeQuery
    version: int
    read_at: datetime
    looked: float
    has_trends: bool = False
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        weakref.finalize(self, self.query.close)


class LakeAnswers:
    """Answers the page's requests, in several threads. `clock` is monotonic, in seconds."""

    def __init__(self, lake: Lake, clock: Callable[[], float] = monotonic) -> None:
        self._lake = lake
        self._clock = clock
        self._renewing = Lock()
        self._copy: _Copy | None = None
        self._trouble: str | None = None
        self._names: dict[str, Callable[[LakeQuery, Options], Row]] = {"sessions": sessions, "trends": trends}

    def __contains__(self, name: str) -> bool:
        return name == "lake" or name in self._names

    @property
    def version(self) -> int | None:
        """The newest commit of `recordings` that is known; None before the first request."""
        copy = self._copy
        return None if copy is None else copy.version

    def answer(self, name: str, asked: Options) -> Row:
        """The value of a request. Raises `UsageError` for bad options, `LakeError` for a store that fails."""
        if name == "lake":
            return {"lake": self._lake.url, "version": __version__}
        copy = self._newest(is_wanted=asked.get("renew") == "1")
        if name == "trends":
            with copy.lock:
                for sql in () if copy.has_trends else (_HEARD, _DRIFT):
                    copy.query.rows(sql)
                copy.has_trends = True
        found = self._names[name](copy.query, asked)
        return {
            **found,
            "read_at": copy.read_at.isoformat(timespec="seconds"),
            "trouble": self._trouble,
            "missing": self._missing(),
        }

    def _missing(self) -> str | None:
        """The sentence for the files that the answers lack; None if they are complete."""
        found = self._lake.missing.files()
        return about_missing(self._lake, found) if found else None

    def close(self) -> None:
        """Close the copies, as soon as no request uses them."""
        self._copy = None

    def _newest(self, *, is_wanted: bool) -> _Copy:
        """The copies; renewed before if that `is_wanted`, or if they are old and no other request renews them."""
        copy = self._copy
        is_old = copy is None or self._clock() - copy.looked >= RENEW_AFTER
        if (is_old or is_wanted) and self._renewing.acquire(blocking=is_wanted or copy is None):
            try:
                self._renew(is_wanted=is_wanted)
            finally:
                self._renewing.release()
        copy = self._copy
        assert copy is not None
        return copy

    def _renew(self, *, is_wanted: bool) -> None:
        """Copy the newest state of the lake. If that fails, keep the copies there are, unless the page asked for it."""
        old = self._copy
        now = self._clock()
        if old is not None and not is_wanted and now - old.looked < RENEW_AFTER:
            return  # another request has just done it
        try:
            version = self._lake.table("recordings").version()
            if old is None or version != old.version:
                self._lake.missing.clear()
                made = _Copy(LakeQuery(self._lake, memory=MEMORY), version, datetime.now(UTC), self._clock())
                for sql in (_LISTED, _FOUND):
                    made.query.rows(sql)
                self._copy = made
            self._trouble = None
        except LakeError as error:
            if old is None or is_wanted:
                raise
            self._trouble = str(error)
        copy = self._copy
        assert copy is not None
        copy.looked = now
        if self._trouble is None:
            copy.read_at = datetime.now(UTC)


class Filter:
    """The filters of a request for the rows of a query. Raises `UsageError` for a bad value."""

    def __init__(self, query: LakeQuery, asked: Options) -> None:
        self._query = query
        self._parts = {name: _condition(name, value) for name in _NAMES if (value := asked.get(name))}

    def rows(self, sql: str, *without: str) -> list[Row]:
        """The rows of a statement, by column, with values for JSON. `{where}` is the condition over `listed`, without
        some filters."""
        parts = [part for name, part in self._parts.items() if name not in without]
        where = " AND ".join(["true", *(condition for condition, _ in parts)])
        given = dict(chain.from_iterable(values.items() for _, values in parts)) if "{where}" in sql else {}
        found = self._query.rows(sql.format(where=where), given)
        return [dict(zip(found.columns, map(plain, row), strict=True)) for row in found.rows]

    def count(self, sql: str = "SELECT count(*) AS many FROM listed") -> int:
        """The one number of a statement; by default, that of all sessions."""
        return int(self.rows(sql)[0]["many"])

    def counts(self) -> Row:
        """The values of each filter with their numbers of sessions, as the other filters leave them."""
        return {name: self.rows(sql, name) for name, sql in _COUNTS.items()}

    def others(self, *names: str) -> list[str]:
        """The names of the filters that are set, but for these."""
        return [one for one in self._parts if one not in names]


def _condition(name: str, value: str) -> tuple[str, Row]:
    """The condition of one filter, and its parameters. Raises `UsageError`."""
    match name:
        case "from":
            return "started_at >= $since", {"since": _moment(name, value)}
        case "to":
            is_day = len(value) == len("2026-11-27")
            return "started_at < $until", {"until": _moment(name, value) + timedelta(days=is_day)}
        case "label":  # `KEY=VALUE`, one in a line
            parts = []
            given = dict[str, Any]()
            for number, line in enumerate(value.split("\n")):
                key, equal, text = line.partition("=")
                if not equal:
                    raise UsageError(f"label={line!r} has no value: write KEY=VALUE")
                parts.append(f"labels[$key{number}] = $value{number}")
                given |= {f"key{number}": key, f"value{number}": text}
            return " AND ".join(parts), given
        case "finding" if value == NONE:
            return "whole NOT IN (SELECT whole FROM found)", {}
        case "finding":
            return "whole IN (SELECT whole FROM found WHERE code = $code)", {"code": value}
        case "status":
            return "outcome = $status", {"status": value}
        case "model":
            return ("model IS NULL", {}) if value == NONE else ("model = $model", {"model": value})
        case _:  # a part of the question, or the beginning of the session id
            return "(contains(lower(asked), lower($text)) OR starts_with(session_id, $text))", {"text": value}


def _moment(name: str, value: str) -> datetime:
    try:
        return moment_of(value)
    except ValueError:
        raise UsageError(f"{name}={value!r} is no date: write it like 2026-11-27, or 2026-11-27T14:03") from None


def sessions(query: LakeQuery, asked: Options) -> Row:
    """One page of the list, the number of sessions, and the number for each value of each filter."""
    wanted = Filter(query, asked)
    order = asked.get("sort") or "time"
    if order not in _ORDERS:
        raise UsageError(f"sort={order!r} is unknown: use {' or '.join(_ORDERS)}")
    total = wanted.count("SELECT count(*) AS many FROM listed WHERE {where}")
    page = min(_number(asked.get("page") or "1"), max(1, -(-total // ON_A_PAGE)))
    found = wanted.rows(
        f"SELECT whole, {', '.join(SHOWN)} FROM listed WHERE {{where}} ORDER BY {_ORDERS[order]}"
        f" LIMIT {ON_A_PAGE} OFFSET {(page - 1) * ON_A_PAGE}"
    )
    return {
        "sessions": found,
        "total": total,
        "in_all": wanted.count(),
        "page": page,
        "on_a_page": ON_A_PAGE,
        "counts": wanted.counts(),
    }


_COUNTS = {
    "finding": "SELECT code AS value, ['note', 'warning', 'error'][max(severe)] AS severity, count(*) AS many"
    " FROM found WHERE whole IN (SELECT whole FROM listed WHERE {where}) GROUP BY code"
    f" UNION ALL SELECT '{NONE}', NULL, count(*) FROM listed WHERE {{where}}"
    " AND whole NOT IN (SELECT whole FROM found) ORDER BY many DESC, value",
    "status": "SELECT outcome AS value, count(*) AS many FROM listed WHERE {where} GROUP BY ALL"
    " ORDER BY many DESC, value",
    "model": f"SELECT coalesce(model, '{NONE}') AS value, count(*) AS many FROM listed WHERE {{where}} GROUP BY ALL"
    " ORDER BY many DESC, value",
    "label": "SELECT e.key || '=' || e.value AS value, count(*) AS many FROM (SELECT unnest(map_entries(labels)) AS e"
    f" FROM listed WHERE {{where}}) GROUP BY ALL ORDER BY many DESC, value LIMIT {MOST_LABELS}",
}


def trends(query: LakeQuery, asked: Options) -> Row:
    """Numbers by UTC day: sessions by status, findings by code, first-token times, problems by server version.

    `series` of a plot: name -> one number for each of `days`. Problems belong to recordings, so only the filters of
    time and label apply to them; `not_applied` names the others that are set.
    """
    wanted = Filter(query, asked)

    def rows(sql: str, *without: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in wanted.rows(f"{sql} GROUP BY ALL", *without)]

    began = "WHERE {where} AND started_at IS NOT NULL"
    begun = rows(f"SELECT started_at::DATE, outcome, count(*) FROM listed {began}")
    found = rows(f"SELECT started_at::DATE, code, count(*) FROM found JOIN listed USING (whole) {began}")
    heard = rows(
        "SELECT on_day, quantile_cont(first_token_s, 0.5), quantile_cont(first_token_s, 0.95), count(*)"
        " FROM heard WHERE whole IN (SELECT whole FROM listed WHERE {where})"
    )
    without = wanted.others("label", "from", "to")
    drift = rows("SELECT started_at::DATE, version, sum(many)::BIGINT FROM drift WHERE {where}", *without)
    days = _days({row[0] for some in (begun, found, heard, drift) for row in some})
    times = {day: numbers for day, *numbers in heard}
    p50, p95, turns = ([times.get(day, (None, None, 0))[place] for day in days] for place in range(3))
    return {
        "days": days,
        "sessions": _series(begun, days),
        "findings": _series(found, days),
        "first_token": {"p50": p50, "p95": p95, "turns": turns},
        "problems": _series(drift, days),
        "not_applied": without,
        "counts": wanted.counts(),
        "in_all": wanted.count(),
    }


def _days(found: set[str]) -> list[str]:
    """All days from the first one to the last one, at most `MOST_DAYS`."""
    if not found:
        return []
    last = date.fromisoformat(max(found))
    first = max(date.fromisoformat(min(found)), last - timedelta(days=MOST_DAYS - 1))
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def _series(rows: list[tuple[Any, ...]], days: list[str]) -> dict[str, list[int]]:
    """The numbers of each name by day, the most frequent name first."""
    places = {day: place for place, day in enumerate(days)}
    rows = [row for row in rows if row[0] in places]
    totals: Counter[str] = Counter()
    for _, name, many in rows:
        totals[name] += many
    names = [name for name, _ in sorted(totals.items(), key=lambda one: (-one[1], one[0]))]
    kept = names if len(names) <= SERIES + 1 else [*names[:SERIES], "other"]
    made = {name: [0] * len(days) for name in kept}
    for day, name, many in rows:
        made[name if name in made else "other"][places[day]] += many
    return made


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10):
        raise UsageError(f"page={text!r} is no number")
    return max(1, int(text))
