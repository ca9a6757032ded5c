"""What doctor says of the shipped cassettes, from Python: nothing of healthy ones, the cause of troubled ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import omnirecord
from omnirecord.analysis.doctor.examine import examine
from omnirecord.errors import UsageError
from tests.support.cassettes import Made, delta, event, heartbeat, status
from tests.support.cost import cost
from tests.support.examples import each
from tests.support.faulted import FOLDER, faulted
from tests.support.watchdog import slowness

HEALTHY = sorted(path for path in FOLDER.glob("*.jsonl") if path.stem != "failed")
CAUSES = {
    "approval_timed_out": ("approval-unanswered", "error"),
    "approval_unanswered": ("approval-unanswered", "error"),
    "child_unfinished": ("child-unfinished", "warning"),
    "missed_end": ("client-left-in-turn", "note"),  # it came back, and read the session and its items
    "provider_busy": None,  # its runner's client tries again by itself: nothing of it is on the wire
    "retries": ("retried", "note"),
    "runner_killed": ("runner-disconnected", "error"),
    "runner_killed_early": ("runner-disconnected", "error"),
    "slow_reader": ("reader-dropped", "error"),
    "server_killed": ("upstream-lost", "error"),
    "server_stopped": ("server-stopped", "error"),
    "tool_hangs": ("tool-without-output", "error"),
}


@each("path", HEALTHY)
def test_a_healthy_session_gives_nothing_above_a_note(path: Path) -> None:
    assert [finding for finding in omnirecord.doctor(path) if finding.severity != "note"] == []


@each("name", sorted(path.stem for path in (FOLDER / "troubled").glob("*.jsonl")))
def test_the_first_finding_of_a_troubled_session_names_the_cause(name: str) -> None:
    found = omnirecord.doctor(FOLDER / "troubled" / f"{name}.jsonl")
    assert next(((one.code, one.severity) for one in found), None) == CAUSES[name]
    assert all(one.because == found[0].code for one in found[1:] if one.severity == "error")


def test_a_failed_turn_is_an_error_that_rests_on_its_end() -> None:
    (finding,) = omnirecord.doctor(FOLDER / "failed.jsonl")
    assert (finding.code, finding.severity, finding.stream, finding.seqs) == ("turn-failed", "error", 1, (7,))
    assert "has no larger sibling" in finding.message


def test_what_the_live_server_does_is_a_note_where_the_page_says_otherwise(tmp_path: Path) -> None:
    lines = (FOLDER / "text.jsonl").read_text().replace('"contract": "omnigent"', '"contract": "documented"', 1)
    (tmp_path / "text.jsonl").write_text(lines)
    found = omnirecord.doctor(tmp_path / "text.jsonl")
    assert {finding.severity for finding in found} == {"note"}
    assert {finding.code for finding in found} == {"contract-invalid", "contract-unknown"}


def test_a_client_that_left_early_and_then_read_that_the_session_is_at_rest_lost_no_status() -> None:
    made = faulted(FOLDER / "text.jsonl", "drop last session.status")
    assert "status-left-running" not in [one.code for one in examine(made.store())]


def test_a_session_may_be_named_by_the_beginning_of_its_id() -> None:
    made = faulted(FOLDER / "subagent.jsonl", "drop response.completed in stream 2")
    assert {finding.session_id for finding in examine(made.store())} >= {"c6dde6498cf3476ebdda786dfb6f4cfa"}
    assert examine(made.store(), "9a90") == []
    with pytest.raises(UsageError, match="no session begins with 'zz'"):
        examine(made.store(), "zz")


def test_a_cassette_without_sessions_gives_nothing() -> None:
    assert examine(Made().store()) == []


def big(events: int) -> Made:
    """One session of many turns, with deltas as the live server sends them."""
    made, reads, at = Made(), [(1.0, heartbeat())], 1.0
    for turn in range(events // 205):
        response = {"id": f"r{turn}", "status": "in_progress", "model": "m", "created_at": 1}
        reads.append((at, status("running") + event("response.in_progress", response=response, sequence_number=1)))
        words = [f"word{n} " for n in range(200)]
        reads += [(at + n / 100, delta(word, n + 2)) for n, word in enumerate(words)]
        at += 2.0
        content = [{"type": "output_text", "text": "".join(words)}]
        item = {"id": f"i{turn}", "type": "message", "role": "assistant", "status": "completed", "content": content}
        ended = event("response.completed", response={**response, "status": "completed"}, sequence_number=300)
        reads.append((at, event("response.output_item.done", item=item) + ended + status("idle")))
    made.stream("s", 1.0, *reads)
    return made


def test_a_hundred_thousand_events_take_three_seconds_and_little_memory(tmp_path: Path, long: bool) -> None:
    """Without `--long`, 20,000 events in a share of the time and of the memory."""
    share = 1.0 if long else 0.2
    path = big(int(100_000 * share)).save(tmp_path / "big.db")
    spent = cost("import sys, omnirecord; print(omnirecord.doctor(sys.argv[1]))", path)
    assert spent.stdout == "[]\n"
    assert spent.seconds < (1 + 2 * share) * slowness()
    assert spent.megabytes < 80 + 220 * share
