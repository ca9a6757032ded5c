"""Clients that make up their own session ids, and the recorded sessions behind them. Clock in hand."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from omnirecord.model import Headers
from omnirecord.omnigent.routes import with_session
from omnirecord.replayer.player import Answering, Mismatch
from omnirecord.replayer.player.rewrite import SessionMap
from tests.support.cassettes import JSON, SSE, Made, child, delta, event, heartbeat, status, zipped
from tests.support.examples import each
from tests.support.stage import Stage

ONE, TWO, CHILD = "conv_1111", "conv_2222", "conv_3333"
MAPPED = ("sessions mapped",)


def session(tape: Made, name: str, at: float) -> None:
    """A session that is listened to, spoken to and read."""
    tape.post(f"/v1/sessions/{name}/open", at, answer={"id": name, "url": f"/v1/sessions/{name}"})
    reads = [(at + 1, heartbeat()), (at + 3, delta(f"of {name}")), (at + 4, status("idle"))]
    tape.stream(name, at + 1, *reads)
    tape.post(f"/v1/sessions/{name}/events", at + 2, status=202, body={"type": "message"}, answer={"to": name})
    tape.get(f"/v1/sessions/{name}", at + 0.5, {"id": name})


def two_sessions() -> Made:
    tape = Made()
    session(tape, ONE, 0.0)
    session(tape, TWO, 10.0)
    return tape


def body(answer: object) -> Any:
    assert isinstance(answer, Answering), answer
    return json.loads(answer.body)


def test_the_nth_unknown_id_stands_for_the_nth_recorded_session() -> None:
    stage = Stage(two_sessions(), "instant", match=MAPPED)
    assert stage.reads("/v1/sessions/mine") == {"id": "mine"}
    assert stage.reads("/v1/sessions/other") == {"id": "other"}
    assert body(stage.posts("/v1/sessions/mine/events")) == {"to": "mine"}
    assert body(stage.posts("/v1/sessions/other/events")) == {"to": "other"}
    listener = stage.opens("other")
    assert listener.hears() == ["heartbeat", "of other", "idle"]
    assert TWO.encode() not in listener.body


def test_without_the_rule_an_unknown_id_is_a_miss() -> None:
    assert "never recorded" in Stage(two_sessions()).misses("GET", "/v1/sessions/mine").message


def test_recorded_ids_go_on_to_be_known_and_come_out_as_they_are() -> None:
    stage = Stage(two_sessions(), match=MAPPED)
    assert stage.reads("/v1/sessions/mine") == {"id": "mine"}
    assert stage.reads(f"/v1/sessions/{ONE}") == {"id": ONE}
    assert stage.reads(f"/v1/sessions/{TWO}") == {"id": TWO}


def test_once_all_sessions_are_taken_the_first_begins_again() -> None:
    tape = Made()
    session(tape, ONE, 0.0)
    stage = Stage(tape, "instant", match=MAPPED)
    for name in ("a", "b", "c"):
        assert body(stage.posts(f"/v1/sessions/{name}/events")) == {"to": name}
        assert stage.opens(name).hears() == ["heartbeat", f"of {name}", "idle"]
        assert (
            f"/v1/sessions/{name}/events was recorded once"
            in stage.misses("POST", f"/v1/sessions/{name}/events").message
        )


def test_a_child_is_no_session_that_an_id_may_stand_for_but_its_stream_names_the_parent() -> None:
    tape = Made()
    tape.stream(ONE, 1.0, (1.0, heartbeat()), (2.0, child(CHILD, of=ONE)), (5.0, status("idle")))
    tape.stream(CHILD, 3.0, (3.0, heartbeat()), (4.0, event("session.x", parent_session_id=ONE, delta=ONE)))
    session(tape, TWO, 10.0)
    stage = Stage(tape, "instant", match=MAPPED)
    told = stage.opens("mine")
    told.hears()
    assert f'"child_session_id": "{CHILD}"'.encode() in told.body
    assert b'"parent_session_id": "mine"' in told.body
    assert stage.opens(CHILD).hears() == ["heartbeat", "mine"]
    assert stage.reads("/v1/sessions/other") == {"id": "other"}


def test_what_was_never_answered_well_is_no_session_to_stand_for() -> None:
    tape = Made()
    tape.get("/v1/sessions/nobody", 0.0, {"error": {}}, status=404)
    session(tape, ONE, 1.0)
    stage = Stage(tape, match=MAPPED)
    assert stage.reads("/v1/sessions/nobody") == {"error": {}}
    assert stage.reads("/v1/sessions/mine") == {"id": "mine"}


def test_a_session_that_was_made_is_taken() -> None:
    tape = Made()
    for at, name in ((0.0, ONE), (5.0, TWO)):
        tape.post("/v1/sessions", at, status=201, answer={"id": name})
        tape.get(f"/v1/sessions/{name}", at + 1, {"id": name})
    stage = Stage(tape, match=MAPPED)
    assert body(stage.posts("/v1/sessions")) == {"id": ONE}
    assert stage.reads("/v1/sessions/mine") == {"id": "mine"}
    assert stage.reads(f"/v1/sessions/{ONE}") == {"id": ONE}
    assert stage.player._sessions is not None
    assert stage.player._sessions.recorded("mine") == TWO


@pytest.mark.parametrize("field", ["id", "session_id"])
def test_an_id_that_is_asked_for_when_a_session_is_made_stands_for_that_one(field: str) -> None:
    tape = Made()
    for at, name in ((0.0, ONE), (5.0, TWO)):
        tape.post("/v1/sessions", at, status=201, answer={"id": name}, headers=(*JSON, ("Location", f"/x/{name}")))
        tape.get(f"/v1/sessions/{name}", at + 1, {"id": name})
    stage = Stage(tape, match=MAPPED)
    answer = stage.posts("/v1/sessions", {field: "mine"})
    assert body(answer) == {"id": "mine"}
    assert answer.exchange.response is not None
    assert ("Location", "/x/mine") in answer.exchange.response.headers
    assert stage.reads("/v1/sessions/mine") == {"id": "mine"}
    assert body(stage.posts("/v1/sessions", {"agent_id": "a"})) == {"id": TWO}
    assert body(stage.posts("/v1/sessions", {field: "again"})) == {"id": "again"}


@each("asked", [b"no json", b"[1]", {"id": 5}, {"id": "a/b"}, {"id": TWO}])
def test_an_id_that_cannot_be_taken_is_not(asked: Any) -> None:
    tape = two_sessions()
    tape.post("/v1/sessions", 0.0, status=201, answer={"id": ONE})
    assert body(Stage(tape, match=MAPPED).posts("/v1/sessions", asked)) == {"id": ONE}


@pytest.mark.parametrize("name", ["a%2Fb", "a%22b", "%C3%A9"])
def test_an_id_that_would_have_to_be_escaped_stands_for_nothing(name: str) -> None:
    assert Stage(two_sessions(), match=MAPPED).misses("GET", f"/v1/sessions/{name}")


def test_an_id_is_known_in_a_query_and_however_it_is_escaped() -> None:
    tape = two_sessions()
    tape.get(f"/v1/items?session_id={ONE}&x=1", 1.0, {"of": ONE})
    stage = Stage(tape, match=MAPPED)
    assert stage.reads("/v1/sessions/m%69ne") == {"id": "mine"}
    assert stage.reads("/v1/items?x=1&session_id=m%69ne") == {"of": "mine"}


def test_a_miss_and_a_mismatch_speak_of_the_clients_id() -> None:
    stage = Stage(two_sessions(), match=MAPPED)
    miss = stage.misses("POST", "/v1/sessions/mine/evnts")
    assert miss.message == "POST /v1/sessions/mine/evnts was never recorded"
    assert miss.nearest[0] == {
        "request": "POST /v1/sessions/mine/events",
        "differs": "path (segment 4: 'evnts' instead of 'events')",
    }
    stage.posts("/v1/sessions/mine/events", {"type": "interrupt"})
    assert stage.player.mismatches == [Mismatch("POST /v1/sessions/mine/events", "type", "message", "interrupt")]


def test_rules_speak_of_recorded_paths() -> None:
    stage = Stage(two_sessions(), match=(*MAPPED, f"body $.type for POST /v1/sessions/{ONE}/events"))
    assert "not with this body" in stage.misses("POST", "/v1/sessions/mine/events", body={"type": "x"}).message
    assert stage.posts("/v1/sessions/other/events", {"type": "x"})


CODED: Headers = (*JSON, ("Content-Encoding", "gzip"))


def test_a_compressed_answer_that_names_the_session_is_given_uncompressed() -> None:
    tape = Made()
    tape.get(f"/v1/sessions/{ONE}", 1.0, gzip.compress(json.dumps({"id": ONE}).encode()), headers=CODED)
    answer = Stage(tape, match=MAPPED).asks("GET", "/v1/sessions/mine")
    assert body(answer) == {"id": "mine"}
    assert isinstance(answer, Answering)
    assert answer.exchange.response is not None
    assert answer.exchange.response.headers == JSON


@pytest.mark.parametrize("data", [gzip.compress(b"{}"), b"no gzip"], ids=["does not", "cannot"])
def test_a_compressed_answer_that_does_not_or_cannot_be_decompressed_stays(data: bytes) -> None:
    tape = Made()
    tape.get(f"/v1/sessions/{ONE}", 1.0, data, headers=CODED)
    answer = Stage(tape, match=MAPPED).asks("GET", "/v1/sessions/mine")
    assert isinstance(answer, Answering)
    assert answer.body == data
    assert answer.exchange.response is not None
    assert answer.exchange.response.headers == CODED


def test_a_compressed_stream_is_given_uncompressed_at_the_same_times() -> None:
    tape = Made()
    headers = (*SSE, ("content-encoding", "gzip"))
    reads = [(1.0, heartbeat()), (2.0, delta(f"<{ONE}>")), (3.0, delta("b"))]
    tape.stream(ONE, 1.0, *zipped(reads), headers=headers, ending="eof", end=3.0)
    stage = Stage(tape, match=MAPPED)
    listener = stage.opens("mine")
    assert listener.hears() == ["heartbeat"]
    assert listener.next_in() == 1.0
    stage.at(5)
    assert listener.hears() == ["<mine>", "b"]
    assert listener.playing.decoded
    assert listener.playing.takes_a_frame


def test_who_joins_later_hears_the_clients_id_too() -> None:
    stage = Stage(two_sessions(), "instant", match=MAPPED)
    stage.posts("/v1/sessions/mine/events")
    stage.opens("mine")
    late = stage.opens("mine")
    assert late.playing.joined
    assert late.hears() == ["heartbeat", "of mine", "idle"]


def test_the_session_list_is_told_in_the_clients_ids() -> None:
    tape = two_sessions()
    tape.get("/v1/sessions", 0.1, {"data": [{"id": ONE, "title": f"x {ONE}"}, {"id": TWO}]})
    stage = Stage(tape, match=MAPPED)
    stage.reads("/v1/sessions/mine")
    rows = stage.player.session_rows(["mine", TWO, "no one", 'a"b'], 0)
    assert rows == {"mine": {"id": "mine", "title": "x mine"}, TWO: {"id": TWO}}
    assert stage.reads("/v1/sessions") == {"data": [{"id": "mine", "title": "x mine"}, {"id": TWO}]}


def test_without_a_session_to_stand_for_there_is_no_map() -> None:
    tape = Made()
    tape.get("/v1/me", 1.0, {"n": 1})
    stage = Stage(tape, match=MAPPED)
    assert stage.misses("GET", "/v1/sessions/mine")
    assert stage.reads("/v1/me") == {"n": 1}


def test_after_a_reset_the_first_id_stands_for_the_first_session_again() -> None:
    sessions = SessionMap([ONE, TWO], [ONE, TWO])
    sessions.meet("/v1/sessions/a")
    assert sessions.meet("/v1/sessions/b") is None
    sessions.reset()
    assert sessions.meet("/v1/sessions/b") is None
    assert (sessions.recorded("a"), sessions.recorded("b")) == ("a", ONE)
    assert sessions.renaming("/v1/sessions").string(f"{ONE} {TWO}") == f"b {TWO}"


def test_a_recorded_id_that_would_have_to_be_escaped_is_left_alone() -> None:
    sessions = SessionMap(["a b", "c"], ["a b", "c"])
    sessions.call("a b", "x")
    sessions.meet("/v1/sessions/mine")
    assert (sessions.recorded("x"), sessions.recorded("mine")) == ("x", "c")


@each(
    ("target", "other"),
    [
        ("/v1/sessions/a/events?x=a", "/v1/sessions/b%2F/events?x=a"),
        ("/prefix/v1/conversations/a/stream", "/prefix/v1/conversations/b%2F/stream"),
        ("/v1/conversations/a", "/v1/conversations/a"),
        ("/v1/me", "/v1/me"),
        ("/v1/sessions/updates", "/v1/sessions/updates"),
    ],
)
def test_a_target_can_speak_of_another_session(target: str, other: str) -> None:
    assert with_session(target, "b/") == other
