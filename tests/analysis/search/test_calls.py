"""Search in model calls: prompts, answers of three APIs, the call and the turn of a hit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.search import Found, search
from tests.support.cassettes import Made, event
from tests.support.command import invoke
from tests.support.hop_tapes import asked, both_hops, model_hop, user


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return both_hops().save(tmp_path / "both.db")


def places(found: Found) -> list[tuple[Any, ...]]:
    return [(hit.call and hit.call.call.exchange, hit.row["type"], hit.row["seq"]) for hit in found.hits]


def test_a_tool_of_a_prompt_is_found_once_in_its_first_call(both: Path) -> None:
    found = search(both, "count")
    assert places(found) == [(4, "prompt.tool", None)]
    assert found.hits[0].calls == 3


def test_instructions_are_found_by_their_type(both: Path) -> None:
    assert places(search(both, "poet", type="prompt.*")) == [(4, "prompt.instructions", None)]


def test_a_message_and_a_streamed_text_are_found_in_their_calls(both: Path) -> None:
    assert places(search(both, "lines", calls=True)) == [
        (4, "prompt.tool", None), (4, "prompt.user", None), (6, "response.output_text.delta", 5),
    ]  # fmt: skip


def test_a_hit_has_its_turn(both: Path) -> None:
    (hit,) = search(both, "poet").hits
    assert hit.call is not None
    assert hit.call.turn == (1, "s", 1)


def test_a_session_has_the_hits_of_its_calls(both: Path, tmp_path: Path) -> None:
    assert places(search(both, "poet", session="s")) == [(4, "prompt.instructions", None)]
    assert {call for call, *_ in places(search(both, "poem", session="s"))} == {None, 4, 5, 6}
    (hit, *_) = search(model_hop(1).save(tmp_path / "model.db"), "poet").hits
    assert hit.call is not None
    assert hit.call.turn == (1, "conversation-1", 1)


def chunk(**delta: Any) -> bytes:
    data = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return f"data: {json.dumps(data)}\n\n".encode()


def block(text: str) -> bytes:
    data = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return f"event: content_block_delta\ndata: {json.dumps(data)}\n\n".encode()


@pytest.mark.parametrize(
    ("path", "reads"),
    [("/v1/chat/completions", [chunk(content="light"), chunk(content="house"), chunk(content=" keeper")]),
     ("/v1/messages", [block("light"), block("house"), block(" keeper")])],
)  # fmt: skip
def test_a_word_that_is_split_over_deltas_of_other_apis_is_found(tmp_path: Path, path: str, reads: list[bytes]) -> None:
    tape = Made()
    tape._hops[0], tape._contracts[0] = "model", "auto"
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Who?"}], "stream": True}).encode()
    timed = [(1.1 + n / 10, read) for n, read in enumerate(reads)]
    tape.stream(path, 1.0, *timed, method="POST", body=body, ending="eof")
    found = search(tape.save(tmp_path / "chat.db"), '"lighthouse keeper"')
    assert [(hit.row["seq"], hit.snippet.text) for hit in found.hits] == [(1, "lighthouse keeper")]
    assert places(search(tmp_path / "chat.db", "who", type="prompt.user")) == [(1, "prompt.user", None)]


def test_a_body_that_is_no_conversation_is_found_as_a_request(tmp_path: Path) -> None:
    tape = model_hop(0)
    tape.post("/v1/responses", 1.0, body={"model": "m", "oddity": "whale"}, answer={"id": "r"})
    assert places(search(tape.save(tmp_path / "odd.db"), "whale")) == [(1, None, None)]


def test_the_output_names_the_call_and_the_turn(both: Path) -> None:
    result = invoke("search", both, "poet")
    assert result.output.splitlines() == [
        "model call in exchange 4 · gpt-5 · turn 1 of session s · recording 2",
        "    2.000s  exchange 4   prompt.instructions                You are a [poet]. (and in 2 more calls)",
    ]
    result = invoke("search", both, "poet", "--json")
    assert json.loads(result.output)["call"] == {
        "exchange": 4, "hop": "model", "model": "gpt-5", "attempt": 1, "ending": "refused", "by": "conversation",
        "certainty": "likely", "turns": [{"recording": 1, "session_id": "s", "turn": 1}], "calls": 3,
    }  # fmt: skip


SAID = {"role": "assistant", "content": "lighthouse keeper"}


@pytest.mark.parametrize(
    ("path", "answer"),
    [("/v1/chat/completions", {"choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}]}),
     ("/v1/messages", {"type": "message", "content": [{"type": "text", "text": "lighthouse keeper"}]}),
     ("/v1/responses", {"status": "completed", "output": [
         {"type": "message", "content": [{"type": "output_text", "text": "lighthouse keeper"}]}]})],
)  # fmt: skip
def test_an_answer_that_is_no_stream_is_found_once_in_its_call(tmp_path: Path, path: str, answer: Any) -> None:
    tape = Made()
    tape._hops[0], tape._contracts[0] = "model", "auto"
    body = {"model": "m", "messages": [user("Who?")], "input": "Who?"}
    tape.post(path, 1.0, body=body, answer={"id": "r", "model": "m", **answer})
    tape.post(path, 2.0, body={**body, "messages": [user("Who?"), SAID, user("Why?")]}, answer={"id": "r2"})
    found = search(tape.save(tmp_path / "plain.db"), "keeper", calls=True)
    assert places(found) == [(1, "answer.assistant", None)]
    assert found.hits[0].row["data"]["id"] == "r"


def test_a_tool_call_in_an_answer_that_is_no_stream_is_found(tmp_path: Path) -> None:
    tape = model_hop(0)
    call = {"type": "function_call", "id": "f", "call_id": "c", "name": "wc", "arguments": '{"path": "whale.txt"}'}
    tape.post("/v1/responses", 1.0, body=asked(user("Go")), answer={"id": "r", "status": "completed", "output": [call]})
    assert places(search(tape.save(tmp_path / "tool.db"), "whale")) == [(1, "answer.call", None)]


def test_errors_of_a_provider_are_found_with_their_types(tmp_path: Path) -> None:
    tape = Made()
    tape._hops[0], tape._contracts[0] = "model", "auto"
    asked_it = {"model": "m", "messages": [user("Who?")]}
    error = {"error": {"type": "overloaded_error", "message": "Come back tomorrow."}}
    for number, path in enumerate(("/v1/chat/completions", "/v1/messages"), 1):
        sent = event("error", **error)
        body = json.dumps(asked_it | {"stream": True}).encode()
        tape.stream(path, float(number), (number + 0.1, block("Hi")), (number + 0.2, sent), method="POST", body=body)
    tape.post("/v1/chat/completions", 3.0, status=529, body=asked_it, answer=error)
    tape.post("/v1/chat/completions", 4.0, body=asked_it, answer=error)
    saved = tape.save(tmp_path / "errors.db")
    for word in ("tomorrow", "overloaded_error"):
        assert [hit.exchange or hit.row["seq"] for hit in search(saved, word).hits] == [2, 2, 3, 4]


def test_a_hit_that_one_more_call_has_says_so_in_the_singular(tmp_path: Path) -> None:
    result = invoke("search", model_hop(2).save(tmp_path / "two.db"), "poet")
    assert result.output.endswith("(and in 1 more call)\n")
