"""Text and JSON for output: control characters, on which a terminal acts, become escapes. Pure."""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

_MOST_SAID = 2000
"""Length of the beginning of an error's body that is read, in bytes."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_QUOTED = re.compile(r"(?::|(?<!\s))\s+(?:b|bytearray\(b)['\"]")


def visible(text: str) -> str:
    """Return the text with an escape for every character on which a terminal may act, line ends included."""
    return text if text.isprintable() else "".join(_shown(c) for c in text)


def _shown(c: str) -> str:
    if c.isprintable() or c == "\u200d":  # the joiner that emoji need
        return c
    return " " if unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """Return the text in one line: single spaces for white space, and `visible`."""
    return visible(" ".join(text.split()))


def text_of_error(body: bytes) -> str:
    """Return the first words of the body of an error in one line; empty if the body is no text, or a page."""
    try:
        text = body[:_MOST_SAID].decode().lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError as error:
        text = body[:_MOST_SAID].decode("utf-8", "replace") if error.start > _MOST_SAID - 4 else ""
    return "" if text.startswith("<") or "\0" in text else clip(one_line(text), 400)


def unquoted(text: str) -> str:
    """Return an error message of aiohttp's parser in one line, without the quoted bytes, which may be a secret."""
    return one_line(_QUOTED.split(text)[0])


def clip(text: str, limit: int) -> str:
    """Return at most `limit` characters of the text; an ellipsis marks the cut."""
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)]}…"


def same_start(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Return the length of the beginning that two texts, or two lists, share."""
    low = 0
    high = min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 turn`, `1,234 turns`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def cells(text: str) -> int:
    """Return the number of columns that a text takes in a terminal; a joined emoji may take fewer."""
    return len(text) if text.isascii() else len(text) + sum(_cells_of(c) - 1 for c in _NOT_ASCII.findall(text))


def fitting(text: str, room: int) -> str:
    """Return the beginning of a text that takes at most `room` columns."""
    if text.isascii():
        return text[: max(room, 0)]
    used = 0
    for number, c in enumerate(text):
        used += _cells_of(c)
        if used > room:
            return text[:number]
    return text


@lru_cache(maxsize=4096)
def _cells_of(c: str) -> int:
    if c.isascii() or c == "\ufe0f":  # the selector makes a narrow character before it an emoji, which is wide
        return 1
    if unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def seconds(ns: int) -> str:
    """Return a duration in ns as text: `0.25 s`, `12.3 s`, `4 min 5 s`."""
    if ns < 9_995_000_000:
        return f"{ns / 1e9:.2f} s"
    if ns < 119_950_000_000:
        return f"{ns / 1e9:.1f} s"
    minutes, rest = divmod(round(ns / 1e9), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


SUMMARY = 120
"""Length of a one-line summary, in characters."""
ENOUGH = 400
"""Characters of a text that are read for a summary."""


def text_in(value: Any) -> str:
    """Return the beginning of a text; empty for any other value."""
    return value[:ENOUGH] if isinstance(value, str) else ""


def as_json(value: Any) -> str:
    """Return a text unchanged, any other value as JSON; `…` if it cannot be written."""
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return "…"


def quoted(value: Any) -> str:
    """Return a text in quotes, with its white space escaped; empty for any other value."""
    return json.dumps(clip(text_in(value), SUMMARY - 2), ensure_ascii=False) if isinstance(value, str) else ""


def tokens(asked: Any, said: Any) -> str:
    """Return counts of tokens as text: `12 in, 3 out tokens`; empty without a count."""
    told = ", ".join(f"{count} {way}" for count, way in ((asked, "in"), (said, "out")) if type(count) is int)
    return told and f"{told} tokens"


def joined(parts: Iterable[str | None], by: str = " ") -> str:
    """Return the parts that are not empty as one text."""
    return by.join(filter(None, parts))


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def dumps(value: Any) -> str:
    """Return a JSON value in one line of UTF-8; with escapes only if it has a lone surrogate."""
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # `1e999` is valid JSON and is read as infinity; `Infinity` is not valid
        value = _finite(value)
        text = _ENCODER.encode(value)
    return text if text == text.encode("utf-8", "replace").decode() else json.dumps(value)


def harmless(text: str) -> str:
    """Return equivalent JSON with escapes for control characters and line separators."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(c: str) -> str:
    if c.isprintable() or c == "\u200d" or unicodedata.category(c) == "Zs":  # the joiner that emoji need, and spaces
        return c
    return json.dumps(c)[1:-1] if c != "\x7f" else "\\u007f"


def _finite(value: Any) -> Any:
    """Return the value with the largest float instead of each infinite number."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return math.copysign(sys.float_info.max, value)
    return value
