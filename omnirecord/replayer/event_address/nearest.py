"""What is said where the recording has no such event: which there are instead, and where. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from ...model import TimedFrame
from ...text import clip, dumps
from ...wire.payload import payload_of
from .fields import MISSING, fields_like
from .matcher import DONE, Condition, Matcher, is_event, name_of
from .pick import Pick, Stream

_LISTED = 5
_COMPARED = 300
"""How many types a name is compared with: Omnigent has 56, a stranger's cassette may have any number."""
_LONGEST = 60
_WILDCARDS = re.compile("[*?]+")
_ALIKE = 0.75


def why_not(picks: list[Pick], streams: list[Stream], places: list[Stream]) -> str:
    """Why these are not in those `places` of all `streams`, or not in the order that was asked for."""
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
    """The first few, and how many more."""
    items = list(items)
    more = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _lacks(pick: Pick, streams: list[Stream]) -> str | None:
    """Why there is no such event anywhere in these streams; None where there is."""
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
        return listed(f"stream {stream.number} has {_counted(len(stream.frames), 'frame')}" for stream in streams)
    if matcher.name == DONE:
        return listed(_last_event(stream) for stream in streams)
    counts = Counter(clip(name_of(frame) or "", _LONGEST) for stream in streams for frame in stream.frames)
    del counts[""]
    return f"no event matches {matcher.name}, {nearest_names(matcher.name, counts)}"


def nearest_names(name: str, counts: Counter[str]) -> str:
    """The types that are most like a name, or most of those that there are, with how many events each has."""
    common = [one for one, _ in counts.most_common(_COMPARED)]
    near = get_close_matches(name[:_LONGEST], common, _LISTED) or [one for one in common if _is_like(one, name)]
    found = listed(f"{clip(one, _LONGEST)} ({counts[one]})" for one in near or common) or "none with a type"
    return f"{'the nearest are' if near else 'there are'} {found}"


def _is_like(name: str, glob: str) -> bool:
    """Whether a name begins or ends nearly as the longest plain part of a pattern."""
    part = max(_WILDCARDS.split(glob[:_LONGEST]), key=len).strip(".")
    ends = (name[: len(part)], name[-len(part) :]) if part else ()
    return any(SequenceMatcher(None, end, part).ratio() >= _ALIKE for end in ends)


def _last_event(stream: Stream) -> str:
    last = next((frame for frame in reversed(stream.frames) if is_event(frame)), None)
    what = "no event" if last is None else f"as its last event {name_of(last) or 'one without a type'} (#{last.seq})"
    return f"stream {stream.number} has {what}"


def _no_value(name: str, condition: Condition, named: list[TimedFrame]) -> str:
    """The values that the field has instead, or that it is missing."""
    field, payloads = condition.field, [payload_of(frame) for frame in named]
    values = Counter(_shown(value) for value in map(field.of, payloads) if value is not MISSING)
    if not values:
        near = listed(fields_like(field, payloads[0]))
        return f"no {name} has the field {field}" + (f", the nearest are {near}" if near else "")
    return f"{field} of {name} is {listed(f'{value} ({count})' for value, count in values.most_common())}"


def _shown(value: Any) -> str:
    return clip(dumps(value), _LONGEST)


def _where(matcher: Matcher, streams: list[Stream]) -> str:
    """How often it is in each stream, and in which frames."""
    told = []
    for stream in streams:
        seqs = [frame.seq for frame in stream.frames if matcher.matches(frame)]
        if seqs:
            noun = "frame" if len(seqs) == 1 else "frames"
            told.append(f"stream {stream.number} has {len(seqs)} {matcher} ({noun} {listed(map(str, seqs))})")
    return listed(told)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun if count == 1 else noun + 's'}"
