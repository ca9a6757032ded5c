"""How those who work behind the streams leave the processor, and the interpreter, to others: frames are made at once of
few streams, now and then of many, and then a stream at a time; there are rests; and it is seen what is late. No clock:
times are arguments, in s."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

PORTION = 400
"""Things that happened that are looked at between two rests: a tenth of a millisecond."""

FRAME_FOR = 0.05
"""Seconds that frames are made before new arrivals are looked at again."""
FRAME_EVERY = 0.5
"""Seconds between the frames of many streams: at once, it would be a page for each event, …"""
FEW = 8
"""… which are more than so many."""
BREATH = 0.001
"""Seconds between the frames of one stream and of the next, where they are many, or less: …"""
BREATHS = 0.5
"""… all of them take no more than this part of the time until there are frames to be made again."""

RETRY_EVERY = 0.25
"""Seconds between attempts while a file cannot be read or written."""


def breath(waiting: int) -> float:
    """Seconds to wait before the frames of the next stream, where so many streams wait."""
    return 0.0 if waiting <= FEW else min(BREATH, FRAME_EVERY * BREATHS / waiting)


def resting(of: Iterable[T], many: int, rest: Callable[[], object] | None) -> Iterator[T]:
    """Each; with a rest behind so many of them."""
    if rest is None:
        yield from of
        return
    for number, one in enumerate(of, 1):
        yield one
        if not number % many:
            rest()


class Pace:
    def __init__(self) -> None:
        self._begun = -math.inf

    def pause(self, waiting: int, now: float) -> float:
        """Seconds until it is time, where so many streams wait."""
        return 0.0 if waiting <= FEW else max(0.0, self._begun + FRAME_EVERY - now)

    def begin(self, now: float) -> None:
        self._begun = now

    def is_long(self, now: float) -> bool:
        """Whether it has gone on for as long as it may; what is left is due at once then."""
        if now - self._begun <= FRAME_FOR:
            return False
        self._begun = -math.inf
        return True


class Lag:
    """How long it is since the first of those bytes came that came and are not written."""

    def __init__(self) -> None:
        self._looks: deque[tuple[int, float]] = deque()

    def seconds(self, came: int, written: int, now: float) -> float:
        """Given how many have come by now, and how many of these are written. Since they were seen to be there, which
        is when this was called: call it often."""
        self._looks.append((came, now))
        while self._looks and self._looks[0][0] <= written:
            self._looks.popleft()
        return now - self._looks[0][1] if self._looks else 0.0
