"""Contracts from documents of JSON-RPC, and from OpenAPI documents with a schema for each path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omnirecord.cassette.contracts import load
from omnirecord.contract.judge import Contract, Judgement
from omnirecord.wire.sse import read_fields
from tests.support.examples import each

MESSAGES: dict[str, Any] = {
    "definitions": {
        "Progress": {
            "properties": {"method": {"const": "progress"}, "params": {"$ref": "#/definitions/Params"}},
            "required": ["params"],
        },
        "Params": {"type": "object", "properties": {"done": {"type": "number"}}},
        "JSONRPCResponse": {"properties": {"id": {"type": "integer"}, "result": {}}, "required": ["id"]},
        "JSONRPCError": {"properties": {"error": {"type": "object"}}},
    }
}


def contract(tmp_path: Path, document: dict[str, Any]) -> Contract:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(document))
    return load(path)


def judge(data: Any, made: Contract) -> Judgement:
    return made.judge(read_fields(f"event: message\ndata: {json.dumps(data)}\n\n".encode()))


@each(
    ("data", "verdict", "type_"),
    [
        ({"jsonrpc": "2.0", "method": "progress", "params": {"done": 1}}, "valid", "progress"),
        ({"jsonrpc": "2.0", "method": "progress", "params": {"done": "1"}}, "invalid", "progress"),
        ({"jsonrpc": "2.0", "method": "progress"}, "invalid", "progress"),
        ({"jsonrpc": "2.0", "method": "other"}, "unknown", "other"),
        ({"jsonrpc": "2.0", "id": 1, "result": {"any": 1}}, "valid", "result"),
        ({"jsonrpc": "2.0", "id": "1", "result": {}}, "invalid", "result"),
        ({"jsonrpc": "2.0", "id": 1, "error": "no"}, "invalid", "error"),
        ({"method": "progress"}, "malformed", None),
    ],
)
def test_a_message_has_the_schema_of_its_method(tmp_path: Path, data: Any, verdict: str, type_: str | None) -> None:
    judged = judge(data, contract(tmp_path, MESSAGES))
    assert (judged.verdict, judged.type) == (verdict, type_)


def test_the_fields_of_every_message_and_those_of_a_result_are_known(tmp_path: Path) -> None:
    made = contract(tmp_path, MESSAGES)
    progress = {"jsonrpc": "2.0", "id": 1, "method": "progress", "params": {"done": 1, "more": 2}}
    assert [one.path for one in made.unheard_of("progress", progress)] == ["params.more"]
    assert made.unheard_of("result", {"jsonrpc": "2.0", "id": 1, "result": {"any": 1}}) == []


def stream(schema: Any, name: str = "itemSchema") -> dict[str, Any]:
    return {"get": {"responses": {"200": {"content": {"text/event-stream": {name: schema}}}}}}


def test_an_openapi_document_has_a_schema_for_each_path(tmp_path: Path) -> None:
    ticks = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    union = {"oneOf": [{"properties": {"type": {"const": name}}} for name in ("a", "b")]}
    paths = {
        "/runs/{id}/events": stream({"$ref": "#/components/schemas/Tick"}),
        "/chat": stream(union, "schema"),
        "/page": stream({"type": "string"}, "schema"),
    }
    made = contract(tmp_path, {"openapi": "3.2.0", "paths": paths, "components": {"schemas": {"Tick": ticks}}})
    of_run, of_chat, other = (made.of(path) for path in ("/api/runs/7/events?x=1", "/chat", "/page"))
    assert [judge({"n": n}, of_run).verdict for n in (1, "1")] == ["valid", "invalid"]
    assert [judge({"type": name}, of_chat).verdict for name in ("a", "c")] == ["valid", "unknown"]
    assert judge({"type": "c", "n": "x"}, other).verdict == "valid"
    assert made.types == {"a", "b"}


def test_one_schema_of_a_stream_holds_for_all(tmp_path: Path) -> None:
    document = {"openapi": "3.1.0", "paths": {"/chat": stream({"properties": {"n": {"type": "integer"}}})}}
    assert judge({"n": "x"}, contract(tmp_path, document).of("/elsewhere")).verdict == "invalid"
