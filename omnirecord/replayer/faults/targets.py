"""A fault and the events of a recording that it means: found once, then done to every stream that has them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from ...errors import UsageError
from ...model import TimedFrame
from ...wire.sse import read_fields
from ..event_address import Address, Stream, is_event, listed
from ..parts import Part
from .edits import UnfitError, edited, inside_a_character
from .layout import Key, Layout
from .verbs import (
    Change,
    Corrupt,
    Delay,
    Drop,
    Duplicate,
    Edit,
    Ends,
    RemoveField,
    SetField,
    StopHeartbeats,
    Swap,
)

HEARTBEAT = "session.heartbeat"


@dataclass(frozen=True, slots=True)
class BoundFault:
    """`keys`: what it is done to, in recorded order; of a swap, each two that change places."""

    name: str
    fault: Change | Ends
    keys: tuple[Key, ...]

    def change(self, layout: Layout) -> None:
        """Do it to those that are there."""
        if isinstance(self.fault, Swap):
            for one, other in zip(self.keys[::2], self.keys[1::2], strict=True):
                self._swap(layout, one, other)
        else:
            for key in self.keys:
                self._change(layout, key)

    def _swap(self, layout: Layout, one: Key, other: Key) -> None:
        here, there = layout.event(one), layout.event(other)
        if here is not None and there is not None:
            layout.swap(one, other)
            here.by.append(self.name)
            there.by.append(self.name)

    def _change(self, layout: Layout, key: Key) -> None:
        event = layout.event(key)
        if event is None:
            return
        event.by.append(self.name)
        match self.fault:
            case Drop() | StopHeartbeats():
                event.copies = 0
            case Duplicate():
                event.copies += bool(event.copies)
            case Delay(by_ns=by_ns):
                event.late_ns += by_ns
            case Corrupt() | SetField() | RemoveField() as edit:
                with suppress(UnfitError):  # it was not, as it was recorded
                    event.data = edited(event.data, edit, bom=key[1] == 1)


@dataclass(frozen=True, slots=True)
class Silence:
    """Where in a stream the heartbeats stop."""

    name: str
    stream: int
    seq: int
    """The first frame that would have been dropped, were it a heartbeat."""
    offset_ns: int

    def covers(self, parts: Sequence[Part], stream: int) -> bool:
        """Whether a client of `stream` that gets these parts comes to it, or came too late for it."""
        return stream == self.stream or any(self._is_behind(part) for part in parts)

    def hush(self, layout: Layout) -> None:
        """Drop the heartbeats that nobody recorded, behind it."""
        passed = False
        for place, slot in enumerate(layout.slots):
            passed = passed or self._is_behind(slot[0])
            if passed and not slot[0].seq and _is_heartbeat(slot[0].data):
                event = layout.at(place)
                event.copies = 0
                event.by.append(self.name)

    def _is_behind(self, part: Part) -> bool:
        return part.stream == self.stream and part.seq >= self.seq


def _is_heartbeat(data: bytes) -> bool:
    return HEARTBEAT.encode() in data and read_fields(data).event == HEARTBEAT


class FaultBinder:
    """Finds what faults mean in `streams`. All raise `UsageError` where they mean nothing there."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = list(streams)
        self._frames = {stream.number: stream.frames for stream in self._streams}

    def of(self, fault: Change | Ends) -> BoundFault:
        """What it is done to."""
        try:
            return BoundFault(str(fault), fault, tuple(self._keys(fault)))
        except UsageError as error:
            raise _refusal(fault, str(error)) from None

    def silences(self, fault: StopHeartbeats) -> list[Silence]:
        """Where heartbeats stop, in each stream in which they do."""
        first: dict[int, int] = {}
        for stream, seq in fault.event.resolve(self._streams):
            first.setdefault(stream, seq)
        return [
            Silence(str(fault), stream, seq + fault.after, self._frame((stream, seq)).offset_ns)
            for stream, seq in first.items()
        ]

    def check(self, aims: Sequence[BoundFault]) -> None:
        """Try all edits, each event's in their order, and whether there is a character to cut in the outcome."""
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
        """That it has none, and which of its kind has."""
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
            return [key for silence in self.silences(fault) for key in self._heartbeats(silence)]
        return fault.event.resolve(self._streams)

    def _heartbeats(self, silence: Silence) -> list[Key]:
        frames = self._frames[silence.stream]
        return [(silence.stream, frame.seq) for frame in frames if frame.seq >= silence.seq and frame.type == HEARTBEAT]

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
        """The other event, in the same stream unless it says where."""
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
        return f"{frame.type or 'frame'} (#{key[1]} of stream {key[0]})"


def _refusal(fault: Change | Ends, why: str) -> UsageError:
    return UsageError(f"the fault {str(fault)!r} cannot happen: {why}")
