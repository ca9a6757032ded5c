"""Possessive groups on which Python before 3.11.5 is wrong (CPython issue 106052).

There, the engine goes on where the last repetition of the group has come to before it failed. `(?:ab?c)*+` matches
`abca` of `abca`. A repetition moves if it fails behind a part that stores its place: a repeat, a branch, a look-around.
"""

from __future__ import annotations

import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator, Sequence
from typing import Any

Node = tuple[Any, Any]
_SIMPLE = {op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY, op.AT}
_REPEATS = {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}
_AROUND = {op.ASSERT, op.ASSERT_NOT}


def is_wrong_before_3_11_5(pattern: re.Pattern[Any]) -> bool:
    """Return whether a possessive group of the expression may fail behind its start."""
    flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    groups = _groups(parser.parse(pattern.pattern, flags))
    return any(_moves(one) for group in groups for one in _alternatives(group))


def _groups(nodes: Sequence[Node]) -> Iterator[Sequence[Node]]:
    """Yield what each possessive repeat repeats."""
    for kind, value in nodes:
        if kind is op.POSSESSIVE_REPEAT:
            yield value[2]
        for part in _parts(kind, value):
            yield from _groups(part)


def _parts(kind: Any, value: Any) -> Sequence[Sequence[Node]]:
    if kind in _REPEATS:
        return [value[2]]
    if kind is op.BRANCH:
        return list(value[1])
    if kind in _AROUND:
        return [value[1]]
    return [value[-1]] if kind is op.SUBPATTERN else [value] if kind is op.ATOMIC_GROUP else []


def _alternatives(nodes: Sequence[Node]) -> Iterator[Sequence[Node]]:
    """Yield the sequences that a sequence stands for if it begins with a group."""
    kind, value = nodes[0] if nodes else (None, None)
    if kind in (op.SUBPATTERN, op.BRANCH):
        for one in _parts(kind, value):
            yield from _alternatives([*one, *nodes[1:]])
    else:
        yield nodes


def _moves(nodes: Sequence[Node]) -> bool:
    """Return whether a sequence may fail after it has stored a place behind its start."""
    has_consumed = has_stored = False
    sure: list[Node] = []  # what a look-ahead has seen
    for kind, value in nodes:
        is_simple = kind in _SIMPLE
        is_flat = is_simple or all(one in _SIMPLE for part in _parts(kind, value) for one, _ in part)
        is_behind = has_consumed and not is_simple
        moves_as_it_fails = kind is op.ASSERT_NOT or is_behind or not is_flat
        is_sure = sure[:1] == [(kind, value)]
        if not is_sure and _may_fail((kind, value)) and (has_stored or moves_as_it_fails):
            return True
        sure = list(value[1]) if kind is op.ASSERT else sure[1:] if is_sure else []
        has_stored = has_stored or not is_simple
        has_consumed = has_consumed or (kind is not op.AT and kind not in _AROUND)
    return False


def _may_fail(node: Node) -> bool:
    kind, value = node
    if kind in _REPEATS:
        return bool(value[0] > 0)
    if kind in (op.SUBPATTERN, op.ATOMIC_GROUP):
        return any(map(_may_fail, _parts(kind, value)[0]))
    return True
