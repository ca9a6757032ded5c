"""Asking an index: a query and what narrows it, as SQL; the numbers and texts of what is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..searching.docs import Doc
from ..searching.query import Clause, Query, Term
from ..searching.snippets import OPEN, SHUT
from .index import DOC, doc_of

Values = list[Any]


@dataclass(frozen=True, slots=True)
class Narrow:
    """What is searched; nothing narrows it unless given."""

    sessions: list[int] | None = None
    """Numbers of the index."""
    takes_type: Callable[[str], bool] | None = None
    times: list[tuple[int, int, int]] | None = None
    """Of each recording that counts the first and the last ns."""


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
    """How many there are, what says the same being one, and the first of them, by session and time."""
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


def session_names(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """The numbers and ids of the sessions that have something to search."""
    return connection.execute("SELECT id, session_id FROM sessions WHERE session_id IS NOT NULL").fetchall()


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
        f" AND +rowid IN ({_places(numbers)})"
    )
    values = [OPEN, SHUT, words, min(numbers), max(numbers), *numbers]
    return dict(connection.execute(statement, values).fetchall())


def _selected(query: Query) -> tuple[str, Values]:
    """The numbers of all that match."""
    parts, values = [], Values()
    for clause in query:
        part, more = _clause(clause)
        parts.append(part)
        values += more
    return " UNION ".join(parts), values


def _clause(clause: Clause) -> tuple[str, Values]:
    words, signs = _apart(clause.wanted)
    not_words, not_signs = _apart(clause.unwanted)
    conditions, values = [], Values()
    if words:
        expression = " AND ".join(term.expression() for term in words)
        expression = " NOT ".join([f"({expression})", *(term.expression() for term in not_words)])
        conditions.append("id IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(expression)
    elif not_words:
        conditions.append("id NOT IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(" OR ".join(term.expression() for term in not_words))
    for sign in [*signs, *not_signs]:
        conditions.append(f"instr(lower(text), lower(?)) {'>' if sign in signs else '='} 0")
        values.append(sign.text)
    if len(conditions) == 1 and words:
        return "SELECT rowid FROM words WHERE words MATCH ?", values
    return f"SELECT id FROM texts WHERE {' AND '.join(conditions)}", values


def _apart(terms: tuple[Term, ...]) -> tuple[list[Term], list[Term]]:
    """Those with words in them, and those without."""
    return [term for term in terms if not term.is_sign], [term for term in terms if term.is_sign]


def _narrowed(connection: sqlite3.Connection, narrow: Narrow) -> tuple[str, Values]:
    """Further conditions on a row `d` of docs."""
    conditions, values = "", Values()
    if narrow.sessions is not None:
        conditions += f" AND d.session IN ({_places(narrow.sessions)})"
        values += narrow.sessions
    if narrow.takes_type is not None:
        known = connection.execute("SELECT DISTINCT type FROM docs WHERE type IS NOT NULL")
        types = [type_ for (type_,) in known if narrow.takes_type(type_)]
        conditions += f" AND d.type IN ({_places(types)})"
        values += types
    if narrow.times is not None:
        spans = " OR ".join("(d.recording = ? AND d.last_ns >= ? AND d.first_ns <= ?)" for _ in narrow.times)
        conditions += f" AND ({spans or '0'})"
        values += [value for span in narrow.times for value in span]
    return conditions, values


def _places(values: list[Any]) -> str:
    return ", ".join("?" * len(values))
