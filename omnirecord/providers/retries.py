"""Finds the attempts of one request: each call with the call that it repeats. Pure, incremental.

Two calls are attempts of one request if their conversations are equal. Besides, the client counts its retries, or the
first call failed in a way that another attempt can mend. If a provider refuses a request before its end, the rest of
the body is not recorded: then the beginnings of the bodies are compared.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from .call import ModelCall

_MOST = 100
"""Attempts of one kind that wait for the next one, at most."""
LONGEST_WAIT = 600_000_000_000
"""Time in ns between two attempts, at most."""
Same = tuple[object, ...]


class _Attempt(NamedTuple):
    number: int
    ended_ns: int | None
    call: ModelCall | None
    """The call, if its body was cut."""


class Retries:
    """The attempts without a next one. The caller numbers the calls, and gives them in the order in which they started,
    with their times on one clock in ns."""

    def __init__(self) -> None:
        self.unsure: set[int] = set()
        """The calls whose request may be another one: several could be."""
        self._counted: dict[tuple[Same, int], deque[_Attempt]] = {}
        self._failed: dict[Same, deque[_Attempt]] = {}

    def before(self, number: int, call: ModelCall, start_ns: int, end_ns: int | None) -> list[int]:
        """Return the call that this one repeats, by the retry count of its client, or as the body of that was cut. It
        is empty if there is none. If two calls are possible, it has both."""
        if call.conversation is None and not call.request_is_cut:
            return []
        same, cut = _same(call), (call.recording, call.api)
        before = list[int]()
        if call.attempt > 1:
            before = self._oldest(self._counted.get((same, call.attempt - 1), deque()), start_ns)
        if not before:
            before = self._cut(self._counted.get((cut, max(call.attempt - 1, 1)), deque()), call, start_ns)
        if not call.has_answer:
            key = cut if call.request_is_cut else same
            kept = _Attempt(number, end_ns, call if call.request_is_cut else None)
            self._counted.setdefault((key, call.attempt), deque(maxlen=_MOST)).append(kept)
        return self._joined(before, number)

    def repeated(self, number: int, call: ModelCall, start_ns: int, end_ns: int | None) -> list[int]:
        """Return the failed call that this one repeats, as `before` does, if its client does not count retries."""
        if call.conversation is None or not (self._failed or call.may_be_retried):
            return []
        same = _same(call)
        before = [] if call.counts_attempts else self._oldest(self._failed.get(same, deque()), start_ns)
        if call.may_be_retried:
            self._failed.setdefault(same, deque(maxlen=_MOST)).append(_Attempt(number, end_ns, None))
        return self._joined(before, number)

    def _cut(self, refused: deque[_Attempt], call: ModelCall, start_ns: int) -> list[int]:
        """Return the attempt before whose body was cut. Without a retry count in the request, the bodies need an equal
        beginning."""
        alike = deque(
            one
            for one in refused
            if one.call is not None and one.call.may_begin(call) and (call.attempt > 1 or one.call.beginnings)
        )
        before = self._oldest(alike, start_ns)
        if before:
            refused.remove(next(one for one in refused if one.number == before[0]))
        return before

    def _oldest(self, waiting: deque[_Attempt], start_ns: int) -> list[int]:
        """Return the oldest attempt that is over, and drop it. If the next one is over too, the choice is unsure."""
        while waiting and start_ns - (waiting[0].ended_ns or start_ns) > LONGEST_WAIT:
            waiting.popleft()
        over = [one for one in list(waiting)[:2] if one.ended_ns is not None and one.ended_ns <= start_ns]
        if not over:
            return []
        if len(over) > 1:
            self.unsure.update(one.number for one in over)
        waiting.remove(over[0])
        return [one.number for one in over]

    def _joined(self, before: list[int], number: int) -> list[int]:
        if before and before[0] in self.unsure:
            self.unsure.add(number)
        return before


def _same(call: ModelCall) -> Same:
    """Return a key that equal requests of one recording share."""
    return call.recording, hash(call.conversation)
