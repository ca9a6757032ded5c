"""Which model calls belong together, and which text of a model is which text on the client hop. Pure.

`threads` connects the calls of one session by the provider's ids. `Attempts` connects the attempts of one request by
equal conversations, the retry count of the SDK, and the time.

A text reaches the client after the model streamed it, and a call starts during its turn. So most texts are possible for
few calls only. If no call is missing, a text that is possible for one call only is a pair with it; if no text is
missing, so is a call with one possible text. A pair leaves fewer possibilities for the others.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...model import by_key
from ...providers.call import ModelCall
from .places import is_counted

LATEST = 10_000_000_000
"""Delay in ns of a text on its way to the client, at most."""
_STRETCH = 3_000_000_000
"""Difference in ns between the delays of the first and the last delta of a text, at most."""
_MOST = 256
"""Texts after the beginning of a call's text that are looked at."""
_NEAR = 40
"""Texts that are compared with a call, at most. With more of them, the call is ambiguous."""


class Said(NamedTuple):
    """The text of a call: times of its first and last delta and of the call's start, in ns on one clock."""

    first_ns: int
    last_ns: int
    start_ns: int
    call: int


class Heard(NamedTuple):
    """The same text on the client hop, with the times of its turn."""

    first_ns: int
    last_ns: int
    begin_ns: int
    end_ns: int
    turn: int


class Pair(NamedTuple):
    """A call, and the turns that may have its text."""

    call: int
    turns: tuple[int, ...]
    is_sure: bool


def pairs(said: Sequence[Said], heard: Sequence[Heard], slack_ns: int) -> list[Pair]:
    """Return the turns of each call. A call without a possible turn is left out. `slack_ns`: what the clocks may
    differ by."""
    heard = sorted(heard)
    texts = [_possible(one, heard, slack_ns) for one in said]
    found: list[Pair] = []
    for calls in _clusters(texts):
        alone = _settled(calls, texts)
        is_of_one = len({heard[place].turn for call in calls for place in texts[call]}) == 1
        for call in calls:
            places = [alone[call]] if call in alone else sorted(texts[call] - set(alone.values()))
            turns = tuple(dict.fromkeys(heard[place].turn for place in places))
            if turns:
                found.append(Pair(said[call].call, turns, len(turns) == 1 and (call in alone or is_of_one)))
    return found


def _possible(one: Said, heard: Sequence[Heard], slack_ns: int) -> set[int]:
    """Return the texts that may be the text of a call."""
    found = set[int]()
    begin = bisect_left(heard, (one.first_ns - slack_ns,))
    for place in range(begin, min(begin + _MOST, len(heard))):
        text = heard[place]
        first, last = text.first_ns - one.first_ns, text.last_ns - one.last_ns
        if first > LATEST or len(found) >= _NEAR:
            break
        if (
            last >= -slack_ns
            and last - first <= _STRETCH
            and text.begin_ns - slack_ns <= one.start_ns <= text.end_ns + slack_ns
        ):
            found.add(place)
    return found


class Groups:
    """The numbers below `count` in groups that `links` connect."""

    def __init__(self, count: int, links: Iterable[tuple[int, int]] = ()) -> None:
        self._first = list(range(count))
        for one, other in links:
            self.join(one, other)

    def join(self, before: int, after: int) -> None:
        """Put both into one group. Its number is that of the group of `before`."""
        self._first[self.of(after)] = self.of(before)

    def of(self, number: int) -> int:
        """Return the number of a group: one of its members, the first one if the members were joined in order."""
        while self._first[number] != number:
            self._first[number] = self._first[self._first[number]]
            number = self._first[number]
        return number

    def groups(self) -> Iterable[list[int]]:
        """Return the members of each group, by their first."""
        return by_key(range(len(self._first)), self.of).values()


def _clusters(texts: Sequence[set[int]]) -> Iterable[list[int]]:
    """Return the calls in groups that share possible texts."""
    by_text: dict[int, int] = {}
    links = ((by_text.setdefault(place, call), call) for call, places in enumerate(texts) for place in places)
    return Groups(len(texts), links).groups()


def threads(calls: Sequence[ModelCall]) -> list[list[int]]:
    """Return the indexes of calls whose ids are connected, of two or more calls each: a request names items and tool
    calls of earlier answers. An id of two answers does not count, nor does a counted id of a tool."""
    owners: dict[str, int | None] = {}
    for number, call in enumerate(calls):
        counted = {one.call_id for one in call.tool_calls if is_counted(one.call_id)}
        for id_ in (id_ for id_ in call.own_ids if id_ not in counted):
            owners[id_] = number if owners.get(id_, number) == number else None
    named = ((number, owners.get(id_)) for number, call in enumerate(calls) for id_ in call.history_ids)
    links = ((number, owner) for number, owner in named if owner is not None)
    return [group for group in Groups(len(calls), links).groups() if len(group) > 1]


def _settled(calls: Sequence[int], texts: Sequence[set[int]]) -> dict[int, int]:
    """Return the only possible text of calls, by call."""
    if any(len(texts[call]) >= _NEAR for call in calls):
        return {}
    left = {call: set(texts[call]) for call in calls if texts[call]}
    by_text: dict[int, set[int]] = {}
    for one, places in left.items():
        for text in places:
            by_text.setdefault(text, set()).add(one)
    by_call, by_place = len(left) <= len(by_text), len(by_text) <= len(left)
    waiting: list[tuple[int | None, int | None]] = [(one, None) for one in left if by_call]
    waiting += [(None, text) for text in by_text if by_place]
    settled: dict[int, int] = {}
    while waiting:
        call, place = waiting.pop()  # one of them is None
        if place is not None and len(by_text.get(place, ())) == 1:
            call = next(iter(by_text[place]))
        elif call is not None and len(left.get(call, ())) == 1:
            place = next(iter(left[call]))
        if call is None or place is None or call not in left or place not in by_text:
            continue
        settled[call] = place
        for other in by_text.pop(place):
            left[other].discard(place)
            waiting += [(other, None)] if by_call else []
        for text in left.pop(call):
            by_text.get(text, set()).discard(call)
            waiting += [(None, text)] if by_place else []
    return settled


LONGEST_WAIT = 600_000_000_000
"""Time in ns between two attempts, at most."""


class Attempts(Groups):
    """The attempts of each request: a group has the index of the first attempt in `calls`. Linear."""

    def __init__(self, calls: Sequence[ModelCall], starts: Sequence[int], ends: Sequence[int | None]) -> None:
        """`starts` and `ends`: the times of the calls on one clock, in ns."""
        super().__init__(len(calls))
        self.unsure: set[int] = set()
        """The calls whose request may be another one: several could be."""
        waiting: dict[tuple[object, int], deque[int]] = {}
        for number in sorted(range(len(calls)), key=lambda n: (starts[n], calls[n].attempt, n)):
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
        super().join(before, after)
