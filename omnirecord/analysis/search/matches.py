"""A query and its filters as SQL; the matching documents."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...cassette.sqlite.search_index import DOC, Doc, doc_of
from .query import OPEN, SHUT, Clause, Query, Term

Values = list[Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """The filters of a search; None for no filter."""

    sessions: list[int] | None = None
    """Session numbers of the index."""
    takes_type: Callable[[str], bool] | None = None
    times: list[tuple[int, int, int]] | None = None
    """Session number of the index, first and last ns."""


@dataclass(frozen=True, slots=True)
class Match:
    """A matching document."""

    doc: Doc
    exchange: int
    session: int
    recording: int
    marked: str
    """Its text, with `OPEN` and `SHUT` around found words."""


def matches(connection: sqlite3.Connection, query: Query, narrow: Filter, limit: int) -> tuple[int, list[Match]]:
    """The number of matches, and the first of them by session and time; equal documents count once. Call it inside
    `Index.at_once`."""
    found, values = _selected(query)
    narrowed, more = _narrowed(connection, narrow)
    inner, values = f"FROM docs d WHERE d.id IN ({found}){narrowed}", values + more
    (total,) = connection.execute(f"SELECT count(DISTINCT same) {inner}", values).fetchone()
    numbers = _first(connection, inner, values, min(limit, total))
    marked = _marked(connection, query, numbers)
    return total, [_match(connection, number, marked.get(number)) for number in numbers]


def _first(connection: sqlite3.Connection, inner: str, values: Values, count: int) -> list[int]:
    """The numbers of the first documents; of equal ones, the earliest."""
    first: dict[int, int] = {}
    taken = 2 * count
    while len(first) < count:
        query = f"SELECT same, id {inner} ORDER BY session, first_ns, id LIMIT ?"
        first = {}
        for same, number in connection.execute(query, [*values, taken]):
            first.setdefault(same, number)
        taken *= 4
    return list(first.values())[:count]


def indexed_sessions(connection: sqlite3.Connection) -> list[tuple[int, int, str | None, int | None]]:
    """Each session of the index: number, recording, id, and the exchange if it has no id."""
    return connection.execute("SELECT id, recording, session_id, exchange FROM sessions").fetchall()


def session_names(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """The numbers and ids of the sessions of the index."""
    return connection.execute("SELECT id, session_id FROM sessions WHERE session_id IS NOT NULL").fetchall()


def everything(connection: sqlite3.Connection) -> Iterator[tuple[Doc, int, int]]:
    """All documents by session and time, each with its exchange and a number that equal documents share."""
    query = f"SELECT exchange, same, {DOC} FROM docs JOIN texts USING (id) ORDER BY session, first_ns, id"
    for exchange, same, *row in connection.execute(query):
        yield doc_of(tuple(row)), exchange, same


def _match(connection: sqlite3.Connection, number: int, marked: str | None) -> Match:
    query = f"SELECT exchange, session, recording, {DOC} FROM docs JOIN texts USING (id) WHERE id = ?"
    exchange, session, recording, *row = connection.execute(query, (number,)).fetchone()
    doc = doc_of(tuple(row))
    return Match(doc, exchange, session, recording, doc.text if marked is None else marked)


def _marked(connection: sqlite3.Connection, query: Query, numbers: list[int]) -> dict[int, str]:
    """The marked texts of these documents. One statement for all, since each statement looks up prefixes again."""
    words = " OR ".join(term.expression() for clause in query for term in clause.wanted if not term.is_symbol)
    if not words or not numbers:
        return {}
    statement = (
        "SELECT rowid, highlight(words, 0, ?, ?) FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?"
        " AND +rowid IN (SELECT value FROM json_each(?))"
    )
    values = [OPEN, SHUT, words, min(numbers), max(numbers), json.dumps(numbers)]
    return dict(connection.execute(statement, values).fetchall())


def _selected(query: Query) -> tuple[str, Values]:
    """SQL for the numbers of the documents that match."""
    plain = [clause for clause in query if not any(term.is_symbol for term in (*clause.wanted, *clause.unwanted))]
    parts, values = [], Values()
    if plain:
        parts.append("SELECT rowid FROM words WHERE words MATCH ?")
        values.append(" OR ".join(f"({_expression(clause.wanted, clause.unwanted)})" for clause in plain))
    for clause in query:
        if clause in plain:
            continue
        part, more = _clause(clause)
        parts.append(part)
        values += more
    return " UNION ".join(parts), values


def _clause(clause: Clause) -> tuple[str, Values]:
    words, symbols = _apart(clause.wanted)
    not_words, not_symbols = _apart(clause.unwanted)
    conditions, values = [], Values()
    if words:
        conditions.append("id IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(_expression(words, not_words))
    elif not_words:
        conditions.append("id NOT IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(" OR ".join(term.expression() for term in not_words))
    conditions += ["instr(lower(text), lower(?)) > 0"] * len(symbols) + ["instr(lower(text), lower(?)) = 0"] * len(
        not_symbols
    )
    values += [symbol.text for symbol in [*symbols, *not_symbols]]
    return f"SELECT id FROM texts WHERE {' AND '.join(conditions)}", values


def _expression(wanted: Iterable[Term], unwanted: Iterable[Term]) -> str:
    together = " AND ".join(term.expression() for term in wanted)
    return " NOT ".join([f"({together})", *(term.expression() for term in unwanted)])


def _apart(terms: tuple[Term, ...]) -> tuple[list[Term], list[Term]]:
    """The terms with words, and the symbols."""
    return [term for term in terms if not term.is_symbol], [term for term in terms if term.is_symbol]


def _narrowed(connection: sqlite3.Connection, narrow: Filter) -> tuple[str, Values]:
    """SQL conditions of the filters on a row `d` of docs."""
    conditions, values = "", Values()
    if narrow.sessions is not None:
        conditions += " AND d.session IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(narrow.sessions))
    if narrow.takes_type is not None:
        known = connection.execute("SELECT DISTINCT type FROM docs WHERE type IS NOT NULL")
        types = [type_ for (type_,) in known if narrow.takes_type(type_)]
        conditions += " AND d.type IN (SELECT value FROM json_each(?))"
        values.append(json.dumps(types))
    if narrow.times is not None:
        connection.execute("CREATE TEMP TABLE spans (session INTEGER PRIMARY KEY, low INTEGER, high INTEGER)")
        connection.executemany("INSERT INTO spans VALUES (?, ?, ?)", narrow.times)
        conditions += (
            " AND EXISTS (SELECT 1 FROM spans s WHERE s.session = d.session"
            " AND d.last_ns >= s.low AND d.first_ns <= s.high)"
        )
    return conditions, values
