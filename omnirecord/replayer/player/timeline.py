"""The playhead of one session tree: where in recorded time it is, and what it stands before. Pure: `now` is told.

Recorded time goes by as `Scale` plays it, from when the first stream is opened. At a closed gate it stands still;
what is left of the gap counts from when the gate opens. A gate that is opened early is remembered, and time does
not jump. While it is paused, nothing passes but what lies at or before its `limit`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..parts import Part
from .timing import Clock, Scale, Timing

SortKey = tuple[float, float, float]
"""Where something stands among all that a session tree plays: offset in ns, stream, seq."""


@dataclass(slots=True)
class Gate:
    """A recorded request that has to come again before what followed it may."""

    exchange: int
    at_ns: int
    """When its first byte was received: nothing received later passes while the gate is closed."""
    what: str
    """`POST /v1/sessions/…/events`, for whoever waits."""
    open: bool = False


class Timeline:
    """`points`: the offsets of everything that is played, ascending. `limit`: how far a paused one lets parts pass."""

    def __init__(
        self,
        points: Sequence[int],
        gates: Iterable[Gate],
        timing: Timing,
        clock: Clock | None = None,
        scale: Scale | None = None,
    ) -> None:
        """`scale`: what `scale_of` makes of these, where somebody has it already."""
        self.gates = sorted(gates, key=lambda gate: gate.at_ns)
        self.limit: SortKey | None = None
        self.last: Part | None = None
        """What the furthest frame that was sent ended with."""
        self.watch: Callable[[Part, int], None] | None = None
        """Told of each frame that was sent, with the time; None where nobody wants to know."""
        self.jumped_ns = -1
        """Up to where it was last sent ahead, in recorded time."""
        self._points = points
        self._is_instant = timing.instant
        self._scale = scale or scale_of(points, self.gates, timing)
        self._clock = clock or Clock()
        self._opened = 0  # so many of the gates are open for certain

    @property
    def started(self) -> bool:
        return self._clock.started

    @property
    def paused(self) -> bool:
        return self._clock.paused

    @property
    def speed(self) -> float:
        """Played ns for each ns of `now`."""
        return self._clock.speed

    @property
    def passed(self) -> SortKey:
        """Up to where everything is let pass: it was sent to somebody, or jumped over."""
        last = (-1.0, 0.0, 0.0) if self.last is None else sort_key(self.last)
        return max(last, (self.jumped_ns, float("inf"), float("inf")))

    def closed_gate(self) -> Gate | None:
        """The first gate that is closed."""
        while self._opened < len(self.gates) and self.gates[self._opened].open:
            self._opened += 1
        return self.gates[self._opened] if self._opened < len(self.gates) else None

    def gate_before(self, offset_ns: int) -> Gate | None:
        """The closed gate that holds what was received at `offset_ns`."""
        gate = self.closed_gate()
        return gate if gate is not None and gate.at_ns < offset_ns else None

    def runs_freely(self, upto_ns: int) -> bool:
        """Whether everything up to a recorded offset is due, and nobody watches it pass."""
        return self._is_instant and not self.paused and self.watch is None and self.gate_before(upto_ns) is None

    def move(self, offset_ns: int, now: int) -> None:
        """Put the playhead at a recorded offset, or at the closed gate before it."""
        self.jumped_ns = min(self.jumped_ns, offset_ns - 1)
        self._clock.set(self._scale(self._short_of_gate(offset_ns)), now)

    def _short_of_gate(self, offset_ns: int) -> int:
        gate = self.gate_before(offset_ns)
        return gate.at_ns if gate else offset_ns

    def played(self, now: int) -> int:
        """Played time so far, in ns: never past a closed gate."""
        passed, gate = self._clock.at(now), self.closed_gate()
        return passed if gate is None else max(self._clock.set_at, min(passed, self._scale(gate.at_ns)))

    def due(self, offset_ns: int, now: int) -> int | None:
        """When what was received at `offset_ns` may be sent, on the clock of `now`; None while a gate holds it, or
        while all is paused."""
        if self.paused or self.gate_before(offset_ns) is not None:
            return None
        return now + self._clock.lasts(max(0, self._scale(offset_ns) - self.played(now)))

    def lets_pass(self, part: Part, *, at_once: bool) -> bool:
        """Whether a part may go although it is paused. `at_once`: it greets who joins, wherever the playhead is."""
        held = not part.in_snapshot and self.gate_before(part.offset_ns) is not None
        return self.limit is not None and not held and (at_once or sort_key(part) <= self.limit)

    def between(self, one_ns: int, other_ns: int) -> int:
        """How long it takes from one recorded offset to another, in ns of `now`."""
        return self._clock.lasts(self._scale(other_ns) - self._scale(one_ns))

    def open(self, gate: Gate, now: int) -> None:
        """The request came: time goes on from here, if it stood at this gate."""
        self._keep(now)
        gate.open = True

    def pass_by(self, part: Part, now: int) -> None:
        """A frame was sent, of which this is the last part."""
        if self.last is None or sort_key(part) >= sort_key(self.last):
            self.last = part
        if self.paused:
            self._catch_up(part.offset_ns, now)
        if self.watch is not None:
            self.watch(part, now)

    def pause(self, now: int) -> None:
        """Stop where it is: who is behind still gets what others got already."""
        if not self.paused:
            self._keep(now)
            self._clock.paused = True
            self.limit = None if self.last is None else sort_key(self.last)

    def play(self, now: int) -> None:
        """Go on from where it stands."""
        self._keep(now)
        self._clock.paused = False
        self.limit = None

    def set_speed(self, speed: float, now: int) -> None:
        """`speed`: played ns for each ns of `now`."""
        self._keep(now)
        self._clock.speed = speed

    def jump(self, offset_ns: int, now: int) -> None:
        """Go ahead to a recorded offset, or to the closed gate before it; what lies between is due at once."""
        self.move(offset_ns, now)
        self.jumped_ns = self._short_of_gate(offset_ns)
        if self.paused:
            self.limit = offset_ns, float("inf"), float("inf")

    def _catch_up(self, offset_ns: int, now: int) -> None:
        """What was let pass while it was paused has been played."""
        if self.started and self._scale(offset_ns) > self.played(now):
            self.move(offset_ns, now)

    def _keep(self, now: int) -> None:
        """Time goes on from where it is."""
        if self.started:
            self._clock.set(self.played(now), now)

    def next_point(self, now: int) -> float:
        """The recorded offset of what is played next, whether anybody listens or not; infinite behind the last."""
        if not self.started:
            return next(iter(self._points), float("inf"))
        at = bisect_right(self._points, self.played(now), key=self._scale)
        return self._points[at] if at < len(self._points) else float("inf")

    def point_behind(self, offset_ns: int) -> float:
        """The recorded offset of what comes after this one; infinite behind the last."""
        at = bisect_right(self._points, offset_ns)
        return self._points[at] if at < len(self._points) else float("inf")


def scale_of(points: Sequence[int], gates: Iterable[Gate], timing: Timing) -> Scale:
    """How the time between these is played."""
    between = () if timing.instant else sorted({*points, *(gate.at_ns for gate in gates)})
    return Scale(between, timing)


def sort_key(part: Part) -> SortKey:
    """Parts stand where they were recorded; those that were made up stand before everything."""
    return part.offset_ns, part.stream, part.seq
