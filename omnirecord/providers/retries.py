"""Finds the attempts of one request: each call with the call that it repeats. Pure, incremental.

Two calls are attempts of one request if their conversations are equal. Besides, the client counts its retries, or the
first call failed in a way that another attempt can mend. If a provider refuses a request before its end, the rest of
the body is not recorded: then the beginnings of the bodies are compared.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import NamedTuple, TypeVar

from .call import ModelCall

_MOST = 100
"""Attempts of one kind that wait for the next one, at most."""
LONGEST_WAIT = 600_000_000_000
"""Time in ns between two attempts, at most."""
Same = tuple[object, ...]
K = TypeVar("K")


class _Attempt(NamedTuple):
    number: int
    ended_ns: int | None
    call: ModelCall | None
    """The call, if its body was cut."""


class Retries:
    """The attempts without a next one. The caller numbers the calls in the order in which they started, and gives their
    times on one clock in ns."""

    def __init__(self) -> None:
        self.unsure: set[int] = set()
        """The calls whose request may be another one: several could be."""
        self._counted: dict[tuple[Same, int], deque[_Attempt]] = {}
        self._failed: dict[Same, deque[_Attempt]] = {}

    def before(self, number: int, call: ModelCall, start_ns: int) -> list[int]:
        """Return the call that this one repeats; empty if there is none. If two calls are possible, it has both."""
        before = list[int]()
        if call.conversation is not None and call.attempt > 1:
            before = self._oldest(self._counted.get((_same(call), call.attempt - 1), deque()), start_ns)
        if not before and (call.conversation is not None or call.request_is_cut):
            before = self._cut(self._counted.get((_kind(call), max(call.attempt - 1, 1)), deque()), call, start_ns)
        if not before and call.conversation is not None and not call.counts_attempts:
            before = self._oldest(self._failed.get(_same(call), deque()), start_ns)
        if before and before[0] in self.unsure:
            self.unsure.add(number)
        return before

    def over(self, number: int, call: ModelCall, end_ns: int | None) -> None:
        """Note how a call ended: a later one may repeat it."""
        if not call.has_answer and (call.conversation is not None or call.request_is_cut):
            kept = _Attempt(number, end_ns, call if call.request_is_cut else None)
            _keep(self._counted, (_kind(call) if call.request_is_cut else _same(call), call.attempt), kept)
        if call.may_be_retried and call.conversation is not None:
            _keep(self._failed, _same(call), _Attempt(number, end_ns, None))

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
        over = [one for one in waiting if one.ended_ns is not None and one.ended_ns <= start_ns][:2]
        if not over:
            return []
        if len(over) > 1:
            self.unsure.update(one.number for one in over)
        waiting.remove(over[0])
        return [one.number for one in over]


def _keep(attempts: dict[K, deque[_Attempt]], key: K, attempt: _Attempt) -> None:
    """Keep an attempt among its like, in the order in which they started."""
    like = attempts.setdefault(key, deque())
    like.append(attempt)
    if len(like) > 1 and like[-2].number > attempt.number:
        like = attempts[key] = deque(sorted(like, key=attrgetter("number")))
    if len(like) > _MOST:
        like.popleft()


def _kind(call: ModelCall) -> Same:
    """Return a key that all requests to one API in one recording share."""
    return call.recording, call.api


def _same(call: ModelCall) -> Same:
    """Return a key that equal requests of one recording share."""
    return call.recording, hash(call.conversation)
