"""Documents whose schemas are applied too often are refused, and events of others are judged within limits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from omnirecord import UsageError
from omnirecord.cassette.contracts import load
from omnirecord.contract.work import MOST_EXPLAINED, Work
from omnirecord.wire.sse import read_fields
from tests.support import forked

CASSETTE = Path(__file__).parents[2] / "cassettes/text.jsonl"


def branching(levels: int, width: int = 4, *, keyword: str = "allOf", **more: Any) -> dict[str, Any]:
    """A schema whose references are applied `width ** levels` times."""
    inner = {f"n{i}": {keyword: [{"$ref": f"#/$defs/n{i + 1}"}] * width, **more} for i in range(levels)}
    return {"$defs": {**inner, f"n{levels}": {"type": "object"}}, "$ref": "#/$defs/n0"}


def nested(levels: int) -> dict[str, Any]:
    """A schema that branches at each level of an event."""
    below = {f"n{i}": {"properties": {"a": {"allOf": [{"$ref": f"#/$defs/n{i + 1}"}] * 4}}} for i in range(levels)}
    return {"$defs": {**below, f"n{levels}": {"type": "object"}}, "$ref": "#/$defs/n0"}


def by_anchor(levels: int) -> dict[str, Any]:
    """The same with anchors in place of pointers."""
    inner = {f"n{i}": {"$anchor": f"a{i}", "anyOf": [{"$ref": f"#a{i + 1}"}] * 4} for i in range(levels)}
    return {"$defs": {**inner, "last": {"$anchor": f"a{levels}"}}, "$ref": "#a0"}


def embedded(levels: int) -> dict[str, Any]:
    """The same in a document within the document."""
    return {"$defs": {"other": {"$id": "http://other.test/a", **branching(levels)}}, "$ref": "http://other.test/a"}


@pytest.mark.parametrize(
    "document",
    [
        branching(25), branching(25, keyword="oneOf"), nested(25), by_anchor(25), embedded(25),
        branching(8, unevaluatedProperties=False), branching(20_000, 1),
    ],
    ids=["allOf", "oneOf", "nested", "anchors", "embedded", "unevaluated", "deep"],
)  # fmt: skip
def test_a_document_whose_references_branch_too_much_is_refused(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=r"unusable: its references (branch into|are) more than"):
        load(path)


@pytest.mark.parametrize("command", ["validate", "proxy", "show"])
def test_a_command_refuses_it_at_once(command: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(branching(25)))
    words = {"proxy": ["--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--db", str(tmp_path / "x.db")]}
    found = forked.run([command, *words.get(command, [str(CASSETTE)]), "--contract", str(path)], tmp_path)
    assert found.code == 2
    assert found.errors.count(b"\n") == 1
    assert b"references branch into more than" in found.errors


def test_an_event_that_differs_in_a_recursive_schema_is_not_explained_for_ever(tmp_path: Path) -> None:
    names = "abcd"
    choice = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}
    defs = {name: {"type": "object", "properties": {"in": choice}, "required": [name]} for name in names}
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"$defs": defs, "$ref": "#/$defs/a"}))
    event: Any = 1
    for _ in range(60):
        event = {"in": event, **dict.fromkeys(names, 1)}
    judged = load(path).judge(read_fields(f"data: {json.dumps(event)}\n\n".encode()))
    assert judged.verdict == "invalid"
    assert [one.message for one in judged.issues] == [
        f"differs from the schema: more than {MOST_EXPLAINED:,} schemas apply to it"
    ]


def test_a_reference_to_itself_is_counted_once() -> None:
    value: dict[str, Any] = {"anyOf": [{"type": "string"}, {"items": {"$ref": "#/$defs/v"}}, {"$ref": "#/$defs/v"}]}
    document = {"$defs": {"v": value}, "$ref": "#/$defs/v"}
    work = Work(document)
    assert work.worst(document) < 20
    assert work.is_within(document, [[["a"]]], 200)
    assert not work.is_within(document, [[["a"]]], 5)


def test_the_events_of_known_apis_are_far_below_the_limit() -> None:
    from openai.types.responses import ResponseStreamEvent

    document = TypeAdapter(ResponseStreamEvent).json_schema()  # as one schema, the largest that is known
    assert Work(document).worst(document) < 10_000


@pytest.mark.parametrize(("path", "said"), [("/dev/zero", "regular file"), ("pipe", "regular file"), (".", "regular")])
def test_a_contract_is_read_from_a_regular_file(path: str, said: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=said):
        load(tmp_path / path)


def test_a_contract_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    with path.open("wb") as file:
        file.truncate(40 << 20)
    with pytest.raises(UsageError, match="larger than 32 MiB"):
        load(path)


def test_a_regular_expression_of_a_contract_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"properties": {"a": {"items": {"pattern": r"^(a|aa)+(?=b)\1c"}}}}))
    event = json.dumps({"a": ["a" * 30_000] * 3})
    assert load(path).judge(read_fields(f"data: {event}\n\n".encode())).verdict == "invalid"
