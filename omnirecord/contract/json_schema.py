"""Contracts from a JSON Schema, or from an OpenAPI document of another API than Omnigent.

The schema of an event is chosen by the first of these that applies:

1. A document of JSON-RPC messages, such as MCP's `schema.json`: by `method`. An answer has the schema of all results,
   or of all errors.
2. A union (`oneOf`, `anyOf`) at the root, in which a field with a constant tells the members apart: by that field. It is
   that of the `discriminator`, else the first field that has a constant in each member.
3. An OpenAPI document: the schema of `text/event-stream` at the path of the request. Such a schema may be a union.
4. The largest union among the components or definitions.
5. A single schema: it is the schema of every event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..errors import UsageError
from ..wire.json_rpc import message_of
from ..wire.strict_json import as_dict, as_list
from .events import sequence_number
from .judge import Api, Check, Contract, Issue, Judgement, TypeOf
from .known_fields import Known
from .none import NoContract, type_of

Document = dict[str, Any]
MakeCheck = Callable[[Any], Check]
"""From a schema of the document to its check."""
_DEFINITIONS = ("$defs", "definitions")
_RESULTS, _ERRORS = ("JSONRPCResultResponse", "JSONRPCResponse"), ("JSONRPCErrorResponse", "JSONRPCError")
_ENVELOPE: Sequence[Document] = ({"properties": {"jsonrpc": {}, "id": {}, "result": {}}},)
"""Fields of any JSON-RPC message. A result is open: the schema of an answer does not tell the request."""
_KEYWORDS = frozenset({"type", "properties", "$ref", "oneOf", "anyOf", "allOf", "enum", "const", "required", "items"})
"""Keywords of which a schema has at least one."""
_EVENT_STREAM = "text/event-stream"
_MOST = 1000
"""Number of paths whose contract is kept."""


class _Union(NamedTuple):
    field: str
    schemas: dict[str, Any]
    """The schema of each value of the field."""


def of_document(path: str, document: Document, check_of: MakeCheck) -> Contract:
    """Return the contract of a document. Raises `UsageError` if it has no schema of events."""
    schemas = Schemas(document)
    if calls := schemas.calls():
        return _of_union(path, document, _Union("method", calls), check_of, _type_of_call, _ENVELOPE)
    if union := schemas.union(document):
        return _of_union(path, document, union, check_of)
    if by_path := schemas.of_paths():
        return _of_paths(path, document, schemas, by_path, check_of)
    unions = [found for schema in schemas.named.values() if (found := schemas.union(schema))]
    if unions:
        return _of_union(path, document, max(unions, key=lambda one: len(one.schemas)), check_of)
    if not {"openapi", "components"} & document.keys() and not _KEYWORDS.isdisjoint(document):
        return OneSchema(path, document, _body_of(document), check_of)
    raise UsageError(
        f"{path} names no events: it has no union with a field that tells its members apart, and no schema of"
        f" {_EVENT_STREAM} (docs/other-apis.md). For Omnigent, take the openapi.json of Omnigent's sources at"
        " that version (docs/validate.md): a running server may leave the events out of its own."
    )


class Schemas:
    """The schemas of a document. `named`: the components, or the definitions."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.named: dict[str, Any] = dict(as_dict(as_dict(document.get("components")).get("schemas")))
        for name in _DEFINITIONS:
            self.named |= as_dict(document.get(name))

    def calls(self) -> dict[str, Any]:
        """Return the schemas of JSON-RPC messages by method, and those of `result` and `error`; empty for another
        document."""
        found: dict[str, Any] = {}
        for kind, names in (("result", _RESULTS), ("error", _ERRORS)):
            if (name := next((name for name in names if name in self.named), None)) is not None:
                found[kind] = self.named[name]
        methods = {name: schema for schema in self.named.values() for name in self._constants(schema, "method")}
        return found | methods if "result" in found and methods else {}

    def union(self, schema: Any) -> _Union | None:
        """Return a schema as a union of members that a field tells apart; None if it is none."""
        schema = self.resolved(schema)
        members = as_list(schema.get("oneOf") or schema.get("anyOf"))
        discriminator = as_dict(schema.get("discriminator"))
        named = discriminator.get("propertyName")
        fields = [named] if isinstance(named, str) else self._fields(members)
        for field in fields:
            mapping = {value: {"$ref": ref} for value, ref in as_dict(discriminator.get("mapping")).items()}
            each = [(value, member) for member in members for value in self._constants(member, field)]
            found = mapping or dict(each)
            if found and (named or (len(found) > 1 and len(found) == len(each))):
                return _Union(field, found)
        return None

    def of_paths(self) -> dict[str, Any]:
        """Return the schemas of event streams by path."""
        found = {}
        for path, item in as_dict(self._document.get("paths")).items():
            for operation in as_dict(item).values():
                for response in as_dict(as_dict(operation).get("responses")).values():
                    content = as_dict(as_dict(self.resolved(response).get("content")).get(_EVENT_STREAM))
                    schema = content.get("itemSchema") or content.get("schema")
                    if not _KEYWORDS.isdisjoint(self.resolved(schema)) and as_dict(schema).get("type") != "string":
                        found[path] = schema
        return found

    def resolved(self, schema: Any) -> Document:
        """Return the schema behind references within the document."""
        for _ in range(20):
            reference = as_dict(schema).get("$ref")
            if not isinstance(reference, str):
                break
            schema = self._document
            for step in reference.removeprefix("#").strip("/").split("/"):
                schema = as_dict(schema).get(step.replace("~1", "/").replace("~0", "~"))
        return as_dict(schema)

    def _fields(self, members: Iterable[Any]) -> list[str]:
        """Return the fields that have constants in each member."""
        each = [
            [name for name in as_dict(self.resolved(member).get("properties")) if self._constants(member, name)]
            for member in members
        ]
        return [name for name in each[0] if all(name in one for one in each)] if each else []

    def _constants(self, schema: Any, field: str) -> Iterator[str]:
        kind = self.resolved(as_dict(self.resolved(schema).get("properties")).get(field))
        values = [kind["const"]] if "const" in kind else as_list(kind.get("enum"))
        return (value for value in values if isinstance(value, str))


def _of_union(
    path: str, document: Document, union: _Union, check_of: MakeCheck,
    named: TypeOf | None = None, beside: Sequence[Document] = (),
) -> Contract:  # fmt: skip
    checks = {value: check_of(schema) for value, schema in union.schemas.items()}

    return Contract(
        path,
        checks,
        lambda type_, data: checks[type_](type_, data),
        lambda type_: Known(document, [union.schemas[type_], *beside]),
        api=api_by(union.field, named),
    )


def api_by(field: str, type_of: TypeOf | None = None) -> Api:
    """Return the rules of an unknown API, in which a field of the payload has the type. `type_of`: another rule."""

    def by_field(data: Mapping[str, Any], _event: str | None) -> str | None:
        value = data.get(field)
        return value if isinstance(value, str) else None

    return Api("", type_of or by_field, field, event_line="ignored", has_ends=False)


def _type_of_call(data: Mapping[str, Any], _event: str | None) -> str | None:
    message = message_of(data)
    return None if message is None else message.method or message.kind


def _body_of(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in ("$id", "$schema")}


class OneSchema(Contract):
    """A contract with one schema for every event. The type of an event is that of the contract `none`."""

    def __init__(self, path: str, document: Document, schema: Any, check_of: MakeCheck) -> None:
        check = check_of(schema)
        api = Api("", type_of, event_line="ignored", has_ends=False)
        super().__init__(path, (), check, lambda _: Known(document, [schema]), api=api)

    def _judge_payload(self, event: str | None, data: Any, checkable: Any) -> Judgement:
        fields = data if isinstance(data, dict) else {}
        type_, issues = type_of(fields, event), tuple(self._check("", checkable))
        return Judgement("invalid" if issues else "valid", type_, sequence_number(fields), issues, data)

    def unheard_of(self, _type: str, data: dict[str, Any]) -> list[Issue]:
        return [Issue.at(steps, "is not named", "unknown field") for steps in self._of("").unknown(data)]

    def place(self, _type: str | None, issue: Issue) -> str:
        return self._of("").path(issue.steps) if issue.steps else issue.path


def _of_paths(
    path: str, document: Document, schemas: Schemas, by_path: Mapping[str, Any], check_of: MakeCheck
) -> Contract:
    def made(schema: Any) -> Contract:
        union = schemas.union(schema)
        return _of_union(path, document, union, check_of) if union else OneSchema(path, document, schema, check_of)

    contracts = {template: made(schema) for template, schema in by_path.items()}
    if len(contracts) == 1:
        return next(iter(contracts.values()))
    return OfPaths(path, contracts)


class OfPaths(NoContract):
    """A contract with a schema for each path. A stream at another path is judged as by the contract `none`."""

    def __init__(self, name: str, contracts: Mapping[str, Contract]) -> None:
        super().__init__()
        self.name, self._contracts = name, contracts
        self.types = frozenset().union(*(one.types for one in contracts.values()))
        self._chosen: dict[str, Contract] = {}

    def of(self, target: str) -> Contract:
        path = target.partition("?")[0]
        found = self._chosen.get(path)
        if found is None:
            fits = partial(_fits, path.strip("/").split("/"))
            found = next((one for template, one in self._contracts.items() if fits(template)), self)
            if len(self._chosen) < _MOST:
                self._chosen[path] = found
        return found


def _fits(segments: list[str], template: str) -> bool:
    """Return whether a path ends with the segments of a template such as `/runs/{id}/events`."""
    wanted = template.strip("/").split("/")
    pairs = zip(segments[-len(wanted) :], wanted, strict=False)
    return len(segments) >= len(wanted) and all(want.startswith("{") or want == got for got, want in pairs)
