"""Sessions told turn by turn: what the live server's wire makes of a turn, and what must not break the telling."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.turns.requests import Act, act_of
from omnirecord.analysis.turns.session_builder import SessionBuilder, merged, session_of
from omnirecord.analysis.turns.values import Turn, turn_row
from omnirecord.cassette.open import open_store
from omnirecord.model import Exchange, Request, Response, TimedFrame, Verdict
from omnirecord.omnigent.events import MODELS
from omnirecord.wire.event_ids import event_id, stamp
from tests.support.watchdog import slowness

MS = 1_000_000
S = 1_000_000_000
DATA = tuple[str, dict[str, Any]]


def turns(
    frames: Iterable[TimedFrame], acts: Iterable[Act] = (), *, until_ns: int | None = None, is_child: bool = False
) -> list[Turn]:
    """The turns of one session. `until_ns`: the end of its last stream."""
    builder = SessionBuilder(acts, is_child=is_child)
    for heard in merged(frames):
        builder.add(heard)
    return [draft.freeze(1, None, number) for number, draft in enumerate(builder.finish(until_ns), 1)]


def stream(*events: DATA, number: int = 1, begin: int = 0, step: int = MS) -> list[TimedFrame]:
    """A stream that brings these events, `step` ns after each other."""
    return [frame(type_, data, number, seq, begin + (seq - 1) * step) for seq, (type_, data) in enumerate(events, 1)]


def frame(type_: str, data: dict[str, Any], number: int, seq: int, at: int, verdict: Verdict = "valid") -> TimedFrame:
    raw = f"event: {type_}\ndata: {json.dumps({'sequence_number': None, 'type': type_, **data})}\n\n".encode()
    return TimedFrame(number, seq, data.get("at", at), None, raw, len(raw), type_, verdict, ())


def later(events: Iterable[DATA], at: int) -> list[DATA]:
    """The same events, all of them at that time."""
    return [(type_, {**data, "at": at}) for type_, data in events]


GREETING: list[DATA] = [
    ("session.heartbeat", {"server_time": None}),
    ("session.changed_files.invalidated", {"session_id": "s"}),
    ("session.presence", {"viewers": []}),
]
RUNNING: DATA = ("session.status", {"status": "running"})
IDLE: DATA = ("session.status", {"status": "idle"})
HEARTBEAT: DATA = ("session.heartbeat", {"server_time": None})
INTERRUPT: DATA = ("session.interrupted", {"data": {"requested_at": 1, "response_id": None}})
ids = count(1)


def consumed(text: str, item_id: str | None = None) -> DATA:
    data = {"role": "user", "content": [{"type": "input_text", "text": text}]}
    return "session.input.consumed", {
        "data": {"item_id": item_id or f"item{next(ids)}", "type": "message", "data": data}
    }


def begin(id_: str = "r1", type_: str = "response.in_progress") -> DATA:
    return type_, {"sequence_number": 1, "response": {"id": id_, "model": "helper", "status": "in_progress"}}


def says(*words: str, **fields: Any) -> list[DATA]:
    return [("response.output_text.delta", {"delta": word, "sequence_number": next(ids), **fields}) for word in words]


def thinks(*words: str) -> list[DATA]:
    return [("response.reasoning_text.delta", {"delta": word, "sequence_number": next(ids)}) for word in words]


def stored(text: str, response_id: str = "r1") -> DATA:
    content = [{"type": "output_text", "text": text}]
    item = {"id": "m", "response_id": response_id, "type": "message", "role": "assistant", "content": content}
    return "response.output_item.done", {"item": item}


def calls(status: str, call_id: str = "c1") -> DATA:
    item = {
        "type": "function_call",
        "call_id": call_id,
        "name": "shell",
        "arguments": '{"command": "ls"}',
        "status": status,
    }
    return "response.output_item.done", {"item": item}


def answers(output: Any = "a.txt", call_id: str = "c1") -> DATA:
    item = {"type": "function_call_output", "call_id": call_id, "output": output, "status": "completed"}
    return "response.output_item.done", {"item": item}


def asks(id_: str = "e1", phase: str = "request", about: str = "Hi") -> DATA:
    preview = json.dumps({"role": "user", "content": [{"type": "input_text", "text": about}]})
    params = {"message": "Confirm this message", "phase": phase, "content_preview": preview}
    return "response.elicitation_request", {"elicitation_id": id_, "params": params}


def resolved(action: str | None = "accept", id_: str = "e1") -> DATA:
    return "response.elicitation_resolved", {"elicitation_id": id_, "action": action}


def end(how: str = "completed", id_: str = "r1", **response: Any) -> DATA:
    return f"response.{how}", {"response": {"id": id_, "model": "helper", "status": how, **response}}


def only(frames: list[TimedFrame], *acts: Act, **options: Any) -> Turn:
    (turn,) = turns(frames, acts, **options)
    return turn


def texts(told: list[Turn]) -> list[tuple[list[str], str, str]]:
    return [([asked.text for asked in turn.asked], turn.text, turn.ended) for turn in told]


def post(text: str, at_ns: int = 0, **fields: Any) -> Act:
    return Act("message", at_ns, "client", text, **fields)


@pytest.mark.parametrize("opening", [
    [RUNNING, consumed("Hi"), begin()],
    [consumed("Hi"), RUNNING, begin()],
    [consumed("Hi"), RUNNING, begin(type_="response.created"), begin()],
    [("turn.started", {"session_id": "s"}), consumed("Hi"), begin(), RUNNING],
])  # fmt: skip
def test_a_turn_opens_with_whatever_comes_first(opening: list[DATA]) -> None:
    turn = only(stream(*GREETING, *opening, *says("Hel", "lo."), stored("Hello."), end(), IDLE))
    assert texts([turn]) == [(["Hi"], "Hello.", "completed")]
    assert turn.started_ns == 3 * MS
    assert (turn.turn, turn.agent, turn.response_id) == (1, "helper", "r1")


def test_times_are_those_of_the_wire_and_of_the_post() -> None:
    events = [*GREETING, consumed("Hi", "i1"), RUNNING, begin(), *says("Hel", "lo."), end()]
    turn = only(stream(*events), post("Hi", 2 * MS, item_id="i1"))
    assert (turn.asked_ns, turn.started_ns, turn.first_text_ns, turn.ended_ns) == (2 * MS, 3 * MS, 6 * MS, 8 * MS)


def test_a_turn_that_begins_again_is_one_turn_with_the_text_of_its_last_attempt() -> None:
    again = [RUNNING, begin("r2"), *says("Hel", "lo."), stored("Hello.", "r2"), end(id_="r2"), IDLE]
    turn = only(stream(consumed("Hi"), RUNNING, begin(), *says("Hel"), calls("in_progress"), *again))
    assert texts([turn]) == [(["Hi"], "Hello.", "completed")]
    assert [said.text for said in turn.messages] == ["Hel", "Hello."]
    assert (turn.response_id, turn.restarts_ns) == ("r2", (6 * MS,))
    assert "attempt 2 begins here" in turn.notes[0].text


def test_a_response_to_what_was_said_meanwhile_is_another_turn() -> None:
    first = [consumed("Hi"), RUNNING, begin(), *says("Hel"), consumed("More")]
    told = turns(stream(*first, begin("r2"), *says("Yes."), end(id_="r2")))
    assert texts(told) == [(["Hi"], "Hel", "unfinished"), (["More"], "Yes.", "completed")]


def test_deltas_make_the_text_and_the_item_repeats_it() -> None:
    (said,) = only(stream(RUNNING, begin(), *says("Hel", "lo."), stored("Hello."), end())).messages
    assert (said.text, said.pieces, said.as_stored) == ("Hello.", 2, True)


def test_a_stored_text_that_differs_is_told() -> None:
    turn = only(stream(RUNNING, begin(), *says("Hel"), stored("Hello."), end()))
    assert (turn.text, turn.messages[0].as_stored) == ("Hel", False)


def test_without_deltas_the_items_are_the_text() -> None:
    assert only(stream(RUNNING, begin(), stored("Hello."), end())).text == "Hello."
    output = [{"type": "message", "content": [{"text": "From the response."}]}]
    assert only(stream(begin(), end(output=output))).text == "From the response."


def test_text_around_a_tool_is_two_messages() -> None:
    events = [
        begin(),
        *says("Let me", " see."),
        stored("Let me see."),
        calls("in_progress"),
        calls("completed"),
        answers(),
    ]
    turn = only(stream(*events, *says("Two."), stored("Two."), end()))
    assert turn.text == "Let me see.\n\nTwo."
    assert [said.as_stored for said in turn.messages] == [True, True]


def test_a_message_by_another_id_is_another_message() -> None:
    turn = only(stream(RUNNING, *says("One", message_id="a"), *says("Two", message_id="b"), IDLE))
    assert (turn.text, turn.ended) == ("One\n\nTwo", "completed")


def test_reasoning_is_put_together_as_well() -> None:
    turn = only(stream(RUNNING, begin(), *thinks("Hm", "mm"), *says("Yes."), *thinks("Sure"), end()))
    assert turn.reasoning == "Hmmm\n\nSure"
    assert (turn.thoughts[0].first_ns, turn.thoughts[0].last_ns) == (2 * MS, 3 * MS)


def test_reasoning_that_came_whole() -> None:
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hmm"}]}
    assert only(stream(begin(), ("response.output_item.done", {"item": item}), end())).reasoning == "Hmm"
    both = stream(begin(), *thinks("Hmm"), ("response.output_item.done", {"item": item}), end())
    assert only(both).reasoning == "Hmm"


def test_a_call_comes_twice_and_is_one() -> None:
    (tool,) = only(stream(begin(), calls("in_progress"), calls("completed"), answers(), end())).tools
    assert (tool.name, tool.arguments, tool.output, tool.status) == ("shell", '{"command": "ls"}', "a.txt", "completed")
    assert (tool.called_ns, tool.returned_ns) == (1 * MS, 3 * MS)


def test_a_call_without_an_answer_and_what_it_printed() -> None:
    printed = ("response.function_call_output.delta", {"call_id": "c1", "delta": "so far"})
    (tool,) = only(stream(begin(), calls("in_progress"), printed, end())).tools
    assert (tool.output, tool.returned_ns) == ("so far", None)


def test_an_output_that_is_no_text() -> None:
    outputs = [[{"type": "text", "text": "in parts"}], {"a": 1}, None]
    told = [only(stream(begin(), calls("completed"), answers(output), end())).tools[0].output for output in outputs]
    assert told == ["in parts", '{"a": 1}', ""]


def test_an_approval_and_who_gave_it() -> None:
    events = [*GREETING, asks(), resolved(), resolved(), consumed("Hi", "i1"), RUNNING, begin(), *says("Yes."), end()]
    answer = Act("answer", 3 * MS + 1, "client-2", elicitation_id="e1", action="accept")
    turn = only(stream(*events), post("Hi", 1 * MS, item_id="i1"), answer)
    (approval,) = turn.approvals
    assert (approval.message, approval.action) == ("Confirm this message", "accept")
    assert (approval.asked_ns, approval.answered_ns, approval.resolved_ns) == (3 * MS, 3 * MS + 1, 4 * MS)
    assert approval.answered_by == "client-2"
    assert texts([turn]) == [(["Hi"], "Yes.", "completed")]
    assert turn.asked_ns == 1 * MS


def test_an_approval_whose_post_the_client_closed() -> None:
    def left(sent_ns: int, closed_ns: int, *, client_left: bool = True) -> int | None:
        act = Act("message", sent_ns, "client", "Hi", end_ns=closed_ns, client_left=client_left)
        return only(stream(*GREETING, asks(), begin(), *says("No."), end()), act).approvals[0].left_ns

    assert left(1 * MS, 5 * MS) == 5 * MS
    assert left(1 * MS, 5 * MS, client_left=False) is None
    assert left(1 * MS, 2 * MS) is None  # before the question


def test_a_late_idle_does_not_end_a_turn_that_waits_for_approval() -> None:
    first = [RUNNING, consumed("One"), begin(), *says("1"), end()]
    second = [
        asks(about="Two"),
        IDLE,
        resolved(),
        consumed("Two"),
        RUNNING,
        begin("r2"),
        *says("2"),
        end(id_="r2"),
        IDLE,
    ]
    told = turns(stream(*first, *second))
    assert texts(told) == [(["One"], "1", "completed"), (["Two"], "2", "completed")]
    assert len(told[1].approvals) == 1


def test_an_unanswered_approval_is_a_denied_turn() -> None:
    denial = "[Denied by policy: Sure?]"
    events = [asks(), *says(denial, message_id="deny_1"), stored(denial, "deny_2"), end(id_="deny_3"), IDLE]
    turn = only(stream(*GREETING, *events))
    assert texts([turn]) == [(["Hi"], denial, "denied")]
    assert (turn.approvals[0].action, turn.approvals[0].resolved_ns) == (None, None)


def test_a_message_that_a_policy_denies_at_once() -> None:
    denial = "[Denied by policy: No.]"
    events = [*says(denial, message_id="deny_1"), stored(denial, "deny_2"), end(id_="deny_3"), IDLE]
    assert texts([only(stream(*GREETING, *events), post("Hi"))]) == [(["Hi"], denial, "denied")]


def test_an_interrupt_has_no_terminal_event() -> None:
    note = consumed("[System: interrupted]\nDo not resume.")
    first = [RUNNING, consumed("Tell"), begin(), *says("On", "ce"), INTERRUPT, IDLE, IDLE, note]
    told = turns(stream(*first, RUNNING, consumed("Stop"), begin("r2"), *says("Bye."), end(id_="r2"), IDLE))
    assert texts(told) == [(["Tell"], "Once", "interrupted"), (["Stop"], "Bye.", "completed")]
    assert told[0].ended_ns == 6 * MS


@pytest.mark.parametrize("last", [[end("incomplete")], [end("cancelled"), IDLE], [], [consumed("Next")]])
def test_however_an_interrupt_ends_it_is_one(last: list[DATA]) -> None:
    told = turns(stream(RUNNING, consumed("Tell"), begin(), *says("Once"), INTERRUPT, *last))
    assert told[0].ended == "interrupted"


def test_an_interrupt_leaves_a_question_about_a_message_open() -> None:
    asked = [*GREETING, asks(), INTERRUPT]
    assert only(stream(*asked), post("Hi")).ended == "unfinished"
    answered = [resolved(), consumed("Hi"), RUNNING, begin(), *says("Yes."), end(), IDLE]
    assert texts([only(stream(*asked, *answered), post("Hi"))]) == [(["Hi"], "Yes.", "completed")]


def test_of_messages_that_came_together_a_response_answers_the_first() -> None:
    first = [consumed("One"), consumed("Two"), consumed("Three"), RUNNING, begin(), *says("1"), end()]
    second = [RUNNING, begin("r2"), *says("2, 3"), end(id_="r2"), IDLE]
    posts = post("Two"), post("One"), post("Three")
    told = texts(turns(stream(*first, *second), posts))
    assert told == [(["One"], "1", "completed"), (["Two", "Three"], "2, 3", "completed")]
    assert texts(turns(stream(*first, IDLE), posts))[0][0] == ["One", "Two", "Three"]


def test_of_two_questions_the_one_that_was_answered_first_is_the_first_turn() -> None:
    events = [asks("e1", about="One"), asks("e2", about="Two"), resolved(id_="e2"), consumed("Two", "i2"), RUNNING,
              begin(), resolved(id_="e1"), consumed("One", "i1"), *says("2"), end(),
              RUNNING, begin("r2"), *says("1"), end(id_="r2"), IDLE]  # fmt: skip
    told = turns(stream(*events), (post("One", 0, item_id="i1"), post("Two", 0, item_id="i2")))
    assert {turn.text: [asked.text for asked in turn.asked] for turn in told} == {"2": ["Two"], "1": ["One"]}


def test_the_same_message_posted_twice_is_two_turns() -> None:
    events = [consumed("Hi"), consumed("Hi"), RUNNING, begin(), *says("1"), end(), RUNNING, begin("r2"), *says("2"),
              end(id_="r2"), IDLE]  # fmt: skip
    assert [told[:2] for told in texts(turns(stream(*events), (post("Hi"), post("Hi"))))] == [
        (["Hi"], "1"), (["Hi"], "2")
    ]  # fmt: skip


def test_a_failure_is_told_once() -> None:
    error = {"code": "RuntimeError", "message": "It broke."}
    failed = ("session.status", {"status": "failed", "error": error})
    turn = only(stream(RUNNING, consumed("Hi"), begin(), end("failed", error=error), failed))
    assert turn.error is not None
    assert (turn.ended, turn.error.code, turn.error.message, turn.notes) == ("failed", "RuntimeError", "It broke.", ())


def test_a_runner_that_is_gone() -> None:
    failed = ("session.status", {"status": "failed", "error": {"code": "runner_disconnected", "message": "Gone."}})
    events = [RUNNING, consumed("Hi"), begin(), *says("Well"), *later([HEARTBEAT], 15 * S), *later([HEARTBEAT], 30 * S)]
    turn = only(stream(*events, *later([failed], 31 * S)))
    assert (turn.ended, turn.error and turn.error.code, turn.heartbeats) == ("failed", "runner_disconnected", 2)
    assert turn.longest_silence is not None
    assert (turn.longest_silence.from_ns, turn.longest_silence.length_ns) == (3 * MS, 31 * S - 3 * MS)
    assert turn.silences == (turn.longest_silence,)


@pytest.mark.parametrize(
    ("how", "ended"), [("failed", "failed"), ("cancelled", "cancelled"), ("incomplete", "incomplete")]
)
def test_how_a_turn_ends(how: str, ended: str) -> None:
    turn = only(stream(RUNNING, begin(), end(how, incomplete_details={"reason": "max_iterations"})))
    assert turn.ended == ended
    assert turn.error is not None
    assert turn.error.message == "max_iterations"


def test_the_runners_own_account_of_a_turn() -> None:
    told = [("turn.started", {"session_id": "s"}), *says("Hi."), ("turn.completed", {"session_id": "s"})]
    assert texts(turns(stream(*told))) == [([], "Hi.", "completed")]
    usage = {"input_tokens": 4, "output_tokens": 2}
    turn = only(stream(RUNNING, begin(), *told, end(usage=usage), IDLE))
    assert turn.usage is not None
    assert (turn.usage.input_tokens, turn.usage.output_tokens, turn.usage.cost_usd) == (4, 2, None)


def test_a_turn_that_nobody_heard_end() -> None:
    turn = only(stream(RUNNING, consumed("Hi"), begin(), *says("Wel")), until_ns=60 * S)
    assert (turn.ended, turn.ended_ns, turn.last_event_ns) == ("unfinished", None, 3 * MS)
    assert turn.longest_silence is not None
    assert turn.longest_silence.length_ns == 60 * S - 3 * MS


def test_rest_without_an_end_is_unfinished() -> None:
    turn = only(stream(RUNNING, consumed("Hi"), begin(), *says("Well"), IDLE))
    assert turn.ended == "unfinished"
    assert turn.notes[0].text == "the session came to rest, and no event said how the turn ended"


def test_what_a_silence_waited_for() -> None:
    events = [RUNNING, begin(), calls("in_progress"), *later([answers()], 7 * S), *later([end()], 7 * S)]
    (silence,) = only(stream(*events)).silences
    assert (silence.during, silence.length_ns) == ("shell", 7 * S - 2 * MS)
    (silence,) = only(stream(RUNNING, asks(phase="tool_call"), *later([resolved()], 9 * S))).silences
    assert silence.during == "approval"


def test_heartbeats_are_no_data() -> None:
    turn = only(stream(RUNNING, HEARTBEAT, ("response.heartbeat", {}), begin(), end()))
    assert (turn.events, turn.heartbeats) == (3, 2)


def test_sub_agents_and_what_became_of_them() -> None:
    def update(status: str, **fields: Any) -> DATA:
        child = {"title": "reviewer: plan", "current_task_status": status, **fields}
        return "session.child_session.updated", {"child_session_id": "k", "child": child}

    spawned = ("session.created", {"child_session_id": "k", "parent_session_id": "s"})
    waiting = ("session.status", {"status": "waiting"})
    woken = [consumed("[System: sub-agent finished]"), RUNNING, begin("r2"), *says("Sound."), end(id_="r2"), IDLE]
    events = [RUNNING, consumed("Ask"), begin(), spawned, update("launching"), *says("Asked."), end(), waiting]
    first, second = turns(stream(*events, update("completed", last_message_preview="Fine."), *woken))
    (child,) = first.children
    assert (child.session_id, child.title, child.status, child.last_message) == (
        "k",
        "reviewer: plan",
        "completed",
        "Fine.",
    )
    assert (child.spawned_ns, child.updated_ns) == (3 * MS, 8 * MS)
    assert (first.ended_ns, second.asked[0].by, second.text) == (6 * MS, "system", "Sound.")


def test_who_asks_a_sub_agent() -> None:
    frames = stream(*GREETING, consumed("Is it sound?", "i1"), RUNNING, begin(), end())
    assert only(frames, is_child=True).asked[0].by == "agent"
    assert only(frames, post("Is it sound?", item_id="i1"), is_child=True).asked[0].by == "user"


def test_usage_model_and_troubles() -> None:
    error = {"code": "429", "message": "slow down"}
    retry = ("response.retry", {"source": "llm", "attempt": 1, "max_attempts": 3, "delay_seconds": 2, "error": error})
    usage = {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6, "model": "m1", "cost_usd": 0.5,
             "output_tokens_details": {"reasoning_tokens": 1}}  # fmt: skip
    turn = only(stream(RUNNING, begin(), retry, ("session.model", {"model": "m0"}), end(usage=usage)))
    assert turn_row(turn)["usage"] == {
        "input_tokens": 4, "output_tokens": 2, "reasoning_tokens": 1, "total_tokens": 6, "cost_usd": 0.5,
    }  # fmt: skip
    assert (turn.model, turn.agent) == ("m1", "helper")
    assert (turn.troubles[0].kind, turn.troubles[0].code, turn.troubles[0].attempt) == ("retry", "429", 1)


def test_what_was_said_in_mid_turn_belongs_to_the_turn_that_answers_it() -> None:
    first = [consumed("One"), RUNNING, begin(), *says("1"), consumed("Two"), stored("1"), end(), IDLE]
    told = turns(stream(*first, begin("r2"), *says("2"), end(id_="r2"), IDLE))
    assert texts(told) == [(["One"], "1", "completed"), (["Two"], "2", "completed")]
    assert texts(turns(stream(*first))) == [(["One", "Two"], "1", "completed")]


def test_a_message_that_was_never_taken_up() -> None:
    acts = [post("Hi"), post("Hello?", 5 * S, refused="runner_unavailable", refusal="No runner.")]
    told = turns(stream(*GREETING), acts)
    assert texts(told) == [(["Hi"], "", "unfinished"), (["Hello?"], "", "failed")]
    assert told[1].error is not None
    assert told[1].error.code == "runner_unavailable"


def test_copies_of_an_event_are_copies_whatever_id_each_stream_gave_them() -> None:
    events = [*GREETING, RUNNING, consumed("Hi"), begin(), *says("A", " B"), end(), IDLE]
    both = [one._replace(raw=stamp(one.raw or b"", event_id(one.stream, one.seq)))
            for number in (1, 2) for one in stream(*events, number=number)]  # fmt: skip
    (turn,) = turns(both)
    assert turn.text == "A B"


def test_two_clients_hear_one_session() -> None:
    events = [RUNNING, consumed("Hi"), begin(), *says("A", " B", " A", " B"), stored("A B A B"), end(), IDLE]
    first = stream(*GREETING, *events)
    second = [f._replace(stream=2, offset_ns=f.offset_ns + 1000) for f in stream(*GREETING, *events[:5])]
    assert turns([*first, *second]) == turns(first)
    assert turns([*second, *first])[0].text == "A B A B"


def reconnected(heard: int, resent: str, live: int, away: int = 30 * MS) -> Turn:
    words = says("A", " flight", " recorder", " keeps", " all.")
    first = stream(*GREETING, RUNNING, consumed("Hi"), begin(), *words[:heard])
    again = [begin(type_="response.created"), *says(resent)]
    in_flight = [(type_, {**data, "sequence_number": None}) for type_, data in again]
    back = first[-1].offset_ns + away
    second = stream(HEARTBEAT, *in_flight, *GREETING[1:], *words[live:], end(), IDLE, number=2, begin=back)
    return only([*first, *second])


@pytest.mark.parametrize("away", [0, MS, 30 * MS, 5 * S])
def test_text_in_flight_that_is_sent_again_is_no_new_text(away: int) -> None:
    assert reconnected(3, "A flight recorder", 3, away).text == "A flight recorder keeps all."


def test_text_in_flight_that_nobody_had_heard_is() -> None:
    assert reconnected(3, "A flight recorder keeps", 4).text == "A flight recorder keeps all."
    assert reconnected(0, "A flight recorder keeps", 4).text == "A flight recorder keeps all."


def test_a_client_that_joins_while_another_listens_adds_nothing() -> None:
    words = says("A", " b", " c", " d")
    first = stream(*GREETING, RUNNING, consumed("Hi"), begin(), *words, end(), IDLE)
    in_flight = [
        (type_, {**data, "sequence_number": None}) for type_, data in [begin(type_="response.created"), *says("A b")]
    ]
    second = stream(
        HEARTBEAT, *in_flight, *words[2:], end(), IDLE, number=2, begin=first[7].offset_ns + 1, step=MS // 4
    )
    assert turns([*first, *second]) == turns(first)


def test_a_turn_that_ended_while_nobody_listened_is_told_apart_from_the_next() -> None:
    first = stream(*GREETING, RUNNING, consumed("One"), begin(), *says("1"))
    second = stream(*GREETING, consumed("Two"), RUNNING, begin("r2"), *says("2"), end(id_="r2"), number=2, begin=9 * S)
    assert texts(turns([*first, *second])) == [(["One"], "1", "unfinished"), (["Two"], "2", "completed")]


def test_one_line_is_in_the_order_of_time_and_marks_the_snapshot() -> None:
    line = merged(stream(*GREETING, RUNNING, HEARTBEAT))
    assert [heard.in_snapshot for heard in line] == [True, True, True, False, False]
    assert merged([]) == []


def test_nothing_happened() -> None:
    assert turns([]) == []
    assert turns(stream(*GREETING, HEARTBEAT, RUNNING, IDLE)) == []


def test_events_against_the_contract_are_counted() -> None:
    frames = stream(RUNNING, begin(), ("of.tomorrow", {}), *says("Hi."), end())
    frames[2] = frames[2]._replace(verdict="unknown")
    frames.insert(3, frames[2]._replace(raw=b"data: {nonsense\n\n", type=None, verdict="malformed"))
    frames.insert(4, frames[2]._replace(raw=None, type=None, verdict="truncated"))
    turn = only(frames)
    assert (turn.text, turn.ended, turn.odd_events) == ("Hi.", "completed", 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    "response",
    "item",
    "data",
    "delta",
    "error",
    "params",
    "child",
    "status",
    "call_id",
    "elicitation_id",
    "child_session_id",
    "id",
    "type",
    "content",
    "usage",
    "output",
    "message_id",
    "servers",
]
ODD = st.dictionaries(
    st.sampled_from(NAMES), JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), max_size=4
)
WIRE = st.sampled_from(
    [
        RUNNING,
        IDLE,
        INTERRUPT,
        HEARTBEAT,
        begin(),
        begin("r2"),
        end(),
        end("failed"),
        stored("x"),
        asks(),
        resolved(),
        calls("completed"),
        answers(),
        consumed("Hi", "i1"),
        *says("x"),
        *thinks("y"),
    ]
)


@given(st.lists(WIRE | st.tuples(st.sampled_from([*MODELS, "of.tomorrow"]), ODD), max_size=25), st.integers(0, 3))
def test_no_order_and_no_content_breaks_it(events: list[DATA], others: int) -> None:
    frames = stream(*events)
    frames += [f._replace(stream=2 + n, offset_ns=f.offset_ns + n * 3 * MS) for n in range(others) for f in frames]
    told = turns(frames, [post("Hi", 0)], until_ns=S)
    assert [turn.turn for turn in told] == list(range(1, len(told) + 1))
    for turn in told:
        json.dumps(turn_row(turn))
        assert turn.ended_ns is None or turn.ended_ns >= turn.started_ns
        assert (turn.ended == "unfinished") == (turn.ended_ns is None)


def test_a_hundred_thousand_events_take_no_time_that_grows_with_their_square() -> None:
    frames = stream(RUNNING, consumed("Hi"), begin(), *says(*["word "] * 50_000), end(), IDLE)
    many = [
        event
        for n in range(7_000)
        for event in (consumed("Hi"), RUNNING, begin(f"r{n}"), *says("x"), end(id_=f"r{n}"), IDLE)
    ]
    frames += stream(*many, begin=60 * S)
    acts = [post("elsewhere", n) for n in range(5_000)]
    took = []
    for _ in range(2):  # the better one counts: a collection of the garbage of other tests may come into one
        started = time.process_time()
        told = turns(frames, acts)
        took.append(time.process_time() - started)
    assert min(took) < 6 * slowness(), "about 1 s; minutes if each event looked at all others"
    assert len(told) == 12_001


def exchange(method: str, target: str, **fields: Any) -> Exchange:
    status = fields.pop("status", 202)
    request, response = Request(5, method, target, ()), Response(6, 7, status, "", ())
    return Exchange(1, 1, fields.pop("kind", "http"), fields.pop("stream", None), "s", "client", request, response,
                    fields.pop("ending", "eof"), end_ns=9)  # fmt: skip


OVER: dict[str, Any] = {"exchange": 1, "end_ns": 9}
"""What an act has of `exchange`."""


def test_what_a_client_did() -> None:
    events, body = (
        exchange("POST", "/v1/sessions/s/events"),
        {"type": "message", "data": {"role": "user", "content": "Hi"}},
    )
    answer = exchange("POST", "/v1/sessions/s/elicitations/e1/resolve")
    query = exchange("POST", "/v1/responses", kind="sse", stream=1)
    assert act_of(events, json.dumps(body).encode(), b'{"item_id": "i1"}') == post("Hi", 5, item_id="i1", **OVER)
    assert act_of(events, b'{"type": "interrupt"}', b"") == Act("interrupt", 5, "client", **OVER)
    assert act_of(answer, b'{"action": "accept"}', b"") == Act(
        "answer", 5, "client", elicitation_id="e1", action="accept", **OVER
    )
    assert act_of(query, b'{"input": "Hi", "stream": true}', b"") == post("Hi", 5, exchange=1)


def test_what_is_no_act() -> None:
    events = exchange("POST", "/v1/sessions/s/events")
    for body in (b"", b"[]", b"\xff", b'{"type": "external_status"}', b"[" * 100_000):
        assert act_of(events, body, b"") is None
    assert act_of(exchange("GET", "/v1/sessions/s/stream", kind="sse", stream=1), b"", b"") is None


def test_a_message_that_the_server_refused() -> None:
    events = exchange("POST", "/v1/sessions/s/events", status=503)
    body = b'{"type": "message", "data": {"content": "Hi"}}'
    refused = act_of(events, body, b'{"error": {"code": "unavailable", "message": "No runner."}}')
    assert refused == post("Hi", 5, refused="unavailable", refusal="No runner.", **OVER)
    plain = act_of(events, body, b"")
    assert plain == post("Hi", 5, refused="HTTP 503", **OVER)


def test_a_session_as_a_whole() -> None:
    listening = exchange("GET", "/v1/sessions/s/stream", kind="sse", stream=1, ending="client_left")
    session = session_of(
        [listening, exchange("POST", "/v1/sessions/s/events")], stream(RUNNING, begin(), end()), parent_id="p"
    )
    assert (session.session_id, session.parent_id, session.begun_ns, session.ended_ns) == ("s", "p", 5, 9)
    assert (session.streams[0].ending, session.streams[0].until_ns, len(session.turns)) == ("client_left", 9, 1)


@pytest.mark.parametrize(
    ("name", "asked", "ended"),
    [
        ("text", ["What is a flight recorder?"], ["completed"]),
        ("tool", ["How many lines has the poem in poem.txt?"], ["completed"]),
        ("approval", ["Please summarise the release notes."], ["completed"]),
        ("failed", ["Answer this with the largest model you have."], ["failed"]),
        ("reconnect", ["What is a flight recorder?"], ["completed"]),
        ("two_clients", ["What is a flight recorder?"], ["completed"]),
        ("responses", ["What is a flight recorder?"], ["completed"]),
        (
            "interrupt",
            ["Tell me a long story about a lighthouse.", "Thank you, that is enough. Say goodbye."],
            ["interrupted", "completed"],
        ),
    ],
)
def test_real_sessions(name: str, asked: list[str], ended: list[str]) -> None:
    store = open_store(Path(__file__).parents[3] / "cassettes" / f"{name}.jsonl")
    exchanges = store.exchanges()
    acts = [act_of(x, store.body(x.exchange, "request"), store.body(x.exchange, "response")) for x in exchanges]
    frames = [frame for x in store.streams() for frame in store.frames(x)]
    told = session_of(exchanges, frames, filter(None, acts)).turns
    store.close()
    assert [turn.asked[0].text for turn in told] == asked
    assert [turn.ended for turn in told] == ended
    for turn in told:
        assert turn.odd_events == 0
        assert all(said.as_stored for said in turn.messages) or turn.ended == "interrupted"
        assert turn.asked_ns is not None
        assert turn.asked_ns <= turn.started_ns
