"""The parts of one stream on their way to one client, while faults change them. Pure, and linear in the parts.

An event is known by its stream and frame number, wherever it stands by now. Its slot is when it came, in which reads:
what is put in its place comes then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..parts import Part, frames_of
from .edits import inside, inside_a_character
from .verbs import End, Ends

Key = tuple[int, int]
"""The number of a stream and of a frame."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """What goes out."""

    parts: tuple[Part, ...]
    end: End | None = None
    """What is to happen right behind the last part; None where no fault ends it."""
    by: str | None = None
    """The fault that does."""
    quiet_from: int | None = None
    """The recorded offset, in ns, from which no heartbeat may be made up either; None where they may."""
    names: tuple[str, ...] = ()
    """The faults that made a difference up to the end, in the order in which they were given."""


@dataclass(slots=True)
class SlotContent:
    """What goes out in a slot. `copies`: how often; 0 where it was dropped."""

    key: Key | None
    data: bytes
    copies: int = 1
    late_ns: int = 0
    by: list[str] = field(default_factory=list)

    def laid(self, slot: list[Part], end: Ends | None) -> list[Part]:
        """Its parts, up to where it is cut."""
        if end and end.where == "before":
            return [replace(slot[0], data=b"", seq=0)]  # it ends when the event would have come
        if not self.copies:
            return []
        parts = _fitted(slot, self.data, self.key)
        if end and end.where != "after":
            at = inside_a_character(self.data) if end.where == "inside a character of" else None
            return _upto(parts, at or inside(self.data))
        copy = replace(parts[-1], data=self.data, seq=0)  # a frame of its own: no part of the one before
        return parts + [copy] * (self.copies - 1)


class Layout:
    """`wanted`: the events that a fault may ask for."""

    def __init__(self, parts: Iterable[Part], wanted: Collection[Key]) -> None:
        self.slots = list(frames_of(parts))
        self._places: dict[Key, int] = {}
        for place, slot in enumerate(self.slots):
            if (key := _key(slot)) is not None and key in wanted:
                self._places[key] = place
        self._events: dict[int, SlotContent] = {}  # by place, where there is more to say than the slot does

    def event(self, key: Key) -> SlotContent | None:
        """That event, to be changed; None where these parts are without it."""
        place = self._places.get(key)
        return None if place is None else self.at(place)

    def at(self, place: int) -> SlotContent:
        """What goes out in a slot, to be changed."""
        if place not in self._events:
            slot = self.slots[place]
            self._events[place] = SlotContent(_key(slot), b"".join(part.data for part in slot))
        return self._events[place]

    def swap(self, one: Key, other: Key) -> None:
        """Let two events that are there change places."""
        here, there = self._places[one], self._places[other]
        self._events[here], self._events[there] = self.at(there), self.at(here)
        self._places[one], self._places[other] = there, here

    def faulty(self, ends: Mapping[Key, Ends]) -> Faulty:
        """All of it in order, up to the first event at which one of `ends` ends it."""
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
    """Other bytes in the reads of a slot. The last of them comes with its last read, whatever their number."""
    stream, seq = key or (slot[-1].stream, 0)
    parts = []
    for part in slot[:-1]:
        size = min(len(part.data), len(data) - 1)
        if size > 0:
            parts.append(replace(part, data=data[:size], stream=stream, seq=seq))
            data = data[size:]
    return [*parts, replace(slot[-1], data=data, stream=stream, seq=seq)]


def _upto(parts: list[Part], size: int) -> list[Part]:
    """Their first bytes."""
    cut = []
    for part in parts:
        if size > 0:
            cut.append(replace(part, data=part.data[:size]))
        size -= len(part.data)
    return cut
