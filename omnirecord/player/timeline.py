"""The playhead of one session tree: where in recorded time it is, and what it stands before. Pure: `now` is told.

Recorded time goes by as `Scale` plays it, from when the first stream is opened. At a closed gate it stands still;
what is left of the gap counts from when the gate opens. A gate that is opened early is remembered, and time does
not jump.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from .timing import Scale, Timing


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
    """`points`: the offsets of everything that is played, ascending."""

    def __init__(self, points: list[int], gates: Iterable[Gate], timing: Timing) -> None:
        self.gates = sorted(gates, key=lambda gate: gate.at_ns)
        self._points = sorted(set(points))
        self._scale = Scale(sorted({*points, *(gate.at_ns for gate in self.gates)}), timing)
        self._anchor: tuple[int, int] | None = None  # (now, played time), from which time goes by

    @property
    def started(self) -> bool:
        return self._anchor is not None

    def closed_gate(self) -> Gate | None:
        """The first gate that is closed."""
        return next((gate for gate in self.gates if not gate.open), None)

    def gate_before(self, offset_ns: int) -> Gate | None:
        """The closed gate that holds what was received at `offset_ns`."""
        gate = self.closed_gate()
        return gate if gate is not None and gate.at_ns < offset_ns else None

    def move(self, offset_ns: int, now: int) -> None:
        """Put the playhead at a recorded offset, or at the closed gate before it."""
        gate = self.gate_before(offset_ns)
        self._anchor = now, self._scale(gate.at_ns if gate else offset_ns)

    def played(self, now: int) -> int:
        """Played time so far, in ns: never past a closed gate."""
        if self._anchor is None:
            return 0
        since, at = self._anchor
        gate = self.closed_gate()
        passed = at + max(0, now - since)
        return passed if gate is None else max(at, min(passed, self._scale(gate.at_ns)))

    def due(self, offset_ns: int, now: int) -> int | None:
        """When what was received at `offset_ns` may be sent, on the clock of `now`; None while a gate holds it."""
        if self.gate_before(offset_ns) is not None:
            return None
        return now + max(0, self._scale(offset_ns) - self.played(now))

    def between(self, one_ns: int, other_ns: int) -> int:
        """How long it takes from one recorded offset to another, in played ns."""
        return self._scale(other_ns) - self._scale(one_ns)

    def open(self, gate: Gate, now: int) -> None:
        """The request came: time goes on from here, if it stood at this gate."""
        if self._anchor is not None:
            self._anchor = now, self.played(now)
        gate.open = True

    def next_point(self, now: int) -> float:
        """The recorded offset of what is played next, whether anybody listens or not; infinite behind the last."""
        if self._anchor is None:
            return next(iter(self._points), float("inf"))
        at = bisect_right(self._points, self.played(now), key=self._scale)
        return self._points[at] if at < len(self._points) else float("inf")
