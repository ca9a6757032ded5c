"""Questions that got no answer, a late one, or one that the server took and forgot: what is told, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.doctor.finding import Finding
from omnirecord.analysis.gather import whole_sessions
from tests.support.cassettes import Made, event, heartbeat, status
from tests.support.command import invoke

MODEL = {"model": "m", "created_at": 1}
SAID = {"type": "message", "data": {"role": "user", "content": "Hi"}}


def asks(id_: str = "e") -> bytes:
    return event("response.elicitation_request", elicitation_id=id_, params={"message": "Sure?"})


def settled(action: str | None, id_: str = "e") -> bytes:
    return event("response.elicitation_resolved", elicitation_id=id_, action=action, reason=None)


def denied() -> bytes:
    """What the server puts in the place of an answer."""
    content = [{"type": "output_text", "text": "[Denied by policy: Sure?]"}]
    item = {"id": "m", "response_id": "deny_1", "type": "message", "role": "assistant", "content": content}
    response = {"id": "deny_2", "status": "completed", **MODEL}
    return (
        event("response.output_item.done", item=item) + event("response.completed", response=response) + status("idle")
    )


def works() -> bytes:
    response = {"id": "r", "status": "completed", **MODEL}
    return (
        status("running")
        + event("response.in_progress", response={**response, "status": "in_progress"})
        + event("response.completed", response=response)
        + status("idle")
    )


def asked(*reads: tuple[float, bytes], end: float, post_until: float = 6.0, **post: object) -> Made:
    """A client posts at 2 s, and is asked at 3 s. Its POST is over at `post_until`: closed by itself, or answered."""
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (3.0, asks()), *reads, end=end)
    fields = {"ending": "client_left", "answered": False} | post
    made.post("/v1/sessions/s/events", 2.0, until=post_until, body=SAID, **fields)  # type: ignore[arg-type]
    return made


def answers(made: Made, at: float, action: str = "accept") -> Made:
    made.post("/v1/sessions/s/elicitations/e/resolve", at, status=202, body={"action": action})
    return made


def only(made: Made) -> Finding:
    (finding,) = examine(made.store())
    return finding


def told(made: Made) -> tuple[str, str]:
    return only(made).code, only(made).severity


def test_a_question_that_the_server_closes_without_an_action_is_an_error(tmp_path: Path) -> None:
    made = asked((6.0, denied()), (21.0, heartbeat()), (36.0, heartbeat()), (36.5, settled(None)), end=37.0)
    assert told(made) == ("approval-unanswered", "error")
    invoke("doctor", made.save(tmp_path / "a.db"), code=1)


def test_a_denial_is_told_with_the_post_that_the_client_closed() -> None:
    assert (
        "the client closed its own POST (exchange 2) 4.00 s after sending it, so the server denied it"
        in only(asked((5.98, denied()), end=7.0)).message
    )


def test_a_denial_while_the_post_was_open_is_the_time_limit_of_the_server() -> None:
    made = asked((8.0, denied()), end=9.0, post_until=8.01, ending="eof", answered=True, status=202)
    assert only(made).message.endswith("was not answered; the server denied it after 5.00 s, its own time limit")


def test_a_denial_of_a_post_that_was_not_recorded_is_told_without_a_reason() -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (3.0, asks()), (8.0, denied()), end=9.0)
    assert only(made).message.endswith("was not answered; the server denied it after 5.00 s")


def test_a_question_without_a_denial_is_told_with_the_end_of_its_post() -> None:
    made = asked((16.0, heartbeat()), end=20.0, post_until=32.0)
    findings = examine(made.store())
    assert [one.code for one in findings] == ["approval-unanswered", "turn-unfinished"]
    assert "recorded; the client closed its own POST (exchange 2) 30 s after sending it" in findings[0].message


def test_a_question_that_another_recorder_saw_answered_is_no_finding() -> None:
    assert examine(asked((5.0, settled(None)), (5.1, works()), end=6.0).store()) == []


@pytest.mark.parametrize(("action", "severity"), [("accept", "error"), ("decline", "note")])
def test_an_answer_after_the_denial_is_a_finding_of_its_own(action: str, severity: str) -> None:
    made = answers(asked((6.0, denied()), (6.5, settled(action)), end=8.0), 6.4, action)
    assert told(made) == ("approval-too-late", severity)
    assert f"the answer {action} came 0.40 s later and changed nothing" in only(made).message


def test_a_declined_question_is_denied_and_no_finding() -> None:
    answered = {"ending": "eof", "answered": True, "status": 202}
    assert (
        examine(answers(asked((4.0, settled("decline") + denied()), end=5.0, **answered), 3.9, "decline").store()) == []
    )


def restarted(*reads: tuple[float, bytes], end: float = 30.0) -> Made:
    """The server is killed while a question waits, and starts again; the client accepts at 9 s."""
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (3.0, asks()), ending="upstream_lost", end=4.0)
    made.stream("s", 8.0, (8.0, heartbeat()), (9.1, settled("accept")), *reads, end=end)
    return answers(made, 9.0)


def test_an_answer_to_a_server_that_was_started_again_is_lost() -> None:
    first, *others = examine(restarted((23.0, heartbeat())).store())
    assert (first.code, first.severity, first.because) == ("upstream-lost", "error", None)
    told = {one.code: (one.severity, one.because) for one in others}
    assert told["approval-lost"] == ("error", "upstream-lost")
    assert told["reconnect-missed"] == told["turn-unfinished"] == ("error", "upstream-lost")


def test_an_answer_after_which_the_agent_works_is_not_lost() -> None:
    assert "approval-lost" not in {one.code for one in examine(restarted((9.5, works())).store())}


def test_an_answer_just_before_the_end_is_not_called_lost() -> None:
    assert "approval-lost" not in {one.code for one in examine(restarted(end=12.0).store())}


def test_show_says_that_an_answer_came_too_late(tmp_path: Path) -> None:
    made = answers(asked((6.0, denied()), (6.5, settled("accept")), end=8.0), 6.4)
    shown = " ".join(invoke("show", made.save(tmp_path / "a.db")).stdout.split())
    assert "-> too late: accepted by client after" in shown
    assert "No answer came when the agent asked for approval (“Sure?”)" in shown
    assert "An answer came too late and changed nothing." in shown


def test_show_says_that_the_server_closed_a_question(tmp_path: Path) -> None:
    made = asked((33.0, settled(None)), end=34.0, post_until=33.0)
    shown = invoke("show", made.save(tmp_path / "a.db")).stdout
    assert "-> no answer was seen; closed by the server after 30.0 s" in " ".join(shown.split())


def test_show_takes_the_answer_from_the_later_of_two_events_that_resolve_a_question() -> None:
    made = asked((3.5, settled(None)), (3.6, settled("accept")), (3.7, works()), end=5.0)
    ((approval,),) = [turn.approvals for one in whole_sessions(made.store()) for turn in one.turns if turn.approvals]
    assert (approval.action, approval.resolved_ns) == ("accept", 3_500_000_000)
    assert examine(made.store()) == []
