"""Mistakes in the SQL of `lake sql`, each as one sentence, and statements that do more than read. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

import duckdb

from ..cassette.sqlite.sql_mistakes import (
    KEYWORDS,
    TOKEN,
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
_EXPLAIN = re.compile(r"EXPLAIN\s+(?:ANALYZE\s+)?(?:\([^)]*\)\s*)?", re.IGNORECASE)
_CALL = re.compile(r'(?:"((?:[^"]|"")+)"|\b(\w+))\s*\(')
_UNSAFE = re.compile(
    r"(read|parquet|sniff|arrow|pandas|python|enable|disable|truncate|pragma)_.*|.*_(external_resource|"
    r"external_resource_type|grammar_extension|arrow_scan)|glob|query|query_table|seq_scan|force_checkpoint|checkpoint|"
    r"json_execute_serialized_sql|write_log"
)
"""Functions that read files, change the engine, or take an address in memory."""
_OTHER_FILE = "a query reads the tables and views of the lake, and no other file: `omnirecord lake sql URL` lists them"


def checked_statement(sql: str, names: Names) -> str:
    """Return the SQL of one statement that reads. Raises `UsageError` for any other."""
    keyword = refuse_statement(sql, names, _READS, _PRAGMA)
    inner = sql
    if keyword == "EXPLAIN":
        inner = _EXPLAIN.sub("", sql[sql.upper().index("EXPLAIN") :], count=1)
    try:
        statements = duckdb.extract_statements(inner)
    except duckdb.Error as error:
        raise UsageError(mistake(error, sql, names)) from error
    if len(statements) != 1:
        raise UsageError("the SQL has more than one statement: give one" if statements else "the SQL is empty: begin it with SELECT")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError("a query only reads: write one SELECT, which changes and attaches nothing")
    for call in _CALL.finditer(sql):
        name = (call[1] or call[2]).lower()
        if _UNSAFE.fullmatch(name):
            raise UsageError(f"the function {name} is not available in a query")
    return sql


def with_parameters(sql: str, given: Collection[str]) -> str:
    """Return the SQL with `$name` for each `:name` that is given. Raises `UsageError` unless it names all of them.

    DuckDB has `:` for slices and casts, so only the given names are parameters.
    """
    used: dict[str, None] = {}

    def replaced(token: re.Match[str]) -> str:
        found = token["parameter"]
        if not found:
            return token[0]
        name, before = found[1:], sql[: token.start()]
        if found.startswith("?"):
            raise UsageError("the SQL has a parameter without a name: write :name instead of ?, and add -p name VALUE")
        if found.startswith("$") or (name in given and not before.endswith(":")):
            used[name] = None
            return f"${name}"
        return token[0]

    made = TOKEN.sub(replaced, sql)
    if missing := [one for one in used if one not in given]:
        raise UsageError(f"the SQL has ${missing[0]}, and it has no value: add -p {missing[0]} VALUE")
    if unused := [one for one in given if one not in used]:
        there = f"it has {listed(f':{one}' for one in used)}" if used else "it has no parameter"
        raise UsageError(f"the SQL has no :{unused[0]}: {there}")
    return made


def mistake(error: Exception, sql: str, names: Names) -> str:
    """Return the sentence for an error of DuckDB."""
    said = str(error)
    if found := re.search(r"Table with name (\S+) does not exist", said):
        return no_table(found[1], names)
    if found := re.search(r'(?:Referenced c|C)olumn "([^"]+)" (?:not found|was not found|does not exist)', said):
        return no_column(found[1], sql, names)
    if found := re.search(r'does not have a column named "([^"]+)"', said):
        return no_column(found[1], sql, names)
    if found := re.search(r'syntax error at or near "(.*?)"', said, re.DOTALL):
        word = found[1].upper()
        return f"the SQL has a syntax error near {found[1]!r}{did_you_mean([] if word in KEYWORDS else near(word, KEYWORDS))}"
    if "syntax error at end of input" in said:
        return "the SQL ends too early: complete the statement"
    if found := re.search(r'Function with name "?(\w+)"? (?:does not exist|is not in the catalog)', said):
        suggested = re.search(r'Did you mean "(\w+)"', said)
        return f"DuckDB has no function {found[1]}{did_you_mean([suggested[1]] if suggested else [])}"
    if isinstance(error, duckdb.PermissionException):
        return _OTHER_FILE
    first = " ".join(said.partition("\n\nLINE ")[0].split())
    return f"DuckDB cannot run this query: {first[:400]}"
