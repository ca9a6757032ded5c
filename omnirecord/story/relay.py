"""Frames of one session told once, as they come: of several streams, the one that was there first is listened to.

`line` does the same for streams that are known to their ends, and knows better what each of them missed. Here, when the
stream that is listened to ends, the next one takes over, behind what has been told.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator

from ..cassette import TimedFrame
from ..greeting import Greeting
from .line import SUBSCRIBING, Heard


class Relay:
    """`hear` what a stream brought; `end` it."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Heard]] = {}  # by stream, in the order in which they began
        self._greetings: dict[int, Greeting] = {}
        self._told_ns = -1
        self._told: deque[Heard] = deque()  # of the last moments: their copies may come behind them

    def hear(self, stream: int, frames: Iterable[TimedFrame]) -> Iterator[Heard]:
        """The frames that are news, of those that came on a stream."""
        greeting = self._greetings.setdefault(stream, Greeting())
        heard = (Heard(frame, greeting.takes(frame)) for frame in frames)
        waiting = self._waiting.setdefault(stream, deque())
        if stream == next(iter(self._waiting)):
            yield from map(self._tell, heard)
        else:
            waiting.extend(one for one in heard if not one.is_greeting)

    def end(self, stream: int) -> Iterator[Heard]:
        """Nothing follows on that stream: what is news of the one that takes over."""
        if stream not in self._waiting:
            return
        was_first = stream == next(iter(self._waiting))
        del self._waiting[stream], self._greetings[stream]
        if was_first and self._waiting:
            following = next(iter(self._waiting.values()))
            copies = Counter(heard.frame.raw for heard in self._told)
            behind = [one for one in following if one.at_ns > self._told_ns - SUBSCRIBING]
            following.clear()
            for heard in behind:
                if copies[heard.frame.raw]:
                    copies[heard.frame.raw] -= 1
                else:
                    yield self._tell(heard)

    def _tell(self, heard: Heard) -> Heard:
        self._told_ns = max(self._told_ns, heard.at_ns)
        self._told.append(heard)
        while self._told[0].at_ns < self._told_ns - 2 * SUBSCRIBING:
            self._told.popleft()
        return heard
