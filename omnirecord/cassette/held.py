"""The limit for the events that a program holds at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from ..errors import TooLarge
from ..model import TimedFrame
from ..wire.limits import AN_EVENT, max_decoded, shown_size


class Held:
    """Counts the events that a program holds. `of` raises `TooLarge` if they cost more than `max_decoded` together."""

    def __init__(self) -> None:
        self._most = self._left = max_decoded()

    def of(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        for frame in frames:
            self._left -= AN_EVENT if frame.raw is None else AN_EVENT + frame.length
            if self._left < 0:
                raise self._too_large()
            yield frame

    def lists(self, lists: Iterable[list[TimedFrame]]) -> Iterator[TimedFrame]:
        """Return the frames of these lists."""
        return chain.from_iterable(map(self.all, lists))

    def all(self, frames: Iterable[TimedFrame]) -> list[TimedFrame]:
        """Return the frames. Those of a list are in memory already, and are not counted one by one."""
        if not isinstance(frames, list):
            return list(self.of(frames))
        self._left -= AN_EVENT * len(frames) + sum([frame.length for frame in frames if frame.raw is not None])
        if self._left < 0:
            raise self._too_large()
        return frames

    def refuse(self, cost: int) -> None:
        """Raise `TooLarge` if events of that cost are too many."""
        if cost > self._most:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the cassette has more than {shown_size(self._most)} of events to be held at a time (--max-decoded):"
            " choose one session of it, or give a larger limit"
        )
