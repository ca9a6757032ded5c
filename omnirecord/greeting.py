"""The connect snapshot: what a server sends to whoever connects, before anything happens. Pure.

Who replays holds none of it back at a gate; who tells a session knows that nothing happened by it.
"""

from __future__ import annotations

from .cassette import TimedFrame
from .payloads import payload_of

GREETING_TYPES = frozenset(
    {
        "session.heartbeat", "session.resource.created", "session.child_session.updated",
        "session.changed_files.invalidated", "session.presence",
    }
)  # fmt: skip
"""Text in flight comes among these, without a sequence number: `response.created` and all of the text so far."""
GREETING_LASTS = 1_000_000_000
"""The longest that a connect snapshot was seen to take is 0.1 s; this is well above, in ns."""


def greeting_length(frames: list[TimedFrame]) -> int:
    """How many frames the connect snapshot has. A second heartbeat is none of it, nor what came late: the first
    thing that a message brings may be of the same types."""
    in_flight = 0  # up to where text in flight may come: right behind the heartbeat
    for number, frame in enumerate(frames):
        is_late = frame.offset_ns - frames[0].offset_ns > GREETING_LASTS
        if is_late or (number and frame.type == "session.heartbeat"):
            return number
        if frame.type in GREETING_TYPES:
            continue
        resent = frame.type in ("response.created", "response.output_text.delta")
        if number != in_flight + 1 or not resent or _is_numbered(frame):
            return number
        in_flight = number
    return len(frames)


def _is_numbered(frame: TimedFrame) -> bool:
    value = payload_of(frame)
    return not isinstance(value, dict) or value.get("sequence_number") is not None
