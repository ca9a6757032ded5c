"""A recording held against a contract."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import omnirecord
from omnirecord.analysis.validate import LONGEST_EXAMPLE, LONGEST_NAME, MANY_NAMES, Tally, Validation
from omnirecord.cassette.contracts import load
from omnirecord.cassette.open import import_file
from omnirecord.contract.judge import Contract
from tests.omnigent.test_agreement import JSON, mutants
from tests.support.contract_cases import EXAMPLES, document_of_models, edited
from tests.support.examples import each, examples
from tests.support.recorded import calls

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"
REAL = ("text", "tool", "approval", "interrupt", "failed", "two_clients", "reconnect", "subagent")

# What a reader finds with the page beside the recordings: made by hand, before the code. Why: `docs/validate.md`.
BY_HAND: dict[tuple[str | None, str, str], int] = {
    ("session.input.consumed", "type", "unknown type"): 13,
    ("response.created", "sequence_number", "wrong kind"): 1,
    ("response.elicitation_request", "sequence_number", "wrong kind"): 1,
    ("response.elicitation_resolved", "sequence_number", "wrong kind"): 2,
    ("response.output_item.done", "sequence_number", "wrong kind"): 11,
    ("response.output_text.delta", "sequence_number", "wrong kind"): 1,
    ("session.changed_files.invalidated", "sequence_number", "wrong kind"): 12,
    ("session.child_session.updated", "sequence_number", "wrong kind"): 5,
    ("session.created", "sequence_number", "wrong kind"): 1,
    ("session.heartbeat", "sequence_number", "wrong kind"): 11,
    ("session.interrupted", "sequence_number", "wrong kind"): 1,
    ("session.model", "sequence_number", "wrong kind"): 8,
    ("session.presence", "sequence_number", "wrong kind"): 11,
    ("session.resource.created", "sequence_number", "wrong kind"): 1,
    ("session.status", "sequence_number", "wrong kind"): 24,
    ("session.usage", "sequence_number", "wrong kind"): 10,
    ("session.heartbeat", "server_time", "wrong kind"): 11,
    ("session.usage", "context_tokens", "wrong kind"): 1,
    ("session.usage", "context_window", "wrong kind"): 1,
    ("session.usage", "total_cost_usd", "wrong kind"): 10,
    ("session.interrupted", "data.response_id", "wrong kind"): 1,
    ("response.output_item.done", "item.type", "unknown value"): 2,
    ("session.status", "background_task_count", "unknown field"): 24,
    ("session.status", "background_tasks", "unknown field"): 24,
    ("session.status", "blocked_on", "unknown field"): 24,
    ("response.elicitation_request", "method", "unknown field"): 1,
    ("response.elicitation_request", "params.url", "unknown field"): 1,
    ("response.elicitation_request", "params.target_session_id", "unknown field"): 1,
    ("response.elicitation_resolved", "action", "unknown field"): 2,
    ("response.elicitation_resolved", "reason", "unknown field"): 2,
    ("response.failed", "source", "unknown field"): 1,
}


def recorded(folder: Path, *events: Any, tail: str = "") -> Path:
    """A cassette of one stream with these events: payloads, or frames as they are."""
    frames = (one if isinstance(one, str) else f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    body = folder / "body.sse"
    body.write_bytes(("".join(frames) + tail).encode("utf-8", "surrogatepass"))
    path = folder / "recorded.db"
    path.unlink(missing_ok=True)
    import_file(body, path)
    return path


def recorded_as(folder: Path, name: str, events: list[Any]) -> Path:
    return recorded(folder, *events).rename(folder / f"{name}.db")


def validated(folder: Path, *events: Any, contract: str | Path = "omnigent", tail: str = "") -> Validation:
    return omnirecord.validate(recorded(folder, *events, tail=tail), contract)


def found(result: Validation) -> dict[tuple[str | None, str, str], int]:
    return {(p.type, p.path, p.problem): p.count for p in result.problems}


# The real server


def test_against_the_page_the_real_cassettes_show_what_a_reader_finds_by_hand() -> None:
    together: Counter[tuple[str | None, str, str]] = Counter()
    for name in REAL:
        together.update(found(omnirecord.validate(CASSETTES / f"{name}.jsonl", "documented")))
    assert together == BY_HAND


def test_a_server_that_answers_as_the_page_says_differs_from_it_in_nothing() -> None:
    result = omnirecord.validate(CASSETTES / "responses.jsonl", "documented")
    assert (result.events, result.problems, result.ok) == (54, (), True)


@each("name", [*REAL, "responses"])
def test_a_healthy_cassette_fits_the_contract_that_it_was_recorded_by(name: str) -> None:
    result = omnirecord.validate(CASSETTES / f"{name}.jsonl")
    assert (result.contract, result.problems, result.ok) == ("omnigent", (), True)


# Each kind of difference


def test_each_kind_is_told_at_its_place_with_the_first_event_that_shows_it(tmp_path: Path) -> None:
    fine = EXAMPLES["session.model"]
    result = validated(
        tmp_path,
        fine,
        {"type": "session.dreams", "of": "sheep"},
        f"event: session.status\ndata: {json.dumps(fine)}\n\n",
        edited(fine, "model"),
        edited(fine, "model", value=[5]),
        {**EXAMPLES["session.status"], "status": "dreaming", "mood": "blue"},
        "data: nonsense\n\n",
        ": a comment\n\n",
        "data: [DONE]\n\n",
        tail='data: {"type": "session.mo',
    )
    assert [(p.type, p.path, p.problem, p.first.seq, p.example) for p in result.problems] == [
        (None, "", "malformed", 7, "nonsense"),
        (None, "", "truncated", 10, '{"type": "session.mo'),
        ("session.dreams", "type", "unknown type", 2, "of=sheep"),
        ("session.model", "event", "event differs", 3, '"session.status"'),
        ("session.model", "model", "missing field", 4, ""),
        ("session.model", "model", "wrong kind", 5, "[5]"),
        ("session.status", "status", "unknown value", 6, '"dreaming"'),
        ("session.status", "mood", "unknown field", 6, '"blue"'),
    ]
    assert result.verdicts == {"valid": 1, "unknown": 1, "invalid": 4, "malformed": 1, "truncated": 1}
    assert (result.events, result.ok, result.unknown_types) == (8, False, ("session.dreams",))


def test_a_row_has_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    (problem,) = validated(tmp_path, {"type": "new"}).problems
    first = {"stream": 1, "seq": 1}
    assert problem.row == {"type": "new", "path": "type", "problem": "unknown type", "count": 1, "first": first}


@pytest.mark.parametrize(
    ("event", "tail"), [({"type": "new"}, ""), ({**EXAMPLES["session.model"], "new": 1}, ""), (": hi\n\n", "data: {")]
)
def test_what_is_unknown_or_cut_off_is_told_and_no_fault(tmp_path: Path, event: Any, tail: str) -> None:
    result = validated(tmp_path, event, tail=tail)
    assert (len(result.problems), result.ok) == (1, True)


def test_what_is_in_many_places_of_many_events_is_one_row_that_counts_events(tmp_path: Path) -> None:
    event = {**EXAMPLES["session.presence"], "viewers": [{"user_id": "u"}] * 3}
    assert found(validated(tmp_path, event, event)) == {
        ("session.presence", "viewers[*].joined_at", "missing field"): 2
    }


def test_more_faults_than_a_verdict_tells_are_all_counted(tmp_path: Path) -> None:
    viewers = [{"joined_at": "x", "user_id": "u"}] * 50 + [{"user_id": 5, "joined_at": "x"}] * 50
    wrong = {**EXAMPLES["session.presence"], "viewers": [{}] * 50 + viewers}
    assert len(found(validated(tmp_path, wrong))) == 3


def test_names_that_are_data_make_one_row(tmp_path: Path) -> None:
    models = [{f"model.{n}[0]": {"input_tokens": "many", "new": 1}} for n in range(50)]
    events = [{**EXAMPLES["session.usage"], "usage_by_model": one} for one in models]
    assert found(validated(tmp_path, *events)) == {
        ("session.usage", "usage_by_model.*.input_tokens", "wrong kind"): 50,
        ("session.usage", "usage_by_model.*.new", "unknown field"): 50,
    }


def test_unknown_names_without_end_are_told_up_to_a_number(tmp_path: Path) -> None:
    events = [{**EXAMPLES["session.model"], f"key {n}": n} for n in range(MANY_NAMES + 50)]
    counts = found(validated(tmp_path, *events))
    assert len(counts) == MANY_NAMES + 1
    assert counts["session.model", "*", "unknown field"] == 50


def test_events_of_one_shape_are_counted_without_judging_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [{**EXAMPLES["session.interrupted"], "new": f"text {n}", "other": {"x": n}} for n in range(300)]
    cassette, examine, judged = recorded(tmp_path, *events), Contract.examine, list[object]()
    monkeypatch.setattr(Contract, "examine", lambda self, one: judged.append(one) or examine(self, one))
    result = omnirecord.validate(cassette, "omnigent")
    assert found(result) == {("session.interrupted", name, "unknown field"): 300 for name in ("new", "other")}
    assert {p.first.seq for p in result.problems} == {1}
    assert len(judged) < 150


def test_one_unknown_name_in_many_elements_is_one_name(tmp_path: Path) -> None:
    viewers = [{"user_id": "u", "joined_at": "x", "new": 1}] * (MANY_NAMES + 50)
    event = {**EXAMPLES["session.presence"], "viewers": viewers}
    assert found(validated(tmp_path, event)) == {("session.presence", "viewers[*].new", "unknown field"): 1}


def test_every_event_is_judged_anew_whatever_the_recording_was_judged_by(tmp_path: Path) -> None:
    path = recorded(tmp_path, EXAMPLES["session.title"])
    assert omnirecord.validate(path).ok
    assert omnirecord.validate(path, "documented").unknown_types == ("session.title",)


@pytest.mark.parametrize(("own", "used"), [("documented", "documented"), ("old/openapi.json", "omnigent")])
def test_a_recording_is_held_against_its_own_contract_unless_that_was_a_file(
    tmp_path: Path, own: str, used: str
) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text((CASSETTES / "text.jsonl").read_text().replace('"omnigent"', json.dumps(own), 1))
    assert omnirecord.validate(path).contract == used


def test_types_that_never_came_are_told_apart(tmp_path: Path) -> None:
    result = validated(tmp_path, EXAMPLES["session.model"])
    assert result.unseen == tuple(sorted(set(EXAMPLES) - {"session.model"}))
    assert result.problems == ()


def test_a_cassette_without_events_differs_in_nothing(tmp_path: Path) -> None:
    result = validated(tmp_path, ": hi\n\n")
    assert (result.events, result.problems, result.ok, result.contract) == (0, (), True, "omnigent")


def test_only_the_events_of_a_session_that_is_named_are_looked_at() -> None:
    path = CASSETTES / "subagent.jsonl"
    with omnirecord.open_cassette(path) as cassette:
        ids = {stream.session_id for stream in cassette.streams()}
    parts = [omnirecord.validate(path, session=one) for one in ids if one]
    assert len(parts) == 2
    assert sum(part.events for part in parts) == omnirecord.validate(path).events
    with pytest.raises(omnirecord.UsageError, match="no session begins with"):
        omnirecord.validate(path, session="nobody")


# Another version of the server


@pytest.fixture
def document() -> dict[str, Any]:
    return document_of_models()


def against(folder: Path, document: dict[str, Any], name: str) -> Validation:
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    return omnirecord.validate(CASSETTES / f"{name}.jsonl", path)


@each("name", [*REAL, "responses"])
def test_the_document_of_the_same_version_is_fitted(tmp_path: Path, document: dict[str, Any], name: str) -> None:
    assert against(tmp_path, document, name).problems == ()


def test_a_field_that_a_version_had_not_yet_is_unknown_to_it(tmp_path: Path, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    del schemas["SessionStatusEvent"]["properties"]["blocked_on"]
    del schemas["Usage"]["properties"]["cost_usd"]
    result = against(tmp_path, document, "text")
    assert found(result) == {
        ("session.status", "blocked_on", "unknown field"): 2,
        ("response.completed", "response.usage.cost_usd", "unknown field"): 1,
    }
    assert result.ok


def test_a_type_that_was_renamed_is_unknown_and_its_old_name_never_comes(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    schemas = document["components"]["schemas"]
    schemas["SessionModelEvent"]["properties"]["type"] = {"const": "session.llm"}
    mapping = schemas["ServerStreamEvent"]["discriminator"]["mapping"]
    mapping["session.llm"] = mapping.pop("session.model")
    result = against(tmp_path, document, "text")
    assert found(result) == {("session.model", "type", "unknown type"): 1}
    assert "session.llm" in result.unseen


def test_a_kind_a_list_of_values_or_a_required_field_that_has_changed_is_told(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    schemas = document["components"]["schemas"]
    schemas["SessionModelEvent"]["properties"]["model"] = {"type": "object"}
    schemas["SessionModelEvent"]["required"].append("provider")
    schemas["SessionStatusEvent"]["properties"]["status"] = {"enum": ["idle", "busy"]}
    schemas["Usage"]["required"] = ["seconds"]
    result = against(tmp_path, document, "text")
    assert found(result) == {
        ("session.model", "model", "wrong kind"): 1,
        ("session.model", "provider", "missing field"): 1,
        ("session.status", "status", "unknown value"): 1,
        ("response.completed", "response.usage.seconds", "missing field"): 1,
    }
    assert not result.ok


def test_a_field_that_a_document_forbids_is_unknown_and_a_fault(tmp_path: Path, document: dict[str, Any]) -> None:
    event = document["components"]["schemas"]["SessionModelEvent"]
    event["additionalProperties"] = False
    del event["properties"]["model"]
    event["required"].remove("model")
    result = against(tmp_path, document, "text")
    assert (found(result), result.ok) == ({("session.model", "model", "unknown field"): 1}, False)


def test_the_document_of_another_service_is_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    ping = {"properties": {"type": {"const": "ping"}}}
    union = {"oneOf": [{"$ref": "#/components/schemas/Ping"}], "discriminator": {"propertyName": "type"}}
    document["components"]["schemas"] = {"Ping": ping, "Union": union}
    with pytest.raises(omnirecord.UsageError, match="of another API"):
        against(tmp_path, document, "text")
    assert validated(tmp_path, {"type": "ping"}, contract=tmp_path / "openapi.json").ok


@pytest.mark.real
def test_the_schema_made_from_the_installed_server_is_fitted(tmp_path: Path) -> None:
    schemas = pytest.importorskip("omnigent.server.schemas")
    path = tmp_path / "events.json"
    path.write_text(json.dumps(TypeAdapter(schemas.ServerStreamEvent).json_schema()))
    for name in REAL:
        assert omnirecord.validate(CASSETTES / f"{name}.jsonl", path).problems == (), name


# Whatever comes


@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=st.lists(mutants() | JSON, max_size=6), contract=st.sampled_from(["omnigent", "documented"]))
def test_nothing_that_comes_is_too_much_and_the_counts_add_up(
    tmp_path: Path, payloads: list[Any], contract: str
) -> None:
    frames = [f"data: {json.dumps(one)}\n\n" for one in payloads]
    result = validated(tmp_path, *frames, contract=contract)
    assert result.events == sum(result.verdicts.values()) == len(payloads)
    by_kind: Counter[str] = Counter()
    for problem in result.problems:
        by_kind[problem.problem] += problem.count
        assert problem.count <= result.events
        assert problem.example.isprintable()
        assert len(problem.example) <= LONGEST_EXAMPLE
    assert by_kind["unknown type"] == result.verdicts.get("unknown", 0)
    assert by_kind["malformed"] == result.verdicts.get("malformed", 0)
    assert result.verdicts.get("invalid", 0) <= by_kind.total()


def test_names_and_values_of_a_megabyte_are_shortened(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    result = validated(tmp_path, {"type": long}, {**EXAMPLES["session.model"], long: long, "model": [long]})
    assert len(result.problems) == 3
    for problem in result.problems:
        assert len(problem.type or "") <= LONGEST_NAME
        assert len(problem.path) <= LONGEST_NAME
        assert len(problem.example) <= LONGEST_EXAMPLE


def test_a_name_with_a_lone_surrogate_is_told(tmp_path: Path) -> None:
    event = {**EXAMPLES["session.mcp_startup"], "servers": {"\ud800": {"status": 5}}, "\udfff": 1}
    assert set(found(validated(tmp_path, event))) == {
        ("session.mcp_startup", "servers.*.status", "unknown value"),
        ("session.mcp_startup", "\udfff", "unknown field"),
    }


def test_the_work_is_linear(tmp_path: Path) -> None:
    events = [EXAMPLES["session.presence"], EXAMPLES["response.completed"], {"type": "new"}]
    small, large = recorded_as(tmp_path, "small", events * 20), recorded_as(tmp_path, "large", events * 200)
    omnirecord.validate(small, "documented")
    few, many = (calls(partial(omnirecord.validate, path, "documented")) for path in (small, large))
    assert many < 10.5 * few


def test_several_contracts_are_listed_with_commas() -> None:
    names = ("omnigent", "openai-chat", "anthropic-messages")
    assert Tally().result(map(load, names)).contract == "omnigent, openai-chat and anthropic-messages"
    assert Tally().result(map(load, names[:2])).contract == "omnigent and openai-chat"
    assert Tally().result([load("omnigent")]).contract == "omnigent"
    assert Tally().result([]).contract == ""
