"""The base classes of events and nested shapes.

These rules hold for all models:

1. No field is dropped: a field that no model names is kept (`model_extra`) and dumped again.
2. A model accepts and refuses the same values as the real client's: same kinds, same defaults, null in the same places.
   A value that the live schema leaves open (`dict[str, Any]`) is open here too.

Models are built when they are first used: all 56 of Omnigent at import would cost every command a sixth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from .known import TAG, sequence_number, type_name


class Shape(BaseModel):
    """A nested object."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class ByType:
    """Annotates a union of models that `type` tells apart. A value of another type is open: it becomes a `Shape`.
    pydantic's own discriminator refuses such a value, so a new type would make an event invalid."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {TAG: handler.generate_schema(Shape)}
        for model in get_args(source):
            if model is not Shape:
                schema = handler.generate_schema(model)
                choices |= dict.fromkeys((TAG + name for name in types_of(model)), schema)

        def tag(value: Any) -> str:
            type_ = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
            name = TAG + type_ if isinstance(type_, str) else TAG
            return name if name in choices else TAG

        return core_schema.tagged_union_schema(choices, tag)

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema without the open member, so that the fields of the others count as named."""
        choices = {name: choice for name, choice in schema["choices"].items() if name != TAG}
        return handler({**schema, "choices": choices})


def types_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the literals of the field `type`, which tells a model from others."""
    return get_args(model.model_fields["type"].annotation)


class Event(BaseModel):
    """The base of all events."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    type: str | None
    """The event type; None only for an `UntypedEvent` without a usable one."""
    sequence_number: int | None = None
    """The number in the turn. It restarts with each turn and skips numbers; null on `session.*` events."""


def by_type(base: type[Event]) -> Mapping[str, type[Event]]:
    """Return the models below a base by their types. A model without a `type` of its own is a base for others."""
    found: dict[str, type[Event]] = {}
    for model in base.__subclasses__():
        own = types_of(model) if "type" in model.__annotations__ else ()
        found |= {**dict.fromkeys(own, model), **by_type(model)}
    return found


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
