"""Edits the data of a frame. Line ends, other lines, a byte order mark and the spelling of other fields stay. Pure.

`find` and `without` work on a JSON text that was parsed before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...wire.strict_json import MalformedError, parse
from ..event_address import fields_like, listed
from .verbs import Corrupt, Edit, SetField

_BLANK = re.compile(r"[ \t\n\r]*")
_BLANK_BEFORE = " \t\n\r"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Span:
    """Place of a member of an object, or of an item of a list, in characters."""

    begin: int
    """Where its name begins; of an item, its value."""
    value: int
    end: int


def find(text: str, steps: Iterable[str]) -> Span | None:
    """Return the place of the field that these steps lead to; None if there is none."""
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
    """Return the text without that member, and without one of the commas around it."""
    behind = _skip(text, span.end)
    if text[behind] == ",":
        return text[: span.begin] + text[_skip(text, behind + 1) :]
    before = text[: span.begin].rstrip(_BLANK_BEFORE)
    return (before[:-1] if before.endswith(",") else text[: span.begin]) + text[span.end :]


def _members(text: str, at: int) -> Iterator[tuple[str, Span]]:
    """Yield the name or position, and the place, of each member of the object or list at `at`."""
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


_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|$)")
_DATA = re.compile(rb"data(?:: ?|$)")


class UnfitError(ValueError):
    """The frame cannot be edited so. The message says why."""


def edited(raw: bytes, edit: Edit, *, bom: bool) -> bytes:
    """Return the frame after the edit. `bom`: it is the first of its stream. Raises `UnfitError`."""
    head = _BOM if bom and raw.startswith(_BOM) else b""
    lines = [(found[1], found[2]) for found in _LINE.finditer(raw, len(head)) if found[0]]
    values = [line[found.end() :] for line, _ in lines if (found := _DATA.match(line))]
    text = b"\n".join(values).decode("utf-8", "surrogateescape")  # bytes that are not UTF-8 stay as they are
    new = _edit(text, edit).encode("utf-8", "surrogateescape").split(b"\n")
    return head + b"".join(_with_data(lines, new))


def _with_data(lines: list[tuple[bytes, bytes]], values: list[bytes]) -> list[bytes]:
    """Return the lines with these values in their `data` fields. There are at most as many values as fields."""
    made, rest = [], iter(values)
    for line, end in lines:
        found = _DATA.match(line)
        if not found:
            made.append(line + end)
        elif (value := next(rest, None)) is not None:
            made.append((found[0] if b":" in found[0] or not value else b"data: ") + value + end)
    return made


def _edit(text: str, edit: Edit) -> str:
    data = _object(text)
    if isinstance(edit, Corrupt):
        end = text.rindex("}")
        return f"{text[:end]}]{text[end + 1 :]}"
    span = find(text, edit.field.steps)
    if span is None:
        near = listed(fields_like(edit.field, data))
        raise UnfitError(f"has no field {edit.field}" + (f", the nearest are {near}" if near else ""))
    return text[: span.value] + edit.json + text[span.end :] if isinstance(edit, SetField) else without(text, span)


def _object(text: str) -> dict[str, Any]:
    try:
        data = parse(text)[0]
    except MalformedError as error:
        raise UnfitError(f"has data that cannot be changed: it {error}") from None
    if not isinstance(data, dict):
        raise UnfitError("has data that cannot be changed: it is no JSON object")
    return data


def inside_a_character(raw: bytes) -> int | None:
    """Return the offset inside the first character of several bytes; None if there is none. A byte order mark does not
    count."""
    several = _SEVERAL.finditer(raw, len(_BOM) if raw.startswith(_BOM) else 0)
    return next((found.start() + 1 for found in several if _is_character(found[0])), None)


def inside(raw: bytes) -> int:
    """Return the offset of half of the bytes, moved to the start of a character."""
    half = len(raw) // 2
    while half > 1 and raw[half] & 0xC0 == 0x80:
        half -= 1
    return half


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


_SEVERAL = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
