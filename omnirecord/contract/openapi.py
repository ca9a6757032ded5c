"""Contracts from an OpenAPI document of some version of Omnigent. `json_schema` has those of other APIs.

1. The union is the component `ServerStreamEvent`; failing that, the largest `oneOf` or `anyOf` told apart by
   `type` among the components and the document itself. Each type gets a validator of its own: an event is
   held against one schema and not against all.
2. Whatever is unusable about the document shows when it is loaded, as a `UsageError`; judging never raises.
3. A document can name others by URL: nothing is ever fetched.

OpenAPI 3.1 is JSON Schema 2020-12. 3.0 is Draft 4 with `nullable`, which is rewritten here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, cast

import jsonschema_rs

from ..errors import UsageError
from ..wire.strict_json import as_dict, as_list
from .events import Event
from .json_schema import api_by, of_document
from .judge import Api, Check, Contract, Issue, ProblemKind
from .known_fields import Known

_UNION = "ServerStreamEvent"
_COMPONENTS = "#/components/schemas/"
_DEFINITIONS = ("components", "$defs", "definitions")
_ENOUGH = 1000
"""Number of issues of one event that are counted, at most."""

_PROBLEMS: Mapping[str, ProblemKind] = {"enum": "unknown value", "const": "unknown value"}

Document = dict[str, Any]
Validator = jsonschema_rs.Draft202012Validator | jsonschema_rs.Draft4Validator


def from_file(
    path: str, models: Mapping[str, type[Event]] = MappingProxyType({}), names: Sequence[str] = ()
) -> Contract:
    """The contract that an OpenAPI document sets; a `UsageError` where there is none in it. `models`: those for
    `Contract.event`. `names`: the contracts that an error lists."""
    document = _read(path, names)
    is_old = str(document.get("openapi", "")).startswith("3.0")
    document = _without_nullable(document) if is_old else document
    make = jsonschema_rs.Draft4Validator if is_old else jsonschema_rs.Draft202012Validator
    union = _find_union(document)
    pointers = _types(document, union) if union else {}
    if not pointers:
        return of_document(path, document, partial(_check_of, make, document, path))
    validators = {type_: _validator(make, document, pointers[type_], path) for type_ in pointers}
    return Contract(
        path,
        validators,
        lambda type_, data: _issues(validators[type_], data),
        lambda type_: Known(document, [{"$ref": pointers[type_]}]),
        models=models,
        api=api_by("type") if models and models.keys().isdisjoint(pointers) else Api(),
    )


def _read(path: str, names: Sequence[str]) -> Document:
    try:
        document = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        choices = ", ".join([*names, "or the path of an openapi.json or a JSON Schema"])
        raise UsageError(f"There is no contract {path!r}: give {choices}.") from None
    except OSError as error:
        raise UsageError(f"The contract {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise UsageError(f"The contract {path} is not JSON: give an openapi.json or a JSON Schema.") from None
    if not isinstance(document, dict):
        raise UsageError(f"The contract {path} is JSON, but no OpenAPI document and no JSON Schema.")
    return document


def _find_union(document: Document) -> Document | None:
    components = as_dict(as_dict(document.get("components")).get("schemas"))
    unions: list[Any] = [schema for schema in (*components.values(), document) if _is_union(schema)]
    named: list[Any] = [schema for schema in unions if schema is components.get(_UNION)]
    return max(named or unions, key=lambda schema: len(_members(schema)), default=None)


def _is_union(schema: Any) -> bool:
    discriminator = as_dict(as_dict(schema).get("discriminator"))
    return bool(_members(schema)) and discriminator.get("propertyName") == "type"


def _members(schema: Any) -> list[Any]:
    return as_list(as_dict(schema).get("oneOf") or as_dict(schema).get("anyOf"))


def _types(document: Document, union: Document) -> dict[str, str]:
    """Return the pointer to each type's schema: from the mapping, else from the `type` of the members."""
    mapping = as_dict(union["discriminator"].get("mapping"))
    named = {type_: ref for type_, ref in mapping.items() if isinstance(ref, str)}
    if named:
        return {type_: ref if "#" in ref else _COMPONENTS + ref for type_, ref in named.items()}
    pointers = [member["$ref"] for member in _members(union) if isinstance(as_dict(member).get("$ref"), str)]
    return {type_: pointer for pointer in pointers for type_ in _own_types(document, pointer)}


def _own_types(document: Document, pointer: str) -> list[str]:
    schema: Any = document
    for step in pointer.removeprefix("#/").split("/"):
        schema = as_dict(schema).get(step.replace("~1", "/").replace("~0", "~"))
    kind = as_dict(as_dict(as_dict(schema).get("properties")).get("type"))
    names = [kind["const"]] if "const" in kind else kind.get("enum", [])
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _validator(make: Any, document: Document, pointer: str, path: str) -> Validator:
    return _validator_of(make, document, {"$ref": pointer}, f"The schema {pointer} in {path}")


def _validator_of(make: Any, document: Document, schema: Document, what: str) -> Validator:
    whole = {name: document[name] for name in _DEFINITIONS if name in document} | schema
    try:
        return cast("Validator", make(whole, validate_formats=False, retriever=_fetch_nothing, mask="value"))
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{what} is unusable: {reason}") from None


def _check_of(make: Any, document: Document, path: str, schema: Any) -> Check:
    validator = _validator_of(make, document, as_dict(schema), f"A schema in {path}")
    return lambda _type, data: _issues(validator, data)


def _fetch_nothing(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is another document")


def _issues(validator: Validator, data: Any) -> list[Issue]:
    try:
        if validator.is_valid(data):  # a fraction of the time, and nearly always so
            return []
        errors = islice(validator.iter_errors(data), _ENOUGH)
        return [issue for error in errors for issue in _explain(error)]
    except Exception as trouble:  # a foreign schema must not end a recording
        return [Issue("", f"cannot be checked: {trouble}")]


def _explain(error: Any) -> Iterator[Issue]:
    """Return an error as issues. If all alternatives failed, the one with the longest match is explained."""
    alternatives = _alternatives(error)
    if alternatives:
        for inner in max(alternatives, key=_reach):
            yield from _explain(inner)
    elif error.kind.name == "required":
        yield Issue.at((*error.instance_path, error.kind.property), "is required", "missing field")
    elif error.kind.name == "additionalProperties":
        for name in error.kind.unexpected:
            yield Issue.at((*error.instance_path, name), "is not allowed", "unknown field")
    else:
        problem = _PROBLEMS.get(error.kind.name, "wrong kind")
        yield Issue.at(tuple(error.instance_path), error.message.removeprefix("value "), problem)


def _alternatives(error: Any) -> list[list[Any]]:
    """For a `oneOf` or `anyOf` that failed: the errors of each of its members."""
    return [errors for errors in getattr(error.kind, "context", ()) if errors]


def _reach(errors: list[Any]) -> tuple[int, bool]:
    """How deep into the value an alternative got, and whether the value was of its kind at least."""
    return max((len(error.instance_path), error.kind.name != "type") for error in errors)


def _without_nullable(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable: true`, said in JSON Schema."""
    if isinstance(schema, list):
        return [_without_nullable(element) for element in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {name: _without_nullable(value) for name, value in schema.items()}
    if rest.get("nullable") is not True:
        return rest
    del rest["nullable"]
    return {"anyOf": [rest, {"type": "null"}]}
