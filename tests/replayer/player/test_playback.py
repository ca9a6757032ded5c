"""What a read knows: everything up to the playhead, and nothing behind it. Clock in hand."""

from __future__ import annotations

import pytest

from omnirecord.replayer.player import Answering
from tests.support.cassettes import Made, conversation, delta, heartbeat, status
from tests.support.stage import EVENTS, SESSION, Stage

MODES = pytest.mark.parametrize("mode", ["original", "compressed", "instant"])
CACHED = (("if-none-match", '"v1"'),)


def lists() -> Made:
    """The session list before anything, while the first of two sessions goes on, behind it, and behind the second."""
    tape = Made()
    for at, seen in ((0.5, "nothing"), (2.5, "one working"), (4.5, "one done"), (13.0, "both done")):
        tape.get("/v1/sessions", at, {"seen": seen})
    tape.stream("one", 1.0, (1.0, heartbeat()), (2.0, status("running")), (4.0, status("idle")))
    tape.stream("two", 10.0, (10.0, heartbeat()), (12.0, status("idle")))
    return tape


@MODES
def test_a_read_knows_what_came_before_the_next_unsent_frame_and_the_closed_gate(mode: str) -> None:
    stage = Stage(conversation(), mode)
    assert stage.reads() == {"status": "launching"}
    listener = stage.opens()
    stage.at(500)
    listener.hears()
    assert stage.reads() == {"status": "ready"}, "the gate at 2 s is closed"
    stage.posts()
    stage.at(900)
    assert stage.reads() == {"status": "ready"}, "the next frame is unsent, however late it is"
    listener.hears()
    assert stage.reads() == {"status": "idle"}


def test_a_read_in_the_middle_of_a_turn_knows_the_middle() -> None:
    stage = Stage(conversation())
    stage.posts()
    listener = stage.opens()
    stage.at(2.12)
    assert listener.hears()[-1] == "Hel"
    assert stage.reads() == {"status": "running"}


def test_a_read_that_nothing_recorded_came_before_gets_the_first_answer() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("idle")))
    tape.get(SESSION, 3.0, {"n": 1})
    tape.get(SESSION, 4.0, {"n": 2})
    assert Stage(tape).reads() == {"n": 1}


@MODES
def test_a_client_that_never_opens_a_stream_but_polls_gets_to_the_end(mode: str) -> None:
    stage = Stage(conversation(), mode)
    assert stage.reads() == {"status": "launching"}
    stage.posts()
    stage.at(100)
    assert stage.reads() == {"status": "idle"}


def test_a_poll_sees_the_session_go_on_with_the_time() -> None:
    stage = Stage(conversation())
    stage.posts()
    seen = []
    for tenths in range(35):
        stage.at(tenths / 10)
        seen.append(stage.reads()["status"])
    assert list(dict.fromkeys(seen)) == ["ready", "running", "idle"]


def test_a_client_that_left_and_polls_sees_the_session_go_on() -> None:
    stage = Stage(conversation())
    stage.posts()
    listener = stage.opens()
    listener.hears()
    listener.leaves()
    stage.at(100)
    assert stage.reads() == {"status": "idle"}


def test_a_session_that_nobody_ever_listened_to_is_read_up_to_the_gate() -> None:
    tape = Made()
    tape.get(SESSION, 1.0, {"n": "before"})
    tape.post(EVENTS, 2.0, status=202)
    tape.get(SESSION, 3.0, {"n": "after"})
    stage = Stage(tape)
    assert stage.reads() == {"n": "before"}
    stage.posts()
    assert stage.reads() == {"n": "after"}


def test_the_second_listener_who_never_comes_holds_up_no_read() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, status("idle")))
    tape.stream("s", 1.5, (1.5, heartbeat()), (16.5, heartbeat()), (31.5, heartbeat()))
    tape.get(SESSION, 3.5, {"n": "idle"})
    tape.get(SESSION, 0.5, {"n": "new"})
    stage = Stage(tape)
    listener = stage.opens()
    stage.at(10)
    assert listener.hears() == ["heartbeat", "idle"]
    assert stage.reads() == {"n": "idle"}


@pytest.mark.parametrize("query", ["?include_items=true", "?refresh_state=1&limit=3", "?limit=100"])
def test_a_read_in_more_or_less_detail_gets_what_there_is_and_it_is_noted(query: str) -> None:
    stage = Stage(conversation())
    assert stage.reads(SESSION + query) == {"status": "launching"}
    assert stage.player.notes == [f"GET {SESSION}{_sorted(query)} was not recorded: answered as GET {SESSION}"]


def _sorted(query: str) -> str:
    return "?" + "&".join(sorted(query[1:].split("&")))


def test_what_was_recorded_exactly_is_preferred_to_what_is_like_it() -> None:
    tape = conversation()
    tape.get(f"{SESSION}?limit=5", 0.2, {"exactly": True})
    stage = Stage(tape)
    assert stage.reads(f"{SESSION}?limit=5") == {"exactly": True}
    assert stage.player.notes == []


def test_another_page_is_not_like_it() -> None:
    tape = Made()
    tape.get("/v1/sessions/s/items?after=a&limit=5", 1.0, {"page": 2})
    stage = Stage(tape)
    assert stage.misses("GET", "/v1/sessions/s/items?after=b&limit=5")
    assert stage.reads("/v1/sessions/s/items?after=a&limit=9") == {"page": 2}


def test_a_304_answers_only_the_validator_that_it_answered() -> None:
    tape = Made()
    tape.get("/", 1.0, {"page": 1})
    tape.get("/", 2.0, status=304, sent=CACHED)
    stage = Stage(tape)
    assert stage.reads("/") == {"page": 1}
    assert stage.reads("/", if_none_match='"v2"') == {"page": 1}
    assert stage.reads("/", if_none_match='"v1"') == 304


def test_what_belongs_to_no_session_is_read_as_of_the_session_that_is_furthest_on() -> None:
    stage = Stage(lists())
    assert stage.reads("/v1/sessions") == {"seen": "nothing"}
    listener = stage.opens("one")
    stage.at(1.5)
    listener.hears()
    assert stage.reads("/v1/sessions") == {"seen": "one working"}
    stage.at(5)
    listener.hears()
    assert stage.reads("/v1/sessions") == {"seen": "one done"}, "the second session has not begun"
    other = stage.opens("two")
    stage.at(10)
    other.hears()
    assert stage.reads("/v1/sessions") == {"seen": "both done"}


def test_without_any_session_equal_reads_get_their_answers_in_recorded_order() -> None:
    """A service with a login: the same page is a redirect, and later a greeting."""
    tape = Made()
    tape.get("/", 1.0, {"n": 1})
    tape.post("/login", 2.0, answer={"n": 2})
    tape.get("/", 3.0, {"n": 3})
    stage = Stage(tape)
    for _ in range(2):  # after every recorded request, the recording starts again
        assert stage.reads("/") == {"n": 1}
        assert stage.reads("/") == {"n": 3}
        assert stage.reads("/") == {"n": 3}
        assert stage.posts("/login").body == b'{"n": 2}'


def test_a_head_is_answered_by_a_head() -> None:
    tape = Made()
    tape.get("/v1/me", 1.0, {"n": 1})
    tape.request("HEAD", "/v1/me", 2.0)
    answer = Stage(tape).asks("HEAD", "/v1/me")
    assert isinstance(answer, Answering)
    assert answer.exchange.request.method == "HEAD"


def test_a_read_between_two_opens_knows_nothing_of_the_second() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, delta("a")), end=2.5)
    tape.get(SESSION, 3.0, {"n": "in between"})
    tape.stream("s", 4.0, (4.0, heartbeat()), (5.0, status("idle")))
    tape.get(SESSION, 6.0, {"n": "at the end"})
    stage = Stage(tape, "instant")
    first = stage.opens()
    first.hears()
    first.leaves()
    assert stage.reads() == {"n": "in between"}
    stage.opens().hears()
    assert stage.reads() == {"n": "at the end"}
