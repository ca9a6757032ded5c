"""Which recorded answer a request gets, and when: a conversation with the player, clock in hand."""

from __future__ import annotations

import pytest

from omnirecord.replayer.player import Answering, Mismatch, NoContent, Refused, Updates
from omnirecord.replayer.player.rewrite import ids_differ, parts_to
from omnirecord.replayer.stream_parts import Part
from omnirecord.wire.json_rpc import Message, message_of
from tests.support.cassettes import JSON, Made, conversation, delta, ns
from tests.support.examples import each
from tests.support.stage import EVENTS, SESSION, Stage

RESOLVE = "/v1/sessions/s/elicitations/e/resolve"


def approval() -> Made:
    """A message that is asked about at 2.1 s, accepted at 4 s, and answered only then."""
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    tape.post(EVENTS, 2.0, until=4.5, status=202, body={"type": "message"}, answer={"queued": 1})
    tape.post(RESOLVE, 4.0, until=4.2, status=202, body={"action": "accept"}, answer={"resolved": 1})
    return tape


def due(answer: object, stage: Stage) -> int | None:
    assert isinstance(answer, Answering)
    return answer.due(stage.now)


def test_a_put_may_come_more_often_than_it_was_recorded() -> None:
    tape = conversation()
    tape.request("PUT", "/v1/sessions/s/title", 1.0, answer={"ok": 1})
    stage = Stage(tape)
    answers = [stage.asks("PUT", "/v1/sessions/s/title") for _ in range(3)]
    assert all(isinstance(answer, Answering) and answer.body == b'{"ok": 1}' for answer in answers)


@pytest.mark.parametrize("target", ["/v1/sessions/s/read-state", "/v1/projects/order"])
def test_bookkeeping_that_nobody_recorded_is_accepted(target: str) -> None:
    assert isinstance(Stage(conversation()).asks("PUT", target), NoContent)


def test_any_other_put_that_nobody_recorded_is_a_miss() -> None:
    assert Stage(conversation()).misses("PUT", "/v1/sessions/s/title")


def test_a_body_does_not_decide_but_another_type_in_it_is_reported() -> None:
    stage = Stage(conversation())
    assert stage.posts(body={"type": "interrupt", "data": 1}).exchange.response is not None
    assert stage.player.mismatches == [Mismatch(f"POST {EVENTS}", "type", "message", "interrupt")]


@each("body", [{"type": "message", "other": 1}, b"--x\r\nanother bundle", b'{"type": "mess', b""])
def test_nothing_else_about_a_body_is_reported(body: object) -> None:
    stage = Stage(conversation())
    stage.posts(body=body)
    assert stage.player.mismatches == []


def test_the_runners_requests_are_answered_apart() -> None:
    tape = Made()
    tape.post(EVENTS, 1.0, party="runner", answer={"to": "runner"})
    tape.post(EVENTS, 2.0, answer={"to": "client"})
    stage = Stage(tape)
    assert stage.posts().body == b'{"to": "client"}'
    assert stage.posts(is_runner=True).body == b'{"to": "runner"}'


@pytest.mark.parametrize("target", ["/v1/runners/r/tunnel", "/v1/hosts/h/tunnel", "/x/tunnel?a=b"])
def test_a_tunnel_is_refused_even_where_one_was_recorded(target: str) -> None:
    tape = conversation()
    tape.websocket(target, 1.0, (1.1, "down", {"kind": "host.launch_runner"}))
    refused = Stage(tape).player.websocket(target)
    assert isinstance(refused, Refused)
    assert "never replayed" in refused.message


def test_terminals_are_refused_and_the_session_list_is_served() -> None:
    player = Stage(conversation()).player
    assert isinstance(player.websocket("/v1/sessions/s/resources/terminals/t/attach"), Refused)
    assert isinstance(player.websocket("/v1/dictation/stream"), Refused)
    assert isinstance(player.websocket("/v1/sessions/updates"), Updates)


@pytest.mark.parametrize(("mode", "after"), [("original", 0.1), ("compressed", 0.01), ("instant", 0.0)])
def test_how_long_an_answer_takes_is_scaled(mode: str, after: float) -> None:
    stage = Stage(conversation(), mode)
    assert due(stage.posts("/v1/sessions"), stage) == ns(after)


def test_how_long_an_answer_takes_is_capped() -> None:
    tape = Made()
    tape.get("/v1/x", 1.0, {"slow": 1}, until=61.0)
    stage = Stage(tape, max_gap=0.2)
    assert due(stage.asks("GET", "/v1/x"), stage) == ns(0.2)


@pytest.mark.parametrize("mode", ["original", "instant"])
def test_a_message_is_answered_only_once_its_approval_was_given(mode: str) -> None:
    stage = Stage(approval(), mode)
    answer = stage.posts()
    stage.at(100)
    assert due(answer, stage) is None
    stage.posts(RESOLVE)
    assert due(answer, stage) == stage.now


def test_an_answer_does_not_wait_for_what_came_after_it() -> None:
    tape = approval()
    tape.post(EVENTS, 9.0, status=202)
    stage = Stage(tape)
    answer = stage.posts()
    stage.posts(RESOLVE)
    stage.at(10)
    assert due(answer, stage) == stage.now


def test_an_approval_that_was_given_early_is_not_waited_for() -> None:
    stage = Stage(approval())
    stage.posts(RESOLVE)
    assert due(stage.posts(), stage) == ns(2.5)


def test_a_read_waits_for_no_gate() -> None:
    tape = approval()
    tape.get(SESSION, 1.0, {"long": "poll"}, until=5.0)
    stage = Stage(tape)
    assert due(stage.asks("GET", SESSION), stage) == ns(4.0)


def test_the_nth_creation_gets_the_nth_session_and_then_the_first_again() -> None:
    tape = Made()
    for n, name in enumerate("abc"):
        tape.post("/v1/sessions", n, status=201, answer={"id": name})
    stage = Stage(tape)
    assert [stage.posts("/v1/sessions").exchange.session_id for _ in range(5)] == ["a", "b", "c", "a", "b"]


def test_creations_that_failed_and_the_runners_are_not_counted() -> None:
    tape = Made()
    tape.post("/v1/sessions", 1.0, status=503, answer={"error": {}})
    tape.post("/v1/sessions", 2.0, status=201, answer={"id": "by-the-runner"}, party="runner")
    tape.post("/v1/sessions", 3.0, status=201, answer={"id": "s"})
    stage = Stage(tape)
    assert stage.posts("/v1/sessions").exchange.session_id == "s"
    assert stage.posts("/v1/sessions", is_runner=True).exchange.session_id == "by-the-runner"
    assert stage.posts("/v1/sessions").exchange.session_id == "s"


def test_a_creation_of_which_none_succeeded_fails_again() -> None:
    tape = Made()
    tape.post("/v1/sessions", 1.0, status=503, headers=JSON, answer={"error": {}})
    answer = Stage(tape).posts("/v1/sessions")
    assert answer.exchange.response is not None
    assert answer.exchange.response.status == 503


def test_a_session_that_is_made_again_begins_again() -> None:
    stage = Stage(conversation(), "instant")
    for _ in range(2):
        stage.posts("/v1/sessions")
        assert stage.reads() == {"status": "launching"}
        listener = stage.opens()
        assert listener.hears() == ["heartbeat", "presence"]
        stage.posts()
        assert listener.hears()[-1] == "idle"
        assert stage.reads() == {"status": "idle"}


def unplayed(stage: Stage) -> list[str]:
    return [f"{x.request.method} {x.request.target}" for x in stage.player.unplayed()]


def test_what_was_recorded_and_not_asked_again_is_told_and_of_a_read_once_is_enough() -> None:
    stage = Stage(conversation(), "instant")
    stage.opens()
    stage.reads()
    assert unplayed(stage) == ["POST /v1/sessions", f"POST {EVENTS}"]
    stage.posts()
    stage.asks("POST", "/v1/sessions")
    assert unplayed(stage) == []
    stage.player.reset()
    assert len(unplayed(stage)) == 7


def test_a_second_open_that_never_came_and_a_second_message_are_told() -> None:
    tape = conversation()
    tape.stream("s", 7.0, (7.0, delta("x")))
    tape.post(EVENTS, 8.0, status=202)
    stage = Stage(tape, "instant")
    stage.opens()
    stage.posts()
    assert unplayed(stage)[-2:] == [f"GET {SESSION}/stream", f"POST {EVENTS}"]


def test_what_a_runner_asked_or_nobody_answered_or_is_bookkeeping_does_not_count() -> None:
    tape = Made()
    tape.post("/v1/runners/r/token", 1.0, party="runner")
    tape.get("/v1/x", 1.0, answered=False)
    tape.request("PUT", "/v1/sessions/s/read-state", 1.0)
    assert unplayed(Stage(tape)) == []


def call(id_: int) -> Message:
    found = message_of({"jsonrpc": "2.0", "id": id_, "method": "m"})
    assert found is not None
    return found


def changed(*datas: bytes) -> list[bytes]:
    parts = [Part(n, data, stream=1, seq=1) for n, data in enumerate(datas)]
    return [part.data for part in parts_to(parts, call(1), call(22))]


def test_a_frame_in_several_reads_goes_out_with_its_last_read() -> None:
    frame = b'event: message\r\nid: 7\r\ndata: {"jsonrpc":"2.0","id":1,"result":{"t":"\xc3\xb6"}}\r\n\r\n'
    assert changed(frame[:30], frame[30:]) == [b"", frame.replace(b'"id":1', b'"id":22')]


def test_data_in_several_lines_becomes_one_line() -> None:
    assert changed(b'data: {"jsonrpc": "2.0",\ndata: "id": 1, "result": 5}\nid: 3\n\n') == [
        b'data: {"jsonrpc":"2.0","id":22,"result":5}\nid: 3\n\n'
    ]


def test_other_frames_keep_every_byte() -> None:
    frames = [b": ping\n\n", b"data: text\n\n", b'data: {"jsonrpc": "2.0", "id": 5, "result": 1}\n\n', b"data:\n\n"]
    for frame in frames:
        assert changed(frame[:3], frame[3:]) == [frame[:3], frame[3:]]


def test_equal_ids_change_nothing() -> None:
    assert not ids_differ(call(1), call(1))
    assert ids_differ(call(1), call(2))
