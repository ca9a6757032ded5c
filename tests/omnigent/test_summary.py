"""One short line for one event: what it says, and that it is harmless whatever it was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.omnigent.contract import MODELS
from omnirecord.omnigent.summary import _SUMMARIES, SUMMARY, short_id, summary
from omnirecord.text import visible
from tests.support.examples import each

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "delta", "response", "item", "error", "params", "child", "data", "viewers", "todos", "servers", "resource", "usage",
    "usage_by_model", "status", "message", "content", "attempt", "delay_seconds", "arguments", "output", "type",
]  # fmt: skip


def item(**fields: Any) -> dict[str, Any]:
    return {"item": fields}


@each(
    ("type_", "data", "said"),
    [
        ("response.output_text.delta", {"delta": "Hello wor"}, '"Hello wor"'),
        ("response.reasoning_text.delta", {"delta": " \n"}, r'" \n"'),
        ("session.status", {"status": "running"}, "running"),
        (
            "session.status",
            {"status": "failed", "error": {"code": "gone", "message": "No runner."}},
            "failed gone: No runner.",
        ),
        ("session.heartbeat", {"server_time": None}, ""),
        ("session.presence", {"viewers": [{"user_id": "ada"}]}, "1 watching: ada"),
        ("session.created", {"child_session_id": "c1"}, "c1"),
        ("session.model", {"model": "m1"}, "m1"),
        (
            "session.todos",
            {"todos": [{"content": "a", "status": "completed"}, {"content": "b", "status": "in_progress"}]},
            "1 of 2 done: b",
        ),
        (
            "session.usage",
            {
                "context_tokens": 60,
                "context_window": 100,
                "usage_by_model": {"m": {"input_tokens": 40, "output_tokens": 20, "total_cost_usd": 0.5}},
            },
            "context 60 of 100 · m 40 in, 20 out tokens, $0.5000",
        ),
        (
            "session.child_session.updated",
            {
                "child_session_id": "c",
                "child": {"title": "t", "current_task_status": "completed", "last_message_preview": "Fine."},
            },
            't completed "Fine."',
        ),
        (
            "session.input.consumed",
            {"data": {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}}},
            'user: "Hi"',
        ),
        (
            "response.output_item.done",
            item(type="function_call", name="sys_os_shell", arguments='{"command": "ls"}'),
            'sys_os_shell {"command": "ls"}',
        ),
        ("response.output_item.done", item(type="function_call_output", output="two\nlines"), "-> two lines"),
        (
            "response.output_item.done",
            item(type="message", role="assistant", content=[{"text": "Yes."}]),
            'assistant: "Yes."',
        ),
        ("response.elicitation_request", {"params": {"message": "Confirm this message"}}, "asks: Confirm this message"),
        ("response.elicitation_resolved", {"action": "accept", "reason": None}, "accept"),
        ("response.elicitation_resolved", {"action": None, "reason": "unanswered"}, "unanswered"),
        (
            "response.failed",
            {"response": {"id": "r", "error": {"code": "boom", "message": "It broke."}}},
            "r · boom: It broke.",
        ),
        (
            "response.incomplete",
            {"response": {"id": "r", "incomplete_details": {"reason": "max_iterations"}}},
            "r · max_iterations",
        ),
        (
            "response.completed",
            {"response": {"id": "r", "usage": {"input_tokens": 4, "output_tokens": 2}}},
            "r · 4 in, 2 out tokens",
        ),
        (
            "response.retry",
            {
                "source": "llm",
                "attempt": 1,
                "max_attempts": 3,
                "delay_seconds": 2,
                "error": {"code": "429", "message": "slow down"},
            },
            "llm, attempt 1 of 3, again in 2 s: 429: slow down",
        ),
        ("turn.failed", {"error": {"message": "It broke."}}, "It broke."),
        ("of.tomorrow", {"type": "of.tomorrow", "sequence_number": 1, "a": 1, "b": "two", "c": None}, "a=1 b=two"),
        (None, "[DONE]", "[DONE]"),
        (None, "{not json", "{not json"),
        (None, None, ""),
        (None, [1, 2], "[1, 2]"),
    ],
)
def test_an_event_in_a_line(type_: str | None, data: Any, said: str) -> None:
    assert summary(type_, data) == said


def test_every_type_of_the_contract_has_its_own() -> None:
    assert set(MODELS) - set(_SUMMARIES) <= {
        "response.compaction.in_progress", "response.compaction.completed", "response.compaction.failed",
        "session.terminal_pending",
    }  # fmt: skip


@given(st.sampled_from([*MODELS, None]), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6) | JSON)
def test_no_event_breaks_it_or_the_terminal(type_: str | None, data: Any) -> None:
    line = summary(type_, data)
    assert len(line) <= SUMMARY
    assert line.replace("\u200d", "").isprintable()


def test_what_is_long_is_cut() -> None:
    assert summary("session.title", {"title": "x" * 1_000_000}) == "x" * (SUMMARY - 1) + "…"
    assert summary("session.title", {"title": "abcdef"}, limit=4) == "abc…"


def test_what_a_terminal_would_act_upon_is_seen() -> None:
    assert visible("a\x1b[31mb\x07\u202ec\u009b") == r"a\x1b[31mb\x07\u202ec\x9b"
    assert visible("un été\u00a0: 日本語 👩\u200d🚀") == "un été : 日本語 👩\u200d🚀"
    assert visible("\ud800") == r"\ud800"


def test_every_real_event_has_a_line() -> None:
    lines = (Path(__file__).parent.parent / "support" / "contract_events.jsonl").read_text().splitlines()
    for data in map(json.loads, lines):
        assert summary(data.get("type"), data) == summary(data.get("type"), data).strip()


def test_the_short_id_of_a_session_keeps_eight_characters_behind_a_prefix() -> None:
    assert short_id("0b1c5edec3ed412cb86fbd48417ed129") == "0b1c5ede"
    assert short_id("conv_8e535e044687484a92b08b8db83c9545") == "conv_8e535e04"
    assert short_id("s") == "s"
