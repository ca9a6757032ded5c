"""Why a session stops where it does: a code, and a sentence that a stranger understands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.gather import whole_sessions
from omnirecord.analysis.turns.conclusion import AT_REST, concluded
from omnirecord.analysis.turns.draft import Draft
from omnirecord.analysis.turns.values import Approval, Child, Fault, Listening, Session, Silence, Snapshot, Turn
from omnirecord.cassette.open import open_store
from tests.support.cassettes import Made, completed, created, delta, event, heartbeat, status
from tests.support.examples import each

S = 1_000_000_000
CASSETTES = Path(__file__).parent.parent.parent.parent / "cassettes"


def turn(ended: Any = "unfinished", *, last: float = 2, **fields: Any) -> Turn:
    """A turn that was asked after a second, and in which something happened at `last` seconds."""
    draft = Draft(S)
    draft.ask("Hi", S)
    draft.touch(int(last * S))
    draft.end(ended, int(last * S))
    return replace(draft.freeze(1, "s", 1), **fields)


def heard(ending: Any = "client_left", until: float | None = 5, **fields: Any) -> Listening:
    return Listening(1, "client", 0, None if until is None else int(until * S), ending, **fields)


def session(*turns: Turn, streams: tuple[Listening, ...] | None = None, **fields: Any) -> Session:
    return Session(1, "s", None, 0, 5 * S, (heard(),) if streams is None else streams, turns, **fields)


def why(one: Session, others: dict[str, Session] | None = None) -> tuple[str, str]:
    told = concluded(one, others)
    return told.code, told.sentence


@each("path", sorted(CASSETTES.glob("*.jsonl")))
def test_the_shipped_sessions_are_at_rest_but_for_the_one_that_failed(path: Path) -> None:
    store = open_store(path)
    told = [concluded(one).code for one in whole_sessions(store)]
    store.close()
    assert set(told) == {"failed" if path.stem == "failed" else "finished"}


def test_a_finished_session_ends_with_its_client_going_away() -> None:
    told = concluded(session(turn("completed")))
    assert told.code in AT_REST
    assert told.sentence == (
        "Finished: the agent had answered, and nothing more was asked. The client closed its stream 3.00 s later, as"
        " clients do after a finished turn."
    )


@each(
    ("ending", "after", "code", "said"),
    [
        ("client_left", None, "client_left", "The client closed its stream 3.00 s after the last event. Later"),
        ("recorder_stopped", None, "recorder_stopped", "The recorder was stopped 3.00 s after the last event."),
        ("recorder_killed", None, "recorder_killed", "The recorder was killed 3.00 s after the last event."),
        ("eof", None, "server_stopped", "it had stopped, or it dropped a client that read too slowly"),
        ("eof", "gone", "server_stopped", "it could not be reached then: it had stopped"),
        ("eof", "restarted", "server_stopped", "it was stopped, and started again later"),
        ("eof", "answered", "reader_dropped", "it does this to a client that reads too slowly"),
        ("upstream_lost", None, "connection_lost", "The connection to the server broke 3.00 s after the last event."),
        ("upstream_lost", "gone", "server_stopped", "broke 3.00 s after the last event, and the server could not"),
        ("done", None, "stream_ended", "The server ended the stream 3.00 s after the last event"),
    ],
)
def test_what_cut_a_turn_off(ending: str, after: Any, code: str, said: str) -> None:
    told = concluded(session(turn(), streams=(heard(ending, server_after=after),)))
    assert (told.code, told.code in AT_REST) == (code, False)
    assert told.sentence.startswith("The agent was in the middle of its turn.")
    assert said in told.sentence


def test_the_end_of_a_stream_behind_a_finished_turn_is_no_cut() -> None:
    for ending in ("eof", "upstream_lost", "recorder_stopped", "recorder_killed"):
        assert concluded(session(turn("completed"), streams=(heard(ending),))).code == "finished"


def test_a_session_that_is_being_recorded_has_not_stopped() -> None:
    open_ = (heard("open", None),)
    assert why(session(turn(), streams=open_)) == (
        "still_recording",
        "It is still being recorded. The agent was in the middle of its turn.",
    )
    assert concluded(session(turn("completed"), streams=(heard(), *open_))).code == "still_recording"


def test_an_approval_that_nobody_gave() -> None:
    asked = Approval("e", "May I\nrun rm?", 2 * S, None, None, None, None)
    assert why(session(turn(approvals=(asked,)))) == (
        "approval_unanswered",
        "The agent was waiting for approval, and no answer came: “May I run rm?”. The client closed its"
        " stream 3.00 s after it had asked.",
    )
    code, said = why(session(turn("denied", last=4, approvals=(asked,))))
    assert (code, "so after 2.00 s the server denied it" in said) == ("approval_unanswered", True)


def test_a_denial_because_the_client_closed_its_post() -> None:
    asked = Approval("e", "May I?", 2 * S, None, None, None, None, left_ns=4 * S)
    said = concluded(session(turn("denied", last=4, approvals=(asked,)))).sentence
    assert "(“May I?”): the client closed the POST of its message after 2.00 s, so the server denied it." in said
    long_before = replace(asked, left_ns=2 * S)
    assert "closed the POST" not in concluded(session(turn("denied", last=4, approvals=(long_before,)))).sentence


def test_a_refusal_that_somebody_gave() -> None:
    asked = Approval("e", "Sure?", 2 * S, 3 * S, "decline", 3 * S, "client")
    assert concluded(session(turn("denied", approvals=(asked,)))).code == "denied"


def test_a_runner_that_was_lost() -> None:
    lost = turn("failed", last=4, error=Fault("runner_disconnected", "x"), silences=(Silence(2 * S, 2 * S, None),))
    code, said = why(session(lost))
    assert code == "runner_lost"
    assert "The server gave the turn up after 2.00 s without an event of the agent." in said
    snapshot = Snapshot(4 * S, "running", None, None, None, False, ())
    assert concluded(session(turn(), snapshot=snapshot)).code == "runner_lost"


def test_other_ways_to_fail() -> None:
    failed = turn("failed", error=Fault("boom", "It broke."))
    assert why(session(failed))[1].startswith("The last turn failed: boom: It broke. The client")
    refused = turn("failed", error=Fault("HTTP 503", "no runner"), events=0)
    assert why(session(refused))[0] == "refused"
    assert concluded(session(turn("completed"), status="failed", status_ns=4 * S)).code == "failed"


@pytest.mark.parametrize("ended", ["interrupted", "incomplete", "cancelled"])
def test_a_turn_that_ended_otherwise_gives_its_name(ended: str) -> None:
    assert concluded(session(turn(ended))).code == ended


def test_a_message_that_was_not_taken_up() -> None:
    assert concluded(session(turn(events=0))).code == "not_taken_up"


def test_an_end_that_was_missed_is_known_from_what_was_said_later() -> None:
    code, said = why(session(turn(), status="idle", status_ns=4 * S))
    assert (code, "no client was connected when its end came" in said) == ("end_missed", True)
    assert concluded(session(turn(), status="idle", status_ns=2 * S)).code == "end_missing"
    assert concluded(session(turn(), status="running", status_ns=4 * S)).code == "client_left"


def test_an_answer_that_nobody_heard_is_told_where_it_was_read_later() -> None:
    snapshot = Snapshot(4 * S, "idle", None, None, None, True, (), "It is\nblue.")
    _, said = why(session(turn(), status="idle", status_ns=4 * S, snapshot=snapshot))
    assert "with this answer: “It is blue.”. The client closed its stream 1.00 s later." in said
    heard_all = replace(turn(), text="It is\nblue.")
    assert "this answer" not in why(session(heard_all, status="idle", status_ns=4 * S, snapshot=snapshot))[1]


def test_a_sub_agent_that_was_still_at_work() -> None:
    parent = session(turn("completed", children=(Child("k", "reviewer", S, S, "in_progress", None),)))
    assert concluded(parent).code == "child_unfinished"
    assert "“reviewer”" in concluded(parent).sentence
    assert concluded(parent, {"k": session(turn())}).code == "child_unfinished"
    assert concluded(parent, {"k": session(turn("completed"))}).code == "finished"
    done = session(turn("completed", children=(Child("k", "reviewer", S, S, "completed", None),)))
    assert concluded(done).code == "finished"


def test_the_verdict_names_the_sub_agent_that_the_sentence_names() -> None:
    working = (Child(id_, id_, S, S, "in_progress", None) for id_ in ("writer", "reviewer"))
    parent = session(turn("completed", children=tuple(working)))
    told = concluded(parent, {"writer": session(turn()), "reviewer": session(turn("completed"))})
    assert "“writer”" in told.sentence
    assert told.verdict.startswith("Unfinished: waiting for the sub-agent writer")


def test_what_an_unfinished_turn_waited_for_and_how_long_it_was_silent() -> None:
    draft = Draft(S)
    draft.call("c", "shell", "", None, S)
    draft.touch(S)
    one = replace(draft.freeze(1, "s", 1), heartbeats=3)
    assert (
        "waiting for the tool “shell”. For 59.0 s only heartbeats came: the server was alive, but the agent sent"
        " nothing. Then the client closed its stream. Later events" in why(session(one, streams=(heard(until=60),)))[1]
    )


def test_a_session_in_which_nothing_was_asked_or_heard() -> None:
    assert concluded(session()).code == "nothing_asked"
    assert concluded(session(streams=())).code == "nobody_listened"
    assert "No client listened" in concluded(session(turn(events=0), streams=())).sentence


def test_which_codes_leave_nothing_undone() -> None:
    assert {"finished", "interrupted", "denied"} < AT_REST
    assert not {"client_left", "approval_unanswered", "runner_lost", "end_missed"} & AT_REST


def told(made: Made) -> list[str]:
    return [concluded(one).code for one in whole_sessions(made.store())]


def test_a_server_that_went_on_for_others_has_dropped_its_reader_unless_its_next_answer_came_a_minute_later() -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), (3.0, delta("Hi")), ending="eof", end=3.0)
    assert told(made) == ["server_stopped"]
    made.get("/v1/sessions/s", 63.0, answer={"id": "s", "status": "running"})
    assert told(made) == ["server_stopped"]
    assert "server-stopped" in {one.code for one in examine(made.store())}
    made.get("/v1/sessions/s", 4.0, answer={"id": "s", "status": "running"})
    assert told(made) == ["reader_dropped"]


def test_a_server_that_cannot_be_reached_afterwards_has_stopped() -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), (3.0, delta("Hi")), ending="upstream_lost", end=3.0)
    assert told(made) == ["connection_lost"]
    made.get("/v1/sessions/t", 4.0, ending="upstream_unreachable", answered=False)
    assert told(made)[0] == "server_stopped"


def test_a_server_with_another_epoch_was_restarted() -> None:
    made = Made()
    kind = ("content-type", "text/event-stream")
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), ending="eof", end=3.0,
                headers=(kind, ("X-Omnigent-Stream-Epoch", "1-a")))  # fmt: skip
    made.stream("t", 9.0, (9.0, heartbeat()), headers=(kind, ("X-Omnigent-Stream-Epoch", "2-b")))
    (first, _) = whole_sessions(made.store())
    assert first.streams[0].server_after == "restarted"


def test_a_later_snapshot_tells_of_the_end_that_nobody_heard() -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("running")), (2.1, created()), (3.0, delta("Hi")), end=3.0)
    made.get("/v1/sessions/s", 5.0, answer={"id": "s", "status": "idle", "title": "T", "pending_elicitations": [{}, 1]})
    made.stream("s", 5.1, (5.1, heartbeat()), end=9.0)
    assert told(made) == ["end_missed"]
    (one,) = whole_sessions(made.store())
    assert (one.status, one.status_ns, one.snapshot and one.snapshot.title) == ("idle", 5 * S, "T")


def test_a_snapshot_that_is_none_tells_nothing() -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), (2.5, completed()))
    made.get("/v1/sessions/s", 5.0, answer=b"[1")
    (one,) = whole_sessions(made.store())
    assert one.snapshot is None


def test_what_a_hostile_session_says_is_one_harmless_line() -> None:
    evil = "\x1b]0;owned\x07\n\u202e" * 100
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, event("response.failed", response={"error": {"message": evil}})))
    (one,) = whole_sessions(made.store())
    sentence = concluded(one).sentence
    assert sentence.isprintable()
    assert len(sentence) < 400
