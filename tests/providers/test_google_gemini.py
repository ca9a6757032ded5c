"""Google Gemini: paths, verdicts, answers, requests and errors."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.contracts import load
from omnirecord.contract.judge import Judgement
from omnirecord.model import Exchange, Kind, Request, Response, TimedFrame
from omnirecord.providers.call import CallUsage, ModelCall, call_of
from omnirecord.providers.conversation import Conversation, conversation_of, differences
from omnirecord.providers.google_gemini import CHUNK, ERROR, FINISHED
from omnirecord.providers.register import api_of, model_api
from omnirecord.providers.summary import summary, text_delta
from omnirecord.wire.sse import Frame, Parser, read_fields
from tests.support.examples import each

GEMINI = load("google-gemini")
PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
USAGE = {"promptTokenCount": 40, "candidatesTokenCount": 9, "thoughtsTokenCount": 5, "cachedContentTokenCount": 32,
         "toolUsePromptTokenCount": 3, "totalTokenCount": 57}  # fmt: skip
CALL = {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "c2ln"}
LIMITED = {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}
ASKED: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}], "role": "user"},
    "contents": [
        {"role": "user", "parts": [{"text": "Weather in Rome?"}]},
        {"role": "model", "parts": [{"text": "I look.", "thought": True}, CALL]},
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "sunny"}}}]},
    ],
    "tools": [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "The weather.", "parameters": {"type": "OBJECT"}}
            ]
        },
        {"googleSearch": {}},
    ],
    "generationConfig": {"temperature": 0.5, "maxOutputTokens": 9},
}


def piece(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash-001", "responseId": "r1", **more}


def exchange(target: str, kind: Kind, status: int = 200) -> Exchange:
    response = Response(5, 90, status, "", ())
    stream = 3 if kind == "sse" else None
    return Exchange(7, 2, kind, stream, None, "client", Request(1, "POST", target, ()), response, "eof", end_ns=95)


def streamed(*events: Any, target: str = STREAM) -> ModelCall:
    frames = [
        TimedFrame(3, seq, seq * 10, None, f"data: {json.dumps(event)}\n\n".encode(), 9, None, "valid", ())
        for seq, event in enumerate(events, 1)
    ]
    call = call_of(exchange(target, "sse"), json.dumps(ASKED).encode(), b"", frames)
    assert call is not None
    return call


def plain(answer: Any, status: int = 200, target: str = PATH) -> ModelCall:
    call = call_of(exchange(target, "http", status), json.dumps(ASKED).encode(), json.dumps(answer).encode())
    assert call is not None
    return call


def read(body: dict[str, Any], target: str = PATH) -> Conversation:
    found = conversation_of(body, target)
    assert found is not None
    return found


@each(
    ("target", "expected"),
    [
        (PATH, "google-gemini"),
        (STREAM, "google-gemini"),
        ("/v1beta/models/m%3AgenerateContent?key=x", "google-gemini"),
        ("/gateway/v1beta/tunedModels/mine:generateContent", "google-gemini"),
        ("/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent", "google-gemini"),
        ("/v1/projects/p/locations/l/endpoints/7:generateContent", "google-gemini"),
        ("/v1beta/models/m:countTokens", None),
        ("/v1beta/models/m:batchEmbedContents", None),
        ("/v1beta/models", None),
        ("/generateContent", None),
    ],
)
def test_the_verb_at_the_end_of_a_path_tells_the_api(target: str, expected: str | None) -> None:
    assert api_of(target) == expected
    assert load("auto").of(target).name == (expected or "none")


def judged(data: Any, event: str | None = None) -> Judgement:
    line = "" if event is None else f"event: {event}\n"
    return GEMINI.judge(read_fields(f"{line}data: {json.dumps(data)}\n\n".encode()))


@each(
    ("data", "verdict", "type_"),
    [
        (piece({"text": "Hi"}), "valid", CHUNK),
        (piece({"text": ""}, finish="STOP", usageMetadata=USAGE), "valid", FINISHED),
        (piece(CALL, finish="STOP"), "valid", FINISHED),
        ({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE}, "valid", FINISHED),
        ({"usageMetadata": USAGE}, "valid", CHUNK),
        ({"error": LIMITED}, "valid", ERROR),
        (piece({"text": "Hi"}, groundingChunks=[]), "valid", CHUNK),
        (piece({"text": 5}), "invalid", CHUNK),
        (piece({"text": ""}, finish="TIRED"), "invalid", FINISHED),
        ({"choices": []}, "malformed", None),
    ],
)
def test_an_event_has_the_type_that_its_fields_tell(data: Any, verdict: str, type_: str | None) -> None:
    found = judged(data, "message")
    assert (found.verdict, found.type) == (verdict, type_)
    assert GEMINI.api.is_end(found.verdict, found.type) is (type_ in (FINISHED, ERROR))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["parts", "text", "x"]), inner),
    max_leaves=5,
)


@given(st.sampled_from(["candidates", "error", "promptFeedback", "usageMetadata", "x"]), JSON)
def test_a_frame_with_a_shape_is_judged_as_without(place: str, value: Any) -> None:
    def raw(data: Any) -> bytes:
        return b"data: " + json.dumps(data).encode() + b"\n\n"

    for one in (piece({"text": "Hi"}), piece({"text": "Hi"}, finish="STOP")):
        GEMINI.judge_all(Parser().feed(raw(one) * 40))
        changed = raw(one | {place: value})
        quick, frame = GEMINI.judge(read_fields(changed)), read_fields(changed)
        slow = GEMINI.examine(Frame(changed, len(changed), True, frame.event, frame.data))
        assert (quick.verdict, quick.type) == (slow.verdict, slow.type)


def test_a_stream_is_one_call_with_its_texts_tools_and_tokens() -> None:
    call = streamed(
        piece({"text": "I look.", "thought": True}), piece({"text": "It is "}), piece({"text": "sunny."}, CALL),
        piece({"text": ""}, finish="STOP", usageMetadata=USAGE),
    )  # fmt: skip
    assert (call.ending, call.reason, call.model, call.response_id) == (
        "completed",
        "STOP",
        "gemini-2.5-flash-001",
        "r1",
    )
    assert (call.reasoning, call.texts) == ("I look.", ("It is sunny.",))
    assert [(one.name, one.arguments, one.at_ns) for one in call.tool_calls] == [("weather", '{"city": "Rome"}', 30)]
    assert call.usage == CallUsage(43, 14, 32, 5, 57)
    assert (call.first_token_ns, call.ended_ns, len(call.deltas)) == (10, 40, 3)


def test_the_last_finish_reason_counts_if_each_piece_has_one() -> None:
    call = streamed(piece({"text": "One "}, finish="STOP"), piece({"text": "two"}, finish="MAX_TOKENS"))
    assert (call.ending, call.reason, call.ended_ns, call.text) == ("incomplete", "MAX_TOKENS", 20, "One two")


def test_an_array_is_read_as_the_stream_that_it_replaces() -> None:
    pieces = [piece({"text": "It is "}), piece({"text": "sunny."}, CALL, finish="STOP", usageMetadata=USAGE)]
    call = plain(pieces, target=STREAM.partition("?")[0])
    assert (call.ending, call.texts, call.usage) == ("completed", ("It is sunny.",), CallUsage(43, 14, 32, 5, 57))
    assert (call.first_token_ns, call.deltas) == (None, ())
    assert call.conversation is not None
    assert call.conversation.is_streamed


@each(
    ("answer", "status", "expected"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "No."}}, 200,
         ("incomplete", "SAFETY", "No.")),
        (piece(finish="MALFORMED_FUNCTION_CALL"), 200, ("incomplete", "MALFORMED_FUNCTION_CALL", None)),
        ({"error": LIMITED}, 429, ("refused", "RESOURCE_EXHAUSTED", "Quota exceeded.")),
        ([{"error": LIMITED}], 429, ("refused", "RESOURCE_EXHAUSTED", "Quota exceeded.")),
        ({}, 200, ("unknown", None, None)),
    ],
)  # fmt: skip
def test_an_answer_without_a_stop_says_why(answer: Any, status: int, expected: tuple[Any, ...]) -> None:
    call = plain(answer, status)
    assert (call.ending, call.reason, call.error) == expected
    assert call.is_rate_limited is (status == 429)
    assert call.model == ("gemini-2.5-flash-001" if "candidates" in answer else "gemini-2.5-flash")


def test_an_error_in_a_stream_is_a_failure() -> None:
    call = streamed(piece({"text": "One"}), {"error": {"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}})
    assert (call.ending, call.reason, call.error, call.is_rate_limited) == ("failed", "UNAVAILABLE", "Busy.", True)


def test_a_request_has_its_parts() -> None:
    found = read(ASKED, STREAM)
    assert (found.api, found.model, found.is_streamed) == ("google-gemini", "gemini-2.5-flash", True)
    assert (found.instructions, found.asked) == ("Be brief.", "Weather in Rome?")
    assert [(item.kind, item.name, item.text) for item in found.items] == [
        ("user", "", "Weather in Rome?"), ("reasoning", "", "I look."), ("call", "weather", '{"city": "Rome"}'),
        ("output", "weather", "sunny"),
    ]  # fmt: skip
    assert [(tool.name, tool.schema) for tool in found.tools] == [
        ("googleSearch", None),
        ("weather", {"type": "OBJECT"}),
    ]
    assert dict(found.settings) == {"temperature": "0.5", "max_tokens": "9"}


def changed(**more: Any) -> dict[str, Any]:
    return copy.deepcopy(ASKED) | more


def other_part(number: int, part: dict[str, Any]) -> dict[str, Any]:
    body = changed()
    body["contents"][number]["parts"][-1] = part
    return body


@each(
    ("body", "target", "part"),
    [
        ({"system_instruction" if name == "systemInstruction" else name: value for name, value in ASKED.items()}, PATH,
         None),
        (other_part(1, CALL | {"thoughtSignature": "b3RoZXI="}), PATH, None),
        (changed(), "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:generateContent?key=k", None),
        (changed(), STREAM, "stream"),
        (changed(), PATH.replace("flash", "pro"), "model"),
        (changed(systemInstruction={"parts": [{"text": "Be long."}]}), PATH, "instructions"),
        (changed(tools=[]), PATH, "tools"),
        (other_part(0, {"text": "Weather in Oslo?"}), PATH, "messages"),
        (other_part(1, {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}), PATH, "messages"),
        (other_part(2, {"functionResponse": {"name": "weather", "response": {"result": "rain"}}}), PATH, "messages"),
        (other_part(0, {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}), PATH, "messages"),
        (changed(generationConfig={"temperature": 1}), PATH, "settings"),
        (changed(safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT"}]), PATH, "settings"),
    ],
)  # fmt: skip
def test_two_requests_differ_where_their_meaning_does(body: dict[str, Any], target: str, part: str | None) -> None:
    found = {one.part for one in differences(read(ASKED), read(body, target))}
    assert found == (set() if part is None else {part})


def test_a_request_to_count_tokens_is_matched_by_its_contents() -> None:
    target = "/v1beta/models/m:countTokens"
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    assert read(body, target).asked == "Hi"
    assert conversation_of({"requests": [{"content": {}}]}, "/v1beta/models/m:batchEmbedContents") is None


@given(JSON, st.lists(JSON, max_size=3), st.sampled_from([200, 429]), st.booleans())
def test_no_content_makes_it_fail(asked: Any, answer: list[Any], status: int, streams: bool) -> None:
    body = {"contents": asked, "tools": asked, "systemInstruction": asked, "generationConfig": asked}
    found = conversation_of(body, PATH)
    assert found is None or list(differences(found, found)) == []
    bodies = [{"candidates": [{"content": one, "finishReason": one}], "usageMetadata": one} for one in answer]
    call = streamed(*answer, *bodies) if streams else plain([*answer, *bodies], status)
    assert all(-1 <= delta.part < len(call.texts) for delta in call.deltas)
    for data in bodies:
        assert isinstance(summary(CHUNK, data), str)
        text_delta(CHUNK, data)


def test_an_event_is_one_line() -> None:
    assert summary(CHUNK, piece({"text": "Hi"}, CALL)) == '"Hi" weather {"city": "Rome"}'
    assert summary(FINISHED, piece(finish="STOP", usageMetadata=USAGE)) == "STOP · 40 in, 9 out tokens"
    assert summary(FINISHED, {"promptFeedback": {"blockReason": "SAFETY"}}) == "blocked: SAFETY"
    assert summary(ERROR, {"error": LIMITED}) == "Quota exceeded."
    assert text_delta(CHUNK, piece({"text": "Hm", "thought": True})) == ("reasoning", "Hm")
    assert text_delta(FINISHED, piece(finish="STOP")) is None


@pytest.mark.parametrize(
    ("status", "word"), [(404, "NOT_FOUND"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE"), (599, "INTERNAL")]
)
def test_an_error_has_the_form_of_the_api(status: int, word: str) -> None:
    api = model_api("google-gemini")
    assert api.error(status, "No.") == {"error": {"code": status, "message": "No.", "status": word}}
    assert api.error(status, "No.", "own")["error"]["details"][0]["reason"] == "own"
