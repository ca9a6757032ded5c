"""The query language, its queries as SQL, and snippets of hits.

1. A hit has all words of a clause. There are `"a phrase"`, `begin*`, `a OR b`, `a NOT b`; `AND` is optional.
2. OR binds weakest. NOT applies to the next word or phrase.
3. An operator without an operand on each side is a word, and so is a single quotation mark.
4. Symbols divide a word as blanks do: `foo-bar` is the phrase `foo bar`. A word without a letter or digit (`->`, `🎉`)
   is searched literally.
"""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...cassette.sqlite.search_index import DOC, Doc, Index, doc_of
from ...errors import UsageError
from .documents import spaced

_TOKEN = re.compile(r'"([^"]+)"(\*?)(?!\S)|(\S+)')
MOST = 100
"""Most words of a query."""
_OPERATORS = ("AND", "OR", "NOT")
Values = list[Any]
OPEN = "\x02"
SHUT = "\x03"
"""The marks around found words in texts from the index. No indexed text holds them."""
WIDTH = 120
_IN = "IN (SELECT value FROM json_each(?))"
"""The condition that a value is in a list, which is one JSON parameter."""
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Term:
    """A word, a phrase, or the prefix of a word."""

    text: str
    is_prefix: bool = False

    @property
    def is_symbol(self) -> bool:
        """Whether it has no letter or digit, so that it is searched literally."""
        return not any(is_word(c) for c in self.text)

    def expression(self) -> str:
        """The term in FTS5's syntax, quoted, so that it holds no operator."""
        quoted = spaced(self.text).replace('"', " ").replace("\0", " ")
        return f'"{quoted}"' + ("*" if self.is_prefix else "")


@dataclass(frozen=True, slots=True)
class Clause:
    """All of `wanted` and none of `unwanted`."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...] = ()


Query = tuple[Clause, ...]
"""Clauses, of which one has to match."""


def is_word(c: str) -> bool:
    """Whether FTS5's `unicode61` counts a character as part of a word: letters, digits, private use."""
    category = unicodedata.category(c)
    return category[0] in "LN" or category == "Co"


def parse(text: str) -> Query:
    """The query in a text. Raises `UsageError` if it is empty or has more than `MOST` words."""
    tokens = list(_tokens(text))
    if not tokens:
        raise UsageError("the query is empty: name a word to look for")
    if len(tokens) > MOST:
        raise UsageError(f"the query has {len(tokens)} words: use at most {MOST}")
    clauses: list[tuple[list[Term], list[Term]]] = [([], [])]
    negated = False
    for number, token in enumerate(tokens):
        # An operator has an operand on each side.
        if isinstance(token, str) and 0 < number < len(tokens) - 1 and isinstance(tokens[number + 1], Term):
            clauses += [([], [])] if token == "OR" else []
            negated = token == "NOT"
        else:
            clauses[-1][negated].append(token if isinstance(token, Term) else Term(token))
            negated = False
    return tuple(Clause(tuple(wanted), tuple(unwanted)) for wanted, unwanted in clauses)


def _tokens(text: str) -> Iterator[Term | str]:
    """Terms, and operators as text."""
    for match in _TOKEN.finditer(text.replace("\0", " ")):
        phrase, star, word = match.groups()
        if phrase is not None:
            if phrase.strip():
                yield Term(phrase.strip(), bool(star) and not Term(phrase).is_symbol)
        elif word in _OPERATORS:
            yield word
        elif word.endswith("*") and not Term(word).is_symbol:
            yield Term(word.rstrip("*"), is_prefix=True)
        else:
            yield Term(word)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a text on one line, with the start and end of each found word."""

    text: str
    spans: tuple[Span, ...]

    def marked(self, opening: str = "[", shutting: str = "]") -> str:
        """The text with marks around each found word."""
        out = []
        at = 0
        for begin, end in self.spans:
            out += [self.text[at:begin], opening, self.text[begin:end], shutting]
            at = end
        return "".join([*out, self.text[at:]])


def snippet_of(marked: str, query: Query, width: int) -> tuple[Snippet, int]:
    """The snippet of a text from the index, and the place of its first found word in that text."""
    text, spans = unmarked(marked)
    symbols = [term.text for clause in query for term in clause.wanted if term.is_symbol]
    spans = best(text, apart([*spans, *symbols_in(text, symbols)]), width)
    return cut(text, spans, width), spans[0][0] if spans else 0


def in_texts(texts: Sequence[str], query: Query, width: int = WIDTH) -> dict[int, Snippet]:
    """Return the snippets of the texts that match, by their places in `texts`."""
    with closing(Index.in_memory()) as index:
        rows = [(place, spaced(text)) for place, text in enumerate(texts)]
        index.connection.executemany("INSERT INTO texts VALUES (?, ?, NULL)", rows)
        index.connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", rows)
        found, values = _selected(query)
        places = [place for (place,) in index.connection.execute(found, values)]
        marked = _marked(index.connection, query, places)
    return {place: snippet_of(marked.get(place, rows[place][1]), query, width)[0] for place in places}


def unmarked(text: str) -> tuple[str, list[Span]]:
    """The text without its marks, and the spans between them."""
    parts = []
    spans = list[Span]()
    at = 0
    for number, token in enumerate(text.split(OPEN)):
        found, mark, rest = token.partition(SHUT)
        if number and mark:
            spans.append((at, at + len(found)))
        parts.append(found + rest)
        at += len(parts[-1])
    return "".join(parts), spans


def symbols_in(text: str, symbols: list[str]) -> list[Span]:
    """The spans of these symbols in a text; ASCII letters in any case."""
    low = _lower(text)
    found = (match.span() for symbol in map(_lower, symbols) for match in re.finditer(re.escape(symbol), low))
    return sorted(islice(found, 500))


def apart(spans: list[Span]) -> list[Span]:
    """The spans in order, without those that overlap an earlier one."""
    kept: list[Span] = []
    for begin, end in sorted(spans):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept


def _lower(text: str) -> str:
    """ASCII letters in lower case, as in SQLite: the length stays the same."""
    return text.lower() if text.isascii() else "".join(c.lower() if c.isascii() else c for c in text)


def best(text: str, spans: list[Span], width: int = WIDTH) -> list[Span]:
    """The spans within `width` characters that have the most different words; the first such group."""
    chosen = spans[:1]
    most = 0
    starts = [begin for begin, _ in spans]
    for first, (begin, _) in enumerate(spans[:500]):
        last = bisect_right(starts, begin + width // 2)
        words = len({text[b:e].casefold() for b, e in spans[first : min(last, first + 20)]})
        if words > most:
            chosen = spans[first:last]
            most = words
    return chosen


def cut(text: str, spans: list[Span], width: int = WIDTH) -> Snippet:
    """The part of a text around the spans, about `width` characters long."""
    if not spans:
        return _tidy(text[:width], [], "", "…" if len(text) > width else "")
    begin = spans[0][0]
    end = spans[-1][1]
    room = max(width - (end - begin), width // 4)
    start = _at_word(text, max(0, begin - room // 2), begin)
    stop = max(end, min(len(text), start + max(width, end - begin + room // 2)))
    inside = [(b - start, e - start) for b, e in spans]
    return _tidy(text[start:stop], inside, "…" if start else "", "…" if stop < len(text) else "")


def _at_word(text: str, at: int, before: int) -> int:
    """The start of the next word, if that is near."""
    while 0 < at < before and not text[at - 1].isspace():
        at += 1
    return at if at < before else max(0, before - 20)


def _tidy(text: str, spans: list[Span], head: str, tail: str) -> Snippet:
    """A snippet with single spaces for white space, and the spans adjusted."""
    out = [head]
    places = []
    length = len(head)
    blank = True
    for c in text:
        places.append(length)
        kept = c
        if c == "\u200b":
            kept = ""
        elif c.isspace():
            kept = "" if blank else " "
            blank = True
        else:
            blank = False
        out.append(kept)
        length += len(kept)
    places.append(length)
    line = "".join([*out, tail]).rstrip()
    return Snippet(line, tuple((min(places[b], len(line)), min(places[e], len(line))) for b, e in spans))


@dataclass(frozen=True, slots=True)
class Filter:
    """The filters of a search; None for no filter."""

    sessions: list[int] | None = None
    """Session numbers of the index."""
    takes_type: Callable[[str], bool] | None = None
    times: list[tuple[int, int, int]] | None = None
    """Session number of the index, first and last ns."""
    calls: list[int] | None = None
    """Exchanges that are model calls: with `sessions` also those, else only those."""


@dataclass(frozen=True, slots=True)
class Match:
    doc: Doc
    exchange: int
    session: int
    marked: str
    """Its text, with `OPEN` and `SHUT` around found words."""
    exchanges: frozenset[int]
    """The exchanges with an equal document."""


def matches(connection: sqlite3.Connection, query: Query, narrow: Filter, limit: int) -> tuple[int, list[Match]]:
    """The number of matches, and the first by session and time; equal documents count once. Needs `Index.at_once`."""
    found, values = _selected(query)
    narrowed, more = _narrowed(connection, narrow)
    inner = f"FROM docs d WHERE d.id IN ({found}){narrowed}"
    values = values + more
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


def everything(connection: sqlite3.Connection) -> Iterator[tuple[Doc, int, int]]:
    """All documents by session and time, each with its exchange and a number that equal documents share."""
    query = f"SELECT exchange, same, {DOC} FROM docs JOIN texts USING (id) ORDER BY session, first_ns, id"
    for exchange, same, *row in connection.execute(query):
        yield doc_of(tuple(row)), exchange, same


def _match(connection: sqlite3.Connection, number: int, marked: str | None) -> Match:
    query = f"SELECT exchange, session, same, {DOC} FROM docs JOIN texts USING (id) WHERE id = ?"
    exchange, session, same, *row = connection.execute(query, (number,)).fetchone()
    doc = doc_of(tuple(row))
    alike = connection.execute("SELECT DISTINCT exchange FROM docs WHERE same = ?", (same,)).fetchall()
    return Match(doc, exchange, session, doc.text if marked is None else marked, frozenset(n for (n,) in alike))


def _marked(connection: sqlite3.Connection, query: Query, numbers: list[int]) -> dict[int, str]:
    """The marked texts of these documents. One statement for all, since each statement looks up prefixes again."""
    words = " OR ".join(term.expression() for clause in query for term in clause.wanted if not term.is_symbol)
    if not words or not numbers:
        return {}
    statement = (
        "SELECT rowid, highlight(words, 0, ?, ?) FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?"
        f" AND +rowid {_IN}"
    )
    values = [OPEN, SHUT, words, min(numbers), max(numbers), json.dumps(numbers)]
    return dict(connection.execute(statement, values).fetchall())


def _selected(query: Query) -> tuple[str, Values]:
    """SQL for the numbers of the documents that match."""
    plain = [clause for clause in query if not any(term.is_symbol for term in (*clause.wanted, *clause.unwanted))]
    parts = []
    values = Values()
    if plain:
        parts.append("SELECT rowid FROM words WHERE words MATCH ?")
        values.append(" OR ".join(f"({_expression(clause.wanted, clause.unwanted)})" for clause in plain))
    for part, more in (_clause(clause) for clause in query if clause not in plain):
        parts.append(part)
        values += more
    return " UNION ".join(parts), values


def _clause(clause: Clause) -> tuple[str, Values]:
    words, symbols = _apart(clause.wanted)
    not_words, not_symbols = _apart(clause.unwanted)
    conditions = []
    values = Values()
    if words:
        conditions.append("id IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(_expression(words, not_words))
    elif not_words:
        conditions.append("id NOT IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(" OR ".join(term.expression() for term in not_words))
    conditions += ["instr(lower(text), lower(?)) > 0"] * len(symbols)
    conditions += ["instr(lower(text), lower(?)) = 0"] * len(not_symbols)
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
    conditions = ""
    values = Values()
    if narrow.sessions is not None:
        conditions += f" AND (d.session {_IN} OR d.exchange {_IN})"
        values += [json.dumps(narrow.sessions), json.dumps(narrow.calls or [])]
    elif narrow.calls is not None:
        conditions += f" AND d.exchange {_IN}"
        values.append(json.dumps(narrow.calls))
    if narrow.takes_type is not None:
        known = connection.execute("SELECT DISTINCT type FROM docs WHERE type IS NOT NULL")
        conditions += f" AND d.type {_IN}"
        values.append(json.dumps([type_ for (type_,) in known if narrow.takes_type(type_)]))
    if narrow.times is not None:
        connection.execute("CREATE TEMP TABLE spans (session INTEGER PRIMARY KEY, low INTEGER, high INTEGER)")
        connection.executemany("INSERT INTO spans VALUES (?, ?, ?)", narrow.times)
        conditions += (
            " AND EXISTS (SELECT 1 FROM spans s WHERE s.session = d.session"
            " AND d.last_ns >= s.low AND d.first_ns <= s.high)"
        )
    return conditions, values
