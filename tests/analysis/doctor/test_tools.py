"""Findings about tools: hanging ones, failing ones, and missing outputs."""

from __future__ import annotations

from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.gather import whole_sessions
from omnirecord.analysis.transcript import lines_of
from omnirecord.analysis.transcript.sentences import Page
from omnirecord.analysis.turns.conclusion import concluded
from tests.analysis.doctor.test_doctor import beats, begin, call, codes, end, found, heard, item
from tests.support.cassettes import Made, event, heartbeat, status
from tests.support.examples import each


def test_a_tool_that_hangs_is_told_before_the_turn_that_waits_for_it() -> None:
    made = heard((2.0, status("running") + begin()), (2.1, call(name="sleep")), *beats(16.0, 76.0), end=80.0)
    first, *rest = found(made)
    assert (first.code, first.severity, first.seqs) == ("tool-without-output", "error", (4,))
    told = "the tool sleep (call c) was called and has no output in the 78 s that were recorded after it"
    assert first.message == told
    assert {finding.because for finding in rest} == {"tool-without-output"}


def tool_turn(arguments: str, then: str, answer: str) -> Made:
    first = item(id="f", type="function_call", status="in_progress", call_id="c", name="shell", arguments=arguments)
    second = item(id="f", type="function_call", status="completed", call_id="c", name="shell", arguments=then)
    back = item(id="o", type="function_call_output", status="completed", call_id="c", output=answer)
    return heard((2.0, status("running") + begin()), (2.1, first + second), (2.2, back), (2.3, end() + status("idle")))


@each(
    ("answer", "told"),
    [
        ('{"stdout": "", "exit_code": 2}', "failed: exit code 2"),
        ('{"stdout": "", "stderr": "no such option", "exit_code": 1}', "failed: exit code 1"),
        ('{"exit_code": 1}', "failed: exit code 1"),
        ('{"stdout": "so far", "exit_code": -9}', "failed: exit code -9 (SIGKILL)"),
        ('{"error": "no such file"}', "failed: no such file"),
        ('{"error": {"code": 5, "message": "denied"}}', "failed: denied"),
        ('{"stdout": "", "exit_code": 0, "timed_out": true}', "failed: timed out"),
    ],
)
def test_a_tool_that_fails_is_a_warning_that_says_how(answer: str, told: str) -> None:
    made = tool_turn('{"command": "x"}', '{"command": "x"}', answer)
    assert codes(made) == [("tool-failed", "warning", None)]
    assert told in found(made)[0].message


@each(
    "answer",
    [
        "done",
        "[]",
        '{"error": null, "exit_code": 0}',
        '{"errors": 3}',
        '{"exit_code": "2"}',
        '{"stdout": "", "stderr": "", "exit_code": 1, "timed_out": false}',
        '[Denied by policy: no_shell] {"denied_by_policy": "no_shell", "reason": "not here"}',
        '{"error": {"code": -32000, "message": "Denied by policy: not here"}}',
    ],
)
def test_an_output_that_is_no_error_is_no_finding(answer: str) -> None:
    assert codes(tool_turn('{"command": "x"}', '{"command": "x"}', answer)) == []


def test_arguments_that_the_server_replaced_are_a_failure_of_the_tool() -> None:
    made = tool_turn('{"raw": "{"}', "{}", "done")
    assert codes(made) == [("tool-failed", "warning", None)]
    assert "broken arguments, which were replaced by {}" in found(made)[0].message


def test_a_call_without_a_name_is_called_a_tool() -> None:
    made = heard((2.0, status("running") + begin()), (2.1, call(name="")), (2.3, end() + status("idle")), end=3.0)
    (told,) = [one.message for one in found(made) if one.code == "tool-without-output"]
    assert told.startswith("a tool (call c)")


def test_show_says_the_exit_code_of_a_tool_that_printed_nothing() -> None:
    made = tool_turn('{"command": "grep x y"}', '{"command": "grep x y"}', '{"stdout": "", "exit_code": 1}')
    (line,) = [line for line in lines_of(made.store(), None, Page(200)) if "tool shell" in line]
    assert line.endswith('tool shell {"command": "grep x y"} -> (nothing) [exit code 1] (0.10 s)')
    assert "!!" not in line


def child(how: str) -> bytes:
    summary = {"id": "c", "title": "reviewer", "current_task_status": how}
    return event("session.child_session.updated", conversation_id="s", child_session_id="c", child=summary)


def test_show_and_doctor_take_the_end_of_a_sub_agent_from_a_connect_snapshot() -> None:
    turn = (2.0, status("running") + begin()), (2.1, child("in_progress")), (2.2, end() + status("idle"))
    made = heard(*turn, end=3.0)
    made.stream("s", 20.0, (20.0, heartbeat() + child("completed")), end=30.0)
    (told,) = whole_sessions(made.store())
    assert told.turns[0].children[0].status == "completed"
    assert concluded(told).code == "finished"
    assert codes(made) == [("reconnected", "note", None)]


def test_a_pending_sub_agent_is_at_work_for_show_and_doctor() -> None:
    made = heard((2.0, status("running") + begin()), (2.1, child("pending")), (2.2, end() + status("idle")), end=20.0)
    (told,) = whole_sessions(made.store())
    assert concluded(told).code == "child_unfinished"
    assert codes(made) == [("child-unfinished", "warning", None)]


def test_a_sub_agent_is_at_rest_by_its_own_stream_though_only_its_parent_is_asked_about() -> None:
    made = heard((2.0, status("running") + begin()), (2.1, child("pending")), (2.2, end() + status("idle")), end=20.0)
    made.stream("c", 2.15, (2.15, heartbeat()), (2.2, begin("own")), (3.2, end("own")), end=20.0)
    store = made.store()
    assert [one.code for one in examine(store)] == [one.code for one in examine(store, "s")] == []
