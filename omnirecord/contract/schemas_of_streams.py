"""The schemas of events in documents that have them in another way than a union: JSON-RPC, and OpenAPI by path. Pure.

A document of JSON-RPC messages, such as MCP's `schema.json`, has a schema for each method, and one each for all results
and all errors. An OpenAPI document may name the schema of `text/event-stream` in the answers of its operations: as
`itemSchema`, since version 3.2, or as `schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from ..wire.json_rpc import message_of
from ..wire.strict_json import as_dict, as_list
from .judge import Api, ByPath, Contract
from .known_fields import target_of
from .none import NoContract

Document = dict[str, Any]
ENVELOPE: Document = {"properties": {"jsonrpc": {}, "id": {}, "result": {}}}
"""Fields that every JSON-RPC message may have. A result is open: an answer does not name the method."""
_ANSWERS = {
    "result": ("JSONRPCResultResponse", "JSONRPCResponse"),
    "error": ("JSONRPCErrorResponse", "JSONRPCError"),
}
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
            if isinstance(method := _method_of(schema), str)
        }  # fmt: skip
        answers = {
            kind: f"#/{place}/{found[0]}"
            for kind, names in _ANSWERS.items()
            if (found := [name for name in names if name in named])
        }
        if methods and "result" in answers:
            return methods | answers
    return {}


def _method_of(schema: Any) -> Any:
    return as_dict(as_dict(as_dict(schema).get("properties")).get("method")).get("const")


def streams_of(document: Document) -> dict[str, str]:
    """Return the pointers to the schemas of event streams by path."""
    found = {}
    for path, item in as_dict(document.get("paths")).items():
        for method, operation in as_dict(item).items():
            for status, response in as_dict(as_dict(operation).get("responses")).items():
                content = as_dict(as_dict(as_dict(response).get("content")).get(_EVENT_STREAM))
                for name in ("itemSchema", "schema"):
                    if _is_of_objects(document, content.get(name)):
                        steps = ("paths", path, method, "responses", status, "content", _EVENT_STREAM, name)
                        found[path] = "/" + "/".join(map(_escaped, steps))
                        break
    return found


def _is_of_objects(document: Document, schema: Any) -> bool:
    """Return whether a schema describes an event, and not the text of the whole stream. A reference to a schema that
    the document lacks describes nothing."""
    reference = as_dict(schema).get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        return bool(as_dict(target_of(document, reference)))
    return bool(as_list(as_dict(schema).get("oneOf") or as_dict(schema).get("anyOf"))) or any(
        as_dict(schema).get(name) for name in ("$ref", "properties", "allOf")
    )


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def of_paths(name: str, contracts: Mapping[str, Contract]) -> Contract:
    """Return a contract with a schema for each path. A stream at another path is judged as by the contract `none`."""
    types = chain.from_iterable(one.types for one in contracts.values())
    return ByPath(
        name,
        lambda path: next((one for template, one in contracts.items() if _fits(path, template)), None),
        NoContract(name, types),
    )


def _fits(path: str, template: str) -> bool:
    """Return whether a path ends with the segments of a template such as `/runs/{id}/events`."""
    segments, wanted = path.strip("/").split("/"), template.strip("/").split("/")
    pairs = zip(segments[-len(wanted) :], wanted, strict=False)
    return len(segments) >= len(wanted) and all(want.startswith("{") or want == got for got, want in pairs)
