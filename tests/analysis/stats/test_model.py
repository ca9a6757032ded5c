"""The numbers of model calls in `stats`: calls, retries, tokens, and the parts of the time to the first token."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from omnirecord.analysis.stats import measured
from omnirecord.analysis.stats.values import SessionStats
from omnirecord.cassette.open import open_store
from tests.support.cassettes import SHIPPED, Made, event
from tests.support.command import invoke

BOTH = SHIPPED / "both_hops"


def measures(name: str) -> SessionStats:
    with closing(open_store(BOTH / f"{name}.jsonl")) as store:
        (found,) = measured(store)
    return found


def test_the_parts_of_the_first_token_add_up() -> None:
    (turn,) = measures("both_text").turns
    parts = (turn.first_token_before_s, turn.first_token_model_s, turn.first_token_after_s)
    assert None not in parts
    assert sum(part or 0 for part in parts) == pytest.approx(turn.first_token_s)


def test_calls_retries_and_tokens_are_counted_by_the_provider() -> None:
    found = measures("both_retried")
    calls = found.model_calls
    assert calls is not None
    assert (calls.calls, calls.requests, calls.retried, calls.failed, calls.rate_limited) == (5, 3, 2, 2, 1)
    assert (calls.input_tokens, calls.output_tokens) == (found.usage[0].input_tokens, found.usage[0].output_tokens)
    assert found.turns[0].model_calls == calls


def test_the_command_prints_them() -> None:
    shown = invoke("stats", BOTH / "both_retried.jsonl").stdout
    assert "before the model was asked" in shown
    assert "3 calls (5 attempts, 2 failed, 1 rate-limited)" in shown


def test_calls_alone_are_a_conversation(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = Made()
    made.another_recording("model", "auto")
    made.post("/v1/responses", 1.0, status=429, body={"model": "m", "input": "Hi"})
    path = str(made.save(tmp_path / "a.db"))
    (row,) = map(json.loads, invoke("stats", path, "--json").stdout.splitlines())
    assert (row["recording"], row["session_id"], row["model_calls"]["rate_limited"]) == (2, "conversation-1", 1)
    assert "Conversation #1 · recording 2" in invoke("stats", path).stdout
    assert "conversation-1" in invoke("ls", path).stdout


def test_a_streamed_turn_alone_has_its_values_from_its_first_call_on(tmp_path: Path) -> None:
    made = Made()
    made.another_recording("model", "auto")
    said = event("response.output_text.delta", delta="Hello")
    done = event("response.completed", response={"id": "r", "status": "completed"})
    body = json.dumps({"model": "m", "input": "Hi", "stream": True}).encode()
    made.stream("/v1/responses", 1.0, (1.2, said), (1.3, done), method="POST", body=body, ending="eof")
    path = made.save(tmp_path / "a.db")
    columns = "streams, events, frames, response_bytes, first_token_s"
    (row,) = map(json.loads, invoke("query", "--json", path, f"SELECT {columns} FROM sessions").stdout.splitlines())
    assert [*row.values()] == [1, 2, 2, len(said) + len(done), 0.2]
    (row,) = map(
        json.loads, invoke("query", "--json", path, "SELECT events, odd_events FROM turns").stdout.splitlines()
    )
    assert row == {"events": 2, "odd_events": 2}
    printed = invoke("stats", path).stdout
    assert printed.startswith("1 turn: first token after 0.200 s, 0.300 s a turn\n")
    assert "\nTimes from the first call of a turn\n  first event  0.200 s\n  first token  0.200 s\n" in printed
    hangs = invoke("stats", SHIPPED / "troubled" / "tool_hangs.jsonl").stdout
    assert hangs.startswith("1 turn: first event after 0.269 s\n")


def test_tokens_are_those_of_the_calls_that_report_them(tmp_path: Path) -> None:
    made = Made()
    made.another_recording("model", "auto")
    for number in range(4):
        used = {} if number == 3 else {"usage": {"input_tokens": 10, "output_tokens": 2}}
        answer = {"id": f"resp_{number}", "status": "completed", "output": [], **used}
        made.post("/v1/responses", 1.0 + number, body={"model": "m", "input": f"Hi {number}"}, answer=answer)
    made.post("/v1/responses", 9.0, status=400, body={"model": "m", "input": "Hi"})
    path = str(made.save(tmp_path / "a.db"))
    printed = invoke("stats", path).stdout
    assert "tokens by the provider's count, of 3 of 4 calls: 30 in, 6 out" in printed


def test_sessions_without_turns_have_no_line_of_medians(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = Made()
    made.stream("/mcp", 1.0, (1.1, b"data: {}\n\n"))
    printed = invoke("stats", made.save(tmp_path / "a.db")).stdout
    assert printed.startswith("A stream without a session")
