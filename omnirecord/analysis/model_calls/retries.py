"""Finds the attempts of one request: equal conversations, the retry count of the SDK, and the time. Pure, linear."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from ...providers.call import ModelCall

LONGEST_WAIT = 600_000_000_000
"""Time in ns between two attempts, at most."""


class Attempts:
    """The requests that the calls are attempts of. A call has the index that it has in `calls`."""

    def __init__(self, calls: Sequence[ModelCall], starts: Sequence[int], ends: Sequence[int | None]) -> None:
        """`starts` and `ends`: the times of the calls on one clock, in ns."""
        self._first = list(range(len(calls)))
        self.unsure: set[int] = set()
        """The calls whose request may be another one: several could be."""
        self._read(calls, starts, ends)

    def _read(self, calls: Sequence[ModelCall], starts: Sequence[int], ends: Sequence[int | None]) -> None:
        waiting: dict[tuple[object, int], deque[int]] = {}
        order = sorted(range(len(calls)), key=lambda n: (starts[n], calls[n].attempt, n))
        for number in order:
            call = calls[number]
            if call.conversation is None:
                continue
            same = call.recording, call.conversation
            if call.attempt > 1:
                before = self._before(waiting.get((same, call.attempt - 1)), starts[number], ends)
                if before is not None:
                    self.join(before, number)
            if not call.has_answer:
                waiting.setdefault((same, call.attempt), deque()).append(number)

    def _before(self, waiting: deque[int] | None, start_ns: int, ends: Sequence[int | None]) -> int | None:
        """Return the attempt before, and drop it: the oldest one that is over. If several are, the choice is unsure."""
        while waiting and start_ns - (ends[waiting[0]] or start_ns) > LONGEST_WAIT:
            waiting.popleft()
        if not waiting:
            return None
        over = [n for n in list(waiting)[:2] if (ends[n] is not None and (ends[n] or 0) <= start_ns)]
        if not over:
            return None
        if len(over) > 1:
            self.unsure.update(over)
        waiting.remove(over[0])
        return over[0]

    def join(self, before: int, after: int) -> None:
        """Note that both calls are attempts of one request."""
        if before in self.unsure:
            self.unsure.add(after)
        self._first[self.of(after)] = self.of(before)

    def of(self, number: int) -> int:
        """Return the number of the request of a call: the index of its first attempt."""
        while self._first[number] != number:
            self._first[number] = self._first[self._first[number]]
            number = self._first[number]
        return number

    def groups(self) -> Iterable[list[int]]:
        """Return the attempts of each request."""
        found: dict[int, list[int]] = {}
        for number in range(len(self._first)):
            found.setdefault(self.of(number), []).append(number)
        return found.values()
