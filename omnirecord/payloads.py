"""What a recorded frame carries, as JSON. One way to read it, for whoever plays, tells or lists. Pure."""

from __future__ import annotations

import functools
from typing import Any

from .cassette import TimedFrame
from .contract.payload import MalformedError, parse
from .sse import read_fields


@functools.lru_cache(maxsize=1)
def payload_of(frame: TimedFrame) -> Any:
    """The JSON value of a frame's data; None where it has none, or none that every client would read alike.

    The last one is kept, for a second reader of the same frame: nobody changes it.
    """
    if frame.raw is None:
        return None
    try:
        return parse(read_fields(frame.raw, bom=frame.seq == 1).data or "")[0]
    except MalformedError:
        return None
