"""The contracts of the model APIs: verdicts, types and ends of single events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.contracts import load
from omnirecord.contract.judge import Contract, Judgement
from omnirecord.providers import anthropic_messages, openai_chat, openai_responses
from omnirecord.wire.sse import Frame, Parser, read_fields
from tests.support.examples import each

RESPONSES, CHAT, MESSAGES = load("openai-responses"), load("openai-chat"), load("anthropic-messages")
DELTA = {
    "type": "response.output_text.delta", "sequence_number": 4, "item_id": "msg_1", "output_index": 0,
    "content_index": 0, "delta": "Hi", "logprobs": [],
}  # fmt: skip
CHUNK = {
    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt",
    "choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": None, "finish_reason": None}],
}  # fmt: skip
BLOCK_DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
ITEM = {"type": "response.output_item.done", "sequence_number": 2, "output_index": 0}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}


def raw(data: Any, event: str | None = None) -> bytes:
    line = b"" if event is None else f"event: {event}\n".encode()
    return line + b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def judge(contract: Contract, data: Any, event: str | None = None) -> Judgement:
    return contract.judge(read_fields(raw(data, event)))


def said(judgement: Judgement) -> tuple[str, str | None, list[str]]:
    return judgement.verdict, judgement.type, [f"{i.path} {i.message}".strip() for i in judgement.issues]


@each(
    ("contract", "data", "event", "expected"),
    [
        (RESPONSES, DELTA, "response.output_text.delta", ("valid", DELTA["type"], [])),
        (RESPONSES, DELTA, None, ("valid", DELTA["type"], [])),
        (RESPONSES, DELTA | {"obfuscation": "aX4"}, None, ("valid", DELTA["type"], [])),
        (RESPONSES, DELTA, "other", ("invalid", DELTA["type"], [f"event differs from the type {DELTA['type']}"])),
        (RESPONSES, DELTA | {"delta": 5}, None, ("invalid", DELTA["type"], ["delta should be a string"])),
        (RESPONSES, DELTA | {"sequence_number": None}, None,
         ("invalid", DELTA["type"], ["sequence_number should be a valid integer"])),
        (RESPONSES, {"type": "response.new", "sequence_number": 1}, None,
         ("unknown", "response.new", ["type is not in the contract"])),
        (RESPONSES, {"object": "x"}, None, ("malformed", None, ["type is required"])),
        (RESPONSES, b"[DONE]", None, ("sentinel", None, [])),
        (RESPONSES, {"type": "error", "sequence_number": 2, "code": "server_error", "message": "m", "param": None},
         "error", ("valid", "error", [])),
        (RESPONSES, {"type": "error", "sequence_number": 2, "error": {"message": "m"}}, "error",
         ("valid", "error", [])),
        (RESPONSES, ITEM | {"item": CALL | {"name": 5}}, None,
         ("invalid", ITEM["type"], ["item.name should be a string"])),
        (RESPONSES, ITEM | {"item": {"type": "new", "a": 1}}, None, ("valid", ITEM["type"], [])),
        (CHAT, CHUNK, None, ("valid", "chat.completion.chunk", [])),
        (CHAT, CHUNK, "message", ("valid", "chat.completion.chunk", [])),
        (CHAT, CHUNK | {"object": ""}, None, ("valid", "chat.completion.chunk", [])),
        (CHAT, CHUNK | {"choices": [{"index": 0}]}, None,
         ("invalid", "chat.completion.chunk", ["choices[0].delta is required"])),
        (CHAT, CHUNK | {"object": "chat.completion"}, None,
         ("unknown", "chat.completion", ["object is not in the contract"])),
        (CHAT, {"error": {"message": "m", "type": "server_error"}}, None, ("valid", "error", [])),
        (CHAT, {"error": "m"}, "error", ("valid", "error", [])),
        (CHAT, {"id": "x"}, None, ("malformed", None, ["object is required"])),
        (CHAT, b"[DONE]", None, ("sentinel", None, [])),
        (MESSAGES, BLOCK_DELTA, "content_block_delta", ("valid", "content_block_delta", [])),
        (MESSAGES, BLOCK_DELTA, None, ("invalid", "content_block_delta", ["event is required"])),
        (MESSAGES, BLOCK_DELTA | {"delta": {"type": "text_delta"}}, "content_block_delta",
         ("invalid", "content_block_delta", ["delta.text is required"])),
        (MESSAGES, BLOCK_DELTA | {"delta": {"type": "new_delta", "x": 1}}, "content_block_delta",
         ("valid", "content_block_delta", [])),
        (MESSAGES, {"type": "ping"}, "ping", ("valid", "ping", [])),
        (MESSAGES, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error",
         ("valid", "error", [])),
        (MESSAGES, {"type": "vendor_event"}, "vendor_event",
         ("unknown", "vendor_event", ["type is not in the contract"])),
    ],
)  # fmt: skip
def test_the_verdict_of_an_event(contract: Contract, data: Any, event: str | None, expected: Any) -> None:
    assert said(judge(contract, data, event)) == expected


@pytest.mark.parametrize(
    ("contract", "ends", "end"),
    [
        (RESPONSES, {"response.completed", "response.failed", "response.incomplete", "error"}, "response.completed"),
        (CHAT, {"error"}, "[DONE]"),
        (MESSAGES, {"message_stop", "error"}, "message_stop"),
    ],
)
def test_the_ends_of_a_stream(contract: Contract, ends: set[str], end: str) -> None:
    api = contract.api
    assert (set(api.ends), api.end, api.has_ends) == (ends, end, True)
    assert {type_ for type_ in contract.types if api.is_end("valid", type_)} == ends
    assert api.is_end("sentinel", None) is (contract is CHAT)
    assert api.has_end(["valid", "valid"], [None, *ends])
    assert not api.has_end(["valid"], [None, "ping"])


def test_an_event_is_the_model_of_its_type() -> None:
    delta, chunk = RESPONSES.event(dict(DELTA)), CHAT.event(dict(CHUNK))
    assert isinstance(delta, openai_responses.OutputTextDeltaEvent)
    assert delta.delta == "Hi"
    assert isinstance(chunk, openai_chat.ChatCompletionChunk)
    assert (chunk.type, chunk.choices[0].delta.content) == ("chat.completion.chunk", "Hi")
    block = MESSAGES.event(dict(BLOCK_DELTA))
    assert isinstance(block, anthropic_messages.ContentBlockDeltaEvent)
    assert isinstance(block.delta, anthropic_messages.TextDelta)
    assert block.delta.text == "Hi"


def test_a_field_that_no_model_names_is_unheard_of_also_in_a_union() -> None:
    data = BLOCK_DELTA | {"delta": {"type": "text_delta", "text": "Hi", "more": 1}, "x": 1}
    assert [i.path for i in MESSAGES.unheard_of("content_block_delta", data)] == ["delta.more", "x"]


NAMED_BY_NO_SDK: dict[str, Any] = {
    "billing": {"payer": "developer"}, "frequency_penalty": 0.0, "presence_penalty": 0.0, "store": True,
    "tool_usage": {"web_search": {"num_requests": 0}},
}  # fmt: skip
"""Fields of a response that the live API sends, and no model of the SDK names."""
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "completed_at": 2, "status": "completed", "model": "gpt",
    "background": False, "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": None,
    "max_tool_calls": None, "moderation": None, "output": [], "parallel_tool_calls": True,
    "previous_response_id": None, "prompt_cache_key": None, "prompt_cache_retention": None,
    "prompt_cache_options": None, "prompt_cache_diagnostics": None, "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None, "service_tier": "fast", "temperature": 1.0, "text": {"format": {"type": "text"}},
    "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None,
    "metadata": {},
    "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
              "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 12},
    **NAMED_BY_NO_SDK,
}  # fmt: skip
TOLD = {"annotations": [], "reasoning_content": None, "refusal": None, "role": "assistant", "content": ""}
CHOICE = {"index": 0, "delta": TOLD, "logprobs": None, "finish_reason": None, "content_filter_results": {}}
OF_CHAT = {"service_tier": "default", "system_fingerprint": None, "usage": None, "obfuscation": "7aTeg89Ysb8uO"}


@pytest.mark.parametrize(
    ("contract", "type_", "data"),
    [
        (RESPONSES, "response.completed", {"type": "response.completed", "sequence_number": 9, "response": RESPONSE}),
        (RESPONSES, DELTA["type"], DELTA | {"obfuscation": "aX4"}),
        (RESPONSES, "response.function_call_arguments.delta",
         {"type": "response.function_call_arguments.delta", "sequence_number": 5, "item_id": "fc_1",
          "output_index": 1, "delta": "{", "obfuscation": "4FZhoGBnjNsYATZ"}),
        (RESPONSES, "response.shell_call_command.delta",
         {"type": "response.shell_call_command.delta", "sequence_number": 5, "output_index": 1, "command_index": 0,
          "delta": "ls", "obfuscation": "4F"}),
        (RESPONSES, ITEM["type"], ITEM | {"item": CALL | {"async": False, "caller": {"type": "direct"}}}),
        (CHAT, "chat.completion.chunk", CHUNK | OF_CHAT | {"choices": [CHOICE]}),
        (CHAT, "chat.completion.chunk", CHUNK | {"choices": [], "prompt_filter_results": []}),
    ],
)  # fmt: skip
def test_no_field_that_the_live_api_sends_is_unheard_of(contract: Contract, type_: str, data: dict[str, Any]) -> None:
    assert said(judge(contract, data)) == ("valid", type_, [])
    assert contract.unheard_of(type_, data) == []


@pytest.mark.parametrize(
    ("contract", "data", "event"),
    [(RESPONSES, DELTA, DELTA["type"]), (CHAT, CHUNK, None), (MESSAGES, BLOCK_DELTA, "content_block_delta")],
)
def test_the_deltas_of_every_api_get_a_shape(contract: Contract, data: Any, event: str | None) -> None:
    frames = Parser().feed(raw(data, event) * 100)
    contract.judge_all(frames)
    assert contract.shapes is not None
    assert contract.shapes.type_of(raw(json.loads(json.dumps(data).replace("Hi", "other words")), event)) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.sampled_from(["text_delta", "error"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.sampled_from([(RESPONSES, DELTA), (CHAT, CHUNK), (MESSAGES, BLOCK_DELTA)]), st.data())
def test_a_frame_with_a_shape_is_judged_as_without(of: tuple[Contract, dict[str, Any]], draw: st.DataObject) -> None:
    contract, data = of
    event = str(data.get("type")) if contract is not CHAT else None
    contract.judge_all(Parser().feed(raw(data, event) * 40))
    place = draw.draw(st.sampled_from([*data, "error", "object", "delta"]))
    changed = raw(data | {place: draw.draw(JSON)}, event)
    quick, frame = contract.judge(read_fields(changed)), read_fields(changed)
    slow = contract.examine(Frame(changed, len(changed), True, frame.event, frame.data))
    assert (quick.verdict, quick.type) == (slow.verdict, slow.type)
