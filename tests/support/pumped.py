"""Inputs that make a regular expression backtrack, derived from the expression, and the growth of its CPU time."""

from __future__ import annotations

import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import time
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Any

SIZE = 4096
"""Characters in the longest input; the others have half and a quarter as many."""
_FAST = 0.0008
"""Seconds of CPU time for the longest input that are too few for a quadratic expression: it takes 2 to 100 ms."""
_FAST_AT_A_QUARTER = _FAST / 16
"""Seconds for a quarter of that input, after which a quadratic expression takes no longer than `_FAST` for all of it. A
cubic one takes more for the quarter, which is 1,024 characters."""
_SURELY_SLOW = 0.2
"""Seconds of CPU time for the longest input that no linear expression takes: it would be 50 µs for each character."""
_GROWTH = 2.8
"""The most that the time may grow by for twice the input: 2 is linear, 4 is quadratic."""
_MANY = 64
"""From so many repetitions on, a repeat is pumped."""
_OTHERS = '\0!a0_ =."\\\n,;:-'
_CATEGORY = {
    op.CATEGORY_DIGIT: "07",
    op.CATEGORY_SPACE: " \t\n",
    op.CATEGORY_WORD: "a_0",
    op.CATEGORY_NOT_DIGIT: "a ",
    op.CATEGORY_NOT_SPACE: "a!",
    op.CATEGORY_NOT_WORD: " !",
}


def slow(pattern: re.Pattern[Any], methods: Iterable[str]) -> str | None:
    """Returns the input on which the time of `pattern` grows faster than linearly; None if there is no such input."""
    for method in sorted({one if one in ("match", "fullmatch") else "search" for one in methods}):
        for prefix, pump, suffix in attacks(pattern):
            if _is_slow(pattern, method, prefix, pump, suffix):
                return f"{method}({prefix!r} + {pump!r} * n + {suffix!r})"
    return None


def _is_slow(pattern: re.Pattern[Any], method: str, prefix: str, pump: str, suffix: str) -> bool:
    """Returns whether the CPU time grows faster than linearly. If it seems to, the best of three runs counts, and of
    three such measurements all have to agree: other processes make single ones grow."""

    def text(part: int) -> Any:
        return _text(pattern, prefix + pump * (SIZE // part // len(pump)) + suffix)

    if _took(pattern, method, quarter := text(4)) < _FAST_AT_A_QUARTER:
        return False
    texts = [quarter, text(2), text(1)]
    if (took := _took(pattern, method, texts[-1])) < _FAST:
        return False
    if took > _SURELY_SLOW:
        return True
    return all(_grows([min(_took(pattern, method, text) for _ in range(3)) for text in texts]) for _ in range(3))


def _grows(took: list[float]) -> bool:
    return took[-1] >= _FAST and all(later > _GROWTH * earlier for earlier, later in pairwise(took))


def _text(pattern: re.Pattern[Any], text: str) -> Any:
    return text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text


def _took(pattern: re.Pattern[Any], method: str, text: Any) -> float:
    began = time.thread_time()
    if method == "search":
        for _ in pattern.finditer(text):
            pass
    else:
        getattr(pattern, method)(text)
    return time.thread_time() - began


def attacks(pattern: re.Pattern[Any]) -> list[tuple[str, str, str]]:
    """Returns prefixes, pumps and suffixes, for every repeat of the expression and every kind of character in it."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = list(parser.parse(source, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else 0))
    kinds = sorted(set(_characters(tree)) | set(_OTHERS))
    if not list(_repeats(tree, "")):
        return []
    whole = _sample(tree)
    pumps: dict[str, set[str]] = {}
    for prefix, body in _repeats(tree, ""):
        found = pumps.setdefault(prefix, set())
        found |= {_sample(body), *_alternatives(body), *_characters(body)}
    starts = [prefix for prefix, _ in _repeats(tree, "")]
    pumps.setdefault("", set()).update({*kinds, whole, whole[:-1], *starts, *(one + "a" for one in starts)})
    return [
        (prefix, pump, suffix)
        for prefix, several in pumps.items()
        for pump in sorted(several - {""})
        for suffix in ("", "\0", '"')
        if len(pump) < SIZE // 8
    ]


def _repeats(tree: Any, before: str) -> Iterator[tuple[str, Any]]:
    """Each repeat without a small limit, with a text that leads to it."""
    for code, value in tree:
        if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            if value[1] is op.MAXREPEAT or value[1] >= _MANY:
                yield before, list(value[2])
            yield from _repeats(list(value[2]), before)
        else:
            for child in _children(code, value):
                yield from _repeats(child, before)
        before += _sample([(code, value)])


def _children(code: Any, value: Any) -> list[Any]:
    if code is op.SUBPATTERN:
        return [list(value[-1])]
    if code is op.BRANCH:
        return [list(one) for one in value[1]]
    if code is op.ATOMIC_GROUP:
        return [list(value)]
    return [list(value[1])] if code in (op.ASSERT, op.ASSERT_NOT) else []


def _sample(tree: Any) -> str:
    """Returns a short text that the expression nearly always matches."""
    made = ""
    for code, value in tree:
        if code is op.LITERAL:
            made += chr(value)
        elif code is op.IN:
            made += next(iter(_in(value)), "a")
        elif code in (op.NOT_LITERAL, op.ANY):
            made += "a" if value != ord("a") else "b"
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            made += _sample(list(value[2])) * max(value[0], min(1, value[1] if value[1] is not op.MAXREPEAT else 1))
        elif code not in (op.ASSERT, op.ASSERT_NOT) and (children := _children(code, value)):
            made += _sample(children[0])
    return made


def _alternatives(tree: Any) -> Iterator[str]:
    for code, value in tree:
        children = _children(code, value)
        if code is op.BRANCH:
            yield from map(_sample, children)
        for child in children:
            yield from _alternatives(child)


def _characters(tree: Any) -> Iterator[str]:
    """Characters of every kind that the expression tells apart."""
    for code, value in tree:
        if code in (op.LITERAL, op.NOT_LITERAL):
            yield chr(value)
        elif code is op.IN:
            yield from islice(_in(value), 4)
        elif code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            yield from _characters(list(value[2]))
        for child in _children(code, value):
            yield from _characters(child)


def _in(value: Any) -> Iterator[str]:
    named: list[str] = []
    excluded = value[0][0] is op.NEGATE
    for code, of in value:
        if code is op.LITERAL:
            named.append(chr(of))
        elif code is op.RANGE:
            named += [chr(of[0]), chr(of[1])]
        elif code is op.CATEGORY:
            named += _CATEGORY.get(of, "a")
    yield from (one for one in "a !\0" if one not in named) if excluded else named
