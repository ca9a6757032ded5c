"""The playhead of one session tree: its recorded time, its gates and its pauses. No clock: `now` is passed in.

`Timing` and `Scale` convert recorded time to played time, as asciinema does: gaps are capped, then divided. Offsets are
recorded ns in ascending order; played time is in ns from the first offset. `now` is in ns on any monotonic clock.

Time runs at the speed of `Scale`, from the first open of a stream. It stops at a closed gate; the rest of the gap
counts from when the gate opens. A gate that opens early stays open, and time does not jump. A paused playhead lets
parts pass up to its `limit`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ...errors import UsageError
from ...wire.limits import checked_seconds
from ..stream_parts import Part
from .gates import Gate, Gates

NS = 1_000_000_000
_SLOWEST = 1e-6
_FASTEST = 1e9


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


def check_speed(speed: float) -> None:
    """Raise `UsageError` for a speed outside the range."""
    if not _SLOWEST <= speed <= _FASTEST:
        raise UsageError(f"speed {speed:g} must be over 0, from {_SLOWEST:g} to {_FASTEST:g}: 2 is twice as fast")


def timing_of(mode: str = "original", speed: float | None = None, max_gap: float | None = None) -> Timing:
    """Return the timing of `original`, `compressed` (`--speed 10 --max-gap 5`) or `instant`. Raises `UsageError`."""
    if mode not in ("original", "compressed", "instant"):
        raise UsageError(f"timing {mode!r} is none of original, compressed, instant")
    if mode == "instant" and (speed is not None or max_gap is not None):
        raise UsageError("timing 'instant' has no gaps: leave out --speed and --max-gap")
    if speed is not None:
        check_speed(speed)
    if max_gap is not None:
        checked_seconds("max-gap", max_gap)
    default_speed, default_gap = (10.0, 5.0) if mode == "compressed" else (1.0, None)
    return Timing(speed or default_speed, default_gap if max_gap is None else max_gap, mode == "instant")


class Scale:
    """Returns the played time of a recorded offset, in ns. `points`: the offsets between which the gaps lie."""

    def __init__(self, points: Sequence[int], timing: Timing) -> None:
        self._points = points
        self._timing = timing
        self._played = list(accumulate((timing.gap(b - a) for a, b in pairwise(points)), initial=0))

    def __call__(self, offset_ns: int) -> int:
        if not self._points or offset_ns <= self._points[0]:
            return 0
        at = bisect_right(self._points, offset_ns) - 1
        rest = self._timing.gap(offset_ns - self._points[at])
        if at + 1 == len(self._points):
            return self._played[at] + rest
        return min(self._played[at] + rest, self._played[at + 1])


SortKey = tuple[float, float, float]
"""The order of parts in a session tree: offset in ns, stream, frame number."""


class Timeline:
    """`points`: the offsets of all parts, ascending, in ns. `speed`: played ns for each ns of `now`. `limit`: the last
    part that passes while paused. Played time stands at 0 until it is set."""

    def __init__(
        self,
        points: Sequence[int],
        gates: Gates,
        timing: Timing,
        scale: Scale | None = None,
        *,
        speed: float = 1.0,
        paused: bool = False,
    ) -> None:
        """`scale`: the result of `scale_of` for these arguments, if it is known."""
        self.gates = gates
        self.limit: SortKey | None = None
        self.last: Part | None = None
        """The last part of the furthest frame that was sent."""
        self.watch: Callable[[Part, int], None] | None = None
        """Called with the last part of each frame that is sent, and the time."""
        self.jumped_ns = -1
        """Recorded offset of the last jump, in ns."""
        self._points = points
        self._is_instant = timing.instant
        self._scale = scale or scale_of(points, self.gates, timing)
        self.speed = speed
        self.paused = paused
        self._anchor: tuple[int, int] | None = None  # (now, played) from which time runs

    @property
    def started(self) -> bool:
        return self._anchor is not None

    @property
    def passed(self) -> SortKey:
        """The last part that was sent to any client, or jumped over."""
        last = (-1.0, 0.0, 0.0) if self.last is None else sort_key(self.last)
        return max(last, (self.jumped_ns, float("inf"), float("inf")))

    def runs_freely(self, upto_ns: int) -> bool:
        """Whether everything up to a recorded offset is due, and nothing watches it."""
        return self._is_instant and not self.paused and self.watch is None and self.gates.before(upto_ns) is None

    def move(self, offset_ns: int, now: int) -> None:
        """Move the playhead to a recorded offset, or to the closed gate before it."""
        self.jumped_ns = min(self.jumped_ns, offset_ns - 1)
        self._anchor = (now, self._scale(self._short_of_gate(offset_ns)))

    def _short_of_gate(self, offset_ns: int) -> int:
        gate = self.gates.before(offset_ns)
        return gate.at_ns if gate else offset_ns

    def played(self, now: int) -> int:
        """Return the played time, in ns: never past a closed gate."""
        since, set_at = self._anchor or (now, 0)
        passed = set_at if self.paused else set_at + int(max(0, now - since) * self.speed)
        gate = self.gates.closed()
        return passed if gate is None else max(set_at, min(passed, self._scale(gate.at_ns)))

    def due(self, offset_ns: int, now: int) -> int | None:
        """Return when a part of this offset may be sent, as `now`; None while a gate or a pause holds it."""
        if self.paused or self.gates.before(offset_ns) is not None:
            return None
        return now + int(max(0, self._scale(offset_ns) - self.played(now)) / self.speed)

    def lets_pass(self, part: Part, *, at_once: bool) -> bool:
        """Whether a part passes while paused. `at_once`: it is of the connect snapshot of a client that joins."""
        held = not part.in_snapshot and self.gates.before(part.offset_ns) is not None
        return self.limit is not None and not held and (at_once or sort_key(part) <= self.limit)

    def between(self, one_ns: int, other_ns: int) -> int:
        """Return the time from one recorded offset to another, in ns of `now`."""
        return int((self._scale(other_ns) - self._scale(one_ns)) / self.speed)

    def open(self, gate: Gate, now: int) -> None:
        """Open a gate: its request came. Time continues from here if it stood at this gate."""
        self._keep(now)
        gate.open = True

    def pass_by(self, part: Part, now: int) -> None:
        """Note that a frame was sent. `part`: its last part."""
        if self.last is None or sort_key(part) >= sort_key(self.last):
            self.last = part
        if self.paused and self.started and self._scale(part.offset_ns) > self.played(now):
            self.move(part.offset_ns, now)
        if self.watch is not None:
            self.watch(part, now)

    def pause(self, now: int) -> None:
        """Stop the playhead. A client that is behind still gets the parts that others got."""
        if not self.paused:
            self._keep(now)
            self.paused = True
            self.limit = None if self.last is None else sort_key(self.last)

    def play(self, now: int) -> None:
        self._keep(now)
        self.paused = False
        self.limit = None

    def set_speed(self, speed: float, now: int) -> None:
        """`speed`: played ns for each ns of `now`."""
        self._keep(now)
        self.speed = speed

    def jump(self, offset_ns: int, now: int) -> None:
        """Move ahead to a recorded offset, or to the closed gate before it. Parts in between are due at once."""
        self.move(offset_ns, now)
        self.jumped_ns = self._short_of_gate(offset_ns)
        if self.paused:
            self.limit = offset_ns, float("inf"), float("inf")

    def is_at_end(self, now: int) -> bool:
        """Whether the time of all parts has come, and no gate holds any."""
        last_ns = self._points[-1] if self._points else 0
        return self.started and self.gates.before(last_ns) is None and self.next_point(now) == float("inf")

    def _keep(self, now: int) -> None:
        """Let time run from the current position."""
        if self.started:
            self._anchor = (now, self.played(now))

    def next_point(self, now: int) -> float:
        """Return the offset of the next part in time, whether a client gets it or not; infinite behind the last."""
        if not self.started:
            return next(iter(self._points), float("inf"))
        at = bisect_right(self._points, self.played(now), key=self._scale)
        return self._points[at] if at < len(self._points) else float("inf")

    def point_behind(self, offset_ns: int) -> float:
        """Return the next offset after this one; infinite behind the last."""
        at = bisect_right(self._points, offset_ns)
        return self._points[at] if at < len(self._points) else float("inf")


def scale_of(points: Sequence[int], gates: Iterable[Gate], timing: Timing) -> Scale:
    between = () if timing.instant else sorted({*points, *(gate.at_ns for gate in gates)})
    return Scale(between, timing)


def sort_key(part: Part) -> SortKey:
    """Return the place of a part in the order of recorded parts."""
    return part.offset_ns, part.stream, part.seq
