"""The connect snapshot: the frames by which a server tells a new connection the state of the session. Pure.

A replay holds none of them back at a gate. In a transcript they are no events of a turn.
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
"""Text in flight comes among these without a sequence number: `response.created`, and a delta of all text so far."""
SNAPSHOT_LASTS = 1_000_000_000
"""Duration of a connect snapshot at most, in ns. The longest that was seen took 0.1 s."""


class ConnectSnapshot:
    """The connect snapshot of one stream, found frame by frame.

    It ends before a second heartbeat, and before a late frame: the first events of a message may have the same types.
    """

    def __init__(self) -> None:
        self._begun_ns: int | None = None
        self._number = 0
        self._in_flight = 0  # the number of the frame after which text in flight may come: the heartbeat
        self._over = False

    def takes(self, frame: TimedFrame) -> bool:
        """Return whether the next frame belongs to it. After the first one that does not, none does."""
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
    """Return the number of frames in the connect snapshot of a stream."""
    snapshot = ConnectSnapshot()
    return next((number for number, frame in enumerate(frames) if not snapshot.takes(frame)), len(frames))


def _is_numbered(frame: TimedFrame) -> bool:
    value = payload_of(frame)
    return not isinstance(value, dict) or value.get("sequence_number") is not None
