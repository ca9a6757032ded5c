"""Which recorded exchange answers, with and without rules; what is said where none does."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.model import Headers
from omnirecord.replayer.matching import Lookup
from omnirecord.replayer.player import Answering, GateRule, Incoming, Mismatch
from omnirecord.replayer.player.plan import ReplayPlan
from tests.support.cassettes import Made, conversation, heartbeat
from tests.support.examples import each
from tests.support.stage import EVENTS, Stage

TEXT = "body $.data.text"
RESOLVE = "/v1/sessions/s/elicitations/e/resolve"


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "data": {"text": text, **more}}


def talk(*texts: str) -> Made:
    """Messages to one session, each answered by its number."""
    tape = Made()
    for n, text in enumerate(texts, 1):
        tape.post(EVENTS, n, status=202, body=said(text), answer={"n": n})
    return tape


def answered(stage: Stage, *bodies: Any, **more: Any) -> list[bytes]:
    return [stage.posts(EVENTS, body, **more).body[-2:-1] for body in bodies]


# Bodies


def test_the_next_with_the_same_at_a_json_path_answers() -> None:
    stage = Stage(talk("a", "b", "a"), match=(TEXT,))
    assert answered(stage, said("b"), said("a"), said("a")) == [b"2", b"1", b"3"]


def test_a_body_that_says_something_else_is_a_miss_that_tells_both() -> None:
    miss = Stage(talk("a", "b"), match=(TEXT,)).misses("POST", EVENTS, body=said("c"))
    assert miss.message == f"POST {EVENTS} was recorded, but not with this body"
    assert miss.nearest == [
        {"request": f"POST {EVENTS}", "differs": 'body $.data.text: recorded "a", got "c"'},
        {"request": f"POST {EVENTS}", "differs": 'body $.data.text: recorded "b", got "c"'},
    ]


@each("body", [b"", b"no json", b'{"data": {"text": "a"', {"data": {}}, [1]])
def test_where_there_is_nothing_at_the_path_it_says_so(body: Any) -> None:
    miss = Stage(talk("a"), match=(TEXT,)).misses("POST", EVENTS, body=body)
    assert miss.nearest[0]["differs"] == 'body $.data.text: recorded "a", got nothing'


def test_what_has_nothing_there_on_both_sides_is_equal() -> None:
    tape = Made()
    tape.post(EVENTS, 1.0, body=b"--x\r\na form", answer={"n": 1})
    assert answered(Stage(tape, match=(TEXT,)), {"other": 1}) == [b"1"]


def test_several_values_at_a_path_are_compared_as_a_list() -> None:
    tape = Made()
    tape.post(EVENTS, 1.0, body={"a": [{"x": 1}, {"x": 2}]}, answer={"n": 1})
    stage = Stage(tape, match=("body $.a[*].x",))
    miss = stage.misses("POST", EVENTS, body={"a": [{"x": 2}, {"x": 1}]})
    assert miss.nearest[0]["differs"] == "body $.a[*].x: recorded [1, 2], got [2, 1]"
    assert answered(stage, {"a": [{"x": 1.0, "y": 5}, {"x": 2}]}) == [b"1"]


def test_a_secret_in_a_body_counts_as_equal_and_is_not_told() -> None:
    tape = Made()
    body = {"token": "omnirecord-redacted-0123456789ab", "x": 1, "pin": "omnirecord-redacted-0123456789ab"}
    tape.post(EVENTS, 1.0, body=body, answer={"n": 1})
    stage = Stage(tape, match=("body $",))
    miss = stage.misses("POST", EVENTS, body={"token": "sk-live", "x": 2, "pin": 1234})
    assert miss.nearest[0]["differs"] == (
        'body $: recorded {"pin": "*", "token": "*", "x": 1}, got {"pin": "*", "token": "*", "x": 2}'
    )
    assert answered(stage, {"token": "sk-live", "x": 1, "pin": 1234}) == [b"1"]


def test_a_compressed_body_is_compared_by_its_content() -> None:
    coded: Headers = (("Content-Encoding", "gzip"),)
    tape = Made()
    tape.post(EVENTS, 1.0, body=gzip.compress(b'{"type": "message", "x": 1}'), answer={"n": 1}, sent=coded)
    stage = Stage(tape, match=("body $.x",))
    assert answered(stage, gzip.compress(b'{"type": "interrupt", "x": 1}'), headers=coded) == [b"1"]
    assert stage.player.mismatches == [Mismatch(f"POST {EVENTS}", "type", "message", "interrupt")]


def test_a_body_counts_only_for_the_requests_that_the_rule_speaks_of() -> None:
    tape = talk("a")
    tape.post("/v1/other", 9.0, body=said("a"), answer={"n": 9})
    stage = Stage(tape, match=(f"{TEXT} for POST */events",))
    assert stage.posts("/v1/other", said("b")).body == b'{"n": 9}'
    assert stage.misses("POST", EVENTS, body=said("b"))


def test_the_body_that_makes_a_session_says_which_one() -> None:
    tape = Made()
    for n, name in enumerate("ab"):
        tape.post("/v1/sessions", n, status=201, body={"agent_id": f"agent-{name}"}, answer={"id": name})
    stage = Stage(tape, match=("body $.agent_id",))
    asked = [{"agent_id": f"agent-{name}"} for name in "baab"]
    assert [stage.posts("/v1/sessions", body).exchange.session_id for body in asked] == ["b", "a", "a", "b"]
    assert "not with this body" in stage.misses("POST", "/v1/sessions", body={"agent_id": "c"}).message


def test_after_a_reset_the_first_session_is_made_again() -> None:
    tape = Made()
    for n, name in enumerate("abc"):
        tape.post("/v1/sessions", n, status=201, answer={"id": name})
    lookup, request = (
        Lookup(ReplayPlan(tape.store(), GateRule()).exchanges, lambda _: b""),
        Incoming("POST", "/v1/sessions"),
    )
    made = [lookup.creation(request) for _ in range(2)]
    lookup.reset()
    assert [x and x.session_id for x in (*made, lookup.creation(request))] == ["a", "b", "a"]


def test_a_session_that_could_not_be_made_with_this_body_fails_again() -> None:
    tape = Made()
    tape.post("/v1/sessions", 1.0, status=503, body={"agent_id": "bad"}, answer={"error": {}})
    tape.post("/v1/sessions", 2.0, status=201, body={"agent_id": "good"}, answer={"id": "s"})
    stage = Stage(tape, match=("body $.agent_id",))
    assert stage.posts("/v1/sessions", {"agent_id": "bad"}).body == b'{"error": {}}'
    assert stage.posts("/v1/sessions", {"agent_id": "good"}).exchange.session_id == "s"


def test_a_header_that_is_added_says_which_session_is_made() -> None:
    tape = Made()
    for n, name in enumerate("ab"):
        tape.post("/v1/sessions?x=1", n, status=201, answer={"id": name}, sent=(("X-Team", name),))
    stage = Stage(tape, match=("add header x-team",))
    asked = [stage.posts("/v1/sessions", headers=(("x-team", name),)).exchange.session_id for name in "bab"]
    assert asked == ["b", "a", "b"]
    assert "header x-team" in stage.misses("POST", "/v1/sessions").nearest[0]["differs"]


def test_a_body_that_no_text_may_hold_is_told_all_the_same() -> None:
    miss = Stage(talk("a"), match=(TEXT, "sessions mapped")).misses(
        "POST", "/v1/sessions/mine/events", body=b'{"data": {"text": "\\ud800"}}'
    )
    assert miss.nearest[0]["differs"] == 'body $.data.text: recorded "a", got "\\ud800"'


def test_a_message_that_came_more_often_than_with_this_body_is_a_miss() -> None:
    stage = Stage(talk("a", "b", "b"), match=(TEXT,))
    answered(stage, said("b"), said("b"))
    miss = stage.misses("POST", EVENTS, body=said("b"))
    assert miss.nearest[0]["differs"] == "nothing: it was recorded 2 times, and both were used"


# Queries and headers


# Order


def test_loosely_ordered_the_one_with_the_same_body_answers_and_else_the_next() -> None:
    stage = Stage(talk("a", "b", "c"), match=("order loose",))
    assert answered(stage, said("c"), said("x"), said("b")) == [b"3", b"1", b"2"]
    assert stage.player.mismatches == []


def test_loosely_ordered_the_same_type_is_preferred_where_no_body_is_equal() -> None:
    tape = talk("a")
    tape.post(EVENTS, 5.0, status=202, body={"type": "interrupt"}, answer={"n": 5})
    stage = Stage(tape, match=("order loose",))
    assert answered(stage, {"type": "interrupt", "more": 1}, said("x")) == [b"5", b"1"]
    assert stage.player.mismatches == []


def test_loosely_ordered_what_is_no_json_is_told_apart_as_well() -> None:
    tape = Made()
    tape.post(EVENTS, 1.0, body=b"one", answer={"n": 1})
    tape.post(EVENTS, 2.0, body=b"two", answer={"n": 2})
    assert answered(Stage(tape, match=("order loose",)), b"two", b"one") == [b"2", b"1"]


def test_loosely_ordered_what_belongs_to_no_session_begins_again_too() -> None:
    tape = Made()
    for n, name in enumerate("ab", 1):
        tape.post("/v1/responses", n, body={"input": name}, answer={"n": n})
    stage = Stage(tape, match=("order loose",))
    asked = [stage.posts("/v1/responses", {"input": name}).body[-2:-1] for name in "baab"]
    assert asked == [b"2", b"1", b"1", b"2"]


def approval() -> Made:
    tape = talk("a")
    tape.post(RESOLVE, 2.0, status=202, body={"action": "accept"}, answer={"n": 2})
    tape.post(EVENTS, 3.0, status=202, body=said("b"), answer={"n": 3})
    return tape


def test_in_strict_order_a_request_that_comes_too_early_is_a_miss_that_says_after_what() -> None:
    stage = Stage(approval(), match=("order strict",))
    miss = stage.misses("POST", RESOLVE, body={"action": "accept"})
    assert miss.message == f"POST {RESOLVE} came too early: it was recorded after POST {EVENTS}"
    assert miss.nearest == [
        {"request": f"POST {RESOLVE}", "differs": f"order: it was recorded after POST {EVENTS}, which has not come yet"}
    ]
    assert answered(stage, said("a")) == [b"1"]
    assert stage.posts(RESOLVE).body == b'{"n": 2}'
    assert answered(stage, said("b")) == [b"3"]
    assert "answered as often" in stage.misses("POST", EVENTS).message


def test_in_strict_order_bodies_come_as_recorded() -> None:
    stage = Stage(talk("a", "b"), match=("order strict", TEXT))
    assert "came too early" in stage.misses("POST", EVENTS, body=said("b")).message
    assert answered(stage, said("a"), said("b")) == [b"1", b"2"]


def test_in_strict_order_reads_bookkeeping_runners_and_other_sessions_come_when_they_like() -> None:
    tape = conversation()
    tape.request("PUT", "/v1/sessions/s/read-state", 1.9)
    tape.post(EVENTS, 1.95, party="runner")
    tape.post("/v1/sessions/other/events", 1.96, answer={"n": 1})
    tape.post("/v1/sessions/s/compact", 1.97, answered=False, ending="client_left")
    tape.post("/v1/sessions/s/archive", 5.0, answer={"n": 5})
    stage = Stage(tape, match=("order strict",))
    stage.posts()
    assert stage.posts("/v1/sessions/s/archive").body == b'{"n": 5}'


def test_an_order_may_be_strict_among_some_requests_alone() -> None:
    stage = Stage(approval(), match=("order strict for POST */events",))
    assert stage.posts(RESOLVE).body == b'{"n": 2}'
    assert answered(stage, said("a"), said("b")) == [b"1", b"3"]


def test_in_strict_order_a_put_may_come_again() -> None:
    tape = Made()
    tape.request("PUT", "/v1/sessions/s/title", 1.0, answer={"n": 1})
    tape.post(EVENTS, 2.0, answer={"n": 2})
    stage = Stage(tape, match=("order strict",))
    assert "too early" in stage.misses("POST", EVENTS).message
    for _ in range(3):
        assert isinstance(stage.asks("PUT", "/v1/sessions/s/title"), Answering)
    assert answered(stage, b"") == [b"2"]


TARGETS = ["/v1/responses", EVENTS, RESOLVE, "/v1/sessions/other/events"]
RECORDED = st.lists(st.sampled_from(TARGETS), min_size=1, max_size=8)


@given(recorded=RECORDED, asked=st.lists(st.sampled_from(TARGETS), max_size=12))
def test_without_rules_the_nth_request_gets_the_nth_answer_and_outside_of_sessions_they_begin_again(
    recorded: list[str], asked: list[str]
) -> None:
    tape = Made()
    for n, target in enumerate(recorded):
        tape.post(target, n, answer={"n": n})
    stage = Stage(tape)
    for number, target in enumerate(asked):
        answers, times = [n for n, one in enumerate(recorded) if one == target], asked[:number].count(target)
        if answers and target == "/v1/responses":
            times %= len(answers)
        answer = stage.asks("POST", target)
        got = json.loads(answer.body)["n"] if isinstance(answer, Answering) else None
        assert got == (answers[times] if times < len(answers) else None)


# What is said


def test_what_was_used_up_is_told_with_how_often_it_was_recorded() -> None:
    stage = Stage(talk("a", "b"))
    answered(stage, said("a"), said("b"))
    miss = stage.misses("POST", EVENTS)
    assert "was recorded 2 times and answered as often" in miss.message
    assert miss.nearest == [
        {"request": f"POST {EVENTS}", "differs": "nothing: it was recorded 2 times, and both were used"}
    ]


def test_what_was_never_answered_is_told_so_instead_of_as_used_up() -> None:
    tape = Made()
    tape.get("/v1/x", 1.0, answered=False, ending="client_left")
    tape.get("/v1/y", 1.0, status=304)
    assert Stage(tape).misses("GET", "/v1/x").nearest[0]["differs"] == "nothing: it was never answered"
    assert "304" in Stage(tape).misses("GET", "/v1/y").nearest[0]["differs"]


def test_what_was_found_in_other_detail_but_without_an_answer_is_told_so() -> None:
    tape = Made()
    tape.get("/v1/x", 1.0, answered=False, ending="client_left")
    assert "never answered" in Stage(tape).misses("GET", "/v1/x?limit=3").message


def test_a_decline_where_an_accept_was_recorded_is_reported_whatever_the_order() -> None:
    for match in ((), ("order loose",), ("order strict for POST */events",)):
        stage = Stage(approval(), match=match)
        stage.posts(RESOLVE, {"action": "decline"})
        assert stage.player.mismatches == [Mismatch(f"POST {RESOLVE}", "action", "accept", "decline")]


def test_a_stream_that_is_asked_for_by_post_is_found_by_its_body() -> None:
    tape = Made()
    for n, name in enumerate("ab", 1):
        tape.stream("/v1/responses", n, (n, heartbeat()), method="POST", body=f'{{"input": "{name}"}}'.encode())
    stage = Stage(tape, match=("body $.input",))
    listener = stage.opens("/v1/responses", method="POST", body={"input": "b"})
    assert listener.playing.exchange.stream == 2


# Masked secrets


def keys(*targets: str) -> Stage:
    """Reads of these, each answered by its number."""
    tape = Made()
    for n, target in enumerate(targets, 1):
        tape.get(target, n, answer={"n": n})
    return Stage(tape)


@pytest.mark.parametrize("asked", ["/k/sk-other", "/k/sk-********", "/k/sk-x"])
def test_a_target_with_a_masked_secret_answers_who_has_another_one(asked: str) -> None:
    assert keys("/k/sk-********").reads(asked) == {"n": 1}


def test_the_same_target_comes_before_a_masked_one() -> None:
    stage = keys("/k/sk-********?a=1", "/k/sk-other?a=1")
    assert stage.reads("/k/sk-other?a=1") == {"n": 2}
    assert stage.reads("/k/sk-another?a=1") == {"n": 1}


@each(
    ("recorded", "asked"),
    [
        ("/k/sk-********", "/k/pk-other"),
        ("/k/sk-********", "/k/sk-a/b"),
        ("/k/sk-********?a=1", "/k/sk-other?a=2"),
        ("/k?type=session.*", "/k?type=session.created"),
        ("/k/sk-********", "/k/sk-"),
    ],
)
def test_what_differs_elsewhere_is_a_miss(recorded: str, asked: str) -> None:
    keys(recorded).misses("GET", asked)


def test_a_secret_in_a_body_counts_as_equal_masked_or_not() -> None:
    stage = Stage(talk("is sk-********.", "b"), match=(TEXT,))
    assert answered(stage, said("is sk-other1.")) == [b"1"]
