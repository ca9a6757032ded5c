"""The contracts against whatever comes, and against the real models: where one side accepts, so does the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from omnirecord.contract.judge import Contract
from omnirecord.omnigent.contract import MODELS
from tests.support.contract_cases import DOCUMENTED, EXAMPLES, OMNIGENT, document_of_models, frame, judge, loaded
from tests.support.examples import examples

# Whatever comes

TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
# Often taken for another kind. Built anew each time, since the mutants are changed in place.
ODD = st.builds(json.loads, st.sampled_from(['"5"', '"true"', '"1.5"', "5.0", "0", "1", "[]", "{}"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8)
EVENTS = st.sampled_from(sorted(EXAMPLES)).map(EXAMPLES.__getitem__)


@st.composite
def mutants(draw: st.DrawFn, events: st.SearchStrategy[dict[str, Any]] = EVENTS) -> dict[str, Any]:
    """An event with something added, taken out or replaced, at any depth."""
    payload = json.loads(json.dumps(draw(events)))
    for _ in range(draw(st.integers(0, 2))):
        _mutate(draw, draw(st.sampled_from(list(_containers(payload)))))
    return payload


def _mutate(draw: st.DrawFn, parent: Any) -> None:
    keys: list[Any] = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
    what = draw(st.sampled_from(["add", "delete", "replace"])) if keys else "add"
    if what == "delete":
        del parent[draw(st.sampled_from(keys))]
    elif what == "replace":
        parent[draw(st.sampled_from(keys))] = draw(JSON | ODD)
    elif isinstance(parent, dict):
        parent[draw(TEXT)] = draw(JSON)
    else:
        parent.append(draw(JSON))


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for child in value.values() if isinstance(value, dict) else value:
            yield from _containers(child)


@pytest.fixture(scope="module")
def from_a_document(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return loaded(tmp_path_factory.mktemp("openapi"), document_of_models())


@settings(deadline=None)
@given(
    data=st.none() | TEXT | JSON.map(json.dumps) | mutants().map(json.dumps) | mutants().map(str),
    event=st.none() | st.text(),
    complete=st.booleans(),
    raw=st.none() | st.just(b""),
)
def test_judging_never_raises(
    from_a_document: Contract, data: str | None, event: str | None, complete: bool, raw: bytes | None
) -> None:
    for contract in (OMNIGENT, DOCUMENTED, from_a_document):
        judgement = contract.judge(frame(data, event, complete=complete, raw=raw))
        assert bool(judgement.issues) == (judgement.verdict in ("malformed", "unknown", "invalid"))
        if isinstance(judgement.data, dict):
            contract.event(judgement.data)


@settings(deadline=None)
@given(text=JSON.map(json.dumps) | mutants().map(json.dumps) | st.text())
def test_data_is_what_a_client_would_read(text: str) -> None:
    judgement = OMNIGENT.judge(frame(text))
    if judgement.verdict != "malformed" and text != "[DONE]":
        assert judgement.data == json.loads(text)


@settings(deadline=None)
@given(payload=mutants())
def test_what_is_documented_is_valid_in_omnigent_too(payload: dict[str, Any]) -> None:
    if judge(payload, DOCUMENTED).verdict == "valid":
        assert judge(payload).verdict == "valid"


def test_a_document_made_of_the_models_finds_every_example_valid(from_a_document: Contract) -> None:
    assert {judge(example, from_a_document).verdict for example in EXAMPLES.values()} == {"valid"}


# Against the real package


@pytest.fixture(scope="module")
def real_models() -> dict[str, type[BaseModel]]:
    schemas = pytest.importorskip("omnigent.server.schemas")
    members = get_args(get_args(schemas.ServerStreamEvent)[0])
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in members}


@pytest.fixture(scope="module")
def real_union() -> TypeAdapter[Any]:
    return TypeAdapter(pytest.importorskip("omnigent.server.schemas").ServerStreamEvent)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def lacking(real: type[BaseModel], ours: type[BaseModel]) -> Iterator[str]:
    """The fields of a real model, at all depths, that ours lacks, or has as something else than a model."""
    for name, field in real.model_fields.items():
        mine = ours.model_fields.get(name)
        nested = models_in(mine.annotation) if mine else []
        if mine is None or (mine.is_required() != field.is_required() and real.__name__ == ours.__name__):
            yield f"{real.__name__}.{name}"
        for model in models_in(field.annotation):
            namesake = [one for one in nested if one.__name__ == model.__name__]
            found = (namesake or nested)[:1]
            yield from lacking(model, found[0]) if found else [f"{real.__name__}.{name}"]


@pytest.mark.real
def test_every_real_type_is_here_by_its_real_name(real_models: dict[str, type[BaseModel]]) -> None:
    ours = {type_: model.__name__ for type_, model in MODELS.items() if type_ != "session.skills"}
    assert ours == {type_: model.__name__ for type_, model in real_models.items()}


@pytest.mark.real
def test_every_field_of_every_real_model_is_here(real_models: dict[str, type[BaseModel]]) -> None:
    assert [name for type_, real in real_models.items() for name in lacking(real, MODELS[type_])] == []


KINDS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "integer": st.integers(),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "null": st.none(),
}
ANY = st.none() | st.lists(st.text() | st.integers()) | st.dictionaries(st.text(), st.text())


def from_schema(schema: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a JSON schema of pydantic's allows."""
    if "$ref" in schema:
        return from_schema(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in schema:
        return st.one_of([from_schema(member, defs) for member in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if schema.get("type") == "array":
        return st.lists(from_schema(schema["items"], defs), max_size=2)
    if schema.get("type") == "object":
        return _object_from(schema, defs)
    return KINDS[schema["type"]] if "type" in schema else ANY


def _object_from(schema: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[Any]:
    properties = {name: from_schema(value, defs) for name, value in schema.get("properties", {}).items()}
    required = {name: properties.pop(name) for name in schema.get("required", ())}
    if not required and not properties:
        values = schema.get("additionalProperties")
        inner = from_schema(values, defs) if isinstance(values, dict) else ANY
        return st.dictionaries(st.text(), inner, max_size=2)
    return st.fixed_dictionaries(required, optional=properties)


@pytest.mark.real
@settings(deadline=None)
@given(data=st.data())
def test_what_the_real_models_dump_is_valid(real_models: dict[str, type[BaseModel]], data: st.DataObject) -> None:
    real = real_models[data.draw(st.sampled_from(sorted(real_models)))]
    schema = real.model_json_schema()
    event = real.model_validate(data.draw(from_schema(schema, schema.get("$defs", {}))))
    judgement = OMNIGENT.judge(frame(event.model_dump_json(), event.type))  # type: ignore[attr-defined]
    assert judgement.verdict == "valid", judgement.issues


@pytest.mark.real
@settings(deadline=None, max_examples=examples(1000))
@given(payload=mutants(EVENTS.filter(lambda event: event["type"] != "session.skills")))
def test_the_real_client_takes_an_event_exactly_where_it_is_valid(
    real_union: TypeAdapter[Any], payload: dict[str, Any]
) -> None:
    judgement = judge(payload)
    if judgement.verdict == "malformed":
        return
    try:
        real_union.validate_python(json.loads(json.dumps(payload)))
        accepted = True
    except ValueError:
        accepted = False
    assert (judgement.verdict == "valid") is accepted, judgement.issues
