"""The change of a request to a model: paths, values, and the same change in later requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omnirecord.errors import UsageError
from omnirecord.forks.change import Change, Made, Setting, edited_body

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
RESULT, SYSTEM = "messages[-1].content[0].content", "systemInstruction.parts[0].text"
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
ASKED: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ],
}
CLAUDE: dict[str, Any] = {
    "model": "c",
    "max_tokens": 9,
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]},
    ],
}
GOOGLE: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "Weather?"}]}],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
}
ITEMS: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "Weather?"},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ],
}


def made(body: dict[str, Any], target: str, *sets: str, model: str | None = None, edited: Any = None) -> Made:
    return Change.of(model, sets, edited).made(json.dumps(body).encode(), target)


def carried(change: Made, body: dict[str, Any], target: str) -> dict[str, Any] | None:
    """Return a later request with the change; None if the change is not in it."""
    found = change.carried(json.dumps(body).encode(), target)
    return None if found is None else json.loads(found[0])


def grown(body: dict[str, Any], name: str, *more: dict[str, Any]) -> dict[str, Any]:
    return body | {name: [*body[name], *more]}


@pytest.mark.parametrize(
    ("body", "target", "setting", "where"),
    [
        (ASKED, CHAT, "messages[-1].content=rainy", lambda data: data["messages"][3]["content"]),
        (ASKED, CHAT, "messages[0].content=rainy", lambda data: data["messages"][0]["content"]),
        (ASKED, CHAT, "$.messages[?@.role=='tool'].content=rainy", lambda data: data["messages"][3]["content"]),
        (ITEMS, RESPONSES, "input[-1].output=rainy", lambda data: data["input"][2]["output"]),
        (ITEMS, RESPONSES, "instructions=rainy", lambda data: data["instructions"]),
        (CLAUDE, MESSAGES, f"{RESULT}=rainy", lambda data: data["messages"][2]["content"][0]["content"]),
        (CLAUDE, MESSAGES, "system=rainy", lambda data: data["system"]),
        (GOOGLE, GEMINI, "contents[-1].parts[0].text=rainy", lambda data: data["contents"][0]["parts"][0]["text"]),
        (GOOGLE, GEMINI, f"{SYSTEM}=rainy", lambda data: data["systemInstruction"]["parts"][0]["text"]),
    ],
)
def test_a_path_sets_a_value_of_each_api_and_nothing_else(body: Any, target: str, setting: str, where: Any) -> None:
    before, after = json.dumps(body), made(body, target, setting).after.data
    assert where(after) == "rainy"
    assert json.dumps(after).replace("rainy", where(body)) == before
    assert json.dumps(body) == before


def test_a_value_is_text_in_the_place_of_a_text_and_json_elsewhere() -> None:
    after = made(ASKED, CHAT, "messages[-1].content=42", "temperature=0.5", 'tools=[{"type": "function"}]').after.data
    assert (after["messages"][3]["content"], after["temperature"], after["tools"]) == (
        "42",
        0.5,
        [{"type": "function"}],
    )


def test_a_setting_inside_a_missing_object_makes_the_object() -> None:
    assert made(GOOGLE, GEMINI, "generationConfig.temperature=0").after.data["generationConfig"] == {"temperature": 0}
    assert made(ITEMS, RESPONSES, "reasoning.effort=high").after.data["reasoning"] == {"effort": "high"}


def test_an_equals_sign_inside_brackets_does_not_end_the_path() -> None:
    assert Setting.of("$.messages[?@.role=='a=b'].content=c=d") == ("$.messages[?@.role=='a=b'].content", "c=d")


def test_another_model_is_in_the_body_or_in_the_path() -> None:
    assert made(ASKED, CHAT, model="m2").after.data["model"] == "m2"
    assert made(ASKED, CHAT, "model=m2").after.data["model"] == "m2"
    after = made(GOOGLE, GEMINI, model="gemini-3")
    assert after.after.target == "/v1beta/models/gemini-3:streamGenerateContent?alt=sse"
    assert after.carried(json.dumps(GOOGLE).encode(), GEMINI) == (json.dumps(GOOGLE).encode(), after.after.target)
    assert after.carried(json.dumps(GOOGLE | {"labels": {}}).encode(), GEMINI) is not None


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"sets": ["messages[-1].content=sunny"]}, '--set messages[-1].content changes nothing: its value is "sunny"'),
        ({"sets": ["model=m"]}, "--model m changes nothing: the request already asks this model"),
        ({"model": "m"}, "--model m changes nothing: the request already asks this model"),
        ({"edited": ASKED}, "--edit changes nothing: the file equals the recorded request"),
        ({"sets": ["temprature=1"]}, "--set temprature: the request has no such field: the nearest is temperature."),
        ({"sets": ["messages[4].content=x"]}, "--set messages[4].content: the request has no such field: messages has"),
        ({"sets": ["messages[-1].contnt=x"]}, "--set messages[-1].contnt changes nothing that a model reads"),
        ({"sets": ["messages[-1"]}, "--set 'messages[-1' is no PATH=VALUE"),
        ({"sets": ["=x"]}, "--set '=x' is no PATH=VALUE"),
        ({"sets": ["messages.-1=x"]}, "--set messages.-1: this is no path (expected a shorthand selector)"),
        ({"sets": ["$=x"]}, "--set $: the path names the whole request: give --edit FILE"),
        ({"model": " "}, "--model is empty"),
    ],
)
def test_a_change_without_effect_is_an_error(words: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError) as raised:
        Change.of(**words).made(json.dumps(ASKED).encode(), CHAT)
    assert str(raised.value).startswith(error)


def test_a_body_that_is_no_object_cannot_be_changed() -> None:
    with pytest.raises(UsageError, match="was not recorded whole"):
        Change.of("m2").made(b'{"model": "m", "mess', CHAT)
    for text in ("[1]", "{", "{}"):
        with pytest.raises(UsageError, match="--edit new"):
            edited_body(text, "new.json")


def test_a_later_request_has_the_changed_message_in_its_history() -> None:
    change = made(
        ASKED, CHAT, "messages[-1].content=rainy", "messages[0].content=Be long.", "temperature=0", model="m2"
    )
    later = grown(ASKED, "messages", {"role": "assistant", "content": "Wet."}, {"role": "user", "content": "Bye"})
    found = carried(change, later, CHAT)
    assert found is not None
    assert [one["content"] for one in found["messages"]] == ["Be long.", "Weather?", None, "rainy", "Wet.", "Bye"]
    assert (found["model"], found["temperature"]) == ("m2", 0)


def test_ids_and_marks_for_caching_do_not_count() -> None:
    change = made(CLAUDE, MESSAGES, "messages[-1].content[0].content=rainy", "system=Be long.")
    marked = {"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}
    later = grown(CLAUDE, "messages", {"role": "assistant", "content": "Wet."}, {"role": "user", "content": "Bye"})
    later["messages"][0] = {"role": "user", "content": [marked]}
    found = carried(change, later, MESSAGES)
    assert found is not None
    assert (found["system"], found["messages"][2]["content"][0]["content"]) == ("Be long.", "rainy")
    assert found["messages"][0]["content"] == [marked]


def test_a_later_request_with_another_history_stays() -> None:
    change = made(ASKED, CHAT, "messages[-1].content=rainy", model="m2")
    other = ASKED | {"model": "other", "messages": [{"role": "user", "content": "Hi"}]}
    assert carried(change, other, CHAT) is None
    assert carried(change, ITEMS | {"model": "m3"}, RESPONSES) is None


def test_a_text_as_input_is_carried_into_a_list_of_items() -> None:
    change = made({"model": "m", "input": "Hi"}, RESPONSES, "input=Ho")
    found = carried(
        change,
        {"model": "m", "input": [{"role": "user", "content": "Hi"}, {"role": "user", "content": "b"}]},
        RESPONSES,
    )
    assert found is not None
    assert [one["content"] for one in found["input"]] == ["Ho", "b"]


def test_an_answer_that_another_item_repeats_is_not_changed() -> None:
    change = made(ITEMS | {"input": ITEMS["input"][2:]}, RESPONSES, "input[-1].output=rainy")
    assert carried(change, ITEMS | {"input": [ITEMS["input"][2] | {"call_id": "c2"}]}, RESPONSES) is None


def test_an_edited_body_may_lack_messages_and_the_rest_of_a_request_stays() -> None:
    edited = ASKED | {"messages": ASKED["messages"][1:], "temperature": 1}
    change = Change.of(edited=edited).made(json.dumps(ASKED | {"user": "u"}).encode(), CHAT, json.dumps(ASKED).encode())
    assert change.after.data == edited | {"user": "u"}
    found = carried(change, grown(ASKED, "messages", {"role": "user", "content": "Bye"}), CHAT)
    assert found is not None
    assert [one["role"] for one in found["messages"]] == ["user", "assistant", "tool", "user"]


def test_a_change_is_told_in_the_words_of_the_command_line() -> None:
    change = Change.of("m2", ["messages[-1].content=a\nb"], {"model": "x"})
    assert change.told() == "--edit, --model m2, --set 'messages[-1].content=a b'"
    assert not Change.of()
