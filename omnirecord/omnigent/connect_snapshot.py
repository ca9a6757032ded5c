"""The connect snapshot: what a server sends to whoever connects, before anything happens. Pure.

Who replays holds none of it back at a gate; who tells a session knows that nothing happened by it.
"""

from __future__ import annotations

from ..model import TimedFrame
from ..wire.strict_json import payload_of
from . import protocol

SNAPSHOT_TYPES = frozenset(
    {
        protocol.SESSION_HEARTBEAT, "session.resource.created", protocol.SESSION_CHILD_SESSION_UPDATED,
        "session.changed_files.invalidated", protocol.SESSION_PRESENCE,
    }
)  # fmt: skip
"""Text in flight comes among these, without a sequence number: `response.created` and all of the text so far."""
SNAPSHOT_LASTS = 1_000_000_000
"""The longest that a connect snapshot was seen to take is 0.1 s; this is well above, in ns."""


class ConnectSnapshot:
    """Tells, frame by frame, how far a stream's connect snapshot goes. A second heartbeat is none of it, nor what came
    late: the first thing that a message brings may be of the same types."""

    def __init__(self) -> None:
        self._begun_ns: int | None = None
        self._number = 0
        self._in_flight = 0  # up to where text in flight may come: right behind the heartbeat
        self._over = False

    def takes(self, frame: TimedFrame) -> bool:
        """Whether the next frame is of it; once one is not, none is."""
        if self._begun_ns is None:
            self._begun_ns = frame.offset_ns
        self._over = self._over or not self._is_part(frame, self._begun_ns)
        self._number += 1
        return not self._over

    def _is_part(self, frame: TimedFrame, begun_ns: int) -> bool:
        is_late = frame.offset_ns - begun_ns > SNAPSHOT_LASTS
        if is_late or (self._number and frame.type == protocol.SESSION_HEARTBEAT):
            return False
        if frame.type in SNAPSHOT_TYPES:
            return True
        resent = frame.type in protocol.RESENT
        if self._number != self._in_flight + 1 or not resent or _is_numbered(frame):
            return False
        self._in_flight = self._number
        return True


def connect_snapshot_length(frames: list[TimedFrame]) -> int:
    """How many frames the connect snapshot has."""
    snapshot = ConnectSnapshot()
    return next((number for number, frame in enumerate(frames) if not snapshot.takes(frame)), len(frames))


def _is_numbered(frame: TimedFrame) -> bool:
    value = payload_of(frame)
    return not isinstance(value, dict) or value.get("sequence_number") is not None
