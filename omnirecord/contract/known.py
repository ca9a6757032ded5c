"""The fields that a contract names in an event, and the fields that all events have, without pydantic.

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
from typing import Any

from ..wire.strict_json import as_dict, as_int, as_list, as_text

TAG = "\0"
"""The beginning of a step in pydantic's path of an error that is no field, but the `type` of a member of a union."""
Steps = tuple[str | int, ...]
"""Where in an event: names, and positions in arrays."""
Paths = Mapping[str, "Paths"]
"""Names to what is named below them, `[]` for the elements of an array; empty where all of it is."""

_NESTED = frozenset({dict, list})


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
        path = ""
        place = self
        for step in steps:
            if isinstance(step, int):
                path = f"{path}[*]"
                place = place._elements or OPEN
            else:
                is_data = place._rest is not None and place.field(step) is place._rest
                path = f"{path}.{'*' if is_data else step}"
                place = place.field(step) or OPEN
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
    pending = list(reversed(schemas))
    seen = set[int]()
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
