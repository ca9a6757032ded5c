"""Asking an index: a query and what narrows it, as SQL; the numbers and texts of what is found."""

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
class Narrow:
    """What is searched; nothing narrows it unless given."""

    sessions: list[int] | None = None
    """Numbers of the index."""
    takes_type: Callable[[str], bool] | None = None
    times: list[tuple[int, int, int]] | None = None
    """Of each session of the index that counts the first and the last ns."""


@dataclass(frozen=True, slots=True)
class Match:
    """Something that was found."""

    doc: Doc
    exchange: int
    session: int
    recording: int
    marked: str
    """Its text, with `OPEN` and `SHUT` around the words."""


def matches(connection: sqlite3.Connection, query: Query, narrow: Narrow, limit: int) -> tuple[int, list[Match]]:
    """How many there are, what says the same being one, and the first of them, by session and time. To be called inside
    of `Index.at_once`."""
    found, values = _selected(query)
    narrowed, more = _narrowed(connection, narrow)
    inner, values = f"FROM docs d WHERE d.id IN ({found}){narrowed}", values + more
    (total,) = connection.execute(f"SELECT count(DISTINCT same) {inner}", values).fetchone()
    numbers = _first(connection, inner, values, min(limit, total))
    marked = _marked(connection, query, numbers)
    return total, [_match(connection, number, marked.get(number)) for number in numbers]


def _first(connection: sqlite3.Connection, inner: str, values: Values, count: int) -> list[int]:
    """The numbers of the first ones, each of them another: of what says the same, the first in time."""
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
    """The number of each session in the index, its recording, its id, and the exchange of one without an id."""
    return connection.execute("SELECT id, recording, session_id, exchange FROM sessions").fetchall()


def session_names(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """The numbers and ids of the sessions that have something to search."""
    return connection.execute("SELECT id, session_id FROM sessions WHERE session_id IS NOT NULL").fetchall()


def everything(connection: sqlite3.Connection) -> Iterator[tuple[Doc, int, int]]:
    """All that can be found, by session and time, each with its exchange and a number that is the same for what says
    the same."""
    query = f"SELECT exchange, same, {DOC} FROM docs JOIN texts USING (id) ORDER BY session, first_ns, id"
    for exchange, same, *row in connection.execute(query):
        yield doc_of(tuple(row)), exchange, same


def _match(connection: sqlite3.Connection, number: int, marked: str | None) -> Match:
    query = f"SELECT exchange, session, recording, {DOC} FROM docs JOIN texts USING (id) WHERE id = ?"
    exchange, session, recording, *row = connection.execute(query, (number,)).fetchone()
    doc = doc_of(tuple(row))
    return Match(doc, exchange, session, recording, doc.text if marked is None else marked)


def _marked(connection: sqlite3.Connection, query: Query, numbers: list[int]) -> dict[int, str]:
    """The texts of some, with marks. One statement for all: a prefix is looked up anew in each."""
    words = " OR ".join(term.expression() for clause in query for term in clause.wanted if not term.is_sign)
    if not words or not numbers:
        return {}
    statement = (
        "SELECT rowid, highlight(words, 0, ?, ?) FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?"
        " AND +rowid IN (SELECT value FROM json_each(?))"
    )
    values = [OPEN, SHUT, words, min(numbers), max(numbers), json.dumps(numbers)]
    return dict(connection.execute(statement, values).fetchall())


def _selected(query: Query) -> tuple[str, Values]:
    """The numbers of all that match."""
    plain = [clause for clause in query if not any(term.is_sign for term in (*clause.wanted, *clause.unwanted))]
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
    words, signs = _apart(clause.wanted)
    not_words, not_signs = _apart(clause.unwanted)
    conditions, values = [], Values()
    if words:
        conditions.append("id IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(_expression(words, not_words))
    elif not_words:
        conditions.append("id NOT IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(" OR ".join(term.expression() for term in not_words))
    conditions += ["instr(lower(text), lower(?)) > 0"] * len(signs) + ["instr(lower(text), lower(?)) = 0"] * len(
        not_signs
    )
    values += [sign.text for sign in [*signs, *not_signs]]
    return f"SELECT id FROM texts WHERE {' AND '.join(conditions)}", values


def _expression(wanted: Iterable[Term], unwanted: Iterable[Term]) -> str:
    together = " AND ".join(term.expression() for term in wanted)
    return " NOT ".join([f"({together})", *(term.expression() for term in unwanted)])


def _apart(terms: tuple[Term, ...]) -> tuple[list[Term], list[Term]]:
    """Those with words in them, and those without."""
    return [term for term in terms if not term.is_sign], [term for term in terms if term.is_sign]


def _narrowed(connection: sqlite3.Connection, narrow: Narrow) -> tuple[str, Values]:
    """Further conditions on a row `d` of docs."""
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
