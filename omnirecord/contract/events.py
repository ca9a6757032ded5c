"""The base classes of events and nested shapes. These rules hold for all models:

1. No field is dropped: a field that no model names is kept (`model_extra`) and dumped again.
2. A model accepts and refuses the same values as the real client's: same kinds, same defaults, null in the same places.
   A value that the live schema leaves open (`dict[str, Any]`) is open here too.
3. An open value has an accessor `typed_…` beside it: the same value as a model, or None if it does not fit. So an odd
   value does not change the verdict of its event.

Models are built when they are first used: all 56 of Omnigent at import would cost every command a sixth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Shape(BaseModel):
    """A nested object."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    @classmethod
    def fit(cls, value: object) -> Self | None:
        """Return the value as this model; None if it does not fit."""
        try:
            return cls.model_validate(value)
        except ValidationError:
            return None


class Event(BaseModel):
    """The base of all events."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: str | None
    """The event type; None only for an `UntypedEvent` without a usable one."""
    sequence_number: int | None = None
    """The number in the turn. It restarts with each turn and skips numbers; null on `session.*` events."""


class UntypedEvent(Event):
    """An event that fits no model: its fields are all here, none of them checked."""

    type: str | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Return an event with all fields, unchecked."""
        return hold(cls, data, type=type_name(data), sequence_number=sequence_number(data))


_Model = TypeVar("_Model", bound=BaseModel)


def hold(model: type[_Model], data: Mapping[str, Any], **fields: Any) -> _Model:
    """Return a model without validation: `fields` are its fields, and the rest of `data` is in `model_extra`."""
    shown = {name: value for name, value in fields.items() if name in data}
    held = model.model_construct(**shown)
    held.__pydantic_extra__ = {k: v for k, v in data.items() if k not in shown or shown[k] is not v}
    return held


def type_name(data: Mapping[str, Any]) -> str | None:
    """Return the `type` if it is a string."""
    name = data.get("type")
    return name if isinstance(name, str) else None


def sequence_number(data: Mapping[str, Any]) -> int | None:
    """Return the `sequence_number` if it is an integer."""
    number = data.get("sequence_number")
    return number if type(number) is int else None
