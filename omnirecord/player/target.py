"""What a replay runs until: the nth event of a kind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..addresses import Stream, parse_address
from ..cassette import TimedFrame
from ..errors import UsageError

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


def target(event: str | Predicate, nth: int, streams: Iterable[Stream]) -> Target:
    """What to run until, from how a person names it; `2nd session.status` is the second from here, as `nth` 2 is.

    Raises `UsageError` where it cannot be read, or where the recording has no such event.
    """
    if nth < 1:
        raise UsageError(f"the event numbered {nth} is none: they are counted from 1")
    if not isinstance(event, str):
        return Target(event, nth)
    address = parse_address(event)
    keys = frozenset(address.resolve(streams))
    ordinal, matcher = address.pick.ordinal, address.pick.matcher
    if ordinal == "last" or address.after or address.before or address.place or matcher.name[0] == "#":
        return Target(lambda frame: (frame.stream, frame.seq) in keys, nth)
    return Target(matcher.matches, nth * ordinal if isinstance(ordinal, int) else nth)
