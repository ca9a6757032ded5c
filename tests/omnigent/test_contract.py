"""The contracts: a verdict for each frame, a model for each event.

`contract_session.sse` is a session as a live server sends it, shortened.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

import omnirecord.omnigent.contract
from omnirecord.contract import Issue
from omnirecord.contract.base import Event, UntypedEvent
from omnirecord.contract.judge import Contract, Judgement
from omnirecord.errors import UsageError
from omnirecord.omnigent.contract import MODELS, REQUIRED, ServerStreamEvent, load
from omnirecord.wire.sse import Parser
from tests.support.contract_cases import DELTA, DOCUMENTED, EXAMPLES, OMNIGENT, edited, frame, judge, loaded, paths
from tests.support.examples import each

# Verdicts


def test_a_frame_without_a_data_field_is_a_comment() -> None:
    assert OMNIGENT.judge(frame(None)) == Judgement("comment")
    assert OMNIGENT.judge(frame(None, complete=False)).verdict == "comment"


def test_the_end_marker_is_a_sentinel_even_where_it_is_cut_off() -> None:
    assert OMNIGENT.judge(frame("[DONE]")) == Judgement("sentinel", data="[DONE]")
    assert OMNIGENT.judge(frame("[DONE]", complete=False)).verdict == "sentinel"
    assert OMNIGENT.judge(frame("[DONE] ")).verdict == "malformed"


def test_an_unterminated_tail_is_truncated_however_whole_its_data_looks() -> None:
    assert OMNIGENT.judge(frame(DELTA % "", complete=False)) == Judgement("truncated", data=DELTA % "")


def test_an_oversized_frame_is_truncated_before_all_else() -> None:
    assert OMNIGENT.judge(frame(None, raw=None)) == Judgement("truncated")


@each(
    "text",
    [
        "",
        "hello",
        "[1]",
        "null",
        '"x"',
        "{}",
        '{"type": 5}',
        '{"type": null}',
        "\ufeff{}",
        DELTA % ', "n": NaN',
        DELTA % ', "n": [-Infinity]',
        DELTA % ', "a": {"b": 1, "b": 1}',
        DELTA % ', "delta": "Hi"',
        DELTA % f', "deep": {"[" * 100_000}',
        DELTA % f', "deep": {"[" * 600}{"]" * 600}',
        DELTA % f', "long": {"1" * 5000}',
    ],
)
def test_data_that_is_no_json_object_with_a_type_is_malformed(text: str) -> None:
    judgement = OMNIGENT.judge(frame(text))
    assert judgement.verdict == "malformed"
    assert judgement.issues


def test_malformed_data_is_kept_parsed_where_it_was_json_and_as_text_where_it_was_not() -> None:
    assert OMNIGENT.judge(frame("[1]")).data == [1]
    assert OMNIGENT.judge(frame('{"a": NaN}')).data == '{"a": NaN}'


def test_a_type_that_the_contract_lacks_is_unknown_before_its_event_field_is_looked_at() -> None:
    judgement = judge({"type": "session.dreams", "sequence_number": 3}, event="session.status")
    assert (judgement.verdict, judgement.type, judgement.sequence_number) == ("unknown", "session.dreams", 3)


def test_a_payload_that_does_not_fit_its_type_is_invalid_and_says_where() -> None:
    judgement = judge(edited(EXAMPLES["session.presence"], "viewers[].user_id"))
    assert judgement.verdict == "invalid"
    assert judgement.issues == (Issue("viewers[0].user_id", "is required"),)


def test_an_event_field_that_differs_from_the_type_is_invalid() -> None:
    judgement = judge(EXAMPLES["session.model"], event="session.status")
    assert judgement.verdict == "invalid"
    assert paths(judgement) == ["event"]


@pytest.mark.parametrize("event", [None, "", "session.model"])
def test_an_event_field_that_is_absent_empty_or_equal_is_fine(event: str | None) -> None:
    assert judge(EXAMPLES["session.model"], event=event).verdict == "valid"


@each("number", [True, "7", 7.0, None, [7]])
def test_a_sequence_number_that_is_no_integer_is_none(number: Any) -> None:
    assert judge({"type": "x", "sequence_number": number}).sequence_number is None


@pytest.mark.parametrize("contract", [OMNIGENT, DOCUMENTED])
def test_a_lone_surrogate_is_valid_and_kept_as_it_came(contract: Contract) -> None:
    judgement = contract.judge(frame(DELTA % ', "\\ud800": "\\udfff \\ud83d\\ude00"'))
    assert judgement.verdict == "valid"
    assert judgement.data["\ud800"] == "\udfff \U0001f600"


def test_nesting_that_jiter_refuses_and_a_client_reads_is_valid() -> None:
    assert OMNIGENT.judge(frame(DELTA % f', "deep": {"[" * 400}{"]" * 400}')).verdict == "valid"


def test_a_thousand_faults_are_told_as_twenty_and_a_count() -> None:
    judgement = judge({**EXAMPLES["session.presence"], "viewers": [{}] * 1000})
    assert len(judgement.issues) == 21
    assert judgement.issues[-1] == Issue("", "and 1980 more")


def test_a_path_as_long_as_a_book_is_clipped() -> None:
    judgement = judge({**EXAMPLES["session.usage"], "usage_by_model": {"m" * 10_000: 5}})
    assert max(map(len, paths(judgement))) <= 200


# The types


def test_there_are_56_types_and_the_page_has_43_of_them() -> None:
    assert OMNIGENT.types == set(EXAMPLES) == set(MODELS)
    assert (len(OMNIGENT.types), len(DOCUMENTED.types)) == (56, 43)
    assert DOCUMENTED.types < OMNIGENT.types


@each("type_", EXAMPLES)
def test_an_event_of_each_type_is_valid_and_so_is_one_with_its_required_fields_alone(type_: str) -> None:
    required = {name for name, field in MODELS[type_].model_fields.items() if field.is_required()}
    minimal = {name: value for name, value in EXAMPLES[type_].items() if name in required}
    assert judge(EXAMPLES[type_], event=type_) == Judgement(
        "valid", type_, EXAMPLES[type_]["sequence_number"], (), EXAMPLES[type_]
    )
    assert judge(minimal).verdict == "valid"
    for name in required - {"type"}:
        assert paths(judge(edited(minimal, name))) == [name]


@each("type_", EXAMPLES)
def test_each_type_has_a_model_that_keeps_every_field_and_says_what_it_is(type_: str) -> None:
    payload = {**EXAMPLES[type_], "unheard_of": {"a": [1]}}
    event = OMNIGENT.event(payload)
    assert type(event) is MODELS[type_]
    assert event.model_dump(exclude_unset=True) == payload
    assert event.type == type_
    doc = MODELS[type_].__doc__ or ""
    assert doc.endswith((".", ").", "…"))
    assert "\n" not in doc


def test_the_union_takes_an_event_to_the_model_of_its_type() -> None:
    adapter: TypeAdapter[Event] = TypeAdapter(ServerStreamEvent)
    for type_, example in EXAMPLES.items():
        assert type(adapter.validate_python(example)) is MODELS[type_]


def test_a_session_as_a_live_server_sends_it_is_valid_up_to_where_it_was_cut() -> None:
    parser = Parser()
    frames = parser.feed((Path(__file__).parents[1] / "support" / "contract_session.sse").read_bytes()) + parser.close()
    verdicts = [OMNIGENT.judge(one).verdict for one in frames]
    assert verdicts == ["valid"] * 10 + ["sentinel", "truncated"]


# The contract of the page


@each("type_", REQUIRED)
def test_an_event_with_all_that_the_page_promises_is_documented(type_: str) -> None:
    assert judge({**EXAMPLES[type_], "unheard_of": 1}, DOCUMENTED) == Judgement(
        "valid", type_, EXAMPLES[type_]["sequence_number"], (), {**EXAMPLES[type_], "unheard_of": 1}
    )


@each(
    ("type_", "path"),
    [(type_, path) for type_ in REQUIRED for path in ("sequence_number", *REQUIRED[type_].split())],
)
def test_a_key_field_of_the_page_is_required_and_not_null(type_: str, path: str) -> None:
    told = path.replace("[]", "[0]")
    missing = judge(edited(EXAMPLES[type_], path), DOCUMENTED)
    null = judge(edited(EXAMPLES[type_], path, value=None), DOCUMENTED)
    assert (missing.verdict, paths(missing)) == ("invalid", [told])
    assert (null.verdict, paths(null)) == ("invalid", [told])


@each(
    ("type_", "path"),
    [
        ("session.status", "response_id"),
        ("session.status", "error"),
        ("session.usage", "usage_by_model"),
        ("response.output_text.delta", "message_id"),
        ("response.output_text.delta", "index"),
        ("response.output_text.delta", "final"),
        ("response.client_task.cancel", "call_id"),
        ("response.completed", "response.usage"),
    ],
)
def test_a_field_that_the_page_names_with_a_condition_is_optional(type_: str, path: str) -> None:
    assert judge(edited(EXAMPLES[type_], path), DOCUMENTED).verdict == "valid"
    assert judge(edited(EXAMPLES[type_], path, value=None), DOCUMENTED).verdict == "valid"


@each(
    ("type_", "path", "value"),
    [
        ("session.status", "status", "launching"),
        ("session.sandbox_status", "stage", "sleeping"),
        ("session.usage", "context_tokens", "46"),
        ("session.terminal_pending", "pending", "true"),
        ("session.heartbeat", "sequence_number", "1"),
        ("session.heartbeat", "sequence_number", True),
        ("session.todos", "todos[].status", 5),
        ("session.child_session.updated", "child.busy", "yes"),
        ("response.created", "response.status", "completed"),
        ("response.error", "source", "harness"),
        ("response.elicitation_request", "params.mode", "voice"),
    ],
)
def test_the_page_is_strict_about_kinds_and_values(type_: str, path: str, value: Any) -> None:
    judgement = judge(edited(EXAMPLES[type_], path, value=value), DOCUMENTED)
    assert (judgement.verdict, paths(judgement)) == ("invalid", [path.replace("[]", "[0]")])


def test_what_the_page_does_not_know_is_unknown_to_it() -> None:
    assert judge(EXAMPLES["session.title"], DOCUMENTED).verdict == "unknown"


def test_an_item_of_another_type_is_let_through() -> None:
    item = {"type": "web_search_call", "action": {}}
    for contract in (OMNIGENT, DOCUMENTED):
        assert judge({**EXAMPLES["response.output_item.done"], "item": item}, contract).verdict == "valid"


# Models


def test_an_event_that_fits_no_model_keeps_its_fields_unchecked() -> None:
    payload = {"type": "session.status", "status": "dreaming", "sequence_number": "x", "_fields_set": 1}
    event = OMNIGENT.event(payload)
    assert type(event) is UntypedEvent
    assert (event.type, event.sequence_number) == ("session.status", None)
    assert event.model_dump(exclude_unset=True) == payload


@each("payload", [{}, {"type": 5}, {"type": None}, {"type": ["x"], "model_extra": 1}])
def test_an_event_without_a_usable_type_has_none(payload: dict[str, Any]) -> None:
    event = OMNIGENT.event(payload)
    assert (type(event), event.type) == (UntypedEvent, None)
    assert event.model_dump(exclude_unset=True) == payload


def test_a_lone_surrogate_in_a_fields_name_costs_no_event_its_model() -> None:
    event = OMNIGENT.event({**EXAMPLES["session.model"], "\ud800": 1})
    assert (event.model_extra or {}) == {"\ufffd": 1}


# Loading

BY_TYPE = {"propertyName": "type"}


def tiny(**schemas: Any) -> dict[str, Any]:
    """An OpenAPI document with one event type, `ping`."""
    ping = {
        "type": "object",
        "required": ["type", "n"],
        "properties": {
            "type": {"const": "ping"},
            "n": {"anyOf": [{"$ref": "#/components/schemas/Deep"}, {"type": "null"}]},
        },
    }
    deep = {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}
    union = {"oneOf": [{"$ref": "#/components/schemas/Ping"}], "discriminator": BY_TYPE}
    return {
        "openapi": "3.2.0",
        "components": {"schemas": {"Ping": ping, "Deep": deep, "ServerStreamEvent": union, **schemas}},
    }


def test_a_document_sets_a_contract_that_tells_where_an_event_breaks_it(tmp_path: Path) -> None:
    contract = loaded(tmp_path, tiny())
    assert (contract.name, contract.types) == (str(tmp_path / "openapi.json"), {"ping"})
    assert judge({"type": "ping", "n": None, "more": 1}, contract).verdict == "valid"
    assert judge({"type": "pong"}, contract).verdict == "unknown"
    assert judge({"type": "ping"}, contract).issues == (Issue("n", "is required"),)
    assert judge({"type": "ping", "n": {}}, contract).issues == (Issue("n.x", "is required"),)
    assert judge({"type": "ping", "n": {"x": "5"}}, contract).issues == (Issue("n.x", 'is not of type "integer"'),)


@pytest.mark.parametrize("mapping", [{"ping": "Ping"}, {"ping": "#/components/schemas/Ping"}])
def test_a_document_may_map_its_types_by_name_or_by_pointer(tmp_path: Path, mapping: dict[str, str]) -> None:
    union = {
        "anyOf": [{"$ref": "#/components/schemas/Ping"}],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }
    assert loaded(tmp_path, tiny(ServerStreamEvent=union)).types == {"ping"}


def test_a_union_by_another_name_will_do(tmp_path: Path) -> None:
    document = tiny()
    document["components"]["schemas"]["Events"] = document["components"]["schemas"].pop("ServerStreamEvent")
    assert loaded(tmp_path, document).types == {"ping"}


def test_the_nullable_of_openapi_3_0_is_understood(tmp_path: Path) -> None:
    ping = {
        "type": "object",
        "properties": {"type": {"enum": ["ping"]}, "n": {"type": "integer", "nullable": True}},
    }
    contract = loaded(tmp_path, {**tiny(Ping=ping), "openapi": "3.0.3"})
    assert judge({"type": "ping", "n": None}, contract).verdict == "valid"
    assert judge({"type": "ping", "n": "x"}, contract).verdict == "invalid"


@each(
    ("document", "said"),
    [
        ("{", "not JSON"),
        ("[]", "no OpenAPI document"),
        ("{}", "names no events"),
        ('{"components": [], "oneOf": 5}', "names no events"),
        (
            tiny(ServerStreamEvent={"oneOf": [{}], "discriminator": BY_TYPE}),
            "names no types",
        ),
        (tiny(Deep={"type": "nonsense"}), "unusable"),
        (tiny(Deep={"$ref": "#/components/schemas/Gone"}), "unusable"),
        (tiny(Deep={"$ref": "http://127.0.0.1:9/other.json"}), "is another document"),
    ],
)
def test_a_file_without_a_usable_contract_is_a_usage_error(tmp_path: Path, document: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        loaded(tmp_path, document)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_none_is_a_usage_error_that_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"omnigent, documented, or the path of an openapi\.json"):
        load("omnigen")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)


def test_importing_the_contracts_is_light() -> None:
    heavy = {"aiohttp", "jsonschema_rs", "sqlite3", "sqlite_utils", "click", "rich"}
    code = "import sys; from omnirecord.omnigent.contract import load; load('documented'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy & set(done.stdout.split()) == set()


def test_the_model_of_each_type_can_be_imported_from_the_contracts() -> None:
    assert [
        one for one in MODELS.values() if getattr(omnirecord.omnigent.contract, one.__name__, None) is not one
    ] == []
