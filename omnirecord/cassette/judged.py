"""Judges recorded frames again, for readers with another contract than the recorder. Pure."""

from __future__ import annotations

from collections import Counter

from ..contract import Api
from ..contract.judge import Contract
from ..model import TimedFrame
from ..wire.sse import read_fields
from .framing import storable_type


def judged(frame: TimedFrame, judge: Contract) -> TimedFrame:
    """Return a frame with the verdict of a contract. A frame that was cut off, or lacks its bytes, stays as it is."""
    if frame.raw is None or frame.verdict == "truncated":
        return frame
    found = judge.judge(read_fields(frame.raw, bom=frame.seq == 1))
    issues = tuple((issue.path, issue.message) for issue in found.issues)
    return frame._replace(type=storable_type(found.type), verdict=found.verdict, issues=issues)


class Verdicts:
    """The counts of the first frames of a stream, whose API is `api`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.verdicts: Counter[str] = Counter()
        self.size = self.seq = 0
        """The length of the frames in bytes, and the number of the last one."""
        self.is_done = False
        """Whether one of them ends the stream."""

    def add(self, frame: TimedFrame) -> None:
        self.verdicts[frame.verdict] += 1
        self.size += frame.length
        self.seq = frame.seq
        self.is_done = self.is_done or self._api.is_end(frame.verdict, frame.type)
