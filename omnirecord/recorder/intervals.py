"""When the recorder commits, makes frames, retries and gives up: all its intervals and sizes. No clock.

The event loop shares the interpreter with the recording thread. So the recording thread gathers operations and commits
them together, and pauses between portions of work. It makes frames when that costs little.
"""

from __future__ import annotations

import math
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
"""Operations between two looks whether a pause is due: a tenth of a millisecond."""
STREAMS_PORTION = 4
"""Streams whose reads become rows between two such looks."""
WORK = 0.0002
"""Seconds of work between two pauses. An event that arrives waits for the GIL meanwhile."""
PAUSE = 0.0005
"""Seconds of a pause, in which the event loop can take the GIL."""
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
"""Seconds between two framing passes while little happens."""
FRAMES_WITHIN = 10.0
"""Seconds between two framing passes while much happens: a pass over many streams costs nearly the same for one event a
stream as for twenty."""
MUCH = 40
"""Operations in one commit that are much: 500 a second."""
JOURNAL = 2 * 1024 * 1024
"""Bytes in the journal at which its reads become rows of their streams."""
FRAMES_PORTION = 1
"""Streams whose frames are made between two looks whether a pause is due."""
STEP = 128 * 1024
"""Bytes that become frames before another stream, or another thread, has its turn."""
SMALL_READS = 16 * 1024
"""Bytes of small reads that are framed together."""
STEP_STREAMS = 48
"""Streams whose frames share a transaction."""

CHECK_FILES_EVERY = 0.5
"""Seconds between two checks whether the files are in place, and full."""
LEAST_AGE = 1.0
"""Seconds that a file is written before it is rotated, at least."""
LINGER = 1.0
"""Seconds that a rotated file stays open, at least, for the times at which its last reads are handed on."""
ROTATE_AGAIN = 60.0
"""Seconds between two attempts to begin a new file, and between two removals of files that are not kept."""

RESTART_AFTER = 1.0
"""Seconds between the end of a shipper and the start of the next one, doubled each time."""
RESTART_AT_MOST = 60.0
"""Longest time between the end of a shipper and the start of the next one, in seconds."""
STOP_WITHIN = 7.0
"""Seconds in which a stopping recorder has written or dropped all that waits."""
GIVE_UP_AFTER = 4.0
"""Seconds for which a stopping recorder retries a failed write, and makes frames."""
LAST_WRITES = 1.5
"""The last seconds of `STOP_WITHIN`: the bytes that are not written by then are counted, and the ends of exchanges
are written."""
LEAST_LAST_WRITES = 0.5
"""Seconds for `LAST_WRITES`, and for SQLite's checkpoint of a file that is closed, in any case."""


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
    """When frames are due: soon while little happens, and at most `FRAMES_WITHIN` seconds after the last pass began."""

    def __init__(self) -> None:
        self._begun = self._slice = -math.inf

    def pause(self, now: float, *, is_busy: bool) -> float:
        """Return the seconds until frames are due. `is_busy`: much happens."""
        return max(0.0, self._begun + (FRAMES_WITHIN if is_busy else FRAME_EVERY) - now)

    def begin(self, now: float, *, goes_on: bool = False) -> None:
        """Note that a pass begins, or goes on after a commit."""
        self._slice = now
        if not goes_on:
            self._begun = now

    def is_long(self, now: float) -> bool:
        """Return whether framing has taken `FRAME_FOR` seconds since the last commit."""
        return now - self._slice > FRAME_FOR
