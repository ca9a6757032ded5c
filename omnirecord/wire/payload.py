"""What a recorded frame carries, as JSON, and JSON as text. One way for whoever plays, tells or lists. Pure."""

from __future__ import annotations

from typing import Any

from ..model import TimedFrame
from .sse import read_fields
from .strict_json import MalformedError, parse


def payload_of(frame: TimedFrame) -> Any:
    """The JSON value of a frame's data; None where it has none, or none that every client would read alike."""
    if frame.raw is None:
        return None
    try:
        return parse(read_fields(frame.raw, bom=frame.seq == 1).data or "")[0]
    except MalformedError:
        return None
