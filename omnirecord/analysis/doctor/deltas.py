"""Deltas in a row that only lengthen a text: the checks of a stream take them at once."""

from __future__ import annotations

from ...model import TimedFrame
from ...omnigent import protocol
from ...wire.strict_json import Payload
from .finding import SECOND, Event, FrameRef

AT_MOST = 1 * SECOND
"""Longest time in ns before such a delta, and between its arrival and its sending: no check reports that."""


class Deltas:
    """Deltas that follow the last event of a stream, a delta of the same message. None is odd: each is valid, came
    soon, was sent at once, and has a higher sequence number."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._begun = False
        self.last: TimedFrame
        self._message: str | None = None
        self._before: TimedFrame | None = None
        self.parts: list[str] = []
        """Their texts."""
        self.number = 0
        """The sequence number of the last one."""

    def begin(self, event: Event) -> None:
        """Begin after this event, if it is a delta."""
        delta, message = event.data.get("delta"), event.data.get("message_id")
        self._begun = (
            event.type == protocol.RESPONSE_OUTPUT_TEXT_DELTA and event.verdict == "valid" and not event.in_snapshot
            and event.number is not None and type(delta) is str and bool(delta)
            and (message is None or type(message) is str)
        )  # fmt: skip
        if self.parts:
            self.parts = []
        self.last, self.number, self._message = event.frame, event.number or 0, message

    def takes(self, frame: TimedFrame) -> bool:
        """Add a frame. If it is another event, or odd, return False."""
        if not self._begun or frame.type != protocol.RESPONSE_OUTPUT_TEXT_DELTA or frame.verdict != "valid":
            return False
        data, at_ns, sent_ns = self._payload(frame), frame.offset_ns, frame.sent_ns
        number, delta = data.get("sequence_number"), data.get("delta")
        if (
            type(number) is not int or number <= self.number or type(delta) is not str or not delta
            or data.get("message_id") != self._message or at_ns - self.last.offset_ns > AT_MOST
            or sent_ns is None or sent_ns - at_ns > AT_MOST
        ):  # fmt: skip
            return False
        self.parts.append(delta)
        self._before, self.last, self.number = self.last, frame, number
        return True

    def refs(self) -> tuple[FrameRef, FrameRef]:
        """Return the last two events."""
        assert self._before is not None
        return _ref(self._before), _ref(self.last)


def _ref(frame: TimedFrame) -> FrameRef:
    return FrameRef(frame.stream, frame.seq, frame.offset_ns)
