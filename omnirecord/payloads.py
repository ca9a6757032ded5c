"""What a recorded frame carries, as JSON, and JSON as text. One way for whoever plays, tells or lists. Pure."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from typing import Any

from .cassette import TimedFrame
from .contract.payload import MalformedError, parse
from .sse import read_fields

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def payload_of(frame: TimedFrame) -> Any:
    """The JSON value of a frame's data; None where it has none, or none that every client would read alike."""
    if frame.raw is None:
        return None
    try:
        return parse(read_fields(frame.raw, bom=frame.seq == 1).data or "")[0]
    except MalformedError:
        return None


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
