"""How an event of a recording is named, and what is said where there is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.errors import UsageError
from omnirecord.replayer.event_address import Address, parse_address
from omnirecord.replayer.event_address.matcher import Stream
from tests.support.cassettes import DONE, completed, created, delta, event, heartbeat, presence, status
from tests.support.examples import each
from tests.support.recorded import recorded

ONE = recorded(
    1, heartbeat(), presence(), status("running"), created(), delta("Hel", 2), delta("lo", 3), b": nothing\n\n",
    completed(), status("idle"), DONE,
)  # fmt: skip
TWO = recorded(2, heartbeat(), status("running"), delta("Bye", 2), completed("r2"), completed("r3"), heartbeat())
STREAMS = [ONE, TWO]


def found(text: str, streams: list[Stream] | None = None) -> list[tuple[int, int]]:
    return parse_address(text).resolve(STREAMS if streams is None else streams)


def refusal(text: str, streams: list[Stream] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        found(text, streams)
    return str(caught.value)


@each(
    ("text", "meant"),
    [
        ("session.status", [(1, 3)]),
        ("first session.status", [(1, 3)]),
        ("2nd session.status", [(1, 9)]),
        ("the second session.status", [(1, 9)]),
        ("last response.output_text.delta", [(1, 6)]),
        ("response.*.delta", [(1, 5)]),
        ("event", [(1, 1)]),
        ("7th event", [(1, 8)]),
        ("last event", [(1, 10)]),
        ("last", [(1, 10)]),
        ("[DONE]", [(1, 10)]),
        ("[done]", [(1, 10)]),
        ("#7", [(1, 7)]),
        ("#007", [(1, 7)]),
        ("first event after response.output_text.delta", [(1, 6)]),
        ("event after the 2nd response.output_text.delta", [(1, 8)]),
        ("event after last response.output_text.delta", [(1, 8)]),
        ("last event before [DONE]", [(1, 9)]),
        ("last before [DONE]", [(1, 9)]),
        ("event before [DONE]", [(1, 9)]),
        ("first event before [DONE]", [(1, 1)]),
        ("event after #4", [(1, 5)]),
        ("every event after response.created before response.completed", [(1, 5), (1, 6)]),
        ("every event after response.completed before session.status", []),
        ("session.status after response.created", [(1, 9)]),
        ("event after session.presence before session.status with status=idle", [(1, 3)]),
        ("last event after response.created before [DONE]", [(1, 9)]),
        ("last event after response.created before session.status", [(1, 8)]),
    ],
)  # fmt: skip
def test_an_event_is_found_as_a_person_names_it(text: str, meant: list[tuple[int, int]]) -> None:
    assert parse_address(text).resolve([ONE]) == meant if meant else "there is no" in refusal(text, [ONE])


@each(
    ("text", "meant"),
    [
        ("2nd response.completed", [(2, 5)]),
        ("response.completed with response.id=r3", [(2, 5)]),
        ("session.status in stream 2", [(2, 2)]),
        ("session.heartbeat in every stream", [(1, 1), (2, 1)]),
        ("2nd session.heartbeat in every stream", [(2, 6)]),
        ("every session.heartbeat", [(1, 1), (2, 1), (2, 6)]),
        ("every session.heartbeat in stream 1", [(1, 1)]),
        ("every session.heartbeat in stream 2", [(2, 1), (2, 6)]),
        ("last session.heartbeat", [(1, 1)]),
        ("event after 2nd response.completed", [(2, 6)]),
    ],
)
def test_one_event_is_of_the_first_stream_that_has_it_and_every_event_of_all(
    text: str, meant: list[tuple[int, int]]
) -> None:
    assert found(text) == meant


@each(
    ("condition", "holds"),
    [
        ("n=1", True), ("n=1.0", True), ("n=true", False), ("n=2", False), ('n="1"', False),
        ("flag=true", True), ("flag=1", False), ("nothing=null", True), ("missing=null", False),
        ("name=Ada", True), ('name="Ada"', True), ("name=A*", True), ('name="A*"', False), ("name=ada", False),
        ("list[1].x=2", True), ("list.1.x=2", True), ("list.7.x=2", False), ("list.x=2", False),
        ('list=[1, {"x": 2}]', True), ('words="two words"', True), ("words=two*", True), ("name = Ada", True),
        ("n=1 with name=Ada", True), ("n=1 with name=Bob", False), ("name.x=1", False), ("name=[AB]da", True),
    ],
)  # fmt: skip
def test_a_condition_asks_for_a_field_of_the_data(condition: str, holds: bool) -> None:
    data = event("x", n=1, flag=True, nothing=None, name="Ada", list=[1, {"x": 2}], words="two words")
    matcher = parse_address(f"x with {condition}").pick.matcher
    assert matcher.matches(recorded(1, data).frames[0]) is holds


def test_a_condition_counts_only_what_fulfils_it() -> None:
    assert found("2nd response.completed with response.status=completed in stream 2") == [(2, 5)]
    assert found("session.status with status=idle") == [(1, 9)]


def test_keywords_are_read_in_any_case_and_with_any_blanks() -> None:
    text = "  THE  Last\tEVENT  Before   [Done]  IN  Stream 1 "
    assert str(parse_address(text)) == "last event before [DONE] in stream 1"


def test_a_frame_that_is_cut_off_or_only_a_comment_is_no_event_but_has_a_number() -> None:
    stream = recorded(1, b": hello\n\n", status("idle"), b'data: {"type": "session.status"')
    assert found("every event", [stream]) == [(1, 2)]
    assert found("#3", [stream]) == [(1, 3)]


def test_an_event_whose_data_have_no_type_is_known_by_its_event_field() -> None:
    stream = recorded(1, b"\xef\xbb\xbfevent: ping\ndata: now\n\n", b"data: nothing\n\n")
    assert found("ping", [stream]) == [(1, 1)]
    assert found("every event", [stream]) == [(1, 1), (1, 2)]


def test_a_glob_does_not_match_the_end_marker() -> None:
    assert found("last *") == [(1, 9)]


@each(
    ("text", "said"),
    [
        ("3rd response.completed", "there is no 3rd response.completed: stream 1 has 1 response.completed (frame 8),"
         " stream 2 has 2 response.completed (frames 4, 5)"),
        ("sesion.status", "there is no sesion.status: no event matches sesion.status, the nearest are"
         " session.status (3)"),
        ("zzz", "there is no zzz: no event matches zzz, there are session.heartbeat (3), session.status (3),"
         " response.output_text.delta (3), response.completed (3), session.presence (1) and 1 more"),
        ("every zzz", "there is no zzz: no event"),
        ("[DONE] in stream 2", "stream 2 has as its last event session.heartbeat (#6)"),
        ("#11 in stream 1", "there is no #11 in stream 1: stream 1 has 10 frames"),
        ("event in stream 7", "there is no event in stream 7: the cassette has streams 1, 2"),
        ("session.status with status=failed", 'status of session.status is "running" (2), "idle" (1)'),
        ("session.status with stauts=idle", "no session.status has the field stauts, the nearest are status"),
        ("response.created after response.completed", "there is no response.created after response.completed:"
         " stream 1 has 1 response.created (frame 4); stream 1 has 1 response.completed (frame 8), stream 2"),
        ("event after 9th response.created", "there is no event after 9th response.created: stream 1 has 1"),
        ("event before sesion.status", "no event matches sesion.status, the nearest are session.status"),
    ],
)  # fmt: skip
def test_an_event_that_is_not_there_is_refused_with_what_there_is(text: str, said: str) -> None:
    assert said in refusal(text)


def test_a_cassette_without_streams_or_types_says_so() -> None:
    assert refusal("session.status", []) == "there is no session.status: the cassette holds no stream"
    assert refusal("x", [recorded(4, b": a\n\n")]).endswith("no event matches x, there are none with a type")
    assert refusal("[DONE]", [recorded(4, b": a\n\n")]).endswith("stream 4 has no event")
    assert refusal("event in stream 1", [recorded(4)]).endswith("the cassette has stream 4")


@each(
    ("text", "said"),
    [
        ("", "where it ends, an event was expected"),
        ("the", "where it ends, an event was expected"),
        ("x y", "'y' at character 3, nothing more is expected"),
        ("x with y", "'with' at character 3, a condition is written with FIELD=VALUE"),
        ("x with a..b=1", "'a..b' is no field"),
        ("x with a=", "where it ends, a value was expected"),
        ('x with a="b', "'\"b' at character 10, a value was expected, as JSON or one word"),
        ('x with a="b"c', "a value was expected"),
        ("0th x", "'0th' at character 1, is no number that events have: they count from 1"),
        ("9999999999th x", "is no number that events have"),
        ("#x", "'#x' at character 1, is no frame's number"),
        ("#0", "is no frame's number"),
        ("2nd #3", "'#3' at character 5, is one frame already"),
        ("event after every x", "'every' at character 13, one event was expected here"),
        ("event after", "where it ends, an event was expected"),
        ("x in stream y", "'y' at character 13, a stream's number was expected"),
        ("x in", "'in' at character 3, nothing more is expected"),
        ("x\udcff", "is not UTF-8"),
        ("x " * 1000, "write for instance '2nd session.status'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_word_and_an_example(text: str, said: str) -> None:
    message = refusal(text)
    assert said in message
    assert "for instance '2nd session.status'" in message
    assert len(message) < 400


@given(st.text())
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert parse_address(str(address)) == address


NAMES = st.sampled_from(["session.status", "response.*", "event", "[DONE]", "x", "*"])
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
CONDITIONS = st.builds(
    lambda field, value: f" with {field}={json.dumps(value)}", st.sampled_from(["a", "a.b[2]"]), VALUES
)
ORDINALS = st.sampled_from(["", "first ", "last ", "2nd ", "113th ", "the 21st "])
PICKS = st.builds("{}{}{}".format, ORDINALS, NAMES, CONDITIONS | st.just(""))
PLACES = st.sampled_from(["", " in stream 3", " in every stream"])
ADDRESSES = st.one_of(
    st.builds("{}{}".format, PICKS, PLACES),
    st.builds("every {}{}".format, NAMES, PLACES),
    st.builds("{} after {}{}".format, PICKS, PICKS, PLACES),
    st.builds("{} before {}".format, PICKS, PICKS),
    st.builds("{} after {} before {}{}".format, PICKS, PICKS, PICKS, PLACES),
    st.builds("#{}".format, st.integers(1, 999)),
)


@given(ADDRESSES)
def test_an_address_in_words_reads_as_itself(text: str) -> None:
    address = parse_address(text)
    assert parse_address(str(address)) == address
    assert isinstance(address, Address)
