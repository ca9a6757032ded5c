"""Pairs of elements of two sequences, by equal keys and in order; and two texts as one with marked changes.

Equal ends are paired first, then elements that are unique on both sides (patience diff). In a small gap between those,
the longest common subsequence is paired. The result does not depend on which sequence is the first. Texts are compared
by words or lines, and equal parts are shortened. Never quadratic.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple, TypeVar

from ...text import same_start

T = TypeVar("T")
Pair = tuple[int | None, int | None]
SMALL = 10_000
"""Most cells of the table for one gap; the elements of a larger gap stay unpaired."""
_DEPTH = 40
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


def aligned(a: Sequence[T], b: Sequence[T], *keys: Callable[[T], str], pair_rest: bool = False) -> list[Pair]:
    """The pairs of indexes, in order; None for an element without a partner.

    `keys`: the strictest first; elements that one key leaves unpaired are tried with the next. `pair_rest`: pair the
    rest of each gap in order.
    """
    if pair_rest and len(a) == len(b) <= 1:
        return [(n, n) for n in range(len(a))]
    if len(a) == len(b) and all(keys[0](one) == keys[0](other) for one, other in zip(a, b, strict=True)):
        return [(n, n) for n in range(len(a))]
    open_ = [(range(len(a)), range(len(b)))]
    found: list[tuple[int, int]] = []
    for key in keys:
        gaps = []
        for left, right in open_:
            met = matches([key(a[i]) for i in left], [key(b[j]) for j in right])
            met = [(left.start + i, right.start + j) for i, j in met]
            found += met
            gaps += list(_gaps(met, left, right))
        open_ = gaps
    if pair_rest:
        return _in_order(found, a, b, (pair for gap in open_ for pair in zip(*gap, strict=False)))
    return _in_order(found, a, b, ())


def _in_order(found: list[tuple[int, int]], a: Sequence[Any], b: Sequence[Any], more: Any) -> list[Pair]:
    pairs: list[Pair] = []
    done_a = done_b = 0
    for i, j in [*sorted([*found, *more]), (len(a), len(b))]:
        pairs += [(n, None) for n in range(done_a, i)] + [(None, n) for n in range(done_b, j)]
        pairs += [(i, j)] if i < len(a) else []
        done_a, done_b = i + 1, j + 1
    return pairs


def _gaps(met: list[tuple[int, int]], left: range, right: range) -> Iterator[tuple[range, range]]:
    i, j = left.start, right.start
    for at, to in [*met, (left.stop, right.stop)]:
        if at > i and to > j:
            yield range(i, at), range(j, to)
        i, j = at + 1, to + 1


def matches(a: list[str], b: list[str], depth: int = _DEPTH) -> list[tuple[int, int]]:
    """Pairs of indexes with equal keys, rising on both sides."""
    if (len(a), a) > (len(b), b):
        return [(i, j) for j, i in matches(b, a, depth)]
    head = same_start(a, b)
    tail = same_start(a[head:][::-1], b[head:][::-1])
    left, right = a[head : len(a) - tail], b[head : len(b) - tail]
    found = [(n, n) for n in range(head)]
    found += [(head + i, head + j) for i, j in _inner(left, right, depth)]
    return found + [(len(a) - n, len(b) - n) for n in range(tail, 0, -1)]


def _inner(a: list[str], b: list[str], depth: int) -> list[tuple[int, int]]:
    if not a or not b:
        return []
    anchors = _anchors(a, b) if depth else []
    if not anchors:
        return _longest(a, b) if len(a) * len(b) <= SMALL else []
    found, i, j = [], 0, 0
    for at, to in [*anchors, (len(a), len(b))]:
        found += [(i + x, j + y) for x, y in matches(a[i:at], b[j:to], depth - 1)]
        found += [(at, to)] if at < len(a) else []
        i, j = at + 1, to + 1
    return found


def _anchors(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """Keys that are unique on both sides, in one order: the longest rising run of index pairs."""
    once_a, once_b = Counter(a), Counter(b)
    where = {key: n for n, key in enumerate(b) if once_b[key] == 1}
    pairs = [(n, where[key]) for n, key in enumerate(a) if once_a[key] == 1 and key in where]
    return _rising(pairs)


def _rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for n, (_, j) in enumerate(pairs):
        at = bisect_left(tops, j)
        before.append(ends[at - 1] if at else -1)
        tops[at : at + 1], ends[at : at + 1] = [j], [n]
    run, n = [], ends[-1] if ends else -1
    while n >= 0:
        run.append(pairs[n])
        n = before[n]
    return run[::-1]


def _longest(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """The longest common subsequence, in O(len(a) * len(b)); difflib's worst case is cubic."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        row, below = table[i], table[i + 1]
        for j in range(len(b) - 1, -1, -1):
            row[j] = below[j + 1] + 1 if a[i] == b[j] else max(below[j], row[j + 1])
    found, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif table[i + 1][j] >= table[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


def moved(pairs: Sequence[Pair], key_a: Callable[[int], Hashable], key_b: Callable[[int], Hashable]) -> list[Pair]:
    """The pairs, with unpaired elements of equal keys paired too: they moved."""
    waiting: dict[Hashable, deque[int]] = {}
    for i, j in pairs:
        if i is None and j is not None:
            waiting.setdefault(key_b(j), deque()).append(j)
    taken: dict[int, int] = {}
    for i, j in pairs:
        if i is not None and j is None and (others := waiting.get(key_a(i))):
            taken[i] = others.popleft()
    gone = set(taken.values())
    joined = [(i, taken.get(i) if j is None and i is not None else j) for i, j in pairs]
    return [(i, j) for i, j in joined if i is not None or j not in gone]


class Span(NamedTuple):
    """A part of a text: `same` in both, `gone` from the first, or `new` in the second."""

    tone: Tone
    text: str


def spans(a: str, b: str) -> list[Span]:
    """Both texts as spans, `same` ones shortened; as one `gone` and one `new` if little of them is equal."""
    head, tail = _ends(a, b)
    left, right = a[head : len(a) - tail], b[head : len(b) - tail]
    made = [Span("same", a[:head]), *_changes(left, right), Span("same", a[len(a) - tail :])]
    same = sum(len(span.text) for span in made if span.tone == "same")
    if same < _ALIKE * min(len(a), len(b)):
        made = [Span("gone", a), Span("new", b)]
    return list(_shortened([span for span in made if span.text]))


def _changes(a: str, b: str) -> Iterator[Span]:
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
    head = same_start(a, b)
    while head and head < max(len(a), len(b)) and _in_word(a, head) | _in_word(b, head):
        head -= 1
    left, right = a[head:], b[head:]
    tail = same_start(left[::-1], right[::-1])
    while tail and (_in_word(left, len(left) - tail) or _in_word(right, len(right) - tail)):
        tail -= 1
    return head, tail


def _in_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _shortened(found: list[Span]) -> Iterator[Span]:
    for n, span in enumerate(found):
        if span.tone != "same":
            yield Span(span.tone, middle_out(span.text))
        elif len(span.text) <= 2 * AROUND + 3:
            yield span
        elif n == 0:
            yield Span("same", "…" + span.text[-AROUND:])
        elif n == len(found) - 1:
            yield Span("same", span.text[:AROUND] + "…")
        else:
            yield Span("same", f"{span.text[:AROUND]} … {span.text[-AROUND:]}")


def middle_out(text: str) -> str:
    """The start and end of a text, with the length of the middle that is left out."""
    rest, half = len(text) - MAX_SHOWN, MAX_SHOWN // 2
    return text if rest <= 0 else f"{text[:half]}… ({rest:,} more characters) …{text[-half:]}"
