"""When the recorder commits, makes frames, retries and gives up: all its intervals and sizes. No clock.

The event loop shares the interpreter with the recording thread, and the machine with the worker process. So the
recording thread gathers operations and commits them together, and pauses between portions of work.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

COMMIT_EVERY = 0.08
"""Seconds between two commits; with the commit itself it stays under 0.1."""
BATCH = 8 * 1024 * 1024
"""Largest number of bytes in one commit."""
MASKED_BATCH = BATCH // 16
"""Largest number of bytes in one commit with `--redact content`: masking them takes a quarter of a second."""
LAST_BATCH = BATCH // 4
"""Largest number of bytes in one commit while the recorder stops: it looks at the clock between two."""
PORTION = 400
"""Operations between two pauses for the event loop: a tenth of a millisecond."""
STREAMS_PORTION = 10
"""Streams whose reads become rows between two pauses for the event loop."""
PAUSE = 0.0005
"""Pause between portions, in seconds, so that the event loop can take the GIL."""
HURRY_AT = 2 * 1024 * 1024
"""Uncommitted bytes at which the pauses between portions are left out."""
RETRY_EVERY = 0.25
"""Seconds between attempts while a file cannot be read or written."""
BUFFER = 256 * 1024 * 1024
"""Bytes of memory that may wait for the disk."""
REPORT_DROPPED_EVERY = 10.0
"""Seconds between two lines that say how many bytes are not kept so far."""

FRAME_FOR = 0.05
"""Seconds of making frames after which new operations are committed."""
FRAME_EVERY = 0.5
"""Seconds between the frames of many streams: without this pause each event would get a row of its own."""
FEW = 8
"""Streams that are not many: their frames are made without that pause."""
BREATH = 0.001
"""Longest pause between the frames of two streams, in seconds, where many wait."""
BREATHS = 0.5
"""Largest part of `FRAME_EVERY` that these pauses take together."""
STEP = 256 * 1024
"""Bytes that become frames before another stream, or another thread, has its turn."""
LONG_STEP = 8 * 1024 * 1024
"""The same in the worker process. Each step waits until the file is free, and in a file that is written all the time
this wait costs more than the frames."""
SMALL_READS = 16 * 1024
"""Bytes of small reads that are framed together."""
STEP_STREAMS = 12
"""Streams whose frames share a transaction."""
HOLD_FRAMES_AT = 0.1
"""Age of the oldest uncommitted byte, in seconds, at which the worker pauses framing: commits come first."""

CHECK_FILES_EVERY = 0.5
"""Seconds between two checks whether the files are in place, and full."""
LEAST_AGE = 1.0
"""Seconds that a file is written before it is rotated, at least."""
LINGER = 1.0
"""Seconds that a rotated file stays open, at least, for the times at which its last reads are handed on."""
RELEASE_WITHIN = 1.0
"""Seconds in which the worker has to close a file that was removed or replaced."""
ROTATE_AGAIN = 60.0
"""Seconds between two attempts to begin a new file, and between two removals of files that are not kept."""

LOAD_WITHIN = 2.0
"""Seconds that a beginning recorder waits for the worker; a slower worker loads on meanwhile."""
RESTART_AFTER = 1.0
"""Seconds between the end of a worker and the start of the next one, doubled each time."""
RESTART_AT_MOST = 60.0
"""Longest time between the end of a worker and the start of the next one, in seconds."""
END_WITHIN = 1.0
"""Seconds in which the worker has to end."""

STOP_WITHIN = 7.0
"""Seconds in which a stopping recorder has written or dropped all that waits."""
GIVE_UP_AFTER = 4.0
"""Seconds for which a stopping recorder retries a failed write, and makes frames."""
LAST_WRITES = 1.5
"""The last seconds of `STOP_WITHIN`: the bytes that are not written by then are counted, and the ends of exchanges
are written."""
LEAST_LAST_WRITES = 0.5
"""Seconds for `LAST_WRITES`, and for SQLite's checkpoint of a file that is closed, in any case."""


def breath(waiting: int) -> float:
    """Return the seconds to wait before the frames of the next stream if `waiting` streams wait."""
    return 0.0 if waiting <= FEW else min(BREATH, FRAME_EVERY * BREATHS / waiting)


def resting(of: Iterable[T], many: int, rest: Callable[[], object] | None) -> Iterator[T]:
    """Yield each item, and call `rest` after every `many` of them."""
    if rest is None:
        yield from of
        return
    for number, one in enumerate(of, 1):
        yield one
        if not number % many:
            rest()


class FrameSchedule:
    """When frames are due: those of few streams at once, those of many every `FRAME_EVERY` seconds."""

    def __init__(self) -> None:
        self._begun = -math.inf

    def pause(self, waiting: int, now: float) -> float:
        """Return the seconds until frames are due if `waiting` streams wait."""
        return 0.0 if waiting <= FEW else max(0.0, self._begun + FRAME_EVERY - now)

    def begin(self, now: float) -> None:
        self._begun = now

    def is_long(self, now: float) -> bool:
        """Return whether framing has taken `FRAME_FOR` seconds. The streams that are left are due at once then."""
        if now - self._begun <= FRAME_FOR:
            return False
        self._begun = -math.inf
        return True


class Lag:
    """Age of the oldest uncommitted byte."""

    def __init__(self) -> None:
        self._looks: deque[tuple[int, float]] = deque()

    def seconds(self, arrived: int, committed: int, now: float) -> float:
        """Return that age in seconds, given how many bytes have arrived, and how many are committed. A byte's age
        begins with the first call that counts it."""
        self._looks.append((arrived, now))
        while self._looks and self._looks[0][0] <= committed:
            self._looks.popleft()
        return now - self._looks[0][1] if self._looks else 0.0
