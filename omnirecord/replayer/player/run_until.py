"""What a replay runs until: the nth event of a kind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ...errors import UsageError
from ...model import TimedFrame
from ..event_address import Stream, parse_address

Predicate = Callable[[TimedFrame], bool]


@dataclass(slots=True, eq=False)
class Target:
    """Runs until the nth event of a stream that is `wanted`. `root`: in which run; None: in whichever it comes."""

    wanted: Predicate
    nth: int = 1
    root: str | None = None
    counted: Counter[int] = field(default_factory=Counter)
    seen: set[tuple[int, int]] = field(default_factory=set)
    reached: object | None = None
    """The run in which it came."""
    failed: Exception | None = None
    """What `wanted` raised: it is for whoever gave that, not for a client."""

    @property
    def is_over(self) -> bool:
        return self.reached is not None or self.failed is not None

    def look(self, frame: TimedFrame, run: object) -> None:
        """A frame was sent in a run. What two clients get counts once."""
        if (frame.stream, frame.seq) in self.seen or not self._is_wanted(frame):
            return
        self.seen.add((frame.stream, frame.seq))
        self.counted[frame.stream] += 1
        if self.counted[frame.stream] >= self.nth:
            self.reached = run

    def _is_wanted(self, frame: TimedFrame) -> bool:
        try:
            return bool(self.wanted(frame))
        except Exception as error:
            self.failed = error
            return False


def target(event: str | Predicate, nth: int, streams: Iterable[Stream], root: str | None = None) -> Target:
    """What to run until, from how a person names it; `2nd session.status` is the second from here, as `nth` 2 is.

    Raises `UsageError` where it cannot be read, or where the recording has no such event.
    """
    if nth < 1:
        raise UsageError(f"the event numbered {nth} is none: they are counted from 1")
    if not isinstance(event, str):
        return Target(event, nth, root)
    address = parse_address(event)
    keys = frozenset(address.resolve(streams))
    ordinal, matcher = address.pick.ordinal, address.pick.matcher
    if ordinal == "last" or address.after or address.before or address.place or matcher.name[0] == "#":
        return Target(lambda frame: (frame.stream, frame.seq) in keys, nth, root)
    return Target(matcher.matches, nth * ordinal if isinstance(ordinal, int) else nth, root)
