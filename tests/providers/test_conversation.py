"""The body of a request to a model API, read into a conversation that equals another one with the same meaning."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.providers.conversation import Conversation, Difference, conversation_of, differences
from tests.support.examples import each

HEX = "c6dde6498cf3476ebdda786dfb6f4cfa"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
    "required": ["city"],
}
RESPONSES: dict[str, Any] = {
    "model": "gpt-5",
    "instructions": "Be brief.",
    "stream": True,
    "input": [
        {"role": "user", "content": "Weather in Rome?"},
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        {
            "id": "fc_1",
            "type": "function_call",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city": "Rome"}',
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
    ],
    "tools": [{"type": "function", "name": "weather", "description": "The weather.", "parameters": SCHEMA}],
}
CHAT: dict[str, Any] = {
    "model": "gpt-4.1",
    "stream": True,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Rome?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": SCHEMA}}
    ],
}
ANTHROPIC: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "stream": True,
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": "Weather in Rome?"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]},
    ],
    "tools": [{"name": "weather", "description": "The weather.", "input_schema": SCHEMA}],
}
BODIES = [RESPONSES, CHAT, ANTHROPIC]


def read(body: Any, target: str = "") -> Conversation:
    found = conversation_of(body, target)
    assert found is not None
    return found


def changed(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(body), **fields}


@pytest.mark.parametrize(
    ("body", "api"),
    [(RESPONSES, "openai-responses"), (CHAT, "openai-chat"), (ANTHROPIC, "anthropic-messages")],
    ids=["responses", "chat", "anthropic"],
)
def test_each_api_tells_the_same_story(body: dict[str, Any], api: str) -> None:
    found = read(json.dumps(body).encode())
    assert (found.api, found.instructions, found.is_streamed) == (api, "Be brief.", True)
    told = [(one.kind, one.name, one.text) for one in found.items if one.kind != "reasoning"]
    assert told == [("user", "", "Weather in Rome?"), ("call", "weather", '{"city": "Rome"}'), ("output", "", "sunny")]
    call = next(one for one in found.items if one.kind == "call")
    assert call.value == {"city": "Rome"}
    assert [(tool.name, tool.description, tool.schema) for tool in found.tools] == [("weather", "The weather.", SCHEMA)]
    assert found.asked == "Weather in Rome?"


@pytest.mark.parametrize("body", BODIES)
def test_bytes_and_value_of_a_body_are_read_alike(body: dict[str, Any]) -> None:
    assert conversation_of(json.dumps(body).encode()) == conversation_of(body)


def test_a_text_and_its_only_part_are_equal() -> None:
    text = {"model": "m", "input": "Hi"}
    message = {"model": "m", "input": [{"role": "user", "content": "Hi"}]}
    part = {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
    }
    assert read(text) == read(message) == read(part)
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    block = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
    assert read(chat) == read(block)
    blocks = changed(ANTHROPIC, system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}])
    blocks["messages"][2]["content"][0]["content"] = [{"type": "text", "text": "sunny"}]
    assert read(blocks) == read(ANTHROPIC)


def renamed(value: Any, names: dict[str, str]) -> Any:
    text = json.dumps(value)
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    return json.loads(text)


@pytest.mark.parametrize("body", BODIES)
def test_ids_of_calls_are_compared_by_position(body: dict[str, Any]) -> None:
    other = renamed(body, {"call_1": "call_2", "toolu_1": "toolu_2", "fc_1": "fc_2", "rs_1": "rs_2", "gAAAA": "gBBBB"})
    assert read(other) == read(body)
    assert {one.call_id for one in read(body).items} == {None, read(body).ids[0]}
    assert read(other).ids != read(body).ids


def test_two_outputs_that_change_places_differ_only_if_their_calls_do_not() -> None:
    def with_outputs(*outputs: tuple[str, str]) -> Conversation:
        calls = [{"type": "function_call", "call_id": one, "name": "f", "arguments": "{}"} for one in ("a", "b")]
        told = [{"type": "function_call_output", "call_id": one, "output": text} for one, text in outputs]
        return read({"model": "m", "input": [*calls, *told]})

    assert with_outputs(("a", "one"), ("b", "two")) == with_outputs(("b", "two"), ("a", "one"))
    assert with_outputs(("a", "one"), ("b", "two")) != with_outputs(("a", "two"), ("b", "one"))


def test_ids_and_times_in_outputs_and_instructions_are_not_compared() -> None:
    def at(folder: str, time: str) -> Conversation:
        said = f"in /tmp/{folder}/x.txt at {time}"
        return read(
            {
                "model": "m",
                "instructions": said,
                "input": [{"type": "function_call_output", "call_id": "c", "output": said}],
            }
        )

    assert at("a1", "2026-01-02 03:04:05") == at("b2", "2026-01-03 04:05:06")
    assert read({"model": "m", "input": f"see conv_{HEX}"}).items[0].same == "see <id>"


TIMES = [
    ("[2026-12-01 08:55:34]", "[2026-12-02 18:01:02]"),
    ("2026-12-01T08:55:34.123456+00:00", "2026-12-01T08:55:35+01:00"),
    ("[2026-12-01 08:55 UTC]", "[2027-01-01 09:00 UTC]"),
    ("2026/12/01 08:55:34", "2026/12/02 08:55:34"),
    ("12/1/2026, 8:55:34 AM", "12/10/2026, 11:02:00 PM"),
    ("Tue Dec  1 08:55:34 UTC 2026", "Wed Dec  2 08:55:34 UTC 2026"),
    ("Tue, 01 Dec 2026 08:55:34 GMT", "Wed, 02 Dec 2026 18:55:34 GMT"),
    ("Tue Dec 01 2026 08:55:34 GMT+0000", "Wed Dec 02 2026 18:55:34 GMT+0100"),
]


@each(("recorded", "got"), TIMES)
def test_a_time_of_day_in_a_message_is_not_compared(recorded: str, got: str) -> None:
    for path, key in (("/v1/responses", "input"), ("/v1/chat/completions", "messages"), ("/v1/messages", "messages")):

        def asked(text: str, key: str = key, path: str = path) -> Conversation:
            return read({"model": "m", key: [{"role": "user", "content": text}]}, path)

        assert asked(f"{recorded} What is new?") == asked(f"{got} What is new?")
        assert asked(f"{recorded} What is new?") != asked(f"{got} What is old?")
        assert asked(f"{recorded} What is new?") != asked("What is new?")


@each(("recorded", "got"), [("on Dec 24 2026", "on Dec 25 2026"), ("on 2026-12-24", "on 2026-12-25")])
def test_a_date_without_a_time_of_day_in_a_message_is_compared(recorded: str, got: str) -> None:
    assert read({"model": "m", "input": recorded}) != read({"model": "m", "input": got})


def test_white_space_and_case_of_a_prompt_count() -> None:
    assert read({"model": "m", "input": "a b"}) != read({"model": "m", "input": "a  b"})
    assert read({"model": "m", "input": "a b"}) != read({"model": "m", "input": "a B"})


def test_legacy_functions_are_tools_and_the_order_of_tools_means_nothing() -> None:
    function = CHAT["tools"][0]["function"]
    legacy = {key: value for key, value in CHAT.items() if key != "tools"} | {"functions": [function]}
    assert read(legacy) == read(CHAT)
    two = [*CHAT["tools"], {"type": "function", "function": {"name": "another", "parameters": {}}}]
    assert read(changed(CHAT, tools=two)) == read(changed(CHAT, tools=two[::-1]))


def test_the_legacy_call_of_a_function_is_a_call_without_an_id() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "done"},
    ]
    told = read({"model": "m", "messages": messages}).items
    assert [(one.kind, one.name, one.call) for one in told] == [
        ("user", "", None),
        ("call", "f", None),
        ("output", "f", None),
    ]


def test_an_image_is_compared_by_its_content_and_shown_by_a_digest() -> None:
    def with_image(data: str) -> Conversation:
        part = {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
        return read({"model": "m", "input": [{"role": "user", "content": [part]}]})

    assert with_image("A" * 5000) == with_image("A" * 5000)
    assert with_image("A" * 5000) != with_image("A" * 4999 + "B")
    assert "5,022 characters" in with_image("A" * 5000).items[0].same


def test_the_path_tells_the_api_where_it_is_known() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    assert read(body).api == "openai-chat"
    assert read(body, "/v1/messages?beta=true").api == "anthropic-messages"
    assert read(body, "/openai/deployments/x/chat/completions?api-version=1").api == "openai-chat"
    assert conversation_of({"model": "m", "input": "Hi"}, "/v1/embeddings") is None
    assert conversation_of({"model": "m", "input": "Hi"}, "/v1/sessions") is None
    assert conversation_of(body, "/v1/responses") is None


@each("body", [b"", b"{", b"null", b"[]", b"\xff", b'{"messages": 3}', b'{"input": 3}', 3, None, b"[" * 9999])
def test_a_body_that_is_no_such_request_is_none(body: Any) -> None:
    assert conversation_of(body) is None
    assert conversation_of(body, "/v1/responses") is None


def test_the_differences_name_the_part() -> None:
    other = changed(RESPONSES, model="gpt-6", temperature=1)
    other["input"][0]["content"] = "Weather in Oslo?"
    other["tools"][0]["name"] = "climate"
    told = list(differences(read(RESPONSES), read(other)))
    assert [one.where for one in told] == ["model", "item 1 (user)", "tools", "temperature"]
    assert told[1] == Difference("messages", "item 1 (user)", "Weather in Rome?", "Weather in Oslo?")
    assert told[2] == Difference("tools", "tools", "weather", "climate")
    other["tools"] = copy.deepcopy(RESPONSES["tools"])
    other["tools"][0]["description"] = "The climate."
    assert [one.where for one in differences(read(RESPONSES), read(other))][2] == "tool weather"
    longer = changed(RESPONSES, input=[*RESPONSES["input"], {"role": "user", "content": "Thanks"}])
    assert list(differences(read(RESPONSES), read(longer))) == [Difference("messages", "item 5 (user)", None, "Thanks")]
    swapped = changed(RESPONSES)
    swapped["input"][3]["call_id"] = "call_9"
    assert list(differences(read(RESPONSES), read(swapped))) == [
        Difference("messages", "item 4 (tool output), its call", "call 1", "call 2")
    ]


def test_parameters_of_one_meaning_have_one_name() -> None:
    assert read(changed(CHAT, max_tokens=5)) == read(changed(CHAT, max_completion_tokens=5))
    assert read(changed(CHAT, temperature=1)) == read(changed(CHAT, temperature=1.0))
    assert read(changed(CHAT, metadata={"a": "b"}, user="x", store=True)) == read(CHAT)
    assert dict(read(changed(RESPONSES, text={"format": {"type": "json_object"}})).settings) == {
        "format": '{"type": "json_object"}'
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
TYPES = [
    "message", "function_call", "function_call_output", "reasoning", "custom_tool_call", "item_reference", "text",
    "image", "tool_use", "tool_result", "thinking", "input_text", "shell_call", "mcp_approval_request",
]  # fmt: skip
NAMES = [
    "type", "role", "content", "text", "call_id", "name", "arguments", "output", "tool_calls", "function_call", "id",
    "input",
    "tool_use_id", "summary", "refusal", "audio", "is_error", "tool_call_id", "thinking",
]  # fmt: skip
ENTRY = st.recursive(
    st.sampled_from([*TYPES, "user", "assistant", "system", "tool", "developer"]) | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.lists(ENTRY, max_size=4) | JSON for name in ("input", "messages", "tools", "functions", "system")},
        **dict.fromkeys(("model", "instructions", "text", "temperature", "previous_response_id", "conversation"), JSON),
    },
)
TARGETS = st.sampled_from(["", "/v1/responses", "/v1/chat/completions", "/v1/messages", "/x"])


@given(BODY, TARGETS)
def test_whatever_a_body_holds_is_read(body: Any, target: str) -> None:
    found = conversation_of(body, target)
    assert conversation_of(json.dumps(body).encode(), target) == found
    if found is not None:
        assert hash(found) == hash(read(body, target))
        assert list(differences(found, found)) == []


@given(BODY, BODY, TARGETS)
def test_conversations_are_equal_exactly_if_they_have_no_difference(one: Any, other: Any, target: str) -> None:
    a, b = conversation_of(one, target), conversation_of(other, target)
    if a is not None and b is not None:
        assert (a == b) == (list(differences(a, b)) == [])


def shuffled(value: Any, order: random.Random) -> Any:
    """Return the JSON value with the keys of each object in another order."""
    if isinstance(value, list):
        return [shuffled(one, order) for one in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    order.shuffle(keys)
    return {key: shuffled(value[key], order) for key in keys}


@given(st.sampled_from(BODIES), st.randoms(use_true_random=False))
def test_the_order_of_keys_means_nothing(body: dict[str, Any], order: random.Random) -> None:
    assert read(shuffled(body, order)) == read(body)


@given(st.text(min_size=1), st.text(min_size=1))
def test_prompts_are_equal_exactly_if_their_texts_are(one: str, other: str) -> None:
    a, b = read({"model": "m", "input": one}), read({"model": "m", "input": other})
    assert (a == b) == (a.items[0].same == b.items[0].same)
    assert (a == b) or one != other
