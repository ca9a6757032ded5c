"""The base classes of events and nested shapes, and the fields that a contract names in them.

These rules hold for all models:

1. No field is dropped: a field that no model names is kept (`model_extra`) and dumped again.
2. A model accepts and refuses the same values as the real client's: same kinds, same defaults, null in the same places.
   A value that the live schema leaves open (`dict[str, Any]`) is open here too.
3. An open value has an accessor `typed_…` beside it: the same value as a model, or None if it does not fit. So an odd
   value does not change the verdict of its event.

Models are built when they are first used: all 56 of Omnigent at import would cost every command a sixth of a second.

The fields that a contract names come from a JSON schema (`Known`). Values do not matter there.

1. Where a schema has `properties`, a name that is not among them is unknown, though the schema may let it pass.
   Where it has none (`dict[str, Any]`), the object is open: nothing in it is unknown.
2. Of alternatives, a name is known if one of them knows it.
3. In a map (`additionalProperties` with a schema) every name is known, and is data: a path has `*` in its place.
4. Nothing here raises. What cannot be followed, a `$ref` into nowhere, is open.

A place is made when it is first looked for, and kept. So a schema may refer to itself, and looking costs a step in a
dict for each name in the event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

from ..wire.strict_json import as_dict, as_int, as_list, as_text

TAG = "\0"
"""The beginning of a step in pydantic's path of an error that is no field, but the `type` of a member of a union."""
Steps = tuple[str | int, ...]
"""Where in an event: names, and positions in arrays."""
Paths = Mapping[str, "Paths"]
"""Names to what is named below them, `[]` for the elements of an array; empty where all of it is."""

_NESTED = frozenset({dict, list})


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


def type_name(data: Mapping[str, Any]) -> str | None:
    """Return the `type` if it is a string."""
    return as_text(data.get("type"))


def sequence_number(data: Mapping[str, Any]) -> int | None:
    """Return the `sequence_number` if it is an integer."""
    return as_int(data.get("sequence_number"))


class Known:
    """The fields that a contract names at one place of an event."""

    def __init__(self, document: Mapping[str, Any], schemas: Sequence[Any], only: Paths | None = None) -> None:
        self._document = document
        self._schemas = list(_plain(document, schemas))
        self._only = only or {}
        self._fields: dict[str, Known] = {}

    def field(self, name: str) -> Known | None:
        """Return the place of a field; None if the contract does not name it."""
        place = self._fields.get(name)
        if place is None and not (self._only and name not in self._only):
            found = [_properties(schema)[name] for schema in self._schemas if name in _properties(schema)]
            if not found:
                return self._rest
            place = self._fields[name] = Known(self._document, found, self._only.get(name))
        return place

    def unknown(self, value: Any) -> list[Steps]:
        """Return the paths of unknown names in a value, without those below an unknown name."""
        found: list[Steps] = []
        if not (type(value) is dict and self._has_all(value)):
            self._look(value, (), found)
        return found

    def _look(self, value: Any, steps: Steps, found: list[Steps]) -> None:
        if isinstance(value, list) and (elements := self._elements) is not None:
            for i, element in enumerate(value):
                elements._look(element, (*steps, i), found)
        elif isinstance(value, dict) and not (self._has_all(value) or self._is_open):
            for name, inner in value.items():
                place = self._fields.get(name) or self.field(name)
                if place is None:
                    found.append((*steps, name))
                elif isinstance(inner, dict | list):
                    place._look(inner, (*steps, name), found)

    def _has_all(self, value: dict[str, Any]) -> bool:
        """Whether every name is known, and nothing is nested: nearly always."""
        return value.keys() <= self._fields.keys() and _NESTED.isdisjoint(map(type, value.values()))

    def path(self, steps: Steps) -> str:
        """The steps as the path that all events of this shape share: `output[*].type`, `usage_by_model.*.cost`."""
        path, place = "", self
        for step in steps:
            if isinstance(step, int):
                path, place = f"{path}[*]", place._elements or OPEN
            else:
                is_data = place._rest is not None and place.field(step) is place._rest
                path, place = f"{path}.{'*' if is_data else step}", place.field(step) or OPEN
        return path.removeprefix(".")

    @cached_property
    def _is_open(self) -> bool:
        return not self._only and any(_is_open(schema) for schema in self._schemas)

    @cached_property
    def _rest(self) -> Known | None:
        return None if self._only else self._below(_rest_of)

    @cached_property
    def _elements(self) -> Known | None:
        return self._below(_elements_of, self._only.get("[]"))

    def _below(self, part: Any, only: Paths | None = None) -> Known | None:
        found = [inner for schema in self._schemas for inner in part(schema)]
        return Known(self._document, found, only) if found else None


def _plain(document: Mapping[str, Any], schemas: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas without their references and combinations: each followed, each once."""
    pending, seen = list(reversed(schemas)), set[int]()
    while pending:
        schema = pending.pop()
        if id(schema) in seen or schema is False:
            continue
        seen.add(id(schema))
        parts = _parts(document, schema) if isinstance(schema, dict) else []
        pending += reversed(parts)
        if not isinstance(schema, dict):
            yield {}
        elif not parts or _properties(schema) or any(_rest_of(schema)):
            yield schema


def _parts(document: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Any]:
    parts = [part for name in ("allOf", "anyOf", "oneOf") for part in as_list(schema.get(name))]
    pointer = str(schema.get("$ref", ""))
    return [target_of(document, pointer) if pointer.startswith("#") else {}, *parts] if "$ref" in schema else parts


def target_of(document: Mapping[str, Any], pointer: str) -> Any:
    """Return the target of a JSON pointer; None if there is none."""
    place: Any = document
    for step in filter(None, pointer.removeprefix("#").split("/")):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list):
            place = place[int(name)] if name.isdecimal() and int(name) < len(place) else None
        else:
            place = as_dict(place).get(name)
    return place


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return as_dict(schema.get("properties"))


def _rest_of(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Return the schemas of a map's values."""
    rest = schema.get("additionalProperties")
    if isinstance(rest, dict) and rest:
        yield rest
    yield from as_dict(schema.get("patternProperties")).values()


def _elements_of(schema: Mapping[str, Any]) -> Iterator[Any]:
    if _takes(schema, "array"):
        yield schema.get("items", {})
        yield from as_list(schema.get("prefixItems"))


def _is_open(schema: Mapping[str, Any]) -> bool:
    """Whether it takes an object and names nothing in it."""
    names = _properties(schema) or schema.get("additionalProperties") is False or any(_rest_of(schema))
    return not names and _takes(schema, "object")


def _takes(schema: Mapping[str, Any], kind: str) -> bool:
    kinds = schema.get("type", kind)
    return (kinds == kind or (isinstance(kinds, list) and kind in kinds)) and not {"const", "enum"} & schema.keys()


OPEN = Known({}, [{}])
"""A place of which nothing is said."""
