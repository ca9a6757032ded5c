"""Whether a frame is the kind of event that somebody means: its type, and conditions on its data. Pure.

A frame's JSON is parsed only where its type fits and a condition asks for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from ...model import TimedFrame
from ...wire.payload import payload_of
from ...wire.sse import read_fields
from .fields import Field

ANY = "event"
DONE = "[DONE]"
_NO_EVENT = ("comment", "truncated")
"""Verdicts of frames that no client takes for an event."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`with FIELD=VALUE`. `value`: JSON, or a glob over a text."""

    field: Field
    value: str
    is_glob: bool = False

    def __str__(self) -> str:
        return f"{self.field}={self.value}"

    def holds(self, data: Any) -> bool:
        """Whether it is true of an event's data."""
        got = self.field.of(data)
        if self.is_glob:
            return isinstance(got, str) and fnmatchcase(got, self.value)
        wanted = _loads(self.value)
        return bool(got == wanted) and isinstance(got, bool) == isinstance(wanted, bool)


@dataclass(frozen=True, slots=True)
class Matcher:
    """`name`: a glob over types, `event` for any, `[DONE]`, or `#17` for a frame's number."""

    name: str = ANY
    conditions: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        return " with ".join([self.name, *map(str, self.conditions)])

    def matches(self, frame: TimedFrame) -> bool:
        return self.names(frame) and self.holds(frame)

    def names(self, frame: TimedFrame) -> bool:
        """Whether the frame is named so, whatever its data say."""
        if self.name[0] == "#":
            return str(frame.seq) == self.name[1:]
        if not is_event(frame):
            return False
        if self.name in (ANY, DONE):
            return self.name == ANY or frame.verdict == "sentinel"
        name = name_of(frame)
        return name is not None and fnmatchcase(name, self.name)

    def holds(self, frame: TimedFrame) -> bool:
        """Whether all conditions do."""
        if not self.conditions:
            return True
        data = payload_of(frame)
        return all(condition.holds(data) for condition in self.conditions)


def is_event(frame: TimedFrame) -> bool:
    """Whether it has data and is whole: what a client would call an event."""
    return frame.verdict not in _NO_EVENT


def name_of(frame: TimedFrame) -> str | None:
    """An event's type; its `event` field where its data have no type; None where it has neither."""
    if frame.type is not None or frame.verdict != "malformed" or frame.raw is None:
        return frame.type
    return read_fields(frame.raw, bom=frame.seq == 1).event or None


@lru_cache(256)
def _loads(text: str) -> Any:
    return json.loads(text)
