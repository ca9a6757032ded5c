"""Applies faults to the parts of one stream on their way to one client. Pure, and linear in the number of parts.

An event is identified by its stream and frame number, wherever a fault has moved it. A slot is the recorded time and
reads of one event; its content goes out at that time. To give a new fault verb its effect, see `BoundFault`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ...omnigent import protocol
from ...wire.sse import read_fields
from ..parts import Part, frames_of
from .edits import UnfitError, edited, inside, inside_a_character
from .verbs import (
    Change,
    Corrupt,
    Delay,
    Drop,
    Duplicate,
    End,
    Ends,
    RemoveField,
    SetField,
    StopHeartbeats,
    Swap,
)

HEARTBEAT = protocol.SESSION_HEARTBEAT

Key = tuple[int, int]
"""Number of the stream, number of the frame."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """The parts of a stream after its faults."""

    parts: tuple[Part, ...]
    end: End | None = None
    """How a fault ends the stream, right behind the last part; None if no fault ends it."""
    by: str | None = None
    """The fault that ends the stream."""
    quiet_from: int | None = None
    """Recorded offset, in ns, after which the replay may insert no heartbeats; None if it may."""
    names: tuple[str, ...] = ()
    """The faults that changed these parts, in the order in which they were given."""


@dataclass(slots=True)
class SlotContent:
    """The content of a slot. `copies`: how often it goes out; 0 if it was dropped."""

    key: Key | None
    data: bytes
    copies: int = 1
    late_ns: int = 0
    by: list[str] = field(default_factory=list)

    def laid(self, slot: list[Part], end: Ends | None) -> list[Part]:
        """Return the parts of the content, up to the place where `end` cuts it."""
        if end and end.where == "before":
            return [replace(slot[0], data=b"", seq=0)]  # the stream ends when the event would have come
        if not self.copies:
            return []
        parts = _fitted(slot, self.data, self.key)
        if end and end.where != "after":
            at = inside_a_character(self.data) if end.where == "inside a character of" else None
            return _upto(parts, at or inside(self.data))
        copy = replace(parts[-1], data=self.data, seq=0)  # a copy is a frame of its own
        return parts + [copy] * (self.copies - 1)


class Layout:
    """The slots of a stream, with the changes so far. `wanted`: the events that faults may change."""

    def __init__(self, parts: Iterable[Part], wanted: Collection[Key]) -> None:
        self.slots = list(frames_of(parts))
        self._places: dict[Key, int] = {}
        for place, slot in enumerate(self.slots):
            if (key := _key(slot)) is not None and key in wanted:
                self._places[key] = place
        self._events: dict[int, SlotContent] = {}  # by place, of changed slots

    def event(self, key: Key) -> SlotContent | None:
        """Return the content of an event, to be changed; None if these parts are without it."""
        place = self._places.get(key)
        return None if place is None else self.at(place)

    def at(self, place: int) -> SlotContent:
        """Return the content of a slot, to be changed."""
        if place not in self._events:
            slot = self.slots[place]
            self._events[place] = SlotContent(_key(slot), b"".join(part.data for part in slot))
        return self._events[place]

    def swap(self, one: Key, other: Key) -> None:
        """Exchange the places of two events."""
        here, there = self._places[one], self._places[other]
        self._events[here], self._events[there] = self.at(there), self.at(here)
        self._places[one], self._places[other] = there, here

    def faulty(self, ends: Mapping[Key, Ends]) -> Faulty:
        """Return the parts in order, up to the first event at which one of `ends` ends the stream."""
        here = {place: ends[key] for key, place in self._places.items() if key in ends}
        parts: list[Part] = []
        names: dict[str, None] = {}
        late_ns = 0
        for place, slot in enumerate(self.slots):
            event, end = self._events.get(place), here.get(place)
            if event is None and end is None:
                parts += _late(slot, late_ns)
                continue
            event = self.at(place)
            late_ns += event.late_ns
            names |= dict.fromkeys(event.by)
            parts += _late(event.laid(slot, end), late_ns)
            if end is not None:
                return Faulty(tuple(parts), end.how, str(end), None, (*names, str(end)))
        return Faulty(tuple(parts), names=tuple(names))


def _key(slot: list[Part]) -> Key | None:
    return (slot[0].stream, slot[0].seq) if slot[0].seq else None


def _late(parts: list[Part], late_ns: int) -> list[Part]:
    return [replace(part, late_ns=part.late_ns + late_ns) for part in parts] if late_ns else parts


def _fitted(slot: list[Part], data: bytes, key: Key | None) -> list[Part]:
    """Return other bytes in the reads of a slot. The last byte goes out with the last read, whatever their number."""
    stream, seq = key or (slot[-1].stream, 0)
    parts = []
    for part in slot[:-1]:
        size = min(len(part.data), len(data) - 1)
        if size > 0:
            parts.append(replace(part, data=data[:size], stream=stream, seq=seq))
            data = data[size:]
    return [*parts, replace(slot[-1], data=data, stream=stream, seq=seq)]


def _upto(parts: list[Part], size: int) -> list[Part]:
    """Return the first `size` bytes of the parts."""
    cut = []
    for part in parts:
        if size > 0:
            cut.append(replace(part, data=part.data[:size]))
        size -= len(part.data)
    return cut


HEARTBEAT = protocol.SESSION_HEARTBEAT


@dataclass(frozen=True, slots=True)
class BoundFault:
    """A fault with its events. `keys`: the events in recorded order; of a swap, pairs that change places."""

    name: str
    fault: Change | Ends
    keys: tuple[Key, ...]

    def apply(self, layout: Layout) -> None:
        """Change the events that are in this layout."""
        if isinstance(self.fault, Swap):
            for one, other in zip(self.keys[::2], self.keys[1::2], strict=True):
                self._swap(layout, one, other)
        else:
            for key in self.keys:
                self._apply_to(layout, key)

    def _swap(self, layout: Layout, one: Key, other: Key) -> None:
        here, there = layout.event(one), layout.event(other)
        if here is not None and there is not None:
            layout.swap(one, other)
            here.by.append(self.name)
            there.by.append(self.name)

    def _apply_to(self, layout: Layout, key: Key) -> None:
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
                with suppress(UnfitError):  # as recorded, it was checked; another fault changed it since
                    event.data = edited(event.data, edit, bom=key[1] == 1)


@dataclass(frozen=True, slots=True)
class Silence:
    """The place in a stream after which no heartbeat goes out."""

    name: str
    stream: int
    seq: int
    """First frame that is dropped if it is a heartbeat."""
    offset_ns: int

    def covers(self, parts: Sequence[Part], stream: int) -> bool:
        """Whether a client of `stream` that gets these parts reaches this place, or starts after it."""
        return stream == self.stream or any(self._is_behind(part) for part in parts)

    def hush(self, layout: Layout) -> None:
        """Drop the heartbeats behind this place that the replay inserted."""
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
