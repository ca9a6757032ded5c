"""Where in a JSON text a field stands, so that it alone is changed and all else keeps its spelling. Pure.

The text is JSON: whoever calls has parsed it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BLANK = re.compile(r"[ \t\n\r]*")
_BLANK_BEFORE = " \t\n\r"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Span:
    """A member of an object, or an item of a list."""

    begin: int
    """Where its name begins, or its value, if it has none."""
    value: int
    end: int


def find(text: str, steps: Iterable[str]) -> Span | None:
    """The field that these steps lead to."""
    span = Span(0, _skip(text, 0), len(text))
    for step in steps:
        if text[span.value] not in "{[":
            return None
        found = next((below for name, below in _members(text, span.value) if name == step), None)
        if found is None:
            return None
        span = found
    return span


def without(text: str, span: Span) -> str:
    """The text without that member, and without one of the commas around it."""
    behind = _skip(text, span.end)
    if text[behind] == ",":
        return text[: span.begin] + text[_skip(text, behind + 1) :]
    before = text[: span.begin].rstrip(_BLANK_BEFORE)
    return (before[:-1] if before.endswith(",") else text[: span.begin]) + text[span.end :]


def _members(text: str, at: int) -> Iterator[tuple[str, Span]]:
    """The name or position and the place of all that the object or list at `at` holds."""
    is_object = text[at] == "{"
    at = _skip(text, at + 1)
    number = 0
    while text[at] not in "]}":
        begin, name = at, str(number)
        if is_object:
            name, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        yield name, Span(begin, at, end)
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
        number += 1


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
