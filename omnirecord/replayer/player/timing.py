"""Converts recorded time to played time, as asciinema does: gaps are capped, then divided. Pure.

Offsets are recorded ns in ascending order; results are ns of played time from the first offset. `now` is passed in, in
ns on any monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ...errors import UsageError
from ...wire.limits import checked_seconds

NS = 1_000_000_000
SLOWEST, FASTEST = 1e-6, 1e9


@dataclass(frozen=True, slots=True)
class Timing:
    """`speed` divides every gap, after `max_gap` (recorded seconds) capped it. `instant` waits for gates alone."""

    speed: float = 1.0
    max_gap: float | None = None
    instant: bool = False

    def gap(self, recorded_ns: int) -> int:
        """Return the length of a played gap, in ns."""
        if self.instant:
            return 0
        capped = recorded_ns if self.max_gap is None else min(recorded_ns, int(self.max_gap * NS))
        return int(max(0, capped) / self.speed)


def timing_of(mode: str = "original", speed: float | None = None, max_gap: float | None = None) -> Timing:
    """Return the timing of `original`, `compressed` (`--speed 10 --max-gap 5`) or `instant`. Raises `UsageError`."""
    if mode not in ("original", "compressed", "instant"):
        raise UsageError(f"timing {mode!r} is none of original, compressed, instant")
    if mode == "instant" and (speed is not None or max_gap is not None):
        raise UsageError("timing 'instant' has no gaps: leave out --speed and --max-gap")
    if speed is not None and not SLOWEST <= speed <= FASTEST:
        raise UsageError(f"speed {speed:g} must be over 0, from {SLOWEST:g} to {FASTEST:g}: 2 is twice as fast")
    if max_gap is not None:
        checked_seconds("max-gap", max_gap)
    default_speed, default_gap = (10.0, 5.0) if mode == "compressed" else (1.0, None)
    return Timing(speed or default_speed, default_gap if max_gap is None else max_gap, mode == "instant")


def gaps(offsets: Iterable[int]) -> Iterator[int]:
    """Return the differences of neighbours."""
    return (later - earlier for earlier, later in pairwise(offsets))


class Scale:
    """Returns the played time of a recorded offset, in ns. `points`: the offsets between which the gaps lie."""

    def __init__(self, points: Sequence[int], timing: Timing) -> None:
        self._points = points
        self._timing = timing
        self._played = list(accumulate(map(timing.gap, gaps(points)), initial=0))

    def __call__(self, offset_ns: int) -> int:
        if not self._points or offset_ns <= self._points[0]:
            return 0
        at = bisect_right(self._points, offset_ns) - 1
        rest = self._timing.gap(offset_ns - self._points[at])
        if at + 1 == len(self._points):
            return self._played[at] + rest
        return min(self._played[at] + rest, self._played[at + 1])


class Clock:
    """The clock of played time. It stands at 0 until it is set. `speed`: played ns for each ns of `now`."""

    def __init__(self, speed: float = 1.0, *, paused: bool = False) -> None:
        self.speed = speed
        self.paused = paused
        self._anchor: tuple[int, int] | None = None  # (now, played) from which time runs

    @property
    def started(self) -> bool:
        return self._anchor is not None

    @property
    def set_at(self) -> int:
        """The played time at which it was last set, in ns."""
        return self._anchor[1] if self._anchor else 0

    def at(self, now: int) -> int:
        """Return the played time, in ns."""
        if self._anchor is None:
            return 0
        since, played = self._anchor
        return played if self.paused else played + int(max(0, now - since) * self.speed)

    def set(self, played: int, now: int) -> None:
        self._anchor = now, played

    def lasts(self, played: int) -> int:
        """Return the length of some played time, in ns of `now`."""
        return int(played / self.speed)
