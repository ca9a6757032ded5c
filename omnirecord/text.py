"""Text for people and JSON as text: characters that a terminal acts upon become escapes. Pure."""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from typing import Any

_QUOTED = re.compile(r"(?::|(?<!\s))\s+(?:b|bytearray\(b)['\"]")


def visible(text: str) -> str:
    """The text with every character that a terminal might act upon written as an escape; line ends among them."""
    return text if text.isprintable() else "".join(_shown(c) for c in text)


def _shown(c: str) -> str:
    if c.isprintable() or c == "\u200d":  # the joiner that emoji need
        return c
    return " " if unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode()


def one_line(text: str) -> str:
    """White space as single spaces, and the rest visible."""
    return visible(" ".join(text.split()))


def unquoted(text: str) -> str:
    """What a parser of aiohttp says of a message, in one line and without what it quotes: that may be a secret."""
    return one_line(_QUOTED.split(text)[0])


def clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)]}…"


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 turn`, `1,234 turns`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def seconds(ns: int) -> str:
    """A time as a person reads it: `0.25 s`, `12.3 s`, `4 min 5 s`."""
    if ns < 9_995_000_000:
        return f"{ns / 1e9:.2f} s"
    if ns < 119_950_000_000:
        return f"{ns / 1e9:.1f} s"
    minutes, rest = divmod(round(ns / 1e9), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def dumps(value: Any) -> str:
    """A JSON value in one line, its characters as they are; with escapes only where a lone surrogate has no UTF-8."""
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # `1e999` is JSON, and is infinite where it is read; `Infinity` is none
        value = _finite(value)
        text = _ENCODER.encode(value)
    return text if text == text.encode("utf-8", "replace").decode() else json.dumps(value)


def harmless(text: str) -> str:
    """JSON that says the same, with escapes for whatever a terminal, or who splits it into lines, might act upon."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(c: str) -> str:
    if c.isprintable() or c == "\u200d" or unicodedata.category(c) == "Zs":  # the joiner that emoji need, and spaces
        return c
    return json.dumps(c)[1:-1] if c != "\x7f" else "\\u007f"


def _finite(value: Any) -> Any:
    """The same value, with the largest number that there is where one has no end."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return math.copysign(sys.float_info.max, value)
    return value
