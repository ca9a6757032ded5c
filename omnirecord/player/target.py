"""What a replay runs until: the nth event of a kind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..cassette import TimedFrame

Predicate = Callable[[TimedFrame], bool]


@dataclass(slots=True, eq=False)
class Target:
    """Runs until the nth event of a stream that is `wanted`."""

    wanted: Predicate
    nth: int = 1
    counted: Counter[int] = field(default_factory=Counter)
    seen: set[tuple[int, int]] = field(default_factory=set)
    reached: object | None = None
    """The run in which it came."""

    def counts(self, frame: TimedFrame) -> bool:
        """Whether this frame is the one. What two clients get counts once."""
        if (frame.stream, frame.seq) in self.seen or not self.wanted(frame):
            return False
        self.seen.add((frame.stream, frame.seq))
        self.counted[frame.stream] += 1
        return self.counted[frame.stream] >= self.nth
