"""Which fields a contract names in events, at every depth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from omnirecord.contract import path_of
from omnirecord.contract.judge import Contract
from omnirecord.contract.known import Known, Steps
from omnirecord.omnigent.contract import MODELS
from tests.omnigent.test_agreement import mutants
from tests.support.contract_cases import DOCUMENTED, OMNIGENT, document_of_models, edited, judge, loaded
from tests.support.contract_cases import EXAMPLES as WITH_MORE
from tests.support.examples import each, examples

ASKS = "response.elicitation_request"
EXAMPLES = WITH_MORE | {ASKS: edited(WITH_MORE[ASKS], "params.x-mcp")}

DEEP = {"properties": {"x": {"type": "integer"}, "again": {"$ref": "#/$defs/Deep"}}}


def known(schema: Any) -> Known:
    return Known({"$defs": {"Deep": DEEP}}, [schema])


def unknown(schema: Any, value: Any) -> list[str]:
    return [path_of(steps) for steps in known(schema).unknown(value)]


def new_in(type_: str, path: str, contract: Any = OMNIGENT) -> list[str]:
    """What is unheard of in an example with one more field."""
    return [issue.path for issue in contract.unheard_of(type_, _with_more(EXAMPLES[type_], path))]


def _with_more(event: Any, path: str) -> Any:
    event = parent = json.loads(json.dumps(event))
    for step in filter(None, path.replace("[]", ".0").split(".")):
        parent = parent[int(step) if step.isdigit() else step]
    parent["new"] = {"deep": 1}
    return event


@each("type_", EXAMPLES)
def test_an_example_of_each_type_has_no_unknown_field_and_one_more_is_unknown(type_: str) -> None:
    assert OMNIGENT.unheard_of(type_, EXAMPLES[type_]) == []
    assert new_in(type_, "") == ["new"]


@each(
    ("type_", "path"),
    [
        ("session.presence", "viewers[]"),
        ("session.interrupted", "data"),
        ("session.input.consumed", "data"),
        ("session.mcp_startup", "servers.github"),
        ("response.completed", "response"),
        ("response.completed", "response.usage"),
        ("response.completed", "response.usage.output_tokens_details"),
        ("response.error", "error"),
        ("response.elicitation_request", "params"),
    ],
)
def test_a_field_that_nobody_names_is_found_at_any_depth(type_: str, path: str) -> None:
    assert new_in(type_, path) == [f"{path}.new".replace("[]", "[0]")]


@each(
    ("type_", "path"),
    [
        ("response.output_item.done", "item"),
        ("response.completed", "response.output[]"),
        ("session.todos", "todos[]"),
        ("session.resource.created", "resource"),
        ("session.child_session.updated", "child"),
        ("browser.action_request", "args"),
        ("response.elicitation_request", "params.requestedSchema"),
    ],
)
def test_nothing_is_unknown_in_what_is_open(type_: str, path: str) -> None:
    assert new_in(type_, path) == []


@each(
    ("type_", "path"),
    [
        ("session.todos", "todos[]"),
        ("session.resource.created", "resource"),
        ("session.child_session.updated", "child"),
        ("response.completed", "response.usage"),
    ],
)
def test_the_page_gives_some_of_that_a_shape_by_name(type_: str, path: str) -> None:
    assert new_in(type_, path, DOCUMENTED) == [f"{path}.new".replace("[]", "[0]")]


@each(
    ("type_", "more"),
    [
        ("session.status", {"background_tasks": None, "blocked_on": None, "background_task_count": 1}),
        ("session.sandbox_status", {"provider": "x"}),
        ("response.failed", {"source": "llm"}),
        ("response.elicitation_resolved", {"action": "accept", "reason": None}),
        ("response.compaction.completed", {"summary": "s"}),
    ],
)
def test_what_the_live_schema_names_and_the_page_does_not_is_unknown_to_the_page(
    type_: str, more: dict[str, Any]
) -> None:
    event = {**EXAMPLES[type_], **more}
    assert OMNIGENT.unheard_of(type_, event) == []
    assert {issue.path for issue in DOCUMENTED.unheard_of(type_, event)} >= set(more)


def test_an_object_of_which_the_page_lists_the_fields_has_no_others() -> None:
    event = EXAMPLES["response.error"] | {"error": {"code": "c", "message": "m", "detail": {}}}
    assert [issue.path for issue in DOCUMENTED.unheard_of("response.error", event)] == ["error.detail"]
    assert OMNIGENT.unheard_of("response.error", event) == []


def test_no_field_that_is_required_is_unknown() -> None:
    for type_ in DOCUMENTED.types:
        unheard_of = {issue.path for issue in DOCUMENTED.unheard_of(type_, EXAMPLES[type_])}
        required = {name for name, field in MODELS[type_].model_fields.items() if field.is_required()}
        assert not required & unheard_of


def test_a_field_that_the_schema_lets_pass_without_naming_it_is_unknown() -> None:
    assert [issue.path for issue in OMNIGENT.unheard_of(ASKS, WITH_MORE[ASKS])] == ["params.x-mcp"]


def extras(value: Any, steps: Steps = ()) -> Iterator[Steps]:
    """The fields that pydantic kept though no model names them."""
    if isinstance(value, BaseModel):
        yield from ((*steps, name) for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from extras(getattr(value, name), (*steps, name))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from extras(inner, (*steps, name))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from extras(inner, (*steps, i))


@settings(deadline=None, max_examples=examples(300))
@given(payload=mutants(), places=st.just(set(range(100))) | st.sets(st.integers(0, 30), max_size=4))
def test_what_is_unknown_is_what_the_models_keep_without_a_name(payload: dict[str, Any], places: set[int]) -> None:
    _scatter(payload, places)
    if judge(payload).verdict == "valid":
        told = {issue.steps for issue in OMNIGENT.unheard_of(payload["type"], payload)}
        assert set(filter(_is_readable, told)) == set(filter(_is_readable, extras(OMNIGENT.event(payload))))


def _scatter(payload: Any, places: set[int]) -> None:
    """A new field in some of the objects, counted from the outermost; in a map it is an entry like the others."""
    objects = [payload]
    for one in objects:
        objects += [
            inner for inner in (one.values() if isinstance(one, dict) else one) if isinstance(inner, dict | list)
        ]
    for place, one in enumerate(objects):
        if place in places and isinstance(one, dict):
            one["scattered"] = {**next(iter(one.values()))} if _is_map(one) else {"more": [{}]}


def _is_map(value: dict[str, Any]) -> bool:
    return bool(value) and all(isinstance(inner, dict) for inner in value.values())


def _is_readable(steps: Steps) -> bool:
    """Whether it has no lone surrogate, of which a model makes a U+FFFD."""
    return all(str(step).isprintable() and "\ufffd" not in str(step) for step in steps)


@settings(deadline=None)
@given(payload=mutants())
def test_a_document_made_of_the_models_names_what_they_name(payload: dict[str, Any], of_models: Contract) -> None:
    type_ = payload.get("type")
    if isinstance(type_, str):
        assert of_models.unheard_of(type_, payload) == OMNIGENT.unheard_of(type_, payload)


@pytest.fixture(scope="module")
def of_models(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return loaded(tmp_path_factory.mktemp("openapi"), document_of_models())


# Schemas of any kind


def test_a_schema_that_refers_to_itself_is_followed_as_far_as_the_value_goes() -> None:
    assert unknown({"$ref": "#/$defs/Deep"}, {"again": {"again": {"x": 1, "y": 2}}}) == ["again.again.y"]


def test_a_map_of_maps_that_refers_to_itself_is_no_endless_thing() -> None:
    schema = {"$defs": {"Tree": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Tree"}}}}
    tree = Known(schema, [{"$ref": "#/$defs/Tree"}])
    assert tree.unknown({"a": {"b": {"c": {}}}}) == []
    assert tree.path(("a", "b", "c")) == "*.*.*"


def test_of_alternatives_one_that_knows_a_name_is_enough() -> None:
    one_or_other = {"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}, {"type": "null"}]}
    assert unknown(one_or_other, {"a": 1, "b": 2, "c": 3}) == ["c"]
    assert unknown({"anyOf": [{"properties": {"a": {}}}, {"type": "object"}]}, {"c": 3}) == []
    assert unknown({"anyOf": [{"properties": {"a": {}}}, {"enum": ["x"]}, {"type": "string"}]}, {"c": 3}) == ["c"]


def test_what_is_put_together_names_what_its_parts_name() -> None:
    schema = {"properties": {"a": {}}, "allOf": [{"$ref": "#/$defs/Deep"}]}
    assert unknown(schema, {"a": 1, "x": 1, "z": 1}) == ["z"]
    assert unknown({"$ref": "#/$defs/Deep", "properties": {"a": {}}}, {"a": 1, "x": 1, "z": 1}) == ["z"]


def test_elements_are_looked_into_and_share_a_path() -> None:
    schema = {"properties": {"list": {"type": "array", "items": {"$ref": "#/$defs/Deep"}}}}
    assert unknown(schema, {"list": [{"x": 1}, {"y": 1}, [], 5]}) == ["list[1].y"]
    assert known(schema).path(("list", 1, "y")) == "list[*].y"


def test_the_names_of_a_map_are_data() -> None:
    schema = {"properties": {"models": {"additionalProperties": {"$ref": "#/$defs/Deep"}}}}
    assert unknown(schema, {"models": {"gpt-4.1[0]": {"x": 1, "y": 2}}}) == ["models.gpt-4.1[0].y"]
    assert known(schema).path(("models", "gpt-4.1[0]", "y")) == "models.*.y"


@each(
    "schema",
    [
        True,
        {},
        {"$ref": "#/$defs/Gone"},
        {"$ref": "other.json"},
        {"$ref": 5},
        {"anyOf": 5},
        {"properties": 5},
        {"type": ["object", "null"]},
        {"additionalProperties": True},
        {"oneOf": [{"$ref": "#/$defs/Deep"}, True]},
    ],
)
def test_what_says_nothing_or_cannot_be_followed_is_open(schema: Any) -> None:
    assert unknown(schema, {"a": [{"b": 1}]}) == []


def test_two_schemas_that_mean_each_other_end() -> None:
    document = {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}}
    assert Known(document, [{"$ref": "#/$defs/A"}]).unknown({"x": {"y": 1}}) is not None


@pytest.mark.parametrize("schema", [{"additionalProperties": False}, {"properties": {"b": {}}}])
def test_a_schema_that_names_others_or_forbids_any_makes_a_name_unknown(schema: Any) -> None:
    assert unknown(schema, {"a": 1}) == ["a"]
