"""What SQL over a cassette and over a lake have in common: the result, and mistakes as sentences. Pure.

A sentence says what is wrong, the nearest right name, and the names there are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ..errors import UsageError

Names = Mapping[str, tuple[str, ...]]
"""The columns of each table and view, by its name."""


class Result(NamedTuple):
    columns: tuple[str, ...]
    """Distinct names: a second `a` is `a_2`."""
    rows: Iterator[tuple[Any, ...]]
    """Made as they are read: raises what the run of the query raises."""
    reads: frozenset[str]
    """The tables and views that the query names, in lower case."""


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns; a second `a` is `a_2`."""
    found: dict[str, None] = {}
    for name in names:
        number = 1
        distinct = name
        while distinct in found:
            number += 1
            distinct = f"{name}_{number}"
        found[distinct] = None
    return tuple(found)


_SKIPPED = "|".join(
    (
        r"'[^']*(?:'|\Z)",
        r'"[^"]*(?:"|\Z)',
        r"`[^`]*(?:`|\Z)",
        r"\[[^\]]*(?:\]|\Z)",
        r"--[^\n]*",
        r"/\*.*?(?:\*/|\Z)",
    )
)
"""Texts, quoted names and comments. A doubled quote ends one text and begins the next."""
_PARAMETER = r"(?P<parameter>[:@$][A-Za-z_]\w*|\?\d*)"
_WORD = r"(?P<word>[A-Za-z_]\w*)"
TOKEN = re.compile(rf"(?P<skipped>{_SKIPPED})|{_PARAMETER}|{_WORD}", re.DOTALL)
BEGIN = re.compile(r"(?:\s|;|\ufeff|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_READS = ("SELECT", "WITH", "VALUES", "EXPLAIN")
_WRITES = ("ALTER", "CREATE", "DELETE", "DROP", "INSERT", "REPLACE", "UPDATE")
_OTHERS = (
    "ANALYZE",
    "ATTACH",
    "BEGIN",
    "COMMIT",
    "DETACH",
    "END",
    "REINDEX",
    "RELEASE",
    "ROLLBACK",
    "SAVEPOINT",
    "VACUUM",
)
KEYWORDS = (
    *_READS,
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "DESC",
    "DISTINCT",
    "ELSE",
    "FROM",
    "GROUP",
    "HAVING",
    "IN",
    "INNER",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "THEN",
    "UNION",
    "USING",
    "WHEN",
    "WHERE",
)
PRAGMA = "PRAGMA is not available in a query: `omnirecord query CASSETTE` lists tables, views and columns"
_MOST_TABLES = 3


def refuse_statement(sql: str, names: Names, more: Collection[str] = (), pragma: str = PRAGMA) -> str:
    """Return the first keyword of a statement that reads. Raises `UsageError` for any other statement. `more`: further
    keywords that begin one. `pragma`: the sentence for PRAGMA."""
    rest = sql[BEGIN.match(sql).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    word = re.match(r"\w*", rest)[0]  # type: ignore[index]  # the same
    keyword = word.upper()
    if keyword in _READS or keyword in more:
        return keyword
    if not rest:
        raise UsageError("the SQL is empty: begin it with SELECT, or leave it out for a list of tables and views")
    if keyword in _WRITES:
        raise UsageError(f"{keyword} changes data, and a query only reads: begin it with SELECT or WITH")
    if keyword == "PRAGMA":
        raise UsageError(pragma)
    if keyword in _OTHERS:
        raise UsageError(f"{keyword} is not available in a query: begin it with SELECT or WITH")
    if word.lower() in names:
        raise UsageError(f'{word} is a table or view, and no SQL: write "SELECT * FROM {word}"')
    close = did_you_mean(near(keyword, (*_READS, *more))) or ": begin it with SELECT or WITH"
    raise UsageError(f"the SQL begins with {word or rest[0]!r}, which is no statement{close}")


def refuse_parameters(sql: str, given: Collection[str]) -> None:
    """Raise `UsageError` unless the `:name` parameters of the SQL are those that are given."""
    used = [one["parameter"] for one in TOKEN.finditer(sql) if one["parameter"]]
    if any(one.startswith("?") for one in used):
        raise UsageError("the SQL has a parameter without a name: write :name instead of ?, and add -p name VALUE")
    compare_parameters(dict.fromkeys(one[1:] for one in used), given)


def compare_parameters(wanted: Collection[str], given: Collection[str], mark: str = ":") -> None:
    """Raise `UsageError` unless the wanted parameters are those that are given. `mark`: their first character."""
    if missing := [one for one in wanted if one not in given]:
        raise UsageError(without_value(f"{mark}{missing[0]}"))
    if unused := [one for one in given if one not in wanted]:
        there = f"it has {', '.join(f':{one}' for one in wanted)}" if wanted else "it has no parameter"
        raise UsageError(f"the SQL has no :{unused[0]}: {there}")


def without_value(parameter: str) -> str:
    return f"the SQL has {parameter}, and it has no value: add -p {parameter[1:]} VALUE"


def mistake(said: str, sql: str, names: Names) -> str:
    """The sentence for what SQLite said of a statement."""
    if found := re.match(r"no such table: (.*)", said):
        return no_table(found[1], names)
    if said.startswith("no such column: "):
        name = said.removeprefix("no such column: ").partition(" - should be")[0].strip('"')
        return no_column(name, sql, names)
    if found := re.match(r'near "(.*)": syntax error', said, re.DOTALL):
        close = [] if found[1].upper() in KEYWORDS else near(found[1].upper(), KEYWORDS)
        return f"the SQL has a syntax error near {found[1]!r}{did_you_mean(close)}"
    if "one statement at a time" in said:
        return "the SQL has more than one statement: give one"
    if said == "incomplete input":
        return "the SQL ends too early: complete the statement"
    if found := re.match(r"no such function: (.*)", said):
        return f"SQLite has no function {found[1]}"
    return f"SQLite cannot run this query: {said}"


def no_table(name: str, names: Names) -> str:
    plain = name.rpartition(".")[2]
    close = did_you_mean(near(plain.lower(), names))
    return f"there is no table or view {plain}{close or '.'} There are {', '.join(names)}"


def no_column(name: str, sql: str, names: Names) -> str:
    plain = name.rpartition(".")[2]
    words = dict.fromkeys(one["word"].lower() for one in TOKEN.finditer(sql) if one["word"])
    tables = [one for one in words if one in names][:_MOST_TABLES]
    columns = dict.fromkeys(column for table in tables for column in names[table])
    there = "; ".join(f"{table} has {', '.join(names[table])}" for table in tables)
    close = did_you_mean(near(plain.lower(), columns))
    return f"there is no column {name}{close or '.'} {there}".rstrip() if there else f"there is no column {name}"


def near(name: str, known: Iterable[str]) -> list[str]:
    """The most similar known name, if there is one."""
    return get_close_matches(name, list(known), 1)


def did_you_mean(close: list[str]) -> str:
    """The question for a similar name, to be put behind what is wrong."""
    return f": did you mean {close[0]}?" if close else ""
