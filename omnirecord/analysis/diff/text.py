"""Two texts beside each other for a person: by words or lines, shortened around what changed. Bounded for any size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

Tone = Literal["same", "gone", "new"]
AROUND = 40
"""How much of what is equal is shown beside a change, in characters."""
MAX_PIECES = 200
"""How many words, or lines, of each side are compared one by one; of more, only the ends are."""
MAX_SHOWN = 400
"""How much of one change is shown, in characters."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_ALIKE = 0.35
"""Which part of the words has to be equal for a text to be shown as one with changes in it."""


class Span(NamedTuple):
    """A stretch of text, and whether both have it, only the first, or only the second."""

    tone: Tone
    text: str


def spans(a: str, b: str) -> list[Span]:
    """Both texts as one, `same` stretches shortened; as one `gone` and one `new` where little of them is equal."""
    head, tail = _ends(a, b)
    left, right = a[head : len(a) - tail], b[head : len(b) - tail]
    made = [Span("same", a[:head]), *_inner(left, right), Span("same", a[len(a) - tail :])]
    same = sum(len(span.text) for span in made if span.tone == "same")
    if same < _ALIKE * min(len(a), len(b)):
        made = [Span("gone", a), Span("new", b)]
    return list(_shortened([span for span in made if span.text]))


def _inner(a: str, b: str) -> Iterator[Span]:
    left, right = (_pieces(text) for text in (a, b))
    if left is None or right is None:
        yield from (Span("gone", a), Span("new", b))
        return
    for kind, i, to_i, j, to_j in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Span("same", "".join(left[i:to_i]))
        else:
            yield from (Span("gone", "".join(left[i:to_i])), Span("new", "".join(right[j:to_j])))


def _pieces(text: str) -> list[str] | None:
    """Its words, or its lines where these are too many; None where they are as well."""
    for pieces in (_words(text), text.splitlines(keepends=True)[: MAX_PIECES + 1]):
        if len(pieces) <= MAX_PIECES:
            return pieces
    return None


def _words(text: str) -> list[str]:
    found = []
    for n, word in enumerate(_WORD.finditer(text)):
        found.append(word[0])
        if n == MAX_PIECES:
            break
    return found


def _ends(a: str, b: str) -> tuple[int, int]:
    """How many characters are equal at the beginning and, of the rest, at the end; words are not cut."""
    head = _common(a, b)
    while head and head < max(len(a), len(b)) and _in_word(a, head) | _in_word(b, head):
        head -= 1
    left, right = a[head:], b[head:]
    tail = _common(left[::-1], right[::-1])
    while tail and (_in_word(left, len(left) - tail) or _in_word(right, len(right) - tail)):
        tail -= 1
    return head, tail


def _in_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _common(a: str, b: str) -> int:
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def _shortened(found: list[Span]) -> Iterator[Span]:
    for n, span in enumerate(found):
        if span.tone != "same":
            yield Span(span.tone, middle_out(span.text, MAX_SHOWN))
        elif len(span.text) <= 2 * AROUND + 3:
            yield span
        elif n == 0:
            yield Span("same", "…" + span.text[-AROUND:])
        elif n == len(found) - 1:
            yield Span("same", span.text[:AROUND] + "…")
        else:
            yield Span("same", f"{span.text[:AROUND]} … {span.text[-AROUND:]}")


def middle_out(text: str, limit: int) -> str:
    """A text without its middle, and how much that was."""
    rest = len(text) - limit
    return text if rest <= 0 else f"{text[: limit // 2]}… ({rest:,} more characters) …{text[-limit // 2 :]}"
