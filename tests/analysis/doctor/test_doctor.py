"""What the checks find, and above all what they do not, in sessions made up for it: code, severity, cause."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.analysis.doctor.checks import CODES
from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.doctor.finding import Finding
from tests.support.cassettes import JSON, SSE, Made, event, heartbeat, status
from tests.support.examples import each, examples

MODEL = {"model": "m", "created_at": 1}
Reads = list[tuple[float, bytes]]


def begin(id_: str = "r", number: int | None = 1) -> bytes:
    return event("response.in_progress", response={"id": id_, "status": "in_progress", **MODEL}, sequence_number=number)


def end(id_: str = "r", number: int | None = 90, how: str = "completed") -> bytes:
    return event(f"response.{how}", response={"id": id_, "status": how, **MODEL}, sequence_number=number)


def text(delta: str, number: int | None = 5, message: str | None = None) -> bytes:
    return event("response.output_text.delta", delta=delta, sequence_number=number, message_id=message)


def item(number: int | None = None, **fields: Any) -> bytes:
    return event("response.output_item.done", item=fields, sequence_number=number)


def message(words: str, id_: str = "m", response: str = "r") -> bytes:
    content = [{"type": "output_text", "text": words}]
    return item(id=id_, type="message", role="assistant", status="completed", response_id=response, content=content)


def call(id_: str = "c", name: str = "shell") -> bytes:
    return item(id="f", type="function_call", status="completed", call_id=id_, name=name, arguments="{}")


def output(id_: str = "c") -> bytes:
    return item(id="o", type="function_call_output", status="completed", call_id=id_, output="done")


def consumed(words: str) -> bytes:
    data = {"role": "user", "content": [{"type": "input_text", "text": words}]}
    return event("session.input.consumed", data={"item_id": "i", "type": "message", "data": data})


def asks(id_: str = "e") -> bytes:
    return event("response.elicitation_request", elicitation_id=id_, params={"message": "Sure?"})


def settled(id_: str = "e", action: str = "accept") -> bytes:
    return event("response.elicitation_resolved", elicitation_id=id_, action=action)


def beats(first: float, last: float) -> Reads:
    """Heartbeats, one every 15 s."""
    count = int((last - first) // 15) + 1
    return [(first + 15 * n, heartbeat()) for n in range(count)]


def found(made: Made) -> list[Finding]:
    return examine(made.store())


def codes(made: Made) -> list[tuple[str, str, str | None]]:
    return [(finding.code, finding.severity, finding.because) for finding in found(made)]


def heard(*reads: tuple[float, bytes], **more: Any) -> Made:
    """One stream of one session."""
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), *reads, **more)
    return made


TURN: Reads = [
    (2.0, status("running") + begin()), (2.1, text("Hel", 3) + text("lo", 7)),
    (2.2, message("Hello")), (2.3, end() + status("idle")),
]  # fmt: skip


# Healthy -------------------------------------------------------------------------------------------------------------


def test_a_turn_with_gaps_in_its_numbers_is_healthy() -> None:
    assert codes(heard(*TURN, end=3.0)) == []


def test_numbers_begin_anew_with_each_turn_and_session_events_have_none() -> None:
    second = [(3.0, status("running") + begin("r2")), (3.1, text("Hi", 3)), (3.2, message("Hi", "m2", "r2")),
              (3.3, end("r2") + status("idle"))]  # fmt: skip
    assert codes(heard(*TURN, *second, end=4.0)) == []


def test_a_turn_may_follow_another_without_a_rest() -> None:
    made = heard(*TURN[:3], (2.3, end() + status("running") + begin("r2")), (2.4, end("r2") + status("idle")), end=3.0)
    assert codes(made) == []


def test_an_idle_session_with_a_heartbeat_every_fifteen_seconds_is_healthy() -> None:
    assert codes(heard(*TURN, *beats(16.0, 600.0), end=605.0)) == []


def test_a_turn_that_was_refused_has_an_end_and_no_beginning() -> None:
    denied = text("[Denied by policy: no]", None, "deny_1") + message("[Denied by policy: no]", "d", "deny_2")
    made = heard((2.0, denied + end("deny_3", None) + status("idle")), end=3.0)
    assert codes(made) == []


def test_text_before_a_tool_call_may_be_in_an_item_of_its_own_or_in_none() -> None:
    parts = [(2.0, status("running") + begin()), (2.1, text("First. ", 3) + call() + output()), (2.2, text("Then.", 9))]
    for stored in ("Then.", "First. Then."):
        assert codes(heard(*parts, (2.3, message(stored) + end() + status("idle")), end=3.0)) == []


def test_text_sent_again_to_who_connects_in_a_turn_is_no_new_text() -> None:
    resent = event("response.created", response={"id": "r", "status": "in_progress", **MODEL}) + text(
        "Earlier. Hel", None
    )
    made = heard((1.0, resent), (1.5, text("lo", 7)), (1.6, message("Hello") + end() + status("idle")), end=3.0)
    assert codes(made) == []


def test_a_client_that_joins_in_a_turn_misses_no_call() -> None:
    made = heard((2.0, output()), (2.1, end() + status("idle")), end=3.0)
    assert codes(made) == []


def test_what_was_there_before_anybody_listened_is_history() -> None:
    made = heard(*TURN, end=3.0)
    old = {"id": "old", "type": "message", "role": "user", "content": "Hi"}
    new = {"id": "m", "type": "message", "role": "assistant", "content": "Hello"}
    made.get("/v1/sessions/s/items", 3.5, {"data": [old, new], "has_more": False})
    assert codes(made) == []


def test_a_snapshot_without_items_says_nothing_of_the_history() -> None:
    """The web UI opens an old session so: a snapshot without items, then the newest page, then older ones."""
    made = Made()
    old = [{"id": f"i{n}", "type": "message", "role": "user", "content": "Hi"} for n in range(4)]
    made.get("/v1/sessions/s?include_items=false", 0.5, {"id": "s", "items": [], "status": "idle"})
    made.stream("s", 1.0, (1.0, heartbeat()), end=4.0)
    made.get("/v1/sessions/s/items?limit=2&order=desc", 1.2, {"data": [old[3], old[2]], "has_more": True})
    made.get("/v1/sessions/s/items?limit=2&order=desc&before=i2", 2.0, {"data": [old[1], old[0]], "has_more": False})
    assert codes(made) == []


def test_an_item_behind_a_snapshot_without_items_is_missed_all_the_same() -> None:
    made = Made()
    old, new = ({"id": id_, "type": "message", "role": "user", "content": "Hi"} for id_ in ("old", "new"))
    made.get("/v1/sessions/s?include_items=false", 0.5, {"id": "s", "status": "idle"})
    made.stream("s", 1.0, (1.0, heartbeat()), end=9.0)
    made.get("/v1/sessions/s/items", 1.2, {"data": [old], "has_more": False})
    made.get("/v1/sessions/s/items", 8.0, {"data": [old, new], "has_more": False})
    assert [code for code, _, _ in codes(made)] == ["items-missed"]


def test_a_client_that_joins_a_sub_agent_behind_its_status_misses_nothing() -> None:
    heard_input = event("session.input.consumed", data={"item_id": "i", "type": "message", "data": {"role": "user"}})
    joined = heard((2.0, heard_input), (2.1, begin()), (2.2, end() + status("idle")), end=3.0)
    assert "status-unknown-transition" not in {code for code, _, _ in codes(joined)}


@each(("how", "severity"), [("completed", "note"), ("failed", "warning")])
def test_a_model_that_thinks_for_long_is_a_note_if_its_turn_is_completed(how: str, severity: str) -> None:
    last = (78.0, end(how=how) + status("idle"))
    made = heard((2.0, status("running") + begin()), *beats(16.0, 76.0), last, end=80.0)
    assert [one.severity for one in found(made) if one.code == "silent-while-running"] == [severity]


def test_a_waiting_parent_is_not_silent() -> None:
    waits = (2.5, status("waiting"))
    made = heard((2.0, status("running") + begin()), waits, *beats(15.0, 120.0), (130.0, status("running")),
                 (131.0, end() + status("idle")), end=132.0)  # fmt: skip
    assert codes(made) == [("silent-while-running", "note", None)]


# Who went away -------------------------------------------------------------------------------------------------------


def test_a_snapshot_proves_that_the_runner_is_gone() -> None:
    made = heard((2.0, status("running") + begin()), *beats(16.0, 46.0), end=50.0)
    made.get("/v1/sessions/s", 51.0, {"status": "running", "runner_online": False, "items": []})
    assert codes(made)[0] == ("runner-disconnected", "error", None)


def test_a_server_that_stops_long_after_its_runner_is_not_the_cause() -> None:
    made = heard((2.0, status("running") + begin()), *beats(16.0, 76.0), ending="eof", end=80.0)
    assert codes(made) == [
        ("runner-silent", "error", None),
        ("turn-unfinished", "error", "runner-silent"),
        ("server-stopped", "warning", None),
    ]


def test_a_server_that_was_killed_and_came_back_is_told_so() -> None:
    made = Made()
    epoch = lambda n: (*SSE, ("x-omnigent-stream-epoch", n))  # noqa: E731
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("running") + begin()), (2.1, text("H")), end=2.2,
                ending="upstream_lost", headers=epoch("1"))  # fmt: skip
    made.stream("s", 9.0, (9.0, heartbeat()), (9.5, status("idle")), end=10.0, headers=epoch("2"))
    first, *rest = found(made)
    assert first.message == "the connection to the server broke in the middle of a turn; it was started again"
    assert [(one.code, one.because) for one in rest] == [
        ("reconnect-missed", "upstream-lost"),
        ("turn-unfinished", "upstream-lost"),
    ]


def test_a_server_that_ends_one_stream_and_answers_others_has_dropped_a_reader() -> None:
    made = heard((2.0, status("running") + begin()), (2.1, text("H")), ending="eof", end=2.2, lag=3.0)
    made.get("/v1/sessions/s", 2.5, {"status": "running"})
    told = {code: (severity, because) for code, severity, because in codes(made)}
    assert told["reader-dropped"] == ("error", None)
    assert told["reader-slow"] == ("note", "reader-dropped")


def test_a_server_that_is_the_same_in_a_later_stream_was_not_stopped() -> None:
    made = Made()
    headers = (*SSE, ("x-omnigent-stream-epoch", "1"))
    made.stream("s", 1.0, *TURN[:2], end=2.2, ending="eof", headers=headers)
    made.stream("s", 60.0, (60.0, heartbeat()), end=61.0, headers=headers)
    assert codes(made)[0] == ("reader-dropped", "error", None)


RESTARTED: Reads = [
    (2.0, status("running") + begin()), (2.1, text("Hel", 3) + text("lo", 7)),
    (9.0, status("running") + begin("r2")), (9.1, text("Hel", 3) + text("lo", 7)),
]  # fmt: skip


def test_a_turn_that_begins_again_under_another_id_had_its_runner_restarted() -> None:
    whole = heard(*RESTARTED, (9.2, message("Hello", response="r2")), (9.3, end("r2") + status("idle")), end=10.0)
    assert codes(whole) == [("runner-restarted", "warning", None)]
    assert "after 6.90 s the server ran the turn again" in found(whole)[0].message


def test_a_restart_explains_the_tool_and_the_end_that_never_came() -> None:
    made = heard(*RESTARTED[:2], (2.2, call("lost")), *RESTARTED[2:], *beats(15.0, 90.0), end=100.0)
    told = codes(made)
    assert told[0] == ("runner-restarted", "error", None)
    assert ("tool-without-output", "error", "runner-restarted") in told


def test_a_response_to_another_message_is_no_restart() -> None:
    taken = event("session.input.consumed", conversation_id="s", data={"item_id": "i", "data": {"content": "More"}})
    made = heard(*RESTARTED[:2], (3.0, taken), *RESTARTED[2:], (9.3, end("r2") + status("idle")), end=10.0)
    assert "runner-restarted" not in {code for code, _, _ in codes(made)}


def deleted(at: float, *, status_code: int = 200) -> Made:
    made = heard(*TURN[:2], (2.5, status("idle")), *beats(16.0, 31.0), end=40.0)
    made.request("DELETE", "/v1/sessions/s", at, status=status_code, answer={"deleted": True})
    return made


def test_a_session_that_is_deleted_between_turns_is_no_finding() -> None:
    made = heard(*TURN, *beats(16.0, 31.0), end=40.0)
    made.request("DELETE", "/v1/sessions/s", 20.0, answer={"deleted": True})
    assert codes(made) == []


def test_a_refused_deletion_deletes_nothing() -> None:
    assert "session-deleted" not in {code for code, _, _ in codes(deleted(2.3, status_code=403))}


def test_a_deleted_session_of_a_sub_agent_is_told_in_its_parent() -> None:
    def child(how: str) -> bytes:
        told = {"id": "c", "title": "reviewer", "current_task_status": how}
        return event("session.child_session.updated", conversation_id="s", child_session_id="c", child=told)

    made = heard((2.0, child("in_progress")), (5.0, child("completed")), end=9.0)
    made.request("DELETE", "/v1/sessions/c", 4.9, answer={"deleted": True})
    assert codes(made) == [("session-deleted", "warning", None)]
    made.request("DELETE", "/v1/sessions/c", 6.0, answer={"deleted": True})
    still = heard((2.0, child("in_progress")), (5.0, child("completed")), end=9.0)
    still.request("DELETE", "/v1/sessions/c", 6.0, answer={"deleted": True})
    assert codes(still) == []


def test_a_client_that_came_back_in_time_missed_nothing() -> None:
    made = heard(*TURN[:2], end=2.15)
    resent = event("response.created", response={"id": "r", "status": "in_progress", **MODEL}) + text("Hello", None)
    made.stream("s", 2.16, (2.16, heartbeat() + resent), *TURN[2:], end=3.0)
    assert codes(made) == [("reconnected", "note", None)]


# What was lost or doubled on its way ---------------------------------------------------------------------------------


def test_the_answer_of_a_gzipped_snapshot_is_read() -> None:
    made = heard(*TURN, end=3.0)
    new = {"id": "new", "type": "message", "role": "assistant", "content": "Unheard"}
    known = {"id": "m", "type": "message", "role": "assistant", "content": "Hello"}
    body = gzip.compress(json.dumps({"data": [known, new], "has_more": False}).encode())
    made.get("/v1/sessions/s/items", 3.5, body, headers=(*JSON, ("content-encoding", "gzip")))
    (finding,) = found(made)
    assert (finding.code, finding.severity) == ("items-missed", "warning")
    assert "message 'Unheard'" in finding.message


def test_another_message_id_begins_another_text() -> None:
    made = heard(
        TURN[0], (2.1, text("One", 3, "a") + text("Two", 4, "b") + message("Two") + end() + status("idle")), end=3.0
    )
    assert codes(made) == []


def test_a_settled_question_that_is_asked_again_after_a_reconnect_is_a_warning() -> None:
    made = heard((2.0, asks()), (3.0, settled()), end=3.5)
    made.stream("s", 4.0, (4.0, heartbeat()), (4.1, asks()), end=5.0)
    made.post("/v1/sessions/s/elicitations/e/resolve", 2.9, body={"action": "accept"}, status=202)
    assert ("approval-asked-again", "warning", None) in codes(made)


def test_a_question_that_a_snapshot_told_of_was_asked() -> None:
    made = heard((2.0, settled()), end=3.0)
    assert [code for code, _, _ in codes(made)] == ["approval-unasked"]
    made.get("/v1/sessions/s", 0.5, {"pending_elicitations": [{"elicitation_id": "e"}]})
    assert codes(made) == []


def _unanswered_post(made: Made, until: float = 30.0) -> Made:
    made.post("/v1/sessions/s/events", 2.0, until=until, body={"type": "message", "data": {"content": "Hi"}},
              ending="client_left", answered=False)  # fmt: skip
    return made


def test_a_message_whose_post_had_no_answer_is_told() -> None:
    made = _unanswered_post(heard(*beats(16.0, 31.0), end=40.0))
    made.get("/v1/sessions/s/items", 35.0, {"data": [{"id": "i", "type": "message", "role": "user", "content": "Hi"}]})
    assert codes(made)[0] == ("message-not-taken", "error", None)
    assert {because for _, _, because in codes(made)[1:]} <= {"message-not-taken"}


@pytest.mark.parametrize("later", [
    consumed("Hi") + status("running") + begin() + end() + status("idle"),
    asks() + settled() + status("running") + begin() + end() + status("idle"),
])  # fmt: skip
def test_a_post_without_an_answer_that_had_an_effect_is_no_finding(later: bytes) -> None:
    made = _unanswered_post(heard((2.5, later), *beats(16.0, 31.0), end=40.0), until=2.2)
    assert codes(made) == []


def test_a_post_without_an_answer_is_a_note_if_the_client_left_soon() -> None:
    assert codes(_unanswered_post(heard(end=7.0), until=2.2)) == [("message-not-taken", "note", None)]


def test_a_sub_agent_that_failed_unheard_is_a_warning() -> None:
    told = {"id": "c", "title": "reviewer:plan", "current_task_status": "failed",
            "last_task_error": {"code": "RuntimeError", "message": "It broke."}}  # fmt: skip
    update = event("session.child_session.updated", conversation_id="s", child_session_id="c", child=told)
    made = heard(*TURN, (2.4, update), end=3.0)
    assert codes(made) == [("turn-failed", "warning", None)]
    assert "reviewer:plan failed, and no stream carried its turn: RuntimeError: It broke." in found(made)[0].message
    made.stream("c", 1.5, (1.5, heartbeat()), (1.6, status("running") + begin("rc")), (1.7, end("rc", how="failed")),
                end=3.0)  # fmt: skip
    assert [code[:2] for code in codes(made) if code[0] == "turn-failed"] == [("turn-failed", "error")]


def test_an_answer_to_a_question_that_was_never_asked_names_its_exchange() -> None:
    made = heard((2.0, settled("other")), end=3.0)
    number = made.post("/v1/sessions/s/elicitations/other/resolve", 1.9, body={"action": "accept"}, status=202)
    assert [code for code, _, _ in codes(made)] == ["approval-unasked"]
    assert found(made)[0].message.startswith(f"a client answered the question other (exchange {number})")


def test_a_message_to_a_deleted_session_names_the_deletion() -> None:
    made = heard(*TURN, end=20.0)
    made.request("DELETE", "/v1/sessions/s", 3.0)
    made.post("/v1/sessions/s/events", 5.0, body={"type": "message", "data": {"content": "Hi"}}, status=404,
              answer={"error": {"code": "not_found", "message": "Session not found"}})  # fmt: skip
    assert codes(made) == [("message-refused", "error", None)]
    assert found(made)[0].message.endswith("; a client had deleted the session 2.00 s before")


def test_the_same_thing_heard_on_two_streams_is_told_once() -> None:
    failed = [TURN[0], (2.5, end(how="failed") + status("idle"))]
    made = heard(*failed, end=3.0)
    made.stream("s", 1.1, (1.1, heartbeat()), *failed, end=3.0)
    assert [code for code, _, _ in codes(made) if code == "turn-failed"] == ["turn-failed"]


# Anything at all -----------------------------------------------------------------------------------------------------

TYPES = st.sampled_from([
    "session.status", "session.heartbeat", "session.interrupted", "session.input.consumed", "session.created",
    "session.child_session.updated", "response.created", "response.in_progress", "response.completed",
    "response.failed", "response.output_text.delta", "response.output_item.done", "response.elicitation_request",
    "response.elicitation_resolved", "turn.started", "turn.failed", "response.retry", "odd.type",
])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["running", "idle", "failed", "e", "message", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "type", "status", "text", "content", "call_id", "data", "output", "error"]), inner,
        max_size=4,
    ),
    max_leaves=6,
)  # fmt: skip
FIELDS = st.dictionaries(
    st.sampled_from(["status", "data", "item", "response", "delta", "elicitation_id", "params", "child_session_id",
                     "child", "sequence_number", "error", "message_id", "action"]), VALUES, max_size=5,
)  # fmt: skip


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.tuples(TYPES, FIELDS), max_size=12), VALUES)
def test_nothing_that_an_event_or_an_answer_holds_breaks_it(
    frames: list[tuple[str, dict[str, Any]]], answer: Any
) -> None:
    reads = [(float(n * 20 + 2), event(type_, **fields)) for n, (type_, fields) in enumerate(frames)]
    made = heard(*reads, end=300.0)
    made.get("/v1/sessions/s", 301.0, {"items": answer, "pending_elicitations": answer, "runner_online": answer})
    made.get("/v1/sessions/s/items?order=desc", 302.0, {"data": answer, "has_more": False})
    found(made)


def test_the_break_of_an_earlier_stream_explains_a_turn_that_rested_without_an_end_on_a_later_one() -> None:
    made = heard((2.0, status("running") + begin()), (2.1, text("Hel", 3)), ending="upstream_lost", end=2.2)
    made.stream("s", 2.5, (2.5, heartbeat()), (4.0, status("running") + text("lo", 4)), (4.1, status("idle")), end=5.0)
    assert ("turn-unfinished", "warning", "upstream-lost") in codes(made)


def test_a_client_that_came_back_and_left_again_left_in_the_same_turn() -> None:
    asked = event("response.elicitation_request", elicitation_id="e", params={"message": "Sure?"})
    made = heard((2.0, asked), ending="upstream_lost", end=2.2)
    resolved = event("response.elicitation_resolved", elicitation_id="e", action="accept")
    made.stream("s", 12.5, (12.5, heartbeat()), (13.6, resolved), ending="client_left", end=15.0)
    assert ("client-left-in-turn", "warning", "upstream-lost") in codes(made)


def test_a_silence_that_two_clients_shared_is_told_once() -> None:
    events: Reads = [(2.0, status("running") + begin()), (40.0, text("Hello", 5)), (41.0, end() + status("idle"))]
    beats_ = [(at, heartbeat()) for at in (16.0, 31.0)]
    made = heard(*sorted([*events, *beats_]), end=42.0)
    made.stream("s", 1.5, (1.5, heartbeat()), *sorted([*events, *beats_]), end=42.0)
    silences = [(one.stream, one.seqs) for one in found(made) if one.code == "silent-while-running"]
    assert silences == [(1, (3, 6))]


@each("code", [code for code, one in CODES.items() if " CASSETTE" in one.next])
def test_a_command_in_a_next_step_has_no_punctuation_behind_it(code: str) -> None:
    """A person copies it."""
    command = r"omnirecord \w+ CASSETTE( N| ID| --[\w-]+( [\w.]*\w)?)* (to|with|prints|marks) "
    assert len(re.findall(r"omnirecord \w+ CASSETTE", CODES[code].next)) == len(re.findall(command, CODES[code].next))


TAKEN = event("session.input.consumed", data={"item_id": "u", "type": "message",
                                              "data": {"role": "user", "content": "Hi"}})  # fmt: skip
QUESTION = {"id": "u", "type": "message", "role": "user", "content": "Hi"}
ANSWER = {"id": "a", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}


def reads(made: Made, at: float, *items: dict[str, Any], status_: str = "idle") -> None:
    """A client reads the session, and then its items."""
    made.get("/v1/sessions/s", at, until=at + 0.1, answer={"id": "s", "status": status_, "items": list(items)})
    listed = {"data": list(items), "has_more": False}
    made.get("/v1/sessions/s/items", at + 0.1, until=at + 0.2, answer=listed)


def test_a_page_that_was_reloaded_while_a_tool_ran_lacks_no_item() -> None:
    made = heard((2.0, status("running") + TAKEN + begin()), (2.1, call(name="sleep")), end=6.0)
    reads(made, 6.0, QUESTION, status_="running")
    resent = event("response.created", response={"id": "r", "status": "in_progress", **MODEL})
    output = item(id="o", type="function_call_output", status="completed", call_id="c", output="x")
    made.stream("s", 6.3, (6.3, heartbeat() + resent), (9.0, output), (9.1, end() + status("idle")), end=12.0)
    assert codes(made) == [("reconnected", "note", None)]


@each("back", [19.9, 20.3])
def test_a_client_that_left_came_back_and_read_session_and_items_has_notes_only(back: float) -> None:
    made = heard((2.0, status("running") + TAKEN + begin()), (2.1, text("Hel", 3)), end=3.0)
    reads(made, 20.0, QUESTION, ANSWER)
    made.stream("s", back, (back, heartbeat()), (back + 0.2, status("idle")), end=30.0)
    noted = {one.code: one.severity for one in found(made)}
    assert noted == dict.fromkeys(["client-left-in-turn", "reconnected", "turn-unfinished", "items-missed"], "note")


def test_a_stream_without_any_event_has_no_heartbeats() -> None:
    made = Made()
    made.stream("s", 1.0, end=64.0)
    (finding,) = found(made)
    assert (finding.code, finding.severity, finding.stream) == ("heartbeats-stopped", "error", 1)
    assert finding.message == "in the 63 s of the stream no event came, not even a heartbeat"


def test_a_client_that_left_before_it_got_a_megabyte_read_too_slowly() -> None:
    made = heard(*((2.0 + n, event("session.sparkle", text="x" * 220_000)) for n in range(5)), end=8.0, lag=None)
    (slow,) = [one for one in found(made) if one.code == "reader-slow"]
    assert slow.severity == "warning"
    assert slow.message.startswith("6 events (1,100,")


def turn_of(response: str, *items: bytes) -> bytes:
    """A turn that takes in the message `u`."""
    begun = event("response.in_progress", response={"id": response, "status": "in_progress", **MODEL})
    ended = event("response.completed", response={"id": response, "status": "completed", **MODEL})
    return b"".join([status("running"), TAKEN, begun, *items, ended, status("idle")])


def test_a_message_that_two_turns_took_in_ran_twice() -> None:
    made = heard((2.0, turn_of("r1")), end=4.0)
    made.stream("s", 5.0, (5.0, heartbeat()), (6.5, turn_of("r2")), end=8.0)
    assert ("message-ran-twice", "error", None) in codes(made)
    assert "message-ran-twice" not in {code for code, *_ in codes(heard((2.0, turn_of("r1")), end=4.0))}


@each(("ending", "until"), [("client_left", 40.0), ("recorder_stopped", 40.0), ("client_left", 20.0), ("eof", 40.0)])
def test_a_patch_that_gets_no_answer_for_30_s_is_a_warning(ending: str, until: float) -> None:
    made = heard(*TURN, end=5.0)
    answered = ending == "eof"
    made.request("PATCH", "/v1/sessions/s", 6.0, until=until, answered=answered, ending=ending)  # type: ignore[arg-type]
    expected = [] if answered or until < 36 else [("request-unanswered", "warning", None)]
    assert codes(made) == expected


@each("times", [4, 5])
def test_a_tool_that_is_called_again_and_again_with_the_same_arguments_is_a_warning(times: int) -> None:
    items = []
    for n in range(times):
        one = {"call_id": f"c{n}", "status": "completed"}
        items.append(item(id=f"f{n}", type="function_call", name="read", arguments='{"a": 1}', **one))
        items.append(item(id=f"o{n}", type="function_call_output", output="x", **one))
    expected = [] if times < 5 else [("tool-repeated", "warning", None)]
    assert codes(heard((2.0, turn_of("r1", *items)), end=4.0)) == expected
