"""Faults, read, and bound to a recording: what a client gets of a stream, what becomes of a request. Pure.

`Bound.on` is a function of its arguments and of what has `happened`; the same parts give the same bytes.

Faults on requests: the nth of a kind is answered with a status, or late. Pure; it counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ...errors import UsageError
from ...omnigent.routes import path_of
from ..event_address import Stream, listed
from ..parts import Part
from .grammar import parse_fault
from .layout import Faulty, Key, Layout
from .targets import FaultBinder
from .verbs import Answer, Ends, Fault, OnRequest, Requests, StopHeartbeats

RequestLine = tuple[str, str]
"""Method and target."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """`status`: what to answer with, instead of what was recorded; None for that. `late_ns`: how much later the
    answer begins. `names`: the faults that say so."""

    status: int | None
    late_ns: int
    names: tuple[str, ...]


class RequestFaults:
    """Counts the requests of each kind."""

    def __init__(self, faults: Sequence[OnRequest]) -> None:
        self._faults = faults
        self._counts = [0] * len(faults)

    def reset(self) -> None:
        """Begin to count again."""
        self._counts = [0] * len(self._faults)

    def on(self, method: str, target: str) -> RequestFault | None:
        """Count a request; what happens to it. Of several statuses the first that was given is taken."""
        happening = [fault for number, fault in enumerate(self._faults) if self._happens(number, method, target)]
        if not happening:
            return None
        statuses = [fault.status for fault in happening if isinstance(fault, Answer)]
        late_ns = sum(fault.by_ns for fault in happening if not isinstance(fault, Answer))
        return RequestFault(statuses[0] if statuses else None, late_ns, tuple(map(str, happening)))

    def _happens(self, number: int, method: str, target: str) -> bool:
        requests = self._faults[number].requests
        if not _is_one(requests, method, target):
            return False
        self._counts[number] += 1
        nth = requests.ordinal if isinstance(requests.ordinal, int) else 1
        return requests.ordinal == "every" or self._counts[number] == nth


def check(faults: Iterable[OnRequest], asked: Iterable[RequestLine]) -> None:
    """Raises `UsageError` where nothing like it was recorded."""
    recorded = set(asked)
    for fault in faults:
        requests = fault.requests
        if any(_is_one(requests, method, target) for method, target in recorded):
            continue
        known = sorted({f"{method} {path_of(target)}" for method, target in recorded})
        near = get_close_matches(f"{requests.method} {requests.glob}", known[:1000], 3) or known
        raise UsageError(
            f"the fault {str(fault)!r} cannot happen: no such request was recorded, there are {listed(near) or 'none'}"
        )


def _is_one(requests: Requests, method: str, target: str) -> bool:
    return requests.method in ("*", method.upper()) and fnmatchcase(path_of(target), requests.glob)


_RANK = {"before": 0, "inside a character of": 1, "inside": 1, "after": 2}


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of a replay, in the order in which they were given."""

    faults: tuple[Fault, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.faults)

    @classmethod
    def parse(cls, specs: Iterable[str] | str) -> Faults:
        """One fault a line, as `docs/faults.md` has them. Raises `UsageError`: which line, which word, what instead."""
        lines = [specs] if isinstance(specs, str) else specs
        return cls(tuple(parse_fault(line) for line in lines))

    def bind(self, streams: Iterable[Stream], requests: Iterable[RequestLine] | None = None) -> Bound:
        """Find what they mean in a recording. `requests`: method and target of those that were recorded, if a fault
        on none of them is a mistake. Raises `UsageError` where an event is not there, or cannot be changed so."""
        return Bound(self.faults, list(streams), requests)


class Bound:
    """Faults whose events were found."""

    def __init__(
        self, faults: Sequence[Fault], streams: Sequence[Stream], requests: Iterable[RequestLine] | None
    ) -> None:
        aims = FaultBinder(streams)
        aimed = [aims.of(fault) for fault in faults if not isinstance(fault, OnRequest)]
        aims.check(aimed)
        self._names = [str(fault) for fault in faults]
        self._changes = [aim for aim in aimed if not isinstance(aim.fault, Ends)]
        self._ends = [(aim.fault, aim.keys) for aim in aimed if isinstance(aim.fault, Ends)]
        self._wanted = frozenset(key for aim in aimed for key in aim.keys)
        stops = [fault for fault in faults if isinstance(fault, StopHeartbeats)]
        self._silences = [silence for fault in stops for silence in aims.silences(fault)]
        on_requests = [fault for fault in faults if isinstance(fault, OnRequest)]
        if requests is not None:
            check(on_requests, requests)
        self._requests = RequestFaults(on_requests)
        self._over: Counter[str] = Counter()

    def on(self, stream: int, parts: Sequence[Part]) -> Faulty:
        """What a client of `stream` gets instead of `parts`, which may be of other recorded streams too.

        Its bytes begin with those that an earlier call gave for the same parts, when a fault has happened since.
        """
        layout = Layout(parts, self._wanted)
        for aim in self._changes:
            aim.change(layout)
        silences = [silence for silence in self._silences if silence.covers(parts, stream)]
        for silence in silences:
            silence.hush(layout)
        faulty = layout.faulty(self._ends_left())
        names = {*faulty.names, *(silence.name for silence in silences)}
        return replace(
            faulty,
            quiet_from=min((silence.offset_ns for silence in silences), default=None),
            names=tuple(name for name in dict.fromkeys(self._names) if name in names),
        )

    def happened(self, by: str) -> bool:
        """Say that a connection came to where `by`, a `Faulty.by`, ends it: from now on others are spared.

        False where it happened to another in the meantime: then ask `on` anew, and go on behind what was sent.
        """
        ends = [end for end, _ in self._ends if str(end) == by]
        if any(end.each_time for end in ends):
            return True
        if self._over[by] >= len(ends):
            return False
        self._over[by] += 1
        return True

    def on_request(self, method: str, target: str) -> RequestFault | None:
        """Count a request; what happens to it, if anything does."""
        return self._requests.on(method, target)

    def reset(self) -> None:
        """Forget what has happened, and all requests."""
        self._over.clear()
        self._requests.reset()

    def _ends_left(self) -> dict[Key, Ends]:
        """Of each event the first thing that ends the stream there, without those that are over."""
        left: dict[Key, Ends] = {}
        over = self._over.copy()
        for end, keys in self._ends:
            if over[str(end)] > 0:
                over[str(end)] -= 1
                continue
            for key in keys:
                if key not in left or _RANK[end.where] < _RANK[left[key].where]:
                    left[key] = end
        return left
