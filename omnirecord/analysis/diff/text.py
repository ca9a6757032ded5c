"""Two texts as one with marked changes: by words or lines, equal parts shortened. Bounded for any size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

Tone = Literal["same", "gone", "new"]
AROUND = 40
"""Characters of equal text that are shown beside a change."""
MAX_PIECES = 200
"""Most words, or lines, of each side that are compared one by one; of longer texts only the ends."""
MAX_SHOWN = 400
"""Most characters that are shown of one change."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_ALIKE = 0.35
"""Share of the shorter text that has to be equal; below it, both texts are shown whole."""


class Span(NamedTuple):
    """A part of a text: `same` in both, `gone` from the first, or `new` in the second."""

    tone: Tone
    text: str


def spans(a: str, b: str) -> list[Span]:
    """Both texts as spans, `same` ones shortened; as one `gone` and one `new` if little of them is equal."""
    head, tail = _ends(a, b)
    left, right = a[head : len(a) - tail], b[head : len(b) - tail]
    made = [Span("same", a[:head]), *_inner(left, right), Span("same", a[len(a) - tail :])]
    same = sum(len(span.text) for span in made if span.tone == "same")
    if same < _ALIKE * min(len(a), len(b)):
        made = [Span("gone", a), Span("new", b)]
    return list(_shortened([span for span in made if span.text]))


def _inner(a: str, b: str) -> Iterator[Span]:
    left, right = (_units(text) for text in (a, b))
    if left is None or right is None:
        yield from (Span("gone", a), Span("new", b))
        return
    for kind, i, to_i, j, to_j in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Span("same", "".join(left[i:to_i]))
        else:
            yield from (Span("gone", "".join(left[i:to_i])), Span("new", "".join(right[j:to_j])))


def _units(text: str) -> list[str] | None:
    """The words of a text; its lines, if there are too many words; None, if there are too many lines."""
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
    """The number of equal characters at the start and, of the rest, at the end; whole words only."""
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
    """The start and end of a text, with the length of the middle that is left out."""
    rest = len(text) - limit
    return text if rest <= 0 else f"{text[: limit // 2]}… ({rest:,} more characters) …{text[-limit // 2 :]}"
