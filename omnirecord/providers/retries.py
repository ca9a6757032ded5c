"""Finds the attempts of one request: each call with the call that it repeats. Pure, incremental.

Two calls are attempts of one request if their conversations are equal. Besides, the retry count of the client rises by
one. Or the first call failed in a way that another attempt can mend, and the second one has no retry count, or 0. Then
the program repeats the request, not its SDK. A server repeats none, and two of its users may ask the same. So behind
Omnigent, a count of 0 begins a request. If a provider refuses a request before its end, the rest of the body is not
recorded: then the beginnings of the bodies are compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from .call import ModelCall

_MOST = 100
"""Equal requests that wait for their next attempt, at most."""
LONGEST_WAIT = 600_000_000_000
"""Time in ns between two attempts, at most."""
Same = tuple[object, ...]


class _Attempt(NamedTuple):
    number: int
    attempt: int
    """That of the client, from 1."""
    ended_ns: int | None
    may_be_retried: bool
    call: ModelCall | None
    """The call, if its body was cut."""


class Retries:
    """The attempts without a next one. The caller numbers the calls in the order in which they started, and gives their
    times on one clock in ns."""

    def __init__(self) -> None:
        self.is_behind_server = False
        """Whether the calls are those of a recorded server."""
        self.unsure: set[int] = set()
        """The calls whose request may be another one: several could be."""
        self._waiting: dict[Same, deque[_Attempt]] = {}
        """By the request; those with a cut body by recording and API."""

    def before(self, number: int, call: ModelCall, start_ns: int) -> list[int]:
        """Return the call that this one repeats; empty if there is none. If two calls are possible, it has both."""
        before = list[int]()
        earlier = max(call.attempt - 1, 1)
        if call.conversation is not None and call.attempt > 1:
            before = self._oldest(_same(call), start_ns, lambda one: one.attempt == earlier)
        if not before and (call.conversation is not None or call.request_is_cut):
            before = self._oldest(
                _kind(call), start_ns, lambda one: one.attempt == earlier and _may_begin(one.call, call)
            )
        is_first = call.attempt == 1 and not (self.is_behind_server and call.counts_attempts)
        if not before and call.conversation is not None and is_first:
            before = self._oldest(_same(call), start_ns, lambda one: one.may_be_retried)
        if before and before[0] in self.unsure:
            self.unsure.add(number)
        return before

    def over(self, number: int, call: ModelCall, end_ns: int | None) -> None:
        """Note how a call ended: a later one may repeat it."""
        if call.has_answer or (call.conversation is None and not call.request_is_cut):
            return
        kept = call if call.request_is_cut else None
        attempt = _Attempt(number, call.attempt, end_ns, call.may_be_retried, kept)
        like = self._waiting.setdefault(_kind(call) if call.request_is_cut else _same(call), deque())
        like.append(attempt)
        if len(like) > 1 and like[-2].number > number:
            ordered = sorted(like, key=attrgetter("number"))
            like.clear()
            like.extend(ordered)
        if len(like) > _MOST:
            like.popleft()

    def _oldest(self, same: Same, start_ns: int, fits: Callable[[_Attempt], bool]) -> list[int]:
        """Return the oldest attempt that is over and fits, and drop it. If the next one is over too, the choice is
        unsure."""
        waiting = self._waiting.get(same, deque())
        while waiting and start_ns - (waiting[0].ended_ns or start_ns) > LONGEST_WAIT:
            waiting.popleft()
        over = [one for one in waiting if one.ended_ns is not None and one.ended_ns <= start_ns and fits(one)][:2]
        if not over:
            return []
        if len(over) > 1:
            self.unsure.update(one.number for one in over)
        waiting.remove(over[0])
        return [one.number for one in over]


def _may_begin(before: ModelCall | None, call: ModelCall) -> bool:
    """Return whether the cut body of the attempt before may be the beginning of that of this one. Without a retry count
    in the request, the bodies need an equal beginning."""
    return before is not None and before.may_begin(call) and (call.attempt > 1 or bool(before.beginnings))


def _kind(call: ModelCall) -> Same:
    """Return a key that all requests to one API in one recording share."""
    return call.recording, call.api


def _same(call: ModelCall) -> Same:
    """Return a key that equal requests of one recording share."""
    return call.recording, hash(call.conversation)
