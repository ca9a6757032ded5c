"""A recording held against a contract."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.library import import_file
from omnirecord.validating import Validation

CASSETTES = Path(__file__).parent.parent / "cassettes"
REAL = ("text", "tool", "approval", "interrupt", "failed", "two_clients", "reconnect", "subagent")

# What a reader finds with the page beside the recordings: made by hand, before the code. Why: `docs/validate.md`.
BY_HAND: dict[tuple[str | None, str, str], int] = {
    ("session.input.consumed", "type", "unknown type"): 13,
    ("response.created", "sequence_number", "wrong kind"): 1,
    ("response.elicitation_request", "sequence_number", "wrong kind"): 1,
    ("response.elicitation_resolved", "sequence_number", "wrong kind"): 2,
    ("response.output_item.done", "sequence_number", "wrong kind"): 11,
    ("response.output_text.delta", "sequence_number", "wrong kind"): 1,
    ("session.changed_files.invalidated", "sequence_number", "wrong kind"): 12,
    ("session.child_session.updated", "sequence_number", "wrong kind"): 5,
    ("session.created", "sequence_number", "wrong kind"): 1,
    ("session.heartbeat", "sequence_number", "wrong kind"): 11,
    ("session.interrupted", "sequence_number", "wrong kind"): 1,
    ("session.model", "sequence_number", "wrong kind"): 8,
    ("session.presence", "sequence_number", "wrong kind"): 11,
    ("session.resource.created", "sequence_number", "wrong kind"): 1,
    ("session.status", "sequence_number", "wrong kind"): 24,
    ("session.usage", "sequence_number", "wrong kind"): 10,
    ("session.heartbeat", "server_time", "wrong kind"): 11,
    ("session.usage", "context_tokens", "wrong kind"): 1,
    ("session.usage", "context_window", "wrong kind"): 1,
    ("session.usage", "total_cost_usd", "wrong kind"): 10,
    ("session.interrupted", "data.response_id", "wrong kind"): 1,
    ("response.output_item.done", "item.type", "unknown value"): 2,
    ("session.status", "background_task_count", "unknown field"): 24,
    ("session.status", "background_tasks", "unknown field"): 24,
    ("session.status", "blocked_on", "unknown field"): 24,
    ("response.elicitation_request", "method", "unknown field"): 1,
    ("response.elicitation_request", "params.url", "unknown field"): 1,
    ("response.elicitation_request", "params.target_session_id", "unknown field"): 1,
    ("response.elicitation_resolved", "action", "unknown field"): 2,
    ("response.elicitation_resolved", "reason", "unknown field"): 2,
    ("response.failed", "source", "unknown field"): 1,
}


def recorded(folder: Path, *events: Any, tail: str = "") -> Path:
    """A cassette of one stream with these events: payloads, or frames as they are."""
    frames = (one if isinstance(one, str) else f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    body = folder / "body.sse"
    body.write_bytes(("".join(frames) + tail).encode("utf-8", "surrogatepass"))
    path = folder / "recorded.db"
    path.unlink(missing_ok=True)
    import_file(body, path)
    return path


def validated(folder: Path, *events: Any, contract: str | Path | None = None, tail: str = "") -> Validation:
    return omnirecord.validate(recorded(folder, *events, tail=tail), contract)


def found(result: Validation) -> dict[tuple[str | None, str, str], int]:
    return {(p.type, p.path, p.problem): p.count for p in result.problems}


# The real server


def test_against_the_page_the_real_cassettes_show_what_a_reader_finds_by_hand() -> None:
    together: Counter[tuple[str | None, str, str]] = Counter()
    for name in REAL:
        together.update(found(omnirecord.validate(CASSETTES / f"{name}.jsonl", "documented")))
    assert together == BY_HAND


def test_a_server_that_answers_as_the_page_says_differs_from_it_in_nothing() -> None:
    result = omnirecord.validate(CASSETTES / "responses.jsonl", "documented")
    assert (result.events, result.problems, result.ok) == (54, (), True)


@pytest.mark.parametrize("name", [*REAL, "responses"])
def test_a_healthy_cassette_fits_the_contract_that_it_was_recorded_by(name: str) -> None:
    result = omnirecord.validate(CASSETTES / f"{name}.jsonl")
    assert (result.contract, result.problems, result.ok) == ("omnigent", (), True)
