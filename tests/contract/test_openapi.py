"""Contracts from the OpenAPI or JSON Schema of an API that nothing here knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from omnirecord import UsageError
from omnirecord.cassette.contracts import load
from omnirecord.contract.judge import Contract, Judgement
from omnirecord.wire.sse import read_fields

RUN = {"type": "object", "properties": {"type": {"const": "RUN_STARTED"}, "runId": {"type": "string"}}}
TEXT = {"type": "object", "properties": {"type": {"const": "TEXT"}, "delta": {"type": "string"}}, "required": ["delta"]}
REFS = [{"$ref": "#/$defs/Run"}, {"$ref": "#/$defs/Text"}]
DEFS = {"Run": RUN, "Text": TEXT}
RPC = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "definitions": {
        "Message": {"anyOf": [{"$ref": "#/definitions/Call"}, {"$ref": "#/definitions/Result"}]},
        "Call": {
            "type": "object",
            "properties": {"jsonrpc": {"const": "2.0"}, "method": {"type": "string"}},
            "required": ["jsonrpc", "method"],
        },
        "Result": {
            "type": "object",
            "properties": {"jsonrpc": {"const": "2.0"}, "id": {"type": "integer"}, "result": {"type": "object"}},
            "required": ["jsonrpc", "id", "result"],
        },
    },
}


def verdicts(path: Path | str, *payloads: Any, event: str = "") -> list[tuple[str, str | None]]:
    contract = load(path)
    frames = [read_fields(f"{event}data: {json.dumps(one)}\n\n".encode()) for one in payloads]
    return [(one.verdict, one.type) for one in map(contract.judge, frames)]


def written(folder: Path, document: Any) -> Path:
    path = folder / "schema.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    "document",
    [
        {"$defs": DEFS, "oneOf": REFS},
        {"$defs": DEFS, "anyOf": REFS, "discriminator": {"propertyName": "type"}},
        {"oneOf": [RUN, TEXT]},
        {
            "openapi": "3.1.0",
            "components": {"schemas": {"Event": {"oneOf": [RUN, TEXT], "discriminator": {"propertyName": "type"}}}},
        },
    ],
    ids=["constants", "discriminator", "inline", "openapi"],
)
def test_a_union_that_a_field_tells_apart_gives_its_events_types(document: Any, tmp_path: Path) -> None:
    path = written(tmp_path, document)
    events = ({"type": "RUN_STARTED"}, {"type": "TEXT"}, {"type": "OTHER"}, {"kind": "TEXT"})
    assert load(path).types == {"RUN_STARTED", "TEXT"}
    assert verdicts(path, *events, event="event: message\n") == [
        ("valid", "RUN_STARTED"), ("invalid", "TEXT"), ("unknown", "OTHER"), ("malformed", None),
    ]  # fmt: skip


def test_another_field_may_tell_them_apart(tmp_path: Path) -> None:
    members = [{"properties": {"kind": {"const": name}}} for name in ("a", "b")]
    path = written(tmp_path, {"oneOf": members, "discriminator": {"propertyName": "kind"}})
    assert verdicts(path, {"kind": "a"}, {"kind": "c"}, {"type": "a"}) == [
        ("valid", "a"), ("unknown", "c"), ("malformed", None),
    ]  # fmt: skip


def test_one_schema_holds_for_every_event_where_no_field_tells_them_apart(tmp_path: Path) -> None:
    path = f"{written(tmp_path, RPC)}#/definitions/Message"
    told = verdicts(path, {"jsonrpc": "2.0", "method": "ping"}, {"jsonrpc": "2.0", "id": 1, "result": {}}, {"id": 1})
    assert told == [("valid", "ping"), ("valid", "result"), ("invalid", None)]


def test_it_names_fields_that_the_schema_does_not(tmp_path: Path) -> None:
    contract = load(f"{written(tmp_path, RPC)}#/definitions/Message")
    assert [i.path for i in contract.unheard_of("", {"jsonrpc": "2.0", "method": "x", "other": 1})] == ["other"]


def test_a_stream_of_such_an_api_needs_no_end(tmp_path: Path) -> None:
    assert not load(written(tmp_path, {"oneOf": [RUN, TEXT]})).api.has_ends


@pytest.mark.parametrize(
    ("pointer", "error"),
    [("", "name their schema: FILE#/definitions/NAME"), ("#/definitions/No", "has no schema at /definitions/No")],
)
def test_a_document_without_a_schema_of_events_is_refused(pointer: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=error):
        load(f"{written(tmp_path, RPC)}{pointer}")


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


@pytest.mark.parametrize(
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
