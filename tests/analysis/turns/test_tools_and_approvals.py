"""Tools, approvals and interrupts in a turn."""

from __future__ import annotations

from omnirecord.analysis.turns.requests import Act
from tests.analysis.turns.test_turns import (
    DATA,
    GREETING,
    IDLE,
    INTERRUPT,
    MS,
    RUNNING,
    answers,
    asks,
    begin,
    calls,
    consumed,
    end,
    only,
    post,
    resolved,
    says,
    stored,
    stream,
    texts,
    turns,
)
from tests.support.examples import each


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


def test_an_answer_to_a_question_with_the_id_of_a_call_changes_nothing() -> None:
    turn = only(stream(begin(), calls("in_progress"), resolved(id_="c1"), answers(), end()))
    assert ([tool.output for tool in turn.tools], turn.approvals) == (["a.txt"], ())


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


@each("last", [[end("incomplete")], [end("cancelled"), IDLE], [], [consumed("Next")]])
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
