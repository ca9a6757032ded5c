"""Faults that are bound to a recording: the stream that a client gets, and the answer to a request. Pure.

`Bound.on` depends on its arguments and on the faults that have `happened`: the same parts give the same bytes.
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
from .apply import Faulty, Key, Layout
from .grammar import parse_fault
from .targets import FaultBinder
from .verbs import Answer, Ends, Fault, OnRequest, Requests, StopHeartbeats

RequestLine = tuple[str, str]
"""Method and target of a request."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """The faults on one request. `status`: the status instead of the recorded answer; None for that answer. `late_ns`:
    delay of the answer, in ns. `names`: the faults."""

    status: int | None
    late_ns: int
    names: tuple[str, ...]


def check(faults: Iterable[OnRequest], asked: Iterable[RequestLine]) -> None:
    """Raise `UsageError` if a fault matches no recorded request."""
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
        """Return the faults of these lines, one a line, as in `docs/faults.md`. Raises `UsageError`, with the wrong
        word."""
        lines = [specs] if isinstance(specs, str) else specs
        return cls(tuple(parse_fault(line) for line in lines))

    def bind(self, streams: Iterable[Stream], requests: Iterable[RequestLine] | None = None) -> Bound:
        """Find the events of the faults in a recording. `requests`: the recorded requests; if given, a fault on none of
        them is an error. Raises `UsageError` if the recording lacks an event, or the event cannot be changed so."""
        return Bound(self.faults, list(streams), requests)


class Bound:
    """Faults with their events."""

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
        self._on_requests = [fault for fault in faults if isinstance(fault, OnRequest)]
        if requests is not None:
            check(self._on_requests, requests)
        self._counts = [0] * len(self._on_requests)
        self._over: Counter[str] = Counter()

    def on(self, stream: int, parts: Sequence[Part]) -> Faulty:
        """Return what a client of `stream` gets instead of `parts`, which may be of other recorded streams too.

        If a fault has happened since an earlier call with the same parts, the bytes begin with those of that call.
        """
        layout = Layout(parts, self._wanted)
        for aim in self._changes:
            aim.apply(layout)
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
        """Note that the fault `by`, a `Faulty.by`, ends a connection, and return True: it spares later connections.

        Return False if it has ended another connection meanwhile: then call `on` again, and continue behind the bytes
        sent.
        """
        ends = [end for end, _ in self._ends if str(end) == by]
        if any(end.each_time for end in ends):
            return True
        if self._over[by] >= len(ends):
            return False
        self._over[by] += 1
        return True

    def on_request(self, method: str, target: str) -> RequestFault | None:
        """Count a request, and return the faults on it; None if there are none. The first of several statuses wins."""
        happening = [fault for n, fault in enumerate(self._on_requests) if self._is_nth(n, method, target)]
        if not happening:
            return None
        statuses = [fault.status for fault in happening if isinstance(fault, Answer)]
        late_ns = sum(fault.by_ns for fault in happening if not isinstance(fault, Answer))
        return RequestFault(statuses[0] if statuses else None, late_ns, tuple(map(str, happening)))

    def _is_nth(self, number: int, method: str, target: str) -> bool:
        requests = self._on_requests[number].requests
        if not _is_one(requests, method, target):
            return False
        self._counts[number] += 1
        nth = requests.ordinal if isinstance(requests.ordinal, int) else 1
        return requests.ordinal == "every" or self._counts[number] == nth

    def reset(self) -> None:
        """Forget the faults that have happened, and all requests."""
        self._over.clear()
        self._counts = [0] * len(self._on_requests)

    def _ends_left(self) -> dict[Key, Ends]:
        """Return the first fault that ends the stream at each event, without the faults that have happened."""
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
