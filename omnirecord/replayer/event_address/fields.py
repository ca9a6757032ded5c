"""A field of an event's data, as a dotted path: `response.usage.input_tokens`, `viewers[0].user_id`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

MISSING: Any = object()
"""What `Field.of` returns where there is no such field."""
_POSITION = re.compile(r"\[([0-9]+)\]")
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Field:
    """`steps`: names, and positions from 0 where the value is a list."""

    steps: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.steps)

    def of(self, data: Any) -> Any:
        """The field's value, or `MISSING`."""
        for step in self.steps:
            data = _step(data, step)
        return data


def field_of(text: str) -> Field | None:
    """The field that a text names; None where it names none."""
    steps = tuple(_POSITION.sub(r".\1", text).split("."))
    return Field(steps) if all(steps) else None


def fields_like(field: Field, data: Any) -> list[str]:
    """The fields that there are instead of one that is missing, the nearest first."""
    for number, step in enumerate(field.steps):
        if (below := _step(data, step)) is MISSING:
            names = [str(name) for name in data] if isinstance(data, dict) else []
            return [str(Field((*field.steps[:number], name))) for name in _nearest(step, names)]
        data = below
    return []


def _nearest(wanted: str, names: Iterable[str]) -> list[str]:
    names = list(names)[:100]
    return (get_close_matches(wanted, names, _LISTED) or names)[:_LISTED]


def _step(data: Any, step: str) -> Any:
    if isinstance(data, dict):
        return data.get(step, MISSING)
    if isinstance(data, list) and step.isascii() and step.isdigit() and len(step) < 10:
        return data[int(step)] if int(step) < len(data) else MISSING
    return MISSING
