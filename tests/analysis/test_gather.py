"""The sessions of a store, each with all that is told of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from omnirecord.analysis.gather import conclusions, gathered, whole_sessions
from omnirecord.analysis.listing import session_rows
from omnirecord.cassette.model_calls import ModelHops
from omnirecord.cassette.open import open_store
from omnirecord.errors import BrokenCassette, UsageError
from tests.support.cassettes import HEALTHY, TROUBLED, Made, heartbeat
from tests.support.examples import each
from tests.support.faulted import faulted

SUBAGENT = Path(__file__).parent.parent.parent / "cassettes" / "subagent.jsonl"


def test_each_session_comes_with_its_frames_its_acts_and_its_parent() -> None:
    store = open_store(SUBAGENT)
    parent, child = gathered(store)
    assert (parent.parent_id, child.parent_id) == (None, parent.exchanges[0].session_id)
    assert [act.text for act in parent.acts] == ["Ask the reviewer whether the plan is sound."]
    assert {frame.stream for frame in child.frames()} == {2}
    store.close()


def test_a_session_is_read_when_its_turn_comes(tmp_path: Path) -> None:
    made = Made()
    made.stream("s", 1.0, (1.1, heartbeat()))
    made.stream("t", 2.0, (2.1, heartbeat()))
    path = made.save(tmp_path / "a.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE exchanges SET ending = 'x' WHERE session_id = 't'")
    with closing(open_store(path)) as store:
        for told in (gathered(store), conclusions(store), whole_sessions(store)):
            next(told)
            with pytest.raises(BrokenCassette, match="unknown ending"):
                next(told)


@each("path", [*HEALTHY.values(), *TROUBLED.values()])
def test_a_brief_row_says_what_the_row_with_the_conclusion_says(path: Path) -> None:
    with closing(open_store(path)) as store:
        whole = [row | {"last_status": None} for row in session_rows(store)]
        for row in whole:
            del row["conclusion"]
        assert list(session_rows(store, is_brief=True)) == whole


def test_the_last_status_of_a_session_is_that_of_a_later_read() -> None:
    made = faulted(SUBAGENT.with_name("text.jsonl"), "drop last session.status")
    with closing(made.store()) as store:
        assert [row["last_status"] for row in session_rows(store)] == ["idle"]


def test_one_session_is_found_by_the_beginning_of_its_id() -> None:
    store = open_store(SUBAGENT)
    assert [one.parent_id is None for one in gathered(store, "c6dd")] == [False]
    with pytest.raises(UsageError, match="no session begins with 'x'"):
        list(gathered(store, "x"))
    store.close()


def test_a_session_is_one_in_each_recording_and_a_stream_of_none_is_on_its_own() -> None:
    made = Made()
    made.stream("s", 1.0, (1.1, heartbeat()))
    made.stream("/v1/responses", 2.0, (2.1, heartbeat()), method="POST")
    made.another_recording()
    made.stream("s", 1.0, (1.1, heartbeat()))
    found = [(one.exchanges[0].recording, one.exchanges[0].session_id) for one in gathered(made.store())]
    assert found == [(1, "s"), (1, None), (2, "s")]


def test_what_a_runner_did_is_left_out() -> None:
    made = Made()
    made.stream("s", 1.0, (1.1, heartbeat()), party="runner")
    assert list(gathered(made.store())) == []


@pytest.mark.parametrize(("given", "version", "is_call"), [
    ("auto", True, True), ("auto", False, False), ("none", True, True), ("none", False, False),
    ("anthropic-messages", False, True), ("omnigent", True, False),
])  # fmt: skip
def test_a_call_at_a_path_of_any_service_is_shown_by_the_evidence_of_the_contract(
    given: str, version: bool, is_call: bool
) -> None:
    made = Made()
    made.another_recording("chat", given)
    sent = (("Host", "chat.example.com"), *([("anthropic-version", "2023-06-01")] if version else []))
    made.stream("/v1/messages", 1.0, (1.1, b"event: note\ndata: {}\n\n"), method="POST", sent=sent, ending="eof")
    (x,) = (store := made.store()).exchanges()
    assert ModelHops(store).has(x) is is_call
