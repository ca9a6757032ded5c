"""What a recorded frame carries, as JSON, and JSON as text. One way for whoever plays, tells or lists. Pure."""

from __future__ import annotations

import json
from typing import Any

from .cassette import TimedFrame
from .contract.payload import MalformedError, parse
from .sse import read_fields


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
    text = json.dumps(value, ensure_ascii=False)
    return text if text == text.encode("utf-8", "replace").decode() else json.dumps(value)
