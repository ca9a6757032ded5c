"""The view of a recording: deltas folded, what happened in one line each, its ending seen at 80 columns."""

from __future__ import annotations

import gc
import json
import re
import tracemalloc
import weakref
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.follow.rows import Wanted, rows_of
from omnirecord.analysis.gather import whole_sessions
from omnirecord.analysis.live import Line, LiveView
from omnirecord.cassette.open import open_store
from omnirecord.model import Ending
from omnirecord.text import cells, seconds
from tests.support.cassettes import (
    HEALTHY,
    SHIPPED,
    TROUBLED,
    Made,
    completed,
    created,
    delta,
    event,
    heartbeat,
    status,
)
from tests.support.examples import a_third, each
from tests.support.hop_tapes import RESPONSES, opening


def rows(path: Path) -> list[dict[str, Any]]:
    """All that a follower tells of a cassette."""
    follower, found = rows_of(path, Wanted(requests=True), last=10_000, opens=open_store), list[dict[str, Any]]()
    while True:
        batch = follower.read()
        found += batch.rows
        if not batch.has_more:
            return found


def told(path: Path, *, every: bool = False) -> list[Line]:
    view = LiveView(every=every)
    return [one for row in rows(path) for one in view.lines_of(row)] + list(view.rest())


def lines(path: Path, width: int | None = 200) -> list[str]:
    """Without times and places."""
    return [" ".join(one.line(width).split()[1:]) for one in told(path)]


@pytest.fixture
def tape() -> Made:
    return Made()


def test_a_turn_with_an_approval_is_told_in_a_line_for_each_thing_that_happened() -> None:
    assert lines(HEALTHY["approval"]) == [
        "stream Python client listens to session 04cc962c stream 1",
        'message user: "Please summarise the release notes." 1:4',
        "approval asked: always_ask_on_input: Confirm this message before I process it. 1:4",
        "approval answered: accept by Python client 1:5",
        "turn begins with helper 1:9",
        'assistant "The release brings a recorder, a replay server and a way to read what was recorded." (16 deltas)'
        " 1:10",
        "turn completed in 0.74 s · 40 in, 32 out tokens 1:29",
        "stream Python client left after 0.86 s stream 1",
    ]


ENDED = re.compile(r"(completed|failed|incomplete|cancelled|interrupted|denied)( in [^·]+)?( ·)?")


@each("path", a_third([path for path in SHIPPED.rglob("*.jsonl") if path.parent.name not in ("agents", "generic")]))
def test_the_turns_of_the_view_end_as_those_of_show(path: Path) -> None:
    with closing(open_store(path)) as store:
        turns = [turn for session in whole_sessions(store) for turn in session.turns]
    ends = [one.head.removesuffix(" ·") for one in told(path) if one.label == "turn" and ENDED.fullmatch(one.head)]
    shown = [turn for turn in turns if turn.ended_ns is not None and turn.events]
    lasted = [(turn, (turn.ended_ns or 0) - turn.begin_ns) for turn in shown]
    assert Counter(ends) == Counter(f"{turn.ended} in {seconds(ns)}" if ns else turn.ended for turn, ns in lasted)


def test_deltas_are_counted_as_deltas_with_their_rate_and_the_last_words(tape: Made, tmp_path: Path) -> None:
    tape.stream("s", 0.0, (0.0, heartbeat()), *((1 + n / 10, delta(f"word{n} ", n)) for n in range(21)))
    view = LiveView()
    for row in rows(tape.save(tmp_path / "a.db"))[:-1]:
        for _ in view.lines_of(row):
            pass
    growing = view.growing()
    assert growing is not None
    line = growing.line(60)
    assert "assistant  21 deltas, 10/s: …" in line
    assert "word20" in line
    assert cells(line) <= 60
    (finished,) = view.rest()
    shown = finished.line(80)
    assert 'assistant  "word0 word1 word2' in shown
    assert shown.endswith("(21 deltas, 10/s, 2.00 s)  1:2")


@each("path", [*HEALTHY.values(), *TROUBLED.values()])
@each("every", [False, True])
def test_no_line_is_wider_than_the_terminal_or_holds_a_control_character(path: Path, every: bool) -> None:
    for one in told(path, every=every):
        for width in (40, 80, 200):
            assert all(cells(line) <= width and line.isprintable() for line in one.lines(width))
        assert one.line().isprintable()


def test_a_refused_write_is_a_failure_with_what_the_server_said(tape: Made, tmp_path: Path) -> None:
    answer = {"error": {"code": "invalid_input", "message": "runner 'x' is not registered, so bind another one to it"}}
    tape.request("PATCH", "/v1/sessions/0123456789ab", 1.0, status=400, answer=answer)
    (one,) = told(tape.save(tmp_path / "a.db"))
    assert one.kind == "trouble"
    first, *below = one.lines(80)
    assert "request    400 PATCH …/01234567 invalid_input: runner" in first
    assert "bind another one to it" in " ".join(" ".join(below).split())


@pytest.mark.parametrize(
    ("method", "target", "status", "party"),
    [
        ("POST", "/v1/sessions/s/resources/terminals", 503, "client"),
        ("GET", "/v1/sessions/s/resources/github", 404, "client"),
        ("GET", "/v1/hosts/h/worktrees", 400, "client"),
        ("POST", "/v1/runners/r/token", 401, "runner"),
    ],
)
def test_a_failure_that_healthy_sessions_have_is_not_red(
    tape: Made, tmp_path: Path, method: str, target: str, status: int, party: str
) -> None:
    tape.request(method, target, 1.0, status=status, party=party)
    assert [one.kind for one in told(tape.save(tmp_path / "a.db"))] == ["note"]


def test_an_approval_says_which_client_answered(tape: Made, tmp_path: Path) -> None:
    tape.stream(
        "s", 0.0, (0.0, heartbeat()),
        (1.0, event("response.elicitation_request", elicitation_id="e", params={"message": "May I?"})),
        (3.0, event("response.elicitation_resolved", elicitation_id="e", action="decline")),
        (3.0, event("response.elicitation_resolved", elicitation_id="e", action="decline")), end=5.0,
    )  # fmt: skip
    tape.post("/v1/sessions/s/elicitations/e/resolve", 2.0, body={"action": "decline"}, party="client-2", until=3.1)
    found = lines(tape.save(tmp_path / "a.db"))
    assert [line for line in found if line.startswith("approval")] == [
        "approval asked: May I? 1:2", "approval answered: decline by client 2 1:3",
    ]  # fmt: skip


def test_two_clients_of_a_session_are_told_once(tape: Made, tmp_path: Path) -> None:
    ended = event("response.completed", response={"id": "r", "status": "completed", "model": "m", "created_at": 1})
    reads = [*((1.0 + n / 100, delta("x", n)) for n in range(5)), (2.0, ended)]
    tape.stream("s", 0.0, (0.0, heartbeat()), *reads, end=3.0)
    tape.stream("s", 0.0, (0.0, heartbeat()), *((at + 0.01, data) for at, data in reads), end=3.0)
    found = lines(tape.save(tmp_path / "a.db"))
    assert sum("assistant" in line for line in found) == 1
    assert 'assistant "xxxxx" (5 deltas) 1:2' in found
    assert sum("completed" in line for line in found) == 1


def test_two_clients_whose_streams_number_their_events_are_told_once(tape: Made, tmp_path: Path) -> None:
    for stream in (1, 2):
        reads = [(1.0 + n, b"id: %d\n" % (10 * stream + n) + delta(f"w{n} ", n)) for n in range(3)]
        tape.stream("s", 0.0, (0.0, heartbeat()), *((at + stream / 100, data) for at, data in reads), end=5.0)
    (said,) = [one for one in lines(tape.save(tmp_path / "a.db")) if one.startswith("assistant")]
    assert '"w0 w1 w2" (3 deltas' in said


def test_a_client_that_comes_back_does_not_have_the_text_so_far_told_again() -> None:
    said = [line for line in lines(HEALTHY["reconnect"]) if line.startswith("assistant")]
    assert len(said) == 2
    assert sum("A flight recorder" in line for line in said) == 1


def test_text_that_no_stream_brought_is_shown_when_a_client_comes_back(tape: Made, tmp_path: Path) -> None:
    tape.stream("s", 0.0, (0.0, heartbeat()), (1.0, created()), (1.1, delta("Hel")), end=2.0)
    tape.stream("s", 4.0, (4.0, heartbeat() + created() + delta("Hello, w", None)), (5.0, delta("orld")), end=6.0)
    said = [one for one in lines(tape.save(tmp_path / "a.db")) if one.startswith("assistant")]
    assert [one.partition('"')[2].partition('"')[0] for one in said] == ["Hel", "lo, world"]


def test_a_turn_whose_end_only_the_rest_of_its_session_shows_has_its_end(tape: Made, tmp_path: Path) -> None:
    reads = (0.0, heartbeat()), (1.0, status("running")), (2.0, delta("Hi")), (3.5, status("idle"))
    tape.stream("s", 0.0, *reads, end=4.0)
    assert "turn completed in 2.50 s 1:4" in lines(tape.save(tmp_path / "a.db"))


def test_a_long_turn_does_not_fill_the_memory(tape: Made, tmp_path: Path) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "shell", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "x" * 10_000}
    items = [event("response.output_item.done", item=one) for one in (call, output)]
    tape.stream("s", 0.0, (0.0, heartbeat()), (1.0, delta("word " * 2_000)), *((1.1, one) for one in items))
    *of_one, _ = rows(tape.save(tmp_path / "a.db"))
    view = LiveView()

    def see(numbers: range) -> int:
        for number in numbers:
            for row in of_one:
                if row.get("exchange") is None:
                    raw = row["raw"].replace('"c"', f'"c{number}"')
                    data = json.loads(json.dumps(row["data"]).replace('"c"', f'"c{number}"'))
                    at = {"seq": row["seq"] + 9, "offset_ns": row["offset_ns"] + number * 10**9}
                    assert list(view.lines_of({**row, "raw": raw, "data": data, **at})) is not None
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = see(range(20))
        assert see(range(20, 120)) - before < 500_000  # the texts and the outputs have 2 MB
    finally:
        tracemalloc.stop()


def test_sessions_are_named_where_there_are_several() -> None:
    assert any("9a909932 1:11" in line for line in lines(HEALTHY["subagent"]))
    assert not any("586d66e2 1:" in line for line in lines(HEALTHY["tool"]))


def test_a_tool_that_failed_is_red(tape: Made, tmp_path: Path) -> None:
    item = {"type": "function_call_output", "call_id": "c", "output": '{"stdout": "", "exit_code": 3}'}
    tape.stream("s", 0.0, (0.0, heartbeat()), (1.0, event("response.output_item.done", item=item)))
    (one,) = (one for one in told(tape.save(tmp_path / "a.db")) if one.label == "tool")
    assert one.kind == "trouble"
    assert "failed, exit code 3" in one.line()


def test_wide_characters_take_two_columns(tape: Made, tmp_path: Path) -> None:
    tape.stream("s", 0.0, (0.0, heartbeat()), (1.0, delta("漢字と絵文字👍🏽 " * 30)))
    for one in told(tape.save(tmp_path / "a.db")):
        assert all(cells(line) <= 80 for line in one.lines(80))
    assert cells("漢字👍e\u0301❤\ufe0f") == 2 + 2 + 2 + 1 + 2


def test_a_count_says_more_than_where_events_are_left_out(tape: Made, tmp_path: Path) -> None:
    tape.stream("s", 0.0, (0.0, heartbeat()), (1.0, delta("x")))
    view = LiveView()
    for row in rows(tape.save(tmp_path / "a.db"))[:-1]:
        for _ in view.lines_of(row):
            pass
    view.lacks_some()
    assert "more than 1 delta" in next(iter(view.rest())).line()


def test_sessions_that_come_and_go_do_not_fill_the_memory(tape: Made, tmp_path: Path) -> None:
    tape.stream("s", 0.0, (0.0, heartbeat()), (1.0, delta("x")), (2.0, event("response.completed")), ending="eof")
    of_one = rows(tape.save(tmp_path / "a.db"))
    view = LiveView()

    def see(numbers: range) -> int:
        for number in numbers:
            for row in of_one:
                at = {"session_id": f"session-{number}", "stream": number, "exchange": row.get("exchange") and number}
                for _ in view.lines_of({**row, **at}):
                    pass
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = see(range(3000))
        assert see(range(3000, 9000)) - before < 100_000
    finally:
        tracemalloc.stop()


def test_an_event_that_does_not_fit_the_contract_is_told_once(tape: Made, tmp_path: Path) -> None:
    tape.stream("s", 0.0, *((n / 10, event("session.status")) for n in range(5)), (1.0, event("new.thing", a=1)))
    assert [(one.label, one.kind) for one in told(tape.save(tmp_path / "a.db")) if one.label != "stream"] == [
        ("invalid", "warning"), ("unknown", "warning"),
    ]  # fmt: skip


def test_the_page_shows_what_tail_prints() -> None:
    page = (SHIPPED.parent / "docs" / "tail.md").read_text()
    shown = page.partition("omnirecord tail cassettes/approval.jsonl\n\n")[2].partition("```")[0].splitlines()
    assert shown[:-1] == [one.line() for one in told(HEALTHY["approval"])]


@pytest.mark.parametrize(
    ("name", "kinds"), [("tool_hangs", ["warning"]), ("server_killed", ["trouble"]), ("approval_unanswered", [])]
)
def test_a_stream_that_ends_in_a_turn_stands_out(name: str, kinds: list[str]) -> None:
    ends = [one for one in told(TROUBLED[name]) if one.label == "stream" and "listens" not in one.head]
    assert [one.kind for one in ends] == kinds
    assert all("in a turn" in one.head for one in ends)


def test_a_model_call_is_one_line_between_the_events_of_its_turn() -> None:
    found = lines(SHIPPED / "both_hops" / "both_retried.jsonl")
    of_model = [line for line in found if line.startswith("model ")]
    assert [line.split()[1:3] for line in of_model] == [
        ["POST", "/v1/responses"], ["429", "POST"], ["500", "POST"], ["POST", "/v1/responses"],
        ["POST", "/v1/responses"],
    ]  # fmt: skip
    begins = next(n for n, line in enumerate(found) if line.startswith("turn begins"))
    completed = next(n for n, line in enumerate(found) if line.startswith("turn completed"))
    assert all(begins < found.index(line) < completed for line in of_model)
    assert sum(line.startswith("assistant") for line in found) == 1


def test_every_event_of_a_model_is_shown_on_request() -> None:
    path = SHIPPED / "both_hops" / "both_retried.jsonl"
    types = [one.head for one in told(path, every=True)]
    assert "response.function_call_arguments.done" in types


def test_a_failed_request_whose_answer_begins_with_its_status_has_the_status_once(tape: Made, tmp_path: Path) -> None:
    error = {"error": {"message": "404: Not Found"}}
    tape.post("/nope", 5.0, until=5.1, status=404, answer=error)
    (line,) = [line for line in lines(tape.save(tmp_path / "a.db")) if "/nope" in line]
    assert "404 POST /nope Not Found" in line


def test_an_issue_of_a_whole_event_begins_with_no_empty_path(tape: Made, tmp_path: Path) -> None:
    tape.stream("s", 0.0, (0.1, b"data: {oops\n\n"))
    path = tape.save(tmp_path / "a.db")
    assert any(line.startswith("malformed is not JSON: ") for line in lines(path))
    (line,) = (one.line(200) for one in told(path, every=True) if "is not JSON" in one.line(200))
    assert ":" not in line.partition("is not JSON")[0]


def test_an_answer_of_a_model_that_was_cut_is_marked(tape: Made, tmp_path: Path) -> None:
    tape.another_recording("model", "auto")
    endings: list[tuple[float, str, Ending]] = [
        (1.0, RESPONSES, "done"),
        (3.0, RESPONSES, "eof"),
        (5.0, "/other", "eof"),
    ]
    for at, target, ended in endings:
        tape.stream(target, at, (at + 0.1, opening()), method="POST", ending=ended)
    assert [(line.end, line.kind) for line in told(tape.save(tmp_path / "a.db"))] == [
        ("in 0.10 s", "note"), ("in 0.10 s; ended without its last event", "warning"), ("in 0.10 s", "note"),
    ]  # fmt: skip


def test_a_further_client_with_the_same_program_is_called_a_client(tape: Made, tmp_path: Path) -> None:
    for session, agent in (("s", "OpenAI/Python 2.44.0"), ("t", "python-httpx/0.28")):
        tape.stream(session, 1.0, (1.0, heartbeat()), party="client-2", sent=(("User-Agent", agent),))
    told_of = [one.head for one in told(tape.save(tmp_path / "a.db")) if one.label == "stream"]
    assert {head.partition(" client 2 ")[0] for head in told_of} == {"OpenAI", "Python"}


def test_the_text_of_an_unnamed_model_api_is_one_line(tape: Made, tmp_path: Path) -> None:
    tape._contracts[0] = "auto"
    texts = [{"content": ""}, {"content": "Hel"}, {"content": "lo"}, {}]
    chunks = [{"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": one}]} for one in texts]
    tape.stream("/v1/chat/completions", 1.0, *((1.1, frame(one)) for one in chunks), method="POST", ending="eof")
    blocks = [{"type": "thinking_delta", "thinking": "Hm."}, {"type": "text_delta", "text": "Good day"}]
    parts = [{"type": "content_block_delta", "index": 0, "delta": one} for one in blocks]
    tape.stream("/v1/messages", 3.0, *((3.1, frame(one)) for one in parts), method="POST", ending="eof")
    found = lines(tape.save(tmp_path / "a.db"))
    said = [line for line in found if line.startswith(("assistant", "thinking"))]
    assert [line.split("(")[0].split(maxsplit=1)[1] for line in said] == ['"Hello" ', '"Hm." ', '"Good day" ']
    assert found.index(said[0]) < next(n for n, line in enumerate(found) if "closed it" in line)


USED = {"usageMetadata": {"promptTokenCount": 40, "candidatesTokenCount": 9, "thoughtsTokenCount": 5}}
CHAT, ANTHROPIC = "/v1/chat/completions", (("Host", "api"), ("anthropic-version", "2023-06-01"))


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return frame(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": [choice]} | more
    )


def asked(*messages: dict[str, Any]) -> bytes:
    return json.dumps({"model": "gpt", "stream": True, "messages": messages}).encode()


def test_a_turn_of_chat_completions_has_its_question_its_tool_and_its_end(tmp_path: Path) -> None:
    tape = Made("auto")
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city"'}}
    parts = [
        chunk({"role": "assistant", "content": "Let me "}), chunk({"content": "look."}), chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ': "Oslo"}'}}]}), chunk({}, "tool_calls"),
        frame({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": [],
               "usage": {"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49}}),
        b"data: [DONE]\n\n",
    ]  # fmt: skip
    question = {"role": "user", "content": "Weather?"}
    reads = [(1.0 + n / 10, one) for n, one in enumerate(parts, 1)]
    tape.stream(CHAT, 1.0, *reads, method="POST", body=asked(question), ending="done")
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    output = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    last = [(3.1, chunk({"content": "Sunny."}, "stop"))]
    tape.stream(CHAT, 3.0, *last, method="POST", body=asked(question, answer, output), ending="eof", end=3.2)
    assert lines(tape.save(tmp_path / "a.db")) == [
        'message user: "Weather?" stream 1', "stream client reads /v1/chat/completions stream 1",
        "turn begins with gpt 1:1",
        'assistant "Let me look." (2 deltas) 1:1', 'tool weather {"city": "Oslo"} 1:5',
        "turn completed in 0.50 s · 40 in, 9 out tokens 1:7",
        "stream the server ended it after 0.70 s (client) stream 1", "tool -> sunny stream 2",
        "stream client reads /v1/chat/completions stream 2", "turn begins with gpt 2:1",
        'assistant "Sunny." (1 delta) 2:1', "turn completed in 0.10 s stream 2",
        "stream the server closed it after 0.20 s (client) stream 2",
    ]  # fmt: skip


def test_a_turn_of_messages_has_its_tool_and_its_end_and_a_cut_one_stands_out(tmp_path: Path) -> None:
    def said(type_: str, **fields: Any) -> bytes:
        return f"event: {type_}\n".encode() + frame({"type": type_, **fields})

    tape = Made("auto")
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": []}
    begins = said("message_start", message={**message, "usage": {"input_tokens": 7, "output_tokens": 1}})
    block = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    parts = [
        begins, said("content_block_start", index=0, content_block=block),
        said("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"city": "Oslo"}'}),
        said("content_block_stop", index=0),
        said("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 5}), said("message_stop"),
    ]  # fmt: skip
    for at, sent, ending in ((1.0, parts, "done"), (3.0, parts[:1], "upstream_lost")):
        reads = [(at + n / 10, one) for n, one in enumerate(sent, 1)]
        tape.stream("/v1/messages", at, *reads, method="POST", sent=ANTHROPIC, body=asked(), ending=ending)  # type: ignore[arg-type]
    found = [line for line in lines(tape.save(tmp_path / "a.db")) if "reads" not in line]
    assert found == [
        "turn begins with claude 1:1", 'tool weather {"city": "Oslo"} 1:4',
        "turn incomplete in 0.50 s · max_tokens · 7 in, 5 out tokens 1:6",
        "stream the server ended it after 0.60 s (client) stream 1", "turn begins with claude 2:1",
        "stream the upstream connection broke in a turn after 0.10 s (client) stream 2",
    ]  # fmt: skip


def test_a_turn_of_gemini_has_its_question_its_tool_and_its_end(tmp_path: Path) -> None:
    def piece(*parts: dict[str, Any], **more: Any) -> bytes:
        content = {"role": "model", "parts": parts}
        return frame({"candidates": [{"index": 0, "content": content, **more}], "modelVersion": "gemini", **USED})

    tape, target = Made("auto"), "/v1beta/models/m:streamGenerateContent?alt=sse"
    call = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}
    parts = [piece({"text": "Let me "}), piece({"text": "look."}), piece(call, finishReason="STOP")]
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}]}).encode()
    reads = [(1.0 + n / 10, one) for n, one in enumerate(parts, 1)]
    tape.stream(target, 1.0, *reads, method="POST", body=body, ending="done")
    last = piece({"text": "Dry."}, call, finishReason="STOP")
    for at, sent in ((3.0, [parts[0], last]), (5.0, [last])):
        tape.stream(target, at, *((at + 0.1, one) for one in sent), method="POST", ending="done")
    found = lines(tape.save(tmp_path / "a.db"))
    end = ['tool weather {"city": "Oslo"} %s', "turn completed in 0.10 s · 40 in, 14 out tokens %s"]
    assert found[8:12] == [
        "turn begins with gemini 2:1",
        'assistant "Let me Dry." (2 deltas) 2:1',
        *(one % "2:2" for one in end),
    ]
    assert found[14:18] == [
        "turn begins with gemini 3:1",
        'assistant "Dry." (1 delta) 3:1',
        *(one % "3:1" for one in end),
    ]
    assert found[:7] == [
        'message user: "Weather?" stream 1', "stream client reads /v1beta/models/m:streamGenerateContent stream 1",
        "turn begins with gemini 1:1", 'assistant "Let me look." (2 deltas) 1:1',
        'tool weather {"city": "Oslo"} 1:3', "turn completed in 0.30 s · 40 in, 14 out tokens 1:3",
        "stream the server ended it after 0.30 s (client) stream 1",
    ]  # fmt: skip


@pytest.mark.parametrize("target", [CHAT, "/v1/responses"])
def test_a_turn_that_failed_in_its_stream_says_why(target: str, tmp_path: Path) -> None:
    tape = Made("auto")
    opens = chunk({"content": "Hi"}) if target == CHAT else opening()
    error = frame({"type": "error", "error": {"code": "server_error", "message": "Sorry."}})
    tape.stream(target, 1.0, (1.1, opens), (1.2, error), method="POST", ending="done")
    (told_of,) = [line for line in lines(tape.save(tmp_path / "a.db")) if line.startswith("turn failed")]
    assert "server_error: Sorry." in told_of


def test_a_stream_of_many_deltas_is_not_held_for_its_tools(tmp_path: Path) -> None:
    tape, view = Made("auto"), LiveView()
    tape.stream(CHAT, 1.0, *((1.1, chunk({"content": f"word {n} "})) for n in range(50)), method="POST", ending="eof")
    (*events, end) = rows(tape.save(tmp_path / "a.db"))
    for row in events:
        assert list(view.lines_of(row)) is not None
    ((answer, of),) = [(one.answer, one) for one in view._sessions.values()]
    assert answer is not None
    assert sum(map(len, answer._answer.texts.values())) <= 1
    assert of.fold is not None
    assert any("closed it" in line.line() for line in view.lines_of(end))
    assert view._sessions == {}


def test_a_request_of_json_rpc_has_the_name_of_its_method(tmp_path: Path) -> None:
    tape = Made("auto")
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "forecast"}}
    tape.post("/mcp", 2.5, until=2.6, body=call, answer={"jsonrpc": "2.0", "id": 1, "result": {}})
    tape.stream("/mcp", 2.0, (2.1, frame({"x": 1})), method="POST", body=json.dumps(call).encode())
    tape.post("/mcp", 3.0, until=3.1, body=call, status=500)
    path = tape.save(tmp_path / "a.db")
    assert [line.partition("tools/call forecast")[1] for line in lines(path) if "/mcp" in line] == [
        "tools/call forecast"
    ] * 3


def frame(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


@each(
    ("second", "told_after"),
    [
        (event("turn.completed", session_id="s"), ["turn completed in 1.00 s"]),
        (
            event("turn.failed", session_id="s", error={"code": "e", "message": "m"}),
            ["turn completed in 1.00 s", "turn failed in 2.00 s · e: m"],
        ),
    ],
)
def test_a_turn_has_one_line_for_its_end_unless_a_later_event_changes_it(
    second: bytes, told_after: list[str], tmp_path: Path
) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), (3.0, completed()), (4.0, second))
    found = lines(tape.save(tmp_path / "made.db"))
    assert [one.rpartition(" 1:")[0] for one in found if one.startswith("turn ") and "begins" not in one] == told_after


def test_a_tool_that_returns_an_error_as_an_object_has_failed(tape: Made, tmp_path: Path) -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": {"error": {"message": "no such file"}}}
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, event("response.output_item.done", item=output)))
    assert any("failed, no such file" in one for one in lines(tape.save(tmp_path / "made.db")))


CITY = '{"city": "Oslo"}'
WHOLE = {
    CHAT: {
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "Let me look.",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": CITY}}],
        }}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49},
    },
    "/v1/messages": {
        "id": "m", "type": "message", "role": "assistant", "model": "gpt", "stop_reason": "tool_use",
        "content": [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
        ],
        "usage": {"input_tokens": 40, "output_tokens": 9},
    },
}  # fmt: skip


@pytest.mark.parametrize("target", WHOLE)
def test_an_answer_that_is_no_stream_has_its_text_its_tool_and_its_tokens(target: str, tmp_path: Path) -> None:
    tape = Made("auto")
    sent = ANTHROPIC if target == "/v1/messages" else ()
    tape.post(target, 1.0, until=1.5, body=json.loads(asked({"role": "user", "content": "Weather?"})),
              answer=WHOLE[target], sent=sent)  # fmt: skip
    assert lines(tape.save(tmp_path / "a.db")) == [
        'message user: "Weather?" exchange 1', "turn begins with gpt exchange 1",
        'assistant "Let me look." exchange 1', 'tool weather {"city": "Oslo"} exchange 1',
        "turn completed in 0.50 s · 40 in, 9 out tokens exchange 1", f"request POST {target} 200 in 0.50 s exchange 1",
    ]  # fmt: skip


def test_a_whole_answer_that_was_cut_short_says_why(tmp_path: Path) -> None:
    tape = Made("auto")
    choice = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "Let"}}
    tape.post(CHAT, 1.0, until=1.5, body=json.loads(asked()), answer={**WHOLE[CHAT], "choices": [choice]})
    (end,) = [one for one in told(tape.save(tmp_path / "a.db")) if "incomplete" in one.head]
    assert (end.kind, end.text) == ("trouble", "length · 40 in, 9 out tokens")


def test_a_turn_of_which_the_last_events_are_shown_begins_with_its_message(tmp_path: Path) -> None:
    tape = Made("auto")
    reads = [(1.0 + n / 10, chunk({"content": "word "}, None if n < 5 else "stop")) for n in range(1, 6)]
    tape.stream(CHAT, 1.0, *reads, method="POST", body=asked({"role": "user", "content": "Hi"}), ending="done", end=2.0)
    follower = rows_of(tape.save(tmp_path / "a.db"), Wanted(requests=True), last=3, opens=open_store)
    view = LiveView()
    found = [line.line(200) for row in follower.read().rows for line in view.lines_of(row)]
    turns = [" ".join(line.split()) for line in found if " turn " in line]
    assert turns == ["1.00s turn begins with gpt stream 1", "2.00s turn completed in 0.50 s stream 1"]


def test_a_session_that_the_view_forgets_is_freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A garbage collection would free it hours later."""
    monkeypatch.setattr("omnirecord.analysis.live._MOST_SESSIONS", 1)
    view = LiveView()
    some = rows(HEALTHY["tool"])
    assert [one for row in some for one in view.lines_of(row)]
    (shown,) = view._sessions.values()
    forgotten = weakref.ref(shown)
    del shown
    gc.disable()
    try:
        assert [one for row in some for one in view.lines_of({**row, "session_id": "conv_other"})]
        assert forgotten() is None
    finally:
        gc.enable()
