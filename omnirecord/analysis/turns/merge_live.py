"""Frames of one session told once, as they come: of several streams, the one that was there first is listened to.

`line` does the same for streams that are known to their ends, and knows better what each of them missed. Here, when the
stream that is listened to ends, the next one takes over, behind what has been told.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator

from ...model import TimedFrame
from ...omnigent.connect_snapshot import Greeting
from .merge import SUBSCRIBING, Heard


class Relay:
    """`hear` what a stream brought; `end` it."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Heard]] = {}  # by stream, in the order in which they began
        self._greetings: dict[int, Greeting] = {}
        self._told: deque[Heard] = deque()  # of the last moments before `_told_ns`
        self._told_ns = -1
        self._seam_ns = -1
        """Up to when another stream was listened to than now."""
        self._copies: Counter[bytes | None] = Counter()
        """What was told just before that: the stream that took over may bring it again."""

    def hear(self, stream: int, frames: Iterable[TimedFrame]) -> Iterator[Heard]:
        """The frames that are news, of those that came on a stream."""
        greeting = self._greetings.setdefault(stream, Greeting())
        heard = (Heard(frame, greeting.takes(frame)) for frame in frames)
        waiting = self._waiting.setdefault(stream, deque())
        if stream == next(iter(self._waiting)):
            yield from self._tell(heard)
        else:
            waiting.extend(one for one in heard if not one.is_greeting)

    def end(self, stream: int) -> Iterator[Heard]:
        """Nothing follows on that stream: what is news of the one that takes over."""
        was_first = stream in self._waiting and stream == next(iter(self._waiting))
        self._waiting.pop(stream, None)
        self._greetings.pop(stream, None)
        if was_first:
            self._seam_ns, self._copies = self._told_ns, Counter(heard.frame.raw for heard in self._told)
            following = next(iter(self._waiting.values()), deque())
            yield from self._tell(list(following))
            following.clear()

    def _tell(self, heard: Iterable[Heard]) -> Iterator[Heard]:
        for one in heard:
            if self._is_news(one):
                self._told_ns = max(self._told_ns, one.at_ns)
                self._told.append(one)
                while self._told[0].at_ns < self._told_ns - 2 * SUBSCRIBING:
                    self._told.popleft()
                yield one

    def _is_news(self, heard: Heard) -> bool:
        if heard.at_ns < self._seam_ns - SUBSCRIBING:
            return False
        if heard.at_ns <= self._seam_ns + SUBSCRIBING and self._copies[heard.frame.raw] > 0:
            self._copies[heard.frame.raw] -= 1
            return False
        return True
