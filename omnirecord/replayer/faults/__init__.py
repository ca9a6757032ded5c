"""Faults to inject into a replay, by event: `cut before response.completed by reset`. No I/O and no clock.

`Faults.parse` reads them (`verbs`). `Faults.bind` finds their events in a recording. `Bound.on` takes the parts of a
stream and returns those that a client gets (`apply`). It depends on its arguments and on the faults that have
`happened`: the same parts give the same bytes. `docs/faults.md` describes each fault on the wire.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice

from ...errors import UsageError
from ...model import TimedFrame
from ...omnigent.protocol import SESSION_HEARTBEAT
from ...omnigent.routes import path_of
from ..event_address import Address
from ..event_address.matcher import Stream, is_event, listed, name_of
from ..stream_parts import Part
from .apply import BoundFault, Faulty, Key, Layout, Silence, UnfitError, edited, inside_a_character
from .verbs import Answer, Change, Edit, Ends, Fault, OnRequest, Requests, Stall, StopHeartbeats, Swap, parse_fault

RequestLine = tuple[str, str]
"""Method and target of a request."""
_RANK = {"before": 0, "inside a character of": 1, "inside": 1, "after": 2}


@dataclass(frozen=True, slots=True)
class RequestFault:
    """The faults on one request. `answer`: the fault that replaces the recorded answer; None for that answer.
    `late_ns`: delay of the answer, in ns. `names`: the faults."""

    answer: Answer | None
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


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of a replay, in the order in which they were given."""

    faults: tuple[Fault, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.faults)

    @classmethod
    def parse(cls, specs: Iterable[str] | str) -> Faults:
        """Return the faults of these lines, as in `docs/faults.md`. Raises `UsageError`, with the wrong word."""
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
        once = [aim for aim in aimed if isinstance(aim.fault, Stall) and not aim.fault.each_time]
        self.stalled_at = {aim.name: aim.keys for aim in once}
        """The events of each stall."""
        self.stalls = Counter(aim.name for aim in once)
        """How often each stall may happen."""

    def on(self, stream: int, parts: Sequence[Part], without: Collection[str] = ()) -> Faulty:
        """Return what a client of `stream` gets instead of `parts`, which may be of other recorded streams too.
        `without`: the stalls that are left out. If a fault has happened since an earlier call with the same parts, the
        bytes begin with those of that call."""
        layout = Layout(parts, self._wanted)
        over = set(without)
        for aim in self._changes:
            if aim.name not in over:
                aim.apply(layout)
            over |= {aim.name} & self.stalls.keys()  # each connection stalls once
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
        Return False if it has ended another one meanwhile: then call `on` again, and continue behind the bytes sent."""
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
        answers = [fault for fault in happening if isinstance(fault, Answer)]
        late_ns = sum(fault.by_ns for fault in happening if not isinstance(fault, Answer))
        return RequestFault(answers[0] if answers else None, late_ns, tuple(map(str, happening)))

    def _is_nth(self, number: int, method: str, target: str) -> bool:
        requests = self._on_requests[number].requests
        if not _is_one(requests, method, target):
            return False
        self._counts[number] += 1
        nth = requests.ordinal if isinstance(requests.ordinal, int) else 1
        return requests.ordinal == "every" or nth <= self._counts[number] < nth + requests.first

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


class FaultBinder:
    """Finds the events of faults in `streams`. All methods raise `UsageError` if there are none."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = list(streams)
        self._frames = {stream.number: stream.frames for stream in self._streams}

    def of(self, fault: Change | Ends) -> BoundFault:
        try:
            return BoundFault(str(fault), fault, tuple(self._keys(fault)))
        except UsageError as error:
            raise _refusal(fault, str(error)) from None

    def silences(self, fault: StopHeartbeats) -> list[Silence]:
        """Return where heartbeats stop, for each stream in which they do."""
        first: dict[int, int] = {}
        for stream, seq in fault.event.resolve(self._streams):
            first.setdefault(stream, seq)
        return [
            Silence(str(fault), stream, seq + fault.after, self._frame((stream, seq)).offset_ns)
            for stream, seq in first.items()
        ]

    def check(self, aims: Sequence[BoundFault]) -> None:
        """Try all edits of each event in their order, and whether the outcome has a character to cut in two."""
        todo: dict[Key, list[Edit]] = defaultdict(list)
        cut: dict[Key, Ends] = {}
        for aim in aims:
            if isinstance(aim.fault, Edit):
                for key in aim.keys:
                    todo[key].append(aim.fault)
            elif isinstance(aim.fault, Ends) and aim.fault.where == "inside a character of":
                cut |= dict.fromkeys(aim.keys, aim.fault)
        for key in {**todo, **cut}:
            data = self._edited(key, todo.get(key, []))
            if key in cut and inside_a_character(data) is None:
                raise _refusal(cut[key], f"{self._named(key)} has {self._no_character(cut[key])}")

    def _no_character(self, fault: Ends) -> str:
        """Return a sentence that the event has no such character, and which similar events have."""
        matcher = fault.event.pick.matcher
        alike = (
            (stream.number, frame) for stream in self._streams for frame in stream.frames if matcher.matches(frame)
        )
        having = ((number, frame.seq) for number, frame in alike if inside_a_character(frame.raw or b"") is not None)
        near = listed(f"#{seq} of stream {number}" for number, seq in islice(having, 3))
        return "no character of more than one byte, " + (f"others have: {near}" if near else "nor has another like it")

    def _edited(self, key: Key, edits: list[Edit]) -> bytes:
        data = self._frame(key).raw or b""
        for edit in edits:
            try:
                data = edited(data, edit, bom=key[1] == 1)
            except UnfitError as error:
                raise _refusal(edit, f"{self._named(key)} {error}") from None
        return data

    def _keys(self, fault: Change | Ends) -> list[Key]:
        if isinstance(fault, Swap):
            return self._pairs(fault)
        if isinstance(fault, StopHeartbeats):
            places = ((x, frame) for x in self.silences(fault) for frame in self._frames[x.stream])
            return [(x.stream, y.seq) for x, y in places if y.seq >= x.seq and y.type == SESSION_HEARTBEAT]
        return fault.event.resolve(self._streams)

    def _pairs(self, fault: Swap) -> list[Key]:
        pairs: list[Key] = []
        for one in fault.event.resolve(self._streams):
            other = self._next(one) if fault.other is None else self._beside(one, fault.other)
            if other == one:
                raise UsageError(f"{self._named(one)} cannot change places with itself")
            pairs += [one, other]
        return pairs

    def _next(self, key: Key) -> Key:
        frames = self._frames[key[0]]
        behind = (frame for frame in frames[self._place(key) + 1 :] if is_event(frame))
        if (frame := next(behind, None)) is None:
            raise UsageError(f"{self._named(key)} is the last event of its stream")
        return key[0], frame.seq

    def _beside(self, key: Key, other: Address) -> Key:
        """Return the other event of a swap, in the same stream unless its address names a stream."""
        streams = self._streams if isinstance(other.place, int) else [Stream(key[0], self._frames[key[0]])]
        found = other.resolve(streams)[0]
        if found[0] != key[0]:
            raise UsageError(f"{self._named(key)} and {self._named(found)} are not of one stream")
        return found

    def _place(self, key: Key) -> int:
        return bisect_left(self._frames[key[0]], key[1], key=lambda frame: frame.seq)

    def _frame(self, key: Key) -> TimedFrame:
        return self._frames[key[0]][self._place(key)]

    def _named(self, key: Key) -> str:
        frame = self._frame(key)
        return f"{name_of(frame) or 'frame'} (#{key[1]} of stream {key[0]})"


def _refusal(fault: Change | Ends, why: str) -> UsageError:
    return UsageError(f"the fault {str(fault)!r} cannot happen: {why}")
