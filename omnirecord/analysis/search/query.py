"""What somebody searches for: a line of text in, a query out. Pure, and never wrong: what is no operator is a word.

1. Words side by side have all to be there. `"a phrase"`, `begin*`, `a OR b`, `a NOT b`; `AND` may be said.
2. OR binds least, and NOT is about the one word or phrase behind it.
3. An operator without something on each side is a word, and so is a quotation mark without another one.
4. Signs inside a word part it, as blanks do: `foo-bar` is the phrase `foo bar`. What holds no letter and no digit at
   all (`->`, `🎉`) is looked for as it stands.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import UsageError
from .texts import spaced

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
