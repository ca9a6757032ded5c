"""One exchange with a model API as one call: endings, tokens, tools and times of three APIs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.model import Ending, Exchange, Kind, Request, Response, TimedFrame, Verdict
from omnirecord.providers.call import CallUsage, ModelCall, api_of, call_of
from tests.support.examples import each

Data = dict[str, Any]
MS = 1_000_000
RESPONSES, CHAT, MESSAGES = "/v1/responses", "/v1/chat/completions", "/v1/messages"
ASKED: dict[str, Data] = {
    RESPONSES: {"model": "m", "input": "Hi", "stream": True},
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
    MESSAGES: {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 9},
}


def exchange(
    path: str = RESPONSES, kind: Kind = "sse", status: int | None = 200, ending: Ending = "eof", **headers: str
) -> Exchange:
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    response = None if status is None else Response(5 * MS, None if ending == "open" else 90 * MS, status, "", ())
    return Exchange(
        7, 2, kind, 3 if kind == "sse" else None, None, "client", Request(MS, "POST", path, fields), response, ending,
        end_ns=None if ending == "open" else 95 * MS,
    )  # fmt: skip


def frames(*events: Data | str) -> list[TimedFrame]:
    """Frames at 10 ms, 20 ms and so on."""
    made = []
    for seq, event in enumerate(events, 1):
        data = event if isinstance(event, str) else json.dumps(event)
        raw = f"data: {data}\n\n".encode()
        verdict: Verdict = "sentinel" if data == "[DONE]" else "valid"
        made.append(TimedFrame(3, seq, seq * 10 * MS, None, raw, len(raw), None, verdict, ()))
    return made


def streamed(path: str, *events: Data | str, ending: Ending = "eof", **headers: str) -> ModelCall:
    call = call_of(exchange(path, ending=ending, **headers), json.dumps(ASKED[path]).encode(), b"", frames(*events))
    assert call is not None
    return call


def plain(path: str, answer: Data | bytes, status: int = 200, ending: Ending = "eof") -> ModelCall:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    call = call_of(exchange(path, "http", status, ending), json.dumps(ASKED[path]).encode(), body)
    assert call is not None
    return call


def response(status: str, **more: Any) -> Data:
    return {"type": f"response.{status}", "response": {"id": "resp_1", "model": "m-1", "status": status, **more}}


def text(delta: str, index: int = 0) -> Data:
    return {"type": "response.output_text.delta", "delta": delta, "output_index": index, "content_index": 0}


def item(type_: str, kind: str, index: int = 0, **fields: Any) -> Data:
    return {"type": f"response.output_item.{type_}", "output_index": index, "item": {"type": kind, **fields}}


def chunk(finish: str | None = None, **delta: Any) -> Data:
    return {"id": "c", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


USAGE = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13, "input_tokens_details": {"cached_tokens": 8},
         "output_tokens_details": {"reasoning_tokens": 1}}  # fmt: skip


def test_a_streamed_response_has_its_text_times_and_usage() -> None:
    call = streamed(RESPONSES, response("created"), text("He"), text("llo"), response("completed", usage=USAGE))
    assert (call.text, call.ending, call.model, call.status, call.response_id) == (
        "Hello",
        "completed",
        "m-1",
        200,
        "resp_1",
    )
    times = (call.started_ns, call.first_byte_ns, call.first_token_ns, call.ended_ns)
    assert times == (MS, 5 * MS, 20 * MS, 40 * MS)
    assert call.usage == CallUsage(9, 4, 8, 1, 13)
    assert [(delta.seq, delta.text, delta.part) for delta in call.deltas] == [(2, "He", 0), (3, "llo", 0)]


def test_a_response_has_several_texts_and_reasoning() -> None:
    call = streamed(
        RESPONSES, {"type": "response.reasoning_summary_text.delta", "delta": "Hm."}, text("One", 1), text("Two", 2),
        response("completed"),
    )  # fmt: skip
    assert (call.texts, call.text, call.reasoning) == (("One", "Two"), "One\n\nTwo", "Hm.")
    assert [delta.part for delta in call.deltas] == [-1, 0, 1]


def test_a_finished_text_does_not_repeat_its_deltas() -> None:
    part = {"type": "output_text", "text": "Hello"}
    call = streamed(
        RESPONSES, text("Hello"), item("done", "message", id="msg_1", content=[part]),
        response("completed", output=[{"type": "message", "id": "msg_1", "content": [part]}]),
    )  # fmt: skip
    assert (call.texts, call.own_ids) == (("Hello",), ("resp_1", "msg_1"))


@pytest.mark.parametrize("deltas", [["Hel", "lo"], ["Hel"], ["Hello", " there"]])
def test_a_finished_text_before_its_deltas_is_not_doubled(deltas: list[str]) -> None:
    done = {"type": "response.output_text.done", "text": "Hello", "output_index": 0, "content_index": 0}
    call = streamed("/v1/responses", done, *map(text, deltas), ending="client_left")
    assert call.texts == ("Hello there" if len(deltas[-1]) == 6 else "Hello",)
    assert [one.text for one in call.deltas] == deltas


def test_a_response_asks_for_a_tool() -> None:
    call = streamed(
        RESPONSES, item("added", "function_call", id="fc_1", call_id="call_1", name="look", arguments=""),
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a":'},
        item("done", "function_call", id="fc_1", call_id="call_1", name="look", arguments='{"a": 1}'),
        response("completed"),
    )  # fmt: skip
    (tool,) = call.tool_calls
    assert (tool.call_id, tool.name, tool.arguments, tool.at_ns) == ("call_1", "look", '{"a": 1}', 30 * MS)
    assert call.first_token_ns == 20 * MS


@each(
    ("events", "expected"),
    [
        (
            [response("failed", error={"code": "server_error", "message": "Broken."})],
            ("failed", "server_error", "Broken."),
        ),
        (
            [response("incomplete", incomplete_details={"reason": "max_output_tokens"})],
            ("incomplete", "max_output_tokens", None),
        ),
        (
            [{"type": "error", "code": "rate_limit_exceeded", "message": "Slow."}],
            ("failed", "rate_limit_exceeded", "Slow."),
        ),
        ([{"type": "error", "error": {"type": "server_error", "message": "Bad."}}], ("failed", "server_error", "Bad.")),
        ([response("failed", error={"message": "A."}), {"type": "error", "message": "B."}], ("failed", None, "A.")),
    ],
)
def test_a_response_that_did_not_complete_has_its_reason(events: list[Data], expected: tuple[str, ...]) -> None:
    call = streamed(RESPONSES, response("created"), text("Half"), *events)
    assert (call.ending, call.reason, call.error) == expected
    assert (call.text, call.cut_by) == ("Half", None)


@each(
    ("ending", "by"),
    [("client_left", "client"), ("eof", "provider"), ("upstream_lost", "provider"), ("recorder_killed", "recorder")],
)
def test_a_stream_without_its_end_is_cut_by_one_side(ending: Ending, by: str) -> None:
    call = streamed(RESPONSES, response("created"), text("Half"), ending=ending)
    assert (call.ending, call.cut_by, call.reason, call.ended_ns) == ("cut", by, ending, 95 * MS)


def test_a_client_that_leaves_after_the_end_cuts_nothing() -> None:
    call = streamed(RESPONSES, text("Hi"), response("completed"), ending="client_left")
    assert (call.ending, call.cut_by, call.ended_ns) == ("completed", None, 20 * MS)


def test_an_exchange_that_is_recorded_is_open() -> None:
    assert streamed(RESPONSES, text("Hi"), ending="open").ending == "open"


def test_the_retry_count_of_the_sdk_tells_the_attempt() -> None:
    assert streamed(RESPONSES, x_stainless_retry_count="2").attempt == 3
    assert streamed(RESPONSES, x_stainless_retry_count="x").attempt == streamed(RESPONSES).attempt == 1


def test_an_error_status_refuses_the_call() -> None:
    error = {"message": "Too many\nrequests.", "type": "rate_limit", "code": "rate_limit_exceeded"}
    call = plain(RESPONSES, {"error": error}, 429)
    assert (call.ending, call.reason, call.error) == ("refused", "rate_limit_exceeded", "Too many requests.")
    assert call.is_rate_limited
    assert call.has_failed
    assert call.ended_ns == 95 * MS


def test_an_overloaded_anthropic_is_a_rate_limit() -> None:
    call = plain(MESSAGES, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529)
    assert (call.ending, call.reason, call.is_rate_limited) == ("refused", "overloaded_error", True)


def test_an_error_page_has_a_status_and_no_reason() -> None:
    call = plain(RESPONSES, b"<html>bad gateway</html>", 502)
    assert (call.ending, call.reason, call.error, call.is_rate_limited) == ("refused", None, None, False)


def test_a_provider_that_is_not_reached_fails() -> None:
    call = call_of(exchange(status=None, kind="http", ending="upstream_unreachable"), b"{}", b"")
    assert call is not None
    assert (call.ending, call.reason, call.status) == ("failed", "upstream_unreachable", None)


def test_a_provider_that_is_not_reached_has_not_refused_the_call() -> None:
    message = "omnirecord could not reach the upstream http://127.0.0.1:9: Connection refused"
    answer = json.dumps({"error": {"code": "upstream_unreachable", "message": message}}).encode()
    call = call_of(exchange(status=502, kind="http", ending="upstream_unreachable"), b"{}", answer)
    assert call is not None
    assert (call.ending, call.error) == ("failed", "http://127.0.0.1:9: Connection refused")


def test_no_answer_before_the_client_left_is_cut_by_the_client() -> None:
    call = call_of(exchange(status=None, kind="http", ending="client_left"), b"{}", b"")
    assert call is not None
    assert (call.ending, call.cut_by) == ("cut", "client")


def test_a_plain_response_is_read_like_a_streamed_one() -> None:
    output = [
        {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hello"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": "{}"},
    ]
    call = plain(RESPONSES, {"id": "resp_1", "status": "completed", "model": "m-1", "output": output, "usage": USAGE})
    assert (call.text, call.ending, call.usage) == ("Hello", "completed", CallUsage(9, 4, 8, 1, 13))
    assert [tool.call_id for tool in call.tool_calls] == ["call_1"]
    assert (call.first_token_ns, call.deltas) == (None, ())


def test_an_answer_of_another_kind_is_unknown() -> None:
    assert plain(RESPONSES, b"hello").ending == "unknown"


def test_a_streamed_chat_has_its_text_tools_and_usage() -> None:
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    call = streamed(
        CHAT, chunk(role="assistant", content=""), chunk(reasoning_content="Hm."), chunk(content="Let me "),
        chunk(content="look."),
        chunk(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "look", "arguments": ""}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": " 1}"}}]),
        chunk("tool_calls"), {"id": "c", "choices": [], "usage": usage}, "[DONE]",
    )  # fmt: skip
    assert (call.text, call.reasoning, call.ending, call.reason) == ("Let me look.", "Hm.", "completed", "tool_calls")
    assert call.usage == CallUsage(5, 2, 1, None, 7)
    (tool,) = call.tool_calls
    assert (tool.call_id, tool.name, tool.arguments, tool.at_ns) == ("call_1", "look", '{"a": 1}', 80 * MS)
    assert call.first_token_ns == 20 * MS


@each(
    ("reason", "ending"),
    [("stop", "completed"), ("length", "incomplete"), ("content_filter", "incomplete"), ("function_call", "completed")],
)
def test_a_chat_ends_with_its_finish_reason(reason: str, ending: str) -> None:
    assert streamed(CHAT, chunk(content="Hi"), chunk(reason)).ending == ending


def test_a_chat_that_only_says_done_is_complete_without_a_reason() -> None:
    tool = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": "{}"}}
    call = streamed(CHAT, chunk(content="Hi"), chunk(tool_calls=[tool]), "[DONE]", ending="done")
    assert (call.ending, call.reason, call.ended_ns, call.tool_calls[0].at_ns) == ("completed", None, 30 * MS, 30 * MS)


def test_a_chat_with_a_finish_reason_is_complete_without_done() -> None:
    assert streamed(CHAT, chunk(content="Hi"), chunk("stop"), ending="eof").ending == "completed"


def test_done_is_no_end_of_a_response() -> None:
    assert streamed(RESPONSES, text("Hi"), "[DONE]", ending="done").ending == "cut"


def test_a_chat_may_fail_in_its_stream() -> None:
    call = streamed(CHAT, chunk(content="Hi"), {"error": {"message": "Broken.", "code": "server_error"}})
    assert (call.ending, call.reason, call.error) == ("failed", "server_error", "Broken.")


def test_a_plain_chat_is_read_like_a_streamed_one() -> None:
    tool = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hello", "tool_calls": [tool]}
    call = plain(CHAT, {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
    assert (call.text, call.ending, call.tool_calls[0].call_id) == ("Hello", "completed", "call_1")
    assert call.first_token_ns is None


def anthropic(stop: str | None = "end_turn") -> list[Data]:
    start = {"id": "msg_1", "model": "m-1", "usage": {"input_tokens": 3, "cache_read_input_tokens": 20,
             "cache_creation_input_tokens": 100, "output_tokens": 1}}  # fmt: skip
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "ping"},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2,
         "content_block": {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
        {"type": "content_block_stop", "index": 2},
        *([] if stop is None else
          [{"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 7}}]),
        {"type": "message_stop"},
    ]  # fmt: skip


def test_a_streamed_message_has_its_text_tools_and_all_input_tokens() -> None:
    call = streamed(MESSAGES, *anthropic("tool_use"))
    assert (call.text, call.reasoning, call.ending, call.reason) == ("Hello", "Hm.", "completed", "tool_use")
    assert call.usage == CallUsage(123, 7, 20, None, 130, 3)
    (tool,) = call.tool_calls
    assert (tool.call_id, tool.name, tool.arguments, tool.at_ns) == ("toolu_1", "look", '{"a": 1}', 110 * MS)
    assert (call.first_token_ns, call.response_id) == (30 * MS, "msg_1")


@each(
    ("stop", "ending"),
    [("end_turn", "completed"), ("max_tokens", "incomplete"), ("refusal", "incomplete"), (None, "completed")],
)
def test_a_message_ends_with_its_stop_reason(stop: str | None, ending: str) -> None:
    assert streamed(MESSAGES, *anthropic(stop)).ending == ending


def test_a_message_may_fail_in_its_stream() -> None:
    call = streamed(
        MESSAGES, *anthropic()[:7], {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}
    )
    assert (call.ending, call.reason, call.text, call.is_rate_limited) == ("failed", "overloaded_error", "Hello", True)


def test_a_plain_message_is_read_like_a_streamed_one() -> None:
    content = [
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
    ]
    call = plain(MESSAGES, {"id": "msg_1", "type": "message", "content": content, "stop_reason": "tool_use",
                            "usage": {"input_tokens": 3, "output_tokens": 7}})  # fmt: skip
    assert (call.text, call.ending, call.tool_calls[0].arguments) == ("Hello", "completed", '{"a": 1}')


def test_the_history_of_a_request_has_ids_of_earlier_answers() -> None:
    body = {"model": "m", "previous_response_id": "resp_0", "input": [
        {"type": "message", "id": "msg_0", "role": "assistant", "content": "Hi"},
        {"type": "function_call", "id": "fc_0", "call_id": "call_0", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_0", "output": "42"},
    ]}  # fmt: skip
    call = call_of(exchange(), json.dumps(body).encode(), b"")
    assert call is not None
    assert set(call.history_ids) == {"resp_0", "msg_0", "fc_0", "call_0"}


def test_a_request_for_something_else_is_no_call() -> None:
    assert call_of(exchange("/v1/embeddings"), b"{}", b"") is None
    assert api_of("GET", "/v1/responses") is None
    assert api_of("POST", "/openai/deployments/x/chat/completions?api-version=1") == "openai-chat"


@each("response", [{"status": [], "output": 7, "usage": [1]}, {"status": "done"}, 7, None])
def test_the_type_of_an_event_says_that_a_response_is_complete(response: Any) -> None:
    call = streamed(RESPONSES, text("Hi"), {"type": "response.completed", "response": response})
    assert (call.ending, call.reason, call.ended_ns) == ("completed", None, 20 * MS)


@each(
    ("path", "type_", "ending"),
    [
        (RESPONSES, "response.completed", "completed"),
        (RESPONSES, "response.failed", "failed"),
        (RESPONSES, "response.incomplete", "incomplete"),
        (MESSAGES, "message_stop", "completed"),
        (MESSAGES, "error", "failed"),
    ],
)
@each("data", ["[]", "{", "{}"])
def test_an_end_event_that_cannot_be_read_is_the_end(path: str, type_: str, ending: str, data: str) -> None:
    raw = f"event: {type_}\ndata: {data}\n\n".encode()
    frame = TimedFrame(3, 1, 10 * MS, None, raw, len(raw), None, "malformed", ())
    call = call_of(exchange(path), json.dumps(ASKED[path]).encode(), b"", [frame])
    assert call is not None
    assert (call.ending, call.reason, call.error) == (ending, None, None)


def coded(coding: str, *events: TimedFrame, ending: Ending = "eof", size: int = 99) -> str:
    """The ending of a call whose stream has a content coding."""
    x = exchange(ending=ending)
    assert x.response is not None
    answered = replace(x.response, headers=(("Content-Encoding", coding),))
    call = call_of(replace(x, response=answered, response_bytes=size), b"{}", b"", events)
    assert call is not None
    return call.ending


def test_an_answer_that_cannot_be_decoded_is_unknown() -> None:
    assert coded("gzip") == "unknown"
    assert coded("gzip", ending="upstream_lost") == coded("gzip", ending="client_left") == "cut"
    assert coded("gzip", size=0) == coded("identity") == coded("gzip", *frames(text("Hi"))) == "cut"


def test_an_answer_whose_last_event_is_too_large_is_unknown() -> None:
    large = TimedFrame(3, 2, 20 * MS, None, None, 1 << 30, None, "truncated", ())
    assert coded("identity", *frames(text("Hi")), large) == "unknown"
    assert coded("identity", *frames(text("Hi")), large, *frames(text("Hi"))) == "cut"


def test_a_negative_count_of_tokens_is_not_reported() -> None:
    usage = {"input_tokens": -1, "output_tokens": -5, "total_tokens": -6, "input_tokens_details": {"cached_tokens": -1},
             "output_tokens_details": {"reasoning_tokens": -2}}  # fmt: skip
    nothing = CallUsage(None, None, None, None, None)
    assert streamed(RESPONSES, response("completed", usage=usage)).usage == nothing
    assert plain(CHAT, {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": -1}}).usage == CallUsage(
        3, None, None, None, None
    )
    counts = {"input_tokens": 3, "output_tokens": -5, "cache_read_input_tokens": -9, "cache_creation_input_tokens": -9}
    assert plain(MESSAGES, {"usage": counts}).usage == CallUsage(3, None, None, None, None, 3)


LATE: Data = {"type": "error", "code": "rate_limit_exceeded", "error": {"type": "overloaded_error", "message": "Late."}}


@each(
    ("path", "events", "reason"),
    [
        (RESPONSES, [text("Hi"), response("completed"), LATE], None),
        (RESPONSES, [text("Hi"), response("completed"), response("failed", error={"message": "Late."})], None),
        (CHAT, [chunk(content="Hi"), chunk("stop"), "[DONE]", {"error": "late"}], "stop"),
        (MESSAGES, [*anthropic(), LATE], "end_turn"),
    ],
)
def test_an_error_after_the_end_changes_nothing(path: str, events: list[Data | str], reason: str | None) -> None:
    call = streamed(path, *events)
    assert (call.ending, call.reason, call.error, call.is_rate_limited) == ("completed", reason, None, False)


def test_an_answer_ends_with_its_first_end() -> None:
    assert streamed(CHAT, chunk("", content="Hi"), chunk("stop"), chunk("length")).ended_ns == 20 * MS
    assert streamed(RESPONSES, response("failed"), response("completed")).ending == "failed"


def test_an_error_counts_more_than_the_finish_reason_beside_it() -> None:
    call = streamed(CHAT, chunk(content="Hi"), chunk("error") | {"error": {"code": "busy", "message": "Busy."}})
    assert (call.ending, call.reason, call.error) == ("failed", "busy", "Busy.")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from([
    "type", "response", "status", "output", "item", "error", "usage", "choices", "delta", "message", "content", "index",
    "tool_calls", "function", "content_block", "input", "messages", "output_index", "id", "role", "text",
])  # fmt: skip
TYPES = st.sampled_from([
    "response.completed", "response.output_item.done", "response.output_text.delta", "message_start", "error",
    "content_block_delta", "content_block_start", "message_delta", "response.failed", "function_call", "message",
])  # fmt: skip
ODD = st.dictionaries(WORDS, JSON | TYPES | st.dictionaries(WORDS, JSON | TYPES, max_size=3) | st.lists(
    st.dictionaries(WORDS, JSON | TYPES, max_size=3), max_size=2), max_size=5)  # fmt: skip


@given(
    path=st.sampled_from([RESPONSES, CHAT, MESSAGES]), asked=ODD | JSON, answer=st.lists(ODD | JSON, max_size=5),
    status=st.sampled_from([200, 429, 500]), streams=st.booleans(),
)  # fmt: skip
def test_no_content_makes_it_fail(path: str, asked: Any, answer: list[Any], status: int, streams: bool) -> None:
    body = json.dumps(asked).encode()
    if streams:
        call = call_of(exchange(path, status=status), body, b"", frames(*(json.dumps(one) for one in answer)))
    else:
        call = call_of(exchange(path, "http", status), body, json.dumps(answer[0] if answer else None).encode())
    assert call is not None
    assert all(-1 <= delta.part < len(call.texts) for delta in call.deltas)
