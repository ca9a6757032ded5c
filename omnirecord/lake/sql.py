"""The SQL of DuckDB: statements that only read, mistakes as one sentence, and its names, types and values. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from ..cassette.sql import (
    KEYWORDS,
    Names,
    did_you_mean,
    listed,
    near,
    no_column,
    no_table,
    refuse_statement,
)
from ..errors import UsageError

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
    if missing := [one for one in used if one not in given]:
        raise UsageError(_without_value(f"${missing[0]}"))
    if unused := [one for one in given if one not in used]:
        there = f"it has {listed(f':{one}' for one in used)}" if used else "it has no parameter"
        raise UsageError(f"the SQL has no :{unused[0]}: {there}")
    return made


def _without_value(parameter: str) -> str:
    return f"the SQL has {parameter}, and it has no value: add -p {parameter[1:]} VALUE"


def mistake(error: Exception, sql: str, names: Names) -> str:
    """Return the sentence for an error of DuckDB."""
    said = str(error)
    if found := re.search(r"Table with name (\S+) does not exist", said):
        return no_table(found[1].strip('"'), names)
    if found := re.search(r'(?:Referenced c|C)olumn "([^"]+)" (?:not found|was not found|does not exist)', said):
        return no_column(found[1], sql, names)
    if found := re.search(r'does not have a column named "([^"]+)"', said):
        return no_column(found[1], sql, names)
    if found := re.search(r'syntax error at or near "(.*?)"', said, re.DOTALL):
        parameter = re.search(r"(?<![:\w\]]):[A-Za-z_]\w*", _TEXT.sub("''", sql)) if found[1] == ":" else None
        if parameter is not None:
            return _without_value(parameter[0])
        if _AT.search(_TEXT.sub("''", sql)):
            return f"the SQL has a syntax error near {found[1]!r}: at is a keyword, so write the column as events.at"
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
    """Return the SQL type of an Arrow type."""
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
    "bool": "BOOLEAN", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "float": "FLOAT",
    "double": "DOUBLE", "date32[day]": "DATE", "binary": "BLOB", "large_binary": "BLOB", "binary_view": "BLOB",
}  # fmt: skip
