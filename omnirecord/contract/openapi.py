"""Contracts from a document: an openapi.json of some version of Omnigent, or the OpenAPI or JSON Schema of any API.

1. The union of events is the component `ServerStreamEvent`; failing that, the largest `oneOf` or `anyOf` with a
   discriminator among the components and the document itself, best with the discriminator `type`. Each type gets a
   validator of its own: an event is held against one schema and not against all.
2. A schema that is no such union, the document itself or the one at `FILE#/pointer`, holds for every event. A document
   of JSON-RPC messages, such as MCP's `schema.json`, has a schema for each method, and one each for all results and all
   errors. An OpenAPI document may name the schema of `text/event-stream` in the answers of its operations: as
   `itemSchema`, since version 3.2, or as `schema`.
3. Whatever is unusable about the document shows when it is loaded, as a `UsageError`; judging never raises.
4. A document can name others by URL: nothing is ever fetched.

OpenAPI 3.1 is JSON Schema 2020-12. 3.0 is Draft 4 with `nullable`, which is rewritten here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

import jsonschema_rs

from ..errors import UsageError
from ..wire.json_rpc import message_of
from ..wire.strict_json import as_dict, as_list, as_text
from . import OMNIGENTS, Api, Issue, ProblemKind
from .base import Event
from .judge import ByPath, Contract, Judgement, NoContract, any_type
from .known import Known, sequence_number, target_of
from .work import MOST_EXPLAINED, MOST_OF_EVENT, Work, has_at_most

_UNION = "ServerStreamEvent"
_FIELD = "type"
_SCHEMA = frozenset({"$ref", "allOf", "anyOf", "oneOf", "properties"})
"""The keys of which a schema of objects has one."""
_COMPONENTS = "#/components/schemas/"
_DEFINITIONS = ("components", "$defs", "definitions")
_ENOUGH = 1000
"""Number of issues of one event that are counted, at most."""

Document = dict[str, Any]
Union = tuple[str, dict[str, str]]
"""The field that tells events apart, and the pointers to their schemas by its value."""
_MOST_BYTES = 32 << 20
"""Size of a document, at most. GitHub's OpenAPI document has 12 MB."""
_EXPRESSIONS = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000, size_limit=1 << 20)
"""Limits for the regular expressions of a document. The limit of backtracking is 8 ms."""


class Validator:
    """Validates values against one schema, with limits for its `Work`. `root`: the schema in its document. Raises
    `ValueError` and `TypeError`."""

    def __init__(self, make: Any, schema: Document, work: Work, root: Any) -> None:
        self._work = work
        self._root = root
        self._most_values = MOST_OF_EVENT // work.worst(root)
        self._of = make(
            schema, validate_formats=False, retriever=_fetch_nothing, mask="value", pattern_options=_EXPRESSIONS
        )

    def issues(self, data: Any) -> list[Issue]:
        try:
            if not has_at_most(data, self._most_values) and not self._is_within(data, MOST_OF_EVENT):
                return [Issue("", f"cannot be checked: more than {MOST_OF_EVENT:,} schemas apply to it")]
            if self._of.is_valid(data):  # a fraction of the time, and nearly always so
                return []
            if not self._is_within(data, MOST_EXPLAINED):
                return [Issue("", f"differs from the schema: more than {MOST_EXPLAINED:,} schemas apply to it")]
            errors = islice(self._of.iter_errors(data), _ENOUGH)
            return [issue for error in errors for issue in _explain(error)]
        except Exception as trouble:  # a foreign schema must not end a recording
            return [Issue("", f"cannot be checked: {trouble}")]

    def _is_within(self, data: Any, most: int) -> bool:
        return self._work.is_within(self._root, data, most)


def from_file(path: str, models: Mapping[str, type[Event]], names: Sequence[str]) -> Contract:
    """The contract that a document sets; a `UsageError` where there is none in it. `path`: of the file, or
    `FILE#/pointer` of a schema in it. `models`: those for `Contract.event`. `names`: contracts that an error lists."""
    file, _, pointer = (path, "", "") if "#" not in path or Path(path).exists() else path.partition("#")
    document = _read(file, names)
    is_old = str(document.get("openapi", "")).startswith("3.0")
    document = _without_nullable(document) if is_old else document
    if pointer and not isinstance(target_of(document, pointer), dict):
        raise UsageError(f"{file} has no schema at {pointer}.")
    work = Work(document)
    make = jsonschema_rs.Draft4Validator if is_old else jsonschema_rs.Draft202012Validator
    if not pointer and (methods := calls_of(document)):
        return _by_type(path, work, methods, make, CALLS, {}, ENVELOPE)
    if not pointer and (streams := streams_of(document)) and _UNION not in _components(document):
        by_path = {one: _contract(path, work, at, make, models) for one, at in streams.items()}
        return next(iter(by_path.values())) if len(by_path) == 1 else of_paths(path, by_path)
    return _contract(path, work, pointer, make, models)


def _contract(path: str, work: Work, pointer: str, make: Any, models: Mapping[str, type[Event]]) -> Contract:
    """Return the contract of the schema at a pointer; of the whole document if it is empty. Raises `UsageError`."""
    document = work.document
    union = _union_of(document, target_of(document, pointer), f"#{pointer}") if pointer else _find_union(document, path)
    if union is None:
        return _OneSchema(path, document, pointer, _validator(make, work, f"#{pointer}", path))
    field, pointers = union
    if not pointers:
        raise UsageError(f"The union of events in {path} names no types.")
    if field == _FIELD and not models.keys().isdisjoint(pointers):
        api = OMNIGENTS
    else:  # only the field with the type is known
        api = Api("", lambda data, _event: as_text(data.get(field)), field, event_line="ignored", has_ends=False)
    return _by_type(path, work, pointers, make, api, models)


def _by_type(
    path: str,
    work: Work,
    pointers: Mapping[str, str],
    make: Any,
    api: Api,
    models: Mapping[str, type[Event]],
    *shared: Document,
) -> Contract:
    """Return a contract with a schema for each type. `shared`: schemas whose fields every event may have."""
    document = work.document
    validators = {type_: _validator(make, work, at, path) for type_, at in pointers.items()}
    return Contract(
        path,
        validators,
        lambda type_, data: validators[type_].issues(data),
        lambda type_: Known(document, [target_of(document, pointers[type_]) or {}, *shared]),
        models=models,
        api=api,
    )


class _OneSchema(Contract):
    """A contract with one schema for all events. Their type is for a reader alone."""

    def __init__(self, name: str, document: Document, pointer: str, validator: Validator) -> None:
        super().__init__(name, (), lambda _type, _data: (), api=Api("", any_type, has_ends=False))
        self._validator = validator
        self._fields = Known(document, [target_of(document, pointer)])

    def _judge_payload(self, event: str | None, data: Any, checkable: Any) -> Judgement:
        fields = as_dict(data)
        type_ = any_type(fields, event)
        issues = tuple(self._validator.issues(checkable))
        return Judgement("invalid" if issues else "valid", type_, sequence_number(fields), issues, data)

    def _of(self, _type: str | None) -> Known:
        return self._fields


def _read(path: str, names: Sequence[str]) -> Document:
    try:
        document = json.loads(_bytes_of(path))
    except FileNotFoundError:
        choices = ", ".join([*names, "or the path of an openapi.json"])
        raise UsageError(f"There is no contract {path!r}: give {choices}.") from None
    except OSError as error:
        raise UsageError(f"The contract {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise UsageError(f"The contract {path} is not JSON: give an openapi.json.") from None
    if not isinstance(document, dict):
        raise UsageError(f"The contract {path} is JSON, but no OpenAPI document.")
    return document


def _bytes_of(path: str) -> bytes:
    """Return the content of a regular file. A device has no end, and a pipe may never have one."""
    found = Path(path)
    if found.exists() and not found.is_file():
        raise UsageError(f"The contract {path} cannot be read: it is no regular file.")
    with found.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UsageError(f"The contract {path} is larger than {_MOST_BYTES >> 20} MiB: give the schema of the events.")
    return content


def _find_union(document: Document, path: str) -> Union | None:
    """Return the union of events of a whole document; None if the document is one schema. Raises `UsageError`."""
    components = _components(document)
    unions = {f"{_COMPONENTS}{name}": schema for name, schema in components.items()} | {"#": document}
    told_apart = {pointer: schema for pointer, schema in unions.items() if _members(schema) and _discriminator(schema)}
    named = {pointer: schema for pointer, schema in told_apart.items() if pointer == _COMPONENTS + _UNION}
    by_type = {pointer: schema for pointer, schema in told_apart.items() if _discriminator(schema) == _FIELD}
    found: Mapping[str, Any] = named or by_type or told_apart
    if found:
        pointer = max(found, key=lambda one: len(_members(found[one])))
        return _union_of(document, found[pointer], pointer)
    if document.keys().isdisjoint(("components", "openapi")) and _SCHEMA & document.keys():
        return _union_of(document, document, "#")
    raise UsageError(
        f"{path} names no events: it has no {_UNION}, and no other union with the discriminator `type`. "
        "Take the openapi.json of Omnigent's sources at that version (docs/validate.md). A running server may "
        "leave the events out of its own. For events of another API, name their schema: FILE#/definitions/NAME."
    )


def _components(document: Document) -> Document:
    return as_dict(as_dict(document.get("components")).get("schemas"))


def _union_of(document: Document, schema: Any, pointer: str) -> Union | None:
    """Return the field that tells the members of a union apart, and the pointers to them by its value. None if no field
    does."""
    field = _discriminator(schema) or _FIELD
    mapping = as_dict(as_dict(schema.get("discriminator")).get("mapping"))
    named = {type_: ref for type_, ref in mapping.items() if isinstance(ref, str)}
    if named:
        return field, {type_: ref if "#" in ref else _COMPONENTS + ref for type_, ref in named.items()}
    place = f"{pointer}/{'oneOf' if as_dict(schema).get('oneOf') else 'anyOf'}"
    members = [
        member["$ref"] if isinstance(as_dict(member).get("$ref"), str) else f"{place}/{i}"
        for i, member in enumerate(_members(schema))
    ]
    types = {one: _own_types(document, one, field) for one in members}
    if not _discriminator(schema) and not (types and all(types.values())):
        return None
    return field, {type_: one for one, own in types.items() for type_ in own}


def _discriminator(schema: Any) -> str | None:
    return as_text(as_dict(as_dict(schema).get("discriminator")).get("propertyName"))


def _members(schema: Any) -> list[Any]:
    return as_list(as_dict(schema).get("oneOf") or as_dict(schema).get("anyOf"))


def _own_types(document: Document, pointer: str, field: str) -> list[str]:
    kind = _property(target_of(document, pointer), field)
    names = [kind["const"]] if "const" in kind else kind.get("enum", [])
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _validator(make: Any, work: Work, pointer: str, path: str) -> Validator:
    document = work.document
    schema: Document = {name: document[name] for name in _DEFINITIONS if name in document}
    if pointer.removeprefix("#/").partition("/")[0] in _DEFINITIONS:
        schema["$ref"] = pointer
    else:
        schema |= {name: value for name, value in as_dict(target_of(document, pointer)).items() if name != "$id"}
    try:
        return Validator(make, schema, work, target_of(document, pointer))
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"The schema {pointer} in {path} is unusable: {reason}") from None


def _fetch_nothing(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is another document")


def _explain(error: Any) -> Iterator[Issue]:
    """Return an error as issues. If all alternatives failed, the one with the longest match is explained."""
    if alternatives := [errors for errors in getattr(error.kind, "context", ()) if errors]:
        for inner in max(alternatives, key=_reach):
            yield from _explain(inner)
    elif error.kind.name == "required":
        yield Issue.at((*error.instance_path, error.kind.property), "is required", "missing field")
    elif error.kind.name == "additionalProperties":
        for name in error.kind.unexpected:
            yield Issue.at((*error.instance_path, name), "is not allowed", "unknown field")
    else:
        problem: ProblemKind = "unknown value" if error.kind.name in ("enum", "const") else "wrong kind"
        yield Issue.at(tuple(error.instance_path), error.message.removeprefix("value "), problem)


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


ENVELOPE: Document = {"properties": {"jsonrpc": {}, "id": {}, "result": {}}}
"""Fields that every JSON-RPC message may have. A result is open: an answer does not name the method."""
_ANSWERS = {"result": ("JSONRPCResultResponse", "JSONRPCResponse"), "error": ("JSONRPCErrorResponse", "JSONRPCError")}
"""The names of the schemas of answers, the newer one first."""
_EVENT_STREAM = "text/event-stream"


def _type_of_call(data: Mapping[str, Any], _event: str | None) -> str | None:
    message = message_of(data)
    return None if message is None else message.method or message.kind


CALLS = Api("", _type_of_call, "method", event_line="ignored", has_ends=False)
"""The rules of JSON-RPC: the type of a request is its method, that of an answer `result` or `error`."""


def calls_of(document: Document) -> dict[str, str]:
    """Return the pointers to the schemas of JSON-RPC messages by method, and those of `result` and `error`; empty for
    another document."""
    for place in ("$defs", "definitions"):
        named = as_dict(document.get(place))
        methods = {
            method: f"#/{place}/{name}"
            for name, schema in named.items()
            if isinstance(method := _property(schema, "method").get("const"), str)
        }
        answers = {
            kind: f"#/{place}/{found[0]}"
            for kind, names in _ANSWERS.items()
            if (found := [name for name in names if name in named])
        }
        if methods and "result" in answers:
            return methods | answers
    return {}


def _property(schema: Any, name: str) -> Document:
    return as_dict(as_dict(as_dict(schema).get("properties")).get(name))


def streams_of(document: Document) -> dict[str, str]:
    """Return the pointers to the schemas of event streams by path."""
    found = {}
    for path, item in as_dict(document.get("paths")).items():
        for method, operation in as_dict(item).items():
            for status, response in as_dict(as_dict(operation).get("responses")).items():
                content = as_dict(as_dict(as_dict(response).get("content")).get(_EVENT_STREAM))
                names = (name for name in ("itemSchema", "schema") if _is_of_objects(document, content.get(name)))
                if name := next(names, ""):
                    steps = ("paths", path, method, "responses", status, "content", _EVENT_STREAM, name)
                    found[path] = "/" + "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)
    return found


def _is_of_objects(document: Document, schema: Any) -> bool:
    """Return whether a schema describes an event, and not the text of the whole stream. A reference to a schema that
    the document lacks describes nothing."""
    of = as_dict(schema)
    reference = of.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        return bool(as_dict(target_of(document, reference)))
    return bool(_members(of)) or any(of.get(name) for name in ("$ref", "properties", "allOf"))


def of_paths(name: str, contracts: Mapping[str, Contract]) -> Contract:
    """Return a contract with a schema for each path. A stream at another path is judged as by the contract `none`."""

    def find(path: str) -> Contract | None:
        return next((one for template, one in contracts.items() if _fits(path, template)), None)

    return ByPath(name, find, NoContract(name, chain.from_iterable(one.types for one in contracts.values())))


def _fits(path: str, template: str) -> bool:
    """Return whether a path ends with the segments of a template such as `/runs/{id}/events`."""
    segments = path.strip("/").split("/")
    wanted = template.strip("/").split("/")
    pairs = zip(segments[-len(wanted) :], wanted, strict=False)
    return len(segments) >= len(wanted) and all(want.startswith("{") or want == got for got, want in pairs)
