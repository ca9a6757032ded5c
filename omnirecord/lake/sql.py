"""The SQL of DuckDB: statements that only read, mistakes as one sentence, its names, types and values, and the views.

The views over several tables have turns and sessions as a whole, over all recordings that hold a part. A session has
parts in several recordings if a load balancer split it over proxies, or if a recorder rotated its files. Their times
are wall-clock times, so they are as exact as the clocks of the recorders agree. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from ..cassette.sql import (
    KEYWORDS,
    Names,
    compare_parameters,
    did_you_mean,
    near,
    no_column,
    no_table,
    refuse_statement,
    without_value,
)
from ..columns import TABLES, Join
from ..errors import UsageError
from .layout import COMPUTED, PARTITION

_READS = ("DESCRIBE", "FROM", "SUMMARIZE")
_PRAGMA = "PRAGMA is not available in a query: `omnirecord lake sql URL` lists tables, views and columns"
_EXPLAIN = re.compile(r"EXPLAIN\s+(?:ANALYZE\s+)?(?:\([^()]*\)\s*)?", re.IGNORECASE)
_TEXT = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*(?:'|\Z)|\$\$.*?(?:\$\$|\Z)", re.DOTALL)
"""Comments and texts."""
_TOKEN = re.compile(rf"""{_TEXT.pattern}|"[^"]*(?:"|\Z)|::|(?P<mark>[:$])(?P<name>[A-Za-z_]\w*)""", re.DOTALL)
_NAME = re.compile(r'"((?:[^"]|"")*)(?:"|\Z)(\s*\()?|\b(\w+)(\s*\()?')
"""A name, quoted (1) or not (3), and the parenthesis of a call (2, 4)."""
_UNSAFE = re.compile(
    r"(read|parquet|sniff|arrow|pandas|python|enable|disable|truncate|pragma)_.*|.*_(external_resource|"
    r"external_resource_type|grammar_extension|arrow_scan)|glob|query|query_table|seq_scan|force_checkpoint|checkpoint|"
    r"json_execute_serialized_sql|write_log"
)
"""Functions that read files, change the engine, or take an address in memory."""
_AT = re.compile(r'(?<![."\w])at\b(?!")', re.IGNORECASE)
"""The column `at`, unquoted and without its table."""
_OTHER_FILE = "a query reads the tables and views of the lake, and no other file: `omnirecord lake sql URL` lists them"


def checked(sql: str, names: Names, given: Collection[str] = ()) -> str:
    """Return one statement that reads, with `$name` for each `:name` that is given. Raises `UsageError` for any other.

    DuckDB has `:` for slices and casts, so only the given names are parameters.
    """
    keyword = refuse_statement(sql, names, _READS, _PRAGMA)
    made = _with_parameters(sql, given)
    try:
        made.encode()
        statements = duckdb.extract_statements(_EXPLAIN.sub("", made, count=1) if keyword == "EXPLAIN" else made)
    except UnicodeEncodeError as error:
        raise UsageError("the SQL is not UTF-8: write it in UTF-8") from error
    except duckdb.Error as error:
        raise UsageError(mistake(error, sql, names)) from error
    if len(statements) != 1:
        raise UsageError("the SQL has more than one statement: give one")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError("a query only reads: write one SELECT, which changes and attaches nothing")
    for found in _NAME.finditer(_TEXT.sub(lambda one: " " if one[0][0] in "-/" else "''", made)):
        name = (found[1] or found[3] or "").lower()
        if (found[2] or found[4]) and _UNSAFE.fullmatch(name):
            raise UsageError(f"the function {name} is not available in a query")
    return made


def _with_parameters(sql: str, given: Collection[str]) -> str:
    """Return the SQL with `$name` for each `:name` that is given. Raises `UsageError` unless it names all of them."""
    used: dict[str, None] = {}

    def replaced(token: re.Match[str]) -> str:
        name = token["name"]
        if name is None or (token["mark"] == ":" and name not in given):
            return token[0]
        used[name] = None
        return f"${name}"

    made = _TOKEN.sub(replaced, sql)
    compare_parameters(used, given, "$")
    return made


def mistake(error: Exception, sql: str, names: Names) -> str:
    """Return the sentence for an error of DuckDB."""
    said = str(error)
    if found := re.search(r"Table with name (\S+) does not exist", said):
        return no_table(found[1].strip('"'), names)
    if found := re.search(
        r'[Cc]olumn "([^"]+)" (?:was )?(?:not found|does not exist)|not have a column named "([^"]+)"', said
    ):
        return no_column(found[1] or found[2], sql, names)
    if found := re.search(r'syntax error at or near "(.*?)"', said, re.DOTALL):
        parameter = re.search(r"(?<![:\w\]]):[A-Za-z_]\w*", _TEXT.sub("''", sql)) if found[1] == ":" else None
        if parameter is not None:
            return without_value(parameter[0])
        if _AT.search(_TEXT.sub("''", sql)):
            return f"the SQL has a syntax error near {found[1]!r}: at is a keyword, so write the column as occurred_at"
        word = found[1].upper()
        close = [] if word in KEYWORDS else near(word, KEYWORDS)
        return f"the SQL has a syntax error near {found[1]!r}{did_you_mean(close)}"
    if "syntax error at end of input" in said:
        return "the SQL ends too early: complete the statement"
    if found := re.search(r'Function with name "?(\w+)"? (?:does not exist|is not in the catalog)', said):
        suggested = re.search(r'Did you mean "(\w+)"', said)
        return f"DuckDB has no function {found[1]}{did_you_mean([suggested[1]] if suggested else [])}"
    if isinstance(error, duckdb.PermissionException):
        return _OTHER_FILE
    first = " ".join(re.split(r"\n\nLINE | You might need to add|\sCandidate ", said)[0].split())
    return f"DuckDB cannot run this query: {first[:400]}"


def plain(value: Any) -> Any:
    """Return a value of DuckDB as one of JSON, or bytes.

    Times are in ISO 8601, decimals are numbers, intervals seconds; NaN is null.
    """
    if value is None or type(value) in (str, int, bool, bytes):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else str(value)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def nothing(schema: pa.Schema) -> str:
    """Return a SELECT with these columns and no row."""
    return f"SELECT {', '.join(f'NULL::{sql_type(one.type)} AS {named(one.name)}' for one in schema)} WHERE false"


def sql_type(of: pa.DataType) -> str:
    if pa.types.is_map(of):
        return f"MAP({sql_type(of.key_type)}, {sql_type(of.item_type)})"
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        return f"{sql_type(of.value_type)}[]"
    if pa.types.is_struct(of):
        return "STRUCT(" + ", ".join(f"{named(one.name)} {sql_type(one.type)}" for one in of) + ")"
    if pa.types.is_timestamp(of):
        return "TIMESTAMPTZ"
    return _SQL_TYPES.get(str(of), "VARCHAR")


_SQL_TYPES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date32[day]": "DATE",
    "binary": "BLOB",
    "large_binary": "BLOB",
    "binary_view": "BLOB",
}

_CONCLUSION = "coalesce(arg_max(conclusion, until) FILTER (heard), arg_max(conclusion, until), any_value(conclusion))"
_FINDING = "coalesce(arg_max(finding, severe) FILTER (heard), arg_max(finding, severe))"
_SUM = {int: "sum(p.{0})::BIGINT", float: "sum(p.{0})"}
_JOINED: Mapping[Join, str | Mapping[type, str]] = {
    "any": "any_value(p.{0})",
    "min": "min(p.{0})",
    "max": "max(p.{0})",
    "sum": _SUM,
    "longest": "arg_max(p.{0}, length(p.{0}))",
    "first": "arg_min(p.{0}, started_at)",
    "last": "arg_max(p.{0}, until)",
    "conclusion": f"({_CONCLUSION}).{{0}}",
    "finding": f"({_FINDING}).{{0}}",
    "turns' sum": "any_value(told.{0})",
    "turns' median": "any_value(told.{0})",
}
"""SQL for the value of a column over the parts `p` of a session, or of a turn."""
_OF_TURNS: Mapping[Join, str | Mapping[type, str]] = {"turns' sum": _SUM, "turns' median": "median(p.{0})"}
"""SQL for the value of a column of `sessions` over the turns `p` of a session."""
_OWN = {
    "sessions": {
        "stream": "NULL::BIGINT",
        "duration_s": "epoch_us(max(until) - min(started_at)) / 1e6",
        "turns": "coalesce(any_value(told.turns), 0)",
    },
    "turns": {
        "asked_at": "coalesce(min(posted_at), min(asked_at))",
        "ended": "coalesce(arg_max(ended, ended_at) FILTER (ended <> 'unfinished'), 'unfinished')",
        "duration_s": "epoch_us(max(ended_at) - coalesce(min(posted_at), min(started_at))) / 1e6",
        "first_token_s": "coalesce(min(first_token_s), CASE WHEN min(first_token_at) >= min(posted_at)"
        " THEN epoch_us(min(first_token_at) - min(posted_at)) / 1e6 END)",
    },
}
"""SQL for the columns whose join is `own`, but for the keys."""


def _joined(table: str, forms: Mapping[Join, str | Mapping[type, str]], own: Mapping[str, str]) -> str:
    """Return SQL for the columns of a table by their joins."""
    found = [f"{form} AS {name}" for name, form in own.items()]
    for one in TABLES[table].columns:
        if one.join is not None and one.join in forms:
            form = forms[one.join]
            found.append(f"{(form if isinstance(form, str) else form[one.type]).format(one.name)} AS {one.name}")
    return ", ".join(found)


def _struct(join: Join) -> str:
    """Return SQL for the columns of `sessions` with this join, as one value."""
    names = [column.name for column in TABLES["sessions"].columns if column.join == join]
    return "{" + ", ".join(f"'{name}': s.{name}" for name in names) + "}"


def _whole(table: str, *more: str) -> tuple[str, ...]:
    own = (column.name for column in TABLES[table].columns if column.join is not None)
    return (PARTITION, *own, *more, "server_version", "labels", "recordings")


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "split_sessions": ("session_id",),
    "whole_turns": _whole("turns"),
    "whole_sessions": _whole("sessions", "until"),
}

_DATA = r"regexp_extract(raw, '(?:^|\n)data: ?([^\r\n]*)', 1)"
_TEXT_OF = f"""CASE WHEN json_valid({_DATA}) THEN coalesce(
  CASE WHEN type LIKE '%text.delta' THEN {_DATA} ->> '$.delta' END, {_DATA} ->> '$.delta.text',
  {_DATA} ->> '$.choices[0].delta.content', {_DATA} ->> '$.candidates[0].content.parts[0].text') END"""
_OCCURRED = {"occurred_at": '"at"'}
DERIVED: Mapping[str, Mapping[str, str]] = {
    "events": {**_OCCURRED, "event_type": "type", "day_of_event": 'CAST("at" AS DATE)', "text": _TEXT_OF},
    "exchanges": _OCCURRED,
    "messages": _OCCURRED,
    "incidents": _OCCURRED,
}
"""SQL for the columns of tables that a query computes, and that no file has.

`occurred_at` is `at`, a keyword of DuckDB. `text` is the text that an event of one of the APIs adds to an answer.
"""

_CLOCKS = "INTERVAL 1 SECOND"
"""Greatest difference between the clocks of two recorders at which a message still finds its turn."""

SELECTS: Mapping[str, str] = {
    "split_sessions": """
SELECT session_id FROM sessions WHERE session_id IS NOT NULL GROUP BY session_id
HAVING min(recording_id) <> max(recording_id)
""",
    "joined_turns": f"""
WITH parts AS (
  SELECT t.*, r.server_version, r.labels, t.events = 0 AS is_message,
    r.started_at + to_microseconds(t.first_token_ns // 1000) AS first_token_at,
    CASE WHEN t.first_event_s IS NOT NULL OR t.events = 0 THEN t.asked_at END AS posted_at
  FROM turns t SEMI JOIN split_sessions USING (session_id) LEFT JOIN recordings r USING (recording_id)
), heard AS (
  SELECT p.* EXCLUDE (posted_at), coalesce(p.posted_at, m.posted_at) AS posted_at,
    CASE WHEN p.posted_at IS NULL THEN m.recording_id END AS posted_in,
    CASE WHEN p.posted_at IS NULL THEN m.turn END AS posted_as
  FROM parts p ASOF LEFT JOIN (SELECT * FROM parts WHERE is_message) m
    ON p.session_id = m.session_id AND p.asked = m.asked AND p.asked_at + {_CLOCKS} >= m.asked_at
  WHERE NOT p.is_message
), joined AS (
  SELECT * FROM heard
  UNION ALL BY NAME
  SELECT * FROM parts p WHERE is_message AND NOT EXISTS (
    FROM heard h WHERE h.posted_in = p.recording_id AND h.posted_as = p.turn AND h.session_id = p.session_id)
), grouped AS (
  SELECT min(day) AS day, session_id, {_joined("turns", _JOINED, _OWN["turns"])},
    any_value(server_version) AS server_version, any_value(labels) AS labels,
    list_sort(list_distinct(list(recording_id) || coalesce(list(posted_in) FILTER (posted_in IS NOT NULL), [])))
      AS recordings
  FROM joined p
  GROUP BY session_id, coalesce(response_id, concat_ws(' ', recording_id, turn))
)
SELECT *, row_number() OVER (PARTITION BY session_id ORDER BY coalesce(asked_at, started_at)) AS turn FROM grouped
""",
    "whole_turns": f"""
SELECT {", ".join(COLUMNS["whole_turns"])} FROM (
  SELECT t.*, r.server_version, r.labels, [t.recording_id] AS recordings
  FROM turns t ANTI JOIN split_sessions USING (session_id) LEFT JOIN recordings r USING (recording_id)
  UNION ALL BY NAME
  FROM joined_turns
)
""",
    "joined_sessions": f"""
WITH parts AS (
  SELECT s.*, r.server_version, r.labels, s.streams > 0 AS heard,
    s.started_at + to_microseconds(round(coalesce(s.duration_s, 0) * 1e6)::BIGINT) AS until,
    {_struct("conclusion")} AS conclusion, {_struct("finding")} AS finding,
    list_position(['note', 'warning', 'error'], s.finding_severity) AS severe
  FROM sessions s SEMI JOIN split_sessions USING (session_id) LEFT JOIN recordings r USING (recording_id)
), told AS (
  SELECT session_id, {_joined("sessions", _OF_TURNS, {"turns": "count(*)"})} FROM joined_turns p GROUP BY session_id
)
SELECT session_id, min(day) AS day, {_joined("sessions", _JOINED, _OWN["sessions"])}, max(until) AS until,
  any_value(server_version) AS server_version, any_value(labels) AS labels,
  list_sort(list(recording_id)) AS recordings
FROM parts p LEFT JOIN told USING (session_id) GROUP BY session_id
""",
    "whole_sessions": f"""
WITH parents AS (
  SELECT child AS session_id, any_value(session_id) AS parent
  FROM (SELECT unnest(child_session_ids) AS child, session_id FROM sessions) GROUP BY child
), whole AS (
  SELECT s.*, s.started_at + to_microseconds(round(coalesce(s.duration_s, 0) * 1e6)::BIGINT) AS until,
    r.server_version, r.labels, [s.recording_id] AS recordings
  FROM sessions s ANTI JOIN split_sessions USING (session_id) LEFT JOIN recordings r USING (recording_id)
  UNION ALL BY NAME
  FROM joined_sessions
)
SELECT {", ".join(COLUMNS["whole_sessions"])} FROM (
  SELECT w.* REPLACE (coalesce(w.parent_session_id, p.parent) AS parent_session_id)
  FROM whole w LEFT JOIN parents p USING (session_id)
)
""",
}
"""The SELECT of each view, in an order in which each names only tables and views before it. `joined_…` has those of
`split_sessions`, `whole_…` all."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "split_sessions": ("sessions",),
    "joined_turns": ("turns", "recordings", "split_sessions"),
    "whole_turns": ("turns", "recordings", "split_sessions", "joined_turns"),
    "joined_sessions": ("sessions", "recordings", "split_sessions", "joined_turns"),
    "whole_sessions": ("sessions", "recordings", "split_sessions", "joined_sessions"),
}
"""The tables and views that a view reads."""


ABOUT: Mapping[str, str] = {
    "whole_sessions": "One row per session, over all recordings that hold a part of it.",
    "whole_turns": "One row per turn, with the first-token time also if its message is in another recording.",
    "split_sessions": "The sessions that have parts in several recordings.",
    "recordings": "One row per recording in the lake: its start, labels, versions and numbers.",
    **{name: TABLES[name].about for name in COMPUTED},
    "problems": "One row per difference from the contract, as validate counts them.",
    "events": "One row per frame of a stream: its time, its type, its verdict and its text.",
    "exchanges": "One row per request and its response, with headers and bodies.",
    "messages": "One row per WebSocket message.",
    "reads": "The reads of streams that brought several frames, or a part of one.",
    "incidents": "One row per problem of a recording itself.",
}
"""What each view and table holds, in the order in which a list shows them."""
