"""The findings about model calls: what the client was not told, retries, rate limits, tokens; and nothing more."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.conversations import conversations_in
from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.doctor.finding import Finding
from omnirecord.analysis.gather import model_calls
from omnirecord.analysis.sessions import summaries
from omnirecord.analysis.transcript import lines_of
from omnirecord.cassette.open import open_store
from tests.support.cassettes import SHIPPED, Made
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.faulted import faulted
from tests.support.hop_tapes import asked, model_hop, opening, user, word

HEALTHY = ("both_text", "both_tool", "both_approval", "both_subagent", "both_turns", "both_chat")
ASKED = {"model": "m", "input": "Hi", "stream": True}


def event(type_: str, **fields: Any) -> bytes:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, 'sequence_number': 1, **fields})}\n\n".encode()


def found_in(name: str, *faults: str) -> list[Finding]:
    path = SHIPPED / "both_hops" / f"{name}.jsonl"
    if faults:
        with closing(faulted(path, *faults).store()) as made:
            return examine(made)
    with closing(open_store(path)) as store:
        return examine(store)


def codes(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in found]


@each("name", HEALTHY)
def test_a_healthy_cassette_of_both_hops_has_no_warning(name: str) -> None:
    assert [one for one in found_in(name) if one.severity != "note"] == []


@pytest.mark.parametrize(("name", "code"), [("both_failed", "failed"), ("both_incomplete", "truncated")])
def test_a_hidden_failure_is_named_first_with_its_turn(name: str, code: str) -> None:
    first = found_in(name)[0]
    assert (first.code, first.severity, first.because) == (f"model-{code}-hidden", "error", None)
    assert first.message.startswith("turn 1: ")
    assert first.session_id is not None


def test_a_retried_call_is_explained_by_its_rate_limit() -> None:
    found = found_in("both_retried")
    assert codes(found) == [("model-rate-limited", "warning"), ("model-retried", "note")]
    assert found[1].because == "model-rate-limited"
    assert "3 times in turn 1" in found[1].message
    assert found[1].message.endswith("; the last attempt began 9.04 s after the first")


def test_a_finding_about_a_call_of_a_turn_has_the_recording_of_the_turn() -> None:
    with closing(open_store(SHIPPED / "both_hops" / "both_failed.jsonl")) as store:
        (told,) = summaries(store)
        found = examine(store)
        assert {one.recording for one in found} == {told.recording}
        assert told.findings == tuple(found)


def test_a_failure_that_the_client_was_told_of_explains_the_failed_turn() -> None:
    found = found_in("both_failed", 'set type of response.completed to "response.failed"')
    assert next(one.because for one in found if one.code == "turn-failed") == "model-failed"
    assert "model-failed-hidden" not in {one.code for one in found}


def test_other_tokens_than_the_provider_counts_are_a_warning() -> None:
    found = found_in("both_text", "set response.usage.input_tokens of response.completed in stream 1 to 41")
    (one,) = [one for one in found if one.code == "tokens-differ"]
    assert one.severity == "warning"
    assert "41 input" in one.message


def test_tokens_from_the_providers_cache_may_be_left_out_of_the_clients_numbers() -> None:
    cached = "set response.usage.input_tokens_details.cached_tokens of response.completed in stream 2 to 30"
    told = "set response.usage.input_tokens of response.completed in stream 1 to 10"
    assert "tokens-differ" in {one.code for one in found_in("both_text", told)}
    assert "tokens-differ" not in {one.code for one in found_in("both_text", told, cached)}


def alone(*reads: tuple[float, bytes], ending: Any = "eof", **more: Any) -> list[Finding]:
    """The findings of one call on a model hop without a client's hop."""
    made = Made()
    made.another_recording("model", "auto")
    made.stream("/v1/responses", 1.0, *reads, method="POST", body=json.dumps(ASKED).encode(), ending=ending, **more)
    with closing(made.store()) as store:
        return examine(store)


def test_a_good_call_alone_has_no_finding() -> None:
    done = event("response.completed", response={"id": "r", "status": "completed", "output": []})
    found = alone((1.1, event("response.output_text.delta", delta="Hi")), (1.2, done))
    assert [one.code for one in found if one.code not in ("contract-invalid", "event-type-differs")] == []


@each("ending", ["upstream_lost", "eof"])
def test_a_call_that_the_provider_cut_is_a_failure(ending: str) -> None:
    found = alone((1.1, event("response.output_text.delta", delta="Hi")), ending=ending, end=90.0)
    assert [one.code for one in found if not one.code.startswith("contract")] == ["model-failed"]


def test_an_unknown_event_is_one_finding_for_all_streams_of_a_conversation() -> None:
    made = Made()
    made.another_recording("model", "openai-responses")
    for number in range(6):
        asked = ASKED | {"input": f"Question {number % 2}"}
        made.stream(
            "/v1/responses", 1.0 + number, (1.1 + number, event("response.sparkle") * 9), method="POST",
            body=json.dumps(asked).encode(), ending="eof",
        )  # fmt: skip
    with closing(made.store()) as store:
        found = [one for one in examine(store) if one.code.startswith("contract")]
        names = {one.session_id for one in summaries(store)}
    assert {one.session_id: one.message.split()[0] for one in found} == dict.fromkeys(names, "27")
    assert len(names) == 2


def test_each_conversation_has_its_own_finding_about_calls_that_failed_alike(tmp_path: Path) -> None:
    made = Made()
    made.another_recording("model", "auto")
    for number, status in enumerate((500, 502, 502), 1):
        made.post("/v1/responses", float(number), status=status, body=ASKED | {"input": f"Question {number}"})
    with closing(made.store()) as store:
        assert [(one.session_id, one.message) for one in examine(store)] == [
            (f"conversation-{number}", f"the provider failed with {status} (exchange {number})")
            for number, status in ((1, 500), (2, 502), (3, 502))
        ]
        assert [[one.code for one in told.findings] for told in summaries(store)] == [["model-failed"]] * 3
        assert {one.recording for one in examine(store)} == {made.recordings}
    path = made.save(tmp_path / "alike.db")
    printed = invoke("doctor", str(path)).output
    assert "conversation #1: 1 error\n" in printed
    assert "conversations #2, #3 (2 alike), each: 1 error\n" in printed


def test_failed_and_repeated_tool_calls_of_a_conversation_are_warnings(tmp_path: Path) -> None:
    made = Made()
    made.another_recording("model", "auto")
    said = [user("Hi")]
    for number in range(6):
        call = {"type": "function_call", "id": f"f{number}", "call_id": f"c{number}", "name": "wc", "arguments": "{}"}
        last = [call | {"id": "g", "call_id": "d", "name": "ls"}] if number == 5 else []
        answer = {"id": "r", "object": "response", "status": "completed", "output": [call, *last]}
        made.post("/v1/responses", 1.0 + number, body=ASKED | {"stream": False, "input": said}, answer=answer)
        output = '{"exit_code": 2}' if number == 1 else "3"
        said = [*said, call, {"type": "function_call_output", "call_id": f"c{number}", "output": output}]
    with closing(made.store()) as store:
        signs = examine(store)
    found = {one.code: one for one in signs}
    assert {one.session_id for one in signs} == {"conversation-1"}
    lacking = [one.message.partition(",")[0] for one in signs if one.code == "tool-without-output"]
    assert lacking == ["the last answer calls the tool wc", "the last answer calls the tool ls"]
    failed, repeated = found["tool-failed"], found["tool-repeated"]
    assert failed.message == "the tool wc (call c1) failed: exit code 2 (exchange 2)"
    assert repeated.message == "the tool wc was called 6 times with the same arguments in turn 1: {} (exchange 1)"
    path = made.save(tmp_path / "tools.db")
    assert '!! tool output: {"exit_code": 2}' in invoke("show", str(path)).output


def test_outputs_that_a_program_sends_as_a_text_after_its_calls_are_outputs() -> None:
    made = Made()
    made.another_recording("model", "auto")
    names = ("look", "wc")
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    said = [user("Count")]
    for number, answer in enumerate(({"tool_calls": calls, "content": None}, {"content": "Done"})):
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **answer}}
        whole = {"id": f"c{number}", "object": "chat.completion", "model": "m", "choices": [choice]}
        made.post("/v1/chat/completions", 1.0 + number, body={"model": "m", "messages": said}, answer=whole)
        said = [
            *said,
            {"role": "assistant", "content": f"Calling tools:\n{calls}"},
            user("Observation:\n7"),
        ]
    with closing(made.store()) as store:
        assert examine(store) == []
        (talk,) = conversations_in(model_calls(store), store.recordings())
    (turn,) = talk.session.turns
    assert [(tool.name, tool.output) for tool in turn.tools] == [(name, "Observation:\n7") for name in names]


def test_a_provider_that_is_not_reached_is_no_lost_server() -> None:
    made = Made()
    made.another_recording("model", "auto")
    made.post("/v1/responses", 1.0, body=ASKED, ending="upstream_unreachable", answered=False)
    with closing(made.store()) as store:
        assert codes(examine(store)) == [("model-failed", "error")]


def test_a_request_that_failed_because_of_a_rate_limit_is_one_finding() -> None:
    made = Made()
    made.another_recording("model", "auto")
    error = {"error": {"code": "rate_limit_exceeded", "message": "Slow down."}}
    for number in range(2):
        sent = (("x-stainless-retry-count", str(number)),)
        made.post("/v1/responses", 1.0 + number, status=429, body=ASKED, answer=error, sent=sent)
    with closing(made.store()) as store:
        found = examine(store)
    assert {one.code: one.because for one in found} == {"model-failed": None, "model-retried": "model-failed"}
    assert "refused the call with 429: rate_limit_exceeded: Slow down" in found[0].message

    answer = {"id": "r", "object": "response", "status": "completed", "output": []}
    made.post("/v1/responses", 3.0, body=ASKED, answer=answer, sent=(("x-stainless-retry-count", "2"),))
    with closing(made.store()) as store:
        limited = next(one for one in examine(store) if one.code == "model-rate-limited")
    assert limited.message.startswith("the provider refused 2 attempts of 1 call because of a rate limit")


def test_a_model_stream_that_omnigents_contract_judged_has_the_advice_to_record_without_it() -> None:
    made = Made()
    made.stream(
        "/v1/chat/completions", 1.0, (1.1, b'data: {"object": "chat.completion.chunk", "choices": []}\n\n'),
        method="POST", body=json.dumps(ASKED).encode(), ending="eof",
    )  # fmt: skip
    with closing(made.store()) as store:
        (one,) = [one for one in examine(store) if one.code == "other-api"]
    assert one.message.endswith("the path of a model API: record it without --contract")


def test_an_error_of_an_unknown_form_is_quoted() -> None:
    made = Made()
    made.another_recording("model", "auto")
    made.post("/v1/responses", 1.0, status=502, body=ASKED, answer=["bad gateway"])
    with closing(made.store()) as store:
        (found,) = examine(store)
        (exchange,) = store.exchanges()
        told = '["bad gateway"]'
        assert found.message == f"the provider failed with 502: {told} (exchange {exchange.exchange})"


def test_a_page_in_the_place_of_an_answer_is_a_failed_call() -> None:
    made = Made()
    made.another_recording("model", "auto")
    page = b"<html><body>Welcome to nginx!</body></html>"
    made.request(
        "POST", "/v1/responses", 1.0, body=ASKED, answer=page, headers=(("content-type", "text/html; charset=utf-8"),)
    )
    with closing(made.store()) as store:
        (found,) = examine(store)
    assert (found.code, found.severity) == ("model-failed", "error")
    assert "the answer is text/html instead of JSON" in found.message


@pytest.mark.parametrize("end", [10.0, 60.0])
def test_a_provider_that_leaves_its_connection_open_after_the_answer_is_a_note(end: float) -> None:
    done = event("response.completed", response={"id": "r", "status": "completed", "output": []})
    found = alone((1.1, event("response.output_text.delta", delta="Hi")), (1.2, done), ending="client_left", end=end)
    told = [(one.code, one.severity) for one in found if not one.code.startswith(("contract", "event"))]
    assert told == ([("model-left-open", "note")] if end > 31 else [])


@each(
    ("how", "verdict", "code", "message"),
    [
        (
            "recorder_killed",
            "Unfinished: the recorder was killed at",
            "recorder-killed",
            "the recorder was killed before the answer of 1 model call was complete (exchange 1)",
        ),
        (
            "upstream_lost",
            "Failed: the provider cut the answer at",
            "model-failed",
            "the provider cut the answer after 0.20 s (exchange 1)",
        ),
    ],
)
def test_an_answer_without_an_end_is_told_by_its_cause(how: Any, verdict: str, code: str, message: str) -> None:
    made = model_hop(0)
    reads = [(1.1, opening()), (1.2, word("Hel"))]
    made.stream("/v1/responses", 1.0, *reads, method="POST", body=asked(user("Hi")), ending=how, end=1.2)
    with closing(made.store()) as store:
        (talk,) = conversations_in(model_calls(store), store.recordings())
        (found,) = examine(store)
    assert talk.conclusion.verdict.startswith(verdict)
    assert (found.code, found.message) == (code, message)
    assert "snapshot" not in found.next


@each(
    ("reads", "labels", "verdict"),
    [
        (
            [],
            {"signal": "SIGINT", "exit_code": "1"},
            "program was interrupted by SIGINT after 0.30 s without a token at",
        ),
        (
            [opening(), word("Hi")],
            {"exit_code": "130"},
            "program was interrupted by SIGINT in the middle of the answer",
        ),
        ([opening(), word("Hi")], {"exit_code": "137"}, "program was killed by SIGKILL in the middle of the answer at"),
        ([], {}, "client left after 0.30 s without a token at"),
    ],
)
def test_a_call_that_the_client_cut_says_whether_the_program_was_interrupted(
    reads: Any, labels: dict[str, str], verdict: str
) -> None:
    made = model_hop(0)
    made.labels |= {f"command.{key}": value for key, value in labels.items()}
    made.stream(
        "/v1/responses",
        1.0,
        *((1.1, one) for one in reads),
        method="POST",
        body=asked(user("Hi")),
        ending="client_left",
        end=1.3,
    )
    with closing(made.store()) as store:
        (talk,) = conversations_in(model_calls(store), store.recordings())
        shown = " ".join(" ".join(lines_of(store, None)).split())
    assert talk.conclusion.verdict.startswith(f"Unfinished: the {verdict}")
    assert f"Why it stops here: {talk.conclusion.sentence}" in shown


def test_a_fallback_to_another_model_after_a_failure_is_no_turn_of_its_own() -> None:
    made = model_hop(0)
    error = {"error": {"code": "server_error", "message": "Sorry."}}
    history: list[Any] = []
    for number, question in enumerate(("One?", "Two?"), 1):
        history.append(user(question))
        answer = {"role": "assistant", "content": f"Answer {number}."}
        item = {"type": "message", "content": [{"type": "output_text", "text": answer["content"]}]}
        done = {"id": f"resp_{number}", "status": "completed", "output": [item]}
        for later, model, status, sent in ((0, "big", 500, error), (1, "small", 200, done)):
            body = json.loads(asked(*history, model=model)) | {"stream": False}
            made.post("/v1/responses", 10.0 * number + later, status=status, body=body, answer=sent)
        history.append(answer)
    with closing(made.store()) as store:
        (talk,) = conversations_in(model_calls(store), store.recordings())
        (found,) = examine(store)
    assert [[one.text for one in turn.asked] for turn in talk.session.turns] == [["One?"], ["Two?"]]
    assert [turn.text for turn in talk.session.turns] == ["Answer 1.", "Answer 2."]
    assert (found.code, found.severity) == ("model-failed", "warning")
    assert "and the turn went on without it" in found.message


@each(
    ("how", "reads", "labels", "found"),
    [
        ("client_left", [], {}, [("model-failed", "warning", "the client left after 0.30 s without a token")]),
        ("client_left", [word("Hi")], {}, [("model-failed", "note", "the client left in the middle of the answer")]),
        ("client_left", [], {"exit_code": "130"}, [("command-failed", "note", "the command was interrupted")]),
        (
            "recorder_stopped",
            [],
            {"exit_code": "0"},
            [("recorder-stopped", "note", "the command ended before the answer of 1 model call was complete")],
        ),
        (
            "recorder_stopped",
            [],
            {},
            [("recorder-stopped", "note", "the recorder was stopped before the answer of 1 model call was complete")],
        ),
    ],
)
def test_a_call_that_the_client_or_the_end_of_the_recording_cut_is_a_finding(
    how: Any, reads: Any, labels: dict[str, str], found: list[tuple[str, str, str]]
) -> None:
    made = model_hop(0)
    made.labels |= {f"command.{key}": value for key, value in labels.items()}
    times = ((1.1, one) for one in reads)
    made.stream("/v1/responses", 1.0, *times, method="POST", body=asked(user("Hi")), ending=how, end=1.3)
    with closing(made.store()) as store:
        (talk,) = conversations_in(model_calls(store), store.recordings())
        signs = examine(store)
    assert [(one.code, one.severity) for one in signs] == [one[:2] for one in found]
    assert signs[0].message.startswith(found[0][2])
    assert {one.session_id for one in signs} == {"conversation-1"}
    assert (talk.conclusion.outcome, talk.session.turns[0].ended) == ("unfinished", "unfinished")


def test_a_call_of_a_killed_recorder_lasts_until_its_last_event() -> None:
    made = model_hop(0)
    body = asked(user("Hi"))
    reads = [(1.1, opening()), (1.5, word("Hel"))]
    made.stream("/v1/responses", 1.0, *reads, method="POST", body=body, ending="recorder_killed", end=None)
    with closing(made.store()) as store:
        (talk,) = conversations_in(model_calls(store), store.recordings())
    assert talk.session.duration_ns == 500_000_000


def test_attempts_without_an_answer_are_told_in_words() -> None:
    made = model_hop(0)
    for number in range(2):
        sent = (("x-stainless-retry-count", str(number)),)
        made.post(
            "/v1/responses",
            1.0 + number,
            until=1.5 + number,
            body=ASKED,
            ending="client_left",
            answered=False,
            sent=sent,
        )
    with closing(made.store()) as store:
        found = examine(store)
    assert {one.code: one.because for one in found} == {"model-failed": None, "model-retried": "model-failed"}
    assert found[1].message.startswith("a request was sent 2 times (no answer before the client left); no attempt")
    assert "the timeout of the client: raise it" in found[1].next


@each(
    ("code", "severity", "message"),
    [
        ("137", "warning", "the command was killed by SIGKILL: it ended with exit code 137"),
        ("1", "warning", "the command ended with exit code 1"),
        ("130", "note", "the command was interrupted: it ended with exit code 130"),
    ],
)
def test_a_command_that_failed_after_its_last_answer_is_reported(code: str, severity: str, message: str) -> None:
    made = model_hop(2)
    made.labels["command.exit_code"] = code
    with closing(made.store()) as store:
        (found,) = examine(store)
        last = conversations_in(model_calls(store), store.recordings())[-1].session.session_id
    assert (found.code, found.severity, found.message, found.session_id) == ("command-failed", severity, message, last)


def test_each_of_two_commands_that_failed_alike_is_reported() -> None:
    made = Made("openai-responses")
    made.labels["command.exit_code"] = "1"
    for number in range(2):
        if number:
            made.another_recording(None, "openai-responses")
        answer = {"id": "r", "status": "completed", "output": []}
        made.post("/v1/responses", 1.0, body=ASKED | {"input": f"Question {number}"}, answer=answer)
    with closing(made.store()) as store:
        assert [(one.code, one.session_id) for one in examine(store)] == [
            ("command-failed", "conversation-1"),
            ("command-failed", "conversation-2"),
        ]


@each(
    ("status", "why", "step"),
    [
        (401, "The provider did not accept the key", "Check the key of the program"),
        (404, "The server does not know this path, or this model.", "Check the URL"),
        (400, "The provider does not accept the request as it is.", "Compare the request"),
        (429, "A rate limit was reached", "Compare the limits"),
        (500, "The provider failed.", "Run the program again later."),
    ],
)
def test_a_failed_call_has_the_reason_and_the_next_step_of_its_status(status: int, why: str, step: str) -> None:
    made = Made()
    made.another_recording("model", "auto")
    made.labels["command.exit_code"] = "1"
    made.post("/v1/responses", 1.0, status=status, body=ASKED, answer={"error": {"message": "No."}})
    with closing(made.store()) as store:
        failed, command = sorted(examine(store), key=lambda one: one.code, reverse=True)
    assert failed.why.startswith(why)
    assert failed.next.startswith(step)
    assert failed.next.endswith("omnirecord request CASSETTE 1 shows its whole answer.")
    assert command.why == "The last model call of the command failed."


def test_an_error_of_the_provider_is_no_refusal() -> None:
    made = Made()
    made.another_recording("model", "auto")
    made.post("/v1/responses", 1.0, status=500, body=ASKED, answer={"error": {"message": "Broken."}})
    with closing(made.store()) as store:
        (talk,) = conversations_in(model_calls(store), store.recordings())
    assert talk.conclusion.verdict.startswith("Failed: the provider failed with 500: Broken at")
