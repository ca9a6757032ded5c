"""Applies faults to the parts of one stream on their way to one client. Pure, and linear in the number of parts.

An event is identified by its stream and frame number, wherever a fault has moved it. A slot is the recorded time and
reads of one event; its content goes out at that time. To give a new fault verb its effect, see `BoundFault`.

Edits of a frame's data keep line ends, other lines, a byte order mark and the spelling of other fields. `find` and
`without` work on a JSON text that was parsed before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from ...omnigent.protocol import SESSION_HEARTBEAT
from ...wire.sse import read_fields
from ...wire.strict_json import MalformedError, parse
from ..event_address.matcher import fields_like, listed
from ..stream_parts import Part, frames_of
from . import verbs

Key = tuple[int, int]
"""Number of the stream, number of the frame."""
_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|$)")
_DATA = re.compile(rb"data(?:: ?|$)")
_SEVERAL = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


@dataclass(frozen=True, slots=True)
class Faulty:
    """The parts of a stream after its faults."""

    parts: tuple[Part, ...]
    end: verbs.End | None = None
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

    def laid(self, slot: list[Part], end: verbs.Ends | None) -> list[Part]:
        """Return the parts of the content, up to the place where `end` cuts it."""
        if end and end.where == "before":
            return [replace(slot[0], data=b"", seq=0)]  # the stream ends when the event would have come
        if not self.copies:
            return []
        parts = _fitted(slot, self.data, self.key)
        if end and end.where != "after":
            at = inside_a_character(self.data) if end.where == "inside a character of" else None
            size = at or inside(self.data)
            starts = accumulate((len(part.data) for part in parts), initial=0)
            cuts = zip(parts, starts, strict=False)
            return [replace(part, data=part.data[: size - start]) for part, start in cuts if start < size]
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
        here = self._places[one]
        there = self._places[other]
        self._events[here], self._events[there] = self.at(there), self.at(here)
        self._places[one], self._places[other] = there, here

    def faulty(self, ends: Mapping[Key, verbs.Ends]) -> Faulty:
        """Return the parts in order, up to the first event at which one of `ends` ends the stream."""
        here = {place: ends[key] for key, place in self._places.items() if key in ends}
        parts: list[Part] = []
        names: dict[str, None] = {}
        late_ns = 0
        for place, slot in enumerate(self.slots):
            event = self._events.get(place)
            end = here.get(place)
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
    ends = (min(end, len(data) - 1) for end in accumulate(len(part.data) for part in slot[:-1]))
    cuts = zip(slot, pairwise([0, *ends, len(data)]), strict=True)
    parts = [replace(part, data=data[a:b], stream=stream, seq=seq) for part, (a, b) in cuts]
    return [*(part for part in parts[:-1] if part.data), parts[-1]]


@dataclass(frozen=True, slots=True)
class BoundFault:
    """A fault with its events. `keys`: the events in recorded order; of a swap, pairs that change places."""

    name: str
    fault: verbs.Change | verbs.Ends
    keys: tuple[Key, ...]

    def apply(self, layout: Layout) -> None:
        if isinstance(self.fault, verbs.Swap):
            for one, other in zip(self.keys[::2], self.keys[1::2], strict=True):
                here = layout.event(one)
                there = layout.event(other)
                if here is not None and there is not None:
                    layout.swap(one, other)
                    here.by.append(self.name)
                    there.by.append(self.name)
            return
        for key in self.keys:
            if (event := layout.event(key)) is not None:
                event.by.append(self.name)
                self._change(event, key)

    def _change(self, event: SlotContent, key: Key) -> None:
        match self.fault:
            case verbs.Drop() | verbs.StopHeartbeats():
                event.copies = 0
            case verbs.Duplicate():
                event.copies += bool(event.copies)
            case verbs.Delay(by_ns=by_ns) | verbs.Stall(by_ns=by_ns):
                event.late_ns += by_ns
            case verbs.Corrupt() | verbs.SetField() | verbs.RemoveField() as edit:
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
            if passed and not slot[0].seq and read_fields(slot[0].data).event == SESSION_HEARTBEAT:
                event = layout.at(place)
                event.copies = 0
                event.by.append(self.name)

    def _is_behind(self, part: Part) -> bool:
        return part.stream == self.stream and part.seq >= self.seq


@dataclass(frozen=True, slots=True)
class Span:
    """Place of a member of an object, or of an item of a list, in characters."""

    begin: int
    """Where its name begins; of an item, its value."""
    value: int
    end: int


def find(text: str, steps: Iterable[str]) -> Span | None:
    """Return the place of the field that these steps lead to; None if there is none."""
    span = Span(0, _skip(text, 0), len(text))
    for step in steps:
        if text[span.value] not in "{[":
            return None
        found = next((below for name, below in _members(text, span.value) if name == step), None)
        if found is None:
            return None
        span = found
    return span


def without(text: str, span: Span) -> str:
    """Return the text without that member, and without one of the commas around it."""
    behind = _skip(text, span.end)
    if text[behind] == ",":
        return text[: span.begin] + text[_skip(text, behind + 1) :]
    before = text[: span.begin].rstrip(" \t\n\r")
    return (before[:-1] if before.endswith(",") else text[: span.begin]) + text[span.end :]


def _members(text: str, at: int) -> Iterator[tuple[str, Span]]:
    """Yield the name or position, and the place, of each member of the object or list at `at`."""
    is_object = text[at] == "{"
    at = _skip(text, at + 1)
    number = 0
    while text[at] not in "]}":
        begin = at
        name = str(number)
        if is_object:
            name, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        yield name, Span(begin, at, end)
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
        number += 1


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


class UnfitError(ValueError):
    """The frame cannot be edited so. The message says why."""


def edited(raw: bytes, edit: verbs.Edit, *, bom: bool) -> bytes:
    """Return the frame after the edit. `bom`: it is the first of its stream. Raises `UnfitError`."""
    head = _BOM if bom and raw.startswith(_BOM) else b""
    lines = [(found[1], found[2]) for found in _LINE.finditer(raw, len(head)) if found[0]]
    values = [line[found.end() :] for line, _ in lines if (found := _DATA.match(line))]
    text = b"\n".join(values).decode("utf-8", "surrogateescape")  # bytes that are not UTF-8 stay as they are
    new = _edit(text, edit).encode("utf-8", "surrogateescape").split(b"\n")
    # at most as many values as `data` fields
    made = [head]
    rest = iter(new)
    for line, end in lines:
        if not (found := _DATA.match(line)):
            made.append(line + end)
        elif (value := next(rest, None)) is not None:
            made.append((found[0] if b":" in found[0] or not value else b"data: ") + value + end)
    return b"".join(made)


def _edit(text: str, edit: verbs.Edit) -> str:
    try:
        data = parse(text)[0]
    except MalformedError as error:
        raise UnfitError(f"has data that cannot be changed: it {error}") from None
    if not isinstance(data, dict):
        raise UnfitError("has data that cannot be changed: it is no JSON object")
    if isinstance(edit, verbs.Corrupt):
        end = text.rindex("}")
        return f"{text[:end]}]{text[end + 1 :]}"
    if (span := find(text, edit.field.steps)) is None:
        near = listed(fields_like(edit.field, data))
        raise UnfitError(f"has no field {edit.field}" + (f", the nearest are {near}" if near else ""))
    return (
        text[: span.value] + edit.json + text[span.end :] if isinstance(edit, verbs.SetField) else without(text, span)
    )


def inside_a_character(raw: bytes) -> int | None:
    """Return the offset inside the first character of several bytes but a byte order mark; None if there is none."""
    several = _SEVERAL.finditer(raw, len(_BOM) if raw.startswith(_BOM) else 0)
    return next((found.start() + 1 for found in several if found[0].decode(errors="ignore")), None)


def inside(raw: bytes) -> int:
    """Return the offset of half of the bytes, moved to the start of a character."""
    half = len(raw) // 2
    while half > 1 and raw[half] & 0xC0 == 0x80:
        half -= 1
    return half
