"""What counts as a difference between two sessions, what does not, and how it is named."""

from __future__ import annotations

import json
import re
from itertools import chain, combinations_with_replacement
from pathlib import Path
from typing import Any

from omnirecord.analysis.diff import DiffSession, compare, diff_session
from omnirecord.analysis.diff.differences import Difference
from omnirecord.analysis.gather import gathered
from omnirecord.analysis.model_calls.values import ModelCalls
from omnirecord.cassette.open import open_store
from tests.support.cassettes import DONE, Made, child, completed, created, delta, event, heartbeat, presence, status
from tests.support.examples import a_third, each

CASSETTES = sorted((Path(__file__).parent.parent.parent.parent / "cassettes").glob("*.jsonl"))


def told(tape: Made) -> list[DiffSession]:
    store = tape.store()
    return [diff_session(one, ModelCalls(), one.frames()) for one in gathered(store)]


def tellings(path: Path) -> list[DiffSession]:
    store = open_store(path)
    try:
        return [diff_session(one, ModelCalls(), list(one.frames())) for one in gathered(store)]
    finally:
        store.close()


def tape(*frames: bytes, gap: float = 0.1, session: str = "s") -> Made:
    made = Made()
    made.stream(session, 1.0, *((1.0 + gap * (n + 1), frame) for n, frame in enumerate((heartbeat(), *frames))))
    return made


def diff(a: Made, b: Made, **how: Any) -> list[Difference]:
    return compare(told(a), told(b), **how)


def rows(a: Made, b: Made, **how: Any) -> list[tuple[str, str, Any, Any]]:
    return [(one.kind, one.path, one.a, one.b) for one in diff(a, b, **how)]


def between(*frames: bytes) -> Made:
    """A turn with these events in it."""
    return tape(status("running"), consumed("Hi"), created(), *frames, completed(), status("idle"))


def consumed(text: str, item: str = "i1") -> bytes:
    data = {"role": "user", "content": [{"type": "input_text", "text": text}]}
    return event("session.input.consumed", data={"item_id": item, "type": "message", "data": data})


def item(**fields: Any) -> bytes:
    return event("response.output_item.done", item=fields)


def call(number: int, arguments: Any, name: str = "run", **more: Any) -> bytes:
    return item(type="function_call", call_id=f"c{number}", name=name, arguments=json.dumps(arguments), **more)


def output(number: int, text: str) -> bytes:
    return item(type="function_call_output", call_id=f"c{number}", output=text)


def turn(question: str, answer: str, response: str = "r") -> list[bytes]:
    begun = [status("running"), consumed(question, f"i-{response}1"), created(response)]
    return [*begun, delta(answer), completed(response), status("idle")]


# What is no difference


@each("path", CASSETTES)
def test_a_session_does_not_differ_from_itself(path: Path) -> None:
    assert compare(tellings(path), tellings(path), tolerance_s=0) == []


def test_how_text_was_cut_into_deltas_is_no_difference() -> None:
    assert (
        diff(between(delta("Hello"), delta(" you")), between(*(delta(c, n) for n, c in enumerate("Hello you")))) == []
    )


def test_how_a_tool_s_output_was_cut_into_deltas_is_no_difference_though_two_tools_speak_at_once() -> None:
    def printed(number: int, text: str) -> bytes:
        return event("response.function_call_output.delta", call_id=f"c{number}", delta=text)

    calls = [call(1, {}), call(2, {"x": 1})]
    a = between(*calls, printed(1, "one"), printed(2, "two"))
    b = between(*calls, printed(1, "o"), printed(2, "t"), printed(1, "ne"), printed(2, "wo"))
    assert diff(a, b) == []
    (found,) = diff(a, between(*calls, printed(1, "one"), printed(2, "too")))
    assert (found.kind, found.path, found.a, found.b) == ("tools", "turns[0].tools[1].output", "two", "too")


def test_heartbeats_presence_and_comments_are_no_difference() -> None:
    busy = between(delta("Hi "), heartbeat(), presence(), b": nothing\n\n", delta("you"))
    assert diff(between(delta("Hi you")), busy) == []


def test_ids_times_and_numbers_are_no_difference() -> None:
    def made(response: str, at: int) -> Made:
        opened = event("response.created", response={"id": response, "created_at": at}, sequence_number=at)
        return tape(opened, delta("Hi", at), completed(response), session=f"s{at}")

    assert diff(made("resp_0123456789ab", 1), made("resp_ba9876543210", 2)) == []


def test_running_and_the_input_may_come_in_either_order() -> None:
    a = tape(status("running"), consumed("Hi"), created(), completed())
    assert diff(a, tape(consumed("Hi"), status("running"), created(), completed())) == []


def test_a_frame_that_was_cut_off_when_the_client_left_is_none() -> None:
    assert (
        diff(between(), tape(status("running"), consumed("Hi"), created(), completed(), status("idle") + b"data: {"))
        == []
    )


# Ids


def test_an_id_that_is_one_here_and_two_there_is_a_difference() -> None:
    def answers(first: str, second: str) -> Made:
        return between(call(1, {}), item(type="note", about_id=first), item(type="note", about_id=second))

    assert diff(answers("a1", "a1"), answers("b2", "b2")) == []
    ((kind, path, a, b),) = rows(answers("a1", "a1"), answers("b2", "b3"))
    assert (kind, path, a, b) == ("content", "turns[0].events[response.output_item.done][2].item.about_id", "a1", "b3")


def test_an_id_in_a_text_has_to_be_the_one_that_the_events_name() -> None:
    def made(name: str, said: str) -> Made:
        return between(child(f"{name}1" * 16), delta(f"I have asked {f'{said}1' * 16}"))

    assert diff(made("a", "a"), made("b", "b")) == []
    assert [row[:2] for row in rows(made("a", "a"), made("b", "c"))] == [("content", "turns[0].messages[0].text")]


# What is


def test_what_was_asked_and_said_is_content() -> None:
    assert rows(tape(*turn("Hi", "Hello")), tape(*turn("Hey", "Hullo"))) == [
        ("content", "turns[0].asked[0].text", "Hi", "Hey"),
        ("content", "turns[0].messages[0].text", "Hello", "Hullo"),
    ]


def test_reasoning_is_content() -> None:
    def thought(text: str) -> bytes:
        return event("response.reasoning_text.delta", delta=text)

    assert rows(between(thought("so")), between(thought("but"))) == [
        ("content", "turns[0].thoughts[0].text", "so", "but")
    ]


def test_the_same_change_in_deltas_in_the_item_and_in_the_response_is_told_once() -> None:
    def said(text: str) -> Made:
        content = [{"type": "output_text", "text": text}]
        message = {"type": "message", "role": "assistant", "content": content}
        end = event("response.completed", response={"id": "r", "output": [message]})
        return tape(consumed("Hi"), created(), delta(text), item(**message), end)

    assert rows(said("Hello"), said("Hullo")) == [("content", "turns[0].messages[0].text", "Hello", "Hullo")]


def test_an_item_that_does_not_say_what_was_streamed_is_told() -> None:
    def stored(text: str) -> Made:
        return between(
            delta("Hello"), item(type="message", role="assistant", content=[{"type": "output_text", "text": text}])
        )

    assert rows(stored("Hello"), stored("Hullo")) == [
        ("content", "turns[0].events[response.output_item.done][0].item.content[0].text", "Hello", "Hullo")
    ]


def test_how_a_turn_ended_is_content_and_its_missing_end_is_not_told_twice() -> None:
    found = rows(tape(*turn("Hi", "Hello")), tape(*[frame for frame in turn("Hi", "Hello") if frame != completed()]))
    assert found == [("content", "turns[0].ended", "completed", "unfinished")]


def test_an_approval_and_its_answer_are_content() -> None:
    def asked(action: str | None) -> Made:
        request = event("response.elicitation_request", elicitation_id="e1", params={"message": "May I?"})
        return between(request, event("response.elicitation_resolved", elicitation_id="e1", action=action))

    assert rows(asked("accept"), asked("decline")) == [("content", "turns[0].approvals[0].action", "accept", "decline")]
    assert rows(asked("accept"), between()) == [
        ("content", "turns[0].approvals[0]", {"message": "May I?", "action": "accept"}, None)
    ]


def test_an_error_and_a_retry_are_content() -> None:
    def tried(attempt: int) -> bytes:
        return event(
            "response.retry", source="llm", attempt=attempt, delay_seconds=1, error={"code": "x", "message": "y"}
        )

    assert rows(between(tried(1)), between(tried(2))) == [
        ("content", "turns[0].events[response.retry][0].attempt", 1, 2)
    ]
    assert [row[:2] for row in rows(between(tried(1)), between())] == [
        ("content", "turns[0].events[response.retry][0]")
    ]


def test_a_tool_s_arguments_are_compared_as_json() -> None:
    a = item(type="function_call", call_id="c1", name="run", arguments='{"a": 1, "b": [true]}')
    b = item(type="function_call", call_id="c1", name="run", arguments='{"b":[true],"a":1.0}')
    assert diff(between(a), between(b)) == []
    assert rows(between(call(1, {"a": 1})), between(call(1, {"a": 2}))) == [
        ("tools", "turns[0].tools[0].arguments", '{"a": 1}', '{"a": 2}')
    ]


def test_a_tool_s_name_output_and_status_are_tools() -> None:
    a = between(call(1, {}), output(1, "three"))
    assert rows(a, between(call(1, {}, name="go", status="failed"), output(1, "four"))) == [
        ("tools", "turns[0].tools[0].name", "run", "go"),
        ("tools", "turns[0].tools[0].output", "three", "four"),
        ("tools", "turns[0].tools[0].status", None, "failed"),
    ]  # fmt: skip


def test_a_tool_that_only_one_side_called_is_one_difference() -> None:
    ((kind, path, a, b),) = rows(between(call(1, {"a": 1}), output(1, "x")), between())
    assert (kind, path, a["name"], a["output"], b) == ("tools", "turns[0].tools[0]", "run", "x", None)


def test_among_several_tools_the_missing_one_is_named() -> None:
    three = [call(n, {"n": n}) for n in (1, 2, 3)]
    ((_, path, a, _),) = rows(between(*three), between(three[0], three[2]))
    assert (path, a["arguments"]) == ("turns[0].tools[1]", '{"n": 2}')


def test_usage_and_model_are_usage() -> None:
    def used(tokens: int, model: str) -> Made:
        end = event("response.completed", response={"id": "r", "usage": {"input_tokens": tokens, "model": model}})
        return tape(consumed("Hi"), created(), event("session.usage", context_tokens=tokens), end)

    assert rows(used(1, "m"), used(2, "n")) == [
        ("usage", "turns[0].model", "m", "n"),
        ("usage", "turns[0].usage.input_tokens", 1, 2),
        ("usage", "turns[0].events[session.usage][0].context_tokens", 1, 2),
    ]


def test_another_order_of_events_is_order() -> None:
    todo, title = event("session.todos", todos=[]), event("session.title", title="x")
    assert rows(between(todo, title), between(title, todo)) == [
        ("order", "turns[0].order", ["session.todos", "session.title"], ["session.title", "session.todos"])
    ]


def test_where_a_tool_was_called_in_the_text_is_order() -> None:
    a, b = between(delta("one two"), call(1, {})), between(call(1, {}), delta("one two"))
    assert [row[:2] for row in rows(a, b)] == [("order", "turns[0].order")]


def test_a_status_that_only_one_side_has_is_order() -> None:
    assert [row[:2] for row in rows(between(status("waiting")), between())] == [
        ("order", "turns[0].events[session.status][1]")
    ]


def test_an_event_that_comes_twice_is_told() -> None:
    title = event("session.title", title="x")
    assert [row[:2] for row in rows(between(title), between(title, title))] == [
        ("content", "turns[0].events[session.title][1]")
    ]


def test_what_is_no_json_is_told() -> None:
    assert [row[:2] for row in rows(between(), between(b"data: {]\n\n"))] == [
        ("content", "turns[0].events[malformed][0]")
    ]


def test_times_are_told_beyond_the_tolerance_and_do_not_count() -> None:
    slow, fast = tape(*turn("Hi", "Hello"), gap=1.0), tape(*turn("Hi", "Hello"))
    assert [row[:2] for row in rows(slow, fast)] == [
        ("timing", "turns[0].first_text_s"), ("timing", "turns[0].duration_s"),
    ]  # fmt: skip
    assert [row[1] for row in rows(slow, fast, tolerance_s=0.5)][-1] == "turns[0].longest_silence_s"
    assert diff(slow, fast, tolerance_s=10) == []


# Turns and sessions


def test_a_turn_that_only_one_side_has_is_one_difference_and_the_others_are_still_compared() -> None:
    first, second, third = turn("One", "1", "r1"), turn("Two", "2", "r2"), turn("Three", "3", "r3")
    other = turn("Three", "drei", "r3")
    assert rows(tape(*first, *second, *third), tape(*first, *other)) == [
        ("content", "turns[1]", {"asked": ["Two"], "text": "2", "tools": [], "ended": "completed"}, None),
        ("content", "turns[2].messages[0].text", "3", "drei"),
    ]


def test_turns_that_changed_places_are_order() -> None:
    first, second = turn("One", "1", "r1"), turn("Two", "2", "r2")
    ((kind, path, a, b),) = rows(tape(*first, *second), tape(*second, *first))
    assert (kind, path, {a, b}) == ("order", f"turns[{a}]", {0, 1})


def test_a_question_that_was_put_otherwise_is_the_same_turn() -> None:
    a, b = [turn(f"{n}?", str(n), f"r{n}") for n in range(3)], [turn(f"{n}?", str(n), f"r{n}") for n in range(3)]
    b[1] = turn("what?", "nothing", "r1")
    assert [path for _, path, _, _ in rows(tape(*chain(*a)), tape(*chain(*b)))] == [
        "turns[1].asked[0].text", "turns[1].messages[0].text",
    ]  # fmt: skip


def test_sessions_are_known_by_what_was_asked_in_whatever_order_they_were_recorded() -> None:
    def both(first: tuple[str, str], second: tuple[str, str]) -> Made:
        made = Made()
        for n, (name, question) in enumerate((first, second)):
            made.stream(name, 1.0 + 10 * n, *((1.1 + 10 * n, frame) for frame in [heartbeat(), *turn(question, "yes")]))
        return made

    assert diff(both(("a", "One"), ("b", "Two")), both(("c", "Two"), ("d", "One"))) == []


def test_a_session_that_only_one_side_has_is_one_difference() -> None:
    a, b = tape(*turn("Hi", "Hello")), tape(*turn("Hi", "Hello"))
    b.stream("other", 50.0, (50.1, heartbeat()), (50.2, consumed("And?")))
    (found,) = diff(a, b)
    assert (found.kind, found.session_id, found.path, found.a) == ("content", "other", "sessions[1]", None)
    assert found.b == {"session_id": "other", "turns": 1, "asked": ["And?"]}


def test_nothing_differs_where_there_is_nothing() -> None:
    assert diff(Made(), Made()) == []
    assert [one.path for one in diff(tape(*turn("Hi", "Hello")), Made())] == ["sessions[0]"]


def test_streams_of_no_session_are_compared_as_they_come() -> None:
    def asked(answer: str) -> Made:
        made = Made()
        made.stream("/v1/responses", 1.0, (1.1, created()), (1.2, delta(answer)), (1.3, completed()), (1.4, DONE),
                    method="POST", ending="done", body=json.dumps({"input": "Hi"}).encode())  # fmt: skip
        return made

    assert diff(asked("a"), asked("a")) == []
    ((kind, path, a, b),) = rows(asked("a"), asked("b"))
    assert (kind, path, a, b) == ("content", "turns[0].messages[0].text", "a", "b")
    assert diff(asked("a"), asked("b"))[0].session_id is None


def test_how_the_server_ended_a_stream_is_content_and_who_left_is_not() -> None:
    def ended(ending: Any) -> Made:
        made = Made()
        made.stream("s", 1.0, (1.1, heartbeat()), ending=ending)
        return made

    assert diff(ended("client_left"), ended("recorder_stopped")) == []
    assert rows(ended("client_left"), ended("upstream_lost")) == [("content", "endings[0]", None, "upstream_lost")]


def test_a_message_that_the_server_refused_is_content() -> None:
    def posted(code: int) -> Made:
        made = tape(*turn("Hi", "Hello"))
        body = {"type": "message", "data": {"role": "user", "content": "Hi"}}
        made.post("/v1/sessions/s/events", 1.05, status=code, body=body, answer={"error": {"code": "busy"}})
        return made

    ((kind, path, a, b),) = rows(posted(202), posted(503))
    assert (kind, path, a, b) == ("content", "refusals[0]", None, {"what": "message", "text": "Hi", "why": "busy"})


def test_what_one_of_two_clients_did_not_get_is_told() -> None:
    def listened(*second: bytes) -> Made:
        made = tape(*turn("Hi", "Hello"))
        made.stream("s", 1.0, *((1.1 + 0.1 * n, frame) for n, frame in enumerate((heartbeat(), *second))))
        return made

    whole = turn("Hi", "Hello")
    assert rows(listened(*whole), listened(*whole[:3], *whole[4:])) == [
        ("content", "streams[1].missed", None, {"response.output_text.delta": 1})
    ]
    assert rows(listened(*whole), listened(*whole[:3])) == []  # it left


def test_it_is_a_difference_of_the_first_one_s_session_with_the_names_of_show() -> None:
    (found,) = diff(tape(*turn("Hi", "Hello"), session="a"), tape(*turn("Hi", "Hullo"), session="b"))
    assert found.row() == {
        "kind": "content", "session_id": "a", "path": "turns[0].messages[0].text", "a": "Hello", "b": "Hullo",
    }  # fmt: skip


@each(("a", "b"), a_third(combinations_with_replacement(CASSETTES, 2)))
def test_the_other_way_round_the_same_differs(a: Path, b: Path) -> None:
    there, back = compare(tellings(a), tellings(b)), compare(tellings(b), tellings(a))
    assert sorted((x.kind, unnumbered(x.path), repr(x.a), repr(x.b)) for x in there) == sorted(
        (x.kind, unnumbered(x.path), repr(x.b), repr(x.a)) for x in back
    )


def unnumbered(path: str) -> str:
    """Without the places, which are those of the first side."""
    return re.sub(r"\[\d+\]", "[]", path)


def test_a_payload_that_is_nested_as_deep_as_can_be_is_compared() -> None:
    def deep(inner: str) -> Made:
        return between(b'data: {"type":"x.y","v":' + b"[" * 450 + inner.encode() + b"]" * 450 + b"}\n\n")

    assert diff(deep("1"), deep("1")) == []
    assert len(diff(deep("1"), deep("2"))) == 1


def failed(**fields: Any) -> bytes:
    return event("session.status", conversation_id="s", status="failed", **fields)


def test_another_error_code_of_a_status_is_content_and_another_status_is_order() -> None:
    def ended(code: str) -> Made:
        end = event("response.failed", response={"id": "r", "status": "failed", "error": {"code": "x", "message": "m"}})
        begin = [status("running"), consumed("Hi"), created()]
        return tape(*begin, end, failed(error={"code": code, "message": "it broke"}))

    (found,) = diff(ended("model_busy"), ended("model_lost"))
    assert (found.kind, found.path) == ("content", "turns[0].events[session.status][1].error.code")
    assert "order" in {one.kind for one in diff(between(failed()), between(status("idle")))}


def test_null_against_missing_is_a_change_of_its_own_kind_told_once_of_a_type() -> None:
    a, b = between(failed(error=None), failed(error=None)), between(failed(), failed())
    for left, right, sides in ((a, b, ("null", "missing")), (b, a, ("missing", "null"))):
        (found,) = diff(left, right)
        assert (found.kind, found.path) == ("null", "turns[0].events[session.status][1].error")
        assert (found.a, found.b) == sides
    assert diff(a, a) == []
