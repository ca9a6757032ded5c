"""The work of a schema: how many schemas are applied to an event, so that a hostile document cannot stop a process.

Validation is one call into C code that no signal ends. Its time grows with the number of schemas that are applied, and
references that branch multiply it: 25 levels with 4 references each are 4^25 schemas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..wire.strict_json import as_dict, as_list
from .known import target_of

MOST = 50_000
"""Schemas that a contract may apply to one value and the values around it. OpenAI's union of events has 5,552."""
_MOST_TRACKED = 1000
"""The same for one value under `unevaluatedProperties`: compiling 16,000 takes 11 s."""
MOST_OF_EVENT = 10_000_000
"""Schemas that may be applied to one event: about a second."""
MOST_EXPLAINED = 20_000
"""Schemas that may be applied to an event whose issues are listed, which takes many times as long."""
_MOST_RESOURCES = 200
_DEEPEST = 1000
"""References and combinations one in the other, at most: the validator's stack is limited."""

_LISTS = ("allOf", "anyOf", "oneOf")
_SINGLE = ("not", "if", "then", "else")
_NAMED = ("dependentSchemas", "dependencies")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_OF_ELEMENTS = ("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains")
_HAS_SCHEMAS = {"$ref", "definitions", "properties", *_LISTS}
_TRACKING = {"unevaluatedItems", "unevaluatedProperties"}
_OF_PROPERTIES = ("additionalProperties", "unevaluatedProperties", "propertyNames")

Schema = Mapping[str, Any]


class TooMuch(ValueError):
    """A schema that is applied too often, or too deep."""


class Work:
    """The work of the schemas of a document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._resources: list[Schema] = [document]
        self._anchors: dict[str, list[Schema]] = {}
        self._look(document)
        self._beside_of: dict[int, list[Schema]] = {}
        self._counted: dict[int, int] = {}
        self._count_beside: dict[int, int] = {}

    def _look(self, document: Schema) -> None:
        """Find the embedded documents and the anchors, to which a reference may refer by name."""
        pending: list[Any] = [document]
        while pending:
            value = pending.pop()
            if isinstance(value, list):
                pending += value
            elif isinstance(value, dict):
                pending += value.values()
                old_id = value.get("id") if _HAS_SCHEMAS & value.keys() else None  # Draft 4; an example may have an id
                if value is not document and isinstance(value.get("$id", old_id), str):
                    self._resources.append(value)
                for name in ("$anchor", "$dynamicAnchor"):
                    if isinstance(anchor := value.get(name), str):
                        self._anchors.setdefault(anchor, []).append(value)

    def _targets(self, reference: object) -> Iterator[Schema]:
        """Return each schema that a reference may mean."""
        if not isinstance(reference, str):
            return
        fragment = reference.partition("#")[2]
        if fragment and not fragment.startswith("/"):
            yield from self._anchors.get(fragment, ())
            return
        for resource in self._resources:
            target = target_of(resource, fragment)
            if isinstance(target, dict):
                yield target

    def _beside(self, schema: Schema) -> list[Schema]:
        """Return the schemas that are applied to the same value."""
        known = self._beside_of.get(id(schema))
        if known is None:
            found = [part for name in _LISTS for part in as_list(schema.get(name))]
            found += [schema.get(name) for name in _SINGLE]
            found += [part for name in _NAMED for part in as_dict(schema.get(name)).values()]
            found += [target for name in _REFERENCES for target in self._targets(schema.get(name))]
            known = self._beside_of[id(schema)] = _schemas(found)
        return known

    def worst(self, root: Any) -> int:
        """Return how many schemas are applied to one value and the values around it, at most. A schema in itself counts
        once: the validator remembers its result. Raises `TooMuch` above `MOST`."""
        if len(self._resources) > _MOST_RESOURCES:
            raise TooMuch(f"the document contains more than {_MOST_RESOURCES} others, each with an $id")
        counted = self._counted
        beside_of = self._count_beside
        open_: set[int] = set()
        pending: list[tuple[Any, int, bool]] = [(root, 0, False)]

        def sum_of(parts: Iterable[Schema]) -> int:
            return sum(counted.get(id(part), 0) for part in parts)

        while pending:
            schema, depth, is_known = pending.pop()
            key = id(schema)
            if not isinstance(schema, dict) or (not is_known and (key in counted or key in open_)):
                continue
            beside = self._beside(schema)
            named = _schemas(as_dict(schema.get("properties")).values())
            others = _of_any_property(schema)
            elements = _of_elements(schema)
            if not is_known:
                if depth > _DEEPEST:
                    raise TooMuch(f"its references are more than {_DEEPEST:,} levels deep")
                open_.add(key)
                pending.append((schema, depth, True))
                pending += [(part, depth + 1, False) for part in (*beside, *named, *others, *elements)]
                continue
            open_.discard(key)
            of_object = sum_of(others) + max((counted.get(id(part), 0) for part in named), default=0)
            counted[key] = 1 + sum_of(beside) + max(sum_of(elements), of_object)
            beside_of[key] = 1 + sum(beside_of.get(id(part), 0) for part in beside)
            most = _MOST_TRACKED if _TRACKING & schema.keys() else MOST
            if counted[key] > MOST or beside_of[key] > most:
                raise TooMuch(f"its references branch into more than {most:,} schemas for one value")
        return counted.get(id(root), 1)

    def is_within(self, root: Any, event: Any, most: int) -> bool:
        """Return whether at most `most` schemas are applied to an event."""
        done = 0
        pending: list[tuple[Any, Counter[int], dict[int, Schema]]] = []
        if isinstance(root, dict):
            pending.append((event, Counter({id(root): 1}), {id(root): root}))
        while pending:
            value, times, schemas = pending.pop()
            self._spread(times, schemas)
            done += times.total()
            if done > most:
                return False
            if isinstance(value, dict):
                parts = {name: {key: _of_property(schemas[key], name) for key in times} for name in value}
                inner = [(one, parts[name]) for name, one in value.items()]
            elif isinstance(value, list):
                of_elements = {key: _of_elements(schemas[key]) for key in times}
                inner = [(one, of_elements) for one in value]
            else:
                continue
            for one, parts_of in inner:
                below = Counter[int]()
                of = dict[int, Schema]()
                for key, found in parts_of.items():
                    for part in found:
                        below[id(part)] += times[key]
                        of[id(part)] = part
                if below:
                    pending.append((one, below, of))
        return True

    def _spread(self, times: Counter[int], schemas: dict[int, Schema]) -> None:
        """Add the schemas beside those of a place, with how often each is applied. A reference to itself counts
        once."""
        order: list[int] = []
        state: dict[int, bool] = {}
        pending = [(key, False) for key in list(times)]
        while pending:
            key, is_done = pending.pop()
            if is_done:
                order.append(key)
                state[key] = True
            elif key not in state:
                state[key] = False
                pending.append((key, True))
                for part in self._beside(schemas[key]):
                    schemas[id(part)] = part
                    pending.append((id(part), False))
        place = {key: number for number, key in enumerate(reversed(order))}
        for key in reversed(order):
            for part in self._beside(schemas[key]):
                if place[id(part)] > place[key]:
                    times[id(part)] += times[key]


def has_at_most(event: Any, most: int) -> bool:
    """Return whether an event has at most so many values."""
    pending = [event]
    for _ in range(most):
        if not pending:
            return True
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return not pending


def _schemas(parts: Iterable[Any]) -> list[Schema]:
    return [part for part in parts if isinstance(part, dict)]


def _of_property(schema: Schema, name: str) -> list[Schema]:
    return _schemas([as_dict(schema.get("properties")).get(name), *_of_any_property(schema)])


def _of_any_property(schema: Schema) -> list[Schema]:
    return _schemas([*as_dict(schema.get("patternProperties")).values(), *map(schema.get, _OF_PROPERTIES)])


def _of_elements(schema: Schema) -> list[Schema]:
    parts = (schema.get(name) for name in _OF_ELEMENTS)
    return _schemas(one for part in parts for one in (part if isinstance(part, list) else [part]))
