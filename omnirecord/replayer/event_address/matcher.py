"""Finds the events of an address by type, conditions on fields and ordinal; or describes the nearest ones. Pure.

A field is a dotted path into the data of an event: `response.usage.input_tokens`, `viewers[0].user_id`. The JSON of a
frame is parsed only if its type matches and there is a condition.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from ...model import TimedFrame
from ...text import clip, counted, dumps
from ...wire.sse import read_fields
from ...wire.strict_json import as_dict, as_text, payload_of

MISSING: Any = object()
"""The result of `Field.of` if there is no such field."""
_POSITION = re.compile(r"\[([0-9]+)\]")
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Field:
    """A path into the data of an event. `steps`: names, and positions from 0 in lists."""

    steps: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.steps)

    def of(self, data: Any) -> Any:
        """Return the value of the field, or `MISSING`."""
        for step in self.steps:
            data = _step(data, step)
        return data


def field_of(text: str) -> Field | None:
    steps = tuple(_POSITION.sub(r".\1", text).split("."))
    return Field(steps) if all(steps) else None


def fields_like(field: Field, data: Any) -> list[str]:
    """Return the existing fields most similar to a missing one, the nearest first."""
    for number, step in enumerate(field.steps):
        if (below := _step(data, step)) is MISSING:
            names = [str(name) for name in data][:100] if isinstance(data, dict) else []
            near = (get_close_matches(step, names, _LISTED) or names)[:_LISTED]
            return [str(Field((*field.steps[:number], name))) for name in near]
        data = below
    return []


def _step(data: Any, step: str) -> Any:
    if isinstance(data, dict):
        return data.get(step, MISSING)
    if isinstance(data, list) and step.isascii() and step.isdigit() and len(step) < 10:
        return data[int(step)] if int(step) < len(data) else MISSING
    return MISSING


ANY = "event"
DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition `with FIELD=VALUE`. `value`: JSON, or a glob over a text."""

    field: Field
    value: str
    is_glob: bool = False

    def __str__(self) -> str:
        return f"{self.field}={self.value}"

    def holds(self, data: Any) -> bool:
        got = self.field.of(data)
        if self.is_glob:
            return isinstance(got, str) and fnmatchcase(got, self.value)
        wanted = _loads(self.value)
        return bool(got == wanted) and isinstance(got, bool) == isinstance(wanted, bool)


@dataclass(frozen=True, slots=True)
class Matcher:
    """A kind of event. `name`: a glob over types, `event` for any, `[DONE]`, or `#17` for a frame number."""

    name: str = ANY
    conditions: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        return " with ".join([self.name, *map(str, self.conditions)])

    def matches(self, frame: TimedFrame) -> bool:
        return self.names(frame) and self.holds(frame)

    def names(self, frame: TimedFrame) -> bool:
        """Whether a frame has this name, without the conditions."""
        if self.name[0] == "#":
            return str(frame.seq) == self.name[1:]
        if not is_event(frame):
            return False
        if self.name in (ANY, DONE):
            return self.name == ANY or frame.verdict == "sentinel"
        name = name_of(frame)
        return name is not None and fnmatchcase(name, self.name)

    def holds(self, frame: TimedFrame) -> bool:
        if not self.conditions:
            return True
        data = payload_of(frame)
        return all(condition.holds(data) for condition in self.conditions)


def is_event(frame: TimedFrame) -> bool:
    """Whether a frame is an event to a client: it has data and is complete."""
    return frame.verdict not in ("comment", "truncated")


def name_of(frame: TimedFrame) -> str | None:
    """Return the type of an event, else its `event` field, else the `object` of its data, as in Chat Completions."""
    if frame.type is not None or frame.raw is None or not is_event(frame):
        return frame.type
    if frame.verdict == "malformed":
        return read_fields(frame.raw, bom=frame.seq == 1).event or None
    return as_text(as_dict(payload_of(frame)).get("object"))


_loads = lru_cache(256)(json.loads)

Ordinal = int | Literal["nearest", "last", "every"]
"""Which of several matches: the nth from 1. `nearest` (default): the first, or the last before another event."""
_SUFFIXES = {1: "st", 2: "nd", 3: "rd"}


@dataclass(frozen=True, slots=True)
class Stream:
    """A recorded stream: its number and its frames, in order."""

    number: int
    frames: Sequence[TimedFrame]


@dataclass(frozen=True, slots=True)
class Pick:
    """An ordinal and the kind of event."""

    ordinal: Ordinal
    matcher: Matcher

    def __str__(self) -> str:
        ordinal = ordinal_text(self.ordinal)
        return f"{ordinal} {self.matcher}" if ordinal else str(self.matcher)

    def among(self, frames: Sequence[TimedFrame], begin: int, end: int, *, backwards: bool = False) -> Iterator[int]:
        """Yield the indexes of its events from `begin` to `end`. `backwards`: the nearest is the last."""
        last = self.ordinal == "last" or (backwards and self.ordinal == "nearest")
        places = range(end - 1, begin - 1, -1) if last else range(begin, end)
        found = (n for n in places if self.matcher.matches(frames[n]))
        if self.ordinal == "every":
            return found
        nth = self.ordinal if isinstance(self.ordinal, int) else 1
        return islice(found, nth - 1, nth)

    def first_among(self, frames: Sequence[TimedFrame], begin: int = 0) -> int | None:
        return next(self.among(frames, begin, len(frames)), None)


def ordinal_text(ordinal: Ordinal) -> str:
    """Return an ordinal as text, as `2nd`; empty for `nearest`."""
    if ordinal == "nearest":
        return ""
    if isinstance(ordinal, str):
        return ordinal
    if ordinal == 1:
        return "first"
    return f"{ordinal}{'th' if ordinal // 10 % 10 == 1 else _SUFFIXES.get(ordinal % 10, 'th')}"


_COMPARED = 300
"""Most types that a name is compared with: Omnigent has 56, a cassette may have any number."""
_LONGEST = 60
_WILDCARDS = re.compile("[*?]+")
_ALIKE = 0.75


def why_not(picks: list[Pick], streams: list[Stream], places: list[Stream]) -> str:
    """Return why these events are not in the `places` of all `streams`, or not in this order."""
    if not streams:
        return "the cassette holds no stream"
    if not places:
        noun = "stream" if len(streams) == 1 else "streams"
        return f"the cassette has {noun} {listed(str(stream.number) for stream in streams)}"
    for pick in picks:
        if reason := _lacks(pick, places):
            return reason
    return "; ".join(_where(matcher, places) for matcher in dict.fromkeys(pick.matcher for pick in picks))


def listed(items: Iterable[str]) -> str:
    """Return the first five items as text, and how many more there are."""
    items = list(items)
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _lacks(pick: Pick, streams: list[Stream]) -> str | None:
    """Return why no stream has such an event; None if one has."""
    matcher = pick.matcher
    named = [frame for stream in streams for frame in stream.frames if matcher.names(frame)]
    if not named:
        return _no_name(matcher, streams)
    for number, condition in enumerate(matcher.conditions):
        so_far = Matcher(matcher.name, matcher.conditions[: number + 1])
        if not any(so_far.holds(frame) for frame in named):
            return _no_value(matcher.name, condition, named)
    if any(pick.first_among(stream.frames) is not None for stream in streams):
        return None
    return _where(matcher, streams)


def _no_name(matcher: Matcher, streams: list[Stream]) -> str:
    if matcher.name[0] == "#":
        return listed(f"stream {stream.number} has {counted(len(stream.frames), 'frame')}" for stream in streams)
    if matcher.name == DONE:
        return listed(_last_event(stream) for stream in streams)
    counts = Counter(clip(name_of(frame) or "", _LONGEST) for stream in streams for frame in stream.frames)
    del counts[""]
    return f"no event matches {matcher.name}, {nearest_names(matcher.name, counts)}"


def nearest_names(name: str, counts: Counter[str]) -> str:
    """Return the types most similar to a name, else the most frequent ones, with their numbers of events."""
    common = [one for one, _ in counts.most_common(_COMPARED)]
    near = get_close_matches(name[:_LONGEST], common, _LISTED) or [one for one in common if _is_like(one, name)]
    found = listed(f"{clip(one, _LONGEST)} ({counts[one]})" for one in near or common) or "none with a type"
    return f"{'the nearest are' if near else 'there are'} {found}"


def _is_like(name: str, glob: str) -> bool:
    """Whether a name begins or ends similarly to the longest plain part of a glob."""
    part = max(_WILDCARDS.split(glob[:_LONGEST]), key=len).strip(".")
    ends = (name[: len(part)], name[-len(part) :]) if part else ()
    return any(SequenceMatcher(None, end, part).ratio() >= _ALIKE for end in ends)


def _last_event(stream: Stream) -> str:
    last = next((frame for frame in reversed(stream.frames) if is_event(frame)), None)
    what = "no event" if last is None else f"as its last event {name_of(last) or 'one without a type'} (#{last.seq})"
    return f"stream {stream.number} has {what}"


def _no_value(name: str, condition: Condition, named: list[TimedFrame]) -> str:
    """Return the values that the field has instead, or that it is missing."""
    field = condition.field
    payloads = [payload_of(frame) for frame in named]
    values = Counter(clip(dumps(value), _LONGEST) for value in map(field.of, payloads) if value is not MISSING)
    if not values:
        near = listed(fields_like(field, payloads[0]))
        return f"no {name} has the field {field}" + (f", the nearest are {near}" if near else "")
    return f"{field} of {name} is {listed(f'{value} ({count})' for value, count in values.most_common())}"


def _where(matcher: Matcher, streams: list[Stream]) -> str:
    """Return how often each stream has the event, and in which frames."""
    told = []
    for stream in streams:
        seqs = [frame.seq for frame in stream.frames if matcher.matches(frame)]
        if seqs:
            noun = "frame" if len(seqs) == 1 else "frames"
            told.append(f"stream {stream.number} has {len(seqs)} {matcher} ({noun} {listed(map(str, seqs))})")
    return listed(told)
