"""What somebody searches for: a line of text in, a query out. Pure, and never wrong: what is no operator is a word.

1. Words side by side have all to be there. `"a phrase"`, `begin*`, `a OR b`, `a NOT b`; `AND` may be said.
2. OR binds least, and NOT is about the one word or phrase behind it.
3. An operator without something on each side is a word, and so is a quotation mark without another one.
4. Signs inside a word part it, as blanks do: `foo-bar` is the phrase `foo bar`. What holds no letter and no digit at
   all (`->`, `🎉`) is looked for as it stands.

The few words around what was found. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import UsageError
from .documents import spaced

_PIECE = re.compile(r'"([^"]+)"(\*?)(?!\S)|(\S+)')
MOST = 100
"""How many words a query may have."""
_OPERATORS = ("AND", "OR", "NOT")


@dataclass(frozen=True, slots=True)
class Term:
    """A word, a phrase, or what a word begins with."""

    text: str
    is_prefix: bool = False

    @property
    def is_sign(self) -> bool:
        """Whether no word is in it, so that it has to be looked for as it stands."""
        return not any(is_word(c) for c in self.text)

    def expression(self) -> str:
        """As FTS5 writes it: nothing inside the quotes is an operator."""
        quoted = spaced(self.text).replace('"', " ").replace("\0", " ")
        return f'"{quoted}"' + ("*" if self.is_prefix else "")


@dataclass(frozen=True, slots=True)
class Clause:
    """All of `wanted` and none of `unwanted`."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...] = ()


Query = tuple[Clause, ...]
"""Any of them."""


def is_word(c: str) -> bool:
    """Whether a character is part of words: letters, digits, private ones. FTS5's `unicode61` sees it so."""
    category = unicodedata.category(c)
    return category[0] in "LN" or category == "Co"


def parse(text: str) -> Query:
    """Raises `UsageError` where nothing is asked for."""
    pieces = list(_pieces(text))
    if not pieces:
        raise UsageError("the query is empty: name a word to look for")
    if len(pieces) > MOST:
        raise UsageError(f"the query has {len(pieces)} words: take {MOST} at the most")
    clauses: list[tuple[list[Term], list[Term]]] = [([], [])]
    negated = False
    for number, piece in enumerate(pieces):
        if isinstance(piece, str) and _is_between(pieces, number):
            clauses += [([], [])] if piece == "OR" else []
            negated = piece == "NOT"
        else:
            clauses[-1][negated].append(piece if isinstance(piece, Term) else Term(piece))
            negated = False
    return tuple(Clause(tuple(wanted), tuple(unwanted)) for wanted, unwanted in clauses)


def _is_between(pieces: list[Term | str], number: int) -> bool:
    """Whether something stands on each side. What is before an operator is none, as it has a term behind it."""
    return 0 < number < len(pieces) - 1 and isinstance(pieces[number + 1], Term)


def _pieces(text: str) -> Iterator[Term | str]:
    """Terms, and operators as text."""
    for match in _PIECE.finditer(text.replace("\0", " ")):
        phrase, star, word = match.groups()
        if phrase is not None:
            if phrase.strip():
                yield Term(phrase.strip(), bool(star) and not Term(phrase).is_sign)
        elif word in _OPERATORS:
            yield word
        elif word.endswith("*") and not Term(word).is_sign:
            yield Term(word.rstrip("*"), is_prefix=True)
        else:
            yield Term(word)


OPEN, SHUT = "\x02", "\x03"
"""What stands around the words that were found, in the text that comes out of the index. No text has them itself."""
WIDTH = 120

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of text on one line, and where in it the words are that were looked for: begin and end of each."""

    text: str
    spans: tuple[Span, ...]

    def marked(self, opening: str = "[", shutting: str = "]") -> str:
        """The text with something around each of the words."""
        out, at = [], 0
        for begin, end in self.spans:
            out += [self.text[at:begin], opening, self.text[begin:end], shutting]
            at = end
        return "".join([*out, self.text[at:]])


def unmarked(text: str) -> tuple[str, list[Span]]:
    """The text without its marks, and where they were."""
    parts, spans, at = [], list[Span](), 0
    for number, piece in enumerate(text.split(OPEN)):
        found, mark, rest = piece.partition(SHUT)
        if number and mark:
            spans.append((at, at + len(found)))
        parts.append(found + rest)
        at += len(parts[-1])
    return "".join(parts), spans


def signs_in(text: str, signs: list[str]) -> list[Span]:
    """Where these stand, as they are, upper or lower case."""
    low, spans = _lower(text), list[Span]()
    for sign in filter(None, map(_lower, signs)):
        at = low.find(sign)
        while at >= 0 and len(spans) < 500:
            spans.append((at, at + len(sign)))
            at = low.find(sign, at + len(sign))
    return sorted(spans)


def apart(spans: list[Span]) -> list[Span]:
    """The spans in order, without those that lie in another one or reach into it."""
    kept: list[Span] = []
    for begin, end in sorted(spans):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept


def _lower(text: str) -> str:
    """ASCII alone, as SQLite does it: no text changes its length."""
    return text.lower() if text.isascii() else "".join(c.lower() if c.isascii() else c for c in text)


def best(text: str, spans: list[Span], width: int = WIDTH) -> list[Span]:
    """Those of the spans that lie together within `width` and are the most different ones; the first such."""
    chosen, most, starts = spans[:1], 0, [begin for begin, _ in spans]
    for first, (begin, _) in enumerate(spans[:500]):
        last = bisect_right(starts, begin + width // 2)
        words = len({text[b:e].casefold() for b, e in spans[first : min(last, first + 20)]})
        if words > most:
            chosen, most = spans[first:last], words
    return chosen


def cut(text: str, spans: list[Span], width: int = WIDTH) -> Snippet:
    """The piece of a text that the spans lie in, and about `width` characters of it."""
    if not spans:
        return _tidy(text[:width], [], "", "…" if len(text) > width else "")
    begin, end = spans[0][0], spans[-1][1]
    room = max(width - (end - begin), width // 4)
    start = _at_word(text, max(0, begin - room // 2), begin)
    stop = max(end, min(len(text), start + max(width, end - begin + room // 2)))
    inside = [(b - start, e - start) for b, e in spans]
    return _tidy(text[start:stop], inside, "…" if start else "", "…" if stop < len(text) else "")


def _at_word(text: str, at: int, before: int) -> int:
    """Where the next word begins, if that is near."""
    while 0 < at < before and not text[at - 1].isspace():
        at += 1
    return at if at < before else max(0, before - 20)


def _tidy(text: str, spans: list[Span], head: str, tail: str) -> Snippet:
    """White space as single spaces, the spans moved along."""
    out, places, length, blank = [head], [], len(head), True
    for c in text:
        places.append(length)
        is_blank = c.isspace() or c == "\u200b"
        kept = "" if c == "\u200b" or (is_blank and blank) else " " if is_blank else c
        blank = is_blank if c != "\u200b" else blank
        out.append(kept)
        length += len(kept)
    places.append(length)
    line = "".join([*out, tail]).rstrip()
    return Snippet(line, tuple((min(places[b], len(line)), min(places[e], len(line))) for b, e in spans))
